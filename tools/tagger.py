"""The student for entities: a `transformers` token classifier, trained, loaded and asked.

A word's label stands at its first piece. Texts longer than the window are read in windows that
overlap, and every word is taken from the window in which it has most around it. An uncased body
(the default) does not see that "Apple" is no "apple", so it is told by the token types: 0 lower
case, 1 Title, 2 UPPER, 3 mixed or with digits; plain transformers loads such a model, its callers
have to give the token types, and read the tags, which `tools/decoding.py` does here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from evokd.config import StudentSection
from evokd.errors import ConfigError
from evokd.records import FoundEntity, Prediction
from evokd.tasks.ner import (
    BEGIN,
    INSIDE,
    NOTHING,
    OUTSIDE,
    TaggedText,
    entity_runs,
    tagged,
    to_tags,
)
from evokd.tools.decoding import EntityHabits, likeliest_tags
from evokd.tools.mixture import noisy_rows
from evokd.tools.student import PREDICT_BATCH, TrainedModel, load_libraries
from evokd.tools.training import (
    Lesson,
    RowChoice,
    TrainingResult,
    TrainingRow,
    check_pretrained,
    logits_of,
    losses_by_row,
    train_model,
)

LEARNING_RATE = 1.5e-4  # higher than a text classifier's: there are few steps
CASES = 4
OVERLAP = 4  # a window begins again with a quarter of the last one's words
HABITS = "entity_habits"  # in the config
IGNORED = -100  # what cross-entropy leaves out


@dataclass(frozen=True)
class Window:
    """Some words of a text as pieces; `words` and `heads` are their places and first pieces."""

    pieces: list[int]
    cases: list[int]
    words: list[int]
    heads: list[int]


class Tagger(TrainedModel):
    """A trained student for entities; its labels are the tags."""

    kind = "AutoModelForTokenClassification"

    def predict(self, rows: Sequence[TaggedText]) -> list[Prediction]:
        """Return the entities of every text, in order; those the rows hold are not looked at.

        A prediction's label is the first type, its confidence that of its least sure word.
        """
        tags, habits = self.labels, EntityHabits.read(getattr(self._model.config, HABITS, {}))
        return [
            _prediction(row, said, tags, habits)
            for row, said in zip(rows, self.probabilities(rows), strict=True)
        ]

    def probabilities(self, rows: Sequence[TaggedText]) -> list[list[list[float]]]:
        """Return one distribution over the tags per token of every text."""
        cut = [
            (place, window)
            for place, row in enumerate(rows)
            for window in cut_windows(self._tokenizer, row.spaced_words, self._max_length)
        ]
        order = sorted(range(len(cut)), key=lambda index: len(cut[index][1].pieces))
        best: list[dict[int, tuple[int, list[float]]]] = [{} for _ in rows]
        torch = self._torch
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=self._bf16):
            for start in range(0, len(order), PREDICT_BATCH):
                part = [cut[index] for index in order[start : start + PREDICT_BATCH]]
                inputs = collate(self._tokenizer, self._model, [window for _, window in part])
                said = self._model(**inputs).logits.float().softmax(-1).tolist()
                for (place, window), pieces in zip(part, said, strict=True):
                    _keep_most_central(best[place], window, pieces)
        return [[said[word][1] for word in range(len(said))] for said in best]


def train_tagger(
    rows: Sequence[TrainingRow],
    labels: Sequence[str],
    model_folder: str,
    output_dir: Path,
    settings: StudentSection,
    *,
    random_seed: int,
    repeat: bool = True,
    choice: RowChoice | None = None,
    tells_names: bool = True,
) -> TrainingResult:
    """Fine-tune on `rows` and save model and tokenizer to `output_dir`; as `training.train`.

    Args:
        choice: of it only `noise` counts: "mixture": halfway, the tokens of rows with a confidence
            that are likely mislabelled are left out; None: all are learnt.
        tells_names: of types whose entities are names, see `Capitals`, none is found in small
            letters, nor a figure where none was learnt.

    Raises:
        ConfigError: the pretrained weights cannot be loaded.
        StorageError: the student cannot be written.
    """
    tags = tags_of(labels)
    result = train_model(
        Tagger.kind,
        tags,
        lambda model, tokenizer: read_rows(
            model, tokenizer, rows, tags, settings, choice, tells_names=tells_names
        ),
        model_folder,
        output_dir,
        settings,
        random_seed=random_seed,
        repeat=repeat,
        usual_rate=LEARNING_RATE,
    )
    return replace(result, rows=len(rows))


def tags_of(labels: Iterable[str]) -> list[str]:
    """Return O, and B- and I- of every type."""
    return [OUTSIDE, *(kind + label for label in labels for kind in (BEGIN, INSIDE))]


def case_of(word: str) -> int:
    """Return 0 for a word in lower case, 1 for Title, 2 for UPPER, 3 for mixed or with digits."""
    if any(sign.isdigit() for sign in word):
        return 3
    if not any(sign.isupper() for sign in word):
        return 0
    if word[0].isupper() and not any(sign.isupper() for sign in word[1:]):
        return 1
    return 2 if word.isupper() else 3


def check_tagger(model: str, max_length: int) -> None:
    """Check that a student for entities can be loaded and trained, without its weights.

    Raises:
        ConfigError: it cannot, or it does not read texts of `max_length` tokens.
    """
    tokenizer = check_pretrained(model, max_length)
    for name in ("cls_token", "sep_token"):
        if getattr(tokenizer, f"{name}_id") is None:
            raise ConfigError(
                f"student.model: the tokenizer of {model} has no {name}; task.kind ner needs an "
                "encoder whose texts begin with cls_token and end with sep_token, such as a BERT: "
                "give one"
            )


def is_blind_to_case(model: str) -> bool:
    """Whether a student takes capital letters for small ones and has no token types to tell it."""
    _, transformers = load_libraries()
    config = transformers.AutoConfig.from_pretrained(model)
    tokenizer = transformers.AutoTokenizer.from_pretrained(model)
    return is_uncased(tokenizer) and not getattr(config, "type_vocab_size", 0)


def is_uncased(tokenizer: Any) -> bool:
    """Whether a tokenizer takes capital and small letters for the same."""
    capital, small = tokenizer(["A", "a"], add_special_tokens=False)["input_ids"]
    return bool(capital == small)


def cut_windows(tokenizer: Any, words: Sequence[str], max_length: int) -> list[Window]:
    """Cut words into windows of at most `max_length` pieces, the special two included.

    Args:
        words: with the space before them, if any: some tokenizers read it as part of a word.
    """
    room = max_length - 2
    unknown = [tokenizer.unk_token_id]
    # A tokenizer takes no empty list.
    split = tokenizer(list(words), add_special_tokens=False)["input_ids"] if words else []
    pieces = [(one or unknown)[:room] for one in split]
    windows = []
    first = 0
    while True:
        last, used = first, 0
        while last < len(pieces) and used + len(pieces[last]) <= room:
            used += len(pieces[last])
            last += 1
        windows.append(_window(tokenizer, words, pieces, first, last))
        if last == len(pieces):
            return windows
        first = max(first + 1, last - (last - first) // OVERLAP)


def collate(tokenizer: Any, model: Any, windows: Sequence[Window]) -> dict[str, Any]:
    """Return the model's inputs for some windows, padded, with the case where it is told."""
    torch, _ = load_libraries()
    inputs = dict(
        tokenizer.pad({"input_ids": [one.pieces for one in windows]}, return_tensors="pt")
    )
    if getattr(model.config, "type_vocab_size", 0) == CASES:
        width = inputs["input_ids"].shape[1]
        inputs["token_type_ids"] = torch.tensor([_padded(one.cases, width, 0) for one in windows])
    return inputs


def _window(
    tokenizer: Any, words: Sequence[str], pieces: Sequence[list[int]], first: int, last: int
) -> Window:
    ids, cases, heads = [tokenizer.cls_token_id], [0], []
    for place in range(first, last):
        heads.append(len(ids))
        ids += pieces[place]
        cases += [case_of(words[place].lstrip())] * len(pieces[place])
    return Window([*ids, tokenizer.sep_token_id], [*cases, 0], list(range(first, last)), heads)


def read_rows(
    model: Any,
    tokenizer: Any,
    rows: Sequence[TrainingRow],
    tags: Sequence[str],
    settings: StudentSection,
    choice: RowChoice | None = None,
    *,
    tells_names: bool = True,
) -> Lesson:
    """Return the windows of all rows as what a model is taught; see `train_tagger`."""
    torch, _ = load_libraries()
    new = [*model.begun_at_random, *(_tell_case(model) if is_uncased(tokenizer) else ())]
    habits = EntityHabits.of([row.example for row in rows])
    habits = habits if tells_names else EntityHabits(habits.adjacent_cost)
    setattr(model.config, HABITS, habits.raw())
    windows, targets, cut_from = _cut_rows(tokenizer, rows, tags, settings.max_length)

    open_windows = [at for at, row in enumerate(cut_from) if rows[row].confidence is not None]
    watched = choice is not None and choice.noise == "mixture" and bool(open_windows)
    ignored: set[tuple[int, int]] = set()

    def losses_of(batch: list[int], reduction: str = "none") -> Any:
        """Return a batch's losses, shape (windows · pieces,); 0 where nothing is to be learnt."""
        inputs = collate(tokenizer, model, [windows[index] for index in batch])
        width = inputs["input_ids"].shape[1]
        gold = torch.tensor([_padded(targets[index], width, IGNORED) for index in batch])
        return torch.nn.functional.cross_entropy(
            logits_of(model, inputs, settings).flatten(0, 1),
            gold.flatten(),
            ignore_index=IGNORED,
            label_smoothing=settings.label_smoothing,
            reduction=reduction,
        )

    def loss_of(batch: list[int]) -> Any:
        learnt = any(one != IGNORED for index in batch for one in targets[index])
        return losses_of(batch, "mean" if learnt else "sum")  # a mean of nothing is no number

    def leave_noisy_out() -> None:
        by_window = losses_by_row(
            model, open_windows, lambda batch: losses_of(batch).view(len(batch), -1)
        )
        found = [
            losses[head]
            for index, losses in zip(open_windows, by_window, strict=True)
            for head in windows[index].heads
        ]
        places = [
            (cut_from[index], word) for index in open_windows for word in windows[index].words
        ]
        ignored.update(map(places.__getitem__, noisy_rows(found)))
        for index in open_windows:  # a word of two windows counts in neither
            for word, head in zip(windows[index].words, windows[index].heads, strict=True):
                if (cut_from[index], word) in ignored:
                    targets[index][head] = IGNORED

    return Lesson(
        [rows[row] for row in cut_from],
        [len(one.pieces) for one in windows],
        loss_of,
        halfway=leave_noisy_out if watched else None,
        ignored=ignored if watched else None,
        new=new,
    )


def _cut_rows(
    tokenizer: Any, rows: Sequence[TrainingRow], tags: Sequence[str], max_length: int
) -> tuple[list[Window], list[list[int]], list[int]]:
    """Return all windows of the rows, their targets, and the places of the rows they are from."""
    number = {tag: index for index, tag in enumerate(tags)}
    windows: list[Window] = []
    targets: list[list[int]] = []
    cut_from: list[int] = []
    for place, one in enumerate(rows):
        row = tagged(one.example)
        _, gold = to_tags(row)
        for window in cut_windows(tokenizer, row.spaced_words, max_length):
            target = [IGNORED] * len(window.pieces)
            for word, head in zip(window.words, window.heads, strict=True):
                target[head] = number[gold[word]]
            windows.append(window)
            targets.append(target)
            cut_from.append(place)
    return windows, targets, cut_from


def _tell_case(model: Any) -> list[Any]:
    """Give a BERT a token type for each case, all of them as its first one.

    Returns:
        what it is to learn of them; nothing where a model has no token types.
    """
    torch, _ = load_libraries()
    embeddings = model.base_model.embeddings
    known = getattr(embeddings, "token_type_embeddings", None)
    if known is None:
        return []
    if known.num_embeddings != CASES:  # else told by the training that this one goes on from
        cases = torch.nn.Embedding(CASES, known.embedding_dim)
        with torch.no_grad():
            cases.weight.copy_(known.weight[:1].expand(CASES, -1))
        embeddings.token_type_embeddings = known = cases
        model.config.type_vocab_size = CASES
    known.requires_grad_(True)
    return list(known.parameters())


def _padded(row: Sequence[int], width: int, filler: int) -> list[int]:
    return [*row, *[filler] * (width - len(row))]


def _keep_most_central(
    best: dict[int, tuple[int, list[float]]], window: Window, pieces: Sequence[list[float]]
) -> None:
    """Keep a word's answer from the window in which it is farthest from the edges."""
    for at, (word, head) in enumerate(zip(window.words, window.heads, strict=True)):
        margin = min(at, len(window.words) - 1 - at)
        if word not in best or margin > best[word][0]:
            best[word] = (margin, pieces[head])


def _prediction(
    row: TaggedText,
    probabilities: Sequence[Sequence[float]],
    tags: Sequence[str],
    habits: EntityHabits,
) -> Prediction:
    found = _entities(row, probabilities, tags, habits)
    return Prediction(
        label=found[0].label if found else NOTHING,
        confidence=min((1.0, *(max(said) for said in probabilities))),
        entities=found,
    )


def _entities(
    row: TaggedText,
    probabilities: Sequence[Sequence[float]],
    tags: Sequence[str],
    habits: EntityHabits,
) -> list[FoundEntity]:
    """Read the likeliest tags; an entity's confidence is the mean of its tokens' tags."""
    chosen = likeliest_tags(probabilities, tags, habits.adjacent_cost)
    found = []
    for start, end, label in entity_runs(chosen):
        sure = [probabilities[at][tags.index(chosen[at])] for at in range(start, end)]
        first, last = row.tokens[start][0], row.tokens[end - 1][1]
        if not habits.allow(row.text, first, last, label):
            continue
        found.append(
            FoundEntity(
                start=first, end=last, label=label, confidence=min(1.0, sum(sure) / len(sure))
            )
        )
    return found
