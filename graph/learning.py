"""The nodes that train, measure and remember. They are the only writers of files and memory.

Every write is idempotent by (run, round), because a node that was killed starts from its top.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal

from langgraph.runtime import Runtime

from evokd.graph.choosing import choose_best, right_in_the_end
from evokd.graph.fitting import (
    BASELINE,
    count_relabelled,
    fit_student,
    gold_rows,
    held_out_rows,
    install_student,
    last_round,
    predict,
    rows_for,
    score_of,
    seed_rows,
    student_of,
    texts_refitted,
    texts_taught,
    words_taught,
)
from evokd.graph.remembering import remember_round
from evokd.graph.self_training import fit_with_pool
from evokd.graph.session import RunContext, Session, session_of
from evokd.graph.state import RunState, by_id, count_decisions, read_drafts
from evokd.graph.strategies import first_round
from evokd.records import Prediction, RoundRecord, Sample
from evokd.store.ledger import union_of
from evokd.tasks import Row
from evokd.tools.student import Student
from evokd.tools.students import AnyStudent

SEEDS_ONLY = 0  # the round whose student knows what an explanation looks like, and no more
BEGINNING: dict[str, Any] = {
    "refill": 0,
    "drafts": None,
    "best_round": BASELINE,
    "without_gain": 0,
    "stop": "",
}


def prepare(state: RunState, runtime: Runtime[RunContext]) -> dict[str, Any]:
    """Train the student on the seeds alone: the baseline, before any teaching."""
    session = session_of(state, runtime)
    with session.phase("prepare", 0):
        folder = session.run.student_of_round(BASELINE)
        if not (folder / "config.json").exists():
            fit_student(session, seed_rows(session), BASELINE)
    return BEGINNING | {"round": first_round(session.config)}


def prepare_untrained(state: RunState, runtime: Runtime[RunContext]) -> dict[str, Any]:
    """Note the student as it is, the baseline, and teach it the seeds' explanations: round 0."""
    session = session_of(state, runtime)
    seeds = seed_rows(session)
    with session.phase("prepare", SEEDS_ONLY):
        for round, rows in ((BASELINE, []), (SEEDS_ONLY, seeds)):
            known = (session.run.student_of_round(round) / "config.json").exists()
            if not known and (rows or round == BASELINE):
                fit_student(session, rows, round)
    if not seeds:
        return BEGINNING | {"round": 1}
    write_seeds_round(session, len(seeds))
    return BEGINNING | {"round": 1, "best_round": SEEDS_ONLY}


def evaluate(state: RunState, runtime: Runtime[RunContext]) -> dict[str, Any]:
    """Look at the baseline student: where it hesitates between labels."""
    session = session_of(state, runtime)
    with session.phase("evaluate", state["round"]):
        student = student_of(session, BASELINE)
        gold = [*session.data.seed, *session.data.validation]
        _, rivals = _answers(session, student, gold)
        scores = _validation_scores(session, student)
    return {"rivals": rivals, "scores": scores}


def train(state: RunState, runtime: Runtime[RunContext]) -> dict[str, Any]:
    """Predict the fresh batch with the last student, then train the next one and measure it."""
    session = session_of(state, runtime)
    round = state["round"]
    with session.phase("train", round):
        last = last_round(session, round)
        drafts = read_drafts(state)
        accepted = [one for one in drafts if one.accepted]
        update: dict[str, Any] = {}
        if accepted:
            predicted, rivals = _predict_fresh(session, last, accepted)
            update = {"drafts": by_id(predicted), "rivals": rivals}
            accepted = predicted
        rejected = [one for one in drafts if not one.accepted]
        measured = train_and_measure(session, round, last, accepted, rejected)
    update |= {"trained": measured, "scores": measured["per_label"] or state.get("scores", {})}
    session.emit({"kind": "trained", "round": round, **measured})
    return update


def record(state: RunState, runtime: Runtime[RunContext]) -> dict[str, Any]:
    """Write samples, failures, weaknesses and the round's line; re-test open weaknesses."""
    session = session_of(state, runtime)
    round = state["round"]
    with session.phase("record", round):
        samples = read_drafts(state)
        session.run.write_samples(round, samples)
        counts = remember_round(session, state, samples) if session.memory else {}
    write_round(session, state, samples, counts)
    return {"drafts": None}


def write_round(
    session: Session, state: RunState, samples: Sequence[Sample], weaknesses: dict[str, int]
) -> None:
    """Write a round's line.

    Args:
        weaknesses: how many there are by status.
    """
    round, trained = state["round"], state["trained"]
    span = session.ledger.round_span(round)
    session.run.write_round(
        RoundRecord(
            round=round,
            kind="init" if round == 0 else "loop",
            **count_decisions(samples),
            train_rows=trained["train_rows"],
            probe_rows=trained["probe_rows"],
            probe=trained["probe"],
            fresh=trained["fresh"],
            per_label=trained["per_label"],
            weaknesses=weaknesses,
            errors=trained["errors"],
            explanations=state.get("explanations", {}),
            refills=state["refill"],
            output_tokens=session.ledger.tokens_of_round(round),
            seconds=session.ledger.split_seconds(union_of(span)),
            trained=trained["trained"],
            kept_rows=trained["kept_rows"],
            relabelled=trained.get("relabelled"),
            self_labelled=trained.get("self_labelled"),
            ignored_tokens=trained.get("ignored_tokens"),
        )
    )
    session.round_ended()
    run_id = session.run.run_id
    session.emit({"kind": "recorded", "round": round, "run": run_id, "weaknesses": weaknesses})


def write_seeds_round(session: Session, train_rows: int) -> None:
    """Write the line of a student that learnt the seeds before the first round, and nothing else.

    Args:
        train_rows: the seeds it learnt.
    """
    held_out = session.data.validation
    probe = score_of(session, 0, held_out) if held_out else None
    _write_gold_round(
        session, 0, kind="init", train_rows=train_rows, probe_rows=len(held_out), probe=probe
    )


def _write_gold_round(session: Session, round: int, **fields: Any) -> None:
    """Write the line of a round that learnt gold rows and no sample."""
    seconds = session.ledger.split_seconds(union_of(session.ledger.round_span(round)))
    session.run.write_round(
        RoundRecord(round=round, accepted=0, rejected={}, seconds=seconds, **fields)
    )


def decide(state: RunState, runtime: Runtime[RunContext]) -> dict[str, Any]:
    """Stop on rounds, budget, no gain, or every weakness closed; else count the round up."""
    session = session_of(state, runtime)
    round, strategy = state["round"], session.config.strategy
    with session.phase("decide", round):
        gained = _gained(session, round, state)
        without_gain = 0 if gained or round == 0 else state["without_gain"] + 1
        stop = f"all {strategy.rounds} rounds done" if round >= strategy.rounds else ""
        if not stop:
            stop = session.budget.exhausted()
        if not stop and without_gain >= strategy.patience:
            stop = f"no gain in {without_gain} rounds"
        if not stop and strategy.stop_when_closed and round > 0 and _all_closed(session):
            stop = "every weakness closed"
    return {
        "stop": stop,
        "without_gain": without_gain,
        "best_round": round if gained else state["best_round"],
        "round": round if stop else round + 1,
    }


def learn_gold(state: RunState, runtime: Runtime[RunContext]) -> dict[str, Any]:
    """Train on all gold rows at once: the ceiling."""
    session = session_of(state, runtime)
    round = state["round"]
    with session.phase("learn_gold", round):
        gold = gold_rows(session.config, session.data.train)
        rows = [*seed_rows(session), *gold]
        result = fit_student(session, rows, round)
    _write_gold_round(session, round, kind="loop", train_rows=len(rows), probe_rows=0)
    session.emit(
        {"kind": "trained", "round": round, "trained": True, "fresh": None, "probe": None}
        | {"train_rows": len(rows), "loss": result["loss"]}
    )
    return {"stop": f"learned {len(gold)} gold rows"}


def route_after_decide(state: RunState) -> Literal["analyze", "finish"]:
    """Go on with the next round, or finish."""
    return "finish" if state["stop"] else "analyze"


def finish(state: RunState, runtime: Runtime[RunContext]) -> dict[str, Any]:
    """Ask all rounds' students the same held-out rows; the best round's goes to `student/`.

    With `strategy.refit` it learns that round's texts once more together with the held-out ones:
    every decision they serve has been taken, and one in five of what the teacher wrote would be
    lost. No score of the run is measured on them after that.
    """
    session = session_of(state, runtime)
    with session.phase("finish", state["round"]):
        best = choose_best(right_in_the_end(session))
        accepted, strategy = session.accepted(), session.config.strategy
        kept = session.run.student
        if held_out := texts_refitted(accepted, best, strategy):
            learned = [*texts_taught(accepted, best, strategy), *held_out]
            words = words_taught(session.run.read_words(), best, strategy)
            rows = rows_for(session.config, session.data.seed, learned, words, session.embedder)
            fit_with_pool(session, rows, best, folder=kept)
        else:
            install_student(session, session.run.student_of_round(best), kept)
    return {"best_round": best}


def find_rivals(
    labels: Sequence[str], gold: Sequence[str], probabilities: Sequence[Sequence[float]]
) -> dict[str, str]:
    """Return, for each gold label, the other label that gets most of its rows' probability."""
    mass: dict[str, Counter[str]] = {}
    for label, row in zip(gold, probabilities, strict=True):
        mass.setdefault(label, Counter()).update(
            {other: p for other, p in zip(labels, row, strict=True) if other != label}
        )
    return {label: counter.most_common(1)[0][0] for label, counter in mass.items() if counter}


def _answers(
    session: Session, student: AnyStudent, rows: Sequence[Row]
) -> tuple[list[Prediction], dict[str, str]]:
    """Return what a student says of rows, and what it confuses each label with most.

    Entity types are not confused as a whole.
    """
    if not isinstance(student, Student):
        return predict(session, student, rows), {}
    probabilities = student.probabilities(session.kind.inputs(rows))
    rivals = find_rivals(student.labels, [row.label or "" for row in rows], probabilities)
    return student.likeliest(probabilities), rivals


def _predict_fresh(
    session: Session, last: int, accepted: Sequence[Sample]
) -> tuple[list[Sample], dict[str, str]]:
    said, rivals = _answers(session, student_of(session, last), accepted)
    predicted = [
        one.model_copy(update={"prediction": prediction})
        for one, prediction in zip(accepted, said, strict=True)
    ]
    return predicted, rivals


def train_and_measure(
    session: Session,
    round: int,
    last: int,
    accepted: Sequence[Sample],
    rejected: Sequence[Sample] = (),
) -> dict[str, Any]:
    """Train the student of a round, and return what it took and how good it is.

    Args:
        last: the round before that has a student.
        accepted: this round's samples, with what the last student says of them.
        rejected: the others of this round; the student labels none of these itself either.
    """
    samples = [*session.accepted(before=round), *accepted]  # these are not written to the run yet
    taught = texts_taught(samples, round, session.config.strategy)
    words = words_taught(session.run.read_words(), round, session.config.strategy)
    rows = rows_for(session.config, session.data.seed, taught, words, session.embedder)
    # In llkd's paper mode a last batch may bring nothing, and those before it were never learnt.
    trains = any(one.split == "train" and one.round > last for one in samples)
    result = fit_with_pool(session, rows, round, [*accepted, *rejected]) if trains else {}
    student = student_of(session, round if trains else last)
    held_out = held_out_rows(session, round, accepted)
    said = predict(session, student, held_out)
    known = [one for one in accepted if one.prediction]
    before = [one.prediction for one in known if one.prediction]
    return {
        "trained": trains,
        "train_rows": len(rows),
        "probe_rows": len(held_out),
        "probe": session.kind.score(held_out, said) if held_out else None,
        "per_label": session.kind.score_by_label(held_out, said, session.labels),
        "fresh": session.kind.score(known, before) if known else None,
        "errors": _count_errors(session, known),
        "samples_per_second": result.get("samples_per_second"),
        "loss": result.get("loss"),
        "kept_rows": result.get("kept_rows"),
        "relabelled": count_relabelled(session.config, rows, taught) if trains else None,
        "self_labelled": result.get("self_labelled"),
        "ignored_tokens": result.get("ignored_tokens"),
    }


def _count_errors(session: Session, rows: Sequence[Sample]) -> dict[str, int]:
    """Return how often the student made each kind of mistake before it was taught the rows."""
    said = (
        mistake.error
        for one in rows
        if one.prediction
        for mistake in session.kind.mistakes(one, one.prediction)
    )
    counts = Counter(said)
    return {error: counts[error] for error in session.kind.errors}


def _validation_scores(session: Session, student: AnyStudent) -> dict[str, float]:
    rows = session.data.validation
    return session.kind.score_by_label(rows, predict(session, student, rows), session.labels)


def _gained(session: Session, round: int, state: RunState) -> bool:
    """Whether this round's student beats the best so far on the same held-out rows."""
    if not state["trained"]["trained"]:
        return False
    rows = held_out_rows(session, round + 1)
    if not rows or state["best_round"] == BASELINE:
        return True
    now, best = (score_of(session, number, rows) for number in (round, state["best_round"]))
    return now > best


def _all_closed(session: Session) -> bool:
    if session.memory is None:
        return False
    known = session.memory.weaknesses(session.run.run_id)
    return bool(known) and all(one.status == "closed" for one in known)
