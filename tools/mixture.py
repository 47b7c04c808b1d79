"""Label noise: which rows of a training are likely mislabelled, by a mixture over their losses.

A network learns clean rows before noisy ones, so that halfway the losses have two modes. A mixture
of two Gaussians tells them apart (Arazo et al., 2019; DivideMix: Li et al., 2020; FreeAL: Xiao et
al., 2023, keeps what is clean with a probability above 0.7).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CLEAN = 0.7
FEWEST = 20  # rows that say anything about two modes
PASSES = 100
LEAST_SPREAD = 1e-3  # of a mode, losses in [0, 1]
LEAST_SPAN = 0.05  # nats between the smallest and the largest loss; less says nothing
HALF = math.log(2)  # the loss of a label that is given half of the probability


def clean_probabilities(losses: Sequence[float]) -> NDArray[np.float64]:
    """Return the probability that each row belongs to the mode of small losses.

    Fitted by expectation-maximisation to the losses scaled to [0, 1], from the lowest and the
    highest; the same for the same losses. All ones for fewer than 20 rows, losses that are nearly
    equal, or such as have one mode only: two are no likelier by the Bayesian information criterion.

    Args:
        losses: shape (rows,), nats.
    """
    import numpy as np

    values = np.asarray(losses, dtype=np.float64)
    span = float(np.ptp(values)) if len(values) else 0.0
    if len(values) < FEWEST or span < LEAST_SPAN:
        return np.ones(len(values))
    scaled = (values - values.min()) / span
    means = np.asarray([0.0, 1.0])
    spreads, shares = np.full(2, max(LEAST_SPREAD, float(scaled.std()))), np.full(2, 0.5)
    belongs = np.full((len(scaled), 2), 0.5)
    for _ in range(PASSES):
        logs = _log_densities(scaled, means, spreads, shares)
        logs -= logs.max(axis=1, keepdims=True)
        belongs = np.exp(logs)
        belongs /= belongs.sum(axis=1, keepdims=True)
        mass = np.maximum(belongs.sum(axis=0), 1e-9)
        means = (belongs * scaled[:, None]).sum(axis=0) / mass
        variance = (belongs * (scaled[:, None] - means) ** 2).sum(axis=0) / mass
        spreads = np.maximum(np.sqrt(variance), LEAST_SPREAD)
        shares = mass / mass.sum()
    if not _are_likelier(scaled, means, spreads, shares):
        return np.ones(len(values))
    # Below the lower mean a wide upper mode would win again.
    clean: NDArray[np.float64] = np.where(scaled <= means[0], 1.0, belongs[:, 0])
    return clean


def _log_densities(
    values: NDArray[np.float64],
    means: NDArray[np.float64],
    spreads: NDArray[np.float64],
    shares: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return the logarithm of each mode's density, but for a constant, shape (values, modes)."""
    import numpy as np

    distance = (values[:, None] - means) / spreads
    logs: NDArray[np.float64] = np.log(shares) - np.log(spreads) - distance**2 / 2
    return logs


def _are_likelier(
    values: NDArray[np.float64],
    means: NDArray[np.float64],
    spreads: NDArray[np.float64],
    shares: NDArray[np.float64],
) -> bool:
    """Whether two modes, five numbers, say more of the values than one, two numbers."""
    import numpy as np

    logs = _log_densities(values, means, spreads, shares)
    two = float(np.logaddexp(logs[:, 0], logs[:, 1]).sum())
    one = -len(values) * (math.log(float(values.std())) + 0.5)
    return two - one > 1.5 * math.log(len(values))


def noisy_rows(losses: Sequence[float]) -> list[int]:
    """Return the places of rows, or tokens, that are likely mislabelled.

    The student has to contradict, too: one mode with a long tail is easily taken for two, and where
    most is learnt to nearly nothing, all that is a little harder is an upper mode.
    """
    clean = clean_probabilities(losses).tolist()
    return [place for place, loss in enumerate(losses) if clean[place] <= CLEAN and loss > HALF]
