"""Texts to unit vectors: a sentence encoder, and a hashed stand-in that needs no weights."""

from __future__ import annotations

import json
import math
import threading
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evokd.errors import PackError

if TYPE_CHECKING:
    import numpy as np

    Vector = np.ndarray[Any, np.dtype[np.float32]]

CACHED_TEXTS = 50_000


class SentenceEmbedder:
    """Mean-pooled, L2-normalised vectors of a transformers encoder in a local folder.

    The weights are loaded at the first text; vectors are kept by text (about 1.5 kB each at 384
    numbers, the oldest leave first). Safe to share between threads. The last bits of a vector may
    depend on the texts it was batched with.

    Raises:
        PackError: the folder holds no usable encoder.
    """

    def __init__(
        self, folder: Path, model_id: str, max_length: int = 128, batch_size: int = 64
    ) -> None:
        self.model_id = model_id
        self.dimension = _hidden_size(folder)
        self._folder = folder
        self._max_length = max_length
        self._batch_size = batch_size
        self._loaded: tuple[Any, Any] | None = None
        self._cache: dict[str, Vector] = {}
        self._lock = threading.Lock()

    def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """Return one L2-normalised float32 vector of length `dimension` per text."""
        wanted = list(dict.fromkeys(texts))
        with self._lock:
            vectors = {text: self._cache[text] for text in wanted if text in self._cache}
            missing = sorted((t for t in wanted if t not in vectors), key=len)
            for start in range(0, len(missing), self._batch_size):
                batch = missing[start : start + self._batch_size]
                vectors.update(zip(batch, self._encode(batch), strict=True))
            self._remember(missing, vectors)
        return [vectors[text].tolist() for text in texts]

    def _remember(self, texts: list[str], vectors: dict[str, Vector]) -> None:
        self._cache.update({text: vectors[text] for text in texts})
        while len(self._cache) > CACHED_TEXTS:
            del self._cache[next(iter(self._cache))]

    def _encode(self, batch: list[str]) -> list[Vector]:
        import torch

        tokenizer, model = self._loaded or self._load()
        tokens = tokenizer(
            batch,
            padding=True,
            truncation=True,
            max_length=self._max_length,
            return_tensors="pt",
        )
        with torch.inference_mode():
            hidden = model(**tokens).last_hidden_state  # [texts, tokens, dimension]
            mask = tokens["attention_mask"].unsqueeze(-1).to(hidden.dtype)  # [texts, tokens, 1]
            mean = (hidden * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1e-9)
            unit = torch.nn.functional.normalize(mean, dim=-1)
        return list(unit.numpy())

    def _load(self) -> tuple[Any, Any]:
        import torch
        from transformers import AutoModel, AutoTokenizer

        try:
            with _silent_transformers():
                tokenizer = AutoTokenizer.from_pretrained(self._folder, local_files_only=True)
                model = AutoModel.from_pretrained(
                    self._folder, local_files_only=True, dtype=torch.float32
                )
        except (OSError, ValueError) as error:
            raise PackError(_no_encoder(self._folder, str(error))) from error
        self._loaded = (tokenizer, model.eval())
        return self._loaded


class HashEmbedder:
    """Bags of hashed character trigrams: for tests and tiny runs, not for quality.

    Deterministic on every machine and free of weights; texts that share spelling are near, texts
    that share only their meaning are not.
    """

    def __init__(self, dimension: int = 64) -> None:
        self.model_id = "hash-trigrams"
        self.dimension = dimension

    def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """Return one L2-normalised vector of length `dimension` per text."""
        return [self._embed_one(text) for text in texts]

    def _embed_one(self, text: str) -> list[float]:
        padded = f"  {text.casefold()} "
        counts = [0.0] * self.dimension
        for start in range(len(padded) - 2):
            code = zlib.crc32(padded[start : start + 3].encode("utf-8", "surrogatepass"))
            counts[(code >> 1) % self.dimension] += 1.0 if code & 1 else -1.0
        norm = math.sqrt(sum(count * count for count in counts))
        if norm == 0.0:  # every trigram was cancelled by another one
            counts[0] = norm = 1.0
        return [count / norm for count in counts]


def _hidden_size(folder: Path) -> int:
    """Read the vectors' length without loading weights."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        return int(config["hidden_size"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise PackError(_no_encoder(folder, f"config.json: {error!r}")) from error


def _no_encoder(folder: Path, problem: str) -> str:
    return (
        f"{folder} holds no usable sentence encoder ({problem}); expected a transformers folder "
        "with config.json, tokenizer and weights; fetch the pack again or name another embedder"
    )


@contextmanager
def _silent_transformers() -> Iterator[None]:
    """Keep the load report and the progress bar of transformers off the terminal."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
