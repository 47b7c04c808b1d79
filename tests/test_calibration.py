"""Calibration of the labeler's probabilities."""

from __future__ import annotations

import pytest

from evokd.tools.calibration import SMOOTHING, calibrate, label_bias

LABELS = ("thing", "person")


def test_a_label_said_twice_as_often_as_asked_for_has_a_bias() -> None:
    rows = [{"thing": 1.0}] * 98 + [{"person": 1.0}] * 2
    bias = label_bias(rows, ["thing"] * 50 + ["person"] * 50, LABELS)
    assert bias["thing"] == pytest.approx((98 + SMOOTHING) / (50 + SMOOTHING), rel=1e-3)
    assert bias["person"] == pytest.approx((2 + SMOOTHING) / (50 + SMOOTHING), rel=1e-2)


def test_what_was_asked_for_is_no_bias_even_where_labels_are_uneven() -> None:
    rows = [{"thing": 1.0}] * 30 + [{"person": 1.0}] * 10
    bias = label_bias(rows, ["thing"] * 30 + ["person"] * 10, LABELS)
    assert bias == pytest.approx(dict.fromkeys(LABELS, 1.0), rel=1e-3)


def test_few_texts_say_little() -> None:
    one = label_bias([{"thing": 1.0}], ["person"], LABELS)
    many = label_bias([{"thing": 1.0}] * 50, ["person"] * 50, LABELS)
    assert 1 < one["thing"] < many["thing"]


def test_without_a_bias_nothing_changes() -> None:
    same = calibrate({"thing": 0.7, "person": 0.3}, dict.fromkeys(LABELS, 1.0))
    assert same == pytest.approx({"thing": 0.7, "person": 0.3})


def test_a_bias_is_divided_out_and_may_turn_the_answer() -> None:
    freed = calibrate({"thing": 0.6, "person": 0.4}, {"thing": 2.0, "person": 0.5})
    assert freed == pytest.approx({"thing": 0.3 / 1.1, "person": 0.8 / 1.1})


def test_labels_that_were_not_reported_have_a_probability() -> None:
    freed = calibrate({"thing": 1.0}, dict.fromkeys(LABELS, 1.0))
    assert 0 < freed["person"] < 0.001
    assert sum(freed.values()) == pytest.approx(1.0)
