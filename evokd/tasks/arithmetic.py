"""The sums in the steps of an explanation, worked out anew.

Pure functions; nothing here raises for any text.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise, product
from typing import NamedTuple

from evokd.tasks.explanations import canonical_answer, unnumbered
from evokd.tasks.written_numbers import (
    CURRENCY,
    DIGITS,
    END,
    MINUS,
    MOST_DIGITS,
    SCALES,
    is_said_in_words,
    numbers_in,
    one_line,
    read_digits,
    spelled,
    write_number,
)

LONGEST_STEP = 4000  # characters; in a longer one no arithmetic is looked for
MOST_TOKENS = 60  # of one side of an equation
LONGEST_BEFORE = 80  # characters before a sum that may say what multiplies it
MOST_UNITS = 8  # words after a number, such as "apples per day"
# "3 + 4 is 8" says so, too, but not "3 + 4 is 2 more than 5".
_IS = (
    rf"(?<=[\d)] )is(?= {CURRENCY}?{DIGITS}{END}"
    rf"(?! (?:more|less|fewer|times|greater|larger|longer|older|higher|of)\b| ?[+*×·÷/x{MINUS}]))"
)
_EQUALS = re.compile(
    rf"(?<![<>!=~])(?:~=|==?|[≈≅≃])(?![>=])|\bequals?\b(?: to\b)?|{_IS}", re.IGNORECASE
)
_BOXED = re.compile(r"\bboxed ?\{([^{}]*)\}")
_BOLD = re.compile(r"(?<![\w)*])\*\*(?=[^\s*])|(?<=[^\s*])\*\*(?![\w(*])")
_ABOUT = re.compile(
    r"\s*(?:[≈~]|(?:about|approximately|approx|around|roughly|nearly|almost)\b\.?)", re.IGNORECASE
)
_FACTORS = {
    **SCALES,
    **{f"{scale}s": factor for scale, factor in SCALES.items()},
    **dict.fromkeys(("%", "percent", "¢", "cents", "cent"), Fraction(1, 100)),
}
_WORDED_FACTOR = rf"(?:{'|'.join(filter(str.isalpha, _FACTORS))})\b"
_BEFORE_NUMBER = rf"(?=\s*{CURRENCY}?(?:\(|\.?\d))"
_TOKENS = re.compile(
    rf"""
    (?P<mixed>(?<![\w.,/])(?:(?P<whole>\d{{1,4}})[ ](?:and[ ])?)?
        (?P<over>\d{{1,3}})/(?P<under>\d{{1,3}})
        (?:(?<=\b\d/\d)[ ]?(?P<part>%|{_WORDED_FACTOR})|(?(whole)(?![\w/])|(?!))))
    |(?P<number>(?<!\d)(?<!\d[.,]){CURRENCY}?(?P<digits>{DIGITS}){END}
        (?:[ ]?(?P<factor>[%¢]|{_WORDED_FACTOR})
        |[$€£¥₹](?!\s?[\d.]))?)
    |(?P<remainder>(?<=\d)[ ]r[ ]?(?=\d))
    |(?P<unknown>(?<=[\w)])\*\*(?=[\w(])|(?<=\d):(?=\d)|[⁰¹²³⁴-⁹])
    |(?P<variable>(?<=\d)(?!x{_BEFORE_NUMBER})[a-z](?![^\W_])|\b(?!x{_BEFORE_NUMBER})[b-hj-z]\b)
    |(?P<clause>\b(?:because|since|so|then|when|which|who)\b)
    |(?P<unit>(?<=[\w)])[ ]?/[ ]?[^\W\d_]{{2,}}|(?<=\d)-[^\W\d_]{{2,}})
    |(?P<operator>(?<!\*)\*(?!\*)|[+×·∙⋅•÷/{MINUS}]|x{_BEFORE_NUMBER}
        |\b(?:times|cdot|plus|minus|div|divided[ ]by|multiplied[ ]by)\b{_BEFORE_NUMBER})
    |(?P<of>\bof\b(?:[ ](?:the|all|his|her|their|its|my|your|our|those|these|total|remaining)\b)*
        {_BEFORE_NUMBER})
    |(?P<word>[^\W\d_]\w*(?:['’-][^\W\d_]+)*(?:/[^\W\d_]{{2,}})*)
    |(?P<open>[(\[{{])|(?P<close>[)\]}}])
    |(?P<mark>[.,;:!?"'“”‘’…—*_`$€£¥₹])
    |\S
    """,
    re.IGNORECASE | re.VERBOSE,
)
_DASH_BETWEEN_NUMBERS = re.compile(rf"(?<=\d)([ ]?)—([ ]?)(?={CURRENCY}?\.?\d)")
_REMAINDER = re.compile(
    r"(?:[ ][^\W\d_]+){0,3},?[ ](?:(?:with|and)[ ]a[ ]remainder\b|leaving\b"
    r"|(?:with[ ]|and[ ]|\()[^\W_]+(?:[ ][^\W_]+){0,4}[ ](?:left|remaining)\b"
    r"|\(?(?:remainder|rem|r)\b|r\d)|r\d"
    r"|[ ][^\W\d_]+,?[ ](?:and[ ])?\d+[ ](?:second|minute|hour|day|week|month|inche?|ounce)s?\b",
    re.IGNORECASE,
)
_ROUNDED = re.compile(
    r"(?:[ ][^\W\d_]+){0,3},?[ ]\(?rounded[ ](?:(?P<up>up)|down)\b", re.IGNORECASE
)
_WHOLE = re.compile(r"[ ](?:full|whole|complete|entire)\b", re.IGNORECASE)
_RANGE = re.compile(
    r"\b(?:pages?|days?|chapters?|weeks?|years?|numbers?|problems?|questions?|exercises?|lines?|"
    r"ages?|from)[ ](?:\w+[ ])?$",
    re.IGNORECASE,
)
# What may multiply all of the sum behind it, or its first number only: "half of 10 + 2".
_OF_MORE = re.compile(
    r"\b(?:half|halves|third|thirds|quarter|quarters|twice|thrice|double|triple|log|sqrt"
    r"|\d[\w.,/]*(?: [^\W\d_]+){1,3} of)(?: of)?(?: the| an?)? ?$",
    re.IGNORECASE,
)
_CLOCK = {"am", "pm", "o'clock", "o’clock"}
_TIMES = {*"second sec minute min hour hr day week month year".split()}
_LENGTHS = {
    *"inch foot yard mile millimeter millimetre mm centimeter centimetre cm meter metre".split(),
    *"kilometer kilometre km".split(),
}
_WEIGHTS = {*"gram kilogram kg ounce oz pound lb".split()}
_VOLUMES = {*"milliliter millilitre ml liter litre ounce oz cup pint quart gallon".split()}
_MEASURES = _TIMES | _LENGTHS | _WEIGHTS | _VOLUMES
_MEASURE_FORMS = {
    **dict.fromkeys(("feet", "ft"), "foot"),
    **dict.fromkeys(("inches", "in"), "inch"),
    **{"mins": "min", "hrs": "hr"},
}
_OVER = "⁄"  # a slash without spaces binds tighter: 10 / 1/2 is 20
_OPERATORS = {
    "+": "+",
    "plus": "+",
    "minus": "-",
    "/": "/",
    "÷": "/",
    "div": "/",
    "divided by": "/",
    **dict.fromkeys(MINUS, "-"),
}


@dataclass(frozen=True)
class Equation:
    """A sum as a step states it.

    Args:
        left: what stands before the equals sign, as written.
        right: what stands after it.
        computed: what the left side comes to.
        stated: what the right side comes to.
        unit: what one in the last place of a rounded side is worth; None: both are exact.
        wholes: what else the right side may be: of a division that leaves a remainder, a whole
            number next to the quotient.
    """

    left: str
    right: str
    computed: Fraction
    stated: Fraction
    unit: Fraction | None = None
    wholes: tuple[int, ...] = ()

    @property
    def holds(self) -> bool:
        """Whether both sides are equal, or one is the other rounded or cut off."""
        if self.computed == self.stated or self.stated in self.wholes:
            return True
        if self.unit is None:
            return False
        ours, theirs = self.computed / self.unit, self.stated / self.unit
        return abs(ours - theirs) <= Fraction(1, 2) or theirs == int(ours) or ours == int(theirs)


def equations(step: str) -> list[Equation]:
    """Return the arithmetic a step states, in order; what cannot be read is left out.

    Read are + - * / in many spellings, brackets, percentages, "of" after a share, and units after
    numbers; a chain a = b = c is two equations. Equations with unknowns, powers or nothing to be
    computed are left out, and so are sums of different measures, what is converted from one to
    another, clock times and ranges. Of a + b = c = d, where c and d are bare numbers, the second
    one is c = d.
    """
    if len(step) > LONGEST_STEP:
        return []
    text = _BOXED.sub(r"\1", one_line(spelled(step).replace("\\", "")))
    text = unnumbered(_BOLD.sub("", text))
    found = _equations(text)
    with_minus = _DASH_BETWEEN_NUMBERS.sub(r"\1-\2", text)
    if with_minus == text:
        return found
    # A dash may be a minus, or part the sentence: what holds is what is meant.
    read = _equations(with_minus)
    holds = all(one.holds for one in read)
    return read if holds or not found or not all(one.holds for one in found) else found


def first_miscalculated(steps: Sequence[str]) -> int | None:
    """Return the index of the first step that states a wrong sum; None where there is none."""
    for place, step in enumerate(steps):
        if not all(one.holds for one in equations(step)):
            return place
    return None


def is_worked_out(answer: str, step: str) -> bool:
    """Whether a number, as a canonical answer has it, is what the last sum of a step comes to."""
    last = equations(step)[-1:]
    return bool(last) and answer == canonical_answer(str(last[0].stated), "number")


def goes_against(step: str, answer: str) -> bool:
    """Whether the last sum of a step comes to another number than a canonical answer.

    Not where the step names that number, too, nor where it is the result rounded or per cent of it.
    """
    last, number = equations(step)[-1:], Fraction(answer)
    if not last or number in numbers_in(step) or is_said_in_words(answer, step):
        return False
    stated = last[0].stated
    return abs(stated - number) >= 1 and stated not in (100 * number, number / 100)


def result_of(begun: str) -> str:
    """Return what stands behind the equals sign that a line ends with, in the left side's currency.

    '' where no sum stands before it, or its result has more than two decimals, or depends on how
    a percentage is read.
    """
    text = unnumbered(_BOLD.sub("", one_line(begun.replace("\\", ""))))
    signs = list(_EQUALS.finditer(text))
    if len(text) > LONGEST_STEP or not signs or signs[-1].end() != len(text):
        return ""
    start = signs[-2].end() if len(signs) > 1 else 0
    left = _last_sum(_read_tokens(text, start, signs[-1].start()))
    if (
        not left
        or _is_plain(left)
        or _is_of_measures(text, left, [])
        or _is_part_of_more(text, left)
    ):
        return ""
    value = _evaluate(left)
    if value is None or any(one.factor != 1 for one in left) or (100 * value).denominator != 1:
        return ""
    digits = write_number(value)
    if not digits:
        return ""
    firsts = (text[one.start] for one in left if one.kind == "number")
    currency = next((sign for sign in firsts if sign in "$€£¥₹"), "")
    return f"-{currency}{digits[1:]}" if digits.startswith("-") else f"{currency}{digits}"


def _equations(text: str) -> list[Equation]:
    signs = list(_EQUALS.finditer(text))
    starts = [0, *(sign.end() for sign in signs)]
    ends = [*(sign.start() for sign in signs), len(text)]
    parts = [_read_tokens(text, start, end) for start, end in zip(starts, ends, strict=True)]
    found: list[Equation | None] = []
    for place, sign in enumerate(signs):
        about = _ABOUT.match(text, sign.end())
        right = [one for one in parts[place + 1] if not about or one.start >= about.end()]
        is_about = bool(about) or sign[0] in ("~=", "≈", "≅", "≃")
        runs_on = sign is not signs[-1]
        if place and found[-1] and _are_bare(text, parts[place], right):
            found.append(_restated(text, parts[place], right, is_about))
            continue
        named = _names_a_value(parts[place], is_first=not place, is_worded=sign[0][0].isalpha())
        found.append(None if named else _equation(text, parts[place], right, is_about, runs_on))
    return [one for one in found if one]


def _are_bare(text: str, left: Sequence[_Token], right: Sequence[_Token]) -> bool:
    """Whether both sides are a number each, without a unit or with the same currency."""
    if len(left) != 1 or not right or {left[0].kind, right[0].kind} != {"number"}:
        return False
    if len(right) > 1 and right[1].kind not in ("mark", "close"):
        return False
    numbers = [text[one.start : one.end] for one in (left[0], right[0])]
    return len({re.sub(r"[\d.,'’]", "", one) for one in numbers}) == 1


def _restated(
    text: str, left: Sequence[_Token], right: Sequence[_Token], is_about: bool
) -> Equation:
    """Return what the end of a chain states, as in 3 + 4 = 7 = 8."""
    ours, theirs = left[:1], right[:1]
    places = [_last_place(one, scaled=False, is_about=is_about) for one in (theirs, ours)]
    unit = next(filter(None, places), None)
    return Equation(
        _written(text, ours), _written(text, theirs), ours[0].value, theirs[0].value, unit
    )


class _Token(NamedTuple):
    """One sign of a sum; `sign` is what an operator does, `decimals` those of a number."""

    kind: str
    start: int
    end: int
    sign: str = ""
    value: Fraction = Fraction()
    factor: Fraction = Fraction(1)
    decimals: int = 0
    is_percent: bool = False


class _UnreadableError(Exception):
    """What was read is no sum."""


class _Reader:
    """Evaluates tokens by recursive descent.

    Args:
        scaled: 5% is 0.05, 2 million 2000000.
        relative: 50 - 20% is 40.
    """

    def __init__(self, tokens: Sequence[_Token], scaled: bool, relative: bool) -> None:
        self.tokens = tokens
        self.scaled = scaled
        self.relative = relative
        self.place = 0

    def total(self) -> Fraction:
        value = self.product()
        while sign := self._take("+-"):
            first = self.place
            part = self.product()
            if self.relative and self._is_share(first):
                part *= value
            value = value + part if sign == "+" else value - part
        return value

    def _is_share(self, first: int) -> bool:
        """Whether what was read since `first` is one percentage, and none stood before it."""
        numbers = [one for one in self.tokens[first : self.place] if one.kind == "number"]
        before = any(one.is_percent for one in self.tokens[:first])
        return len(numbers) == 1 and numbers[0].is_percent and not before

    def product(self) -> Fraction:
        value = self.ratio()
        while sign := self._take("*/") or self._touching_bracket():
            value = value / self.ratio() if sign == "/" else value * self.ratio()
        return value

    def ratio(self) -> Fraction:
        value = self.operand()
        while self._take(_OVER):
            value /= self.operand()
        return value

    def operand(self) -> Fraction:
        token = self._next()
        if token.sign == "-" and self._is_touching():
            return -self.operand()
        if token.kind == "open":
            value = self.total()
            if self._next().kind != "close":
                raise _UnreadableError
        elif token.kind == "number":
            value = token.value * (token.factor if self.scaled else 1)
        else:
            raise _UnreadableError
        self._skip_units()
        return value

    def is_done(self) -> bool:
        return self.place == len(self.tokens)

    def _next(self) -> _Token:
        if self.is_done():
            raise _UnreadableError
        self.place += 1
        return self.tokens[self.place - 1]

    def _take(self, signs: str) -> str:
        """Return the operator that comes next, and go past it; '' where it is none of these."""
        sign = "" if self.is_done() else self.tokens[self.place].sign
        if sign and sign in signs:
            self.place += 1
            return sign
        return ""

    def _is_touching(self) -> bool:
        return not self.is_done() and _touch(self.tokens, self.place)

    def _touching_bracket(self) -> str:
        """Return the sign of a product where a bracket follows without a space, as in 2(3 + 4)."""
        opens = not self.is_done() and self.tokens[self.place].kind == "open"
        factor = self.tokens[self.place - 1].kind in ("number", "close")
        return "*" if opens and factor and self._is_touching() else ""

    def _skip_units(self) -> None:
        first = self.place
        while not self.is_done() and self.tokens[self.place].kind in ("word", "unit"):
            self.place += 1
        if self.place - first > MOST_UNITS:
            raise _UnreadableError


def _equation(
    text: str, before: Sequence[_Token], after: Sequence[_Token], is_about: bool, runs_on: bool
) -> Equation | None:
    """Return what the tokens before and after an equals sign state; None: no sum.

    Of the ways to read them, it is the first that holds, else the first.

    Args:
        is_about: the right side may be rounded to whole numbers, tens, hundreds.
        runs_on: another equals sign follows; then "4 + 4 = 8 * 2 = 16" states that 4 + 4 is 8.
    """
    left, right = _last_sum(before), _first_sum(after)
    if not left or not right or (_is_plain(left) and _is_plain(right)):
        return None
    unit = after[len(right) :][:1]
    if _is_of_measures(text, left, [*right, *unit]):
        return None
    rights = [right, right[:1]] if runs_on and right[0].kind == "number" else [right]
    found = [
        Equation(
            _written(text, left),
            _written(text, one),
            _evaluate(left, ours, relative) or Fraction(),
            _evaluate(one, theirs) or Fraction(),
            _last_place(one, theirs, is_about) or _last_place(left, ours, is_about),
            _wholes(text, left, one, ours),
        )
        for one in rights
        for relative in (False, True)[: 1 + any(token.is_percent for token in left)]
        for ours, theirs in product(_readings(left), _readings(one))
    ]
    best = next((one for one in found if one.holds), found[0])
    if not best.holds and (_is_converted(text, left[-1], unit) or _is_part_of_more(text, left)):
        return None
    return None if _is_range(text, left, best) else best


def _is_of_measures(text: str, left: Sequence[_Token], right: Sequence[_Token]) -> bool:
    """Whether times of a day, or amounts of different measures, are added up: 3 h + 30 min."""
    if any(one.sign and one.sign not in "+-" for one in left):
        return False
    pairs = [*pairwise(left), *pairwise(right)]
    names = {
        _measure(text, unit) for number, unit in pairs if number.kind == "number" and _is_word(unit)
    }
    return bool(names & _CLOCK) or len(names & _MEASURES) > 1


def _is_converted(text: str, last: _Token, after: Sequence[_Token]) -> bool:
    """Whether what ends the left side and what follows the right one are two measures of a kind."""
    names = {_measure(text, one) for one in (last, *after) if _is_word(one)}
    kinds = (_TIMES, _LENGTHS, _WEIGHTS, _VOLUMES)
    return len(names) > 1 and any(names <= kind for kind in kinds)


def _measure(text: str, unit: _Token) -> str:
    """Return a unit as `_MEASURES` has it, where it is a measure."""
    word = text[unit.start : unit.end].strip(" .").lower()
    return _MEASURE_FORMS.get(word, word if word in _MEASURES else word.removesuffix("s"))


def _is_range(text: str, left: Sequence[_Token], found: Equation) -> bool:
    """Whether the left side is no difference but a range, as in "pages 20-30 = 11 pages"."""
    is_difference = [one.kind for one in left] == ["number", "operator", "number"]
    if not is_difference or found.holds or not found.computed < 0 < found.stated:
        return False
    return _RANGE.search(text[: left[0].start]) is not None


def _is_part_of_more(text: str, left: Sequence[_Token]) -> bool:
    """Whether a word before a sum may multiply it, so that nobody can say what it comes to."""
    start = left[0].start
    return _OF_MORE.search(text[max(0, start - LONGEST_BEFORE) : start]) is not None


def _wholes(
    text: str, left: Sequence[_Token], right: Sequence[_Token], scaled: bool
) -> tuple[int, ...]:
    """Return the whole numbers that may stand for a quotient, as what follows them says."""
    if not any(one.sign and one.sign in f"/{_OVER}" for one in left) or not _is_plain(right):
        return ()
    value, end = _evaluate(left, scaled) or Fraction(), right[-1].end
    if _REMAINDER.match(text, end):
        return (math.floor(value),)
    if rounded := _ROUNDED.match(text, end):
        return (math.ceil(value) if rounded["up"] else math.floor(value),)
    return (math.floor(value), math.ceil(value)) if _WHOLE.match(text, end) else ()


def _names_a_value(before: Sequence[_Token], *, is_first: bool, is_worded: bool) -> bool:
    """Whether what stands before an equals sign is no sum, but says what is computed.

    So it is with "the price of 3 books = 3 * 5", and "as 4/7 equals $24".

    Args:
        is_first: no other equals sign goes before.
        is_worded: the equals sign is a word.
    """
    left = _last_sum(before)
    if _is_plain(left):
        return len(left) < len(before) or (is_first and any(map(_is_word, left)))
    signs = [one.sign for one in left if one.sign]
    return is_worded and signs == [_OVER]


def _last_sum(tokens: Sequence[_Token]) -> Sequence[_Token]:
    """Return the longest sum that the tokens end with; empty: none."""
    first = max(0, len(tokens) - MOST_TOKENS)
    starts = (place for place in range(first, len(tokens)) if _may_start(tokens, place))
    sums = (tokens[start:] for start in starts)
    return next((one for one in sums if _evaluate(one) is not None), ())


def _first_sum(tokens: Sequence[_Token]) -> Sequence[_Token]:
    """Return the longest sum that the tokens begin with; empty: none."""
    last = min(len(tokens), MOST_TOKENS)
    ends = (place for place in range(last, 0, -1) if _may_end(tokens, place))
    sums = (tokens[:end] for end in ends)
    return next((one for one in sums if _evaluate(one) is not None), ())


def _may_start(tokens: Sequence[_Token], place: int) -> bool:
    """Whether a sum may start here, and what goes before is no part of it."""
    token = tokens[place]
    if not (token.kind in ("number", "open") or token.sign == "-"):
        return False
    if not place:
        return True
    before = tokens[place - 1].kind
    if token.sign == "-":
        return before in ("open", "mark", "clause")
    if before in ("operator", "variable", "unknown", "number"):
        return False
    return not (before in ("word", "close") and _touch(tokens, place))


def _may_end(tokens: Sequence[_Token], place: int) -> bool:
    """Whether a sum may end before this place, and what follows is no part of it."""
    if tokens[place - 1].kind not in ("number", "close"):
        return False
    if place == len(tokens):
        return True
    after = tokens[place].kind
    touches = after == "open" and _touch(tokens, place)
    return not (after in ("operator", "variable", "unknown", "number") or touches)


def _evaluate(
    tokens: Sequence[_Token], scaled: bool = True, relative: bool = False
) -> Fraction | None:
    reader = _Reader(tokens, scaled, relative)
    try:
        value = reader.total()
    except (_UnreadableError, ZeroDivisionError):
        return None
    return value if reader.is_done() else None


def _readings(tokens: Sequence[_Token]) -> list[bool]:
    """Return whether % and "million" count: they do, or perhaps they are units.

    A percentage that is multiplied is never a unit, unless it is 100%.
    """
    is_multiplied = any(one.sign and one.sign in f"*/{_OVER}" for one in tokens)
    scales = [one for one in tokens if one.factor != 1]
    is_share = is_multiplied and any(one.is_percent and one.value != 100 for one in scales)
    return [True, False] if scales and not is_share else [True]


def _last_place(tokens: Sequence[_Token], scaled: bool, is_about: bool) -> Fraction | None:
    """Return what one in the last place of a side that is one number is worth; None: exact."""
    if not _is_plain(tokens):
        return None
    number = next(one for one in tokens if one.kind == "number")
    factor = number.factor if scaled else Fraction(1)
    if number.decimals:
        return factor * Fraction(10) ** -number.decimals
    if not is_about or number.value.denominator != 1:
        return None
    digits = str(number.value.numerator)
    return factor * Fraction(10) ** (len(digits) - len(digits.rstrip("0") or digits))


def _is_plain(tokens: Sequence[_Token]) -> bool:
    return sum(one.kind == "number" for one in tokens) == 1


def _is_word(token: _Token) -> bool:
    return token.kind in ("word", "unit")


def _touch(tokens: Sequence[_Token], place: int) -> bool:
    """Whether no space stands before the token at `place`."""
    return tokens[place - 1].end == tokens[place].start


def _written(text: str, tokens: Sequence[_Token]) -> str:
    """Return a sum as it stands in the text, without the units after its last number."""
    last = max(one.end for one in tokens if one.kind in ("number", "close"))
    return text[tokens[0].start : last]


def _read_tokens(text: str, start: int, end: int) -> list[_Token]:
    tokens: list[_Token] = []
    for match in _TOKENS.finditer(text, start, end):
        token = _token(text, match)
        if token.kind == "of":
            share = tokens[-2:]
            is_share = any(one.is_percent or one.sign == _OVER for one in share)
            token = token._replace(kind="operator" if is_share else "word", sign="*" * is_share)
        tokens.append(token)
    return tokens


def _token(text: str, match: re.Match[str]) -> _Token:
    kind, (start, end) = match.lastgroup or "unknown", match.span()
    if sum(map(str.isdigit, match[0])) > MOST_DIGITS:
        return _Token("unknown", start, end)
    if kind == "operator":
        sign = _OPERATORS.get(match[0].lower(), "*")
        is_tight = text[start - 1 : start].strip() and text[end : end + 1].strip()
        return _Token(kind, start, end, _OVER if sign == "/" and is_tight else sign)
    if kind not in ("mixed", "number"):
        return _Token(kind, start, end)
    factor = (match["factor"] or match["part"] or "").lower()
    number = _Token(
        "number",
        start,
        end,
        factor=_FACTORS.get(factor, Fraction(1)),
        is_percent=factor in ("%", "percent"),
    )
    if kind == "mixed":
        whole, over, under = (int(match[name] or 0) for name in ("whole", "over", "under"))
        value = whole + Fraction(over, under) if under else None
        return number._replace(value=value) if value else _Token("unknown", start, end)
    digits = match["digits"]
    return number._replace(value=read_digits(digits), decimals=len(digits.partition(".")[2]))
