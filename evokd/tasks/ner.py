"""Named entities in a text: rows, IOB2 tags, and finding entity strings in their text.

Knows nothing of models. A row is `{"tokens": …, "tags": …}` (strict IOB2) or `{"text": …,
"entities": [{"start": …, "end": …, "label": …}]}`; inside, all rows are the latter, with the tokens
kept as spans, so that nothing is lost on the way back. Offsets count code points, ends are
exclusive.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema, create_model, model_validator

from evokd.config import nearest
from evokd.errors import DataError
from evokd.records import Entity, Example, Prediction, Record, Span
from evokd.tasks.grounding import Capitals, Mention, ground
from evokd.tasks.kind import Mistake, Row
from evokd.tasks.pool import TEXT
from evokd.tasks.texts import is_unicode
from evokd.tasks.words import is_capitalized, is_edge, is_figure, is_no_name, split_tokens

Key = tuple[int, int, str]  # start, end, type

OUTSIDE, BEGIN, INSIDE = "O", "B-", "I-"

NOTHING = "none"  # stands for the type of a text without entities
NOTHING_MEANS = "no entity of any of these types"
MOST_ENTITIES = 30  # a text
MOST_BARE_NAMES = 4  # that stand in a text of names alone
# Longer than a grammar spells out: thirty times a bounded string is too much for the server.
LONGEST_NAME = 400
FEWEST_NAMES = 2  # of a type; one says little of how its entities are written
FEWEST_MARKED = 6  # with a capital letter or a digit, of all types
FIGURED = 20  # entities of a type for a figure among them, where figures may be entities
MARKED_FOR_ONE = 4  # for one in small letters, where capital letters are usual
MISSED, SPURIOUS, WRONG_TYPE, BOUNDARY = "missed", "spurious", "wrong type", "wrong boundary"


class TaggedText(Record):
    """A text with its entities, in their order, and its tokens."""

    text: str
    entities: list[Entity]
    tokens: list[Span]

    @property
    def words(self) -> list[str]:
        """The tokens as strings."""
        return [self.text[start:end] for start, end in self.tokens]

    @property
    def spaced_words(self) -> list[str]:
        """The tokens as strings, with a space in front where white space goes before them."""
        return [
            " " * self.text[start - 1 : start].isspace() + self.text[start:end]
            for start, end in self.tokens
        ]


def from_tags(tokens: Sequence[str], tags: Sequence[str]) -> TaggedText:
    """Return tokens and strict IOB2 tags as a text, its tokens joined by spaces, with entities.

    Raises:
        ValueError: different lengths, no or an empty token, a tag that is none, I- without B-.
    """
    if len(tokens) != len(tags):
        raise ValueError(f"{len(tokens)} tokens but {len(tags)} tags")
    if not tokens:
        raise ValueError("no tokens")
    for place, token in enumerate(tokens):
        if not token or token.split() != [token]:
            raise ValueError(f"token {place + 1} is {token!r}: it is empty or holds white space")
    ends = [0]
    for token in tokens:
        ends.append(ends[-1] + len(token) + 1)
    spans = [(start, end - 1) for start, end in pairwise(ends)]
    entities = [
        Entity(start=spans[first][0], end=spans[last - 1][1], label=label)
        for first, last, label in entity_runs(tags)
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


class NamedEntities:
    """A text holds entities, each of a type; see `TaskKind`.

    A row's `label`, by which batches are balanced and texts are asked for, is one of its types, or
    "none". The metric is strict F1: an entity counts if both ends and its type are right.
    """

    name = "ner"
    metric = "strict F1"
    errors = (MISSED, SPURIOUS, WRONG_TYPE, BOUNDARY)
    exclusive = False
    columns = ()
    pool_columns = TEXT
    form = (
        '{"tokens": […], "tags": […]} (IOB2) or '
        '{"text": "…", "entities": [{"start": 0, "end": 5, "label": "…"}]}'
    )

    def check_row(self, raw: dict[str, Any], where: str, labels: Sequence[str]) -> Example:
        """Return a row of either form, checked."""
        try:
            row = _read_row(raw)
        except ValueError as error:
            raise DataError(f"{where}: {error}") from None
        if not is_unicode(row.text):
            raise DataError(f"{where}: the text holds half a surrogate pair; write it as UTF-8")
        for one in row.entities:
            if one.label not in labels:
                raise DataError(
                    f"{where}: unknown entity type {one.label!r}{nearest(one.label, labels)}; "
                    f"the task knows {', '.join(labels)}"
                )
        tokens = row.tokens if "tokens" in raw else []
        label = row.entities[0].label if row.entities else NOTHING
        return Example(text=row.text, label=label, entities=row.entities, tokens=tokens)

    def raw(self, row: Example) -> dict[str, Any]:
        """Return the row as it stands in a file, in the form it had."""
        if row.tokens:
            tokens, tags = to_tags(tagged(row))
            return {"tokens": tokens, "tags": tags}
        return {"text": row.text, "entities": [one.model_dump() for one in row.entities]}

    def mark(self, row: Row, said: Prediction) -> str:
        """Return right/found/gold entities."""
        gold, found = (
            {_key(one) for one in entities or ()} for entities in (row.entities, said.entities)
        )
        return f"{len(gold & found)}/{len(found)}/{len(gold)}"

    def describe(self, row: Row) -> str:
        """Return in words which entities a row has."""
        named = [f"{row.text[one.start : one.end]!r} ({one.label})" for one in row.entities]
        return f"the entities {', '.join(named)}" if named else "no entities"

    def doubts(self, rows: Sequence[Example]) -> list[str]:
        """Tell of entities that begin or end within a word: the student reads whole words."""
        within = [
            row.text[one.start : one.end]
            for row in rows
            for one in row.entities
            if not row.tokens and not (is_edge(row.text, one.start) and is_edge(row.text, one.end))
        ]
        if not within:
            return []
        shown = ", ".join(map(repr, within[:3]))
        return [
            f"{len(within)} entities begin or end within a word, such as {shown}: the student "
            "cannot find them; give whole words, or tokens and tags"
        ]

    def key(self, row: Row) -> str:
        """Return the text without white space, which tokens do not tell; case tells of names."""
        return "".join(row.text.split())

    def says(self, row: Row) -> str:
        """Return where the entities are, white space aside, and their types."""
        told = []
        for one in sorted(row.entities, key=lambda one: one.start):
            start, end = (len("".join(row.text[:at].split())) for at in (one.start, one.end))
            told.append(f"{start}-{end} {one.label}")
        return ", ".join(told)

    def targets(self, labels: Mapping[str, str]) -> dict[str, str]:
        """Return the types, and that there is no entity."""
        return {**labels, NOTHING: NOTHING_MEANS}

    def labels_in(self, row: Row) -> AbstractSet[str]:
        """Return the types of the row's entities."""
        return {one.label for one in row.entities} or {NOTHING}

    def inputs(self, rows: Sequence[Row]) -> list[TaggedText]:
        """Return the texts with their file's tokens, or else ours, and no entities."""
        return [
            TaggedText(text=row.text, entities=[], tokens=_tokens(row) or split_tokens(row.text))
            for row in rows
        ]

    def score(self, rows: Sequence[Row], said: Sequence[Prediction]) -> float:
        """Return strict F1 over all entities (seqeval); 0.0 where there are none."""
        from seqeval.metrics import f1_score
        from seqeval.scheme import IOB2

        gold, found = _tags_of(rows, said)
        if not any(tag != OUTSIDE for tags in (*gold, *found) for tag in tags):
            return 0.0
        return float(f1_score(gold, found, mode="strict", scheme=IOB2, zero_division=0))

    def score_by_label(
        self, rows: Sequence[Row], said: Sequence[Prediction], labels: Sequence[str]
    ) -> dict[str, float]:
        """Return strict F1 of each type that has entities among the rows."""
        from seqeval.metrics import classification_report
        from seqeval.scheme import IOB2

        present = {one.label for row in rows for one in row.entities}
        if not present:
            return {}
        gold, found = _tags_of(rows, said)
        table = classification_report(
            gold, found, mode="strict", scheme=IOB2, output_dict=True, zero_division=0
        )
        return {label: float(table[label]["f1-score"]) for label in labels if label in present}

    def mistakes(self, row: Row, said: Prediction) -> list[Mistake]:
        """Return what was missed, wrongly found, or found with another type or boundary."""
        gold = {_key(one) for one in row.entities}
        found = {_key(one) for one in said.entities or ()}
        instead = _found_instead(sorted(gold - found), sorted(found - gold))
        mistakes = []
        for start, end, label in sorted(gold - found):
            part = row.text[start:end]
            other = instead.get((start, end, label))
            if other is None:
                mistakes.append(Mistake(label, NOTHING, MISSED, part))
                continue
            error = BOUNDARY if other[2] == label else WRONG_TYPE
            mistakes.append(Mistake(label, other[2], error, part))
        mistakes += [
            Mistake(NOTHING, label, SPURIOUS, row.text[start:end])
            for start, end, label in sorted(found - gold - set(instead.values()))
        ]
        return mistakes


def capitals_of(rows: Iterable[Row]) -> Capitals:
    """Return what gold entities show: which types are names, and whether capitals are usual.

    Names are the types of which two or more gold entities have a capital letter that the sentence's
    beginning does not explain, or one, where those of all types together are enough to tell; and
    none is in small letters, but where the whole text is. Usual are capital letters where enough
    entities have one, or a digit, for each in small letters, and not most of these but a digit.
    A small labeler takes common nouns for entities now and then, and years for names, so that a
    type is figured only where one of its entities in FIGURED, or more, is a figure.
    """
    capitalized: Counter[str] = Counter()
    lowered: Counter[str] = Counter()
    figures: Counter[str] = Counter()
    every: Counter[str] = Counter()
    marked = 0
    for row in rows:
        for one in row.entities:
            is_capital = is_capitalized(row.text, one.start, one.end)
            has_digit = any(sign.isdigit() for sign in row.text[one.start : one.end])
            capitalized[one.label] += is_capital
            marked += is_capital or has_digit
            lowered[one.label] += is_no_name(row.text, one.start, one.end)
            figures[one.label] += is_figure(row.text, one.start, one.end)
            every[one.label] += 1
    small = lowered.total()
    enough = marked >= FEWEST_MARKED and 2 * capitalized.total() >= marked
    names = frozenset(
        label
        for label, number in capitalized.items()
        if not lowered[label] and number >= (1 if enough and not small else FEWEST_NAMES)
    )
    figured = frozenset(
        label for label, number in figures.items() if number and FIGURED * number >= every[label]
    )
    return Capitals(names, usual=enough and marked >= MARKED_FOR_ONE * small, figured=figured)


def found_in(text: str, named: Sequence[Mention], capitals: Capitals) -> Prediction:
    """Return what an LLM named as a prediction; what is not in the text is left out."""
    found = list(ground(text, named, capitals).entities)
    return Prediction(
        label=found[0].label if found else NOTHING,
        confidence=min((one.confidence for one in found), default=1.0),
        entities=found,
    )


class NamedEntity(BaseModel):
    """An entity as an LLM names it: an object, or a pair of its string and its type."""

    model_config = ConfigDict(extra="ignore")

    text: str = Field(min_length=1, max_length=LONGEST_NAME)
    type: str

    @model_validator(mode="before")
    @classmethod
    def _read_pair(cls, value: Any) -> Any:
        is_pair = isinstance(value, list) and len(value) == 2
        return dict(zip(("text", "type"), value, strict=True)) if is_pair else value


class NamedEntitiesReply(BaseModel):
    """The labeler's reply: strings with their types, never offsets."""

    model_config = ConfigDict(extra="ignore")

    entities: list[NamedEntity] = Field(max_length=MOST_ENTITIES)


def entities_reply(
    labels: Sequence[str], text: str, *, as_pairs: bool = False
) -> type[NamedEntitiesReply]:
    """Return the reply's model with its types bound to the task's.

    A small labeler that does not know when to end names every word: so no more entities than half
    of the words, and one; up to four words may be a list of names.

    Args:
        as_pairs: what is asked for is a pair an entity, not an object: half the tokens, but
            endpoints that take JSON schemas only in part do not take this one. Both are read.
    """
    words = len(split_tokens(text))
    most = min(MOST_ENTITIES, max(words // 2 + 1, min(words, MOST_BARE_NAMES)))
    kind: Any = Literal[tuple(labels)]
    item = create_model("Entity", __base__=NamedEntity, type=(kind, ...))
    entities: Any = (list[item], Field(max_length=most))
    if as_pairs:
        string = {"type": "string", "minLength": 1, "maxLength": LONGEST_NAME}
        pair = {"type": "array", "prefixItems": [string, {"enum": list(labels)}]}
        shown = WithJsonSchema(pair | {"minItems": 2, "maxItems": 2})
        entities = (list[Annotated[item, shown]], entities[1])
    return create_model("Entities", __base__=NamedEntitiesReply, entities=entities)


def reply_of(row: Row, *, as_pairs: bool = False) -> str:
    """Return a row's entities as the labeler is to answer, each string and type once."""
    named = dict.fromkeys((row.text[one.start : one.end], one.label) for one in row.entities)
    objects = [{"text": text, "type": label} for text, label in named]
    entities = list(named) if as_pairs else objects
    # As the grammar of the local server writes it.
    return json.dumps({"entities": entities}, ensure_ascii=False, separators=(",", ": "))


def tagged(row: Row) -> TaggedText:
    """Return a row with its entities and tokens; where its file has none, ours, cut at entities."""
    plain = _plain(row.entities)
    if tokens := _tokens(row):
        return TaggedText(text=row.text, entities=plain, tokens=tokens)
    return from_entities(row.text, plain)


def _tokens(row: Row) -> list[Span]:
    return row.tokens if isinstance(row, Example) else []


def _plain(entities: Iterable[Entity]) -> list[Entity]:
    """Return entities without what else is known of them."""
    return [Entity(start=one.start, end=one.end, label=one.label) for one in entities]


def _key(one: Entity) -> Key:
    return one.start, one.end, one.label


def _found_instead(missing: Sequence[Key], wrong: Sequence[Key]) -> dict[Key, Key]:
    """Return by gold entity the one that was found in its place, each only once.

    First those with the same ends, then those of the same type, then any that overlap.
    """
    pairs = [
        (one, other)
        for one in missing
        for other in wrong
        if other[0] < one[1] and one[0] < other[1]
    ]
    pairs.sort(key=lambda pair: (pair[0][:2] != pair[1][:2], pair[0][2] != pair[1][2]))
    instead: dict[Key, Key] = {}
    for one, other in pairs:
        if one not in instead and other not in instead.values():
            instead[one] = other
    return instead


def _tags_of(
    rows: Sequence[Row], said: Sequence[Prediction]
) -> tuple[list[list[str]], list[list[str]]]:
    """Return the tags of what is and of what was found, over the same tokens."""
    gold: list[list[str]] = []
    found: list[list[str]] = []
    for row, answer in zip(rows, said, strict=True):
        both = (row.entities, answer.entities or [])
        cuts = {place for entities in both for one in entities for place in (one.start, one.end)}
        tokens = _tokens(row) or split_tokens(row.text, cuts)
        for tags, entities in ((gold, both[0]), (found, both[1])):
            one = TaggedText(text=row.text, entities=_plain(entities), tokens=tokens)
            tags.append(to_tags(one)[1])
    return gold, found


def entity_runs(tags: Sequence[str]) -> Iterator[tuple[int, int, str]]:
    """Yield (first token, one past the last token, label) of every entity."""
    start, label = 0, ""
    for place, tag in enumerate([*tags, OUTSIDE]):
        kind, name = tag[:2], tag[2:]
        if tag != OUTSIDE and (kind not in (BEGIN, INSIDE) or not name):
            raise ValueError(f"tag {place + 1} is {tag!r}; expected O, B-<type> or I-<type> (IOB2)")
        if kind == INSIDE and name == label:
            continue
        if kind == INSIDE:
            raise ValueError(f"tag {place + 1} is {tag!r}, but no {BEGIN}{name} goes before it")
        if label:
            yield start, place, label
        start, label = place, name if kind == BEGIN else ""


def _read_row(raw: dict[str, Any]) -> TaggedText:
    keys = ", ".join(map(str, raw)) or "nothing"
    if "tokens" in raw or "tags" in raw:
        if "text" in raw or "entities" in raw:
            raise ValueError(
                f"expected tokens and tags, or text and entities, not both; found {keys}"
            )
        if not ("tokens" in raw and "tags" in raw):
            raise ValueError(f"expected tokens and tags, two lists of strings; found {keys}")
        return from_tags(_read_strings(raw, "tokens", "Rome"), _read_strings(raw, "tags", "B-PER"))
    if not ("text" in raw and "entities" in raw):
        raise ValueError(f"expected tokens and tags, or text and entities; found {keys}")
    text, entities = raw["text"], raw["entities"]
    if not isinstance(text, str):
        raise ValueError(f"text is {text!r}; expected a string")
    if not isinstance(entities, list):
        raise ValueError(f"entities is {entities!r}; expected a list, [] where a text has none")
    return from_entities(text, [_read_entity(one) for one in entities])


def _read_entity(raw: Any) -> Entity:
    kinds = {"start": int, "end": int, "label": str}
    read = raw if isinstance(raw, dict) else {}
    if any(type(read.get(key)) is not kind for key, kind in kinds.items()):
        raise ValueError(f"the entity {raw!r}: expected start and end, whole numbers, and label")
    if raw["start"] < 0 or raw["end"] <= raw["start"]:
        raise ValueError(f"the entity {raw!r}: it has to end after it starts, from 0 on")
    return Entity(start=raw["start"], end=raw["end"], label=raw["label"])


def _read_strings(raw: dict[str, Any], key: str, such: str) -> list[str]:
    strings = raw[key]
    if not isinstance(strings, list):
        raise ValueError(f"{key} is {strings!r}; expected a list of strings such as {such}")
    for place, one in enumerate(strings):
        if not isinstance(one, str):
            raise ValueError(f"{key}[{place}] is {one!r}; expected a string such as {such}")
    return strings
