"""Calibration of a labeler's probabilities: of its bias with no gold rows, of its confidence with.

A small LLM calls too many texts by one label ("description", "objective"). Over many texts whose
labels are known to be shared out in a certain way, its mean probability of a label tells by how
much: Batch Calibration (Zhou et al., 2023, arXiv 2309.17249, eq. 3 and 4, in probabilities). It
needs no gold labels. Ours: the shares are those the texts were asked for in, not even ones, and
few texts say little, so counts are smoothed. Of a pool nobody knows the shares; there the labeler
is asked about texts of random words instead, which hold no label (Fei et al., ACL 2023, arXiv
2305.19148): what it says of these is its leaning alone.

Where there are gold rows that the labeler's prompt does not show, one temperature makes its
confidence as high as it is right (temperature scaling: Guo et al., 2017, arXiv 1706.04599). It
changes no answer.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

FEWEST_GOLD = 50  # rows; with fewer nothing is fitted
FOLDS = 5
BINS = 10
STEPS = 60  # of the bisection
COLDEST, HOTTEST = 0.05, 20.0
SMOOTHING = 2.0  # texts a label that speak for no bias
LITTLE = 0.5  # the same where texts hold no label at all
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
    said = _said(probabilities, labels)
    return {name: (said[name] + SMOOTHING) / (asked[name] + SMOOTHING) for name in labels}


def leaning(
    probabilities: Sequence[Mapping[str, float]], labels: Sequence[str]
) -> dict[str, float]:
    """Return label → how much too often a labeler says it of texts that hold no label; 1 is right.

    Args:
        probabilities: label → probability, one mapping a text of random words.
        labels: all labels.
    """
    said = _said(probabilities, labels)
    even = len(probabilities) / len(labels) + LITTLE
    return {name: (said[name] + LITTLE) / even for name in labels}


def calibrate(probabilities: Mapping[str, float], bias: Mapping[str, float]) -> dict[str, float]:
    """Return the probabilities divided by the bias; they add up to 1."""
    rows = {name: share / bias[name] for name, share in _whole(probabilities, list(bias)).items()}
    return _normalized(rows)


def with_temperature(probabilities: Mapping[str, float], temperature: float) -> dict[str, float]:
    """Return the probabilities raised to 1 / temperature; they add up to 1."""
    return _sharpened(_logs(probabilities), 1 / temperature)


def fit_temperature(rows: Sequence[Mapping[str, float]], gold: Sequence[str]) -> float:
    """Return the temperature under which the gold labels are likeliest.

    The mean negative log-likelihood is convex in 1 / temperature; its minimum is found by bisection
    of its slope, between 0.05 and 20. A gold label counts (n + 1) / (n + 2) for n rows, the others
    share the rest (Platt, 1999), so that a labeler without a mistake does not become sure of all.

    Args:
        rows: label → probability, all labels, one mapping a row.
        gold: each row's label.
    """
    logs = [_logs(row) for row in rows]
    wanted = sum(
        _expected(row, label, 1 / (len(rows) + 2)) for row, label in zip(logs, gold, strict=True)
    )
    low, high = 1 / HOTTEST, 1 / COLDEST
    for _ in range(STEPS):
        middle = (low + high) / 2
        slope = -wanted + sum(
            share * row[name] for row in logs for name, share in _sharpened(row, middle).items()
        )
        low, high = (middle, high) if slope < 0 else (low, middle)
    return 2 / (low + high)


def _expected(logs: Mapping[str, float], gold: str, doubt: float) -> float:
    """Return the mean logarithm where the gold label has all but a doubt that the others share."""
    others = [value for name, value in logs.items() if name != gold]
    if not others:
        return logs[gold]
    return (1 - doubt) * logs[gold] + doubt * sum(others) / len(others)


def calibrated_apart(
    rows: Sequence[Mapping[str, float]], gold: Sequence[str], said: Sequence[str]
) -> list[float]:
    """Return each row's calibrated confidence, by a temperature that four fifths of the others fit.

    So that what calibration brings is not told from the rows that it was fitted to.

    Args:
        said: each row's answer, not always the likeliest label.
    """
    found = [0.0] * len(rows)
    for fold in range(FOLDS):
        apart = [place for place in range(len(rows)) if place % FOLDS != fold]
        temperature = fit_temperature([rows[at] for at in apart], [gold[at] for at in apart])
        for place in range(fold, len(rows), FOLDS):
            found[place] = with_temperature(rows[place], temperature)[said[place]]
    return found


def reliability(confidences: Sequence[float], right: Sequence[bool]) -> list[dict[str, float]]:
    """Return the points of a reliability diagram: rows, mean confidence, share right.

    One point for each tenth of confidence that has rows.
    """
    bins: dict[int, list[tuple[float, bool]]] = {}
    for pair in zip(confidences, right, strict=True):
        bins.setdefault(min(BINS - 1, int(pair[0] * BINS)), []).append(pair)
    return [
        {
            "rows": len(pairs),
            "confidence": sum(sure for sure, _ in pairs) / len(pairs),
            "accuracy": sum(hit for _, hit in pairs) / len(pairs),
        }
        for _, pairs in sorted(bins.items())
    ]


def calibration_error(points: Sequence[Mapping[str, float]]) -> float:
    """Return the expected calibration error: the mean distance from the diagonal, by rows."""
    total = sum(one["rows"] for one in points)
    apart = sum(one["rows"] * abs(one["confidence"] - one["accuracy"]) for one in points)
    return apart / total if total else 0.0


def _said(probabilities: Sequence[Mapping[str, float]], labels: Sequence[str]) -> dict[str, float]:
    """Return label → of how many texts a labeler says it, by its probabilities."""
    rows = [_whole(row, labels) for row in probabilities]
    return {name: sum(row[name] for row in rows) for name in labels}


def _logs(probabilities: Mapping[str, float]) -> dict[str, float]:
    return {name: math.log(max(LEAST, share)) for name, share in probabilities.items()}


def _sharpened(logs: Mapping[str, float], power: float) -> dict[str, float]:
    """Return probabilities in proportion to exp(power · logs)."""
    top = max(logs.values())
    return _normalized({name: math.exp(power * (value - top)) for name, value in logs.items()})


def _whole(probabilities: Mapping[str, float], labels: Sequence[str]) -> dict[str, float]:
    return _normalized({name: max(LEAST, probabilities.get(name, 0.0)) for name in labels})


def _normalized(masses: Mapping[str, float]) -> dict[str, float]:
    total = sum(masses.values())
    return {name: mass / total for name, mass in masses.items()}
