"""Explanations and their answers: steps, the answer line, what an answer says.

Pure functions; knows nothing of models or rows. An explanation is a step a line, then `Answer: X`.
A canonical answer is the one string that stands for all ways to write the same answer; '' stands
for none. Nothing here raises for any text.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

from evokd.tasks.written_numbers import (
    concluded_number_in,
    is_only_a_number,
    number_in,
    numbers_in,
    one_line,
    without_calculator,
    without_latex,
)

AnswerForm = Literal["number", "yes_no", "choice", "text"]

ANSWER = "Answer:"
# Only ASCII: else "ı" counts as an i, and finds no place in a table.
_SAYS = r"(?a:yes|no|true|false)"
_YES = {"yes": "yes", "true": "yes", "no": "no", "false": "no"}
_ONLY_YES_NO = re.compile(rf"[\W_]*{_SAYS}[\W_]*", re.IGNORECASE)
_YES_NO = re.compile(
    rf"[\W_]*({_SAYS})(?:[\W_]*|\s*[.,;:!?)\]*\"'”’–—(…].*|\s+-\s.*)", re.IGNORECASE | re.DOTALL
)
_CLAUSE = r"(?:it|he|she|they|we|you|i|there|that|this|these|those|because|since)\b"
_YES_NO_IT_IS = re.compile(
    rf"[\W_]*({_SAYS}(?=\s+{_CLAUSE})|(?a:yes)(?=\s+[^\W\d_]))\s.*",
    re.IGNORECASE | re.DOTALL,
)
# Yes or no as an answer: not "not true", and not the "no" of "no cats".
_SAID = re.compile(
    rf"(?<!\bnot )\b(?!no\s+(?!(?:or|and|nor|but|if|yes)\b|{_CLAUSE})\w)({_SAYS})\b(?!-\w)",
    re.IGNORECASE,
)
_NO_MORE_THAN_SAID = re.compile(
    rf"(?:[\W_]*\b(?:{_SAYS}|either|neither|or|and|nor)\b)+[\W_]*", re.IGNORECASE
)
_NOT = r"(?:not|cannot|never|hardly|no\s+longer|[^\W\d_]+n['’]t)"
# "Not entirely true" and "did not say no", but not "does not bark so no".
_ENDS_WITH_YES_NO = re.compile(
    rf"\b(?:{_NOT}(?:\s+(?!(?:is|are|was|were|but|and|or|so|thus|hence|therefore|{_SAYS})\b)"
    rf"\w+){{0,2}}\s+(?:an?\s+)?{_SAYS}|(?P<said>{_SAYS}))[\W_]*$",
    re.IGNORECASE,
)
# "I do not think it is true": what is denied or doubted before, in the same clause.
_DOUBT = re.compile(
    rf"\b(?:{_NOT}|neither|nor|none|nobody|no\s+(?!doubt\b|question\b)\w+|few|(?<!no )doubt\w*"
    r"|unlikely|improbable|impossible|far\s+from|false|untrue)\b",
    re.IGNORECASE,
)
_CLAUSE_BEGINS = re.compile(
    r"[,;:–—]|\b(?:so|thus|hence|therefore|but|because|since|and|or|then)\b", re.IGNORECASE
)
_CLAIM = re.compile(r"\b(?:claim|statement|sentence|assertion|idea)\s+that\b", re.IGNORECASE)
_LETTER = re.compile(
    r"\W*(?:(?:option|choice)\s+)?((?a:[a-z]))(?:[)\].:,]+(?:\s.*|$)|\W*$)",
    re.IGNORECASE | re.DOTALL,
)
_DENIED = rf"(?:{_NOT}|neither|nor|no)\s+(?:be\s+)?(?:the\s+|an?\s+)?"
_NO_TO = re.compile(rf"(?<!\w){_DENIED}", re.IGNORECASE)
_LETTER_IN_BRACKETS = re.compile(
    rf"(?:\((?P<letter>(?a:[a-z]))\)|(?<!\w){_DENIED}\((?a:[a-z])\))", re.IGNORECASE
)
_FURTHER_LETTER = re.compile(
    rf"(?<!\w){_DENIED}[(\[]?(?a:[a-z])\b|(?<![\w(])[(\[]?(?P<letter>(?a:[a-z]))[)\]]"
    r"|,\s*(?P<listed>(?a:[a-z]))(?=,|\W*$|\s+(?:and|or)\b)",
    re.IGNORECASE,
)
_ANSWER_LINE = re.compile(
    r"(?:^|(?<=[.!?;。])[ \t]+|(?<=[ \t])(?=(?-i:Answer:)|####[ \t]*\S))[#>\- \t]{0,8}"
    r"(?:####(?! *step\b)|(?P<mark>[*_]{0,2})(?:the )?(?:final )?"
    r"answer ?(?P=mark)? ?[:：](?P=mark)?)(?:\s*\n\s*[-*•]\s+|\s*)(?P<said>.*)",
    re.IGNORECASE | re.MULTILINE,
)
_ANSWER_IS = re.compile(
    r"(?:\b(?:so|thus|therefore|hence)\b,? )?\bthe (?:final |correct )?answer is\b"
    r"\s*:?\s*(?=(.{0,300}))",
    re.IGNORECASE,
)
_BESIDE_ANSWER = re.compile(
    r"\s(?:for|after|because|since)\b|(?<=[^\W\d_])\s(?:in|per|from|at|over|on|by|each|every)\b",
    re.IGNORECASE,
)
_BOXED = re.compile(r"\\boxed\s*\{((?:[^{}\n]|\{[^{}\n]*\})*)\}")
_NUMBERING = re.compile(
    r"(?:[*_]{0,2}step \d+[*_]{0,2} ?[:.)\-–][*_]{0,2}\s*|\d{1,3}[.)]\s+"
    r"|\(\d{1,3}\)\s+(?=[^\W\d_]{2}|[ai]\b|[$€£¥₹]?\d)|[-*•–—]\s+)+",
    re.IGNORECASE,
)
_SENTENCE_END = re.compile(r"(?<![.!?])[.!?]+[\"'”’)\]]*\s+|[。！？]+\s*")
_ABBREVIATION = re.compile(
    r"(?:^|[\s(\"“]|(?<!\w)')(?:(?:[^\W\d_]\.)*[^\W\d_]|mrs?|ms|dr|prof|st|jr|sr|mt|vs|etc|approx|ca|cf|inc"
    r"|ltd|co|dept|fig|min|hrs?|lbs?|oz|ft|sq)\.$",
    re.IGNORECASE,
)


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
        return number_in(text)
    if form == "yes_no":
        return _yes_or_no(text)
    if form == "choice":
        return _option_in(text, choices)
    return one_line(text)


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
    return "number" if is_only_a_number(answer) else "text"


def form_with(choices: Sequence[str], usual: AnswerForm) -> AnswerForm:
    """Return the form of the answer to a question.

    Args:
        usual: what it is without choices.
    """
    return "choice" if choices else usual


def split_steps(text: str, *, is_cut: bool = False) -> list[str]:
    """Return the steps of an explanation, without their numbering and what follows from the answer.

    A line is a step; where all stands on one line, a sentence is.

    Args:
        is_cut: it was cut off; a last step that may go on is none.
    """
    text = without_calculator(text)
    text, is_ended = "\n".join(text.splitlines()), text.rstrip(" \t").endswith("\n")
    before = _before_answer(text)
    lines = _lines(before)
    steps = _lines("\n".join(_sentences(lines[0]))) if len(lines) == 1 else lines
    return steps[:-1] if is_cut and before == text and not is_ended else steps


def first_repeated(steps: Sequence[str]) -> int | None:
    """Return the index of the first step that says again what one before it said, word for word.

    Of 7,473 gold explanations of GSM8K none has such a step; a small model that has nothing more to
    say writes little else. None where there is none.
    """
    return next((place for place, step in enumerate(steps) if step in steps[:place]), None)


def extract_answer(
    text: str, form: AnswerForm, choices: Sequence[str] = (), *, is_cut: bool = False
) -> str:
    """Return the canonical answer of a whole explanation; '' where there is none.

    It is what the first answer line says, else what is boxed or follows "the answer is", else what
    the explanation ends with: the last number, a yes or no, the only option named. An answer line
    that cannot be read as it stands is looked through in the same way; of "20 dollars for 5 books"
    the answer is what stands before "for".

    Args:
        is_cut: it was cut off; only an answer line and what is marked count, where they are ended.
    """
    text = without_latex(_finished(text) if is_cut else "\n".join(text.splitlines()))
    line = _ANSWER_LINE.search(text)
    if line and line["said"].strip():
        said = line["said"].removesuffix(line["mark"] or "")
        return (
            canonical_answer(said, form, choices)
            or canonical_answer(_first_sentence(said), form, choices)
            or _marked_answer(said, form, choices)
            or _main_answer(said, form, choices)
        )
    steps = [] if is_cut else split_steps(text)
    return _marked_answer(text, form, choices) or (
        _conclusion(steps[-1], form, choices) if steps else ""
    )


def said_answer(text: str) -> str:
    """Return what the first answer line says, as it is written; '' where there is none."""
    line = _ANSWER_LINE.search(text)
    return line["said"].removesuffix(line["mark"] or "").strip() if line else ""


def has_answer_line(text: str) -> bool:
    """Whether a line, or what follows a sentence, says that it is the answer."""
    return _ANSWER_LINE.search(text) is not None


def write_explanation(steps: Sequence[str], answer: str) -> str:
    """Return an explanation: a step a line, then the answer line."""
    return "\n".join([*map(one_line, steps), f"{ANSWER} {one_line(answer)}"])


def unnumbered(line: str) -> str:
    """Return a step without its number or bullet."""
    numbering = _NUMBERING.match(line)
    return line[numbering.end() :] if numbering else line


def _fold(text: str) -> str:
    return one_line(text).casefold()


def _yes_or_no(text: str) -> str:
    """Return what a text begins with; '' where it says both, as an echo of the question does."""
    said = _YES_NO.fullmatch(text)
    both = text if _NO_MORE_THAN_SAID.fullmatch(text) else ""
    if not said:
        said = _YES_NO_IT_IS.fullmatch(text)
        both = _first_sentence(text)
    return _YES[said[1].lower()] if said and not _says_both(both) else ""


def _says_both(text: str) -> bool:
    return len({_YES[one[1].lower()] for one in _SAID.finditer(text)}) > 1


def _option_in(text: str, choices: Sequence[str]) -> str:
    """Return the option that a text is, names or gives the letter of; '' where these differ."""
    text = without_latex(text)
    folded = _fold(text)
    for option in choices:
        if folded == _fold(option):
            return option
    named = _options_named(text, choices) or _options_of_value(text, choices)
    if lettered := _options_by_letter(text, choices):
        return lettered[0] if len(lettered) == 1 and lettered[0] in (named or lettered) else ""
    return named[0] if len(named) == 1 else ""


def _options_by_letter(text: str, choices: Sequence[str]) -> list[str]:
    """Return the options whose letters a text gives; none where it does not begin with one."""
    first = _LETTER.fullmatch(text)
    option = _option_of(first[1], choices) if first else ""
    if not first or not option:
        return []
    further = _FURTHER_LETTER.finditer(text, first.end(1))
    letters = (one["letter"] or one["listed"] for one in further)
    options = [option, *(_option_of(one, choices) for one in letters if one)]
    return [one for one in dict.fromkeys(options) if one]


def _option_of(letter: str, choices: Sequence[str]) -> str:
    place = ord(letter.lower()) - ord("a")
    return choices[place] if 0 <= place < len(choices) else ""


def _options_named(text: str, choices: Sequence[str]) -> list[str]:
    """Return the options whose text stands in a text, but for those within a longer one.

    One that the text says no to, as in "not red", is ''. The 5 of -5, and of 5 million, is no 5.
    """
    options = {_fold(option): option for option in choices if option.strip()}
    if not options:
        return []
    values = set(numbers_in(text))
    longest_first = "|".join(map(re.escape, sorted(options, key=len, reverse=True)))
    option = rf"(?<!\d[.,])(?:{longest_first})(?!\w)(?![.,]\d)"
    pattern = rf"(?<!\w)(?:(?P<option>{option})|{_DENIED}{option})"
    found = re.finditer(pattern, _fold(text))
    named = dict.fromkeys(options[one["option"]] if one["option"] else "" for one in found)
    return [one for one in named if not is_only_a_number(one) or values.issuperset(numbers_in(one))]


def _options_of_value(text: str, choices: Sequence[str]) -> list[str]:
    """Return the options that are the only number of a text, however both are written.

    None where the text says no to anything.
    """
    value = "" if _NO_TO.search(text) else number_in(text)
    return [one for one in choices if value and is_only_a_number(one) and number_in(one) == value]


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
        return concluded_number_in(step)
    last = _sentences(step)[-1]
    if form == "yes_no":
        ends = None if _says_both(last) else _ENDS_WITH_YES_NO.search(last)
        said = ends["said"] if ends and not _is_doubted(last[: ends.start("said")]) else None
        return canonical_answer(last, form) or (_YES[said.lower()] if said else "")
    if form == "choice":
        if _options_by_letter(step, choices):
            return _option_in(step, choices)
        letters = (one["letter"] for one in _LETTER_IN_BRACKETS.finditer(last))
        named = {*_options_named(last, choices)} | {
            _option_of(one, choices) if one else "" for one in letters
        }
        named = named or {*_options_of_value(last, choices)}
        return named.pop() if len(named) == 1 else ""
    return ""


def _is_doubted(before: str) -> bool:
    """Whether what follows is denied or doubted: in the same clause, and not by what is claimed."""
    clause = _CLAUSE_BEGINS.split(before)[-1]
    return _DOUBT.search(_CLAIM.split(clause)[0]) is not None


def _before_answer(text: str) -> str:
    """Return what stands before the answer line, or before "the answer is"."""
    answer = _ANSWER_LINE.search(text) or _ANSWER_IS.search(text)
    return text[: answer.start()].rstrip(" \t,;") if answer else text


def _finished(text: str) -> str:
    """Return the lines and sentences of a text that was cut off which cannot go on."""
    *lines, last = f"{text}X".splitlines()  # X: what may follow
    return "\n".join([*lines, " ".join(_sentences(last, is_numbered=False)[:-1])])


def _lines(text: str) -> list[str]:
    """Return the lines without numbering and repeated white space; empty ones are left out."""
    lines = (unnumbered(one_line(line)) for line in text.split("\n"))
    return [line for line in lines if line]


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
    return next(iter(_sentences(one_line(text), is_numbered=False)), "")
