"""Calibration of the labeler's probabilities."""

from __future__ import annotations

import pytest

from evokd.graph.calibrating import measure
from evokd.records import Example
from evokd.tools.calibration import (
    LITTLE,
    SMOOTHING,
    calibrate,
    calibrated_apart,
    calibration_error,
    fit_temperature,
    label_bias,
    leaning,
    reliability,
    with_temperature,
)

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


def test_what_is_said_of_texts_that_hold_no_label_is_a_bias() -> None:
    bias = leaning([{"thing": 0.9, "person": 0.1}] * 20, LABELS)
    assert bias["thing"] == pytest.approx((18 + LITTLE) / (10 + LITTLE), rel=1e-3)
    assert bias["person"] == pytest.approx((2 + LITTLE) / (10 + LITTLE), rel=1e-3)
    assert leaning([], LABELS) == dict.fromkeys(LABELS, 1.0)


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


def overconfident(rows: int = 100) -> tuple[list[dict[str, float]], list[str]]:
    """A labeler that is always 95% sure of thing, and right in seven of ten."""
    gold = ["thing" if place // 5 % 10 < 7 else "person" for place in range(rows)]
    return [{"thing": 0.95, "person": 0.05}] * rows, gold


def test_a_temperature_makes_an_overconfident_labeler_as_sure_as_it_is_right() -> None:
    rows, gold = overconfident()
    temperature = fit_temperature(rows, gold)
    # A gold label counts 101 / 102, the other one 1 / 102: 0.7 · 101 / 102 + 0.3 / 102.
    assert with_temperature(rows[0], temperature)["thing"] == pytest.approx(71 / 102, abs=1e-6)
    assert temperature > 1
    assert calibrated_apart(rows, gold, ["thing"] * 100) == pytest.approx([0.7] * 100, abs=0.03)
    assert calibrated_apart(rows, gold, ["person"] * 100) == pytest.approx([0.3] * 100, abs=0.03)


def test_what_is_measured_is_the_label_that_was_written_not_the_likeliest() -> None:
    row = {"thing": 0.45, "person": 0.55}
    found = measure([(Example(text="t", label="thing"), "thing", row)] * 60)
    assert found["accuracy"] == 1.0
    assert found["raw"] == [{"rows": 60, "confidence": pytest.approx(0.45), "accuracy": 1.0}]
    (point,) = found["calibrated"]
    assert point["confidence"] == pytest.approx(0.5, abs=0.01)  # no temperature turns the answer


def test_a_labeler_that_is_too_modest_gets_a_temperature_below_one() -> None:
    rows = [{"thing": 0.6, "person": 0.4}] * 100
    assert fit_temperature(rows, ["thing"] * 90 + ["person"] * 10) < 1


def test_a_temperature_of_one_changes_nothing_and_none_changes_the_answer() -> None:
    row = {"thing": 0.6, "person": 0.4}
    assert with_temperature(row, 1.0) == pytest.approx(row)
    for temperature in (0.05, 0.5, 5.0, 20.0):
        scaled = with_temperature(row, temperature)
        assert scaled["thing"] > scaled["person"]
        assert sum(scaled.values()) == pytest.approx(1.0)


def test_a_labeler_that_is_never_wrong_becomes_as_sure_as_its_rows_are_many() -> None:
    row = {"thing": 0.6, "person": 0.4}
    sure = with_temperature(row, fit_temperature([row] * 60, ["thing"] * 60))
    assert sure["thing"] == pytest.approx(61 / 62)


def test_reliability_by_hand() -> None:
    points = reliability([0.91, 0.99, 1.0, 0.55], [True, True, False, False])
    assert points == [
        {"rows": 1, "confidence": pytest.approx(0.55), "accuracy": 0.0},
        {"rows": 3, "confidence": pytest.approx(2.9 / 3), "accuracy": pytest.approx(2 / 3)},
    ]
    # (1 · 0.55 + 3 · 0.3) / 4
    assert calibration_error(points) == pytest.approx(0.3625)
    assert calibration_error([]) == 0.0
