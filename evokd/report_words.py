"""How `report.json` is read and how its numbers and names are written for people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from markupsafe import Markup, escape

Json = dict[str, Any]

DASH = "–"
LONGEST_TEXT = 400


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


def part_of(part: float, whole: float) -> str:
    """Write a count with its share: '12 of 40 (30.0%)'."""
    share = f" ({percent(part / whole)})" if whole else ""
    return f"{count(part)} of {count(whole)}{share}"


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


def tint(share: float) -> str:
    """Return the strength of a heat colour; small shares stay visible."""
    share = min(1.0, max(0.0, share))
    return f"{max(0.12, 0.65 * share**0.7) if share else 0:.2f}"


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


def section(source: Mapping[str, Any], key: str) -> Json:
    """Return the dict under `key`, or an empty one."""
    return dict(source.get(key) or {})


def stages(report: Json) -> list[Json]:
    """Return the rounds in order, with round 0, if any, in front."""
    rounds = list(report.get("rounds") or [])
    init = report.get("init")
    return [init, *rounds] if init else rounds


def stage_name(report: Json, stage: Json) -> str:
    """Name one round as the axis does: '+Init', 'seeds' or its number."""
    number = stage.get("round")
    if number != 0 and stage.get("kind") != "init":
        return str(number)
    return "seeds" if reasons(report) else "+Init"


def stage_phrase(report: Json, number: object) -> str:
    """Name a round in a sentence."""
    if number != 0:
        return f"round {number}"
    return "the seeds alone" if reasons(report) else "+Init"


def reasons(report: Json) -> bool:
    """Tell whether the task is to reason: questions and explanations, no labels."""
    return section(report, "task").get("kind") == "reasoning"


def revised_phrase(report: Json) -> str:
    """Say how often a run's revisions were right; '' where there are none."""
    told = section(report, "revisions")
    if not told:
        return ""
    phrase = f"revisions: {count(told['revised'])}, of them {count(told['approved'])} approved"
    if not told["known"]:
        return phrase
    accepted = part_of(told["accepted_right"], told["accepted_known"])
    return (
        f"{phrase}; in the pool's own answer ended {count(told['right_before'])} before and "
        f"{count(told['right_after'])} after, of the accepted {accepted}"
    )


def classifies(report: Json) -> bool:
    """Tell whether the task is to classify: one label a text."""
    return section(report, "task").get("kind") in (None, "classification")


def baseline_phrase(report: Json) -> str:
    """Name the student that the run began with; one that reasons has not seen the seeds."""
    return "baseline, untrained" if reasons(report) else "baseline"


def has_test(report: Json) -> bool:
    """Tell whether any score of this run was taken on test rows."""
    scores = section(report, "scores")
    return any(scores.get(key) is not None for key in ("baseline", "final")) or any(
        stage.get("score") is not None for stage in stages(report)
    )


def sum_known(values: Iterable[float | None]) -> float | None:
    """Add what is known; None if nothing is."""
    known = [value for value in values if value is not None]
    return sum(known) if known else None
