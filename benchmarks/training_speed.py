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


def compare(
    rows: list[TrainingRow], held_out: list[TrainingRow], model: str, seeds: int
) -> dict[str, object]:
    """Return speeds, times and accuracies of both, one entry a random seed."""
    labels = sorted({row.label for row in rows})
    settings = StudentSection()
    result: dict[str, list[float]] = {
        name: []
        for name in ("ours_rate", "plain_rate", "ours_seconds", "plain_seconds", "ours", "plain")
    }
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(seeds):
            ours = train(rows, labels, model, Path(folder, "ours"), settings, random_seed=seed)
            result["ours_rate"].append(ours.samples_per_second)
            result["ours_seconds"].append(ours.seconds)
            result["ours"].append(accuracy_of(Path(folder, "ours"), held_out))
            steps = ours.steps * ours.batch_size // PLAIN_BATCH  # as many samples
            seconds = plain_loop(rows, labels, model, Path(folder, "plain"), steps, seed)
            result["plain_seconds"].append(seconds)
            result["plain_rate"].append(steps * PLAIN_BATCH / seconds)
            result["plain"].append(accuracy_of(Path(folder, "plain"), held_out))
    return {
        "rows": len(rows),
        "held_out": len(held_out),
        "ratio": statistics.median(
            a / b for a, b in zip(result["ours_rate"], result["plain_rate"], strict=True)
        ),
        "mean_accuracy": {name: statistics.mean(result[name]) for name in ("ours", "plain")},
        **result,
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
    parser.add_argument("--few", type=int, default=128, help="rows of the small comparison")
    parser.add_argument("--rows", type=int, default=1000)
    arguments = parser.parse_args()
    model = str(fetch_pack("all-MiniLM-L6-v2"))
    rows, held_out = read(arguments.train), read(arguments.held_out)
    random.Random(0).shuffle(rows)
    print("CPU flags:", " ".join(cpu_flags()))
    for count in (arguments.few, arguments.rows):
        print(json.dumps(compare(rows[:count], held_out, model, arguments.seeds)), flush=True)


if __name__ == "__main__":
    main()
