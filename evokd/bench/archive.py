"""What a cell's teacher wrote, kept so that anyone can recompute the score without a teacher.

Two compressed files a cell: its samples with their provenance, and its calls with their replies.
Texts of a set that may not be copied are not in them: a row's index and hash stand for its text.
"""

from __future__ import annotations

import gzip
import json
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from evokd.bench.cell import Places, cell_config, marks, share
from evokd.bench.records import Cell, CellResult
from evokd.bench.sets import BenchSet, load_set, read_packed, text_hash
from evokd.errors import DataError
from evokd.graph.learning import training_rows
from evokd.records import Example, Sample
from evokd.store.files import storage_errors
from evokd.store.ledger import Ledger
from evokd.store.run_dir import RunDirectory
from evokd.tools.packs import fetch_pack
from evokd.tools.student import Student, resolve_student
from evokd.tools.training import TrainingRow, train

TEXTS = ("text", "repaired_from")  # fields of a sample that hold a text


def samples_file(results: Path, cell: Cell) -> Path:
    """Return where a cell's samples are kept."""
    return results / "samples" / f"{cell.id}.jsonl.gz"


def keep(cell: Cell, places: Places, bench: BenchSet) -> None:
    """Write a finished cell's samples and calls."""
    run = RunDirectory((places.work / "runs" / cell.id).resolve())
    seed = bench.seed(cell.shots, cell.seed)
    header = {
        "cell": cell.model_dump(),
        "seed_rows": {str(index): text_hash(row.text) for index, row in seed.items()},
    }
    samples = (_hide_sample(one.model_dump(), bench) for one in run.read_samples())
    _write(samples_file(places.results, cell), [header, *samples])
    ledger = Ledger(run.calls)
    try:
        calls = ledger.calls_with_replies()
    finally:
        ledger.close()
    hidden = [] if bench.copyable else _known_texts(seed.values(), run.read_samples(), bench)
    _write(
        places.results / "calls" / f"{cell.id}.jsonl.gz", [_hide_call(one, hidden) for one in calls]
    )


def read_samples(results: Path, cell: Cell, bench: BenchSet) -> list[Sample]:
    """Return a cell's samples, the texts that were left out put back from the set.

    Raises:
        DataError: the file is missing or broken, or the set's rows are not those of the run.
    """
    header, *lines = read_packed(samples_file(results, cell))
    seed = bench.seed(cell.shots, cell.seed)
    now = {str(index): text_hash(row.text) for index, row in seed.items()}
    if header.get("seed_rows") != now:
        raise DataError(
            f"{samples_file(results, cell)}: the gold rows of the run are others than those of "
            "this data folder; use the same version of the set"
        )
    return [Sample(**_show_sample(one, bench)) for one in lines]


def recompute(result: CellResult, places: Places) -> CellResult:
    """Train the kept student of a cell anew from its samples and return the result with its score.

    Raises:
        DataError: samples or rows cannot be had. StorageError: no room for the student.
    """
    cell = result.cell
    bench = load_set(cell.set, places.data)
    config = cell_config(cell, bench, places)
    taught = _taught(result, places, bench)
    rows = training_rows(
        list(bench.seed(cell.shots, cell.seed).values()), taught, config.student.seed_weight
    )
    if cell.strategy == "fullshot":
        rows += [TrainingRow(row.text, row.label) for row in bench.gold(cell.split).values()]
    provider, _, pack = config.student.model.partition(":")
    folders = {pack: fetch_pack(pack)} if provider == "local" else {}
    source = resolve_student(config.student.model, folders)
    folder = Path(tempfile.mkdtemp(prefix="evokd-"))
    try:
        train(
            rows,
            bench.labels,
            source,
            folder,
            config.student,
            random_seed=config.random_seed,
            repeat=config.strategy.repeat,
        )
        student = Student(
            folder, max_length=config.student.max_length, precision=config.student.precision
        )
        correct = marks(student, list(bench.rows(cell.split).values()))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return result.model_copy(update={"correct": correct, "score": share(correct)})


def _taught(result: CellResult, places: Places, bench: BenchSet) -> list[Sample]:
    """Return the samples the kept student was trained on."""
    cell, kept = result.cell, result.kept_round
    if not cell.budget or kept is None:
        return []
    samples = read_samples(places.results, cell, bench)
    first = kept if cell.variant == "no review" else 0
    return [
        one
        for one in samples
        if one.accepted and one.split == "train" and first <= one.round <= kept
    ]


def _hide_sample(sample: dict[str, Any], bench: BenchSet) -> dict[str, Any]:
    if bench.copyable:
        return sample
    for name in TEXTS:
        place = bench.place_of(sample[name]) if sample[name] else None
        if place is not None:
            sample[f"{name}_row"] = [place, text_hash(sample[name])]
            sample[name] = ""
    return sample


def _show_sample(sample: dict[str, Any], bench: BenchSet) -> dict[str, Any]:
    for name in TEXTS:
        hidden = sample.pop(f"{name}_row", None)
        if hidden is not None:
            split, _, index = hidden[0].partition(":")
            rows = bench.train if split == "train" else bench.test
            row = rows.get(int(index))
            if row is None or text_hash(row.text) != hidden[1]:
                raise DataError(f"the set {bench.name} has another row at {hidden[0]}")
            sample[name] = row.text
    return sample


def _known_texts(
    seed: Iterable[Example], samples: Iterable[Sample], bench: BenchSet
) -> list[tuple[str, str]]:
    """Return texts of the set that may stand in replies, with their references, longest first."""
    texts = {row.text for row in seed} | {one.text for one in samples}
    known = [
        (text, f"[{place} {text_hash(text)}]") for text in texts if (place := bench.place_of(text))
    ]
    return sorted(known, key=lambda pair: -len(pair[0]))


def _hide_call(call: dict[str, Any], hidden: list[tuple[str, str]]) -> dict[str, Any]:
    for text, reference in hidden:
        if call["reply"]:
            call["reply"] = call["reply"].replace(
                json.dumps(text, ensure_ascii=False)[1:-1], reference
            )
    return call


def _write(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write a `.jsonl.gz`, the same bytes for the same rows."""
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    beside = path.with_name(f".{path.name}.tmp")
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.write_bytes(gzip.compress(lines.encode(), mtime=0))
        beside.replace(path)
