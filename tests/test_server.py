"""The embedded LLM server: its child's protocol, and that it never outlives its parent."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from evokd.agents.compact_grammar import compact_grammar
from evokd.errors import EndpointError
from evokd.tools import packs, server
from evokd.tools.server import LocalServer
from evokd.tools.server_child import OWN_SERVER

DEADLINE = 30.0

# Speaks the child's protocol with the child's own functions; answers 503 at first, as if loading.
FAKE_CHILD = """
import http.server, os
from evokd.tools.server_child import announce, end_with_parent, take_stdout

answer = take_stdout()
end_with_parent()
print(f"session {os.getsid(0)}", flush=True)
statuses = [503, 503, 503]

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(statuses.pop() if statuses else 200)
        self.end_headers()

    def do_POST(self):
        said = self.rfile.read(int(self.headers["content-length"]))
        print(self.path, flush=True)
        self.send_response(400 if b"too long" in said else 500 if b"fail" in said else 200)
        self.end_headers()

web = http.server.HTTPServer(("127.0.0.1", 0), Handler)
announce(answer, web.server_port)
web.serve_forever()
"""

# What `EVOKD_LLAMA_SERVER` may name: takes llama-server's options, answers 200.
OWN_PROGRAM = f"""#!{sys.executable}
import http.server, sys

options = dict(zip(sys.argv[1:-1:2], sys.argv[2:-1:2]))
print("serves", options["--model"], "with", options["--ctx-size"], "tokens", flush=True)

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()

http.server.HTTPServer((options["--host"], int(options["--port"])), Handler).serve_forever()
"""

# A parent that starts a server as its argument says, tells the URL and then hangs.
PARENT = """
import sys, time
from pathlib import Path
from evokd.tools.server import LocalServer

gguf, log, *command = sys.argv[1:]
local = LocalServer(
    Path(gguf), slots=1, slot_context=512, threads=1, log_file=Path(log), command=command or None
)
local.start()
print(local.base_url, flush=True)
time.sleep(600)
"""


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def local_server(tmp_path: Path, code: str, **settings: float) -> LocalServer:
    return LocalServer(
        Path("tiny.gguf"),
        slots=2,
        slot_context=512,
        log_file=tmp_path / "logs" / "llm.log",
        command=python(code),
        **settings,  # type: ignore[arg-type]
    )


def answers(url: str) -> bool:
    parts = urlsplit(url)
    try:
        socket.create_connection((str(parts.hostname), int(parts.port or 0)), timeout=5).close()
    except ConnectionError:
        return False
    return True


def wait_until(true: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + DEADLINE
    while not true():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def kill_parent_and_wait(gguf: Path, log: Path, command: list[str]) -> None:
    """SIGKILL a process that holds a server; fails where the server stays."""
    parent = subprocess.Popen(
        [*python(PARENT), str(gguf), str(log), *command], stdout=subprocess.PIPE, text=True
    )
    try:
        assert parent.stdout is not None
        url = parent.stdout.readline().strip()
        assert answers(url)
        parent.send_signal(signal.SIGKILL)
        parent.wait(DEADLINE)
        wait_until(lambda: not answers(url), "the server outlived its parent")
    finally:
        parent.kill()
        parent.communicate()


def test_start_waits_for_200_and_stop_ends_it(tmp_path: Path) -> None:
    local = local_server(tmp_path, FAKE_CHILD)
    local.start()
    url = local.base_url
    assert url.endswith("/v1")
    health = f"{url.removesuffix('/v1')}/health"
    assert httpx.get(health, trust_env=False).status_code == 200
    local.stop()
    assert not answers(url)
    local.stop()
    with pytest.raises(EndpointError, match="not running"):
        _ = local.base_url


def test_start_again_keeps_the_running_server(tmp_path: Path) -> None:
    with local_server(tmp_path, FAKE_CHILD) as local:
        url = local.base_url
        local.start()
        assert local.base_url == url
    assert not answers(url)


def test_a_stopped_server_can_be_started_anew(tmp_path: Path) -> None:
    local = local_server(tmp_path, FAKE_CHILD)
    for _ in range(2):
        with local:
            assert answers(local.base_url)


def test_what_the_child_prints_goes_to_the_log_and_ctrl_c_does_not_reach_it(
    tmp_path: Path,
) -> None:
    with local_server(tmp_path, FAKE_CHILD) as local:
        said = local.log_file.read_text()
    assert said.startswith("session ")
    assert int(said.split()[1]) != os.getsid(0)


def test_a_killed_parent_takes_the_server_with_it(tmp_path: Path) -> None:
    kill_parent_and_wait(Path("tiny.gguf"), tmp_path / "llm.log", python(FAKE_CHILD))


def own_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str) -> LocalServer:
    program = tmp_path / "llama-server"
    program.write_text(code)
    program.chmod(0o755)
    monkeypatch.setenv(OWN_SERVER, str(program))
    return LocalServer(Path("tiny.gguf"), slots=2, slot_context=512, log_file=tmp_path / "llm.log")


def test_a_server_of_ones_own_serves_in_place_of_the_wheel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with own_program(tmp_path, monkeypatch, OWN_PROGRAM) as local:
        url = local.base_url
        assert "serves tiny.gguf with 1024 tokens" in local.log_file.read_text()
    wait_until(lambda: not answers(url), "the program outlived its guard")


def test_a_server_of_ones_own_ends_when_the_parent_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own_program(tmp_path, monkeypatch, OWN_PROGRAM)
    kill_parent_and_wait(Path("tiny.gguf"), tmp_path / "llm.log", [])


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_a_server_of_ones_own_ends_with_its_guard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: signal.Signals
) -> None:
    if end == signal.SIGKILL and sys.platform != "linux":
        pytest.skip("only Linux's kernel ends a child with its parent")
    with own_program(tmp_path, monkeypatch, OWN_PROGRAM) as local:
        url = local.base_url
        assert local._child is not None
        local._child.send_signal(end)
        wait_until(lambda: not answers(url), "the program outlived its guard")


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (f"#!{sys.executable}\nimport sys; sys.exit(3)", "llama-server ended with exit code 3"),
        ("no program", "cannot be started"),
    ],
)
def test_a_server_of_ones_own_that_cannot_serve_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, said: str
) -> None:
    with pytest.raises(EndpointError, match=said):
        own_program(tmp_path, monkeypatch, code).start()


def test_a_child_that_dies_is_an_error_with_the_end_of_its_log(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "llm.log"
    log.parent.mkdir()
    log.write_text("from an earlier start\n")
    local = local_server(tmp_path, "import sys; sys.exit('out of memory')")
    with pytest.raises(EndpointError) as caught:
        local.start()
    message = str(caught.value)
    assert "tiny.gguf ended with exit code 1" in message
    assert "  out of memory\n" in message
    assert "earlier" not in message
    assert log.read_text().startswith("from an earlier start")


def test_a_child_that_is_killed_is_an_error_with_the_signal(tmp_path: Path) -> None:
    local = local_server(tmp_path, "import os; os.kill(os.getpid(), 9)")
    with pytest.raises(EndpointError, match="ended by signal 9"):
        local.start()


def test_a_child_that_dies_after_its_port_is_an_error(tmp_path: Path) -> None:
    local = local_server(tmp_path, "print('{\"port\": 9}', flush=True)")
    with pytest.raises(EndpointError, match="ended with exit code 0"):
        local.start()


def test_a_child_that_hangs_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "STOP_SECONDS", 0.1)
    local = local_server(tmp_path, "import time; time.sleep(600)", start_seconds=0.5)
    children: list[subprocess.Popen[bytes]] = []
    spawn = local._spawn

    def remember() -> subprocess.Popen[bytes]:
        children.append(spawn())
        return children[-1]

    monkeypatch.setattr(local, "_spawn", remember)
    with pytest.raises(EndpointError, match="not ready in time"):
        local.start()
    assert [child.poll() for child in children] == [-signal.SIGKILL]


def test_a_child_that_says_something_else_is_an_error(tmp_path: Path) -> None:
    local = local_server(tmp_path, "print('hello')")
    with pytest.raises(EndpointError, match=r"said b'hello\\n', expected its port"):
        local.start()


def test_a_shared_prompt_is_computed_once_and_copied_into_every_slot(tmp_path: Path) -> None:
    with local_server(tmp_path, FAKE_CHILD) as local:
        local.share_prompt("the card")
    asked = [line for line in local.log_file.read_text().splitlines() if line.startswith("/")]
    assert asked == ["/v1/chat/completions", "/slots/0?action=save", "/slots/1?action=restore"]


@pytest.mark.parametrize(
    ("card", "said"), [("too long", r"slot of 512 tokens; raise"), ("fail", "status 500")]
)
def test_a_prompt_that_cannot_be_shared_is_an_error(tmp_path: Path, card: str, said: str) -> None:
    with (
        local_server(tmp_path, FAKE_CHILD) as local,
        pytest.raises(EndpointError, match=said),
    ):
        local.share_prompt(card)


def test_damaged_weights_are_an_error_with_the_reason(tmp_path: Path) -> None:
    """The real child, on a file that is no model."""
    weights = tmp_path / "bad.gguf"
    weights.write_bytes(b"no model" * 100)
    local = LocalServer(weights, slots=1, slot_context=512, log_file=tmp_path / "llm.log")
    with pytest.raises(EndpointError, match="failed to load model"):
        local.start()


TWO_WORDS = {
    "words": {
        "type": "array",
        "items": {"type": "string", "maxLength": 8},
        "minItems": 2,
        "maxItems": 2,
    }
}


def ask_real(local: LocalServer, **body: Any) -> Any:
    return httpx.post(
        f"{local.base_url}/chat/completions",
        json={"max_tokens": 8, "temperature": 0, **body},
        timeout=DEADLINE,
        trust_env=False,
    ).json()


@pytest.mark.local_llm
def test_the_real_server_answers_shares_a_prompt_and_ends_with_its_parent(tmp_path: Path) -> None:
    packs.fetch_pack("smollm2-135m-instruct")
    gguf = packs.gguf_path("smollm2-135m-instruct")
    log = tmp_path / "llm.log"
    with LocalServer(gguf, slots=2, slot_context=512, threads=1, log_file=log) as local:
        question = {"role": "user", "content": "Say hello."}
        reply = ask_real(local, messages=[question])
        props = httpx.get(f"{local.base_url.removesuffix('/v1')}/slots", trust_env=False).json()
        card = "You sort the mail. " * 20
        local.share_prompt(card)
        asked = [{"role": "system", "content": card}, question]
        shared = ask_real(local, messages=asked, id_slot=1)
        with pytest.raises(EndpointError, match="do not fit into a slot of 512"):
            local.share_prompt("You sort the mail. " * 500)
        form = {"type": "object", "properties": {"mood": {"enum": ["calm", "glad"]}, **TWO_WORDS}}
        bound = ask_real(local, messages=[question], grammar=compact_grammar(form), max_tokens=64)[
            "choices"
        ][0]["message"]["content"]
    assert reply["choices"][0]["message"]["content"].strip()
    assert set(json.loads(bound)) == {"mood", "words"}
    assert bound.startswith(('{"mood": "calm","words": ["', '{"mood": "glad","words": ["'))
    assert reply["usage"]["completion_tokens"] > 0
    assert [slot["n_ctx"] for slot in props] == [512, 512]
    assert shared["timings"]["cache_n"] > 80  # of about a hundred tokens
    kill_parent_and_wait(gguf, log, [])
