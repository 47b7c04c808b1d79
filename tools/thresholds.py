"""LLKD: which pseudo-labelled rows of a step a student learns, and how much each counts.

Li et al., Learning with Less (Findings of NAACL 2025, arXiv 2411.08028): rows of which the teacher
is confident and the student uncertain, by two moving, class-wise thresholds. The paper gives no
formula for them; ours are FreeMatch's (Wang et al., 2023, eq. 5 to 8): see docs/methods.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

MOMENTUM = 0.9
Weighting = Literal["product", "sum", "one"]


def normalized_entropy(probabilities: Sequence[float]) -> float:
    """Return the entropy of a distribution over its largest possible one, in [0, 1]."""
    if len(probabilities) < 2:
        return 0.0
    entropy = -sum(p * math.log(p) for p in probabilities if p > 0)
    return min(1.0, max(0.0, entropy / math.log(len(probabilities))))


class MovingThreshold:
    """A threshold for each label that follows the mean of a signal.

    τ ← λτ + (1 - λ) mean(v); ρ(y) ← λρ(y) + (1 - λ) mean(v of label y); τ(y) = τ ρ(y) / max ρ.
    Both begin at 1 / labels; a label that a batch lacks keeps its ρ.

    Args:
        momentum: λ, in [0, 1).
    """

    def __init__(self, labels: Sequence[str], momentum: float = MOMENTUM) -> None:
        self._momentum = momentum
        self._all = 1 / len(labels)
        self._by_label = dict.fromkeys(labels, 1 / len(labels))

    def update(self, values: Sequence[float], labels: Sequence[str]) -> None:
        """Follow a batch: one value, in [0, 1], and one label a row."""
        if not values:
            return
        self._all = self._moved(self._all, values)
        for label, before in self._by_label.items():
            own = [one for one, name in zip(values, labels, strict=True) if name == label]
            if own:
                self._by_label[label] = self._moved(before, own)

    def of(self, label: str) -> float:
        """Return the threshold of a label."""
        return self._all * self._by_label[label] / max(self._by_label.values())

    def _moved(self, before: float, values: Sequence[float]) -> float:
        return self._momentum * before + (1 - self._momentum) * sum(values) / len(values)


class LlkdSelection:
    """Selects and weights the rows of one step after another.

    Args:
        labels: all labels of the task.
        momentum: λ of both thresholds.
        weighting: a kept row counts confidence x uncertainty, their sum, or one.
    """

    def __init__(
        self,
        labels: Sequence[str],
        momentum: float = MOMENTUM,
        weighting: Weighting = "product",
    ) -> None:
        self.confidence = MovingThreshold(labels, momentum)
        self.uncertainty = MovingThreshold(labels, momentum)
        self._weighting = weighting

    def weigh(
        self, confidences: Sequence[float], uncertainties: Sequence[float], labels: Sequence[str]
    ) -> list[float]:
        """Return each row's weight in the loss, 0.0 for one that is left out.

        The thresholds follow the batch first. The loss is the weighted sum over the number of rows
        kept.

        Args:
            confidences: the teacher's, in its label, shape (rows,).
            uncertainties: the student's normalised entropies, shape (rows,).
            labels: the teacher's.
        """
        self.confidence.update(confidences, labels)
        self.uncertainty.update(uncertainties, labels)
        return [
            self._weight(sure, unsure)
            if sure >= self.confidence.of(label) and unsure >= self.uncertainty.of(label)
            else 0.0
            for sure, unsure, label in zip(confidences, uncertainties, labels, strict=True)
        ]

    def _weight(self, sure: float, unsure: float) -> float:
        weights = {"product": sure * unsure, "sum": sure + unsure, "one": 1.0}
        return weights[self._weighting]
