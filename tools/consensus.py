"""Consensus: what a labeler and a text's neighbours say of its label together.

A small LLM is wrong now and then, with much confidence. Texts that are alike mostly share a label,
so that the other texts, by a ridge classifier on sentence embeddings with the text left out, are a
second annotator that costs no token; the two are multiplied (a product of experts: Hinton, 2002).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from evokd.tools.calibration import LEAST
from evokd.tools.doubt import left_out_scores

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SHARPNESS = 3.0  # nats that the neighbours' scores, from about 0 to 1, are worth


def consensus(
    said: NDArray[np.float64],
    vectors: NDArray[np.float64],
    gold: NDArray[np.float64],
    gold_vectors: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return the probability of each label for each text.

    Args:
        said: the labeler's probabilities, shape (texts, labels).
        vectors: unit vectors of the texts, shape (texts, dimension).
        gold: the gold rows' labels as ones among noughts, shape (rows, labels).
        gold_vectors: unit vectors of the gold rows, shape (rows, dimension).

    Returns:
        Shape (texts, labels).
    """
    import numpy as np

    level = np.maximum(said, LEAST)
    level = level / level.sum(axis=1, keepdims=True)
    guessed = left_out_scores(
        np.concatenate([gold_vectors, vectors]), np.concatenate([gold, level])
    )[len(gold) :]
    together = level * np.exp(SHARPNESS * guessed)
    whole: NDArray[np.float64] = together / together.sum(axis=1, keepdims=True)
    return whole
