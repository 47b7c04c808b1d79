"""The command line: exit codes, one clear message for bad input, nothing written by a refusal."""

from __future__ import annotations

import errno
import io
import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from conftest import write_task
from fake_llm import FakeLLM

import evokd
from evokd import api, cli
from evokd.config import STRATEGIES
from evokd.errors import EXIT_DONE, EXIT_INTERRUPTED, EXIT_REFUSED, EXIT_STOPPED, DataError
from evokd.store.files import write_text
from evokd.store.run_dir import RunDirectory
from evokd.task_file import dump_config, load_config
from evokd.tools.pack_list import PACKS

KEY = "sk-very-secret-key-0123456789"
HEAVY = ("torch", "transformers", "chromadb", "langgraph", "langchain_core", "openai", "numpy")


class Ended(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


Cli = Callable[..., Ended]


@pytest.fixture
def run_cli(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Cli:
    """Run a command in an empty folder, in this process."""
    monkeypatch.chdir(tmp_path)

    def run(*words: object) -> Ended:
        monkeypatch.setattr(sys, "argv", ["evokd", *map(str, words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        return Ended(int(ended.value.code or 0), said.out, said.err)

    return run


@pytest.fixture
def dead_url() -> str:
    """The address of a port where nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}/v1"


@pytest.fixture
def make_task(tmp_path: Path, tiny_student: Path) -> Callable[[str], Path]:
    """Return a function that writes a task over an address."""

    def make(base_url: str) -> Path:
        task = write_task(tmp_path, base_url, tiny_student, {"strategy": {"memory": False}})
        config = load_config(task, ["agents.default.max_retries=0", "agents.default.timeout=5"])
        task.write_text(dump_config(config), encoding="utf-8")
        return task

    return make


@pytest.fixture
def task(make_task: Callable[[str], Path], dead_url: str) -> Path:
    """A good task file over an endpoint that is dead."""
    return make_task(dead_url)


def assert_refused(ended: Ended, said: str) -> None:
    """One message on stderr that matches `said`, the exit code, and no trace of a run."""
    assert ended.code == EXIT_REFUSED
    assert re.search(said, ended.err)
    assert ended.err.startswith("evokd: ")
    assert ended.err.count("evokd: ") == 1
    assert "Traceback" not in ended.err
    assert list(Path("runs").rglob("*")) == []


# Refusals


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("strategy.rouns=2", "unknown key 'strategy.rouns', did you mean 'rounds'"),
        ("strategy.rounds", "expected KEY=VALUE"),
        ("strategy.rounds=0", r"strategy.rounds: .*\(found 0\)"),
        ("strategy.name=evocd", "unknown strategy 'evocd', did you mean 'evokd'"),
        ("task.name=null", "task.name"),
        ("agents.default.model=gpt-5", "'gpt-5': expected provider:name"),
        ("agents.default.model=local:smollm2-135m", "did you mean 'smollm2-135m-instruct'"),
        ("agents.critic.model=local:all-MiniLM-L6-v2", "agents.critic: .* no language model"),
        ("agents.critic.model=nowhere:large", "critic: .*nowhere"),
        ("student.model=local:all-MiniLM", "pack 'all-MiniLM', did you mean 'all-MiniLM-L6-v2'"),
        ("student.model=path:absent", "student.model: absent holds no config.json"),
        ("memory.embedder=mini", "memory.embedder: 'mini' is unknown"),
        ("memory.embedder=hash:many", "memory.embedder"),
        ("agents.prompts=absent", "absent"),
        ("data.test=absent.jsonl", "no data file at .*absent.jsonl"),
        (f"agents.default.base_url=http://me:{KEY}@127.0.0.1:1/v1", "base_url holds a user name"),
        ("agents.default.base_url=null", "OPENAI_API_KEY is not set"),
        (f"agents.default.api_key={KEY}", "unknown key 'agents.default.api_key'"),
    ],
)
def test_a_bad_setting_is_refused_with_one_message(
    run_cli: Cli, task: Path, setting: str, said: str
) -> None:
    ended = run_cli("run", task, "--set", setting)
    assert_refused(ended, said)
    assert KEY not in ended.out + ended.err


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (b'{"text": "apple", "label": "friut"}', "unknown label 'friut', did you mean 'fruit'"),
        (b'{"text": " ", "label": "fruit"}', "the text is empty"),
        (b"", "no rows"),
        (b'{"text": "caf\xe9", "label": "fruit"}', "not UTF-8"),
        (b'{"text": "apple", "label": "fruit"}', r"no seed row for label\(s\) metal, river"),
        (
            b'{"text": "x", "label": "fruit"}\n{"text": "x", "label": "metal"}',
            "'metal' here and the label 'fruit' above",
        ),
    ],
)
@pytest.mark.parametrize("command", ["run", "plan", "doctor"])
def test_bad_rows_are_refused_with_one_message(
    run_cli: Cli, task: Path, command: str, rows: bytes, said: str
) -> None:
    (task.parent / "seed.jsonl").write_bytes(rows)
    ended = run_cli(command, task)
    assert_refused(ended, said)
    assert ended.out == ""


@pytest.mark.parametrize("command", ["run", "plan", "doctor"])
def test_a_task_file_that_does_not_exist_is_refused(run_cli: Cli, command: str) -> None:
    assert_refused(run_cli(command, "absent.yaml"), "no task file at absent.yaml")


def test_an_unknown_strategy_on_the_command_line_is_refused(run_cli: Cli, task: Path) -> None:
    ended = run_cli("run", task, "--strategy", "evocd")
    assert_refused(ended, "unknown strategy 'evocd', did you mean 'evokd'")


@pytest.mark.parametrize("command", ["run", "doctor"])
def test_a_dead_endpoint_is_refused_with_its_address(
    run_cli: Cli, task: Path, dead_url: str, command: str
) -> None:
    ended = run_cli(command, task)
    assert_refused(ended, f"openai:scripted at {dead_url} gave no answer after 1 attempt")
    assert "evokd resume" not in ended.err


def test_weights_of_the_student_that_cannot_be_had_are_refused_before_the_start(
    run_cli: Cli, make_task: Callable[[str], Path], llm: FakeLLM, tmp_path: Path
) -> None:
    task = make_task(llm.base_url)
    ended = run_cli("run", task, "--set", f"student.model={tmp_path / 'absent'}")
    assert_refused(ended, "student.model: .*absent")


def test_a_run_that_exists_is_neither_repeated_nor_changed(run_cli: Cli, task: Path) -> None:
    config = Path("runs/one/config.yaml")
    write_text(config, "task: {}")
    ended = run_cli("run", task, "--run-id", "one")
    assert ended.code == EXIT_REFUSED
    assert "the run one exists already" in ended.err
    assert [path for path in Path("runs").rglob("*") if path.is_file()] == [config]


def test_a_run_directory_in_use_is_refused_and_left_alone(run_cli: Cli, task: Path) -> None:
    other = RunDirectory(Path("runs/one").resolve())
    other.lock()
    (other.path / "calls.sqlite").write_bytes(b"theirs")
    ended = run_cli("run", task, "--run-id", "one")
    assert ended.code == EXIT_REFUSED
    assert re.fullmatch(r"evokd: the run directory .* is in use by another process.*\n", ended.err)
    assert (other.path / "calls.sqlite").read_bytes() == b"theirs"
    other.unlock()


def test_a_refused_run_removes_no_file_that_was_there_before(run_cli: Cli, task: Path) -> None:
    write_text(Path("papers/thesis.txt"), "years of work")
    ended = run_cli("run", task, "--runs-dir", ".", "--run-id", "papers")
    assert ended.code == EXIT_REFUSED
    assert Path("papers/thesis.txt").exists()


@pytest.mark.parametrize(
    "words",
    [("resume",), ("report",), ("memory",), ("predict", "nope", "a text")],
    ids=lambda words: str(words[0]),
)
def test_an_unknown_run_is_refused_with_the_known(run_cli: Cli, words: tuple[str, ...]) -> None:
    command, *rest = words
    ended = run_cli(command, *(rest or ["nope"]))
    assert_refused(ended, "no run 'nope' here or under runs; known runs: none")
    assert ended.out == ""


@pytest.mark.parametrize(
    ("words", "said"),
    [(("report", "one"), "has no report yet"), (("predict", "one", "x"), "has no student yet")],
)
def test_an_unfinished_run_says_how_to_go_on(
    run_cli: Cli, words: tuple[str, ...], said: str
) -> None:
    write_text(Path("runs/one/config.yaml"), "task: {}")
    ended = run_cli(*words)
    assert ended.code == EXIT_REFUSED
    assert said in ended.err
    assert "`evokd resume one` first" in ended.err


@pytest.mark.parametrize("words", [("nonsense",), ("run",), ("graph", "--nonsense")])
def test_a_wrong_command_line_is_refused(run_cli: Cli, words: tuple[str, ...]) -> None:
    ended = run_cli(*words)
    assert ended.code == EXIT_REFUSED
    assert "Traceback" not in ended.err
    assert ended.err


def test_a_full_disk_stops_with_one_message(
    run_cli: Cli,
    make_task: Callable[[str], Path],
    llm: FakeLLM,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    task = make_task(llm.base_url)
    monkeypatch.setattr(os, "fsync", fail)
    ended = run_cli("run", task)
    assert ended.code == EXIT_STOPPED
    assert re.fullmatch("evokd: cannot write .*: No space left on device; .*\n", ended.err)


@pytest.mark.parametrize(
    ("command", "called", "goes_on"),
    [
        ("run", "evokd.api.distill", "; `evokd resume RUN` goes on"),
        ("bench", "evokd.bench.command.run_bench", "; the same command goes on"),
        ("doctor", "evokd.doctor.check_task", ""),
    ],
)
def test_ctrl_c_says_how_to_go_on(
    run_cli: Cli,
    task: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: str,
    called: str,
    goes_on: str,
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(called, interrupt)
    ended = run_cli(command, "core" if command == "bench" else task)
    assert ended.code == EXIT_INTERRUPTED
    assert ended.err == f"evokd: interrupted{goes_on}\n"


# What works


def test_help_is_quick_because_nothing_heavy_is_imported(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "evokd", "--help"],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(evokd.__file__).parent.parent,
    )
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "Usage:" in done.stdout
    assert "typer" in imported
    assert not imported & set(HEAVY)


@pytest.mark.parametrize(
    "command",
    ["run", "resume", "plan", "report", "predict", "memory", "graph", "doctor", "models"],
)
def test_every_command_has_help(run_cli: Cli, command: str) -> None:
    ended = run_cli(command, "--help")
    assert (ended.code, ended.err) == (EXIT_DONE, "")
    assert f"evokd {command}" in ended.out


def test_the_version_is_printed(run_cli: Cli) -> None:
    assert run_cli("--version") == (EXIT_DONE, f"evokd {evokd.__version__}\n", "")


def test_the_graph_is_printed_as_mermaid_or_json(run_cli: Cli) -> None:
    picture = run_cli("graph").out
    assert all(f"{node}(" in picture for node in ("analyze", "generate", "gate", "train"))
    nodes = {node["id"] for node in json.loads(run_cli("graph", "--json").out)["nodes"]}
    assert {"prepare", "decide", "finish"} <= nodes


def test_the_graph_of_an_unknown_strategy_is_refused(run_cli: Cli) -> None:
    ended = run_cli("graph", "--strategy", STRATEGIES[0] + "d")
    assert_refused(ended, "unknown strategy 'evokdd', did you mean 'evokd'")


def test_a_plan_costs_no_call_and_tells_calls_and_tokens_by_role(
    run_cli: Cli, make_task: Callable[[str], Path], llm: FakeLLM
) -> None:
    ended = run_cli("plan", make_task(llm.base_url))
    assert (ended.code, ended.err, llm.requests) == (EXIT_DONE, "", [])
    assert "about 27 accepted samples" in ended.out  # 9 + 2 · 9
    for role in ("analyst", "generator", "labeler", "critic"):
        assert re.search(rf"^{role} +openai:scripted: \d+ calls, \d+ tokens in", ended.out, re.M)
    assert "cost unknown" in ended.out
    assert not Path("runs").exists()


def test_a_plan_with_prices_adds_up(run_cli: Cli, task: Path) -> None:
    prices = [
        "--set",
        "agents.default.usd_per_million_input=2",
        "--set",
        "agents.default.usd_per_million_output=8",
    ]
    plan = json.loads(run_cli("plan", task, "--json", *prices).out)
    by_hand = sum(2 * one["input_tokens"] + 8 * one["output_tokens"] for one in plan["roles"]) / 1e6
    assert plan["usd"] == pytest.approx(by_hand)
    assert plan["usd"] > 0


def test_a_plan_counts_the_calls_that_a_run_without_refills_makes(
    run_cli: Cli, make_task: Callable[[str], Path], llm: FakeLLM
) -> None:
    task = make_task(llm.base_url)
    settings = "strategy.rounds=1", "strategy.max_refills=0", "strategy.words=0"
    one_round = [part for one in settings for part in ("--set", one)]
    plan = json.loads(run_cli("plan", task, "--json", *one_round).out)
    planned = {one["role"]: one["calls"] for one in plan["roles"]}
    run_cli("run", task, "--run-id", "r", *one_round)
    report = json.loads(run_cli("report", "r", "--json").out)
    made = {role: one["calls"] for role, one in report["teacher"].items()}
    assert planned["analyst"] == made["analyst"] - 1  # the probe of the endpoint
    assert abs(planned["generator"] - made["generator"]) <= 2  # weaknesses add probe calls
    # Two weaknesses may add a call for two held-out texts each.
    assert planned["labeler"] + 2 * 2 >= made["labeler"]


def test_a_plan_counts_what_the_generator_is_told(run_cli: Cli, task: Path) -> None:
    def told(*settings: str) -> int:
        changed = [part for one in settings for part in ("--set", one)]
        roles = json.loads(run_cli("plan", task, "--json", *changed).out)["roles"]
        return int(next(one["input_tokens"] for one in roles if one["role"] == "generator"))

    assert told("task.topics=any") > told("task.topics=any", "strategy.topics=false")
    assert told("strategy.analyst=false") < told()  # no text is modelled on another one


def test_a_plan_ends_at_the_budget(run_cli: Cli, task: Path) -> None:
    whole, cut = (
        json.loads(run_cli("plan", task, "--json", *more).out)
        for more in ((), ("--set", "budget.output_tokens=300"))
    )
    tokens = [sum(one["output_tokens"] for one in plan["roles"]) for plan in (whole, cut)]
    assert tokens[1] <= 320 < tokens[0]
    assert cut["samples"] < whole["samples"]


def test_a_plan_of_a_strategy_that_asks_nobody_is_free(run_cli: Cli, task: Path) -> None:
    plan = json.loads(run_cli("plan", task, "--json", "--strategy", "fewshot").out)
    assert plan == {"roles": [], "samples": 0, "usd": 0}


@pytest.mark.parametrize(("strategy", "roles"), [("static", 1), ("attr", 2)])
def test_a_plan_of_a_one_pass_strategy_has_its_roles_only(
    run_cli: Cli, task: Path, strategy: str, roles: int
) -> None:
    plan = json.loads(run_cli("plan", task, "--json", "--strategy", strategy).out)
    assert len(plan["roles"]) == roles
    assert all(one["calls"] for one in plan["roles"])
    assert plan["samples"] == 2 * 9


def test_a_plan_asks_only_roles_in_use(run_cli: Cli, task: Path) -> None:
    plan = json.loads(run_cli("plan", task, "--json", "--set", "strategy.critic=false").out)
    assert [one["role"] for one in plan["roles"]] == ["analyst", "generator", "labeler"]


def test_packs_are_listed_with_whether_they_are_here(
    run_cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVOKD_MODELS", str(tmp_path / "no models"))
    lines = run_cli("models", "list").out.splitlines()
    assert [line.split()[0] for line in lines] == list(PACKS)
    assert all(line.endswith("not fetched") for line in lines)
    rows: list[dict[str, Any]] = [
        json.loads(line) for line in run_cli("models", "list", "--json").out.splitlines()
    ]
    assert [(row["name"], row["path"]) for row in rows] == [(name, None) for name in PACKS]


def test_an_unknown_pack_is_refused_with_the_nearest(run_cli: Cli) -> None:
    ended = run_cli("models", "pull", "all-MiniLM-L6")
    assert_refused(ended, "unknown model pack 'all-MiniLM-L6', did you mean 'all-MiniLM-L6-v2'")


def test_the_doctor_passes_a_good_task_and_leaves_nothing(
    run_cli: Cli, make_task: Callable[[str], Path], llm: FakeLLM
) -> None:
    ended = run_cli("doctor", make_task(llm.base_url))
    assert (ended.code, ended.err) == (EXIT_DONE, "")
    lines = ended.out.splitlines()
    assert lines[0] == "data: 3 seed, 0 validation, 24 test rows, 3 labels"
    assert "labeler: openai:scripted, schema scalar, log-probabilities yes, usage yes" in lines
    assert lines[-1] == "all checks passed"
    assert not Path("runs").exists()


@pytest.fixture
def kept(run_cli: Cli, task: Path, tiny_student: Path) -> str:
    """The id of a run with a student."""
    write_text(Path("runs/one/config.yaml"), task.read_text(encoding="utf-8"))
    shutil.copytree(tiny_student, "runs/one/student")
    return "one"


def stdin(data: bytes) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(data), encoding="utf-8")


def test_predict_answers_one_line_a_text(run_cli: Cli, kept: str) -> None:
    ended = run_cli("predict", kept, "an apple", "the rhine")
    lines = [line.split("\t") for line in ended.out.splitlines()]
    assert [line[2] for line in lines] == ["an apple", "the rhine"]
    assert all(re.fullmatch(r"LABEL_\d", label) and 0 < float(p) <= 1 for label, p, _ in lines)


def test_predict_reads_lines_and_speaks_json(
    run_cli: Cli, kept: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", stdin("größe\n\nnile\n".encode()))
    rows = [json.loads(line) for line in run_cli("predict", kept, "-", "--json").out.splitlines()]
    assert [row["text"] for row in rows] == ["größe", "nile"]
    assert set(rows[0]) == {"text", "label", "confidence"}


def test_predict_of_no_text_says_nothing(
    run_cli: Cli, kept: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", stdin(b""))
    assert run_cli("predict", kept) == (EXIT_DONE, "", "")


def test_predict_names_the_line_that_is_not_utf_8(
    run_cli: Cli, kept: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", stdin("nile\n\ngröße\n".encode("latin-1")))
    ended = run_cli("predict", kept)
    assert ended.code == EXIT_REFUSED
    assert ended.err.startswith("evokd: line 3 of the standard input is not UTF-8")


def test_predict_answers_what_came_before_a_line_that_cannot_be_read(
    run_cli: Cli, kept: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "READ_AT_ONCE", 2)
    monkeypatch.setattr(sys, "stdin", stdin("nile\nasia\ngröße\n".encode("latin-1")))
    ended = run_cli("predict", kept)
    assert [line.split("\t")[2] for line in ended.out.splitlines()] == ["nile", "asia"]
    assert ended.code == EXIT_REFUSED
    assert ended.err.startswith("evokd: line 3 of the standard input is not UTF-8")


def test_given_texts_are_all_checked_before_the_first_is_answered(
    kept: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "READ_AT_ONCE", 1)
    monkeypatch.setattr(api, "open_student", lambda *_: pytest.fail("a student was opened"))
    with pytest.raises(DataError, match="text 2 holds half a surrogate pair"):
        evokd.predict(kept, ["nile", "\udcf6"])


def test_a_stream_of_texts_is_read_as_it_is_answered(
    kept: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "READ_AT_ONCE", 2)
    read: list[str] = []

    def endless() -> Iterator[str]:
        for number in count():
            read.append(f"text {number}")
            yield read[-1]

    answers = api.predict_each(kept, endless())
    assert [next(answers).label for _ in range(3)]
    assert len(read) == 4


def test_predict_names_the_text_that_is_none(run_cli: Cli, kept: str) -> None:
    ended = run_cli("predict", kept, "nile", "gr\udcf6\udcdfe")
    assert ended.code == EXIT_REFUSED
    assert ended.err == "evokd: text 2 holds half a surrogate pair; write it as UTF-8\n"
