"""Training speed of the student against a plain loop or `transformers.Trainer`.

    make bench-training BENCH_ARGS="--train train.jsonl --held-out held_out.jsonl"
    make bench-training BENCH_ARGS="--train … --held-out … --against trainer"

The plain loop is what one writes first: fp32, AdamW, batches of 16 in random order, all weights
trained, as many samples as ours. The trainer has its own defaults (batches of 8, three epochs), so
that its accuracy is not at equal steps; it needs the extra `bench`. Rows are JSONL of text and
label. Everything is measured in one process, ours and the other in turn; ratios are medians over
the random seeds.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from evokd.config import StudentSection
from evokd.tools.packs import fetch_pack
from evokd.tools.student import Student, cpu_flags, load_libraries
from evokd.tools.training import TrainingRow, train

PLAIN_BATCH = 16


def plain_loop(
    rows: list[TrainingRow], labels: list[str], model: str, out: Path, samples: int, seed: int
) -> tuple[int, float]:
    """Train plainly on `samples` samples; return how many it were, and the seconds."""
    steps = samples // PLAIN_BATCH
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
    return steps * PLAIN_BATCH, seconds


def default_trainer(
    rows: list[TrainingRow], labels: list[str], model: str, out: Path, samples: int, seed: int
) -> tuple[int, float]:
    """Train with the defaults of `transformers.Trainer`; return samples seen, and the seconds."""
    _, transformers = load_libraries()
    tokenizer = transformers.AutoTokenizer.from_pretrained(model)
    student = transformers.AutoModelForSequenceClassification.from_pretrained(
        model, num_labels=len(labels), id2label=dict(enumerate(labels))
    )
    encoded = tokenizer([row.text for row in rows], truncation=True, max_length=64)["input_ids"]
    data = [
        {"input_ids": tokens, "label": labels.index(row.label)}
        for tokens, row in zip(encoded, rows, strict=True)
    ]
    settings = transformers.TrainingArguments(
        output_dir=str(out), seed=seed, save_strategy="no", report_to="none", disable_tqdm=True
    )
    trainer = transformers.Trainer(
        model=student,
        args=settings,
        train_dataset=data,
        data_collator=transformers.DataCollatorWithPadding(tokenizer),
    )
    start = time.perf_counter()
    trainer.train()
    seconds = time.perf_counter() - start
    student.save_pretrained(out)
    tokenizer.save_pretrained(out)
    return round(settings.num_train_epochs * len(rows)), seconds


Loop = Callable[[list[TrainingRow], list[str], str, Path, int, int], tuple[int, float]]
AGAINST: dict[str, Loop] = {"plain": plain_loop, "trainer": default_trainer}


def accuracy_of(folder: Path, rows: list[TrainingRow]) -> float:
    """Return the accuracy of a saved student."""
    said = Student(folder, precision="fp32").predict([row.text for row in rows])
    hits = sum(a.label == row.label for a, row in zip(said, rows, strict=True))
    return hits / len(rows)


def compare_once(
    rows: list[TrainingRow], held_out: list[TrainingRow], model: str, seed: int, against: str
) -> dict[str, float]:
    """Return rates (samples/s), seconds and held-out accuracies of both, for one random seed."""
    labels = sorted({row.label for row in rows})
    with tempfile.TemporaryDirectory() as folder:
        ours_folder, other_folder = Path(folder, "ours"), Path(folder, "other")
        ours = train(rows, labels, model, ours_folder, StudentSection(), random_seed=seed)
        budget = ours.steps * ours.batch_size
        samples, seconds = AGAINST[against](rows, labels, model, other_folder, budget, seed)
        return {
            "seed": seed,
            "ours_rate": ours.samples_per_second,
            f"{against}_rate": samples / seconds,
            "ours_seconds": ours.seconds,
            f"{against}_seconds": seconds,
            "ours_accuracy": accuracy_of(ours_folder, held_out),
            f"{against}_accuracy": accuracy_of(other_folder, held_out),
        }


def compare(
    rows: list[TrainingRow], held_out: list[TrainingRow], model: str, seeds: int, against: str
) -> dict[str, float]:
    """Print one line a random seed, and return the median ratio and the mean accuracies."""
    runs = []
    for seed in range(seeds):
        runs.append(compare_once(rows, held_out, model, seed, against))
        print(json.dumps(runs[-1]), flush=True)
    return {
        "rows": len(rows),
        "held_out": len(held_out),
        "seeds": seeds,
        "median_ratio": statistics.median(
            one["ours_rate"] / one[f"{against}_rate"] for one in runs
        ),
        "ours_accuracy": statistics.mean(one["ours_accuracy"] for one in runs),
        f"{against}_accuracy": statistics.mean(one[f"{against}_accuracy"] for one in runs),
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
    parser.add_argument("--against", choices=AGAINST, default="plain")
    parser.add_argument("--rows", type=int, nargs="+", default=[128, 1000])
    arguments = parser.parse_args()
    model = str(fetch_pack("all-MiniLM-L6-v2"))
    rows, held_out = read(arguments.train), read(arguments.held_out)
    random.Random(0).shuffle(rows)
    print("CPU flags:", " ".join(cpu_flags()))
    for count in arguments.rows:
        result = compare(rows[:count], held_out, model, arguments.seeds, arguments.against)
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
