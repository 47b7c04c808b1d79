"""Self-training: what a student labels itself, and that it is never what the teacher has read."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import let_die_once, write_task
from fake_llm import WORDS, FakeLLM

from evokd import distill
from evokd.graph import self_training
from evokd.graph.fitting import OWN_ROWS, own_rows
from evokd.graph.self_training import fit_with_pool, self_labelled, unasked_texts
from evokd.records import POOL, Prediction, Sample
from evokd.runner import RunResult, resume_run
from evokd.store.pool import Pool
from evokd.store.run_dir import RunDirectory
from evokd.task_file import load_config
from evokd.tasks.pool import PoolRow
from evokd.tools.student import Student
from evokd.tools.training import MANY_ROWS, TrainingRow

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
    kind = SimpleNamespace(name="classification")
    return SimpleNamespace(pool=pool, config=load_config(task), kind=kind)


def asked(number: int, **told: Any) -> Sample:
    row = {"text": "t", "round": 1, "call": POOL, "role": POOL, "intended_label": "a"}
    return Sample(id=f"r01p{number:07d}", labeler_label="a", **row | told)


def labelled(
    session: Any, folder: Path, known: int = 20, read: list[Sample] | None = None
) -> list[TrainingRow]:
    return self_labelled(session, folder, unasked_texts(session, 1, read or []), known)


def labels_of(rows: list[TrainingRow]) -> str:
    return "".join(sorted(row.label for row in rows))


def numbered(*labels: str, count: int = 12) -> list[str]:
    """Return texts of each label, the later the longer; one in four is set apart."""
    return [name * n for name in labels for n in range(1, count + 1)]


def test_of_each_label_the_surest_third_is_learnt_and_nothing_that_is_set_apart(
    tmp_path: Path, pool_task: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = session_with(tmp_path, pool_task, monkeypatch, numbered("a", "b"))
    rows = labelled(session, tmp_path)
    # numbers 12 and 24 are the longest texts of "a" and "b", 8 and 20 the eight letters long
    assert {row.text for row in rows} == {name * n for name in "ab" for n in (9, 10, 11)}
    assert labels_of(rows) == "aaabbb"


def test_what_anybody_was_asked_about_is_not_labelled_by_the_student(
    tmp_path: Path, pool_task: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = session_with(tmp_path, pool_task, monkeypatch, numbered("a", "b"))
    read = [asked(11, accepted=False, reason="critic_wrong_label"), asked(10, split="probe")]
    found = {row.text for row in labelled(session, tmp_path, read=read)}
    assert "a" * 9 in found
    assert not found & {"a" * 10, "a" * 11}


@pytest.mark.parametrize(
    ("known", "found"), [(MANY_ROWS - 5, 4), (MANY_ROWS - 1, 0), (MANY_ROWS + 44, 0)]
)
@pytest.mark.parametrize("labels", ["ab", "abcdefgh"])
def test_no_more_is_learnt_than_goes_into_small_batches(
    tmp_path: Path,
    pool_task: Path,
    monkeypatch: pytest.MonkeyPatch,
    labels: str,
    known: int,
    found: int,
) -> None:
    session = session_with(tmp_path, pool_task, monkeypatch, numbered(*labels, count=50))
    assert len(labelled(session, tmp_path, known)) == found


def test_of_few_texts_and_many_labels_a_third_is_learnt(
    tmp_path: Path, pool_task: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = session_with(tmp_path, pool_task, monkeypatch, numbered(*"abcdefgh", count=1))
    assert len(labelled(session, tmp_path)) == 2


def test_a_student_that_calls_all_by_one_label_learns_nothing_of_itself(
    tmp_path: Path, pool_task: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = session_with(tmp_path, pool_task, monkeypatch, [*numbered("a", count=38), "b"])
    assert labelled(session, tmp_path) == []


class Collapses(Told):
    """Calls all texts by one label once it has learnt its own."""

    own: list[int] = []  # how many of its own every training was given

    def predict(self, texts: Any) -> list[Prediction]:
        said = super().predict(texts)
        return [Prediction(label="a", confidence=0.9) for _ in said] if self.own[-1] else said


def test_one_that_its_own_labels_make_call_all_texts_by_one_label_learns_none(
    tmp_path: Path, pool_task: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = session_with(tmp_path, pool_task, monkeypatch, numbered("a", "b"))
    told: list[dict[str, Any]] = []
    session.emit = told.append
    session.run = SimpleNamespace(read_samples=list, student_of_round=lambda round: tmp_path)
    trained: list[int] = []

    def fit(*given: Any, own: Any = ()) -> dict[str, Any]:
        trained.append(len(own))
        return {"rows": len(own)}

    monkeypatch.setattr(Collapses, "own", trained)
    monkeypatch.setattr(self_training, "fit_student", fit)
    assert fit_with_pool(session, [], 1) == {"rows": 6, "self_labelled": 6}
    monkeypatch.setattr(self_training, "open_student", lambda *told: Collapses())
    trained.clear()
    assert fit_with_pool(session, [], 1) == {"rows": 0, "self_labelled": 0}
    assert trained == [0, 6, 0]
    assert "call nearly all texts by one" in told[-1]["text"]


def test_where_noise_is_looked_for_the_students_confidence_counts(
    tmp_path: Path, pool_task: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = session_with(tmp_path, pool_task, monkeypatch, numbered("a", "b"))
    assert {row.confidence for row in labelled(session, tmp_path)} == {None}
    session.config = load_config(pool_task, ["strategy.noise=mixture"])
    assert {row.confidence for row in labelled(session, tmp_path)} == {0.09, 0.1, 0.11}


def run(task: Path, *overrides: str) -> RunResult:
    return distill(task, overrides=overrides, run_id="r", runs_dir=task.parent / "runs")


def texts_in(folder: Path) -> set[str]:
    return {one.text for one in own_rows(folder)}


def test_what_a_student_labelled_stands_beside_it_and_in_the_report(
    pool_task: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(self_training, "ONE_LABEL", 2.0)
    monkeypatch.setattr(RunDirectory, "drop_round_students", lambda self: None)
    result = run(pool_task)
    directory = RunDirectory(result.path)
    read = directory.read_samples()
    for one in result.report["rounds"]:
        own = texts_in(directory.student_of_round(one["round"]))
        assert one["self_labelled"] == len(own) > 0
        assert not own & {row.text for row in read if row.round <= one["round"]}
        assert not own & {row.text for row in read if row.split == "probe"}
    kept = texts_in(directory.student)
    assert result.report["self_labelled"] == len(kept) > 0
    assert not kept & {row.text for row in read}
    html = (result.path / "report.html").read_text()
    assert f"and {result.report['rounds'][-1]['self_labelled']} of its own<" in html
    assert "self-training" in html


def test_a_run_that_dies_between_the_two_trainings_goes_on_as_if_nothing_had_been(
    pool_task: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(self_training, "ONE_LABEL", 2.0)
    let_die_once(monkeypatch, "evokd.graph.self_training.surest")
    with pytest.raises(KeyboardInterrupt):
        run(pool_task)
    directory = RunDirectory(pool_task.parent / "runs" / "r")
    resumed = resume_run(directory, emit=lambda event: None).report
    assert resumed["status"] == "finished"
    whole = distill(pool_task, run_id="whole", runs_dir=pool_task.parent / "runs")
    assert resumed["scores"]["final"] == whole.report["scores"]["final"]
    assert texts_in(directory.student) == texts_in(RunDirectory(whole.path).student)


@pytest.mark.parametrize("switch", ["strategy.self_training=false", "strategy.mode=paper"])
def test_without_it_or_in_the_paper_mode_a_student_is_trained_on_the_teachers_word(
    pool_task: Path, monkeypatch: pytest.MonkeyPatch, switch: str
) -> None:
    monkeypatch.setattr(self_training, "ONE_LABEL", 2.0)
    result = run(pool_task, switch)
    assert {one.get("self_labelled") for one in result.report["rounds"]} == {None}
    assert result.report["self_labelled"] == 0
    assert not (RunDirectory(result.path).student / OWN_ROWS).exists()
    assert "of its own" not in (result.path / "report.html").read_text()
