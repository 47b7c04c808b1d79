"""The gold rows of a task: read from files, checked, and kept apart by split.

Knows nothing of models. What a row of a kind looks like is the kind's business.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from evokd.config import Config
from evokd.errors import DataError
from evokd.records import Example
from evokd.tasks.choices import are_needed
from evokd.tasks.explanations import AnswerForm, split_steps
from evokd.tasks.kind import TaskKind
from evokd.tasks.pool import BrokenRow, PoolRow, digest_of_pool, form_of_pool, read_pool
from evokd.tasks.reasoning import (
    answer_in_form,
    miscalculated_gold,
    never_right,
    unexplained,
    usual_form,
)
from evokd.tasks.texts import normalize


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
    pool: Path = field(default=Path())
    pool_digest: str = field(default="")

    @property
    def gold(self) -> dict[str, tuple[Example, ...]]:
        """The rows of every split but train, by its name."""
        return {"seed": self.seed, "validation": self.validation, "test": self.test}

    @property
    def digest(self) -> str:
        """A hash of all rows, part of the run's fingerprint."""
        rows = [
            [_identity(row) for row in part]
            for part in (self.seed, self.validation, self.test, self.train)
        ]
        told = json.dumps(rows) + self.pool_digest
        return hashlib.sha256(told.encode()).hexdigest()[:16]


def read_task_data(config: Config, kind: TaskKind) -> TaskData:
    """Read and check seed, validation and test rows, and for `fullshot` the train rows.

    Exact duplicates are kept once; rows of any other split that also stand in test are dropped.
    Both are warned about.

    Raises:
        DataError: a file that is missing or not UTF-8, a row without text or with an unknown
            label, one text with two labels, a label without a seed.
    """
    labels = tuple(config.task.labels)
    warnings: list[str] = []
    reasons = kind.name == "reasoning"
    answers = config.task.answers if reasons else None
    read = partial(_read_split, kind=kind, labels=labels, warnings=warnings, answers=answers)
    drop_known = partial(_drop_known, kind)
    seed = read(config.data.seed, "seed", has_choices=are_needed(answers, ()))
    has_choices = are_needed(answers, seed)
    validation = read(config.data.validation, "validation", has_choices=has_choices)
    test = read(config.data.test, "test", has_choices=has_choices)
    seed = drop_known(seed, "seed", test, "test", warnings)
    validation = drop_known(validation, "validation", test, "test", warnings)
    validation = drop_known(validation, "validation", seed, "seed", warnings)
    train: list[Example] = []
    if config.strategy.name == "fullshot":
        train = read(config.data.train, "train", has_choices=has_choices)
        train = drop_known(train, "train", test, "test", warnings)
        train = drop_known(train, "train", seed, "seed", warnings)
    if reasons:
        for split, rows in (("seed", seed), ("train", train)):
            told = [*unexplained(rows), *miscalculated_gold(rows)]
            warnings += [f"{split}: {one}" for one in told]
        for split, rows in (("validation", validation), ("test", test)):
            warnings += [f"{split}: {told}" for told in never_right(rows, seed)]
        _check_explained(config, {"fewshot": seed, "fullshot": train})
        _check_calculated(config, seed)
    shown = {label for row in seed for label in kind.labels_in(row)}
    bare = [label for label in labels if label not in shown]
    if bare:
        raise DataError(
            f"{config.data.seed}: no seed row for label(s) {', '.join(bare)}; "
            "every label needs at least one gold example that does not stand in test"
        )
    pool = Path(config.data.pool) if config.data.pool and config.uses_pool else None
    columns = kind.pool_columns
    if pool:
        _check_pool(pool, columns)
    return TaskData(
        labels,
        tuple(seed),
        tuple(validation),
        tuple(test),
        tuple(warnings),
        tuple(train),
        pool or Path(),
        digest_of_pool(pool) if pool else "",
    )


def _check_pool(pool: Path, columns: Sequence[str]) -> None:
    """Check that a pool holds a text.

    Raises:
        DataError: it does not; what is wrong with its first row is told.
    """
    broken: BrokenRow | None = None
    for row in read_pool(pool, columns):
        if isinstance(row, PoolRow):
            return
        broken = broken or row
    first = f" (the first: {broken.place}: {broken.why})" if broken else ""
    raise DataError(
        f"data.pool: no row of {pool} holds a text{first}; expected {form_of_pool(columns)}"
    )


def _check_explained(config: Config, learnt: Mapping[str, Sequence[Example]]) -> None:
    """Check that a strategy that learns gold explanations, and nothing else, has some.

    Args:
        learnt: such strategy → its rows.
    """
    name = config.strategy.name
    if name in learnt and not any(split_steps(row.rationale) for row in learnt[name]):
        raise DataError(
            f"{config.data.train if name == 'fullshot' else config.data.seed}: no row has a "
            f"rationale with a step before the answer; the strategy {name} learns nothing else"
        )


def _check_calculated(config: Config, seed: Sequence[Example]) -> None:
    """Check that answers are numbers, where nothing but calculations is asked for.

    Raises:
        DataError: they are not.
    """
    form = config.task.answers or usual_form(seed)
    strategy = config.strategy
    if (strategy.name, strategy.annotation) == ("elad", "calculation") and form != "number":
        raise DataError(
            "strategy.annotation: calculation is for answers that are numbers, but an answer is "
            f"{form!r} (task.answers, else what the seeds' answers are); give solved"
        )


def read_rows(
    path: Path, columns: Sequence[str] = ("text", "label"), form: str = ""
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line number, row) of a JSONL (`.gz` too) or CSV file.

    Args:
        columns: what a CSV must have; nothing where the rows fit no CSV.
        form: what a line of a JSONL file looks like.

    Raises:
        DataError: missing, unreadable or not UTF-8 file, or a line that is no JSON object.
    """
    text = _read_text(path)
    if path.name.removesuffix(".gz").endswith(".csv"):
        if not columns:
            raise DataError(
                f"{path}: rows of this kind fit no CSV; expected JSONL with lines such as {form}"
            )
        reader = csv.DictReader(io.StringIO(text))
        if not set(columns) <= set(reader.fieldnames or ()):
            raise DataError(
                f"{path}: the header is {reader.fieldnames}, expected the columns "
                f"{' and '.join(columns)}"
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
        except (ValueError, RecursionError) as error:  # a number too long, too many brackets
            raise DataError(f"{path}:{number}: not valid JSON ({error})") from None
        if not isinstance(row, dict):
            raise DataError(f"{path}:{number}: expected an object")
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
    path: str | None,
    split: str,
    kind: TaskKind,
    labels: Sequence[str],
    warnings: list[str],
    *,
    answers: AnswerForm | None = None,
    has_choices: bool = False,
) -> list[Example]:
    """Return the rows of a split, checked.

    Args:
        answers: the form that the task names for the answers of questions.
        has_choices: a row without choices is an error.
    """
    if path is None:
        return []
    rows: list[Example] = []
    seen: dict[str, Example] = {}
    doubles = 0
    for number, raw in read_rows(Path(path), kind.columns, kind.form):
        where = f"{path}:{number}"
        row = answer_in_form(kind.check_row(raw, where, labels), answers, where)
        if has_choices and not row.choices:
            raise DataError(
                f"{path}:{number}: no choices; every question of this task has some, as "
                "task.answers or the seeds say: add them, or remove the row"
            )
        known = seen.get(kind.key(row))
        if known is None:
            seen[kind.key(row)] = row
            rows.append(row)
        elif kind.says(known) == kind.says(row):
            doubles += 1
        else:
            raise DataError(
                f"{path}:{number}: the text {row.text[:60]!r} has {kind.describe(row)} here "
                f"and {kind.describe(known)} above; keep one of them"
            )
    if not rows:
        raise DataError(f"{path}: no rows; expected lines such as {kind.form}")
    if doubles:
        warnings.append(f"{split}: {doubles} duplicate row(s) kept once")
    warnings += [f"{split}: {doubt}" for doubt in kind.doubts(rows)]
    return rows


def _drop_known(
    kind: TaskKind,
    rows: list[Example],
    split: str,
    others: Sequence[Example],
    other_split: str,
    warnings: list[str],
) -> list[Example]:
    # Without case: a kind may tell its rows apart by it, but then they still give each other away.
    known = {normalize(kind.key(row)) for row in others}
    kept = [row for row in rows if normalize(kind.key(row)) not in known]
    if len(kept) < len(rows):
        dropped = len(rows) - len(kept)
        warnings.append(f"{split}: {dropped} row(s) that also stand in {other_split} were dropped")
    return kept


def _identity(row: Example) -> list[Any]:
    """Return what makes a row what it is, the place of its tokens aside."""
    found = [one.model_dump() for one in row.entities]
    told = [row.choices, row.rationale] if row.choices or row.rationale else []
    return [row.text, row.label, *([found] if found else []), *told]
