"""The baselines on the scripted teacher: what each asks, keeps and never looks at."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from conftest import write_task
from fake_llm import RUBBISH, FakeLLM

from evokd import distill
from evokd.config import STRATEGIES
from evokd.errors import ConfigError, DataError
from evokd.graph.budget import Budget
from evokd.graph.strategies import STRATEGY, first_round, remembers, used_roles
from evokd.records import Sample
from evokd.runner import RunResult
from evokd.store.run_dir import RunDirectory
from evokd.task_file import load_config


def run(task: Path, *overrides: str, run_id: str = "r") -> RunResult:
    return distill(task, overrides=overrides, run_id=run_id, runs_dir=task.parent / "runs")


def samples(result: RunResult) -> list[Sample]:
    return RunDirectory(result.path).read_samples()


def user_messages(llm: FakeLLM) -> list[str]:
    return [body["messages"][-1]["content"] for body in llm.requests]


def test_every_strategy_of_the_config_has_a_graph() -> None:
    assert set(STRATEGY) == set(STRATEGIES)
    for name, strategy in STRATEGY.items():
        nodes = strategy.build().get_graph().nodes
        assert {"prepare", "finish"} <= set(nodes), name


def test_fewshot_asks_nobody_and_keeps_the_baseline(toy_task: Path, llm: FakeLLM) -> None:
    result = run(toy_task, "strategy.name=fewshot")
    assert llm.requests == []
    assert result.report["status"] == "finished"
    assert result.report["scores"]["best_round"] == -1
    assert result.report["scores"]["final"] == result.report["scores"]["baseline"]
    assert result.report["rounds"] == []
    assert (result.student / "config.json").exists()


def test_fullshot_learns_the_gold_rows_and_asks_nobody(
    tmp_path: Path, tiny_student: Path, llm: FakeLLM
) -> None:
    train = [{"text": f"{word} and more {word}", "label": "fruit"} for word in ("apple", "plum")]
    train += [{"text": "iron and zinc", "label": "metal"}, {"text": "nile up", "label": "river"}]
    lines = "".join(json.dumps(row) + "\n" for row in train)
    (tmp_path / "train.jsonl").write_text(lines, encoding="utf-8")
    task = write_task(tmp_path, llm.base_url, tiny_student, {"data": {"train": "train.jsonl"}})
    result = run(task, "strategy.name=fullshot")
    assert llm.requests == []
    (round,) = result.report["rounds"]
    assert round["train_rows"] == 4 + 3  # and the three seeds
    assert result.report["scores"]["best_round"] == 1


def test_fullshot_without_gold_rows_is_refused(toy_task: Path) -> None:
    with pytest.raises(ConfigError, match=r"data\.train"):
        run(toy_task, "strategy.name=fullshot")
    assert not (toy_task.parent / "runs" / "r").exists()


def test_a_broken_train_file_matters_to_fullshot_only(
    tmp_path: Path, tiny_student: Path, llm: FakeLLM
) -> None:
    (tmp_path / "train.jsonl").write_text('{"text": "x", "label": "nobody"}\n')
    task = write_task(tmp_path, llm.base_url, tiny_student, {"data": {"train": "train.jsonl"}})
    assert run(task, "strategy.name=fewshot").report["status"] == "finished"
    with pytest.raises(DataError, match="unknown label 'nobody'"):
        run(task, "strategy.name=fullshot", run_id="full")


def test_static_keeps_what_it_is_given(toy_task: Path, llm: FakeLLM) -> None:
    result = run(toy_task, "strategy.name=static")
    rows = samples(result)
    assert {role for role, one in result.report["teacher"].items() if one["calls"]} == {"generator"}
    accepted = [one for one in rows if one.accepted]
    assert all(one.label == one.intended_label and one.split == "train" for one in accepted)
    assert any(RUBBISH in one.text for one in accepted)  # nobody judges
    assert {one.reason for one in rows if one.accepted is False} <= {"duplicate"}
    assert {one.round for one in rows} == {1, 2}
    assert {one.difficulty for one in rows} == {"plain"}
    assert not (result.path / "memory").exists()


def test_static_keeps_its_last_round(toy_task: Path) -> None:
    result = run(toy_task, "strategy.name=static")
    assert result.report["scores"]["best_round"] == 2
    assert "last round" in result.report["best_round_rule"]


def test_attr_gives_every_text_a_topic_and_a_style(toy_task: Path, llm: FakeLLM) -> None:
    result = run(toy_task, "strategy.name=attr", "strategy.rounds=1")
    asked = user_messages(llm)
    topics = [text for text in asked if "differ in what they are about" in text]
    assert len(topics) == 3  # one a label
    written = [text for text in asked if "with these attributes" in text]
    assert written
    assert all("topic" in text and "style" in text for text in written)
    assert result.report["samples"]["accepted"] > 0


def test_attr_goes_on_where_a_label_has_no_attributes(toy_task: Path, llm: FakeLLM) -> None:
    llm.faults = ["", "", "garbage", "garbage"]  # the probe asks twice at most
    result = run(toy_task, "strategy.name=attr", "strategy.rounds=1")
    assert result.report["status"] == "finished"
    assert {one.label for one in samples(result) if one.accepted} == {"fruit", "metal", "river"}


def test_a_batch_that_nothing_is_paid_for_ends_in_no_error(
    toy_task: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Budget, "affordable", lambda self, samples: 0)
    result = run(toy_task, "strategy.name=static")
    assert result.report["samples"]["accepted"] == 0
    assert not samples(result)


def test_a_budget_ends_a_one_pass_strategy(toy_task: Path) -> None:
    result = run(toy_task, "strategy.name=static", "strategy.rounds=50", "budget.output_tokens=90")
    assert result.report["status"] == "budget"
    tokens = sum(one["output_tokens"] for one in result.report["teacher"].values())
    assert 60 <= tokens <= 90 + 2 * 10  # at most the calls that were open go beyond


@pytest.mark.parametrize(
    ("name", "roles", "memory", "first"),
    [
        ("evokd", ["analyst", "generator", "labeler", "critic"], True, 0),
        ("static", ["generator"], False, 1),
        ("attr", ["analyst", "generator"], False, 1),
        ("fewshot", [], False, 1),
    ],
)
def test_what_a_strategy_needs(
    toy_task: Path, name: str, roles: list[str], memory: bool, first: int
) -> None:
    config = load_config(toy_task, [f"strategy.name={name}"])
    assert used_roles(config) == roles
    assert remembers(config) is memory
    assert first_round(config) == first


def test_a_small_budget_shrinks_the_last_round(toy_task: Path) -> None:
    """What is left is shared out, instead of writing texts that nobody can be paid to read."""
    whole = run(toy_task, "strategy.rounds=1")
    tokens = spent(whole, 0) + spent(whole, 1) // 2
    cut = run(toy_task, "strategy.rounds=9", f"budget.output_tokens={tokens}", run_id="cut")
    rows = samples(cut)
    assert sum(one.round == 1 for one in rows) < sum(one.round == 1 for one in samples(whole))
    assert cut.report["status"] == "budget"


def spent(result: RunResult, round: int) -> int:
    stages: list[dict[str, Any]] = [result.report["init"], *result.report["rounds"]]
    return int(next(one["output_tokens"] for one in stages if one["round"] == round))
