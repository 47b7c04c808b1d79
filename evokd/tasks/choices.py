"""The options of a question: how a CSV holds them, and what can be told apart by a letter each."""

from __future__ import annotations

from collections.abc import Sequence

BETWEEN = "|"  # in a CSV
MOST_CHOICES = 26  # a letter each


def split_choices(text: str) -> list[str]:
    """Return the options that a CSV's column holds: red|blue."""
    return [one.strip() for one in text.split(BETWEEN)]


def are_choices(choices: Sequence[str]) -> bool:
    """Whether these are two to 26 options, none empty, and different but for case and spaces."""
    different = {" ".join(one.split()).casefold() for one in choices} - {""}
    return max(2, len(choices)) <= len(different) <= MOST_CHOICES
