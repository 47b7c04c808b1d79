"""`kill -9` in the middle of a run: a resume loses nothing, doubles nothing, repeats little."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fake_llm import FakeLLM
from typer.testing import CliRunner

from evokd import distill
from evokd.cli import app
from evokd.runner import resume_run
from evokd.store.run_dir import RunDirectory

CONCURRENCY = 2  # of the toy task


def start(task: Path, *arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "evokd", *arguments, "--runs-dir", str(task.parent / "runs")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONWARNINGS": "ignore"},
        # Ctrl-C must reach it also where the tests themselves run in the background.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def wait_for_requests(llm: FakeLLM, process: subprocess.Popen[bytes], count: int) -> None:
    deadline = time.monotonic() + 90
    while len(llm.requests) < count:
        assert process.poll() is None, process.communicate()[1].decode()
        assert time.monotonic() < deadline, "the run asks too little"
        time.sleep(0.005)


@pytest.mark.parametrize("after", [4, 17, 40])
def test_a_killed_run_goes_on_where_it_was(toy_task: Path, llm: FakeLLM, after: int) -> None:
    llm.delay = 0.02
    killed = start(toy_task, "run", str(toy_task), "--run-id", "k")
    wait_for_requests(llm, killed, after)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
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


def test_ctrl_c_ends_with_130_and_can_be_resumed(toy_task: Path, llm: FakeLLM) -> None:
    llm.delay = 0.05
    stopped = start(toy_task, "run", str(toy_task), "--run-id", "k")
    wait_for_requests(llm, stopped, 8)
    stopped.send_signal(signal.SIGINT)
    _, errors = stopped.communicate(timeout=60)
    assert stopped.returncode == 130, errors.decode()
    assert b"resume" in errors
    llm.delay = 0.0
    resumed = CliRunner().invoke(app, ["resume", "k", "--runs-dir", str(toy_task.parent / "runs")])
    assert resumed.exit_code == 0, resumed.output
    assert "report.html" in resumed.output
