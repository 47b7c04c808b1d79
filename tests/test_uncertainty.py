"""How shaky explanations are, against cases worked out by hand."""

from __future__ import annotations

import math
import random
from functools import partial

import pytest

from evokd.config import QUESTION_SELECTIONS
from evokd.tasks.explanations import same_answer
from evokd.tools.uncertainty import (
    RANKED_BY,
    Shakiness,
    answer_entropy,
    choose_questions,
    disagreement,
)


def test_disagreement_is_the_share_of_other_answers() -> None:
    # docs/methods.md: 1 - mean of [answer after s_1..s_k == a], here three of four agree.
    assert disagreement(["51", "51", "12", "51"], "51") == pytest.approx(0.25)
    assert disagreement(["51", "51"], "51") == 0.0
    assert disagreement(["", "12"], "51") == 1.0


def test_an_explanation_without_an_answer_is_as_shaky_as_can_be() -> None:
    assert disagreement(["", ""], "") == 1.0
    assert disagreement([], "51") == 1.0


def test_entropy_of_answers_over_its_largest_value() -> None:
    assert answer_entropy(["a", "a", "a", "a"]) == 0.0
    assert answer_entropy(["a", "b", "c", "d"]) == pytest.approx(1.0)
    by_hand = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25)) / math.log(4)
    assert answer_entropy(["a", "b", "a", "a"]) == pytest.approx(by_hand)
    assert answer_entropy(["a"]) == 0.0


def test_answers_are_compared_as_the_task_does() -> None:
    same = partial(same_answer, form="text")
    answers = ["paris", "Paris.", "Rome", "Paris"]
    assert disagreement(answers, "Paris", same) == pytest.approx(0.25)
    by_hand = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25)) / math.log(4)
    assert answer_entropy(answers, same) == pytest.approx(by_hand)
    assert answer_entropy(["", "", "Rome", "Rome"], same) == pytest.approx(0.5)


def test_the_shakiest_are_chosen_and_equal_ones_by_chance() -> None:
    shaky = [Shakiness({"intra": intra, "inter": 0.5}) for intra in (0.1, 0.9, 0.4, 0.9, 0.0)]
    assert set(choose_questions(shaky, 2, "explanation", random.Random(0))) == {1, 3}
    assert choose_questions(shaky, 3, "explanation", random.Random(0))[2] == 2
    firsts = {choose_questions(shaky, 1, "explanation", random.Random(n))[0] for n in range(20)}
    assert firsts == {1, 3}


def test_both_kinds_of_stepwise_uncertainty_count() -> None:
    shaky = [Shakiness({"intra": 0.6, "inter": 0.0}), Shakiness({"intra": 0.3, "inter": 0.4})]
    assert choose_questions(shaky, 1, "explanation", random.Random(0)) == [1]


def test_of_equally_shaky_explanations_the_one_with_the_unsurer_answer_is_revised() -> None:
    sure = (0.2, 0.9, 0.5, 0.7)
    kinds = [(0.1, 0.2), (0.2, 0.1), (0.3, 0.0), (0.0, 0.0)]  # three of them 0.3, but for rounding
    shaky = [
        Shakiness({"intra": intra, "inter": inter, "least_confidence": unsure})
        for (intra, inter), unsure in zip(kinds, sure, strict=True)
    ]
    assert choose_questions(shaky, 4, "explanation", random.Random(0)) == [1, 2, 0, 3]
    firsts = {choose_questions(shaky, 1, "random", random.Random(n))[0] for n in range(20)}
    assert len(firsts) > 1


def test_random_looks_at_nothing() -> None:
    shaky = [Shakiness({"intra": float(n), "inter": 0.0}) for n in range(6)]
    drawn = {tuple(choose_questions(shaky, 2, "random", random.Random(n))) for n in range(40)}
    assert {place for pair in drawn for place in pair} == set(range(6))
    assert RANKED_BY["random"] == ()


def test_every_selection_of_the_config_is_known() -> None:
    assert set(RANKED_BY) == set(QUESTION_SELECTIONS)


def test_no_more_are_chosen_than_there_are() -> None:
    assert len(choose_questions([Shakiness({})] * 2, 5, "random", random.Random(0))) == 2
