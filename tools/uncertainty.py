"""How shaky a student's explanation is, and which questions are revised.

Stepwise uncertainty after Zhang et al., ELAD (Findings of ACL 2024, arXiv 2402.13098), in the form
that docs/methods.md gives; least confidence and answer entropy are what it is compared with.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from operator import eq

Same = Callable[[str, str], bool]
INTRA, INTER = "intra", "inter"
CONFIDENCE, ENTROPY = "least_confidence", "answer_entropy"
# What each selection ranks by; nothing: by chance.
RANKED_BY: dict[str, tuple[str, ...]] = {
    "explanation": (INTRA, INTER),
    "random": (),
    "least-confidence": (CONFIDENCE,),
    "answer-entropy": (ENTROPY,),
}


@dataclass(frozen=True)
class Shakiness:
    """The uncertainties of one explanation by name, each in [0, 1]."""

    by_kind: dict[str, float] = field(default_factory=dict)

    def rank(self, selection: str) -> tuple[float, float]:
        """Return what a selection ranks it by, then what parts equal ones; noughts for chance.

        A short explanation has few values of uncertainty, so that many are equally shaky: the one
        whose answer the student was less sure of is taken first (ours).
        """
        ranked_by = RANKED_BY[selection]
        if not ranked_by:
            return 0.0, 0.0
        shaky = sum(self.by_kind[name] for name in ranked_by)
        return round(shaky, 9), self.by_kind.get(CONFIDENCE, 0.0)


def disagreement(answers: Sequence[str], final: str, same: Same = eq) -> float:
    """Return the share of answers that are not the final one; 1 where there is none, or no answer.

    Over the answers after s_1..s_k, k = 0..n-1, it is U_intra; over those of explanations that
    were sampled after s_1..s_(k-1), k = 1..n, it is U_inter.

    Args:
        same: whether two answers are the same.
    """
    if not answers or not final:
        return 1.0
    return sum(not same(one, final) for one in answers) / len(answers)


def answer_entropy(answers: Sequence[str], same: Same = eq) -> float:
    """Return the entropy of sampled answers over its largest value, in [0, 1].

    What holds no answer is an answer of its own.

    Args:
        same: whether two answers are the same.
    """
    if len(answers) < 2:
        return 0.0
    groups: list[list[str]] = []
    for one in answers:
        group = next((g for g in groups if one == g[0] or same(one, g[0])), None)
        if group is None:
            groups.append([one])
        else:
            group.append(one)
    shares = [len(group) / len(answers) for group in groups]
    return abs(sum(p * math.log(p) for p in shares)) / math.log(len(answers))


def choose_questions(
    shaky: Sequence[Shakiness], count: int, selection: str, rng: random.Random
) -> list[int]:
    """Return the places of the `count` that a selection ranks highest, equal ones by chance."""
    order = rng.sample(range(len(shaky)), len(shaky))
    order.sort(key=lambda place: shaky[place].rank(selection), reverse=True)
    return order[:count]
