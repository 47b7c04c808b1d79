"""Texts as such: when two count as the same, and which can be written at all."""

from __future__ import annotations

import re
import unicodedata

# Around sentences, never part of a sum or a price; full stops and commas only where a word ends.
_SIGNS = re.compile("[\"“”„‘’«»¿¡?!;:…。、，！？；：]|['.,]+(?=\\s|$)|(?<!\\S)'+")


# A sentence ends where one begins with a capital letter; "。" ends one in any case.
_SENTENCE_END = re.compile(r"[.!?…]+[\"'”’)\]]*\s+(?=[\"'“‘(\[]*(\w))|[。！？]+[”’」』]*\s*(?=\S)")
# What has a full stop behind it and goes on: titles, months, states, streets.
CUT_SHORT = frozenset(
    "mr mrs ms dr prof st mt ft rev hon sen rep gov gen col lt sgt capt maj adm pres sir jr sr "
    "jan feb mar apr jun jul aug sep sept oct nov dec mon tue wed thu fri sat sun no nos vol vs "
    "ala ariz ark calif colo conn fla ga ill ind kan ky la mass md mich minn miss mo mont nev okla "
    "ore pa tenn tex va vt wash wis wyo ave blvd rd inc ltd co corp bros dept univ etc al est "
    "approx".split()
)


def first_sentence(text: str) -> str:
    """Return a text up to the end of its first sentence, as far as signs and capitals tell."""
    for end in _SENTENCE_END.finditer(text):
        begun = end[1]
        word = text[: end.start()].split()[-1:] or [""]
        last = word[0].lstrip("\"'“‘([").casefold()
        goes_on = len(last) == 1 or "." in last or last in CUT_SHORT
        if begun is None or (begun.isupper() and not goes_on):
            return text[: end.end()].rstrip()
    return text


def normalize(text: str) -> str:
    """Return the form in which two texts count as the same: NFKC, lower case, single spaces."""
    return " ".join(unicodedata.normalize("NFKC", text).lower().split())


def spaceless(text: str) -> str:
    """Return `normalize` without white space, which tokenised text has more of: "Ann 's"."""
    return "".join(normalize(text).split())


def copy_key(text: str) -> str:
    """Return what a text and a copy share: `normalize` without quotes and ends of sentences.

    A text of nothing else keeps it.
    """
    plain = normalize(text)
    return " ".join(_SIGNS.sub(" ", plain).split()) or plain


def content_key(text: str, *, sums: bool = False) -> str:
    """Return what a text and a copy in other dress share: its letters and digits alone.

    A list's dash, brackets, asterisks, smileys are dress. A text without letters has `copy_key`.

    Args:
        sums: signs between letters and digits, and before the first digit, are no dress.
    """
    plain = copy_key(text)
    told = [place for place, character in enumerate(plain) if _tells(character)]
    if not told:
        return plain
    if not sums:
        return "".join(plain[place] for place in told)
    first, last = told[0], told[-1]
    if plain[first].isdigit() and plain[:first].endswith(("-", "−", "+")):
        first -= 1
    return plain[first : last + 1]


def _tells(character: str) -> bool:
    """Whether a character is part of a word or number: a letter, a digit, or a mark on one."""
    if character.isalnum():
        return True
    is_mark = unicodedata.category(character) in ("Mn", "Mc")
    return is_mark and not "\ufe00" <= character <= "\ufe0f"  # how an emoji is drawn


def word_set(text: str) -> frozenset[str]:
    """Return the words and numbers of a text, without case and order."""
    return frozenset(re.findall(r"\w+", normalize(text)))


def is_unicode(text: str) -> bool:
    """Whether a text can be written as UTF-8; JSON may smuggle in half a surrogate pair."""
    return not any("\ud800" <= character <= "\udfff" for character in text)
