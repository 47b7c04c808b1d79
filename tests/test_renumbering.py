"""Solved word problems with other numbers."""

from __future__ import annotations

import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evokd.tasks.arithmetic import equations
from evokd.tasks.renumbering import Solved, renumbered

MARBLES = Solved(
    "Ann had 12 marbles, gave 5 away and found 30. How many has she?",
    ("First 12 - 5 = 7 were left.", "Then she had 7 + 30 = 37 marbles."),
    "37",
)


def numbers(text: str) -> list[int]:
    return [int(one) for one in re.findall(r"\d+", text)]


@given(st.integers())
def test_the_solution_stays_and_its_results_are_worked_out_anew(seed: int) -> None:
    new = renumbered(MARBLES, random.Random(seed))
    assert new is not None
    first, less, more = numbers(new.question)
    assert 10 <= first < more < 100 > first - less > 0 < less < 10
    assert new.steps == (
        f"First {first} - {less} = {first - less} were left.",
        f"Then she had {first - less} + {more} = {first - less + more} marbles.",
    )
    assert new.answer == str(first - less + more)
    assert re.sub(r"\d+", "", new.question) == re.sub(r"\d+", "", MARBLES.question)


def test_a_quotient_stays_whole_and_a_difference_above_nought() -> None:
    shared = Solved(
        "6 girls share 48 nuts, and each eats 3.",
        ("Each has 48 / 6 = 8 nuts.", "8 - 3 = 5 are left."),
        "5",
    )
    for seed in range(20):
        new = renumbered(shared, random.Random(seed))
        assert new is not None
        assert int(new.answer) > 0
        assert all(one.holds for step in new.steps for one in equations(step))


@pytest.mark.parametrize(
    "problem",
    [
        Solved("Ann runs 3 miles a day.", ("In a week 3 * 7 = 21 miles.",), "21"),  # a constant
        Solved("Ann has 1.5 m and 2 m.", ("1.5 + 2 = 3.5",), "3.5"),
        Solved("A shirt of 20 dollars is 10% off.", ("20 - 10 = 10",), "10"),
        Solved("Ann has 8 nuts and eats 4.", ("8 - 4 = 4 are left.",), "4"),  # which 4?
        Solved("Ann has 8 nuts and eats 3.", ("8 - 3 = 6 are left.",), "6"),  # wrong
        Solved("Ann has 8 nuts and eats 3.", ("8 - x = 3, so x = 5.",), "5"),
        Solved("Ann has 8 nuts and eats 3.", ("8 - 3 = 5 are left.",), "five"),
        Solved("Ann has 8 nuts and eats 8.", ("8 - 8 = 0 are left.",), "0"),
        Solved("Ann has 007 nuts.", ("007 + 007 = 14.",), "14"),
        Solved("Ann has ٣ nuts and 4.", ("٣ + 4 = 7.",), "7"),
        Solved(f"Ann has {'9' * 5000} nuts and 4.", (f"{'9' * 5000} + 4 = 7.",), "7"),
        Solved("Is a cat an animal?", ("A cat is an animal.",), "yes"),
        Solved("", (), ""),
    ],
)
def test_what_is_not_wholly_understood_is_left_as_it_is(problem: Solved) -> None:
    assert renumbered(problem, random.Random(0)) is None


def test_where_no_other_numbers_fit_nothing_is_returned() -> None:
    nines = Solved("Ann has 9 nuts and 8 pears.", ("9 - 8 = 1", "1 / 9 = 1"), "1")
    assert renumbered(nines, random.Random(0)) is None
    every = " ".join(map(str, range(1, 10)))
    alike = Solved(f"Numbers: {every}.", ("8 + 9 = 17",), "17")
    assert renumbered(alike, random.Random(0)) == alike


@given(st.text(max_size=40), st.lists(st.text(max_size=30), max_size=3), st.text(max_size=5))
def test_any_text_is_taken(question: str, steps: list[str], answer: str) -> None:
    renumbered(Solved(question, tuple(steps), answer), random.Random(0))
