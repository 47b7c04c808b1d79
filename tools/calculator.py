"""Sums that code works out while a student writes (Cobbe et al., 2021, arXiv 2110.14168, §2).

A small language model picks the right numbers more often than it adds them up rightly. Where its
line ends with an equals sign, and what stands before is a sum, the result's tokens are written for
it, and the next token begins with no further digit.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

from evokd.tasks.arithmetic import result_of


class Calculator:
    """What a tokenizer has to say of sums; the same for all that a student writes."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer

    @cached_property
    def _texts(self) -> list[str]:
        size = len(self._tokenizer)
        texts: list[str] = self._tokenizer.batch_decode([[token] for token in range(size)])
        return texts

    @cached_property
    def equals(self) -> frozenset[int]:
        """The tokens that end with an equals sign."""
        return frozenset(at for at, text in enumerate(self._texts) if text.endswith("="))

    @cached_property
    def going_on(self) -> list[int]:
        """The tokens with which a number that was just written would go on."""
        return [at for at, text in enumerate(self._texts) if text[:1].isdigit()]

    def due(self, written: list[int]) -> list[int]:
        """Return the tokens of the result that follows; none where nothing is to be worked out.

        Args:
            written: a reply's tokens so far.
        """
        if not written or written[-1] not in self.equals:
            return []
        line = self._tokenizer.decode(written).splitlines()[-1]
        result = result_of(line)
        begun, whole = self._ids(line), self._ids(f"{line} {result}")
        return whole[len(begun) :] if result and whole[: len(begun)] == begun else []

    def _ids(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids


class Sums:
    """The sums of replies that are written at the same time.

    Args:
        rows: how many replies.
    """

    def __init__(self, calculator: Calculator, rows: int) -> None:
        self._calculator = calculator
        self._due: list[list[int]] = [[] for _ in range(rows)]
        self._is_stated = [False] * rows

    def without_digits(self, logits: Any, rows: list[int]) -> Any:
        """Return next tokens' logits, shape (rows, tokens), with no digit behind a result."""
        for place, row in enumerate(rows):
            if self._is_stated[row]:
                logits[place, self._calculator.going_on] = float("-inf")
        return logits

    def corrected(self, following: Any, rows: list[int]) -> Any:
        """Return the next tokens, shape (rows,), those of results that are due in their place."""
        for place, row in enumerate(rows):
            due = self._due[row]
            self._is_stated[row] = len(due) == 1
            if due:
                following[place] = due.pop(0)
        return following

    def look(self, row: int, written: list[int]) -> None:
        """See whether a reply has come to an equals sign."""
        if not self._due[row]:
            self._due[row] = self._calculator.due(written)
