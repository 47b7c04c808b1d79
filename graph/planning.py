"""What to write next: quotas per label, shared out into generator calls. Pure functions.

Classes with a low score get more (EvoKD); so do the labels of the weaknesses the analyst named.
Texts that will be held out come from calls of their own, so that no sibling of a probe is ever
trained on.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from evokd.agents.generator import Order
from evokd.config import StrategySection
from evokd.records import Difficulty, Weakness
from evokd.tasks.ner import NOTHING

FEWEST_TEXTS = 2  # so that one rejected text does not leave a label without its held-out sample
ASKED_PER_ACCEPTED = 1.25  # some are rejected, and a refill costs more than some texts too many
PROBES_PER_TARGET = 2  # a label or weakness
TEXTS_LIKE_ONE = 2  # that are modelled on the same example


class PlannedCall(BaseModel):
    """One generator call: how many texts of each difficulty it asks for."""

    model_config = ConfigDict(extra="forbid")

    id: str
    label: str
    counts: dict[Difficulty, int]
    length: str
    turn: int = 0
    probe: bool = False
    rival: str | None = None
    weakness: str | None = None
    vary: str | None = None
    examples: list[str] = Field(default_factory=list, description="hard texts are like these")
    topics: list[str] = Field(default_factory=list, description="one a text, or '' for none")
    attributes: list[str] = Field(default_factory=list, description="one entry a text, in words")
    names: list[list[str]] = Field(default_factory=list, description="of entities, a list a text")

    @property
    def texts(self) -> int:
        """How many texts it asks for."""
        return sum(self.counts.values())

    def rng(self, random_seed: int) -> random.Random:
        """Return the randomness of this call, the same in every run of a random seed."""
        return random.Random(f"{random_seed} {self.id}")  # noqa: S311


class Aim(BaseModel):
    """A weakness together with the analyst's plan for it."""

    model_config = ConfigDict(extra="forbid")

    weakness: Weakness
    vary: str
    hard: int
    easy: int


def share_out(total: int, weights: Mapping[str, float]) -> dict[str, int]:
    """Split `total` in proportion to the weights, by largest remainders.

    With as many places as keys or more, every key gets at least one.
    """
    if not weights:
        return {}
    floor = 1 if total >= len(weights) else 0
    rest = total - floor * len(weights)
    mass = sum(weights.values()) or 1.0
    exact = {key: rest * weight / mass for key, weight in weights.items()}
    shares = {key: floor + math.floor(value) for key, value in exact.items()}
    left = total - sum(shares.values())
    by_remainder = sorted(exact, key=lambda key: math.floor(exact[key]) - exact[key])
    for key in by_remainder[:left]:
        shares[key] += 1
    return shares


def label_weights(
    labels: Sequence[str], scores: Mapping[str, float], aims: Sequence[Aim]
) -> dict[str, float]:
    """Return how much each label needs new texts: 1, plus its error, plus what aims at it."""
    weights = {label: 1.0 + 2.0 * (1.0 - scores.get(label, 1.0)) for label in labels}
    for aim in aims:
        for place, label in enumerate(aim.weakness.labels):
            weights[label] += 1.0 / (1 + place)
    return weights


def label_quotas(
    total: int, weights: Mapping[str, float], empty_share: float | None = None
) -> dict[str, int]:
    """Split `total` training texts over the labels; `NOTHING` gets its own share, where one is set.

    Args:
        weights: label → how much it needs new texts, in proportion.
        empty_share: of all texts, in (0, 1); None: what the weight of `NOTHING` says.
    """
    if empty_share is None or NOTHING not in weights:
        return share_out(total, weights)
    empty = round(total * empty_share)
    others = {name: weight for name, weight in weights.items() if name != NOTHING}
    return share_out(total - empty, others) | {NOTHING: empty}


def plan_round(
    round: int,
    wave: int,
    strategy: StrategySection,
    quotas: Mapping[str, int],
    probes: Mapping[str, int],
    aims: Sequence[Aim],
    rivals: Mapping[str, str],
    *,
    plain: bool = False,
) -> list[PlannedCall]:
    """Return the generator calls of one wave.

    Args:
        wave: 0, or the number of the refill.
        quotas: accepted training samples wanted per label.
        probes: held-out samples wanted per label.
        plain: neither hard nor easy texts, as in the +Init batch.
    """
    calls: list[PlannedCall] = []
    looped = round > 0 and strategy.analyst and not plain
    parts = [
        (index, label, probe, part)
        for wanted, probe in ((quotas, False), (probes, True))
        for label, count in wanted.items()
        for index, part in enumerate(_split(count, probe, strategy, _aims_for(label, aims)))
    ]
    # In turns, so that a budget that ends within the batch does not leave a label without texts.
    for index, label, probe, part in sorted(parts, key=lambda one: (one[2], one[0])):
        ranked = _aims_for(label, aims)
        aim = ranked[index % len(ranked)] if ranked else None
        calls.append(
            PlannedCall(
                id=f"r{round:02d}w{wave}c{len(calls):02d}",
                label=label,
                counts=_counts(texts_for(part), strategy, aim, looped),
                turn=round + wave + index + (1 if probe else 0),
                # Shifted by round and wave, so that no label is tied to a length.
                length=strategy.lengths[(len(calls) + round + wave) % len(strategy.lengths)],
                probe=probe,
                rival=rivals.get(label),
                weakness=aim.weakness.id if aim else None,
                vary=aim.vary if aim else None,
            )
        )
    return calls


def _split(wanted: int, probe: bool, strategy: StrategySection, ranked: Sequence[Aim]) -> list[int]:
    """Split what a label wants into calls; each weakness needs held-out texts of its own."""
    parts = split_evenly(wanted, strategy.texts_per_call)
    if probe and len(ranked) > len(parts):
        return [max(1, wanted // len(ranked))] * len(ranked)
    return parts


def probe_quotas(
    labels: Sequence[str],
    total: int,
    strategy: StrategySection,
    aims: Sequence[Aim],
    held_out: Mapping[str, int],
) -> dict[str, int]:
    """Return how many of `total` accepted samples to hold out, per label.

    One in five; two for each weakness, by its first label; labels with the fewest held-out
    samples come first; every label has at least one after the first batch, and two later, but with
    many labels no more than half of all are held out.
    """
    target = round(total * strategy.probe_share)
    most = max(target, total // 2)
    least = PROBES_PER_TARGET if any(held_out.values()) else 1
    wanted: dict[str, int] = {}
    for aim in aims:
        first = aim.weakness.labels[0]
        wanted[first] = wanted.get(first, 0) + PROBES_PER_TARGET
    fewest_first = sorted(labels, key=lambda name: held_out.get(name, 0))
    for label in fewest_first:
        lacking = least - held_out.get(label, 0) - wanted.get(label, 0)
        room = most - sum(wanted.values())
        if min(lacking, room) > 0:
            wanted[label] = wanted.get(label, 0) + min(lacking, room)
    for label in fewest_first:
        if sum(wanted.values()) + PROBES_PER_TARGET > target:
            break
        wanted[label] = wanted.get(label, 0) + PROBES_PER_TARGET
    return wanted


def texts_for(wanted: int) -> int:
    """Return how many texts to ask for: more than wanted, as some will be rejected."""
    return max(FEWEST_TEXTS, math.ceil(wanted * ASKED_PER_ACCEPTED))


def split_evenly(total: int, most: int) -> list[int]:
    """Split `total` into the fewest parts of at most `most`, as equal as can be."""
    parts = math.ceil(total / most)
    return [total // parts + (index < total % parts) for index in range(parts)]


def parts_of(meaning: str) -> list[str]:
    """Return the parts of a label's meaning, which stand between semicolons."""
    return [part.strip() for part in meaning.split(";") if part.strip()]


def orders_for(
    meaning: str,
    counts: Mapping[Difficulty, int],
    turn: int,
    topics: Sequence[str] = (),
    *,
    names: bool = False,
) -> list[Order]:
    """Share the texts of a call out over the parts of a label's meaning, as evenly as can be.

    A meaning of one part is always meant as a whole. With fewer texts than parts, the parts take
    turns from call to call.

    Args:
        topics: one a text, '' for a text without; or none at all.
        names: the texts are to name what the label means: each is told so, for a small generator
            that is given a topic writes about that alone.
    """
    parts = parts_of(meaning)
    if len(parts) < (1 if names else 2):
        parts = [""]
    total = sum(counts.values())
    first = turn if total >= len(parts) else turn * total
    spread = max(total, len(parts))
    texts = [name for name, count in counts.items() for _ in range(count)]
    about = [
        (name, parts[(first + at * len(parts) // spread) % len(parts)], topic)
        for at, (name, topic) in enumerate(zip(texts, topics or [""] * total, strict=True))
    ]
    return [
        Order(name, len(list(group)), part, topic) for (name, part, topic), group in groupby(about)
    ]


def orders_of(call: PlannedCall, meaning: str, *, names: bool = False) -> list[Order]:
    """Return what a call asks for.

    By attributes where it has them; hard texts like its examples; all others by the parts of the
    label's meaning, or, text by text, by the names that they are given.

    Args:
        names: as for `orders_for`.
    """
    orders = _orders_about(call, meaning, names=names)
    if not call.names:
        return orders
    texts = [replace(one, count=1) for one in orders for _ in range(one.count)]
    return [
        replace(one, aspect="", topic="", names=tuple(names)) if names else one
        for one, names in zip(texts, call.names, strict=True)
    ]


def _orders_about(call: PlannedCall, meaning: str, *, names: bool) -> list[Order]:
    if call.attributes:
        named = Counter(call.attributes)
        return [Order("plain", count, attributes=words) for words, count in named.items()]
    if not call.examples:
        return orders_for(meaning, call.counts, call.turn, call.topics, names=names)
    hard = call.counts["hard"]
    turns = [
        place
        for place, count in enumerate(split_evenly(hard, TEXTS_LIKE_ONE))
        for _ in range(count)
    ]
    like = [
        Order(
            "hard",
            len(list(group)),
            topic=topic,
            example=call.examples[place % len(call.examples)],
        )
        for (place, topic), group in groupby(
            zip(turns, call.topics[:hard] or [""] * hard, strict=True)
        )
    ]
    rest: dict[Difficulty, int] = {
        name: count for name, count in call.counts.items() if name != "hard"
    }
    if not rest:
        return like
    return [*like, *orders_for(meaning, rest, call.turn, call.topics[hard:], names=names)]


def with_examples(
    calls: Sequence[PlannedCall], examples: Mapping[str, Sequence[str]]
) -> list[PlannedCall]:
    """Give the calls' hard texts examples: a label's examples take turns from call to call.

    Calls for held-out texts get none: what is modelled on a text that is trained on would be judged
    too easy.
    """
    taken: Counter[str] = Counter()
    given = []
    for call in calls:
        known = () if call.probe else examples.get(call.label, ())
        needed = min(len(known), math.ceil(call.counts.get("hard", 0) / TEXTS_LIKE_ONE))
        places = range(taken[call.label], taken[call.label] + needed)
        shown = [known[place % len(known)] for place in places]
        taken[call.label] += needed
        given.append(call.model_copy(update={"examples": shown}))
    return given


def with_topics(
    calls: Sequence[PlannedCall],
    topics: Sequence[str],
    random_seed: int,
    nameless: str | None = None,
) -> list[PlannedCall]:
    """Give every second text of a call a topic, drawn at random; the others stay typical.

    A call has a topic twice only if there are too few.

    Args:
        nameless: the label of texts that name nothing, which are typical of no task: all of them
            have a topic, and no name for one, unless most topics look like names.
    """
    if not topics:
        return list(calls)
    small = [topic for topic in topics if topic == topic.lower()]
    unnamed = small if 2 * len(small) >= len(topics) else topics
    given = []
    for call in calls:
        listed, every = (unnamed, 1) if call.label == nameless else (topics, 2)
        needed = math.ceil(call.texts / every)
        drawn = call.rng(random_seed).sample(listed, min(needed, len(listed)))
        named = [
            "" if place % every else drawn[place // every % len(drawn)]
            for place in range(call.texts)
        ]
        given.append(call.model_copy(update={"topics": named}))
    return given


def with_names(
    calls: Sequence[PlannedCall], names: Mapping[str, Sequence[str]], random_seed: int
) -> list[PlannedCall]:
    """Give every text a name of the type it is to hold, drawn at random, in place of a topic.

    Every second text has one of another type, too. A call has a name twice only if there are too
    few.

    Args:
        names: type → names.
    """
    given = []
    for call in calls:
        own = names.get(call.label, ())
        if not own:
            given.append(call)
            continue
        rng = call.rng(random_seed)
        drawn = rng.sample(own, min(call.texts, len(own)))
        others = [one for label, listed in names.items() if label != call.label for one in listed]
        told = [[drawn[place % len(drawn)]] for place in range(call.texts)]
        for row in told[::2] if others else ():
            row.append(rng.choice(others))
        given.append(call.model_copy(update={"names": told}))
    return given


def to_plain(calls: Sequence[PlannedCall]) -> list[dict[str, Any]]:
    """Return calls as the state holds them."""
    return [call.model_dump() for call in calls]


def _aims_for(label: str, aims: Sequence[Aim]) -> list[Aim]:
    """Return the aims that name the label, those that name it first in front."""
    ranked = [aim for aim in aims if label in aim.weakness.labels]
    return sorted(ranked, key=lambda aim: aim.weakness.labels.index(label))


def _counts(
    texts: int, strategy: StrategySection, aim: Aim | None, looped: bool
) -> dict[Difficulty, int]:
    """Split the texts of a call into hard and easy; outside the loop they are plain."""
    if not looped:
        return {"plain": texts}
    if not strategy.easy:
        return {"hard": texts}
    share = strategy.easy_share
    if aim is not None and aim.hard + aim.easy:
        # The analyst may lean to either side, but never drops one.
        share = min(0.75, max(0.25, aim.easy / (aim.hard + aim.easy)))
    easy = min(texts - 1, max(1, math.floor(texts * share + 0.5)))
    return {"hard": texts - easy, "easy": easy}
