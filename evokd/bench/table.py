"""The tables of a suite for people: Markdown, a self-contained HTML page, lines for a terminal.

Everything is pure: a `SuiteResult` goes in, a text comes out. Markdown and HTML show the same
`Table`s; the page adds the learning curves as inline SVG and loads nothing from outside. Errors
and names are escaped in both.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from itertools import pairwise

from jinja2 import Environment, Template

from evokd.bench.records import Difference, EqualTotalRow, Row, SuiteResult, TokensSaved
from evokd.bench.suites import ASKING, ELAD, POOL
from evokd.errors import ConfigError
from evokd.report_chart import Frame, Point, axis_range, polylines, y_ticks
from evokd.report_words import DASH, Json, clipped, count, moment, short_count, words

MARK = "*"
LEGEND = (
    "Score: mean ± standard deviation over the random seeds. Intervals: 95% bootstrap, over the "
    "scored rows; for the difference in points over rows and random seeds, paired. Tokens, "
    "written and read (prompts), accepted samples and minutes are means over the seeds. Replies "
    "from the cache count with their tokens, but take no time. The teacher is asked 300 rows at "
    "most; a difference from it is over these."
)
INCOMPLETE = "not every random seed of the suite has a score; the row is over those that have."
EQUAL_TOTAL = (
    "The score of the last taught student within the limit, prompts and written tokens together. "
    "The limit of a set is what the dearest random seed of its cheapest strategy spent. A strategy "
    "whose first batch costs more, for some random seed, has no score."
)
# Columns that a table has where one of its rows has the difference.
MORE_DIFFERENCES = {
    "diff_untrained": "it − untrained",
    "diff_fewshot": "it − fewshot",
    "diff_teacher": "it − teacher",
}
EMPTY = "There are no results yet."

Group = tuple[str, int]  # set, shots


@dataclass(frozen=True)
class Table:
    """One table as texts; the first cell of a line names it.

    Args:
        notes: what stands under the table.
        failures: cells that failed, with their errors.
    """

    title: str
    header: Sequence[str]
    lines: Sequence[Sequence[str]]
    notes: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


def markdown(result: SuiteResult) -> str:
    """Return all tables as Markdown, ending with the command and the date."""
    shown = [set_table(rows, result.split) for rows in groups(result).values()]
    if result.equal_total:
        shown.append(equal_total_table(result.equal_total))
    parts = [_markdown_table(one) for one in shown] or [EMPTY]
    return "\n\n".join([*parts, *([LEGEND] if shown else []), _source(result, "`")]) + "\n"


def html(result: SuiteResult) -> str:
    """Return the self-contained page: the tables, and a learning curve for every set."""
    parts = [
        {"table": set_table(rows, result.split), "chart": chart(result, group)}
        for group, rows in groups(result).items()
    ]
    equal = equal_total_table(result.equal_total) if result.equal_total else None
    return _template().render(
        result=result,
        parts=parts,
        equal=equal,
        legend=LEGEND,
        empty=EMPTY,
        source=_source(result),
    )


def summary_lines(result: SuiteResult) -> list[str]:
    """Return a plain line for every set: 'banking8 1-shot  evokd 94.1 ± 1.2  static 88.0 ± 2.0'."""
    titles = [group_title(group) for group in groups(result)]
    width = max(map(len, titles), default=0)
    return [
        "  ".join([title.ljust(width), *(f"{row_name(row)} {score_text(row)}" for row in rows)])
        for title, rows in zip(titles, groups(result).values(), strict=True)
    ]


def replace_block(text: str, name: str, content: str) -> str:
    """Replace what stands between the lines `<!-- bench:NAME -->` and `<!-- /bench:NAME -->`.

    Raises:
        ConfigError: the text does not have both lines, once each and in this order.
    """
    start, end = f"<!-- bench:{name} -->", f"<!-- /bench:{name} -->"
    lines = text.split("\n")
    found = [line for line in lines if line in (start, end)]
    if found != [start, end]:
        raise ConfigError(
            f"the text has {' '.join(found) or 'no marker'} for the table {name!r}; expected the "
            f"lines {start} and {end}, once each and in this order: add them where it shall stand"
        )
    first, last = lines.index(start), lines.index(end)
    return "\n".join([*lines[: first + 1], *content.strip("\n").split("\n"), *lines[last:]])


# ---------------------------------------------------------------------------------------- tables


def groups(result: SuiteResult) -> dict[Group, list[Row]]:
    """Return the rows of every set and number of shots, in the order of the result."""
    found: dict[Group, list[Row]] = {}
    for row in result.rows:
        found.setdefault((row.set, row.shots), []).append(row)
    return found


def group_title(group: Group) -> str:
    """Name a set and its shots: 'banking8 1-shot'."""
    return f"{group[0]} {group[1]}-shot"


def set_table(rows: Sequence[Row], split: str) -> Table:
    """Return the table of one set and number of shots."""
    metric = f"{words(rows[0].metric)} on {split}, %"
    more = {
        key: title
        for key, title in MORE_DIFFERENCES.items()
        if any(getattr(row, key) for row in rows)
    }
    return Table(
        title=group_title((rows[0].set, rows[0].shots)),
        header=(
            "strategy",
            metric,
            "95% interval",
            _compared(rows),
            *more.values(),
            "teacher tokens written",
            "by role",
            "read",
            "accepted",
            "minutes",
            "seeds",
            "date",
            "commit",
        ),
        lines=[_set_line(row, more) for row in rows],
        notes=_notes(rows),
        failures=[_failure(row, error) for row in rows for error in row.errors],
    )


def equal_total_table(rows: Sequence[EqualTotalRow]) -> Table:
    """Return the table of the scores at equal total tokens."""
    return Table(
        title="At equal total tokens",
        header=("set", "strategy", "score, %", "limit", "spent", "seeds"),
        lines=[
            (
                group_title((row.set, row.shots)),
                _name(row.strategy, row.variant),
                _equal_total_text(row),
                count(row.total_tokens),
                count(row.spent),
                _seeds(row.seeds),
            )
            for row in rows
        ],
        notes=[EQUAL_TOTAL],
    )


def _equal_total_text(row: EqualTotalRow) -> str:
    if row.mean is not None:
        return f"{100 * row.mean:.1f}"
    return f"none within the limit; its first batch needs {count(row.first_batch)} tokens"


def _set_line(row: Row, more: Iterable[str]) -> tuple[str, ...]:
    return (
        row_name(row),
        score_text(row),
        interval_text(row.ci_low, row.ci_high),
        difference_text(row.diff_chance or row.diff_evokd),
        *(difference_text(getattr(row, key)) for key in more),
        count(row.output_tokens),
        roles_text(row),
        count(row.input_tokens),
        accepted_text(row),
        DASH if row.seconds is None else f"{row.seconds / 60:.1f}",
        _seeds(row.seeds),
        _days(row),
        row.commit or DASH,
    )


def _notes(rows: Sequence[Row]) -> list[str]:
    """Say what a mark means, and which commands, packs and machines are behind the rows."""
    notes = [] if all(row.complete for row in rows) else [f"{MARK} {INCOMPLETE}"]
    commands = dict.fromkeys(one for row in rows for one in row.command.split("; ") if one)
    machines = dict.fromkeys(one for row in rows for one in row.machines)
    overheads = [
        f"{row_name(row)} {100 * row.overhead:.1f}%"
        for row in rows
        if row.overhead is not None and row.strategy in ASKING
    ]
    packs = {name: digest for row in rows for name, digest in row.packs.items()}
    notes += [f"{row_name(row)}: {_revised(row.revisions)}" for row in rows if row.revisions]
    notes += [
        f"Teacher tokens saved: {_saved(row.tokens_saved)}" for row in rows if row.tokens_saved
    ]
    if overheads:
        notes.append("Of the minutes neither teacher nor training: " + ", ".join(overheads))
    if commands:
        notes.append("Command: " + "; ".join(commands))
    if machines:
        notes.append("Machines: " + "; ".join(machines))
    if packs:
        named = (f"{name} ({digest[:12]})" for name, digest in sorted(packs.items()))
        notes.append("Model packs (sha256): " + ", ".join(named))
    return notes


def _revised(counts: Mapping[str, int]) -> str:
    """Say how often the reviser was right, in the answers and, where it walked, in the steps."""
    told = (
        f"of {counts['known']} revised explanations {counts['right_before']} ended in the known "
        f"answer before and {counts['right_after']} after, of {counts['accepted_known']} accepted "
        f"ones {counts['accepted_right']}"
    )
    if not counts["walked"]:
        return told
    return (
        f"{told}; of {counts['miscalculated']} with a miscalculated step the reviser's first no "
        f"fell on that step in {counts['located']} and it overlooked {counts['overlooked']}"
    )


def _saved(saved: TokensSaved) -> str:
    """Say with how many tokens a way to choose comes to what choosing by chance ends with."""
    goal = f"{100 * saved.goal:.1f}, where random ends with {count(saved.tokens)} tokens written"
    reached = "not reached"
    if saved.share is not None:
        reached = f"reached for good with {100 * saved.share:.0f}% of them"
    if saved.share_by_chance is not None:
        reached += f", by random with {100 * saved.share_by_chance:.0f}%"
    seeds = f"seed{'s' * (len(saved.seeds) > 1)} {_seeds(saved.seeds)}"
    return f"{goal}, is {reached} ({seeds}; students before the last round)"


def roles_text(row: Row) -> str:
    """Write the tokens each role wrote: 'generator 4,100, labeler 900'."""
    written = {role: cost["output_tokens"] for role, cost in row.tokens_by_role.items()}
    ranked = sorted(written.items(), key=lambda pair: -pair[1])
    return ", ".join(f"{role} {count(tokens)}" for role, tokens in ranked) or DASH


def accepted_text(row: Row) -> str:
    """Write accepted samples, and how many of them the training steps kept: '986, kept 231'."""
    kept = "" if row.kept_rows is None else f", kept {count(row.kept_rows)}"
    return count(row.accepted) + kept


def _compared(rows: Sequence[Row]) -> str:
    """Name the column of differences."""
    strategies = {row.strategy for row in rows}
    if ELAD in strategies:
        return "it − random (annotations, fewshot, fullshot: − elad)"
    return "it − by chance" if POOL in strategies else "evokd − it"


def row_name(row: Row) -> str:
    """Name a row: 'evokd', 'evokd, no critic'; with a mark if it lacks a seed."""
    return _name(row.strategy, row.variant) + ("" if row.complete else MARK)


def score_text(row: Row) -> str:
    """Write a score in per cent: '94.1 ± 1.2', '94.1' for one seed."""
    if row.mean is None:
        return DASH
    mean = f"{100 * row.mean:.1f}"
    return mean if row.std is None else f"{mean} ± {100 * row.std:.1f}"


def interval_text(low: float | None, high: float | None) -> str:
    """Write an interval of shares in per cent: '92.0–95.6'."""
    return DASH if low is None or high is None else f"{100 * low:.1f}–{100 * high:.1f}"


def difference_text(difference: Difference | None) -> str:
    """Write a difference in percentage points: '+6.1 (+3.0 to +9.2)'."""
    if difference is None:
        return DASH
    mean, low, high = (
        f"{100 * share:+z.1f}".replace("-", "−")
        for share in (difference.mean, difference.low, difference.high)
    )
    return f"{mean} ({low} to {high})"


def _name(strategy: str, variant: str) -> str:
    return f"{words(strategy)}, {variant}" if variant else words(strategy)


def _days(row: Row) -> str:
    """Write when a row's cells ended: '2026-11-24', or '2026-11-24 to 2026-11-29'."""
    return " to ".join(dict.fromkeys(one[:10] for one in (row.since, row.date) if one)) or DASH


def _seeds(seeds: Iterable[int]) -> str:
    return ", ".join(map(str, seeds)) or DASH


def _failure(row: Row, error: str) -> str:
    return f"{_name(row.strategy, row.variant)}, {clipped(' '.join(error.split()))}"


def _source(result: SuiteResult, quote: str = "") -> str:
    """Return the last line: the command and the date."""
    date = moment(result.created) if result.created else ""
    return ", ".join(filter(None, [f"{quote}{result.command}{quote}", date]))


# -------------------------------------------------------------------------------------- Markdown


def _markdown_table(table: Table) -> str:
    rule = ["---", *["---:"] * (len(table.header) - 1)]
    lines = [_pipes(table.header), f"|{'|'.join(rule)}|", *map(_pipes, table.lines)]
    parts = [f"#### {_plain(table.title)}", "\n".join(lines), *map(_plain, table.notes)]
    if table.failures:
        parts.append("\n".join(["Failed:", "", *(f"- {_plain(one)}" for one in table.failures)]))
    return "\n\n".join(parts)


def _pipes(cells: Iterable[str]) -> str:
    return f"| {' | '.join(map(_plain, cells))} |"


def _plain(text: str) -> str:
    """Escape what Markdown would read as markup."""
    return re.sub(r"([\\`*_|<\[])", r"\\\1", text)


# ------------------------------------------------------------------------------------------ HTML

FRAME = Frame(960, 380, left=52, right=190, top=34, bottom=56)
LABEL_GAP = 16  # px between the lines' labels
X_TICKS = 6
COLOURS = {
    "evokd": "#1c5cb8",
    "static": "#b3470a",
    "attr": "#176f31",
    "fewshot": "#57606a",
    "fullshot": "#1b1f24",
    "setfit": "#00727a",
    "teacher_zero_shot": "#8a2a8a",
    "teacher_one_shot": "#7a5b00",
}
OTHER_COLOUR = "#57606a"


@cache
def _template() -> Template:
    """Compile the template that ships beside this module."""
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(
        files("evokd.bench").joinpath("table.html.j2").read_text("utf-8")
    )


def chart(result: SuiteResult, group: Group) -> Json | None:
    """Place the learning curve of a set: score against teacher tokens written; None without one.

    A strategy with a budget is a line of steps; another one, which writes nothing, is a dashed
    level. Ablations are left out.
    """
    lines = _curves(result, group)
    far = max((tokens for points in lines.values() for tokens, _ in points), default=0.0)
    if not far:
        return None
    levels = {
        row.strategy: [(0.0, row.mean), (far, row.mean)]
        for row in groups(result)[group]
        if not row.variant and row.strategy not in ASKING and row.mean is not None
    }
    low, high, step = axis_range([score for one in (lines | levels).values() for _, score in one])
    series = [
        _series(name, [_place(point, far, low, high) for point in points], dashed=name in levels)
        for name, points in (lines | levels).items()
    ]
    return {
        "frame": FRAME,
        "low": low,
        "y_ticks": y_ticks(low, high, step, FRAME),
        "x_ticks": x_ticks(far),
        "series": _labelled(series),
    }


def _curves(result: SuiteResult, group: Group) -> dict[str, list[Point]]:
    """Return strategy → (tokens, score); of variants only those that ask about a pool in rounds."""
    return {
        _name(curve["strategy"], curve["variant"]): [
            (float(tokens), float(score)) for tokens, score in curve["points"]
        ]
        for curve in result.curves
        if (curve["set"], curve["shots"]) == group
        and (not curve["variant"] or _in_rounds(curve))
        and curve["points"]
    }


def _in_rounds(curve: Json) -> bool:
    return curve["strategy"] in (POOL, ELAD) and not curve["variant"].startswith("paper")


def _place(point: Point, far: float, low: float, high: float) -> Point:
    """Return where a point (tokens, score) stands in the drawing (px)."""
    wide, tall = FRAME.inner
    x = FRAME.left + wide * point[0] / far
    return round(x, 1), round(FRAME.floor - tall * (point[1] - low) / (high - low), 1)


def _series(name: str, points: Sequence[Point], *, dashed: bool) -> Json:
    return {
        "name": words(name),
        "colour": COLOURS.get(name, OTHER_COLOUR),
        "dashed": dashed,
        "lines": polylines(points if dashed else stepped(points)),
        "end": points[-1],
    }


def stepped(points: Sequence[Point]) -> list[Point]:
    """Return the corners of a line that keeps its height until the next point."""
    corners = list(points[:1])
    for (_, before), (x, y) in pairwise(points):
        corners += [(x, before), (x, y)]
    return corners


def _labelled(series: Sequence[Json]) -> list[Json]:
    """Return the series with the height of the labels at their ends."""
    heights = spread([one["end"][1] for one in series], LABEL_GAP, FRAME.floor)
    return [{**one, "label_y": y} for one, y in zip(series, heights, strict=True)]


def spread(heights: Sequence[float], gap: float, floor: float) -> list[float]:
    """Move labels apart until none is nearer than `gap` to the next; none goes below `floor`."""
    order = sorted(range(len(heights)), key=lambda index: heights[index])
    moved = list(heights)
    for upper, lower in pairwise(order):
        moved[lower] = max(moved[lower], moved[upper] + gap)
    limit = floor
    for index in reversed(order):
        moved[index] = min(moved[index], limit)
        limit = moved[index] - gap
    return [round(height, 1) for height in moved]


def x_ticks(far: float) -> list[Json]:
    """Return at most six round numbers of tokens besides 0, up to `far`."""
    sizes = (digit * 10**power for power in range(12) for digit in (1, 2, 5))
    step = next(size for size in sizes if far / size <= X_TICKS)
    values = range(0, int(far) + 1, step)
    return [{"x": _place((value, 0), far, 0, 1)[0], "text": short_count(value)} for value in values]
