"""The weakness memory: its protocol, an in-memory version, and the pure rules both versions share.

A memory is opened for one run and may hold the rows of many: failures are searched over all runs,
samples within the run only. Writes are idempotent by (run, id), and `drop_round` takes a half
written round back, so that a restarted node leaves no trace of its first try.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, cast, get_args

from evokd.records import Embedder, Failure, Weakness, WeaknessStatus

Key = tuple[str, str]  # run, id
CLOSE_AT = 0.8


class IndexedSample(NamedTuple):
    """One sample as the index keeps it; a plain tuple in this order does as well."""

    id: str
    text: str
    label: str
    round: int


class Neighbour(NamedTuple):
    """One indexed sample near a text; `similarity` is the cosine, in [-1, 1]."""

    id: str
    text: str
    label: str
    similarity: float


class WeaknessMemory(Protocol):
    """What a run remembers. One process writes it; reading from threads is safe."""

    def add_failures(self, failures: Sequence[Failure]) -> None:
        """Keep failures; one with the same (run, id) replaces the earlier one."""
        ...

    def failures(self, run: str | None = None) -> list[Failure]:
        """Return the failures of a run, or of all, by (run, round, id)."""
        ...

    def related_failures(
        self, texts: Sequence[str], k: int, *, exclude: AbstractSet[str] = frozenset()
    ) -> list[Failure]:
        """Return at most `k` failures of any run nearest to any of the texts, best first.

        A mistake made in several runs appears once. `exclude` holds ids of this run.
        """
        ...

    def put_weaknesses(self, weaknesses: Sequence[Weakness]) -> None:
        """Add or replace weaknesses of this run, by id."""
        ...

    def weaknesses(self, run: str | None = None) -> list[Weakness]:
        """Return the weaknesses of a run, or of all runs, by (round, id)."""
        ...

    def open_weaknesses(self, run: str) -> list[Weakness]:
        """Return the weaknesses of a run that are open or returned, by (round, id)."""
        ...

    def index_samples(self, samples: Sequence[tuple[str, str, str, int]]) -> None:
        """Index samples of this run, each (id, text, label, round); same id replaces."""
        ...

    def nearest_samples(self, texts: Sequence[str], k: int) -> list[list[Neighbour]]:
        """Return, for each text, at most `k` indexed samples of this run, nearest first."""
        ...

    def drop_round(self, run: str, round: int) -> None:
        """Take back what a run wrote for `round` or later.

        Failures, samples and weaknesses found then are removed; older weaknesses get back the
        status they had before that round.
        """
        ...

    def runs(self) -> list[str]:
        """Return the ids of the runs that wrote failures or weaknesses, sorted."""
        ...

    def close(self) -> None:
        """Release files and locks; the memory cannot be used afterwards."""
        ...


def retest(
    weakness: Weakness, right: Sequence[bool], round: int, close_at: float = CLOSE_AT
) -> Weakness:
    """Return the weakness after its probes were asked again in `round`.

    It is closed when the share of right answers reaches `close_at`; a closed one that falls below
    has returned; others keep their status. Without probes it stays as it is. Testing again in
    the same round replaces that round's entry in the history.
    """
    if not right:
        return weakness.model_copy(deep=True)
    before = rewind(weakness, round)
    score = sum(right) / len(right)
    status = _next_status(before.status, score >= close_at)
    entry = f"{round}:{status}:{score:.3f}"
    return before.model_copy(
        update={"probe_score": score, "status": status, "history": [*before.history, entry]}
    )


def _next_status(status: WeaknessStatus, passed: bool) -> WeaknessStatus:
    if passed:
        return "closed"
    return "returned" if status == "closed" else status


def rewind(weakness: Weakness, round: int) -> Weakness:
    """Return the weakness as it stood before `round`, read from its history."""
    entries = [entry.split(":") for entry in weakness.history]
    kept = [entry for entry in entries if int(entry[0]) < round]
    if len(kept) == len(entries):
        return weakness.model_copy(deep=True)
    status: WeaknessStatus = cast(WeaknessStatus, kept[-1][1]) if kept else "open"
    score = float(kept[-1][2]) if kept else None
    history = [":".join(entry) for entry in kept]
    return weakness.model_copy(
        deep=True, update={"status": status, "probe_score": score, "history": history}
    )


def rank_failures(
    hits: Iterable[tuple[float, Failure]], k: int, run: str, exclude: AbstractSet[str]
) -> list[Failure]:
    """Return the `k` most similar failures of (similarity, failure) pairs, each mistake once.

    Failures of `run` whose id is in `exclude` are left out.
    """
    found: dict[tuple[str, str, str], Failure] = {}
    for _, failure in sorted(hits, key=lambda hit: -hit[0]):
        if not (failure.run == run and failure.id in exclude):
            found.setdefault((failure.text, failure.error, failure.part), failure)
    return list(found.values())[: max(k, 0)]


def by_round(weaknesses: Iterable[Weakness]) -> list[Weakness]:
    """Return weaknesses by (round, id)."""
    return sorted(weaknesses, key=lambda weakness: (weakness.round, weakness.id))


def count_statuses(weaknesses: Iterable[Weakness]) -> dict[str, int]:
    """Return status → how many weaknesses have it, for every status."""
    counts = Counter(one.status for one in weaknesses)
    return {status: counts[status] for status in get_args(WeaknessStatus)}


def is_open(weakness: Weakness) -> bool:
    """Whether the weakness still asks for samples."""
    return weakness.status in ("open", "returned")


def weakness_text(weakness: Weakness) -> str:
    """Return the text a weakness is embedded by."""
    return f"{weakness.name}: {weakness.description}"


@dataclass
class MemoryRows:
    """The rows of an in-memory memory; handed to a second one, they are shared by two runs."""

    failures: dict[Key, tuple[Failure, list[float]]] = field(default_factory=dict)
    weaknesses: dict[Key, Weakness] = field(default_factory=dict)
    samples: dict[Key, tuple[IndexedSample, list[float]]] = field(default_factory=dict)


class InMemoryWeaknesses:
    """A `WeaknessMemory` in plain dicts: exact search, gone with the process."""

    def __init__(
        self, embedder: Embedder, run_id: str = "run", rows: MemoryRows | None = None
    ) -> None:
        self.rows = rows if rows is not None else MemoryRows()
        self._embedder = embedder
        self._run = run_id

    def add_failures(self, failures: Sequence[Failure]) -> None:
        """Keep failures; one with the same (run, id) replaces the earlier one."""
        vectors = self._embedder.embed([failure.text for failure in failures])
        for failure, vector in zip(failures, vectors, strict=True):
            self.rows.failures[failure.run, failure.id] = (failure.model_copy(deep=True), vector)

    def failures(self, run: str | None = None) -> list[Failure]:
        """Return the failures of a run, or of all, by (run, round, id)."""
        kept = [row.model_copy() for row, _ in self.rows.failures.values()]
        return sort_failures(row for row in kept if run in (None, row.run))

    def related_failures(
        self, texts: Sequence[str], k: int, *, exclude: AbstractSet[str] = frozenset()
    ) -> list[Failure]:
        """Return at most `k` failures of any run nearest to any of the texts, best first."""
        rows = list(self.rows.failures.values())
        similar = self._similarities(texts, [vector for _, vector in rows])
        hits = [
            (score, failure.model_copy())
            for scores in similar
            for score, (failure, _) in zip(scores, rows, strict=True)
        ]
        return rank_failures(hits, k, self._run, exclude)

    def put_weaknesses(self, weaknesses: Sequence[Weakness]) -> None:
        """Add or replace weaknesses of this run, by id."""
        for weakness in weaknesses:
            self.rows.weaknesses[self._run, weakness.id] = weakness.model_copy(deep=True)

    def weaknesses(self, run: str | None = None) -> list[Weakness]:
        """Return the weaknesses of a run, or of all runs, by (round, id)."""
        rows = self.rows.weaknesses.items()
        return by_round(row.model_copy(deep=True) for key, row in rows if run in (None, key[0]))

    def open_weaknesses(self, run: str) -> list[Weakness]:
        """Return the weaknesses of a run that are open or returned, by (round, id)."""
        return [weakness for weakness in self.weaknesses(run) if is_open(weakness)]

    def index_samples(self, samples: Sequence[tuple[str, str, str, int]]) -> None:
        """Index samples of this run, each (id, text, label, round); same id replaces."""
        rows = [IndexedSample(*sample) for sample in samples]
        vectors = self._embedder.embed([row.text for row in rows])
        for row, vector in zip(rows, vectors, strict=True):
            self.rows.samples[self._run, row.id] = (row, vector)

    def nearest_samples(self, texts: Sequence[str], k: int) -> list[list[Neighbour]]:
        """Return, for each text, at most `k` indexed samples of this run, nearest first."""
        rows = [row for key, row in self.rows.samples.items() if key[0] == self._run]
        similar = self._similarities(texts, [vector for _, vector in rows])
        return [_nearest(scores, [sample for sample, _ in rows], k) for scores in similar]

    def drop_round(self, run: str, round: int) -> None:
        """Take back what a run wrote for `round` or later."""
        rows = self.rows
        for key, (failure, _) in list(rows.failures.items()):
            if key[0] == run and failure.round >= round:
                del rows.failures[key]
        for key, (sample, _) in list(rows.samples.items()):
            if key[0] == run and sample.round >= round:
                del rows.samples[key]
        for key, weakness in list(rows.weaknesses.items()):
            if key[0] == run and weakness.round >= round:
                del rows.weaknesses[key]
            elif key[0] == run:
                rows.weaknesses[key] = rewind(weakness, round)

    def runs(self) -> list[str]:
        """Return the ids of the runs that wrote failures or weaknesses, sorted."""
        return sorted({run for run, _ in [*self.rows.failures, *self.rows.weaknesses]})

    def close(self) -> None:
        """Do nothing: there are no files and no locks."""

    def _similarities(
        self, texts: Sequence[str], vectors: Sequence[Sequence[float]]
    ) -> list[list[float]]:
        """Return cosine similarities, one row a text and one column a vector."""
        import numpy as np

        if not vectors or not texts:
            return [[] for _ in texts]
        asked = np.asarray(self._embedder.embed(texts))
        scores = np.clip(asked @ np.asarray(vectors).T, -1.0, 1.0)
        return [[float(score) for score in row] for row in scores]


def _nearest(scores: list[float], samples: list[IndexedSample], k: int) -> list[Neighbour]:
    pairs = sorted(zip(scores, samples, strict=True), key=lambda pair: (-pair[0], pair[1].id))
    return [Neighbour(row.id, row.text, row.label, score) for score, row in pairs[: max(k, 0)]]


def sort_failures(failures: Iterable[Failure]) -> list[Failure]:
    """Return failures by (run, round, id)."""
    return sorted(failures, key=lambda failure: (failure.run, failure.round, failure.id))
