"""From a run's files to `report.json` and `report.html`. The only place that scores test rows."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from evokd import __version__
from evokd.config import config_fingerprint
from evokd.graph.calibrating import in_words
from evokd.graph.choosing import best_round_rule
from evokd.graph.fitting import (
    BASELINE,
    own_rows,
    predict,
    texts_refitted,
    words_taught,
)
from evokd.graph.reading import labeler_bias
from evokd.graph.session import Session
from evokd.graph.strategies import strategy_of, trains_itself
from evokd.memory.weakness import count_statuses
from evokd.records import POOL, Example, Prediction, RoundRecord, Sample, Weakness
from evokd.report_explanations import agreement_warning, explained, revision_counts
from evokd.report_html import render_html
from evokd.store.files import write_text
from evokd.store.ledger import WINDOW, covered_seconds, union_of
from evokd.store.run_dir import RunDirectory
from evokd.tasks.classification import Classification, confusion_matrix
from evokd.tasks.reasoning import Reasoning, explanation_counts
from evokd.tools.pack_list import PACKS
from evokd.tools.student import cpu_flags
from evokd.tools.students import open_student

PACKAGES = (
    "torch",
    "transformers",
    "langgraph",
    "langchain-core",
    "langchain-openai",
    "chromadb",
    "xllamacpp",
)
SHOWN_PER_WEAKNESS = 4
SHOWN_REJECTED = 12
SHOWN_MARKED = 24
LOPSIDED = 0.95  # of a pool's texts
FEWEST_READ = 20  # of them by the labeler, for a word on the pool


@dataclass(frozen=True)
class TestScores:
    """Test scores of all students of a run; round -1 is the baseline."""

    score: dict[int, float]
    per_label: dict[int, dict[str, float]]
    predictions: dict[int, list[Prediction]] = field(default_factory=dict)
    kept: list[Prediction] | None = None
    """What the student in `student/` says; None where a run has none yet."""

    def final(self, best_round: int) -> list[Prediction]:
        """Return what the student that is kept says."""
        return self.kept or self.predictions[best_round]


def score_students(session: Session) -> TestScores | None:
    """Score every round's student on the test rows, once the loop has ended; None without test."""
    rows = session.data.test
    if not rows:
        return None
    session.emit({"kind": "note", "text": "asking the student of every round the test rows"})
    rounds = [BASELINE, *(one.round for one in session.run.read_rounds() if one.trained)]
    said = {number: _predict(session, number, rows) for number in rounds}
    kept, kind = session.run.student, session.kind
    return TestScores(
        kept=_ask(session, kept, rows) if (kept / "config.json").exists() else None,
        score={number: kind.score(rows, answers) for number, answers in said.items()},
        per_label={
            number: kind.score_by_label(rows, answers, session.labels)
            for number, answers in said.items()
        },
        predictions=said,
    )


def build_report(
    session: Session,
    *,
    status: str,
    stop: str,
    scores: TestScores | None = None,
    best_round: int = BASELINE,
) -> dict[str, Any]:
    """Return the content of `report.json`: the contract's keys and more beside them."""
    run, config = session.run, session.config
    samples = run.read_samples()
    rounds = _rounds_with_scores(session, scores)
    weaknesses = session.memory.weaknesses(run.run_id) if session.memory else []
    windows = session.ledger.phase_intervals(WINDOW)
    parts = run.read_json(run.prepared).get("parts", {})
    calibration = run.read_json(run.calibration)
    revisions = revision_counts(samples)
    warnings = [*lopsided(session, samples), *agreement_warning(revisions)]
    for warning in warnings:
        session.emit({"kind": "warning", "text": warning})
    return {
        "run_id": run.run_id,
        "strategy": config.strategy.name,
        "task": {
            "name": config.task.name,
            "kind": config.task.kind,
            "instructions": config.task.instructions,
            "labels": config.task.labels,
        },
        "metric": session.kind.metric,
        "status": status,
        "stop_reason": stop,
        "random_seed": config.random_seed,
        "created": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "versions": _versions(),
        "config_fingerprint": config_fingerprint(parts),
        "scores": _scores(session, scores, best_round),
        "best_round_rule": best_round_rule(session),
        "refitted": len(texts_refitted(samples, best_round, config.strategy)),
        "self_labelled": len(own_rows(run.student)),
        "calibration": in_words(calibration),
        "reliability": calibration or None,
        "labeler_bias": calibration.get("bias") or labeler_bias(session, samples),
        "explanations": _explanations(session, scores, best_round),
        "calculator": config.student.calculator if config.task.kind == "reasoning" else None,
        "baseline_marks": _marks(session, scores.predictions[BASELINE] if scores else []),
        "final_marks": _marks(session, scores.final(best_round) if scores else []),
        "init": next((one for one in rounds if one["round"] == 0), None),
        "rounds": [one for one in rounds if one["round"] > 0],
        "confusion": _confusion(session, scores, best_round),
        "teacher": _teacher(session),
        "seconds": session.ledger.split_seconds(windows),
        "seconds_setup": session.seconds_setup,
        "phases": {
            name: round(covered_seconds(session.ledger.phase_intervals(name), windows), 3)
            for name in session.ledger.phase_names()
        },
        "weaknesses": count_statuses(weaknesses),
        "weakness_list": [_weakness(one, samples) for one in weaknesses],
        "samples": _sample_counts(samples),
        "words": [
            one.model_dump() for one in words_taught(run.read_words(), best_round, config.strategy)
        ],
        "pool": _pool(session),
        "marked": [] if session.kind.exclusive else _marked(session, samples),
        "revisions": revisions,
        "explained": explained(session, samples) if revisions else [],
        "packs": _packs(session),
        "cpu_flags": cpu_flags(),
        "warnings": [*session.warnings, *warnings],
        "graph_mermaid": None,
        "verdict": None,
    }


def write_report(run: RunDirectory, report: dict[str, Any]) -> None:
    """Write `report.json`, `report.html` and the test scores into `rounds.jsonl`."""
    scores = {one["round"]: one.get("score") for one in report["rounds"]}
    if report["init"]:
        scores[0] = report["init"].get("score")
    run.write_rounds(
        [one.model_copy(update={"score": scores.get(one.round)}) for one in run.read_rounds()]
    )
    run.write_json(run.report_json, report)
    write_text(run.report_html, render_html(report))


def _pool(session: Session) -> dict[str, Any] | None:
    """Return what became of a pool's rows, and what chose among them; None without a pool."""
    counts = session.pool.counts if session.pool else None
    if session.pool is None or counts is None:
        return None
    strategy = session.config.strategy
    labels_only = strategy_of(session.config).labels_only
    return counts.model_dump() | {
        "in_words": counts.in_words,
        "labels": session.pool.labels(),
        "selection": strategy.selection,
        "mode": strategy.mode if labels_only else None,
        "consensus": strategy.consensus if labels_only else None,
        "self_training": trains_itself(session.config) if labels_only else None,
        "noise": None if strategy.noise == "none" else strategy.noise,
    }


def lopsided(session: Session, samples: Sequence[Sample]) -> list[str]:
    """Return a warning where nearly all of a pool is called by one label.

    By the student or, where it was not asked about the pool, by the labeler about what it read.
    """
    who, said = "student", session.pool.labels() if session.pool else {}
    if not said:
        read = [one.labeler_label for one in samples if one.role == POOL and one.labeler_label]
        who, said = "labeler", dict(Counter(read if len(read) >= FEWEST_READ else []))
    label = max(said, key=lambda name: said[name], default="")
    if not said or said[label] < LOPSIDED * sum(said.values()):
        return []
    return [
        f"data.pool: the {who} calls {said[label]} of {sum(said.values())} texts {label!r}: the "
        "pool may lack the other labels; give texts of all of them"
    ]


def _predict(session: Session, number: int, rows: Sequence[Example]) -> list[Prediction]:
    return _ask(session, session.run.student_of_round(number), rows)


def _ask(session: Session, folder: Path, rows: Sequence[Example]) -> list[Prediction]:
    student = open_student(session.kind.name, folder, session.config.student)
    return predict(session, student, rows)


def _rounds_with_scores(session: Session, scores: TestScores | None) -> list[dict[str, Any]]:
    """Return the rounds; one without training has the score of the student before it."""
    rows, last = [], BASELINE
    for one in session.run.read_rounds():
        last = one.round if one.trained else last
        rows.append(_round(one, last, scores))
    return rows


def _round(one: RoundRecord, student: int, scores: TestScores | None) -> dict[str, Any]:
    row = one.model_dump()
    if scores is not None:
        row["score"] = scores.score[student]
        row["per_label"] = scores.per_label[student]
    return row


def _scores(session: Session, scores: TestScores | None, best_round: int) -> dict[str, Any]:
    if scores is None:
        return {"baseline": None, "final": None, "best_round": best_round, "per_label": {}}
    rows, final = session.data.test, scores.final(best_round)
    return {
        "baseline": scores.score[BASELINE],
        "final": session.kind.score(rows, final),
        "best_round": best_round,
        "per_label": session.kind.score_by_label(rows, final, session.labels),
        "baseline_per_label": scores.per_label[BASELINE],
    }


def _confusion(
    session: Session, scores: TestScores | None, best_round: int
) -> dict[str, Any] | None:
    if scores is None or not isinstance(session.kind, Classification):
        return None
    gold = [row.label for row in session.data.test]
    said = [one.label for one in scores.final(best_round)]
    return {
        "labels": list(session.labels),
        "matrix": confusion_matrix(gold, said, session.labels),
        "split": "test",
    }


def _marks(session: Session, said: Sequence[Prediction]) -> list[str]:
    """Return what each test row counts for in a score, see `TaskKind.mark`; none: nothing said."""
    rows = session.data.test if said else []
    return [session.kind.mark(row, one) for row, one in zip(rows, said, strict=True)]


def _explanations(
    session: Session, scores: TestScores | None, best_round: int
) -> dict[str, dict[str, int]]:
    """Return what explanations of the test questions there are; {} where none are asked for."""
    if scores is None or not isinstance(session.kind, Reasoning):
        return {}
    said = {"baseline": scores.predictions[BASELINE], "final": scores.final(best_round)}
    return {name: explanation_counts(answers) for name, answers in said.items()}


def _teacher(session: Session) -> dict[str, Any]:
    usage = session.ledger.usage_by_role()
    return {
        role: {
            "calls": one.calls,
            "cached": one.cached,
            "input_tokens": one.input_tokens,
            "output_tokens": one.output_tokens,
            "usd": one.usd,
            "failed": one.failed,
            "seconds": _open_seconds(session, role),
            "model": session.teachers[role].model if role in session.teachers else None,
        }
        for role, one in sorted(usage.items())
    }


def _open_seconds(session: Session, role: str) -> float:
    spans = session.ledger.open_intervals(role)
    return round(covered_seconds(spans, union_of(spans)), 3)


def _weakness(weakness: Weakness, samples: Sequence[Sample]) -> dict[str, Any]:
    aimed = [one for one in samples if one.weakness == weakness.id and one.accepted]
    return weakness.model_dump() | {
        "samples": [
            {
                "text": one.text,
                "label": one.label,
                "difficulty": one.difficulty,
                "prediction": one.prediction.label if one.prediction else None,
            }
            for one in aimed[:SHOWN_PER_WEAKNESS]
        ]
    }


def _sample_counts(samples: Sequence[Sample]) -> dict[str, Any]:
    accepted = [one for one in samples if one.accepted]
    rejected = [one for one in samples if one.accepted is False]
    by_reason: dict[str, Sample] = {}
    for one in rejected:
        by_reason.setdefault(one.reason or "", one)
    shown = [*by_reason.values(), *(one for one in rejected if one not in by_reason.values())]
    return {
        "accepted": len(accepted),
        "probe": sum(one.split == "probe" for one in accepted),
        "unchecked": sum(not one.checked for one in accepted),
        "by_label": dict(Counter(one.label or "" for one in accepted)),
        "ordering": [
            {"text": one.text, "orders": one.orders, "label": one.label}
            for one in samples
            if one.orders
        ],
        "rejected": dict(Counter(one.reason or "" for one in rejected)),
        "examples_rejected": [
            {
                "text": one.text,
                "role": one.role,
                "intended_label": one.intended_label,
                "reason": one.reason,
                "labeler_label": one.labeler_label,
                "lost": one.lost,
            }
            for one in shown[:SHOWN_REJECTED]
        ],
    }


def _marked(session: Session, samples: Sequence[Sample]) -> list[dict[str, Any]]:
    """Return accepted texts with their entities and what the student found, wrong ones first."""
    told = []
    for one in reversed([one for one in samples if one.accepted]):
        said = one.prediction
        mistakes = session.kind.mistakes(one, said) if said else []
        found = said.entities if said else None
        told.append(
            {
                "text": one.text,
                "round": one.round,
                "entities": [entity.model_dump() for entity in one.entities],
                "found": None if found is None else [entity.model_dump() for entity in found],
                "mistakes": [mistake.error for mistake in mistakes],
            }
        )
    return sorted(told, key=lambda row: not row["mistakes"])[:SHOWN_MARKED]


def _packs(session: Session) -> dict[str, str]:
    used = {teacher.endpoint.name for teacher in session.teachers.values()}
    used |= {session.config.student.model.partition(":")[2]}
    return {name: pack.weights_sha256 for name, pack in PACKS.items() if name in used}


def _versions() -> dict[str, str]:
    found = {"evokd": __version__}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
