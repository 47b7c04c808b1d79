"""Writing files so that a crash leaves either the old or the new one, never half of it."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from evokd.errors import StorageError


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn a full disk or missing rights at `path` into a `StorageError`."""
    try:
        yield
    except (OSError, sqlite3.DatabaseError) as error:
        cause = error.strerror if isinstance(error, OSError) else None
        raise StorageError(
            f"cannot write {path}: {cause or error}; "
            "free some space, mend the file or choose another place"
        ) from error


@contextmanager
def replaced_folder(folder: Path) -> Iterator[Path]:
    """Yield a path beside `folder`; what was written there takes its place in the end.

    Where the writing fails, the old folder stays.
    """
    beside = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(beside, ignore_errors=True)
    yield beside
    with storage_errors(folder):
        shutil.rmtree(folder, ignore_errors=True)
        beside.rename(folder)


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8 beside `path` and rename it into place."""
    write_bytes(path, text.encode())


def write_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows as JSON, a line each, as `write_text` does."""
    write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` beside `path` and rename it into place."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with beside.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
