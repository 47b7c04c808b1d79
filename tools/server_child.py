"""The process that runs the embedded llama.cpp server; started by `evokd.tools.server`.

It says one line of JSON on stdout, `{"port": …}`, once the port is known, sends everything else
to stderr (the log file), and ends when its stdin does. So it never outlives its parent, however
that one dies. (PDEATHSIG would end it with the *thread* that started it.)

Where `EVOKD_LLAMA_SERVER` names a `llama-server` of the user's own build (CUDA, Metal, Vulkan),
that program serves, on the GPU if it can, and this process only guards it.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any, NoReturn
from urllib.parse import urlsplit

OWN_SERVER = "EVOKD_LLAMA_SERVER"  # a program to serve with, in place of the wheel's library
ALL_LAYERS = 999
PR_SET_PDEATHSIG = 1  # of linux/prctl.h
WARNINGS = 2  # llama.cpp's verbosity; 3 writes lines for every request
# Prompts that left their slot are kept in memory and come back when one begins like them: so each
# role's unchanging part is computed once, not once a round. llama.cpp's own limit, 8192, let the
# server grow to 6.4 GB.
CACHE_MIB = 1024
# A request goes to a slot whose prompt makes up this share of it; else to the slot that waited
# longest, with the best prompt from memory. Below, the task card that all roles share decides.
SLOT_SIMILARITY = 0.85


def end_with_parent(before: Callable[[], None] = lambda: None) -> threading.Thread:
    """End this process as soon as stdin does, after `before`; returns the thread that waits."""
    watcher = threading.Thread(target=_wait_for_eof, args=[before], name="parent", daemon=True)
    watcher.start()
    return watcher


def take_stdout() -> int:
    """Return a copy of stdout and send what is written to it from now on to stderr.

    llama.cpp writes to file descriptor 1 from C, so replacing `sys.stdout` would not do.
    """
    answer = os.dup(1)
    os.dup2(2, 1)
    return answer


def announce(answer: int, port: int) -> None:
    """Tell the parent the port."""
    os.write(answer, (json.dumps({"port": port}) + "\n").encode())
    os.close(answer)


def main(arguments: list[str] | None = None) -> None:
    """Serve one model until stdin ends."""
    options = _parser().parse_args(arguments)
    answer = take_stdout()
    if os.environ.get(OWN_SERVER):
        _guard(os.environ[OWN_SERVER], options, answer)
    watcher = end_with_parent()
    server = _serve(options)
    announce(answer, urlsplit(server.listening_address).port or 0)
    watcher.join()


def _wait_for_eof(before: Callable[[], None]) -> None:
    while os.read(0, 4096):
        pass
    before()
    os._exit(0)  # no clean-up: llama.cpp may be in the middle of a decode


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="evokd.tools.server_child", description=__doc__)
    parser.add_argument("--gguf", required=True)
    parser.add_argument("--slot-files", required=True, help="folder for saved prompts")
    for name in ("--slots", "--slot-context", "--threads"):
        parser.add_argument(name, type=int, required=True)
    return parser


def _serve(options: argparse.Namespace) -> Any:
    """Load the model and start the HTTP server; the kernel picks a free port."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = options.gguf
    params.n_parallel = options.slots
    params.n_ctx = options.slots * options.slot_context
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = options.threads
    params.cache_ram_mib = CACHE_MIB
    params.slot_save_path = options.slot_files + os.sep  # llama.cpp adds the name only
    params.slot_prompt_similarity = SLOT_SIMILARITY
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.ui = False
    params.offline = True
    params.verbosity = WARNINGS
    try:
        return xllamacpp.Server(params)
    except RuntimeError as error:
        sys.exit(f"llama.cpp did not start: {error}")


def _guard(program: str, options: argparse.Namespace, answer: int) -> NoReturn:
    """Serve with the user's own program; it ends with stdin, this process ends with it."""
    port = _free_port()
    values = {
        "--model": options.gguf,
        "--parallel": options.slots,
        "--ctx-size": options.slots * options.slot_context,
        "--threads": options.threads,
        "--threads-batch": options.threads,
        "--n-gpu-layers": ALL_LAYERS,
        "--cache-ram": CACHE_MIB,
        "--slot-save-path": options.slot_files + os.sep,
        "--slot-prompt-similarity": SLOT_SIMILARITY,
        "--host": "127.0.0.1",
        "--port": port,
        "--verbosity": WARNINGS,
    }
    told = [text for name, value in values.items() for text in (name, str(value))]
    try:
        serving = subprocess.Popen(
            [program, *told, "--offline"],
            stdin=subprocess.DEVNULL,
            preexec_fn=_end_with_guard,  # noqa: PLW1509  # no thread is running yet
        )
    except OSError as error:
        sys.exit(
            f"{OWN_SERVER}={program} cannot be started ({error.strerror}); "
            "let it name a llama-server of llama.cpp, or unset it"
        )
    ending = threading.Event()

    def end(*_: object) -> None:
        ending.set()
        serving.kill()

    signal.signal(signal.SIGTERM, end)
    end_with_parent(end)
    announce(answer, port)
    code = serving.wait()
    sys.exit(0 if ending.is_set() else f"{program} ended with exit code {code}")


def _end_with_guard() -> None:
    """Have the kernel end this process with the thread that started it, where it can (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
    return port


if __name__ == "__main__":
    main()
