"""Groups of texts that are alike, and what is typical of each."""

import random

import numpy as np
import pytest

from evokd.tools.clusters import group, typicality


def degrees(*angles: float) -> np.ndarray:
    turned = np.radians(np.asarray(angles))
    return np.stack([np.cos(turned), np.sin(turned)], axis=1).astype(np.float32)


def test_what_is_alike_is_one_group() -> None:
    found = group(degrees(0, 2, 4, 90, 92, 180, 182, 184), 3, random.Random(1))
    assert len(set(found[:3])) == len(set(found[3:5])) == len(set(found[5:])) == 1
    assert len(set(found)) == 3


@pytest.mark.parametrize(("rows", "count"), [(0, 3), (1, 3), (3, 0), (2, 2)])
def test_few_rows_or_groups_are_no_error(rows: int, count: int) -> None:
    found = group(degrees(*range(0, 90 * rows, 90)).reshape(-1, 2), count, random.Random(0))
    assert len(found) == rows


def test_equal_rows_are_one_group_and_no_error() -> None:
    assert len(set(group(degrees(*[5.0] * 6), 3, random.Random(0)).tolist())) == 1


def test_a_random_seed_repeats_the_groups() -> None:
    rows = degrees(*range(0, 360, 7))
    assert (group(rows, 5, random.Random(2)) == group(rows, 5, random.Random(2))).all()


def test_the_middle_of_a_group_is_more_typical_than_its_rim() -> None:
    found = typicality(degrees(0, 10, 20, 30, 40, 100))
    assert int(found.argmax()) in (2, 3)
    assert int(found.argmin()) == 5
