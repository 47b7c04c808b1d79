"""Texts as such: when two count as the same, and which can be written at all."""

from __future__ import annotations

import re
import unicodedata

# Around sentences, never part of a sum or a price; full stops and commas only where a word ends.
_SIGNS = re.compile("[\"“”„‘’«»¿¡?!;:…。、，！？；：]|['.,]+(?=\\s|$)|(?<!\\S)'+")


def normalize(text: str) -> str:
    """Return the form in which two texts count as the same: NFKC, lower case, single spaces."""
    return " ".join(unicodedata.normalize("NFKC", text).lower().split())


def copy_key(text: str) -> str:
    """Return what a text and a copy share: `normalize` without quotes and ends of sentences.

    A text of nothing else keeps it.
    """
    plain = normalize(text)
    return " ".join(_SIGNS.sub(" ", plain).split()) or plain


def is_unicode(text: str) -> bool:
    """Whether a text can be written as UTF-8; JSON may smuggle in half a surrogate pair."""
    return not any("\ud800" <= character <= "\udfff" for character in text)
