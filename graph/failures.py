"""What the student got wrong: in the last batch, and, from memory, like it before."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from evokd.graph.session import Session
from evokd.records import Failure, Sample, Weakness
from evokd.tasks import Mistake, TaskKind
from evokd.tasks.ner import MISSED, NOTHING

RELATED_OF = 6  # of the worst failures are looked up in memory
WIDER = 4  # times as many are looked up as are wanted where those of one kind come first


def last_answers(session: Session, round: int) -> tuple[list[Sample], list[Sample]]:
    """Return what the last batch's student got wrong, hardest first, and right, closest first.

    Held-out texts are left out: they judge what is written from these.
    """
    last = [
        one
        for one in session.accepted()
        if one.round == round - 1 and one.split == "train" and one.prediction
    ]
    wrong = {
        one.id for one in last if one.prediction and session.kind.mistakes(one, one.prediction)
    }
    return (
        _hardest_first(one for one in last if one.id in wrong),
        _closest_first(one for one in last if one.id not in wrong),
    )


def related_failures(
    session: Session, round: int, wrong: Sequence[Sample | Failure]
) -> list[Failure]:
    """Return failures like these that the last batch does not hold, held-out ones never.

    Where there are several kinds of mistakes, those of the same kind and label come first.
    """
    k = session.config.memory.related
    if session.memory is None or not wrong or not k:
        return []
    texts = [one.content if isinstance(one, Sample) else one.text for one in wrong[:RELATED_OF]]
    wider = k if len(session.kind.errors) < 2 else k * WIDER
    found = session.memory.related_failures(texts, wider, exclude=_kept_back(session, round))
    same = {_kind_of(one) for row in wrong[:RELATED_OF] for one in _mistakes_in(session, row)}
    return sorted(found, key=lambda one: _kind_of(one) not in same)[:k]


def _mistakes_in(session: Session, row: Sample | Failure) -> Sequence[Failure]:
    return [row] if isinstance(row, Failure) else failures_of(session.kind, row, "")


def _kind_of(failure: Failure) -> tuple[str, str]:
    """Return the kind of a mistake, and the label it is about: the one that is not "none"."""
    label = failure.predicted if failure.label == NOTHING else failure.label
    return failure.error, label


def open_failures(session: Session, round: int) -> list[Failure]:
    """Return failures of any run's open or returned weaknesses, the most confident ones first.

    For a round whose last batch holds no mistake, or that has none before it: the memory may be
    shared. Labels of other tasks and held-out texts are left out.
    """
    memory, labels = session.memory, set(session.targets)
    if memory is None:
        return []
    kept_back = _kept_back(session, round)
    found: dict[str, Failure] = {}
    for run in memory.runs():
        weaknesses = memory.open_weaknesses(run)
        for one in memory.failures(run) if weaknesses else ():
            held_out = run == session.run.run_id and one.id in kept_back
            of_task = {one.label, one.predicted} <= labels
            if of_task and not held_out and any(_is_of(one, weakness) for weakness in weaknesses):
                found.setdefault(one.text, one)
    worst = sorted(found.values(), key=lambda one: -one.confidence)
    return worst[: session.config.memory.related]


def _is_of(failure: Failure, weakness: Weakness) -> bool:
    """Whether a failure shows a weakness of its run: found for it, or the same labels confused."""
    taken = failure.predicted in weakness.labels or failure.error == MISSED
    same = failure.error == weakness.error and [failure.label] == weakness.labels[:1] and taken
    return failure.weakness == weakness.id or same


def _kept_back(session: Session, round: int) -> set[str]:
    """Return the ids of this run's failures that are left out: the last batch's, held-out ones."""
    return {
        failure.id
        for one in session.accepted()
        if one.round == round - 1 or one.split == "probe"
        for failure in failures_of(session.kind, one, "")
    }


def failures_of(kind: TaskKind, sample: Sample, run: str) -> list[Failure]:
    """Return what the student got wrong in a sample, one failure a mistake."""
    said = sample.prediction
    mistakes = kind.mistakes(sample, said) if said else []
    return [failure_of(sample, mistake, run, place) for place, mistake in enumerate(mistakes)]


def failure_of(sample: Sample, mistake: Mistake, run: str, place: int = 0) -> Failure:
    """Return one mistake in a sample as memory keeps it, for analyst and generator to be shown.

    Args:
        place: of the mistake among the sample's.
    """
    return Failure(
        id=failure_id(sample, place),
        text=sample.content,
        label=mistake.label,
        predicted=mistake.predicted,
        confidence=sample.prediction.confidence if sample.prediction else 0.0,
        round=sample.round,
        run=run,
        weakness=sample.weakness,
        error=mistake.error,
        part=mistake.part,
    )


def failure_id(sample: Sample, place: int) -> str:
    """Return the id of a sample's failure: the sample's own for the first one."""
    return f"{sample.id}#{place}" if place else sample.id


def _hardest_first(samples: Iterable[Sample]) -> list[Sample]:
    """Wrong while confident comes first."""
    return sorted(samples, key=lambda one: -(one.prediction.confidence if one.prediction else 0))


def _closest_first(samples: Iterable[Sample]) -> list[Sample]:
    """Right, but barely, comes first."""
    return sorted(samples, key=lambda one: one.prediction.confidence if one.prediction else 1)
