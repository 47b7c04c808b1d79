"""How shaky a student's explanations are: it goes on with them, or writes them anew."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from evokd.tasks.explanations import form_with, same_answer
from evokd.tasks.reasoning import Question
from evokd.tools.reasoner import Explained, Prefix, Reasoner
from evokd.tools.uncertainty import (
    CONFIDENCE,
    ENTROPY,
    INTER,
    INTRA,
    Shakiness,
    answer_entropy,
    disagreement,
)


def look_closely(
    student: Reasoner,
    questions: Sequence[Question],
    said: Sequence[Explained],
    sure: Sequence[float],
    kinds: Sequence[str],
    *,
    samples: int,
    temperature: float,
    random_seed: int,
) -> list[Shakiness]:
    """Return how shaky each explanation is, by the kinds of uncertainty that are asked for.

    Where any is, confidence is there, too: it parts what is equally shaky.

    Args:
        said: the likeliest explanation of each question.
        sure: the confidence in each one's answer.
        samples: explanations sampled after each step; of a whole one twice as many.
    """
    found = [{CONFIDENCE: 1.0 - confidence} if kinds else {} for confidence in sure]
    # Without an answer there is nothing to agree with, whatever is sampled.
    begun = [
        (at, place)
        for at, one in enumerate(said)
        if one.answer
        for place in range(max(1, len(one.steps)))
    ]
    prefixes = [Prefix(questions[at], said[at].steps[:place]) for at, place in begun]
    owners = [at for at, _ in begun]
    sampling: dict[str, Any] = {"temperature": temperature, "random_seed": random_seed}
    same = [
        partial(same_answer, form=form_with(q.choices, student.answer_form), choices=q.choices)
        for q in questions
    ]

    def share_out(answers: Sequence[str], owners: Sequence[int]) -> list[list[str]]:
        shared: list[list[str]] = [[] for _ in questions]
        for owner, answer in zip(owners, answers, strict=True):
            shared[owner].append(answer)
        return shared

    if INTRA in kinds:
        shared = share_out(student.answers(prefixes), owners)
        for row, answers, one, is_same in zip(found, shared, said, same, strict=True):
            row[INTRA] = disagreement(answers, one.answer, is_same)
    if INTER in kinds:
        again = student.go_on(prefixes, samples=samples, **sampling)
        repeated = [owner for owner in owners for _ in range(samples)]
        shared = share_out([one.answer for one in again], repeated)
        for row, answers, one, is_same in zip(found, shared, said, same, strict=True):
            row[INTER] = disagreement(answers, one.answer, is_same)
    if ENTROPY in kinds:
        number = 2 * samples
        again = student.explain(questions, samples=number, **sampling)
        repeated = [at for at in range(len(questions)) for _ in range(number)]
        shared = share_out([one.answer for one in again], repeated)
        for row, answers, is_same in zip(found, shared, same, strict=True):
            row[ENTROPY] = answer_entropy(answers, is_same)
    return [Shakiness(row) for row in found]
