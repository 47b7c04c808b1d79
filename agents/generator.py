"""The generator: writes texts, and nothing but texts, for one label and one aim."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, create_model

from evokd.agents.card import shorten
from evokd.agents.prompting import Prompt
from evokd.agents.teacher import Call, Message, Teacher
from evokd.records import Difficulty
from evokd.tasks import is_unicode

AVOID_CHARS = 70


@dataclass(frozen=True)
class Assignment:
    """What one call has to write.

    `counts` says how many texts of each difficulty; as in the paper, hard and easy ones come from
    one call. `rival` is the label the student takes for `label`; hard texts need one. `avoid` holds
    the nearest texts that exist already, nearest first; `aspects` says which part of the label's
    meaning each difficulty is about.
    """

    label: str
    counts: Mapping[Difficulty, int]
    length: str
    aspects: Mapping[Difficulty, str] = field(default_factory=dict)
    rival: str | None = None
    weakness: str | None = None
    vary: str | None = None
    avoid: Sequence[str] = ()


def generate_texts(
    teacher: Teacher,
    prompt: Prompt,
    card: str,
    labels: Mapping[str, str],
    assignment: Assignment,
    call: Call,
) -> list[tuple[Difficulty, str]]:
    """Return (difficulty, text) pairs, the texts on one line each.

    Raises:
        ReplyError, TeacherError: see `Teacher.ask`.
    """
    user = _instruction(prompt, labels, assignment)
    messages: list[Message] = [("system", card), ("user", user)]
    reply = teacher.ask(messages, _reply_model(assignment.counts), call).model_dump()
    texts = [
        (difficulty, shorten(text, 2000))
        for difficulty in assignment.counts
        for text in reply[difficulty]
    ]
    return [(difficulty, text) for difficulty, text in texts if text and is_unicode(text)]


class _Texts(BaseModel):
    """The reply: texts only, a list a difficulty."""

    model_config = ConfigDict(extra="ignore")


def _reply_model(counts: Mapping[Difficulty, int]) -> type[BaseModel]:
    fields: dict[str, Any] = {
        difficulty: (list[str], Field(min_length=count, max_length=count))
        for difficulty, count in counts.items()
    }
    return create_model("Texts", __base__=_Texts, **fields)


def _instruction(prompt: Prompt, labels: Mapping[str, str], task: Assignment) -> str:
    focus, avoid = "", ""
    if task.weakness:
        focus = "\n" + prompt.fill("focus", name=task.weakness, vary=task.vary or "the wording")
    if task.avoid:
        quoted = "; ".join(f'"{shorten(text, AVOID_CHARS)}"' for text in task.avoid)
        avoid = "\n" + prompt.fill("avoid", texts=quoted)
    return prompt.fill(
        "main",
        label=task.label,
        meaning=labels[task.label],
        length=task.length,
        orders="\n".join(_order(prompt, task, name, n) for name, n in task.counts.items()),
        focus=focus,
        avoid=avoid,
    )


def _order(prompt: Prompt, task: Assignment, difficulty: Difficulty, count: int) -> str:
    aspect = task.aspects.get(difficulty, "")
    if aspect:
        aspect = prompt.fill("aspect", aspect=aspect)
    if difficulty == "hard":
        rival = task.rival or "another label"
        return prompt.fill("hard", count=count, label=task.label, rival=rival, aspect=aspect)
    if difficulty == "easy":
        return prompt.fill("easy", count=count, label=task.label, aspect=aspect)
    return prompt.fill("plain", count=count, aspect=aspect)
