"""Which pseudo-labelled rows of a training step a student learns, and how much each counts.

LLKD: Li et al., Learning with Less (Findings of NAACL 2025, arXiv 2411.08028): rows of which the
teacher is confident and the student uncertain, by two moving, class-wise thresholds. The paper
gives no formula for them; ours are FreeMatch's (Wang et al., 2023, eq. 5 to 8): see
docs/methods.md. What it is compared with: either threshold alone, and chance in proportion to the
uncertainty.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

MOMENTUM = 0.9  # over rounds
STEP_MOMENTUM = 0.99  # over training steps
LEAST = 8  # rows of a label that make it known, however few there are
ROUNDING = 1e-9  # equal values lie on their mean, and a share of rows is whole, but for it
Weighting = Literal["product", "sum", "one"]
Signal = Literal["confidence", "uncertainty"]  # the teacher's, the student's
SIGNALS: Mapping[str, tuple[Signal, ...]] = {  # selection → what it looks at
    "llkd": ("confidence", "uncertainty"),
    "confidence": ("confidence",),
    "uncertainty": ("uncertainty",),
}


class StepSelection(Protocol):
    """Selects and weights the rows of one step after another."""

    def weigh(
        self, confidences: Sequence[float], uncertainties: Sequence[float], labels: Sequence[str]
    ) -> list[float]:
        """Return each row's weight in the loss, 0.0 for one that is left out.

        The loss is the weighted sum over the number of rows kept.

        Args:
            confidences: the teacher's, in its label, shape (rows,).
            uncertainties: the student's normalised entropies, shape (rows,).
            labels: the teacher's.
        """
        ...


def normalized_entropy(probabilities: Sequence[float]) -> float:
    """Return the entropy of a distribution over its largest possible one, in [0, 1]."""
    if len(probabilities) < 2:
        return 0.0
    entropy = -sum(p * math.log(p) for p in probabilities if p > 0)
    return min(1.0, max(0.0, entropy / math.log(len(probabilities))))


def surest(confidences: Sequence[float], labels: Sequence[str], share: float) -> set[int]:
    """Return the places of a share of the rows, of each label those that are surest.

    A share of each label, not a cut at one confidence: whoever labels is surer of some labels than
    of others, and such a cut leaves few rows of the others. A label with few rows gives more of
    them, up to eight where that is no more than its part in equal shares, and one at least.

    Args:
        confidences: in the rows' labels, shape (rows,).
        labels: by the teacher, or a student.
        share: in (0, 1].
    """
    places: dict[str, list[int]] = {}
    for place, label in enumerate(labels):
        places.setdefault(label, []).append(place)
    total = int(share * len(labels) + ROUNDING)
    equal = total // max(1, len(places))
    counts = {name: max(1, min(LEAST, len(own), equal)) for name, own in places.items()}
    for _ in range(total - sum(counts.values())):
        counts[min(counts, key=lambda name: counts[name] / len(places[name]))] += 1
    return {
        place
        for name, own in places.items()
        for place in sorted(own, key=lambda at: -confidences[at])[: counts[name]]
    }


class MovingMean:
    """A moving average: m ← λm + (1 - λ)v from m = 0.

    Args:
        momentum: λ, in [0, 1).
        from_nought: the start counts, so that the mean rises slowly; else it is divided out (Kingma
            & Ba, 2015, section 3): after t values the mean is m / (1 - λ^t).
    """

    def __init__(self, momentum: float, *, from_nought: bool = False) -> None:
        self._momentum = momentum
        self._from_nought = from_nought
        self._sum = 0.0
        self._weight = 0.0

    def update(self, value: float) -> None:
        """Follow one value."""
        self._sum = self._momentum * self._sum + (1 - self._momentum) * value
        self._weight = self._momentum * self._weight + (1 - self._momentum)

    @property
    def mean(self) -> float:
        """The mean; nought before the first value."""
        if self._from_nought or not self._weight:
            return self._sum
        return self._sum / self._weight


class MovingThreshold:
    """A threshold for each label that follows the mean of a signal.

    τ ← λτ + (1 - λ) mean(v); ρ(y) ← λρ(y) + (1 - λ) mean(v of label y); τ(y) = τ ρ(y) / max ρ,
    all of them `MovingMean`s; a label that a batch lacks keeps its ρ.

    Args:
        momentum: λ, in [0, 1).
        from_nought: it rises from nought, see `MovingMean`; else it is the first batch's mean at
            once.
    """

    def __init__(
        self, labels: Sequence[str], momentum: float = MOMENTUM, *, from_nought: bool = False
    ) -> None:
        self._all = MovingMean(momentum, from_nought=from_nought)
        self._by_label = {label: MovingMean(momentum, from_nought=from_nought) for label in labels}

    def update(self, values: Sequence[float], labels: Sequence[str]) -> None:
        """Follow a batch: one value, in [0, 1], and one label a row."""
        if not values:
            return
        self._all.update(sum(values) / len(values))
        for label, mean in self._by_label.items():
            own = [one for one, name in zip(values, labels, strict=True) if name == label]
            if own:
                mean.update(sum(own) / len(own))

    def of(self, label: str) -> float:
        """Return the threshold of a label; nought while it was in no batch."""
        highest = max(one.mean for one in self._by_label.values())
        return self._all.mean * self._by_label[label].mean / highest if highest else 0.0

    def is_reached(self, value: float, label: str) -> bool:
        """Whether a value of a label is not below its threshold, rounding aside."""
        return value >= self.of(label) - ROUNDING


class ThresholdSelection:
    """Keeps the rows that reach their label's threshold on every signal.

    The thresholds rise from nought, so that the first steps learn of all rows and later ones more
    and more only of those that are still uncertain.

    Args:
        labels: all labels of the task.
        signals: what is looked at; LLKD: both.
        momentum: λ of the thresholds.
        weighting: a kept row counts the product of its signals, their sum, or one.
    """

    def __init__(
        self,
        labels: Sequence[str],
        signals: Sequence[Signal] = SIGNALS["llkd"],
        momentum: float = STEP_MOMENTUM,
        weighting: Weighting = "product",
    ) -> None:
        self.thresholds = {
            name: MovingThreshold(labels, momentum, from_nought=True) for name in signals
        }
        self._weighting = weighting

    def weigh(
        self, confidences: Sequence[float], uncertainties: Sequence[float], labels: Sequence[str]
    ) -> list[float]:
        """Return each row's weight, see `StepSelection`; the thresholds follow the batch first."""
        values = {"confidence": confidences, "uncertainty": uncertainties}
        for name, threshold in self.thresholds.items():
            threshold.update(values[name], labels)
        rows = zip(*(values[name] for name in self.thresholds), strict=True)
        return [
            self._weight(signals)
            if all(
                threshold.is_reached(value, label)
                for value, threshold in zip(signals, self.thresholds.values(), strict=True)
            )
            else 0.0
            for signals, label in zip(rows, labels, strict=True)
        ]

    def _weight(self, signals: Sequence[float]) -> float:
        weights = {"product": math.prod(signals), "sum": sum(signals), "one": 1.0}
        return weights[self._weighting]


class AcceptReject:
    """Keeps each row with its uncertainty as the probability (M-RARU, arXiv 2511.11574)."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng

    def weigh(
        self, confidences: Sequence[float], uncertainties: Sequence[float], labels: Sequence[str]
    ) -> list[float]:
        """Return 1.0 for each row that is kept, see `StepSelection`."""
        return [float(self._rng.random() < one) for one in uncertainties]


def step_selection(
    name: str, labels: Sequence[str], weighting: Weighting, random_seed: int
) -> StepSelection | None:
    """Return what a strategy named in the task file keeps in a step; None: everything."""
    if name in SIGNALS:
        return ThresholdSelection(labels, SIGNALS[name], weighting=weighting)
    if name == "m-raru":
        return AcceptReject(random.Random(f"{random_seed} m-raru"))  # noqa: S311
    return None
