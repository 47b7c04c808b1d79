"""Words of the student's vocabulary: which there are, which are asked about, which are learnt."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import write_task
from fake_llm import WORDS, FakeLLM, running_llm, true_label

from evokd import distill
from evokd.errors import TeacherError
from evokd.graph import vocabulary
from evokd.graph.vocabulary import (
    affordable_words,
    highest_ranked,
    surest_words,
    words_a_label,
)
from evokd.planner import estimate
from evokd.records import Sample, Word
from evokd.runner import RunResult, resume_run
from evokd.store.ledger import Ledger
from evokd.store.run_dir import RunDirectory
from evokd.task_file import load_config
from evokd.tools.student import Student

TOY_WORDS = {word for group in WORDS.values() for word in group}


@pytest.fixture(autouse=True)
def _few_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """The toy vocabulary has some dozens of words."""
    monkeypatch.setattr(vocabulary, "FEWEST_A_LABEL", 4)


def run(task: Path, *overrides: str, run_id: str = "r") -> RunResult:
    words = overrides or ("strategy.words=18",)
    return distill(task, overrides=words, run_id=run_id, runs_dir=task.parent / "runs")


def words_of(result: RunResult) -> list[Word]:
    return RunDirectory(result.path).read_words()


def words_asked(llm: FakeLLM) -> list[str]:
    """The single words that the labeler was shown."""
    said = (request["messages"][-1]["content"] for request in llm.requests)
    shown = (text.rsplit('Text: "', 1)[-1].split('"')[0] for text in said if 'Text: "' in text)
    return [text for text in shown if text in TOY_WORDS]


def learned(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "rows.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def word(text: str, **shares: float) -> Sample:
    return Sample(
        id=text,
        text=text,
        round=1,
        call="words",
        role="words",
        intended_label="a",
        labeler_probabilities=shares,
    )


def test_the_words_of_a_vocabulary_are_whole_and_not_short(tiny_student: Path) -> None:
    assert set(Student(tiny_student).words()) == {one for one in TOY_WORDS if len(one) > 3}


def test_where_first_pieces_are_marked_only_these_are_words(tiny_student: Path) -> None:
    vocab = {"▁Great": 2, "▁film": 0, "ness": 1, "▁great": 3, "▁2024": 4, "▁bad": 5, "<pad>": 6}
    whole = {f"word{sign}": place for place, sign in enumerate("abcdefghijklmnopqrst")}
    student = Student(tiny_student)
    student._tokenizer = SimpleNamespace(
        get_vocab=lambda: vocab,
        convert_tokens_to_string=lambda pieces: "".join(pieces).replace("▁", " "),
    )
    assert student.words() == ["film", "great"]  # in the vocabulary's order
    vocab = {**whole, "▁": 99}  # a sign of its own does not make it such a vocabulary
    assert student.words() == list(whole)


class _Sure:
    """A student that is told what it says of every word."""

    labels = ("a", "b")

    def __init__(self, shares: dict[str, float]) -> None:
        self.shares = shares

    def probabilities(self, words: Sequence[str]) -> list[list[float]]:
        return [[self.shares[one], 1 - self.shares[one]] for one in words]


def test_the_surest_words_of_each_label_are_chosen_once() -> None:
    student: Any = _Sure({"one": 0.9, "two": 0.8, "three": 0.7, "four": 0.1})
    words = ["four", "three", "two", "one"]
    assert list(surest_words(student, words, 2).items()) == [
        ("one", "a"),
        ("four", "b"),  # the surest of every label come first
        ("two", "a"),
        ("three", "b"),
    ]
    assert surest_words(student, words, 3) == {"one": "a", "four": "b", "two": "a", "three": "a"}


def test_words_are_ranked_within_a_label_however_often_the_labeler_says_another() -> None:
    read = [word("w1", a=0.99, b=0.01), word("w2", a=0.98, b=0.02)]
    read += [word("w3", a=0.7, b=0.3), word("w4", a=0.6, b=0.4)]
    assert highest_ranked(read, ("a", "b")) == {"w1": "a", "w4": "b"}


def test_a_label_that_the_labeler_did_not_tell_is_not_taught() -> None:
    read = [word("w1", a=0.9), word("w2", a=0.8), word("w3", a=0.7), word("w4", a=0.6)]
    assert highest_ranked(read, ("a", "b")) == {"w1": "a"}


def test_a_word_that_ranks_high_for_two_labels_is_left_out() -> None:
    read = [word("w1", a=0.5, b=0.5, c=0.0), word("w2", a=0.0, b=0.4, c=0.6)]
    read += [word(f"v{place}", a=0.1, b=0.1, c=0.1) for place in range(4)]
    assert highest_ranked(read, ("a", "b", "c")) == {"w2": "c"}


@pytest.mark.parametrize(
    ("room", "price", "each"),
    [
        ({}, {}, 100),
        ({"output_tokens": 600.0}, {"output_tokens": 2.0}, 100),
        ({"output_tokens": 100.0}, {"output_tokens": 2.0}, 16),  # 50 words
        ({"output_tokens": 20.0}, {"output_tokens": 2.0}, 0),  # 10 words
        ({"usd": 0.1, "output_tokens": 100.0}, {"usd": 0.01, "output_tokens": 2.0}, 0),
        ({"minutes": 1.0}, {"minutes": 0.01}, 33),
        ({"minutes": 1.0}, {"output_tokens": 2.0}, 100),  # nobody knows what it takes
        ({"output_tokens": -5.0}, {"output_tokens": 2.0}, 0),
    ],
)
def test_there_are_as_many_words_as_the_budget_has_room_for(
    room: dict[str, float], price: dict[str, float], each: int
) -> None:
    assert affordable_words(300, 3, room, price) == each


@pytest.mark.parametrize(
    ("limit", "spent", "each"),
    [
        (2000, 400, 20),  # a tenth: 200, where 3 x 20 labels of ten tokens are wanted
        (500, 100, 5),  # a tenth of it
        (2000, 1600, 10),  # a quarter of what is left
        (2000, 1900, 0),
    ],
)
def test_words_take_a_tenth_of_a_budget_and_a_quarter_of_what_is_left(
    toy_task: Path, limit: int, spent: int, each: int
) -> None:
    session = asking(toy_task, f"budget.output_tokens={limit}", spent=spent)
    assert words_a_label(session) == each
    session.budget.price_of_a_label = dict
    assert words_a_label(session) == 0  # before it has read anything nobody knows


@pytest.mark.parametrize(
    ("setting", "logprobs", "each"),
    [
        ("strategy.words=60", True, 20),
        ("strategy.words=0", True, 0),
        ("strategy.separation=false", True, 0),
        ("strategy.words=60", False, 0),
    ],
)
def test_switched_off_or_without_probabilities_there_are_no_words(
    toy_task: Path, setting: str, logprobs: bool, each: int
) -> None:
    assert words_a_label(asking(toy_task, setting, logprobs=logprobs)) == each


def asking(task: Path, setting: str, *, spent: int = 0, logprobs: bool = True) -> Any:
    """A session whose labeler takes 10/3 tokens a label."""
    config = load_config(task, ["strategy.words=60", setting])
    return SimpleNamespace(
        config=config,
        kind=SimpleNamespace(exclusive=True),
        labels=tuple(config.task.labels),
        teachers={"labeler": SimpleNamespace(capabilities=SimpleNamespace(logprobs=logprobs))},
        budget=SimpleNamespace(
            price_of_a_label=lambda: {"output_tokens": 10 / 3},
            spent=lambda: {"output_tokens": float(spent)},
        ),
    )


def test_with_many_labels_nobody_is_asked_about_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vocabulary, "FEWEST_A_LABEL", 100)
    assert affordable_words(300, 3, {}, {}) == 100
    assert affordable_words(300, 4, {}, {}) == 0


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory, tiny_student: Path) -> Any:
    """A finished run with words, its students kept, and its teacher."""
    folder = tmp_path_factory.mktemp("words")
    with pytest.MonkeyPatch.context() as patch, running_llm() as llm:
        patch.setattr(vocabulary, "FEWEST_A_LABEL", 4)
        patch.setattr(RunDirectory, "drop_round_students", lambda self: None)
        task = write_task(folder, llm.base_url, tiny_student)
        rows = (folder / "test.jsonl").read_text(encoding="utf-8").splitlines()
        rows[0] = json.dumps({"text": "Apple", "label": "fruit"})
        (folder / "test.jsonl").write_text("\n".join(rows), encoding="utf-8")
        overrides = ["strategy.words=18", "strategy.rounds=3"]
        runs = folder / "runs"
        result = distill(
            task, overrides=overrides, run_id="r", runs_dir=runs, cache_dir=folder / "cache"
        )
        yield result, llm


def test_the_labeler_is_asked_about_words_once_after_the_first_batch(
    taught: tuple[RunResult, FakeLLM],
) -> None:
    result, llm = taught
    asked = words_asked(llm)
    assert len(asked) == len(set(asked)) == 18
    ledger = Ledger(result.path / "calls.sqlite")
    purposes = [
        (one["round"], one["role"])
        for one in ledger.calls_with_replies()
        if one["purpose"].startswith("words:")
    ]
    ledger.close()
    assert Counter(purposes) == {(1, "labeler"): 18}


def test_half_of_the_words_are_learnt_with_the_labelers_labels(
    taught: tuple[RunResult, FakeLLM],
) -> None:
    result, llm = taught
    words = words_of(result)
    assert {one.text for one in words} == set(words_asked(llm))
    learnt = [one for one in words if one.label]
    assert 0 < len(learnt) <= 9
    assert all(one.label == true_label(one.text) for one in learnt if one.label in own(one))
    assert {one.round for one in words} == {1}
    assert result.report["words"] == [one.model_dump() for one in learnt]


def own(one: Word) -> set[str]:
    """The labels that the labeler gives a word more than half."""
    return {name for name, share in one.probabilities.items() if share > 0.5}


def test_words_are_learnt_from_the_round_after_on_and_texts_count_three_times_then(
    taught: tuple[RunResult, FakeLLM],
) -> None:
    result, _ = taught
    words = {one.text for one in words_of(result) if one.label}
    directory = RunDirectory(result.path)
    before = learned(directory.student_of_round(0))
    assert not words & {row["text"] for row in before}
    assert {row["weight"] for row in before[3:]} == {1}
    for folder in (*map(directory.student_of_round, (1, 2, 3)), result.student):
        rows = learned(folder)
        assert words <= {row["text"] for row in rows}
        assert {row["weight"] for row in rows if row["text"] in words} == {1}
        assert {row["weight"] for row in rows[3:] if row["text"] not in words} == {3}


def test_words_are_neither_samples_nor_failures(taught: tuple[RunResult, FakeLLM]) -> None:
    result, _ = taught
    samples = RunDirectory(result.path).read_samples()
    assert not {one.text for one in samples} & TOY_WORDS
    accepted = [one["accepted"] for one in [result.report["init"], *result.report["rounds"]]]
    assert sum(accepted) == sum(one.accepted is True for one in samples)


def test_a_word_that_is_a_test_text_is_not_asked_about(
    taught: tuple[RunResult, FakeLLM],
) -> None:
    _, llm = taught
    assert "apple" not in words_asked(llm)


def test_without_review_words_leave_with_their_round(
    toy_task: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RunDirectory, "drop_round_students", lambda self: None)
    result = run(toy_task, "strategy.words=18", "strategy.review=false", "strategy.patience=9")
    words = {one.text for one in words_of(result) if one.label}
    student = RunDirectory(result.path).student_of_round
    assert words <= {row["text"] for row in learned(student(1))}
    assert not words & {row["text"] for row in learned(student(2))}


def test_without_a_labeler_there_are_no_words(toy_task: Path, llm: FakeLLM) -> None:
    result = run(toy_task, "strategy.words=18", "strategy.separation=false")
    assert words_of(result) == []
    assert not words_asked(llm)
    assert not (result.path / "words.jsonl").exists()


def test_a_vocabulary_with_too_few_words_is_not_asked_about(
    toy_task: Path, llm: FakeLLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vocabulary, "FEWEST_A_LABEL", 20)  # of 60 words wanted there are 33
    result = run(toy_task, "strategy.words=300")
    assert result.report["status"] == "finished"
    assert not words_asked(llm)


def test_a_run_that_breaks_off_among_words_asks_none_of_them_twice(
    toy_task: Path, llm: FakeLLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer, broken = llm.answer, []

    def failing(body: dict[str, Any]) -> str:
        text = answer(body)
        if len(words_asked(llm)) >= 7 and not broken:
            broken.append(True)
            llm.faults = ["status:401"] * 9
        return text

    monkeypatch.setattr(llm, "answer", failing)
    with pytest.raises(TeacherError):
        run(toy_task)
    directory = RunDirectory(toy_task.parent / "runs" / "r")
    assert directory.read_words() == []
    before = answered(directory)
    llm.faults = []
    llm.requests.clear()
    result = resume_run(directory, emit=lambda event: None)
    assert result.report["status"] == "finished"
    again = words_asked(llm)
    assert len(before) > 0 and len(again) == len(set(again)) == 18 - len(before)
    assert len(words_of(result)) == 18


def answered(run: RunDirectory) -> list[str]:
    """The purposes of the calls about words that have a reply."""
    ledger = Ledger(run.calls)
    try:
        calls = ledger.calls_with_replies()
    finally:
        ledger.close()
    return [one["purpose"] for one in calls if one["purpose"].startswith("words:") and one["reply"]]


def test_a_larger_budget_lets_a_run_that_ended_after_its_first_batch_ask_about_words(
    toy_task: Path, llm: FakeLLM
) -> None:
    settings = "strategy.words=18", "strategy.rounds=1"
    first = run(toy_task, *settings, "budget.output_tokens=120")
    assert first.report["status"] == "budget"
    assert [one["round"] for one in first.report["rounds"]] == []
    assert not words_asked(llm)
    directory = RunDirectory(first.path)
    overrides = ["budget.output_tokens=null"]
    result = resume_run(directory, overrides=overrides, emit=lambda event: None)
    assert result.report["status"] == "finished"
    assert len(words_of(result)) == 18


def test_several_words_a_call_are_read_as_well(toy_task: Path, llm: FakeLLM) -> None:
    result = run(toy_task, "strategy.words=18", "strategy.texts_per_label=6")
    assert len(words_of(result)) == 18
    assert len(answered(RunDirectory(result.path))) == 3


def test_without_a_first_batch_words_come_before_the_second_round(toy_task: Path) -> None:
    result = run(toy_task, "strategy.words=18", "strategy.init_samples=0")
    assert {one.round for one in words_of(result)} == {2}


def test_the_plan_counts_words(toy_task: Path) -> None:
    calls = {}
    for words in (0, 18):
        roles = estimate(load_config(toy_task, [f"strategy.words={words}"])).roles
        calls[words] = next(one.calls for one in roles if one.role == "labeler")
    assert calls[18] - calls[0] == 18
