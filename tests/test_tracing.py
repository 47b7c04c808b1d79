"""LangSmith traces, sent to a loopback server."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from fake_llm import POLL

INGEST = {
    "use_multipart_endpoint": True,
    "size_limit": 100,
    "size_limit_bytes": 20_000_000,
    "scale_up_nthreads_limit": 4,
    "scale_up_qsize_trigger": 1000,
    "scale_down_nempty_trigger": 4,
}
PART = re.compile(r'name="(?:post|patch)\.([^"]+)"\r\n(?:[^\r\n]+\r\n)*\r\n(.*?)\r\n--', re.DOTALL)
SECRET = "lsv2_pt_do_not_show_me"


class TraceServer:
    """Keeps the bodies of what is sent to it."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.keys: list[str | None] = []
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.server.daemon_threads = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    @property
    def text(self) -> str:
        return b"\n".join(self.bodies).decode("utf-8", "replace")

    def runs(self) -> list[dict[str, Any]]:
        """Return the runs, each put together from its parts."""
        found: dict[str, dict[str, Any]] = {}
        for body in self.bodies:
            for name, content in PART.findall(body.decode("utf-8", "replace")):
                run_id, _, part = name.partition(".")
                run = found.setdefault(run_id, {})
                value = json.loads(content)
                run.update({part: value} if part else value)
        return [run for run in found.values() if "name" in run]

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        traces = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:  # noqa: N802
                self._answer({"batch_ingest_config": INGEST})

            def do_POST(self) -> None:  # noqa: N802
                length = self.headers["content-length"]
                body = self.rfile.read(int(length)) if length else self._chunks()
                traces.bodies.append(body)
                traces.keys.append(self.headers["x-api-key"])
                self._answer({})

            def _chunks(self) -> bytes:
                body = b""
                while size := int(self.rfile.readline().strip() or b"0", 16):
                    body += self.rfile.read(size)
                    self.rfile.readline()
                return body

            def _answer(self, value: dict[str, object]) -> None:
                data = json.dumps(value).encode()
                self.send_response(200)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        return Handler


@pytest.fixture
def traces() -> Iterator[TraceServer]:
    server = TraceServer()
    threading.Thread(target=server.server.serve_forever, args=(POLL,), daemon=True).start()
    yield server
    server.server.shutdown()
    server.server.server_close()


def test_each_round_is_one_trace_with_every_part_named(toy_task: Path, traces: TraceServer) -> None:
    runs_dir = toy_task.parent / "runs"
    environment = os.environ | {
        "LANGSMITH_TRACING": "true",
        "LANGSMITH_ENDPOINT": traces.url,
        "LANGSMITH_API_KEY": SECRET,
        "LANGSMITH_DISABLE_RUN_COMPRESSION": "true",
        "PYTHONWARNINGS": "ignore",
    }
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "evokd",
            "run",
            str(toy_task),
            "--run-id",
            "t",
            "--runs-dir",
            str(runs_dir),
            "--set",
            "strategy.rounds=1",
        ],
        env=environment,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    runs = traces.runs()
    names = {str(one["name"]) for one in runs}
    assert {
        "evokd round 0",
        "evokd round 1",
        "generate",
        "label",
        "critique",
        "gate",
        "train",
        "train_student",
        "analyst",
        "generator",
        "labeler",
        "critic",
    } <= names
    # A root starts a trace: one a round, and the last call, which only finishes.
    roots = [one for one in runs if not one.get("parent_run_id")]
    assert {str(one["name"]) for one in roots if str(one["name"]).startswith("evokd")} == {
        "evokd round 0",
        "evokd round 1",
    }
    labelers = [one for one in runs if one["name"] == "labeler"]
    for one in labelers:
        metadata = one["extra"]["metadata"]
        assert metadata["run"] == "t" and metadata["role"] == "labeler"
        assert metadata["strategy"] == "evokd" and metadata["round"] in (0, 1)
        assert metadata["thread_id"] == "t"
        assert "labeler" in one["tags"]
    assert set(traces.keys) == {SECRET}
    assert SECRET not in traces.text
    assert SECRET not in done.stdout + done.stderr
    files = [path for path in runs_dir.rglob("*") if path.is_file()]
    assert not [path for path in files if SECRET.encode() in path.read_bytes()]
