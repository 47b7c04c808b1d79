"""Where words of a text begin and end, in any script, and what is the same word spelled otherwise.

Offsets count code points, ends are exclusive.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from evokd.records import Span

_JOINERS = "\u200c\u200d"
_SKIN_TONES = range(0x1F3FB, 0x1F400)
_SPACELESS = (
    range(0x0E00, 0x0F00),  # Thai, Lao
    range(0x1000, 0x10A0),  # Burmese
    range(0x1780, 0x1800),  # Khmer
    range(0x3040, 0x3100),  # kana
    range(0x3400, 0xA000),  # Han
    range(0xF900, 0xFB00),
    range(0x20000, 0x40000),
)
_HYPHENS = "-\u2010\u2011"
_APOSTROPHES = "'\u2019"
_LONE_I = re.compile(r"\bI\b")
# What is written onto a name with an apostrophe or a hyphen and is no part of it.
_ELISIONS = frozenset({"l", "qu", "dell", "all", "nell"})  # no d: D'Angelo is a name
_PREFIXES = frozenset({"anti", "pro", "non", "ex"})
# LLMs straighten quotes and dashes.
_STRAIGHT = str.maketrans("‘’ʼ‛“”„‟«»‐‑‒–—−", '\'\'\'\'""""""------')
_CLOSING = "\"'`“”‘’«»)]"
_ENDINGS = ".!?:…。！？"


def split_tokens(text: str, cuts: Iterable[int] = ()) -> list[Span]:
    """Return the spans of words, numbers and single other signs; none holds white space.

    A sign keeps its combining marks, an emoji its skin tone and what is joined to it.

    Args:
        cuts: places where a token ends in any case.
    """
    forced = set(cuts)
    tokens: list[Span] = []
    start = None
    for place, sign in enumerate(text):
        if start is not None and (place in forced or sign.isspace() or _is_break(text, place)):
            tokens.append((start, place))
            start = None
        if start is None and not sign.isspace():
            start = place
    if start is not None:
        tokens.append((start, len(text)))
    return tokens


def count_words(text: str) -> int:
    """Return how many words a text has; in scripts without spaces each sign counts as one."""
    return sum(
        len(split_tokens(word)) if any(map(_is_spaceless, word)) else 1 for word in text.split()
    )


def template(text: str) -> list[str]:
    """Return a text's words, each run of names and numbers as one empty word.

    A name is what has a capital letter, so that without regard to what words mean "Ann lives in
    New York." and "Bob lives in Rome." are of one template.
    """
    words: list[str] = []
    for start, end in split_tokens(text):
        word = text[start:end]
        slot = any(sign.isupper() or sign.isdigit() for sign in word)
        if not slot:
            words.append(word)
        elif words[-1:] != [""]:
            words.append("")
    return words


def is_edge(text: str, place: int) -> bool:
    """Whether an entity may begin or end here: between words."""
    return place in (0, len(text)) or _is_break(text, place)


def is_loose_edge(text: str, place: int) -> bool:
    """Whether it may where words of other kinds are written onto names, as in Hebrew and Arabic."""
    if is_edge(text, place):
        return True
    if _continues(text[place]) or text[place - 1] in _JOINERS:
        return False
    return "Lo" in map(unicodedata.category, (_base(text, place - 1), text[place]))


def is_part_of_name(text: str, start: int, end: int) -> bool:
    """Whether a part of a text is joined to another name, as "Al" in "Al-Qaeda".

    What is joined begins with a capital letter: "Rome" in "Rome-based" and "Ann's" stands alone,
    and so it does in "ROME'S", "L'Espagne" and "Anti-Trump".
    """
    signs = _HYPHENS + _APOSTROPHES
    if end + 1 < len(text) and text[end] in signs and text[end + 1].isupper():
        possessive = text[end] in _APOSTROPHES and text[end + 1] == "S" and is_edge(text, end + 2)
        return not possessive
    if start < 2 or text[start - 1] not in signs:
        return False
    first = start - 1
    while first and _is_word(_base(text, first - 1)):
        first -= 1
    unnamed = _ELISIONS if text[start - 1] in _APOSTROPHES else _PREFIXES
    return text[first].isupper() and text[first : start - 1].casefold() not in unnamed


def is_lowered(string: str) -> bool:
    """Whether a string has letters that know case, all of them small, and no digit."""
    return string.islower() and not any(sign.isdigit() for sign in string)


def is_no_name(text: str, start: int, end: int) -> bool:
    """Whether a part of a text is in small letters though whoever wrote it knows capital ones."""
    return is_lowered(text[start:end]) and knows_capitals(text)


def knows_capitals(text: str) -> bool:
    """Whether a text has capital letters; an "I" by itself does not tell: "I live in paris"."""
    return any(sign.isupper() for sign in _LONE_I.sub("", text))


def is_figure(text: str, start: int, end: int) -> bool:
    """Whether a part of a text is a number or a measure: "1986", "3,600 km".

    It has digits, but no capital letter, in a text that has some; what has letters without case is
    none, nor is a word that begins with a letter and has digits: "p53", "covid-19".
    """
    part = text[start:end]
    numbers = [word for word in part.split() if any(sign.isdigit() for sign in word)]
    letters = [sign for sign in part if sign.isalpha()]
    return (
        bool(numbers)
        and not any(word[0].isalpha() for word in numbers)
        and all(sign.islower() for sign in letters)
        and knows_capitals(text)
    )


def is_capitalized(text: str, start: int, end: int) -> bool:
    """Whether a part of a text has a capital letter that is not there for another reason.

    The first letter of a sentence is a capital in any word, and all are where the whole text's are.
    """
    if not any(sign.islower() for sign in text):
        return False
    first = start + 1 if begins_sentence(text, start) else start
    return any(sign.isupper() for sign in text[first:end])


def is_unmarked(text: str, start: int, end: int) -> bool:
    """Whether no capital letter and no digit marks a part of a text as a name, though some could.

    The first letter of a sentence is a capital in any word, see `is_capitalized`.
    """
    knows_case = any(sign.islower() for sign in text) and any(sign.isupper() for sign in text)
    part = text[start:end]
    if not knows_case or part.lower() == part.upper() or any(sign.isdigit() for sign in part):
        return False
    return not is_capitalized(text, start, end)


def begins_sentence(text: str, place: int) -> bool:
    """Whether a sentence begins here, as far as its signs tell."""
    before = text[:place].rstrip()
    while before and before[-1] in _CLOSING + "(['\"“„«-–—*•":
        before = before[:-1].rstrip()
    return not before or before[-1] in _ENDINGS


def fold(text: str) -> tuple[str, list[int]]:
    """Return a text without case, width, repeated white space and signs that nobody sees.

    Quotes and dashes are straight.

    Returns:
        The folded text, and for each of its signs, and its end, the place it came from.
    """
    signs: list[str] = []
    origin: list[int] = []
    for place, sign in enumerate(text):
        if unicodedata.category(sign) == "Cf" and sign not in _JOINERS:
            continue
        straight = sign.translate(_STRAIGHT)
        plain = " " if sign.isspace() else unicodedata.normalize("NFKD", straight).casefold()
        for one in plain:
            if one == " " and signs and signs[-1] == " ":
                continue
            signs.append(one)
            origin.append(place)
    return "".join(signs), [*origin, len(text)]


def folded(text: str) -> str:
    """Return the text as `fold` has it, without white space around it."""
    return fold(text)[0].strip()


def tighten(text: str, origin: list[int]) -> tuple[str, list[int]]:
    """Return what `fold` returned without the spaces that keep no two words apart.

    Tokenised text has more of them than people and LLMs write: "AT & T", "Yahoo !", "Ann 's".
    """
    kept = [place for place, sign in enumerate(text) if sign != " " or _parts_words(text, place)]
    return "".join(text[place] for place in kept), [*(origin[place] for place in kept), origin[-1]]


def _parts_words(text: str, place: int) -> bool:
    """Whether the words around a space would be one without it."""
    if not 0 < place < len(text) - 1:
        return False
    before, after = _base(text, place - 1), text[place + 1]
    if _is_spaceless(before) or _is_spaceless(after):
        return False
    return _continues(after) or (_is_word(before) and _is_word(after))


def _is_break(text: str, place: int) -> bool:
    """Whether a token may end between the code points before and at `place`."""
    after = text[place]
    if _continues(after) or text[place - 1] in _JOINERS:
        return False
    before = _base(text, place - 1)
    return (
        _is_spaceless(before) or _is_spaceless(after) or not (_is_word(before) and _is_word(after))
    )


def _is_spaceless(sign: str) -> bool:
    """Whether a sign is of a script that puts no spaces between words."""
    return any(ord(sign) in block for block in _SPACELESS)


def _base(text: str, place: int) -> str:
    """Return the code point that the marks up to `place` belong to."""
    while place > 0 and _continues(text[place]):
        place -= 1
    return text[place]


def _continues(sign: str) -> bool:
    marks = unicodedata.category(sign).startswith("M")
    return marks or sign in _JOINERS or ord(sign) in _SKIN_TONES


def _is_word(sign: str) -> bool:
    return sign.isalnum() or sign == "_"
