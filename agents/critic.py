"""The critic: judges whether a text is realistic, clear and fits the task, and its label.

A small model is a poor judge when it is only asked; shown a few texts with their verdicts as turns
of the conversation it does better. So the gold examples serve as good ones and the lines of the
prompt's block `bad` as bad ones. One word answers; only a doubtful text costs a second call, which
repairs it, and only a bad one a second call that names the reason.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field

from evokd.agents.card import shorten
from evokd.agents.prompting import Prompt
from evokd.agents.teacher import Call, Choice, Message, Teacher

ACCEPT = "accept"
REPAIR = "repair"
WRONG_LABEL = "wrong_label"
# What a doubtful text may be, and the reason a rejected sample keeps.
REASONS: Mapping[str, str] = {
    "unrealistic": "critic_unrealistic",
    "unclear": "critic_unclear",
    "off_task": "critic_off_task",
    WRONG_LABEL: "critic_wrong_label",
}
REPAIR_BELOW = 0.15
SHOWN_GOOD = 8
SHOWN_CHARS = 200
YES, NO = "yes", "no"


@dataclass(frozen=True)
class Verdict:
    """The critic's word, and how sure it is that the text is good, in [0, 1]."""

    verdict: str
    confidence: float

    @property
    def accepted(self) -> bool:
        """Whether the text may stay as it is."""
        return self.verdict == ACCEPT

    @property
    def reason(self) -> str:
        """Why it may not."""
        return "critic_repair_failed" if self.verdict == REPAIR else REASONS[self.verdict]


class Repaired(BaseModel):
    """The reply to a request for repair."""

    model_config = ConfigDict(extra="ignore")

    text: str = Field(min_length=1, max_length=2000)


@dataclass(frozen=True)
class Critic:
    """A judge of drafts.

    Args:
        good: gold texts, shown as good ones.
        min_confidence: a text is accepted when the probability of yes reaches it; one that comes
            within `REPAIR_BELOW` of it is worth a repair, any other is rejected.
    """

    teacher: Teacher
    prompt: Prompt
    card: str
    labels: Mapping[str, str]
    good: Sequence[str]
    min_confidence: float

    def judge(self, text: str, label: str, intended: str, call: Call) -> Verdict:
        """Return the verdict on `text` under `label`; `intended` is what it was written for.

        Raises:
            ReplyError, TeacherError: see `Teacher.choose`.
        """
        if label != intended and not self._prefers(text, label, intended, call):
            return Verdict(WRONG_LABEL, 0.0)
        answer = self.teacher.choose(self._judge_turns(text), [YES, NO], call)
        good = answer.confidence if answer.option == YES else 1.0 - answer.confidence
        if good >= self.min_confidence:
            return Verdict(ACCEPT, good)
        if good >= self.min_confidence - REPAIR_BELOW:
            return Verdict(REPAIR, good)
        user = self.prompt.fill("reason", text=text, label=label, meaning=self.labels[label])
        reason = self._choose(user, list(REASONS), Call(call.round, call.purpose + ":why"))
        return Verdict(reason.option, good)

    def repair(self, text: str, label: str, call: Call) -> str:
        """Return a repaired form of `text`.

        Raises:
            ReplyError, TeacherError: see `Teacher.ask`.
        """
        user = self.prompt.fill("repair", text=text, label=label, meaning=self.labels[label])
        messages: list[Message] = [("system", self.card), ("user", user)]
        call = Call(call.round, call.purpose + ":repair")
        return self.teacher.ask(messages, Repaired, call).text.strip()

    def _prefers(self, text: str, label: str, other: str, call: Call) -> bool:
        user = self.prompt.fill(
            "label",
            text=text,
            label=label,
            meaning=self.labels[label],
            other=other,
            other_meaning=self.labels[other],
        )
        chosen = self._choose(user, [label, other], Call(call.round, call.purpose + ":label"))
        return chosen.option == label

    def _choose(self, user: str, options: Sequence[str], call: Call) -> Choice:
        return self.teacher.choose([("system", self.card), ("user", user)], options, call)

    def _judge_turns(self, text: str) -> list[Message]:
        bad = [line for line in self.prompt.fill("bad").splitlines() if line.strip()]
        good = [shorten(one, SHOWN_CHARS) for one in self.good[:SHOWN_GOOD]]
        shown = [turn for pair in zip(good, bad, strict=False) for turn in zip(pair, (YES, NO))]
        turns: list[Message] = [("system", self.card)]
        for index, (example, verdict) in enumerate([*shown, (text, "")]):
            asked = self.prompt.fill("text", text=example)
            question = self.prompt.fill("question") + "\n\n" if index == 0 else ""
            turns.append(("user", question + asked))
            if verdict:
                turns.append(("assistant", verdict))
        return turns
