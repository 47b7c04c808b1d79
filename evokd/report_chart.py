"""The learning curve of a report: where its points, lines, ticks and labels lie (SVG, px)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from evokd.report_words import Json, section, short_count, stage_name, stages

Point = tuple[float, float]


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

    @property
    def inner(self) -> tuple[float, float]:
        """Width and height of the plot."""
        return self.width - self.right - self.left, self.floor - self.top

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
    _, tall = frame.inner
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
    baseline = section(report, "scores").get("baseline")
    if baseline is not None:
        columns.append({"name": "baseline", "test": baseline, "probe": None, "tokens": 0})
    best = section(report, "scores").get("best_round")
    for stage in stages(report):
        tokens += stage.get("output_tokens") or 0
        scores = {"test": stage.get("score"), "probe": stage.get("probe")}
        at_best = best is not None and stage.get("round") == best
        columns.append(
            scores | {"name": stage_name(report, stage), "tokens": tokens, "best": at_best}
        )
    if report.get("refitted"):
        final = section(report, "scores").get("final")
        columns.append({"name": "refitted", "test": final, "probe": None, "tokens": tokens})
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


SQUARE = Frame(420, 400, left=52, right=12, top=34, bottom=62)
KEYS = {"raw": "test", "calibrated": "probe"}  # how a series is drawn


def reliability_chart(report: Json) -> Json | None:
    """Place a reliability diagram, share right against confidence; None where nothing was fitted.

    The diagonal is a confidence that is as high as it should be.
    """
    found = section(report, "reliability")
    if not found.get("raw"):
        return None
    wide, tall = SQUARE.inner

    def place(share: float, right: float) -> Point:
        return round(SQUARE.left + wide * share, 1), round(SQUARE.floor - tall * right, 1)

    drawn = []
    for name, key in KEYS.items():
        points = [place(one["confidence"], one["accuracy"]) for one in found.get(name) or []]
        drawn.append({"name": name, "key": key, "lines": polylines(points), "marks": points})
    return {
        "frame": SQUARE,
        "ticks": [
            {"x": place(v, 0)[0], "y": place(0, v)[1], "text": f"{100 * v:.0f}%"}
            for v in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
        ],
        "diagonal": (*place(0, 0), *place(1, 1)),
        "series": drawn,
        "rows": [one | {"name": name} for name in KEYS for one in found.get(name) or []],
        "errors": {name: found.get(f"{name}_error") or 0.0 for name in KEYS},
        "temperature": found.get("temperature") or 1.0,
        "gold": found.get("rows"),
    }
