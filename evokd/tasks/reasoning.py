"""Reasoning: questions that are answered after an explanation; rows, metric and mistakes.

Knows nothing of models. A row is `{"question": …, "answer": …}`, perhaps with `choices` (in a CSV
between bars: `red|blue`) and a `rationale`, a step a line; the answer may be a whole solution that
ends with it. Inside, `text` is the question and `label` its canonical answer. What an answer looks
like shows in the rows: see `answer_form`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from evokd.config import nearest
from evokd.errors import DataError
from evokd.records import Example, Prediction
from evokd.tasks.arithmetic import first_miscalculated
from evokd.tasks.choices import MOST_CHOICES, are_choices, question_key, split_choices
from evokd.tasks.explanations import (
    AnswerForm,
    answer_form,
    canonical_answer,
    extract_answer,
    first_repeated,
    form_with,
    has_answer_line,
    is_answer,
    said_answer,
    split_steps,
)
from evokd.tasks.kind import Mistake, Row
from evokd.tasks.pool import QUESTION
from evokd.tasks.texts import is_unicode

NO_ANSWER, MISCALCULATED, MISREASONED = "no_answer", "miscalculated", "misreasoned"
# What an answer is that does not have a form; texts and options have none of their own.
OTHERWISE: dict[str | None, str] = {"number": "no number", "yes_no": "neither yes nor no"}


@dataclass(frozen=True)
class Question:
    """What a student is asked."""

    text: str
    choices: tuple[str, ...] = ()

    @property
    def asked(self) -> str:
        """The question with its options; see `asked_question`."""
        return asked_question(self.text, self.choices)


class Reasoning:
    """A question has one answer, and an explanation leads to it; see `TaskKind`."""

    name = "reasoning"
    metric = "accuracy"
    errors = (NO_ANSWER, MISCALCULATED, MISREASONED)
    exclusive = True
    form = '{"question": "…", "answer": "…"}'
    columns = ("question", "answer")
    pool_columns = QUESTION

    def check_row(self, raw: dict[str, Any], where: str, labels: Sequence[str]) -> Example:
        """Return a row of a file, checked; there are no labels.

        An answer that is a whole solution, such as "3 + 4 = 7 #### 7", is the rationale, too.
        """
        missing = [key for key in self.columns if key not in raw]
        if missing:
            raise DataError(f"{where}: no key {missing[0]!r}; found {sorted(map(str, raw))}")
        question = _string(raw["question"], "question", where)
        if not question:
            raise DataError(f"{where}: the question is empty; remove the row or fill it in")
        choices, answer = _choices(raw.get("choices"), where), raw["answer"]
        rationale = raw.get("rationale")
        told = _string("" if rationale is None else rationale, "rationale", where)
        if isinstance(answer, str) and has_answer_line(answer) and answer not in choices:
            told = told or "\n".join(split_steps(answer))
            answer = said_answer(answer)
        label = _answer(answer, choices, where)
        return Example(text=question, label=label, choices=choices, rationale=told)

    def raw(self, row: Example) -> dict[str, Any]:
        """Return the row as it stands in a file."""
        more = {"choices": row.choices, "rationale": row.rationale}
        return {"question": row.text, "answer": row.label} | {
            key: value for key, value in more.items() if value
        }

    def mark(self, row: Row, said: Prediction) -> str:
        """Return 1 where the answer was found, else 0."""
        return str(int(is_answer(said.label, row.label or "", row.choices)))

    def describe(self, row: Row) -> str:
        """Return in words what the answer is."""
        return f"the answer {row.label!r}"

    def doubts(self, rows: Sequence[Example]) -> list[str]:
        """Return nothing: a row that can be read can be learnt."""
        return []

    def key(self, row: Row) -> str:
        """Return the question as `normalize` has it, and its choices."""
        return question_key(row.text, row.choices)

    def says(self, row: Row) -> str:
        """Return the answer."""
        return row.label or ""

    def targets(self, labels: Mapping[str, str]) -> dict[str, str]:
        """Return nothing: no questions are asked for."""
        return {}

    def labels_in(self, row: Row) -> AbstractSet[str]:
        """Return nothing: there are no labels."""
        return set()

    def inputs(self, rows: Sequence[Row]) -> list[Question]:
        """Return the questions."""
        return [question_of(row) for row in rows]

    def score(self, rows: Sequence[Row], said: Sequence[Prediction]) -> float:
        """Return the share of rows whose answer was found."""
        marks = [int(self.mark(row, one)) for row, one in zip(rows, said, strict=True)]
        return sum(marks) / len(marks) if marks else 0.0

    def score_by_label(
        self, rows: Sequence[Row], said: Sequence[Prediction], labels: Sequence[str]
    ) -> dict[str, float]:
        """Return nothing: there are no labels."""
        return {}

    def mistakes(self, row: Row, said: Prediction) -> list[Mistake]:
        """Return what is wrong where the answer is: none at all, a sum, or the reasoning."""
        if self.mark(row, said) == "1":
            return []
        return [Mistake(row.label or "", said.label, plain_mistake(said) or MISREASONED)]


def read_question(text: str) -> Question:
    """Return a question as it is asked by hand: plain, or a row with its choices as JSON.

    Raises:
        DataError: what a row holds is no question, or no choices.
    """
    try:
        row = json.loads(text)
    except (ValueError, RecursionError):
        return Question(text)
    if not isinstance(row, dict) or "question" not in row:
        return Question(text)
    where = f"the row {text[:60]!r}"
    choices = _choices(row.get("choices"), where)
    return Question(_string(row["question"], "question", where), tuple(choices))


def read_answer(value: Any, form: AnswerForm, choices: Sequence[str]) -> str:
    """Return the canonical answer that a row of a pool holds; '' where none can be read.

    A solution that ends with its answer is read, too, such as "3 + 4 = 7 #### 7".
    """
    said = _said(value, choices)
    if said is None:
        return ""
    read = extract_answer if has_answer_line(said) else canonical_answer
    return read(said, form_with(choices, form), choices)


def answer_in_form(row: Example, form: AnswerForm | None, where: str) -> Example:
    """Return a gold row with its answer in the form that the task names; None: it names none.

    Raises:
        DataError: it cannot be read so.
    """
    if row.choices or form is None or form not in OTHERWISE:
        return row
    answer = read_answer(row.label, form, ())
    if not answer:
        raise DataError(
            f"{where}: the answer {row.label!r} is {OTHERWISE[form]}; task.answers says {form}: "
            "write it so, or change task.answers"
        )
    return row.model_copy(update={"label": answer})


def never_right(rows: Sequence[Row], seed: Sequence[Row]) -> list[str]:
    """Return in words which answers no student gives, for all seeds' have another form."""
    form = usual_form(seed)
    odd = [one.label or "" for one in rows if not one.choices and form in OTHERWISE]
    odd = [answer for answer in odd if answer_form(answer) != form]
    if not odd:
        return []
    return [
        f"{len(odd)} answer(s), such as {odd[0][:60]!r}, are {OTHERWISE[form]}, and can never be "
        "right, for those of all seeds are: say in task.answers what an answer is, or give a seed "
        "with such an answer"
    ]


def unexplained(rows: Sequence[Example]) -> list[str]:
    """Return in words how many rows a student learns nothing from: those without a step."""
    bare = sum(not split_steps(row.rationale) for row in rows)
    if not bare:
        return []
    return [
        f"{bare} of {len(rows)} row(s) have no rationale with a step before the answer, so that "
        "the student does not learn them: give one, a step a line"
    ]


def miscalculated_gold(rows: Sequence[Example]) -> list[str]:
    """Return in words how many gold explanations state a sum that code finds wrong.

    Arithmetic of another kind may do so, such as binary numbers; revisions like them are rejected.
    """
    wrong = [
        steps[at]
        for row in rows
        for steps in [split_steps(row.rationale)]
        if (at := first_miscalculated(steps)) is not None
    ]
    if not wrong:
        return []
    return [
        f"{len(wrong)} of {len(rows)} row(s) explain with a sum that does not hold, such as "
        f"{wrong[0][:80]!r}: correct it; where numbers are meant otherwise (binary, remainders), "
        "write no equals sign, for revisions that state such sums are rejected"
    ]


def first_flawed(steps: Sequence[str]) -> int | None:
    """Return the index of the first step that code alone knows to be wrong; None: there is none.

    It states a wrong sum, or repeats a step before it.
    """
    flaws = (first_miscalculated(steps), first_repeated(steps))
    return min((place for place in flaws if place is not None), default=None)


def explanation_counts(said: Sequence[Prediction]) -> dict[str, int]:
    """Return how many explanations there are, how many were cut, and how many hold no answer."""
    return {
        "explained": len(said),
        "cut": sum(bool(one.cut) for one in said),
        "unanswered": sum(not one.label for one in said),
    }


def plain_mistake(said: Prediction) -> str:
    """Return what is wrong with an explanation whatever the right answer is; '': nothing is."""
    if not said.label:
        return NO_ANSWER
    return "" if first_miscalculated(said.steps or []) is None else MISCALCULATED


def question_of(row: Row) -> Question:
    """Return what a student is asked."""
    return Question(row.text, tuple(row.choices))


def usual_form(rows: Sequence[Row]) -> AnswerForm:
    """Return what the answers of all rows without choices are; "text" where they differ."""
    forms = {answer_form(row.label or "") for row in rows if not row.choices}
    return forms.pop() if len(forms) == 1 else "text"


def asked_question(text: str, choices: Sequence[str]) -> str:
    """Return a question with its options, each on a line with a letter, where it has any."""
    return "\n".join([text, *lettered(choices)])


def lettered(choices: Sequence[str]) -> list[str]:
    """Return options with their letters, as a question shows them."""
    return [f"({chr(ord('a') + place)}) {option}" for place, option in enumerate(choices)]


def _string(value: Any, key: str, where: str) -> str:
    if not isinstance(value, str):
        raise DataError(f"{where}: the {key} is {value!r}; expected a string")
    if not is_unicode(value):
        raise DataError(f"{where}: the {key} holds half a surrogate pair; write it as UTF-8")
    return value.strip()


def _choices(value: Any, where: str) -> list[str]:
    if value is None or value in ("", []):
        return []
    if isinstance(value, str):
        value = split_choices(value)
    if not isinstance(value, list):
        raise DataError(f"{where}: the choices are {value!r}; expected a list of strings")
    choices = [" ".join(_string(one, "choice", where).split()) for one in value]
    if not are_choices(choices):
        raise DataError(
            f"{where}: the choices are {choices}; expected two to {MOST_CHOICES}, none of them "
            "empty and no two the same but for capitals"
        )
    return choices


def _answer(value: Any, choices: Sequence[str], where: str) -> str:
    """Return the canonical answer of a row's."""
    written = _said(value, choices)
    if written is None:
        raise DataError(
            f"{where}: the answer is {value!r}; expected a string, a number, true or false"
        )
    said = _string(written, "answer", where)
    if not said:
        raise DataError(f"{where}: the answer is empty; remove the row or fill it in")
    answer = canonical_answer(said, answer_form(said, choices), choices)
    if not answer:
        raise DataError(
            f"{where}: the answer {said!r} is none of the choices{nearest(said, choices)}; "
            f"expected one of {', '.join(choices)}"
        )
    return answer


def _said(value: Any, choices: Sequence[str]) -> str | None:
    """Return an answer as it is written; None where it is none.

    True and false are yes and no, but where there are options.
    """
    if not isinstance(value, bool):
        return _written(value)
    return str(value) if choices else "yes" if value else "no"


def _written(value: Any) -> str | None:
    """Return a string, or a number as one; None for anything else."""
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return f"{Decimal(str(value)):f}"
    return value if isinstance(value, str) else None
