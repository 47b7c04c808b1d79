"""How tags are read off a tagger's probabilities."""

from __future__ import annotations

import math
from itertools import pairwise, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evokd.records import Entity, Example
from evokd.tasks.grounding import NO_CAPITALS
from evokd.tasks.ner import OUTSIDE
from evokd.tools.decoding import EntityHabits, likeliest_tags

TAGS = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]


def is_valid(tags: tuple[str, ...]) -> bool:
    return all(
        not tag.startswith("I-") or last[2:] == tag[2:] for last, tag in pairwise((OUTSIDE, *tags))
    )


def score(tags: tuple[str, ...], said: list[list[float]], cost: float) -> float:
    adjacent = sum(last != OUTSIDE and tag.startswith("B-") for last, tag in pairwise(tags))
    logs = (math.log(row[TAGS.index(tag)]) for row, tag in zip(said, tags, strict=True))
    return sum(logs) - cost * adjacent


@given(
    st.lists(st.lists(st.floats(0.01, 1), min_size=5, max_size=5), min_size=1, max_size=4),
    st.floats(0, 5),
)
def test_no_valid_tags_are_likelier(said: list[list[float]], cost: float) -> None:
    found = tuple(likeliest_tags(said, TAGS, cost))

    valid = [tags for tags in product(TAGS, repeat=len(said)) if is_valid(tags)]
    assert is_valid(found)
    assert score(found, said, cost) == pytest.approx(max(score(one, said, cost) for one in valid))


def test_of_no_token_there_is_no_tag() -> None:
    assert likeliest_tags([], TAGS) == []


def test_a_name_is_not_torn_apart() -> None:
    said = [[0.0, 0.2, 0.0, 0.8, 0.0], [0.1, 0.1, 0.7, 0.0, 0.1]]

    assert likeliest_tags(said, TAGS) == ["B-PER", "I-PER"]  # 0.2 · 0.7 against 0.8 · 0.1


def test_an_entity_right_behind_another_costs() -> None:
    said = [[0.0, 0.0, 0.0, 1.0, 0.0], [0.0, 0.6, 0.0, 0.0, 0.4]]

    assert likeliest_tags(said, TAGS) == ["B-LOC", "B-PER"]
    assert likeliest_tags(said, TAGS, adjacent_cost=1.0) == ["B-LOC", "I-LOC"]


def row(text: str, *entities: tuple[str, str]) -> Example:
    return Example(
        text=text,
        label=entities[0][1] if entities else "none",
        entities=[
            Entity(start=text.index(name), end=text.index(name) + len(name), label=label)
            for name, label in entities
        ],
    )


def test_habits_are_counted_from_rows() -> None:
    rows = [
        row("Yesterday Ann Lee met Bob.", ("Ann Lee", "PER"), ("Bob", "PER")),
        row("In Rome Ann sang.", ("Rome", "LOC"), ("Ann", "PER")),
        row("She lives in New York.", ("New York", "LOC")),
    ]

    habits = EntityHabits.of(rows)

    # Behind a token of an entity stand Lee and York, which go on, and Ann, who begins.
    assert habits.adjacent_cost == pytest.approx(-math.log((1 + 1) / (3 + 2)))
    assert habits.capitals.names == {"PER", "LOC"}
    assert not habits.capitals.figured
    assert EntityHabits.read(habits.raw()) == habits


def test_a_year_is_no_name_unless_those_that_were_learnt_are() -> None:
    titles = [row("She read Emma.", ("Emma", "TITLE"))] * 20
    orwell = row("She read 1984.", ("1984", "TITLE"))
    few, many = EntityHabits.of([*titles, orwell]), EntityHabits.of([*titles[1:], orwell])
    assert not few.allow(orwell.text, 9, 13, "TITLE")
    assert many.allow(orwell.text, 9, 13, "TITLE")
    assert few.allow("she read 1984.", 9, 13, "TITLE")  # who types no capital letter
    assert few.allow("She read F451.", 9, 13, "TITLE")
    assert few.allow("She read p53.", 9, 12, "TITLE")
    assert few.allow("She read 1984.", 9, 13, "YEAR")
    assert not many.allow("She read emma.", 9, 13, "TITLE")


def test_a_student_that_knows_of_no_habits_has_none() -> None:
    assert EntityHabits.read({}) == EntityHabits(adjacent_cost=0.0, capitals=NO_CAPITALS)
    of_before = EntityHabits.read({"names": ["PER"]})  # figures were entities then
    assert of_before.allow("Born 1986", 5, 9, "PER")
    assert not of_before.allow("Born here", 5, 9, "PER")
