"""How fast a student scores a pool, and that memory stays flat: pools of several sizes.

    .venv/bin/python benchmarks/pool_scoring.py runs/RUN --rows texts.jsonl --sizes 10000 100000

The pool's texts are those of `--rows`, numbered so that none is a double. Every size runs in a
process of its own, one after the other: filling the pool from a file, one scoring of all of it by
the run's student, and one selection. Prints one JSON line a size: rows, seconds, rows a second,
and the largest resident size of the process in MiB.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from itertools import cycle, islice
from pathlib import Path

from evokd.graph.pooling import SCORED_TOGETHER, score
from evokd.runner import read_run_config
from evokd.store.pool import Pool
from evokd.store.run_dir import RunDirectory
from evokd.tasks.pool import PoolRow, read_pool
from evokd.tools.student import Student, cpu_flags

SELECTED = 64


def main() -> None:
    """Measure every size in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--rows", type=Path, required=True, help="a pool: JSONL of text")
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measure(arguments.run, arguments.rows, arguments.one)))
        return
    for size in arguments.sizes:
        command = [sys.executable, __file__, str(arguments.run), "--rows", str(arguments.rows)]
        subprocess.run([*command, "--one", str(size)], check=True)


def measure(run: Path, rows: Path, size: int) -> dict[str, object]:
    """Fill, score and select once."""
    settings = read_run_config(RunDirectory(run)).student
    student = Student(run / "student", max_length=settings.max_length, precision=settings.precision)
    with tempfile.TemporaryDirectory() as folder:
        source = write_rows(rows, size, Path(folder) / "pool.jsonl")
        pool = Pool(Path(folder) / "pool.sqlite")
        start = time.perf_counter()
        counts = pool.fill(read_pool(source), lambda row: "")
        filled = time.perf_counter()
        pool.write_scores(score(student, batch) for batch in pool.batches(SCORED_TOGETHER))
        scored = time.perf_counter()
        pool.most_uncertain(SELECTED, pool.draw(SELECTED, [], random.Random(0)))  # noqa: S311
        selected = time.perf_counter()
        pool.close()
    return {
        "rows": counts.kept,
        "fill_seconds": round(filled - start, 2),
        "scored_per_second": round(counts.kept / (scored - filled)),
        "select_seconds": round(selected - scored, 3),
        "largest_resident_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "cpu_flags": cpu_flags(),
    }


def write_rows(rows: Path, size: int, path: Path) -> Path:
    """Write so many texts, each once, and return where."""
    known = [one.text for one in read_pool(rows) if isinstance(one, PoolRow)]
    with path.open("w", encoding="utf-8") as file:
        for number, text in enumerate(islice(cycle(known), size)):
            file.write(json.dumps({"text": f"{text} {number}"}, ensure_ascii=False) + "\n")
    return path


if __name__ == "__main__":
    main()
