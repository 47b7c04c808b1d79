"""The pool: what is read from which files, what is dropped and counted, what is drawn."""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
import random
import sys
import tempfile
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evokd.errors import ConfigError, DataError, StorageError
from evokd.store.pool import Pool, Scored
from evokd.tasks.pool import (
    MOST_CHARS,
    QUESTION,
    BrokenRow,
    PoolRow,
    _checked,
    digest_of_pool,
    read_pool,
)


def texts(path: Path) -> list[str]:
    return [one.text for one in read_pool(path) if isinstance(one, PoolRow)]


def broken(path: Path) -> list[tuple[str, str]]:
    return [(one.place, one.why) for one in read_pool(path) if isinstance(one, BrokenRow)]


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[Pool]:
    pool = Pool(tmp_path / "pool.sqlite")
    yield pool
    pool.close()


def fill(pool: Pool, *rows: str) -> None:
    pool.fill((PoolRow(f"{place}", text) for place, text in enumerate(rows)), lambda row: "")


# Reading


def test_a_pool_that_is_not_there_is_called_so(tmp_path: Path) -> None:
    for name in ("texts", "pool.json", "pool.jsonl"):
        with pytest.raises(DataError, match=rf"{name}"):
            list(read_pool(tmp_path / name))
    with pytest.raises(DataError, match=r"data\.pool: there is no .*texts; check the path"):
        list(read_pool(tmp_path / "texts"))


def test_a_table_that_is_not_utf_8_is_called_so(tmp_path: Path) -> None:
    path = tmp_path / "pool.csv"
    path.write_bytes("text,label\none,x\n".encode("utf-16"))
    with pytest.raises(DataError, match="the header is not UTF-8; save the table as UTF-8"):
        list(read_pool(path))


def test_a_link_to_a_folder_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "pool").mkdir()
    (tmp_path / "pool" / "a.jsonl").write_text('{"text": "one"}\n')
    (tmp_path / "pool" / "more").symlink_to(tmp_path)
    with pytest.raises(DataError, match="more is a link to a folder"):
        list(read_pool(tmp_path / "pool"))


def test_json_lines_are_read_whatever_else_they_hold(tmp_path: Path) -> None:
    path = tmp_path / "pool.jsonl"
    path.write_text('{"text": "one", "label": "x"}\n\n{"text": "zwei ü"}\n', encoding="utf-8")
    assert texts(path) == ["one", "zwei ü"]
    assert not broken(path)


def test_what_stands_beside_a_question_is_kept_so_that_it_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / "pool.jsonl"
    rows = [
        {"question": "Where?", "choices": ["New\nYork ", " San\t Jose"]},
        {"question": "What?", "choices": ["\ud800", "b"]},
        {"question": "How many?", "answer": "\udfff"},
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    kept, *others = read_pool(path, QUESTION)
    assert isinstance(kept, PoolRow)
    assert kept.columns == {"choices": ["New York", "San Jose"]}
    assert others == [BrokenRow(f"pool.jsonl:{line}", "half a surrogate pair") for line in (2, 3)]
    priced = _checked(
        "pool.parquet:1", {"question": "How much?", "answer": Decimal("7.50")}, QUESTION
    )
    assert isinstance(priced, PoolRow)
    assert priced.columns == {"answer": "7.50"}


def test_broken_lines_are_named_and_the_rest_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "pool.jsonl"
    lines = [
        b'{"text": "good"}',
        b"{half",
        b'{"text": "\xff"}',
        b'["text"]',
        b'{"text": 3}',
        b'{"text": "  "}',
        b'{"text": "\\ud800"}',
        b"[" * 100_000,
        b'{"text": "last"}',
    ]
    path.write_bytes(b"\n".join(lines))
    assert texts(path) == ["good", "last"]
    assert broken(path) == [
        ("pool.jsonl:2", "not valid JSON"),
        ("pool.jsonl:3", "not UTF-8"),
        ("pool.jsonl:4", "no column text that holds a string"),
        ("pool.jsonl:5", "no column text that holds a string"),
        ("pool.jsonl:6", "an empty text"),
        ("pool.jsonl:7", "half a surrogate pair"),
        ("pool.jsonl:8", "not valid JSON"),
    ]


@pytest.mark.parametrize("form", ["jsonl", "csv", "txt"])
def test_compressed_files_are_read_too(tmp_path: Path, form: str) -> None:
    path = tmp_path / f"pool.{form}.gz"
    content = {"jsonl": '{"text": "one"}\n', "csv": "id,text\n1,one\n", "txt": "one\n"}[form]
    path.write_bytes(gzip.compress(content.encode()))
    assert texts(path) == ["one"]


def test_an_incomplete_gzip_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "pool.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"text": "one"}\n' * 5000)[:-20])
    with pytest.raises(DataError, match="not a complete gzip file"):
        texts(path)


def test_csv_keeps_line_breaks_commas_and_long_fields(tmp_path: Path) -> None:
    path = tmp_path / "pool.csv"
    long = "x" * 200_000
    path.write_text(f'\ufefflabel,text\na,"two,\nlines"\nb,{long}\n', encoding="utf-8")
    assert texts(path) == ["two,\nlines", long]


def test_a_csv_row_that_is_not_utf8_or_too_short_is_broken(tmp_path: Path) -> None:
    path = tmp_path / "pool.csv"
    path.write_bytes(b"label,text\na,\xff\nb\nc,fine\n")
    assert texts(path) == ["fine"]
    assert [place for place, _ in broken(path)] == ["pool.csv:2", "pool.csv:3"]


@given(st.lists(st.text('ab,"\n é', min_size=1).filter(str.strip), min_size=1))
def test_whatever_csv_can_hold_is_read(rows: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pool.csv"
        with path.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([["id", "text"], *enumerate(rows)])
        assert texts(path) == rows
        assert not broken(path)


def test_a_csv_row_with_too_many_or_too_few_fields_is_broken(tmp_path: Path) -> None:
    path = tmp_path / "pool.csv"
    path.write_text("text\nfine\n\nmy card, which I ordered, is lost\nfine, too\nlast\n")
    assert texts(path) == ["fine", "last"]
    assert broken(path) == [
        ("pool.csv:4", "3 fields where the header has 1"),
        ("pool.csv:5", "2 fields where the header has 1"),
    ]


def test_a_csv_record_of_many_lines_is_one_text(tmp_path: Path) -> None:
    long = "\n".join(f"line {place}" for place in range(3000))
    path = tmp_path / "pool.csv"
    path.write_text(f'text\nfirst\n"{long}"\nlast\n"{"x" * 2 * MOST_CHARS}"\nbehind\n')
    assert texts(path) == ["first", long, "last", "x" * 2 * MOST_CHARS, "behind"]


def test_a_csv_record_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    path = tmp_path / "pool.csv"
    path.write_bytes("text\nfine\ncafé\nlast\n".encode("latin-1"))
    assert texts(path) == ["fine", "last"]
    assert broken(path) == [("pool.csv:3", "not UTF-8")]


@pytest.mark.parametrize(
    "rest",
    [
        'after it\n"two\nlines"\n"a ""quote"""\n',
        'he said "yes"\nafter it\n',
        "".join(f"row {place} {'x' * 1000}\n" for place in range(MOST_CHARS // 1000 + 5)),
        "",
    ],
)
def test_an_unclosed_quote_costs_its_own_line_only(tmp_path: Path, rest: str) -> None:
    path = tmp_path / "pool.csv"
    path.write_text(f"text\n{rest}")
    others = texts(path)
    path.write_text(f'text\nfirst\n"never closed\n{rest}')
    assert texts(path) == ["first", *others]
    ((place, why),) = broken(path)
    assert place == "pool.csv:3"
    assert "a quote that is not closed" in why


def test_an_unclosed_quote_holds_no_more_than_so_many_lines_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "pool.csv"
    path.write_text('text\n"never closed\n' + "".join(f"row {n}\n" for n in range(200_000)))
    rows = read_pool(path)
    tracemalloc.start()
    assert isinstance(next(rows), BrokenRow)
    assert isinstance(next(rows), PoolRow)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 1 << 20


def test_a_csv_without_the_column_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "pool.csv"
    path.write_text("label,sentence\na,b\n")
    with pytest.raises(DataError, match=r"\['label', 'sentence'\], expected a column text"):
        texts(path)


def test_a_folder_holds_a_text_a_file(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "b.txt").write_text("two\nlines\n")
    (tmp_path / "deep" / "a.txt").write_text("deep")
    (tmp_path / "bad.txt").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "notes.md").write_text("no text of the pool")
    assert texts(tmp_path) == ["two\nlines", "deep"]
    assert broken(tmp_path) == [("bad.txt", "not UTF-8")]


def test_a_saved_dataset_is_read(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    rows = datasets.Dataset.from_dict({"text": ["one", None, "two"], "label": [0, 1, 0]})
    rows.save_to_disk(str(tmp_path / "set"))
    assert texts(tmp_path / "set") == ["one", "two"]
    both = datasets.DatasetDict({"train": rows, "test": rows})
    both.save_to_disk(str(tmp_path / "both"))
    with pytest.raises(DataError, match="splits train, test"):
        texts(tmp_path / "both")
    assert texts(tmp_path / "both" / "train") == ["one", "two"]


def test_a_folder_of_compressed_texts_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(b"\xef\xbb\xbfone\r\nline"))
    (tmp_path / "b.txt.gz").write_bytes(gzip.compress(b"two" * 5000)[:-20])
    (tmp_path / "c.txt.gz").write_bytes(b"no gzip")
    (tmp_path / "d.txt").write_text("three")
    assert texts(tmp_path) == ["one\nline", "three"]
    assert broken(tmp_path) == [
        ("b.txt.gz", "not a complete gzip file"),
        ("c.txt.gz", "not a complete gzip file"),
    ]


def test_a_folder_of_tables_is_read_with_all_its_splits(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    table = pytest.importorskip("pyarrow").table
    (tmp_path / "data").mkdir()
    (tmp_path / "README.md").write_text("a card")
    (tmp_path / "dataset_info.json").write_text("{}")
    rows = {"label": [0, 1, 0], "text": ["one", None, "two"]}
    parquet.write_table(table(rows), tmp_path / "data" / "train-00000-of-00001.parquet")
    (tmp_path / "data" / "test.jsonl").write_text('{"text": "three"}\n{broken\n')
    (tmp_path / "more.csv").write_text("text\nfour\n")
    assert texts(tmp_path) == ["three", "one", "two", "four"]
    assert broken(tmp_path) == [
        ("data/test.jsonl:2", "not valid JSON"),
        ("data/train-00000-of-00001.parquet:2", "no column text that holds a string"),
    ]
    assert texts(tmp_path / "data" / "train-00000-of-00001.parquet") == ["one", "two"]


def test_parquet_is_read_in_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = [f"text {place}" for place in range(5)]
    parquet.write_table(
        pytest.importorskip("pyarrow").table({"text": rows}), tmp_path / "a.parquet"
    )
    monkeypatch.setattr("evokd.tasks.pool.BATCH", 2)
    asked: list[int] = []
    read = parquet.ParquetFile.iter_batches

    def listen(self: Any, batch_size: int, columns: list[str]) -> Iterator[Any]:
        for batch in read(self, batch_size, columns=columns):
            asked.append(len(batch))
            yield batch

    monkeypatch.setattr(parquet.ParquetFile, "iter_batches", listen)
    pool = read_pool(tmp_path)
    assert [next(pool).place for _ in range(2)] == ["a.parquet:1", "a.parquet:2"]
    assert asked == [2]
    assert len(list(pool)) == 3


def test_parquet_that_cannot_be_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "pool.parquet"
    path.write_bytes(b"PAR1 and no more")
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        texts(path)
    parquet.write_table(pytest.importorskip("pyarrow").table({"sentence": ["one"]}), path)
    with pytest.raises(DataError, match="has the columns sentence; expected text"):
        texts(path)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(ConfigError, match="pip install pyarrow"):
        texts(path)


def test_a_folder_that_is_no_pool_is_refused_with_what_it_holds(tmp_path: Path) -> None:
    (tmp_path / "dataset_info.json").write_text("{}")
    (tmp_path / "data-00000-of-00001.arrow").write_bytes(b"")
    found = r"holds 1 \.arrow, 1 \.json \(dataset_info\.json without state\.json.*expected \.jsonl"
    with pytest.raises(DataError, match=found):
        texts(tmp_path)
    for number in range(50):
        (tmp_path / f"a.{number}").touch()
    with pytest.raises(DataError, match=r"data\.pool") as told:
        texts(tmp_path)
    assert len(str(told.value)) < 500
    for number in range(50):
        (tmp_path / f"a.{number}").unlink()
    (tmp_path / "a.txt").write_text("one")
    (tmp_path / "b.csv").write_text("text\ntwo\n")
    with pytest.raises(DataError, match=r"1 \.csv, 1 \.json, 1 \.txt.*name the folder or the file"):
        texts(tmp_path)


@pytest.mark.parametrize("missing", ["state.json", "data-00000-of-00001.arrow"])
def test_a_saved_dataset_that_lacks_a_file_is_refused(tmp_path: Path, missing: str) -> None:
    datasets = pytest.importorskip("datasets")
    datasets.Dataset.from_dict({"text": ["one"]}).save_to_disk(str(tmp_path))
    (tmp_path / missing).unlink()
    with pytest.raises(DataError, match=r"data\.pool: .*(\.arrow|cannot be read).*\.jsonl"):
        texts(tmp_path)


@pytest.mark.parametrize("name", ["missing.jsonl", "pool.parquet", ""])
def test_what_is_no_pool_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=r"data\.pool"):
        texts(tmp_path / name)


def test_the_digest_sees_every_file(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one")
    before = digest_of_pool(tmp_path)
    assert before == digest_of_pool(tmp_path)
    (tmp_path / "a.txt").write_text("two")
    assert digest_of_pool(tmp_path) != before


def test_the_digest_is_over_the_files_in_the_order_of_their_paths(tmp_path: Path) -> None:
    for name in ("a/z.txt", "a/b/y.txt", "a.txt", "a b.txt", "B.txt", "a-b/x.txt"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    digest = hashlib.sha256()
    for path in sorted(one for one in tmp_path.rglob("*") if one.is_file()):
        digest.update(f"{path.name}\n{path.stat().st_size}\n".encode() + path.read_bytes())
    assert digest_of_pool(tmp_path) == digest.hexdigest()[:16]
    assert texts(tmp_path) == ["B.txt", "a/b/y.txt", "a/z.txt", "a b.txt", "a-b/x.txt", "a.txt"]


# Storing


def test_rows_are_numbered_in_order_and_what_is_dropped_is_counted(pool: Pool) -> None:
    rows = [
        PoolRow("1", "first"),
        BrokenRow("2", "not UTF-8"),
        PoolRow("3", " First "),
        PoolRow("4", "of the test"),
        PoolRow("5", "second"),
    ]
    counts = pool.fill(rows, lambda row: "test" if "test" in row.text else "")
    assert (counts.read, counts.kept) == (5, 2)
    assert counts.dropped == {"broken": 1, "duplicate": 1, "test": 1}
    assert counts.broken == ["2: not UTF-8"]
    assert list(pool.batches(1)) == [[(1, "first")], [(2, "second")]]
    assert pool.texts([2, 1]) == ["second", "first"]
    assert pool.counts == counts


def test_a_pool_is_filled_once(pool: Pool) -> None:
    fill(pool, "one", "two")
    fill(pool, "three")
    assert len(pool) == 2


def test_a_pool_that_broke_off_in_the_middle_is_filled_anew(pool: Pool) -> None:
    def rows() -> Iterator[PoolRow]:
        yield from (PoolRow(str(place), f"text {place}") for place in range(2500))
        raise DataError("the file ends here")

    with pytest.raises(DataError):
        pool.fill(rows(), lambda row: "")
    assert pool.counts is None
    fill(pool, "one")
    assert list(pool.batches(10)) == [[(1, "one")]]


def test_the_most_uncertain_come_first_and_labels_and_asked_ones_are_told_apart(
    pool: Pool,
) -> None:
    fill(pool, "a", "b", "c", "d")
    said = [(1, "x", 0.2), (2, "y", 0.9), (3, "x", 0.7), (4, "x", 0.7)]
    pool.write_scores([[Scored(id=i, label=name, uncertainty=u) for i, name, u in said]])
    assert [one.id for one in pool.most_uncertain(3, [])] == [2, 3, 4]
    assert [one.id for one in pool.most_uncertain(3, [3], "x")] == [4, 1]
    assert Counter(one.label for one in pool.most_uncertain(9, [])) == {"x": 3, "y": 1}
    assert [one.uncertainty for one in pool.scores([4, 1])] == [0.7, 0.2]
    pool.write_scores([[Scored(id=1, label="y", uncertainty=0.1)]])
    assert Counter(one.label for one in pool.most_uncertain(9, [])) == {"y": 1}


def test_draws_of_a_label_are_by_chance_and_repeat_with_the_random_seed(pool: Pool) -> None:
    pool.write_scores([[Scored(id=i, label="xy"[i % 2], uncertainty=0.5) for i in range(1, 401)]])
    draws = [pool.draw_of("x", 3, [2, 4], random.Random(seed)) for seed in range(60)]
    assert draws[0] == pool.draw_of("x", 3, [2, 4], random.Random(0))
    assert all(one % 2 == 0 and one > 4 for drawn in draws for one in drawn)
    assert all(len(set(drawn)) == 3 for drawn in draws)
    in_steps = sum(drawn[1] - drawn[0] == drawn[2] - drawn[1] for drawn in draws)
    assert in_steps < 5
    assert len({one for drawn in draws for one in drawn}) > 100


def test_draws_are_of_all_that_is_left_and_repeat_with_the_random_seed(pool: Pool) -> None:
    fill(pool, *(f"text {place}" for place in range(50)))
    drawn = pool.draw(10, [1, 2, 3], random.Random(0))
    assert drawn == pool.draw(10, [1, 2, 3], random.Random(0))
    assert len(set(drawn)) == 10
    assert not {1, 2, 3} & set(drawn)
    assert sorted(pool.draw(100, range(1, 48), random.Random(1))) == [48, 49, 50]


def test_a_file_that_is_no_pool_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = tmp_path / "pool.sqlite"
    path.write_bytes(b"no database at all" * 100)
    with pytest.raises(StorageError, match=r"pool\.sqlite"):
        Pool(path)


def test_memory_does_not_grow_with_the_pool(tmp_path: Path) -> None:
    def peak(rows: int) -> int:
        path = tmp_path / f"{rows}.jsonl"
        with path.open("w") as file:
            file.writelines(json.dumps({"text": f"text {place}"}) + "\n" for place in range(rows))
        pool = Pool(tmp_path / f"{rows}.sqlite")
        tracemalloc.start()
        pool.fill(read_pool(path), lambda row: "")
        for batch in pool.batches(500):
            assert len(batch) <= 500
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        pool.close()
        return most

    peak(1_500)  # what is loaded once does not count
    assert peak(20_000) < 1.2 * peak(5_000)


def test_a_pool_is_there_when_it_is_opened_again(tmp_path: Path) -> None:
    pool = Pool(tmp_path / "pool.sqlite")
    fill(pool, "one")
    pool.close()
    again = Pool(tmp_path / "pool.sqlite")
    assert again.texts([1]) == ["one"]
    again.close()
