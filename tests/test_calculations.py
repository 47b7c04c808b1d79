"""Calculations of one line: the sums they are made of, and what is none."""

from __future__ import annotations

from fractions import Fraction

import pytest

from evokd.agents.reviser import read_calculation
from evokd.tasks.arithmetic import first_miscalculated, is_worked_out
from evokd.tasks.calculations import WorkedOut, calculation_of, work_out


@pytest.mark.parametrize(
    ("calculation", "steps", "answer"),
    [
        ("19 - 4", ["19 - 4 = 15"], "15"),
        ("(19-4)", ["19 - 4 = 15"], "15"),
        ("692 + (692 - 458)", ["692 - 458 = 234", "692 + 234 = 926"], "926"),
        ("573 - 195 - 210", ["573 - 195 = 378", "378 - 210 = 168"], "168"),
        ("10 - (5 - 8)", ["5 - 8 = -3", "10 - (-3) = 13"], "13"),
        ("-5 + 8", ["-5 + 8 = 3"], "3"),
        ("$1,200 ÷ 4", ["1200 / 4 = 300"], "300"),
        ("[2 x 3] − 0.5", ["2 * 3 = 6", "6 - 0.5 = 5.5"], "5.5"),
        ("(16 // 8)", ["16 / 8 = 2"], "2"),
        ("007 + 1", ["7 + 1 = 8"], "8"),
        ("10 / 3", ["10 / 3 = 3.33"], "3.33"),
        ("10 / 3 * 6", ["(10 / 3) * 6 = 20"], "20"),
        ("2 * -(1 / 3)", ["2 * (-(1 / 3)) = -0.67"], "-0.67"),
        ("7", [], "7"),
    ],
)
def test_a_calculation_is_worked_out_sum_by_sum(
    calculation: str, steps: list[str], answer: str
) -> None:
    assert work_out(calculation) == WorkedOut(tuple(steps), answer)
    assert first_miscalculated(steps) is None
    assert not steps or is_worked_out(answer, steps[-1])


@pytest.mark.parametrize(
    "text",
    [
        *("", "   ", "a + b", "2 ** 3", "7 // 2", "5 % 2", "(1", "3 4", "True + 1", "2j * 3"),
        *("1e400 * 2", "1_000 + 1", "1.2.3 + 1", "1/0", "1 / (2 - 2)", "__import__('os')"),
        *("9" * 40 + " * 2", "1 + " * 200 + "1", "(" * 60 + "1" + ")" * 60 + "+" + "1" * 9),
    ],
)
def test_what_is_no_calculation_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"calculation|nought|digits"):
        work_out(text)


@pytest.mark.parametrize(
    ("steps", "answer", "calculation"),
    [
        (["Fewer boys: 692 - 458 = 234 boys.", "Both: 692 + 234 = 926."], "926", True),
        (["The floor has 4 * 20 = 80 square feet.", "Missing are 80 - 18 = 62."], "62", True),
        (["97 - 40 = 57 alligators were not hiding."], "57 alligators", True),
        (["3 + 4 = 7", "7 * 2 = 14"], "7", False),
        (["Only words."], "7", False),
        ([], "7", False),
        (["5 apples * 3 = 15"], "15", False),
    ],
)
def test_the_calculation_of_an_explanation_comes_to_its_answer(
    steps: list[str], answer: str, calculation: bool
) -> None:
    found = calculation_of(steps, answer)
    assert bool(found) is calculation
    if found:
        assert Fraction(work_out(found).answer) == Fraction(answer.split()[0])


@pytest.mark.parametrize(
    "reply",
    ["19 - 4", "19 - 4 = 15", "15 = 19 - 4", "Calculation: 19 - 4", "```\n19 - 4\n```", "\n19-4\n"],
)
def test_a_calculation_is_found_in_a_reply(reply: str) -> None:
    own = read_calculation(reply)
    assert (own.steps, own.answer) == (("19 - 4 = 15",), "15")


def test_a_number_alone_has_no_sums() -> None:
    assert read_calculation("15").steps == ()


@pytest.mark.parametrize("reply", ["", "I cannot tell.", "x = 15"])
def test_a_reply_without_a_calculation_cannot_be_used(reply: str) -> None:
    with pytest.raises(ValueError, match="calculation|empty"):
        read_calculation(reply)
