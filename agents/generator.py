"""The generator: writes texts, and nothing but texts, for one label and one aim."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from pydantic import BaseModel, ConfigDict, Field, create_model

from evokd.agents.card import shorten
from evokd.agents.prompting import Prompt
from evokd.agents.teacher import Call, Message, Teacher
from evokd.records import Difficulty

AVOID_CHARS = 80


@dataclass(frozen=True)
class Assignment:
    """What one call has to write.

    `rival` is the label the student takes for `label`; only hard texts need one. `avoid` holds
    the nearest texts that exist already, nearest first.
    """

    label: str
    difficulty: Difficulty
    count: int
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
) -> list[str]:
    """Return the texts of one call, stripped, at most `assignment.count`.

    Raises:
        ReplyError, TeacherError: see `Teacher.ask`.
    """
    user = _instruction(prompt, labels, assignment)
    messages: list[Message] = [("system", card), ("user", user)]
    reply = teacher.ask(messages, _reply_model(assignment.count), call)
    texts = [shorten(text, 2000) for text in cast(Any, reply).texts]
    return [text for text in texts if text][: assignment.count]


class _Texts(BaseModel):
    """The reply: texts only."""

    model_config = ConfigDict(extra="ignore")


def _reply_model(count: int) -> type[BaseModel]:
    return create_model(
        "Texts", __base__=_Texts, texts=(list[str], Field(min_length=count, max_length=count + 2))
    )


def _instruction(prompt: Prompt, labels: Mapping[str, str], task: Assignment) -> str:
    avoid = ""
    if task.avoid:
        quoted = "; ".join(f'"{shorten(text, AVOID_CHARS)}"' for text in task.avoid)
        avoid = " " + prompt.fill("avoid", texts=quoted)
    rules = prompt.fill("rules", avoid=avoid)
    common = {"count": task.count, "label": task.label, "meaning": labels[task.label]}
    if task.difficulty == "plain":
        return prompt.fill("plain", **common, rules=rules)
    focus = ""
    if task.weakness:
        focus = prompt.fill("focus", name=task.weakness, vary=task.vary or "the wording") + "\n"
    if task.difficulty == "easy" or task.rival is None:
        return prompt.fill("easy", **common, focus=focus, rules=rules)
    return prompt.fill(
        "hard",
        **common,
        rival=task.rival,
        rival_meaning=labels[task.rival],
        focus=focus,
        rules=rules,
    )
