"""Unlabelled texts, read one by one: a pool may be larger than memory.

A pool is JSONL or CSV with a column `text` (both may be `.gz`), a `.txt` with a text a line, a
folder of `.txt` files, each one text, or a folder that `datasets` saved. Other columns are not
looked at, labels among them; only where the texts are questions (column `question`), `choices` and
`answer` are kept beside them. One broken row is no reason to stop: it is yielded as `BrokenRow`.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import zlib
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from evokd.errors import ConfigError, DataError
from evokd.tasks.choices import are_choices, split_choices
from evokd.tasks.texts import is_unicode

CHUNK = 1 << 20
TEXT: tuple[str, ...] = ("text",)
QUESTION = ("question", "choices", "answer")
SAVED_DATASET = ("dataset_info.json", "dataset_dict.json")
NOT_UTF8 = "not UTF-8"
Rows = Iterator[tuple[str, "dict[Any, Any] | str"]]  # place, and its columns or why it has none
LARGEST_FIELD = 1 << 27  # csv's own limit makes an error of a text of 130,000 characters
MOST_LINES = 1000  # of a CSV record; a quote that swallows more was not meant to


@dataclass(frozen=True)
class PoolRow:
    """A text, where it stands, and, as JSON, what else its row holds that is to be kept."""

    place: str
    text: str
    more: str = ""


@dataclass(frozen=True)
class BrokenRow:
    """A row that holds no text, and why."""

    place: str
    why: str


def read_pool(path: Path, columns: Sequence[str] = TEXT) -> Iterator[PoolRow | BrokenRow]:
    """Yield the rows of a pool in order, in memory one at a time.

    Args:
        columns: the first holds the text, the others may be missing and are kept beside it.

    Raises:
        DataError: nothing there, a form that is not known, a CSV without the column text, an
            incomplete gzip file.
        ConfigError: a saved dataset, and the library `datasets` is not installed.
    """
    if path.is_dir():
        if any((path / name).exists() for name in SAVED_DATASET):
            rows = _saved_dataset(path, columns)
        else:
            rows = _text_files(path, columns)
        for place, row in rows:
            yield _checked(place, row, columns)
        return
    read = {".jsonl": _json_lines, ".csv": _csv_rows, ".txt": _plain_lines}
    form = Path(path.name.removesuffix(".gz")).suffix
    if form not in read:
        raise DataError(
            f"data.pool: {path} is of no known form; expected .jsonl, .csv or .txt (.gz too), "
            "a folder of .txt files or one that datasets saved"
        )
    with _opened(path) as file:
        for place, row in read[form](path, file, columns):
            yield _checked(place, row, columns)


def digest_of_pool(path: Path) -> str:
    """Return a hash of a pool's files, names and bytes.

    Raises:
        DataError: it cannot be read.
    """
    files = sorted(one for one in path.rglob("*") if one.is_file()) if path.is_dir() else [path]
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.name}\n{file.stat().st_size}\n".encode())
        with file.open("rb") as opened:
            while chunk := opened.read(CHUNK):
                digest.update(chunk)
    return digest.hexdigest()[:16]


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    try:
        with gzip.open(path) if path.name.endswith(".gz") else path.open("rb") as file:
            yield cast(IO[bytes], file)
    except FileNotFoundError:
        raise DataError(f"no pool at {path}; check data.pool") from None
    except (EOFError, gzip.BadGzipFile, zlib.error):
        raise DataError(f"{path} is not a complete gzip file; write it anew") from None
    except OSError as error:
        raise DataError(f"data.pool: {path} cannot be read: {error.strerror or error}") from None


def form_of_pool(columns: Sequence[str]) -> str:
    """Return in words what a row of a pool looks like."""
    return f'lines such as {{"{columns[0]}": "…"}}'


def _checked(
    place: str, row: Mapping[Any, Any] | str, columns: Sequence[str]
) -> PoolRow | BrokenRow:
    """Return a row, or why it cannot be used.

    Args:
        row: its columns, or why there are none.
    """
    if isinstance(row, str):
        return BrokenRow(place, row)
    text = row.get(columns[0])
    if not isinstance(text, str):
        return BrokenRow(place, f"no column {columns[0]} that holds a string")
    if not text.strip():
        return BrokenRow(place, "an empty text")
    if not is_unicode(text):
        return BrokenRow(place, "half a surrogate pair")
    more = {name: row[name] for name in columns[1:] if row.get(name) not in (None, "", [])}
    if isinstance(more.get("choices"), str):  # as a CSV has them
        more["choices"] = split_choices(more["choices"])
    choices = more.get("choices", ["a", "b"])
    if not (isinstance(choices, list) and all(isinstance(one, str) for one in choices)):
        return BrokenRow(place, "choices that are no list of strings")
    if not are_choices(choices):
        return BrokenRow(place, "fewer than two choices, too many, or two that are the same")
    return PoolRow(place, text, json.dumps(more, ensure_ascii=False) if more else "")


def _decoded(path: Path, file: IO[bytes]) -> Iterator[tuple[str, str | None]]:
    """Yield (place, line) of a file; None for a line that is not UTF-8."""
    for number, raw in enumerate(file, 1):
        place = f"{path.name}:{number}"
        try:
            line = raw.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError:
            yield place, None
        else:
            yield place, line.rstrip("\r\n")


def _json_lines(path: Path, file: IO[bytes], columns: Sequence[str]) -> Rows:
    for place, line in _decoded(path, file):
        if line is None:
            yield place, NOT_UTF8
        elif line.strip():
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                yield place, "not valid JSON"
            else:
                yield place, row if isinstance(row, dict) else {}


def _plain_lines(path: Path, file: IO[bytes], columns: Sequence[str]) -> Rows:
    for place, line in _decoded(path, file):
        if line is None:
            yield place, NOT_UTF8
        elif line.strip():
            yield place, {columns[0]: line}


def _csv_rows(path: Path, file: IO[bytes], columns: Sequence[str]) -> Rows:
    # What is no UTF-8 becomes half surrogates, which `_checked` refuses row by row.
    text = io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline="")
    records = _csv_records(text)
    _, header = next(records, (1, []))
    if columns[0] not in header or isinstance(header, str):
        raise DataError(f"{path}: the header is {header}, expected a column {columns[0]}")
    for number, fields in records:
        place = f"{path.name}:{number}"
        if isinstance(fields, str):
            yield place, fields
        elif len(fields) != len(header):
            yield place, f"{len(fields)} fields where the header has {len(header)}"
        else:
            yield place, dict(zip(header, fields, strict=True))


def _csv_records(lines: Iterator[str]) -> Iterator[tuple[int, list[str] | str]]:
    """Yield (number of its first line, fields or why there are none) of every record.

    Only the first line of a record that cannot be read is given up: what an unclosed quote has
    swallowed are records of their own.
    """
    csv.field_size_limit(LARGEST_FIELD)
    waiting: deque[str] = deque()
    record: list[str] = []
    number = 1
    while True:
        try:
            for fields in csv.reader(_put_down(waiting, lines, record), strict=True):
                if fields:  # no empty line
                    yield number, fields
                number += len(record)
                record.clear()
        except csv.Error as error:
            yield number, f"not valid CSV, such as a quote that is not closed: {error}"
            waiting.extendleft(reversed(record[1:]))
            number += 1
            record.clear()
        else:
            return


def _put_down(waiting: deque[str], lines: Iterator[str], record: list[str]) -> Iterator[str]:
    """Yield waiting lines, then others, and put them down in `record` until it has too many."""
    while len(record) < MOST_LINES:
        line = waiting.popleft() if waiting else next(lines, None)
        if line is None:
            return
        record.append(line)
        yield line


def _text_files(path: Path, columns: Sequence[str]) -> Rows:
    found = False
    for file in sorted(path.rglob("*.txt")):
        found = True
        place = str(file.relative_to(path))
        try:
            yield place, {columns[0]: file.read_text(encoding="utf-8-sig").strip()}
        except UnicodeDecodeError:
            yield place, NOT_UTF8
        except OSError as error:
            yield place, error.strerror or "cannot be read"
    if not found:
        raise DataError(
            f"data.pool: the folder {path} holds no .txt file and is no dataset that datasets "
            "saved; one text a file is expected, or name a JSONL or CSV file"
        )


def _saved_dataset(path: Path, columns: Sequence[str]) -> Rows:
    try:
        import datasets
    except ImportError:
        raise ConfigError(
            f"data.pool: {path} is a saved dataset, which the library datasets reads: "
            "pip install datasets, or write the texts as JSONL"
        ) from None
    saved = datasets.load_from_disk(str(path))
    if isinstance(saved, datasets.DatasetDict):
        if len(saved) > 1:
            raise DataError(
                f"data.pool: {path} holds the splits {', '.join(saved)}; "
                "name the folder of the one that is meant"
            )
        (saved,) = saved.values()
    if columns[0] not in saved.column_names:
        raise DataError(
            f"data.pool: {path} has the columns {', '.join(saved.column_names)}; "
            f"expected {columns[0]}"
        )
    kept = [name for name in columns if name in saved.column_names]
    for number, row in enumerate(saved.select_columns(kept)):
        yield f"{path.name}:{number}", row
