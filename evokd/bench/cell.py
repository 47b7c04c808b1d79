"""One cell: from its place in the grid to a run, and from the run to its result."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evokd.bench.records import Cell, CellResult, CurvePoint, RoleCost
from evokd.bench.sets import BenchSet, load_set, write_pool, write_rows
from evokd.bench.statistics import score_of
from evokd.bench.suites import ELAD, POOL, VARIANTS, asks_teacher
from evokd.config import Config
from evokd.errors import ConfigError, ResumeError
from evokd.records import Emit, Example, Prediction
from evokd.runner import RunResult, fingerprint_parts, read_run_config, resume_run, start_run
from evokd.store.ledger import Ledger
from evokd.store.run_dir import RunDirectory
from evokd.task_file import parse_config
from evokd.tasks import TaskKind, kind_of, load_task_data
from evokd.tools.server_child import OWN_SERVER
from evokd.tools.student import cpu_flags

ROUNDS = 100  # the budget ends a cell, not its rounds
# Beside what a set says of its own. A batch of a one-pass strategy is only a point of its curve.
STRATEGY: dict[str, Any] = {"rounds": ROUNDS, "patience": ROUNDS, "texts_per_call": 8}
SIZES: dict[str, dict[str, Any]] = {
    "evokd": {"init_samples": 64, "samples_per_round": 72},
    "static": {"samples_per_round": 96},
    "attr": {"samples_per_round": 96},
    # The embedded teacher calls every step of a student's right, so it solves the question first.
    ELAD: {
        "samples_per_round": 50,
        "candidates": 100,
        "known_answers": "measure",
        "annotation": "solved",
    },
    # Where the student chooses, seven rounds: 224 texts, as many as are trained in small batches
    # with a few rejected or with none. All of the pool in the mode paper.
    POOL: {"rounds": 7, "samples_per_round": 32, "show_seeds": False},
}


@dataclass(frozen=True)
class Places:
    """Where the benchmark reads and writes.

    Args:
        data: the folder of the public sets.
        work: run directories; may be thrown away once their cells are done.
        results: what is kept.
        cache: the reply cache; None: the user's.
    """

    data: Path
    work: Path
    results: Path
    cache: Path | None = None


def run_cell(cell: Cell, places: Places, command: str, emit: Emit) -> CellResult:
    """Run a cell, or go on with it, and return its result.

    Raises:
        RunInUseError: another process runs it.
        EvokdError: it was refused or stopped; a second try goes on.
    """
    bench = load_set(cell.set, places.data)
    config = cell_config(cell, bench, places)
    run = run_directory(cell, places)
    _drop_other(run, config)
    if run.exists:
        result = resume_run(run, cache_dir=places.cache, emit=emit)
    else:
        result = start_run(
            config, runs_dir=run.path.parent, run_id=cell.id, cache_dir=places.cache, emit=emit
        )
    collected = _collect(cell, result, command)
    run.drop_round_students()  # some 90 MB a round
    return collected


def run_directory(cell: Cell, places: Places) -> RunDirectory:
    """Return where a cell is run."""
    return RunDirectory((places.work / "runs" / cell.id).resolve())


def _drop_other(run: RunDirectory, config: Config) -> None:
    """Empty the directory of a run of other code or data; the reply cache makes a new one cheap."""
    if not run.path.exists():
        return
    run.lock()
    try:
        if not _is_same(run, config):
            run.clear()
    finally:
        run.unlock()


def _is_same(run: RunDirectory, config: Config) -> bool:
    """Whether a run was started with this very config, data, prompts and version."""
    if not run.exists:
        return False
    try:
        before = run.read_json(run.prepared).get("parts")
    except ResumeError:
        return False
    now = json.loads(json.dumps(fingerprint_parts(config, load_task_data(config))))
    return bool(before == now)


def cell_config(cell: Cell, bench: BenchSet, places: Places) -> Config:
    """Write a cell's rows and return the task file it is run with."""
    folder = (
        places.work / "data" / f"{cell.set}-{cell.shots}shot-seed{cell.seed}-{cell.split}"
    ).resolve()
    splits = {
        "seed": bench.seed(cell.shots, cell.seed),
        "test": bench.rows(cell.split),
    }
    if cell.strategy == "fullshot":
        splits["train"] = bench.gold(cell.split)
    for name, rows in splits.items():
        write_rows(bench, folder / f"{name}.jsonl", list(rows.values()))
    files = {name: str(folder / f"{name}.jsonl") for name in splits}
    if cell.strategy in (POOL, ELAD):
        files["pool"] = str(folder / "pool.jsonl")
        write_pool(bench, folder / "pool.jsonl")
    variant = dict(VARIANTS.get(cell.strategy, {}).get(cell.variant, {}))
    student = dict(variant.pop("student", {}))
    raw: dict[str, Any] = {
        **bench.settings,
        "task": bench.task,
        "data": files,
        "agents": {"default": {"model": cell.teacher, **bench.settings.get("agents", {})}},
        "strategy": {
            "name": cell.strategy,
            **STRATEGY,
            **SIZES.get(cell.strategy, {}),
            **bench.settings.get("strategy", {}),
            **variant,
        },
        "budget": {"output_tokens": cell.budget or None},
        "random_seed": cell.seed,
    }
    if cell.student:
        student["model"] = cell.student
    if student:
        raw["student"] = {**raw.get("student", {}), **student}
    return parse_config(raw, f"the cell {cell.id}")


def stamped(result: CellResult, command: str) -> CellResult:
    """Return the result with commit, date, machine and command."""
    return result.model_copy(
        update={
            "commit": commit(),
            "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "machine": machine(result.cell),
            "command": command,
        }
    )


def marks(kind: TaskKind, rows: Sequence[Example], said: Sequence[Prediction]) -> str:
    """Return what the rows count for in the score, see `CellResult.marks`."""
    found = [kind.mark(row, answer) for row, answer in zip(rows, said, strict=True)]
    return joined(kind, found)


def joined(kind: TaskKind, found: Sequence[str]) -> str:
    """Return the marks of rows as `CellResult` has them."""
    return ("" if kind.exclusive else " ").join(found)


def scored(kind: TaskKind, found: str) -> dict[str, Any]:
    """Return the fields of a result on its score."""
    fields = {"kind": kind.name, "metric": kind.metric, "score": score_of(found)}
    return {**fields, ("correct" if kind.exclusive else "counts"): found}


def commit() -> str:
    """Return the short commit of the code, with '+' for changes on top; '' outside a checkout."""
    here = Path(__file__).resolve().parent
    head = _git(here, "rev-parse", "--short", "HEAD")
    # Results are written while the grid runs; they change nothing a cell depends on.
    others = ":(exclude,top)benchmarks/results", ":(exclude,top)README.md"
    changed = head and _git(here, "status", "--porcelain", "--", ":/", *others)
    return head + ("+" if changed else "")


def machine(cell: Cell) -> str:
    """Return processor, cores, the flags that matter for speed, and who serves a local teacher."""
    flags = " ".join(cpu_flags())
    served = asks_teacher(cell.strategy) and cell.teacher.startswith("local:")
    own = f", {OWN_SERVER}" if served and os.environ.get(OWN_SERVER) else ""
    return f"{platform.machine()}, {os.cpu_count()} cores, {flags or 'flags unknown'}{own}"


def _git(folder: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],  # noqa: S603, S607
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.strip()


def _collect(cell: Cell, result: RunResult, command: str) -> CellResult:
    report = result.report
    if cell.budget and not report["samples"]["accepted"]:
        raise ConfigError(
            f"{cell.budget} generated tokens paid for no accepted sample; give a larger --budget"
        )
    config = read_run_config(RunDirectory(result.path))
    kind = kind_of(config)
    ledger = Ledger(result.path / "calls.sqlite")
    try:
        roles = {
            role: RoleCost(calls=calls, input_tokens=tokens_in, output_tokens=tokens_out)
            for role, (calls, tokens_in, tokens_out) in ledger.spent_by_role().items()
        }
        curve = _curve(report, ledger)
    finally:
        ledger.close()
    return stamped(
        CellResult(
            cell=cell,
            **scored(kind, joined(kind, report["final_marks"])),
            before="".join(report["baseline_marks"]) if kind.name == "reasoning" else "",
            kept_round=report["scores"]["best_round"],
            curve=curve,
            roles=roles,
            accepted=report["samples"]["accepted"],
            kept_rows=_kept_rows(report),
            rejected=report["samples"]["rejected"],
            revisions=report.get("revisions") or {},
            seconds=report["seconds"],
            packs=report["packs"],
            versions=report["versions"],
        ),
        command,
    )


def _kept_rows(report: dict[str, Any]) -> int | None:
    best = report["scores"]["best_round"]
    kept = (one["kept_rows"] for one in report["rounds"] if one["round"] == best)
    return next(kept, None)


def _curve(report: dict[str, Any], ledger: Ledger) -> list[CurvePoint]:
    """Return the score after every round, the baseline first: the student on the seeds alone.

    That of a task of reasoning is untrained. Where the kept student was refitted, it is the last
    point.
    """
    points = [
        CurvePoint(
            round=-1,
            input_tokens=0,
            output_tokens=0,
            accepted=0,
            score=report["scores"]["baseline"],
        )
    ]
    accepted = 0
    for one in [*([report["init"]] if report["init"] else []), *report["rounds"]]:
        accepted += one["accepted"]
        tokens_in, tokens_out = ledger.spent_until(one["round"])
        points.append(
            CurvePoint(
                round=one["round"],
                input_tokens=tokens_in,
                output_tokens=tokens_out,
                accepted=accepted,
                score=one["score"],
            )
        )
    if report["refitted"]:
        points[-1] = points[-1].model_copy(update={"score": report["scores"]["final"]})
    return points
