"""What a report says of explanations: where they broke, and how good the reviser is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from evokd.graph.fitting import predict
from evokd.graph.session import Session
from evokd.records import Prediction, Revision, Sample
from evokd.tasks.arithmetic import first_miscalculated
from evokd.tasks.explanations import is_answer
from evokd.tools.students import open_student

SHOWN = 12
FEWEST_JUDGED = 10  # steps before the reviser is called too agreeable
TOO_AGREEABLE = 0.5
STEPS_AGREED_WITH = 0.9  # of explanations whose answer is another than the reviser's


def revision_counts(samples: Sequence[Sample]) -> dict[str, Any] | None:
    """Return how often the reviser was right, as far as it can be told; None: nobody was asked.

    `miscalculated` counts the explanations with a step whose arithmetic is wrong, `located` those
    in which the reviser's first no was to that very step, `asked` those in which it was asked of
    it, `overlooked` those in which it said yes. `compared` counts the explanations that were held
    against a solution of the reviser's, and not walked through; of these `parted` ended in another
    answer than the reviser's, and in `only_answer` every step was found right all the same. `known`
    counts those with a known answer; of these, `judged_wrong` those revisions with another answer
    that the critic judged, and `believed_wrong` those that it accepted.
    """
    revised = [(one, one.revision) for one in samples if one.revision is not None]
    if not revised:
        return None
    known = [one for one in revised if one[0].known_answer]
    judged_wrong = [
        one
        for one, revision in known
        if one.critic_verdict is not None and not _meets(one, revision.answer)
    ]
    counts = {
        "revised": len(revised),
        "approved": sum(_is_approved(*one) for one in revised),
        "known": len(known),
        "right_before": sum(_meets(one, _said(one)) for one, _ in known),
        "right_after": sum(_meets(one, revision.answer) for one, revision in known),
        "accepted_known": sum(bool(one.accepted) for one, _ in known),
        "accepted_right": sum(
            bool(one.accepted) and _meets(one, revision.answer) for one, revision in known
        ),
        "approved_wrong": sum(
            _is_approved(one, revision) and not _meets(one, revision.answer)
            for one, revision in known
        ),
        "spoiled": sum(
            _meets(one, _said(one)) and not _meets(one, revision.answer) for one, revision in known
        ),
        "judged_wrong": len(judged_wrong),
        "believed_wrong": sum(one.critic_verdict == "accept" for one in judged_wrong),
    }
    return counts | _counts_of_walks(revised)


def agreement_warning(counts: dict[str, Any] | None) -> list[str]:
    """Return a warning for each thing wrong that reviser or critic call right too often.

    Steps whose arithmetic is wrong, and, where answers are known, explanations that end in others.
    """
    if counts is None:
        return []
    # Held against a solution of the reviser's, a wrong answer is not approved for agreeing.
    wrong_before = counts["known"] - counts["right_before"] if counts["walked"] else 0
    reviser = "(agents.reviser.model), or strategy.annotation whole"
    critic = "(agents.critic.model)"
    beside = (
        "the reviser found every step right in {} explanations with another answer than its own"
    )
    steps = "the reviser called {} steps right whose arithmetic is wrong"
    approved = "the reviser called {} explanations right whose answer is not the pool's"
    believed = "the critic called {} revisions right whose answer is not the pool's"
    return [
        *_agreement(beside, counts["only_answer"], counts["parted"], reviser, STEPS_AGREED_WITH),
        *_agreement(steps, counts["overlooked"], counts["asked"], reviser),
        *_agreement(approved, counts["approved_wrong"], wrong_before, reviser),
        *_agreement(believed, counts["believed_wrong"], counts["judged_wrong"], critic),
    ]


def _agreement(
    said: str, agreed: int, asked: int, instead: str, too_much: float = TOO_AGREEABLE
) -> list[str]:
    """Return a warning where somebody agreed too often.

    Args:
        said: what was agreed with, {} for how often.
        too_much: share of what was asked.
    """
    if asked < FEWEST_JUDGED or agreed < too_much * asked:
        return []
    return [
        f"{said.format(f'{agreed} of {asked}')}: it agrees with nearly everything; take a larger "
        f"model {instead}"
    ]


def explained(session: Session, samples: Sequence[Sample]) -> list[dict[str, Any]]:
    """Return questions with the student's explanation, where it broke, and what came after.

    Explanations that broke come first, and of these the latest; the kept student is asked anew.
    """
    rows = [one for one in reversed(samples) if one.accepted and one.revision and one.prediction]
    rows.sort(key=lambda one: one.revision is None or one.revision.first_wrong is None)
    shown = rows[:SHOWN]
    if not shown or not (session.run.student / "config.json").exists():
        return []
    student = open_student(session.kind.name, session.run.student, session.config.student)
    after = predict(session, student, shown)
    return [told_of(one, said) for one, said in zip(shown, after, strict=True)]


def told_of(sample: Sample, after: Prediction) -> dict[str, Any]:
    """Return what a report holds of one revised question.

    Args:
        after: what the kept student says of it.
    """
    said, revision = sample.prediction, sample.revision
    assert said is not None
    assert revision is not None
    return {
        "question": sample.text,
        "choices": sample.choices,
        "round": sample.round,
        "uncertainty": sample.uncertainty,
        "steps": said.steps or [],
        "answer": said.label,
        "first_wrong": revision.first_wrong,
        "revised": revision.steps,
        "revised_answer": sample.label,
        "after": after.steps or [],
        "after_answer": after.label,
        "known_answer": sample.known_answer,
    }


def _counts_of_walks(revised: Sequence[tuple[Sample, Revision]]) -> dict[str, int]:
    names = ("walked", "compared", "parted", "only_answer")
    counts = dict.fromkeys((*names, "miscalculated", "located", "asked", "overlooked"), 0)
    for one, revision in revised:
        counts["compared"] += revision.compared
        said = one.prediction
        if revision.compared and revision.first_wrong is not None and said and said.label:
            steps = said.steps or []
            counts["parted"] += bool(steps)
            counts["only_answer"] += bool(steps) and revision.first_wrong == len(steps)
        if not revision.verdicts or revision.compared:
            continue
        counts["walked"] += 1
        at = first_miscalculated((one.prediction.steps if one.prediction else None) or [])
        if at is None:
            continue
        counts["miscalculated"] += 1
        first_no = next((k for k, right in enumerate(revision.verdicts) if not right), None)
        counts["located"] += first_no == at
        if at < len(revision.verdicts):
            counts["asked"] += 1
            counts["overlooked"] += revision.verdicts[at]
    return counts


def _is_approved(sample: Sample, revision: Revision) -> bool:
    """Whether an explanation was found right and kept; an answer alone is explained anew."""
    steps = (sample.prediction.steps if sample.prediction else None) or []
    return bool(revision.verdicts) and revision.first_wrong is None and revision.steps == steps


def _said(sample: Sample) -> str:
    return sample.prediction.label if sample.prediction else ""


def _meets(sample: Sample, answer: str) -> bool:
    return bool(answer) and is_answer(answer, sample.known_answer or "", sample.choices)
