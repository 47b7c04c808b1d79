"""One small real round on the embedded LLM: what must always hold, never a score."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from evokd import distill, predict
from evokd.runner import resume_run
from evokd.store.ledger import Ledger
from evokd.store.run_dir import RunDirectory

TASK = Path(__file__).parent.parent / "examples" / "banking" / "task.yaml"
SMALL = (
    "strategy.rounds=1",
    "strategy.init_samples=16",
    "strategy.samples_per_round=16",
    "strategy.max_refills=1",
    "strategy.texts_per_call=4",
)


@pytest.mark.local_llm
def test_a_real_round(tmp_path: Path) -> None:
    result = distill(TASK, overrides=SMALL, run_id="real", runs_dir=tmp_path)
    report = json.loads((result.path / "report.json").read_text())
    assert report["status"] == "finished"
    assert {role for role, one in report["teacher"].items() if one["calls"]} >= {
        "analyst",
        "generator",
        "labeler",
        "critic",
    }
    rows = RunDirectory(result.path).read_samples()
    accepted = [one for one in rows if one.accepted]
    assert accepted
    assert {one.label for one in accepted} <= set(report["task"]["labels"])
    rejected = [one for one in rows if one.accepted is False]
    assert rejected
    assert all(one.reason for one in rejected)
    assert 0.0 <= report["scores"]["final"] <= 1.0
    assert "<html" in (result.path / "report.html").read_text()
    assert (
        predict("real", ["Where is my new card?"], runs_dir=tmp_path)[0].label
        in report["task"]["labels"]
    )

    before = _calls(result.path)
    resume_run(RunDirectory(result.path), emit=lambda event: None)
    assert _calls(result.path) == before


@pytest.mark.local_llm
def test_a_real_round_of_entities(tmp_path: Path) -> None:
    task = TASK.parent.parent / "ner" / "task.yaml"
    few = [*SMALL, "budget.output_tokens=1200"]
    result = distill(task, overrides=few, run_id="ner", runs_dir=tmp_path)
    accepted = [one for one in RunDirectory(result.path).read_samples() if one.accepted]
    assert {one.label for one in accepted} <= {*result.report["task"]["labels"], "none"}
    named = [(one.text[e.start : e.end], e.label) for one in accepted for e in one.entities]
    assert len({label for _, label in named}) > 1
    assert all(text == text.strip() != "" for text, _ in named)


@pytest.mark.local_llm
def test_a_real_round_of_explanations(tmp_path: Path) -> None:
    task = TASK.parent.parent / "reasoning" / "task.yaml"
    few = [
        "data.test=null",
        "student.passes=1",
        "student.min_steps=1",
        "strategy.rounds=1",
        "strategy.samples_per_round=4",
        "strategy.candidates=6",
        "strategy.continuations=1",
        "strategy.annotation=clear",
    ]
    result = distill(task, overrides=few, run_id="reasoning", runs_dir=tmp_path)
    revised = [one for one in RunDirectory(result.path).read_samples() if one.revision]
    assert revised
    assert any(one.revision and len(one.revision.verdicts) > 0 for one in revised)
    assert all(float(one.label or "nan") >= 0 for one in revised if one.accepted)
    assert predict("reasoning", ["What is 3 plus 4?"], runs_dir=tmp_path)[0].steps


def _calls(run: Path) -> dict[str, int]:
    ledger = Ledger(run / "calls.sqlite")
    counts = ledger.counts()
    ledger.close()
    return counts
