"""Calibration: take a labeler's bias towards some labels out of its probabilities.

A small LLM calls too many texts by one label ("description", "objective"). Over many texts whose
labels are known to be shared out in a certain way, its mean probability of a label tells by how
much: Batch Calibration (Zhou et al., 2023, arXiv 2309.17249, eq. 3 and 4, in probabilities). It
needs no gold labels. Ours: the shares are those the texts were asked for in, not even ones, and
few texts say little, so counts are smoothed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

SMOOTHING = 2.0  # texts a label that speak for no bias
LEAST = 1e-4  # a probability the endpoint did not report


def label_bias(
    probabilities: Sequence[Mapping[str, float]], intended: Sequence[str], labels: Sequence[str]
) -> dict[str, float]:
    """Return label → how much too often a labeler says it; 1 is right.

    Args:
        probabilities: label → probability, one mapping a text.
        intended: what each text was meant to be; only its counts matter.
        labels: all labels.
    """
    asked = Counter(intended)
    said = dict.fromkeys(labels, 0.0)
    for row in probabilities:
        for label, share in _whole(row, labels).items():
            said[label] += share
    return {name: (said[name] + SMOOTHING) / (asked[name] + SMOOTHING) for name in labels}


def calibrate(probabilities: Mapping[str, float], bias: Mapping[str, float]) -> dict[str, float]:
    """Return the probabilities divided by the bias; they add up to 1."""
    rows = {name: share / bias[name] for name, share in _whole(probabilities, list(bias)).items()}
    total = sum(rows.values())
    return {name: share / total for name, share in rows.items()}


def _whole(probabilities: Mapping[str, float], labels: Sequence[str]) -> dict[str, float]:
    rows = {name: max(LEAST, probabilities.get(name, 0.0)) for name in labels}
    total = sum(rows.values())
    return {name: share / total for name, share in rows.items()}
