"""Training the student: schedule, sampler, equal weights for equal seeds, and what is saved."""

from __future__ import annotations

import json
import math
import os
import random
import resource
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from fake_llm import WORDS
from transformers import BertConfig, RobertaConfig, T5Config, XLNetConfig

from evokd.config import StudentSection
from evokd.errors import ConfigError, StorageError
from evokd.records import Entity
from evokd.tools import training
from evokd.tools.student import Student, resolve_student, uses_bf16
from evokd.tools.students import train_student
from evokd.tools.training import (
    RowChoice,
    Schedule,
    TrainingResult,
    TrainingRow,
    _read_texts,
    balanced_batches,
    check_length,
    check_pretrained,
    plan_schedule,
    read_training_rows,
    train,
    write_training_rows,
)

LABELS = list(WORDS)
ROWS = [TrainingRow(f"{word} here", label) for label in LABELS for word in WORDS[label][:4]]
SETTINGS = StudentSection(
    min_steps=30, max_steps=30, threads=1, learning_rate=0.01, freeze_embeddings=False
)


def teach(
    weights: Path, folder: Path, seed: int = 0, repeat: bool = True, **changes: Any
) -> TrainingResult:
    settings = SETTINGS.model_copy(update=changes)
    return train(ROWS, LABELS, str(weights), folder, settings, random_seed=seed, repeat=repeat)


def weights_of(folder: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")


# Schedule and sampler


@pytest.mark.parametrize(
    ("rows", "schedule"),
    [
        (8, Schedule(8, 120, 3e-5)),  # never more rows a batch than there are
        (30, Schedule(16, 120, 3e-5)),  # 8·30/16 = 15, raised to 120
        (255, Schedule(16, 128, 3e-5)),  # ⌈127.5⌉
        (256, Schedule(64, 120, 6e-5)),  # 8·256/64 = 32; four times the batch, √4 the rate
        (4000, Schedule(64, 500, 6e-5)),
        (9000, Schedule(64, 600, 6e-5)),  # 1125, cut to 600
    ],
)
def test_the_schedule_of_hand_computed_cases(rows: int, schedule: Schedule) -> None:
    assert plan_schedule(rows, StudentSection()) == schedule


@pytest.mark.parametrize(("rows", "steps"), [(5, 1), (16, 1), (17, 2), (257, 5)])
def test_without_repeating_every_row_is_passed_once(rows: int, steps: int) -> None:
    assert plan_schedule(rows, StudentSection(), repeat=False).steps == steps


def draws(rows: list[TrainingRow], size: int, steps: int, seed: int = 0) -> list[list[int]]:
    lengths = [len(row.text) for row in rows]
    return list(balanced_batches(rows, lengths, size, steps, random.Random(seed)))


def test_batches_have_the_asked_number_and_size() -> None:
    batches = draws(ROWS, 5, 7)
    assert [len(batch) for batch in batches] == [5] * 7


def test_every_label_gets_the_same_share_however_many_rows_it_has() -> None:
    rows = [
        *[TrainingRow(f"a {i}", "a") for i in range(20)],
        TrainingRow("b", "b"),
        TrainingRow("c", "c"),
        TrainingRow("d", "c"),
    ]
    counts = Counter(rows[i].label for batch in draws(rows, 4, 25) for i in batch)
    assert sum(counts.values()) == 100
    assert max(counts.values()) - min(counts.values()) <= 1


def test_a_row_of_weight_three_counts_three_times_a_pass() -> None:
    rows = [TrainingRow("seed", "a", 3), TrainingRow("x", "a"), TrainingRow("y", "a")]
    counts = Counter(i for batch in draws(rows, 5, 4) for i in batch)
    assert counts == {0: 12, 1: 4, 2: 4}


def test_texts_of_similar_length_share_a_batch_and_batches_come_in_any_order() -> None:
    rows = [TrainingRow("x" * (1 + place), "a") for place in range(16)]
    batches = draws(rows, 2, 8)  # one pass
    assert sorted(map(sorted, batches)) == [[place, place + 1] for place in range(0, 16, 2)]
    assert batches != sorted(batches)


def test_equal_seeds_draw_equal_batches_and_others_do_not() -> None:
    assert draws(ROWS, 4, 9, seed=1) == draws(ROWS, 4, 9, seed=1) != draws(ROWS, 4, 9, seed=2)


# Training


@pytest.fixture(scope="module")
def taught(tiny_student: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A student that has learned the toy labels."""
    folder = tmp_path_factory.mktemp("taught") / "student"
    teach(tiny_student, folder)
    return folder


def test_the_student_learns_its_rows(taught: Path) -> None:
    said = Student(taught).predict([row.text for row in ROWS])
    assert [one.label for one in said] == [row.label for row in ROWS]
    assert min(one.confidence for one in said) > 1 / len(LABELS)


def test_equal_seeds_give_equal_weights_bit_for_bit(
    taught: Path, tiny_student: Path, tmp_path: Path
) -> None:
    teach(tiny_student, tmp_path / "same")
    teach(tiny_student, tmp_path / "other", seed=1)
    first, same, other = (
        weights_of(folder) for folder in (taught, tmp_path / "same", tmp_path / "other")
    )
    assert all(first[name].equal(same[name]) for name in first)
    assert not all(first[name].equal(other[name]) for name in first)


LOAD = """
import sys, json
from transformers import AutoModelForSequenceClassification, AutoTokenizer
assert "evokd" not in sys.modules
folder = sys.argv[1]
model = AutoModelForSequenceClassification.from_pretrained(folder, trust_remote_code=True)
batch = AutoTokenizer.from_pretrained(folder)(["apple here"], return_tensors="pt")
print(json.dumps(model(**batch).logits[0].softmax(-1).tolist()))
print(json.dumps(model.config.id2label))
"""


@pytest.mark.parametrize("pooling", ["mean", "own"])
def test_a_saved_student_loads_with_plain_transformers(
    pooling: str, tiny_student: Path, tmp_path: Path
) -> None:
    teach(tiny_student, tmp_path / "student", pooling=pooling)
    loaded = subprocess.run(
        [sys.executable, "-c", LOAD, str(tmp_path / "student")],
        env={**os.environ, "HF_HOME": str(tmp_path / "hub")},
        capture_output=True,
        text=True,
        check=True,
    )
    probabilities, labels = map(json.loads, loaded.stdout.splitlines()[-2:])
    assert list(labels.values()) == LABELS
    expected = Student(tmp_path / "student", precision="fp32").probabilities(["apple here"])[0]
    assert probabilities == pytest.approx(expected, abs=1e-5)


def test_a_student_keeps_no_path_of_the_machine(taught: Path, tiny_student: Path) -> None:
    written = "".join(
        one.read_text(encoding="utf-8") for one in taught.iterdir() if one.suffix == ".json"
    )
    assert str(tiny_student) not in written


def test_the_mean_leaves_padding_out(taught: Path) -> None:
    text, longer = "apple here", "apple here apple here apple here apple here"
    student = Student(taught, precision="fp32")
    alone, padded = student.probabilities([text])[0], student.probabilities([text, longer])[0]
    assert padded == pytest.approx(alone, abs=1e-5)


def test_a_new_head_is_the_labels_centroids(tiny_student: Path) -> None:
    import torch
    from transformers import AutoModel

    from evokd.tools.mean_pooling import SHARPNESS, MeanPoolingClassifier

    model = MeanPoolingClassifier.on(AutoModel.from_pretrained(tiny_student), num_labels=3)
    means = torch.zeros(4, 32)
    means[0, 0] = means[1, 0] = 5.0  # label 0, twice
    means[2, 1] = 2.0  # label 1; label 2 has no rows
    model.imprint(means[:3], torch.tensor([0, 0, 1]))
    weights = model.classifier.weight * 16 / SHARPNESS
    # Centroids (1, 0), (0, 1) and none, less their mean (1/3, 1/3).
    assert weights[:2, :2].flatten().tolist() == pytest.approx([2 / 3, -1 / 3, -1 / 3, 2 / 3])
    assert weights[2].abs().sum() == 0
    assert model.classifier.bias.abs().sum() == 0


def test_the_head_of_a_student_that_goes_on_is_not_set_anew(taught: Path, tmp_path: Path) -> None:
    teach(taught, tmp_path / "next", learning_rate=1e-9)
    before, after = weights_of(taught), weights_of(tmp_path / "next")
    assert (before["classifier.weight"] - after["classifier.weight"]).abs().max() < 1e-5


def test_frozen_embeddings_stay_and_the_rest_moves(tiny_student: Path, tmp_path: Path) -> None:
    teach(tiny_student, tmp_path / "frozen", freeze_embeddings=True)
    after = weights_of(tmp_path / "frozen")
    before = {
        name.replace("bert.", "encoder.", 1): one for name, one in weights_of(tiny_student).items()
    }
    frozen = [name for name in after if ".embeddings." in name]
    assert frozen
    assert all(before[name].equal(after[name]) for name in frozen)
    assert any(not before[name].equal(after[name]) for name in after if ".layer." in name)


def test_embeddings_that_are_not_frozen_move(taught: Path, tiny_student: Path) -> None:
    name = "embeddings.word_embeddings.weight"
    before, after = weights_of(tiny_student)[f"bert.{name}"], weights_of(taught)[f"encoder.{name}"]
    assert not before.equal(after)


def test_the_result_tells_what_was_done(tiny_student: Path, tmp_path: Path) -> None:
    result = teach(tiny_student, tmp_path / "once", repeat=False, precision="fp32")
    assert (result.rows, result.steps, result.batch_size) == (12, 1, 12)
    assert result.precision == "fp32"


def test_weights_that_cannot_be_loaded_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="student.model: cannot load .*absent"):
        teach(tmp_path / "absent", tmp_path / "out")


def test_texts_longer_than_the_student_reads_are_refused(tiny_student: Path, taught: Path) -> None:
    for folder in (tiny_student, taught):
        check_pretrained(str(folder), 64)
        with pytest.raises(ConfigError, match=r"max_length: found 65, .* reads 64 tokens at most"):
            check_pretrained(str(folder), 65)


@pytest.mark.parametrize(
    ("config", "most"),
    [
        (RobertaConfig(max_position_embeddings=514), 512),
        (BertConfig(max_position_embeddings=512), 512),
        (XLNetConfig(), None),
        (T5Config(), None),
    ],
)
def test_a_config_says_how_many_tokens_are_read(config: Any, most: int | None) -> None:
    check_length(config, "it", most or 8192)
    if most:
        with pytest.raises(ConfigError, match=f"found {most + 1}, but it reads {most} tokens"):
            check_length(config, "it", most + 1)


def test_a_full_disk_while_the_student_is_saved_is_a_storage_error(
    tiny_student: Path, tmp_path: Path
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, hard))
    try:
        with pytest.raises(StorageError, match="cannot write .*out"):
            teach(tiny_student, tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


# The tool


def call_tool(rows: list[TrainingRow], weights: Path, folder: Path) -> dict[str, Any]:
    write_training_rows(rows, folder / "rows.jsonl")
    result: dict[str, Any] = train_student.invoke(
        {
            "kind": "classification",
            "rows_file": str(folder / "rows.jsonl"),
            "labels": LABELS,
            "model": str(weights),
            "output_dir": str(folder / "out"),
            "settings": SETTINGS.model_dump(),
        }
    )
    return result


def test_the_tool_trains_like_the_core(taught: Path, tiny_student: Path, tmp_path: Path) -> None:
    assert call_tool(ROWS, tiny_student, tmp_path)["steps"] == 30
    core, tool = weights_of(taught), weights_of(tmp_path / "out")
    assert all(core[name].equal(tool[name]) for name in core)


@pytest.mark.parametrize("separator", ["\u2028", "\x85", "\n"])
def test_a_text_may_hold_a_line_separator(
    tiny_student: Path, tmp_path: Path, separator: str
) -> None:
    rows = [*ROWS, TrainingRow(f"apple{separator}pear", "fruit")]
    assert call_tool(rows, tiny_student, tmp_path)["rows"] == len(rows)


def test_the_tool_takes_no_unknown_argument() -> None:
    fields = train_student.args_schema.model_json_schema()  # type: ignore[union-attr]
    assert fields["additionalProperties"] is False


def test_training_rows_are_one_object_a_line(tmp_path: Path) -> None:
    write_training_rows([TrainingRow("größe", "a", 3)], tmp_path / "deep" / "rows.jsonl")
    line = (tmp_path / "deep" / "rows.jsonl").read_text(encoding="utf-8")
    assert json.loads(line) == {"text": "größe", "label": "a", "weight": 3}


def test_training_rows_come_back_as_they_were_written(tmp_path: Path) -> None:
    rome = Entity(start=3, end=7, label="place")
    rows = [
        TrainingRow("größe", "a", 3),
        TrainingRow("in Rome", "place", 1, (rome,)),
        TrainingRow("in Rome", "place", 1, (rome,), ((0, 2), (3, 7))),
    ]
    write_training_rows(rows, tmp_path / "rows.jsonl")
    assert read_training_rows(tmp_path / "rows.jsonl") == rows


# The student


def test_the_labels_come_in_the_order_of_the_logits(taught: Path) -> None:
    assert Student(taught).labels == LABELS


def test_probabilities_keep_the_order_of_the_texts_beyond_one_batch(taught: Path) -> None:
    student = Student(taught, precision="fp32")
    texts = [f"{row.text} {'old ' * (place % 5)}" for place, row in enumerate(ROWS * 6)]
    rows = student.probabilities(texts)
    assert [sum(row) for row in rows] == pytest.approx([1.0] * len(texts))
    for place in (0, 7, 71):
        assert rows[place] == pytest.approx(student.probabilities([texts[place]])[0], abs=1e-5)


@pytest.mark.parametrize(("precision", "bf16"), [("fp32", False), ("bf16", True)])
def test_precision_on_request_does_not_ask_the_processor(precision: str, bf16: bool) -> None:
    assert uses_bf16(precision) is bf16


def test_a_students_source_is_a_pack_a_folder_or_a_hub_id(
    tiny_student: Path, tmp_path: Path
) -> None:
    packs = {"mini": tmp_path}
    assert resolve_student("local:mini", packs) == str(tmp_path)
    assert resolve_student(f"path:{tiny_student}", packs) == str(tiny_student)
    assert resolve_student("someone/model", packs) == "someone/model"
    (tmp_path / "weights.gguf").touch()
    assert resolve_student(f"path:{tmp_path}", packs) == str(tmp_path)


@pytest.mark.parametrize(
    ("model", "said"),
    [("local:mimi", "no model pack 'mimi', did you mean 'mini'"), ("path:/x", "no config.json")],
)
def test_an_unknown_pack_or_folder_is_refused(model: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"student.model: .*{said}"):
        resolve_student(model, {"mini": tmp_path})


def pseudo_labelled() -> list[TrainingRow]:
    """Four gold rows, eight the teacher is sure of, eight it is not at all."""
    gold = [TrainingRow(f"gold {place}", "ab"[place % 2]) for place in range(4)]
    sure = [TrainingRow(f"sure {place}", "ab"[place % 2], confidence=0.9) for place in range(8)]
    unsure = [TrainingRow(f"vague {place}", "ab"[place % 2], confidence=0.0) for place in range(8)]
    return [*gold, *sure, *unsure]


def kept_rows(
    rows: list[TrainingRow], weights: Path, folder: Path, choice: RowChoice | None
) -> int | None:
    settings = StudentSection(min_steps=20, max_steps=20, threads=1)
    trained = train(rows, ["a", "b"], str(weights), folder, settings, random_seed=0, choice=choice)
    return trained.kept_rows


def test_rows_the_teacher_labelled_are_learnt_only_where_the_selection_keeps_them(
    tiny_student: Path, tmp_path: Path
) -> None:
    rows = pseudo_labelled()
    kept = {
        name: kept_rows(rows, tiny_student, tmp_path / name, RowChoice(selection=name))
        for name in ("llkd", "confidence", "uncertainty", "m-raru", "random")
    }
    assert kept["random"] == 16
    assert 0 < (kept["llkd"] or 0) <= 8  # of the unsure none
    assert 0 < (kept["confidence"] or 0) <= 8
    assert (kept["uncertainty"] or 0) > 8  # whatever the teacher thinks
    assert (kept["m-raru"] or 0) > 8


def test_rows_that_a_new_head_begins_from_count_as_kept(tiny_student: Path, tmp_path: Path) -> None:
    chosen = RowChoice(selection="confidence", imprint=True)
    assert kept_rows(pseudo_labelled(), tiny_student, tmp_path / "all", chosen) == 16
    alone = RowChoice(selection="confidence")
    assert kept_rows(pseudo_labelled(), tiny_student, tmp_path / "some", alone) == 8


def test_without_a_choice_or_open_rows_all_is_learnt(tiny_student: Path, tmp_path: Path) -> None:
    assert kept_rows(pseudo_labelled(), tiny_student, tmp_path / "all", None) is None
    gold = pseudo_labelled()[:4]
    assert kept_rows(gold, tiny_student, tmp_path / "gold", RowChoice()) is None


def test_a_mislabelled_row_is_left_out_halfway(
    tiny_student: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[float]] = []

    def first_is_noisy(losses: list[float]) -> list[int]:
        seen.append(losses)
        return [0]

    monkeypatch.setattr("evokd.tools.training.noisy_rows", first_is_noisy)
    weighed: list[list[float]] = []
    weigh = training._weights

    def watched(*arguments: Any) -> list[float]:
        weights = weigh(*arguments)
        weighed.append([w for w, at in zip(weights, arguments[3], strict=True) if at == 4])
        return weights

    monkeypatch.setattr(training, "_weights", watched)
    choice = RowChoice(selection="random", noise="mixture")
    kept_rows(pseudo_labelled(), tiny_student, tmp_path / "noisy", choice)
    assert [len(one) for one in seen] == [16]  # once, and no gold row
    first, second = weighed[:10], weighed[10:]
    assert {w for one in first for w in one} == {1.0}
    assert {w for one in second for w in one} == {0.0}


def test_the_confidence_of_a_row_is_written_and_read(tmp_path: Path) -> None:
    rows = [TrainingRow("a", "x", confidence=0.5), TrainingRow("b", "y")]
    write_training_rows(rows, tmp_path / "rows.jsonl")
    assert read_training_rows(tmp_path / "rows.jsonl") == rows


def test_the_loss_of_a_step_is_the_weighted_sum_over_the_number_of_rows_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import torch

    gold = TrainingRow(text="g", label="a")
    sure, unsure = (TrainingRow(text="t", label="a", confidence=one) for one in (0.9, 0.0))
    said = torch.tensor([[0.25, 0.75], [0.5, 0.5], [0.5, 0.5]]).log()
    monkeypatch.setattr("evokd.tools.training.logits_of", lambda model, inputs, settings: said)
    tokenizer: Any = lambda texts, **_: {"input_ids": [[1] for _ in texts]}  # noqa: E731
    tokenizer.pad = lambda inputs, **_: inputs
    lesson = _read_texts(
        object(),
        tokenizer,
        [gold, sure, unsure],
        ["a", "b"],
        StudentSection(label_smoothing=0.0),
        RowChoice(selection="llkd", weighting="product"),
        0,
    )
    # confidence: the threshold is 0.01 · 0.45, the third row is out; uncertainty: both have 1
    # gold: 1 · ln 4; the second: 0.9 · 1 · ln 2; two rows are kept
    assert float(lesson.loss_of([0, 1, 2])) == pytest.approx(2.9 * math.log(2) / 2)
    assert lesson.kept == {1}
