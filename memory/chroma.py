"""The weakness memory on Chroma: in a folder with one writer, or behind a Chroma server.

Three collections, each with our own vectors and cosine distance. A row's metadata holds the whole
record as JSON, so that it comes back exactly, beside the few scalars that filters need.
"""

from __future__ import annotations

import socket
import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar
from urllib.parse import SplitResult, urlsplit

from filelock import FileLock, Timeout

from evokd.config import MemorySection
from evokd.errors import ConfigError, EndpointError, RunInUseError, StorageError
from evokd.memory.weakness import (
    IndexedSample,
    Neighbour,
    by_round,
    is_open,
    rank_failures,
    rewind,
    sort_failures,
    weakness_text,
)
from evokd.records import Embedder, Failure, Weakness
from evokd.store.files import storage_errors

if TYPE_CHECKING:
    from chromadb.api import ClientAPI
    from chromadb.api.models.Collection import Collection

FAILURES, WEAKNESSES, SAMPLES = "evokd_failures", "evokd_weaknesses", "evokd_samples"
DATABASE = "chroma.sqlite3"
CONNECT_SECONDS = 5.0


class _HasId(Protocol):
    @property
    def id(self) -> str: ...


RowT = TypeVar("RowT", bound=_HasId)


def open_memory(
    section: MemorySection, run_id: str, default_path: Path, embedder: Embedder
) -> ChromaWeaknesses:
    """Open the memory a task file names: its server, its folder, or the run's own folder.

    Raises: see `ChromaWeaknesses`.
    """
    if section.url:
        return ChromaWeaknesses(embedder, run_id, url=section.url)
    path = Path(section.path).expanduser() if section.path else default_path
    return ChromaWeaknesses(embedder, run_id, path=path)


class ChromaRecords:
    """The records of a memory, for reading only.

    `read` opens a snapshot: it takes no lock, loads no embedder and leaves the folder untouched,
    so that it is safe beside a running writer.
    """

    def __init__(self, client: ClientAPI, place: str, stack: ExitStack) -> None:
        self._client = client
        self._place = place
        self._stack = stack

    @classmethod
    def read(cls, path: Path | None = None, url: str | None = None) -> ChromaRecords:
        """Open the memory in a folder, or behind a server, for reading.

        Raises:
            ConfigError: there is no memory at `path`, or `url` is malformed.
            EndpointError: no Chroma server answers at `url`.
            StorageError: the database is damaged.
        """
        with ExitStack() as stack:
            if url is None:
                place = str(path)
                copy = stack.enter_context(tempfile.TemporaryDirectory(prefix="evokd-memory-"))
                _copy_database(_require_path(path) / DATABASE, Path(copy) / DATABASE)
                client = stack.enter_context(_folder_client(Path(copy), place))
            else:
                place = url
                client = stack.enter_context(_server_client(url))
            return cls(client, place, stack.pop_all())

    def failures(self, run: str | None = None) -> list[Failure]:
        """Return the failures of a run, or of all, by (run, round, id)."""
        return sort_failures(Failure.model_validate_json(r) for r in self._records(FAILURES, run))

    def weaknesses(self, run: str | None = None) -> list[Weakness]:
        """Return the weaknesses of a run, or of all runs, by (round, id)."""
        return by_round(Weakness.model_validate_json(r) for r in self._records(WEAKNESSES, run))

    def open_weaknesses(self, run: str) -> list[Weakness]:
        """Return the weaknesses of a run that are open or returned, by (round, id)."""
        return [weakness for weakness in self.weaknesses(run) if is_open(weakness)]

    def runs(self) -> list[str]:
        """Return the ids of the runs that wrote failures or weaknesses, sorted."""
        rows = [*self._metadata(FAILURES, None), *self._metadata(WEAKNESSES, None)]
        return sorted({str(row["run"]) for row in rows})

    def close(self) -> None:
        """Release files and locks; the memory cannot be used afterwards."""
        self._stack.close()

    def _collection(self, name: str) -> Collection:
        return self._client.get_collection(name, embedding_function=None)

    def _metadata(self, name: str, run: str | None) -> list[dict[str, Any]]:
        with _storage(self._place):
            where: Any = None if run is None else {"run": run}
            rows = self._collection(name).get(where=where, include=["metadatas"])
        return [dict(row) for row in rows["metadatas"] or []]

    def _records(self, name: str, run: str | None) -> list[str]:
        return [str(row["record"]) for row in self._metadata(name, run)]


class ChromaWeaknesses(ChromaRecords):
    """A `WeaknessMemory` on Chroma, opened for one run.

    Args:
        embedder: turns texts into vectors; its identity is kept with the collections.
        run_id: the run whose weaknesses and samples are written.
        path: a folder, of which this process becomes the only writer; or
        url: `http://host:port` of a Chroma server, which many processes may write.

    Raises:
        ConfigError: the memory was written with another embedder, or `url` is malformed.
        RunInUseError: another process writes the folder.
        EndpointError: no Chroma server answers at `url`.
        StorageError: the folder cannot be written, or its database is damaged.
    """

    def __init__(
        self, embedder: Embedder, run_id: str, path: Path | None = None, url: str | None = None
    ) -> None:
        with ExitStack() as stack:
            if url is None:
                stack.enter_context(_only_writer(_require_path(path)))
                client = stack.enter_context(_folder_client(_require_path(path), str(path)))
            else:
                client = stack.enter_context(_server_client(url))
            super().__init__(client, str(url or path), stack)
            self._embedder = embedder
            self._run = run_id
            with _storage(self._place):
                names = (FAILURES, WEAKNESSES, SAMPLES)
                self._collections = {name: self._create(name) for name in names}
                self._batch = client.get_max_batch_size()
            self._stack = stack.pop_all()

    def add_failures(self, failures: Sequence[Failure]) -> None:
        """Keep failures; one with the same (run, id) replaces the earlier one."""
        for run in dict.fromkeys(failure.run for failure in failures):
            rows = [failure for failure in failures if failure.run == run]
            self._upsert(FAILURES, run, rows, lambda row: row.text, _record_metadata)

    def related_failures(
        self, texts: Sequence[str], k: int, *, exclude: AbstractSet[str] = frozenset()
    ) -> list[Failure]:
        """Return at most `k` failures of any run nearest to any of the texts, best first."""
        if k < 1 or not texts:
            return []
        with _storage(self._place):
            total = self._collections[FAILURES].count()
        width = k + len(exclude)
        while True:  # excluded and repeated failures take places: look further until k are left
            hits = [
                (similarity, Failure.model_validate_json(row["record"]))
                for near in self._query(FAILURES, texts, min(width, total), None)
                for similarity, row in near
            ]
            found = rank_failures(hits, k, self._run, exclude)
            if len(found) >= k or width >= total:
                return found
            width *= 4

    def put_weaknesses(self, weaknesses: Sequence[Weakness]) -> None:
        """Add or replace weaknesses of this run, by id."""
        self._put_weaknesses(self._run, weaknesses)

    def index_samples(self, samples: Sequence[tuple[str, str, str, int]]) -> None:
        """Index samples of this run, each (id, text, label, round); same id replaces."""
        rows = [IndexedSample(*sample) for sample in samples]
        self._upsert(SAMPLES, self._run, rows, lambda row: row.text, IndexedSample._asdict)

    def nearest_samples(self, texts: Sequence[str], k: int) -> list[list[Neighbour]]:
        """Return, for each text, at most `k` indexed samples of this run, nearest first."""
        found = self._query(SAMPLES, texts, k, {"run": self._run})
        return [
            [Neighbour(row["id"], row["text"], row["label"], score) for score, row in near]
            for near in found
        ]

    def drop_round(self, run: str, round: int) -> None:
        """Take back what a run wrote for `round` or later."""
        where: Any = {"$and": [{"run": run}, {"round": {"$gte": round}}]}
        with _storage(self._place):
            for collection in self._collections.values():
                collection.delete(where=where)
        older = self.weaknesses(run)
        rewound = [rewind(weakness, round) for weakness in older]
        self._put_weaknesses(
            run, [new for old, new in zip(older, rewound, strict=True) if old != new]
        )

    def _put_weaknesses(self, run: str, weaknesses: Sequence[Weakness]) -> None:
        self._upsert(WEAKNESSES, run, weaknesses, weakness_text, _record_metadata)

    def _create(self, name: str) -> Collection:
        identity = {"embedder": self._embedder.model_id, "dimension": self._embedder.dimension}
        collection = self._client.get_or_create_collection(
            name,
            embedding_function=None,  # the default one downloads a model
            configuration={"hnsw": {"space": "cosine"}},
            metadata=identity,
        )
        self._check_identity(dict(collection.metadata or {}), identity)
        return collection

    def _check_identity(self, found: dict[str, Any], expected: dict[str, Any]) -> None:
        if {key: found.get(key) for key in expected} != expected:
            raise ConfigError(
                f"the memory at {self._place} was written with the embedder "
                f"{found.get('embedder')!r} ({found.get('dimension')} numbers a text), this run "
                f"uses {expected['embedder']!r} ({expected['dimension']}); set memory.embedder to "
                "the first one, or give the run another memory"
            )

    def _upsert(
        self,
        name: str,
        run: str,
        rows: Sequence[RowT],
        text_of: Callable[[RowT], str],
        metadata_of: Callable[[RowT], dict[str, Any]],
    ) -> None:
        import numpy as np

        unique = list({row.id: row for row in rows}.values())  # Chroma refuses ids given twice
        for start in range(0, len(unique), self._batch):
            batch = unique[start : start + self._batch]
            vectors = self._embedder.embed([text_of(row) for row in batch])
            with _storage(self._place):
                self._collections[name].upsert(
                    ids=[f"{run}:{row.id}" for row in batch],
                    embeddings=np.asarray(vectors, dtype=np.float32),
                    metadatas=[{"run": run, **metadata_of(row)} for row in batch],
                )

    def _query(
        self, name: str, texts: Sequence[str], k: int, where: dict[str, Any] | None
    ) -> list[list[tuple[float, dict[str, Any]]]]:
        """Return, for each text, (cosine similarity, metadata) pairs, nearest first."""
        import numpy as np

        if k < 1 or not texts:
            return [[] for _ in texts]
        asked = np.asarray(self._embedder.embed(texts), dtype=np.float32)
        with _storage(self._place):
            found = self._collections[name].query(
                query_embeddings=asked,
                n_results=k,
                where=where,
                include=["metadatas", "distances"],
            )
        distances, rows = found["distances"] or [], found["metadatas"] or []
        return [
            [(max(-1.0, min(1.0, 1.0 - d)), dict(row)) for d, row in zip(ds, near, strict=True)]
            for ds, near in zip(distances, rows, strict=True)
        ]


def _record_metadata(record: Failure | Weakness) -> dict[str, Any]:
    return {"round": record.round, "record": record.model_dump_json()}


def _require_path(path: Path | None) -> Path:
    if path is None:
        raise ConfigError("a memory needs a place; give either path or url")
    return path


@contextmanager
def _only_writer(path: Path) -> Iterator[None]:
    """Hold the folder's lock: Chroma's files are not safe with two writing processes."""
    lock = FileLock(path / ".lock")
    with storage_errors(path):
        path.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise RunInUseError(
                f"the memory at {path} is in use by another process; wait for it to end, give "
                "memory.path another folder, or share a Chroma server through memory.url"
            ) from None
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _folder_client(folder: Path, place: str) -> Iterator[ClientAPI]:
    """Open Chroma's files in `folder`; errors speak of `place`."""
    import chromadb

    with _storage(place):
        client: Any = chromadb.PersistentClient(folder, settings=_settings())
    with closing(client):
        yield client


@contextmanager
def _server_client(url: str) -> Iterator[ClientAPI]:
    """Connect to the Chroma server at `url`.

    Raises:
        ConfigError: `url` is not of the form http://host:port.
        EndpointError: nothing there answers as Chroma does.
    """
    import chromadb
    import httpx
    from chromadb.errors import ChromaError

    parts = _split_url(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    host = str(parts.hostname)
    try:
        # Chroma's HTTP client has no time-out: find a host that never answers first
        socket.create_connection((host, port), CONNECT_SECONDS).close()
        client: Any = chromadb.HttpClient(host, port, parts.scheme == "https", settings=_settings())
    except (OSError, ValueError, ChromaError, httpx.HTTPError) as error:
        raise EndpointError(
            f"no Chroma server answers at {url} ({type(error).__name__}); start one with "
            f"`chroma run --host {host} --port {port}`, or correct memory.url"
        ) from error
    with closing(client):
        yield client


def _split_url(url: str) -> SplitResult:
    """Return the parts of http(s)://host[:port]."""
    parts = urlsplit(url)
    if parts.username or parts.password:
        raise ConfigError("memory.url holds a user name or password; give http://host:port only")
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/"):
        raise ConfigError(f"memory.url is {url!r}; expected http://host:port")
    return parts


def _settings() -> Any:
    """Return Chroma's settings: no telemetry, and no `.env` of the current folder."""
    from chromadb.config import Settings

    settings: Any = Settings  # its signature does not tell of `_env_file`
    return settings(_env_file=None, anonymized_telemetry=False)


@contextmanager
def _storage(place: str) -> Iterator[None]:
    """Turn Chroma's own errors into a `StorageError` that names the memory."""
    import httpx
    from chromadb.errors import ChromaError

    try:
        yield
    except (ChromaError, httpx.HTTPError) as error:
        raise StorageError(
            f"the memory at {place} failed: {error or type(error).__name__}; check the disk or "
            "the server, then resume"
        ) from error


def _copy_database(source: Path, target: Path) -> None:
    """Copy a live SQLite database; the source is opened for reading only.

    Raises:
        ConfigError: there is no such database.
        StorageError: it cannot be read.
    """
    if not source.exists():
        raise ConfigError(
            f"there is no memory at {source.parent} (no {DATABASE}); name a run or a memory folder"
        )
    uri = f"{source.resolve().as_uri()}?mode=ro"
    try:
        with (
            closing(sqlite3.connect(uri, uri=True)) as old,
            closing(sqlite3.connect(target)) as new,
        ):
            old.backup(new)
    except sqlite3.DatabaseError as error:
        raise StorageError(f"the memory at {source.parent} cannot be read: {error}") from error
