"""The pure parts of learning: rivals, the best round, and how parallel branches are merged."""

from __future__ import annotations

from typing import Any

import pytest

from evokd.graph.learning import (
    BASELINE,
    choose_best,
    find_rivals,
    route_after_decide,
    shows,
)
from evokd.graph.state import merge_drafts
from evokd.records import Weakness
from evokd.tasks import Mistake


def test_a_rival_is_the_other_label_with_most_probability_over_a_labels_rows() -> None:
    probabilities = [[0.6, 0.3, 0.1], [0.2, 0.1, 0.7], [0.15, 0.8, 0.05]]
    # a: b 0.3 + 0.1, c 0.1 + 0.7; b: a 0.15, c 0.05; c has no rows
    assert find_rivals(["a", "b", "c"], ["a", "a", "b"], probabilities) == {"a": "c", "b": "a"}


def test_without_rows_there_are_no_rivals() -> None:
    assert find_rivals(["a", "b"], [], []) == {}


def test_rows_and_probabilities_must_pair_up() -> None:
    with pytest.raises(ValueError, match="shorter"):
        find_rivals(["a", "b"], ["a", "a"], [[0.5, 0.5]])


SCORES = {1: 0.90, 2: 0.80, 3: 0.95, 4: 0.86}


@pytest.mark.parametrize(
    ("rows", "best"),
    [
        (20, 3),  # one standard error √(.95·.05/20) = .049: only ≥ .901 counts
        (5, 4),  # .097: ≥ .853 counts, and round 4 is the latest
        (0, 3),
    ],
)
def test_the_best_round_is_the_latest_within_one_standard_error(rows: int, best: int) -> None:
    assert choose_best(SCORES, rows) == best


def test_of_equal_rounds_the_latest_is_best() -> None:
    assert choose_best({1: 1.0, 2: 1.0, 3: 0.99}, 1000) == 2


def test_without_any_round_the_baseline_stays() -> None:
    assert choose_best({}, 10) == BASELINE


def test_the_loop_ends_only_where_decide_gave_a_reason() -> None:
    assert route_after_decide({"stop": ""}) == "analyze"
    assert route_after_decide({"stop": "no gain in 3 rounds"}) == "finish"


ONE: dict[str, dict[str, Any]] = {"a": {"text": "old"}, "b": {"text": "b"}}
TWO: dict[str, dict[str, Any]] = {"a": {"text": "new"}, "c": {"text": "c"}}


def test_merging_drafts_takes_the_newer_of_one_id_and_changes_no_argument() -> None:
    assert merge_drafts(ONE, TWO) == {"a": {"text": "new"}, "b": {"text": "b"}, "c": {"text": "c"}}
    assert ONE["a"] == {"text": "old"}


def test_merging_drafts_twice_changes_nothing() -> None:
    once = merge_drafts(ONE, TWO)
    assert merge_drafts(once, TWO) == once


def test_branches_over_different_ids_may_come_in_any_order() -> None:
    left, right = {"x": {"text": "x"}}, {"y": {"text": "y"}}
    assert merge_drafts(merge_drafts(ONE, left), right) == merge_drafts(
        merge_drafts(ONE, right), left
    )


def test_none_clears_the_drafts_and_an_empty_branch_keeps_them() -> None:
    assert merge_drafts(ONE, None) == {}
    assert merge_drafts(ONE, {}) == ONE
    assert merge_drafts(None, TWO) == TWO


@pytest.mark.parametrize(
    ("labels", "mistake", "shown"),
    [
        (["a", "b"], Mistake("a", "b", "confusion"), True),
        (["a", "b"], Mistake("c", "a", "confusion"), True),  # its probe is wrong, however
        (["person", "none"], Mistake("person", "none", "missed", "Ann"), True),
        (["person", "none"], Mistake("place", "person", "wrong type", "Oslo"), True),
        (["person", "none"], Mistake("place", "none", "missed", "Oslo"), False),
    ],
)
def test_a_probe_shows_a_weakness_by_mistakes_about_its_labels(
    labels: list[str], mistake: Mistake, shown: bool
) -> None:
    weakness = Weakness(id="w", name="n", description="d", labels=labels, round=1)
    assert shows(weakness, [mistake]) is shown
    assert not shows(weakness, [])
