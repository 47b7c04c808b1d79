"""The whole loop on a scripted teacher and a tiny student: every role shows in the samples."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import write_task
from fake_llm import RUBBISH, FakeLLM, running_llm, true_label

from evokd import distill
from evokd.agents.critic import Verdict
from evokd.agents.teacher import Choice
from evokd.errors import ResumeError, RunInUseError, TeacherError
from evokd.graph.evokd import build_graph
from evokd.graph.reading import _judge
from evokd.memory.chroma import ChromaWeaknesses
from evokd.records import Sample
from evokd.runner import RunResult, resume_run
from evokd.store.run_dir import RunDirectory
from evokd.tools.gates import is_outvoted
from evokd.tools.student import Student


def run(task: Path, *overrides: str, run_id: str = "r") -> RunResult:
    return distill(task, overrides=overrides, run_id=run_id, runs_dir=task.parent / "runs")


def samples(result: RunResult) -> list[Sample]:
    return RunDirectory(result.path).read_samples()


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, tiny_student: Path) -> Any:
    """One finished run, read by many tests."""
    folder = tmp_path_factory.mktemp("finished")
    with running_llm() as llm:
        task = write_task(folder, llm.base_url, tiny_student)
        yield distill(task, run_id="r", runs_dir=folder / "runs", cache_dir=folder / "cache"), llm


def test_a_run_leaves_the_contract(finished: tuple[RunResult, FakeLLM]) -> None:
    result, _ = finished
    for name in (
        "config.yaml",
        "checkpoints.sqlite",
        "calls.sqlite",
        "samples.jsonl",
        "rounds.jsonl",
        "report.json",
        "report.html",
        "student",
        "memory",
    ):
        assert (result.path / name).exists(), name
    report = json.loads((result.path / "report.json").read_text())
    assert {
        "run_id",
        "strategy",
        "task",
        "metric",
        "status",
        "random_seed",
        "versions",
        "config_fingerprint",
        "scores",
        "rounds",
        "teacher",
        "seconds",
        "weaknesses",
        "verdict",
    } <= set(report)
    assert report["status"] == "finished"
    assert [one["round"] for one in report["rounds"]] == [1, 2]
    assert {"round", "probe", "score", "accepted", "rejected"} <= set(report["rounds"][0])
    assert set(report["teacher"]) >= {"analyst", "generator", "labeler", "critic"}
    assert all(one["calls"] > 0 for one in report["teacher"].values())


def test_every_sample_carries_its_provenance(finished: tuple[RunResult, FakeLLM]) -> None:
    rows = samples(finished[0])
    assert len({one.id for one in rows}) == len(rows)
    for one in rows:
        assert (one.reason is None) == bool(one.accepted)
        if one.accepted:
            assert one.label and one.labeler_label and one.critic_verdict and one.prediction
            assert one.split in ("train", "probe")


def test_rubbish_is_rejected_by_the_critic_and_nothing_else_is(
    finished: tuple[RunResult, FakeLLM],
) -> None:
    by_critic = [one for one in samples(finished[0]) if (one.reason or "").startswith("critic")]
    assert by_critic
    assert all(RUBBISH in one.text for one in by_critic)
    assert not [one for one in samples(finished[0]) if one.accepted and RUBBISH in one.text]


def test_the_labeler_never_sees_the_intended_label(finished: tuple[RunResult, FakeLLM]) -> None:
    asked = [body["messages"][-1]["content"] for body in finished[1].requests]
    labelling = [text for text in asked if "Which label fits this text best?" in text]
    assert labelling
    assert not [
        text
        for text in labelling
        if any(f" {name} " in text.split("Text:")[0] for name in ("fruit", "metal", "river"))
    ]


def test_held_out_samples_are_never_trained_on_nor_are_their_siblings(
    finished: tuple[RunResult, FakeLLM],
) -> None:
    accepted = [one for one in samples(finished[0]) if one.accepted]
    probes = {one.call for one in accepted if one.split == "probe"}
    assert probes
    assert probes.isdisjoint({one.call for one in accepted if one.split == "train"})


def test_a_batch_without_an_aim_is_balanced(finished: tuple[RunResult, FakeLLM]) -> None:
    plain = [one for one in samples(finished[0]) if one.round == 0]
    counts = Counter(one.label for one in plain if one.accepted)
    assert max(counts.values()) <= 2 * min(counts.values())


def test_a_fresh_batch_is_predicted_by_the_student_before_it(
    finished: tuple[RunResult, FakeLLM],
) -> None:
    result, _ = finished
    rows = [one for one in samples(result) if one.round == 0 and one.accepted and one.prediction]
    fresh = sum(one.prediction.label == one.label for one in rows if one.prediction) / len(rows)
    record = RunDirectory(result.path).read_rounds()[0]
    assert record.fresh == pytest.approx(fresh)


def test_weaknesses_have_held_out_texts_and_a_history(
    finished: tuple[RunResult, FakeLLM],
) -> None:
    report = finished[0].report
    assert report["weakness_list"]
    for one in report["weakness_list"]:
        assert one["probes"] and one["history"]


def test_the_student_holds_the_code_that_plain_transformers_loads_it_with(
    finished: tuple[RunResult, FakeLLM],
) -> None:
    folder = finished[0].student
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    module = config["auto_map"]["AutoModelForSequenceClassification"].split(".")[0]
    assert (folder / f"{module}.py").exists()
    assert set(config["id2label"].values()) == {"fruit", "metal", "river"}


def test_seconds_partition_the_wall_clock(finished: tuple[RunResult, FakeLLM]) -> None:
    seconds = finished[0].report["seconds"]
    assert set(seconds) == {"teacher", "training", "other"}
    assert all(value > 0 for value in seconds.values())


def test_a_repeated_run_asks_the_teacher_nothing(toy_task: Path, llm: FakeLLM) -> None:
    first = run(toy_task, "strategy.rounds=1")
    asked = len(llm.requests)
    second = run(toy_task, "strategy.rounds=1", run_id="again")
    assert len(llm.requests) == asked
    assert [one.text for one in samples(first)] == [one.text for one in samples(second)]
    assert all(one["output_tokens"] == 0 for one in second.report["teacher"].values())


@pytest.mark.parametrize(
    ("switch", "role"),
    [("analyst", "analyst"), ("critic", "critic"), ("separation", "labeler")],
)
def test_a_role_switched_off_is_not_asked_and_shows_in_the_samples(
    toy_task: Path, switch: str, role: str
) -> None:
    result = run(toy_task, f"strategy.{switch}=false", "strategy.rounds=1")
    assert role not in result.report["teacher"] or role == "generator"
    rows = samples(result)
    if role == "critic":
        assert any(RUBBISH in one.text for one in rows if one.accepted)
    if role == "labeler":
        assert all(one.labeler_label is None for one in rows)
    if role == "analyst":
        assert all(one.weakness is None for one in rows)


def test_without_memory_there_is_no_memory(toy_task: Path) -> None:
    result = run(toy_task, "strategy.memory=false", "strategy.rounds=1")
    assert not (result.path / "memory").exists()
    assert result.report["weaknesses"] == {"open": 0, "closed": 0, "returned": 0}


def test_without_review_only_the_last_batch_is_trained_on(
    finished: tuple[RunResult, FakeLLM], toy_task: Path
) -> None:
    kept = RunDirectory(finished[0].path).read_rounds()[-1]
    alone = RunDirectory(run(toy_task, "strategy.review=false", run_id="n").path).read_rounds()[-1]
    assert alone.train_rows < kept.train_rows


def test_without_easy_all_texts_of_the_loop_are_hard(toy_task: Path) -> None:
    rows = samples(run(toy_task, "strategy.easy=false", "strategy.rounds=1"))
    assert "easy" not in {one.difficulty for one in rows if one.round == 1}


def test_topics_reach_the_generator_unless_switched_off(toy_task: Path, llm: FakeLLM) -> None:
    topics = 'task.topics=["a purple hat"]'
    run(toy_task, topics, "strategy.rounds=1", "strategy.topics=false")
    assert not any("a purple hat" in json.dumps(one) for one in llm.requests)
    run(toy_task, topics, "strategy.rounds=1", run_id="given")
    asked = [one for one in llm.requests if "a purple hat" in json.dumps(one)]
    assert asked
    assert all("having to do with a purple hat" in json.dumps(one) for one in asked)


def test_without_init_the_loop_starts_at_round_one(toy_task: Path) -> None:
    result = run(toy_task, "strategy.init_samples=0", "strategy.rounds=1")
    assert result.report["init"] is None
    assert {one.round for one in samples(result)} == {1}


def test_a_budget_stops_the_run(toy_task: Path) -> None:
    result = run(toy_task, "budget.output_tokens=200")
    assert result.report["status"] == "budget"
    assert len(result.report["rounds"]) < 2


def test_a_larger_budget_lets_a_run_go_on(toy_task: Path) -> None:
    ended = run(toy_task, "budget.output_tokens=200")
    again = resume_run(RunDirectory(ended.path), emit=lambda event: None)
    assert again.report == ended.report
    further = resume_run(
        RunDirectory(ended.path), overrides=["budget.output_tokens=null"], emit=lambda event: None
    )
    assert further.report["status"] == "finished"
    assert [one["round"] for one in further.report["rounds"]] == [1, 2]
    ids = [one.id for one in samples(further)]
    assert len(ids) == len(set(ids))


def test_a_larger_budget_too_small_for_a_round_changes_nothing(toy_task: Path) -> None:
    for strategy, tokens in (("evokd", 450), ("static", 100)):
        long = "strategy.rounds=50", f"budget.output_tokens={tokens}"
        ended = run(toy_task, *long, f"strategy.name={strategy}", run_id=strategy)
        assert ended.report["samples"]["accepted"] > 0  # so that a sample's price is known
        spent = sum(one["output_tokens"] for one in ended.report["teacher"].values())
        further = resume_run(
            RunDirectory(ended.path),
            overrides=[f"budget.output_tokens={spent + 1}"],
            emit=lambda event: None,
        )
        assert further.report["status"] == "budget"
        assert further.report["rounds"] == ended.report["rounds"]


def test_a_run_that_was_continued_and_broke_off_goes_on(toy_task: Path, llm: FakeLLM) -> None:
    ended = run(toy_task, "budget.output_tokens=200", "strategy.rounds=1")
    llm.faults = ["", "", "", *["status:401"] * 99]
    with pytest.raises(TeacherError):
        resume_run(
            RunDirectory(ended.path),
            overrides=["budget.output_tokens=null"],
            emit=lambda event: None,
        )
    llm.faults = []
    result = resume_run(RunDirectory(ended.path), emit=lambda event: None)
    assert result.report["status"] == "finished"


def test_many_refills_are_no_endless_loop(toy_task: Path) -> None:
    """No text is ever accepted, so that every refill is used."""
    small = "strategy.rounds=1", "strategy.init_samples=3", "strategy.samples_per_round=3"
    result = run(toy_task, "gates.max_words=1", "strategy.max_refills=10", *small)
    assert result.report["status"] == "finished"


def test_the_analyst_is_shown_no_held_out_failure(
    toy_task: Path, llm: FakeLLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither do the failures of the last batch come back as related ones of earlier rounds."""
    kept_back: list[set[str]] = []
    search = ChromaWeaknesses.related_failures

    def always_wrong(self: Student, texts: Any) -> list[list[float]]:
        others = [[one for one in self.labels if one != true_label(text)] for text in texts]
        return [[float(one == wrong[0]) for one in self.labels] for wrong in others]

    def listen(self: Any, texts: Any, k: int, *, exclude: Any = frozenset()) -> Any:
        kept_back.append(set(exclude))
        return search(self, texts, k, exclude=exclude)

    monkeypatch.setattr(ChromaWeaknesses, "related_failures", listen)
    monkeypatch.setattr(Student, "probabilities", always_wrong)
    rows = samples(run(toy_task, "strategy.rounds=1"))
    first = {one.id for one in rows if one.round == 0 and one.accepted}
    wrong = {
        one.id
        for one in rows
        if one.id in first and one.prediction and one.prediction.label != one.label
    }
    held_out = {one.id for one in rows if one.split == "probe"}
    assert wrong & held_out
    assert kept_back == [wrong]
    asked = [request["messages"][-1]["content"] for request in llm.requests]
    (analysis,) = [one for one in asked if "The student confused these" in one]
    shown = {one.id for one in rows if one.text in analysis}
    assert shown & wrong - held_out
    assert not shown & held_out & first


def test_with_nothing_accepted_training_is_skipped_and_the_run_ends(toy_task: Path) -> None:
    result = run(toy_task, "gates.max_words=1", "strategy.max_refills=0")
    assert result.report["samples"]["accepted"] == 0
    assert result.report["scores"]["best_round"] == -1
    assert result.report["scores"]["final"] == result.report["scores"]["baseline"]


def test_the_teacher_failing_for_good_stops_the_run_and_a_resume_goes_on(
    toy_task: Path, llm: FakeLLM
) -> None:
    llm.faults = ["", "", "", "", "", *["status:401"] * 9]
    with pytest.raises(TeacherError):
        run(toy_task, "strategy.rounds=1")
    llm.faults = []
    directory = RunDirectory(toy_task.parent / "runs" / "r")
    result = resume_run(directory, emit=lambda event: None)
    assert result.report["status"] == "finished"


def test_a_run_in_use_is_refused(toy_task: Path) -> None:
    held = RunDirectory(toy_task.parent / "runs" / "r")
    held.lock()
    with pytest.raises(RunInUseError, match="in use"):
        run(toy_task)
    held.unlock()


def test_a_resume_with_a_changed_config_says_what_differs(toy_task: Path) -> None:
    result = run(toy_task, "strategy.rounds=1", "budget.output_tokens=100")
    (result.path / "report.json").unlink()
    config = (result.path / "config.yaml").read_text()
    (result.path / "config.yaml").write_text(config.replace("rounds: 1", "rounds: 5"))
    with pytest.raises(ResumeError, match=r"strategy.rounds: was 1, is 5"):
        resume_run(RunDirectory(result.path), emit=lambda event: None)


def test_labels_follow_the_labeler_not_the_intention(finished: tuple[RunResult, FakeLLM]) -> None:
    rows = samples(finished[0])
    assert all(one.label == true_label(one.text) for one in rows if one.accepted)


def test_studio_gets_a_form_for_the_input() -> None:
    """On Python 3.11 only `typing_extensions.TypedDict` can be turned into a schema."""
    properties = build_graph().get_input_jsonschema()["properties"]
    assert set(properties) == {"run_id", "task_file"}


def test_a_meaning_handed_in_as_a_text_is_a_duplicate(
    toy_task: Path, llm: FakeLLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = llm._texts
    monkeypatch.setattr(
        llm, "_texts", lambda asked, form, name: [*write(asked, form, name)[:-1], "About a fruit"]
    )
    rows = samples(run(toy_task, "strategy.rounds=1"))
    copies = [one for one in rows if one.text == "About a fruit"]
    assert copies
    assert {one.reason for one in copies} == {"duplicate"}


def test_the_critic_reads_doubtful_and_held_out_texts_only(toy_task: Path) -> None:
    rows = [one for one in samples(run(toy_task, "strategy.check=doubtful")) if one.accepted]
    sure = [one for one in rows if not one.checked]
    assert sure
    assert all(one.label == one.intended_label and one.split == "train" for one in sure)
    assert all(one.critic_verdict is None for one in sure)
    for one in rows:
        assert one.checked == (one.critic_verdict is not None)
        assert (one.labeler_label is not None) == (one.checked or one.round == 0)
    assert all(one.checked for one in rows if one.split == "probe")


def test_when_the_budget_ends_what_nobody_doubts_is_kept_unread(toy_task: Path) -> None:
    rows = samples(run(toy_task, "strategy.check=doubtful", "budget.output_tokens=100"))
    unread = [one for one in rows if one.accepted and not one.labeler_label]
    assert unread
    for one in unread:
        assert set(one.guesses) == {one.label}
        assert (one.checked, one.split) == (False, "train")
    lost = [one for one in rows if one.reason == "budget"]
    assert any(set(one.guesses) == {one.intended_label} for one in lost)  # held out


def test_a_verdict_that_a_killed_run_has_paid_for_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    critic = SimpleNamespace(judge=lambda *asked: Verdict("accept", 0.9))
    monkeypatch.setattr("evokd.graph.reading._critic", lambda session: critic)
    paid = ("critic", "critique:a")
    session: Any = SimpleNamespace(
        kind=SimpleNamespace(exclusive=True),
        budget=SimpleNamespace(pays_for=lambda role, call: (role, call.purpose) == paid),
    )
    held_out = {"text": "t", "round": 1, "call": "c", "intended_label": "x", "split": "probe"}
    one, other = (_judge(session, Sample(id=name, **held_out), 1, {}) for name in ("a", "b"))
    assert (one.critic_verdict, one.accepted) == ("accept", None)
    assert (other.critic_verdict, other.reason) == (None, "budget")


@pytest.mark.parametrize(
    ("repair", "text"), [("Ann (PER) sang.", "Ann sang."), ("(PER)", "Ann sing.")]
)
def test_labels_in_brackets_are_no_part_of_a_repaired_text(
    monkeypatch: pytest.MonkeyPatch, repair: str, text: str
) -> None:
    verdicts = iter([Verdict("unclear", 0.35, repairable=True), Verdict("accept", 0.9)])
    critic = SimpleNamespace(judge=lambda *asked: next(verdicts), repair=lambda *asked: repair)
    monkeypatch.setattr("evokd.graph.reading._critic", lambda session: critic)
    session: Any = SimpleNamespace(
        kind=SimpleNamespace(exclusive=False),
        budget=SimpleNamespace(pays_for=lambda role, call: True),
        config=SimpleNamespace(strategy=SimpleNamespace(separation=False)),
        targets={"PER": "a person"},
    )
    draft = Sample(id="a", text="Ann sing.", round=1, call="c", intended_label="PER")
    assert _judge(session, draft, 1, {}).text == text


def test_labeler_and_neighbours_outvote_the_intention_and_the_critic_reads_the_text(
    toy_task: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading = "evokd.graph.reading"
    monkeypatch.setattr(f"{reading}.label_text", lambda *asked: Choice("metal", 1.0))
    monkeypatch.setattr(f"{reading}.leave_one_out", lambda rows, labels: ["metal"] * len(labels))
    rows = samples(
        run(toy_task, "strategy.check=doubtful", "strategy.calibrate=false", "strategy.rounds=1")
    )
    turned = [one for one in rows if one.accepted and is_outvoted(one)]
    assert turned
    assert {(one.label, one.critic_verdict) for one in turned} == {("metal", "accept")}
    held_out = [one for one in rows if one.accepted and one.split == "probe"]
    assert {one.intended_label for one in held_out} == {"metal"}
    assert any(one.reason == "critic_wrong_label" for one in rows)  # held out: it asks which


@pytest.mark.parametrize("calibrate", [True, False])
def test_a_labeler_that_says_one_label_too_often_is_calibrated(
    toy_task: Path, monkeypatch: pytest.MonkeyPatch, calibrate: bool
) -> None:
    def label(*asked: Any) -> Choice:
        true = true_label(asked[4])
        return Choice("fruit", 0.6, {true: 0.4}) if true != "fruit" else Choice("fruit", 1.0)

    monkeypatch.setattr("evokd.graph.reading.label_text", label)
    rows = samples(
        run(
            toy_task,
            "strategy.check=all",
            "strategy.rounds=1",
            "strategy.labeler_min_confidence=0.1",
            f"strategy.calibrate={calibrate}",
        )
    )
    read = [one for one in rows if one.labeler_label]
    right = [one.labeler_label == true_label(one.text) for one in read]
    assert all(right) if calibrate else {one.labeler_label for one in read} == {"fruit"}
    for one in read:
        assert one.labeler_probabilities is not None
        assert max(one.labeler_probabilities.values()) in (0.6, 1.0)


def learned_texts(folder: Path) -> list[str]:
    lines = (folder / "rows.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["text"] for line in lines]


def taught_texts(result: RunResult, split: str) -> list[str]:
    best = result.report["scores"]["best_round"]
    rows = [one for one in samples(result) if one.accepted and one.round <= best]
    return [one.text for one in rows if one.split == split]


def test_the_kept_student_learns_the_held_out_texts_when_all_is_decided(
    finished: tuple[RunResult, FakeLLM],
) -> None:
    result, _ = finished
    held_out = taught_texts(result, "probe")
    assert result.report["refitted"] == len(held_out) > 0
    learned = learned_texts(result.student)
    assert learned[3:] == [*taught_texts(result, "train"), *held_out]  # after the three seeds


def test_without_refit_the_best_rounds_student_is_kept_as_it_is(toy_task: Path) -> None:
    result = run(toy_task, "strategy.refit=false")
    assert result.report["refitted"] == 0
    assert learned_texts(result.student)[3:] == taught_texts(result, "train")
    stages = [result.report["init"], *result.report["rounds"]]
    best = result.report["scores"]["best_round"]
    scored = next(one for one in stages if one["round"] == best)
    assert result.report["scores"]["final"] == scored["score"]


def test_a_budget_leaves_no_round_in_which_nothing_is_written(toy_task: Path) -> None:
    report = run(toy_task, "budget.output_tokens=500", "strategy.rounds=40").report
    assert report["status"] == "budget"
    written = [sum(one["rejected"].values()) + one["accepted"] for one in report["rounds"]]
    assert all(written)
