"""The same as the CLI, from Python: `from evokd import distill`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from evokd.config import Config
from evokd.errors import DataError
from evokd.planner import Estimate, estimate
from evokd.records import Example, Prediction
from evokd.runner import RunResult, read_run_config, resume_run, start_run
from evokd.store.run_dir import RunDirectory, find_run
from evokd.task_file import load_config
from evokd.tasks import TaskKind, is_unicode, kind_of
from evokd.tasks.reasoning import Reasoning, read_question
from evokd.tools.students import open_student

READ_AT_ONCE = 1024  # texts that a student is asked about together
EXPLAINED_AT_ONCE = 64  # the same where it explains, which takes it far longer

__all__ = ["Estimate", "RunResult", "distill", "plan", "predict", "predict_each", "resume"]

Emit = Callable[[dict[str, Any]], None]


def distill(
    task: str | Path | Config,
    *,
    overrides: Sequence[str] = (),
    run_id: str | None = None,
    runs_dir: str | Path = "runs",
    cache_dir: str | Path | None = None,
    on_event: Emit | None = None,
) -> RunResult:
    """Teach a student the task and return the finished run.

    Args:
        task: a task file, or a `Config` whose data paths are absolute.
        overrides: settings as 'a.b=c', for a task file.
        on_event: called with one dict an event of the run, from several threads.

    Raises:
        RefusedError: before anything was written.
        StoppedError: stopped in the middle; `resume` goes on.
    """
    config = task if isinstance(task, Config) else load_config(task, list(overrides))
    return start_run(
        config,
        runs_dir=Path(runs_dir),
        run_id=run_id,
        cache_dir=Path(cache_dir) if cache_dir else None,
        emit=on_event or _ignore,
    )


def resume(
    run: str,
    *,
    overrides: Sequence[str] = (),
    runs_dir: str | Path = "runs",
    cache_dir: str | Path | None = None,
    on_event: Emit | None = None,
) -> RunResult:
    """Go on with a run, given its id or path.

    Args:
        overrides: 'a.b=c', for what may change: the budget, concurrency, time-outs.

    Raises:
        ResumeError: no such run, or something it depends on changed.
        StoppedError: it stopped again.
    """
    return resume_run(
        find_run(run, Path(runs_dir)),
        overrides=overrides,
        cache_dir=Path(cache_dir) if cache_dir else None,
        emit=on_event or _ignore,
    )


def plan(task: str | Path | Config, *, overrides: Sequence[str] = ()) -> Estimate:
    """Return about the calls, tokens and cost a task will take, without any call."""
    return estimate(task if isinstance(task, Config) else load_config(task, list(overrides)))


def predict(run: str, texts: Sequence[str], *, runs_dir: str | Path = "runs") -> list[Prediction]:
    """Return the kept student's answers.

    Args:
        texts: for a student that reasons questions, each a text or a JSON row of `question` and
            `choices`.

    Raises:
        ResumeError: no such run. DataError: it has no student yet, or a text cannot be read.
    """
    directory, config = _kept(run, runs_dir)
    kind = kind_of(config)
    inputs = _inputs(kind, enumerate(texts, 1))  # all are checked before the first is answered
    student = open_student(kind.name, directory.student, config.student)
    return student.predict(inputs) if inputs else []


def predict_each(
    run: str, texts: Iterable[str], *, runs_dir: str | Path = "runs"
) -> Iterator[Prediction]:
    """Yield the kept student's answers in the texts' order, for as many texts as one likes.

    Some are read and answered at a time, and none is held longer. Of a text that cannot be read the
    error comes after the answers to all before those it is read with.

    Args:
        texts: as for `predict`.

    Raises:
        ResumeError: no such run. DataError: it has no student yet, or a text cannot be read.
    """
    directory, config = _kept(run, runs_dir)
    kind = kind_of(config)
    student = open_student(kind.name, directory.student, config.student)
    at_once = EXPLAINED_AT_ONCE if isinstance(kind, Reasoning) else READ_AT_ONCE
    numbered = enumerate(texts, 1)
    while part := list(islice(numbered, at_once)):
        yield from student.predict(_inputs(kind, part))


def _kept(run: str, runs_dir: str | Path) -> tuple[RunDirectory, Config]:
    """Return a run that has a student, and its config."""
    directory = find_run(run, Path(runs_dir))
    if not (directory.student / "config.json").exists():
        raise DataError(
            f"the run {directory.run_id} has no student yet; "
            f"`evokd resume {directory.run_id}` first"
        )
    return directory, read_run_config(directory)


def _inputs(kind: TaskKind, numbered: Iterable[tuple[int, str]]) -> list[Any]:
    """Return texts as a student takes them, checked."""
    texts = []
    for number, text in numbered:
        if not is_unicode(text):
            raise DataError(f"text {number} holds half a surrogate pair; write it as UTF-8")
        texts.append(text)
    if isinstance(kind, Reasoning):
        return [read_question(text) for text in texts]
    return kind.inputs([Example(text=text, label="") for text in texts])


def _ignore(event: dict[str, Any]) -> None:
    """Take an event and do nothing."""
