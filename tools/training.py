"""Training a student: the schedule all kinds share, and the text classifier.

Schedule (ours, see docs/methods.md): from the pretrained weights, a class-balanced sampler, seeds
counted several times, steps = clip(passes · rows / batch, min, max). Four levers make it quick on
a CPU: fused AdamW, frozen embeddings, bfloat16 matrix products where the processor has them, and
batches of texts of similar length, four times larger once there are enough rows.
"""

from __future__ import annotations

import json
import math
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from evokd.config import StudentSection
from evokd.errors import ConfigError
from evokd.records import Entity, Example, Span
from evokd.store.files import storage_errors
from evokd.tasks import Row
from evokd.tasks.explanations import split_steps
from evokd.tasks.reasoning import asked_question
from evokd.tools.mixture import noisy_rows
from evokd.tools.student import PREDICT_BATCH, TEXT_CLASSIFIER, load_libraries, uses_bf16
from evokd.tools.thresholds import StepSelection, Weighting, normalized_entropy, step_selection

LEARNING_RATE = 3e-5  # of a text classifier whose head begins near where it ends
OWN_LEARNING_RATE = 1e-4  # of one whose head begins at random
MANY_ROWS = 256
LARGE_BATCH_FACTOR = 4
NEW_FACTOR = 10
BATCHES_DRAWN_TOGETHER = 8
LATE_POSITIONS = ("roberta", "xlm-roberta", "camembert", "mpnet")  # behind the padding token's


@dataclass(frozen=True)
class TrainingRow:
    """One row to learn; `weight` is how often it counts.

    Args:
        label: what is learnt, or, where that is the entities, what batches are balanced by.
        tokens: where they are, if not where we would cut.
        confidence: how sure the teacher is of the label; such a row is learnt in a step only where
            the training's `RowChoice` keeps it. None: the row is gold, or chosen already.
        steps: the explanation to learn before the answer, which is the label.
    """

    text: str
    label: str
    weight: int = 1
    entities: tuple[Entity, ...] = ()
    tokens: tuple[Span, ...] = ()
    confidence: float | None = None
    steps: tuple[str, ...] = ()

    @classmethod
    def of(cls, row: Row, weight: int = 1) -> TrainingRow:
        """Return a gold row or a sample as a row to learn."""
        if isinstance(row, Example):
            tokens, steps = tuple(row.tokens), tuple(split_steps(row.rationale))
        else:
            tokens, steps = (), tuple(row.revision.steps if row.revision else ())
        text = asked_question(row.text, row.choices)
        entities = tuple(row.entities)
        return cls(text, row.label or "", weight, entities, tokens, steps=steps)

    @property
    def example(self) -> Example:
        """The row without its weight."""
        return Example(text=self.text, label=self.label, entities=self.entities, tokens=self.tokens)


@dataclass(frozen=True)
class RowChoice:
    """How a training chooses among rows with a confidence.

    Args:
        selection: what a step keeps, by the names of the task file; "random": everything.
        weighting: what a kept row counts for.
        noise: "mixture": halfway, rows, or of entities tokens, that are likely mislabelled are
            left out.
        imprint: a new head begins from all rows, for they were chosen beforehand; all of them count
            as kept.
    """

    selection: str = "llkd"
    weighting: Weighting = "product"
    noise: Literal["none", "mixture"] = "none"
    imprint: bool = False


@dataclass(frozen=True)
class Lesson:
    """Rows as a model reads them.

    Args:
        rows: what batches are balanced by.
        lengths: of the rows, in tokens.
        loss_of: from the indices of a batch's rows to their loss, a scalar tensor.
        halfway: called when half of the steps are taken.
        kept: the selectable rows that were kept in at least one step or began the head, or, where
            only noise leaves rows out, were kept to the end; None: there are none.
        ignored: (row, word) of the tokens that noise leaves out; None: it is not looked for.
        new: parameters that are not pretrained; they learn NEW_FACTOR times as quickly.
    """

    rows: Sequence[TrainingRow]
    lengths: Sequence[int]
    loss_of: Callable[[list[int]], Any]
    halfway: Callable[[], None] | None = None
    kept: set[int] | None = None
    ignored: set[tuple[int, int]] | None = None
    new: Sequence[Any] = ()


@dataclass(frozen=True)
class Schedule:
    """What the settings come to for a number of rows."""

    batch_size: int
    steps: int
    learning_rate: float


@dataclass(frozen=True)
class TrainingResult:
    """What a training did."""

    rows: int
    steps: int
    batch_size: int
    seconds: float
    samples_per_second: float
    precision: str
    loss: float
    kept_rows: int | None = None
    """How many rows a selection kept in a step or the head began from; None: no selection."""
    ignored_tokens: int | None = None
    """How many tokens were left out halfway as likely mislabelled; None: nobody looked."""


def write_training_rows(rows: Sequence[TrainingRow], path: Path) -> None:
    """Write what `train_student` reads."""
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(map(_row_to_json, rows)), encoding="utf-8")


def read_training_rows(path: Path) -> list[TrainingRow]:
    """Return what `write_training_rows` wrote."""
    lines = path.read_text(encoding="utf-8").split("\n")
    return [_row_from_json(json.loads(line)) for line in lines if line]


def _row_to_json(row: TrainingRow) -> str:
    raw: dict[str, Any] = {"text": row.text, "label": row.label, "weight": row.weight}
    if row.confidence is not None:
        raw["confidence"] = row.confidence
    if row.entities or row.tokens:
        raw["entities"] = [[one.start, one.end, one.label] for one in row.entities]
        raw["tokens"] = row.tokens
    if row.steps:
        raw["steps"] = row.steps
    return json.dumps(raw, ensure_ascii=False) + "\n"


def _row_from_json(raw: dict[str, Any]) -> TrainingRow:
    found = raw.pop("entities", [])
    return TrainingRow(
        **raw
        | {
            "tokens": tuple((start, end) for start, end in raw.get("tokens", [])),
            "steps": tuple(raw.get("steps", [])),
        },
        entities=tuple(Entity(start=start, end=end, label=label) for start, end, label in found),
    )


def plan_schedule(
    rows: int, settings: StudentSection, repeat: bool = True, *, usual_rate: float = LEARNING_RATE
) -> Schedule:
    """Return batch size, steps and learning rate for `rows` rows.

    Args:
        usual_rate: the learning rate where the settings give none.
    """
    many = rows >= MANY_ROWS
    # A balanced batch of more than all rows would hold rows twice.
    batch = min(rows, settings.batch_size * (LARGE_BATCH_FACTOR if many else 1))
    # A batch four times as large takes a step √4 as long (the usual square-root rule).
    rate = (settings.learning_rate or usual_rate) * (math.sqrt(LARGE_BATCH_FACTOR) if many else 1.0)
    if not repeat:
        return Schedule(batch, max(1, math.ceil(rows / batch)), rate)
    steps = math.ceil(settings.passes * rows / batch)
    return Schedule(batch, min(max(steps, settings.min_steps), settings.max_steps), rate)


def balanced_batches(
    rows: Sequence[TrainingRow],
    lengths: Sequence[int],
    batch_size: int,
    steps: int,
    rng: random.Random,
) -> Iterator[list[int]]:
    """Yield `steps` batches of row indices with, over eight batches, equal shares of every label.

    Labels take turns; within a label, rows come in shuffled passes, a row of weight w w times.
    Rows are drawn for several batches at once and sorted by `lengths` (tokens), so that a batch
    holds texts of similar length and little padding; its batches come in random order.
    """
    drawn = _balanced_rows(rows, rng)
    for start in range(0, steps, BATCHES_DRAWN_TOGETHER):
        count = min(BATCHES_DRAWN_TOGETHER, steps - start)
        pool = [next(drawn) for _ in range(count * batch_size)]
        pool.sort(key=lengths.__getitem__)
        batches = [pool[at : at + batch_size] for at in range(0, len(pool), batch_size)]
        yield from rng.sample(batches, len(batches))


def _balanced_rows(rows: Sequence[TrainingRow], rng: random.Random) -> Iterator[int]:
    pools: dict[str, list[int]] = {}
    for index, row in enumerate(rows):
        pools.setdefault(row.label, []).extend([index] * row.weight)
    queues: dict[str, list[int]] = {label: [] for label in pools}
    while True:
        for label in rng.sample(sorted(pools), len(pools)):
            if not queues[label]:
                queues[label] = rng.sample(pools[label], len(pools[label]))
            yield queues[label].pop()


def train(
    rows: Sequence[TrainingRow],
    labels: Sequence[str],
    model_folder: str,
    output_dir: Path,
    settings: StudentSection,
    *,
    random_seed: int,
    repeat: bool = True,
    choice: RowChoice | None = None,
) -> TrainingResult:
    """Fine-tune on `rows` and save model and tokenizer to `output_dir`.

    Equal rows, threads and random seed give equal weights, bit for bit.

    Args:
        choice: how rows with a confidence are chosen; None: all are learnt.

    Raises:
        ConfigError: the pretrained weights cannot be loaded.
        StorageError: the student cannot be written.
    """
    return train_model(
        TEXT_CLASSIFIER,
        labels,
        lambda model, tokenizer: _read_texts(
            model, tokenizer, rows, labels, settings, choice, random_seed
        ),
        model_folder,
        output_dir,
        settings,
        random_seed=random_seed,
        repeat=repeat,
        usual_rate=OWN_LEARNING_RATE if settings.pooling == "own" else LEARNING_RATE,
    )


def train_model(
    kind: str,
    outputs: Sequence[str],
    read: Callable[[Any, Any], Lesson],
    model_folder: str,
    output_dir: Path,
    settings: StudentSection,
    *,
    random_seed: int,
    repeat: bool = True,
    usual_rate: float = LEARNING_RATE,
) -> TrainingResult:
    """Fine-tune a model of any kind, and save it and its tokenizer; see `train`.

    Args:
        kind: the auto class of transformers.
        outputs: the names of the logits, in their order.
        read: from the loaded model and its tokenizer to what it is taught.
        usual_rate: the learning rate where the settings give none.
    """
    torch, _ = load_libraries()
    if settings.threads:
        torch.set_num_threads(settings.threads)
    torch.manual_seed(random_seed)
    model, tokenizer = _load_pretrained(kind, model_folder, outputs, settings)
    if settings.freeze_embeddings:
        model.get_input_embeddings().requires_grad_(False)
        for parameter in model.base_model.embeddings.parameters():
            parameter.requires_grad_(False)
    result = fit_lesson(
        model,
        lambda: read(model, tokenizer),
        settings,
        random_seed,
        repeat=repeat,
        usual_rate=usual_rate,
    )
    save_model(model, tokenizer, output_dir)
    return result


def fit_lesson(
    model: Any,
    read: Callable[[], Lesson],
    settings: StudentSection,
    random_seed: int,
    *,
    repeat: bool = True,
    usual_rate: float = LEARNING_RATE,
) -> TrainingResult:
    """Teach a loaded model what `read` returns, and return what it took; see `train_model`."""
    start = time.perf_counter()
    lesson = read()
    schedule = plan_schedule(len(lesson.rows), settings, repeat, usual_rate=usual_rate)
    loss = _fit(model, lesson, settings, schedule, random_seed)
    seconds = time.perf_counter() - start
    return TrainingResult(
        rows=len(lesson.rows),
        steps=schedule.steps,
        batch_size=schedule.batch_size,
        seconds=seconds,
        samples_per_second=schedule.steps * schedule.batch_size / seconds,
        precision="bf16" if uses_bf16(settings.precision) else "fp32",
        loss=loss,
        kept_rows=None if lesson.kept is None else len(lesson.kept),
        ignored_tokens=None if lesson.ignored is None else len(lesson.ignored),
    )


def logits_of(model: Any, inputs: Mapping[str, Any], settings: StudentSection) -> Any:
    """Return a batch's logits in fp32, computed in the precision of the settings."""
    torch, _ = load_libraries()
    with torch.autocast("cpu", torch.bfloat16, enabled=uses_bf16(settings.precision)):
        logits = model(**inputs).logits
    return logits.float()


def check_pretrained(model_folder: str, max_length: int) -> Any:
    """Check that a student's architecture can be loaded, without its weights.

    Returns:
        its tokenizer.

    Raises:
        ConfigError: it cannot, or it does not read texts of `max_length` tokens.
    """
    _, transformers = load_libraries()
    try:
        config = transformers.AutoConfig.from_pretrained(model_folder)
        tokenizer = transformers.AutoTokenizer.from_pretrained(model_folder)
    except (OSError, ValueError) as error:
        raise cannot_load(model_folder, error) from None
    check_length(config, model_folder, max_length)
    return tokenizer


def check_length(config: Any, model_folder: str, max_length: int) -> None:
    """Check that a model has positions for `max_length` tokens, if its config says how many.

    Raises:
        ConfigError: it has fewer.
    """
    most = tokens_read(config)
    if most is not None and max_length > most:
        raise ConfigError(
            f"student.max_length: found {max_length}, but {model_folder} reads {most} tokens at "
            "most; give that many or fewer, or a student.model that reads longer texts"
        )


def tokens_read(config: Any) -> int | None:
    """Return how many tokens a model of this config reads; None: it does not say."""
    _, transformers = load_libraries()
    from evokd.tools.mean_pooling import MeanPoolingConfig

    if isinstance(config, MeanPoolingConfig):
        config = transformers.AutoConfig.for_model(**config.encoder)
    most: int = getattr(config, "max_position_embeddings", None) or 0
    if config.model_type in LATE_POSITIONS:
        most -= config.pad_token_id + 1
    return most if most > 0 else None


def save_model(model: Any, tokenizer: Any, folder: Path) -> None:
    """Write a model and its tokenizer.

    Raises:
        StorageError: they cannot be written.
    """
    from safetensors import SafetensorError

    with storage_errors(folder):
        try:
            model.save_pretrained(folder)
        except SafetensorError as error:  # how safetensors says that the disk is full
            raise OSError(str(error)) from error
        tokenizer.save_pretrained(folder)


def cannot_load(model_folder: str, error: Exception) -> ConfigError:
    """Return the error for a student's weights that are not to be had."""
    first = str(error).strip().splitlines()[0]
    return ConfigError(
        f"student.model: cannot load {model_folder}: {first}; give local:PACK, path:DIR or a "
        "hub id that can be reached"
    )


def _load_pretrained(
    kind: str, model_folder: str, labels: Sequence[str], settings: StudentSection
) -> tuple[Any, Any]:
    _, transformers = load_libraries()
    from evokd.tools.mean_pooling import MeanPoolingClassifier, MeanPoolingConfig

    outputs = {
        "num_labels": len(labels),
        "id2label": dict(enumerate(labels)),
        "label2id": {label: index for index, label in enumerate(labels)},
    }
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(model_folder)
        config = transformers.AutoConfig.from_pretrained(model_folder)
        is_plain = not isinstance(config, MeanPoolingConfig)  # no student of ours to go on from
        if kind == TEXT_CLASSIFIER and settings.pooling == "mean" and is_plain:
            encoder = transformers.AutoModel.from_pretrained(model_folder, dtype="float32")
            return MeanPoolingClassifier.on(encoder, **outputs), tokenizer
        model, loaded = getattr(transformers, kind).from_pretrained(
            model_folder,
            **outputs,
            ignore_mismatched_sizes=True,
            dtype="float32",
            output_loading_info=True,
        )
    except (OSError, ValueError) as error:
        raise cannot_load(model_folder, error) from None
    named = dict(model.named_parameters())
    missing = [*loaded["missing_keys"], *(one[0] for one in loaded["mismatched_keys"])]
    model.begun_at_random = [named[name] for name in missing if name in named]
    return model, tokenizer


def _read_texts(
    model: Any,
    tokenizer: Any,
    rows: Sequence[TrainingRow],
    labels: Sequence[str],
    settings: StudentSection,
    choice: RowChoice | None,
    random_seed: int,
) -> Lesson:
    torch, _ = load_libraries()
    encoded = tokenizer(
        [row.text for row in rows], truncation=True, max_length=settings.max_length
    )["input_ids"]
    targets = torch.tensor([labels.index(row.label) for row in rows])
    chosen = choice or RowChoice(selection="random")
    selection = step_selection(chosen.selection, labels, chosen.weighting, random_seed)
    open_rows = [at for at, row in enumerate(rows) if choice and row.confidence is not None]
    kept: set[int] = set()
    if getattr(model, "is_new", False):
        # What all steps may leave out must not have been learnt before the first one.
        left = set(open_rows) if selection and not chosen.imprint else set()
        known = [at for at in range(len(rows)) if at not in left]
        if selection and chosen.imprint:
            kept.update(open_rows)
        _imprint(model, tokenizer, [encoded[at] for at in known], targets[known], settings)
    noisy: set[int] = set()

    def losses_of(batch: list[int], reduction: str = "none") -> tuple[Any, Any]:
        inputs = tokenizer.pad({"input_ids": [encoded[i] for i in batch]}, return_tensors="pt")
        logits = logits_of(model, inputs, settings)
        smoothing = settings.label_smoothing
        losses = torch.nn.functional.cross_entropy(
            logits, targets[batch], label_smoothing=smoothing, reduction=reduction
        )
        return losses, logits

    def loss_of(batch: list[int]) -> Any:
        if not open_rows:
            return losses_of(batch, "mean")[0]
        losses, logits = losses_of(batch)
        said = logits.detach().softmax(-1).tolist()
        weights = _weights(selection, noisy, rows, batch, said)
        kept.update(
            at
            for at, weight in zip(batch, weights, strict=True)
            if weight and rows[at].confidence is not None
        )
        return (losses * torch.tensor(weights)).sum() / max(1, sum(one > 0 for one in weights))

    def leave_noisy_out() -> None:
        found = losses_by_row(model, open_rows, lambda batch: losses_of(batch)[0])
        noisy.update(open_rows[place] for place in noisy_rows(found))
        if selection is None:  # what counts as kept is what is learnt to the end
            kept.clear()

    return Lesson(
        rows,
        [len(tokens) for tokens in encoded],
        loss_of,
        halfway=leave_noisy_out if open_rows and chosen.noise == "mixture" else None,
        kept=kept if open_rows else None,
    )


def losses_by_row(
    model: Any, rows: Sequence[int], losses_of: Callable[[list[int]], Any]
) -> list[Any]:
    """Return the losses of rows in the middle of a training, without dropout.

    Args:
        losses_of: from a batch of rows to their losses, shape (rows, ...).
    """
    torch, _ = load_libraries()
    model.eval()
    with torch.inference_mode():
        batches = (
            rows[start : start + PREDICT_BATCH] for start in range(0, len(rows), PREDICT_BATCH)
        )
        found = [one for batch in batches for one in losses_of(list(batch)).tolist()]
    model.train()
    return found


def _weights(
    selection: StepSelection | None,
    noisy: AbstractSet[int],
    rows: Sequence[TrainingRow],
    batch: Sequence[int],
    said: Sequence[Sequence[float]],
) -> list[float]:
    """Return what each row of a batch counts; a gold row counts one, a noisy one nothing."""
    weights = [float(place not in noisy) for place in batch]
    if selection is None:
        return weights
    chosen = [(at, rows[place]) for at, place in enumerate(batch) if place not in noisy]
    unsure = [(at, row, row.confidence) for at, row in chosen if row.confidence is not None]
    counted = selection.weigh(
        [confidence for _, _, confidence in unsure],
        [normalized_entropy(said[at]) for at, _, _ in unsure],
        [row.label for _, row, _ in unsure],
    )
    for (at, _, _), weight in zip(unsure, counted, strict=True):
        weights[at] = weight
    return weights


def _imprint(
    model: Any, tokenizer: Any, encoded: Sequence[list[int]], targets: Any, settings: StudentSection
) -> None:
    """Start a new head from what the encoder makes of the rows."""
    torch, _ = load_libraries()
    order = sorted(range(len(encoded)), key=lambda index: len(encoded[index]))
    means = torch.zeros(len(encoded), model.classifier.in_features)
    model.eval()
    bf16 = uses_bf16(settings.precision)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        for start in range(0, len(order), PREDICT_BATCH):
            part = order[start : start + PREDICT_BATCH]
            inputs = tokenizer.pad({"input_ids": [encoded[i] for i in part]}, return_tensors="pt")
            means[part] = model.embed(**inputs).float()
    model.imprint(means, targets)


def _fit(
    model: Any, lesson: Lesson, settings: StudentSection, schedule: Schedule, random_seed: int
) -> float:
    """Take one step of AdamW a batch, and return the mean loss."""
    torch, _ = load_libraries()
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    new = {id(parameter) for parameter in lesson.new}
    rate = schedule.learning_rate
    optimizer = torch.optim.AdamW(
        [
            {"params": [one for one in trainable if id(one) not in new], "lr": rate},
            {"params": [one for one in trainable if id(one) in new], "lr": NEW_FACTOR * rate},
        ],
        weight_decay=settings.weight_decay,
        fused=True,
    )
    scheduler = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: _rate(step, schedule.steps, settings.warmup)
    )
    rng = random.Random(random_seed)
    model.train()
    total = 0.0
    batches = balanced_batches(
        lesson.rows, lesson.lengths, schedule.batch_size, schedule.steps, rng
    )
    for step, batch in enumerate(batches):
        if lesson.halfway and step == schedule.steps // 2:
            lesson.halfway()
        loss = lesson.loss_of(batch)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trainable, 1.0)
        optimizer.step()
        scheduler.step()
        total += float(loss.detach())
    return total / schedule.steps


def _rate(step: int, steps: int, warmup: float) -> float:
    """Linear warm-up, then linear decay to zero."""
    rising = warmup * steps
    if step < rising:
        return (step + 1) / (rising + 1)
    return max(0.0, (steps - step) / max(1.0, steps - rising))
