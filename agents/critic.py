"""The critic: judges whether a text is realistic, clear, fits the task and its label.

It answers with one word, which is cheap; only a text it wants repaired costs a second call.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field

from evokd.agents.prompting import Prompt
from evokd.agents.teacher import Call, Message, Teacher

ACCEPT = "accept"
REPAIR = "repair"
# What the critic may answer, and the reason a rejected sample keeps.
VERDICTS: Mapping[str, str] = {
    ACCEPT: "",
    "unrealistic": "critic_unrealistic",
    "unclear": "critic_unclear",
    "off_task": "critic_off_task",
    "wrong_label": "critic_wrong_label",
    REPAIR: "critic_repair_failed",
}


@dataclass(frozen=True)
class Verdict:
    """The critic's word and its confidence in it."""

    verdict: str
    confidence: float

    @property
    def accepted(self) -> bool:
        """Whether the text may stay as it is."""
        return self.verdict == ACCEPT

    @property
    def reason(self) -> str:
        """Why it may not."""
        return VERDICTS[self.verdict]


class Repaired(BaseModel):
    """The reply to a request for repair."""

    model_config = ConfigDict(extra="ignore")

    text: str = Field(min_length=1, max_length=2000)


def judge_text(
    teacher: Teacher,
    prompt: Prompt,
    card: str,
    labels: Mapping[str, str],
    text: str,
    label: str,
    call: Call,
) -> Verdict:
    """Return the verdict on `text` as an example of `label`.

    Raises:
        ReplyError, TeacherError: see `Teacher.choose`.
    """
    user = prompt.fill("judge", text=text, label=label, meaning=labels[label])
    messages: list[Message] = [("system", card), ("user", user)]
    choice = teacher.choose(messages, list(VERDICTS), call)
    return Verdict(choice.option, choice.confidence)


def repair_text(
    teacher: Teacher,
    prompt: Prompt,
    card: str,
    labels: Mapping[str, str],
    text: str,
    label: str,
    call: Call,
) -> str:
    """Return a repaired form of `text`.

    Raises:
        ReplyError, TeacherError: see `Teacher.ask`.
    """
    user = prompt.fill("repair", text=text, label=label, meaning=labels[label])
    messages: list[Message] = [("system", card), ("user", user)]
    return teacher.ask(messages, Repaired, call).text.strip()
