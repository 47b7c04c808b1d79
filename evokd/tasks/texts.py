"""Texts as such: when two count as the same, and which can be written at all."""

from __future__ import annotations

import unicodedata


def normalize(text: str) -> str:
    """Return the form in which two texts count as the same: NFKC, lower case, single spaces."""
    return " ".join(unicodedata.normalize("NFKC", text).lower().split())


def is_unicode(text: str) -> bool:
    """Whether a text can be written as UTF-8; JSON may smuggle in half a surrogate pair."""
    return not any("\ud800" <= character <= "\udfff" for character in text)
