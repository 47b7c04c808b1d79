"""The reviser: finds the first wrong step of a student's own explanation, and corrects from there.

After Zhang et al., ELAD (Findings of ACL 2024, arXiv 2402.13098), "customised explanation
revision": the walk goes step by step, the answer is the last one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from evokd.agents.compact_grammar import (
    CALCULATION,
    NUMBER,
    TEXT,
    any_of,
    line_grammar,
    lines_grammar,
)
from evokd.agents.option_probability import probability_of_reply
from evokd.agents.parsing import Lines
from evokd.agents.prompting import Prompt
from evokd.agents.teacher import Call, Message, Teacher, probability_of_yes
from evokd.records import Example
from evokd.tasks.arithmetic import Equation, equations
from evokd.tasks.calculations import calculation_of, work_out
from evokd.tasks.explanations import (
    ANSWER,
    AnswerForm,
    extract_answer,
    split_steps,
    write_explanation,
)
from evokd.tasks.reasoning import asked_question, first_flawed

SURE = 0.5  # a step of which yes is as likely as this is right
NO_STEPS = "(none)"
MOST_STEPS = 8  # of an explanation of the reviser's own
# What it writes, as purposes of calls say.
CORRECT, WHOLE, CALCULATE = "correct", "whole", "calculate"
WRITES = (CORRECT, WHOLE, CALCULATE)


@dataclass(frozen=True)
class Correction:
    """What the reviser explains.

    Args:
        answer: as it wrote it.
        confidence: how likely it found what it wrote, in [0, 1]; None: nobody knows.
    """

    steps: tuple[str, ...]
    answer: str
    confidence: float | None = None


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
        card: the task with solved examples, the first message where it judges.
        instructions: the task alone, where it explains; the examples are then turns of the
            conversation, which a small model follows in form and length.
        solved: these examples, gold questions with their explanations.
    """

    teacher: Teacher
    prompt: Prompt
    card: str
    instructions: str = ""
    solved: Sequence[Example] = ()

    def walk(
        self,
        question: str,
        steps: Sequence[str],
        answer: str,
        call: Call,
    ) -> Walk:
        """Ask of step after step, then of the answer, whether it is right, up to the first no.

        An explanation without an answer breaks at its end. A step that code knows to be wrong is,
        whatever is said of it, and nothing after it is asked about.

        Raises:
            ReplyError, TeacherError: see `Teacher.choose`.
        """
        verdicts: list[bool] = []
        flawed = first_flawed(steps)
        for place, step in enumerate(steps):
            user = self.prompt.fill(
                "step", question=question, steps=numbered(steps[: place + 1]), last=step
            )
            verdicts.append(self._is_right(user, call, f"step {place}"))
            if not verdicts[-1] or place == flawed:
                return Walk(tuple(verdicts), place)
        if not answer:
            return Walk(tuple(verdicts), len(steps))
        user = self.prompt.fill("answer", question=question, steps=numbered(steps), answer=answer)
        verdicts.append(self._is_right(user, call, "answer"))
        return Walk(tuple(verdicts), None if verdicts[-1] else len(steps))

    def compare(
        self,
        question: str,
        steps: Sequence[str],
        solution: Sequence[str],
        call: Call,
        *,
        agrees: bool,
    ) -> Walk:
        """Walk an explanation's steps beside a solution of the reviser's own, up to the first no.

        Where the solution has sums nobody is asked: a step is right where its sums hold and the
        solution works out the same results, and a step without sums is as right as the next one
        that has some, or as the answer. Where it has none, every step that code finds no flaw in is
        asked about, with the solution in sight.

        Args:
            agrees: the explanation comes to the solution's answer.

        Raises:
            ReplyError, TeacherError: see `Teacher.choose`.
        """
        flawed = first_flawed(steps)
        if worked_out := _worked_out(solution):
            borne_out = [_borne_out(step, worked_out) for step in steps]
            if flawed is not None:
                borne_out[flawed] = False
            return _walked(borne_out, agrees)
        verdicts: list[bool] = []
        for place, step in enumerate(steps):
            right = place != flawed
            if right:
                user = self.prompt.fill(
                    "beside",
                    question=question,
                    solution=numbered(solution),
                    steps=numbered(steps[: place + 1]),
                    last=step,
                )
                right = self._is_right(user, call, f"step {place}")
            verdicts.append(right)
            if not right:
                return Walk(tuple(verdicts), place)
        return Walk(tuple(verdicts), None)

    def correct(
        self,
        question: str,
        right: Sequence[str],
        wrong: str,
        call: Call,
        form: AnswerForm,
        choices: Sequence[str] = (),
    ) -> Correction:
        """Return what is to follow the right steps, in place of the wrong one ('': the end).

        Args:
            form: of the answer.

        Raises:
            ReplyError, TeacherError: see `Teacher.tell`.
        """
        if not right:
            return self.explain(question, call, form, choices)
        lines = "\n".join(right)
        if wrong:
            user = self.prompt.fill("correct", question=question, steps=lines, wrong=wrong)
        else:
            user = self.prompt.fill("finish", question=question, steps=lines)
        own = self._write(user, call, CORRECT, form, choices)
        return Correction(tuple(step for step in own.steps if step not in right), own.answer)

    def explain(
        self, question: str, call: Call, form: AnswerForm, choices: Sequence[str] = ()
    ) -> Correction:
        """Return a whole explanation of the reviser's own.

        Args:
            form: of the answer.

        Raises:
            ReplyError, TeacherError: see `Teacher.tell`.
        """
        return self._write(question, call, WHOLE, form, choices)

    def calculate(self, question: str, call: Call) -> Correction:
        """Return a solution without words: the sums of a calculation of the reviser's own.

        It writes the calculation only, some ten tokens, and is as often right as with words where
        the sums are few (docs/methods.md); code works it out.

        Raises:
            ReplyError, TeacherError: see `Teacher.tell`.
        """
        turns = self._conversation("calculate", calculation_of, question)
        asked = Lines(self.prompt.fill("calculation"), line_grammar(CALCULATION))
        one = Call(call.round, f"{call.purpose}:{CALCULATE}")
        own, reply = self.teacher.tell_raw(turns, asked, read_calculation, one)
        return replace(own, confidence=probability_of_reply(reply.logprobs))

    def _write(
        self, user: str, call: Call, what: str, form: AnswerForm, choices: Sequence[str]
    ) -> Correction:
        turns = self._conversation("explain", write_explanation, user)
        answer = {
            "number": NUMBER,
            "yes_no": any_of(["yes", "no"]),
            "choice": any_of(choices),
            "text": TEXT,
        }[form]
        asked = Lines(self.prompt.fill("lines"), lines_grammar(ANSWER, answer, most=MOST_STEPS))
        one = Call(call.round, f"{call.purpose}:{what}")
        return self.teacher.tell(turns, asked, lambda text: read_reply(text, form, choices), one)

    def _conversation(
        self, block: str, reply: Callable[[Sequence[str], str], str], user: str
    ) -> list[Message]:
        """Return the task, the solved examples as turns, and what is asked now.

        Args:
            block: of the prompt, what the task is told with.
            reply: steps and answer of an example → what the reviser said of it; '': it is left out.
        """
        system = self.prompt.fill(block, instructions=self.instructions.strip())
        turns: list[Message] = [("system", system)]
        for example in self.solved:
            if said := reply(split_steps(example.rationale), example.label or ""):
                turns.append(("user", asked_question(example.text, example.choices)))
                turns.append(("assistant", said))
        return [*turns, ("user", user)]

    def _is_right(self, user: str, call: Call, what: str) -> bool:
        one = Call(call.round, f"{call.purpose}:{what}")
        return probability_of_yes(self.teacher, self._turns(user), one) >= SURE

    def _turns(self, user: str) -> list[Message]:
        return [("system", self.card), ("user", user)]


def read_reply(text: str, form: AnswerForm, choices: Sequence[str]) -> Correction:
    """Return the steps of a reply and its answer; where none can be read, what the line says.

    Raises:
        ValueError: it has no step, or no answer.
    """
    steps = tuple(split_steps(text))
    _, _, said = text.partition(ANSWER)
    answer = extract_answer(text, form, choices) or said.strip().partition("\n")[0]
    if not steps or not answer:
        raise ValueError(f"it has no {'step' if answer else 'answer'}")
    return Correction(steps, answer)


def read_calculation(text: str) -> Correction:
    """Return the sums of the first calculation of a reply, and what it comes to.

    What stands beside an equals sign, before a colon or in a code fence may be it; a number alone
    has no sums.

    Raises:
        ValueError: it holds none.
    """
    problem = ""
    for line in text.replace("`", "").splitlines():
        sides = [side for part in line.split(":") for side in part.split("=") if side.strip()]
        for side in sides:
            try:
                worked_out = work_out(side)
            except ValueError as error:
                problem = problem or str(error)
                continue
            if worked_out.steps or len(sides) == 1:
                return Correction(worked_out.steps, worked_out.answer)
    raise ValueError(problem or "it is empty")


def first_apart(steps: Sequence[str], solution: Sequence[str]) -> int | None:
    """Return the place of the first step with a result that a solution has not.

    None: there is none, or the solution has no results.
    """
    worked_out = _worked_out(solution)
    apart = (at for at, step in enumerate(steps) if not _are_among(equations(step), worked_out))
    return next(apart, None) if worked_out else None


def _walked(borne_out: Sequence[bool | None], agrees: bool) -> Walk:
    """Return a walk over steps that are borne out, or not, or say nothing of it (None)."""
    following, verdicts = agrees, []
    for one in reversed(borne_out):
        following = following if one is None else one
        verdicts.append(following)
    verdicts.reverse()
    at = verdicts.index(False) if False in verdicts else None
    return Walk(tuple(verdicts if at is None else verdicts[: at + 1]), at)


def _borne_out(step: str, worked_out: set[Fraction]) -> bool | None:
    """Return whether a step's sums hold and lead to some of the results; None: it has no sums."""
    sums = equations(step)
    return all(one.holds for one in sums) and _are_among(sums, worked_out) if sums else None


def _worked_out(solution: Sequence[str]) -> set[Fraction]:
    sums = [one for step in solution for one in equations(step)]
    return {value for one in sums for value in (one.stated, one.computed)}


def _are_among(sums: Sequence[Equation], worked_out: set[Fraction]) -> bool:
    return all({one.stated, one.computed} & worked_out for one in sums)


def rest_of(solution: Sequence[str], kept: Sequence[str]) -> list[str]:
    """Return a solution after those of its first steps whose results the kept steps have.

    All of it where nothing is kept, or where the kept steps lead to none of its results.
    """
    known = Counter(one for step in kept for one in _results(step))
    covered = 0
    for place, step in enumerate(solution):
        needed = Counter(_results(step))
        if needed - known:
            break
        if needed:
            known -= needed
            covered = place + 1
    return list(solution[covered:])


def _results(step: str) -> list[Fraction]:
    return [one.stated for one in equations(step)]


def numbered(steps: Sequence[str]) -> str:
    """Return steps with their numbers, a line each."""
    lines = [f"{place}. {step}" for place, step in enumerate(steps, 1)]
    return "\n".join(lines) or NO_STEPS
