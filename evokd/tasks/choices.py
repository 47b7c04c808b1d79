"""The options of a question: how a CSV holds them, and what can be told apart by a letter each."""

from __future__ import annotations

from collections.abc import Sequence

from evokd.records import Example
from evokd.tasks.texts import normalize

BETWEEN = "|"  # in a CSV
MOST_CHOICES = 26  # a letter each


def split_choices(text: str) -> list[str]:
    """Return the options that a CSV's column holds: red|blue."""
    return [one.strip() for one in text.split(BETWEEN)]


def are_choices(choices: Sequence[str]) -> bool:
    """Whether these are two to 26 options, none empty, and different but for case and spaces."""
    different = set(choices_key(choices)) - {""}
    return max(2, len(choices)) <= len(different) <= MOST_CHOICES


def choices_key(choices: Sequence[str]) -> tuple[str, ...]:
    """Return what is equal for the same options, whatever their order, case and spaces."""
    return tuple(sorted(" ".join(one.split()).casefold() for one in choices))


def question_key(text: str, choices: Sequence[str]) -> str:
    """Return what two questions share that ask the same."""
    return "\n".join([normalize(text), *choices_key(choices)])


def are_needed(answers: str | None, seed: Sequence[Example]) -> bool:
    """Whether every question has to have choices: all seeds have, or the task says so.

    Args:
        answers: what form they have, as the task says; None: it does not.
    """
    return answers == "choice" or (bool(seed) and all(row.choices for row in seed))
