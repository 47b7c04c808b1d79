"""The ledger: every teacher call of a run with role, round, tokens, latency and outcome.

It shares `calls.sqlite` with the run's own reply cache.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evokd.store.files import storage_errors
from evokd.store.replies import connect

_SCHEMA = """
CREATE TABLE IF NOT EXISTS calls (
    id INTEGER PRIMARY KEY,
    role TEXT NOT NULL, round INTEGER NOT NULL, purpose TEXT NOT NULL, model TEXT NOT NULL,
    key TEXT NOT NULL, attempt INTEGER NOT NULL, cached INTEGER NOT NULL DEFAULT 0,
    started REAL NOT NULL, seconds REAL,
    input_tokens INTEGER NOT NULL DEFAULT 0, output_tokens INTEGER NOT NULL DEFAULT 0,
    estimated INTEGER NOT NULL DEFAULT 0,
    usd REAL, outcome TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS calls_by_purpose ON calls (purpose, round, role);
CREATE TABLE IF NOT EXISTS phases (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL, round INTEGER NOT NULL,
    started REAL NOT NULL, ended REAL NOT NULL
);
"""
# A node that was killed asks its calls again, from the run's own cache: they count once.
_ASKED_ONCE = (
    "(SELECT role, round, purpose, MAX(input_tokens) AS input_tokens,"
    " MAX(output_tokens) AS output_tokens, MAX(usd) AS usd"
    " FROM calls GROUP BY role, round, purpose, key, attempt)"
)
WINDOW = "window"
FIT = "fit"  # inside the phase `train`: the optimiser alone
IN_FLIGHT = "in flight"
LOST = "lost"
OK = "ok"


@dataclass(frozen=True)
class RoleUsage:
    """What one role cost. Tokens of cached calls count in `budget_*` only."""

    calls: int
    cached: int
    input_tokens: int
    output_tokens: int
    usd: float | None
    failed: int


@dataclass
class _Sums:
    """Sums that follow the calls: a budget is looked at before every call, and scans none."""

    spent: list[float] = field(default_factory=lambda: [0, 0, 0])
    """Input tokens, output tokens and dollars, every call once."""
    answered: dict[str, list[int]] = field(default_factory=dict)
    """Role → usable replies, their input and output tokens."""
    open: Counter[str] = field(default_factory=Counter)
    """Role → calls in flight."""

    def count(self, role: str, outcome: str, tokens: tuple[int, int], times: int) -> None:
        """Take in, or out again, a call in the state it is in."""
        if outcome == IN_FLIGHT:
            self.open[role] += times
        elif outcome == OK:
            sums = self.answered.setdefault(role, [0, 0, 0])
            for place, value in enumerate((1, *tokens)):
                sums[place] += times * value


class Ledger:
    """One row a call; rows are opened before the request and closed after it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._db = connect(path)
        self._window: int | None = None
        self._sums: _Sums | None = None  # None: to be read from the file
        with storage_errors(path), self._lock, self._db:
            self._db.executescript(_SCHEMA)

    def open_call(
        self, *, role: str, round: int, purpose: str, model: str, key: str, attempt: int
    ) -> int:
        """Write a call that is about to be made and return its id."""
        with storage_errors(self.path), self._lock, self._db:
            cursor = self._db.execute(
                "INSERT INTO calls (role, round, purpose, model, key, attempt, started, outcome)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (role, round, purpose, model, key, attempt, time.time(), IN_FLIGHT),
            )
            if self._sums:
                self._sums.open[role] += 1
        return int(cursor.lastrowid or 0)

    def close_call(
        self,
        call: int,
        *,
        outcome: str,
        input_tokens: int = 0,
        output_tokens: int = 0,
        usd: float | None = None,
        cached: bool = False,
        estimated: bool = False,
    ) -> None:
        """Write how a call ended."""
        with storage_errors(self.path), self._lock, self._db, self._followed(call):
            self._db.execute(
                "UPDATE calls SET outcome = ?, seconds = ? - started, input_tokens = ?,"
                " output_tokens = ?, usd = ?, cached = ?, estimated = ? WHERE id = ?",
                (
                    outcome,
                    time.time(),
                    input_tokens,
                    output_tokens,
                    usd,
                    int(cached),
                    int(estimated),
                    call,
                ),
            )

    def mark_outcome(self, call: int, outcome: str) -> None:
        """Change the outcome of a closed call, for a reply that turned out unusable."""
        with storage_errors(self.path), self._lock, self._db, self._followed(call):
            self._db.execute("UPDATE calls SET outcome = ? WHERE id = ?", (outcome, call))

    def mark_lost(self) -> int:
        """Mark calls that an ended process left open; return how many."""
        with storage_errors(self.path), self._lock, self._db:
            cursor = self._db.execute(
                "UPDATE calls SET outcome = ? WHERE outcome = ?", (LOST, IN_FLIGHT)
            )
            self._sums = None
        return cursor.rowcount

    def add_phase(self, name: str, round: int, start: float, end: float) -> None:
        """Write when a phase ran (epoch seconds), and stretch the open window to its end."""
        with storage_errors(self.path), self._lock, self._db:
            self._insert_phase(name, round, start, end)
            self._db.execute("UPDATE phases SET ended = ? WHERE id = ?", (end, self._window))

    def open_window(self) -> None:
        """Begin a stretch of wall clock in which the loop runs; a killed run ends it early."""
        now = time.time()
        with storage_errors(self.path), self._lock, self._db:
            self._window = self._insert_phase(WINDOW, -1, now, now)

    def close_window(self) -> None:
        """End the stretch."""
        with storage_errors(self.path), self._lock, self._db:
            self._db.execute(
                "UPDATE phases SET ended = ? WHERE id = ?", (time.time(), self._window)
            )
        self._window = None

    def window_seconds(self) -> float:
        """Return the wall clock of the loop so far, over all resumes, in seconds."""
        total = sum(end - start for start, end in self.phase_intervals(WINDOW))
        if self._window is not None:
            ((end,),) = self._rows("SELECT ended FROM phases WHERE id = ?", (self._window,))
            total += time.time() - end
        return total

    def phase_intervals(self, name: str) -> list[tuple[float, float]]:
        """Return (start, end) in epoch seconds of every time a phase ran."""
        return list(
            self._rows("SELECT started, ended FROM phases WHERE name = ? ORDER BY id", (name,))
        )

    def phase_names(self) -> list[str]:
        """Return the names of the phases, in the order of their first start."""
        rows = self._rows("SELECT name FROM phases GROUP BY name ORDER BY MIN(started)")
        return [name for (name,) in rows if name not in (WINDOW, FIT)]

    def round_span(self, round: int) -> list[tuple[float, float]]:
        """Return the stretches in which nodes of a round ran."""
        return list(
            self._rows(
                "SELECT started, ended FROM phases WHERE round = ? AND name != ? ORDER BY started",
                (round, WINDOW),
            )
        )

    def split_seconds(self, windows: list[tuple[float, float]]) -> dict[str, float]:
        """Partition windows into seconds of teacher (a call is open), training and other."""
        total = covered_seconds(windows, windows)
        teacher = covered_seconds(self.open_intervals(), windows)
        training = covered_seconds(self.phase_intervals(FIT), windows)
        return {
            "teacher": round_to_ms(teacher),
            "training": round_to_ms(training),
            "other": round_to_ms(max(0.0, total - teacher - training)),
        }

    def usage_by_role(self) -> dict[str, RoleUsage]:
        """Return calls, cache hits and tokens a role; a hit costs no tokens here."""
        rows = self._rows(
            "SELECT role, SUM(cached = 0), SUM(cached), SUM((1 - cached) * input_tokens),"
            " SUM((1 - cached) * output_tokens), SUM((1 - cached) * usd),"
            " SUM(cached = 0 AND outcome NOT IN ('ok', 'in flight')) FROM calls GROUP BY role"
        )
        return {
            role: RoleUsage(calls, cached, tokens_in, tokens_out, usd, failed)
            for role, calls, cached, tokens_in, tokens_out, usd, failed in rows
        }

    def budget_spent(self, purpose: str = "", role: str | None = None) -> dict[str, float]:
        """Return what counts against the budget: a cache hit counts with its original tokens.

        Args:
            purpose: what the purposes of the calls begin with.
            role: None: all.
        """
        with storage_errors(self.path), self._lock:
            counted = self._spent(purpose, role) if purpose or role else self._summed().spent
        tokens_in, tokens_out, usd = counted
        return {
            "output_tokens": tokens_out,
            "total_tokens": tokens_in + tokens_out,
            "usd": usd,
        }

    def holds_reply(self, role: str, round: int, purpose: str) -> bool:
        """Whether a call was answered: only a process that was killed asks it once more."""
        rows = self._rows(
            "SELECT 1 FROM calls JOIN replies USING (key)"
            " WHERE role = ? AND round = ? AND purpose = ? LIMIT 1",
            (role, round, purpose),
        )
        return bool(rows)

    def purposes(self, round: int, beginning: str) -> set[str]:
        """Return the purposes of a round's calls, answered or not, that begin so."""
        rows = self._rows(
            "SELECT DISTINCT purpose FROM calls"
            " WHERE round = ? AND substr(purpose, 1, length(?)) = ?",
            (round, beginning, beginning),
        )
        return {purpose for (purpose,) in rows}

    def spent_by_open_calls(self) -> dict[str, float]:
        """Return what the calls in flight will cost, each as much as its role's mean so far."""
        with storage_errors(self.path), self._lock:
            sums = self._summed()
            means = {
                role: (calls * tokens_in / number, calls * tokens_out / number)
                for role, calls in sums.open.items()
                for number, tokens_in, tokens_out in [sums.answered.get(role, [0, 0, 0])]
                if number
            }
        tokens_in = sum(one for one, _ in means.values())
        tokens_out = sum(one for _, one in means.values())
        return {"output_tokens": tokens_out, "total_tokens": tokens_in + tokens_out}

    def spent_by_role(self) -> dict[str, tuple[int, int, int]]:
        """Return (calls, input tokens, output tokens) a role, cache hits at their first price."""
        rows = self._rows(
            f"SELECT role, COUNT(*), SUM(input_tokens), SUM(output_tokens) FROM {_ASKED_ONCE}"
            " WHERE purpose != 'probe' GROUP BY role"
        )
        return {role: (calls, tokens_in, tokens_out) for role, calls, tokens_in, tokens_out in rows}

    def spent_until(self, round: int) -> tuple[int, int]:
        """Return (input, output) tokens of all rounds up to this one, cache hits included."""
        ((tokens_in, tokens_out),) = self._rows(
            "SELECT COALESCE(SUM(input_tokens), 0), COALESCE(SUM(output_tokens), 0)"
            f" FROM {_ASKED_ONCE} WHERE round <= ? AND purpose != 'probe'",
            (round,),
        )
        return int(tokens_in), int(tokens_out)

    def calls_with_replies(self) -> list[dict[str, Any]]:
        """Return every call with its reply's text, in the order they were made."""
        columns = "role round purpose model attempt cached input_tokens output_tokens outcome"
        names = columns.split()
        rows = self._rows(
            f"SELECT {', '.join(names)}, json_extract(reply, '$.text')"  # noqa: S608
            " FROM calls LEFT JOIN replies USING (key) ORDER BY id"
        )
        return [dict(zip([*names, "reply"], row, strict=True)) for row in rows]

    def tokens_of_round(self, round: int) -> int:
        """Return the output tokens of a round, cache hits included."""
        ((tokens,),) = self._rows(
            f"SELECT COALESCE(SUM(output_tokens), 0) FROM {_ASKED_ONCE} WHERE round = ?", (round,)
        )
        return int(tokens)

    def open_intervals(self, role: str | None = None) -> list[tuple[float, float]]:
        """Return (start, end) in epoch seconds of every call that reached an endpoint."""
        rows = self._rows(
            "SELECT started, seconds FROM calls WHERE cached = 0 AND seconds IS NOT NULL"
            " AND role = COALESCE(?, role) ORDER BY started",
            (role,),
        )
        return [(start, start + seconds) for start, seconds in rows]

    def counts(self) -> dict[str, int]:
        """Return the number of calls by outcome."""
        return dict(self._rows("SELECT outcome, COUNT(*) FROM calls GROUP BY outcome"))

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()

    def _summed(self) -> _Sums:
        """Return the sums; of a file that was not summed up yet, all its calls'."""
        if self._sums is None:
            sums = _Sums(spent=list(self._spent()))
            rows = self._db.execute(
                "SELECT role, outcome, COUNT(*), SUM(input_tokens), SUM(output_tokens)"
                " FROM calls GROUP BY role, outcome"
            )
            for role, outcome, number, tokens_in, tokens_out in rows:
                if outcome == IN_FLIGHT:
                    sums.open[role] = number
                elif outcome == OK:
                    sums.answered[role] = [number, tokens_in, tokens_out]
            self._sums = sums
        return self._sums

    def _spent(self, purpose: str = "", role: str | None = None) -> tuple[float, ...]:
        row: tuple[float, ...] = self._db.execute(
            "SELECT COALESCE(SUM(input_tokens), 0), COALESCE(SUM(output_tokens), 0),"
            f" COALESCE(SUM(usd), 0) FROM {_ASKED_ONCE}"
            " WHERE substr(purpose, 1, length(?)) = ? AND role = COALESCE(?, role)",
            (purpose, purpose, role),
        ).fetchone()
        return row

    @contextmanager
    def _followed(self, call: int) -> Iterator[None]:
        """Have the sums follow what is written about a call."""
        if self._sums is None:
            yield
            return
        before, spent = self._state_of(call)
        yield
        after, spent_now = self._state_of(call)
        self._sums.count(*before, times=-1)
        self._sums.count(*after, times=1)
        for place, (was, now) in enumerate(zip(spent, spent_now, strict=True)):
            self._sums.spent[place] += now - was

    def _state_of(self, call: int) -> tuple[tuple[str, str, tuple[int, int]], tuple[float, ...]]:
        """Return a call's role, outcome and tokens, and what all calls like it count."""
        role, outcome, tokens_in, tokens_out, *like = self._db.execute(
            "SELECT role, outcome, input_tokens, output_tokens, role, round, purpose, key, attempt"
            " FROM calls WHERE id = ?",
            (call,),
        ).fetchone()
        spent: tuple[float, ...] = self._db.execute(
            "SELECT MAX(input_tokens), MAX(output_tokens), COALESCE(MAX(usd), 0) FROM calls"
            " WHERE role = ? AND round = ? AND purpose = ? AND key = ? AND attempt = ?",
            like,
        ).fetchone()
        return (role, outcome, (tokens_in, tokens_out)), spent

    def _insert_phase(self, name: str, round: int, start: float, end: float) -> int:
        cursor = self._db.execute(
            "INSERT INTO phases (name, round, started, ended) VALUES (?, ?, ?, ?)",
            (name, round, start, end),
        )
        return int(cursor.lastrowid or 0)

    def _rows(self, sql: str, values: tuple[Any, ...] = ()) -> list[Any]:
        with storage_errors(self.path), self._lock:
            return self._db.execute(sql, values).fetchall()


def round_to_ms(seconds: float) -> float:
    """Return seconds with three decimals."""
    return round(seconds, 3)


def union_of(spans: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Merge overlapping (start, end) stretches."""
    merged: list[tuple[float, float]] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    return merged


def covered_seconds(
    intervals: list[tuple[float, float]], windows: list[tuple[float, float]]
) -> float:
    """Return how many seconds of `windows` at least one of `intervals` covers."""
    clipped = [
        (max(start, low), min(end, high))
        for start, end in intervals
        for low, high in union_of(windows)
        if min(end, high) > max(start, low)
    ]
    return sum(end - start for start, end in union_of(clipped))
