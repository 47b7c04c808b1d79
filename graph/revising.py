"""One explanation of the student's is revised, and the revision judged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from evokd.agents.card import solved_first
from evokd.agents.critic import judge_explanation
from evokd.agents.reviser import (
    WRITES,
    Correction,
    Reviser,
    Walk,
    first_apart,
    rest_of,
)
from evokd.agents.teacher import Call
from evokd.errors import ReplyError
from evokd.graph.prompts import shown_seed
from evokd.graph.session import Session
from evokd.records import Prediction, Revision, Sample
from evokd.tasks.arithmetic import first_miscalculated, goes_against, is_worked_out
from evokd.tasks.explanations import (
    AnswerForm,
    canonical_answer,
    first_repeated,
    form_with,
    same_answer,
)
from evokd.tasks.reasoning import asked_question, first_flawed
from evokd.tasks.written_numbers import is_only_a_number, number_in
from evokd.tools.reasoner_training import explanation_tokens

REVISE = "revise"  # phase and purpose


def is_spent(session: Session, sample: Sample) -> bool:
    """Whether what is left of the budget is needed to judge what the round has revised.

    The sample counts, too, and so does what other branches have begun with. A correction that was
    answered before a kill is there.
    """
    to_judge = 0
    if session.config.strategy.critic:
        purposes = session.ledger.purposes(sample.round, f"{REVISE}:")
        to_judge = len({one.split(":")[1] for one in purposes} | {sample.id})
    if not session.budget.reached(to_read=to_judge):
        return False
    own = (f"{REVISE}:{sample.id}:{what}" for what in WRITES)
    return not any(session.ledger.holds_reply("reviser", sample.round, one) for one in own)


def revise_explanation(session: Session, sample: Sample) -> Sample:
    """Return a sample with its revision, or rejected where the budget ends before a correction."""
    said = sample.prediction
    assert said is not None
    reviser = reviser_of(session)
    call = Call(sample.round, f"{REVISE}:{sample.id}")
    question = asked_question(sample.text, sample.choices)
    steps = said.steps or []
    asked = call, form_with(sample.choices, session.answers), sample.choices
    annotation = session.config.strategy.annotation
    if annotation == "whole":
        own = reviser.explain(question, *asked)
        broken = _broken(said, own, *asked[1:])
        return sample.model_copy(update={"revision": _revision([], own, first_wrong=broken)})
    if annotation in ("solved", "calculation"):
        has_words = annotation == "solved" or asked[1] != "number"
        own = reviser.explain(question, *asked) if has_words else reviser.calculate(question, call)
        revision = _beside(reviser, question, said, own, *asked)
        return sample.model_copy(update={"revision": revision})
    walk = reviser.walk(question, steps, said.label, call)
    at, verdicts = walk.first_wrong, list(walk.verdicts)
    if at is None and steps:
        revision = Revision(steps=steps, answer=said.label, verdicts=verdicts)
    elif verdicts and is_spent(session, sample):
        return sample.rejected("budget")
    else:  # an answer alone explains nothing, right as it may be
        wrong = steps[at] if at is not None and at < len(steps) else ""
        own = reviser.correct(question, steps[:at], wrong, *asked)
        revision = _revision(steps[:at], own, verdicts=verdicts, first_wrong=at)
    return sample.model_copy(update={"revision": revision})


def reviser_of(session: Session) -> Reviser:
    """Return the reviser of a session, with the gold explanations that it is shown."""
    return Reviser(
        session.teachers["reviser"],
        session.prompts["reviser"],
        session.card,
        session.config.task.instructions,
        [
            row
            for row in solved_first(shown_seed(session.config, session.data.seed))
            if row.rationale
        ],
    )


def _beside(
    reviser: Reviser,
    question: str,
    said: Prediction,
    own: Correction,
    call: Call,
    form: AnswerForm,
    choices: Sequence[str],
) -> Revision:
    """Return the student's explanation as far as the reviser's own bears it out, then that one.

    One that works out the same answer is right on whatever way. An answer alone, without a step,
    explains nothing.
    """
    steps = said.steps or []
    agrees = same_answer(said.label, own.answer, form, choices)
    works_it_out = form == "number" and steps and is_worked_out(said.label, steps[-1])
    if agrees and works_it_out and first_flawed(steps) is None:
        walk = Walk((True,) * len(steps), None)
    else:
        walk = reviser.compare(question, steps, own.steps, call, agrees=agrees)
    verdicts, at = list(walk.verdicts), walk.first_wrong
    if at is None:
        verdicts += [agrees] if said.label else []
        at = None if agrees else len(steps)
    if at is None and steps:
        return Revision(
            steps=steps,
            answer=said.label,
            verdicts=verdicts,
            compared=True,
            confidence=own.confidence,
        )
    kept = steps[:at]
    rest = replace(own, steps=tuple(rest_of(own.steps, kept)))
    return _revision(kept, rest, verdicts=verdicts, first_wrong=at, compared=True)


def _broken(
    said: Prediction, own: Correction, form: AnswerForm, choices: Sequence[str]
) -> int | None:
    """Return where an explanation broke, as far as code can tell that has another one beside it.

    At its first flaw; where its answer is another one, at the first result that the other one has
    not, or at the answer.
    """
    steps = said.steps or []
    broken = first_flawed(steps)
    if broken is not None or same_answer(said.label, own.answer, form, choices):
        return broken
    apart = first_apart(steps, own.steps)
    return len(steps) if apart is None else apart


def _revision(kept: Sequence[str], own: Correction, **more: Any) -> Revision:
    """Return what is kept of the student's steps, and the reviser's after them."""
    return Revision(steps=[*kept, *own.steps], answer=own.answer, confidence=own.confidence, **more)


def inspect_revision(
    sample: Sample, answers: AnswerForm, *, check_known: bool, min_confidence: float = 0.0
) -> Sample:
    """Return a revised sample with its answer, or rejected with the reason.

    A revision whose last step ends with a sum that comes to its answer needs no critic. What the
    reviser is unsure of counts where the student comes to the same by itself.

    Args:
        answers: the form of an answer to a question without choices.
        check_known: an answer that the pool knows has to be met.
        min_confidence: how likely the reviser has to find what it wrote, where it tells.
    """
    revision = sample.revision
    if revision is None:
        return sample.rejected("revision_missing")
    if not revision.steps:
        return sample.rejected("no_steps")
    form = form_with(sample.choices, answers)
    answer = canonical_answer(revision.answer, form, sample.choices)
    if not answer:
        return sample.rejected("answer_outside_options" if sample.choices else "answer_unreadable")
    if first_miscalculated(revision.steps) is not None:
        return sample.rejected("miscalculated")
    if first_repeated(revision.steps) is not None:
        return sample.rejected("repeated_step")
    told, agrees = revision.confidence, revision.first_wrong is None
    if told is not None and told < min_confidence and not agrees:
        return sample.rejected("reviser_unsure")
    if (
        check_known
        and sample.known_answer
        and not same_answer(answer, sample.known_answer, form, sample.choices)
    ):
        return sample.rejected("not_the_known_answer")
    last = revision.steps[-1]
    is_number = form == "number" or (
        form == "choice" and all(map(is_only_a_number, sample.choices))
    )
    if is_number and goes_against(last, number_in(answer)):
        return sample.rejected("answer_contradicts_steps")
    proven = is_number and is_worked_out(number_in(answer), last)
    return sample.model_copy(update={"label": answer, "checked": not proven})


def without_too_long(session: Session, samples: Sequence[Sample]) -> list[Sample]:
    """Reject the revisions that the student could not write to their end."""
    told = [(one.revision.steps if one.revision else [], one.label or "") for one in samples]
    lengths = explanation_tokens(session.student_source, told)
    most = session.config.student.max_new_tokens
    return [
        one.rejected("explanation_too_long") if one.accepted is None and length > most else one
        for one, length in zip(samples, lengths, strict=True)
    ]


def judge_revision(session: Session, sample: Sample) -> Sample:
    """Return a revised sample with the critic's verdict, rejected where it is not sure enough."""
    revision, strategy = sample.revision, session.config.strategy
    assert revision is not None
    call = Call(sample.round, f"critique:{sample.id}")
    question = asked_question(sample.text, sample.choices)
    asked = session.teachers["critic"], session.prompts["critic"], session.card
    try:
        sure = judge_explanation(*asked, question, revision.steps, sample.label or "", call)
    except ReplyError as error:
        session.emit({"kind": "note", "text": str(error)})
        return sample.rejected("critic_unusable_reply")
    verdict = "accept" if sure >= strategy.critic_min_confidence else "reject"
    judged = sample.model_copy(update={"critic_verdict": verdict, "critic_confidence": sure})
    return judged if verdict == "accept" else judged.rejected("critic_explanation")
