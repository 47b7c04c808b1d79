"""Self-training: what a student labels itself, and that it is never what the teacher has read."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import write_task
from fake_llm import WORDS, FakeLLM

from evokd import distill
from evokd.graph import self_training
from evokd.graph.fitting import OWN_ROWS
from evokd.graph.self_training import self_labelled
from evokd.records import POOL, Prediction, Sample
from evokd.runner import RunResult
from evokd.store.pool import Pool
from evokd.store.run_dir import RunDirectory
from evokd.task_file import load_config
from evokd.tasks.pool import PoolRow
from evokd.tools.student import Student
from evokd.tools.training import MANY_ROWS, TrainingRow, read_training_rows

FEW = {"name": "llkd", "rounds": 2, "samples_per_round": 10, "consensus": False}


class Told(Student):
    """Calls a text what its first letter says, the surer the longer it is."""

    def __init__(self) -> None:
        pass

    def predict(self, texts: Any) -> list[Prediction]:
        return [Prediction(label=one[0], confidence=min(1.0, len(one) / 100)) for one in texts]


@pytest.fixture
def pool_task(tmp_path: Path, llm: FakeLLM, tiny_student: Path) -> Path:
    words = [word for own in WORDS.values() for word in own]
    texts = [f"{first} and {second}" for first in words for second in words if first < second]
    rows = "".join(json.dumps({"text": one}) + "\n" for one in texts[:60])
    (tmp_path / "pool.jsonl").write_text(rows, encoding="utf-8")
    changes = {"data": {"pool": "pool.jsonl"}, "strategy": FEW}
    return write_task(tmp_path, llm.base_url, tiny_student, changes)


def session_with(
    folder: Path, task: Path, monkeypatch: pytest.MonkeyPatch, texts: list[str]
) -> Any:
    pool = Pool(folder / "pool.sqlite")
    pool.fill([PoolRow(str(place), text) for place, text in enumerate(texts)], lambda row: "")
    monkeypatch.setattr(self_training, "open_student", lambda *told: Told())
    run = SimpleNamespace(student_of_round=lambda round: folder)
    kind = SimpleNamespace(name="classification")
    return SimpleNamespace(pool=pool, config=load_config(task), run=run, kind=kind)


def asked(number: int, **told: Any) -> Sample:
    row = {"text": "t", "round": 1, "call": POOL, "role": POOL, "intended_label": "a"}
    return Sample(id=f"r01p{number:07d}", labeler_label="a", **row | told)


def labels_of(rows: list[TrainingRow]) -> str:
    return "".join(sorted(row.label for row in rows))


def test_of_each_label_the_surest_third_is_learnt(
    tmp_path: Path, pool_task: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = ["a" * n for n in range(1, 10)] + ["b" * n for n in range(1, 7)]
    session = session_with(tmp_path, pool_task, monkeypatch, texts)
    rows = self_labelled(session, 20, 1, [])
    assert {row.text for row in rows} == {"a" * 7, "a" * 8, "a" * 9, "b" * 5, "b" * 6}
    assert labels_of(rows) == "aaabb"


def test_what_anybody_was_asked_about_is_not_labelled_by_the_student(
    tmp_path: Path, pool_task: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = ["a" * n for n in range(1, 10)] + ["b" * n for n in range(1, 7)]
    session = session_with(tmp_path, pool_task, monkeypatch, texts)
    # "a" * 9, rejected; "a" * 8, held out
    read = [asked(9, accepted=False, reason="critic_wrong_label"), asked(8, split="probe")]
    found = {row.text for row in self_labelled(session, 20, 1, read)}
    assert "a" * 7 in found
    assert not found & {"a" * 8, "a" * 9}


@pytest.mark.parametrize(
    ("known", "found"), [(MANY_ROWS - 5, 4), (MANY_ROWS - 1, 0), (MANY_ROWS + 44, 0)]
)
def test_no_more_is_learnt_than_goes_into_small_batches(
    tmp_path: Path, pool_task: Path, monkeypatch: pytest.MonkeyPatch, known: int, found: int
) -> None:
    texts = ["a" * n for n in range(1, 50)] + ["b" * n for n in range(1, 50)]
    session = session_with(tmp_path, pool_task, monkeypatch, texts)
    assert len(self_labelled(session, known, 1, [])) == found


def test_a_student_that_calls_all_by_one_label_learns_nothing_of_itself(
    tmp_path: Path, pool_task: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = ["a" * n for n in range(1, 20)] + ["b"]
    session = session_with(tmp_path, pool_task, monkeypatch, texts)
    assert self_labelled(session, 20, 1, []) == []


def run(task: Path, *overrides: str) -> RunResult:
    return distill(task, overrides=overrides, run_id="r", runs_dir=task.parent / "runs")


def test_what_a_student_labelled_stands_beside_it_and_in_the_report(
    pool_task: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(self_training, "ONE_LABEL", 2.0)
    result = run(pool_task)
    directory = RunDirectory(result.path)
    last = result.report["rounds"][-1]
    own = read_training_rows(directory.student / OWN_ROWS)
    assert own
    assert not {one.text for one in own} & {one.text for one in directory.read_samples()}
    assert last["self_labelled"] > 0
    html = (result.path / "report.html").read_text()
    assert f"and {last['self_labelled']} of its own<" in html
    assert "self-training" in html


@pytest.mark.parametrize("switch", ["strategy.self_training=false", "strategy.mode=paper"])
def test_without_it_or_in_the_paper_mode_a_student_is_trained_on_the_teachers_word(
    pool_task: Path, monkeypatch: pytest.MonkeyPatch, switch: str
) -> None:
    monkeypatch.setattr(self_training, "ONE_LABEL", 2.0)
    result = run(pool_task, switch)
    assert {one.get("self_labelled") for one in result.report["rounds"]} == {None}
    assert not (RunDirectory(result.path).student / OWN_ROWS).exists()
    assert "of its own" not in (result.path / "report.html").read_text()
