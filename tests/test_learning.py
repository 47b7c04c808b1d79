"""Parts of learning: rivals, the best round, which student is loaded, merged branches."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest

from evokd.graph import fitting
from evokd.graph.choosing import choose_best, is_clearly_better
from evokd.graph.fitting import BASELINE
from evokd.graph.learning import find_rivals, route_after_decide
from evokd.graph.remembering import shows
from evokd.graph.state import merge_by_key
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


def right(*wrong: int, rows: int = 40) -> list[bool]:
    """All rows right but these."""
    return [place not in wrong for place in range(rows)]


def test_a_later_round_stays_where_a_few_rows_speak_for_an_earlier_one() -> None:
    assert choose_best({0: right(), 1: right(1, 2, 3), 2: right(1, 2, 4, 5)}) == 2


@pytest.mark.parametrize(
    ("lost", "won", "clear"),
    [
        (4, 0, False),  # 1/16 by chance
        (5, 0, True),  # 1/32
        (6, 1, False),  # 8/128
        (7, 1, True),  # 9/256
        (0, 9, False),
    ],
)
def test_clearly_better_is_what_chance_seldom_gives(lost: int, won: int, clear: bool) -> None:
    earlier, later = right(*range(won)), right(*range(20, 20 + lost))
    assert is_clearly_better(earlier, later) is clear
    assert choose_best({1: earlier, 2: later}) == (1 if clear else 2)


def test_thousands_of_held_out_rows_can_be_compared() -> None:
    earlier, later = right(rows=5000), right(*range(2500), rows=5000)
    assert choose_best({0: earlier, 1: later}) == 0


def test_of_two_later_rounds_the_worse_is_given_up_alone() -> None:
    rounds = {0: right(1, 2), 1: right(1, 3), 2: right(*range(10, 20))}
    assert choose_best(rounds) == 1


def test_without_held_out_rows_the_last_round_is_best() -> None:
    assert choose_best({1: [], 2: [], 3: []}) == 3


def test_without_any_round_the_baseline_stays() -> None:
    assert choose_best({}) == BASELINE


def test_the_loop_ends_only_where_decide_gave_a_reason() -> None:
    assert route_after_decide({"stop": ""}) == "analyze"
    assert route_after_decide({"stop": "no gain in 3 rounds"}) == "finish"


ONE: dict[str, dict[str, Any]] = {"a": {"text": "old"}, "b": {"text": "b"}}
TWO: dict[str, dict[str, Any]] = {"a": {"text": "new"}, "c": {"text": "c"}}


def test_merging_drafts_takes_the_newer_of_one_id_and_changes_no_argument() -> None:
    assert merge_by_key(ONE, TWO) == {"a": {"text": "new"}, "b": {"text": "b"}, "c": {"text": "c"}}
    assert ONE["a"] == {"text": "old"}


def test_merging_drafts_twice_changes_nothing() -> None:
    once = merge_by_key(ONE, TWO)
    assert merge_by_key(once, TWO) == once


def test_branches_over_different_ids_may_come_in_any_order() -> None:
    left, right = {"x": {"text": "x"}}, {"y": {"text": "y"}}
    assert merge_by_key(merge_by_key(ONE, left), right) == merge_by_key(
        merge_by_key(ONE, right), left
    )


def test_none_clears_the_drafts_and_an_empty_branch_keeps_them() -> None:
    assert merge_by_key(ONE, None) == {}
    assert merge_by_key(ONE, {}) == ONE
    assert merge_by_key(None, TWO) == TWO


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
    known = {"id": "w", "name": "n", "description": "d", "labels": labels, "round": 1}
    weakness = Weakness(**known, error=mistake.error)
    assert shows(weakness, [mistake]) is shown
    of_another_kind = Weakness(**known, error="wrong boundary")
    assert shows(of_another_kind, [mistake]) is (shown and not mistake.part)
    assert not shows(weakness, [])


def test_a_rounds_student_is_loaded_once_until_another_is_asked_or_trained(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    loaded: list[str] = []

    def load(kind: str, folder: Path, settings: Any) -> object:
        loaded.append(folder.name)
        return object()

    trained = SimpleNamespace(invoke=lambda request: {"loss": 0.5})
    monkeypatch.setattr(fitting, "open_student", load)
    monkeypatch.setattr(fitting, "train_student", trained)
    monkeypatch.setattr(fitting, "row_choice", lambda config: None)
    session: Any = MagicMock(opened=None, labels=("a", "b"))
    session.run.student_of_round = lambda round: tmp_path / f"round-{round}"
    first = fitting.student_of(session, 1)
    assert fitting.student_of(session, 1) is first
    fitting.student_of(session, 2)
    assert fitting.student_of(session, 1) is not first
    assert loaded == ["round-1", "round-2", "round-1"]
    fitting.fit_student(session, [], 1)
    fitting.student_of(session, 1)
    assert loaded[3:] == ["round-1"]
