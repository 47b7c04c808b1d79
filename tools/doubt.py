"""Doubt: which new samples deserve a second opinion, found without an LLM.

A text whose label its neighbours and the student would have guessed is most likely right; one that
surprises them is either mislabelled or just what the student must learn. Only the latter kind is
worth the teacher's tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

RIDGE = 1.0


def leave_one_out(
    vectors: Sequence[Sequence[float]] | NDArray[np.float32], labels: Sequence[str]
) -> list[str]:
    """Return the label that all other rows would give each row.

    A ridge classifier, one against the rest, see `left_out_scores`.

    Args:
        vectors: unit vectors, shape (rows, dimension).
        labels: one label a row.
    """
    import numpy as np

    names = sorted(set(labels))
    targets = np.asarray([[float(label == name) for name in names] for label in labels])
    guessed = left_out_scores(np.asarray(vectors, dtype=np.float64), targets)
    return [names[int(place)] for place in guessed.argmax(axis=1)]


def left_out_scores(
    vectors: NDArray[np.float64], targets: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return what ridge regression on all other rows predicts of each row's targets.

    The targets are centred first, else the largest label would win wherever in doubt. In closed
    form (Rifkin & Lippert, 2007): ŷ - (y - ŷ) h / (1 - h) with H = X(XᵀX + λI)⁻¹Xᵀ, ŷ = Hy and
    h = diag(H), so that many rows cost no more than their vectors' dimension asks for.

    Args:
        vectors: unit vectors, shape (rows, dimension).
        targets: shape (rows, labels).

    Returns:
        Shape (rows, labels).
    """
    import numpy as np

    centred = targets - targets.mean(axis=0)
    rows, dimension = vectors.shape
    if rows < dimension:  # the same, by a smaller matrix
        gram = vectors @ vectors.T
        hat = np.linalg.solve(gram + RIDGE * np.eye(rows), gram)
        known, fitted = np.diag(hat)[:, None], hat @ centred
    else:
        weights = np.linalg.solve(vectors.T @ vectors + RIDGE * np.eye(dimension), vectors.T)
        known = (vectors * weights.T).sum(axis=1, keepdims=True)
        fitted = vectors @ (weights @ centred)
    scores: NDArray[np.float64] = (fitted - known * centred) / (1 - known)
    return scores
