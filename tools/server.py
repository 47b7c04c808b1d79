"""The embedded LLM: a llama.cpp server in a child process on loopback, OpenAI-compatible.

The child holds the read end of a pipe and ends when the pipe closes: on `stop()`, when the parent
exits, and when the parent is killed. A parent that forks without exec shares the pipe with its
forks; the server then lives as long as the last of them.
"""

from __future__ import annotations

import http.client
import json
import os
import selectors
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from evokd.errors import EndpointError
from evokd.store.files import storage_errors

START_SECONDS = 300.0
STOP_SECONDS = 5.0
SHARE_SECONDS = 300.0
SHARED_PROMPT = "shared-prompt"
POLL_SECONDS = 0.1
TAIL_LINES = 15


class LocalServer:
    """One model behind one OpenAI-compatible endpoint, as a context manager or by hand.

    Args:
        gguf: the weights.
        slots: requests decoded at once.
        slot_context: tokens of prompt and reply together, in each slot.
        threads: None: all cores this process may use.
        log_file: gets what llama.cpp says, appended.
        start_seconds: how long loading the model may take.
        command: the child to start instead of llama.cpp; for tests.
    """

    def __init__(
        self,
        gguf: Path,
        *,
        slots: int,
        slot_context: int,
        threads: int | None = None,
        log_file: Path,
        start_seconds: float = START_SECONDS,
        command: Sequence[str] | None = None,
    ) -> None:
        self.log_file = log_file
        self._gguf = gguf
        self._start_seconds = start_seconds
        self._slot_files = tempfile.TemporaryDirectory(prefix="evokd-slots-")
        self._command = command or _child_command(
            gguf, slots, slot_context, threads or usable_cores(), self._slot_files.name
        )
        self._slots = slots
        self._slot_context = slot_context
        self._child: subprocess.Popen[bytes] | None = None
        self._port: int | None = None
        self._log_start = 0

    @property
    def base_url(self) -> str:
        """The endpoint for an OpenAI client.

        Raises:
            EndpointError: the server is not started.
        """
        if self._port is None:
            raise EndpointError("the local LLM server is not running; call start() first")
        return f"http://127.0.0.1:{self._port}/v1"

    def start(self) -> None:
        """Start the child and return when it answers; does nothing when it is running.

        Raises:
            EndpointError: it ended or was not ready in time; quotes the end of its log.
            StorageError: the log file cannot be written.
        """
        if self._port is not None and self._child and self._child.poll() is None:
            return
        self.stop()
        deadline = time.monotonic() + self._start_seconds
        with ExitStack() as undo:
            undo.callback(self.stop)
            self._child = self._spawn()
            port = self._read_port(self._child, deadline)
            self._wait_until_healthy(self._child, port, deadline)
            self._port = port
            undo.pop_all()

    def share_prompt(self, system: str) -> None:
        """Compute a system message once and give every slot a copy, before they all need it.

        Raises:
            EndpointError: it does not fit into a slot, or the server failed.
        """
        turns = [{"role": "system", "content": system}]
        first = {"messages": turns, "max_tokens": 1, "id_slot": 0}
        file = {"filename": SHARED_PROMPT}
        if self._post("/v1/chat/completions", first) == HTTPStatus.BAD_REQUEST:
            raise EndpointError(
                f"the task's instructions, labels and examples do not fit into a slot of "
                f"{self._slot_context} tokens; raise `local.slot_context` or shorten them"
            )
        self._post("/slots/0?action=save", file)
        for slot in range(1, self._slots):
            self._post(f"/slots/{slot}?action=restore", file)
        Path(self._slot_files.name, SHARED_PROMPT).unlink(missing_ok=True)

    def stop(self) -> None:
        """End the child; safe to call again."""
        child, self._child, self._port = self._child, None, None
        if child is None:
            return
        if child.stdin:
            child.stdin.close()
        try:
            child.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()  # it cannot see the pipe close while it loads a model
            child.wait()
        if child.stdout:
            child.stdout.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _spawn(self) -> subprocess.Popen[bytes]:
        with storage_errors(self.log_file):
            self.log_file.parent.mkdir(parents=True, exist_ok=True)
            log = self.log_file.open("ab")
        with log:
            self._log_start = log.tell()
            # Its own session: Ctrl-C in the terminal must not end it before the parent decides.
            return subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )

    def _read_port(self, child: subprocess.Popen[bytes], deadline: float) -> int:
        """Read the child's one line."""
        assert child.stdout is not None
        line = b""
        with selectors.DefaultSelector() as selector:
            selector.register(child.stdout, selectors.EVENT_READ)
            while not line.endswith(b"\n"):
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    raise self._failure("was not ready in time")
                read = os.read(child.stdout.fileno(), 4096)
                if not read:
                    raise self._failure(_how_it_ended(child))
                line += read
        try:
            return int(json.loads(line)["port"])
        except (ValueError, KeyError, TypeError):
            raise self._failure(f"said {line[:120]!r}, expected its port") from None

    def _wait_until_healthy(
        self, child: subprocess.Popen[bytes], port: int, deadline: float
    ) -> None:
        """Wait for 200: until the model is loaded the server answers 503."""
        while not _healthy(port):
            if child.poll() is not None:
                raise self._failure(_how_it_ended(child))
            if time.monotonic() > deadline:
                raise self._failure("was not ready in time")
            time.sleep(POLL_SECONDS)
        if child.poll() is not None:  # then somebody else's server answered
            raise self._failure(_how_it_ended(child))

    def _post(self, path: str, body: dict[str, Any]) -> int:
        assert self._port is not None
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=SHARE_SECONDS)
        try:
            headers = {"content-type": "application/json"}
            connection.request("POST", path, json.dumps(body), headers)
            status = connection.getresponse().status
        except (OSError, http.client.HTTPException) as error:
            raise self._failure(f"did not answer {path} ({error})") from None
        finally:
            connection.close()
        if status not in (HTTPStatus.OK, HTTPStatus.BAD_REQUEST):
            raise self._failure(f"answered {path} with status {status}")
        return status

    def _failure(self, what: str) -> EndpointError:
        return EndpointError(
            f"the local LLM server for {self._gguf.name} {what} "
            f"(waited up to {self._start_seconds:g} s). The end of {self.log_file}:\n"
            f"{self._log_tail()}\n"
            "check that memory suffices for the model and its slots (`local.slots`, "
            "`local.slot_context`) and that the weights are whole, or take another model"
        )

    def _log_tail(self) -> str:
        with self.log_file.open("rb") as log:
            log.seek(self._log_start)
            lines = log.read().decode(errors="replace").splitlines()
        return "\n".join(f"  {line}" for line in lines[-TAIL_LINES:]) or "  (empty)"


def usable_cores() -> int:
    """Return the number of cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _child_command(
    gguf: Path, slots: int, slot_context: int, threads: int, slot_files: str
) -> list[str]:
    values = {
        "--gguf": gguf,
        "--slots": slots,
        "--slot-context": slot_context,
        "--threads": threads,
        "--slot-files": slot_files,
    }
    options = [text for name, value in values.items() for text in (name, str(value))]
    return [sys.executable, "-m", "evokd.tools.server_child", *options]


def _healthy(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _how_it_ended(child: subprocess.Popen[bytes]) -> str:
    """Say how a child whose stdout has closed went."""
    try:
        code = child.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        return "closed its output without naming a port"
    return f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
