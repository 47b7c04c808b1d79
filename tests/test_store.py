"""What a run leaves behind: files written whole, the ledger, the reply cache, the directory."""

from __future__ import annotations

import errno
import os
import random
import resource
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from evokd.errors import (
    EXIT_REFUSED,
    EXIT_STOPPED,
    EvokdError,
    ResumeError,
    RunInUseError,
    StorageError,
)
from evokd.records import RoundRecord, Sample
from evokd.store.files import write_text
from evokd.store.ledger import FIT, Ledger, covered_seconds, union_of
from evokd.store.replies import Reply, ReplyCache, default_cache_dir, reply_key
from evokd.store.run_dir import RunDirectory, find_run


class Clock:
    """Stands in for the module `time` in the ledger."""

    now = 0.0

    def time(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("evokd.store.ledger.time", clock)
    return clock


@pytest.fixture
def ledger(tmp_path: Path, clock: Clock) -> Iterator[Ledger]:
    ledger = Ledger(tmp_path / "calls.sqlite")
    yield ledger
    ledger.close()


def start_call(
    ledger: Ledger, role: str = "labeler", round: int = 1, purpose: str | None = None
) -> int:
    """Open a call; without a purpose it is another one than all before."""
    name = purpose or f"call {sum(ledger.counts().values())}"
    return ledger.open_call(
        role=role, round=round, purpose=name, model="openai:x", key=name, attempt=0
    )


def write_call(
    ledger: Ledger,
    role: str = "labeler",
    round: int = 1,
    purpose: str | None = None,
    **end: object,
) -> None:
    ledger.close_call(start_call(ledger, role, round, purpose), **({"outcome": "ok"} | end))


def sample(id: str, round: int = 1, text: str = "a text") -> Sample:
    return Sample(id=id, text=text, round=round, call="c", intended_label="a")


def round_record(round: int, accepted: int = 1) -> RoundRecord:
    return RoundRecord(
        round=round, kind="loop", accepted=accepted, rejected={}, train_rows=1, probe_rows=0
    )


@contextmanager
def full_disk() -> Iterator[None]:
    """Let no file of this process grow."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


# Files


def test_text_is_written_with_its_folder_and_nothing_beside(tmp_path: Path) -> None:
    write_text(tmp_path / "deep" / "one.txt", "größe\n")
    assert (tmp_path / "deep" / "one.txt").read_text(encoding="utf-8") == "größe\n"
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["one.txt"]


def test_a_full_disk_keeps_the_old_file_and_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "rounds.jsonl"
    write_text(path, "old")

    def fail(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(StorageError, match="No space left on device; free some space") as caught:
        write_text(path, "new")
    assert str(path) in str(caught.value)
    assert caught.value.exit_code == EXIT_STOPPED
    assert path.read_text(encoding="utf-8") == "old"


def test_a_place_that_cannot_be_written_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x", encoding="utf-8")
    with pytest.raises(StorageError, match="cannot write .*file/inside"):
        write_text(tmp_path / "file" / "inside", "text")


# Seconds


@pytest.mark.parametrize(
    ("spans", "merged"),
    [
        ([], []),
        ([(5.0, 7.0), (1.0, 2.0)], [(1.0, 2.0), (5.0, 7.0)]),
        ([(1.0, 4.0), (2.0, 3.0), (4.0, 6.0)], [(1.0, 6.0)]),
    ],
)
def test_overlapping_stretches_are_merged(
    spans: list[tuple[float, float]], merged: list[tuple[float, float]]
) -> None:
    assert union_of(spans) == merged


def test_covered_seconds_of_a_hand_computed_case() -> None:
    calls = [(0.0, 3.0), (2.0, 5.0), (9.0, 20.0), (30.0, 31.0)]
    windows = [(1.0, 4.0), (8.0, 10.0), (9.5, 12.0)]
    assert covered_seconds(calls, windows) == pytest.approx(3.0 + 3.0)
    assert covered_seconds([], windows) == 0


def test_seconds_are_split_into_teacher_training_and_the_rest(ledger: Ledger, clock: Clock) -> None:
    clock.now = 100.0
    call = start_call(ledger)
    clock.now = 110.0
    ledger.close_call(call, outcome="ok")
    ledger.add_phase(FIT, 1, 112.0, 115.0)
    assert ledger.split_seconds([(100.0, 120.0)]) == {
        "teacher": 10.0,
        "training": 3.0,
        "other": 7.0,
    }


def test_cached_and_unfinished_calls_take_no_teacher_time(ledger: Ledger, clock: Clock) -> None:
    call = start_call(ledger)
    start_call(ledger)
    clock.now = 4.0
    ledger.close_call(call, outcome="ok", cached=True)
    assert ledger.open_intervals() == []


def test_the_window_goes_on_after_a_kill_without_the_time_between(
    tmp_path: Path, clock: Clock
) -> None:
    killed = Ledger(tmp_path / "w.sqlite")
    killed.open_window()
    killed.add_phase("train", 1, 0.0, 8.0)
    killed.close()
    clock.now = 1000.0
    resumed = Ledger(tmp_path / "w.sqlite")
    resumed.open_window()
    clock.now = 1005.0
    assert resumed.window_seconds() == 13.0
    resumed.close_window()
    assert resumed.window_seconds() == 13.0
    resumed.close()


def test_phases_are_listed_in_the_order_of_their_first_start(ledger: Ledger) -> None:
    ledger.open_window()
    for name, start in (("train", 5.0), ("analyze", 1.0), ("train", 0.5)):
        ledger.add_phase(name, 1, start, start + 1)
    assert ledger.phase_names() == ["train", "analyze"]
    assert ledger.round_span(1) == [(0.5, 1.5), (1.0, 2.0), (5.0, 6.0)]


# Calls


def test_usage_is_counted_by_role(ledger: Ledger) -> None:
    write_call(ledger, "critic", input_tokens=5, output_tokens=2, usd=0.5)
    write_call(ledger, "critic", input_tokens=7, output_tokens=1, usd=0.25)
    write_call(ledger, "labeler", outcome="time-out")
    usage = ledger.usage_by_role()
    critic, labeler = usage["critic"], usage["labeler"]
    assert (critic.calls, critic.input_tokens, critic.output_tokens) == (2, 12, 3)
    assert (critic.usd, critic.failed) == (0.75, 0)
    assert (labeler.calls, labeler.failed, labeler.usd) == (1, 1, None)


def test_a_cache_hit_costs_nothing_but_counts_against_the_budget(ledger: Ledger) -> None:
    write_call(ledger, input_tokens=10, output_tokens=4, usd=1.0)
    write_call(ledger, input_tokens=100, output_tokens=40, usd=2.0, cached=True)
    usage = ledger.usage_by_role()["labeler"]
    assert (usage.calls, usage.cached) == (1, 1)
    assert (usage.input_tokens, usage.output_tokens, usage.usd) == (10, 4, 1.0)
    spent = {"output_tokens": 44, "total_tokens": 154, "usd": 3.0}
    assert ledger.budget_spent() == spent


def test_a_call_that_a_restarted_node_makes_again_counts_once(ledger: Ledger) -> None:
    write_call(ledger, purpose="label:a", input_tokens=10, output_tokens=4)
    write_call(ledger, purpose="label:b", input_tokens=10, output_tokens=2)
    write_call(ledger, purpose="label:a", input_tokens=10, output_tokens=4, cached=True)
    assert ledger.budget_spent()["total_tokens"] == 26
    assert ledger.tokens_of_round(1) == 6
    assert ledger.spent_until(1) == (20, 6)
    assert ledger.spent_by_role() == {"labeler": (2, 20, 6)}


def test_open_calls_are_expected_to_cost_their_roles_mean(ledger: Ledger) -> None:
    write_call(ledger, "generator", input_tokens=100, output_tokens=40)
    write_call(ledger, "generator", input_tokens=200, output_tokens=80)
    write_call(ledger, "labeler", input_tokens=9, output_tokens=1)
    assert ledger.spent_by_open_calls() == {"output_tokens": 0, "total_tokens": 0}
    start_call(ledger, "generator")
    start_call(ledger, "generator")
    start_call(ledger, "critic")  # nobody knows yet
    assert ledger.spent_by_open_calls() == {"output_tokens": 120, "total_tokens": 420}


def test_tokens_add_up_over_the_rounds_without_the_probe_of_the_endpoint(ledger: Ledger) -> None:
    write_call(ledger, round=0, purpose="probe", input_tokens=9, output_tokens=9)
    write_call(ledger, round=0, input_tokens=3, output_tokens=1)
    write_call(ledger, round=2, input_tokens=5, output_tokens=2)
    assert [ledger.spent_until(number) for number in (0, 1, 2)] == [(3, 1), (3, 1), (8, 3)]


def test_an_empty_ledger_has_spent_nothing(ledger: Ledger) -> None:
    assert ledger.budget_spent() == {"output_tokens": 0, "total_tokens": 0, "usd": 0}
    assert ledger.usage_by_role() == {}


def test_sums_follow_the_calls_and_are_those_of_the_file(ledger: Ledger, tmp_path: Path) -> None:
    rng = random.Random(1)
    waiting: list[int] = []
    for number in range(60):
        ledger.budget_spent()  # from here on nothing is scanned
        role = rng.choice(["labeler", "critic"])
        waiting.append(start_call(ledger, role, purpose=str(number % 9)))
        if rng.random() < 0.7:
            call = waiting.pop(rng.randrange(len(waiting)))
            told: dict[str, Any] = {"input_tokens": rng.randrange(99), "output_tokens": 7}
            ledger.close_call(call, outcome=rng.choice(["ok", "time-out"]), **told, usd=0.25)
            if rng.random() < 0.2:
                ledger.mark_outcome(call, "unusable reply")
    other = Ledger(tmp_path / "calls.sqlite")
    assert ledger.budget_spent() == other.budget_spent()
    assert ledger.spent_by_open_calls() == pytest.approx(other.spent_by_open_calls())
    assert ledger.mark_lost() == len(waiting)
    assert ledger.spent_by_open_calls() == {"output_tokens": 0, "total_tokens": 0}
    other.close()


def test_what_was_spent_is_not_scanned_for_at_every_call(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    scans = []
    spent = Ledger._spent
    monkeypatch.setattr(Ledger, "_spent", lambda self, *of: (scans.append(of), spent(self, *of))[1])
    for _ in range(5):
        write_call(ledger, input_tokens=10, output_tokens=4)
        ledger.budget_spent()
    assert ledger.budget_spent()["total_tokens"] == 70
    assert len(scans) == 1


def test_tokens_are_counted_by_round(ledger: Ledger) -> None:
    write_call(ledger, round=1, output_tokens=3)
    write_call(ledger, round=2, output_tokens=4)
    write_call(ledger, round=2, output_tokens=5, cached=True)
    assert [ledger.tokens_of_round(number) for number in (0, 1, 2)] == [0, 3, 9]


def test_calls_left_open_by_an_ended_process_are_marked_lost(ledger: Ledger) -> None:
    write_call(ledger)
    start_call(ledger)
    start_call(ledger)
    assert ledger.mark_lost() == 2
    assert ledger.counts() == {"ok": 1, "lost": 2}
    assert ledger.mark_lost() == 0
    assert ledger.usage_by_role()["labeler"].failed == 2


def test_the_outcome_of_a_closed_call_can_be_changed(ledger: Ledger) -> None:
    call = start_call(ledger)
    ledger.close_call(call, outcome="ok", output_tokens=6)
    ledger.mark_outcome(call, "unusable reply")
    assert ledger.counts() == {"unusable reply": 1}
    assert ledger.budget_spent()["output_tokens"] == 6


def test_a_ledger_that_cannot_be_read_is_a_storage_error(ledger: Ledger, tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "calls.sqlite") as other:
        other.execute("DROP TABLE calls")
    other.close()
    with pytest.raises(StorageError, match=r"calls\.sqlite: no such table"):
        ledger.counts()


def test_a_full_disk_under_the_ledger_is_a_storage_error(ledger: Ledger, tmp_path: Path) -> None:
    with full_disk(), pytest.raises(StorageError, match=r"cannot write .*calls\.sqlite"):
        start_call(ledger)
    start_call(ledger)
    assert ledger.counts() == {"in flight": 1}


# Replies


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[ReplyCache]:
    cache = ReplyCache(tmp_path / "shared" / "replies.sqlite")
    yield cache
    cache.close()


def test_a_reply_comes_back_as_it_was(cache: ReplyCache) -> None:
    reply = Reply(
        text="größe \u2028",
        finish_reason="stop",
        input_tokens=3,
        output_tokens=2,
        usage_reported=False,
        logprobs=[{"token": "g", "logprob": -0.5, "top": {"g": -0.5}}],
    )
    cache.put("k", reply)
    assert cache.get("k") == reply
    assert cache.get("other") is None


def test_the_first_reply_stays(cache: ReplyCache) -> None:
    cache.put("k", Reply(text="first"))
    cache.put("k", Reply(text="second"))
    assert cache.get("k") == Reply(text="first")


def test_replies_are_shared_between_processes(cache: ReplyCache) -> None:
    cache.put("mine", Reply(text="from here"))
    script = (
        "import sys, pathlib\n"
        "from evokd.store.replies import Reply, ReplyCache\n"
        "cache = ReplyCache(pathlib.Path(sys.argv[1]))\n"
        "print(cache.get('mine').text)\n"
        "cache.put('mine', Reply(text='too late'))\n"
        "cache.put('theirs', Reply(text='from there'))\n"
    )
    command = [sys.executable, "-c", script, str(cache.path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "from here\n"
    assert cache.get("mine") == Reply(text="from here")
    assert cache.get("theirs") == Reply(text="from there")


def test_a_full_disk_under_the_cache_is_a_storage_error(cache: ReplyCache) -> None:
    with full_disk(), pytest.raises(StorageError, match=r"cannot write .*replies\.sqlite"):
        cache.put("k", Reply(text="x"))


def test_a_cache_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    path = tmp_path / "replies.sqlite"
    path.write_bytes(b"this is no database" * 100)
    with pytest.raises(EvokdError, match=r"replies\.sqlite"):
        ReplyCache(path)


def test_the_key_depends_on_model_request_and_slot() -> None:
    request = {"messages": [["user", "x"]], "temperature": 0.0}
    keys = {
        reply_key("a", request, None),
        reply_key("b", request, None),
        reply_key("a", request | {"temperature": 1.0}, None),
        reply_key("a", request, {"slot": 0}),
        reply_key("a", request, {"slot": 1}),
    }
    assert len(keys) == 5
    assert reply_key("a", dict(reversed(request.items())), None) in keys


def test_the_cache_folder_is_evokd_cache_else_xdg_else_home(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    monkeypatch.setenv("EVOKD_CACHE", "/own")
    assert default_cache_dir() == Path("/own")
    monkeypatch.delenv("EVOKD_CACHE")
    assert default_cache_dir() == Path("/xdg/evokd")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert default_cache_dir() == Path("/home/me/.cache/evokd")


# The run directory


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return RunDirectory(tmp_path / "runs" / "one")


def test_writing_a_round_twice_is_like_writing_it_once(run: RunDirectory) -> None:
    run.write_samples(1, [sample("a", 1)])
    run.write_samples(2, [sample("b", 2), sample("c", 2)])
    run.write_samples(2, [sample("d", 2)])
    assert [one.id for one in run.read_samples()] == ["a", "d"]


def test_a_sample_is_read_as_it_was_written(run: RunDirectory) -> None:
    odd = sample("a", text="line\u2028separator, next\x85line, \x1e record and größe")
    run.write_samples(1, [odd])
    assert run.read_samples() == [odd]


def test_round_records_are_replaced_and_kept_in_order(run: RunDirectory) -> None:
    for record in (round_record(2), round_record(0), round_record(2, accepted=9)):
        run.write_round(record)
    assert [(one.round, one.accepted) for one in run.read_rounds()] == [(0, 1), (2, 9)]


def test_a_broken_line_is_refused_with_the_file(run: RunDirectory) -> None:
    run.write_samples(1, [sample("a")])
    whole = run.samples_file.read_text(encoding="utf-8")
    run.samples_file.write_text(whole[: len(whole) // 2], encoding="utf-8")
    with pytest.raises(ResumeError, match=r"samples\.jsonl is broken"):
        run.read_samples()


def test_a_line_of_another_shape_is_refused_with_the_file(run: RunDirectory) -> None:
    run.path.mkdir(parents=True)
    run.rounds_file.write_text('{"round": 1}\n', encoding="utf-8")
    with pytest.raises(ResumeError, match=r"rounds\.jsonl is broken"):
        run.read_rounds()


def test_a_broken_json_file_is_refused_and_a_missing_one_is_empty(run: RunDirectory) -> None:
    assert run.read_json(run.report_json) == {}
    write_text(run.report_json, '{"status": ')
    with pytest.raises(ResumeError, match=r"report\.json is broken"):
        run.read_json(run.report_json)


def test_a_run_directory_in_use_is_refused(run: RunDirectory) -> None:
    run.lock()
    with pytest.raises(RunInUseError, match="in use by another process") as caught:
        RunDirectory(run.path).lock()
    assert str(run.path) in str(caught.value)
    assert caught.value.exit_code == EXIT_REFUSED
    run.unlock()
    other = RunDirectory(run.path)
    other.lock()
    other.unlock()


def test_a_run_directory_that_cannot_be_made_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file", encoding="utf-8")
    with pytest.raises(StorageError, match="cannot write"):
        RunDirectory(tmp_path / "runs" / "one").lock()


def test_a_refused_run_leaves_no_directory_but_a_started_one_stays(run: RunDirectory) -> None:
    run.lock()
    run.unlock()
    run.remove_if_unstarted()
    assert not run.path.exists()
    write_text(run.config, "task: {}")
    run.remove_if_unstarted()
    assert run.exists


def test_files_that_were_there_before_are_never_removed(run: RunDirectory) -> None:
    own = run.path / "thesis.txt"
    write_text(own, "years of work")
    try:
        run.lock()
        run.unlock()
    except EvokdError:
        pass
    run.remove_if_unstarted()
    assert own.exists()


def test_a_folder_of_a_process_killed_at_set_up_is_begun_anew(run: RunDirectory) -> None:
    left = ("pool.sqlite", "calls.sqlite", "calls.sqlite-wal", "prepared.json", "server-a.log")
    for name in (*left, "memory/chroma.sqlite3", "memory/.lock", ".config.yaml.7.tmp"):
        write_text(run.path / name, "half")
    with pytest.raises(ResumeError, match="killed before it started; .* --run-id one`"):
        find_run("one", run.path.parent)
    run.lock()
    assert not run.holds_other_files
    run.clear_killed_start()
    run.unlock()
    assert {one.name for one in run.path.iterdir()} <= {".lock", "memory"}
    write_text(run.config, "task: {}")
    assert not run.is_killed_start


@pytest.mark.parametrize("name", ["thesis.txt", "memory/thesis.txt", "student/x", "pool.sqlite.1"])
def test_a_folder_with_files_of_others_is_no_killed_start(run: RunDirectory, name: str) -> None:
    for one in (name, "pool.sqlite"):
        write_text(run.path / one, "years of work")
    run.lock()
    assert run.holds_other_files
    run.clear_killed_start()
    run.unlock()
    assert (run.path / name).exists()
    assert (run.path / "pool.sqlite").exists()


def test_samples_are_parsed_once_until_somebody_writes_them(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    run.write_samples(1, [sample("a")])
    other = RunDirectory(run.path)
    assert [one.id for one in other.read_samples()] == ["a"]
    parse, parsed = RunDirectory._read_lines, list[Path]()
    monkeypatch.setattr(
        RunDirectory, "_read_lines", lambda *told: (parsed.append(told[1]), parse(*told))[1]
    )
    other.read_samples().clear()
    assert [one.id for one in other.read_samples()] == ["a"]
    assert not parsed
    run.write_samples(2, [sample("b", 2)])
    assert [one.id for one in other.read_samples()] == ["a", "b"]


def test_a_run_is_found_by_id_and_by_path(run: RunDirectory) -> None:
    write_text(run.config, "task: {}")
    assert find_run("one", run.path.parent).path == run.path
    assert find_run(str(run.path), Path("nowhere")).path == run.path


def test_an_unknown_run_is_refused_with_the_known(run: RunDirectory) -> None:
    write_text(run.config, "task: {}")
    with pytest.raises(ResumeError, match="no run 'two'.*known runs: one") as caught:
        find_run("two", run.path.parent)
    assert caught.value.exit_code == EXIT_REFUSED
