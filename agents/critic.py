"""The critic: judges whether a text is realistic, clear and fits the task, and its label.

A small model is a poor judge when it is only asked; shown a few texts with their verdicts as turns
of the conversation it does better. So the gold examples serve as good ones and the lines of the
prompt's block `bad` as bad ones. One word answers: yes, or what is wrong. All further questions go
on with the same conversation, so that a local server computes it once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field

from evokd.agents.card import shorten
from evokd.agents.prompting import Prompt
from evokd.agents.teacher import Call, Choice, Message, Teacher, probability_of_yes

ACCEPT = "accept"
YES = "yes"
# What may be wrong with a text as such; the prompt says what the words mean.
FAULTS = ("reply", "letter", "unclear", "nonsense")
WRONG_LABEL = "wrong_label"
REPAIR_BELOW = 0.1
SHOWN_GOOD = 8
MAX_CHARS = 2000
REPAIR_BESIDE = 40  # tokens a repair may have beside one for every sign of the text: it may run on
SHOWN_CHARS = 200


@dataclass(frozen=True)
class Verdict:
    """The critic's word, and how sure it is that the text is good, in [0, 1].

    Args:
        verdict: `accept`, or what is wrong.
        repairable: it is near enough to good to be worth a repair.
    """

    verdict: str
    confidence: float
    repairable: bool = False

    @property
    def accepted(self) -> bool:
        """Whether the text may stay as it is."""
        return self.verdict == ACCEPT

    @property
    def reason(self) -> str:
        """Why it may not, as a rejected sample keeps it."""
        return f"critic_{self.verdict}"


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
        texts: what one text of the task is, in words.
    """

    teacher: Teacher
    prompt: Prompt
    card: str
    labels: Mapping[str, str]
    good: Sequence[str]
    min_confidence: float
    texts: str | None = None

    def judge(self, text: str, label: str, intended: str, call: Call) -> Verdict:
        """Return the verdict on `text` under `label`; another `intended` label speaks against it.

        Raises:
            ReplyError, TeacherError: see `Teacher.choose`.
        """
        answer = self.teacher.choose(self._judge_turns(text), [YES, *FAULTS], call)
        good = answer.probability(YES)
        if good < self.min_confidence:
            fault = max(FAULTS, key=answer.probability)
            return Verdict(fault, good, good >= self.min_confidence - REPAIR_BELOW)
        if label != intended and self._preferred(text, label, intended, call).option != label:
            return Verdict(WRONG_LABEL, good)
        return Verdict(ACCEPT, good)

    def judge_label(self, text: str, label: str, other: str, call: Call) -> Verdict:
        """Return whether `label` fits better than `other`, and nothing on the form of the text.

        The confidence is the probability of `label`.

        Raises:
            ReplyError, TeacherError: see `Teacher.choose`.
        """
        answer = self._preferred(text, label, other, call)
        return Verdict(ACCEPT if answer.option == label else WRONG_LABEL, answer.probability(label))

    def repair(self, text: str, fault: str, label: str, call: Call) -> str:
        """Return `text` said anew without its fault, for `label`.

        Raises:
            ReplyError, TeacherError: see `Teacher.ask`.
        """
        user = self.prompt.fill("repair", label=label, meaning=self.labels[label])
        messages: list[Message] = [
            *self._judge_turns(text),
            ("assistant", fault),
            ("user", user),
        ]
        call = Call(call.round, call.purpose + ":repair")
        most = len(text) + REPAIR_BESIDE
        return shorten(self.teacher.ask(messages, Repaired, call, most=most).text, MAX_CHARS)

    def _preferred(self, text: str, label: str, other: str, call: Call) -> Choice:
        """Return which fits better, `label` or `other`, which is named first.

        A small model leans to the option it reads first, so this leans to the intended label.
        """
        user = self.prompt.fill(
            "label",
            label=label,
            meaning=self.labels[label],
            other=other,
            other_meaning=self.labels[other],
        )
        turns: list[Message] = [*self._judge_turns(text), ("assistant", YES), ("user", user)]
        which = Call(call.round, call.purpose + ":label")
        return self.teacher.choose(turns, [other, label], which)

    def _judge_turns(self, text: str) -> list[Message]:
        shown = self._shown_turns()
        asked = self.prompt.fill("text", text=text)
        if len(shown) == 1:  # no examples, so the question was not asked yet
            asked = self._question() + "\n\n" + asked
        return [*shown, ("user", asked)]

    def _question(self) -> str:
        if self.texts:
            return self.prompt.fill("question_texts", texts=self.texts)
        return self.prompt.fill("question")

    def _shown_turns(self) -> list[Message]:
        """Return the card and the examples with their verdicts, the question in the first turn."""
        turns: list[Message] = [("system", self.card)]
        asked = self._question() + "\n\n"
        for pair in shown_pairs(self.prompt, self.good):
            for example, verdict in pair:
                turns.append(("user", asked + self.prompt.fill("text", text=example)))
                turns.append(("assistant", verdict))
                asked = ""
        return turns


def judge_explanation(
    teacher: Teacher,
    prompt: Prompt,
    card: str,
    question: str,
    steps: Sequence[str],
    answer: str,
    call: Call,
) -> float:
    """Return how sure the critic is that an explanation leads to its answer, in [0, 1].

    Raises:
        ReplyError, TeacherError: see `Teacher.choose`.
    """
    asked = prompt.fill("main", question=question, steps="\n".join(steps), answer=answer)
    turns: list[Message] = [("system", card), ("user", asked)]
    return probability_of_yes(teacher, turns, call)


def shown_pairs(
    prompt: Prompt, good: Sequence[str]
) -> Iterator[tuple[tuple[str, str], tuple[str, str]]]:
    """Return what the critic is shown: a good example and a bad one at a time, with their verdicts.

    Raises:
        ConfigError: as `read_bad_examples`.
    """
    shown = [(shorten(one, SHOWN_CHARS), YES) for one in good[:SHOWN_GOOD]]
    return zip(shown, read_bad_examples(prompt), strict=False)


def read_bad_examples(prompt: Prompt) -> list[tuple[str, str]]:
    """Return the bad examples of the critic's prompt with their faults, from lines `fault: text`.

    Raises:
        ConfigError: a line is none such.
    """
    return prompt.examples("bad", FAULTS)
