"""Unlabelled texts, read one by one: a pool may be larger than memory.

A pool is JSONL, CSV or Parquet with a column `text`, a `.txt` with a text a line, a folder of such
tables (a dataset as it was downloaded), a folder of `.txt` files, each one text, or a folder that
`datasets` saved; all but Parquet may be `.gz`. Other columns are not looked at, labels among them;
only where the texts are questions (column `question`), `choices` and `answer` are kept beside them.
One broken row is no reason to stop: it is yielded as `BrokenRow`.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import os
import zlib
from collections import Counter, deque
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
SAVED_SPLIT = ("dataset_info.json", "state.json")
SAVED_SPLITS = "dataset_dict.json"
TABLES = (".jsonl", ".csv", ".parquet")
FORMS = (
    ".jsonl, .csv or .txt (.gz too) or .parquet, a folder of .jsonl, .csv or .parquet files, a "
    "folder of .txt files, each one text, or one that datasets saved"
)
NAMED_FORMS = 6  # of a folder's
NOT_UTF8 = "not UTF-8"
NOT_GZIP = "not a complete gzip file"
BATCH = 1000  # rows of Parquet
Row = dict[Any, Any] | str  # its columns, or why there are none
LARGEST_FIELD = 1 << 27  # csv's own limit makes an error of a text of 130,000 characters
MOST_CHARS, MOST_LINES = 400_000, 5_000  # of a CSV record; an unclosed quote swallows more


@dataclass(frozen=True)
class PoolRow:
    """A text, where it stands, and, as JSON, what else its row holds that is to be kept."""

    place: str
    text: str
    more: str = ""

    @property
    def columns(self) -> dict[str, Any]:
        """What else its row holds."""
        return json.loads(self.more) if self.more else {}


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
        DataError: nothing there, a form that is not known, a table without the column text, an
            incomplete file.
        ConfigError: Parquet or a saved dataset, and the library that reads it is not installed.
    """
    rows = _of_folder(path, columns) if path.is_dir() else _of_file(path, path.name, columns)
    for place, row in rows:
        yield _checked(place, row, columns)


def _of_file(path: Path, name: str, columns: Sequence[str]) -> Iterator[tuple[str, Row]]:
    """Yield (place, row) of one file; its `name` stands in the places."""
    read = {
        ".jsonl": _json_lines,
        ".csv": _csv_rows,
        ".txt": _plain_lines,
        ".parquet": _parquet_rows,
    }
    form = _form(path.name)
    if not path.exists():
        raise DataError(
            f"data.pool: there is no {path}; check the path, which is from the task file on"
        )
    if form not in read:
        raise DataError(f"data.pool: {path} is of no known form; expected {FORMS}")
    with _opened(path) as file:
        for number, row in read[form](path, file, columns):
            yield f"{name}:{number}", row


def _of_folder(path: Path, columns: Sequence[str]) -> Iterator[tuple[str, Row]]:
    """Yield (place, row) of all tables in a folder, or of its text files, or of a saved dataset."""
    if (path / SAVED_SPLITS).exists() or all((path / name).exists() for name in SAVED_SPLIT):
        yield from _saved_dataset(path, columns)
        return
    forms = Counter(_form(file.name) for file in _files_in(path))
    tables = [form for form in TABLES if form in forms]
    if not tables and ".txt" not in forms:
        found = _in_words(forms)
        if (path / SAVED_SPLIT[0]).exists():
            found += f" ({' without '.join(SAVED_SPLIT)}: no dataset that datasets saved)"
        raise DataError(f"data.pool: the folder {path} holds {found}; expected {FORMS}")
    if tables and ".txt" in forms:
        raise DataError(
            f"data.pool: the folder {path} holds {_in_words(forms)}: either the .txt files are its "
            "texts or the tables hold them; name the folder or the file that is meant"
        )
    for file in _files_in(path):
        name = str(file.relative_to(path))
        if _form(file.name) in tables:
            yield from _of_file(file, name, columns)
        elif _form(file.name) == ".txt":
            yield name, _whole_text(file, columns)


def _form(name: str) -> str:
    return Path(name.removesuffix(".gz")).suffix


def _in_words(forms: Counter[str]) -> str:
    """Say what files a folder holds most of: '2 .arrow, 1 .json'."""
    most = sorted(forms.most_common(NAMED_FORMS))
    return ", ".join(f"{number} {form or 'other'}" for form, number in most) or "no file"


def _files_in(folder: Path) -> Iterator[Path]:
    """Yield the files under a folder in the order of their paths; only one folder is in memory."""
    try:
        with os.scandir(folder) as found:
            entries = sorted((one.name, one.is_dir(follow_symlinks=False)) for one in found)
    except OSError as error:
        raise DataError(f"data.pool: {folder} cannot be read: {error.strerror or error}") from None
    for name, is_folder in entries:
        if is_folder:
            yield from _files_in(folder / name)
        elif (folder / name).is_file():
            yield folder / name
        elif (folder / name).is_dir():
            raise DataError(
                f"data.pool: {folder / name} is a link to a folder, which may lead back to one it "
                "is in; put the folder itself there, or name it in data.pool"
            )


def digest_of_pool(path: Path) -> str:
    """Return a hash of a pool's files, names and bytes.

    Raises:
        DataError: it cannot be read.
    """
    digest = hashlib.sha256()
    for file in _files_in(path) if path.is_dir() else [path]:
        try:
            digest.update(f"{file.name}\n{file.stat().st_size}\n".encode())
            with file.open("rb") as opened:
                while chunk := opened.read(CHUNK):
                    digest.update(chunk)
        except OSError as error:
            raise DataError(f"data.pool: {file} cannot be read: {error.strerror}") from None
    return digest.hexdigest()[:16]


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    try:
        with gzip.open(path) if path.name.endswith(".gz") else path.open("rb") as file:
            yield cast(IO[bytes], file)
    except FileNotFoundError:
        raise DataError(f"no pool at {path}; check data.pool") from None
    except (EOFError, gzip.BadGzipFile, zlib.error):
        raise DataError(f"{path} is {NOT_GZIP}; write it anew") from None
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
    more = {name: row[name] for name in columns[1:] if row.get(name) not in (None, "", [])}
    if isinstance(more.get("choices"), str):  # as a CSV has them
        more["choices"] = split_choices(more["choices"])
    choices = more.get("choices", ["a", "b"])
    if not (isinstance(choices, list) and all(isinstance(one, str) for one in choices)):
        return BrokenRow(place, "choices that are no list of strings")
    if not are_choices(choices):
        return BrokenRow(place, "fewer than two choices, too many, or two that are the same")
    if "choices" in more:  # a line each, as a question shows them and an answer names one
        more["choices"] = [" ".join(one.split()) for one in choices]
    told = json.dumps(more, ensure_ascii=False, default=str) if more else ""
    if not is_unicode(text + told):
        return BrokenRow(place, "half a surrogate pair")
    return PoolRow(place, text, told)


def _decoded(file: IO[bytes]) -> Iterator[tuple[int, str | None]]:
    """Yield (number, line) of a file; None for a line that is not UTF-8."""
    for number, raw in enumerate(file, 1):
        try:
            line = raw.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError:
            yield number, None
        else:
            yield number, line.rstrip("\r\n")


def _json_lines(path: Path, file: IO[bytes], columns: Sequence[str]) -> Iterator[tuple[int, Row]]:
    for number, line in _decoded(file):
        if line is None:
            yield number, NOT_UTF8
        elif line.strip():
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                yield number, "not valid JSON"
            else:
                yield number, row if isinstance(row, dict) else {}


def _plain_lines(path: Path, file: IO[bytes], columns: Sequence[str]) -> Iterator[tuple[int, Row]]:
    for number, line in _decoded(file):
        if line is None:
            yield number, NOT_UTF8
        elif line.strip():
            yield number, {columns[0]: line}


def _parquet_rows(path: Path, file: IO[bytes], columns: Sequence[str]) -> Iterator[tuple[int, Row]]:
    try:
        from pyarrow.parquet import ParquetFile
    except ImportError:
        raise ConfigError(
            f"data.pool: {path} is Parquet, which the library pyarrow reads: "
            "pip install pyarrow, or write the texts as JSONL"
        ) from None
    number = 0
    try:
        table = ParquetFile(file)
        kept = _columns_of(path, table.schema_arrow.names, columns)
        for batch in table.iter_batches(batch_size=BATCH, columns=kept):
            for row in batch.to_pylist():
                number += 1
                yield number, row
    except (OSError, ValueError) as error:
        raise DataError(f"data.pool: {path} cannot be read as Parquet: {error}") from None


def _columns_of(path: Path, found: Sequence[str], columns: Sequence[str]) -> list[str]:
    """Return the columns that are there; the first must be."""
    if columns[0] not in found:
        raise DataError(
            f"data.pool: {path} has the columns {', '.join(found)}; expected {columns[0]}"
        )
    return [name for name in columns if name in found]


def _csv_rows(path: Path, file: IO[bytes], columns: Sequence[str]) -> Iterator[tuple[int, Row]]:
    # What is no UTF-8 becomes half surrogates, by which its record is known.
    text = io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline="")
    records = _csv_records(text)
    _, header = next(records, (1, []))
    if not is_unicode("".join(header)):
        raise DataError(f"{path}: the header is {NOT_UTF8}; save the table as UTF-8")
    if columns[0] not in header or isinstance(header, str):
        raise DataError(f"{path}: the header is {header}, expected a column {columns[0]}")
    for number, fields in records:
        if isinstance(fields, str):
            yield number, fields
        elif not is_unicode("".join(fields)):
            yield number, NOT_UTF8
        elif len(fields) != len(header):
            yield number, f"{len(fields)} fields where the header has {len(header)}"
        else:
            yield number, dict(zip(header, fields, strict=True))


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
    """Yield waiting lines, then others, and put them down in `record` until it is too long."""
    held = 0
    while not record or (held < MOST_CHARS and len(record) < MOST_LINES):
        line = waiting.popleft() if waiting else next(lines, None)
        if line is None:
            return
        if not record:  # the last one was read to its end
            held = 0
        held += len(line)
        record.append(line)
        yield line


def _whole_text(file: Path, columns: Sequence[str]) -> Row:
    opened = gzip.open if file.name.endswith(".gz") else open
    try:
        with opened(file, "rt", encoding="utf-8-sig") as text:
            return {columns[0]: text.read().strip()}
    except UnicodeDecodeError:
        return NOT_UTF8
    except (EOFError, gzip.BadGzipFile, zlib.error):
        return NOT_GZIP
    except OSError as error:
        return error.strerror or "cannot be read"


def _saved_dataset(path: Path, columns: Sequence[str]) -> Iterator[tuple[str, Row]]:
    try:
        import datasets
    except ImportError:
        raise ConfigError(
            f"data.pool: {path} is a saved dataset, which the library datasets reads: "
            "pip install datasets, or write the texts as JSONL"
        ) from None
    try:
        saved = datasets.load_from_disk(str(path))
    except (OSError, ValueError) as error:
        raise DataError(
            f"data.pool: {path} looks like a dataset that datasets saved, but cannot be read: "
            f"{' '.join(str(error).split())}; save it anew, or give {FORMS}"
        ) from None
    if isinstance(saved, datasets.DatasetDict):
        if len(saved) > 1:
            raise DataError(
                f"data.pool: {path} holds the splits {', '.join(saved)}; "
                "name the folder of the one that is meant"
            )
        (saved,) = saved.values()
    kept = _columns_of(path, saved.column_names, columns)
    for number, row in enumerate(saved.select_columns(kept)):
        yield f"{path.name}:{number}", row
