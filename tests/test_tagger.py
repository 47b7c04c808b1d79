"""The student for entities, on a tiny uncased body."""

from __future__ import annotations

import json
import random
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from fake_llm import FILLERS, WORDS
from transformers import AutoModel, AutoTokenizer

from evokd.config import StudentSection
from evokd.errors import ConfigError
from evokd.records import Entity, Example
from evokd.tasks.ner import NamedEntities, TaggedText, from_entities, split_tokens
from evokd.tools.students import check_student
from evokd.tools.tagger import (
    Tagger,
    case_of,
    cut_windows,
    read_rows,
    tags_of,
    train_tagger,
)
from evokd.tools.training import (
    NEW_FACTOR,
    Lesson,
    RowChoice,
    TrainingRow,
    _load_pretrained,
    fit_lesson,
)

LABELS = ["fruit", "metal"]
WINDOW = 16


def sentence(rng: random.Random) -> TrainingRow:
    """A fruit in capitals is an entity, one in small letters is none; so are metals."""
    label = rng.choice(LABELS)
    word = rng.choice(WORDS[label])
    tokens, tags = [rng.choice(FILLERS), word, rng.choice(FILLERS)], ["O", "O", "O"]
    if rng.random() < 0.7:
        tokens[1], tags[1] = word.title(), f"B-{label}"
        if rng.random() < 0.5:
            tokens[2], tags[2] = rng.choice(WORDS[label]).title(), f"I-{label}"
    row = NamedEntities().check_row({"tokens": tokens, "tags": tags}, "x:1", LABELS)
    return replace(TrainingRow.of(row), label=label)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, tiny_student: Path) -> Path:
    rng = random.Random(1)
    folder = tmp_path_factory.mktemp("tagger")
    settings = StudentSection(
        model=f"path:{tiny_student}",
        max_length=WINDOW,
        min_steps=250,
        max_steps=250,
        learning_rate=0.01,
        freeze_embeddings=False,
        threads=1,
    )
    rows = [sentence(rng) for _ in range(120)]
    train_tagger(rows, LABELS, str(tiny_student), folder, settings, random_seed=0)
    return folder


@pytest.fixture
def tagger(trained: Path) -> Tagger:
    return Tagger(trained, max_length=WINDOW, precision="fp32")


def plain(text: str) -> TaggedText:
    return from_entities(text, [])


def found(tagger: Tagger, text: str) -> list[tuple[str, str]]:
    (said,) = tagger.predict([plain(text)])
    return [(text[one.start : one.end], one.label) for one in said.entities]


def test_an_uncased_body_tells_entities_by_their_case(tagger: Tagger) -> None:
    assert found(tagger, "old Apple new") == [("Apple", "fruit")]
    assert found(tagger, "old apple new") == []
    assert found(tagger, "old Iron  Gold") == [("Iron  Gold", "metal")]


def test_what_was_learnt_is_told_well_beyond_the_rows(tagger: Tagger) -> None:
    rng = random.Random(2)
    kind = NamedEntities()
    rows = [sentence(rng).example for _ in range(60)]
    said = tagger.predict(kind.inputs(rows))
    assert sum(not kind.mistakes(row, one) for row, one in zip(rows, said, strict=True)) > 50
    assert all(0 < found.confidence <= 1 for one in said for found in one.entities)


def test_a_long_text_is_read_to_its_end(tagger: Tagger) -> None:
    text = " ".join(["old small"] * 20 + ["Apple"] + ["old small"] * 20 + ["Iron"])
    assert len(split_tokens(text)) > 5 * WINDOW
    assert found(tagger, text) == [("Apple", "fruit"), ("Iron", "metal")]


def test_every_word_is_in_a_window_and_none_is_too_long(tiny_student: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_student)
    words = ["apple", "zzzzzzzzzzzzzzzzzzzzzzzzzzzzzz", "\u200b", "x"] * 9
    windows = cut_windows(tokenizer, words, WINDOW)
    assert {place for one in windows for place in one.words} == set(range(len(words)))
    for one in windows:
        assert len(one.pieces) == len(one.cases) <= WINDOW
        assert len(one.words) == len(one.heads)


def test_a_tokenizer_that_reads_the_space_before_a_word_is_given_it(tiny_student: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    pieces = ["[UNK]", "[CLS]", "[SEP]", "In", "Rome", "\u0120Rome", ",", "\u0120,"]
    known = Tokenizer(models.WordLevel({one: at for at, one in enumerate(pieces)}, "[UNK]"))
    known.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    spaced = PreTrainedTokenizerFast(
        tokenizer_object=known, unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    )
    row = plain("In \n Rome, (Rome)")
    assert row.spaced_words == ["In", " Rome", ",", " (", "Rome", ")"]
    (window,) = cut_windows(spaced, row.spaced_words, WINDOW)
    found = [pieces[one] for one in window.pieces[1:-1]]
    assert found == ["In", "\u0120Rome", ",", "[UNK]", "Rome", "[UNK]"]
    assert window.cases[1:-1] == [1, 1, 0, 0, 1, 0]
    # Others drop it.
    bert = AutoTokenizer.from_pretrained(tiny_student)
    words = ["old", "Apple", "zz9", "\u200b"]
    assert cut_windows(bert, [f" {word}" for word in words], WINDOW) == cut_windows(
        bert, words, WINDOW
    )


def test_a_tokenizer_that_does_not_mark_both_ends_of_a_text_is_refused(
    tmp_path: Path, tiny_student: Path
) -> None:
    check_student("ner", str(tiny_student), WINDOW)
    unmarked = shutil.copytree(tiny_student, tmp_path / "unmarked")
    tokenizer = AutoTokenizer.from_pretrained(tiny_student)
    tokenizer.sep_token = None
    tokenizer.save_pretrained(unmarked)
    check_student("classification", str(unmarked), WINDOW)
    with pytest.raises(ConfigError, match=r"unmarked has no sep_token; task\.kind ner needs"):
        check_student("ner", str(unmarked), WINDOW)


def test_equal_rows_and_seed_give_equal_weights(
    tmp_path: Path, tiny_student: Path, trained: Path
) -> None:
    rows = [sentence(random.Random(seed)) for seed in range(20)]
    settings = StudentSection(model="", min_steps=5, max_steps=5, threads=1)
    said: list[Any] = []
    for name in "ab":
        train_tagger(rows, LABELS, str(tiny_student), tmp_path / name, settings, random_seed=3)
        said.append(Tagger(tmp_path / name).probabilities([plain("old Apple new")]))
    assert said[0] == said[1]


def test_what_begins_at_random_learns_ten_times_as_quickly(
    tmp_path: Path, tiny_student: Path
) -> None:
    rows = [sentence(random.Random(seed)) for seed in range(20)]
    settings = StudentSection(model="", min_steps=1, max_steps=1, warmup=0, threads=1)
    train_tagger(rows, LABELS, str(tiny_student), tmp_path, settings, random_seed=3)
    after = Tagger(tmp_path)._model.state_dict()
    before = AutoModel.from_pretrained(tiny_student).state_dict()
    kind = "embeddings.token_type_embeddings.weight"
    layer = "encoder.layer.0.attention.self.query.weight"
    # Adam's first step is as long as the learning rate, whatever the gradient.
    told = (after[f"bert.{kind}"] - before[kind][:1]).abs().max()
    other = (after[f"bert.{layer}"] - before[layer]).abs().max()
    assert float(told) == pytest.approx(NEW_FACTOR * float(other), rel=0.05)

    bias = "classifier.bias"  # it begins at nought
    assert float(after[bias].abs().max()) == pytest.approx(NEW_FACTOR * float(other), rel=0.05)
    again = tmp_path / "again"
    train_tagger(rows, LABELS, str(tmp_path), again, settings, random_seed=3)
    went_on = Tagger(again)._model.state_dict()[bias] - after[bias]
    assert float(went_on.abs().max()) == pytest.approx(float(other), rel=0.05)


def test_a_student_keeps_what_entities_were_like_where_it_learnt(trained: Path) -> None:
    habits = json.loads((trained / "config.json").read_text(encoding="utf-8"))["entity_habits"]
    assert habits["names"] == sorted(LABELS)
    assert habits["adjacent_cost"] > 1  # every other entity goes on, none begins behind another


def nearly_sure(chosen: list[str], tags: list[str]) -> list[list[float]]:
    """Return what a tagger says that is nearly sure of these tags, a distribution a token."""
    return [[0.9 if tag == one else 0.02 for tag in tags] for one in chosen]


def test_the_likeliest_valid_tags_are_entities(
    tagger: Tagger, monkeypatch: pytest.MonkeyPatch
) -> None:
    tags = tags_of(LABELS)
    order = ["B-fruit", "I-fruit", "O", "I-metal", "O", "B-metal", "B-metal"]
    monkeypatch.setattr(tagger, "probabilities", lambda texts: [nearly_sure(order, tags)])
    row = plain("A b C D E F h")  # "h" is small, and metals are names to this student
    (said,) = tagger.predict([row])
    # An I- that follows nothing is no entity, nor is a B- that is all in small letters.
    assert [(row.text[e.start : e.end], e.label) for e in said.entities] == [
        ("A b", "fruit"),
        ("F", "metal"),
    ]
    assert [one.confidence for one in said.entities] == pytest.approx([0.9] * 2)
    assert (said.label, said.confidence) == ("fruit", 0.9)


def test_a_text_without_capitals_may_name_something(
    tagger: Tagger, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = nearly_sure(["O", "B-metal", "O"], tags_of(LABELS))
    monkeypatch.setattr(tagger, "probabilities", lambda texts: [said] * len(texts))
    written, typed = tagger.predict([plain("We love 2"), plain("we love 2")])
    assert not written.entities  # a writer who knows capitals gives names one
    assert [(e.start, e.end, e.label) for e in typed.entities] == [(3, 7, "metal")]


def lesson_with_planted_tags(
    tiny_student: Path, noise: Literal["none", "mixture"], generated: bool = True
) -> tuple[Lesson, set[tuple[int, int]], set[tuple[int, int]]]:
    """Teach 20 gold rows and 80 generated ones; some fillers of the latter are called fruits.

    Returns:
        the lesson after it; (row, word) of what was planted; the same of all other tokens.
    """
    rng = random.Random(0)
    right = [sentence(rng) for _ in range(100)]
    planted = {(at, 0) for at in range(20, 100, 10)}
    rows = [
        replace(
            row,
            entities=(Entity(start=0, end=row.text.index(" "), label="fruit"), *row.entities),
        )
        if (at, 0) in planted
        else row
        for at, row in enumerate(right)
    ]
    if generated:
        rows = [*rows[:20], *(replace(row, confidence=0.9) for row in rows[20:])]
    settings = StudentSection(
        model="", max_length=WINDOW, min_steps=60, max_steps=60, threads=1, learning_rate=0.01,
        freeze_embeddings=False,
    )  # fmt: skip
    tags = tags_of(LABELS)
    choice = RowChoice(selection="random", noise=noise)
    torch.manual_seed(0)
    model, tokenizer = _load_pretrained(Tagger.kind, str(tiny_student), tags, settings)
    lesson = read_rows(model, tokenizer, rows, tags, settings, choice)
    fit_lesson(model, lambda: lesson, settings, 0)
    words = {(at, word) for at, row in enumerate(rows) for word in range(len(row.text.split()))}
    return lesson, planted, words - planted


def test_halfway_more_of_the_wrong_tags_are_left_out_than_of_the_others(tiny_student: Path) -> None:
    lesson, planted, others = lesson_with_planted_tags(tiny_student, "mixture")
    assert lesson.ignored is not None
    shares = [len(lesson.ignored & some) / len(some) for some in (planted, others)]
    assert shares[0] > 0.8 > 0.15 > shares[1]
    assert min(row for row, _ in lesson.ignored) >= 20  # gold rows are learnt to the end


def test_without_noise_or_generated_rows_every_token_is_learnt(tiny_student: Path) -> None:
    assert lesson_with_planted_tags(tiny_student, "none")[0].ignored is None
    assert lesson_with_planted_tags(tiny_student, "mixture", generated=False)[0].ignored is None


def test_a_batch_of_which_nothing_is_left_teaches_nothing(
    tiny_student: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("evokd.tools.tagger.noisy_rows", lambda losses: range(len(losses)))
    lesson, planted, others = lesson_with_planted_tags(tiny_student, "mixture")
    generated = {one for one in planted | others if one[0] >= 20}
    assert lesson.ignored == generated
    assert lesson.loss_of(list(range(20, 30))).item() == 0.0


def test_a_word_that_is_left_out_of_one_window_counts_in_no_other(
    tiny_student: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = TrainingRow("old Apple new " * 10, "none", confidence=0.9)
    settings = StudentSection(
        model="", max_length=WINDOW, min_steps=2, max_steps=2, threads=1, freeze_embeddings=False
    )
    tags = tags_of(LABELS)
    model, tokenizer = _load_pretrained(Tagger.kind, str(tiny_student), tags, settings)
    words = plain(long.text).spaced_words
    read = [word for one in cut_windows(tokenizer, words, WINDOW) for word in one.words]
    firsts = [read.index(word) for word in range(len(words))]
    assert len(firsts) < len(read)  # some stand in two windows
    monkeypatch.setattr("evokd.tools.tagger.noisy_rows", lambda losses: firsts)
    choice = RowChoice(selection="random", noise="mixture")
    lesson = read_rows(model, tokenizer, [long], tags, settings, choice)
    fit_lesson(model, lambda: lesson, settings, 0)
    assert lesson.ignored == {(0, word) for word in range(len(words))}
    assert lesson.loss_of(list(range(len(lesson.rows)))).item() == 0.0


@pytest.mark.parametrize(
    ("word", "case"),
    [
        ("apple", 0),
        ("Apple", 1),
        ("A", 1),
        ("USA", 2),
        ("iPhone", 3),
        ("McX", 3),
        ("5th", 3),
        ("北", 0),
    ],
)
def test_case(word: str, case: int) -> None:
    assert case_of(word) == case


def test_the_tagger_loads_with_plain_transformers(trained: Path) -> None:
    from transformers import AutoModelForTokenClassification

    model = AutoModelForTokenClassification.from_pretrained(trained)
    assert sorted(model.config.id2label.values()) == sorted(tags_of(LABELS))
    assert model.config.type_vocab_size == 4


def test_plain_transformers_that_are_told_nothing_of_case_overlook_names(
    trained: Path, tagger: Tagger
) -> None:
    from transformers import pipeline

    text = "old Apple new"
    told = pipeline("token-classification", str(trained))(text)
    assert {one["entity"] for one in told} <= {"O"}
    assert found(tagger, text)


def test_words_of_a_text_are_its_tokens() -> None:
    row = from_entities("In  Rome!", [Entity(start=4, end=8, label="fruit")])
    assert row.words == ["In", "Rome", "!"]


@pytest.mark.parametrize("text", ["", "   ", "\u200b"])
def test_in_a_text_without_words_nothing_is_found(tagger: Tagger, text: str) -> None:
    (asked,) = NamedEntities().inputs([Example(text=text, label="")])
    (said, other) = tagger.predict([asked, plain("old Apple new")])
    assert said.entities == []
    assert other.entities


def test_a_student_that_goes_on_keeps_what_it_learnt_of_case(trained: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    settings = StudentSection(model="", min_steps=1, max_steps=1, threads=1, learning_rate=1e-9)
    rows = [sentence(random.Random(seed)) for seed in range(8)]
    train_tagger(rows, LABELS, str(trained), tmp_path / "next", settings, random_seed=0)
    name = "bert.embeddings.token_type_embeddings.weight"
    before, after = (
        load_file(one / "model.safetensors")[name] for one in (trained, tmp_path / "next")
    )
    assert (before - after).abs().max() < 1e-5
    assert (before[0] - before[1]).abs().max() > 1e-3
