"""How a student that reasons is trained (LoRA), kept whole, and measured before it is taught."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

from evokd.config import StudentSection
from evokd.store.files import storage_errors, write_text
from evokd.tasks.explanations import write_explanation
from evokd.tasks.reasoning import Question
from evokd.tools.causal import (
    load_causal,
    load_tokenizer,
    longest_read,
    with_adapter,
    with_new_adapter,
)
from evokd.tools.reasoner import ABOUT, load_whole, padded, prompt_ids
from evokd.tools.student import load_libraries, uses_bf16
from evokd.tools.training import (
    Lesson,
    TrainingResult,
    TrainingRow,
    fit_lesson,
    save_model,
    tokens_read,
)

LEARNING_RATE = 5e-4  # of LoRA's matrices
IGNORED = -100  # what cross-entropy leaves out


def train_reasoner(
    rows: Sequence[TrainingRow],
    labels: Sequence[str],
    model_folder: str,
    output_dir: Path,
    settings: StudentSection,
    *,
    random_seed: int,
    repeat: bool = True,
    instructions: str = "",
    answers: str = "text",
) -> TrainingResult:
    """Fine-tune with LoRA on `rows` and save the matrices and what they belong to.

    The loss is that of the explanation and its answer only (Hu et al., LoRA, 2021). No rows: the
    student is left as it is.

    Raises:
        ConfigError: the pretrained weights cannot be loaded, or are quantised.
        StorageError: the student cannot be written.
    """
    torch, _ = load_libraries()
    if settings.threads:
        torch.set_num_threads(settings.threads)
    torch.manual_seed(random_seed)
    source, goes_on = _source_of(model_folder)
    model, tokenizer = load_causal(source)
    result = TrainingResult(0, 0, 0, 0.0, 0.0, "fp32", 0.0)
    if rows or goes_on:
        model = (
            with_adapter(model, Path(model_folder), trainable=True)
            if goes_on
            else with_new_adapter(model, settings)
        )
    if rows:
        result = fit_lesson(
            model,
            lambda: _lesson(model, tokenizer, rows, settings, instructions),
            settings,
            random_seed,
            repeat=repeat,
            usual_rate=LEARNING_RATE,
        )
    with storage_errors(output_dir):
        output_dir.mkdir(parents=True, exist_ok=True)
    if rows or goes_on:
        save_model(model, tokenizer, output_dir)
    model.config.save_pretrained(output_dir)
    about = {
        "instructions": instructions,
        "answers": answers,
        "max_new_tokens": settings.max_new_tokens,
        "calculator": settings.calculator,
    }
    _write_about(output_dir, about, source)
    return replace(result, rows=len(rows))


def keep_reasoner(folder: Path, target: Path) -> None:
    """Write a student whole (float16), its matrices merged, so that it needs no other file.

    Raises:
        StorageError: it cannot be written.
    """
    torch, _ = load_libraries()
    model, tokenizer = load_whole(folder)
    save_model(model.to(torch.float16), tokenizer, target)
    about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
    _write_about(target, about, "")


def _lesson(
    model: Any,
    tokenizer: Any,
    rows: Sequence[TrainingRow],
    settings: StudentSection,
    instructions: str,
) -> Lesson:
    torch, _ = load_libraries()
    most = tokens_read(model.config)

    def encode(row: TrainingRow) -> tuple[list[int], list[int]]:
        head = prompt_ids(tokenizer, instructions, Question(row.text))
        said = _explanation_ids(tokenizer, row.steps, row.label)
        room = None if most is None else max(0, most - len(head))  # who gave more was warned
        return head, [*said, tokenizer.eos_token_id][:room]

    encoded = [encode(row) for row in rows]

    def loss_of(batch: list[int]) -> Any:
        rows_read = [encoded[at] for at in batch]
        ids, mask = padded([[*head, *tail] for head, tail in rows_read])
        targets = torch.full(ids.shape, IGNORED)
        for place, (head, tail) in enumerate(rows_read):
            targets[place, len(head) : len(head) + len(tail)] = torch.tensor(tail)
        first = min(len(head) for head, _ in rows_read)
        with torch.autocast("cpu", torch.bfloat16, enabled=uses_bf16(settings.precision)):
            # Logits of what is not learnt would cost as much as a third of the model.
            logits = model(
                input_ids=ids, attention_mask=mask, logits_to_keep=ids.shape[1] - first + 1
            ).logits
        return torch.nn.functional.cross_entropy(
            logits[:, :-1].float().flatten(0, 1),
            targets[:, first:].flatten(),
            ignore_index=IGNORED,
            label_smoothing=settings.label_smoothing,
        )

    # Batches are balanced by labels elsewhere; answers are no classes.
    plain = [replace(row, label="") for row in rows]
    return Lesson(plain, [len(head) + len(tail) for head, tail in encoded], loss_of)


def question_check(
    source: str, instructions: str, max_new_tokens: int
) -> Callable[[Question], bool]:
    """Return what tells whether a student can read a question with an explanation of it.

    Args:
        max_new_tokens: of an explanation.

    Raises:
        ConfigError: its tokenizer or config cannot be loaded.
    """
    most, tokenizer = longest_read(source), load_tokenizer(source)
    told = len(prompt_ids(tokenizer, instructions, Question(""))) + max_new_tokens

    def can_read(question: Question) -> bool:
        if most is None or told + len(question.asked.encode()) <= most:  # a token is a byte or more
            return True
        return len(prompt_ids(tokenizer, instructions, question)) + max_new_tokens <= most

    return can_read


def explanation_tokens(source: str, explanations: Sequence[tuple[Sequence[str], str]]) -> list[int]:
    """Return how many tokens a student writes for explanations, given as (steps, answer).

    Raises:
        ConfigError: its tokenizer cannot be loaded.
    """
    tokenizer = load_tokenizer(source)
    return [len(_explanation_ids(tokenizer, *one)) for one in explanations]


def _explanation_ids(tokenizer: Any, steps: Sequence[str], answer: str) -> list[int]:
    lines = [f"{line}\n" for line in write_explanation(steps, answer).splitlines()]
    return list(chain(*tokenizer(lines, add_special_tokens=False)["input_ids"]))


def _source_of(model_folder: str) -> tuple[str, bool]:
    """Return the pretrained model behind a folder, and whether the folder is a student of ours."""
    about = Path(model_folder) / ABOUT
    if not about.exists():
        return model_folder, False
    source = json.loads(about.read_text(encoding="utf-8"))["model"] or model_folder
    return source, (Path(model_folder) / "adapter_config.json").exists()


def _write_about(folder: Path, about: dict[str, Any], model: str) -> None:
    """Write what a student is told, and whose its matrices are; no model: it is whole."""
    told = json.dumps({**about, "model": model}, indent=1, ensure_ascii=False)
    write_text(folder / ABOUT, f"{told}\n")
