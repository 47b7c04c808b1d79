"""Render `report.json` as one self-contained HTML page.

`render_html` is pure: a dict goes in, a page comes out. It reads no file of the run, draws its
charts as inline SVG and loads nothing from outside. It knows nothing of how the numbers came
about; beyond the keys of the run directory's contract every key may be missing. All numbers are
prepared here, all markup stands in `report.html.j2`, where autoescape is on: texts come from
users and LLMs.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, Template
from markupsafe import Markup, escape

Json = dict[str, Any]
Point = tuple[float, float]

DASH = "–"
LONGEST_TEXT = 400
TOP_CONFUSIONS = 5
STATUS_WORDS = {"finished": "finished", "budget": "stopped at its budget", "failed": "failed"}
STATUS_ORDER = {"returned": 0, "open": 1, "closed": 2}


def render_html(report: dict[str, Any]) -> str:
    """Return the whole page for one `report.json`."""
    return _template().render(
        report=report,
        head=headline(report),
        charts=curve(report),
        rounds=round_rows(report),
        labels=label_table(report),
        confusion=confusion_table(report),
        weaknesses=weakness_cards(report),
        weakness_counts=weakness_counts(report),
        rejections=rejections(report),
        roles=role_table(report),
        times=time_tables(report),
        facts=facts(report),
    )


@cache
def _template() -> Template:
    """Compile the template that ships beside this module."""
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(
        percent=percent,
        cell_percent=cell_percent,
        count=count,
        duration=duration,
        words=words,
        breakable=breakable,
        clipped=clipped,
    )
    return environment.from_string(files("evokd").joinpath("report.html.j2").read_text("utf-8"))


# ---------------------------------------------------------------------------- words and numbers


def percent(share: float | None) -> str:
    """Write a share with one decimal: 0.9412 → '94.1%'."""
    return DASH if share is None else f"{100 * share:.1f}%"


def cell_percent(share: float | None) -> str:
    """Write a share as whole per cent, without rounding to a false 0 or 100."""
    if share is None:
        return DASH
    if 0.995 <= share < 1:
        return ">99"
    if 0 < share < 0.005:
        return "<1"
    return f"{100 * share:.0f}"


def count(number: float | None) -> str:
    """Write a whole number with thousands separators."""
    return DASH if number is None else f"{number:,.0f}"


def short_count(number: float) -> str:
    """Write a number for an axis tick: 950, 1.9k, 12k, 1.2M."""
    for size, unit in ((1e6, "M"), (1e3, "k")):
        if number >= size:
            scaled = number / size
            return f"{scaled:.1f}{unit}" if scaled < 9.95 else f"{scaled:.0f}{unit}"
    return f"{number:.0f}"


def duration(seconds: float | None) -> str:
    """Write seconds for people: '4.2 s', '48 s', '3 min 20 s', '1 h 04 min'."""
    if seconds is None:
        return DASH
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def words(name: object) -> str:
    """Turn a key such as `near_duplicate` into words."""
    return str(name).replace("_", " ")


def breakable(name: object) -> Markup:
    """Escape a long name and let it break after its separators."""
    text = str(escape(str(name)))
    for separator in "_/":
        text = text.replace(separator, f"{separator}<wbr>")
    return Markup(text)  # escaped above; only <wbr> was added


def clipped(text: object) -> str:
    """Shorten a text that would fill the page."""
    whole = str(text)
    return whole if len(whole) <= LONGEST_TEXT else whole[:LONGEST_TEXT].rstrip() + " …"


def moment(stamp: object) -> str:
    """Write an ISO time as 'YYYY-MM-DD HH:MM UTC'; anything else as it stands."""
    try:
        when = datetime.fromisoformat(str(stamp))
    except ValueError:
        return str(stamp)
    if when.tzinfo is None:
        return f"{when:%Y-%m-%d %H:%M}"
    return f"{when.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


# ------------------------------------------------------------------------------ reading the dict


def _dict(source: Mapping[str, Any], key: str) -> Json:
    """Return the dict under `key`, or an empty one."""
    return dict(source.get(key) or {})


def stages(report: Json) -> list[Json]:
    """Return the rounds in order, with the +Init batch, if any, in front."""
    rounds = list(report.get("rounds") or [])
    init = report.get("init")
    return [init, *rounds] if init else rounds


def stage_name(stage: Json) -> str:
    """Name one round as the axis does: '+Init' or its number."""
    number = stage.get("round")
    return "+Init" if number == 0 or stage.get("kind") == "init" else str(number)


def stage_phrase(number: object) -> str:
    """Name a round in a sentence."""
    return "+Init" if number == 0 else f"round {number}"


def has_test(report: Json) -> bool:
    """Tell whether any score of this run was taken on test rows."""
    scores = _dict(report, "scores")
    return any(scores.get(key) is not None for key in ("baseline", "final")) or any(
        stage.get("score") is not None for stage in stages(report)
    )


def _total(values: Iterable[float | None]) -> float | None:
    """Add what is known; None if nothing is."""
    known = [value for value in values if value is not None]
    return sum(known) if known else None


# -------------------------------------------------------------------------------------- headline


@dataclass(frozen=True)
class Change:
    """A score at two points of a run."""

    start: float | None
    end: float | None
    start_name: str
    end_name: str
    on_test: bool

    @property
    def points(self) -> float | None:
        """The gain in percentage points."""
        if self.start is None or self.end is None:
            return None
        return 100 * (self.end - self.start)


def score_change(report: Json) -> Change:
    """Return what the student gained, on test rows if there are any, else on the probe rows."""
    scores = _dict(report, "scores")
    best = scores.get("best_round")
    name = "final student" if best is None else stage_phrase(best)
    if has_test(report):
        return Change(scores.get("baseline"), scores.get("final"), "baseline", name, True)
    seen = [stage for stage in stages(report) if stage.get("probe") is not None]
    if not seen:
        return Change(None, None, "baseline", name, False)
    last = next((stage for stage in seen if stage.get("round") == best), seen[-1])
    first_name, last_name = (stage_phrase(stage.get("round")) for stage in (seen[0], last))
    return Change(seen[0]["probe"], last["probe"], first_name, last_name, False)


def headline(report: Json) -> Json:
    """Return the head of the page: the scores, one plain sentence and a few key numbers."""
    status = str(report.get("status") or "unknown")
    change = score_change(report)
    return {
        "change": change,
        "status": status,
        "status_words": STATUS_WORDS.get(status, status),
        "sentence": sentence(report, change),
        "tiles": tiles(report),
        "rows": test_rows(report),
    }


def sentence(report: Json, change: Change) -> str:
    """Say in one sentence what the run did to the student."""
    metric = words(report.get("metric") or "score")
    where = "the test rows" if change.on_test else "the run’s own held-out rows"
    rounds = len(report.get("rounds") or [])
    after = f"After {rounds} round{'' if rounds == 1 else 's'}"
    if change.end is None:
        return f"{after} there is no final {metric} to show."
    if change.start is None or change.points is None:
        return f"{after} the student’s {metric} on {where} is {percent(change.end)}."
    start, end = percent(change.start), percent(change.end)
    if start == end:
        return f"{after} the student’s {metric} on {where} stayed at {end}."
    verb = "rose" if change.points > 0 else "fell"
    of_whom = f"({change.start_name}) to {end} ({change.end_name})"
    return f"{after} the student’s {metric} on {where} {verb} from {start} {of_whom}."


def test_rows(report: Json) -> int | None:
    """Return how many test rows were scored, where the confusion matrix tells it."""
    confusion = _dict(report, "confusion")
    if confusion.get("split") != "test":
        return None
    return sum(sum(row) for row in confusion.get("matrix") or [])


def tiles(report: Json) -> list[tuple[str, str]]:
    """Return the key numbers as (name, value)."""
    roles = _dict(report, "teacher").values()
    counts = weakness_counts(report)
    wall = _total(_dict(report, "seconds").values())
    found = [
        ("rounds", count(len(report.get("rounds") or []))),
        ("samples accepted", count(accepted(report))),
        ("teacher output tokens", count(_total(role.get("output_tokens") for role in roles))),
        ("weaknesses closed", f"{counts['closed']} of {sum(counts.values())}"),
        ("wall time of the rounds", duration(wall or None)),
    ]
    return [(name, value) for name, value in found if value not in (DASH, "0 of 0")]


def accepted(report: Json) -> float | None:
    """Return the number of accepted samples of the whole run."""
    known: float | None = _dict(report, "samples").get("accepted")
    if known is not None:
        return known
    return _total(stage.get("accepted") for stage in stages(report))


# --------------------------------------------------------------------------------- learning curve


@dataclass(frozen=True)
class Frame:
    """The size of a chart, the margins around its plot and the inset of its outer points (px)."""

    width: float
    height: float
    left: float
    right: float
    top: float
    bottom: float
    inset: float = 0

    @property
    def floor(self) -> float:
        """The y coordinate of the plot's lower edge."""
        return self.height - self.bottom

    def column(self, index: int, columns: int) -> float:
        """Return the x coordinate of one of `columns` evenly spread points."""
        start = self.left + self.inset
        inner = self.width - self.right - self.inset - start
        return start + (inner / 2 if columns == 1 else inner * index / (columns - 1))


WIDE = Frame(960, 360, left=48, right=8, top=34, bottom=68, inset=40)
NARROW = Frame(380, 320, left=42, right=2, top=34, bottom=68, inset=24)


def axis_range(values: Sequence[float]) -> tuple[float, float, float]:
    """Return low end, high end and tick step for shares, with room above and below the data."""
    if not values:
        return 0.0, 1.0, 0.2
    low, high = min(values), max(values)
    room = max(0.02, 0.12 * (high - low))
    low, high = max(0.0, low - room), min(1.0, high + room)
    step = next((s for s in (0.01, 0.02, 0.05, 0.1) if (high - low) / s <= 6), 0.2)
    down, up = math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step
    return round(down, 4), min(1.0, round(up, 4)), step


def curve_points(
    values: Sequence[float | None], frame: Frame, low: float, high: float
) -> list[Point | None]:
    """Place a series in a chart; a missing value stays missing."""
    tall = frame.floor - frame.top
    points: list[Point | None] = []
    for index, value in enumerate(values):
        if value is None:
            points.append(None)
            continue
        y = frame.floor - tall * (value - low) / (high - low)
        points.append((round(frame.column(index, len(values)), 1), round(y, 1)))
    return points


def polylines(points: Sequence[Point | None]) -> list[str]:
    """Join neighbouring points into SVG `points` attributes; a gap starts a new line."""
    lines: list[list[str]] = [[]]
    for point in points:
        if point is None:
            lines.append([])
        else:
            lines[-1].append(f"{point[0]:g},{point[1]:g}")
    return [" ".join(line) for line in lines if len(line) > 1]


def curve_columns(report: Json) -> list[Json]:
    """Return one dict a point on the x axis: name, test score, probe score, tokens so far."""
    tokens = 0
    columns: list[Json] = []
    baseline = _dict(report, "scores").get("baseline")
    if baseline is not None:
        columns.append({"name": "baseline", "test": baseline, "probe": None, "tokens": 0})
    best = _dict(report, "scores").get("best_round")
    for stage in stages(report):
        tokens += stage.get("output_tokens") or 0
        scores = {"test": stage.get("score"), "probe": stage.get("probe")}
        at_best = best is not None and stage.get("round") == best
        columns.append(scores | {"name": stage_name(stage), "tokens": tokens, "best": at_best})
    return columns


def curve(report: Json) -> list[Json]:
    """Return the learning curve in a wide and a narrow drawing; none without a score."""
    columns = curve_columns(report)
    if all(column[key] is None for column in columns for key in ("test", "probe")):
        return []
    return [chart(columns, frame, name) for frame, name in ((WIDE, "wide"), (NARROW, "narrow"))]


def chart(columns: Sequence[Json], frame: Frame, name: str) -> Json:
    """Place everything of one drawing."""
    values = [column[key] for column in columns for key in ("test", "probe")]
    low, high, step = axis_range([value for value in values if value is not None])
    every = label_period(len(columns), frame)
    return {
        "name": name,
        "frame": frame,
        "low": low,
        "y_ticks": y_ticks(low, high, step, frame),
        "x_ticks": x_ticks(columns, frame, every),
        "has_tokens": any(column["tokens"] for column in columns),
        "best": next(
            (frame.column(i, len(columns)) for i, c in enumerate(columns) if c.get("best")), None
        ),
        "series": [
            series(key, columns, frame, (low, high), every)
            for key in ("probe", "test")
            if any(column[key] is not None for column in columns)
        ],
    }


def label_period(columns: int, frame: Frame) -> int:
    """Return k so that a label at every k-th point does not touch the next."""
    gap = frame.column(1, columns) - frame.column(0, columns) if columns > 1 else frame.width
    return max(1, math.ceil(42 / gap))


def labelled_columns(columns: Sequence[Json], every: int) -> set[int]:
    """Return the points that show their value: the best one, and every k-th clear of it."""
    best = {index for index, column in enumerate(columns) if column.get("best")}
    spread = range(0, len(columns), every)
    return best | {i for i in spread if all(abs(i - b) >= every for b in best)}


def y_ticks(low: float, high: float, step: float, frame: Frame) -> list[Json]:
    """Return the horizontal grid lines."""
    values = [low + i * step for i in range(round((high - low) / step) + 1)]
    places = [point for point in curve_points(values, frame, low, high) if point]
    return [{"y": y, "text": f"{100 * v:.0f}%"} for v, (_, y) in zip(values, places, strict=True)]


def x_ticks(columns: Sequence[Json], frame: Frame, every: int) -> list[Json]:
    """Return the names of the rounds and the tokens spent so far."""
    return [
        {
            "x": round(frame.column(index, len(columns)), 1),
            "text": column["name"],
            "tokens": short_count(column["tokens"]),
        }
        for index, column in enumerate(columns)
        if index % every == 0
    ]


def series(
    key: str, columns: Sequence[Json], frame: Frame, span: tuple[float, float], every: int
) -> Json:
    """Place one line with its marks; the higher of two values is labelled above its mark."""
    other = "probe" if key == "test" else "test"
    labelled = labelled_columns(columns, every)
    points = curve_points([column[key] for column in columns], frame, *span)
    marks = []
    for index, (column, point) in enumerate(zip(columns, points, strict=True)):
        if point is None:
            continue
        rival = column[other]
        above = rival is None or column[key] > rival or (column[key] == rival and key == "test")
        marks.append(
            {
                "x": point[0],
                "y": point[1],
                "label_y": point[1] - 10 if above else point[1] + 20,
                "text": f"{100 * column[key]:.1f}",
                "labelled": index in labelled,
            }
        )
    return {"key": key, "lines": polylines(points), "marks": marks}


def round_rows(report: Json) -> list[Json]:
    """Return the table below the curve."""
    best = _dict(report, "scores").get("best_round")
    return [
        {
            "name": stage_name(stage),
            "best": best is not None and stage.get("round") == best,
            "score": stage.get("score"),
            "probe": stage.get("probe"),
            "fresh": stage.get("fresh"),
            "accepted": stage.get("accepted"),
            "rejected": sum(_dict(stage, "rejected").values()),
            "train_rows": stage.get("train_rows"),
            "probe_rows": stage.get("probe_rows"),
            "refills": stage.get("refills"),
            "output_tokens": stage.get("output_tokens"),
            "seconds": _total(_dict(stage, "seconds").values()),
            "trained": stage.get("trained", True),
        }
        for stage in stages(report)
    ]


# ----------------------------------------------------------------------------------- heat tables


def tint(share: float) -> str:
    """Return the strength of a heat colour; small shares stay visible."""
    share = min(1.0, max(0.0, share))
    return f"{max(0.12, 0.65 * share**0.7) if share else 0:.2f}"


def label_columns(report: Json) -> list[Json]:
    """Return the per-label scores of the baseline and every round, as columns."""
    scores = _dict(report, "scores")
    best = scores.get("best_round")
    columns = [{"name": "baseline", "values": _dict(scores, "baseline_per_label"), "best": False}]
    for stage in stages(report):
        at_best = best is not None and stage.get("round") == best
        values = _dict(stage, "per_label")
        columns.append({"name": stage_name(stage), "values": values, "best": at_best})
    if not any(column["best"] and column["values"] for column in columns):
        columns.append({"name": "final", "values": _dict(scores, "per_label"), "best": True})
    return [column for column in columns if column["values"]]


def label_table(report: Json) -> Json:
    """Return per-label scores as a heat table, the weakest label of the best round first."""
    columns = label_columns(report)
    described = _dict(_dict(report, "task"), "labels")
    made = _dict(_dict(report, "samples"), "by_label")
    judge = next((c for c in columns if c["best"]), columns[-1] if columns else {"values": {}})
    names = list(dict.fromkeys([*described, *(n for c in columns for n in c["values"])]))
    names.sort(key=lambda name: _or_infinity(judge["values"].get(name)))
    rows = [
        {
            "name": name,
            "description": described.get(name) or "",
            "samples": made.get(name),
            "cells": [_score_cell(column["values"].get(name)) for column in columns],
        }
        for name in names
    ]
    return {"columns": columns, "rows": rows, "has_samples": bool(made)}


def _or_infinity(value: float | None) -> float:
    return math.inf if value is None else value


def _score_cell(value: float | None) -> Json:
    return {"value": value, "tint": "0" if value is None else tint(1 - value)}


def confusion_table(report: Json) -> Json | None:
    """Return the confusion matrix as a heat table: rows are gold, columns predicted."""
    source = _dict(report, "confusion")
    names = list(source.get("labels") or [])
    matrix = list(source.get("matrix") or [])
    if not names or not matrix:
        return None
    rows = [
        {"name": name, "total": sum(row), "cells": confusion_cells(row, index)}
        for index, (name, row) in enumerate(zip(names, matrix, strict=False))
    ]
    split = source.get("split") or "held-out"
    return {"names": names, "rows": rows, "split": split, "top": top_confusions(names, matrix)}


def confusion_cells(row: Sequence[int], gold: int) -> list[Json]:
    """Return one row's cells, tinted by their share of the gold label."""
    total = sum(row) or 1
    return [
        {
            "count": number,
            "kind": "hit" if column == gold else "miss" if number else "zero",
            "tint": tint(number / total),
        }
        for column, number in enumerate(row)
    ]


def top_confusions(names: Sequence[str], matrix: Sequence[Sequence[int]]) -> list[Json]:
    """Return the most frequent mistakes."""
    mistakes: list[Json] = [
        {"gold": gold, "predicted": predicted, "count": number, "share": number / sum(row)}
        for i, (gold, row) in enumerate(zip(names, matrix, strict=False))
        for j, (predicted, number) in enumerate(zip(names, row, strict=False))
        if i != j and number
    ]
    return sorted(mistakes, key=lambda mistake: -mistake["count"])[:TOP_CONFUSIONS]


# ------------------------------------------------------------------------ weaknesses, rejections


def weakness_counts(report: Json) -> dict[str, int]:
    """Return how many weaknesses have which status."""
    told = _dict(report, "weaknesses")
    if told:
        return {status: told.get(status) or 0 for status in ("closed", "open", "returned")}
    listed = [weakness.get("status") for weakness in report.get("weakness_list") or []]
    return {status: listed.count(status) for status in ("closed", "open", "returned")}


def weakness_cards(report: Json) -> list[Json]:
    """Return every weakness with its parsed history, those not closed first."""
    cards = [
        {
            "name": weakness.get("name") or weakness.get("id") or "unnamed",
            "description": weakness.get("description") or "",
            "labels": list(weakness.get("labels") or []),
            "round": weakness.get("round"),
            "status": weakness.get("status") or "open",
            "probe_score": weakness.get("probe_score"),
            "history": [history_step(step) for step in weakness.get("history") or []],
            "samples": list(weakness.get("samples") or []),
        }
        for weakness in report.get("weakness_list") or []
    ]
    return sorted(cards, key=lambda c: (STATUS_ORDER.get(c["status"], 3), c["round"] or 0))


def history_step(step: str) -> Json:
    """Read '<round>:<status>:<score>'; a step of another form is shown as it stands."""
    parts = str(step).split(":")
    if len(parts) < 2:
        return {"round": None, "status": step, "score": None}
    try:
        score = float(parts[2]) if len(parts) > 2 else None
    except ValueError:
        score = None
    return {"round": parts[0], "status": parts[1], "score": score}


def rejections(report: Json) -> Json:
    """Return why samples were rejected, the most frequent reason first."""
    samples = _dict(report, "samples")
    reasons = _dict(samples, "rejected") or _summed(
        _dict(stage, "rejected") for stage in stages(report)
    )
    rejected = sum(reasons.values())
    kept = accepted(report)
    return {
        "bars": bars(dict(sorted(reasons.items(), key=lambda item: -item[1]))),
        "rejected": rejected,
        "accepted": kept,
        "share": kept / (kept + rejected) if kept is not None and kept + rejected else None,
        "probe": samples.get("probe"),
        "examples": list(samples.get("examples_rejected") or []),
    }


def _summed(tables: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for table in tables:
        for key, number in table.items():
            total[key] = total.get(key, 0) + number
    return total


def bars(values: Mapping[str, float]) -> list[Json]:
    """Return rows of a bar list: the share of the sum and the length next to the longest bar."""
    whole = sum(values.values()) or 1
    longest = max(values.values(), default=0) or 1
    return [
        {
            "name": name,
            "value": value,
            "share": value / whole,
            "length": f"{100 * value / longest:.1f}",
        }
        for name, value in values.items()
    ]


# ------------------------------------------------------------------------- tokens, time and facts


ROLE_SUMS = ("calls", "cached", "failed", "input_tokens", "output_tokens", "seconds", "usd")


def role_table(report: Json) -> Json:
    """Return calls, tokens and cost by role with their sum; unknown costs stay unknown."""
    rows: list[Json] = [
        {"role": role, "model": used.get("model") or DASH} | {k: used.get(k) for k in ROLE_SUMS}
        for role, used in _dict(report, "teacher").items()
    ]
    total = {key: _total(row[key] for row in rows) for key in ROLE_SUMS}
    return {
        "rows": rows,
        "total": total,
        "priced": total["usd"] is not None,
        "partly_priced": total["usd"] is not None and any(row["usd"] is None for row in rows),
    }


def time_tables(report: Json) -> Json:
    """Return the wall clock of the rounds by kind, and the tables of phases and set-up."""
    parts = {key: _dict(report, "seconds").get(key) or 0.0 for key in ("teacher", "training")}
    parts["other"] = _dict(report, "seconds").get("other") or 0.0
    wall = sum(parts.values())
    return {
        "parts": bars(parts) if wall else [],
        "wall": wall,
        "other_share": parts["other"] / wall if wall else None,
        "phases": bars(_numbers(_dict(report, "phases"))),
        "setup": bars(_numbers(_dict(report, "seconds_setup"))),
    }


def _numbers(values: Mapping[str, Any]) -> dict[str, float]:
    """Keep what is known, the largest first."""
    known = {key: float(value) for key, value in values.items() if value is not None}
    return dict(sorted(known.items(), key=lambda item: -item[1]))


def facts(report: Json) -> list[tuple[str, str]]:
    """Return what identifies the run, as (name, value)."""
    created = report.get("created")
    best = _dict(report, "scores").get("best_round")
    told = [
        ("run", report.get("run_id")),
        ("created", moment(created) if created else None),
        ("strategy", report.get("strategy")),
        ("task kind", _dict(report, "task").get("kind")),
        ("metric", report.get("metric")),
        ("random seed", report.get("random_seed")),
        ("best round", None if best is None else stage_phrase(best)),
        ("how the best round is chosen", report.get("best_round_rule")),
        ("confidence", report.get("calibration")),
        ("config fingerprint", report.get("config_fingerprint")),
        *((f"version of {name}", v) for name, v in _dict(report, "versions").items()),
    ]
    return [(name, str(value)) for name, value in told if value not in (None, "")]
