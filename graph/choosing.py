"""Which round's student is kept: the latest that no earlier one is clearly better than."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from evokd.graph.fitting import BASELINE, held_out_rows, predict, student_of
from evokd.graph.session import Session
from evokd.graph.strategies import selects_in_steps, strategy_of

CLEARLY = 0.05  # the largest p-value of a difference that counts
BEST_ROUND_RULE = (
    "the latest round that no earlier one is clearly better than on {what} (exact sign test, "
    "p < {level}); all rounds are asked the same rows, the test split is never touched"
)


def choose_best(right: Mapping[int, Sequence[bool]]) -> int:
    """Return the latest round that no earlier one is clearly better than.

    A held-out set of a few dozen rows cannot tell small differences apart, and later rounds have
    seen more: so a later student is only given up for one that is clearly better.

    Args:
        right: round → whether its student has each held-out row right, the same rows for all.
    """
    for round in sorted(right, reverse=True):
        earlier = (right[other] for other in right if other < round)
        if not any(is_clearly_better(one, right[round]) for one in earlier):
            return round
    return BASELINE


def is_clearly_better(one: Sequence[bool], other: Sequence[bool]) -> bool:
    """Whether one student beats another by an exact one-sided sign test.

    Over the rows that only one of them has right (McNemar, 1947): how likely is it that so many
    fall to the first by chance?
    """
    wins = sum(a and not b for a, b in zip(one, other, strict=True))
    losses = sum(b and not a for a, b in zip(one, other, strict=True))
    differ = wins + losses
    by_chance = sum(math.comb(differ, k) for k in range(wins, differ + 1)) / (1 << differ)
    return by_chance < CLEARLY


def right_in_the_end(session: Session) -> dict[int, list[bool]]:
    """Return for every trained round which of all held-out rows its student has right."""
    rounds = [one.round for one in session.run.read_rounds() if one.trained]
    rows = held_out_rows(session, max(rounds, default=0) + 1)

    def right(number: int) -> list[bool]:
        said = predict(session, student_of(session, number), rows)
        pairs = zip(rows, said, strict=True)
        return [not session.kind.mistakes(row, answer) for row, answer in pairs]

    return {number: right(number) if rows else [] for number in rounds}


def best_round_rule(session: Session) -> str:
    """Return in words how the best round is chosen."""
    strategy = strategy_of(session.config)
    in_steps = selects_in_steps(session.config)
    holds_out = strategy.teaches or (strategy.labels_only and not in_steps)
    if not (holds_out or session.data.validation):
        return (
            f"the last round; {'the mode paper' if in_steps else 'this strategy'} holds nothing out"
        )
    what = "the validation rows" if session.data.validation else "the run's held-out probe set"
    return BEST_ROUND_RULE.format(what=what, level=CLEARLY)
