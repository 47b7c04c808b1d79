"""Find the entity strings that an LLM named in their text: it never gives offsets."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from itertools import product

from evokd.records import FoundEntity, Span
from evokd.tasks.words import (
    begins_sentence,
    fold,
    folded,
    is_edge,
    is_figure,
    is_loose_edge,
    is_lowered,
    is_no_name,
    is_part_of_name,
    is_unmarked,
    tighten,
)

# How sure the labeler has to be of what no capital letter marks; less of one word that may be a
# name, for it begins a sentence.
SURE, SURE_OF_WORD = 0.8, 0.5
_PAUSES = ",;:"
_ENCLOSED = re.compile(
    r"([\"'`])[^\"'`]+\1|“[^“”]+”|‘[^‘’]+’|«[^«»]+»|„[^„“”]+[“”]|\([^()]+\)|\[[^\[\]]+\]"
)
_QUOTES = "\"'`“”‘’«»„.,;:!?()[]"


@dataclass(frozen=True)
class Mention:
    """An entity as an LLM names it: a string and a type."""

    text: str
    label: str
    confidence: float = 1.0


@dataclass(frozen=True)
class Capitals:
    """What capital letters tell of a task's entities, see `ner.capitals_of`.

    Args:
        names: types of which nothing in small letters is an entity, in a text that has capital
            ones.
        usual: nearly all entities have one, or a digit, whatever their type.
        figured: types of which a number or a measure may be an entity, see `is_figure`.
    """

    names: AbstractSet[str] = frozenset()
    usual: bool = False
    figured: AbstractSet[str] = frozenset()

    def allow(self, text: str, start: int, end: int, named: Mention) -> bool:
        """Whether what was named may be an entity where it stands.

        Where entities have capital letters, and it has none but that of its sentence's beginning,
        only if it was surely named: a small labeler names "The politician", "He" and "1986".
        """
        is_name = named.label in self.names
        if self.is_small(text, start, end, named.label):
            return False
        if self.is_mere_figure(text, start, end, named.label):
            return named.confidence >= SURE
        if not (is_name or self.usual) or not is_unmarked(text, start, end):
            return True
        is_word = is_name and " " not in text[start:end]
        return named.confidence >= (SURE_OF_WORD if is_word else SURE)

    def is_small(self, text: str, start: int, end: int, label: str) -> bool:
        """Whether a part of a text is in small letters, where the type's entities are names."""
        return label in self.names and is_no_name(text, start, end)

    def is_mere_figure(self, text: str, start: int, end: int, label: str) -> bool:
        """Whether a part of a text is a number or a measure, where the type's entities are none."""
        return label in self.names - self.figured and is_figure(text, start, end)


NO_CAPITALS = Capitals()


@dataclass(frozen=True)
class Grounded:
    """Entities found, and mentions that have no place in the text."""

    entities: tuple[FoundEntity, ...]
    lost: tuple[Mention, ...]


def ground(text: str, mentions: Sequence[Mention], capitals: Capitals = NO_CAPITALS) -> Grounded:
    """Find the strings an LLM named in their text.

    Signs that belong to the sentence are no part of a string: a comma behind it, quotes and
    brackets around it. A string is looked for as it stands, each spelling by itself; one that
    stands nowhere so is looked for without regard to case, width, white space and the form of
    quotes and dashes, else with other spaces beside signs, "AT&T" for "AT & T". It has
    to begin and end where a word does, and not within another name where it stands alone, too. All
    its places count, also those where it is spelled otherwise and nothing else that was named
    stands, but for case: small letters are another word than capitals. A string named with several
    types has them in the order of its places, without those in longer entities, and the surest ones
    where there are too few. Where two entities overlap, the longer one stays, then the surer one,
    then the one that stands there as named.

    Args:
        capitals: what they tell of the entities; by default nothing.
    """
    hay = _Hay(text, *fold(text))
    named: dict[str, list[Mention]] = defaultdict(list)
    for one in mentions:
        named[_without_signs(one.text.strip(), hay.plain)].append(one)
    exact = {string: hay.exact(string) for string in named}
    taken = [span for spans in exact.values() for span in spans]
    placed: list[tuple[list[Span], list[Mention]]] = []
    respelled: dict[str, tuple[str, list[Mention]]] = {}
    for string, same in named.items():
        if exact[string]:
            others = hay.respelled(string, taken)
            taken += others
            placed.append((sorted([*exact[string], *others]), same))
        else:
            respelled.setdefault(folded(string), (string, []))[1].extend(same)
    placed += [(hay.tolerant(string), same) for string, same in respelled.values()]
    kept: list[tuple[Span, Mention]] = []
    for spans, same in sorted(placed, key=_longest_first):
        taken = [span for span, _ in kept]
        free = [span for span in spans if _is_free(span, taken)]
        kept += [
            ((start, end), one)
            for (start, end), one in _with_types(free, same)
            if capitals.allow(text, start, end, one)
        ]
    lost = {one for spans, same in placed if not spans for one in same}
    return Grounded(
        tuple(
            FoundEntity(start=start, end=end, label=one.label, confidence=one.confidence)
            for (start, end), one in sorted(kept, key=lambda pair: pair[0])
        ),
        tuple(one for one in mentions if one in lost),
    )


def _without_signs(string: str, plain: str) -> str:
    """Return what stands in the folded text without a comma behind, or quotes around it."""
    bare = string.rstrip(_PAUSES).rstrip()
    if _ENCLOSED.fullmatch(bare):
        bare = bare[1:-1].strip()
    return bare if bare and folded(string) in plain else string


@dataclass(frozen=True)
class _Hay:
    """A text to search, and how it reads without case, with the places its signs came from."""

    text: str
    plain: str
    origin: list[int]

    def exact(self, string: str) -> list[Span]:
        """Return where a string stands as it is spelled, in order and without overlap."""
        return self._alone(list(self._search(self.text, None, string, is_edge)))

    def respelled(self, string: str, taken: Sequence[Span]) -> list[Span]:
        """Return where else it stands, spelled otherwise, in a place that nothing has taken."""
        tight, origin = tighten(self.plain, self.origin)
        needle, _ = tighten(*fold(string))
        return [
            (start, end)
            for start, end in self._search(tight, origin, needle, is_edge)
            if _is_free((start, end), taken)
            and self._is_word(string, start, end)
            and not is_part_of_name(self.text, start, end)
        ]

    def tolerant(self, wanted: str) -> list[Span]:
        """Return where a string stands that stands nowhere as it is spelled."""
        strings = (wanted.strip(), wanted.strip().strip(_QUOTES).strip())
        for string, edge in product(strings, (is_edge, is_loose_edge)):
            for plain, origin, needle in (
                (self.text, None, string),
                (self.plain, self.origin, folded(string)),
            ):
                if found := list(self._search(plain, origin, needle, edge)):
                    return self._alone(found)
        tight, origin = tighten(self.plain, self.origin)
        for string, edge in product(strings, (is_edge, is_loose_edge)):
            needle, _ = tighten(*fold(string))
            if found := list(self._search(tight, origin, needle, edge)):
                return self._alone(found)
        return []

    def _alone(self, spans: list[Span]) -> list[Span]:
        """Return the places that are no part of another name, or all where there are no others."""
        return [span for span in spans if not is_part_of_name(self.text, *span)] or spans

    def _is_word(self, string: str, start: int, end: int) -> bool:
        """Whether what stands there is a string, its case aside: "us" is no "US"."""
        part = self.text[start:end]
        if is_lowered(part) or not is_lowered(string):
            return is_lowered(part) is is_lowered(string)
        return begins_sentence(self.text, start) and is_lowered(part[1:])

    def _search(
        self,
        hay: str,
        origin: Sequence[int] | None,
        needle: str,
        edge: Callable[[str, int], bool],
    ) -> Iterator[Span]:
        """Yield the spans of `needle` in the text that `hay` was made of, between word edges."""
        at = range(len(self.text) + 1) if origin is None else origin
        place = hay.find(needle) if needle else -1
        while place >= 0:
            last = place + len(needle)
            start, end = at[place], at[last - 1] + 1
            whole = at[last] != at[last - 1] and (not place or at[place - 1] != start)
            fits = whole and edge(self.text, start) and edge(self.text, end)
            if fits:
                yield start, end
            place = hay.find(needle, last if fits else place + 1)


def _with_types(spans: Sequence[Span], same: Sequence[Mention]) -> Iterator[tuple[Span, Mention]]:
    """Yield every place of a string with the mention whose type it has."""
    surest = sorted(same, key=lambda one: -one.confidence)[: len(spans)]
    chosen = [one for one in same if one in surest]
    for place, span in enumerate(spans):
        yield span, chosen[min(place, len(chosen) - 1)]


def _is_free(span: Span, taken: Sequence[Span]) -> bool:
    return all(span[1] <= start or end <= span[0] for start, end in taken)


def _longest_first(placed: tuple[list[Span], list[Mention]]) -> tuple[int, float]:
    spans, same = placed
    longest = max((end - start for start, end in spans), default=0)
    return -longest, -max(one.confidence for one in same)
