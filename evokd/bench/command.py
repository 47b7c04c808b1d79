"""`evokd bench`: options, checks, and which of the grid's jobs is done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, cast

from evokd.bench import grid, table
from evokd.bench.cell import Places
from evokd.bench.records import Cell, SuiteResult
from evokd.bench.sets import data_folder
from evokd.bench.suites import Choice, cells_of, suite_name
from evokd.config import DEFAULT_TEACHER
from evokd.errors import ConfigError
from evokd.records import Emit
from evokd.store.files import write_text


@dataclass(frozen=True)
class BenchOptions:
    """What the command line gives; see `evokd bench --help`."""

    suite: str
    data: Path | None
    results: Path
    work: Path
    quick: bool
    split: str
    sets: Sequence[str]
    strategies: Sequence[str]
    variants: Sequence[str]
    seeds: Sequence[int]
    budget: int | None
    teacher: str | None
    student: str | None
    from_samples: bool
    table_only: bool
    readme: Path | None
    cache: Path | None


def run_bench(options: BenchOptions, emit: Emit) -> bool:
    """Run, recompute or only write the tables of a suite.

    Returns:
        whether a cell of those asked for failed or, recomputed, has another score.

    Raises:
        ConfigError: unknown suite, set, strategy or split, or no data folder.
    """
    if options.split not in ("test", "dev"):
        raise ConfigError(f"--on {options.split!r}: expected test or dev")
    if options.readme and options.from_samples:
        raise ConfigError("--readme shows kept results; it does not go with --from-samples")
    choice = Choice(
        sets=options.sets,
        strategies=options.strategies,
        variants=options.variants,
        seeds=options.seeds,
        budget=options.budget,
        split=cast(Literal["test", "dev"], options.split),
        quick=options.quick,
        teacher=options.teacher or DEFAULT_TEACHER,
        student=options.student or "",
    )
    cells = cells_of(options.suite, choice)
    # A part of a suite fills the whole suite's tables.
    shown = cells_of(options.suite, replace(choice, sets=(), strategies=(), variants=(), seeds=()))
    name = suite_name(options.suite, choice)
    command = _command(options)
    if options.readme:  # before hours of work
        table.replace_block(_read(options.readme), name, "")
    suite, failed = _do(options, name, cells, shown, command, emit)
    if options.readme:
        text = table.replace_block(_read(options.readme), name, table.markdown(suite))
        write_text(options.readme, text)
    for line in table.summary_lines(suite):
        emit({"kind": "note", "text": line})
    return failed


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--readme: {path} cannot be read ({error})") from None


def _do(
    options: BenchOptions,
    name: str,
    cells: Sequence[Cell],
    shown: Sequence[Cell],
    command: str,
    emit: Emit,
) -> tuple[SuiteResult, bool]:
    def say(text: str) -> None:
        emit({"kind": "note", "text": text})

    places = Places(
        data=options.data or Path(),
        work=options.work,
        results=options.results,
        cache=options.cache,
    )
    if options.table_only:
        grid.check_finished(shown, places, command)
        suite = grid.write_tables(name, shown, places, command)
        return suite, grid.name_failures(cells, places, say)
    places = replace(places, data=data_folder(options.data))
    if options.from_samples:
        return grid.recompute_grid(name, cells, places, command, say)
    return grid.run_grid(name, cells, shown, places, command, emit, say)


def _command(options: BenchOptions) -> str:
    """Return the command that makes the suite, without this machine's paths."""
    parts = ["evokd bench", options.suite]
    if options.quick:
        parts.append("--quick")
    if options.split != "test":
        parts += ["--on", options.split]
    if options.budget:
        parts += ["--budget", str(options.budget)]
    if options.teacher:
        parts += ["--teacher", options.teacher]
    if options.student:
        parts += ["--student", options.student]
    return " ".join(parts)
