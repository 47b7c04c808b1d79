"""Texts as such: when two count as the same, and which can be written at all."""

from __future__ import annotations

import string
import unicodedata

# Signs that a copy of a text may have more or less of; letters, marks and digits are none of them.
_SIGNS = dict.fromkeys(map(ord, string.punctuation + " …“”„‘’«»–—¿¡。，、！？；："))


def normalize(text: str) -> str:
    """Return the form in which two texts count as the same: NFKC, lower case, single spaces."""
    return " ".join(unicodedata.normalize("NFKC", text).lower().split())


def copy_key(text: str) -> str:
    """Return what a text and its copy share: `normalize` without spaces and punctuation.

    A text of nothing else keeps it.
    """
    plain = normalize(text)
    return plain.translate(_SIGNS) or plain


def is_unicode(text: str) -> bool:
    """Whether a text can be written as UTF-8; JSON may smuggle in half a surrogate pair."""
    return not any("\ud800" <= character <= "\udfff" for character in text)
