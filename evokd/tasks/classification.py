"""Text classification: rows, metric and mistakes.

Knows nothing of models. A row is `{"text": …, "label": …}`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from evokd.config import nearest
from evokd.errors import DataError
from evokd.records import Example, Prediction
from evokd.tasks.kind import Mistake, Row
from evokd.tasks.pool import TEXT
from evokd.tasks.texts import is_unicode, normalize

CONFUSION = "confusion"


class Classification:
    """A text has one label; see `TaskKind`."""

    name = "classification"
    metric = "accuracy"
    errors = (CONFUSION,)
    exclusive = True
    form = '{"text": "…", "label": "…"}'
    columns = ("text", "label")
    pool_columns = TEXT

    def check_row(self, raw: dict[str, Any], where: str, labels: Sequence[str]) -> Example:
        """Return a row of a file, checked."""
        missing = [key for key in ("text", "label") if key not in raw]
        if missing:
            raise DataError(f"{where}: no key {missing[0]!r}; found {sorted(map(str, raw))}")
        text, label = raw["text"], raw["label"]
        if not isinstance(text, str) or not text.strip():
            raise DataError(f"{where}: the text is empty; remove the row or fill it in")
        if not is_unicode(text):
            raise DataError(f"{where}: the text holds half a surrogate pair; write it as UTF-8")
        if label not in labels:
            raise DataError(
                f"{where}: unknown label {label!r}{nearest(label, labels)}; "
                f"the task knows {', '.join(labels)}"
            )
        return Example(text=text.strip(), label=label)

    def raw(self, row: Example) -> dict[str, Any]:
        """Return the row as it stands in a file."""
        return {"text": row.text, "label": row.label}

    def mark(self, row: Row, said: Prediction) -> str:
        """Return 1 where the label was found, else 0."""
        return str(int(said.label == row.label))

    def describe(self, row: Row) -> str:
        """Return in words what a row is labelled with."""
        return f"the label {row.label!r}"

    def doubts(self, rows: Sequence[Example]) -> list[str]:
        """Return nothing: a row that can be read can be learnt."""
        return []

    def key(self, row: Row) -> str:
        """Return the text as `normalize` has it."""
        return normalize(row.text)

    def says(self, row: Row) -> str:
        """Return the label."""
        return row.label or ""

    def targets(self, labels: Mapping[str, str]) -> dict[str, str]:
        """Return what texts are asked for: the labels."""
        return dict(labels)

    def labels_in(self, row: Row) -> AbstractSet[str]:
        """Return the row's label."""
        return {row.label or ""}

    def inputs(self, rows: Sequence[Row]) -> list[str]:
        """Return the texts."""
        return [row.text for row in rows]

    def score(self, rows: Sequence[Row], said: Sequence[Prediction]) -> float:
        """Return the share of rows whose label was found."""
        return accuracy([row.label or "" for row in rows], [one.label for one in said])

    def score_by_label(
        self, rows: Sequence[Row], said: Sequence[Prediction], labels: Sequence[str]
    ) -> dict[str, float]:
        """Return the recall of each label."""
        gold = [row.label or "" for row in rows]
        return recall_by_label(gold, [one.label for one in said], labels)

    def mistakes(self, row: Row, said: Prediction) -> list[Mistake]:
        """Return the confusion, where there is one."""
        if said.label == row.label:
            return []
        return [Mistake(row.label or "", said.label, CONFUSION)]


def accuracy(gold: Sequence[str], predicted: Sequence[str]) -> float:
    """Return the share of equal pairs; 0.0 for no rows."""
    if len(gold) != len(predicted):
        raise ValueError(f"{len(gold)} gold labels but {len(predicted)} predictions")
    hits = sum(a == b for a, b in zip(gold, predicted, strict=True))
    return hits / len(gold) if gold else 0.0


def recall_by_label(
    gold: Sequence[str], predicted: Sequence[str], labels: Sequence[str]
) -> dict[str, float]:
    """Return the share of each label's rows that were found; labels without rows are left out."""
    total = Counter(gold)
    right = Counter(a for a, b in zip(gold, predicted, strict=True) if a == b)
    return {label: right[label] / total[label] for label in labels if total[label]}


def confusion_matrix(
    gold: Sequence[str], predicted: Sequence[str], labels: Sequence[str]
) -> list[list[int]]:
    """Return counts, rows = gold label, columns = predicted, both in the order of `labels`."""
    pairs = Counter(zip(gold, predicted, strict=True))
    return [[pairs[(row, column)] for column in labels] for row in labels]
