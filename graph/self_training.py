"""Self-training: a student learns, too, what it is itself surest of among unlabelled texts.

A student of some ten labels a class calls many texts of a pool rightly, and knows which. It is
trained on what the teacher labelled, it labels texts that nobody was asked about, and one that is
trained on the surest of these, too, takes its place. They cost no token.

Pseudo-labels: Lee, 2013; the surest share of each predicted label, so that none takes over:
class-balanced self-training (Zou et al., ECCV 2018, arXiv 1810.07911). Here one pass a round, on
texts drawn anew, and only while the teacher's labels are few.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from evokd.graph.fitting import fit_student, row_choice
from evokd.graph.pooling import asked_numbers, is_set_apart, pool_of, random_of
from evokd.graph.session import Session
from evokd.graph.strategies import trains_itself
from evokd.records import Prediction, Sample
from evokd.tools.student import Student
from evokd.tools.students import open_student
from evokd.tools.thresholds import surest
from evokd.tools.training import MANY_ROWS, TrainingRow

DRAWN = 2000  # texts by chance, of which the student labels those that are not set apart
MOST_SHARE = 1 / 3  # of these that is learnt
ONE_LABEL = 0.9  # of these: a student that calls so many by one label does not know what it knows


def fit_with_pool(
    session: Session,
    rows: Sequence[TrainingRow],
    round: int,
    unwritten: Sequence[Sample] = (),
    folder: Path | None = None,
) -> dict[str, Any]:
    """Train a round's student, where the strategy says so on labels of its own, too.

    One that calls nearly all texts by one label once it has learnt its own is trained without them.

    Args:
        rows: what it learns of gold and of the teacher.
        unwritten: samples of a round under way; like those of the run, the student labels none.
        folder: where it is saved, by default the round's.

    Returns:
        What the training tool says, and `self_labelled`: how many texts it labelled itself; None
        where it does not.
    """
    result = fit_student(session, rows, round, folder)
    if not trains_itself(session.config):
        return result | {"self_labelled": None}
    saved = folder or session.run.student_of_round(round)
    texts = unasked_texts(session, round, [*session.run.read_samples(), *unwritten])
    own = self_labelled(session, saved, texts, len(rows))
    if own:
        result = fit_student(session, rows, round, folder, own=own)
        if _knows_one_label(_said_by(session, saved, texts)):
            told = "its own labels made the student call nearly all texts by one: not learnt"
            session.emit({"kind": "note", "text": f"round {round}: {told}"})
            result, own = fit_student(session, rows, round, folder), []
    return result | {"self_labelled": len(own)}


def self_labelled(
    session: Session, folder: Path, texts: Sequence[str], known_rows: int
) -> list[TrainingRow]:
    """Return those of the texts that a student is surest of, with the label it gives them.

    Of each label a third of what it was shown at most. With the rows it knows they are as many as
    are learnt in small batches: more take four times as long and taught no more. None of a student
    that calls nearly all of them by one label.

    Args:
        folder: where the student lies.
        known_rows: how many rows it has learnt.
    """
    most = min(int(MOST_SHARE * len(texts)), MANY_ROWS - 1 - known_rows)
    if most <= 0:
        return []
    said = _said_by(session, folder, texts)
    if _knows_one_label(said):
        return []
    sure = [one.confidence for one in said]
    chosen = surest(sure, [one.label for one in said], most / len(said))
    # Where labels are more than rows, each has one.
    places = sorted(sorted(chosen, key=lambda place: -sure[place])[:most])
    chooses = row_choice(session.config) is not None
    return [
        TrainingRow(texts[at], said[at].label, confidence=sure[at] if chooses else None)
        for at in places
    ]


def unasked_texts(session: Session, round: int, read: Iterable[Sample]) -> list[str]:
    """Return texts that nobody was asked about and that are not set apart to be held out."""
    pool = pool_of(session)
    drawn = pool.draw(DRAWN, asked_numbers(read), random_of(session, round, "self-training"))
    return pool.texts([number for number in drawn if not is_set_apart(number)])


def _said_by(session: Session, folder: Path, texts: Sequence[str]) -> list[Prediction]:
    student = open_student(session.kind.name, folder, session.config.student)
    assert isinstance(student, Student)
    return student.predict(texts)


def _knows_one_label(said: Sequence[Prediction]) -> bool:
    return max(Counter(one.label for one in said).values()) >= ONE_LABEL * len(said)
