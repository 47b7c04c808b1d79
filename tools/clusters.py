"""Groups of texts that are alike, and what is typical of each.

With few labelled texts a student gains most from such as stand for many others; the odd ones that
it is least sure of teach it little, and a small LLM labels them worst (TypiClust: Hacohen, Dekel
and Weinshall, Active Learning on a Budget: Opposite Strategies Suit High and Low Budgets, ICML
2022).
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PASSES = 15
NEIGHBOURS = 20
LEAST_APART = 1e-6  # so that equal rows can be drawn, too


def group(vectors: NDArray[np.float32], count: int, rng: random.Random) -> NDArray[np.int64]:
    """Return the number of each row's group, from 0: spherical k-means (Dhillon & Modha, 2001).

    It begins with rows by chance, the likelier the farther they are from those before (k-means++:
    Arthur & Vassilvitskii, 2007). A group that loses all its rows stays empty.

    Args:
        vectors: unit vectors, shape (rows, dimension).
        count: of groups; at most one a row, and one at least.
    """
    import numpy as np

    if not len(vectors):
        return np.zeros(0, np.int64)
    count = max(1, min(count, len(vectors)))
    centres = vectors[_beginnings(vectors, count, rng)]
    found = np.full(len(vectors), -1)
    for _ in range(PASSES):
        nearest = (vectors @ centres.T).argmax(axis=1)
        if (nearest == found).all():
            break
        found = nearest
        sums = np.zeros_like(centres)
        np.add.at(sums, found, vectors)
        lengths = np.linalg.norm(sums, axis=1, keepdims=True)
        centres = np.where(lengths > 0, sums / np.maximum(lengths, 1e-9), centres)
    return found


def _beginnings(vectors: NDArray[np.float32], count: int, rng: random.Random) -> list[int]:
    import numpy as np

    chosen = [rng.randrange(len(vectors))]
    apart = 1 - vectors @ vectors[chosen[0]]
    for _ in range(count - 1):
        mass = np.cumsum(np.maximum(apart, LEAST_APART))
        chosen.append(min(len(vectors) - 1, int(np.searchsorted(mass, rng.random() * mass[-1]))))
        apart = np.minimum(apart, 1 - vectors @ vectors[chosen[-1]])
    return chosen


def typicality(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return how like its neighbours each row is: its mean cosine with the 20 nearest, itself too.

    Args:
        vectors: unit vectors of one group, shape (rows, dimension).
    """
    import numpy as np

    like = np.sort(vectors @ vectors.T, axis=1)
    mean: NDArray[np.float32] = like[:, -NEIGHBOURS:].mean(axis=1)
    return mean
