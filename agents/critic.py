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
from evokd.agents.teacher import Call, Message, Teacher

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
MAX_CHARS = 2000
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

    text: str = Field(min_length=1, max_length=MAX_CHARS)


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
        turns = self._judge_turns(text)
        answer = self.teacher.choose(turns, [YES, NO], call)
        good = answer.confidence if answer.option == YES else 1.0 - answer.confidence
        if good < self.min_confidence - REPAIR_BELOW:
            return Verdict(self._reason([*turns, ("assistant", NO)], label, call), good)
        if label != intended and not self._prefers(text, label, intended, call):
            return Verdict(WRONG_LABEL, good)
        return Verdict(ACCEPT if good >= self.min_confidence else REPAIR, good)

    def repair(self, text: str, label: str, call: Call) -> str:
        """Return a repaired form of `text`.

        Raises:
            ReplyError, TeacherError: see `Teacher.ask`.
        """
        user = self.prompt.fill("repair", text=text, label=label, meaning=self.labels[label])
        messages: list[Message] = [("system", self.card), ("user", user)]
        call = Call(call.round, call.purpose + ":repair")
        return shorten(self.teacher.ask(messages, Repaired, call).text, MAX_CHARS)

    # All questions go on with the same conversation, so that a local server computes it once.

    def _reason(self, turns: Sequence[Message], label: str, call: Call) -> str:
        user = self.prompt.fill("reason", label=label, meaning=self.labels[label])
        why = Call(call.round, call.purpose + ":why")
        return self.teacher.choose([*turns, ("user", user)], list(REASONS), why).option

    def _prefers(self, text: str, label: str, other: str, call: Call) -> bool:
        user = self.prompt.fill(
            "label",
            text=text,
            label=label,
            meaning=self.labels[label],
            other=other,
            other_meaning=self.labels[other],
        )
        turns = [*self._shown_turns(), ("user", user)]
        which = Call(call.round, call.purpose + ":label")
        return self.teacher.choose(turns, [label, other], which).option == label

    def _judge_turns(self, text: str) -> list[Message]:
        shown = self._shown_turns()
        asked = self.prompt.fill("text", text=text)
        if len(shown) == 1:  # no examples, so the question was not asked yet
            asked = self.prompt.fill("question") + "\n\n" + asked
        return [*shown, ("user", asked)]

    def _shown_turns(self) -> list[Message]:
        """Return the card and the examples with their verdicts, the question in the first turn."""
        bad = [line for line in self.prompt.fill("bad").splitlines() if line.strip()]
        good = [shorten(one, SHOWN_CHARS) for one in self.good[:SHOWN_GOOD]]
        turns: list[Message] = [("system", self.card)]
        asked = self.prompt.fill("question") + "\n\n"
        for pair in zip(good, bad, strict=False):
            for example, verdict in zip(pair, (YES, NO), strict=True):
                turns.append(("user", asked + self.prompt.fill("text", text=example)))
                turns.append(("assistant", verdict))
                asked = ""
        return turns
