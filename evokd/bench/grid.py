"""The grid: run the cells that have no result yet, and write tables of those that have."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from evokd.bench import archive, peers, table
from evokd.bench.cell import Places, run_cell, stamped
from evokd.bench.records import Cell, CellResult, SuiteResult
from evokd.bench.sets import kind_of_set, load_set
from evokd.bench.statistics import build_rows, equal_total_rows, mean_curve, score_of
from evokd.bench.suites import ASKING, PEERS, SETFIT
from evokd.errors import DataError, EvokdError, RunInUseError
from evokd.records import Emit
from evokd.store.files import write_text

Say = Callable[[str], None]
ROUNDED = 1e-6  # a score may differ by so much from that of its rows


def run_grid(
    name: str,
    cells: Sequence[Cell],
    shown: Sequence[Cell],
    places: Places,
    command: str,
    emit: Emit,
    say: Say,
) -> tuple[SuiteResult, bool]:
    """Run what is missing of `cells`; a failed cell says why and the others go on.

    One that another process runs is left to it.
    The tables of the cells `shown` are written after every cell.

    Returns:
        the suite, and whether one of `cells` failed.
    """
    _check_sets(cells, places)
    failed = False
    for number, cell in enumerate(cells, 1):
        known = read_cell(places.results, cell)
        if known is not None and known.broken:
            failed = True
            say(f"{cell.id}: {known.error}")
            continue
        if known is not None and known.score is not None:
            continue
        say(f"cell {number} of {len(cells)}: {cell.id}")
        try:
            result = _attempt(cell, command, partial(_run, cell, places, command, emit))
        except RunInUseError:
            say("  running elsewhere")
            continue
        say(f"  {result.error}" if result.error else f"  score {result.score:.3f}")
        failed = failed or result.error is not None
        write_text(cell_file(places.results, cell), result.model_dump_json(indent=1) + "\n")
        write_tables(name, shown, places, command)
    return write_tables(name, shown, places, command), failed


def recompute_grid(
    name: str, cells: Sequence[Cell], places: Places, command: str, say: Say
) -> tuple[SuiteResult, bool]:
    """Train the students of all finished cells anew from the kept samples; no teacher is asked.

    The teacher's own cells are read anew from its kept answers. SetFit's keep their scores, for it
    learns from no samples, and so do cells whose answers may not be kept. A cell that failed, or
    cannot be recomputed, says why and the others go on.

    Returns:
        the suite, and whether one of `cells` is without a score or has another one.

    Raises:
        DataError: none has a result.
    """
    check_finished(cells, places, command)
    results = []
    failed = False
    for cell in cells:
        kept = read_cell(places.results, cell)
        if kept is None:
            continue
        again = kept
        if not kept.error:
            again = _attempt(cell, command, partial(_recompute, kept, places))
        results.append(again)
        if again.error:
            failed = True
            say(f"{cell.id}: {again.error}")
        elif again is not kept:
            was, now = f"{kept.score:.4f}", f"{again.score:.4f}"
            failed = failed or was != now
            say(f"{cell.id}: kept {was}, recomputed {now}{'' if was == now else '  differs'}")
    return _suite(name, cells, results, command), failed


def check_finished(cells: Sequence[Cell], places: Places, command: str) -> None:
    """Check that there is something to show.

    Raises:
        DataError: no cell has a result file.
    """
    if not any(cell_file(places.results, cell).exists() for cell in cells):
        raise DataError(f"no finished cell in {places.results}; run `{command}` first")


def name_failures(cells: Sequence[Cell], places: Places, say: Say) -> bool:
    """Say why cells have no score; return whether there is one."""
    kept = [one for one in (read_cell(places.results, cell) for cell in cells) if one]
    failures = [one for one in kept if one.error]
    for one in failures:
        say(f"{one.cell.id}: {one.error}")
    return bool(failures)


def write_tables(name: str, cells: Sequence[Cell], places: Places, command: str) -> SuiteResult:
    """Write JSON, Markdown and HTML of a suite from the cells that have a result."""
    found = [one for one in (read_cell(places.results, cell) for cell in cells) if one]
    suite = _suite(name, cells, found, command)
    write_text(places.results / f"{name}.json", suite.model_dump_json(indent=1) + "\n")
    write_text(places.results / f"{name}.md", table.markdown(suite))
    write_text(places.results / f"{name}.html", table.html(suite))
    return suite


def cell_file(results: Path, cell: Cell) -> Path:
    """Return where a cell's result is kept."""
    return results / "cells" / f"{cell.id}.json"


def read_cell(results: Path, cell: Cell) -> CellResult | None:
    """Return a cell's result; None if there is none, a `broken` one if its file is damaged."""
    path = cell_file(results, cell)
    if not path.exists():
        return None
    try:
        found = CellResult.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, ValidationError):
        return _broken(cell, path, "it cannot be read")
    if found.cell.id != cell.id:
        return _broken(cell, path, f"it is that of {found.cell.id}")
    if found.score is not None and abs(found.score - score_of(found.marks)) > ROUNDED:
        return _broken(cell, path, f"its score {found.score} is not that of its rows")
    return found


def _broken(cell: Cell, path: Path, why: str) -> CellResult:
    """Return what stands for a result that nobody may take for the cell's."""
    told = f"the result file {path.name} is broken: {why}"
    advice = "restore it, or delete it to run the cell again"
    return failure(cell, f"{told}; {advice}", broken=True)


def failure(cell: Cell, error: str, *, broken: bool = False) -> CellResult:
    """Return the result of a cell that has no score."""
    kind = kind_of_set(cell.set)
    about: dict[str, Any] = {"kind": kind.name, "metric": kind.metric}
    return CellResult(cell=cell, **about, error=error, broken=broken)


def _check_sets(cells: Sequence[Cell], places: Places) -> None:
    """Refuse a data folder that has none of the sets; a single missing one fails its cells."""
    missing: list[DataError] = []
    names = dict.fromkeys(cell.set for cell in cells)
    for name in names:
        try:
            load_set(name, places.data)
        except DataError as error:
            missing.append(error)
    if len(missing) == len(names):
        raise missing[0]


def _attempt(cell: Cell, command: str, work: Callable[[], CellResult]) -> CellResult:
    """Return a cell's result, or the error that stopped the work, of whatever library it is.

    Raises:
        RunInUseError: another process runs it.
    """
    try:
        return work()
    except RunInUseError:
        raise
    except EvokdError as error:
        text = str(error)
    except Exception as error:  # noqa: BLE001 - one damaged file must not end the grid
        text = f"{type(error).__name__}: {error}"
    return stamped(failure(cell, text), command)


def _run(cell: Cell, places: Places, command: str, emit: Emit) -> CellResult:
    if cell.strategy == SETFIT:
        return peers.run_setfit(cell, places, command)
    if cell.strategy in PEERS:
        result = peers.run_teacher(cell, places, command, emit)
        archive.keep_calls(cell, places, load_set(cell.set, places.data))
        return result
    result = run_cell(cell, places, command, emit)
    if cell.strategy in ASKING:
        archive.keep(cell, places, load_set(cell.set, places.data))
    return result


def _recompute(kept: CellResult, places: Places) -> CellResult:
    cell = kept.cell
    if cell.strategy == SETFIT:
        return kept
    if not archive.keeps_answers(cell, load_set(cell.set, places.data)):
        return kept
    recompute = peers.recompute_teacher if cell.strategy in PEERS else archive.recompute
    return recompute(kept, places)


def _suite(
    name: str, cells: Sequence[Cell], results: Sequence[CellResult], command: str
) -> SuiteResult:
    scored = [one for one in results if one.score is not None]
    groups: dict[tuple[str, int, str, str], list[CellResult]] = {}
    for one in scored:
        cell = one.cell
        groups.setdefault((cell.set, cell.shots, cell.strategy, cell.variant), []).append(one)
    return SuiteResult(
        suite=name,
        split=cells[0].split,
        command=command,
        created=max((one.date for one in results), default=""),
        rows=build_rows(results, cells),
        equal_total=equal_total_rows(scored),
        curves=[
            {"set": key[0], "shots": key[1], "strategy": key[2], "variant": key[3]}
            | {"points": mean_curve([one.curve for one in group])}
            for key, group in groups.items()
            if key[2] in ASKING
        ],
    )
