"""Render `report.json` as one self-contained HTML page.

`render_html` is pure: a dict goes in, a page comes out. It reads no file of the run, draws its
charts as inline SVG and loads nothing from outside. It knows nothing of how the numbers came
about; beyond the keys of the run directory's contract every key may be missing. All numbers are
prepared here, in `report_chart.py` and in `report_kinds.py`; all markup stands in
`report.html.j2`, where autoescape is on: texts come from users and LLMs.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, Template

from evokd.report_chart import curve, reliability_chart
from evokd.report_kinds import (
    error_table,
    explanation_cards,
    marked_texts,
    revision_tables,
    uncertainties,
    written_rows,
)
from evokd.report_words import (
    DASH,
    Json,
    baseline_phrase,
    breakable,
    cell_percent,
    classifies,
    clipped,
    count,
    duration,
    has_test,
    moment,
    percent,
    reasons,
    section,
    stage_name,
    stage_phrase,
    stages,
    sum_known,
    tint,
    words,
)

TOP_CONFUSIONS = 5
NOTABLE_BIAS = 1.25  # a label said so many times too often, or too seldom, is worth a word
STATUS_WORDS = {"finished": "finished", "budget": "stopped at its budget", "failed": "failed"}
STATUS_ORDER = {"returned": 0, "open": 1, "closed": 2}


def render_html(report: dict[str, Any]) -> str:
    """Return the whole page for one `report.json`."""
    return _template().render(
        report=report,
        reasons=reasons(report),
        classifies=classifies(report),
        head=headline(report),
        charts=curve(report),
        rounds=round_rows(report),
        labels=label_table(report),
        confusion=confusion_table(report),
        reliability=reliability_chart(report),
        errors=error_table(report),
        marked=marked_texts(report),
        written=written_rows(report),
        revisions=revision_tables(report),
        explained=explanation_cards(report),
        uncertainties=uncertainties(report),
        vocabulary=vocabulary_rows(report),
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
    scores = section(report, "scores")
    best = scores.get("best_round")
    name = "final student" if best is None else stage_phrase(report, best)
    name += ", refitted" if report.get("refitted") else ""
    if has_test(report):
        start_name = baseline_phrase(report)
        return Change(scores.get("baseline"), scores.get("final"), start_name, name, True)
    seen = [stage for stage in stages(report) if stage.get("probe") is not None]
    if not seen:
        return Change(None, None, "baseline", name, False)
    last = next((stage for stage in seen if stage.get("round") == best), seen[-1])
    first_name, last_name = (stage_phrase(report, stage.get("round")) for stage in (seen[0], last))
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
    confusion = section(report, "confusion")
    if confusion.get("split") != "test":
        return None
    return sum(sum(row) for row in confusion.get("matrix") or [])


def tiles(report: Json) -> list[tuple[str, str]]:
    """Return the key numbers as (name, value)."""
    roles = section(report, "teacher").values()
    counts = weakness_counts(report)
    wall = sum_known(section(report, "seconds").values())
    found = [
        ("rounds", count(len(report.get("rounds") or []))),
        (f"{'explanations' if reasons(report) else 'samples'} accepted", count(accepted(report))),
        ("teacher output tokens", count(sum_known(role.get("output_tokens") for role in roles))),
        ("weaknesses closed", f"{counts['closed']} of {sum(counts.values())}"),
        ("wall time of the rounds", duration(wall or None)),
    ]
    return [(name, value) for name, value in found if value not in (DASH, "0 of 0")]


def accepted(report: Json) -> float | None:
    """Return the number of accepted samples of the whole run."""
    known: float | None = section(report, "samples").get("accepted")
    if known is not None:
        return known
    return sum_known(stage.get("accepted") for stage in stages(report))


# ----------------------------------------------------------------------------------------- rounds


def round_rows(report: Json) -> list[Json]:
    """Return the table below the curve."""
    best = section(report, "scores").get("best_round")
    return [
        {
            "name": stage_name(report, stage),
            "best": best is not None and stage.get("round") == best,
            "score": stage.get("score"),
            "probe": stage.get("probe"),
            "fresh": stage.get("fresh"),
            "accepted": stage.get("accepted"),
            "rejected": sum(section(stage, "rejected").values()),
            "train_rows": stage.get("train_rows"),
            "kept_rows": stage.get("kept_rows"),
            "relabelled": stage.get("relabelled"),
            "self_labelled": stage.get("self_labelled"),
            "probe_rows": stage.get("probe_rows"),
            "refills": stage.get("refills"),
            "output_tokens": stage.get("output_tokens"),
            "seconds": sum_known(section(stage, "seconds").values()),
            "trained": stage.get("trained", True),
        }
        for stage in stages(report)
    ]


# ----------------------------------------------------------------------------------- heat tables


def label_columns(report: Json) -> list[Json]:
    """Return the per-label scores of the baseline and every round, as columns."""
    scores = section(report, "scores")
    best = scores.get("best_round")
    columns = [{"name": "baseline", "values": section(scores, "baseline_per_label"), "best": False}]
    for stage in stages(report):
        at_best = best is not None and stage.get("round") == best
        values = section(stage, "per_label")
        columns.append({"name": stage_name(report, stage), "values": values, "best": at_best})
    unseen = not any(column["best"] and column["values"] for column in columns)
    if unseen or report.get("refitted"):
        columns.append({"name": "final", "values": section(scores, "per_label"), "best": True})
    return [column for column in columns if column["values"]]


def label_table(report: Json) -> Json:
    """Return per-label scores as a heat table, the weakest label of the best round first."""
    columns = label_columns(report)
    described = section(section(report, "task"), "labels")
    made = section(section(report, "samples"), "by_label")
    judge = next((c for c in columns if c["best"]), columns[-1] if columns else {"values": {}})
    names = list(dict.fromkeys([*described, *(n for c in columns for n in c["values"]), *made]))
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
    source = section(report, "confusion")
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
    told = section(report, "weaknesses")
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


def vocabulary_rows(report: Json) -> list[Json]:
    """Return the words that the student was taught, a row a label, the labeler's surest first."""
    by_label: dict[str, list[Json]] = {}
    for word in report.get("words") or []:
        by_label.setdefault(word["label"], []).append(word)
    return [
        {"label": label, "words": sorted(taught, key=lambda one: -_sure(one))}
        for label, taught in by_label.items()
    ]


def _sure(word: Json) -> float:
    """Return the probability that the labeler gave a word's label."""
    return float(word["probabilities"][word["label"]])


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
    samples = section(report, "samples")
    reasons = section(samples, "rejected") or _summed(
        section(stage, "rejected") for stage in stages(report)
    )
    rejected = sum(reasons.values())
    kept = accepted(report)
    return {
        "bars": bars(dict(sorted(reasons.items(), key=lambda item: -item[1]))),
        "rejected": rejected,
        "accepted": kept,
        "share": kept / (kept + rejected) if kept is not None and kept + rejected else None,
        "probe": samples.get("probe"),
        "unchecked": samples.get("unchecked"),
        "examples": list(samples.get("examples_rejected") or []),
        "ordering": list(samples.get("ordering") or []),
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
        for role, used in section(report, "teacher").items()
    ]
    total = {key: sum_known(row[key] for row in rows) for key in ROLE_SUMS}
    return {
        "rows": rows,
        "total": total,
        "priced": total["usd"] is not None,
        "partly_priced": total["usd"] is not None and any(row["usd"] is None for row in rows),
    }


def time_tables(report: Json) -> Json:
    """Return the wall clock of the rounds by kind, and the tables of phases and set-up."""
    parts = {key: section(report, "seconds").get(key) or 0.0 for key in ("teacher", "training")}
    parts["other"] = section(report, "seconds").get("other") or 0.0
    wall = sum(parts.values())
    return {
        "parts": bars(parts) if wall else [],
        "wall": wall,
        "other_share": parts["other"] / wall if wall else None,
        "phases": bars(_numbers(section(report, "phases"))),
        "setup": bars(_numbers(section(report, "seconds_setup"))),
    }


def _numbers(values: Mapping[str, Any]) -> dict[str, float]:
    """Keep what is known, the largest first."""
    known = {key: float(value) for key, value in values.items() if value is not None}
    return dict(sorted(known.items(), key=lambda item: -item[1]))


def bias_phrase(report: Json) -> str:
    """Return the labels that the labeler says too often or too seldom, or ''."""
    bias = _numbers(section(report, "labeler_bias"))
    told = [name for name in bias if abs(math.log(bias[name])) > math.log(NOTABLE_BIAS)]
    return ", ".join(f"{name} × {bias[name]:.1f}" for name in told)


def _choice_phrase(pool: Json) -> str:
    """Return what chose among the texts of a pool, or ''."""
    told = [f"{name} {pool[name]}" for name in ("mode", "noise") if pool.get(name)]
    told += ["labels by consensus"] if pool.get("consensus") else []
    told += ["self-training"] if pool.get("self_training") else []
    return ", ".join([pool["selection"], *told]) if pool.get("selection") else ""


SUMS_BY_CODE = "worked out by code while the student writes, before it was taught, too"


def facts(report: Json) -> list[tuple[str, str]]:
    """Return what identifies the run, as (name, value)."""
    created = report.get("created")
    best = section(report, "scores").get("best_round")
    told = [
        ("run", report.get("run_id")),
        ("created", moment(created) if created else None),
        ("strategy", report.get("strategy")),
        ("task kind", section(report, "task").get("kind")),
        ("metric", report.get("metric")),
        ("random seed", report.get("random_seed")),
        ("best round", None if best is None else stage_phrase(report, best)),
        ("how the best round is chosen", report.get("best_round_rule")),
        ("pool", section(report, "pool").get("in_words")),
        ("chosen from the pool by", _choice_phrase(section(report, "pool"))),
        ("held-out texts it was refitted with", report.get("refitted") or None),
        ("texts it labelled itself", report.get("self_labelled") or None),
        ("confidence", None if reasons(report) else report.get("calibration")),
        ("sums", SUMS_BY_CODE if report.get("calculator") else None),
        ("labeler's bias, taken out", bias_phrase(report) or None),
        ("config fingerprint", report.get("config_fingerprint")),
        *((f"version of {name}", v) for name, v in section(report, "versions").items()),
    ]
    return [(name, str(value)) for name, value in told if value not in (None, "")]
