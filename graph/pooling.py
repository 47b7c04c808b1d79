"""What a run does with the texts of a pool: scores, choice, drafts, and the labeler's word on them.

Used by the graph that only asks about a pool (`llkd`) and by the one that fills what a pool lacks
(`evokd`).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import partial
from typing import Any

from evokd.graph.failures import (
    RELATED_OF,
    failures_of,
    last_answers,
    open_failures,
    related_failures,
)
from evokd.graph.fitting import last_round, student_of
from evokd.graph.quotas import still_wanted
from evokd.graph.session import Session
from evokd.graph.strategies import reads_again, selects_in_steps, trains_itself
from evokd.records import POOL, Chosen, Failure, Sample, Weakness
from evokd.store.pool import Pool, Scored
from evokd.tools.calibration import calibrate, with_temperature
from evokd.tools.selection import (
    CANDIDATES,
    LOOKS_AT_FAILURES,
    LOOKS_AT_KNOWN,
    LOOKS_AT_TEACHER,
    SELECTIONS,
    Near,
    Wanted,
)
from evokd.tools.student import Student
from evokd.tools.thresholds import MovingThreshold, normalized_entropy

SCORED_TOGETHER = 2048
NEVER = 2.0  # a confidence nobody has
DIGITS = 6  # of a probability that is kept
SET_APART = 4  # one text in so many is never labelled by a student itself
DRAWN_FOR_ONE = 16  # texts, among which one that is set apart is nearly always
BY_CHANCE, HELD_OUT = Chosen(by="chance"), Chosen(by="held out")


def pool_of(session: Session) -> Pool:
    """Return the pool of a run that has one."""
    assert session.pool is not None
    return session.pool


def score_all(session: Session, round: int) -> None:
    """Ask the last student what it would call every text of the pool, and how unsure it is."""
    student = _last_student(session, round)
    batches = pool_of(session).batches(SCORED_TOGETHER)
    pool_of(session).write_scores(score(student, batch) for batch in batches)


def score_some(session: Session, round: int, taken: AbstractSet[int]) -> None:
    """Ask the last student about some texts by chance, where the selection needs no scores.

    Args:
        taken: numbers that are not to be had any more.
    """
    pool = pool_of(session)
    drawn = pool.draw(SCORED_TOGETHER, taken, random_of(session, round, "scored"))
    batch = list(zip(drawn, pool.texts(drawn), strict=True))
    pool.write_scores([score(_last_student(session, round), batch)] if batch else [])


def score(student: Student, batch: Sequence[tuple[int, str]]) -> list[Scored]:
    """Return what a student says of texts of the pool, given as (number, text)."""
    probabilities = student.probabilities([text for _, text in batch])
    likeliest = student.likeliest(probabilities)
    return [
        Scored(id=number, label=said.label, uncertainty=normalized_entropy(row))
        for (number, _), said, row in zip(batch, likeliest, probabilities, strict=True)
    ]


def choose_texts(
    session: Session,
    round: int,
    asked: AbstractSet[int],
    by_label: Mapping[str, int],
    held_out: Sequence[int],
    selection: str | None = None,
) -> dict[int, Chosen]:
    """Return the numbers of the texts that the teacher is asked about next, and why these.

    Args:
        asked: numbers that the teacher has read.
        by_label: label → how many texts that the student gives it.
        held_out: numbers of this round that are not to be had either.
        selection: a strategy of choosing; None: the task file's.
    """
    pool = pool_of(session)
    name = selection or session.config.strategy.selection
    known: list[str] = []
    if name in LOOKS_AT_KNOWN:
        known = [*(row.text for row in session.data.seed), *pool.texts(sorted(asked))]
    near: list[Near] = []
    if name in LOOKS_AT_FAILURES:
        near = near_failures(session, round, last_failures(session, round))
    wanted = Wanted(
        pool=pool,
        asked=frozenset({*asked, *held_out}),
        by_label=by_label,
        embed=lambda texts: _vectors(session, texts),
        known=known,
        rng=random_of(session, round),
        near=near,
    )
    return {one: wanted.why.get(one, BY_CHANCE) for one in SELECTIONS[name](wanted)}


def draw_by_chance(session: Session, round: int, asked: AbstractSet[int], number: int) -> list[int]:
    """Return the numbers of texts drawn by chance, to be held out.

    Where students label texts themselves, such as are set apart come first.
    """
    rng = random_of(session, round, "held out")
    draw = partial(pool_of(session).draw, without=asked, rng=rng)
    return _set_apart_first(session, number, draw)


def is_set_apart(number: int) -> bool:
    """Whether a text is kept for being held out, so that no student has learnt it before."""
    return number % SET_APART == 0


def _set_apart_first(session: Session, number: int, draw: Callable[[int], list[int]]) -> list[int]:
    if not trains_itself(session.config):
        return draw(number)
    return sorted(draw(DRAWN_FOR_ONE * number), key=lambda one: not is_set_apart(one))[:number]


def draw_near(
    session: Session, round: int, taken: AbstractSet[int], failures: Sequence[Failure], number: int
) -> list[int]:
    """Return the numbers of texts like failures: the nearest of a few times as many by chance.

    Args:
        taken: numbers that are not to be had any more.
    """
    pool, rng = pool_of(session), random_of(session, round, "near failures")
    drawn = pool.draw(CANDIDATES * number, taken, rng)
    wrong = _vectors(session, [one.text for one in failures])
    nearness = (_vectors(session, pool.texts(drawn)) @ wrong.T).max(axis=1)
    return [drawn[place] for place in nearness.argsort(kind="stable")[::-1][:number]]


def draw_by_label(
    session: Session, round: int, taken: AbstractSet[int], by_label: Mapping[str, int]
) -> list[int]:
    """Return the numbers of texts to be held out, by chance among those of each label.

    Where students label texts themselves, such as are set apart come first.

    Args:
        taken: numbers that are not to be had any more.
        by_label: label that the student gives them → how many.
    """
    rng = random_of(session, round, "held out of a label")
    pool = pool_of(session)
    drawn: list[int] = []
    for label, count in by_label.items():
        draw = partial(pool.draw_of, label, without=taken, rng=rng)
        drawn += _set_apart_first(session, count, draw)
    return drawn


def pool_drafts(
    session: Session, round: int, held_out: Sequence[int], chosen: Mapping[int, Chosen]
) -> list[Sample]:
    """Return texts of the pool as samples, with what the last student says of them.

    Args:
        chosen: number → why it was chosen.
    """
    numbers = [*held_out, *chosen]
    texts = pool_of(session).texts(numbers)
    said = _last_student(session, round).predict(texts)
    return [
        Sample(
            id=f"r{round:02d}p{number:07d}",
            text=text,
            round=round,
            call=POOL,
            role=POOL,
            intended_label=prediction.label,
            split="probe" if place < len(held_out) else "train",
            chosen=HELD_OUT if place < len(held_out) else chosen[number],
            prediction=prediction,
        )
        for place, (number, text, prediction) in enumerate(zip(numbers, texts, said, strict=True))
    ]


def draw_from_pool(
    session: Session, round: int, wanted: Mapping[str, int], probes: Mapping[str, int]
) -> tuple[list[Sample], dict[str, int], dict[str, int]]:
    """Return what a round of the loop takes from its pool, and what is to be written.

    Real texts first: as many of each label, by what the student calls them, as are wanted of it;
    the held-out ones by chance among these, for they shall judge the student.

    Returns:
        The drafts; label → texts that the pool lacks, for training; the same, to be held out.
    """
    score_all(session, round)
    asked = asked_numbers(session.run.read_samples())
    missing, unheld = still_wanted(wanted, probes, pool_of(session).labels(asked))
    held_out = draw_by_label(session, round, asked, probes)
    shares = {name: count - missing.get(name, 0) for name, count in wanted.items()}
    chosen = choose_texts(session, round, asked, shares, held_out)
    session.emit(
        {
            "kind": "note",
            "text": f"round {round}: {len(chosen)} texts of the pool and, held out, "
            f"{len(held_out)}",
        }
    )
    return pool_drafts(session, round, held_out, chosen), missing, unheld


def settle_pool(session: Session, round: int, drafts: Sequence[Sample]) -> list[Sample]:
    """Return the drafts, those of a pool that the labeler has read with its label, or rejected.

    Selections that do not look at the teacher keep all. So does the paper mode, where every
    training step chooses anew; there nothing is contested either, for the student knows the seeds
    only. So does `llkd` where a label is read in the light of the others before it is learnt: an
    unsure one may be mended. Held-out texts are never chosen by confidence.
    """
    if session.pool is None:
        return list(drafts)
    strategy = session.config.strategy
    in_steps = selects_in_steps(session.config)
    keeps_all = strategy.selection == "llkd" and reads_again(session.config)
    chooses = not in_steps and strategy.selection in LOOKS_AT_TEACHER and not keeps_all
    threshold = None
    if chooses:
        before = [one for one in session.run.read_samples() if one.round < round]
        read = [one for one in (*before, *drafts) if one.role == POOL]
        threshold = confidence_threshold(session.labels, read)
    sure = NEVER if in_steps else strategy.labeler_min_confidence
    return [
        settle_row(one, threshold, sure)
        if one.role == POOL and one.accepted is None and one.label is None
        else one
        for one in drafts
    ]


def confidence_threshold(labels: Sequence[str], samples: Sequence[Sample]) -> MovingThreshold:
    """Return the class-wise threshold on the labeler's confidence after all rounds it has read."""
    threshold = MovingThreshold(labels)
    read = [one for one in samples if one.labeler_label is not None]
    for round in sorted({one.round for one in read}):
        batch = [one for one in read if one.round == round]
        threshold.update(
            [one.labeler_confidence or 0.0 for one in batch],
            [one.labeler_label or "" for one in batch],
        )
    return threshold


def settle_row(sample: Sample, threshold: MovingThreshold | None, sure: float) -> Sample:
    """Return a row that the labeler has read with its label, or rejected.

    A held-out row keeps its label however sure anybody is: chosen by confidence it would be easy.
    The threshold follows the mean, so that among sure answers there are always some below it: what
    the labeler is sure of is learnt all the same, for it was paid for.

    Args:
        threshold: on the labeler's confidence; None: whatever it is.
        sure: from this confidence on teacher and student are sure.
    """
    if sample.labeler_label is None:
        return sample.rejected("label_unusable_reply")
    if sample.split == "probe":
        return sample.model_copy(update={"label": sample.labeler_label, "checked": False})
    confidence = sample.labeler_confidence or 0.0
    if (
        threshold
        and confidence < sure
        and not threshold.is_reached(confidence, sample.labeler_label)
    ):
        return sample.rejected("label_unsure")
    said = sample.prediction
    contested = (
        said is not None
        and said.label != sample.labeler_label
        and min(confidence, said.confidence) >= sure
    )
    return sample.model_copy(update={"label": sample.labeler_label, "checked": contested})


def calibrated(
    sample: Sample, bias: Mapping[str, float], temperature: float, labels: Sequence[str]
) -> Sample:
    """Return a row with the labeler's word, its bias divided out, under a temperature.

    Args:
        bias: label → how much too often it is said; empty: the label stays.
        labels: all labels; one that nobody voted for has nothing.
    """
    given = sample.labeler_probabilities
    if given is None or sample.labeler_label is None or (not bias and temperature == 1.0):
        return sample
    whole = {name: given.get(name, 0.0) for name in labels}
    whole = with_temperature(calibrate(whole, bias) if bias else whole, temperature)
    label = max(whole, key=whole.__getitem__) if bias else sample.labeler_label
    return sample.model_copy(
        update={
            "labeler_label": label,
            "labeler_confidence": whole[label],
            "calibrated_probabilities": {name: round(p, DIGITS) for name, p in whole.items()},
        }
    )


def with_weakness(sample: Sample, weaknesses: Sequence[Weakness]) -> Sample:
    """Return an accepted row with the weakness it shows, if any: the student confuses it so."""
    said = sample.prediction.label if sample.prediction else None
    for one in weaknesses:
        if sample.accepted and sample.label == one.labels[0] and said in one.labels[1:]:
            return sample.model_copy(update={"weakness": one.id})
    return sample


def asked_numbers(samples: Iterable[Sample]) -> set[int]:
    """Return the numbers of the pool's texts that the teacher has read.

    A row that the labeler has read is one of them where only its critic could not be paid.
    """
    return {
        int(one.id.partition("p")[2])
        for one in samples
        if one.role == POOL and (one.labeler_label is not None or one.reason != "budget")
    }


def texts_left(session: Session, drafts: Sequence[Sample] = ()) -> int:
    """Return how many texts of the pool nobody was asked about.

    Args:
        drafts: of the round that is under way, not written yet.
    """
    asked = asked_numbers([*session.run.read_samples(), *drafts])
    return len(pool_of(session)) - len(asked)


def last_failures(session: Session, round: int) -> list[Failure]:
    """Return what the student got wrong in the last batch, worst first.

    Of a pool's texts only where the labeler is sure: else it may as well be wrong itself.
    """
    wrong, _ = last_answers(session, round)
    sure = session.config.strategy.labeler_min_confidence
    told = [one for one in wrong if one.role != POOL or (one.labeler_confidence or 0.0) >= sure]
    return [failure for one in told for failure in failures_of(session.kind, one, "")]


def near_failures(session: Session, round: int, wrong: Sequence[Failure]) -> list[Near]:
    """Return the worst failures and those like them in memory, but those of closed weaknesses.

    Where the student got nothing wrong, what is open in memory.
    """
    if session.memory is None:
        return []
    known = session.memory.weaknesses(session.run.run_id)
    open_ = {tuple(one.labels) for one in known if one.status != "closed"}
    closed = {tuple(one.labels) for one in known} - open_
    found = [*wrong[:RELATED_OF], *related_failures(session, round, wrong)]
    found = found or open_failures(session, round)
    labels = set(session.labels)  # a shared memory may hold failures of other tasks
    return [
        Near(one.text, (one.label, one.predicted))
        for one in found
        if (one.label, one.predicted) not in closed and {one.label, one.predicted} <= labels
    ]


def random_of(session: Session, round: int, purpose: str = "pool") -> random.Random:
    """Return a round's randomness."""
    return random.Random(f"{session.config.random_seed} {purpose} {round}")  # noqa: S311


def _last_student(session: Session, round: int) -> Student:
    student = student_of(session, last_round(session, round))
    assert isinstance(student, Student)
    return student


def _vectors(session: Session, texts: Sequence[str]) -> Any:
    import numpy as np

    if not texts:
        return np.zeros((0, session.embedder.dimension), np.float32)
    return np.asarray(session.embedder.embed(list(texts)), np.float32)
