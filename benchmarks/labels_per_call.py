"""What it costs in accuracy to have several texts labelled by one call.

    .venv/bin/python benchmarks/labels_per_call.py --data DIR --set trec --rows 200 --sizes 1 4 8

The labeler, zero-shot, is asked about train rows of each set, so many a call. Prints one JSON line
a set and size: the share right, calls, prompt and written tokens, seconds.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import time
from pathlib import Path
from typing import Any

from evokd.agents.labeler import label_text, label_texts
from evokd.agents.teacher import Call
from evokd.bench.peers import ask_each, zero_shot
from evokd.bench.sets import data_folder, load_set
from evokd.errors import ReplyError
from evokd.graph.session import Session


def main() -> None:
    """Measure every set and size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--set", dest="sets", action="append", required=True)
    parser.add_argument("--rows", type=int, default=200)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 4, 8])
    parser.add_argument("--cache", type=Path)
    arguments = parser.parse_args()
    for name in arguments.sets:
        for size in arguments.sizes:
            data = data_folder(arguments.data)
            found = measure(name, data, arguments.rows, size, arguments.cache)
            print(json.dumps(found), flush=True)


def measure(name: str, data: Path, number: int, size: int, cache: Path | None) -> dict[str, Any]:
    """Ask the labeler about a set's rows, `size` a call."""
    bench = load_set(name, data)
    rows = random.Random(f"{name} several").sample(list(bench.train.values()), number)  # noqa: S311
    with zero_shot(name, data, cache) as session:
        start = time.perf_counter()
        said = ask(session, [row.text for row in rows], size)
        seconds = time.perf_counter() - start
        calls, tokens_in, tokens_out = session.ledger.spent_by_role()["labeler"]
    right = sum(one == row.label for one, row in zip(said, rows, strict=True))
    return {
        "set": name,
        "texts_a_call": size,
        "right": right / number,
        "calls": calls,
        "input_tokens": tokens_in,
        "output_tokens": tokens_out,
        "seconds": round(seconds, 1),
    }


def ask(session: Session, texts: list[str], size: int) -> list[str]:
    """Return the labels; '' for texts of a reply that cannot be used."""
    asked = session.teachers["labeler"], session.prompts["labeler"], session.card, session.labels

    def one(place: int) -> list[str]:
        start = size * place
        part, call = texts[start : start + size], Call(0, f"several:{size}:{start}")
        try:
            if size == 1:
                return [label_text(*asked, part[0], call).option]
            return [one.option if one else "" for one in label_texts(*asked, part, call)]
        except ReplyError:
            return [""] * len(part)

    parts = ask_each(session, one, math.ceil(len(texts) / size))
    return [label for part in parts for label in part]


if __name__ == "__main__":
    main()
