"""What a cell's teacher wrote, kept so that anyone can recompute the score without a teacher.

Two compressed files a cell: its samples with their provenance, and its calls with their replies.
Texts of a set that may not be copied are not in them: a row's index and hash stand for its text.
"""

from __future__ import annotations

import gzip
import json
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from evokd.bench.cell import Places, cell_config, marks, run_directory, scored
from evokd.bench.records import Cell, CellResult
from evokd.bench.sets import BenchSet, letters, load_set, read_packed, text_hash
from evokd.bench.suites import ASKING, PEERS
from evokd.config import Config, StrategySection
from evokd.errors import DataError
from evokd.graph.fitting import (
    gold_rows,
    own_rows,
    row_choice,
    rows_for,
    texts_refitted,
    texts_taught,
    words_taught,
)
from evokd.graph.serving import open_embedder
from evokd.graph.strategies import reads_again
from evokd.records import Sample, Word
from evokd.store.files import write_bytes
from evokd.store.ledger import Ledger
from evokd.tasks import kind_of
from evokd.tools.packs import fetch_pack
from evokd.tools.student import resolve_student
from evokd.tools.students import keep_student, open_student, train_kind
from evokd.tools.training import TrainingRow

TEXTS = ("text", "repaired_from")  # fields of a sample that hold a text


def samples_file(results: Path, cell: Cell) -> Path:
    """Return where a cell's samples are kept."""
    return results / "samples" / f"{cell.id}.jsonl.gz"


def keep(cell: Cell, places: Places, bench: BenchSet) -> None:
    """Write a finished cell's samples and calls."""
    run = run_directory(cell, places)
    header: dict[str, Any] = {"cell": cell.model_dump(), "seed_rows": _seed_rows(cell, bench)}
    if words := run.read_words():
        header["words"] = [one.model_dump() for one in words]
    if own := own_rows(run.student):
        header["self_labelled"] = [
            _hide_texts({"text": one.text, "label": one.label, "confidence": one.confidence}, bench)
            for one in own
        ]
    samples = run.read_samples()
    hidden = (_hide_sample(one.model_dump(), bench) for one in samples)
    _write(samples_file(places.results, cell), [header, *hidden])
    keep_calls(cell, places, bench, [*(one.text for one in samples), *_repaired(samples)])


def calls_file(results: Path, cell: Cell) -> Path:
    """Return where a cell's calls are kept."""
    return results / "calls" / f"{cell.id}.jsonl.gz"


def keep_calls(cell: Cell, places: Places, bench: BenchSet, written: Iterable[str] = ()) -> None:
    """Write a finished cell's calls with their replies.

    Args:
        written: texts that the replies may hold.
    """
    ledger = Ledger(run_directory(cell, places).calls)
    try:
        calls = ledger.calls_with_replies()
    finally:
        ledger.close()
    seed = bench.seed(cell.shots, cell.seed)
    texts = [] if bench.copyable else [*written, *(row.text for row in seed.values())]
    hidden = sorted({letters(text) for text in texts if bench.place_of(text)})
    if not keeps_answers(cell, bench):
        calls = [one | {"reply": _stand_in(one["reply"])} for one in calls]
    _write(calls_file(places.results, cell), [_hide_call(one, hidden) for one in calls])


def keeps_answers(cell: Cell, bench: BenchSet) -> bool:
    """Whether a cell's replies are kept: not where they quote a set that may not be copied."""
    quotes = cell.strategy in PEERS and not bench.task_kind.exclusive
    return bench.copyable or not quotes


def _stand_in(reply: str | None) -> str:
    return f"[quotes a row of the set; sha256 {text_hash(reply or '')}]"


def _seed_rows(cell: Cell, bench: BenchSet) -> dict[str, str]:
    """Return index → hash of the gold rows a cell starts from."""
    seed = bench.seed(cell.shots, cell.seed)
    return {str(index): text_hash(row.text) for index, row in seed.items()}


def _repaired(samples: Iterable[Sample]) -> list[str]:
    return [one.repaired_from for one in samples if one.repaired_from]


def read_samples(results: Path, cell: Cell, bench: BenchSet) -> list[Sample]:
    """Return a cell's samples, the texts that were left out put back from the set.

    Raises:
        DataError: the file is missing or broken, or the set's rows are not those of the run.
    """
    return read_kept(results, cell, bench)[0]


def read_kept(
    results: Path, cell: Cell, bench: BenchSet
) -> tuple[list[Sample], list[Word], list[TrainingRow]]:
    """Return a cell's samples, as `read_samples` does, and what else its kept student learnt.

    That is the words, and the texts of a pool that it labelled itself.

    Raises:
        DataError: see `read_samples`.
    """
    path = samples_file(results, cell)
    header, *lines = read_packed(path) or [{}]
    if header.get("seed_rows") != _seed_rows(cell, bench):
        raise DataError(
            f"{path}: the gold rows of the run are others than those of "
            "this data folder; use the same version of the set"
        )
    try:
        words = [Word(**one) for one in header.get("words", ())]
        own = [TrainingRow(**_show_texts(one, bench)) for one in header.get("self_labelled", ())]
        return [_show_sample(one, bench) for one in lines], words, own
    except ValidationError as error:
        raise DataError(f"{path} is broken: {error.errors()[0]['msg']}") from None
    except TypeError as error:
        raise DataError(f"{path} is broken: {error}") from None


def recompute(result: CellResult, places: Places) -> CellResult:
    """Train the kept student of a cell anew from its samples and return the result with its score.

    Raises:
        DataError: samples or rows cannot be had. StorageError: no room for the student.
    """
    cell = result.cell
    bench = load_set(cell.set, places.data)
    config = cell_config(cell, bench, places)
    taught, words, own = _taught(result, places, bench, config.strategy)
    seed = bench.seed(cell.shots, cell.seed)
    embedder = None
    if reads_again(config) and taught:
        embedder = open_embedder(config, _fetched(config.memory.embedder))
    rows = [*rows_for(config, list(seed.values()), taught, words, embedder), *own]
    if cell.strategy == "fullshot":
        gold = bench.gold(cell.split)
        rows += gold_rows(config, [gold[i] for i in gold if i not in seed])
    found = relearn(rows, bench, config, cell.split)
    return result.model_copy(update=scored(kind_of(config), found))


def relearn(
    rows: Sequence[TrainingRow], bench: BenchSet, config: Config, split: Literal["test", "dev"]
) -> str:
    """Train a student on rows and return its marks on a split; nothing else of it is kept.

    It is asked as a run would have kept it: of one that reasons, weights are rounded then.

    Raises:
        StorageError: no room for the student.
    """
    source = resolve_student(config.student.model, _fetched(config.student.model))
    folder = Path(tempfile.mkdtemp(prefix="evokd-"))
    trained, kept = folder / "trained", folder / "kept"
    try:
        kind = kind_of(config)
        train_kind(
            kind.name,
            rows,
            bench.labels,
            source,
            trained,
            config.student,
            random_seed=config.random_seed,
            repeat=config.strategy.repeat,
            choice=row_choice(config),
            instructions=config.task.instructions,
            answers=config.task.answers or "text",
            capitals=config.task.capitals,
        )
        keep_student(kind.name, trained, kept)
        student = open_student(kind.name, kept, config.student)
        scored_rows = list(bench.rows(split).values())
        return marks(kind, scored_rows, student.predict(kind.inputs(scored_rows)))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _fetched(model: str) -> dict[str, Path]:
    """Return the folder of the pack that a model names, if it is one."""
    provider, _, pack = model.partition(":")
    return {pack: fetch_pack(pack)} if provider == "local" else {}


def _taught(
    result: CellResult, places: Places, bench: BenchSet, strategy: StrategySection
) -> tuple[list[Sample], list[Word], list[TrainingRow]]:
    """Return the samples and words the kept student was trained on, and what it labelled itself."""
    cell, kept = result.cell, result.kept_round
    if cell.strategy not in ASKING or kept is None:
        return [], [], []
    samples, words, own = read_kept(places.results, cell, bench)
    texts = [*texts_taught(samples, kept, strategy), *texts_refitted(samples, kept, strategy)]
    return texts, words_taught(words, kept, strategy), own


def _hide_sample(sample: dict[str, Any], bench: BenchSet) -> dict[str, Any]:
    if bench.copyable:
        return sample
    place = bench.place_of(sample["text"]) if sample["text"] else None
    if place is not None and bench.at(place).text == sample["text"]:
        sample["exact"] = True
    elif place is not None:  # the set spaces the text otherwise: letters and digits are counted
        before = [
            sum(map(str.isalnum, sample["text"][:at])) for at in range(len(sample["text"]) + 1)
        ]
        for one in _entities(sample):
            one["start"], one["end"] = before[one["start"]], before[one["end"]]
    sample["orders"] = []  # parts of the text
    return _hide_texts(sample, bench)


def _hide_texts(row: dict[str, Any], bench: BenchSet) -> dict[str, Any]:
    """Put a place in the set and a hash where a row's texts may not be copied."""
    if bench.copyable:
        return row
    for name in TEXTS:
        place = bench.place_of(row[name]) if row.get(name) else None
        if place is not None:
            row[f"{name}_row"] = [place, text_hash(bench.at(place).text)]
            row[name] = ""
    return row


def _show_sample(sample: dict[str, Any], bench: BenchSet) -> Sample:
    """Put hidden texts back, as the set spells them, and their entities where they stand there."""
    exact = sample.pop("exact", False)
    hidden = "text_row" in sample
    sample = _show_texts(sample, bench)
    if hidden and not exact:
        places = [at for at, sign in enumerate(sample["text"]) if sign.isalnum()]
        for one in _entities(sample):
            one["start"], one["end"] = places[one["start"]], places[one["end"] - 1] + 1
    return Sample(**sample)


def _show_texts(row: dict[str, Any], bench: BenchSet) -> dict[str, Any]:
    """Put back what `_hide_texts` took out."""
    for name in TEXTS:
        hidden = row.pop(f"{name}_row", None)
        if hidden is not None:
            row[name] = bench.at(hidden[0]).text
            if text_hash(row[name]) != hidden[1]:
                raise DataError(f"the set {bench.name} has another row at {hidden[0]}")
    return row


def _entities(sample: dict[str, Any]) -> list[dict[str, Any]]:
    """Return all entities in a sample, as dicts that may be changed."""
    said = (sample.get("prediction") or {}).get("entities") or []
    return [one for one in (*sample.get("entities", ()), *said) if one["end"] > one["start"]]


def _hide_call(call: dict[str, Any], hidden: Sequence[str]) -> dict[str, Any]:
    """Leave out a reply that holds one of the texts; its samples are kept with their places."""
    squeezed = letters(call["reply"] or "")
    if any(key in squeezed for key in hidden):
        call["reply"] = _stand_in(call["reply"])
    return call


def _write(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write a `.jsonl.gz`, the same bytes for the same rows."""
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    write_bytes(path, gzip.compress(lines.encode(), mtime=0))
