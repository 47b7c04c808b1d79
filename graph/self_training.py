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

from evokd.graph.fitting import fit_student
from evokd.graph.pooling import asked_numbers, pool_of, random_of
from evokd.graph.session import Session
from evokd.graph.strategies import trains_itself
from evokd.records import Sample
from evokd.tools.student import Student
from evokd.tools.students import open_student
from evokd.tools.thresholds import surest
from evokd.tools.training import MANY_ROWS, TrainingRow

DRAWN = 2000  # texts that the student labels
MOST_SHARE = 1 / 3  # of them that are learnt
ONE_LABEL = 0.9  # of them: a student that calls so many by one label does not know what it knows


def fit_with_pool(
    session: Session,
    rows: Sequence[TrainingRow],
    round: int,
    unwritten: Sequence[Sample] = (),
    folder: Path | None = None,
) -> dict[str, Any]:
    """Train a round's student, where the strategy says so on labels of its own, too.

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
    read = [*session.run.read_samples(), *unwritten]
    found = self_labelled(session, len(rows), round, read, folder)
    if found:
        result = fit_student(session, rows, round, folder, own=found)
    return result | {"self_labelled": len(found)}


def self_labelled(
    session: Session, known: int, round: int, read: Iterable[Sample], folder: Path | None = None
) -> list[TrainingRow]:
    """Return texts of the pool that nobody was asked about, with the label the student gives them.

    Of each label those that it is surest of, a third of what it was shown at most. With the rows it
    knows they are as many as are learnt in small batches: more take four times as long and taught
    no more. None of a student that calls nearly all of them by one label.

    Args:
        known: how many rows it has learnt.
        read: samples of which it is given none.
        folder: where it lies, by default the round's.
    """
    room = MANY_ROWS - 1 - known
    pool = pool_of(session)
    drawn = pool.draw(DRAWN, asked_numbers(read), random_of(session, round, "self-training"))
    if room <= 0 or not drawn:
        return []
    student = open_student(
        session.kind.name,
        folder or session.run.student_of_round(round),
        session.config.student,
    )
    assert isinstance(student, Student)
    texts = pool.texts(drawn)
    said = student.predict(texts)
    labels = Counter(one.label for one in said)
    if max(labels.values()) >= ONE_LABEL * len(said):
        return []
    share = min(MOST_SHARE, room / len(drawn))
    chosen = surest([one.confidence for one in said], [one.label for one in said], share)
    return [TrainingRow(texts[place], said[place].label) for place in sorted(chosen)]
