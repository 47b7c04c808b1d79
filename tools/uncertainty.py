"""How shaky a student's explanation is, and which questions are revised.

Stepwise uncertainty after Zhang et al., ELAD (Findings of ACL 2024, arXiv 2402.13098), in the form
that docs/methods.md gives; least confidence and answer entropy are what it is compared with.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

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

    def rank(self, selection: str) -> float:
        """Return what a selection ranks it by; 0 where that is chance."""
        return sum(self.by_kind[name] for name in RANKED_BY[selection])


def disagreement(answers: Sequence[str], final: str) -> float:
    """Return the share of answers that are not the final one; 1 where there is none, or no answer.

    Over the answers after s_1..s_k, k = 0..n-1, it is U_intra; over those of explanations that
    were sampled after s_1..s_(k-1), k = 1..n, it is U_inter.
    """
    if not answers or not final:
        return 1.0
    return sum(one != final for one in answers) / len(answers)


def answer_entropy(answers: Sequence[str]) -> float:
    """Return the entropy of sampled answers over its largest value, in [0, 1].

    What holds no answer is an answer of its own.
    """
    if len(answers) < 2:
        return 0.0
    shares = [count / len(answers) for count in Counter(answers).values()]
    return abs(sum(p * math.log(p) for p in shares)) / math.log(len(answers))


def choose_questions(
    shaky: Sequence[Shakiness], count: int, selection: str, rng: random.Random
) -> list[int]:
    """Return the places of the `count` that a selection ranks highest, equal ones by chance."""
    order = rng.sample(range(len(shaky)), len(shaky))
    order.sort(key=lambda place: -shaky[place].rank(selection))
    return order[:count]
