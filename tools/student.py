"""The student: a `transformers` model, loaded from a folder and asked."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from evokd.config import nearest
from evokd.errors import ConfigError
from evokd.records import Prediction

PREDICT_BATCH = 64
WORD_MARKS = ("\u2581", "\u0120")  # how SentencePiece and byte-level BPE mark a word's first piece
MARKED_SHARE = 0.1  # of a vocabulary's pieces, where its tokenizer marks first pieces
FEWEST_LETTERS = 4
MOST_WORDS = 10_000
TEXT_CLASSIFIER = "AutoModelForSequenceClassification"


class TrainedModel:
    """What every kind of student is: a model and its tokenizer, loaded for prediction.

    Args:
        folder: what `save_pretrained` wrote; its config holds the labels.
    """

    kind: str
    """The auto class of transformers."""

    def __init__(self, folder: Path, *, max_length: int = 64, precision: str = "auto") -> None:
        torch, transformers = load_libraries()
        self._torch = torch
        self.folder = folder
        self._max_length = max_length
        self._tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
        model = getattr(transformers, self.kind).from_pretrained(folder, local_files_only=True)
        self._model = model.eval()
        self._bf16 = uses_bf16(precision)

    @property
    def labels(self) -> list[str]:
        """The labels, in the order of the logits."""
        names: dict[int, str] = self._model.config.id2label
        return [names[index] for index in sorted(names)]


class Student(TrainedModel):
    """A trained student that gives a text one label."""

    kind = TEXT_CLASSIFIER

    def probabilities(self, texts: Sequence[str]) -> list[list[float]]:
        """Return one distribution over `labels` per text, shape (texts, labels)."""
        torch = self._torch
        order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
        rows: list[list[float]] = [[] for _ in texts]
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=self._bf16):
            for start in range(0, len(order), PREDICT_BATCH):
                part = order[start : start + PREDICT_BATCH]
                batch = self._tokenizer(
                    [texts[index] for index in part],
                    padding=True,
                    truncation=True,
                    max_length=self._max_length,
                    return_tensors="pt",
                )
                probabilities = self._model(**batch).logits.float().softmax(-1).tolist()
                for index, row in zip(part, probabilities, strict=True):
                    rows[index] = row
        return rows

    def words(self) -> list[str]:
        """Return whole words of its vocabulary, lower case, in the vocabulary's order.

        That is by how common they are, so that the first 10,000 are enough. Pieces that go on with
        a word are none, nor is what is shorter than four letters.
        """
        pieces = sorted(self._tokenizer.get_vocab().items(), key=lambda item: item[1])
        whole = [piece for piece, _ in pieces]
        marked = [piece for piece in whole if piece.startswith(WORD_MARKS)]
        if len(marked) >= MARKED_SHARE * len(whole):
            whole = marked
        spelled = (self._tokenizer.convert_tokens_to_string([piece]) for piece in whole)
        words = (one.strip().lower() for one in spelled)
        kept = dict.fromkeys(one for one in words if len(one) >= FEWEST_LETTERS and one.isalpha())
        return list(kept)[:MOST_WORDS]

    def predict(self, texts: Sequence[str]) -> list[Prediction]:
        """Return the likeliest label of every text with its probability."""
        return self.likeliest(self.probabilities(texts))

    def likeliest(self, probabilities: Sequence[Sequence[float]]) -> list[Prediction]:
        """Return the likeliest label of each row of `probabilities`."""
        labels = self.labels
        predictions = []
        for row in probabilities:
            best = max(range(len(row)), key=row.__getitem__)
            predictions.append(Prediction(label=labels[best], confidence=min(1.0, row[best])))
        return predictions


def load_libraries() -> tuple[Any, Any]:
    """Import torch and transformers, quietly."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    import torch
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    import_module("evokd.tools.mean_pooling")  # tells transformers of its kind of model
    return torch, transformers


def uses_bf16(precision: str) -> bool:
    """Whether matrix products run in bfloat16: on request, or by `auto` where the CPU has it."""
    if precision != "auto":
        return precision == "bf16"
    return bool({"amx_bf16", "avx512_bf16"} & set(cpu_flags()))


def cpu_flags() -> list[str]:
    """Return this CPU's flags that matter for training speed; [] where they cannot be read."""
    wanted = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile", "amx_bf16", "amx_int8")
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return []
    lines = (line for line in text.splitlines() if line.startswith("flags"))
    found = set(next(lines, "").split())
    return [flag for flag in wanted if flag in found]


def resolve_student(model: str, pack_folders: dict[str, Path]) -> str:
    """Return what `from_pretrained` takes for `local:PACK`, `path:DIR`, a folder or a hub id.

    Raises:
        ConfigError: a pack or folder that does not exist.
    """
    kind, colon, rest = model.partition(":")
    if colon and kind == "local":
        if rest not in pack_folders:
            raise ConfigError(f"student.model: no model pack {rest!r}{nearest(rest, pack_folders)}")
        return str(pack_folders[rest])
    if colon and kind == "path":
        if not ((Path(rest) / "config.json").exists() or any(Path(rest).glob("*.gguf"))):
            raise ConfigError(
                f"student.model: {rest} holds no config.json and no GGUF; give a model's folder"
            )
        return rest
    return model


def word_pieces(model_folder: str, texts: Sequence[str]) -> tuple[float, float]:
    """Return how well a model's tokenizer knows the words of texts.

    Returns:
        How many pieces it makes of a word, on average: little more than one for the language it was
        made for, two or more for another one. And the share of them that are unknown, in [0, 1].
    """
    _, transformers = load_libraries()
    tokenizer = transformers.AutoTokenizer.from_pretrained(model_folder)
    words = sum(len(text.split()) for text in texts)
    if not words:
        return 0.0, 0.0
    read = tokenizer(list(texts), add_special_tokens=False)["input_ids"]
    pieces = [piece for one in read for piece in one]
    unknown = pieces.count(tokenizer.unk_token_id) / len(pieces) if pieces else 0.0
    return len(pieces) / words, unknown


def cut_share(model_folder: str, texts: Sequence[str], max_length: int) -> float:
    """Return the share of texts, in [0, 1], of which a student reads the first tokens only.

    Args:
        max_length: how many it reads, its special ones included.
    """
    _, transformers = load_libraries()
    tokenizer = transformers.AutoTokenizer.from_pretrained(model_folder)
    read = tokenizer(list(texts))["input_ids"] if texts else []
    return sum(len(one) > max_length for one in read) / max(1, len(read))
