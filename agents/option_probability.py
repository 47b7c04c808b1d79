"""How likely each option, or a whole reply, was, from the log-probabilities of its own tokens."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any


def option_probabilities(
    tokens: Sequence[dict[str, Any]],
    answer: str,
    options: Sequence[str],
    start: int | None = None,
) -> dict[str, float] | None:
    """Return the probability of every option, renormalised over the options; they add up to 1.

    Under a grammar an endpoint reports the log-probabilities of the unconstrained model, so at
    each token only the alternatives that some option still in question could begin with count.
    The walk goes along the answer and ends at the first token that tells it from all others. An
    alternative that several options begin with is shared out among them evenly, because what
    would have followed it is not known.

    Args:
        tokens: one dict a token of the reply: `token`, `logprob`, `top` {token: logprob}.
        answer: the option the reply holds.
        options: all options.
        start: where in the reply the answer stands; None: where it stands last.

    Returns:
        Option → probability in [0, 1], or None where the tokens do not spell the answer.
    """
    text = "".join(token["token"] for token in tokens)
    if start is None:
        start = text.rfind(answer)
    if start < 0:
        return None
    alive = set(options)
    shares = dict.fromkeys(options, 0.0)
    left, position = 1.0, 0
    for token in tokens:
        end = position + len(token["token"])
        if end > start:
            alternatives = {**token["top"], token["token"]: token["logprob"]}
            so_far = text[start:position] if position > start else ""
            lead = text[position:start] if position < start else ""
            heirs = {
                name: _heirs(name, token["token"], so_far, lead, alive) for name in alternatives
            }
            masses = {name: math.exp(alternatives[name]) for name in heirs if heirs[name]}
            total = sum(masses.values())
            taken = masses.pop(token["token"], 0.0)
            for name, mass in masses.items():
                for heir in heirs[name]:
                    shares[heir] += left * mass / total / len(heirs[name])
            if total > 0:
                left *= taken / total
            alive = {other for other in alive if _may_follow(text[start:end], other)}
            if alive <= {answer}:
                break
        position = end
    shares[answer] += left
    return {option: max(0.0, min(1.0, share)) for option, share in shares.items()}


def entity_probabilities(
    tokens: Sequence[dict[str, Any]], named: Sequence[tuple[str, str]], types: Sequence[str]
) -> list[float]:
    """Return how sure a reply is of the entities it names, in the order in which it does.

    The mean probability (geometric) of the tokens of the entity's string, times that of its type,
    renormalised over the types. Where the tokens do not spell an entity, the mean over all of them.

    Args:
        tokens: as in `option_probabilities`.
        named: (string, type) pairs, in the reply's order.
    """
    text = "".join(token["token"] for token in tokens)
    sure, place = [], 0
    for string, kind in named:
        written, of_kind = (json.dumps(one, ensure_ascii=False) for one in (string, kind))
        start = text.find(written, place) + 1
        ends = start + len(written) - 2
        at = text.find(of_kind, ends) + 1
        if not start or not at:
            sure.append(mean_probability(tokens))
            continue
        place = at + len(kind)
        options = option_probabilities(_covering(tokens, at, place), kind, types) or {}
        sure.append(mean_probability(_covering(tokens, start, ends)) * options.get(kind, 1.0))
    return sure


def label_probabilities(
    tokens: Sequence[dict[str, Any]], said: Sequence[str], labels: Sequence[str]
) -> list[dict[str, float] | None]:
    """Return the probability of every label at each answer of a reply, in the reply's order.

    As `option_probabilities` has it; None where the tokens do not spell an answer.

    Args:
        tokens: as in `option_probabilities`; the answers stand in quotes.
        said: the labels the reply holds.
    """
    text = "".join(token["token"] for token in tokens)
    found: list[dict[str, float] | None] = []
    place = 0
    for label in said:
        start = text.find(json.dumps(label, ensure_ascii=False), place) + 1
        if not start:
            found.append(None)
            continue
        place = start + len(label)
        found.append(option_probabilities(tokens, label, labels, start))
    return found


def _covering(tokens: Sequence[dict[str, Any]], start: int, end: int) -> list[dict[str, Any]]:
    """Return the tokens that hold any of the characters from `start` to `end`."""
    covering, place = [], 0
    for token in tokens:
        after = place + len(token["token"])
        if place < end and after > start:
            covering.append(token)
        place = after
    return covering


def mean_probability(tokens: Sequence[dict[str, Any]]) -> float:
    """Return the geometric mean of the tokens' probabilities; 0.0 for none."""
    if not tokens:
        return 0.0
    return math.exp(min(0.0, sum(token["logprob"] for token in tokens) / len(tokens)))


def _heirs(alternative: str, taken: str, so_far: str, lead: str, alive: set[str]) -> list[str]:
    """Return the options that could go on with this token in place of the one taken."""
    if not alternative.startswith(lead):
        return []
    spelled = so_far + alternative[len(lead) :]
    if alternative == taken:
        return sorted(alive)
    if len(spelled) <= len(so_far):
        return []
    return sorted(other for other in alive if _may_follow(spelled, other))


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


def probability_of_reply(tokens: Sequence[dict[str, Any]] | None) -> float | None:
    """Return how likely a whole reply was, in [0, 1]: the product of its tokens' probabilities.

    None: the endpoint tells none. Under a grammar what it forbids has its share, too.
    """
    return math.exp(sum(token["logprob"] for token in tokens)) if tokens else None
