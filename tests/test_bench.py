"""The grid on the scripted teacher: resumes, caches, keeps samples, says why a cell failed."""

from __future__ import annotations

import gzip
import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
from fake_llm import FILLERS, WORDS, FakeLLM, running_llm, write_text
from safetensors import SafetensorError
from typer.testing import CliRunner

from evokd.bench import archive, cell, grid, sets, suites
from evokd.bench.archive import calls_file, read_kept
from evokd.bench.cell import commit
from evokd.bench.command import BenchOptions, run_bench
from evokd.bench.grid import cell_file, read_cell
from evokd.bench.records import Cell, CellResult
from evokd.bench.suites import ABLATIONS, SUITES, WHOLE_POOL, Choice, cells_of, suite_name
from evokd.cli import app
from evokd.errors import ConfigError, DataError
from evokd.graph import vocabulary
from evokd.graph.calibrating import MEANINGLESS
from evokd.records import Sample
from evokd.store.files import write_text as write_file
from evokd.store.run_dir import RunDirectory
from evokd.tasks.arithmetic import equations
from evokd.tools import students

BUDGET = 900  # two rounds of the loop
SMALL = 200  # where what a cell teaches is of no matter
TOY_TASK = {
    "kind": "classification",
    "name": "banking8",
    "instructions": "Tell what it is about.",
    "labels": {label: f"about a {label}" for label in WORDS},
}


def make_toy_set(
    folder: Path, base_url: str, student: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """Write a data folder in which every set of the suites is the toy task; return it."""
    file = sets.SetFile(
        source="classification/toy",
        copyable=False,
        attribution="made up",
        task=TOY_TASK,
        settings={
            "student": {
                "model": f"path:{student}",
                "min_steps": 5,
                "max_steps": 5,
                "threads": 1,
            },
            "agents": {"base_url": base_url, "max_concurrency": 1},
            "memory": {"embedder": "hash:64"},
            "strategy": {"samples_per_round": 18, "init_samples": 9, "texts_per_call": 3},
        },
    )
    monkeypatch.setattr(sets, "_set_file", lambda name: file)
    monkeypatch.setattr(suites, "FEWEST_TOKENS", SMALL)  # a toy text has two words
    sets.load_set.cache_clear()
    rng = random.Random(5)
    rows = [{"text": write_text(label, rng), "label": label} for label in WORDS for _ in range(60)]
    write_set(folder / "data", rows[::2], rows[1::2])
    return folder / "data"


@pytest.fixture
def toy_set(
    tmp_path: Path, llm: FakeLLM, tiny_student: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A data folder of the toy task; returns the folder."""
    return make_toy_set(tmp_path, llm.base_url, tiny_student, monkeypatch)


@pytest.fixture(scope="module")
def grid_of_all(tmp_path_factory: pytest.TempPathFactory, tiny_student: Path) -> Path:
    """What the toy grid wrote, read by many tests."""
    folder = tmp_path_factory.mktemp("grid")
    with running_llm() as llm, pytest.MonkeyPatch.context() as patch:
        failed, said = bench(make_toy_set(folder, llm.base_url, tiny_student, patch))
    assert not failed, said
    return folder


def beside_a_copy(data: Path, grid: Path) -> Path:
    """Copy what a grid wrote beside a data folder; return the data folder."""
    for name in ("results", "work"):
        shutil.copytree(grid / name, data.parent / name)
    return data


@pytest.fixture
def finished(toy_set: Path, grid_of_all: Path) -> Path:
    """The data folder beside a copy of what the toy grid wrote."""
    return beside_a_copy(toy_set, grid_of_all)


def make_toy_questions(toy_set: Path, reasoner: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Do the same with questions that are answered after an explanation."""
    toy = sets._set_file("any")
    student = {"model": f"path:{reasoner}", "max_new_tokens": 24, "min_steps": 2, "passes": 1}
    file = toy.model_copy(
        update={
            "task": {
                "kind": "reasoning",
                "name": "toy",
                "instructions": "Add.",
                "answers": "number",
            },
            "settings": {**toy.settings, "student": {**student, "threads": 1}, "strategy": {}},
            "explained": [question(1, n) for n in range(1, 7)],
            "test_rows": 6,
        }
    )
    monkeypatch.setattr(sets, "_set_file", lambda name: file)
    sets.load_set.cache_clear()
    rows = [question(one, other) for one in range(1, 7) for other in range(1, 9)]
    write_set(toy_set, rows[:36], rows[36:])
    small = {"rounds": 2, "samples_per_round": 4, "candidates": 6, "known_answers": "measure"}
    monkeypatch.setitem(cell.SIZES, "elad", {**small, "continuations": 1})
    return toy_set


@pytest.fixture
def toy_questions(toy_set: Path, tiny_reasoner: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same with questions; returns the data folder."""
    return make_toy_questions(toy_set, tiny_reasoner, monkeypatch)


@pytest.fixture(scope="module")
def grid_of_questions(
    tmp_path_factory: pytest.TempPathFactory, tiny_student: Path, tiny_reasoner: Path
) -> Path:
    """What the grid of toy questions wrote, read by many tests."""
    folder = tmp_path_factory.mktemp("questions")
    with running_llm() as llm, pytest.MonkeyPatch.context() as patch:
        data = make_toy_set(folder, llm.base_url, tiny_student, patch)
        data = make_toy_questions(data, tiny_reasoner, patch)
        failed, said = bench_questions(data, variants=["", "random", "whole"])
    assert not failed, said
    return folder


@pytest.fixture
def explained(toy_questions: Path, grid_of_questions: Path) -> Path:
    """The data folder beside a copy of what the grid of toy questions wrote."""
    return beside_a_copy(toy_questions, grid_of_questions)


def question(one: int, other: int) -> dict[str, str]:
    asked, answer = f"What is {one} plus {other}?", str(one + other)
    return {"question": asked, "answer": answer, "rationale": f"{one} + {other} = {answer}"}


@pytest.fixture
def toy_entities(toy_set: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same with a task of entities; returns the data folder."""
    file = sets._set_file("any").model_copy(update={"task": TOY_TASK | {"kind": "ner"}})
    monkeypatch.setattr(sets, "_set_file", lambda name: file)
    sets.load_set.cache_clear()
    rng = random.Random(6)
    words = [(label, word) for label in WORDS for word in WORDS[label]]
    rows = []
    for _ in range(120):
        label, word = rng.choice(words)
        tokens = [rng.choice(FILLERS), word, rng.choice(FILLERS), str(rng.randrange(1000))]
        tags = ["O", f"B-{label}", "O", "O"]
        if rng.random() < 0.2:
            tokens[1], tags[1] = rng.choice(FILLERS), "O"
        rows.append({"tokens": tokens, "tags": tags})
    write_set(toy_set, rows[::2], rows[1::2])
    return toy_set


def test_the_ceiling_learns_no_text_that_says_two_things(toy_entities: Path) -> None:
    rows = [
        {"tokens": ["an", "apple", "."], "tags": ["O", "B-fruit", "O"]},
        {"tokens": ["an", "apple."], "tags": ["O", "O"]},
        {"tokens": ["the", "sea"], "tags": ["O", "O"]},
    ]
    write_set(toy_entities, rows, [{"tokens": ["iron"], "tags": ["B-metal"]}])
    loaded = sets.load_set("banking8", toy_entities)
    assert len(loaded.train) == 3
    assert [row.text for row in loaded.gold("test").values()] == ["the sea"]


def write_set(data: Path, train: list[dict[str, Any]], test: list[dict[str, Any]]) -> None:
    folder = data / "classification" / "toy"
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in (("train", train), ("test", test)):
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{name}.jsonl.gz").write_bytes(gzip.compress(lines.encode()))


def bench(data: Path, **changes: Any) -> tuple[bool, list[str]]:
    """Run a small part of the grid; return whether a cell failed, and what was said."""
    root = data.parent
    options: dict[str, Any] = {
        "suite": "core",
        "data": data,
        "results": root / "results",
        "work": root / "work",
        "quick": False,
        "split": "test",
        "sets": ["banking8"],
        "strategies": ["fewshot", "static", "evokd"],
        "variants": [],
        "seeds": [0],
        "budget": BUDGET,
        "teacher": "openai:scripted",
        "student": None,
        "from_samples": False,
        "table_only": False,
        "readme": None,
        "cache": root / "cache",
    }
    said: list[str] = []
    if changes.get("table_only"):
        options["data"] = None
    failed = run_bench(
        BenchOptions(**(options | changes)), lambda event: said.append(str(event.get("text", "")))
    )
    return failed, said


def toy_cell(strategy: str, budget: int = BUDGET) -> Cell:
    choice = Choice(
        ("banking8",), (strategy,), seeds=(0,), budget=budget, teacher="openai:scripted"
    )
    return cells_of("core", choice)[0]


SUITE_FILE = f"core-{BUDGET}tokens-openai-scripted"
SMALL_FILE = f"core-{SMALL}tokens-openai-scripted"


def read_suite(data: Path, name: str = SUITE_FILE) -> dict[str, Any]:
    text = (data.parent / "results" / f"{name}.json").read_text()
    content: dict[str, Any] = json.loads(text)
    return content


# Suites


@pytest.mark.parametrize("suite", SUITES)
def test_no_cell_of_a_suite_stands_twice(suite: str) -> None:
    ids = [cell.id for cell in cells_of(suite, Choice())]
    assert len(ids) == len(set(ids))


def test_wide_holds_core_and_every_ablation() -> None:
    core, wide = (cells_of(suite, Choice()) for suite in ("core", "wide"))
    assert {one.id for one in core} < {one.id for one in wide}
    assert {one.variant for one in wide if one.variant} == set(ABLATIONS)
    seeds = {
        strategy: {one.seed for one in wide if (one.set, one.strategy) == ("sst2", strategy)}
        for strategy in ("evokd", "static", "setfit", "attr", "fullshot")
    }
    assert seeds["evokd"] == seeds["static"] == seeds["setfit"] == {0, 1, 2}
    assert seeds["attr"] == seeds["fullshot"] == {0, 1}


def test_the_first_random_seed_comes_first() -> None:
    seeds = [cell.seed for cell in cells_of("core", Choice())]
    assert seeds == sorted(seeds)


def test_strategies_that_ask_nobody_have_no_budget() -> None:
    budgets = {cell.strategy: cell.budget for cell in cells_of("core", Choice(budget=900))}
    assert budgets["evokd"] == budgets["static"] == budgets["attr"] == 900
    assert budgets["fewshot"] == budgets["fullshot"] == budgets["setfit"] == 0


def test_another_budget_teacher_or_split_has_files_of_its_own() -> None:
    names = {
        suite_name("core", choice)
        for choice in (
            Choice(),
            Choice(budget=900),
            Choice(split="dev"),
            Choice(quick=True),
            Choice(teacher="openai:x"),
        )
    }
    assert len(names) == 5
    ids = {
        cells_of("core", choice)[1].id
        for choice in (
            Choice(),
            Choice(budget=900),
            Choice(split="dev"),
            Choice(teacher="openai:x"),
        )
    }
    assert len(ids) == 4


def test_a_student_of_ones_own_has_files_of_its_own() -> None:
    own = Choice(student="local:x", sets=["svamp"])
    cells = cells_of("reasoning", own)
    students = {one.strategy: one.student for one in cells}
    assert students == {"elad": "local:x", "fewshot": "local:x", "teacher_one_shot": ""}
    assert cells[0].id == "svamp-4shot-elad-2000tokens-seed0-student-local-x"
    assert suite_name("reasoning", own) == "reasoning-student-local-x"
    assert cells_of("reasoning", Choice())[0].id == "svamp-4shot-elad-2000tokens-seed0"


def test_where_calculations_alone_are_written_the_budget_is_half() -> None:
    budgets = {(one.set, one.budget) for one in cells_of("reasoning", Choice()) if one.budget}
    assert budgets == {("svamp", 2000), ("strategyqa", 4000), ("gsm8k", 4000)}


@pytest.mark.parametrize(
    ("suite", "choice", "message"),
    [
        ("cor", Choice(), "unknown suite 'cor', did you mean 'core'"),
        ("core", Choice(sets=["bankin8"]), "unknown set 'bankin8', did you mean 'banking8'"),
        ("core", Choice(strategies=["evkd"]), "unknown strategy 'evkd', did you mean 'evokd'"),
        ("core", Choice(budget=40), "40 tokens is too small"),
        ("core", Choice(seeds=[77]), "no cell"),
        ("core", Choice(student="local:x"), "--student: the suite core trains no causal language"),
        ("ner", Choice(quick=True), "ner has no quick grid; suites with one: core, wide"),
    ],
)
def test_what_does_not_exist_is_refused(suite: str, choice: Choice, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        cells_of(suite, choice)


# Sets


def test_every_set_of_the_package_is_a_whole_task() -> None:
    for name in sets.SETS:
        file = sets._set_file(name)
        assert file.task["name"] == name
        if file.task["kind"] == "reasoning":
            assert file.task["answers"] in ("number", "yes_no")
            continue
        assert len(file.task["labels"]) >= 2
        assert all(file.task["labels"].values()), name


def test_the_explanations_of_a_set_are_right() -> None:
    for one in sets._set_file("svamp").explained:
        steps = one["rationale"].splitlines()
        assert all(sum.holds for step in steps for sum in equations(step))
        assert equations(steps[-1])


def test_dev_gold_and_test_rows_do_not_overlap(toy_set: Path) -> None:
    loaded = sets.load_set("trec", toy_set)
    dev, seed, test = loaded.dev(), loaded.seed(3, 0), loaded.rows("test")
    texts = [{row.text for row in rows.values()} for rows in (dev, seed, test)]
    assert not texts[0] & texts[1]
    assert not (texts[0] | texts[1]) & texts[2]
    assert not set(dev) & set(loaded.gold("dev"))
    assert set(dev) < set(loaded.gold("test"))


def test_gold_rows_follow_the_random_seed_and_the_dev_cut_does_not(toy_set: Path) -> None:
    loaded = sets.load_set("trec", toy_set)
    assert loaded.seed(1, 0) == loaded.seed(1, 0)
    assert loaded.seed(1, 0) != loaded.seed(1, 1)
    assert loaded.dev() == loaded.dev()


def test_train_drops_test_texts_doubles_and_texts_with_two_labels(toy_set: Path) -> None:
    rows = [
        {"text": "apple one", "label": "fruit"},
        {"text": "Apple  ONE", "label": "fruit"},
        {"text": "iron", "label": "metal"},
        {"text": "iron", "label": "river"},
        {"text": "nile", "label": "river"},
        {"text": "of another label", "label": "stone"},
    ]
    write_set(toy_set, rows, [{"text": "NILE", "label": "river"}])
    sets.load_set.cache_clear()
    train = sets.load_set("trec", toy_set).train
    assert {index: row.text for index, row in train.items()} == {0: "apple one"}


def test_more_shots_than_rows_are_refused(toy_set: Path) -> None:
    with pytest.raises(ConfigError, match="fewer than 99"):
        sets.load_set("trec", toy_set).seed(99, 0)


def test_missing_data_are_told_with_a_hint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EVOKD_DATA", raising=False)
    with pytest.raises(ConfigError, match="--data"):
        sets.data_folder(None)
    with pytest.raises(ConfigError, match="no data folder"):
        sets.data_folder(tmp_path / "nowhere")
    with pytest.raises(DataError, match="test.jsonl.gz"):
        sets.load_set("sst2", tmp_path)
    monkeypatch.setenv("EVOKD_DATA", str(tmp_path))
    assert sets.data_folder(None) == tmp_path.resolve()


# The grid


def test_a_grid_writes_its_files_and_a_second_one_asks_nothing(
    finished: Path, llm: FakeLLM
) -> None:
    results = finished.parent / "results"
    content = read_suite(finished)
    rows = {row["strategy"]: row for row in content["rows"]}
    assert set(rows) == {"fewshot", "static", "evokd"}
    assert rows["evokd"]["output_tokens"] > rows["fewshot"]["output_tokens"] == 0
    assert set(rows["evokd"]["tokens_by_role"]) == {
        "analyst",
        "generator",
        "labeler",
        "critic",
    }
    assert rows["evokd"]["diff_static"] is not None
    assert rows["evokd"]["seeds"] == [0]
    assert not rows["evokd"]["complete"]  # the suite wants three random seeds
    for ending in (".md", ".html"):
        assert (results / f"{SUITE_FILE}{ending}").exists()
    before = (results / f"{SUITE_FILE}.json").read_text()
    bench(finished)
    assert llm.requests == []
    assert (results / f"{SUITE_FILE}.json").read_text() == before


def test_a_cell_run_anew_asks_nothing_and_ends_where_it_did(toy_set: Path, llm: FakeLLM) -> None:
    """The reply cache outlives result and run; a cached reply counts at its first price."""
    bench(toy_set, strategies=["evokd"])
    first = read_cell(toy_set.parent / "results", toy_cell("evokd"))
    (toy_set.parent / "results").rename(toy_set.parent / "old-results")
    (toy_set.parent / "work").rename(toy_set.parent / "old-work")
    asked = len(llm.requests)
    bench(toy_set, strategies=["evokd"])
    again = read_cell(toy_set.parent / "results", toy_cell("evokd"))
    assert len(llm.requests) == asked
    assert first is not None
    assert again is not None
    assert again.correct == first.correct
    assert again.output_tokens == first.output_tokens
    assert again.curve == first.curve


def test_the_budget_ends_a_cell(grid_of_all: Path) -> None:
    result = read_cell(grid_of_all / "results", toy_cell("static"))
    assert result is not None
    assert BUDGET - 100 <= result.output_tokens <= BUDGET + 10
    assert [point.output_tokens for point in result.curve] == sorted(
        point.output_tokens for point in result.curve
    )


def test_a_failed_cell_says_why_and_the_others_go_on(toy_set: Path, llm: FakeLLM) -> None:
    cells: dict[str, Any] = {"strategies": ["fewshot", "static"], "budget": SMALL}
    llm.faults = [*[""] * 3, *["status:401"] * 3]
    failed, said = bench(toy_set, **cells)
    assert failed
    rows = {row["strategy"]: row for row in read_suite(toy_set, SMALL_FILE)["rows"]}
    assert "HTTP 401" in rows["static"]["errors"][0]
    assert rows["fewshot"]["mean"] is not None
    assert any("HTTP 401" in text for text in said)
    llm.faults = []
    failed, _ = bench(toy_set, **cells)  # it goes on where it stopped
    assert not failed


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        (None, "it cannot be read"),
        ({"correct": "1x"}, "it cannot be read"),
        ({"score": 9.65}, "it cannot be read"),
        ({"score": 0.123}, "its score 0.123 is not that of its rows"),
        ({"cell": {"set": "toy", "shots": 1, "strategy": "fewshot", "seed": 7, "budget": 0}}, ""),
    ],
)
def test_a_broken_result_file_is_told_and_left_alone(
    toy_set: Path, changes: dict[str, Any] | None, why: str
) -> None:
    bench(toy_set, strategies=["fewshot"])
    path = cell_file(toy_set.parent / "results", toy_cell("fewshot"))
    damaged = "{half" if changes is None else json.dumps(json.loads(path.read_text()) | changes)
    path.write_text(damaged)
    failed, said = bench(toy_set, strategies=["fewshot", "static"], budget=SMALL)
    assert failed
    why = why or "it is that of toy-1shot-fewshot-seed7"
    assert any(f"is broken: {why}; restore it" in text for text in said)
    assert path.read_text() == damaged
    rows = {row["strategy"]: row for row in read_suite(toy_set, SMALL_FILE)["rows"]}
    assert "is broken" in rows["fewshot"]["errors"][0]
    assert rows["static"]["mean"] is not None


def test_tables_of_nothing_are_refused_and_not_written(toy_set: Path) -> None:
    with pytest.raises(DataError, match="no finished cell in .*; run `evokd bench core"):
        bench(toy_set, table_only=True)
    assert not (toy_set.parent / "results").exists()


@pytest.mark.parametrize("only", [{}, {"table_only": True}])
def test_the_exit_code_is_about_the_cells_that_were_asked_for(
    toy_set: Path, only: dict[str, bool]
) -> None:
    other = toy_cell("fewshot").model_copy(update={"seed": 1})
    failure = CellResult(cell=other, error="no room").model_dump_json()
    write_file(cell_file(toy_set.parent / "results", other), failure)
    failed, said = bench(toy_set, strategies=["fewshot"], **only)
    assert not failed, said
    if only:
        failed, said = bench(toy_set, strategies=["fewshot"], seeds=[1], **only)
        assert failed
        assert f"{other.id}: no room" in said


def test_scores_can_be_recomputed_from_the_samples_without_a_teacher(
    finished: Path, llm: FakeLLM
) -> None:
    (finished.parent / "work").rename(finished.parent / "gone")
    _, said = bench(finished, from_samples=True)
    told = [text for text in said if "recomputed" in text]
    assert len(told) == 3
    assert not [text for text in told if "differs" in text]
    assert llm.requests == []


def test_a_score_that_words_had_a_part_in_is_recomputed_with_them(
    toy_set: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vocabulary, "FEWEST_A_LABEL", 2)
    bench(toy_set, strategies=["evokd"])
    cell = toy_cell("evokd")
    loaded = sets.load_set("banking8", toy_set)
    kept, words, _ = read_kept(toy_set.parent / "results", cell, loaded)
    assert words == RunDirectory(toy_set.parent / "work" / "runs" / cell.id).read_words() != []
    assert not {one.text for one in words} & {one.text for one in kept}
    taught: list[list[str]] = []

    def relearn(rows: Any, *_: Any) -> str:
        taught.append([row.text for row in rows])
        return "1"

    monkeypatch.setattr(archive, "relearn", relearn)
    (toy_set.parent / "work" / "runs" / cell.id / "student" / "rows.jsonl").rename(
        toy_set.parent / "rows.jsonl"
    )
    (toy_set.parent / "work").rename(toy_set.parent / "gone")
    bench(toy_set, strategies=["evokd"], from_samples=True)
    lines = (toy_set.parent / "rows.jsonl").read_text(encoding="utf-8").splitlines()
    assert taught == [[json.loads(line)["text"] for line in lines]]
    assert {one.text for one in words if one.label} <= set(taught[0])


def test_the_teachers_own_score_is_read_from_its_kept_answers(toy_set: Path) -> None:
    strategies = ["teacher_one_shot"]
    bench(toy_set, strategies=strategies)
    cell = toy_cell("teacher_one_shot")
    was = read_cell(toy_set.parent / "results", cell)
    (toy_set.parent / "work").rename(toy_set.parent / "gone")
    failed, said = bench(toy_set, strategies=strategies, from_samples=True)
    assert not failed
    assert [text for text in said if "recomputed" in text and "differs" not in text]
    kept = calls_file(toy_set.parent / "results", cell)
    calls = [json.loads(line) for line in gzip.decompress(kept.read_bytes()).splitlines()]
    lines = [json.dumps(one | {"reply": '"no label"'}) for one in calls]
    kept.write_bytes(gzip.compress("\n".join(lines).encode()))
    failed, said = bench(toy_set, strategies=strategies, from_samples=True)
    assert failed
    assert was is not None and was.score
    assert [text for text in said if "recomputed 0.0000  differs" in text]


def test_a_missing_set_and_a_broken_cell_do_not_end_the_recomputation_of_others(
    toy_set: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both: dict[str, Any] = {"sets": ["trec", "banking8"], "strategies": ["fewshot", "fullshot"]}
    bench(toy_set, **both | {"strategies": ["fewshot"]})
    file = sets._set_file("any")
    gone = file.model_copy(update={"source": "classification/gone"})
    monkeypatch.setattr(sets, "_set_file", lambda name: gone if name == "trec" else file)
    sets.load_set.cache_clear()
    broken = toy_cell("fullshot")
    write_file(cell_file(toy_set.parent / "results", broken), "{half")
    failed, said = bench(toy_set, **both, from_samples=True)
    assert failed
    assert any(text.startswith("trec-1shot-fewshot") and "gone" in text for text in said)
    assert any(text.startswith(broken.id) and "is broken" in text for text in said)
    again = [text for text in said if text.startswith(toy_cell("fewshot").id)]
    assert again and "recomputed" in again[0]


def test_texts_that_may_not_be_copied_are_in_no_kept_file(toy_set: Path, llm: FakeLLM) -> None:
    loaded = sets.load_set("banking8", toy_set)
    copied = next(iter(loaded.seed(1, 0).values()))
    near = copied.text.upper().replace(" ", " , ")  # as a set with parted punctuation is copied
    write = llm._texts
    llm._texts = lambda *a: [*write(*a)[:-2], near, copied.text]  # type: ignore[method-assign]
    bench(toy_set, strategies=["static"], budget=SMALL)
    results = toy_set.parent / "results"
    kept = "".join(
        gzip.decompress(path.read_bytes()).decode() for path in results.rglob("*.jsonl.gz")
    )
    assert copied.text not in kept
    assert near not in kept
    samples = archive.read_samples(results, toy_cell("static", SMALL), loaded)
    assert copied.text in {one.text for one in samples}


def test_entities_are_scored_by_f1_and_recomputed_from_what_is_kept(toy_entities: Path) -> None:
    strategies = ["fewshot", "static", "evokd", "fullshot", "teacher_one_shot"]
    options: dict[str, Any] = {"suite": "ner", "sets": ["wikigold"], "strategies": strategies}
    options["variants"] = [""]
    failed, said = bench(toy_entities, **options)
    assert not failed, said
    results = toy_entities.parent / "results"
    suite = json.loads((results / f"ner-{BUDGET}tokens-openai-scripted.json").read_text())
    rows = {row["strategy"]: row for row in suite["rows"]}
    assert set(rows) == set(strategies)
    for row in rows.values():
        assert (row["kind"], row["metric"]) == ("ner", "strict F1")
        assert row["ci_low"] <= row["mean"] <= row["ci_high"]
    assert rows["teacher_one_shot"]["mean"] == 1.0  # the scripted one knows them all
    assert rows["evokd"]["diff_static"] is not None
    _, said = bench(toy_entities, **options, from_samples=True)
    told = [text for text in said if "recomputed" in text]
    assert len(told) == len(strategies) - 1  # the teacher's answers quote rows: they are not kept
    assert not [text for text in told if "differs" in text]


def test_a_damaged_file_fails_its_cell_alone_which_keeps_kind_and_metric(
    toy_entities: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_cell = grid.run_cell

    def damaged(cell: Cell, *rest: Any) -> CellResult:
        if cell.strategy == "fullshot":
            raise SafetensorError("header too small")
        return run_cell(cell, *rest)

    monkeypatch.setattr(grid, "run_cell", damaged)
    options: dict[str, Any] = {"suite": "ner", "sets": ["wikigold"], "budget": None}
    failed, said = bench(toy_entities, **options, strategies=["fullshot", "fewshot"])
    assert failed
    assert "  SafetensorError: header too small" in said
    cells = cells_of("ner", Choice(("wikigold",), ("fullshot", "fewshot"), seeds=(0,)))
    results = [read_cell(toy_entities.parent / "results", cell) for cell in cells]
    assert [(one.kind, one.metric) for one in results if one] == [("ner", "strict F1")] * 2
    assert sorted(one.score is None for one in results if one) == [False, True]


def test_entities_of_a_hidden_text_are_found_again_in_the_sets_spelling(
    toy_entities: Path,
) -> None:
    bench_set = sets.load_set("wikigold", toy_entities)
    row = next(one for one in bench_set.train.values() if one.entities)
    (gold,) = row.entities
    squeezed = row.text.replace(" ", "", 1)  # the first space; the entity moves by one
    moved = {"start": gold.start - 1, "end": gold.end - 1, "label": gold.label, "confidence": 1.0}
    sample = Sample(
        id="a", text=squeezed, round=0, call="c", intended_label=gold.label, entities=[moved]
    )
    hidden = archive._hide_sample(sample.model_dump(), bench_set)
    assert hidden["text"] == ""
    shown = archive._show_sample(hidden, bench_set)
    (found,) = shown.entities
    assert (shown.text, found.start, found.end) == (row.text, gold.start, gold.end)


@pytest.mark.parametrize("old", [False, True])
def test_entities_of_a_hidden_text_keep_the_marks_at_their_ends(
    toy_entities: Path, old: bool
) -> None:
    rows = [
        {"tokens": ["In", "the", "U.S.", word], "tags": ["O", "O", f"B-{label}", "O"]}
        for label in WORDS
        for word in WORDS[label]
    ]
    write_set(toy_entities, rows[::2], rows[1::2])
    sets.load_set.cache_clear()
    bench_set = sets.load_set("wikigold", toy_entities)
    row = next(iter(bench_set.train.values()))
    said = [one.model_dump() | {"confidence": 1.0} for one in row.entities]
    sample = Sample(
        id="a", text=row.text, round=0, call="c", intended_label=row.label, entities=said
    )
    hidden = archive._hide_sample(sample.model_dump(), bench_set)
    assert hidden["text"] == ""
    if old:  # as files were written that know counts of letters and digits only
        del hidden["exact"]
        hidden["entities"][0] |= {"start": 5, "end": 7}
    (found,) = archive._show_sample(hidden, bench_set).entities
    assert row.text[found.start : found.end] == ("U.S" if old else "U.S.")


def test_answers_that_quote_a_set_that_may_not_be_copied_are_not_kept(toy_entities: Path) -> None:
    options: dict[str, Any] = {
        "suite": "ner",
        "sets": ["wikigold"],
        "strategies": ["teacher_one_shot"],
    }
    bench(toy_entities, **options)
    (kept,) = (toy_entities.parent / "results" / "calls").iterdir()
    words = gzip.decompress(kept.read_bytes()).decode()
    assert not any(f'"{word}' in words for group in WORDS.values() for word in group)
    _, said = bench(toy_entities, **options, from_samples=True)
    assert not [text for text in said if "differs" in text]


def test_a_recomputed_fullshot_is_the_same(toy_set: Path) -> None:
    bench(toy_set, strategies=["fullshot"])
    _, said = bench(toy_set, strategies=["fullshot"], from_samples=True)
    assert [text for text in said if "recomputed" in text and "differs" not in text]


def test_broken_samples_and_those_of_other_gold_rows_are_told(toy_set: Path) -> None:
    bench(toy_set, strategies=["static"], budget=SMALL)
    path = archive.samples_file(toy_set.parent / "results", toy_cell("static", SMALL))
    whole = gzip.decompress(path.read_bytes())
    header, rest = whole.split(b"\n", 1)
    other = json.dumps(json.loads(header) | {"seed_rows": {"0": "0" * 16}}).encode()
    for damaged, told in (
        (b"", path.name),
        (b"no gzip", path.name),
        (gzip.compress(whole.replace(b'"round"', b'"rond"')), "is broken"),
        (gzip.compress(other + b"\n" + rest), "the gold rows of the run are others"),
    ):
        path.write_bytes(damaged)
        failed, said = bench(toy_set, strategies=["static"], budget=SMALL, from_samples=True)
        assert failed
        assert any(path.name in text and told in text for text in said), told


def test_a_run_of_other_code_is_not_passed_off_as_new(
    toy_set: Path, llm: FakeLLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench(toy_set, strategies=["static"], budget=SMALL)
    cell_file(toy_set.parent / "results", toy_cell("static", SMALL)).unlink()
    asked = len(llm.requests)
    monkeypatch.setitem(cell.STRATEGY, "texts_per_call", 7)
    sets.load_set("banking8", toy_set).settings["strategy"].pop("texts_per_call")
    bench(toy_set, strategies=["static"], budget=SMALL)
    assert len(llm.requests) > asked


def test_a_run_killed_before_it_started_is_no_obstacle(toy_set: Path) -> None:
    leftover = toy_set.parent / "work" / "runs" / toy_cell("static", SMALL).id
    leftover.mkdir(parents=True)
    (leftover / "calls.sqlite").write_bytes(b"")
    failed, _ = bench(toy_set, strategies=["static"], budget=SMALL)
    assert not failed


@pytest.mark.parametrize("strategy", ["static", "teacher_one_shot"])
def test_a_cell_that_runs_elsewhere_is_left_to_it(toy_set: Path, strategy: str) -> None:
    run = RunDirectory(toy_set.parent / "work" / "runs" / toy_cell(strategy).id)
    run.lock()
    write_file(run.prepared, "{}")
    failed, said = bench(toy_set, strategies=[strategy, "fewshot"])
    run.unlock()
    assert not failed
    assert "  running elsewhere" in said
    assert run.prepared.exists()
    results = toy_set.parent / "results"
    assert read_cell(results, toy_cell(strategy)) is None
    assert read_cell(results, toy_cell("fewshot")) is not None


def test_a_budget_that_pays_for_no_sample_is_told(toy_set: Path, llm: FakeLLM) -> None:
    sets.load_set("banking8", toy_set).settings["gates"] = {"max_words": 1}
    failed, said = bench(toy_set, strategies=["evokd"])
    assert failed
    assert any("no accepted sample" in text for text in said)


def test_a_readme_without_markers_is_refused_before_any_work(toy_set: Path, llm: FakeLLM) -> None:
    readme = toy_set.parent / "README.md"
    write_file(readme, "# T\n")
    with pytest.raises(ConfigError, match="marker"):
        bench(toy_set, readme=readme)
    assert llm.requests == []


def test_nothing_to_recompute_is_told(toy_set: Path) -> None:
    with pytest.raises(DataError, match="no finished cell"):
        bench(toy_set, from_samples=True)


@pytest.mark.parametrize("text", [None, 3, "\ud83d"])
def test_a_row_without_words_is_named(toy_set: Path, text: object) -> None:
    folder = toy_set / "classification" / "toy"
    row = json.dumps({"text": text, "label": "fruit"}).encode()
    (folder / "train.jsonl.gz").write_bytes(gzip.compress(row))
    sets.load_set.cache_clear()
    with pytest.raises(DataError, match=r"train\.jsonl\.gz:1: the text "):
        sets.load_set("trec", toy_set)


def test_only_the_tables_can_be_written_anew_into_a_readme(toy_set: Path) -> None:
    bench(toy_set, strategies=["fewshot"])
    readme = toy_set.parent / "README.md"
    write_file(
        readme, f"# T\n<!-- bench:{SUITE_FILE} -->\nold\n<!-- /bench:{SUITE_FILE} -->\nend\n"
    )
    bench(toy_set, strategies=["fewshot"], table_only=True, readme=readme)
    text = readme.read_text()
    assert "old" not in text
    assert "fewshot" in text
    assert text.startswith("# T\n")
    assert text.endswith("end\n")


def test_the_command_line_refuses_with_exit_code_2(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["bench", "nothing", "--data", str(tmp_path)])
    assert isinstance(done.exception, ConfigError)
    assert done.exception.exit_code == 2


def test_a_row_names_the_commit_it_was_run_on() -> None:
    assert commit().rstrip("+").isalnum()


# A pool


def read_pool_suite(data: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(
        (data.parent / "results" / "pool-openai-scripted.json").read_text()
    )
    return content


def test_the_pool_is_labelled_once_for_all_variants_and_random_seeds(
    toy_set: Path, llm: FakeLLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = {"rounds": 2, "samples_per_round": 20, "show_seeds": False, "critic": False}
    monkeypatch.setitem(cell.SIZES, "llkd", small)
    changes = {"suite": "pool", "strategies": ["llkd"], "budget": None}
    paper = changes | {"variants": [WHOLE_POOL]}
    failed, said = bench(toy_set, **paper)
    assert not failed, said
    asked = len(llm.requests)
    more = changes | {"variants": ["", "random", "paper"], "seeds": [0, 1]}
    failed, said = bench(toy_set, **more)
    assert not failed, said
    probes = sum("sea" in json.dumps(one["messages"]) for one in llm.requests[asked:])
    # A second seed's pool holds the first one's seeds, three texts at most; what the labeler leans
    # to is asked once for each random seed.
    assert len(llm.requests) - asked - probes <= 3 + 2 * MEANINGLESS
    rows = {one["variant"]: one for one in read_pool_suite(toy_set)["rows"]}
    assert rows["paper"]["diff_chance"] is not None
    assert rows["random"]["diff_chance"] is None
    assert rows["paper"]["kept_rows"] <= rows["paper"]["accepted"]
    assert rows[""]["accepted"] < rows["paper"]["accepted"]


def test_a_pools_cell_is_recomputed_from_row_numbers_alone(
    toy_set: Path, llm: FakeLLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = {"rounds": 2, "samples_per_round": 20, "show_seeds": False, "critic": False}
    monkeypatch.setitem(cell.SIZES, "llkd", small)
    monkeypatch.setattr("evokd.graph.self_training.ONE_LABEL", 2.0)
    changes = {"suite": "pool", "strategies": ["llkd"], "variants": ["", "paper"], "budget": None}
    bench(toy_set, **changes)
    kept = list((toy_set.parent / "results" / "samples").iterdir())
    assert len(kept) == 2
    for path in kept:
        header, *rows = sets.read_packed(path)
        own = header.get("self_labelled", [])
        assert bool(own) is ("paper" not in path.name)
        assert not [one for one in (*rows, *own) if one["text"]]
    asked = len(llm.requests)
    failed, said = bench(toy_set, **changes, from_samples=True)
    assert not failed
    assert sum("recomputed" in one for one in said) == 2
    assert not any("differs" in one for one in said), said
    assert len(llm.requests) == asked


def bench_questions(data: Path, **changes: Any) -> tuple[bool, list[str]]:
    return bench(
        data,
        **{
            "suite": "reasoning",
            "sets": ["svamp"],
            "strategies": ["elad"],
            "budget": 900,
            **changes,
        },
    )


def test_a_cell_is_run_with_a_student_of_ones_own_and_without_failures_of_memory(
    toy_questions: Path,
) -> None:
    places = cell.Places(data=toy_questions, work=toy_questions / "w", results=toy_questions / "r")
    toy = sets.load_set("svamp", toy_questions)
    choice = Choice(student="path:own", sets=["svamp"], variants=["no memory"], seeds=[0])
    (own,) = cells_of("reasoning", choice)
    config = cell.cell_config(own, toy, places)
    assert (config.student.model, config.strategy.memory) == ("path:own", False)
    usual = cell.cell_config(own.model_copy(update={"student": "", "variant": ""}), toy, places)
    changed = {"model": "path:own"}
    assert config.student == usual.student.model_copy(update=changed) != usual.student
    bare = own.model_copy(update={"variant": "no calculator"})
    assert not cell.cell_config(bare, toy, places).student.calculator
    bare = bare.model_copy(update={"student": ""})  # the model of the cell before is not its own
    assert cell.cell_config(bare, toy, places).student.model == usual.student.model
    assert usual.strategy.memory


def test_explanations_are_compared_by_selection_and_annotation(grid_of_questions: Path) -> None:
    results = grid_of_questions / "results"
    suite = json.loads((results / "reasoning-900tokens-openai-scripted.json").read_text())
    rows = {one["variant"]: one for one in suite["rows"]}
    assert set(rows) == {"", "random", "whole"}
    assert rows[""]["kind"] == "reasoning"
    assert rows[""]["diff_chance"] is not None
    assert rows["random"]["diff_chance"] is None
    kept = json.loads(next((results / "cells").glob("svamp-*-elad-900*.json")).read_text())
    assert len(kept["before"]) == len(kept["correct"]) == 6
    assert rows[""]["diff_untrained"] is not None
    assert {(one["variant"]) for one in suite["equal_total"]} == {"", "random", "whole"}
    assert rows["whole"]["revisions"]["right_after"] == rows["whole"]["revisions"]["known"] > 0
    assert "explanations" in (results / "reasoning-900tokens-openai-scripted.md").read_text()


def test_a_cell_of_questions_is_recomputed_from_its_samples(explained: Path, llm: FakeLLM) -> None:
    failed, said = bench_questions(explained, variants=[""], from_samples=True)
    assert not failed, said
    assert any("recomputed" in one for one in said)
    assert not any("differs" in one for one in said), said
    assert llm.requests == []


def test_a_recomputed_student_is_asked_as_the_run_kept_it(
    explained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (run,) = (explained.parent / "work" / "runs").glob("svamp-4shot-elad-900*-seed0-openai*")
    asked: list[bytes] = []

    def open_student(kind: str, folder: Path, settings: Any) -> Any:
        asked.append((folder / "model.safetensors").read_bytes())
        return students.open_student(kind, folder, settings)

    monkeypatch.setattr(archive, "open_student", open_student)
    bench_questions(explained, variants=[""], from_samples=True)
    assert asked == [(run / "student" / "model.safetensors").read_bytes()]


def test_explanations_are_compared_with_gold_ones_and_with_the_teacher_s_own(
    toy_questions: Path, llm: FakeLLM
) -> None:
    baselines = ["fewshot", "fullshot", "teacher_one_shot"]
    changes: dict[str, Any] = {"sets": ["strategyqa"], "strategies": ["elad", *baselines]}
    changes |= {"variants": [""]}
    failed, said = bench_questions(toy_questions, **changes)
    assert not failed, said
    results = toy_questions.parent / "results"
    suite = json.loads((results / "reasoning-900tokens-openai-scripted.json").read_text())
    rows = {one["strategy"]: one for one in suite["rows"]}
    assert set(rows) == {"elad", *baselines}
    teacher = rows["teacher_one_shot"]
    assert (teacher["mean"], teacher["diff_chance"]) == (1.0, None)  # the scripted one knows all
    assert teacher["tokens_by_role"]["reviser"]["calls"] == 6
    for name in ("fewshot", "fullshot"):
        assert rows[name]["output_tokens"] == 0
        assert rows[name]["diff_chance"] is not None
        assert rows[name]["diff_untrained"] is not None
    (toy_questions.parent / "work").rename(toy_questions.parent / "gone")
    asked = len(llm.requests)
    changes["strategies"] = baselines
    failed, said = bench_questions(toy_questions, **changes, from_samples=True)
    assert not failed, said
    assert sum("recomputed" in one for one in said) == 3
    assert len(llm.requests) == asked


def test_an_explanation_of_the_teacher_s_that_cannot_be_used_is_wrong(
    toy_questions: Path, llm: FakeLLM
) -> None:
    original = llm.answer

    def answer(body: dict[str, Any]) -> str:
        last = str(body["messages"][-1]["content"])
        return "no idea" if "What is 6 plus" in last or "cannot be used" in last else original(body)

    llm.answer = answer  # type: ignore[method-assign]
    changes: dict[str, Any] = {"strategies": ["teacher_one_shot"]}
    bench_questions(toy_questions, **changes)
    (told,) = (toy_questions.parent / "results" / "cells").iterdir()
    marks = json.loads(told.read_text())["correct"]
    rows = sets.load_set("svamp", toy_questions).rows("test").values()
    assert marks.count("0") == sum("What is 6 plus" in row.text for row in rows) > 0
    failed, said = bench_questions(toy_questions, **changes, from_samples=True)
    assert not failed, said
    assert not any("differs" in one for one in said), said


def test_gold_questions_are_explained_and_stand_neither_in_dev_nor_test(
    toy_questions: Path,
) -> None:
    toy = sets.load_set("svamp", toy_questions)
    seed = toy.seed(4, 0)
    assert all(row.rationale for row in seed.values())
    assert not set(seed) & set(toy.dev())
    assert len(toy.rows("test")) == 6
    assert not {row.text for row in toy.pool()} & {row.text for row in toy.dev().values()}
    with pytest.raises(ConfigError, match="fewer than 7 questions explained"):
        toy.seed(7, 0)


def test_an_unknown_variant_is_refused_with_the_nearest(toy_set: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'paper'"):
        bench(toy_set, suite="pool", variants=["papr"])


def test_a_budget_is_refused_where_no_cell_has_one(toy_set: Path) -> None:
    with pytest.raises(ConfigError, match="no cell of the suite pool has a budget"):
        bench(toy_set, suite="pool", strategies=["llkd"])


def test_a_text_stands_where_it_is_the_same_before_where_it_is_nearly(toy_set: Path) -> None:
    rows = [{"text": text, "label": "fruit"} for text in ("an apple?", "an apple")]
    more = [{"text": f"{label} {place}", "label": label} for label in WORDS for place in range(9)]
    write_set(toy_set, [*rows, *more], more[:3])
    sets.load_set.cache_clear()
    toy = sets.load_set("banking8", toy_set)
    assert (toy.place_of("an apple?"), toy.place_of("an apple")) == ("train:0", "train:1")
    assert toy.place_of("An apple!") == "train:1"
