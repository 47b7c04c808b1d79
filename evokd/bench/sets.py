"""The sets of the benchmark: their task, and gold, dev and test rows drawn from public data.

Nothing here trains or asks anybody. What each set is stands in `tasks/<set>.yaml`: the folder of
its rows under the data folder, the task as a user would write it, and whether its texts may be
copied into result files.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import random
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict

from evokd.bench.records import Kind
from evokd.config import nearest
from evokd.errors import ConfigError, DataError
from evokd.records import Example
from evokd.store.files import write_lines
from evokd.tasks import KINDS, TaskKind, normalize
from evokd.tasks.explanations import split_steps
from evokd.tasks.rows import read_rows

DATA_VARIABLE = "EVOKD_DATA"
POOL_ROWS = 1000
DEV_ROWS = 40  # a label
DEV_QUESTIONS = 100  # of a set without labels
TEACHER_ROWS = 300
LONGEST_GOLD = 4  # steps of an explanation that is shown as an example
SETS = (
    *("banking8", "trec", "clinc10", "sst2", "csabstruct"),
    *("wikigold", "conll2004", "wnut17"),
    *("svamp", "strategyqa", "gsm8k"),
)
DATA_HINT = (
    "give the folder that holds classification/<set>/, ner/<set>/ and reasoning/<set>/, each with "
    f"train.jsonl.gz and test.jsonl.gz, with --data or {DATA_VARIABLE} "
    "(form and sources: docs/benchmark.md)"
)


class SetFile(BaseModel):
    """`tasks/<set>.yaml`."""

    model_config = ConfigDict(extra="forbid")

    source: str
    copyable: bool
    attribution: str
    task: dict[str, Any]
    settings: dict[str, dict[str, Any]] = {}
    explained: list[dict[str, str]] = []
    """Questions of train with explanations in words, where the set's own are none."""
    test_rows: int | None = None
    """How many of the test rows are scored; None: all."""


@dataclass(frozen=True)
class BenchSet:
    """One set with all its rows; a row's index is its place in the file.

    `train` keeps the file's rows of the set's labels, but for texts of the test split, doubles and
    texts with two labels; `test` keeps doubles out. `explained` holds the questions, normalized,
    whose explanations are ours; then the others have none.
    """

    name: str
    kind: Kind
    copyable: bool
    task: dict[str, Any]
    settings: dict[str, dict[str, Any]]
    explained: frozenset[str]
    train: dict[int, Example]
    test: dict[int, Example]
    _places: dict[str, str] = field(default_factory=dict)
    _exact: dict[str, str] = field(default_factory=dict)

    @property
    def labels(self) -> list[str]:
        """The labels, in the order of the task; none where questions are answered."""
        return list(self.task.get("labels", {}))

    @property
    def task_kind(self) -> TaskKind:
        """The kind of its task."""
        return KINDS[self.kind]

    def dev(self) -> dict[int, Example]:
        """Return the dev cut: up to 40 train rows a label, or 100 questions; at most half."""
        rng = random.Random(f"{self.name} dev")  # noqa: S311
        if not self.labels:
            known = self.explained
            free = [at for at, row in self.train.items() if normalize(row.text) not in known]
            places = rng.sample(free, min(DEV_QUESTIONS, len(free) // 2))
            return {index: self.train[index] for index in sorted(places)}
        labels = list(self.task_kind.targets(self.task["labels"]))
        drawn = self._draw(self.train, labels, lambda rows: min(DEV_ROWS, rows // 2), rng)
        return dict(sorted(drawn.items()))

    def seed(self, shots: int, random_seed: int) -> dict[int, Example]:
        """Return `shots` gold examples a label, drawn from train without the dev cut.

        Raises:
            ConfigError: a label has too few rows.
        """
        dev = self.dev()
        free = {index: row for index, row in self.train.items() if index not in dev}
        rng = random.Random(f"{self.name} seed {random_seed}")  # noqa: S311
        if not self.labels:
            return self._explained(free, shots, rng)
        drawn = self._draw(free, self.labels, lambda rows: min(shots, rows), rng)
        if len(drawn) < shots * len(self.labels):
            raise ConfigError(f"{self.name} has fewer than {shots} free rows for some label")
        return drawn

    def _explained(
        self, free: dict[int, Example], shots: int, rng: random.Random
    ) -> dict[int, Example]:
        """Return `shots` questions with short explanations."""
        short = [
            index
            for index, row in free.items()
            if row.rationale and len(split_steps(row.rationale)) <= LONGEST_GOLD
        ]
        drawn = rng.sample(short, len(short))
        if self.task["answers"] == "yes_no":
            # Yes and no in turn: a student answers what most of its examples do.
            by_answer = [[at for at in drawn if free[at].label == one] for one in ("yes", "no")]
            drawn = list(chain.from_iterable(zip(*by_answer, strict=False)))
        if len(drawn) < shots:
            raise ConfigError(f"{self.name} has fewer than {shots} questions explained in short")
        return {index: free[index] for index in drawn[:shots]}

    def gold(self, split: Literal["test", "dev"]) -> dict[int, Example]:
        """Return what `fullshot` learns: all of train, without the dev cut where that is scored.

        Nor what a user's file may not hold either: rows that are one text, white space aside for
        entities, and do not say the same.
        """
        scored = self.dev() if split == "dev" else {}
        rows = {index: row for index, row in self.train.items() if index not in scored}
        kind = self.task_kind
        said: dict[str, set[str]] = {}
        for row in rows.values():
            said.setdefault(kind.key(row), set()).add(kind.says(row))
        return {index: row for index, row in rows.items() if len(said[kind.key(row)]) == 1}

    def pool(self) -> list[Example]:
        """Return 1,000 train rows outside the dev cut, or all.

        The same for every random seed and split, so that the teacher is asked once.
        """
        dev = self.dev()
        free = [row for index, row in self.train.items() if index not in dev]
        rng = random.Random(f"{self.name} pool")  # noqa: S311
        return rng.sample(free, min(POOL_ROWS, len(free)))

    def rows(self, split: Literal["test", "dev"]) -> dict[int, Example]:
        """Return the rows that are scored."""
        return self.test if split == "test" else self.dev()

    def teacher_rows(self, split: Literal["test", "dev"]) -> list[Example]:
        """Return the rows that the teacher itself is asked, see `teacher_places`."""
        rows = list(self.rows(split).values())
        return [rows[place] for place in teacher_places(self.name, len(rows))]

    def place_of(self, text: str) -> str | None:
        """Return where a text stands, as 'train:17', or None.

        Where none is quite the same, one that is but for spaces and punctuation.
        """
        return self._exact.get(text) or self._places.get(letters(text))

    def at(self, place: str) -> Example:
        """Return the row at a place such as 'train:17'.

        Raises:
            DataError: there is none.
        """
        split, _, index = place.partition(":")
        row = (self.train if split == "train" else self.test).get(int(index))
        if row is None:
            raise DataError(f"the set {self.name} has no row at {place}")
        return row

    def _draw(
        self,
        rows: dict[int, Example],
        labels: Sequence[str],
        count: Callable[[int], int],
        rng: random.Random,
    ) -> dict[int, Example]:
        """Draw from each label; `count` says how many of its rows."""
        drawn: dict[int, Example] = {}
        for label in labels:
            places = [index for index, row in rows.items() if row.label == label]
            for index in rng.sample(places, count(len(places))):
                drawn[index] = rows[index]
        return drawn


def teacher_places(name: str, rows: int) -> list[int]:
    """Return which of a set's scored rows the teacher is asked: 300, in the order it is asked.

    The same for every prompt and random seed.
    """
    rng = random.Random(f"{name} teacher")  # noqa: S311
    return rng.sample(range(rows), min(TEACHER_ROWS, rows))


def letters(text: str) -> str:
    """Return a text's letters and digits alone, by which a copy is known amid other words."""
    return "".join(filter(str.isalnum, normalize(text)))


def text_hash(text: str) -> str:
    """Return what stands for a text that may not be copied."""
    return hashlib.sha256(normalize(text).encode()).hexdigest()[:16]


def data_folder(given: Path | None) -> Path:
    """Return the folder of the public sets: `--data`, else `EVOKD_DATA`.

    Raises:
        ConfigError: neither is given, or it is no folder; with a hint.
    """
    chosen = given or (Path(os.environ[DATA_VARIABLE]) if os.environ.get(DATA_VARIABLE) else None)
    if chosen is None:
        raise ConfigError(f"the benchmark needs the public sets: {DATA_HINT}")
    if not chosen.is_dir():
        raise ConfigError(f"no data folder at {chosen}: {DATA_HINT}")
    return chosen.resolve()


def check_set(name: str) -> str:
    """Return the name of a set.

    Raises:
        ConfigError: it is unknown.
    """
    if name not in SETS:
        raise ConfigError(f"unknown set {name!r}{nearest(name, SETS)}; known: {', '.join(SETS)}")
    return name


def kind_of_set(name: str) -> TaskKind:
    """Return the kind of a set's task; its rows are not read.

    Raises:
        ConfigError: the set is unknown.
    """
    return KINDS[_set_file(check_set(name)).task["kind"]]


@cache
def load_set(name: str, folder: Path) -> BenchSet:
    """Read one set from the data folder.

    Raises:
        ConfigError: the set is unknown. DataError: its files are missing or broken.
    """
    file = _set_file(check_set(name))
    kind = KINDS[file.task["kind"]]
    labels = list(file.task.get("labels", {}))
    test = _read(folder / file.source / "test.jsonl.gz", kind, labels)
    train = _read(folder / file.source / "train.jsonl.gz", kind, labels)
    known = {normalize(row.text) for row in test.values()}
    train = {index: row for index, row in train.items() if normalize(row.text) not in known}
    ours = {normalize(one["question"]): one["rationale"] for one in file.explained}
    if ours:
        train = {
            index: row.model_copy(update={"rationale": ours.get(normalize(row.text), "")})
            for index, row in train.items()
        }
    if file.test_rows is not None and file.test_rows < len(test):
        rng = random.Random(f"{name} test")  # noqa: S311
        test = {index: test[index] for index in sorted(rng.sample(list(test), file.test_rows))}
    placed = [
        (row.text, f"{split}:{index}")
        for split, rows in (("train", train), ("test", test))
        for index, row in rows.items()
    ]
    places = {letters(text): place for text, place in placed}
    exact = dict(placed)
    return BenchSet(
        *(name, file.task["kind"], file.copyable, file.task, file.settings, frozenset(ours)),
        *(train, test, places, exact),
    )


def write_rows(bench: BenchSet, path: Path, rows: Sequence[Example]) -> None:
    """Write rows as JSONL."""
    write_lines(path, map(bench.task_kind.raw, rows))


def write_pool(bench: BenchSet, path: Path) -> None:
    """Write the pool as JSONL: texts without labels, or questions with answers nobody is shown."""
    rows = bench.pool()
    if bench.labels:
        write_lines(path, ({"text": row.text} for row in rows))
    else:
        bare = (row.model_copy(update={"rationale": ""}) for row in rows)
        write_lines(path, map(bench.task_kind.raw, bare))


def read_packed(path: Path) -> list[dict[str, Any]]:
    """Read a `.jsonl.gz` file.

    Raises:
        DataError: it is missing or broken.
    """
    try:
        text = gzip.decompress(path.read_bytes()).decode("utf-8")
        return [json.loads(line) for line in text.split("\n") if line]
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise DataError(f"{path} cannot be read: {error}") from None


def _set_file(name: str) -> SetFile:
    text = resources.files("evokd.bench").joinpath(f"tasks/{name}.yaml").read_text("utf-8")
    return SetFile.model_validate(yaml.safe_load(text))


def _read(path: Path, kind: TaskKind, labels: Sequence[str]) -> dict[int, Example]:
    """Return the rows with one of the labels; doubles once, texts with two labels not at all."""
    if not path.exists():
        raise DataError(f"no file {path}: {DATA_HINT}")
    rows = {
        index: kind.check_row(row, f"{path}:{line}", labels)
        for index, (line, row) in enumerate(read_rows(path))
        if not labels or (row.get("label", labels[0]) in labels and row.get("text") != "")
    }
    if not rows:
        which = f" with a label of the task ({', '.join(labels)})" if labels else ""
        raise DataError(f"{path} holds no row{which}")
    pairs = {(normalize(row.text), kind.says(row)) for row in rows.values()}
    labels_of = Counter(text for text, _ in pairs)
    first: dict[str, int] = {}
    for index, row in rows.items():
        first.setdefault(normalize(row.text), index)
    return {
        index: row
        for index, row in rows.items()
        if labels_of[normalize(row.text)] == 1 and first[normalize(row.text)] == index
    }
