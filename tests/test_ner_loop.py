"""The whole loop over a task of entities, with the scripted teacher."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path
from typing import Any

import pytest
from conftest import write_task
from fake_llm import FILLERS, WORDS, FakeLLM, running_llm, true_entities, write_text
from langgraph.runtime import Runtime

from evokd import distill
from evokd.agents.generator import Assignment
from evokd.api import plan, predict
from evokd.cli import app
from evokd.doctor import check_task
from evokd.errors import ConfigError, DataError
from evokd.graph import writing
from evokd.graph.planning import PlannedCall
from evokd.graph.reading import screen_drafts
from evokd.graph.session import RunContext, asking_session
from evokd.graph.state import WriteTask
from evokd.records import FoundEntity, Sample
from evokd.report_html import label_table
from evokd.runner import RunResult
from evokd.store.run_dir import RunDirectory
from evokd.task_file import load_config


def tagged_row(text: str) -> dict[str, Any]:
    known = {one["text"]: one["type"] for one in true_entities(text)}
    tokens = text.split()
    return {
        "tokens": tokens,
        "tags": [f"B-{known[token]}" if token in known else "O" for token in tokens],
    }


def sentence(label: str, rng: random.Random) -> str:
    words = rng.sample(WORDS.get(label, FILLERS), 1)
    return f"{rng.choice(FILLERS)} {words[0]} {rng.choice(FILLERS)}"


def ner_task(folder: Path, llm: FakeLLM, weights: Path, **changes: dict[str, Any]) -> Path:
    rng = random.Random(5)
    path = write_task(folder, llm.base_url, weights, {"task": {"kind": "ner"}, **changes})
    seed = [tagged_row(f"{WORDS[label][0]} here") for label in WORDS]
    test = [tagged_row(sentence(label, rng)) for label in [*WORDS, "none"] for _ in range(8)]
    for name, rows in (("seed", seed), ("test", test), ("train", test[::2])):
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(lines, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def finished(
    tmp_path_factory: pytest.TempPathFactory, tiny_student: Path
) -> tuple[RunResult, list[Sample]]:
    folder = tmp_path_factory.mktemp("ner")
    with running_llm() as llm:
        task = ner_task(folder, llm, tiny_student, student={"min_steps": 40, "max_steps": 60})
        result = distill(task, runs_dir=folder / "runs", cache_dir=folder / "cache")
    return result, RunDirectory(result.path).read_samples()


def test_the_loop_teaches_entities(finished: tuple[RunResult, list[Sample]]) -> None:
    report = finished[0].report
    assert report["metric"] == "strict F1"
    assert report["scores"]["final"] > report["scores"]["baseline"]
    assert set(report["scores"]["per_label"]) == set(WORDS)
    assert report["confusion"] is None


def test_samples_hold_what_the_labeler_named_where_it_stands(
    finished: tuple[RunResult, list[Sample]],
) -> None:
    accepted = [one for one in finished[1] if one.accepted]
    assert {one.label for one in accepted} == {*WORDS, "none"}
    for one in accepted:
        named = [(one.text[e.start : e.end], e.label) for e in one.entities]
        assert named == [(e["text"], e["type"]) for e in true_entities(one.text)]
        assert bool(named) == (one.label != "none")
        assert all(0 < e.confidence <= 1 for e in one.entities)


def test_mistakes_are_counted_by_kind_and_remembered_by_type(
    finished: tuple[RunResult, list[Sample]],
) -> None:
    first = finished[0].report["init"]
    assert set(first["errors"]) == {"missed", "spurious", "wrong type", "wrong boundary"}
    assert sum(first["errors"].values()) > 0
    for one in finished[0].report["weakness_list"]:
        assert set(one["labels"]) <= {*WORDS, "none"}


def a_found_entity(run: Path) -> tuple[str, FoundEntity]:
    """A toy text and what the kept student finds in it."""
    texts = [f"old {word} new" for words in WORDS.values() for word in words]
    said = predict(str(run), texts, runs_dir=run.parent)
    assert len(said) == len(texts)
    return next(
        (text, one.entities[0]) for text, one in zip(texts, said, strict=True) if one.entities
    )


def test_the_kept_student_is_asked_for_entities(
    finished: tuple[RunResult, list[Sample]],
) -> None:
    text, one = a_found_entity(finished[0].path)
    assert text[one.start : one.end] in text.split() or " " in text[one.start : one.end]
    assert one.label in WORDS and 0 < one.confidence <= 1


def test_predict_prints_entities_with_offsets_and_scores(
    finished: tuple[RunResult, list[Sample]], capsys: pytest.CaptureFixture[str]
) -> None:
    run = str(finished[0].path)
    text, one = a_found_entity(finished[0].path)
    app(["predict", run, text], standalone_mode=False)
    first, line, *_ = capsys.readouterr().out.splitlines()
    assert first == text
    assert line.strip().split("\t") == [
        f"{one.start}-{one.end}",
        one.label,
        f"{one.confidence:.3f}",
        text[one.start : one.end],
    ]
    app(["predict", run, text, "--json"], standalone_mode=False)
    found = json.loads(capsys.readouterr().out)["entities"][0]
    assert (found["start"], found["end"], found["label"]) == (one.start, one.end, one.label)


def test_the_report_shows_marked_texts_and_kinds_of_mistakes(
    finished: tuple[RunResult, list[Sample]],
) -> None:
    page = (finished[0].path / "report.html").read_text(encoding="utf-8")
    assert "Kinds of mistakes by round" in page
    assert re.search(r'<mark style="--hue:\d+" title="confidence 0[.]\d\d">\w+<small>fruit<', page)
    assert "Confusion matrix" not in page
    made = finished[0].report["samples"]["by_label"]
    shown = {row["name"]: row["samples"] for row in label_table(finished[0].report)["rows"]}
    assert made["none"] and shown == made
    wrong = [one for one in finished[0].report["marked"] if one["mistakes"]]
    assert wrong and page.count("student: ") == len(wrong)


@pytest.mark.parametrize(
    ("strategy", "roles"),
    [("static", {"generator", "labeler"}), ("attr", {"analyst", "generator", "labeler"})],
)
def test_one_pass_strategies_have_the_entities_named(
    tmp_path: Path, llm: FakeLLM, tiny_student: Path, strategy: str, roles: set[str]
) -> None:
    settings = {"name": strategy, "rounds": 1, "noise": "mixture"}
    task = ner_task(tmp_path, llm, tiny_student, strategy=settings)
    assert {one.role for one in plan(task).roles} == roles
    result = distill(task, runs_dir=tmp_path / "runs", cache_dir=tmp_path / "cache")
    assert {role for role, used in result.report["teacher"].items() if used["calls"]} == roles
    samples = RunDirectory(result.path).read_samples()
    assert any(one.entities for one in samples if one.accepted)
    assert result.report["rounds"][-1]["ignored_tokens"] is not None


def test_a_rejected_text_keeps_what_was_named_that_is_not_in_it(
    tmp_path: Path, llm: FakeLLM, tiny_student: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def invent(text: str) -> list[dict[str, str]]:
        found = true_entities(text)
        lost = [{"text": "Styx", "type": "river"}]
        return found + (lost if any(one["type"] == "river" for one in found) else [])

    monkeypatch.setattr("fake_llm.true_entities", invent)
    task = ner_task(tmp_path, llm, tiny_student, strategy={"name": "static", "rounds": 1})
    result = distill(task, runs_dir=tmp_path / "runs", cache_dir=tmp_path / "cache")
    rows = RunDirectory(result.path).read_samples()
    rejected = [one for one in rows if one.reason == "entity_not_in_text"]
    assert rejected and all(one.lost == ["Styx"] for one in rejected)
    assert not any(one.lost for one in rows if one.accepted)
    assert "it named <bdi>Styx</bdi>" in (result.path / "report.html").read_text("utf-8")


def test_a_type_in_brackets_behind_a_name_is_no_part_of_a_text(
    tmp_path: Path, llm: FakeLLM, tiny_student: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "fake_llm.write_text", lambda label, rng: f"{write_text(label, rng)} (river)"
    )
    task = ner_task(tmp_path, llm, tiny_student, strategy={"name": "static", "rounds": 1})
    result = distill(task, runs_dir=tmp_path / "runs", cache_dir=tmp_path / "cache")
    rows = RunDirectory(result.path).read_samples()
    assert any(one.accepted for one in rows)
    assert [one.text for one in rows if "(" in one.text] == []


@pytest.mark.parametrize("strategy", ["fewshot", "fullshot"])
def test_the_ends_of_every_comparison_ask_nobody(
    tmp_path: Path, llm: FakeLLM, tiny_student: Path, strategy: str
) -> None:
    task = ner_task(
        tmp_path, llm, tiny_student, strategy={"name": strategy}, data={"train": "train.jsonl"}
    )
    report = distill(task, runs_dir=tmp_path / "runs", cache_dir=tmp_path / "cache").report
    assert not report["teacher"]
    assert report["scores"]["final"] is not None


def test_when_the_budget_ends_what_the_labeler_is_sure_of_is_kept_unread(
    tmp_path: Path, llm: FakeLLM, tiny_student: Path
) -> None:
    task = ner_task(tmp_path, llm, tiny_student, budget={"output_tokens": 250})
    result = distill(task, runs_dir=tmp_path / "runs", cache_dir=tmp_path / "cache")
    rows = RunDirectory(result.path).read_samples()
    unread = [one for one in rows if one.accepted and one.critic_verdict is None]
    assert unread
    for one in unread:
        assert (one.label, one.checked) == (one.labeler_label, False)
    lost = [one for one in rows if one.reason == "budget"]
    assert lost
    assert all(one.labeler_label is None for one in lost)  # nobody has named its entities


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_the_share_of_texts_without_entities_is_a_setting(
    tmp_path: Path, llm: FakeLLM, tiny_student: Path, share: float
) -> None:
    strategy = {"rounds": 1, "init_samples": 40, "empty_share": share, "max_refills": 0}
    task = ner_task(tmp_path, llm, tiny_student, strategy=strategy)
    result = distill(task, runs_dir=tmp_path / "runs", cache_dir=tmp_path / "cache")
    asked = [
        one.intended_label
        for one in RunDirectory(result.path).read_samples()
        if one.round == 0 and one.split == "train"
    ]
    assert asked.count("none") / len(asked) == pytest.approx(share, abs=0.04)


def test_a_type_without_an_example_is_refused(
    tmp_path: Path, llm: FakeLLM, tiny_student: Path
) -> None:
    task = ner_task(tmp_path, llm, tiny_student)
    rows = (tmp_path / "seed.jsonl").read_text(encoding="utf-8").splitlines()
    (tmp_path / "seed.jsonl").write_text("\n".join(rows[:-1]), encoding="utf-8")
    with pytest.raises(DataError, match="no seed row for label"):
        distill(task, runs_dir=tmp_path / "runs")


def test_a_copy_of_a_row_of_tokens_with_the_spaces_of_a_written_text_is_known(
    tmp_path: Path, llm: FakeLLM, tiny_student: Path
) -> None:
    gates = {"max_leak_cosine": 1, "max_cosine": 1, "max_lexical": 1}
    task = ner_task(tmp_path, llm, tiny_student, gates=gates)
    row = {"tokens": ["They", "did", "n't", "go", "."], "tags": ["O"] * 5}
    with (tmp_path / "test.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(row))
    config, run = load_config(task), RunDirectory(tmp_path / "run")
    with asking_session(config, run) as session:
        texts = ("They didn't go.", "He was not there.", "He wasn't there .", "He wasn't there.")
        drafts = [
            Sample(id=text, text=text, round=1, call="", intended_label="none") for text in texts
        ]
        reasons = [one.reason for one in screen_drafts(session, drafts, [])]
    assert reasons == ["leak", None, None, "duplicate"]


@pytest.mark.parametrize(
    ("strategy", "gold", "bound"),
    [("evokd", "", True), ("static", "", False), ("evokd", "It was so. ", False)],
)
def test_only_the_loop_ends_a_text_with_its_sentence_where_gold_ones_are_single(
    tmp_path: Path,
    llm: FakeLLM,
    tiny_student: Path,
    monkeypatch: pytest.MonkeyPatch,
    strategy: str,
    gold: str,
    bound: bool,
) -> None:
    asked: list[Assignment] = []
    monkeypatch.setattr(writing, "generate_texts", lambda *said, **_: asked.append(said[4]) or [])
    task = ner_task(tmp_path, llm, tiny_student, strategy={"name": strategy})
    rows = [tagged_row(f"{gold}We saw {WORDS[label][0]} here") for label in WORDS]
    (tmp_path / "seed.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    call = PlannedCall(id="r01w0c00", label="none", counts={"plain": 2}, length="short")
    branch: WriteTask = {"assignment": call.model_dump(), "round": 1, "task_file": ""}
    with asking_session(load_config(task), RunDirectory(tmp_path / "run")) as session:
        writing.generate(branch, Runtime(context=RunContext(session)))
    assert [one.one_sentence for one in asked] == [bound]


def test_a_type_of_which_the_labeler_is_shown_no_example_is_warned_of(
    tmp_path: Path, llm: FakeLLM, tiny_student: Path
) -> None:
    task = ner_task(tmp_path, llm, tiny_student)
    assert not any("shown" in line for line in check_task(load_config(task)))
    seed = tmp_path / "seed.jsonl"
    *rows, last = seed.read_text(encoding="utf-8").splitlines()
    long = tagged_row(f"{json.loads(last)['tokens'][0]} " + "far " * 120)
    seed.write_text("\n".join([*rows, json.dumps(long)]), encoding="utf-8")
    told = [line for line in check_task(load_config(task)) if "shown" in line]
    assert len(told) == 1
    assert told[0].startswith("warning: seed: the labeler is shown no example of river: ")
    without_labeler = load_config(task, ["strategy.name=fewshot"])
    assert not any("shown" in line for line in check_task(without_labeler))


def test_a_student_that_cannot_see_case_is_warned_of(
    tmp_path: Path, llm: FakeLLM, tiny_student: Path
) -> None:
    from transformers import AutoTokenizer, DistilBertConfig

    blind = tmp_path / "blind"
    tokenizer = AutoTokenizer.from_pretrained(tiny_student)
    tokenizer.save_pretrained(blind)
    DistilBertConfig(vocab_size=len(tokenizer), max_position_embeddings=64).save_pretrained(blind)
    for student, warned in ((blind, 1), (tiny_student, 0)):
        task = ner_task(tmp_path, llm, student)
        told = [line for line in check_task(load_config(task)) if "capital" in line]
        assert len(told) == warned


def test_a_slot_that_is_too_small_for_the_examples_is_warned_of(
    tmp_path: Path, llm: FakeLLM, tiny_student: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("evokd.graph.filling.is_local", lambda *_: True)
    task = ner_task(tmp_path, llm, tiny_student, local={"slot_context": 512})
    told = [line for line in check_task(load_config(task)) if "slot" in line]
    assert [line.partition(": with")[0] for line in told] == ["warning: local.slot_context"]


def test_without_a_labeler_nobody_knows_the_entities(
    tmp_path: Path, llm: FakeLLM, tiny_student: Path
) -> None:
    task = ner_task(tmp_path, llm, tiny_student, strategy={"separation": False})
    with pytest.raises(ConfigError, match=r"strategy\.separation is off"):
        distill(task, runs_dir=tmp_path / "runs")
