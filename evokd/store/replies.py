"""The reply cache: what a teacher answered once is not asked again.

Two of them serve a run: its own (`calls.sqlite`, so that a resume repeats nothing) and the one
shared by all runs of a user. Only answers are stored, never errors.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import threading
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from evokd.store.files import storage_errors


class Reply(BaseModel):
    """One teacher reply, as it came."""

    model_config = ConfigDict(extra="forbid")

    text: str
    finish_reason: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
    usage_reported: bool = True
    logprobs: list[dict[str, Any]] | None = Field(
        None, description="one dict a token: token, logprob, top: {token: logprob}"
    )


def reply_key(identity: str, request: dict[str, Any], sampled: dict[str, Any] | None) -> str:
    """Return the cache key of a request.

    Args:
        identity: the weights' hash, or endpoint and model name.
        request: messages, schema and parameters.
        sampled: for calls at a temperature above 0 also random seed, role, purpose, slot index
            and attempt; None at temperature 0, where a prompt has one answer.
    """
    text = json.dumps([identity, request, sampled], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def default_cache_dir() -> Path:
    """Return `EVOKD_CACHE`, else `evokd` in the user's cache folder."""
    if os.environ.get("EVOKD_CACHE"):
        return Path(os.environ["EVOKD_CACHE"])
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "evokd"


class ReplyCache:
    """Replies by key in one SQLite file, safe for threads and for several processes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        with storage_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        self._db = connect(path)
        with storage_errors(path), self._lock, self._db:
            self._db.execute(
                "CREATE TABLE IF NOT EXISTS replies (key TEXT PRIMARY KEY, reply TEXT NOT NULL)"
            )

    def get(self, key: str) -> Reply | None:
        """Return the stored reply, or None."""
        with storage_errors(self.path), self._lock:
            row = self._db.execute("SELECT reply FROM replies WHERE key = ?", (key,)).fetchone()
        return Reply.model_validate_json(row[0]) if row else None

    def put(self, key: str, reply: Reply) -> None:
        """Store a reply; the first one stays."""
        with storage_errors(self.path), self._lock, self._db:
            self._db.execute(
                "INSERT OR IGNORE INTO replies VALUES (?, ?)", (key, reply.model_dump_json())
            )

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()


def connect(path: Path) -> sqlite3.Connection:
    """Open a SQLite file in WAL mode for use by several threads."""
    with storage_errors(path):
        db = sqlite3.connect(path, timeout=60, check_same_thread=False)
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=NORMAL")
    return db
