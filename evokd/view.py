"""What a person sees while a run goes on: a live table on a terminal, plain lines when piped."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn
from rich.table import Table
from rich.text import Text

from evokd.records import Emit, Event
from evokd.report_words import percent, reasons, stage_name, stages


@contextmanager
def open_view(*, json_lines: bool = False, quiet: bool = False) -> Iterator[Emit]:
    """Yield the function that shows events: JSON lines, nothing, a live view or plain lines."""
    if json_lines:
        yield lambda event: print(json.dumps(_without_report(event)), flush=True)
    elif quiet:
        yield lambda event: None
    elif sys.stdout.isatty():
        with LiveView() as view:
            yield view.show
    else:
        yield PlainView().show


class PlainView:
    """One line an event worth knowing."""

    def __init__(self) -> None:
        self._start = time.monotonic()
        self._download = -1
        self._phase = ""

    def show(self, event: Event) -> None:
        """Print the event, if it tells something new."""
        line = self._line(event)
        if line:
            print(f"[{time.monotonic() - self._start:6.0f} s] {line}", flush=True)

    def _line(self, event: Event) -> str:
        kind = event["kind"]
        if kind == "download":
            tenth = 10 * event["done"] // max(1, event["total"])
            if tenth == self._download:
                return ""
            self._download = tenth
            return f"{event['pack']}: {tenth * 10}% of {event['total'] / 1e6:.0f} MB"
        if kind == "phase":
            changed = event["phase"] != self._phase and event["phase"] not in _QUIET
            self._phase = event["phase"]
            return f"round {event['round']}: {event['phase']}" if changed else ""
        return describe(event)


_QUIET = ("screen", "settle", "gate", "record", "decide", "finish")


def describe(event: Event) -> str:
    """Return one line for an event; '' for one that needs no line."""
    kind = event["kind"]
    if kind in ("note", "warning"):
        return f"{'warning: ' if kind == 'warning' else ''}{event['text']}"
    if kind == "started":
        return f"run {event['run']}"
    if kind == "plan":
        names = "; ".join(event["weaknesses"]) or "no weakness known yet: plain texts per label"
        return f"round {event['round']}: aims at {names}"
    if kind == "gate":
        rejected = event["rejected"]
        reasons = ", ".join(f"{name} {count}" for name, count in sorted(rejected.items()))
        return (
            f"round {event['round']}: {event['accepted']} accepted, "
            f"{sum(rejected.values())} rejected" + (f" ({reasons})" if reasons else "")
        )
    if kind == "trained":
        return f"round {event['round']}: {_trained(event)}"
    return ""


def summary_table(report: Event) -> Table:
    """Return the table a finished run ends with."""
    table = Table(title=f"{report['task']['name']}: {report['strategy']}", title_justify="left")
    for column in ("round", "accepted", "rejected", "fresh batch", "probe", "test", "tokens"):
        table.add_column(column, justify="right")
    baseline = report["scores"]["baseline"]
    table.add_row(
        "untrained" if reasons(report) else "seeds only", "", "", "", "", percent(baseline), ""
    )
    best = report["scores"]["best_round"]
    for one in stages(report):
        table.add_row(
            stage_name(report, one) + (" *" if one["round"] == best else ""),
            str(one["accepted"]),
            str(sum(one["rejected"].values())),
            percent(one["fresh"]),
            percent(one["probe"]),
            percent(one["score"]),
            str(one["output_tokens"]),
        )
    if report.get("refitted"):
        table.add_row("refitted", "", "", "", "", percent(report["scores"]["final"]), "")
    return table


@dataclass
class _Seen:
    phase: str = ""
    round: int = 0
    gates: dict[int, Event] = field(default_factory=dict)  # the last one of each round
    probe: list[float] = field(default_factory=list)
    tokens: int = 0
    rounds: int = 0
    left: float | None = None
    notes: list[str] = field(default_factory=list)


class LiveView:
    """A live picture of the run, for a terminal."""

    def __init__(self) -> None:
        self._console = Console()
        self._seen = _Seen()
        self._start = time.monotonic()
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            console=self._console,
        )
        self._downloads: dict[str, Any] = {}
        self._live = Live(get_renderable=self._render, console=self._console, refresh_per_second=2)

    def __enter__(self) -> LiveView:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def show(self, event: Event) -> None:
        """Take in one event."""
        if event["kind"] == "started":  # a benchmark has many runs
            self._seen = _Seen(notes=self._seen.notes)
        seen, kind = self._seen, event["kind"]
        if kind == "download":
            self._show_download(event)
        elif kind == "phase":
            seen.phase, seen.round = event["phase"], event["round"]
        elif kind == "usage":
            seen.tokens, seen.left, seen.rounds = event["tokens"], event["left"], event["rounds"]
        elif kind == "gate":
            seen.gates[event["round"]] = event  # after a refill it counts the whole round again
        elif kind == "trained" and event["probe"] is not None:
            seen.probe.append(event["probe"])
        line = describe(event)
        if line:
            seen.notes = [*seen.notes[-7:], line]

    def _show_download(self, event: Event) -> None:
        name = event["pack"]
        if name not in self._downloads:
            self._downloads[name] = self._progress.add_task(name, total=event["total"])
        self._progress.update(self._downloads[name], completed=event["done"])

    def _render(self) -> Group:
        seen = self._seen
        table = Table.grid(padding=(0, 2))
        elapsed = time.monotonic() - self._start
        left = "" if seen.left is None else f", about {clock(seen.left)} left"
        table.add_row("round", f"{seen.round} of {seen.rounds or '?'}, {seen.phase}")
        rejected: Counter[str] = Counter()
        for gate in seen.gates.values():
            rejected.update(gate["rejected"])
        reasons = ", ".join(f"{name} {n}" for name, n in sorted(rejected.items()))
        table.add_row("accepted", str(sum(gate["accepted"] for gate in seen.gates.values())))
        table.add_row("rejected", f"{rejected.total()}  {reasons}")
        table.add_row("student", " → ".join(percent(one) for one in seen.probe) or "–")
        table.add_row("teacher", f"{seen.tokens:,} tokens written")
        table.add_row("time", f"{clock(elapsed)}{left}")
        parts: list[Any] = [self._progress] if self._downloads else []
        return Group(*parts, table, *(Text(note, style="dim") for note in seen.notes))


def clock(seconds: float) -> str:
    """Return '3:07' for 187 seconds."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def _trained(event: Event) -> str:
    if not event["trained"]:
        return "nothing accepted, training skipped"
    fresh = (
        "" if event["fresh"] is None else f"fresh batch before training {percent(event['fresh'])}, "
    )
    own = f" and {event['self_labelled']} of its own" if event.get("self_labelled") else ""
    return f"trained on {event['train_rows']} rows{own}: {fresh}probe {percent(event['probe'])}"


def _without_report(event: Event) -> Event:
    return {key: value for key, value in event.items() if key != "report"}
