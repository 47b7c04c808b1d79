"""The labeler: sees a text and nothing else, and says which label it has."""

from __future__ import annotations

from collections.abc import Sequence

from evokd.agents.prompting import Prompt
from evokd.agents.teacher import Call, Choice, Message, Teacher


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
