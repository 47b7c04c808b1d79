"""What a round's student learns from, its training, and what it says of rows."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from evokd.config import Config, StrategySection
from evokd.graph.session import Session
from evokd.graph.strategies import reads_again, selects_in_steps, strategy_of
from evokd.records import Embedder, Example, Prediction, Sample, Word
from evokd.store.files import replaced_folder, storage_errors
from evokd.store.ledger import FIT
from evokd.tasks import Row
from evokd.tools.consensus import consensus
from evokd.tools.reasoner import Reasoner
from evokd.tools.selection import LOOKS_AT_TEACHER
from evokd.tools.students import AnyStudent, keep_student, open_student, train_student
from evokd.tools.thresholds import surest
from evokd.tools.training import TrainingRow, read_training_rows, write_training_rows

BASELINE = -1  # the round of the student that knows the seeds alone
OWN_ROWS = "self_labelled.jsonl"  # in a student's folder: what a student labelled itself
TEXT_AGAINST_WORD = 3  # how often a text counts where single words are learnt, too


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


def row_choice(config: Config) -> dict[str, Any] | None:
    """Return how a training chooses among the rows of a pool, or the tokens of generated texts.

    See `RowChoice`; None: it does not. In the budgeted mode rows were chosen before.
    """
    strategy = config.strategy
    selection = strategy.selection if selects_in_steps(config) else "random"
    chooses = strategy_of(config).labels_only or config.task.kind == "ner"
    if not chooses or (selection, strategy.noise) == ("random", "none"):
        return None
    return {
        "selection": selection,
        "weighting": strategy.weighting,
        "noise": strategy.noise,
        "imprint": learns_surest(config),
    }


def learns_surest(config: Config) -> bool:
    """Whether of a pool only what the teacher is surest of is learnt."""
    strategy = config.strategy
    looks = selects_in_steps(config) and strategy.selection in LOOKS_AT_TEACHER
    return looks and strategy.surest_share < 1


def rows_for(
    config: Config,
    seed: Sequence[Example],
    taught: Sequence[Sample] = (),
    words: Sequence[Word] = (),
    embedder: Embedder | None = None,
) -> list[TrainingRow]:
    """Return what a student learns from, in the order that decides its batches.

    Args:
        words: of its vocabulary; beside them a text counts as often as a gold one does by default.
        embedder: needed where a pool's texts are read once more, see `second_look`.
    """
    learned = [TrainingRow.of(one, TEXT_AGAINST_WORD if words else 1) for one in taught]
    sure = [one.labeler_confidence or 0.0 for one in taught]
    if reads_again(config) and taught:
        assert embedder is not None
        said = second_look(config, seed, taught, embedder)
        learned = [replace(row, label=label) for row, (label, _) in zip(learned, said, strict=True)]
        sure = [confidence for _, confidence in said]
    if row_choice(config):
        learned = [replace(row, confidence=c) for row, c in zip(learned, sure, strict=True)]
        if learns_surest(config):
            labels = [row.label for row in learned]
            eligible = surest(sure, labels, config.strategy.surest_share)
            learned = [row for place, row in enumerate(learned) if place in eligible]
    gold = [TrainingRow.of(row, config.student.seed_weight) for row in seed]
    rows = [*gold, *learned, *(TrainingRow(one.text, one.label or "") for one in words)]
    return _learnable(config, rows)


def second_look(
    config: Config, seed: Sequence[Example], taught: Sequence[Sample], embedder: Embedder
) -> list[tuple[str, float]]:
    """Return the label of each text of a pool by consensus, and how sure that is, in [0, 1].

    Over all that is learnt so far, so that a text's label may change from round to round. One that
    the critic has judged keeps its label.
    """
    import numpy as np

    labels = list(config.task.labels)
    texts = [*(row.text for row in seed), *(one.content for one in taught)]
    vectors = np.asarray(embedder.embed(texts), np.float64)
    gold = np.asarray([[float(row.label == name) for name in labels] for row in seed])
    gold = gold.reshape(-1, len(labels))  # shape (0,) without a row
    said = np.asarray([[_said(one, name) for name in labels] for one in taught])
    found = consensus(said, vectors[len(seed) :], gold, vectors[: len(seed)])
    likeliest = zip(taught, found.argmax(axis=1).tolist(), found.max(axis=1).tolist(), strict=True)
    return [
        (labels[place], sure) if one.critic_verdict is None else (one.label or "", 1.0)
        for one, place, sure in likeliest
    ]


def count_relabelled(
    config: Config, rows: Sequence[TrainingRow], taught: Sequence[Sample]
) -> int | None:
    """Return how many texts are learnt with another label than theirs; None: none can be."""
    if not reads_again(config):
        return None
    learnt = {row.text: row.label for row in rows}
    return sum(learnt.get(one.text, one.label) != one.label for one in taught)


def _said(sample: Sample, label: str) -> float:
    told = sample.calibrated_probabilities or sample.labeler_probabilities
    return (told or {sample.label or "": 1.0}).get(label, 0.0)


def gold_rows(config: Config, train: Sequence[Example]) -> list[TrainingRow]:
    """Return what `fullshot` learns beside the seeds."""
    return _learnable(config, [TrainingRow.of(row) for row in train])


def _learnable(config: Config, rows: list[TrainingRow]) -> list[TrainingRow]:
    """Return the rows, of questions those with steps: an answer alone teaches no explanation."""
    return [row for row in rows if row.steps] if config.task.kind == "reasoning" else rows


def seed_rows(session: Session) -> list[TrainingRow]:
    """Return the rows of the student that knows the seeds alone."""
    return rows_for(session.config, session.data.seed)


def fit_student(
    session: Session,
    rows: Sequence[TrainingRow],
    round: int,
    folder: Path | None = None,
    own: Sequence[TrainingRow] = (),
) -> dict[str, Any]:
    """Call the training tool; the folder, by default the round's, appears when it is complete.

    It takes the place of what was there.

    Args:
        own: rows that a student has labelled itself, learnt beside the others and written apart,
            too.
    """
    folder = folder or session.run.student_of_round(round)
    session.opened = None  # of a round that is trained once more it is another one
    with replaced_folder(folder) as beside:
        rows_file = beside / "rows.jsonl"
        write_training_rows([*rows, *own], rows_file)
        if own:
            write_training_rows(own, beside / OWN_ROWS)
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
                "capitals": session.config.task.capitals,
            }
        )
        session.ledger.add_phase(FIT, max(round, 0), start, time.time())
    return result


def own_rows(folder: Path) -> list[TrainingRow]:
    """Return what the student of a folder learnt with labels of its own."""
    path = folder / OWN_ROWS
    return read_training_rows(path) if path.exists() else []


def _starting_weights(session: Session, round: int) -> str:
    last = last_round(session, round) if round > BASELINE else None
    if session.config.student.continue_training and last is not None:
        return str(session.run.student_of_round(last))
    return session.student_source


def install_student(session: Session, folder: Path, target: Path) -> None:
    """Put a copy of a student's folder in the place of another; it appears when it is complete.

    Raises:
        StorageError: it cannot be written.
    """
    with replaced_folder(target) as beside, storage_errors(target):
        keep_student(session.kind.name, folder, beside)


def last_round(session: Session, round: int) -> int:
    """Return the newest round before this one that has a student."""
    for candidate in range(round - 1, BASELINE, -1):
        if (session.run.student_of_round(candidate) / "config.json").exists():
            return candidate
    return BASELINE


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


def score_of(session: Session, round: int, rows: Sequence[Row]) -> float:
    """Return how good a round's student is on rows, by the task's metric."""
    return session.kind.score(rows, predict(session, student_of(session, round), rows))


def held_out_rows(session: Session, round: int, fresh: Sequence[Sample] = ()) -> Sequence[Row]:
    """Return the validation rows or, without them, the probe set so far."""
    if session.data.validation:
        return session.data.validation
    return [one for one in (*session.accepted(before=round), *fresh) if one.split == "probe"]
