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
from evokd.records import Sample
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
    folder = folder or session.run.student_of_round(round)
    found = self_labelled(session, folder, len(rows), round, read)
    if found:
        result = fit_student(session, rows, round, folder, own=found)
    return result | {"self_labelled": len(found)}


def self_labelled(
    session: Session, folder: Path, known_rows: int, round: int, read: Iterable[Sample]
) -> list[TrainingRow]:
    """Return texts of the pool that nobody was asked about, with the label the student gives them.

    Of each label those that it is surest of, a third of what it was shown at most. With the rows it
    knows they are as many as are learnt in small batches: more take four times as long and taught
    no more. None of a student that calls nearly all of them by one label, and none of the texts
    that are set apart to be held out.

    Args:
        folder: where the student lies.
        known_rows: how many rows it has learnt.
        read: samples of the run: the texts that the teacher was asked about.
    """
    pool = pool_of(session)
    drawn = pool.draw(DRAWN, asked_numbers(read), random_of(session, round, "self-training"))
    drawn = [number for number in drawn if not is_set_apart(number)]
    most = min(int(MOST_SHARE * len(drawn)), MANY_ROWS - 1 - known_rows)
    if most <= 0:
        return []
    student = open_student(session.kind.name, folder, session.config.student)
    assert isinstance(student, Student)
    texts = pool.texts(drawn)
    said = student.predict(texts)
    counts = Counter(one.label for one in said)
    if max(counts.values()) >= ONE_LABEL * len(said):
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
