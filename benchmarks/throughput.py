"""Accepted samples per 1,000 teacher tokens and a minute: ours against distilabel's generator.

    python -m venv OTHER; OTHER/bin/pip install 'distilabel[openai]' requests
    .venv/bin/python benchmarks/throughput.py --other OTHER/bin/python --data DIR --set banking8

Both have the same model behind the same endpoint, the same task and the same number of output
tokens; the clock is the time with a call open. Ours is `evokd`, all roles together, theirs
`GenerateTextClassificationData`, which writes one sample a call and names its label itself; a
sample of either is accepted when it passes our gates and has a label of the task. How good they
are: two students on each, scored on the dev cut. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from evokd.bench.archive import relearn
from evokd.bench.cell import Places, cell_config
from evokd.bench.records import Cell
from evokd.bench.sets import BenchSet, load_set
from evokd.bench.statistics import score_of
from evokd.config import Config
from evokd.graph.fitting import rows_for
from evokd.graph.reading import screen_drafts
from evokd.graph.session import Session, asking_session
from evokd.records import Sample
from evokd.runner import start_run
from evokd.store.run_dir import RunDirectory
from evokd.tools.student import cpu_flags

TRAININGS = 2
CHILD = Path(__file__).with_name("distilabel_child.py")


def main() -> None:
    """Print the comparison as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--other", type=Path, required=True, help="python with distilabel")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--set", default="banking8")
    parser.add_argument("--tokens", type=int, default=2500)
    parser.add_argument("--seed", type=int, default=0, help="the random seed; runs are repeats")
    arguments = parser.parse_args()
    bench = load_set(arguments.set, arguments.data)
    cell = Cell(
        set=arguments.set,
        shots=1,
        strategy="evokd",
        seed=arguments.seed,
        budget=arguments.tokens,
        split="dev",
    )
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        places = Places(arguments.data, root / "work", root / "results", root / "cache")
        config = cell_config(cell, bench, places)
        told = {
            "ours": run_ours(config, bench, root),
            "distilabel": run_theirs(config, bench, root, arguments.other, arguments.tokens),
        }
    print(json.dumps(told | {"cpu_flags": cpu_flags()}))


def run_ours(config: Config, bench: BenchSet, root: Path) -> dict[str, Any]:
    """Run the loop and return its figures."""
    result = start_run(
        config, runs_dir=root, run_id="ours", cache_dir=root / "cache", emit=lambda event: None
    )
    samples = [one for one in RunDirectory(result.path).read_samples() if one.accepted]
    tokens = sum(role["output_tokens"] for role in result.report["teacher"].values())
    return figures(config, bench, samples, tokens, result.report["seconds"]["teacher"])


def run_theirs(
    config: Config, bench: BenchSet, root: Path, other: Path, tokens: int
) -> dict[str, Any]:
    """Have distilabel write on the same endpoint, and return its figures."""
    run = RunDirectory(root / "theirs")
    with asking_session(config, run, cache_dir=root / "cache") as session:
        endpoint = session.teachers["generator"].endpoint
        asked = {
            "base_url": endpoint.base_url,
            "model": endpoint.name,
            "task": in_one_sentence(config),
            "tokens": tokens,
            "concurrency": session.teachers["generator"].settings.max_concurrency,
            "random_seed": config.random_seed,
        }
        written = subprocess.run(
            [other, CHILD], input=json.dumps(asked), stdout=subprocess.PIPE, text=True, check=False
        )
        if written.returncode:
            sys.exit(f"distilabel failed ({written.returncode}); what it said stands above")
        batches = [json.loads(one) for one in written.stdout.splitlines() if one.startswith("{")]
        rows = [row for batch in batches for row in batch["samples"]]
        samples, refused = accept(session, rows)
    spent = sum(row["tokens"] for row in rows)
    seconds = sum(batch["seconds"] for batch in batches)
    return figures(config, bench, samples, spent, seconds) | {
        "written": len(rows),
        "refused": refused,
    }


def in_one_sentence(config: Config) -> str:
    """Return the task as distilabel wants it: instructions and labels in one text."""
    labels = "; ".join(f"'{name}' ({meaning})" for name, meaning in config.task.labels.items())
    return f"{config.task.instructions} The label is exactly one of: {labels}."


def accept(session: Session, rows: Sequence[dict[str, Any]]) -> tuple[list[Sample], dict[str, int]]:
    """Return the rows that pass our gates, with their label, and the others counted by reason."""
    known = set(session.labels)
    usable = [row for row in rows if row["text"] and row["label"] in known]
    drafts = [
        Sample(
            id=f"theirs-{place}",
            text=str(row["text"]),
            round=0,
            call="",
            intended_label=row["label"],
            label=row["label"],
            split="train",
        )
        for place, row in enumerate(usable)
    ]
    screened = screen_drafts(session, drafts, session.data.seed)
    refused = Counter(one.reason or "" for one in screened if one.accepted is False)
    refused["no such label"] = len(rows) - len(usable)
    return [one for one in screened if one.accepted is None], dict(refused)


def figures(
    config: Config,
    bench: BenchSet,
    samples: Sequence[Sample],
    tokens: int,
    seconds: float,
) -> dict[str, Any]:
    """Return samples a token and a minute, and the mean score of students on them."""
    seeds = list(bench.seed(1, config.random_seed).values())
    learned = rows_for(config, seeds, samples)
    scores = [
        score_of(relearn(learned, bench, config.model_copy(update={"random_seed": number}), "dev"))
        for number in range(TRAININGS)
    ]
    return {
        "accepted": len(samples),
        "by_label": dict(Counter(one.label or "" for one in samples)),
        "output_tokens": tokens,
        "seconds": round(seconds, 1),
        "accepted_per_1000_tokens": 1000 * len(samples) / tokens,
        "accepted_per_minute": 60 * len(samples) / seconds,
        "dev_score": mean(scores),
    }


if __name__ == "__main__":
    main()
