"""The nodes that train, measure and remember. They are the only writers of files and memory.

Every write is idempotent by (run, round), because a node that was killed starts from its top.
"""

from __future__ import annotations

import math
import shutil
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from langgraph.runtime import Runtime

from evokd.config import Config, StrategySection
from evokd.graph.failures import failures_of
from evokd.graph.planning import Aim
from evokd.graph.session import RunContext, Session, session_of
from evokd.graph.state import RunState, by_id, count_decisions, read_drafts
from evokd.graph.strategies import first_round, selects_in_steps, strategy_of
from evokd.memory.weakness import WeaknessMemory, count_statuses, retest
from evokd.records import (
    POOL,
    Example,
    Failure,
    Prediction,
    RoundRecord,
    Sample,
    Weakness,
    Word,
)
from evokd.store.files import storage_errors
from evokd.store.ledger import FIT, union_of
from evokd.tasks import Mistake, Row
from evokd.tasks.ner import NOTHING
from evokd.tools.reasoner import Reasoner
from evokd.tools.selection import LOOKS_AT_TEACHER
from evokd.tools.student import Student
from evokd.tools.students import AnyStudent, keep_student, open_student, train_student
from evokd.tools.thresholds import surest
from evokd.tools.training import TrainingRow, write_training_rows

BASELINE = -1
TEXT_AGAINST_WORD = 3  # how often a text counts where single words are learnt, too
CLEARLY = 0.05  # the largest p-value of a difference that counts
BEGINNING: dict[str, Any] = {
    "refill": 0,
    "drafts": None,
    "best_round": BASELINE,
    "without_gain": 0,
    "stop": "",
}
BEST_ROUND_RULE = (
    "the latest round that no earlier one is clearly better than on {what} (exact sign test, "
    "p < {level}); all rounds are asked the same rows, the test split is never touched"
)


def prepare(state: RunState, runtime: Runtime[RunContext]) -> dict[str, Any]:
    """Train the student on the seeds alone: the baseline, before any teaching."""
    session = session_of(state, runtime)
    with session.phase("prepare", 0):
        folder = session.run.student_of_round(BASELINE)
        if not (folder / "config.json").exists():
            fit_student(session, _seed_rows(session), BASELINE)
    return BEGINNING | {"round": first_round(session.config)}


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
        accepted = [one for one in read_drafts(state) if one.accepted]
        update: dict[str, Any] = {}
        if accepted:
            predicted, rivals = _predict_fresh(session, last, accepted)
            update = {"drafts": by_id(predicted), "rivals": rivals}
            accepted = predicted
        measured = train_and_measure(session, round, last, accepted)
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
        counts = _remember(session, state, samples) if session.memory else {}
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
    probe = _score(session, 0, held_out) if held_out else None
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
        gold = [TrainingRow.of(row) for row in session.data.train]
        rows = [*_seed_rows(session), *gold]
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
        best = choose_best(_right_in_the_end(session))
        accepted, strategy = session.accepted(), session.config.strategy
        kept = session.run.student
        if held_out := texts_refitted(accepted, best, strategy):
            learned = [*texts_taught(accepted, best, strategy), *held_out]
            words = words_taught(session.run.read_words(), best, strategy)
            rows = rows_for(session.config, session.data.seed, learned, words)
            fit_student(session, rows, best, kept)
        else:
            _keep(session, session.run.student_of_round(best), kept)
    return {"best_round": best}


def texts_taught(samples: Iterable[Sample], round: int, strategy: StrategySection) -> list[Sample]:
    """Return what a round's student is trained on, in order: held-out samples never.

    The round's own texts and, with review, those of all earlier rounds.
    """
    return [
        one
        for one in samples
        if one.accepted and one.split == "train" and _is_taught(one, round, strategy)
    ]


def words_taught(words: Iterable[Word], round: int, strategy: StrategySection) -> list[Word]:
    """Return the words that a round's student is trained on; like texts, they are reviewed."""
    return [one for one in words if one.label and _is_taught(one, round, strategy)]


def _is_taught(one: Sample | Word, round: int, strategy: StrategySection) -> bool:
    return one.round == round or (strategy.review and one.round < round)


def texts_refitted(samples: Iterable[Sample], best: int, strategy: StrategySection) -> list[Sample]:
    """Return the held-out texts that the kept student of round `best` learns in the end."""
    if not strategy.refit:
        return []
    return [one for one in samples if one.accepted and one.split == "probe" and one.round <= best]


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


def choose_best(right: Mapping[int, Sequence[bool]]) -> int:
    """Return the latest round that no earlier one is clearly better than.

    A held-out set of a few dozen rows cannot tell small differences apart, and later rounds have
    seen more: so a later student is only given up for one that is clearly better.

    Args:
        right: round → whether its student has each held-out row right, the same rows for all.
    """
    for round in sorted(right, reverse=True):
        earlier = (right[other] for other in right if other < round)
        if not any(is_clearly_better(one, right[round]) for one in earlier):
            return round
    return BASELINE


def is_clearly_better(one: Sequence[bool], other: Sequence[bool]) -> bool:
    """Whether one student beats another by an exact one-sided sign test.

    Over the rows that only one of them has right (McNemar, 1947): how likely is it that so many
    fall to the first by chance?
    """
    wins = sum(a and not b for a, b in zip(one, other, strict=True))
    losses = sum(b and not a for a, b in zip(one, other, strict=True))
    differ = wins + losses
    by_chance = sum(math.comb(differ, k) for k in range(wins, differ + 1)) / (1 << differ)
    return by_chance < CLEARLY


def _keep(session: Session, folder: Path, target: Path) -> None:
    beside = target.with_name(f".{target.name}.tmp")
    with storage_errors(target):
        shutil.rmtree(beside, ignore_errors=True)
        keep_student(session.kind.name, folder, beside)
        shutil.rmtree(target, ignore_errors=True)
        beside.rename(target)


def fit_student(
    session: Session, rows: Sequence[TrainingRow], round: int, folder: Path | None = None
) -> dict[str, Any]:
    """Call the training tool; the folder, by default the round's, appears when it is complete."""
    folder = folder or session.run.student_of_round(round)
    session.opened = None  # of a round that is trained once more it is another one
    beside = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(beside, ignore_errors=True)
    rows_file = beside / "rows.jsonl"
    write_training_rows(rows, rows_file)
    start = time.time()
    result: dict[str, Any] = train_student.invoke(
        {
            "kind": session.kind.name,
            "rows_file": str(rows_file),
            "labels": list(session.labels),
            "model": _starting_weights(session, round),
            "output_dir": str(beside),
            "settings": session.config.student.model_dump(),
            "random_seed": session.config.random_seed,
            "repeat": session.config.strategy.repeat,
            "choice": row_choice(session.config),
            "instructions": session.config.task.instructions,
            "answers": session.answers,
        }
    )
    session.ledger.add_phase(FIT, max(round, 0), start, time.time())
    with storage_errors(folder):
        shutil.rmtree(folder, ignore_errors=True)
        beside.rename(folder)
    return result


def _starting_weights(session: Session, round: int) -> str:
    last = last_round(session, round) if round > BASELINE else None
    if session.config.student.continue_training and last is not None:
        return str(session.run.student_of_round(last))
    return session.student_source


def _seed_rows(session: Session) -> list[TrainingRow]:
    return rows_for(session.config, session.data.seed)


def row_choice(config: Config) -> dict[str, str] | None:
    """Return how a training chooses among the rows of a pool, or the tokens of generated texts.

    See `RowChoice`; None: it does not. In the budgeted mode rows were chosen before.
    """
    strategy = config.strategy
    selection = strategy.selection if selects_in_steps(config) else "random"
    chooses = strategy_of(config).labels_only or config.task.kind == "ner"
    if not chooses or (selection, strategy.noise) == ("random", "none"):
        return None
    return {"selection": selection, "weighting": strategy.weighting, "noise": strategy.noise}


def rows_for(
    config: Config,
    seed: Sequence[Example],
    taught: Sequence[Sample] = (),
    words: Sequence[Word] = (),
) -> list[TrainingRow]:
    """Return what a student learns from, in the order that decides its batches.

    Args:
        words: of its vocabulary; beside them a text counts as often as a gold one does by default.
    """
    learned = [TrainingRow.of(one, TEXT_AGAINST_WORD if words else 1) for one in taught]
    if row_choice(config):
        sure = [one.labeler_confidence or 0.0 for one in taught]
        learned = [replace(row, confidence=c) for row, c in zip(learned, sure, strict=True)]
        if selects_in_steps(config) and config.strategy.selection in LOOKS_AT_TEACHER:
            labels = [row.label for row in learned]
            eligible = surest(sure, labels, config.strategy.surest_share)
            learned = [row for place, row in enumerate(learned) if place in eligible]
    gold = [TrainingRow.of(row, config.student.seed_weight) for row in seed]
    rows = [*gold, *learned, *(TrainingRow(one.text, one.label or "") for one in words)]
    if config.task.kind == "reasoning":  # an answer without its explanation teaches none
        rows = [row for row in rows if row.steps]
    return rows


def student_of(session: Session, round: int) -> AnyStudent:
    """Load a round's student; the one that was asked last is at hand.

    One that reasons is not kept: it is as large as a local teacher.
    """
    opened = session.opened  # read once: branches may run at the same time
    if opened and opened[0] == round:
        return opened[1]
    opened = session.opened = None  # before the next one is loaded
    folder = session.run.student_of_round(round)
    student = open_student(session.kind.name, folder, session.config.student)
    if not isinstance(student, Reasoner):
        session.opened = round, student
    return student


def predict(session: Session, student: AnyStudent, rows: Sequence[Row]) -> list[Prediction]:
    """Return what a student says of rows."""
    return student.predict(session.kind.inputs(rows))


def _score(session: Session, round: int, rows: Sequence[Row]) -> float:
    """Return how good a round's student is on rows, by the task's metric."""
    return session.kind.score(rows, predict(session, student_of(session, round), rows))


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


def last_round(session: Session, round: int) -> int:
    """Return the newest round before this one that has a student."""
    for candidate in range(round - 1, BASELINE, -1):
        if (session.run.student_of_round(candidate) / "config.json").exists():
            return candidate
    return BASELINE


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
    session: Session, round: int, last: int, accepted: Sequence[Sample]
) -> dict[str, Any]:
    """Train the student of a round, and return what it took and how good it is.

    Args:
        last: the round before that has a student.
        accepted: this round's samples, with what the last student says of them.
    """
    samples = [*session.accepted(before=round), *accepted]  # these are not written to the run yet
    taught = texts_taught(samples, round, session.config.strategy)
    words = words_taught(session.run.read_words(), round, session.config.strategy)
    rows = rows_for(session.config, session.data.seed, taught, words)
    # In llkd's paper mode a last batch may bring nothing, and those before it were never learnt.
    trains = any(one.split == "train" and one.round > last for one in samples)
    result = fit_student(session, rows, round) if trains else {}
    student = student_of(session, round if trains else last)
    held_out = _held_out(session, round, accepted)
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


def _held_out(session: Session, round: int, fresh: Sequence[Sample] = ()) -> Sequence[Row]:
    """Return the validation rows or, without them, the probe set so far."""
    if session.data.validation:
        return session.data.validation
    return [one for one in (*session.accepted(before=round), *fresh) if one.split == "probe"]


def _validation_scores(session: Session, student: AnyStudent) -> dict[str, float]:
    rows = session.data.validation
    return session.kind.score_by_label(rows, predict(session, student, rows), session.labels)


def _remember(session: Session, state: RunState, samples: Sequence[Sample]) -> dict[str, int]:
    """Write failures and weaknesses of the round to memory; return weaknesses by status."""
    memory, run_id, round = session.memory, session.run.run_id, state["round"]
    assert memory is not None
    accepted = [one for one in samples if one.accepted]
    failures = [failure for one in accepted for failure in failures_of(session.kind, one, run_id)]
    remember_samples(memory, run_id, round, accepted, failures)
    earlier = session.accepted(before=round) if session.config.uses_pool else []
    tests = [*earlier, *accepted]
    new = [_with_probes(Aim(**one).weakness, tests) for one in state["weaknesses"]]
    known = [*memory.weaknesses(run_id), *new]
    memory.put_weaknesses(_retest_all(session, state, known))
    return count_statuses(memory.weaknesses(run_id))


def remember_samples(
    memory: WeaknessMemory,
    run: str,
    round: int,
    accepted: Sequence[Sample],
    failures: Sequence[Failure],
) -> None:
    """Write a round's samples and failures, in place of what a first try of it wrote."""
    memory.drop_round(run, round)
    memory.add_failures(failures)
    memory.index_samples([(one.id, one.text, one.label or "", one.round) for one in accepted])


def _with_probes(weakness: Weakness, accepted: Sequence[Sample]) -> Weakness:
    """Return a weakness with its held-out texts: written for it, or of a pool and its label."""
    probes = [
        one.id
        for one in accepted
        if one.split == "probe"
        and (one.weakness == weakness.id or (one.role == POOL and one.label == weakness.labels[0]))
    ]
    return weakness.model_copy(update={"probes": probes})


def _retest_all(
    session: Session, state: RunState, weaknesses: Sequence[Weakness]
) -> list[Weakness]:
    """Ask the new student every weakness's held-out texts."""
    round = state["round"]
    trained = round if state["trained"]["trained"] else last_round(session, round)
    probes = {one.id: one for one in session.accepted() if one.split == "probe"}
    ids = sorted({name for one in weaknesses for name in one.probes if name in probes})
    if not ids:
        return list(weaknesses)
    said = predict(session, student_of(session, trained), [probes[name] for name in ids])
    wrong = {
        name: session.kind.mistakes(probes[name], answer)
        for name, answer in zip(ids, said, strict=True)
    }
    return [
        retest(one, [not shows(one, wrong[name]) for name in one.probes if name in wrong], round)
        for one in weaknesses
    ]


def shows(weakness: Weakness, mistakes: Sequence[Mistake]) -> bool:
    """Whether mistakes are of this weakness: about a whole text, or about one of its labels."""
    concerned = set(weakness.labels) - {NOTHING}
    return any(not one.part or {one.label, one.predicted} & concerned for one in mistakes)


def _gained(session: Session, round: int, state: RunState) -> bool:
    """Whether this round's student beats the best so far on the same held-out rows."""
    if not state["trained"]["trained"]:
        return False
    rows = _held_out(session, round + 1)
    if not rows or state["best_round"] == BASELINE:
        return True
    now, best = (_score(session, number, rows) for number in (round, state["best_round"]))
    return now > best


def _all_closed(session: Session) -> bool:
    if session.memory is None:
        return False
    known = session.memory.weaknesses(session.run.run_id)
    return bool(known) and all(one.status == "closed" for one in known)


def _right_in_the_end(session: Session) -> dict[int, list[bool]]:
    """Return for every trained round which of all held-out rows its student has right."""
    rounds = [one.round for one in session.run.read_rounds() if one.trained]
    rows = _held_out(session, max(rounds, default=0) + 1)

    def right(number: int) -> list[bool]:
        said = predict(session, student_of(session, number), rows)
        pairs = zip(rows, said, strict=True)
        return [not session.kind.mistakes(row, answer) for row, answer in pairs]

    return {number: right(number) if rows else [] for number in rounds}


def best_round_rule(session: Session) -> str:
    """Return in words how the best round is chosen."""
    strategy = strategy_of(session.config)
    in_steps = selects_in_steps(session.config)
    holds_out = strategy.teaches or (strategy.labels_only and not in_steps)
    if not (holds_out or session.data.validation):
        return (
            f"the last round; {'the mode paper' if in_steps else 'this strategy'} holds nothing out"
        )
    what = "the validation rows" if session.data.validation else "the run's held-out probe set"
    return BEST_ROUND_RULE.format(what=what, level=CLEARLY)
