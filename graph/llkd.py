"""LLKD: unlabelled texts, teacher confidence and student uncertainty.

prepare → calibrate → score_pool → choose → label ⇉ settle → critique ⇉ keep → train
                          ↑                                                      ↓
                          └──────────────────── decide ← record ←────────────────┘

After Li et al., Learning with Less (Findings of NAACL 2025, arXiv 2411.08028). Two modes:

paper     the teacher labels the pool, a part of it each round, however many that takes; then one
          student is trained, and every step keeps the rows of which the teacher is sure and the
          student is not
budgeted  ours: the student chooses which texts the teacher is asked about, so that teacher tokens
          are saved, too; the threshold on the confidence decides what is learnt, a student is
          trained every round, and held-out rows are drawn by chance; what the student confused
          becomes a weakness, and failures like it steer what is asked next
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from langgraph.graph import END, START, StateGraph
from langgraph.runtime import Runtime

from evokd.graph import learning, reading
from evokd.graph.calibrating import calibrate_labeler
from evokd.graph.failures import RELATED_OF, failures_of, last_answers, related_failures
from evokd.graph.planning import Aim
from evokd.graph.session import RunContext, Session, session_of
from evokd.graph.state import (
    RunInput,
    RunOutput,
    RunState,
    accept_pending,
    by_id,
    count_decisions,
    read_drafts,
)
from evokd.graph.strategies import remembers, selects_in_steps
from evokd.records import POOL, Failure, Sample, Weakness
from evokd.store.pool import Pool, Scored
from evokd.tools.calibration import with_temperature
from evokd.tools.selection import (
    LOOKS_AT_STUDENT,
    LOOKS_AT_TEACHER,
    SELECTIONS,
    Near,
    Wanted,
)
from evokd.tools.student import Student
from evokd.tools.thresholds import MovingThreshold, normalized_entropy

if TYPE_CHECKING:
    from langgraph.checkpoint.base import BaseCheckpointSaver
    from langgraph.graph.state import CompiledStateGraph

SCORED_TOGETHER = 2048
LABELLED_TOGETHER = 200  # texts a round of the paper mode, for a round's texts travel in the state
ALL_ASKED = "every text of the pool was asked"
NOT_TRAINED: dict[str, Any] = {
    "trained": False,
    "train_rows": 0,
    "probe_rows": 0,
    "probe": None,
    "per_label": {},
    "fresh": None,
    "errors": {},
    "kept_rows": None,
}


def build_graph(
    checkpointer: BaseCheckpointSaver[Any] | None = None,
) -> CompiledStateGraph[Any, Any, Any, Any]:
    """Return the compiled graph; `langgraph dev` wants it without a checkpointer."""
    builder = StateGraph(
        RunState, context_schema=RunContext, input_schema=RunInput, output_schema=RunOutput
    )
    builder.add_node("prepare", learning.prepare)
    builder.add_node("calibrate", calibrate_labeler)
    builder.add_node("score_pool", score_pool)
    builder.add_node("choose", choose)
    builder.add_node("label", reading.label)
    builder.add_node("settle", settle)
    builder.add_node("critique", reading.critique)
    builder.add_node("keep", keep)
    builder.add_node("train", train)
    builder.add_node("record", learning.record)
    builder.add_node("decide", decide)
    builder.add_node("finish", learning.finish)
    builder.add_edge(START, "prepare")
    builder.add_edge("prepare", "calibrate")
    builder.add_edge("calibrate", "score_pool")
    builder.add_edge("score_pool", "choose")
    builder.add_conditional_edges("choose", reading.send_to_labeler, ["label", "settle"])
    builder.add_edge("label", "settle")
    # The loop's router, with what stands here for the loop's `gate`.
    to_critic: dict[Hashable, str] = {"critique": "critique", "gate": "keep"}
    builder.add_conditional_edges("settle", reading.send_to_critic, to_critic)
    builder.add_edge("critique", "keep")
    builder.add_edge("keep", "train")
    builder.add_edge("train", "record")
    builder.add_edge("record", "decide")
    builder.add_conditional_edges("decide", route_after_decide, ["score_pool", "finish"])
    builder.add_edge("finish", END)
    return builder.compile(checkpointer=checkpointer, name="llkd")


def score_pool(state: RunState, runtime: Runtime[RunContext]) -> dict[str, Any]:
    """Ask the last student what it would call every text of the pool, and how unsure it is."""
    session = session_of(state, runtime)
    chooses = not selects_in_steps(session.config)
    if not chooses or session.config.strategy.selection not in LOOKS_AT_STUDENT:
        return {}
    with session.phase("score_pool", state["round"]):
        student = _last_student(session, state["round"])
        batches = _pool(session).batches(SCORED_TOGETHER)
        _pool(session).write_scores(score(student, batch) for batch in batches)
    return {}


def choose(state: RunState, runtime: Runtime[RunContext]) -> dict[str, Any]:
    """Choose what the teacher is asked about; held-out rows are drawn by chance."""
    session = session_of(state, runtime)
    strategy, round = session.config.strategy, state["round"]
    with session.phase("choose", round):
        pool, asked = _pool(session), asked_numbers(session.run.read_samples())
        rng = random_of(session, round)
        in_steps = selects_in_steps(session.config)
        total = session.affordable(LABELLED_TOGETHER if in_steps else strategy.samples_per_round)
        share = 0.0 if in_steps or session.data.validation else strategy.probe_share
        held_out = pool.draw(_at_least_one(share, total), asked, rng)
        learned = Counter(one.label for one in session.accepted() if one.split == "train")
        wrong = _failures(session, round)
        aims = aims_of(wrong, round, strategy.max_weaknesses) if remembers(session.config) else []
        wanted = Wanted(
            pool=pool,
            asked=frozenset({*asked, *held_out}),
            by_label=balanced_shares(total - len(held_out), session.labels, learned),
            embed=lambda texts: _vectors(session, texts),
            known=[*(row.text for row in session.data.seed), *pool.texts(sorted(asked))],
            rng=rng,
            near=_near(session, round, wrong),
        )
        chosen = SELECTIONS["random" if in_steps else strategy.selection](wanted)
        drafts = [
            *_drafts(session, round, held_out, "probe"),
            *_drafts(session, round, chosen, "train"),
        ]
    told = f"asks about {len(chosen)} texts of the pool and, held out, {len(held_out)} by chance"
    session.emit({"kind": "note", "text": f"round {round}: {told}"})
    return {
        "assignments": [],
        "drafts": by_id(drafts),
        "weaknesses": [aim.model_dump() for aim in aims],
    }


def settle(state: RunState, runtime: Runtime[RunContext]) -> dict[str, Any]:
    """Keep what the labeler is sure enough of for its label; only contested rows go to the critic.

    Contested is a row that teacher and student are both sure of, and differ. Selections that do not
    look at the teacher keep all, and so does the paper mode, where every training step chooses
    anew.
    """
    session = session_of(state, runtime)
    strategy = session.config.strategy
    sure = strategy.labeler_min_confidence
    chooses = not selects_in_steps(session.config) and strategy.selection in LOOKS_AT_TEACHER
    with session.phase("settle", state["round"]):
        drafts = [calibrated(one, state["temperature"]) for one in read_drafts(state)]
        before = [one for one in session.run.read_samples() if one.round < state["round"]]
        read = [*before, *drafts]
        threshold = confidence_threshold(session.labels, read) if chooses else None
        settled = [
            settle_row(one, threshold, sure) if one.accepted is None else one for one in drafts
        ]
    return {"drafts": by_id(settled), "labeler_bias": {}}


def keep(state: RunState, runtime: Runtime[RunContext]) -> dict[str, Any]:
    """Accept what nobody rejected."""
    session = session_of(state, runtime)
    with session.phase("keep", state["round"]):
        aims = [Aim(**one).weakness for one in state["weaknesses"]]
        kept = [with_weakness(one, aims) for one in accept_pending(read_drafts(state))]
    session.emit({"kind": "gate", "round": state["round"], **count_decisions(kept)})
    return {"drafts": by_id(kept)}


def train(state: RunState, runtime: Runtime[RunContext]) -> dict[str, Any]:
    """Train the next student; in the paper mode once, when the teacher has labelled its last."""
    session = session_of(state, runtime)
    if selects_in_steps(session.config):
        read = sum(one.labeler_label is not None for one in read_drafts(state))
        if _left(session) > read and not session.budget_exhausted():
            return {"trained": NOT_TRAINED}
    return learning.train(state, runtime)


def decide(state: RunState, runtime: Runtime[RunContext]) -> dict[str, Any]:
    """Stop as the loop does, or when every text of the pool was asked.

    The paper mode stops for the pool or the budget only.
    """
    session = session_of(state, runtime)
    asked_all = "" if _left(session) else ALL_ASKED
    if selects_in_steps(session.config):
        stop = asked_all or session.budget_exhausted()
        return {"stop": stop, "round": state["round"] + (0 if stop else 1)}
    update = learning.decide(state, runtime)
    if asked_all and not update["stop"]:
        update |= {"stop": asked_all, "round": state["round"]}
    return update


def route_after_decide(state: RunState) -> Literal["score_pool", "finish"]:
    """Go on with the next round, or finish."""
    return "finish" if state["stop"] else "score_pool"


def score(student: Student, batch: Sequence[tuple[int, str]]) -> list[Scored]:
    """Return what a student says of texts of the pool, given as (number, text)."""
    probabilities = student.probabilities([text for _, text in batch])
    likeliest = student.likeliest(probabilities)
    return [
        Scored(id=number, label=said.label, uncertainty=normalized_entropy(row))
        for (number, _), said, row in zip(batch, likeliest, probabilities, strict=True)
    ]


def balanced_shares(
    total: int, labels: Sequence[str], learned: Mapping[str | None, int]
) -> dict[str, int]:
    """Return how many texts of each label are wanted, so that labels come level.

    What is wanted falls on the labels that have fewest, one after the other.

    Args:
        learned: label → rows so far.
    """
    have = {label: learned.get(label, 0) for label in labels}
    shares = dict.fromkeys(labels, 0)
    for _ in range(total):
        label = min(labels, key=lambda name: have[name] + shares[name])
        shares[label] += 1
    return shares


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

    Args:
        threshold: on the labeler's confidence; None: whatever it is.
        sure: from this confidence on teacher and student are sure.
    """
    if sample.labeler_label is None:
        return sample.rejected("label_unusable_reply")
    confidence = sample.labeler_confidence or 0.0
    if threshold and confidence < threshold.of(sample.labeler_label):
        return sample.rejected("label_unsure")
    said = sample.prediction
    contested = (
        said is not None
        and said.label != sample.labeler_label
        and min(confidence, said.confidence) >= sure
    )
    return sample.model_copy(update={"label": sample.labeler_label, "checked": contested})


def calibrated(sample: Sample, temperature: float) -> Sample:
    """Return a row with the labeler's confidence under a temperature; its label stays."""
    given = sample.labeler_probabilities
    if given is None or sample.labeler_label is None or temperature == 1.0:
        return sample
    confidence = with_temperature(given, temperature)[sample.labeler_label]
    return sample.model_copy(update={"labeler_confidence": confidence})


def aims_of(wrong: Sequence[Failure], round: int, most: int) -> list[Aim]:
    """Return what the student confuses as weaknesses, the most frequent confusions first.

    Args:
        wrong: failures of the last batch; a confusion of one text is none.
        most: as many weaknesses at most.
    """
    counts = Counter((one.label, one.predicted) for one in wrong)
    named = [(pair, texts) for pair, texts in counts.most_common(most) if texts > 1]
    return [
        Aim(
            weakness=Weakness(
                id=f"w{round:02d}-{place}",
                name=f"{label} taken for {predicted}",
                description=f"{texts} of the texts asked about in round {round - 1}",
                labels=[label, predicted],
                round=round,
            ),
            vary="",
            hard=1,
            easy=0,
        )
        for place, ((label, predicted), texts) in enumerate(named)
    ]


def with_weakness(sample: Sample, weaknesses: Sequence[Weakness]) -> Sample:
    """Return an accepted row with the weakness it is about, if any.

    Of the texts that are learnt those the student confuses so; of the held-out ones all of the
    label, for they test whether it still does.
    """
    said = sample.prediction.label if sample.prediction else None
    for one in weaknesses:
        confuses = sample.split == "probe" or said in one.labels[1:]
        if sample.accepted and sample.label == one.labels[0] and confuses:
            return sample.model_copy(update={"weakness": one.id})
    return sample


def asked_numbers(samples: Sequence[Sample]) -> set[int]:
    """Return the numbers of the pool's texts that the teacher has read."""
    return {
        int(one.id.partition("p")[2])
        for one in samples
        if one.role == POOL and one.reason != "budget"
    }


def random_of(session: Session, round: int) -> random.Random:
    """Return a round's randomness."""
    return random.Random(f"{session.config.random_seed} pool {round}")  # noqa: S311


def _failures(session: Session, round: int) -> list[Failure]:
    """Return what the student got wrong in the last batch, worst first."""
    wrong, _ = last_answers(session, round)
    return [failure for one in wrong for failure in failures_of(session.kind, one, "")]


def _near(session: Session, round: int, wrong: Sequence[Failure]) -> list[Near]:
    """Return the worst failures and those like them in memory, but those of closed weaknesses."""
    if session.memory is None:
        return []
    known = session.memory.weaknesses(session.run.run_id)
    open_ = {tuple(one.labels) for one in known if one.status != "closed"}
    closed = {tuple(one.labels) for one in known} - open_
    found = [*wrong[:RELATED_OF], *related_failures(session, round, wrong)]
    labels = set(session.labels)  # a shared memory may hold failures of other tasks
    return [
        Near(one.text, (one.label, one.predicted))
        for one in found
        if (one.label, one.predicted) not in closed and {one.label, one.predicted} <= labels
    ]


def _left(session: Session) -> int:
    return len(_pool(session)) - len(asked_numbers(session.run.read_samples()))


def _pool(session: Session) -> Pool:
    assert session.pool is not None
    return session.pool


def _drafts(
    session: Session, round: int, numbers: Sequence[int], split: Literal["train", "probe"]
) -> list[Sample]:
    """Return texts of the pool as samples, with what the last student says of them."""
    texts = _pool(session).texts(numbers)
    said = _last_student(session, round).predict(texts)
    return [
        Sample(
            id=f"r{round:02d}p{number:07d}",
            text=text,
            round=round,
            call=POOL,
            role=POOL,
            intended_label=prediction.label,
            split=split,
            prediction=prediction,
        )
        for number, text, prediction in zip(numbers, texts, said, strict=True)
    ]


def _last_student(session: Session, round: int) -> Student:
    student = learning.student_of(session, learning.last_round(session, round))
    assert isinstance(student, Student)
    return student


def _vectors(session: Session, texts: Sequence[str]) -> Any:
    import numpy as np

    if not texts:
        return np.zeros((0, session.embedder.dimension), np.float32)
    return np.asarray(session.embedder.embed(list(texts)), np.float32)


def _at_least_one(share: float, total: int) -> int:
    return max(1, round(share * total)) if share and total > 1 else 0


graph = build_graph()
