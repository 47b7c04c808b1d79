"""Training speed of the student against a plain loop, at equal steps and equal accuracy.

    make bench-training BENCH_ARGS="--train train.jsonl --held-out held_out.jsonl"

The plain loop is what one writes first: fp32, AdamW, batches of 16 in random order, all weights
trained, as many samples as ours. Rows are JSONL of text and label. Everything is measured in one
process, ours and plain in turn; ratios are medians over the random seeds.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import tempfile
import time
from pathlib import Path

from evokd.config import StudentSection
from evokd.tools.packs import fetch_pack
from evokd.tools.student import Student, cpu_flags, load_libraries
from evokd.tools.training import TrainingRow, train

PLAIN_BATCH = 16


def plain_loop(
    rows: list[TrainingRow], labels: list[str], model: str, out: Path, steps: int, seed: int
) -> float:
    """Train plainly for `steps` steps and return the seconds."""
    torch, transformers = load_libraries()
    torch.manual_seed(seed)
    tokenizer = transformers.AutoTokenizer.from_pretrained(model)
    student = transformers.AutoModelForSequenceClassification.from_pretrained(
        model,
        num_labels=len(labels),
        id2label=dict(enumerate(labels)),
        label2id={label: index for index, label in enumerate(labels)},
    )
    optimizer = torch.optim.AdamW(student.parameters(), lr=1e-4, fused=False, foreach=False)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, steps)
    rng = random.Random(seed)
    student.train()
    order: list[TrainingRow] = []
    start = time.perf_counter()
    for _ in range(steps):
        if len(order) < PLAIN_BATCH:
            order = rng.sample(rows, len(rows))
        batch, order = order[:PLAIN_BATCH], order[PLAIN_BATCH:]
        inputs = tokenizer(
            [row.text for row in batch],
            padding=True,
            truncation=True,
            max_length=64,
            return_tensors="pt",
        )
        target = torch.tensor([labels.index(row.label) for row in batch])
        loss = torch.nn.functional.cross_entropy(student(**inputs).logits, target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    seconds = time.perf_counter() - start
    student.save_pretrained(out)
    tokenizer.save_pretrained(out)
    return seconds


def accuracy_of(folder: Path, rows: list[TrainingRow]) -> float:
    """Return the accuracy of a saved student."""
    said = Student(folder, precision="fp32").predict([row.text for row in rows])
    hits = sum(a.label == row.label for a, row in zip(said, rows, strict=True))
    return hits / len(rows)


def compare_once(
    rows: list[TrainingRow], held_out: list[TrainingRow], model: str, seed: int
) -> dict[str, float]:
    """Return rates (samples/s), seconds and held-out accuracies of both, for one random seed."""
    labels = sorted({row.label for row in rows})
    with tempfile.TemporaryDirectory() as folder:
        ours_folder, plain_folder = Path(folder, "ours"), Path(folder, "plain")
        ours = train(rows, labels, model, ours_folder, StudentSection(), random_seed=seed)
        steps = ours.steps * ours.batch_size // PLAIN_BATCH  # as many samples
        seconds = plain_loop(rows, labels, model, plain_folder, steps, seed)
        return {
            "seed": seed,
            "ours_rate": ours.samples_per_second,
            "plain_rate": steps * PLAIN_BATCH / seconds,
            "ours_seconds": ours.seconds,
            "plain_seconds": seconds,
            "ours_accuracy": accuracy_of(ours_folder, held_out),
            "plain_accuracy": accuracy_of(plain_folder, held_out),
        }


def compare(
    rows: list[TrainingRow], held_out: list[TrainingRow], model: str, seeds: int
) -> dict[str, float]:
    """Print one line a random seed, and return the median ratio and the mean accuracies."""
    runs = []
    for seed in range(seeds):
        runs.append(compare_once(rows, held_out, model, seed))
        print(json.dumps(runs[-1]), flush=True)
    return {
        "rows": len(rows),
        "held_out": len(held_out),
        "seeds": seeds,
        "median_ratio": statistics.median(one["ours_rate"] / one["plain_rate"] for one in runs),
        "ours_accuracy": statistics.mean(one["ours_accuracy"] for one in runs),
        "plain_accuracy": statistics.mean(one["plain_accuracy"] for one in runs),
    }


def read(path: Path) -> list[TrainingRow]:
    """Read rows of text and label."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [TrainingRow(row["text"], row["label"]) for row in map(json.loads, lines)]


def main() -> None:
    """Print the comparison as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--train", type=Path, required=True, help="JSONL of text, label")
    parser.add_argument("--held-out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--rows", type=int, nargs="+", default=[128, 1000])
    arguments = parser.parse_args()
    model = str(fetch_pack("all-MiniLM-L6-v2"))
    rows, held_out = read(arguments.train), read(arguments.held_out)
    random.Random(0).shuffle(rows)
    print("CPU flags:", " ".join(cpu_flags()))
    for count in arguments.rows:
        print(json.dumps(compare(rows[:count], held_out, model, arguments.seeds)), flush=True)


if __name__ == "__main__":
    main()
