"""`kill -9` in the middle of a run: a resume loses nothing, doubles nothing, repeats little."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
import time
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import pytest
from fake_llm import FakeLLM
from typer.testing import CliRunner

from evokd import cli, distill
from evokd.runner import resume_run
from evokd.store.run_dir import RunDirectory

CONCURRENCY = 2  # of the toy task


# What takes a run most of its start is imported once, in the process that the others branch off.
BRANCHES = multiprocessing.get_context("forkserver")
BRANCHES.set_forkserver_preload(
    ["transformers.models.bert.modeling_bert", "chromadb.api.rust", "evokd.graph.evokd", __name__]
)


def run_command(words: list[str], environment: dict[str, str], said: Path) -> None:
    """Be a process of the command line; what it says stands in a file."""
    with said.open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    # Ctrl-C must reach it also where the tests themselves run in the background.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.update(environment)
    sys.argv = ["evokd", *words]
    cli.main()


@pytest.fixture
def said(tmp_path: Path) -> Path:
    return tmp_path / "said.txt"


def start(task: Path, said: Path) -> ForkServerProcess:
    words = ["run", str(task), "--run-id", "k", "--runs-dir", str(task.parent / "runs")]
    process = BRANCHES.Process(target=run_command, args=(words, dict(os.environ), said))
    process.start()
    return process


def wait_for_requests(llm: FakeLLM, process: ForkServerProcess, said: Path, count: int) -> None:
    deadline = time.monotonic() + 90
    while len(llm.requests) < count:
        assert process.is_alive(), said.read_text(encoding="utf-8")
        assert time.monotonic() < deadline, "the run asks too little"
        time.sleep(0.005)


@pytest.mark.parametrize("after", [4, 17, 40])
def test_a_killed_run_goes_on_where_it_was(
    toy_task: Path, llm: FakeLLM, said: Path, after: int
) -> None:
    llm.delay = 0.02
    killed = start(toy_task, said)
    wait_for_requests(llm, killed, said, after)
    killed.kill()
    killed.join()
    assert killed.exitcode == -signal.SIGKILL
    asked_before = [json.dumps(body, sort_keys=True) for body in llm.requests]

    folder = toy_task.parent / "runs" / "k"
    report = resume_run(RunDirectory(folder), emit=lambda event: None).report
    asked_after = [json.dumps(body, sort_keys=True) for body in llm.requests[len(asked_before) :]]
    again = [body for body in asked_after if body in asked_before]
    assert len(again) <= CONCURRENCY

    ids = [json.loads(line)["id"] for line in (folder / "samples.jsonl").read_text().splitlines()]
    assert len(ids) == len(set(ids))
    assert [one["round"] for one in report["rounds"]] == [1, 2]
    assert report["status"] == "finished"


def test_resuming_a_finished_run_asks_nothing(toy_task: Path, llm: FakeLLM) -> None:
    done = distill(toy_task, overrides=["strategy.rounds=1"], runs_dir=toy_task.parent / "runs")
    asked = len(llm.requests)
    assert resume_run(RunDirectory(done.path), emit=lambda event: None).report == done.report
    assert len(llm.requests) == asked


def test_ctrl_c_ends_with_130_and_can_be_resumed(toy_task: Path, llm: FakeLLM, said: Path) -> None:
    llm.delay = 0.05
    stopped = start(toy_task, said)
    wait_for_requests(llm, stopped, said, 8)
    os.kill(stopped.pid or 0, signal.SIGINT)
    stopped.join(60)
    errors = said.read_text(encoding="utf-8")
    assert stopped.exitcode == 130, errors
    assert "resume" in errors
    llm.delay = 0.0
    resumed = CliRunner().invoke(
        cli.app, ["resume", "k", "--runs-dir", str(toy_task.parent / "runs")]
    )
    assert resumed.exit_code == 0, resumed.output
    assert "report.html" in resumed.output
