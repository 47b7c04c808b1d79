"""Reading entities off a tagger's probabilities: the likeliest tags that mean something.

Token by token, a tagger that has seen few texts tears "Dallas Morning News" apart: a place, then a
newspaper. Here the tags of a whole text are chosen together (Viterbi decoding over valid IOB2, as
for a CRF, but no transition is learnt): I- follows B- or I- of its own type only, and an entity
right behind another costs as much as it was rare in the rows that were learnt.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from evokd.records import Example
from evokd.tasks.grounding import NO_CAPITALS, Capitals
from evokd.tasks.ner import BEGIN, INSIDE, OUTSIDE, capitals_of, tagged, to_tags

LEAST = 1e-12  # a probability of nought is none


@dataclass(frozen=True)
class EntityHabits:
    """What the entities of the learnt rows are like; a student's config keeps it.

    Args:
        adjacent_cost: in nats, of an entity right behind another.
        capitals: what capital letters tell: of types that are names nothing in small letters is
            an entity, nor a figure, such as "1986", where they have none.
    """

    adjacent_cost: float = 0.0
    capitals: Capitals = NO_CAPITALS

    @classmethod
    def of(cls, rows: Sequence[Example]) -> EntityHabits:
        """Return what rows show.

        The cost is −log of the share of B- among the B- and I- right behind a B- or I-, with one
        more of each counted.
        """
        behind = [
            tag
            for row in rows
            for last, tag in pairwise(to_tags(tagged(row))[1])
            if OUTSIDE not in (last, tag)
        ]
        begun = sum(tag.startswith(BEGIN) for tag in behind)
        return cls(math.log((len(behind) + 2) / (begun + 1)), capitals_of(rows))

    @classmethod
    def read(cls, raw: Mapping[str, Any]) -> EntityHabits:
        """Return what `raw` wrote; of a student that knows of none, what costs nothing."""
        names, figured = (frozenset(raw.get(key, ())) for key in ("names", "figured"))
        if "figured" not in raw:  # of a student that was taught before figures were told
            figured = names
        return cls(raw.get("adjacent_cost", 0.0), Capitals(names, figured=figured))

    def raw(self) -> dict[str, Any]:
        """Return it as a config holds it."""
        return {
            "adjacent_cost": self.adjacent_cost,
            "names": sorted(self.capitals.names),
            "figured": sorted(self.capitals.figured),
        }

    def allow(self, text: str, start: int, end: int, label: str) -> bool:
        """Whether a part of a text may be an entity of a type."""
        where = text, start, end, label
        return not (self.capitals.is_small(*where) or self.capitals.is_mere_figure(*where))


def likeliest_tags(
    probabilities: Sequence[Sequence[float]], tags: Sequence[str], adjacent_cost: float = 0.0
) -> list[str]:
    """Return the likeliest valid tags of a text's tokens.

    Args:
        probabilities: a distribution over `tags` a token, shape (tokens, tags).
        tags: O, and B- and I- of every type.
        adjacent_cost: in nats, of a B- right behind a B- or I-.
    """
    came_from: list[dict[str, str]] = []
    scores = {OUTSIDE: 0.0}  # as if an O stood before the text
    for said in probabilities:
        best = max(scores, key=scores.__getitem__)
        before_new = max(scores, key=lambda tag: scores[tag] - _cost(tag, adjacent_cost))
        sources, reached = {}, {}
        for tag, probability in zip(tags, said, strict=True):
            cost = 0.0
            if tag == OUTSIDE:
                source = best
            elif tag.startswith(BEGIN):
                source, cost = before_new, _cost(before_new, adjacent_cost)
            else:
                own = [one for one in (BEGIN + tag.removeprefix(INSIDE), tag) if one in scores]
                if not own:
                    continue
                source = max(own, key=scores.__getitem__)
            sources[tag] = source
            reached[tag] = scores[source] - cost + math.log(max(probability, LEAST))
        came_from.append(sources)
        scores = reached
    tag, found = max(scores, key=scores.__getitem__), []
    for sources in reversed(came_from):
        found.append(tag)
        tag = sources[tag]
    return found[::-1]


def _cost(last: str, adjacent_cost: float) -> float:
    """Return what an entity costs that begins right behind a token of this tag."""
    return 0.0 if last == OUTSIDE else adjacent_cost
