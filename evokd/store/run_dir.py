"""The run directory: the contract that other tools read.

One process writes it (a file lock); every file is written whole and renamed into place, so that
a killed run never leaves half a line.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock, Timeout
from pydantic import ValidationError

from evokd.errors import ResumeError, RunInUseError
from evokd.records import Record, RoundRecord, Sample, Word
from evokd.store.files import storage_errors, write_lines, write_text

LOCK = ".lock"
SET_UP = re.compile(  # what is written before a run has started
    r"(?:pool|calls)\.sqlite(?:-wal|-shm|-journal)?|prepared\.json|server-.+\.log"
    r"|\.(?:prepared\.json|config\.yaml)\.\d+\.tmp"
)
EMPTY_MEMORY = re.compile(r"\.lock|chroma\.sqlite3(?:-wal|-shm|-journal)?")
R = TypeVar("R", bound=Record)


class RunDirectory:
    """Paths and files of one run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.yaml"
        self.checkpoints = path / "checkpoints.sqlite"
        self.calls = path / "calls.sqlite"
        self.samples_file = path / "samples.jsonl"
        self.words_file = path / "words.jsonl"
        self.rounds_file = path / "rounds.jsonl"
        self.report_json = path / "report.json"
        self.report_html = path / "report.html"
        self.student = path / "student"
        self.memory = path / "memory"
        self.pool = path / "pool.sqlite"
        self.calibration = path / "calibration.json"
        self.rounds_students = path / "students"
        self.prepared = path / "prepared.json"
        self._lock: FileLock | None = None
        self._created = False
        self._read: tuple[tuple[int, ...], list[Sample]] | None = None

    @property
    def run_id(self) -> str:
        """The name of the folder."""
        return self.path.name

    @property
    def exists(self) -> bool:
        """Whether a run was started here."""
        return self.config.exists()

    @property
    def is_killed_start(self) -> bool:
        """Whether a process died here before its run started: only what it sets up is there."""
        return (
            self.path.is_dir()
            and bool(self._entries)
            and not (self.exists or self.holds_other_files)
        )

    @property
    def holds_other_files(self) -> bool:
        """Whether the folder was there before and holds something that is no run."""
        return not self.exists and not all(map(self._is_set_up, self._entries))

    def clear_killed_start(self) -> None:
        """Delete the files that a process set up and did not come to use.

        Raises:
            StorageError: one cannot be deleted.
        """
        with storage_errors(self.path):
            for one in self._entries if self.is_killed_start else []:
                if one.is_file():
                    one.unlink()

    @property
    def _entries(self) -> list[Path]:
        return [one for one in self.path.iterdir() if one.name != LOCK]

    def _is_set_up(self, entry: Path) -> bool:
        if entry.is_symlink():
            return False
        if entry == self.memory and entry.is_dir():
            return all(EMPTY_MEMORY.fullmatch(one.name) for one in entry.iterdir())
        return entry.is_file() and bool(SET_UP.fullmatch(entry.name))

    def lock(self) -> None:
        """Become the only writer.

        Raises:
            RunInUseError: another process holds the directory.
        """
        with storage_errors(self.path):
            self._created = not self.path.exists()
            self.path.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.path / LOCK)
            try:
                lock.acquire(timeout=0)
            except Timeout:
                raise RunInUseError(
                    f"the run directory {self.path} is in use by another process; "
                    "wait for it to end, or choose another --run-id"
                ) from None
        self._lock = lock

    def unlock(self) -> None:
        """Let others write."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def remove_if_unstarted(self) -> None:
        """Delete the directory, if `lock` made it and the run was refused before it started."""
        if self._created and not self.exists:
            shutil.rmtree(self.path, ignore_errors=True)

    def clear(self) -> None:
        """Delete everything in the locked directory; the lock stays, so that nobody gets between.

        Raises:
            StorageError: something cannot be deleted.
        """
        with storage_errors(self.path):
            for one in self.path.iterdir():
                if one.is_dir():
                    shutil.rmtree(one)
                elif one.name != LOCK:
                    one.unlink()

    def student_of_round(self, round: int) -> Path:
        """Return where the student of a round is kept; -1 is the student on the seeds alone."""
        return self.rounds_students / ("baseline" if round < 0 else f"round-{round:03d}")

    def read_samples(self) -> list[Sample]:
        """Return all samples, in the order they were written; parsed once while the file stays."""
        stamp = self._stamp_of(self.samples_file)
        if self._read is None or self._read[0] != stamp:
            self._read = stamp, self._read_lines(self.samples_file, Sample)
        return list(self._read[1])

    def write_samples(self, round: int, samples: Iterable[Sample]) -> None:
        """Replace the samples of `round`; those of other rounds stay (idempotent)."""
        kept = [sample for sample in self.read_samples() if sample.round != round]
        write_lines(self.samples_file, [row.model_dump() for row in [*kept, *samples]])

    def read_words(self) -> list[Word]:
        """Return the words of the student's vocabulary that were read; most runs have none."""
        return self._read_lines(self.words_file, Word)

    def write_words(self, words: Iterable[Word]) -> None:
        """Write these words in place of what there was (idempotent)."""
        write_lines(self.words_file, [word.model_dump() for word in words])

    def read_rounds(self) -> list[RoundRecord]:
        """Return one record a finished round, by round."""
        return self._read_lines(self.rounds_file, RoundRecord)

    def write_round(self, record: RoundRecord) -> None:
        """Add or replace the record of a round (idempotent)."""
        kept = [row for row in self.read_rounds() if row.round != record.round]
        self.write_rounds([*kept, record])

    def write_rounds(self, records: list[RoundRecord]) -> None:
        """Write all round records anew."""
        ordered = sorted(records, key=lambda row: row.round)
        write_lines(self.rounds_file, [row.model_dump() for row in ordered])

    def read_json(self, path: Path) -> dict[str, Any]:
        """Read a JSON object; {} when the file does not exist.

        Raises:
            ResumeError: the file is broken.
        """
        if not path.exists():
            return {}
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            raise ResumeError(f"{path} is broken; restore it or start a new run") from None
        return dict(value)

    def write_json(self, path: Path, value: dict[str, Any]) -> None:
        """Write a JSON object."""
        write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")

    def drop_round_students(self) -> None:
        """Delete the students of the single rounds, once the best one stands in `student/`."""
        shutil.rmtree(self.rounds_students, ignore_errors=True)

    def _stamp_of(self, path: Path) -> tuple[int, ...]:
        """Return what changes when a file is written; () where there is none."""
        if not path.exists():
            return ()
        found = path.stat()
        return found.st_ino, found.st_size, found.st_mtime_ns

    def _read_lines(self, path: Path, record: type[R]) -> list[R]:
        if not path.exists():
            return []
        try:
            lines = path.read_text(encoding="utf-8").split("\n")
            return [record.model_validate_json(line) for line in lines if line.strip()]
        except (ValueError, ValidationError):
            raise ResumeError(f"{path} is broken; restore it or start a new run") from None


def find_run(run: str, runs_dir: Path) -> RunDirectory:
    """Return the directory of an existing run, given its id or path.

    Raises:
        ResumeError: there is no such run.
    """
    for path in (runs_dir / run, Path(run)):
        if (path / "config.yaml").exists():
            return RunDirectory(path.resolve())
    if any(RunDirectory(path).is_killed_start for path in (runs_dir / run, Path(run))):
        raise ResumeError(
            f"the run {run!r} was killed before it started; "
            f"`evokd run TASK --run-id {Path(run).name}` starts it"
        )
    known = sorted(p.parent.name for p in runs_dir.glob("*/config.yaml"))
    raise ResumeError(
        f"no run {run!r} here or under {runs_dir}; known runs: {', '.join(known) or 'none'}"
    )
