"""The labeler: sees a text and nothing else, and says which label or which entities it has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from evokd.agents.option_probability import entity_probabilities
from evokd.agents.prompting import Prompt
from evokd.agents.teacher import Call, Choice, Message, Teacher
from evokd.records import Example
from evokd.tasks.ner import (
    Mention,
    NamedEntitiesReply,
    are_names,
    entities_reply,
    is_lowered,
    reply_of,
)

SHOWN_CHARS = 300


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


def name_entities(
    teacher: Teacher,
    prompt: Prompt,
    card: str,
    gold: Sequence[Example],
    labels: Sequence[str],
    text: str,
    call: Call,
) -> list[Mention]:
    """Return the entities of `text` as strings with their types, and the confidence in each.

    The confidence is the probability of the entity's own tokens; else the share of `samples`
    answers that name it, and one that fewer than half name is left out. Where no gold entity is
    written in small letters, none is let through.

    Args:
        gold: rows whose entities are shown as answers, as turns of the conversation.

    Raises:
        ReplyError, TeacherError: see `Teacher.ask`.
    """
    only_names = are_names(gold)

    def asked(text: str, *, first: bool) -> Message:
        if not first:
            return "user", prompt.fill("next", text=text)
        names = "\n" + prompt.fill("names") if only_names else ""
        return "user", prompt.fill("main", types=", ".join(labels), names=names, text=text)

    turns: list[Message] = [("system", card)]
    for row in gold:
        if len(row.text) <= SHOWN_CHARS:
            turns.append(asked(row.text, first=len(turns) == 1))
            turns.append(("assistant", reply_of(row)))
    turns.append(asked(text, first=len(turns) == 1))
    named = _ask(teacher, turns, entities_reply(labels, text), labels, call)
    return [one for one in named if not (only_names and is_lowered(one.text))]


def _ask(
    teacher: Teacher,
    turns: Sequence[Message],
    form: type[NamedEntitiesReply],
    labels: Sequence[str],
    call: Call,
) -> list[Mention]:
    if not teacher.capabilities.logprobs:
        return agreed(teacher.ask_often(turns, form, call))
    reply, raw = teacher.ask_raw(turns, form, call)
    named = [(one.text, one.type) for one in reply.entities]
    sure = entity_probabilities(raw.logprobs or [], named, labels)
    return [Mention(*one, confidence) for one, confidence in zip(named, sure, strict=True)]


def agreed(replies: Sequence[NamedEntitiesReply]) -> list[Mention]:
    """Return what at least half of the replies name, in the order of the first that does.

    The confidence is the share that does.
    """
    votes = Counter(one for reply in replies for one in {(e.text, e.type) for e in reply.entities})
    order = dict.fromkeys((e.text, e.type) for reply in replies for e in reply.entities)
    return [
        Mention(*one, votes[one] / len(replies)) for one in order if 2 * votes[one] >= len(replies)
    ]
