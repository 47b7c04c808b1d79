"""The benchmark's statistics against cases worked out by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest

from evokd.bench.records import Cell, CellResult, CurvePoint, Difference, RoleCost, TokensSaved
from evokd.bench.sets import teacher_places
from evokd.bench.statistics import (
    build_rows,
    equal_total_rows,
    mean_curve,
    paired_difference,
    row_interval,
    score_at_total,
    tokens_saved,
)


def a_cell(strategy: str, seed: int = 0, variant: str = "", name: str = "banking8") -> Cell:
    """Return a cell of the grid."""
    return Cell(set=name, shots=1, strategy=strategy, variant=variant, seed=seed, budget=6000)


def a_result(cell: Cell, correct: str = "1", **changes: Any) -> CellResult:
    """Return a cell that ran; its score is the share of right rows."""
    known: dict[str, Any] = {
        "cell": cell,
        "score": correct.count("1") / max(1, len(correct)),
        "correct": correct,
        "commit": "aaaaaaa",
        "date": "2026-11-24T10:00:00Z",
        "command": "evokd bench core",
    }
    return CellResult(**known | changes)


def a_curve(*points: tuple[int, float], prompts: int = 0) -> list[CurvePoint]:
    """Return a curve of (output tokens, score); `prompts` input tokens an output token."""
    return [
        CurvePoint(
            round=index - 1,
            input_tokens=prompts * tokens,
            output_tokens=tokens,
            accepted=0,
            score=score,
        )
        for index, (tokens, score) in enumerate(points)
    ]


# ------------------------------------------------------------------------------------- intervals


@pytest.mark.parametrize("mark, expected", [("1", 1.0), ("0", 0.0)])
def test_rows_that_are_all_alike_have_no_width(mark: str, expected: float) -> None:
    assert row_interval([mark * 7, mark * 7, mark * 7]) == (expected, expected)


def test_an_interval_of_many_rows_is_that_of_the_normal_approximation() -> None:
    low, high = row_interval(["1" * 300 + "0" * 100])
    half = 1.96 * math.sqrt(0.75 * 0.25 / 400)  # 0.0424
    assert (low, high) == pytest.approx((0.75 - half, 0.75 + half), abs=0.005)


def test_two_rows_give_the_whole_range() -> None:
    # Resamples of "10" are 11, 10, 01 and 00: a quarter of them at either end.
    assert row_interval(["10"]) == (0.0, 1.0)


def test_all_seeds_get_the_same_rows() -> None:
    # Where one seed is wrong the other is right: every resample has the mean 0.5.
    assert row_interval(["1100", "0011"]) == (0.5, 0.5)


@pytest.mark.parametrize("correct", [[], [""], ["10", "101"]])
def test_rows_that_are_not_shared_are_refused(correct: list[str]) -> None:
    with pytest.raises(ValueError, match="the same rows"):
        row_interval(correct)


def test_identical_strings_do_not_differ() -> None:
    marks = {0: "10110", 1: "01101"}
    difference = paired_difference(marks, dict(marks))
    assert difference is not None
    assert (difference.mean, difference.low, difference.high) == (0.0, 0.0, 0.0)


def test_a_difference_of_every_row_is_certain() -> None:
    difference = paired_difference({0: "111", 1: "111"}, {0: "000", 1: "000"})
    assert difference is not None
    assert (difference.mean, difference.low, difference.high) == (1.0, 1.0, 1.0)


def test_a_difference_is_paired_by_row() -> None:
    # One row of 400 differs; unpaired, either score alone has a width of almost 0.1.
    first = "1" * 201 + "0" * 199
    difference = paired_difference({0: first}, {0: "1" * 200 + "0" * 200})
    assert difference is not None
    assert difference.mean == pytest.approx(1 / 400)
    assert difference.low == 0.0
    assert difference.high <= 5 / 400


def test_seeds_are_resampled_too() -> None:
    # Seed 0 gains every row, seed 1 none: rows alone would always give 0.5.
    difference = paired_difference({0: "1111", 1: "1111"}, {0: "0000", 1: "1111"})
    assert difference is not None
    assert (difference.mean, difference.low, difference.high) == (0.5, 0.0, 1.0)


def test_only_seeds_of_both_count() -> None:
    difference = paired_difference({0: "11", 1: "00"}, {0: "00", 2: "11"})
    assert difference is not None
    assert difference.mean == 1.0


@pytest.mark.parametrize(
    "first, second",
    [({0: "11"}, {1: "11"}), ({}, {}), ({0: "11"}, {0: "111"}), ({0: ""}, {0: ""})],
)
def test_what_does_not_pair_has_no_difference(
    first: dict[int, str], second: dict[int, str]
) -> None:
    assert paired_difference(first, second) is None


def test_every_call_draws_the_same() -> None:
    # So many rows that two draws with different random seeds would hardly agree.
    first, second = "1101001101" * 300, "1011100110" * 300
    expected = row_interval([first]), paired_difference({0: first}, {0: second})
    assert (row_interval([first]), paired_difference({0: first}, {0: second})) == expected


# ---------------------------------------------------------------------------------------- curves


def test_a_mean_curve_takes_the_last_point_every_seed_had_reached() -> None:
    first = a_curve((0, 0.5), (100, 0.7), (300, 0.9))
    second = a_curve((0, 0.3), (200, 0.5), (250, 0.8))
    expected = [(0.0, 0.4), (100.0, 0.5), (200.0, 0.6), (250.0, 0.75)]
    assert mean_curve([first, second]) == [pytest.approx(point) for point in expected]


def test_of_points_that_cost_the_same_the_last_one_counts() -> None:
    assert mean_curve([a_curve((0, 0.5), (0, 0.9))]) == [(0.0, 0.9)]


def test_seeds_without_a_curve_are_left_out() -> None:
    assert mean_curve([[], a_curve((0, 0.5))]) == [(0.0, 0.5)]
    assert mean_curve([[]]) == []


def test_a_long_curve_is_thinned_and_keeps_its_ends() -> None:
    points = mean_curve([a_curve(*((tokens, tokens / 1000) for tokens in range(500)))])
    assert len(points) == 60
    assert (points[0], points[-1]) == ((0.0, 0.0), (499.0, 0.499))
    assert points == sorted(set(points))


@pytest.mark.parametrize(
    "limit, expected", [(0, None), (299, None), (300, (0.7, 300)), (10**6, (0.9, 900))]
)
def test_score_at_total_counts_prompts(limit: int, expected: tuple[float, int] | None) -> None:
    curve = a_curve((0, 0.5), (100, 0.7), (300, 0.9), prompts=2)
    assert score_at_total(curve, limit) == expected


def test_equal_totals_are_taken_at_the_cheapest_strategys_end() -> None:
    results = [
        a_result(a_cell("evokd", 1), curve=a_curve((0, 0.4), (100, 0.8), (200, 0.9), prompts=2)),
        a_result(a_cell("evokd", 0), curve=a_curve((0, 0.5), (50, 0.7), (200, 0.95), prompts=2)),
        a_result(a_cell("static", 0), curve=a_curve((0, 0.5), (150, 0.6), prompts=1)),
        a_result(a_cell("evokd", 0, "no critic"), curve=a_curve((0, 0.1), (1, 0.1))),
        a_result(a_cell("fewshot", 0), curve=a_curve((0, 0.5))),
    ]
    static, evokd = equal_total_rows(results)
    assert (static.strategy, static.total_tokens, static.spent) == ("static", 300, 300.0)
    assert static.mean == 0.6
    assert (evokd.strategy, evokd.total_tokens, evokd.seeds) == ("evokd", 300, [0, 1])
    assert evokd.mean == pytest.approx((0.8 + 0.7) / 2)
    assert evokd.spent == pytest.approx((300 + 150) / 2)


def test_a_strategy_whose_first_batch_of_some_seed_is_beyond_the_limit_has_no_score() -> None:
    results = [
        a_result(a_cell("static"), curve=a_curve((0, 0.5), (100, 0.6))),
        a_result(a_cell("evokd", 0), curve=a_curve((0, 0.5), (90, 0.7), (200, 0.8))),
        a_result(a_cell("evokd", 1), curve=a_curve((0, 0.5), (101, 0.9), (200, 0.9))),
    ]
    _, evokd = equal_total_rows(results)
    assert (evokd.mean, evokd.spent, evokd.first_batch) == (None, None, 101)


def test_variants_of_elad_are_compared_at_equal_totals() -> None:
    results = [
        a_result(a_cell("elad", 0, name="svamp"), curve=a_curve((0, 0.1), (0, 0.2), (100, 0.4))),
        a_result(
            a_cell("elad", 0, "whole", name="svamp"),
            curve=a_curve((0, 0.1), (0, 0.2), (90, 0.3), (200, 0.5)),
        ),
        a_result(
            a_cell("elad", 0, "random", name="svamp"), curve=a_curve((0, 0.1), (0, 0.2), (101, 0.9))
        ),
    ]
    told = [(one.strategy, one.variant, one.mean) for one in equal_total_rows(results)]
    # What the seeds alone taught is no score of a variant, though it costs nothing.
    assert told == [("elad", "", 0.4), ("elad", "random", None), ("elad", "whole", 0.3)]


def test_a_trained_student_is_compared_with_itself_untrained_row_by_row() -> None:
    results = [
        a_result(a_cell("elad", 0, name="svamp"), "1100", before="0100"),
        a_result(a_cell("elad", 1, name="svamp"), "1101", before="0101"),
        a_result(a_cell("elad", 2, name="svamp"), "1111"),
    ]
    (row,) = build_rows(results, [one.cell for one in results])
    assert row.diff_untrained == paired_difference({0: "1100", 1: "1101"}, {0: "0100", 1: "0101"})
    assert row.diff_untrained is not None
    assert row.diff_untrained.mean == pytest.approx(0.25)
    (old,) = build_rows(results[2:], [results[2].cell])
    assert old.diff_untrained is None


def test_one_strategy_alone_has_no_equal_totals() -> None:
    failed = CellResult(cell=a_cell("static"), error="no teacher")
    alone = a_result(a_cell("evokd"), curve=a_curve((0, 0.5), (9, 0.6)))
    assert equal_total_rows([alone, failed]) == []


def pool_result(variant: str, *points: tuple[int, float], seed: int = 0) -> CellResult:
    """Return a cell of a pool, its curve with a last point that is refitted: high, at 10,000."""
    curve = a_curve(*points, (10_000, 1.0))
    return a_result(a_cell("llkd", seed, variant), curve=curve)


@pytest.mark.parametrize(
    ("points", "share"),
    [
        (((0, 0.2), (100, 0.5), (200, 0.7), (400, 0.8)), 0.5),
        (((0, 0.2), (100, 0.5), (200, 0.6), (400, 0.6)), None),  # but for the refitted student
        (((0, 0.2), (100, 0.5), (200, 0.6), (600, 0.7)), 1.5),
        (((0, 0.2), (100, 0.8), (200, 0.6), (300, 0.7)), 0.75),  # a curve with noise in it
        (((0, 0.7), (100, 0.1)), None),
        (((0, 0.7), (100, 0.7)), 0.0),
    ],
)
def test_tokens_saved_are_those_at_which_the_last_score_by_chance_is_reached(
    points: tuple[tuple[int, float], ...], share: float | None
) -> None:
    chance = pool_result("random", (0, 0.2), (200, 0.4), (400, 0.7))
    found = tokens_saved([pool_result("", *points)], [chance])
    assert found == TokensSaved(goal=0.7, tokens=400, share=share, share_by_chance=1, seeds=[0])


def test_a_flat_curve_by_chance_ends_where_it_was_long_before() -> None:
    chance = pool_result("random", (0, 0.2), (200, 0.7), (300, 0.8), (400, 0.7))
    found = tokens_saved([pool_result("", (0, 0.2), (100, 0.7))], [chance])
    assert found is not None and (found.share, found.share_by_chance) == (0.25, 0.5)


def test_tokens_saved_are_of_mean_curves_over_the_seeds_of_both() -> None:
    chosen = [
        pool_result("", (0, 0.2), (100, 0.7), (200, 0.8)),
        pool_result("", (0, 0.2), (150, 0.5), (200, 0.6), seed=1),
        pool_result("", (0, 0.9), (200, 0.9), seed=2),
    ]
    chance = [
        pool_result("random", (0, 0.2), (300, 0.5)),
        pool_result("random", (0, 0.2), (300, 0.7), seed=1),
    ]
    found = tokens_saved(chosen, chance)  # at 150: the mean of 0.7 and 0.5
    assert found == TokensSaved(goal=0.6, tokens=300, share=0.5, share_by_chance=1, seeds=[0, 1])


def test_without_a_common_seed_or_a_curve_nothing_is_said_of_tokens_saved() -> None:
    chance = pool_result("random", (0, 0.2), (300, 0.5))
    assert tokens_saved([pool_result("", (0, 0.2), (300, 0.5), seed=1)], [chance]) is None
    assert tokens_saved([a_result(a_cell("llkd"))], [chance]) is None
    assert tokens_saved([pool_result("", (0, 0.5))], [pool_result("random", (0, 0.5))]) is None


def test_the_row_of_llkd_alone_says_what_it_saves() -> None:
    wanted = [a_cell("llkd"), a_cell("llkd", 0, "random"), a_cell("llkd", 0, "uncertainty")]
    results = [pool_result(cell.variant, (0, 0.2), (100, 0.5), (200, 0.5)) for cell in wanted]
    saved = [row.tokens_saved for row in build_rows(results, wanted)]
    assert saved == [
        TokensSaved(goal=0.5, tokens=200, share=0.5, share_by_chance=0.5, seeds=[0]),
        None,
        None,
    ]


# ------------------------------------------------------------------------------------------ rows


def test_a_row_holds_means_over_its_seeds() -> None:
    cells = [a_cell("evokd", seed) for seed in (0, 1)]
    results = [
        a_result(
            cells[0],
            "1110",
            roles={"generator": RoleCost(calls=3, input_tokens=100, output_tokens=40)},
            accepted=10,
            seconds={"teacher": 50.0, "training": 10.0},
        ),
        a_result(
            cells[1],
            "1111",
            roles={
                "generator": RoleCost(calls=1, input_tokens=300, output_tokens=60),
                "critic": RoleCost(calls=2, input_tokens=10, output_tokens=2),
            },
            accepted=20,
            seconds={"teacher": 100.0},
        ),
    ]
    (row,) = build_rows(results, cells)
    assert row.complete
    assert row.mean == pytest.approx(0.875)
    assert row.std == pytest.approx(0.125 * math.sqrt(2))  # of two seeds, n - 1
    assert row.ci_low is not None and row.ci_low < 0.875
    assert row.ci_high == 1.0
    assert (row.input_tokens, row.output_tokens) == (205.0, 51.0)
    assert (row.accepted, row.seconds) == (15.0, 80.0)
    assert row.tokens_by_role == {
        "critic": {"calls": 1.0, "input_tokens": 5.0, "output_tokens": 1.0},
        "generator": {"calls": 2.0, "input_tokens": 200.0, "output_tokens": 50.0},
    }


def test_one_seed_has_no_deviation() -> None:
    (row,) = build_rows([a_result(a_cell("evokd"), "10")], [a_cell("evokd")])
    assert (row.mean, row.std, row.seeds) == (0.5, None, [0])


def test_rows_stand_in_the_wanted_order_and_groups_without_a_result_are_left_out() -> None:
    wanted = [a_cell("fewshot"), a_cell("evokd"), a_cell("static"), a_cell("evokd", 0, "no critic")]
    results = [a_result(wanted[3]), a_result(wanted[1]), a_result(wanted[0])]
    rows = build_rows(results, wanted)
    assert [(row.strategy, row.variant) for row in rows] == [
        ("fewshot", ""),
        ("evokd", ""),
        ("evokd", "no critic"),
    ]


def test_differences_have_their_signs() -> None:
    marks = {"static": "1000", "evokd": "1110"}
    wanted = [*map(a_cell, marks), a_cell("evokd", 0, "no critic")]
    results = [
        *(a_result(a_cell(name), marks[name]) for name in marks),
        a_result(wanted[2], "1100"),
    ]
    static, evokd, variant = build_rows(results, wanted)
    assert static.diff_static is None and static.diff_evokd is not None
    assert static.diff_evokd.mean == pytest.approx(0.5)
    assert evokd.diff_evokd is None and evokd.diff_static is not None
    assert evokd.diff_static.mean == pytest.approx(0.5)
    assert variant.diff_static is not None and variant.diff_evokd is not None
    assert variant.diff_static.mean == pytest.approx(0.25)
    assert variant.diff_evokd.mean == pytest.approx(0.25)


def test_other_sets_are_not_compared() -> None:
    wanted = [a_cell("static", name="trec"), a_cell("fewshot")]
    rows = build_rows([a_result(cell) for cell in wanted], wanted)
    assert [(row.diff_static, row.diff_evokd) for row in rows] == [(None, None)] * 2


def asked_of(rows: str) -> str:
    """Return the marks of the rows of banking8 that the teacher is asked, in its order."""
    return "".join(rows[place] for place in teacher_places("banking8", len(rows)))


@pytest.mark.parametrize("strategy", ["teacher_zero_shot", "teacher_one_shot"])
def test_the_teacher_is_compared_on_the_rows_it_was_asked(strategy: str) -> None:
    right = "01" * 200
    wanted = [a_cell("evokd"), a_cell("llkd"), a_cell(strategy)]
    results = [a_result(one, right) for one in wanted[:2]]
    same = a_result(wanted[2], asked_of(right))
    rows = build_rows([*results, same], wanted)
    assert rows[2].diff_evokd == Difference(mean=0.0, low=0.0, high=0.0)
    zero = strategy == "teacher_zero_shot"  # the prompt that `llkd` asks with
    assert rows[1].diff_teacher == (rows[2].diff_evokd if zero else None)
    assert rows[0].diff_teacher is None
    all_right = a_result(wanted[2], "1" * 300)
    found = build_rows([*results, all_right], wanted)[2].diff_evokd
    assert found is not None and found.mean == asked_of(right).count("1") / 300 - 1
    other = a_result(wanted[2], "1" * 299)  # of other rows
    assert build_rows([*results, other], wanted)[2].diff_evokd is None


def test_the_teacher_without_examples_counts_for_every_random_seed() -> None:
    wanted = [a_cell("llkd", 0), a_cell("llkd", 1), a_cell("teacher_zero_shot")]
    results = [
        a_result(cell, marks) for cell, marks in zip(wanted, ("11", "00", "11"), strict=True)
    ]
    found = build_rows(results, wanted)[0].diff_teacher
    assert found is not None and found.mean == -0.5


def test_the_teachers_entities_are_compared_on_the_rows_it_was_asked() -> None:
    places = teacher_places("wikigold", 400)
    counts = [f"{place % 3}/3/4" for place in range(400)]
    wanted = [a_cell("evokd", name="wikigold"), a_cell("teacher_one_shot", name="wikigold")]
    student = a_result(wanted[0], correct="", counts=" ".join(counts), score=0.3)
    teacher = a_result(
        wanted[1], correct="", counts=" ".join(counts[place] for place in places), score=0.3
    )
    row = build_rows([student, teacher], wanted)[1]
    assert row.diff_evokd == Difference(mean=0.0, low=0.0, high=0.0)


def test_a_failed_seed_makes_a_row_incomplete_and_is_named() -> None:
    wanted = [a_cell("evokd", 0), a_cell("evokd", 1)]
    failed = CellResult(cell=wanted[1], error="out of memory", commit="bbbbbbb", date="2027")
    (row,) = build_rows([a_result(wanted[0]), failed], wanted)
    assert not row.complete
    assert (row.mean, row.seeds, row.errors) == (1.0, [0], ["seed 1: out of memory"])
    assert (row.commit, row.date) == ("aaaaaaa", "2026-11-24T10:00:00Z")  # of the scores


def test_a_missing_seed_makes_a_row_incomplete() -> None:
    (row,) = build_rows([a_result(a_cell("evokd", 1))], [a_cell("evokd", 0), a_cell("evokd", 1)])
    assert (row.complete, row.seeds, row.errors) == (False, [1], [])


def test_a_row_of_failures_has_no_numbers() -> None:
    failed = CellResult(cell=a_cell("evokd"), error="no teacher", commit="bbbbbbb")
    (row,) = build_rows([failed], [a_cell("evokd")])
    assert (row.mean, row.std, row.ci_low, row.output_tokens, row.seconds) == (None,) * 5
    assert (row.complete, row.errors, row.commit) == (False, ["seed 0: no teacher"], "bbbbbbb")


def test_all_commits_of_a_row_are_named() -> None:
    wanted = [a_cell("evokd", seed) for seed in range(3)]
    origins = [
        ("ccccccc", "2026-11-26", "new", {"student": "2"}),
        ("aaaaaaa", "2026-11-24", "old", {"student": "1", "teacher": "9"}),
        ("ccccccc", "2026-11-25", "middle", {"student": "2"}),
    ]
    results = [
        a_result(cell, commit=commit, date=date, command=command, packs=packs)
        for cell, (commit, date, command, packs) in zip(wanted, origins, strict=True)
    ]
    (row,) = build_rows(results, wanted)
    assert (row.commit, row.since, row.date) == ("aaaaaaa, ccccccc", "2026-11-24", "2026-11-26")
    assert row.command == "old; middle; new"
    assert row.packs == {"student": "2", "teacher": "9"}


def test_seeds_over_different_rows_have_no_interval() -> None:
    wanted = [a_cell("evokd", 0), a_cell("evokd", 1)]
    (row,) = build_rows([a_result(wanted[0], "10"), a_result(wanted[1], "101")], wanted)
    assert row.mean is not None
    assert (row.ci_low, row.ci_high) == (None, None)
