"""What a labeler and a text's neighbours say of its label together."""

import numpy as np
import pytest

from evokd.tools.consensus import SMOOTHING, consensus, without_leaning


def unit(*rows: list[float]) -> np.ndarray:
    matrix = np.asarray(rows, dtype=np.float64)
    return matrix / np.linalg.norm(matrix, axis=1, keepdims=True)


def test_what_a_labeler_says_too_often_is_divided_out() -> None:
    said = np.asarray([[0.6, 0.4]] * 50 + [[0.9, 0.1]] * 50)
    level = without_leaning(said)
    # 75 against 25 texts, smoothed 77 and 27: 0.6 / 77 against 0.4 / 27
    expected = (0.6 / (75 + SMOOTHING)) / (0.6 / (75 + SMOOTHING) + 0.4 / (25 + SMOOTHING))
    assert level[0, 0] == pytest.approx(expected)
    assert level.argmax(axis=1).tolist() == [1] * 50 + [0] * 50


def test_of_a_few_texts_little_is_divided_out() -> None:
    assert without_leaning(np.asarray([[0.6, 0.4]])).argmax() == 0
    assert without_leaning(np.asarray([[1.0, 0.0]] * 3)).argmax(axis=1).tolist() == [0, 0, 0]


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
