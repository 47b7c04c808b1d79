"""What a labeler and a text's neighbours say of its label together."""

import numpy as np
import pytest

from evokd.tools.consensus import consensus


def unit(*rows: list[float]) -> np.ndarray:
    matrix = np.asarray(rows, dtype=np.float64)
    return matrix / np.linalg.norm(matrix, axis=1, keepdims=True)


def test_an_unsure_label_gives_way_to_the_neighbours_and_a_sure_one_does_not() -> None:
    left, right = [1.0, 0.05], [0.05, 1.0]
    vectors = unit(*[left] * 10, *[right] * 10, left, left)
    said = np.asarray([[0.9, 0.1]] * 10 + [[0.1, 0.9]] * 10 + [[0.4, 0.6], [0.001, 0.999]])
    gold = np.eye(2)
    found = consensus(said, vectors, gold, unit(left, right)).argmax(axis=1)
    assert found.tolist() == [0] * 10 + [1] * 10 + [0, 1]


def test_gold_rows_are_neighbours_too() -> None:
    said = np.asarray([[0.5, 0.5], [0.5, 0.5]])
    found = consensus(said, unit([1, 0.1], [0.1, 1]), np.eye(2), unit([1.0, 0], [0, 1.0]))
    assert found.argmax(axis=1).tolist() == [0, 1]


@pytest.mark.parametrize("gold", [0, 1])
def test_one_text_and_no_gold_row_are_no_error(gold: int) -> None:
    found = consensus(
        np.asarray([[0.7, 0.3]]), unit([1.0, 0.0]), np.eye(2)[:gold], unit([1.0, 0.0])[:gold]
    )
    assert found.sum() == pytest.approx(1.0)


def test_of_a_lopsided_pool_no_right_label_is_overturned() -> None:
    """95 texts of one label, five of another, the labeler right on all, if not always sure."""
    rng = np.random.default_rng(0)
    vectors = unit(
        *(rng.normal(size=(95, 8)) * 0.3 + [2, 0, 0, 0, 0, 0, 0, 0]).tolist(),
        *(rng.normal(size=(5, 8)) * 0.3 + [0, 2, 0, 0, 0, 0, 0, 0]).tolist(),
    )
    said = np.asarray([[0.97, 0.03]] * 60 + [[0.8, 0.2]] * 35 + [[0.1, 0.9]] * 5)
    found = consensus(said, vectors, np.eye(2), unit([1] + [0.0] * 7, [0, 1] + [0.0] * 6))
    assert found.argmax(axis=1).tolist() == [0] * 95 + [1] * 5
