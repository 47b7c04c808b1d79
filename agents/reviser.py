"""The reviser: finds the first wrong step of a student's own explanation, and corrects from there.

After Zhang et al., ELAD (Findings of ACL 2024, arXiv 2402.13098), "customised explanation
revision": the walk goes step by step, the answer is the last one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field

from evokd.agents.prompting import Prompt
from evokd.agents.teacher import Call, Message, Teacher, probability_of_yes

SURE = 0.5  # a step of which yes is as likely as this is right
NO_STEPS = "(none)"


class Correction(BaseModel):
    """The reply: what follows the steps that are right."""

    model_config = ConfigDict(extra="ignore")

    steps: list[str] = Field(min_length=1, max_length=10)
    answer: str = Field(min_length=1, max_length=200)


@dataclass(frozen=True)
class Walk:
    """How far a student's explanation is right.

    Args:
        verdicts: of its steps, in order, whether each is right; the last one may be of its answer.
        first_wrong: the place of the first wrong step, len(steps) where it is the answer; None:
            nothing is wrong.
    """

    verdicts: tuple[bool, ...]
    first_wrong: int | None


@dataclass(frozen=True)
class Reviser:
    """Who walks and corrects explanations.

    Args:
        card: the task with solved examples, the first message of every call.
    """

    teacher: Teacher
    prompt: Prompt
    card: str

    def walk(self, question: str, steps: Sequence[str], answer: str, call: Call) -> Walk:
        """Ask of step after step, then of the answer, whether it is right, up to the first no.

        An explanation without an answer breaks at its end.

        Raises:
            ReplyError, TeacherError: see `Teacher.choose`.
        """
        verdicts: list[bool] = []
        for place, step in enumerate(steps):
            user = self.prompt.fill(
                "step", question=question, steps=numbered(steps[: place + 1]), last=step
            )
            verdicts.append(self._is_right(user, call, f"step {place}"))
            if not verdicts[-1]:
                return Walk(tuple(verdicts), place)
        if not answer:
            return Walk(tuple(verdicts), len(steps))
        user = self.prompt.fill("answer", question=question, steps=numbered(steps), answer=answer)
        verdicts.append(self._is_right(user, call, "answer"))
        return Walk(tuple(verdicts), None if verdicts[-1] else len(steps))

    def correct(self, question: str, right: Sequence[str], wrong: str, call: Call) -> Correction:
        """Return what is to follow the right steps, in place of the wrong one ('': the end).

        Raises:
            ReplyError, TeacherError: see `Teacher.ask`.
        """
        if wrong:
            user = self.prompt.fill(
                "correct", question=question, steps=numbered(right), wrong=wrong
            )
        else:
            user = self.prompt.fill("finish", question=question, steps=numbered(right))
        return self._ask(user, call, "correct")

    def explain(self, question: str, call: Call) -> Correction:
        """Return a whole explanation of the reviser's own.

        Raises:
            ReplyError, TeacherError: see `Teacher.ask`.
        """
        return self._ask(self.prompt.fill("whole", question=question), call, "whole")

    def _ask(self, user: str, call: Call, what: str) -> Correction:
        one = Call(call.round, f"{call.purpose}:{what}")
        return self.teacher.ask(self._turns(user), Correction, one)

    def _is_right(self, user: str, call: Call, what: str) -> bool:
        one = Call(call.round, f"{call.purpose}:{what}")
        return probability_of_yes(self.teacher, self._turns(user), one) >= SURE

    def _turns(self, user: str) -> list[Message]:
        return [("system", self.card), ("user", user)]


def numbered(steps: Sequence[str]) -> str:
    """Return steps with their numbers, a line each."""
    lines = [f"{place}. {step}" for place, step in enumerate(steps, 1)]
    return "\n".join(lines) or NO_STEPS
