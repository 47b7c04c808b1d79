"""Which samples are worth a second opinion."""

import numpy as np
import pytest

from evokd.tools.doubt import RIDGE, leave_one_out, left_out_scores


def unit(*rows: list[float]) -> np.ndarray:
    matrix = np.asarray(rows, dtype=np.float64)
    return matrix / np.linalg.norm(matrix, axis=1, keepdims=True)


def test_a_row_among_rows_of_another_label_is_found() -> None:
    vectors = unit([1, 0.1, 0], [1, 0, 0.1], [1, 0.1, 0.1], [0, 1, 0.1], [0.1, 1, 0], [1, 0.05, 0])
    labels = ["a", "a", "a", "b", "b", "b"]
    assert leave_one_out(vectors, labels) == ["a", "a", "a", "b", "b", "a"]


@pytest.mark.parametrize("dimension", [5, 20])
def test_the_closed_form_is_what_leaving_each_row_out_gives(dimension: int) -> None:
    rng = np.random.default_rng(3)
    vectors = unit(*rng.normal(size=(12, dimension)).tolist())
    labels = [str(number) for number in rng.integers(0, 3, size=12)]
    names = sorted(set(labels))
    targets = np.asarray([[float(label == name) for name in names] for label in labels])
    centred = targets - targets.mean(axis=0)
    expected = np.zeros_like(targets)
    for left_out in range(len(labels)):
        rest = [place for place in range(len(labels)) if place != left_out]
        known = vectors[rest]
        weights = np.linalg.solve(
            known.T @ known + RIDGE * np.eye(known.shape[1]), known.T @ centred[rest]
        )
        expected[left_out] = vectors[left_out] @ weights
    assert left_out_scores(vectors, targets) == pytest.approx(expected)
    assert leave_one_out(vectors, labels) == [names[int(at)] for at in expected.argmax(axis=1)]


def test_a_frequent_label_does_not_win_where_nothing_else_is_known() -> None:
    vectors = unit([1, 0], [1, 0.1], [1, -0.1], [1, 0.05], [0, 1], [0.1, 1])
    assert leave_one_out(vectors, ["many"] * 4 + ["few"] * 2)[-1] == "few"


@pytest.mark.parametrize("rows", [1, 2])
def test_few_rows_are_no_error(rows: int) -> None:
    assert (
        len(leave_one_out(unit(*[[1.0, float(place)] for place in range(rows)]), ["a"] * rows))
        == rows
    )
