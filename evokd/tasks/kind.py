"""What the rest of the code has to know of a kind of task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any, Protocol

from evokd.records import Example, Prediction, Sample

Row = Example | Sample


@dataclass(frozen=True)
class Mistake:
    """One thing a student got wrong in a text.

    Args:
        label: what it should have said; `NOTHING` where there is nothing to be said.
        predicted: what it said instead; the same label where only the boundary is wrong.
        error: what kind of mistake it is, one of the kind's `errors`.
        part: the part of the text it is about; '' for the whole.
    """

    label: str
    predicted: str
    error: str
    part: str = ""


class TaskKind(Protocol):
    """A kind of task: its rows, its metric, and what counts as a mistake."""

    @property
    def name(self) -> str:
        """What the task file calls it."""
        ...

    @property
    def metric(self) -> str:
        """The name of `score`."""
        ...

    @property
    def errors(self) -> tuple[str, ...]:
        """The kinds of mistakes."""
        ...

    @property
    def exclusive(self) -> bool:
        """Whether a text has one label, so that any other label speaks against it."""
        ...

    @property
    def form(self) -> str:
        """What a row of a file looks like, in words."""
        ...

    @property
    def columns(self) -> tuple[str, ...]:
        """What the header of a CSV of gold rows must hold; nothing where they fit no CSV."""
        ...

    @property
    def pool_columns(self) -> tuple[str, ...]:
        """The column that holds a text of a pool, and others that are kept beside it."""
        ...

    def check_row(self, raw: dict[str, Any], where: str, labels: Sequence[str]) -> Example:
        """Return a row of a file, checked.

        Raises:
            DataError: naming the row, what is wrong with it and what was expected.
        """
        ...

    def raw(self, row: Example) -> dict[str, Any]:
        """Return a row as it stands in a file; `check_row` reads it back."""
        ...

    def mark(self, row: Row, said: Prediction) -> str:
        """Return what a row counts for in the score: 1 or 0, or right/found/gold entities."""
        ...

    def describe(self, row: Row) -> str:
        """Return in words what a row is labelled with."""
        ...

    def doubts(self, rows: Sequence[Example]) -> list[str]:
        """Return in words what a student cannot learn from the rows of a split."""
        ...

    def key(self, row: Row) -> str:
        """Return what two rows share that ask the same."""
        ...

    def says(self, row: Row) -> str:
        """Return what a row is labelled with, equal for rows that say the same of equal texts."""
        ...

    def targets(self, labels: Mapping[str, str]) -> dict[str, str]:
        """Return what texts are asked for, with its meaning: the labels, and perhaps one more."""
        ...

    def labels_in(self, row: Row) -> AbstractSet[str]:
        """Return the labels a row is an example of."""
        ...

    def inputs(self, rows: Sequence[Row]) -> list[Any]:
        """Return what a student is asked, without what it has to find."""
        ...

    def score(self, rows: Sequence[Row], said: Sequence[Prediction]) -> float:
        """Return the metric, in [0, 1]; 0.0 for no rows."""
        ...

    def score_by_label(
        self, rows: Sequence[Row], said: Sequence[Prediction], labels: Sequence[str]
    ) -> dict[str, float]:
        """Return how good the student is at each label; labels without rows are left out."""
        ...

    def mistakes(self, row: Row, said: Prediction) -> list[Mistake]:
        """Return what a student got wrong in a row; nothing where it is right."""
        ...
