"""Names that are listed before texts are written: which are used, and where they end up."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from fake_llm import WORDS, FakeLLM
from test_ner_loop import ner_task

from evokd import distill
from evokd.api import plan
from evokd.graph.naming import listed_parts, usable_names
from evokd.task_file import load_config

MEANINGS = {"PER": "the name of a writer; a nickname", "ORG": "a company", "none": "nothing"}
PROPER = frozenset({"PER", "ORG"})


@pytest.mark.parametrize(
    "listed",
    [
        "<NAME>",
        "[Company]",
        "Name: Ann",
        "a writer",
        "The Name",
        "",
        "...",
        "word " * 9,
        "x" * 61,
        "small letters",
    ],
)
def test_what_is_no_name_is_given_to_no_text(listed: str) -> None:
    found = usable_names([("PER", [listed, "Ann Lee"])], MEANINGS, PROPER)
    assert found == {"PER": ["Ann Lee"]}


def test_names_in_small_letters_are_some_where_the_task_has_such() -> None:
    assert usable_names([("PER", ["insulin"])], MEANINGS, frozenset()) == {"PER": ["insulin"]}


def test_a_name_is_had_once_and_one_of_two_types_by_neither() -> None:
    listed = [
        ("PER", ["Ann", "ANN", "Jordan"]),
        ("ORG", ["Jordan", "Acme"]),
        ("PER", ["Ann", "Bo"]),
    ]
    assert usable_names(listed, MEANINGS, PROPER) == {"PER": ["Ann", "Bo"], "ORG": ["Acme"]}


def orders_with_names(llm: FakeLLM) -> list[str]:
    asked = [turn["content"] for body in llm.requests for turn in body["messages"]]
    return [line for text in asked for line in text.splitlines() if ", which mentions " in line]


def test_names_are_listed_once_and_texts_mention_them(
    tmp_path: Path, llm: FakeLLM, tiny_student: Path
) -> None:
    task = ner_task(tmp_path, llm, tiny_student, strategy={"names": 8})
    result = distill(task, runs_dir=tmp_path / "runs", cache_dir=tmp_path / "cache")
    lists = [body for body in llm.requests if "examples of this" in body["messages"][-1]["content"]]
    assert len(lists) == len(WORDS)
    assert result.report["teacher"]["generator"]["calls"] > len(lists)
    known = {name for words in WORDS.values() for name in words[:8]}
    given = [
        re.findall('"([^"]+)"', line.split(", which mentions ")[1])
        for line in orders_with_names(llm)
    ]
    assert given and {name for row in given for name in row} <= known
    assert {len(row) for row in given} == {1, 2}


def test_by_default_nobody_lists_names(tmp_path: Path, llm: FakeLLM, tiny_student: Path) -> None:
    task = ner_task(tmp_path, llm, tiny_student, strategy={"rounds": 1})
    distill(task, runs_dir=tmp_path / "runs", cache_dir=tmp_path / "cache")
    assert orders_with_names(llm) == []


def test_a_list_that_cannot_be_read_leaves_its_texts_without_names(
    tmp_path: Path, llm: FakeLLM, tiny_student: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(llm, "_names", lambda asked, count: "no list")
    task = ner_task(tmp_path, llm, tiny_student, strategy={"names": 8, "rounds": 1})
    result = distill(task, runs_dir=tmp_path / "runs", cache_dir=tmp_path / "cache")
    assert orders_with_names(llm) == []
    assert result.report["samples"]["accepted"] > 0


def test_labels_of_texts_have_no_lists(toy_task: Path) -> None:
    assert listed_parts(load_config(toy_task, ["strategy.names=8"])) == []


def test_the_plan_counts_lists(tmp_path: Path, llm: FakeLLM, tiny_student: Path) -> None:
    task = ner_task(tmp_path, llm, tiny_student, strategy={"names": 8})
    calls = {
        names: next(
            one
            for one in plan(task, overrides=[f"strategy.names={names}"]).roles
            if one.role == "generator"
        ).calls
        for names in (0, 8)
    }
    assert calls[8] - calls[0] == len(WORDS)
