"""How numbers are written in a text, in digits and in words.

Pure functions; nothing here raises for any text.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise

MOST_DIGITS = 30  # of a number; a longer one is none
MINUS = "−–-"  # ends a class of characters
CURRENCY = r"(?:[$€£¥₹][ ]?|(?<!\w)(?a:USD|EUR|GBP|INR)[ ])"
# In groups of three, or, as in India, of two before the last three: 1,00,000.
_GROUPED = r"\d{1,3}(?:[,'’]\d{3})+(?!\d)|\d{1,2}(?:,\d{2})+,\d{3}(?!\d)"
DIGITS = rf"(?:(?:{_GROUPED}|\d+)(?:\.\d+)?|(?<!\w)\.\d+)"
_START = r"(?<!\w)(?<!\d[.,/])"
END = r"(?![.,]?\d)"
SCALES = {
    "dozen": Fraction(12),
    "hundred": Fraction(100),
    "thousand": Fraction(10**3),
    "million": Fraction(10**6),
    "billion": Fraction(10**9),
    "trillion": Fraction(10**12),
}
_SCALE = rf"(?:[ ]?(?P<scale>(?a:{'|'.join(SCALES)}))s?\b)?"
_NUMBER = (
    rf"{_START}(?P<sign>[{MINUS}])?{CURRENCY}?(?P<sign_after>[{MINUS}])?"
    rf"(?:(?P<whole>\d+)[ ](?=\d+/\d))?(?P<digits>{DIGITS})(?:/(?P<under>\d+))?{_SCALE}"
    rf"{END}(?!/\d|[^\W\d_]+\d|k\b)"  # nobody says whether "3k" is 3 of something
)
_NUMBERS = re.compile(_NUMBER, re.IGNORECASE)
# Neither ordinals nor times of day are numbers with a unit, and "3 and a bit" is not 3.
_UNIT = r"(?!(?:[ap]\.?m|and|or|to)\b)°?[^\W\d_]+(?:[-/'’.][^\W\d_]+)*[²³.]?"
_ONLY_A_NUMBER = re.compile(
    rf"{_NUMBER}[ ]?[%$€£¥₹]?(?!(?:st|nd|rd|th)\b)(?:[ ]?{_UNIT}(?:[ ]{_UNIT}){{0,2}})?\.?",
    re.IGNORECASE,
)
_UNDER_TWENTY = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen"
).split()
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
_NUMBER_WORDS = {word: value for value, word in enumerate(_UNDER_TWENTY)} | {
    word: 10 * place for place, word in enumerate(_TENS, 2)
}
_HYPHEN_IN_NUMBER = re.compile(rf"\b({'|'.join(_TENS)})-(?=(?:{'|'.join(_UNDER_TWENTY[1:10])})\b)")
_ONLY_WORDS = re.compile(r"[\W_]*([^\W\d_]+(?:\s+[^\W\d_]+){0,12})[\W_]*")
# What makes another number of the one before it, or two of one.
_CHANGES_NUMBER = {*"and or to half halves quarter quarters third thirds point plus minus".split()}
_GOES_ON = re.compile(rf"[^\d=]{{0,24}}?[+*/×·÷{MINUS}][ ]?[(]?{CURRENCY}?\d")  # a sum
_OPERATOR = re.compile(rf"(?:[ ]?[^\W\d_]+)?[ ]?[+*/×·÷x{MINUS}][ ]?[(]?")  # between two numbers
_LONGEST_IN_WORDS = 8  # "two hundred and thirty five thousand six hundred"
_ANSWER_ALONE = re.compile(rf"([{MINUS}])\s+(?={CURRENCY}?{DIGITS}$)")
_FRACTIONS = str.maketrans({"¼": "1/4", "½": "1/2", "¾": "3/4", "⅓": "1/3", "⅔": "2/3", "⅛": "1/8"})
_FRACTION_AFTER_NUMBER = re.compile(r"(?<=\d)(?=[¼½¾⅓⅔⅛])")
_SPACE_IN_NUMBER = re.compile(r"(?<=\d)[\u00a0\u2009\u202f](?=\d{3}(?!\d))")  # as in 10 000
_PLAIN_SPACE_IN_NUMBER = re.compile(r"(?<=\d) (?=\d{3}(?!\d))")  # which may part two numbers, too
_ASIDE = re.compile(r"\([^()]*\)")
_CALCULATOR = re.compile(r"<<[^<>]*>>")  # as GSM8K's solutions have it before a result
_AND_A_PART = re.compile(
    r"(?<=\d) and (?:(?:an? |one[ -])?(half|third|quarter)|(two)[ -]thirds|(three)[ -]quarters)\b",
    re.IGNORECASE,
)
_PARTS = {"half": "1/2", "third": "1/3", "quarter": "1/4", "two": "2/3", "three": "3/4"}
_WORDED_SIGN = re.compile(
    r"(?:\bnegative |(?P<before>^|[:=(*'“] ?|\b(?:is|was|be|equals|to|of) )minus )"
    rf"(?={CURRENCY}?{DIGITS})",
    re.IGNORECASE,
)
_POWER_OF_UNIT = re.compile(r"(?<=\d)([ ]?[^\W\d_]+)(?:\^|\*\*)([23])\b")
_POWERS = {"2": "²", "3": "³"}
_FRACTION = re.compile(r"\\[dt]?frac\s*\{([^{}\n]*)\}\s*\{([^{}\n]*)\}")
_STYLED = re.compile(r"\\(?:text|mathrm)(?:bf|it|rm)?\s*\{([^{}\n]*)\}")
_LATEX_DEPTH = 4  # of commands within commands


def one_line(text: str) -> str:
    """Return the text with single spaces for all white space."""
    return " ".join(text.split())


def without_calculator(text: str) -> str:
    """Return the text without sums in double angle brackets."""
    return _CALCULATOR.sub("", text)


def without_latex(text: str) -> str:
    r"""Return the text with `\frac{3}{4}` as 3/4 and `\text{red}` as red."""
    for _ in range(_LATEX_DEPTH):
        if "\\" not in text:
            break
        text = _STYLED.sub(r"\1", _FRACTION.sub(_as_quotient, text))
    return text


def spelled(text: str) -> str:
    r"""Return the text on one line, its numbers in digits with commas.

    So it is with ½, `\frac{1}{2}` and "and a half", and with thin spaces in numbers; with plain
    ones where the number stands alone.
    """
    text = _SPACE_IN_NUMBER.sub(",", without_calculator(without_latex(text)))
    text = _FRACTION_AFTER_NUMBER.sub(" ", text)
    text = one_line(text.translate(_FRACTIONS))
    text = _AND_A_PART.sub(lambda part: f" {_PARTS[part[part.lastindex or 0].lower()]}", text)
    alone = _ANSWER_ALONE.match(text)
    text = alone[1] + text[alone.end() :] if alone else text
    joined = _PLAIN_SPACE_IN_NUMBER.sub(",", text)
    return joined if joined != text and _ONLY_A_NUMBER.fullmatch(joined) else text


def number_in(text: str) -> str:
    """Return the only number of a text; what stands before an equals sign or in brackets is not it.

    Unless nothing else is a number. "Minus 5" and "negative 5" are -5. A sum that nobody worked
    out is none: '' for "5 + 5".
    """
    text = _plain(spelled(text))
    last = re.split("[=≈]", text)[-1]
    found = (list(_NUMBERS.finditer(part)) for part in (_ASIDE.sub("", last), last, text))
    matches = next(filter(None, found), [])
    if not matches:
        return _number_in_words(text)
    values = {_value_of(match) for match in matches}
    value = values.pop()
    if values or value is None or _are_of_a_sum(matches):
        return ""
    return write_number(value)


def _are_of_a_sum(matches: Sequence[re.Match[str]]) -> bool:
    return any(
        _OPERATOR.fullmatch(one.string, one.end(), other.start())
        for one, other in pairwise(matches)
    )


def is_said_in_words(number: str, text: str) -> bool:
    """Whether a number as `number_in` writes it stands in a text in words."""
    words = re.findall(r"[^\W\d_]+", _HYPHEN_IN_NUMBER.sub(r"\1 ", text.lower()))
    starts = [at for at, word in enumerate(words) if word in _NUMBER_WORDS]
    spans = (" ".join(words[at : at + n]) for at in starts for n in range(1, _LONGEST_IN_WORDS + 1))
    return any(_number_in_words(span) == number for span in spans)


def read_digits(digits: str) -> Fraction:
    """Return the value of what `DIGITS` matches."""
    return Fraction("".join(one for one in digits if one.isdigit() or one == "."))


def numbers_in(text: str) -> list[Fraction | None]:
    """Return the numbers in digits of a text in order; None for one that is too long."""
    return [_value_of(match) for match in _NUMBERS.finditer(_plain(spelled(text)))]


def concluded_number_in(text: str) -> str:
    """Return the last number in digits of a text, written as `number_in` does; '' for none.

    Where a sum is worked out it is the result: 12 in "4 * 3 = 12 apples in 4 boxes".
    """
    *before, last = re.split("[=≈]", _plain(spelled(text)))
    found = list(_NUMBERS.finditer(last))
    if before and found and not _GOES_ON.match(last, found[0].end()):
        found = found[:1]
    value = _value_of(found[-1]) if found else None
    return "" if value is None else write_number(value)


def is_only_a_number(text: str) -> bool:
    """Whether a text has nothing beside a number but a currency, a percent sign or a unit."""
    alone = _ONLY_A_NUMBER.fullmatch(_plain(spelled(text)))
    return alone is not None and number_in(text) != ""


def _as_quotient(fraction: re.Match[str]) -> str:
    """Return a fraction in one line, in brackets where it is more than two numbers."""
    parts = [one.strip() for one in fraction.groups()]
    parts = [one if re.fullmatch(DIGITS, one) else f"({one})" for one in parts]
    after_number = fraction.string[: fraction.start()][-1:].isdigit()  # as in 3½
    return " " * after_number + "/".join(parts)


def _plain(text: str) -> str:
    """Return a text on one line with a worded sign of a number, and m^2 as m².

    No sign is that of a difference.
    """
    text = _POWER_OF_UNIT.sub(lambda unit: unit[1] + _POWERS[unit[2]], text)
    return _WORDED_SIGN.sub(lambda sign: f"{sign['before'] or ''}-", text)


def _number_in_words(text: str) -> str:
    """Return a number written in words, perhaps with a unit of up to three; '' for any other."""
    only = _ONLY_WORDS.fullmatch(_HYPHEN_IN_NUMBER.sub(r"\1 ", text.lower()))
    words = only[1].split() if only else []
    sign = "-" if words[:1] in (["minus"], ["negative"]) else ""
    words = words[len(sign) :]
    if words[:1] == ["a"] and words[1:2] and words[1] in SCALES:
        words[0] = "one"
    total, least, place = 0, math.inf, 0
    part: int | None = None  # what was read since the last thousand
    while place < len(words):
        word = words[place]
        value, scale = _NUMBER_WORDS.get(word), int(SCALES.get(word, 0))
        if value is not None and _goes_on(part, value):
            part = (part or 0) + value
        elif part and word == "hundred" and part < 10:
            part *= 100
        elif part and (100 < scale < least or (word == "dozen" and not total)):
            total, part, least = total + part * scale, None, scale
        elif not (word == "and" and _joins(words, place)):
            break
        place += 1
    unit = words[place:]
    is_known = not any(one in {*_NUMBER_WORDS, *SCALES, *_CHANGES_NUMBER} for one in unit)
    number = total + (part or 0)
    is_number = (part is not None or total > 0) and is_known and len(unit) <= 3
    return f"{sign if number else ''}{number}" if is_number else ""


def _goes_on(part: int | None, value: int) -> bool:
    """Whether a number under a hundred may follow what was read: after none, tens or hundreds."""
    if not part:
        return part is None
    tens, ones = divmod(part % 100, 10)
    return value > 0 and not ones and (tens == 0 or (tens > 1 and value < 10))


def _joins(words: Sequence[str], place: int) -> bool:
    """Whether a word stands between the parts of one number, as in "two hundred and five"."""
    before, after = words[max(0, place - 1)], words[place + 1 : place + 2]
    return before in SCALES and any(one in _NUMBER_WORDS for one in after)


def _value_of(match: re.Match[str]) -> Fraction | None:
    if sum(map(str.isdigit, match[0])) > MOST_DIGITS:
        return None
    value, under = read_digits(match["digits"]), int(match["under"] or 1)
    if not under:
        return None
    value = int(match["whole"] or 0) + value / under
    value *= SCALES[match["scale"].lower()] if match["scale"] else 1
    return -value if match["sign"] or match["sign_after"] else value


def write_number(value: Fraction) -> str:
    """Return a number as a decimal, else as a fraction; '' where it has too many digits."""
    size = abs(value)
    written = f"{size.numerator}/{size.denominator}"
    places = next((n for n in range(MOST_DIGITS) if 10**n % size.denominator == 0), None)
    if places is not None:
        digits = str(size.numerator * 10**places // size.denominator).rjust(places + 1, "0")
        decimal = f"{digits[:-places]}.{digits[-places:]}" if places else digits
        written = decimal if len(digits) <= MOST_DIGITS else written
    if sum(map(str.isdigit, written)) > MOST_DIGITS:
        return ""
    return f"-{written}" if value < 0 else written
