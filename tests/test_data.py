"""Rows of a classification task: what is read, refused, kept once or dropped; the metrics."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from evokd.config import Config
from evokd.errors import EXIT_REFUSED, DataError
from evokd.task_file import parse_config
from evokd.tasks import TaskData, content_key, copy_key, load_task_data, normalize
from evokd.tasks.classification import accuracy, confusion_matrix, recall_by_label
from evokd.tasks.rows import read_rows

Row = tuple[str, str]
SEED = [("my card was stolen", "lost"), ("where is my new card", "arrival")]


def jsonl(rows: Sequence[Row]) -> str:
    return "".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in rows)


def config_over(folder: Path, **files: str | bytes) -> Config:
    """Return a task whose splits hold the given file contents."""
    data = {}
    for split, content in files.items():
        path = folder / f"{split}.jsonl"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        data[split] = str(path)
    labels = {"lost": "card is gone", "arrival": "card is on its way"}
    task = {"kind": "classification", "name": "t", "instructions": "i", "labels": labels}
    return parse_config({"task": task, "data": data}, "task.yaml")


def load(folder: Path, **splits: Sequence[Row]) -> TaskData:
    return load_task_data(
        config_over(folder, **{name: jsonl(rows) for name, rows in splits.items()})
    )


def refusal(config: Config) -> str:
    with pytest.raises(DataError) as caught:
        load_task_data(config)
    assert caught.value.exit_code == EXIT_REFUSED
    return str(caught.value)


def test_good_rows_are_read_without_a_warning(tmp_path: Path) -> None:
    data = load(tmp_path, seed=SEED, test=[("has it been sent", "arrival")])
    assert [(row.text, row.label) for row in data.seed] == SEED
    assert (data.labels, data.validation, data.warnings) == (("lost", "arrival"), (), ())


def test_an_unknown_label_is_named_with_file_line_and_nearest(tmp_path: Path) -> None:
    said = refusal(config_over(tmp_path, seed=jsonl([*SEED, ("hello there", "arival")])))
    assert "seed.jsonl:3: unknown label 'arival', did you mean 'arrival'?" in said
    assert "lost, arrival" in said


@pytest.mark.parametrize("label", [None, 3, ["lost"]])
def test_a_label_that_is_no_text_is_unknown(tmp_path: Path, label: object) -> None:
    line = json.dumps({"text": "x", "label": label})
    assert "seed.jsonl:1: unknown label" in refusal(config_over(tmp_path, seed=line))


@pytest.mark.parametrize("text", ["", "   ", None, 7])
def test_a_row_without_text_is_refused(tmp_path: Path, text: object) -> None:
    line = json.dumps({"text": text, "label": "lost"})
    assert "seed.jsonl:1: the text is empty" in refusal(config_over(tmp_path, seed=line))


@pytest.mark.parametrize("missing", ["text", "label"])
def test_a_row_without_a_key_says_which_and_what_it_has(tmp_path: Path, missing: str) -> None:
    row = {"text": "x", "label": "lost", "extra": 1}
    del row[missing]
    said = refusal(config_over(tmp_path, seed=json.dumps(row)))
    assert f"seed.jsonl:1: no key {missing!r}" in said
    assert "'extra'" in said


@pytest.mark.parametrize("content", ["", "\n \n"])
def test_a_file_without_rows_is_refused(tmp_path: Path, content: str) -> None:
    assert "seed.jsonl: no rows" in refusal(config_over(tmp_path, seed=content))


def test_an_empty_test_file_is_refused_too(tmp_path: Path) -> None:
    assert "test.jsonl: no rows" in refusal(config_over(tmp_path, seed=jsonl(SEED), test=""))


def test_one_text_with_two_labels_is_refused(tmp_path: Path) -> None:
    said = refusal(config_over(tmp_path, seed=jsonl([*SEED, ("My  CARD was stolen", "arrival")])))
    assert "seed.jsonl:3" in said
    assert "'arrival' here and the label 'lost' above" in said


def test_duplicates_are_kept_once_and_warned_about(tmp_path: Path) -> None:
    data = load(tmp_path, seed=[*SEED, SEED[0], ("MY CARD was  stolen", "lost")])
    assert [(row.text, row.label) for row in data.seed] == SEED
    assert data.warnings == ("seed: 2 duplicate row(s) kept once",)


def test_a_label_without_a_seed_is_refused(tmp_path: Path) -> None:
    said = refusal(config_over(tmp_path, seed=jsonl(SEED[:1])))
    assert "no seed row for label(s) arrival" in said


def test_test_rows_among_the_seeds_are_dropped_and_warned_about(tmp_path: Path) -> None:
    leaked = ("i lost my card", "lost")
    data = load(tmp_path, seed=[*SEED, leaked], test=[("I lost  my card", "lost")])
    assert [(row.text, row.label) for row in data.seed] == SEED
    assert len(data.test) == 1
    assert data.warnings == ("seed: 1 row(s) that also stand in test were dropped",)


def test_a_label_whose_only_seed_stands_in_test_is_refused(tmp_path: Path) -> None:
    said = refusal(config_over(tmp_path, seed=jsonl(SEED), test=jsonl(SEED[:1])))
    assert "no seed row for label(s) lost" in said


def test_validation_loses_what_stands_in_test_or_among_the_seeds(tmp_path: Path) -> None:
    kept, in_test = ("any news of the card", "arrival"), ("gone is my card", "lost")
    data = load(tmp_path, seed=SEED, validation=[kept, in_test, SEED[0]], test=[in_test])
    assert [(row.text, row.label) for row in data.validation] == [kept]
    assert len(data.warnings) == 2


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    config = config_over(tmp_path, seed=jsonl(SEED))
    config.data.test = str(tmp_path / "absent.jsonl")
    assert f"no data file at {tmp_path / 'absent.jsonl'}" in refusal(config)


def test_a_folder_is_no_data_file(tmp_path: Path) -> None:
    config = config_over(tmp_path, seed=jsonl(SEED))
    config.data.seed = str(tmp_path)
    assert "is a folder" in refusal(config)


def test_a_file_that_is_not_utf8_is_refused_with_the_place(tmp_path: Path) -> None:
    content = '{"text": "café", "label": "lost"}'.encode("latin-1")
    said = refusal(config_over(tmp_path, seed=content))
    assert "seed.jsonl is not UTF-8 (byte 13)" in said


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{not json", "not valid JSON (Expecting property name"),
        ('["x"]', "expected an object"),
        ("[" * 100_000, "not valid JSON ("),
        ('{"end": ' + "1" * 5000 + "}", "not valid JSON (Exceeds the limit"),
    ],
    ids=["no JSON", "a list", "brackets", "digits"],
)
def test_a_line_that_is_no_object_is_refused(tmp_path: Path, line: str, said: str) -> None:
    config = config_over(tmp_path, seed=jsonl(SEED) + line)
    assert f"seed.jsonl:3: {said}" in refusal(config)


def test_half_a_character_is_refused(tmp_path: Path) -> None:
    line = '{"text": "my card \\ud83d", "label": "lost"}\n'
    assert "seed.jsonl:3" in refusal(config_over(tmp_path, seed=jsonl(SEED) + line))


def test_gzip_and_a_byte_order_mark_are_read(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl.gz"
    path.write_bytes(gzip.compress(b"\xef\xbb\xbf" + jsonl(SEED).encode()))
    assert [row["label"] for _, row in read_rows(path)] == ["lost", "arrival"]


@pytest.mark.parametrize("harm", ["cut", "plain", "checksum", "inside"])
def test_a_broken_gzip_file_is_refused(tmp_path: Path, harm: str) -> None:
    whole = gzip.compress(jsonl(SEED * 20).encode())
    broken = {
        "cut": whole[:-12],
        "plain": jsonl(SEED).encode(),
        "checksum": whole[:-8] + b"\0\0\0\0" + whole[-4:],
        "inside": whole[:10] + b"\xff" + whole[11:],
    }
    path = tmp_path / "rows.jsonl.gz"
    path.write_bytes(broken[harm])
    with pytest.raises(DataError, match=r"rows\.jsonl\.gz is not a complete gzip file"):
        list(read_rows(path))


def test_csv_is_read_with_quotes_and_commas(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text('label,text\nlost,"gone, ""all"" of it"\n', encoding="utf-8")
    ((number, row),) = read_rows(path)
    assert (number, row["text"], row["label"]) == (2, 'gone, "all" of it', "lost")


def test_csv_without_the_columns_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("question,label\nx,lost\n", encoding="utf-8")
    with pytest.raises(DataError, match="header is .*expected the columns text and label"):
        list(read_rows(path))


def test_a_csv_row_without_a_label_is_refused(tmp_path: Path) -> None:
    config = config_over(tmp_path, seed=jsonl(SEED))
    path = tmp_path / "rows.csv"
    path.write_text("text,label\nmy card\n", encoding="utf-8")
    config.data.seed = str(path)
    assert "rows.csv:2: unknown label None" in refusal(config)


def test_the_digest_changes_with_any_row(tmp_path: Path) -> None:
    one = load(tmp_path, seed=SEED)
    same = load(tmp_path, seed=SEED)
    other = load(tmp_path, seed=[SEED[0], ("where is my old card", "arrival")])
    assert one.digest == same.digest != other.digest


@pytest.mark.parametrize("text", ["Where IS it", " where  is\tit ", "ｗｈｅｒｅ is it"])
def test_texts_that_differ_in_case_width_or_spaces_are_the_same(text: str) -> None:
    assert normalize(text) == "where is it"


def test_a_copy_is_known_but_for_quotes_and_ends_of_sentences() -> None:
    assert copy_key("“Where's it?” ") == copy_key("where's it.") == "where's it"
    assert copy_key("It costs $1.50, so…") == "it costs $1.50 so"
    for one, other in (("3 + 4?", "3 - 4?"), ("3 4", "34"), ("$1.50", "$150"), ("+3", "3.")):
        assert copy_key(one) != copy_key(other)
    assert copy_key("कि") != copy_key("की")  # they differ by a mark
    assert copy_key("?!") == "?!" != copy_key("…")


@pytest.mark.parametrize("sums", [False, True])
@pytest.mark.parametrize(
    "dressed",
    [
        "- I lost my card",
        "**I lost my card**",
        "(I lost my card)",
        "I lost my card 😢",
        "☎️ I lost my card :)",
        "I lost my card --",
        '  * "I LOST my card"...',
    ],
)
def test_a_copy_is_known_in_any_dress(dressed: str, sums: bool) -> None:
    assert content_key(dressed, sums=sums) == content_key("I lost my card", sums=sums)


def test_what_tells_texts_apart_is_no_dress() -> None:
    assert content_key("I lost *my* card") == content_key("I lost my card")
    assert content_key("I lost my card 2") != content_key("I lost my card")
    assert content_key("कि") != content_key("की")  # they differ by a mark
    assert content_key(":)") != content_key(":(")
    for one, other in [("What is 3 + 4?", "What is 3 - 4?"), ("-3 + 4", "3 + 4"), ("1.5", "15")]:
        assert content_key(one, sums=True) != content_key(other, sums=True)


def test_metrics_of_a_hand_computed_case() -> None:
    gold, said = ["a", "a", "a", "b"], ["a", "b", "a", "a"]
    assert accuracy(gold, said) == 0.5
    assert recall_by_label(gold, said, ["a", "b", "c"]) == {"a": 2 / 3, "b": 0.0}
    assert confusion_matrix(gold, said, ["a", "b"]) == [[2, 1], [1, 0]]


def test_accuracy_of_unequal_lengths_is_an_error() -> None:
    with pytest.raises(ValueError, match="2 gold labels but 1 predictions"):
        accuracy(["a", "b"], ["a"])
