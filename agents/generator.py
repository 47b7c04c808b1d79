"""The generator: writes texts, and nothing but texts, for one label and one aim."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema, create_model

from evokd.agents.card import shorten
from evokd.agents.compact_grammar import SENTENCE
from evokd.agents.parsing import complete_texts
from evokd.agents.prompting import Prompt
from evokd.agents.teacher import Call, Message, Teacher
from evokd.records import Difficulty
from evokd.tasks import is_unicode
from evokd.tasks.ner import NOTHING

AVOID_CHARS = 70
NAMES = "names"  # the list's name in the reply
Sentence = Annotated[str, WithJsonSchema({"type": "string", "format": SENTENCE})]


@dataclass(frozen=True)
class Order:
    """Texts of one difficulty.

    They are about one part of the label's meaning (`aspect`) or about all of it (''), and may be
    given a topic, names of entities, or attributes in words. Hard ones may be given an `example`
    that the student failed on.
    """

    difficulty: Difficulty
    count: int
    aspect: str = ""
    topic: str = ""
    names: tuple[str, ...] = ()
    attributes: str = ""
    example: str = ""


@dataclass(frozen=True)
class Assignment:
    """What one call has to write.

    As in the paper, hard and easy texts come from one call. `rival` is the label the student takes
    for `label`; hard texts without an example need one. `avoid` holds the nearest texts that exist
    already, nearest first. `questions`: all texts of the task are; `one_sentence`: none is more.
    """

    label: str
    orders: Sequence[Order]
    length: str
    rival: str | None = None
    vary: str | None = None
    avoid: Sequence[str] = ()
    questions: bool = False
    one_sentence: bool = False

    def named_orders(self) -> list[tuple[str, Order]]:
        """Return the orders with the names their texts have in the reply: hard, or hard_1, ….

        The name stands right before the texts, and a small model goes by it: for `questions` it is
        question_1, …, else half of the lists hold answers. A letter would be cheaper, but then
        lists of letters come back.
        """
        if self.questions:
            return [(f"question_{place}", one) for place, one in enumerate(self.orders, 1)]
        total = Counter(order.difficulty for order in self.orders)
        seen: Counter[str] = Counter()
        named = []
        for order in self.orders:
            seen[order.difficulty] += 1
            several = total[order.difficulty] > 1
            number = f"_{seen[order.difficulty]}" if several else ""
            named.append((order.difficulty + number, order))
        return named


def generate_texts(
    teacher: Teacher,
    prompt: Prompt,
    card: str,
    labels: Mapping[str, str],
    assignment: Assignment,
    call: Call,
    *,
    texts: str | None = None,
) -> list[tuple[Difficulty, str]]:
    """Return (difficulty, text) pairs, the texts on one line each.

    Of a reply that was cut off the texts that ended are returned.

    Args:
        texts: what one text of the task is, in words.

    Raises:
        ReplyError, TeacherError: see `Teacher.ask`.
    """
    user = written_order(prompt, labels, assignment, texts)
    messages: list[Message] = [("system", card), ("user", user)]
    named = assignment.named_orders()
    one = Sentence if assignment.one_sentence else str
    reply = _ask_for_lists(teacher, messages, named, call, one)
    written = [
        (order.difficulty, shorten(tidied(text, labels), 2000))
        for name, order in named
        for text in reply[name]
    ]
    return [(difficulty, text) for difficulty, text in written if text and is_unicode(text)]


def tidied(text: str, labels: Iterable[str]) -> str:
    """Return a text without labels in brackets, as in "Ann (PER) sang.", and a first full stop.

    A small generator comments on what it writes, or goes on from the order, and a student would
    learn that.
    """
    named = "|".join(map(re.escape, labels))
    text = re.sub(rf"\s*(?:\((?:{named})\)|\[(?:{named})\]|<(?:{named})>)", "", text)
    return re.sub(r"^\s*[.,;:]\s+", "", text).strip()


def list_names(
    teacher: Teacher, prompt: Prompt, card: str, part: str, count: int, call: Call
) -> list[str]:
    """Return names of entities, as they would stand in a text; of a reply that was cut, its first.

    Args:
        part: what they are names of, in words.

    Raises:
        ReplyError, TeacherError: see `Teacher.ask`.
    """
    user = prompt.fill("names_listed", count=count, part=part)
    messages: list[Message] = [("system", card), ("user", user)]
    reply = _ask_for_lists(teacher, messages, [(NAMES, Order("plain", count))], call)
    return [name for name in reply[NAMES] if is_unicode(name)]


def _ask_for_lists(
    teacher: Teacher,
    messages: list[Message],
    named: Sequence[tuple[str, Order]],
    call: Call,
    one: Any = str,
) -> dict[str, list[str]]:
    """Return a list of `one` an order, by its name; of a reply that was cut off, what ended."""
    model = _reply_model(named, one)

    def begun(text: str) -> _Texts:
        return model.model_construct(None, **complete_texts(text, [name for name, _ in named]))

    return teacher.ask(messages, model, call, begun=begun).model_dump()


class _Texts(BaseModel):
    """The reply: texts only, a list a difficulty."""

    model_config = ConfigDict(extra="ignore")


def _reply_model(named: Sequence[tuple[str, Order]], one: Any) -> type[_Texts]:
    fields: dict[str, Any] = {
        name: (list[one], Field(min_length=order.count, max_length=order.count))
        for name, order in named
    }
    return create_model("Texts", __base__=_Texts, **fields)


def written_order(
    prompt: Prompt, labels: Mapping[str, str], task: Assignment, texts: str | None
) -> str:
    """Return what the generator is told after the task card; `texts`: as for `generate_texts`."""
    focus, avoid = "", ""
    if task.vary:
        focus = "\n" + prompt.fill("focus", vary=task.vary)
    if task.avoid:
        quoted = "; ".join(f'"{shorten(text, AVOID_CHARS)}"' for text in task.avoid)
        avoid = "\n" + prompt.fill("avoid", texts=quoted)
    # Where each order names its part of the meaning, the whole of it stands on the card already.
    in_parts = all(order.aspect or order.names for order in task.orders if not order.example)
    meaning = "" if in_parts or not labels[task.label] else f": {labels[task.label]}"
    main = _block(prompt, task, "main")
    about = {"label": task.label, "meaning": meaning} if main == "main" else {}
    rules = _block(prompt, task, "rules_texts" if texts else "rules")
    return prompt.fill(
        main,
        rules=prompt.fill(rules, texts=texts) if texts else prompt.fill(rules),
        **about,
        length=task.length,
        orders="\n".join(_order(prompt, task, *named) for named in task.named_orders()),
        focus=focus,
        avoid=avoid,
        form="\n" + prompt.fill("questions") if task.questions else "",
    )


def _order(prompt: Prompt, task: Assignment, name: str, order: Order) -> str:
    about = prompt.fill("topic", topic=order.topic) if order.topic else ""
    if order.names:
        about += prompt.fill("names", names=" and ".join(f'"{one}"' for one in order.names))
    elif order.aspect:
        about += prompt.fill("aspect", aspect=order.aspect)
    elif order.attributes:
        about += prompt.fill("attributes", attributes=order.attributes)
    block = "write" if not task.questions else "ask" if order.count > 1 else "ask_one"
    said = {"name": name, "write": prompt.fill(block, count=order.count), "about": about}
    if order.example:
        return prompt.fill(_block(prompt, task, "like"), **said, example=order.example)
    written = _block(prompt, task, order.difficulty)
    nothing = written != order.difficulty
    if order.difficulty == "plain":
        if nothing and order.topic and order.count == 1:  # "1, about a hat" would be copied
            return prompt.fill(written, name=name, topic=order.topic)
        return prompt.fill("plain", **said)
    if order.difficulty == "hard":
        said["rival"] = task.rival or ("an entity" if nothing else "another label")
    if not nothing:
        said["label"] = task.label
    return prompt.fill(written, **said)


def _block(prompt: Prompt, task: Assignment, name: str) -> str:
    """Return a block's name, of texts that are to name no entity their own block's if there is one.

    Elsewhere a label may be called "none".
    """
    own = f"{name}_none"
    return own if task.label == NOTHING and prompt.has(own) else name
