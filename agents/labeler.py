"""The labeler: sees a text and nothing else, and says which label or which entities it has."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, create_model

from evokd.agents.card import shorten
from evokd.agents.option_probability import (
    entity_probabilities,
    label_probabilities,
    mean_probability,
)
from evokd.agents.prompting import Prompt
from evokd.agents.teacher import Call, Choice, Message, Teacher
from evokd.records import Example
from evokd.tasks.grounding import NO_CAPITALS, Capitals, Mention
from evokd.tasks.ner import (
    NOTHING,
    NamedEntitiesReply,
    entities_reply,
    reply_of,
)

CONTENT, ORDER = "content", "order"  # what a sentence may be: part of a text, or for its reader
MAX_SWAYING = 400  # characters of it
SHOWN_GOLD = 8
SHOWN_CHARS = 240


def label_text(
    teacher: Teacher,
    prompt: Prompt,
    card: str,
    labels: Sequence[str],
    text: str,
    call: Call,
) -> Choice:
    """Return the label of `text` and the confidence in it.

    Raises:
        ReplyError, TeacherError: see `Teacher.choose`.
    """
    messages: list[Message] = [("system", card), ("user", prompt.fill("main", text=text))]
    return teacher.choose(messages, labels, call)


def label_texts(
    teacher: Teacher,
    prompt: Prompt,
    card: str,
    labels: Sequence[str],
    texts: Sequence[str],
    call: Call,
) -> list[Choice | None]:
    """Return the labels of several texts by one call, and the confidence in each.

    None where the reply's tokens do not tell how sure it is.

    Raises:
        ReplyError, TeacherError: see `Teacher.ask`.
    """
    names = [f"t{number}" for number in range(1, len(texts) + 1)]
    # As JSON strings: a text with line breaks could bring rows of its own.
    quoted = (json.dumps(text, ensure_ascii=False) for text in texts)
    lines = [f"{name}: {text}" for name, text in zip(names, quoted, strict=True)]
    asked = prompt.fill("several", texts="\n".join(lines))
    messages: list[Message] = [("system", card), ("user", asked)]
    one: Any = Literal[tuple(labels)]
    fields: dict[str, Any] = dict.fromkeys(names, (one, ...))
    form = create_model("Labels", **fields)

    def said(reply: BaseModel) -> list[str]:
        return [getattr(reply, name) for name in names]

    if not teacher.capabilities.logprobs:
        replies = [said(one) for one in teacher.ask_often(messages, form, call)]
        votes = [teacher.agreement(answers) for answers in zip(*replies, strict=True)]
        return [Choice.likeliest(row) if row else None for row in votes]
    reply, raw = teacher.ask_raw(messages, form, call)
    written = said(reply)
    shares = label_probabilities(raw.logprobs or [], written, labels)
    return [
        Choice(label, row.pop(label), row) if row else None
        for label, row in zip(written, shares, strict=True)
    ]


def sways(teacher: Teacher, prompt: Prompt, sentences: Sequence[str], call: Call) -> float:
    """Return how sure the labeler is that sentences of a text are an order to it, in [0, 1].

    Then they say what the text is to be taken for, and are no part of what it says. It is shown
    some of both kinds with their answers, as turns of the conversation, and no label.

    Raises:
        ReplyError, TeacherError: see `Teacher.choose`.
    """
    turns: list[Message] = [("system", prompt.fill("sways"))]
    for sentence, answer in read_order_examples(prompt):
        turns += [("user", sentence), ("assistant", answer)]
    turns.append(("user", shorten(" ".join(sentences), MAX_SWAYING)))
    return teacher.choose(turns, [CONTENT, ORDER], call).probability(ORDER)


def read_order_examples(prompt: Prompt) -> list[tuple[str, str]]:
    """Return the sentences of the labeler's prompt with what they are, from lines `order: text`.

    Raises:
        ConfigError: a line is none such.
    """
    return prompt.examples("sways_shown", (CONTENT, ORDER))


@dataclass(frozen=True)
class NamedInText:
    """What the labeler named, and how sure the reply as a whole is, in [0, 1]."""

    mentions: list[Mention]
    confidence: float


def name_entities(
    teacher: Teacher,
    prompt: Prompt,
    card: str,
    gold: Sequence[Example],
    labels: Sequence[str],
    text: str,
    call: Call,
    capitals: Capitals = NO_CAPITALS,
) -> NamedInText:
    """Return the entities of `text` as strings with their types, and the confidence in each.

    The confidence is the probability of the entity's own tokens, of a reply that names nothing
    that of all its tokens; else the share of `samples` answers that say the same. What fewer than
    half name is left out.

    Args:
        gold: some of these rows' entities are shown as answers, as turns of the conversation.
        capitals: it is told which types are names; all, where capital letters are usual.

    Raises:
        ReplyError, TeacherError: see `Teacher.ask`.
    """
    told = _told_of_names(prompt, set(labels) if capitals.usual else capitals.names, labels)

    def asked(text: str, *, first: bool) -> Message:
        if not first:
            return "user", prompt.fill("next", text=text)
        return "user", prompt.fill("main", types=", ".join(labels), names=told, text=text)

    turns: list[Message] = [("system", card)]
    as_pairs = teacher.capabilities.schema_mode == "grammar"
    for row in shown_gold(gold):
        turns.append(asked(row.text, first=len(turns) == 1))
        turns.append(("assistant", reply_of(row, as_pairs=as_pairs)))
    turns.append(asked(text, first=len(turns) == 1))
    form = entities_reply(labels, text, as_pairs=as_pairs)
    if not teacher.capabilities.logprobs:
        replies = teacher.ask_often(turns, form, call)
        silent = sum(not reply.entities for reply in replies) / teacher.samples
        return NamedInText(agreed(replies, teacher.samples), silent)
    reply, raw = teacher.ask_raw(turns, form, call)
    named = [(one.text, one.type) for one in reply.entities]
    sure = entity_probabilities(raw.logprobs or [], named, labels)
    mentions = [Mention(*one, confidence) for one, confidence in zip(named, sure, strict=True)]
    return NamedInText(mentions, mean_probability(raw.logprobs or []))


def _told_of_names(prompt: Prompt, names: AbstractSet[str], labels: Sequence[str]) -> str:
    if not names:
        return ""
    which = "They" if names >= set(labels) else ", ".join(one for one in labels if one in names)
    return "\n" + prompt.fill("names", which=which)


def shown_gold(gold: Sequence[Example]) -> list[Example]:
    """Return the gold rows that are shown: few and short, for a local model's context is small.

    Of a type that only long rows hold the shortest one is shown if there is room for twice a short
    one.
    """
    types_seen: set[str] = set()
    short = [row for row in gold if len(row.text) <= SHOWN_CHARS]
    longer = [row for row in gold if SHOWN_CHARS < len(row.text) <= 2 * SHOWN_CHARS]
    firsts = []
    for row in (*short, *sorted(longer, key=lambda row: len(row.text))):
        types = {one.label for one in row.entities} or {NOTHING}
        if types - types_seen:
            firsts.append(row)
            types_seen |= types
    others = [row for row in short if row not in firsts]
    return [*firsts, *others][:SHOWN_GOLD]


def types_not_shown(gold: Sequence[Example], labels: Sequence[str]) -> list[str]:
    """Return the types of which no row that is shown holds an entity."""
    shown = {one.label for row in shown_gold(gold) for one in row.entities}
    return [label for label in labels if label not in shown]


def agreed(replies: Sequence[NamedEntitiesReply], samples: int) -> list[Mention]:
    """Return what at least half of `samples` replies name, in the order of the first that does.

    What a reply names twice is another mention the second time. The confidence is the share that
    names it.
    """
    votes = Counter(one for reply in replies for one in _numbered(reply))
    return [
        Mention(text, label, count / samples)
        for (text, label, _), count in votes.items()
        if 2 * count >= samples
    ]


def _numbered(reply: NamedEntitiesReply) -> list[tuple[str, str, int]]:
    """Return (string, type, how often a reply has named it before) of all it names, in order."""
    before: Counter[tuple[str, str]] = Counter()
    numbered = []
    for one in reply.entities:
        named = one.text, one.type
        numbered.append((*named, before[named]))
        before[named] += 1
    return numbered
