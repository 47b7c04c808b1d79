"""The pool of a run: unlabelled texts by number, in one SQLite file, so that memory stays flat.

Only the writer of the run fills it. Scores are those of the last student that was asked; they can
be computed anew at any time, so that a killed run loses nothing.
"""

from __future__ import annotations

import hashlib
import heapq
import json
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from evokd.records import Record
from evokd.store.files import storage_errors
from evokd.store.replies import connect
from evokd.tasks.choices import question_key
from evokd.tasks.pool import BrokenRow, PoolRow

BATCH = 1000
NAMED = 5  # broken rows that are named


class PoolCounts(Record):
    """What became of the rows of a pool."""

    read: int = 0
    kept: int = 0
    dropped: dict[str, int] = Field(default_factory=dict, description="reason → rows")
    broken: list[str] = Field(default_factory=list, description="'place: why', the first few")

    @property
    def in_words(self) -> str:
        """What became of the rows, in a line."""
        dropped = "".join(f", {why} {number}" for why, number in sorted(self.dropped.items()))
        named = f" ({'; '.join(self.broken)})" if self.broken else ""
        return f"{self.read} rows read, {self.kept} kept{dropped}{named}"


class Scored(Record):
    """What the student says of one text of the pool."""

    id: int
    label: str
    uncertainty: float = Field(description="normalised entropy, in [0, 1]")


class Pool:
    """Numbered texts, and the last student's word on each.

    Args:
        path: the file; made where it is not there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with storage_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        self._db = connect(path)
        with storage_errors(path), self._db as db:
            db.execute(
                "CREATE TABLE IF NOT EXISTS texts "
                "(id INTEGER PRIMARY KEY, digest BLOB UNIQUE NOT NULL, text TEXT NOT NULL, "
                "more TEXT NOT NULL)"
            )
            db.execute(
                "CREATE TABLE IF NOT EXISTS scores "
                "(id INTEGER PRIMARY KEY, label TEXT NOT NULL, uncertainty REAL NOT NULL)"
            )
            db.execute("CREATE TABLE IF NOT EXISTS counts (counts TEXT NOT NULL)")

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def fill(
        self, rows: Iterable[PoolRow | BrokenRow], drop: Callable[[PoolRow], str]
    ) -> PoolCounts:
        """Take in rows, once and for all: a pool that was filled is left as it is.

        Of texts that are the same but for case and spaces the first is kept; other choices make
        another question.

        Args:
            drop: why a row is left out; '' for one that is not.
        """
        if self.counts is not None:
            return self.counts
        counts = PoolCounts()
        dropped: Counter[str] = Counter()
        waiting: list[tuple[bytes, str, str]] = []
        with storage_errors(self.path), self._db as db:

            def store() -> None:
                query = "INSERT OR IGNORE INTO texts (digest, text, more) VALUES (?, ?, ?)"
                stored = db.executemany(query, waiting).rowcount if waiting else 0
                counts.kept += stored
                dropped["duplicate"] += len(waiting) - stored
                waiting.clear()

            for row in rows:
                counts.read += 1
                if isinstance(row, BrokenRow):
                    dropped["broken"] += 1
                    if len(counts.broken) < NAMED:
                        counts.broken.append(f"{row.place}: {row.why}")
                elif why := drop(row):
                    dropped[why] += 1
                else:
                    waiting.append((_digest(row), row.text, row.more))
                    if len(waiting) == BATCH:
                        store()
            store()
            counts.dropped = {why: number for why, number in dropped.items() if number}
            db.execute("INSERT INTO counts VALUES (?)", (counts.model_dump_json(),))
        return counts

    @property
    def counts(self) -> PoolCounts | None:
        """What became of the rows; None before it is filled."""
        with storage_errors(self.path):
            row = self._db.execute("SELECT counts FROM counts").fetchone()
        return PoolCounts.model_validate_json(row[0]) if row else None

    def __len__(self) -> int:
        with storage_errors(self.path):
            return int(self._db.execute("SELECT count(*) FROM texts").fetchone()[0])

    def batches(self, size: int) -> Iterator[list[tuple[int, str]]]:
        """Yield all (number, text), `size` at a time, in the order of their numbers."""
        last = 0
        while True:
            query = "SELECT id, text FROM texts WHERE id > ? ORDER BY id LIMIT ?"
            with storage_errors(self.path):
                rows = self._db.execute(query, (last, size)).fetchall()
            if not rows:
                return
            yield rows
            last = rows[-1][0]

    def texts(self, ids: Sequence[int]) -> list[str]:
        """Return the texts of some numbers, in their order."""
        with storage_errors(self.path):
            found = dict(
                self._db.execute(
                    "SELECT id, text FROM texts WHERE id IN (SELECT value FROM json_each(?))",
                    (_as_json(ids),),
                ).fetchall()
            )
        return [found[one] for one in ids]

    def more(self, ids: Sequence[int]) -> list[dict[str, Any]]:
        """Return what the rows of some texts hold beside them, in their order."""
        query = "SELECT id, more FROM texts WHERE id IN (SELECT value FROM json_each(?))"
        with storage_errors(self.path):
            found = dict(self._db.execute(query, (_as_json(ids),)).fetchall())
        return [json.loads(found[one]) if found[one] else {} for one in ids]

    def write_scores(self, batches: Iterable[Sequence[Scored]]) -> None:
        """Replace all scores."""
        with storage_errors(self.path), self._db as db:
            db.execute("DELETE FROM scores")
            for batch in batches:
                db.executemany(
                    "INSERT INTO scores VALUES (?, ?, ?)",
                    [(one.id, one.label, one.uncertainty) for one in batch],
                )

    def scores(self, ids: Sequence[int]) -> list[Scored]:
        """Return the last student's word on some texts, in their order."""
        query = (
            "SELECT id, label, uncertainty FROM scores WHERE id IN (SELECT value FROM json_each(?))"
        )
        with storage_errors(self.path):
            rows = self._db.execute(query, (_as_json(ids),)).fetchall()
        found = {one[0]: Scored(id=one[0], label=one[1], uncertainty=one[2]) for one in rows}
        return [found[one] for one in ids]

    def labels(self, without: Iterable[int] = ()) -> dict[str, int]:
        """Return label → how many texts the last student gives it, the most frequent first.

        Args:
            without: numbers that are left out.
        """
        query = (
            "SELECT label, count(*) FROM scores WHERE id NOT IN (SELECT value FROM json_each(?)) "
            "GROUP BY label ORDER BY count(*) DESC, label"
        )
        with storage_errors(self.path):
            return dict(self._db.execute(query, (_as_json(without),)).fetchall())

    def most_uncertain(
        self, count: int, without: Iterable[int], label: str | None = None
    ) -> list[Scored]:
        """Return the texts the last student is least sure of, those first; equal ones by number.

        Args:
            without: numbers that are left out.
            label: only those it gives this label.
        """
        query = (
            "SELECT id, label, uncertainty FROM scores "
            "WHERE (? IS NULL OR label = ?) AND id NOT IN (SELECT value FROM json_each(?)) "
            "ORDER BY uncertainty DESC, id LIMIT ?"
        )
        with storage_errors(self.path):
            rows = self._db.execute(query, (label, label, _as_json(without), count)).fetchall()
        return [Scored(id=one[0], label=one[1], uncertainty=one[2]) for one in rows]

    def draw_of(
        self, label: str, count: int, without: Iterable[int], rng: random.Random
    ) -> list[int]:
        """Return that many numbers by chance, of those that the last student gives a label."""
        query = (
            "SELECT id FROM scores WHERE label = ? AND id NOT IN (SELECT value FROM json_each(?)) "
            "ORDER BY id"
        )
        with storage_errors(self.path):
            ids = self._db.execute(query, (label, _as_json(without)))
            drawn = heapq.nsmallest(count, ((rng.random(), one) for (one,) in ids))
        return [one for _, one in drawn]

    def draw(self, count: int, without: Iterable[int], rng: random.Random) -> list[int]:
        """Return that many numbers by chance, or all that are left where there are fewer."""
        left_out = set(without)
        held = len(self)  # numbers run from 1 without gaps: nothing is ever taken out
        drawn = rng.sample(range(1, held + 1), min(held, count + len(left_out)))
        return [one for one in drawn if one not in left_out][:count]


def _digest(row: PoolRow) -> bytes:
    told = question_key(row.text, row.columns.get("choices", ()))
    return hashlib.blake2b(told.encode(), digest_size=16).digest()


def _as_json(ids: Iterable[int]) -> str:
    return f"[{','.join(map(str, sorted(ids)))}]"
