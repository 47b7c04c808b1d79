"""Solved word problems with other numbers, so that a student cannot learn their sums by heart.

Pure functions; nothing here raises for any text.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from evokd.tasks.arithmetic import result_of

TRIES = 200  # a quotient that is whole is met by chance
_NUMBER = re.compile(r"(?<![\w.,/])\d+(?![\w/%]|[.,]\d)")
_SUM = re.compile(r"(?P<left>[\d(][\d\s()+*/-]*[+*/-][\d\s()+*/-]*[\d)])\s*=\s*(?P<right>\d+)\b")
_PLAIN = re.compile(r"[1-9][0-9]{0,8}")
_DIGIT = re.compile(r"\d")


class Solved(NamedTuple):
    """A question with a solution, a step a line, and its answer."""

    question: str
    steps: tuple[str, ...]
    answer: str


def renumbered(problem: Solved, rng: random.Random) -> Solved | None:
    """Return a problem with other whole numbers of as many digits, in the same order of size.

    Every number of the steps has to be one of the question's, or the result of an earlier sum, and
    no two of these may be equal: then each place a number stands in is known. The results are
    worked out anew; they are whole and above nought, as those of the problem.

    Returns:
        None where the problem holds other numbers (decimals, shares, constants), or nothing fits.
    """
    given = _whole_numbers(problem.question)
    sums = [one for step in problem.steps for one in _sums(step)]
    if not given or not sums or not _are_known(problem, given, sums):
        return None
    for _ in range(TRIES):
        new = _drawn(given, rng)
        for left, right in sums:
            result = result_of(f"{_replaced(left, new)} =")
            if not result.isdecimal() or int(result) == 0:
                break
            new[right] = result
        else:
            return Solved(
                _replaced(problem.question, new),
                tuple(_replaced(step, new) for step in problem.steps),
                new[problem.answer],
            )
    return None


def _whole_numbers(text: str) -> list[str]:
    """Return the whole numbers of a text, each once; none where it has other digits, too."""
    others = _NUMBER.sub("", text)
    found = list(dict.fromkeys(_NUMBER.findall(text)))
    plain = all(_PLAIN.fullmatch(one) for one in found)
    return found if plain and not _DIGIT.search(others) else []


def _sums(step: str) -> list[tuple[str, str]]:
    return [(one["left"], one["right"]) for one in _SUM.finditer(step)]


def _are_known(problem: Solved, given: Sequence[str], sums: Sequence[tuple[str, str]]) -> bool:
    """Whether each number of the steps is one of the question's or one sum's result."""
    known = set(given)
    for left, right in sums:
        is_told = known.issuperset(_NUMBER.findall(left)) and right not in known
        if not is_told or result_of(f"{left} =") != right:
            return False
        known.add(right)
    steps = "\n".join(problem.steps)
    stated = _whole_numbers(steps)
    is_all_read = bool(stated) and steps.count("=") == len(sums)
    return is_all_read and known.issuperset(stated) and problem.answer in known


def _drawn(given: Sequence[str], rng: random.Random) -> dict[str, str]:
    """Return a new number for each, of as many digits; the larger of two stays the larger."""
    new: dict[str, str] = {}
    for digits in sorted({len(one) for one in given}):
        own = sorted((one for one in given if len(one) == digits), key=int)
        first = 10 ** (digits - 1) if digits > 1 else 2
        if len(own) > 10**digits - first:
            return dict(zip(given, given, strict=True))
        drawn = sorted(rng.sample(range(first, 10**digits), len(own)))
        new |= dict(zip(own, map(str, drawn), strict=True))
    return new


def _replaced(text: str, new: Mapping[str, str]) -> str:
    return _NUMBER.sub(lambda match: new[match[0]], text)
