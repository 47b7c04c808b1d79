"""A question's calculation: one line of numbers and signs, and the sums it is made of.

Pure functions. A calculation is what a teacher writes of a solution that has no words.
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

from evokd.tasks.arithmetic import equations
from evokd.tasks.explanations import same_answer
from evokd.tasks.written_numbers import MINUS, write_number

LONGEST_CALCULATION = 120  # characters
MOST_DECIMALS = 4  # of a result that is a step of its own
ROUNDED = 2  # decimals of a last result that has no end
_SIGNS = str.maketrans({**dict.fromkeys("×·∙⋅•", "*"), "÷": "/", **dict.fromkeys(MINUS, "-")})
_BRACKETS = str.maketrans("[]{}", "()()")
_LEFT_OUT = re.compile(r"[$€£¥₹]|(?<=\d),(?=\d{3}(?!\d))")
_IS_TIMES = re.compile(r"(?<=[\d)])\s*x\s*(?=[\d(.])", re.IGNORECASE)
_ONLY_SIGNS = re.compile(r"[\d.+*/() -]+")
_LEADING_NOUGHTS = re.compile(r"(?<![\d.])0+(?=\d)")
_OPERATORS: dict[type[ast.operator], tuple[str, Callable[[Fraction, Fraction], Fraction]]] = {
    ast.Add: ("+", operator.add),
    ast.Sub: ("-", operator.sub),
    ast.Mult: ("*", operator.mul),
    ast.Div: ("/", operator.truediv),
    ast.FloorDiv: ("/", operator.truediv),  # as Python has it; only where nothing is left over
}


@dataclass(frozen=True)
class WorkedOut:
    """A calculation, worked out.

    Args:
        steps: its sums in the order in which they are worked out, one a step; none where it is a
            number only.
        answer: what it comes to, a canonical number.
    """

    steps: tuple[str, ...]
    answer: str


@dataclass(frozen=True)
class _Part:
    """A part of a calculation as a later sum writes it, and what it is worth."""

    value: Fraction
    written: str


def work_out(calculation: str) -> WorkedOut:
    """Work a calculation out: + - * / and brackets, in many spellings; no percentages, no powers.

    Where a result has no short decimal, its sum stays a part of the next one; the last result is
    rounded then.

    Raises:
        ValueError: it is none, or cannot be worked out.
    """
    text = _LEFT_OUT.sub("", calculation.translate(_SIGNS).translate(_BRACKETS)).strip()
    text = _LEADING_NOUGHTS.sub("", _IS_TIMES.sub(" * ", text))
    if len(text) > LONGEST_CALCULATION:
        raise ValueError(f"it is no calculation of at most {LONGEST_CALCULATION} characters")
    steps: list[str] = []
    try:
        if not _ONLY_SIGNS.fullmatch(text):
            raise TypeError(text)
        whole = _work_out(ast.parse(text, mode="eval").body, steps)
    except (SyntaxError, TypeError):
        raise ValueError("it is no calculation with + - * / and brackets") from None
    except ZeroDivisionError:
        raise ValueError("it divides by nought") from None
    answer = _short(whole.value)
    if not answer:
        answer = write_number(round(whole.value, ROUNDED))
        left = whole.written[1:-1] if whole.written.startswith("(") else whole.written
        steps.append(f"{left} = {answer}")
    if not answer:
        raise ValueError("its result has too many digits")
    return WorkedOut(tuple(steps), answer)


def calculation_of(steps: Sequence[str], answer: str) -> str:
    """Return the calculation of an explanation: its last sum, with the sums before it put in.

    '' where it does not come to the answer, or cannot be read.
    """
    sums: dict[str, str] = {}
    whole = ""
    for one in (equation for step in steps for equation in equations(step)):
        whole = one.left
        for result, earlier in sums.items():
            whole = re.sub(
                rf"(?<![\d.]){re.escape(result)}(?![\d.])", f"({earlier})", whole, count=1
            )
        sums[write_number(one.stated)] = whole
    try:
        return whole if same_answer(work_out(whole).answer, answer, "number") else ""
    except ValueError:
        return ""


def _work_out(node: ast.expr, steps: list[str]) -> _Part:
    """Return what a part comes to; its sums are added to the steps."""
    match node:
        case ast.BinOp(left, sum_of, right) if type(sum_of) in _OPERATORS:
            one, other = _work_out(left, steps), _work_out(right, steps)
            sign, work = _OPERATORS[type(sum_of)]
            written = f"{one.written} {sign} {_second(other.written)}"
            value = work(one.value, other.value)
            if isinstance(sum_of, ast.FloorDiv) and value.denominator != 1:
                raise TypeError(node)
            if short := _short(value):
                steps.append(f"{written} = {short}")
            return _Part(value, short or f"({written})")
        case ast.UnaryOp(ast.USub(), operand):
            one = _work_out(operand, steps)
            minus = _short(-one.value)
            return _Part(-one.value, minus or f"-{one.written}")
        case ast.UnaryOp(ast.UAdd(), operand):
            return _work_out(operand, steps)
        case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
            value = Fraction(str(number))
            return _Part(value, write_number(value))
    raise TypeError(node)


def _second(written: str) -> str:
    return f"({written})" if written.startswith("-") else written


def _short(value: Fraction) -> str:
    """Return a value with a few decimals at most; '' where it has more."""
    return write_number(value) if (value * 10**MOST_DECIMALS).denominator == 1 else ""
