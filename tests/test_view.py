"""What a person, or a machine, sees while a run goes on."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from rich.console import Console

from evokd.report_words import percent
from evokd.view import LiveView, PlainView, clock, describe, open_view, summary_table

GATE = {"kind": "gate", "round": 2, "accepted": 5, "rejected": {"leak": 1, "balance": 2}}
TRAINED = {
    "kind": "trained",
    "round": 2,
    "trained": True,
    "train_rows": 40,
    "fresh": 0.5,
    "probe": 0.875,
}


@pytest.mark.parametrize(
    ("event", "line"),
    [
        ({"kind": "note", "text": "hello"}, "hello"),
        ({"kind": "warning", "text": "careful"}, "warning: careful"),
        ({"kind": "started", "run": "r1"}, "run r1"),
        (GATE, "round 2: 5 accepted, 3 rejected (balance 2, leak 1)"),
        (GATE | {"rejected": {}}, "round 2: 5 accepted, 0 rejected"),
        ({"kind": "plan", "round": 1, "weaknesses": ["a", "b"]}, "round 1: aims at a; b"),
        (TRAINED, "round 2: trained on 40 rows: fresh batch before training 50.0%, probe 87.5%"),
        (TRAINED | {"fresh": None, "probe": None}, "round 2: trained on 40 rows: probe –"),
        (TRAINED | {"trained": False}, "round 2: nothing accepted, training skipped"),
        ({"kind": "usage", "tokens": 3}, ""),
    ],
)
def test_an_event_is_told_in_one_line(event: dict[str, Any], line: str) -> None:
    assert describe(event) == line


def test_a_round_without_a_weakness_says_what_is_written_instead() -> None:
    assert "plain texts per label" in describe({"kind": "plan", "round": 0, "weaknesses": []})


def shown(capsys: pytest.CaptureFixture[str], *events: dict[str, Any]) -> list[str]:
    view = PlainView()
    for event in events:
        view.show(event)
    return [line.partition("] ")[2] for line in capsys.readouterr().out.splitlines()]


def test_plain_lines_name_a_phase_once(capsys: pytest.CaptureFixture[str]) -> None:
    names = ["generate", "generate", "screen", "label", "gate", "train"]
    lines = shown(capsys, *({"kind": "phase", "phase": name, "round": 1} for name in names))
    assert lines == ["round 1: generate", "round 1: label", "round 1: train"]


def test_plain_lines_tell_a_download_by_tenths(capsys: pytest.CaptureFixture[str]) -> None:
    events = [
        {"kind": "download", "pack": "mini", "done": done, "total": 50_000_000}
        for done in range(0, 50_000_001, 1_000_000)
    ]
    lines = shown(capsys, *events)
    assert len(lines) == 11
    assert (lines[0], lines[-1]) == ("mini: 0% of 50 MB", "mini: 100% of 50 MB")


def test_piped_output_is_plain_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with open_view() as emit:
        emit({"kind": "note", "text": "[Name] stays"})
    out = capsys.readouterr().out
    assert out.endswith("] [Name] stays\n")
    assert "\x1b" not in out


def test_json_lines_are_events_without_the_report(capsys: pytest.CaptureFixture[str]) -> None:
    with open_view(json_lines=True) as emit:
        emit(GATE)
        emit({"kind": "finished", "path": "runs/x", "report": {"scores": {}}})
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines == [GATE, {"kind": "finished", "path": "runs/x"}]


def test_a_quiet_view_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with open_view(quiet=True) as emit:
        emit(GATE)
    assert capsys.readouterr().out == ""


def test_the_live_view_adds_up_what_happened(capsys: pytest.CaptureFixture[str]) -> None:
    with LiveView() as view:
        view.show({"kind": "phase", "phase": "train", "round": 2})
        view.show({"kind": "usage", "tokens": 1234, "left": 187.0, "rounds": 6})
        view.show(GATE | {"accepted": 3})
        view.show(GATE)  # the same round after a refill
        view.show(GATE | {"round": 3, "rejected": {"leak": 4}})
        view.show(TRAINED)
        view.show({"kind": "download", "pack": "mini", "done": 1, "total": 2})
    out = " ".join(capsys.readouterr().out.split())
    for part in (
        "2 of 6, train",
        "accepted 10",
        "7 balance 2, leak 5",
        "1,234 tokens",
        "3:07 left",
        "mini",
    ):
        assert part in out


def test_a_skipped_training_leaves_no_point_in_the_live_view(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with LiveView() as view:
        view.show(TRAINED | {"trained": False, "probe": None})
    assert "student –" in " ".join(capsys.readouterr().out.split())


def one_round(number: int, score: float | None) -> dict[str, Any]:
    return {
        "round": number,
        "accepted": 7,
        "rejected": {"leak": 2, "balance": 1},
        "fresh": None,
        "probe": 0.5,
        "score": score,
        "output_tokens": 99,
    }


def rows_of(report: dict[str, Any]) -> list[list[str]]:
    stream = io.StringIO()
    Console(file=stream, width=120).print(summary_table(report))
    cells = [line.strip("│┃ ").split() for line in stream.getvalue().splitlines() if "│" in line]
    return [[cell for cell in row if cell not in "│┃"] for row in cells]


def test_the_summary_has_a_row_for_the_seeds_the_first_batch_and_each_round() -> None:
    report = {
        "task": {"name": "toy"},
        "strategy": "evokd",
        "init": one_round(0, 0.25),
        "rounds": [one_round(1, 0.75), one_round(2, None)],
        "scores": {"baseline": 0.125, "best_round": 1},
    }
    assert rows_of(report) == [
        ["seeds", "only", "12.5%"],
        ["+Init", "7", "3", "–", "50.0%", "25.0%", "99"],
        ["1", "*", "7", "3", "–", "50.0%", "75.0%", "99"],
        ["2", "7", "3", "–", "50.0%", "–", "99"],
    ]


@pytest.mark.parametrize(("value", "text"), [(None, "–"), (0.0, "0.0%"), (0.9312, "93.1%")])
def test_shares_are_shown_in_percent(value: float | None, text: str) -> None:
    assert percent(value) == text


@pytest.mark.parametrize(("seconds", "text"), [(187, "3:07"), (59.9, "0:59"), (3600, "60:00")])
def test_seconds_are_shown_as_a_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text


def test_the_table_ends_with_a_refitted_student() -> None:
    report = {
        "task": {"name": "toy"},
        "strategy": "evokd",
        "scores": {"baseline": 0.5, "best_round": 1, "final": 0.875},
        "init": None,
        "rounds": [one_round(1, 0.75)],
    }
    assert rows_of(report)[-1][0] == "1"
    assert rows_of(report | {"refitted": 3})[-1] == ["refitted", "87.5%"]
