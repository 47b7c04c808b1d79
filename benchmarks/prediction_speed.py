"""Rows a second of a run's student, against its teacher asked for the same labels.

    .venv/bin/python benchmarks/prediction_speed.py runs/RUN --rows test.jsonl

Both label the same rows on the same machine, in turns: the student (fp32) all of them, the
teacher's labeler `--teacher-rows` of them, others every time, no reply from a cache. Rows are JSONL
of text and label. Prints JSON: rows, seconds, rows a second and accuracy of both for every repeat,
the ratios and their median.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from evokd.bench.peers import ask_labeler
from evokd.graph.session import asking_session
from evokd.records import Example
from evokd.runner import read_run_config
from evokd.store.run_dir import RunDirectory
from evokd.tools.student import Student, cpu_flags

WARM_UP = 8


def measure(rows: Sequence[Example], ask: Callable[[list[str]], list[str]]) -> dict[str, Any]:
    """Return rows, seconds, rows a second and accuracy."""
    start = time.perf_counter()
    said = ask([row.text for row in rows])
    seconds = time.perf_counter() - start
    hits = sum(label == row.label for label, row in zip(said, rows, strict=True))
    return {
        "rows": len(rows),
        "seconds": round(seconds, 3),
        "rows_per_second": len(rows) / seconds,
        "accuracy": hits / len(rows),
    }


def main() -> None:
    """Print the comparison as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="a finished run's directory")
    parser.add_argument("--rows", type=Path, required=True, help="JSONL of text, label")
    parser.add_argument("--teacher-rows", type=int, default=60)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    lines = arguments.rows.read_text(encoding="utf-8").splitlines()
    rows = [Example(text=row["text"], label=row["label"]) for row in map(json.loads, lines)]
    needed = arguments.repeats * arguments.teacher_rows + WARM_UP
    if len(rows) < needed:
        parser.error(f"{arguments.rows} has {len(rows)} rows; {needed} are needed, each asked once")
    finished = RunDirectory(arguments.run)
    config = read_run_config(finished)
    student = Student(finished.student, max_length=config.student.max_length, precision="fp32")

    def predict(texts: list[str]) -> list[str]:
        return [one.label for one in student.predict(texts)]

    predict([row.text for row in rows[:WARM_UP]])
    repeats = []
    with tempfile.TemporaryDirectory() as folder:
        run = RunDirectory(Path(folder, "run"))
        with asking_session(config, run, cache_dir=Path(folder, "cache")) as session:
            ask_labeler(session, [row.text for row in rows[-WARM_UP:]], session.card)
            for place in range(arguments.repeats):
                start = place * arguments.teacher_rows
                asked = rows[start : start + arguments.teacher_rows]
                ours = measure(rows, predict)
                theirs = measure(asked, lambda texts: ask_labeler(session, texts, session.card))
                repeats.append({"student": ours, "teacher": theirs})
    print("CPU flags:", " ".join(cpu_flags()))
    ratios = [
        one["student"]["rows_per_second"] / one["teacher"]["rows_per_second"] for one in repeats
    ]
    print(json.dumps({"repeats": repeats, "ratios": ratios, "median_ratio": median(ratios)}))


if __name__ == "__main__":
    main()
