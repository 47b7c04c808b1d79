"""Named entities in a text: rows, IOB2 tags, and finding entity strings in their text.

Knows nothing of models. A row is `{"tokens": …, "tags": …}` (strict IOB2) or `{"text": …,
"entities": [{"start": …, "end": …, "label": …}]}`; inside, all rows are the latter, with the tokens
kept as spans, so that nothing is lost on the way back. Offsets count code points, ends are
exclusive. An LLM never gives offsets, only strings: `ground` finds them.
"""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeGuard

from pydantic import Field

from evokd.config import nearest
from evokd.errors import DataError
from evokd.records import Record

OUTSIDE, BEGIN, INSIDE = "O", "B-", "I-"
_JOINER = "\u200d"
_SKIN_TONES = range(0x1F3FB, 0x1F400)
_QUOTES = "\"'`“”‘’«»„.,;:!?()[]"

Span = tuple[int, int]


class Entity(Record):
    """One entity of a text."""

    start: int = Field(ge=0, description="first code point")
    end: int = Field(gt=0, description="one past the last code point")
    label: str = Field(description="its type")


class TaggedText(Record):
    """A text with its entities, in their order, and its tokens."""

    text: str
    entities: list[Entity]
    tokens: list[Span]

    @property
    def words(self) -> list[str]:
        """The tokens as strings."""
        return [self.text[start:end] for start, end in self.tokens]


@dataclass(frozen=True)
class Mention:
    """An entity as an LLM names it: a string and a type."""

    text: str
    label: str
    confidence: float = 1.0


@dataclass(frozen=True)
class Grounded:
    """Entities found, and mentions that have no place in the text."""

    entities: tuple[Entity, ...]
    lost: tuple[Mention, ...]


def from_tags(tokens: Sequence[str], tags: Sequence[str]) -> TaggedText:
    """Return tokens and strict IOB2 tags as a text, its tokens joined by spaces, with entities.

    Raises:
        ValueError: different lengths, no or an empty token, a tag that is none, I- without B-.
    """
    if len(tokens) != len(tags):
        raise ValueError(f"{len(tokens)} tokens but {len(tags)} tags")
    if not tokens:
        raise ValueError("no tokens")
    for token in tokens:
        if not token or token.split() != [token]:
            raise ValueError(f"the token {token!r} is empty or holds white space")
    ends = [0]
    for token in tokens:
        ends.append(ends[-1] + len(token) + 1)
    spans = [(start, end - 1) for start, end in pairwise(ends)]
    entities = [
        Entity(start=spans[first][0], end=spans[last - 1][1], label=label)
        for first, last, label in _runs(tags)
    ]
    return TaggedText(text=" ".join(tokens), entities=entities, tokens=spans)


def to_tags(row: TaggedText) -> tuple[list[str], list[str]]:
    """Return the tokens and their strict IOB2 tags.

    Raises:
        ValueError: entities that overlap or do not end where tokens do.
    """
    starts = {start: place for place, (start, _) in enumerate(row.tokens)}
    ends = {end: place for place, (_, end) in enumerate(row.tokens)}
    words = row.words
    tags = [OUTSIDE] * len(words)
    for one in row.entities:
        first, last = starts.get(one.start), ends.get(one.end)
        if first is None or last is None:
            raise ValueError(
                f"the entity {row.text[one.start : one.end]!r} does not begin and end with a token"
            )
        for place in range(first, last + 1):
            if tags[place] != OUTSIDE:
                raise ValueError(f"two entities hold the token {words[place]!r}")
            tags[place] = (BEGIN if place == first else INSIDE) + one.label
    return words, tags


def from_entities(text: str, entities: Iterable[Entity]) -> TaggedText:
    """Return a text with entities and tokens of our own, cut where an entity begins or ends.

    Raises:
        ValueError: an empty text, an entity that is out of range, begins or ends with white space,
            or overlaps another.
    """
    if not text.strip():
        raise ValueError("the text is empty")
    ordered = sorted(entities, key=lambda one: one.start)
    for one in ordered:
        inside = text[one.start : one.end]
        if not one.start < one.end <= len(text):
            raise ValueError(f"the entity {one.start}-{one.end} is not in a text of {len(text)}")
        if inside != inside.strip():
            raise ValueError(f"the entity {inside!r} begins or ends with white space")
    for one, other in pairwise(ordered):
        if other.start < one.end:
            raise ValueError(
                f"the entities {text[one.start : one.end]!r} and "
                f"{text[other.start : other.end]!r} overlap"
            )
    cuts = {place for one in ordered for place in (one.start, one.end)}
    return TaggedText(text=text, entities=ordered, tokens=split_tokens(text, cuts))


def split_tokens(text: str, cuts: Iterable[int] = ()) -> list[Span]:
    """Return the spans of words, numbers and single other signs; none holds white space.

    A sign keeps its combining marks, an emoji its skin tone and what is joined to it.

    Args:
        cuts: places where a token ends in any case.
    """
    forced = set(cuts)
    tokens: list[Span] = []
    start = None
    for place, sign in enumerate(text):
        if start is not None and (place in forced or sign.isspace() or _is_break(text, place)):
            tokens.append((start, place))
            start = None
        if start is None and not sign.isspace():
            start = place
    if start is not None:
        tokens.append((start, len(text)))
    return tokens


def check_row(raw: dict[str, Any], where: str, labels: Sequence[str]) -> TaggedText:
    """Return a row of either form, checked.

    Raises:
        DataError: naming the row, what is wrong with it and what was expected.
    """
    try:
        row = _read_row(raw)
    except ValueError as error:
        raise DataError(f"{where}: {error}") from None
    for one in row.entities:
        if one.label not in labels:
            raise DataError(
                f"{where}: unknown entity type {one.label!r}{nearest(one.label, labels)}; "
                f"the task knows {', '.join(labels)}"
            )
    return row


def ground(text: str, mentions: Sequence[Mention]) -> Grounded:
    """Find the strings an LLM named in their text.

    A string is looked for as it stands, else without regard to case, width and white space, else
    without the quotes around it. It has to begin and end where a word does. All its places count;
    a string named with several types has them in the order of its places, the surest ones where
    there are too few. Where two entities overlap, the longer one stays, then the surer one.
    """
    named: dict[str, list[Mention]] = defaultdict(list)
    for one in mentions:
        named[_folded(one.text)].append(one)
    folded = _fold(text)
    found: list[tuple[Span, Mention]] = []
    for same in named.values():
        spans = _places(text, folded, same[0].text)
        surest = sorted(same, key=lambda one: -one.confidence)[: len(spans)]
        chosen = [one for one in same if one in surest]
        found += [(span, chosen[min(place, len(chosen) - 1)]) for place, span in enumerate(spans)]
    kept: list[tuple[Span, Mention]] = []
    for (start, end), one in sorted(found, key=_longest_first):
        if all(end <= other[0] or other[1] <= start for other, _ in kept):
            kept.append(((start, end), one))
    settled = {(_folded(one.text), one.label) for _, one in kept}
    return Grounded(
        tuple(
            Entity(start=start, end=end, label=one.label)
            for (start, end), one in sorted(kept, key=lambda pair: pair[0])
        ),
        tuple(one for one in mentions if (_folded(one.text), one.label) not in settled),
    )


def _runs(tags: Sequence[str]) -> Iterator[tuple[int, int, str]]:
    """Yield (first token, one past the last token, label) of every entity."""
    start, label = 0, ""
    for place, tag in enumerate([*tags, OUTSIDE]):
        kind, name = tag[:2], tag[2:]
        if tag != OUTSIDE and (kind not in (BEGIN, INSIDE) or not name):
            raise ValueError(f"tag {place + 1} is {tag!r}; expected O, B-<type> or I-<type>")
        if kind == INSIDE and name == label:
            continue
        if kind == INSIDE:
            raise ValueError(f"tag {place + 1} is {tag!r}, but no {BEGIN}{name} goes before it")
        if label:
            yield start, place, label
        start, label = place, name if kind == BEGIN else ""


def _read_row(raw: dict[str, Any]) -> TaggedText:
    if "tokens" in raw or "tags" in raw:
        tokens, tags = raw.get("tokens"), raw.get("tags")
        if not (_is_strings(tokens) and _is_strings(tags)):
            raise ValueError("expected tokens and tags, two lists of strings")
        return from_tags(tokens, tags)
    text, entities = raw.get("text"), raw.get("entities")
    if not isinstance(text, str) or not isinstance(entities, list):
        raise ValueError(
            f"expected tokens and tags, or text and entities; found {', '.join(map(str, raw))}"
        )
    return from_entities(text, [_read_entity(one) for one in entities])


def _read_entity(raw: Any) -> Entity:
    kinds = {"start": int, "end": int, "label": str}
    read = raw if isinstance(raw, dict) else {}
    if any(type(read.get(key)) is not kind for key, kind in kinds.items()):
        raise ValueError(f"the entity {raw!r}: expected start, end (numbers) and label")
    if raw["start"] < 0 or raw["end"] <= raw["start"]:
        raise ValueError(f"the entity {raw!r}: it has to end after it starts, from 0 on")
    return Entity(start=raw["start"], end=raw["end"], label=raw["label"])


def _is_strings(value: Any) -> TypeGuard[list[str]]:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def _is_break(text: str, place: int) -> bool:
    """Whether a token may end between the code points before and at `place`."""
    before, after = text[place - 1], text[place]
    if _continues(after) or before == _JOINER:
        return False
    return not (_is_word(_base(text, place - 1)) and _is_word(after))


def _is_edge(text: str, place: int) -> bool:
    """Whether an entity may begin or end here: not within a word of a script that has spaces."""
    if place in (0, len(text)):
        return True
    if _continues(text[place]) or text[place - 1] == _JOINER:
        return False
    before, after = _base(text, place - 1), text[place]
    caseless = "Lo" in (unicodedata.category(before), unicodedata.category(after))
    return caseless or not (_is_word(before) and _is_word(after))


def _base(text: str, place: int) -> str:
    """Return the code point that the marks up to `place` belong to."""
    while place > 0 and _continues(text[place]):
        place -= 1
    return text[place]


def _continues(sign: str) -> bool:
    marks = unicodedata.category(sign).startswith("M")
    return marks or sign == _JOINER or ord(sign) in _SKIN_TONES


def _is_word(sign: str) -> bool:
    return sign.isalnum() or sign == "_"


def _longest_first(found: tuple[Span, Mention]) -> tuple[int, float, int]:
    (start, end), one = found
    return start - end, -one.confidence, start


def _places(text: str, folded: tuple[str, list[int]], wanted: str) -> list[Span]:
    """Return where a string stands, in order and without overlap; `folded` is that of the text."""
    for string in (wanted.strip(), wanted.strip().strip(_QUOTES).strip()):
        as_it_stands = (text, range(len(text) + 1), string)
        for hay, origin, needle in (as_it_stands, (*folded, _folded(string))):
            if found := list(_search(text, hay, origin, needle)):
                return found
    return []


def _search(text: str, hay: str, origin: Sequence[int], needle: str) -> Iterator[Span]:
    """Yield the spans of `needle` in the text that `hay` was made of, between word edges."""
    place = hay.find(needle) if needle else -1
    while place >= 0:
        last = place + len(needle)
        start, end = origin[place], origin[last - 1] + 1
        whole = origin[last] != origin[last - 1] and (not place or origin[place - 1] != start)
        fits = whole and _is_edge(text, start) and _is_edge(text, end)
        if fits:
            yield start, end
        place = hay.find(needle, last if fits else place + 1)


def _folded(text: str) -> str:
    return _fold(text)[0].strip()


def _fold(text: str) -> tuple[str, list[int]]:
    """Return the text without case, width and repeated white space, and where each sign was."""
    signs: list[str] = []
    origin: list[int] = []
    for place, sign in enumerate(text):
        plain = " " if sign.isspace() else unicodedata.normalize("NFKD", sign).casefold()
        for one in plain:
            if one == " " and signs and signs[-1] == " ":
                continue
            signs.append(one)
            origin.append(place)
    return "".join(signs), [*origin, len(text)]
