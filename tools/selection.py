"""Which texts of a pool the teacher is asked about next: strategies by name.

random       by chance
uncertainty  those the student is least sure of, by entropy (Lewis & Gale, 1994)
m-raru       by chance, each accepted with its uncertainty as the probability (arXiv 2511.11574)
k-centre     each the farthest from all there are (Sener & Savarese, 2018, algorithm 1)
llkd         ours: of the largest groups of like texts that hold nothing asked, the typical text
             that the student is unsure of (Hacohen et al., 2022); after these uncertain ones far
             from each other that bring the labels it predicts level; some near what it got wrong
             lately; some by chance, for it may be sure and wrong
confidence   by chance; the teacher's confidence decides what is learnt
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from evokd.records import Chosen
from evokd.tools.clusters import group, typicality

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from evokd.store.pool import Pool

CANDIDATES = 8  # of a label, for each text that is wanted of it
SAMPLED = 2000  # where distance alone decides, of so many by chance
DRAWS = 10  # of so many each that may be accepted by chance
CHANCE = 0.1  # share of `llkd`'s texts that is drawn by chance
NEAR = 0.3  # share of them that is near failures, where there are any
MOST_GROUPS = 500
MOST_OF_SHARE = 1.5  # of what a label has in equal shares, by typicality alone
HALF_SURE = 0.5  # what a text that the student is sure of counts for beside its uncertainty


@dataclass(frozen=True)
class Near:
    """A text the student got wrong, and the labels it confused in it."""

    text: str
    labels: tuple[str, ...]


@dataclass(frozen=True)
class Wanted:
    """What is asked of a selection strategy.

    Args:
        pool: texts, with the student's scores where a strategy looks at them.
        asked: numbers of the texts that are not to be had any more.
        by_label: label → how many texts that the student gives it.
        embed: texts → unit vectors, shape (texts, dimension).
        known: the texts of seeds and of what was asked, for those that look at them.
        rng: all randomness.
        near: failures whose like shall be asked about, for those that look at them.
        why: number → what it was chosen by; the strategy writes it, chance it may leave out.
    """

    pool: Pool
    asked: frozenset[int]
    by_label: Mapping[str, int]
    embed: Callable[[Sequence[str]], NDArray[np.float32]]
    known: Sequence[str]
    rng: random.Random
    near: Sequence[Near] = ()
    why: dict[int, Chosen] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """How many texts there should be."""
        return sum(self.by_label.values())

    def explain(self, by: str, scores: Iterable[tuple[int, float]]) -> list[int]:
        """Write down why numbers were chosen, given with their scores, and return them."""
        told = dict(scores)
        self.why.update({one: Chosen(by=by, score=score) for one, score in told.items()})
        return list(told)


def select_random(wanted: Wanted) -> list[int]:
    """Return numbers by chance."""
    return wanted.pool.draw(wanted.count, wanted.asked, wanted.rng)


def select_uncertain(wanted: Wanted) -> list[int]:
    """Return what the student is least sure of."""
    return _most_uncertain(wanted, wanted.count, wanted.asked)


def select_accept_reject(wanted: Wanted) -> list[int]:
    """Return texts by chance, each accepted with its uncertainty as the probability.

    A student that is sure accepts next to none: after some thousand the rest is what it is least
    sure of.
    """
    taken: list[int] = []
    seen = set(wanted.asked)
    draws = 0
    while len(taken) < wanted.count:
        drawn = wanted.pool.draw(SAMPLED, seen, wanted.rng) if draws < DRAWS else []
        draws += 1
        if not drawn:
            missing = wanted.count - len(taken)
            return taken + _most_uncertain(wanted, missing, {*wanted.asked, *taken})
        seen.update(drawn)
        for one in wanted.pool.scores(drawn):
            if len(taken) < wanted.count and wanted.rng.random() < one.uncertainty:
                taken += wanted.explain("accepted", [(one.id, one.uncertainty)])
    return taken


def select_k_centre(wanted: Wanted) -> list[int]:
    """Return texts that are each the farthest from all there are, among some drawn by chance."""
    drawn = wanted.pool.draw(max(SAMPLED, wanted.count), wanted.asked, wanted.rng)
    vectors = wanted.embed(wanted.pool.texts(drawn))
    found = k_centre(vectors, wanted.embed(wanted.known), wanted.count)
    return wanted.explain("distance", [(drawn[place], score) for place, score in found])


def select_llkd(wanted: Wanted) -> list[int]:
    """Return typical and uncertain texts of all predicted labels, unlike what is known.

    First some by chance, then such as are near failures: among the uncertain ones that the student
    gives a label it confused; then those that are typical of a group of texts in which nothing is
    known. What groups do not give are uncertain texts far from all that is known, which bring every
    label to its share, or near it, the one that lacks most first; a label that the student gives
    too few texts leaves its share to the most uncertain ones of all.
    """
    import numpy as np

    by_chance = round(CHANCE * wanted.count)
    taken = wanted.pool.draw(by_chance, wanted.asked, wanted.rng)
    known = wanted.embed([*wanted.known, *wanted.pool.texts(taken)])
    wrong = wanted.embed([one.text for one in wanted.near])

    def take(share: int, labels: Sequence[str | None], *, near_failures: bool = False) -> None:
        nonlocal known
        missing = max(0, min(share, wanted.count - len(taken)))
        out = {*wanted.asked, *taken}
        candidates = [
            one
            for label in labels
            for one in wanted.pool.most_uncertain(CANDIDATES * missing, out, label)
        ]
        if not candidates:
            return
        vectors = wanted.embed(wanted.pool.texts([one.id for one in candidates]))
        weights = np.asarray([one.uncertainty for one in candidates])
        if near_failures:
            weights = weights * np.maximum(0.0, vectors @ wrong.T).max(axis=1)
        found = k_centre(vectors, known, missing, weights)
        by = "near a failure" if near_failures else "uncertainty x distance"
        taken.extend(wanted.explain(by, [(candidates[place].id, score) for place, score in found]))
        known = np.concatenate([known, vectors[[place for place, _ in found]]])

    def lacking() -> dict[str, int]:
        said = Counter(one.label for one in wanted.pool.scores(taken))
        lacks = {label: number - said[label] for label, number in wanted.by_label.items()}
        return shared_out(wanted.count - len(taken), lacks)

    confused = sorted({label for one in wanted.near for label in one.labels})
    near = NEAR if confused else 0.0
    take(round(near * wanted.count), confused, near_failures=True)
    typical = _most_typical(wanted, taken, known)
    known = np.concatenate([known, wanted.embed(wanted.pool.texts(typical))])
    taken += typical
    for label, number in lacking().items():
        take(number, [label])
    take(wanted.count - len(taken), [None])
    return taken


def _most_typical(wanted: Wanted, taken: Sequence[int], known: NDArray[np.float32]) -> list[int]:
    """Return texts that stand for the largest groups of the pool in which nothing is known.

    Over two thousand texts by chance and what is known, in as many groups as there are known and
    wanted ones: of each group the text with the highest typicality times uncertainty, which counts
    from a half on. No label that the student predicts gives more than half more than its part in
    equal shares. None where 500 texts are known already: then few groups are new, and the uncertain
    teach more.

    Args:
        taken: numbers that are not to be had any more, beside `wanted.asked`.
        known: vectors of what is known, shape (texts, dimension).
    """
    import numpy as np

    missing = wanted.count - len(taken)
    if len(known) >= MOST_GROUPS or missing <= 0:
        return []
    drawn = wanted.pool.draw(SAMPLED, {*wanted.asked, *taken}, wanted.rng)
    if not drawn:
        return []
    vectors = wanted.embed(wanted.pool.texts(drawn))
    count = min(MOST_GROUPS, len(known) + missing)
    groups = group(np.concatenate([known, vectors]), count, wanted.rng)
    covered = set(groups[: len(known)].tolist())
    members: dict[int, list[int]] = {}
    for place, number in enumerate(groups[len(known) :].tolist()):
        if number not in covered:
            members.setdefault(number, []).append(place)
    scores = wanted.pool.scores(drawn)
    most = math.ceil(MOST_OF_SHARE * missing / max(1, len(wanted.by_label)))
    said: Counter[str] = Counter()
    chosen: list[tuple[int, float]] = []
    for places in sorted(members.values(), key=len, reverse=True):
        if len(chosen) == missing:
            break
        rank = typicality(vectors[places]) * [
            HALF_SURE + scores[place].uncertainty for place in places
        ]
        best = places[int(rank.argmax())]
        if said[scores[best].label] < most:
            said[scores[best].label] += 1
            chosen.append((drawn[best], float(rank.max())))
    return wanted.explain("typicality x uncertainty", chosen)


def shared_out(room: int, lacking: Mapping[str, int]) -> dict[str, int]:
    """Return how many of `room` texts each label gets: one at a time to the one that lacks most.

    No label gets more than it lacks; what lacks nothing is left out.
    """
    left = {label: number for label, number in lacking.items() if number > 0}
    total = min(max(0, room), sum(left.values()))
    return balanced_shares(total, list(left), {label: -number for label, number in left.items()})


def balanced_shares(
    total: int, labels: Sequence[str], learned: Mapping[str | None, int]
) -> dict[str, int]:
    """Return how many texts of each label are wanted, so that labels come level.

    What is wanted falls on the labels that have fewest, one after the other.

    Args:
        learned: label → rows so far.
    """
    have = {label: learned.get(label, 0) for label in labels}
    shares = dict.fromkeys(labels, 0)
    for _ in range(total):
        label = min(labels, key=lambda name: have[name] + shares[name])
        shares[label] += 1
    return shares


def k_centre(
    vectors: NDArray[np.float32],
    centres: NDArray[np.float32],
    count: int,
    weights: Sequence[float] | NDArray[np.float64] | None = None,
) -> list[tuple[int, float]]:
    """Return the places of rows that are, one after the other, the farthest from all centres.

    With each stands its distance when it was taken.

    Greedy k-centre (Sener & Savarese, 2018, algorithm 1), with the cosine distance, here times
    each row's weight; what was taken is a centre, too. Of equal ones the first is taken.

    Args:
        vectors: unit vectors, shape (rows, dimension).
        centres: unit vectors, shape (centres, dimension); may be none.
        weights: shape (rows,); None: all equal.
    """
    import numpy as np

    count = min(count, len(vectors))
    weight = np.ones(len(vectors)) if weights is None else np.asarray(weights)
    nearest = np.full(len(vectors), -1.0)
    if len(centres):
        nearest = (vectors @ centres.T).max(axis=1)
    taken: list[tuple[int, float]] = []
    open_ = np.ones(len(vectors), dtype=bool)
    for _ in range(count):
        score = np.where(open_, (1 - nearest) * weight, -np.inf)
        place = int(score.argmax())
        taken.append((place, float(score[place])))
        open_[place] = False
        nearest = np.maximum(nearest, vectors @ vectors[place])
    return taken


def _most_uncertain(wanted: Wanted, count: int, without: Iterable[int]) -> list[int]:
    rows = wanted.pool.most_uncertain(count, without)
    return wanted.explain("uncertainty", [(one.id, one.uncertainty) for one in rows])


SELECTIONS: dict[str, Callable[[Wanted], list[int]]] = {
    "llkd": select_llkd,
    "random": select_random,
    "uncertainty": select_uncertain,
    "confidence": select_random,
    "m-raru": select_accept_reject,
    "k-centre": select_k_centre,
}
LOOKS_AT_STUDENT = ("llkd", "uncertainty", "m-raru")
LOOKS_AT_TEACHER = ("llkd", "confidence")
LOOKS_AT_KNOWN = ("llkd", "k-centre")
LOOKS_AT_FAILURES = ("llkd",)
