"""Which texts of a pool are asked about, each strategy on its own."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from evokd import config
from evokd.store.pool import Pool, Scored
from evokd.tasks.pool import PoolRow
from evokd.tools.selection import SELECTIONS, Near, Wanted, k_centre, shared_out

TEXTS = 60


def on_circle(texts: Sequence[str]) -> np.ndarray:
    """Text "n" lies at n degrees."""
    angles = [math.radians(float(text)) for text in texts]
    return np.asarray([[math.cos(a), math.sin(a)] for a in angles], np.float32).reshape(-1, 2)


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[Pool]:
    """Text number n lies at n - 1 degrees; every third is said to be b, the later the surer."""
    pool = Pool(tmp_path / "pool.sqlite")
    rows = [PoolRow(str(place), str(place)) for place in range(TEXTS)]
    pool.fill(rows, lambda row: "")
    pool.write_scores(
        [
            [
                Scored(id=n, label="b" if n % 3 == 0 else "a", uncertainty=1 - n / TEXTS)
                for n in range(1, TEXTS + 1)
            ]
        ]
    )
    yield pool
    pool.close()


def wanted(pool: Pool, asked: Sequence[int] = (), known: Sequence[str] = (), **by_label: int):  # type: ignore[no-untyped-def]
    return Wanted(
        pool=pool,
        asked=frozenset(asked),
        by_label=by_label,
        embed=on_circle,
        known=known,
        rng=random.Random(0),
    )


def test_what_labels_lack_goes_to_the_one_that_lacks_most_first() -> None:
    lacking = {"a": -3, "b": 2, "c": 6, "d": 5, "e": 6}
    assert shared_out(11, lacking) == {"b": 0, "c": 4, "d": 3, "e": 4}
    assert shared_out(40, lacking) == {"b": 2, "c": 6, "d": 5, "e": 6}
    assert shared_out(-1, lacking) == {"b": 0, "c": 0, "d": 0, "e": 0}


def test_failures_of_one_label_take_as_much_from_all_others(pool: Pool) -> None:
    labels = "abc"
    pool.write_scores(
        [[Scored(id=n, label=labels[n % 3], uncertainty=0.5) for n in range(1, TEXTS + 1)]]
    )
    near = [Near("30", ("a",))]
    chosen = SELECTIONS["llkd"](replace(wanted(pool, a=2, b=9, c=9), near=near))
    said = Counter(one.label for one in pool.scores(chosen))
    assert said["a"] >= 6  # three in ten are near the failure
    assert abs(said["b"] - said["c"]) <= 2


def test_every_selection_of_the_config_is_there() -> None:
    assert tuple(SELECTIONS) == config.SELECTIONS


@pytest.mark.parametrize("name", SELECTIONS)
def test_every_strategy_returns_as_many_new_texts_as_are_wanted(pool: Pool, name: str) -> None:
    asked = range(1, 31)
    chosen = SELECTIONS[name](wanted(pool, asked, ["0"], a=6, b=6))
    assert len(chosen) == len(set(chosen)) == 12
    assert not set(chosen) & set(asked)


@pytest.mark.parametrize("name", SELECTIONS)
def test_every_strategy_returns_what_is_left_where_that_is_less(pool: Pool, name: str) -> None:
    chosen = SELECTIONS[name](wanted(pool, range(1, 58), [], a=6, b=6))
    assert sorted(chosen) == [58, 59, 60]


@pytest.mark.parametrize("name", SELECTIONS)
def test_a_random_seed_repeats_the_choice(pool: Pool, name: str) -> None:
    first = SELECTIONS[name](wanted(pool, [], ["0"], a=5, b=5))
    assert first == SELECTIONS[name](wanted(pool, [], ["0"], a=5, b=5))


def test_uncertainty_takes_the_least_sure(pool: Pool) -> None:
    assert SELECTIONS["uncertainty"](wanted(pool, [2], a=2, b=1)) == [1, 3, 4]


def test_what_a_text_was_chosen_by_is_told_with_its_score(pool: Pool) -> None:
    told = replace(wanted(pool, known=["0"], a=10, b=10), near=[Near("50", ("b",))])
    chosen = SELECTIONS["llkd"](told)
    by = [told.why[one].by if one in told.why else "chance" for one in chosen]
    assert by[:9] == ["chance"] * 2 + ["near a failure"] * 6 + ["typicality x uncertainty"]
    assert set(by[9:]) <= {"typicality x uncertainty", "uncertainty x distance"}
    told = wanted(pool, known=["0"], a=1)
    (farthest,) = SELECTIONS["k-centre"](told)
    assert (farthest, told.why[60].by) == (60, "distance")
    assert told.why[60].score == pytest.approx(1 - math.cos(math.radians(59)))


def test_accept_reject_prefers_the_uncertain_but_takes_others_too(pool: Pool) -> None:
    chosen = SELECTIONS["m-raru"](wanted(pool, a=20))
    assert sum(chosen) / len(chosen) < 28  # by chance 30.5
    assert max(chosen) > 40


def test_accept_reject_ends_where_nothing_is_uncertain(pool: Pool) -> None:
    sure = [Scored(id=n, label="a", uncertainty=0.0) for n in range(1, TEXTS + 1)]
    pool.write_scores([sure])
    assert len(SELECTIONS["m-raru"](wanted(pool, a=4))) == 4


def test_accept_reject_does_not_go_through_a_large_pool_that_the_student_is_sure_of(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("evokd.tools.selection.SAMPLED", 3)
    monkeypatch.setattr("evokd.tools.selection.DRAWS", 4)
    pool.write_scores(
        [[Scored(id=n, label="a", uncertainty=1e-9 * n) for n in range(1, TEXTS + 1)]]
    )
    read: list[int] = []
    scores = Pool.scores
    monkeypatch.setattr(Pool, "scores", lambda self, ids: read.extend(ids) or scores(self, ids))
    assert SELECTIONS["m-raru"](wanted(pool, a=3)) == [60, 59, 58]
    assert len(read) == 12


def test_llkd_gives_every_predicted_label_about_its_share(pool: Pool) -> None:
    chosen = SELECTIONS["llkd"](wanted(pool, a=10, b=10))
    labels = [one.label for one in pool.scores(chosen)]
    assert labels.count("a") <= 16  # two by chance, and of groups half more than its share


def test_where_much_is_known_llkd_gives_every_predicted_label_its_share(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("evokd.tools.selection.MOST_GROUPS", 0)
    chosen = SELECTIONS["llkd"](wanted(pool, a=10, b=10))
    labels = [one.label for one in pool.scores(chosen)]
    assert labels.count("a") == labels.count("b") == 10


def test_llkd_fills_up_where_a_label_has_too_few(pool: Pool) -> None:
    chosen = SELECTIONS["llkd"](wanted(pool, range(1, 31), a=2, b=28))
    assert len(chosen) == 30


def test_llkd_takes_what_stands_for_a_large_group_that_nothing_is_known_of(pool: Pool) -> None:
    level = [Scored(id=n, label="a", uncertainty=0.5) for n in range(1, TEXTS + 1)]
    pool.write_scores([level])

    def embed(texts: Sequence[str]) -> np.ndarray:
        """Thirty texts about 0 degrees, twenty about 90, ten about 180."""
        numbers = map(int, texts)
        return on_circle([str(n % 3 + (0 if n < 30 else 90 if n < 50 else 180)) for n in numbers])

    first, second = SELECTIONS["llkd"](replace(wanted(pool, known=["0"], a=2), embed=embed))
    assert 30 <= first - 1 < 50 <= second - 1


def test_of_a_group_llkd_takes_the_text_that_the_student_is_unsure_of(pool: Pool) -> None:
    scores = [Scored(id=n, label="a", uncertainty=float(n == 41)) for n in range(1, TEXTS + 1)]
    pool.write_scores([scores])

    def embed(texts: Sequence[str]) -> np.ndarray:
        return on_circle(["0" if int(n) < 30 else "90" for n in texts])

    assert SELECTIONS["llkd"](replace(wanted(pool, known=["0"], a=1), embed=embed)) == [41]


def test_where_much_is_known_llkd_takes_the_uncertain(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("evokd.tools.selection.MOST_GROUPS", 2)
    told = wanted(pool, known=["0", "30"], a=4)
    assert {told.why[one].by for one in SELECTIONS["llkd"](told)} == {"uncertainty x distance"}


def test_llkd_spreads_what_it_takes(pool: Pool) -> None:
    level = [Scored(id=n, label="a", uncertainty=0.5) for n in range(1, TEXTS + 1)]
    pool.write_scores([level])
    chosen = SELECTIONS["llkd"](wanted(pool, known=["0"], a=4))
    assert max(chosen) - min(chosen) > 20  # of the 32 candidates, 0 to 31 degrees


def places(found: Sequence[tuple[int, float]]) -> list[int]:
    return [place for place, _ in found]


def test_k_centre_takes_the_farthest_one_after_the_other() -> None:
    points = on_circle(["0", "10", "90", "170", "180"])
    assert places(k_centre(points, on_circle(["0"]), 2)) == [4, 2]
    assert places(k_centre(points, on_circle([]), 3)) == [0, 4, 2]
    assert places(k_centre(points, on_circle(["0"]), 9)) == [4, 2, 1, 3, 0]


def test_k_centre_weighs_distances() -> None:
    points = on_circle(["90", "180"])
    assert places(k_centre(points, on_circle(["0"]), 1, [1.0, 0.4])) == [0]
    assert places(k_centre(points, on_circle(["0"]), 1, [1.0, 0.6])) == [1]


def test_llkd_asks_about_texts_near_failures_of_the_labels_it_confused(pool: Pool) -> None:
    level = [
        Scored(id=n, label="b" if n % 2 == 0 else "a", uncertainty=0.5) for n in range(1, TEXTS + 1)
    ]
    pool.write_scores([level])
    asked = wanted(pool, a=10, b=10)
    near = replace(asked, near=[Near("50", ("b",))], known=["0"])

    def close(chosen: Sequence[int]) -> int:
        return sum(40 <= n <= 60 and n % 2 == 0 for n in chosen)

    assert close(SELECTIONS["llkd"](near)) > close(SELECTIONS["llkd"](replace(asked, known=["0"])))
