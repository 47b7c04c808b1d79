"""LLKD's thresholds and weights against a case computed by hand."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evokd import config
from evokd.tools.thresholds import (
    SIGNALS,
    MovingThreshold,
    ThresholdSelection,
    normalized_entropy,
    step_selection,
    surest,
)


def test_entropy_is_nought_where_one_label_has_all_and_one_where_all_have_the_same() -> None:
    assert normalized_entropy([1.0, 0.0, 0.0]) == 0.0
    assert normalized_entropy([0.25] * 4) == pytest.approx(1.0)
    assert normalized_entropy([0.5, 0.5, 0.0, 0.0]) == pytest.approx(0.5)
    assert normalized_entropy([1.0]) == 0.0


def test_a_threshold_follows_all_rows_and_the_rows_of_its_label() -> None:
    threshold = MovingThreshold(["a", "b"], momentum=0.5)
    threshold.update([0.9, 0.7, 0.4], ["a", "a", "b"])
    # the first batch's own means: τ = 2/3, ρ(a) = 0.8, ρ(b) = 0.4
    assert threshold.of("a") == pytest.approx(2 / 3)
    assert threshold.of("b") == pytest.approx(1 / 3)
    threshold.update([0.2], ["b"])
    # τ = (0.5 · 1/3 + 0.5 · 0.2) / 0.75 = 16/45; ρ(a) stays 0.8
    # ρ(b) = (0.5 · 0.2 + 0.5 · 0.2) / 0.75 = 4/15
    assert threshold.of("a") == pytest.approx(16 / 45)
    assert threshold.of("b") == pytest.approx(16 / 45 / 3)


def test_a_threshold_acts_from_the_first_batch_on() -> None:
    threshold = MovingThreshold(["a", "b", "c", "d"])
    threshold.update([0.9] * 4, ["a", "b", "c", "d"])
    assert threshold.of("c") == pytest.approx(0.9)


@given(st.floats(0.0, 1.0), st.integers(1, 50))
def test_a_value_that_all_rows_share_reaches_the_threshold(value: float, batches: int) -> None:
    threshold = MovingThreshold(["a", "b", "c"])
    for _ in range(batches):
        threshold.update([value] * 3, ["a", "b", "b"])
    assert threshold.is_reached(value, "a")
    assert threshold.is_reached(value, "b")


def test_an_empty_batch_moves_nothing() -> None:
    threshold = MovingThreshold(["a", "b"])
    threshold.update([], [])
    assert threshold.of("a") == 0.0
    threshold.update([0.8], ["a"])
    threshold.update([], [])
    assert threshold.of("a") == pytest.approx(0.8)
    assert threshold.of("b") == 0.0


def test_a_threshold_may_rise_from_nought() -> None:
    threshold = MovingThreshold(["a", "b"], momentum=0.5, from_nought=True)
    threshold.update([0.8, 0.4], ["a", "b"])
    # τ = 0.5 · 0.6 = 0.3; ρ(a) = 0.4, ρ(b) = 0.2
    assert (threshold.of("a"), threshold.of("b")) == pytest.approx((0.3, 0.15))
    threshold.update([0.8, 0.4], ["a", "b"])
    # τ = 0.15 + 0.3 = 0.45; ρ(a) = 0.6, ρ(b) = 0.3
    assert (threshold.of("a"), threshold.of("b")) == pytest.approx((0.45, 0.225))


def test_a_row_is_kept_where_the_teacher_is_sure_and_the_student_is_not() -> None:
    selection = ThresholdSelection(["a", "b"], momentum=0.5)
    batch = [0.9, 0.7, 0.4, 0.8], [0.6, 0.9, 0.8, 0.1], ["a", "a", "b", "b"]
    # confidence:  τ = 0.35; ρ(a) = 0.4, ρ(b) = 0.3; τ(a) = 0.35, τ(b) = 0.2625: all reach it
    # uncertainty: τ = 0.3; ρ(a) = 0.375, ρ(b) = 0.225; τ(a) = 0.3, τ(b) = 0.18: the fourth is out
    assert selection.weigh(*batch) == pytest.approx([0.54, 0.63, 0.32, 0.0])
    # then τ = 0.525 and 0.45, after that 0.6125 and 0.525, the ratios as they were:
    # confidence τ(b) = 0.39375, then 0.459375, which the third does not reach
    assert selection.weigh(*batch) == pytest.approx([0.54, 0.63, 0.32, 0.0])
    assert selection.weigh(*batch) == pytest.approx([0.54, 0.63, 0.0, 0.0])


def test_a_lopsided_teacher_still_keeps_rows_of_the_label_it_is_unsure_of() -> None:
    selection = ThresholdSelection(["a", "b"], momentum=0.0)
    sure, unsure = [0.99] * 6 + [0.6, 0.4], [0.5] * 8
    kept = selection.weigh(sure, unsure, ["a"] * 6 + ["b"] * 2)
    assert kept[6] > 0  # a cut at 0.8 would leave no row of b
    assert kept[7] == 0


def test_the_surest_rows_are_a_share_of_every_label() -> None:
    confidences = [0.9, 0.99, 0.8, 0.95, 0.5, 0.4, 0.3, 0.2]
    labels = ["a", "a", "a", "a", "b", "b", "b", "b"]
    assert surest(confidences, labels, 0.5) == {1, 3, 4, 5}
    assert surest(confidences, labels, 0.25) == {1, 4}
    assert surest(confidences, labels, 0.1) == {1, 4}  # one of each at least
    assert surest(confidences, labels, 1.0) == set(range(8))


def test_a_label_with_few_rows_gives_more_of_them_and_the_share_stays() -> None:
    labels = ["a"] * 360 + ["b"] * 36 + ["c"] * 4
    kept = Counter(labels[place] for place in surest([0.5] * 400, labels, 0.25))
    assert kept == {"a": 87, "b": 9, "c": 4}


def test_of_rows_that_are_equally_sure_a_share_is_kept_too() -> None:
    assert surest([1.0] * 8, ["a"] * 8, 0.25) == {0, 1}


@pytest.mark.parametrize(("weighting", "weight"), [("product", 0.45), ("sum", 1.4), ("one", 1.0)])
def test_what_a_kept_row_counts(weighting: str, weight: float) -> None:
    selection = ThresholdSelection(["a", "b"], weighting=weighting)  # type: ignore[arg-type]
    assert selection.weigh([0.9], [0.5], ["a"]) == pytest.approx([weight])


@pytest.mark.parametrize(
    ("name", "kept"), [("confidence", [0.9, 0.0, 0.8]), ("uncertainty", [0.0, 0.9, 0.7])]
)
def test_one_threshold_alone_looks_at_its_own_signal(name: str, kept: list[float]) -> None:
    selection = ThresholdSelection(["a", "b"], SIGNALS[name], momentum=0.0)
    # confidence:  τ = 0.6; ρ(a) = 0.5, ρ(b) = 0.8; τ(a) = 0.375, τ(b) = 0.6
    # uncertainty: τ = 17/30; ρ(a) = 0.5, ρ(b) = 0.7; τ(a) = 0.405, τ(b) = 0.567
    assert selection.weigh([0.9, 0.1, 0.8], [0.1, 0.9, 0.7], ["a", "a", "b"]) == kept


def test_accept_reject_keeps_a_row_as_often_as_the_student_is_unsure() -> None:
    selection = step_selection("m-raru", ["a", "b"], "one", 0)
    assert selection is not None
    kept = selection.weigh([0.5] * 1000, [0.3] * 1000, ["a"] * 1000)
    assert 0.2 < sum(kept) / 1000 < 0.4
    assert selection.weigh([0.5] * 2, [0.0, 1.0], ["a"] * 2) == [0.0, 1.0]


def test_every_selection_but_k_centre_has_a_meaning_in_a_step() -> None:
    all_kept = {n for n in config.SELECTIONS if step_selection(n, ["a"], "one", 0) is None}
    assert all_kept == {"random", "k-centre"}
