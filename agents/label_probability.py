"""A label's probability from the log-probabilities of its own tokens."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any


def label_probability(
    tokens: Sequence[dict[str, Any]], label: str, labels: Sequence[str]
) -> float | None:
    """Return P(label) renormalised over `labels`.

    Under a grammar an endpoint reports the log-probabilities of the unconstrained model, so at
    each token only the alternatives that some label still in question could begin with count.
    The walk ends at the first token that tells the label from all others.

    Args:
        tokens: one dict a token of the reply: `token`, `logprob`, `top` {token: logprob}.
        label: the label the reply holds.
        labels: all labels.

    Returns:
        A value in [0, 1], or None where the tokens do not spell the label.
    """
    text = "".join(token["token"] for token in tokens)
    start = text.rfind(label)
    if start < 0:
        return None
    alive = set(labels)
    probability, position = 1.0, 0
    for token in tokens:
        end = position + len(token["token"])
        if end > start:
            alternatives = {**token["top"], token["token"]: token["logprob"]}
            so_far = text[start:position] if position > start else ""
            lead = text[position:start] if position < start else ""
            chosen, total = _masses(alternatives, token["token"], so_far, lead, alive)
            if total > 0:
                probability *= chosen / total
            alive = {other for other in alive if _may_follow(text[start:end], other)}
            if alive <= {label}:
                break
        position = end
    return max(0.0, min(1.0, probability))


def _masses(
    alternatives: dict[str, float], taken: str, so_far: str, lead: str, alive: set[str]
) -> tuple[float, float]:
    """Return the mass of the token taken, and of all tokens that some label can go on with."""
    chosen = total = 0.0
    for alternative, logprob in alternatives.items():
        if not alternative.startswith(lead):
            continue
        spelled = so_far + alternative[len(lead) :]
        if alternative == taken or (
            len(spelled) > len(so_far) and any(_may_follow(spelled, other) for other in alive)
        ):
            mass = math.exp(logprob)
            total += mass
            chosen += mass if alternative == taken else 0.0
    return chosen, total


def _may_follow(spelled: str, label: str) -> bool:
    """Whether an answer that begins with `spelled` can still be `label`.

    A label that has been spelled out must be followed by a quote or by nothing: so 'card"' is
    'card' and no longer 'card_lost'.
    """
    if len(spelled) <= len(label):
        return label.startswith(spelled)
    return spelled.startswith(label) and not (
        spelled[len(label)].isalnum() or spelled[len(label)] in "_-"
    )
