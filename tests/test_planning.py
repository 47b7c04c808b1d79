"""Quotas, calls and held-out shares of a round: hand-computed."""

from __future__ import annotations

import itertools
import math
from collections import Counter

import pytest

from evokd.agents.generator import Order
from evokd.config import StrategySection
from evokd.graph.planning import (
    Aim,
    PlannedCall,
    label_quotas,
    label_weights,
    orders_for,
    orders_of,
    plan_round,
    probe_quotas,
    share_out,
    split_evenly,
    texts_for,
    with_examples,
    with_names,
    with_topics,
)
from evokd.records import Difficulty, Weakness

LABELS = ["a", "b", "c"]
NONE: dict[str, int] = {}


def make_aim(id: str, labels: list[str], hard: int = 1, easy: int = 1) -> Aim:
    weakness = Weakness(id=id, name=f"name {id}", description="d", labels=labels, round=1)
    return Aim(weakness=weakness, vary=f"vary {id}", hard=hard, easy=easy)


def plan(
    quotas: dict[str, int],
    probes: dict[str, int] = NONE,
    *aims: Aim,
    round: int = 1,
    wave: int = 0,
    **strategy: object,
) -> list[PlannedCall]:
    rivals = {"a": "b", "b": "a", "c": "a"}
    section = StrategySection.model_validate({"texts_per_call": 4, **strategy})
    return plan_round(round, wave, section, quotas, probes, aims, rivals)


def asked(calls: list[PlannedCall], difficulty: Difficulty | None = None, **fields: object) -> int:
    """Return how many texts all calls with these fields ask for."""
    return sum(
        count
        for call in calls
        if all(getattr(call, name) == value for name, value in fields.items())
        for name, count in call.counts.items()
        if difficulty in (None, name)
    )


# Shares


@pytest.mark.parametrize(
    ("total", "weights", "shares"),
    [
        (10, {"a": 1, "b": 1, "c": 1}, {"a": 4, "b": 3, "c": 3}),
        (10, {"a": 3, "b": 1}, {"a": 7, "b": 3}),
        (2, {"a": 1, "b": 2, "c": 2}, {"a": 0, "b": 1, "c": 1}),
        (3, {"a": 99, "b": 1, "c": 1}, {"a": 1, "b": 1, "c": 1}),
        (0, {"a": 1, "b": 1}, {"a": 0, "b": 0}),
        (5, {}, {}),
    ],
)
def test_shares_of_hand_computed_cases(
    total: int, weights: dict[str, float], shares: dict[str, int]
) -> None:
    assert share_out(total, weights) == shares


def test_shares_add_up_and_nobody_goes_empty_while_there_is_enough() -> None:
    weightings = itertools.product([0.1, 1.0, 2.7], repeat=4)
    for weights, total in itertools.product(weightings, range(12)):
        shares = share_out(total, dict(zip("abcd", weights, strict=True)))
        assert sum(shares.values()) == total
        assert min(shares.values()) >= (1 if total >= 4 else 0)


def test_weak_labels_and_aimed_labels_weigh_more() -> None:
    weights = label_weights(LABELS, {"a": 0.5, "b": 1.0}, [make_aim("w", ["b", "a"])])
    assert weights == {"a": 1 + 2 * 0.5 + 1 / 2, "b": 1 + 1, "c": 1}


@pytest.mark.parametrize(("wanted", "count"), [(8, 10), (4, 5), (7, 9), (1, 2)])
def test_a_quarter_more_texts_are_asked_for_than_wanted(wanted: int, count: int) -> None:
    assert texts_for(wanted) == count


@pytest.mark.parametrize(
    ("total", "parts"), [(9, [3, 3, 3]), (10, [4, 3, 3]), (4, [4]), (1, [1]), (0, [])]
)
def test_a_quota_is_split_into_the_fewest_even_parts(total: int, parts: list[int]) -> None:
    assert split_evenly(total, 4) == parts


# Calls


def test_a_labels_quota_becomes_calls_of_even_size_and_labels_take_turns() -> None:
    sizes = [(call.label, asked([call])) for call in plan({"a": 9, "b": 2})]
    assert sizes == [("a", 4), ("b", 3), ("a", 4), ("a", 4)]


def test_half_of_a_calls_texts_are_easy() -> None:
    (call,) = plan({"a": 8}, texts_per_call=8)
    assert call.counts == {"hard": 5, "easy": 5}


@pytest.mark.parametrize(
    ("hard", "easy", "counts"),
    [
        (1, 0, {"hard": 7, "easy": 3}),  # ¼ of 10
        (1, 9, {"hard": 2, "easy": 8}),  # ¾
        (3, 5, {"hard": 4, "easy": 6}),  # ⅝
    ],
)
def test_the_analyst_leans_to_a_side_but_drops_none(
    hard: int, easy: int, counts: dict[str, int]
) -> None:
    (call,) = plan({"a": 8}, NONE, make_aim("w", ["a"], hard, easy), texts_per_call=8)
    assert call.counts == counts


def test_without_easy_texts_all_are_hard() -> None:
    (call,) = plan({"a": 8}, easy=False, texts_per_call=8)
    assert call.counts == {"hard": 10}


@pytest.mark.parametrize(("round", "analyst"), [(0, True), (1, False)])
def test_before_the_loop_or_without_an_analyst_texts_are_plain(round: int, analyst: bool) -> None:
    calls = plan({"a": 8}, {"b": 2}, round=round, analyst=analyst)
    assert {name for call in calls for name in call.counts} == {"plain"}


def test_held_out_texts_come_from_calls_of_their_own() -> None:
    quotas, probes = {"a": 5, "b": 3}, {"a": 2, "c": 2}
    calls = plan(quotas, probes)
    held_out = [call for call in calls if call.probe]
    taught = [call for call in calls if not call.probe]
    assert [(call.label, asked([call])) for call in held_out] == [("a", 3), ("c", 3)]
    assert [call.model_copy(update={"id": ""}) for call in taught] == [
        call.model_copy(update={"id": ""}) for call in plan(quotas)
    ]
    assert not {call.id for call in held_out} & {call.id for call in taught}


def test_no_two_calls_share_an_id_not_even_over_refills() -> None:
    calls = [
        *plan({"a": 9, "b": 9}, {"a": 2}),
        *plan({"a": 9}, {"a": 2}, wave=1),
        *plan({"a": 9}, {"a": 2}, round=2),
    ]
    assert len({call.id for call in calls}) == len(calls)


def test_a_call_carries_its_aim_and_the_rival() -> None:
    calls = plan({"a": 4, "c": 4}, NONE, make_aim("w1", ["b", "a"]), make_aim("w2", ["a"]))
    aimed = [call for call in calls if call.label == "a"]
    assert {(one.weakness, one.vary, one.rival) for one in aimed} == {("w2", "vary w2", "b")}
    assert {call.weakness for call in calls if call.label == "c"} == {None}


def test_no_label_is_tied_to_one_length() -> None:
    quotas = {"a": 4, "b": 4}
    calls = [call for round in range(4) for call in plan(quotas, round=round, lengths=["s", "l"])]
    lengths = {label: {call.length for call in calls if call.label == label} for label in quotas}
    assert lengths == {"a": {"s", "l"}, "b": {"s", "l"}}


@pytest.mark.parametrize("second", [["b", "a"], ["a", "c"], ["a", "b"]])
def test_every_named_weakness_is_aimed_at_and_held_out(second: list[str]) -> None:
    aims = [make_aim("w1", ["a", "b"]), make_aim("w2", second)]
    probes = probe_quotas(LABELS, 40, StrategySection(), aims, {})
    calls = plan({"a": 8, "b": 8, "c": 8}, probes, *aims)
    assert {call.weakness for call in calls if not call.probe} >= {"w1", "w2"}
    assert asked(calls, probe=True, weakness="w1") >= 2
    assert asked(calls, probe=True, weakness="w2") >= 2


def test_nothing_wanted_plans_no_call() -> None:
    assert plan({"a": 0}, {"b": 0}) == []


# Held-out shares


def test_a_small_first_batch_holds_out_one_a_label() -> None:
    assert probe_quotas(LABELS, 9, StrategySection(), [], {}) == {"a": 1, "b": 1, "c": 1}


def test_a_large_first_batch_holds_out_one_in_five() -> None:
    assert sum(probe_quotas(LABELS, 45, StrategySection(), [], {}).values()) == 9


def test_a_later_batch_brings_every_label_to_two() -> None:
    held_out = {"a": 1, "b": 2}
    assert probe_quotas(LABELS, 9, StrategySection(), [], held_out) == {"a": 1, "c": 2}


def test_later_batches_hold_out_one_in_five_where_least_is_held_out() -> None:
    held_out = {"a": 5, "b": 2, "c": 3}
    assert probe_quotas(LABELS, 20, StrategySection(), [], held_out) == {"b": 2, "c": 2}


@pytest.mark.parametrize("held_out", [{}, {f"l{number:02d}": 1 for number in range(40)}])
def test_with_many_labels_half_of_a_batch_is_still_trained_on(held_out: dict[str, int]) -> None:
    labels = [f"l{number:02d}" for number in range(77)]
    probes = probe_quotas(labels, 64, StrategySection(), [], held_out)
    assert sum(probes.values()) == 32
    assert not set(probes) & set(held_out)  # those that have none come first


def test_what_names_nothing_has_its_own_share() -> None:
    weights = {f"t{number}": 1.0 for number in range(18)} | {"none": 1.0}
    assert label_quotas(26, weights, 0.5)["none"] == 13
    assert label_quotas(40, weights, 0.05)["none"] == 2
    assert sum(label_quotas(26, weights, 0.5).values()) == 26
    assert label_quotas(26, weights) == share_out(26, weights)


def test_a_weakness_holds_out_two_of_its_first_label_beyond_the_share() -> None:
    held_out = {"a": 9, "b": 9, "c": 9}
    aims = [make_aim("w", ["c", "a"])]
    assert probe_quotas(LABELS, 5, StrategySection(), aims, held_out) == {"c": 2}


def test_nothing_is_held_out_of_a_batch_too_small_once_each_label_has_some() -> None:
    assert probe_quotas(LABELS, 5, StrategySection(), [], dict.fromkeys(LABELS, 2)) == {}


# Parts of a meaning


PARTS = "is late; is lost; is broken"


def test_a_call_writes_about_all_parts_of_a_meaning() -> None:
    assert orders_for(PARTS, {"hard": 3, "easy": 3}, 0) == [
        Order("hard", 2, "is late"),
        Order("hard", 1, "is lost"),
        Order("easy", 1, "is lost"),
        Order("easy", 2, "is broken"),
    ]


def test_each_call_begins_with_another_part() -> None:
    begun = [orders_for(PARTS, {"plain": 4}, turn)[0] for turn in range(3)]
    assert begun == [Order("plain", 2, part) for part in ("is late", "is lost", "is broken")]


def test_with_fewer_texts_than_parts_the_parts_take_turns() -> None:
    said = [orders_for(PARTS, {"plain": 2}, turn) for turn in range(3)]
    assert [[order.aspect for order in one] for one in said] == [
        ["is late", "is lost"],
        ["is broken", "is late"],
        ["is lost", "is broken"],
    ]


@pytest.mark.parametrize("total", range(1, 12))
@pytest.mark.parametrize("turn", range(4))
def test_no_text_is_lost_between_the_parts(total: int, turn: int) -> None:
    orders = orders_for("a; b; c; d", {"hard": total, "easy": 2}, turn)
    counts: Counter[str] = Counter()
    for order in orders:
        counts[order.difficulty] += order.count
    assert counts == {"hard": total, "easy": 2}
    sizes: Counter[str] = Counter()
    for order in orders:
        sizes[order.aspect] += order.count
    assert max(sizes.values()) - min(sizes.values()) <= 1


def test_a_meaning_of_one_part_is_meant_as_a_whole() -> None:
    assert orders_for("is late, or lost", {"plain": 3}, 4) == [Order("plain", 3)]


def test_a_text_that_is_to_name_something_is_told_so_whatever_else_it_is_about() -> None:
    call = looped("a", hard=1, easy=2).model_copy(
        update={"examples": ["x"], "topics": ["1", "", "3"]}
    )
    assert orders_of(call, "the name of a person", names=True) == [
        Order("hard", 1, topic="1", example="x"),
        Order("easy", 1, "the name of a person"),
        Order("easy", 1, "the name of a person", "3"),
    ]
    assert orders_for("", {"plain": 1}, 0, names=True) == [Order("plain", 1)]


def looped(label: str, **counts: int) -> PlannedCall:
    return PlannedCall(id="r", label=label, counts=counts, length="short")  # type: ignore[arg-type]


def test_the_failures_of_a_label_take_turns_as_examples() -> None:
    calls = [looped("a", hard=4, easy=4), looped("b", hard=2), looped("a", hard=3, easy=1)]
    given = with_examples(calls, {"a": ["x", "y", "z"]})
    assert [call.examples for call in given] == [["x", "y"], [], ["z", "x"]]


def test_held_out_texts_are_modelled_on_nothing() -> None:
    held_out = looped("a", hard=2).model_copy(update={"probe": True})
    assert [call.examples for call in with_examples([held_out], {"a": ["x"]})] == [[]]


def test_no_call_is_shown_more_failures_than_there_are() -> None:
    (call,) = with_examples([looped("a", hard=8)], {"a": ["x"]})
    assert orders_of(call, "m") == [Order("hard", 2, example="x")] * 4


def test_hard_texts_are_like_the_examples_and_easy_ones_about_the_parts() -> None:
    call = looped("a", hard=3, easy=2).model_copy(update={"examples": ["x", "y"]})
    assert orders_of(call, "is late; is lost") == [
        Order("hard", 2, example="x"),
        Order("hard", 1, example="y"),
        Order("easy", 1, "is late"),
        Order("easy", 1, "is lost"),
    ]


# Topics


def test_every_second_text_gets_a_topic_and_no_two_of_a_call_the_same() -> None:
    topics = [f"t{index}" for index in range(9)]
    calls = plan({"a": 7, "b": 3})
    given = with_topics(calls, topics, 0)
    for before, call in zip(calls, given, strict=True):
        assert len(call.topics) == asked([before])
        named = [one for one in call.topics if one]
        assert len(named) == len(set(named)) == math.ceil(asked([before]) / 2)
        assert set(named) <= set(topics)
    assert with_topics(calls, topics, 0) == given
    assert with_topics(calls, topics, 1) != given


def test_each_text_that_names_nothing_gets_a_topic_that_is_no_name() -> None:
    topics = ["a hat", "the Nile", "a cow", "Paris", "soup"]
    (named, nothing) = with_topics(plan({"a": 3, "none": 3}, round=0), topics, 0, "none")
    assert len(nothing.topics) == nothing.texts == 4
    assert set(nothing.topics) == {"a hat", "a cow", "soup"}
    assert named.topics.count("") == 2
    (nothing,) = with_topics(plan({"none": 3}, round=0), ["Hut", "Kuh", "der Nil"], 0, "none")
    assert set(nothing.topics) == {"Hut", "Kuh", "der Nil"}  # capital letters tell no names here


def test_too_few_topics_take_turns_and_without_any_there_are_none() -> None:
    (call,) = with_topics([looped("a", hard=4, easy=1)], ["x", "y"], 0)
    assert Counter(call.topics) in ({"x": 2, "y": 1, "": 2}, {"x": 1, "y": 2, "": 2})
    assert [call.topics for call in with_topics([looped("a", hard=2)], [], 0)] == [[]]


def test_a_text_has_its_topic_beside_its_example_or_its_part() -> None:
    call = looped("a", hard=3, easy=2).model_copy(
        update={"examples": ["x", "y"], "topics": ["1", "", "3", "", "5"]}
    )
    assert orders_of(call, "is late; is lost") == [
        Order("hard", 1, topic="1", example="x"),
        Order("hard", 1, example="x"),
        Order("hard", 1, topic="3", example="y"),
        Order("easy", 1, "is late"),
        Order("easy", 1, "is lost", topic="5"),
    ]


def test_every_text_gets_a_name_of_its_type_and_every_second_one_another() -> None:
    names = {"a": ["Ann", "Al", "Abe", "Ada"], "b": ["Bonn", "Bern"]}
    calls = with_names(plan({"a": 3, "none": 3}, round=0), names, random_seed=0)
    (about_a, about_nothing) = calls
    firsts = [row[0] for row in about_a.names]
    assert len(about_a.names) == about_a.texts == 4
    assert sorted(firsts) == sorted(names["a"])
    assert [row[1:] != [] for row in about_a.names] == [True, False, True, False]
    assert {name for row in about_a.names for name in row[1:]} <= set(names["b"])
    assert about_nothing.names == []


def test_a_list_that_is_too_short_takes_turns_and_one_type_has_no_second_name() -> None:
    (call,) = with_names(plan({"a": 3}, round=0), {"a": ["Ann"]}, random_seed=0)
    assert call.names == [["Ann"]] * 4


def test_a_text_has_its_names_in_place_of_a_part_or_a_topic() -> None:
    call = PlannedCall(
        id="x",
        label="a",
        counts={"hard": 1, "easy": 2},
        length="",
        examples=["like this"],
        topics=["jazz", "", "tea"],
        names=[["Ann", "Bonn"], ["Al"], []],
    )
    assert orders_of(call, "one part; another") == [
        Order("hard", 1, example="like this", names=("Ann", "Bonn")),
        Order("easy", 1, names=("Al",)),
        Order("easy", 1, aspect="another", topic="tea"),
    ]
