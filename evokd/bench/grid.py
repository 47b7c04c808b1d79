"""The grid: run the cells that have no result yet, and write tables of those that have."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from pydantic import ValidationError

from evokd.bench import archive, peers, table
from evokd.bench.cell import Places, run_cell, stamped
from evokd.bench.records import Cell, CellResult, SuiteResult
from evokd.bench.sets import load_set
from evokd.bench.statistics import build_rows, equal_total_rows, mean_curve
from evokd.bench.suites import ASKING, PEERS, SETFIT
from evokd.errors import DataError, EvokdError, RunInUseError
from evokd.graph.session import Emit
from evokd.store.files import write_text

Say = Callable[[str], None]


def run_grid(
    name: str,
    cells: Sequence[Cell],
    shown: Sequence[Cell],
    places: Places,
    command: str,
    emit: Emit,
    say: Say,
) -> SuiteResult:
    """Run what is missing of `cells`; a failed cell says why and the others go on.

    One that another process runs is left to it.
    The tables of the cells `shown` are written after every cell.
    """
    _check_sets(cells, places)
    for number, cell in enumerate(cells, 1):
        known = read_cell(places.results, cell)
        if known is not None and (known.score is not None or known.broken):
            continue
        say(f"cell {number} of {len(cells)}: {cell.id}")
        try:
            result = _try(cell, places, command, emit)
        except RunInUseError:
            say("  running elsewhere")
            continue
        say(f"  {result.error}" if result.error else f"  score {result.score:.3f}")
        write_text(cell_file(places.results, cell), result.model_dump_json(indent=1) + "\n")
        write_tables(name, shown, places, command)
    return write_tables(name, shown, places, command)


def recompute_grid(
    name: str, cells: Sequence[Cell], places: Places, command: str, say: Say
) -> SuiteResult:
    """Train the students of all finished cells anew from the kept samples; no teacher is asked.

    The teacher's own cells are read anew from its kept answers. SetFit's keep their scores, for it
    learns from no samples, and so do cells whose answers may not be kept.
    """
    results = []
    for cell in cells:
        result = read_cell(places.results, cell)
        if result is None or result.score is None:
            continue
        if cell.strategy == SETFIT or not archive.keeps_answers(
            cell, load_set(cell.set, places.data)
        ):
            results.append(result)
            continue
        recompute = peers.recompute_teacher if cell.strategy in PEERS else archive.recompute
        try:
            again = recompute(result, places)
        except EvokdError as error:
            again = CellResult(cell=cell, error=str(error))
        results.append(again)
        was, now = f"{result.score:.4f}", again.error or f"{again.score:.4f}"
        say(f"{cell.id}: kept {was}, recomputed {now}{'' if was == now else '  differs'}")
    if not results:
        raise DataError(f"no finished cell in {places.results}; run `{command}` first")
    return _suite(name, cells, results, command)


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
        return CellResult.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, ValidationError):
        return CellResult(
            cell=cell,
            broken=True,
            error=f"the result file {path.name} is broken; restore it, or delete it to run "
            "the cell again",
        )


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


def _try(cell: Cell, places: Places, command: str, emit: Emit) -> CellResult:
    """Return a cell's result, or the error that stopped it.

    Raises:
        RunInUseError: another process runs it.
    """
    try:
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
    except RunInUseError:
        raise
    except EvokdError as error:
        return stamped(CellResult(cell=cell, error=str(error)), command)
    except (OSError, RuntimeError, TypeError, ValueError, KeyError) as error:  # a library's own
        text = f"{type(error).__name__}: {error}"
        return stamped(CellResult(cell=cell, error=text), command)


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
