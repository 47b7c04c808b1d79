"""Runs from start to report: checks first, then the loop, then the test split, once."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evokd import __version__
from evokd.config import Config
from evokd.errors import ConfigError, ResumeError, StoppedError
from evokd.graph.checkpoint import run_rounds
from evokd.graph.prompts import load_prompts
from evokd.graph.serving import check_models
from evokd.graph.session import Session, open_session
from evokd.records import Emit
from evokd.report import build_report, score_students, write_report
from evokd.store.files import write_text
from evokd.store.run_dir import RunDirectory
from evokd.task_file import apply_override, dump_config, parse_config
from evokd.tasks import TaskData, load_task_data

# What may change between start and resume without changing what the run means.
FREE_ON_RESUME = (
    "budget",
    "local.threads",
    "agents.*.max_concurrency",
    "agents.*.timeout",
    "agents.*.max_retries",
    "agents.*.api_key_env",
)

RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class RunResult:
    """A finished run: its directory and the content of `report.json`."""

    path: Path
    report: dict[str, Any]

    @property
    def student(self) -> Path:
        """The folder of the kept student: what `transformers` loads, with `trust_remote_code`."""
        return self.path / "student"


def new_run_id(config: Config) -> str:
    """Return '<task>-<strategy>-<date>-<time>'."""
    return f"{config.task.name}-{config.strategy.name}-{time.strftime('%Y%m%d-%H%M%S')}"


def start_run(
    config: Config,
    *,
    runs_dir: Path,
    run_id: str | None = None,
    cache_dir: Path | None = None,
    emit: Emit,
) -> RunResult:
    """Start a run and bring it to its end.

    Raises:
        RefusedError: before anything was written.
        StoppedError: the run stopped in the middle and can be resumed.
    """
    name = run_id or new_run_id(config)
    if not RUN_ID.fullmatch(name):
        raise ConfigError(
            f"--run-id {name!r}: expected letters, digits, dots, dashes and underscores"
        )
    data = load_task_data(config)
    check_models(config)
    run = RunDirectory((runs_dir / name).resolve())
    if run.exists:
        raise ConfigError(
            f"the run {run.run_id} exists already in {run.path.parent}; "
            f"`evokd resume {run.run_id}` goes on, another --run-id starts anew"
        )
    with _locked(run):
        if run.holds_other_files:
            raise ConfigError(
                f"the folder {run.path} exists and holds no run; choose another --run-id"
            )
        run.clear_killed_start()
        for warning in data.warnings:
            emit({"kind": "warning", "text": warning})
        with open_session(config, data, run, emit=emit, cache_dir=cache_dir) as session:
            run.write_json(run.prepared, {"parts": fingerprint_parts(config, data)})
            write_text(run.config, dump_config(config))
            return _bring_to_end(session)


def resume_run(
    run: RunDirectory,
    *,
    cache_dir: Path | None = None,
    overrides: Sequence[str] = (),
    emit: Emit,
) -> RunResult:
    """Go on with a run from its last checkpoint; with a larger budget, also after its end.

    Raises:
        ResumeError: config, data, prompts or version changed; it says what.
        StoppedError: it stopped again.
    """
    config = read_run_config(run, overrides)
    with _locked(run):
        report = run.read_json(run.report_json)
        ended = report.get("status")
        if ended == "finished" or (ended == "budget" and _same_budget(run, config)):
            return RunResult(run.path, report)
        data = load_task_data(config)
        _compare(run, fingerprint_parts(config, data))
        check_models(config)
        with open_session(config, data, run, emit=emit, cache_dir=cache_dir) as session:
            run.report_json.unlink(missing_ok=True)  # of an end that is none any more
            write_text(run.config, dump_config(config))
            return _bring_to_end(session)


def read_run_config(run: RunDirectory, overrides: Sequence[str] = ()) -> Config:
    """Return the config a run was started with, with 'a.b=c' changes."""
    import yaml

    try:
        raw = yaml.safe_load(run.config.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ResumeError(f"{run.config} cannot be read: {error}") from None
    for override in overrides:
        apply_override(raw, override)
    return parse_config(raw, str(run.config))


def fingerprint_parts(config: Config, data: TaskData) -> dict[str, Any]:
    """Return what decides a run's outcome, flat: key → value."""
    parts = _flatten(config.model_dump())
    fixed = {key: value for key, value in parts.items() if not _is_free(key)}
    prompts = {f"prompt {name}": one.digest for name, one in load_prompts(config).items()}
    return {**fixed, **prompts, "data rows": data.digest, "evokd version": __version__}


def _bring_to_end(session: Session) -> RunResult:
    run = session.run
    session.emit({"kind": "started", "run": run.run_id, "path": str(run.path)})
    try:
        state = run_rounds(session)
    except StoppedError as error:
        write_report(run, build_report(session, status="failed", stop=str(error)))
        raise type(error)(f"{error}; `evokd resume {run.run_id}` goes on") from error
    scores = score_students(session)
    stop = state.get("stop", "")
    status = "budget" if stop.startswith("budget") else "finished"
    report = build_report(
        session, status=status, stop=stop, scores=scores, best_round=state["best_round"]
    )
    write_report(run, report)
    if status == "finished":  # a larger budget may yet go on
        run.drop_round_students()
    session.emit({"kind": "finished", "report": report, "path": str(run.path)})
    return RunResult(run.path, report)


@contextmanager
def _locked(run: RunDirectory) -> Iterator[None]:
    run.lock()
    try:
        yield
    finally:
        run.unlock()
        run.remove_if_unstarted()


def _same_budget(run: RunDirectory, config: Config) -> bool:
    return read_run_config(run).budget == config.budget


def _compare(run: RunDirectory, now: dict[str, Any]) -> None:
    before = run.read_json(run.prepared).get("parts", {})
    changed = [
        f"{key}: was {before.get(key)!r}, is {now.get(key)!r}"
        for key in sorted({*before, *now})
        if before.get(key) != now.get(key)
    ]
    if changed:
        raise ResumeError(
            f"the run {run.run_id} cannot go on, because this changed since it started:\n  "
            + "\n  ".join(changed)
            + "\nundo the change, or start a new run"
        )


def _flatten(value: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(value, dict) or not value:
        return {prefix: value}
    flat: dict[str, Any] = {}
    for key, inner in value.items():
        flat.update(_flatten(inner, f"{prefix}.{key}" if prefix else str(key)))
    return flat


def _is_free(key: str) -> bool:
    parts = key.split(".")
    for pattern in FREE_ON_RESUME:
        wanted = pattern.split(".")
        if all(w in ("*", p) for w, p in zip(wanted, parts, strict=False)) and len(wanted) <= len(
            parts
        ):
            return True
    return False
