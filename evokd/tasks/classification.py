"""Text classification: rows, checks and metrics.

Knows nothing of models. A row is `{"text": …, "label": …}`.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import unicodedata
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evokd.config import Config, nearest
from evokd.errors import DataError
from evokd.records import Example

METRIC = "accuracy"


@dataclass(frozen=True)
class TaskData:
    """The gold rows of a task, checked.

    `test` serves the final report; its texts also serve the leakage gate, its labels nothing else.
    `train` holds the gold rows of the ceiling `fullshot`; it is read for that strategy only.
    """

    labels: tuple[str, ...]
    seed: tuple[Example, ...]
    validation: tuple[Example, ...]
    test: tuple[Example, ...]
    warnings: tuple[str, ...] = field(default=())
    train: tuple[Example, ...] = field(default=())

    @property
    def digest(self) -> str:
        """A hash of all rows, part of the run's fingerprint."""
        rows = [
            [(row.text, row.label) for row in part]
            for part in (self.seed, self.validation, self.test, self.train)
        ]
        return hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:16]


def load_task_data(config: Config) -> TaskData:
    """Read and check seed, validation and test rows, and for `fullshot` the train rows.

    Exact duplicates are kept once; rows of any other split that also stand in test are dropped.
    Both are warned about.

    Raises:
        DataError: a file that is missing or not UTF-8, a row without text or with an unknown
            label, one text with two labels, a label without a seed.
    """
    labels = tuple(config.task.labels)
    warnings: list[str] = []
    seed = _read_split(config.data.seed, "seed", labels, warnings)
    validation = _read_split(config.data.validation, "validation", labels, warnings)
    test = _read_split(config.data.test, "test", labels, warnings)
    seed = _drop_known(seed, "seed", test, "test", warnings)
    validation = _drop_known(validation, "validation", test, "test", warnings)
    validation = _drop_known(validation, "validation", seed, "seed", warnings)
    train: list[Example] = []
    if config.strategy.name == "fullshot":
        train = _read_split(config.data.train, "train", labels, warnings)
        train = _drop_known(train, "train", test, "test", warnings)
        train = _drop_known(train, "train", seed, "seed", warnings)
    bare = [label for label in labels if label not in {row.label for row in seed}]
    if bare:
        raise DataError(
            f"{config.data.seed}: no seed row for label(s) {', '.join(bare)}; "
            "every label needs at least one gold example that does not stand in test"
        )
    return TaskData(
        labels, tuple(seed), tuple(validation), tuple(test), tuple(warnings), tuple(train)
    )


def normalize(text: str) -> str:
    """Return the form in which two texts count as the same: NFKC, lower case, single spaces."""
    return " ".join(unicodedata.normalize("NFKC", text).lower().split())


def is_unicode(text: str) -> bool:
    """Whether a text can be written as UTF-8; JSON may smuggle in half a surrogate pair."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def accuracy(gold: Sequence[str], predicted: Sequence[str]) -> float:
    """Return the share of equal pairs; 0.0 for no rows."""
    if len(gold) != len(predicted):
        raise ValueError(f"{len(gold)} gold labels but {len(predicted)} predictions")
    hits = sum(a == b for a, b in zip(gold, predicted, strict=True))
    return hits / len(gold) if gold else 0.0


def recall_by_label(
    gold: Sequence[str], predicted: Sequence[str], labels: Sequence[str]
) -> dict[str, float]:
    """Return the share of each label's rows that were found; labels without rows are left out."""
    total = Counter(gold)
    right = Counter(a for a, b in zip(gold, predicted, strict=True) if a == b)
    return {label: right[label] / total[label] for label in labels if total[label]}


def confusion_matrix(
    gold: Sequence[str], predicted: Sequence[str], labels: Sequence[str]
) -> list[list[int]]:
    """Return counts, rows = gold label, columns = predicted, both in the order of `labels`."""
    pairs = Counter(zip(gold, predicted, strict=True))
    return [[pairs[(row, column)] for column in labels] for row in labels]


def read_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line number, row) of a JSONL (`.gz` too) or CSV file.

    Raises:
        DataError: missing, unreadable or not UTF-8 file, or a line that is no JSON object.
    """
    text = _read_text(path)
    if path.name.removesuffix(".gz").endswith(".csv"):
        reader = csv.DictReader(io.StringIO(text))
        if not {"text", "label"} <= set(reader.fieldnames or ()):
            raise DataError(
                f"{path}: the header is {reader.fieldnames}, expected the columns text and label"
            )
        for row in reader:
            yield reader.line_num, row
        return
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise DataError(f"{path}:{number}: not valid JSON ({error.msg})") from None
        if not isinstance(row, dict):
            raise DataError(f"{path}:{number}: expected an object with text and label")
        yield number, row


def _read_text(path: Path) -> str:
    try:
        data = path.read_bytes()
        if path.name.endswith(".gz"):
            data = gzip.decompress(data)
        return data.decode("utf-8-sig")
    except FileNotFoundError:
        raise DataError(f"no data file at {path}; check the paths under 'data'") from None
    except IsADirectoryError:
        raise DataError(f"{path} is a folder; give a JSONL or CSV file") from None
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} is not UTF-8 (byte {error.start}); convert it to UTF-8 and try again"
        ) from None
    except (EOFError, gzip.BadGzipFile, zlib.error):
        raise DataError(f"{path} is not a complete gzip file; write it anew") from None


def _read_split(
    path: str | None, split: str, labels: Sequence[str], warnings: list[str]
) -> list[Example]:
    if path is None:
        return []
    rows: list[Example] = []
    seen: dict[str, Example] = {}
    doubles = 0
    for number, raw in read_rows(Path(path)):
        row = _check_row(raw, f"{path}:{number}", labels)
        known = seen.get(normalize(row.text))
        if known is None:
            seen[normalize(row.text)] = row
            rows.append(row)
        elif known.label == row.label:
            doubles += 1
        else:
            raise DataError(
                f"{path}:{number}: the text {row.text[:60]!r} has the label {row.label!r} here "
                f"and {known.label!r} above; keep one of them"
            )
    if not rows:
        raise DataError(f'{path}: no rows; expected lines such as {{"text": "…", "label": "…"}}')
    if doubles:
        warnings.append(f"{split}: {doubles} duplicate row(s) kept once")
    return rows


def _check_row(raw: dict[str, Any], where: str, labels: Sequence[str]) -> Example:
    missing = [key for key in ("text", "label") if key not in raw]
    if missing:
        raise DataError(f"{where}: no key {missing[0]!r}; found {sorted(map(str, raw))}")
    text, label = raw["text"], raw["label"]
    if not isinstance(text, str) or not text.strip():
        raise DataError(f"{where}: the text is empty; remove the row or fill it in")
    if not is_unicode(text):
        raise DataError(f"{where}: the text holds half a surrogate pair; write it as UTF-8")
    if label not in labels:
        raise DataError(
            f"{where}: unknown label {label!r}{nearest(label, labels)}; "
            f"the task knows {', '.join(labels)}"
        )
    return Example(text=text.strip(), label=label)


def _drop_known(
    rows: list[Example],
    split: str,
    others: Sequence[Example],
    other_split: str,
    warnings: list[str],
) -> list[Example]:
    known = {normalize(row.text) for row in others}
    kept = [row for row in rows if normalize(row.text) not in known]
    if len(kept) < len(rows):
        dropped = len(rows) - len(kept)
        warnings.append(f"{split}: {dropped} row(s) that also stand in {other_split} were dropped")
    return kept
