"""Explanations and their answers: steps, the answer line, and the sums in the steps.

Pure functions; knows nothing of models or rows. An explanation is a step a line, then `Answer: X`.
A canonical answer is the one string that stands for all ways to write the same answer; '' stands
for none. Nothing here raises for any text.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise, product
from typing import Literal, NamedTuple

AnswerForm = Literal["number", "yes_no", "choice", "text"]

ANSWER = "Answer:"
MOST_DIGITS = 30  # of a number; a longer one is none
LONGEST_STEP = 4000  # characters; in a longer one no arithmetic is looked for
MOST_TOKENS = 60  # of one side of an equation
MOST_UNITS = 8  # words after a number, such as "apples per day"

_MINUS = "−–-"  # ends a class of characters
_CURRENCY = r"(?:[$€£¥₹][ ]?|(?<!\w)(?a:USD|EUR|GBP|INR)[ ])"
_DIGITS = r"(?:(?:\d{1,3}(?:[,'’]\d{3})+(?!\d)|\d+)(?:\.\d+)?|(?<!\w)\.\d+)"
_START = r"(?<!\w)(?<!\d[.,/])"
_END = r"(?![.,]?\d)"
_SCALES = {
    "dozen": Fraction(12),
    "hundred": Fraction(100),
    "thousand": Fraction(10**3),
    "million": Fraction(10**6),
    "billion": Fraction(10**9),
    "trillion": Fraction(10**12),
}
_SCALE = rf"(?:[ ]?(?P<scale>(?a:{'|'.join(_SCALES)}))\b)?"
_NUMBER = (
    rf"{_START}(?P<sign>[{_MINUS}])?{_CURRENCY}?(?P<sign_after>[{_MINUS}])?"
    rf"(?:(?P<whole>\d+)[ ](?=\d+/\d))?(?P<digits>{_DIGITS})(?:/(?P<under>\d+))?{_SCALE}"
    rf"{_END}(?!/\d|[^\W\d_]+\d)"
)
_NUMBERS = re.compile(_NUMBER, re.IGNORECASE)
# Neither ordinals nor times of day are numbers with a unit, and "3 and a half" is not 3.
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
_ANSWER_ALONE = re.compile(rf"([{_MINUS}])\s+(?={_CURRENCY}?{_DIGITS}$)")
_FRACTIONS = str.maketrans({"¼": "1/4", "½": "1/2", "¾": "3/4", "⅓": "1/3", "⅔": "2/3", "⅛": "1/8"})
_FRACTION_AFTER_NUMBER = re.compile(r"(?<=\d)(?=[¼½¾⅓⅔⅛])")
_SPACE_IN_NUMBER = re.compile(r"(?<=\d)[\u00a0\u2009\u202f](?=\d{3}(?!\d))")  # as in 10 000
_ASIDE = re.compile(r"\([^()]*\)")
_CALCULATOR = re.compile(r"<<[^<>]*>>")  # as GSM8K's solutions have it before a result

# Only ASCII: else "ı" counts as an i, and finds no place in a table.
_SAYS = r"(?a:yes|no|true|false)"
_YES = {"yes": "yes", "true": "yes", "no": "no", "false": "no"}
_ONLY_YES_NO = re.compile(rf"[\W_]*{_SAYS}[\W_]*", re.IGNORECASE)
_YES_NO = re.compile(
    rf"[\W_]*({_SAYS})(?:[\W_]*|\s*[.,;:!?)\]*\"'”’–—(…].*)", re.IGNORECASE | re.DOTALL
)
_ENDS_WITH_YES_NO = re.compile(rf"(?<!\bnot )\b({_SAYS})[\W_]*$", re.IGNORECASE)
_LETTER = re.compile(
    r"\W*(?:(?:option|choice)\s+)?((?a:[a-z]))(?:[)\].:,]+(?:\s.*|$)|\W*$)",
    re.IGNORECASE | re.DOTALL,
)
_DENIED = r"(?:not|never|neither|nor|(?:is|was|are|were|do|does)n['’]t)\s+(?:the\s+|an?\s+)?"
_LETTER_IN_BRACKETS = re.compile(r"\(((?a:[a-z]))\)", re.IGNORECASE)

_ANSWER_LINE = re.compile(
    r"(?:^|(?<=[.!?;。])[ \t]+|(?<=[ \t])(?=(?-i:Answer:)))[#>\- \t]{0,8}"
    r"(?:####(?! *step\b)|(?P<mark>[*_]{0,2})(?:the )?(?:final )?"
    r"answer ?(?P=mark)? ?[:：](?P=mark)?)\s*(?P<said>.*)",
    re.IGNORECASE | re.MULTILINE,
)
_ANSWER_IS = re.compile(
    r"(?:\b(?:so|thus|therefore|hence)\b,? )?\bthe (?:final |correct )?answer is\b ?:? ?"
    r"(?=(.{0,300}))",
    re.IGNORECASE,
)
_BESIDE_ANSWER = re.compile(
    r"\s(?:for|after|because|since)\b|(?<=[^\W\d_])\s(?:in|per|from|at|over|on|by|each|every)\b",
    re.IGNORECASE,
)
_BOXED = re.compile(r"\\boxed\{([^{}\n]*)\}")

_NUMBERING = re.compile(
    r"(?:[*_]{0,2}step \d+[*_]{0,2} ?[:.)\-–][*_]{0,2}\s*|\d{1,3}[.)]\s+"
    r"|\(\d{1,3}\)\s+(?=[^\W\d_]{2}|[ai]\b)|[-*•–—]\s+)+",
    re.IGNORECASE,
)
_SENTENCE_END = re.compile(r"(?<![.!?])[.!?]+[\"'”’)\]]*\s+|[。！？]+\s*")
_ABBREVIATION = re.compile(
    r"(?:^|[\s(\"'“])(?:(?:[^\W\d_]\.)*[^\W\d_]|mrs?|ms|dr|prof|st|jr|sr|mt|vs|etc|approx|ca|cf|inc"
    r"|ltd|co|dept|fig|min|hrs?|lbs?|oz|ft|sq)\.$",
    re.IGNORECASE,
)

_EQUALS = re.compile(r"(?<![<>!=~])(?:~=|==?|[≈≅≃])(?![>=])|\bequals?\b(?: to\b)?", re.IGNORECASE)
_ABOUT = re.compile(
    r"\s*(?:[≈~]|(?:about|approximately|approx|around|roughly|nearly|almost)\b\.?)", re.IGNORECASE
)
_FACTORS = {**_SCALES, **dict.fromkeys(("%", "percent", "¢", "cents", "cent"), Fraction(1, 100))}
_BEFORE_NUMBER = rf"(?=\s*{_CURRENCY}?(?:\(|\.?\d))"
_TOKENS = re.compile(
    rf"""
    (?P<mixed>(?<![\w.,])(?P<whole>\d{{1,4}})[ ](?:and[ ])?
        (?P<over>\d{{1,3}})/(?P<under>\d{{1,3}})(?![\w/]))
    |(?P<number>(?<!\d)(?<!\d[.,]){_CURRENCY}?(?P<digits>{_DIGITS}){_END}
        (?:[ ]?(?P<factor>[%¢]|(?:{"|".join(filter(str.isalpha, _FACTORS))})\b)
        |[$€£¥₹](?!\s?[\d.]))?)
    |(?P<unknown>(?<=[\w)])\*\*(?=[\w(])|(?<=\d):(?=\d)|[⁰¹²³⁴-⁹])
    |(?P<variable>(?<=\d)(?!x{_BEFORE_NUMBER})[a-z](?![^\W_])|\b(?!x{_BEFORE_NUMBER})[b-hj-z]\b)
    |(?P<clause>\b(?:because|since|so|then|when|which|who)\b)
    |(?P<unit>(?<=[\w)])[ ]?/[ ]?[^\W\d_]{{2,}}|(?<=\d)-[^\W\d_]{{2,}})
    |(?P<operator>(?<!\*)\*(?!\*)|[+×·∙⋅•÷/{_MINUS}]|x{_BEFORE_NUMBER}
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
_DASH_BETWEEN_NUMBERS = re.compile(rf"(?<=\d)([ ]?)—([ ]?)(?={_CURRENCY}?\.?\d)")
_REMAINDER = re.compile(
    r"(?:[ ][^\W\d_]+){0,3},?[ ](?:(?:with|and)[ ](?:a[ ]remainder\b|(?:only[ ])?[^\W_]+\b"
    r"(?:[ ][^\W\d_]+){0,3}[ ](?:left|remaining)\b)|\(?(?:remainder|rem|r)\b|r\d)",
    re.IGNORECASE,
)
_WHOLE = re.compile(r"[ ](?:full|whole|complete|entire)\b", re.IGNORECASE)
_RANGE = re.compile(
    r"\b(?:pages?|days?|chapters?|weeks?|years?|numbers?|problems?|questions?|exercises?|lines?|"
    r"ages?|from)[ ](?:\w+[ ])?$",
    re.IGNORECASE,
)
_CLOCK = {"am", "pm", "o'clock", "o’clock"}
_MEASURES = {
    *"second sec minute min hour hr day week month year inch foot yard mile".split(),
    *"millimeter millimetre mm centimeter centimetre cm meter metre kilometer kilometre".split(),
    *"km gram kilogram kg ounce oz pound lb milliliter millilitre ml liter litre".split(),
    *"cup pint quart gallon".split(),
}
_MEASURE_FORMS = {"feet": "foot", "ft": "foot", "inches": "inch", "mins": "min", "hrs": "hr"}
_OVER = "⁄"  # a slash without spaces binds tighter: 10 / 1/2 is 20
_OPERATORS = {
    "+": "+",
    "plus": "+",
    "minus": "-",
    "/": "/",
    "÷": "/",
    "div": "/",
    "divided by": "/",
    **dict.fromkeys(_MINUS, "-"),
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


def canonical_answer(text: str, form: AnswerForm, choices: Sequence[str] = ()) -> str:
    """Return the one way to write an answer; '' where the text gives none, or more than one.

    A number loses its currency, percent sign, unit and trailing zeros; one that no finite decimal
    can write is a fraction. A choice is the option as `choices` has it, given by its letter or
    its text. A text that is nothing but a number, yes or no is written as such: where nobody said
    what an answer looks like, it says so itself.
    """
    if form == "text":
        form = answer_form(text)
    if form == "number":
        return _number_in(text)
    if form == "yes_no":
        said = _YES_NO.fullmatch(text)
        return _YES[said[1].lower()] if said else ""
    if form == "choice":
        return _option_in(text, choices)
    return _one_line(text)


def same_answer(a: str, b: str, form: AnswerForm, choices: Sequence[str] = ()) -> bool:
    """Whether two answers, raw or canonical, are the same; where there is none, they are not.

    Of texts, case, quotes around them and a full stop do not count.
    """
    one, other = (canonical_answer(answer, form, choices) for answer in (a, b))
    if one and other and form == "text":
        one, other = (_fold(answer).strip("\"'“”‘’. ") or answer for answer in (one, other))
    return one == other != ""


def is_answer(said: str, wanted: str, choices: Sequence[str] = ()) -> bool:
    """Whether what was said is the wanted answer, read in the form that one has."""
    return same_answer(said, wanted, answer_form(wanted, choices), choices)


def answer_form(answer: str, choices: Sequence[str] = ()) -> AnswerForm:
    """Return the form of an answer.

    A number has nothing beside it but a currency, a percent sign or a unit of up to three words.
    """
    if choices:
        return "choice"
    if _ONLY_YES_NO.fullmatch(answer):
        return "yes_no"
    text = _spelled(answer)
    return "number" if _ONLY_A_NUMBER.fullmatch(text) and _number_in(text) else "text"


def split_steps(text: str, *, is_cut: bool = False) -> list[str]:
    """Return the steps of an explanation, without their numbering and what follows from the answer.

    A line is a step; where all stands on one line, a sentence is.

    Args:
        is_cut: it was cut off; a last step that may go on is none.
    """
    text, is_ended = "\n".join(text.splitlines()), text.rstrip(" \t").endswith("\n")
    before = _before_answer(text)
    lines = _lines(before)
    steps = _lines("\n".join(_sentences(lines[0]))) if len(lines) == 1 else lines
    return steps[:-1] if is_cut and before == text and not is_ended else steps


def extract_answer(
    text: str, form: AnswerForm, choices: Sequence[str] = (), *, is_cut: bool = False
) -> str:
    """Return the canonical answer of a whole explanation; '' where there is none.

    It is what the first answer line says, else what is boxed or follows "the answer is", else what
    the explanation ends with: the last number, a yes or no, the only option named. An answer line
    that cannot be read as it stands is looked through in the same way; of "20 dollars for 5 books"
    the answer is what stands before "for".

    Args:
        is_cut: it was cut off; only an answer line counts.
    """
    text = "\n".join(text.splitlines())
    line = _ANSWER_LINE.search(text)
    if line and line["said"].strip():
        said = line["said"].removesuffix(line["mark"] or "")
        return (
            canonical_answer(said, form, choices)
            or canonical_answer(_first_sentence(said), form, choices)
            or _marked_answer(said, form, choices)
            or _main_answer(said, form, choices)
        )
    if is_cut:
        return ""
    steps = split_steps(text)
    return _marked_answer(text, form, choices) or (
        _conclusion(steps[-1], form, choices) if steps else ""
    )


def has_answer_line(text: str) -> bool:
    """Whether a line, or what follows a sentence, says that it is the answer."""
    return _ANSWER_LINE.search(text) is not None


def write_explanation(steps: Sequence[str], answer: str) -> str:
    """Return an explanation: a step a line, then the answer line."""
    return "\n".join([*map(_one_line, steps), f"{ANSWER} {_one_line(answer)}"])


def equations(step: str) -> list[Equation]:
    """Return the arithmetic a step states, in order; what cannot be read is left out.

    Read are + - * / in many spellings, brackets, percentages, "of" after a share, and units after
    numbers; a chain a = b = c is two equations. Equations with unknowns, powers or nothing to be
    computed are left out, and so are sums of different measures, clock times and ranges.
    """
    if len(step) > LONGEST_STEP:
        return []
    text = _unnumbered(_spelled(step.replace("\\", "")))
    found = _equations(text)
    with_minus = _DASH_BETWEEN_NUMBERS.sub(r"\1-\2", text)
    if with_minus == text:
        return found
    # A dash may be a minus, or part the sentence: what holds is what is meant.
    read = _equations(with_minus)
    holds = all(one.holds for one in read)
    return read if holds or not found or not all(one.holds for one in found) else found


def _equations(text: str) -> list[Equation]:
    signs = list(_EQUALS.finditer(text))
    starts = [0, *(sign.end() for sign in signs)]
    ends = [*(sign.start() for sign in signs), len(text)]
    parts = [_read_tokens(text, start, end) for start, end in zip(starts, ends, strict=True)]
    found = []
    for place, sign in enumerate(signs):
        about = _ABOUT.match(text, sign.end())
        right = [one for one in parts[place + 1] if not about or one.start >= about.end()]
        is_about = bool(about) or sign[0] in ("~=", "≈", "≅", "≃")
        runs_on = sign is not signs[-1]
        named = _names_a_value(parts[place], is_first=not place, is_worded=sign[0][0].isalpha())
        found.append(None if named else _equation(text, parts[place], right, is_about, runs_on))
    return [one for one in found if one]


def first_miscalculated(steps: Sequence[str]) -> int | None:
    """Return the index of the first step that states a wrong sum; None where there is none."""
    for place, step in enumerate(steps):
        if not all(one.holds for one in equations(step)):
            return place
    return None


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _fold(text: str) -> str:
    return _one_line(text).casefold()


def _spelled(text: str) -> str:
    """Return the text on one line, with ½ as 1/2, and with commas for thin spaces in numbers."""
    text = _SPACE_IN_NUMBER.sub(",", _CALCULATOR.sub("", text))
    text = _FRACTION_AFTER_NUMBER.sub(" ", text)
    text = _one_line(text.translate(_FRACTIONS))
    alone = _ANSWER_ALONE.match(text)
    return alone[1] + text[alone.end() :] if alone else text


# Answers


def _number_in(text: str) -> str:
    """Return the only number of a text; what stands before an equals sign or in brackets is not it.

    Unless nothing else is a number.
    """
    text = _spelled(text)
    last = re.split("[=≈]", text)[-1]
    found = (list(_NUMBERS.finditer(part)) for part in (_ASIDE.sub("", last), last, text))
    matches = next(filter(None, found), [])
    if not matches:
        return _number_in_words(text)
    values = {_value_of(match) for match in matches}
    value = values.pop()
    return "" if values or value is None else _write_number(value)


def _number_in_words(text: str) -> str:
    """Return a number written in words, perhaps with a unit of up to three; '' for any other."""
    only = _ONLY_WORDS.fullmatch(_HYPHEN_IN_NUMBER.sub(r"\1 ", text.lower()))
    words = only[1].split() if only else []
    if words[:1] == ["a"] and words[1:2] and words[1] in _SCALES:
        words[0] = "one"
    total, least, place = 0, math.inf, 0
    part: int | None = None  # what was read since the last thousand
    while place < len(words):
        word = words[place]
        value, scale = _NUMBER_WORDS.get(word), int(_SCALES.get(word, 0))
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
    is_known = not any(one in {*_NUMBER_WORDS, *_SCALES, *_CHANGES_NUMBER} for one in unit)
    is_number = part is not None or total > 0
    return str(total + (part or 0)) if is_number and is_known and len(unit) <= 3 else ""


def _goes_on(part: int | None, value: int) -> bool:
    """Whether a number under a hundred may follow what was read: after none, tens or hundreds."""
    if not part:
        return part is None
    tens, ones = divmod(part % 100, 10)
    return value > 0 and not ones and (tens == 0 or (tens > 1 and value < 10))


def _joins(words: Sequence[str], place: int) -> bool:
    """Whether a word stands between the parts of one number, as in "two hundred and five"."""
    before, after = words[max(0, place - 1)], words[place + 1 : place + 2]
    return before in _SCALES and any(one in _NUMBER_WORDS for one in after)


def _value_of(match: re.Match[str]) -> Fraction | None:
    if sum(map(str.isdigit, match[0])) > MOST_DIGITS:
        return None
    value, under = _read_digits(match["digits"]), int(match["under"] or 1)
    if not under:
        return None
    value = int(match["whole"] or 0) + value / under
    value *= _SCALES[match["scale"].lower()] if match["scale"] else 1
    return -value if match["sign"] or match["sign_after"] else value


def _read_digits(digits: str) -> Fraction:
    return Fraction("".join(one for one in digits if one.isdigit() or one == "."))


def _write_number(value: Fraction) -> str:
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


def _option_in(text: str, choices: Sequence[str]) -> str:
    """Return the option that a text is, names or gives the letter of; '' where these differ."""
    folded = _fold(text)
    for option in choices:
        if folded == _fold(option):
            return option
    named = _options_named(text, choices)
    letter = _LETTER.fullmatch(text)
    by_letter = _option_of(letter[1], choices) if letter else ""
    if by_letter:
        return by_letter if not named or by_letter in named else ""
    return named[0] if len(named) == 1 else ""


def _option_of(letter: str, choices: Sequence[str]) -> str:
    place = ord(letter.lower()) - ord("a")
    return choices[place] if 0 <= place < len(choices) else ""


def _options_named(text: str, choices: Sequence[str]) -> list[str]:
    """Return the options whose text stands in a text, but for those within a longer one.

    One that the text says no to, as in "not red", is ''.
    """
    options = {_fold(option): option for option in choices if option.strip()}
    if not options:
        return []
    longest_first = "|".join(map(re.escape, sorted(options, key=len, reverse=True)))
    option = rf"(?<!\d[.,])(?:{longest_first})(?!\w)(?![.,]\d)"
    pattern = rf"(?<!\w)(?:(?P<option>{option})|{_DENIED}{option})"
    found = re.finditer(pattern, _fold(text))
    return list(dict.fromkeys(options[one["option"]] if one["option"] else "" for one in found))


def _marked_answer(text: str, form: AnswerForm, choices: Sequence[str]) -> str:
    """Return what is boxed, or follows "the answer is", and can be read."""
    for pattern in (_BOXED, _ANSWER_IS):
        for match in pattern.finditer(text):
            said = _first_sentence(match[1]).removesuffix(".")
            if found := canonical_answer(said, form, choices):
                return found
    return ""


def _main_answer(said: str, form: AnswerForm, choices: Sequence[str]) -> str:
    """Return what an answer line says beside other things."""
    said = _first_sentence(said)
    if form == "number":
        return canonical_answer(_BESIDE_ANSWER.split(said, 1)[0], form)
    return _conclusion(said, form, choices) if said else ""


def _conclusion(step: str, form: AnswerForm, choices: Sequence[str]) -> str:
    """Return the answer that the last step ends with, where nothing marks it."""
    if form == "number":
        numbers = list(_NUMBERS.finditer(_spelled(step)))
        value = _value_of(numbers[-1]) if numbers else None
        return "" if value is None else _write_number(value)
    last = _sentences(step)[-1]
    if form == "yes_no":
        ends = _ENDS_WITH_YES_NO.search(last)
        return canonical_answer(last, form) or (_YES[ends[1].lower()] if ends else "")
    if form == "choice":
        letters = (one[1] for one in _LETTER_IN_BRACKETS.finditer(last))
        named = {*_options_named(last, choices), *(_option_of(one, choices) for one in letters)}
        return named.pop() if len(named) == 1 else ""
    return ""


# Steps


def _before_answer(text: str) -> str:
    """Return what stands before the answer line, or before "the answer is"."""
    answer = _ANSWER_LINE.search(text) or _ANSWER_IS.search(text)
    return text[: answer.start()].rstrip(" \t,;") if answer else text


def _lines(text: str) -> list[str]:
    """Return the lines without numbering and repeated white space; empty ones are left out."""
    lines = (_unnumbered(_one_line(line)) for line in text.split("\n"))
    return [line for line in lines if line]


def _unnumbered(line: str) -> str:
    numbering = _NUMBERING.match(line)
    return line[numbering.end() :] if numbering else line


def _sentences(line: str, *, is_numbered: bool = True) -> list[str]:
    """Return the sentences of a line.

    Args:
        is_numbered: a number and a full stop that begin a sentence are its number.
    """
    sentences, start = [], 0
    for end in _SENTENCE_END.finditer(line):
        tail = line[max(start, end.end() - 16) : end.end()].rstrip()
        goes_on = line[end.end() : end.end() + 1].islower() or _ABBREVIATION.search(tail)
        if goes_on or (is_numbered and _NUMBERING.fullmatch(f"{tail} ")):
            continue
        sentences.append(line[start : end.end()].rstrip())
        start = end.end()
    return [one for one in (*sentences, line[start:]) if one]


def _first_sentence(text: str) -> str:
    return next(iter(_sentences(_one_line(text), is_numbered=False)), "")


# Arithmetic


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
    if _is_of_measures(text, left, [*right, *after[len(right) :][:1]]):
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
    return None if _is_range(text, left, best) else best


def _is_of_measures(text: str, left: Sequence[_Token], right: Sequence[_Token]) -> bool:
    """Whether times of a day, or amounts of different measures, are added up: 3 h + 30 min."""
    if any(one.sign and one.sign not in "+-" for one in left):
        return False
    pairs = [*pairwise(left), *pairwise(right)]
    words = [
        text[unit.start : unit.end].strip(" .").lower()
        for number, unit in pairs
        if number.kind == "number" and _is_word(unit)
    ]
    names = {
        _MEASURE_FORMS.get(one, one if one in _MEASURES else one.removesuffix("s")) for one in words
    }
    return bool(names & _CLOCK) or len(names & _MEASURES) > 1


def _is_range(text: str, left: Sequence[_Token], found: Equation) -> bool:
    """Whether the left side is no difference but a range, as in "pages 20-30 = 11 pages"."""
    is_difference = [one.kind for one in left] == ["number", "operator", "number"]
    if not is_difference or found.holds or not found.computed < 0 < found.stated:
        return False
    return _RANGE.search(text[: left[0].start]) is not None


def _wholes(
    text: str, left: Sequence[_Token], right: Sequence[_Token], scaled: bool
) -> tuple[int, ...]:
    """Return the whole numbers that may stand for a quotient, as what follows them says."""
    if not any(one.sign and one.sign in f"/{_OVER}" for one in left) or not _is_plain(right):
        return ()
    value, end = _evaluate(left, scaled) or Fraction(), right[-1].end
    if _REMAINDER.match(text, end):
        return (math.floor(value),)
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
    if kind == "mixed":
        whole, over, under = (int(match[name]) for name in ("whole", "over", "under"))
        value = Fraction(whole * under + over, under) if under else None
        return _Token("number" if value else "unknown", start, end, value=value or Fraction())
    if kind == "number":
        digits, factor = match["digits"], (match["factor"] or "").lower()
        return _Token(
            kind,
            start,
            end,
            value=_read_digits(digits),
            factor=_FACTORS.get(factor, Fraction(1)),
            decimals=len(digits.partition(".")[2]),
            is_percent=factor in ("%", "percent"),
        )
    return _Token(kind, start, end)
