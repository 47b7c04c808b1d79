"""The mixture over losses that finds mislabelled rows."""

from __future__ import annotations

import math
import random

import pytest

from evokd.tools.mixture import clean_probabilities, noisy_rows


def two_modes() -> list[float]:
    rng = random.Random(0)
    clean = [abs(rng.gauss(0.2, 0.1)) for _ in range(80)]
    return [*clean, *(rng.gauss(2.0, 0.3) for _ in range(20))]


def test_rows_of_the_mode_of_large_losses_are_noisy() -> None:
    assert noisy_rows(two_modes()) == list(range(80, 100))


def test_the_smallest_loss_is_clean_however_wide_the_other_mode_is() -> None:
    losses = [0.5] * 30 + [0.0] + [0.1 * step for step in range(30)]
    assert clean_probabilities(losses)[30] == 1.0


@pytest.mark.parametrize("losses", [[], [0.3] * 50, [0.1, 5.0] * 9])
def test_what_says_nothing_about_two_modes_is_clean(losses: list[float]) -> None:
    assert noisy_rows(losses) == []


@pytest.mark.parametrize("spread", [0.02, 0.1])
def test_of_one_mode_of_small_losses_nothing_is_left_out(spread: float) -> None:
    for seed in range(20):
        rng = random.Random(seed)
        assert noisy_rows([rng.gauss(0.3, spread) for _ in range(200)]) == []


def test_one_even_mode_is_no_two_however_large_its_losses_are() -> None:
    found = [
        noisy_rows([random.Random(s + 1000 * n).gauss(2.0, 0.3) for n in range(200)])
        for s in range(20)
    ]
    assert sum(one == [] for one in found) >= 18


def test_a_row_is_left_out_only_where_the_student_contradicts() -> None:
    rng = random.Random(0)
    losses = [rng.gammavariate(2.0, 0.2) for _ in range(200)]
    assert all(losses[place] > math.log(2) for place in noisy_rows(losses))


def test_losses_that_hardly_differ_are_all_clean() -> None:
    assert noisy_rows([0.1] * 25 + [0.1001] * 25) == []


def test_scale_and_shift_change_nothing() -> None:
    losses = two_modes()
    moved = [7 * one + 3 for one in losses]
    assert clean_probabilities(moved) == pytest.approx(clean_probabilities(losses))
