"""A label's probability from its own tokens: shared beginnings, quotes, hand-computed values."""

from __future__ import annotations

import math
from typing import Any

import pytest

from evokd.agents.option_probability import (
    entity_probabilities,
    label_probabilities,
    option_probabilities,
)


def label_probability(tokens: list[dict[str, Any]], label: str, labels: list[str]) -> float | None:
    """Return how likely the answer `label` was."""
    found = option_probabilities(tokens, label, labels)
    return None if found is None else found[label]


CARDS = ["card", "card_lost", "card_arrival"]


def token(text: str, **others: float) -> dict[str, Any]:
    """Return a token whose own probability is `others['p']`, with alternatives by name."""
    own = others.pop("p")
    top = {name: math.log(p) for name, p in others.items()}
    return spelled(text, own, {name.replace("QUOTE", '"'): p for name, p in top.items()})


def spelled(text: str, p: float, top: dict[str, float]) -> dict[str, Any]:
    return {"token": text, "logprob": math.log(p), "top": {text: math.log(p), **top}}


def test_mass_outside_the_labels_does_not_count() -> None:
    tokens = [token('"', p=1.0), token("fruit", p=0.3, metal=0.1, the=0.5)]
    assert label_probability(tokens, "fruit", ["fruit", "metal"]) == pytest.approx(0.3 / 0.4)


def test_labels_with_a_shared_beginning_are_told_apart_at_the_token_that_differs() -> None:
    tokens = [
        token('"', p=1.0),
        token("card", p=0.6, bank=0.4),
        token("_lost", p=0.5, _arr=0.2, QUOTE=0.1, _x=0.2),
        token('"', p=0.01),
    ]
    assert label_probability(tokens, "card_lost", CARDS) == pytest.approx(0.5 / 0.8)


def test_a_label_that_others_begin_with_competes_with_them_at_the_closing_quote() -> None:
    tokens = [
        token('"', p=1.0),
        token("card", p=0.9),
        token('"', p=0.3, _lost=0.5, _arr=0.2),
    ]
    assert label_probability(tokens, "card", CARDS) == pytest.approx(0.3)


def test_without_quotes_the_end_of_the_text_competes_with_longer_labels() -> None:
    tokens = [token("card", p=0.9), spelled("", 0.3, {"_lost": math.log(0.7)})]
    assert label_probability(tokens, "card", CARDS) == pytest.approx(0.3)


def test_the_walk_ends_where_one_label_is_left() -> None:
    tokens = [
        token("card", p=1.0),
        token("_", p=0.8, QUOTE=0.2),
        token("a", p=0.25, l=0.75),
        token("rrival", p=0.001, bc=0.9),
    ]
    assert label_probability(tokens, "card_arrival", CARDS) == pytest.approx(0.8 * 0.25)


def test_shared_beginnings_over_several_tokens_are_multiplied() -> None:
    labels = ["top_up", "top_down", "other"]
    tokens = [token("top", p=0.5, other=0.3, x=0.2), token("_up", p=0.6, _down=0.2)]
    expected = (0.5 / 0.8) * (0.6 / 0.8)
    assert label_probability(tokens, "top_up", labels) == pytest.approx(expected)


def test_probabilities_of_all_labels_add_up_to_one() -> None:
    first = {"card": 0.7, "lost": 0.2, "sea": 0.1}
    second = {'"': 0.2, "_lost": 0.3, "_arrival": 0.4, "x": 0.1}
    labels = [*CARDS, "lost"]

    def walk(label: str) -> float | None:
        head = label.partition("_")[0]
        logs = [{name: math.log(p) for name, p in part.items()} for part in (first, second)]
        tokens = [{"token": head, "logprob": logs[0][head], "top": logs[0]}]
        tail = label.removeprefix(head) or '"'
        tokens.append({"token": tail, "logprob": logs[1][tail], "top": logs[1]})
        return label_probability(tokens, label, labels)

    assert walk("card_lost") == pytest.approx(0.7 / 0.9 * 0.3 / 0.9)
    assert sum(walk(label) or 0.0 for label in labels) == pytest.approx(1.0)


def test_a_token_may_carry_the_leading_quote() -> None:
    quoted = {'"metal': math.log(0.2), '"': math.log(0.1), "metal": math.log(0.1)}
    tokens = [spelled('"fruit', 0.6, quoted), token('"', p=1.0)]
    assert label_probability(tokens, "fruit", ["fruit", "metal"]) == pytest.approx(0.6 / 0.8)


def test_a_token_may_carry_the_closing_quote() -> None:
    tokens = [spelled('"card"', 0.25, {'"card_lost': math.log(0.75)})]
    assert label_probability(tokens, "card", CARDS) == pytest.approx(0.25)


def test_an_answer_inside_an_object_is_found() -> None:
    tokens = [
        token('{"', p=1.0),
        token("answer", p=1.0),
        token('": "', p=1.0),
        token("lost", p=0.6, found=0.2),
        token('"}', p=1.0),
    ]
    assert label_probability(tokens, "lost", ["lost", "found"]) == pytest.approx(0.75)


def test_a_label_with_a_space_is_told_from_its_first_word() -> None:
    tokens = [
        token('"', p=1.0),
        token("card", p=1.0),
        spelled(" lost", 0.3, {'"': math.log(0.6)}),
        token('"', p=1.0),
    ]
    labels = ["card", "card lost"]
    assert label_probability(tokens, "card lost", labels) == pytest.approx(0.3 / 0.9)


def test_the_taken_token_counts_even_where_it_is_not_among_the_top() -> None:
    tokens = [{"token": "lost", "logprob": math.log(0.1), "top": {"found": math.log(0.4)}}]
    assert label_probability(tokens, "lost", ["lost", "found"]) == pytest.approx(0.2)


def test_tokens_that_do_not_spell_the_label_give_no_value() -> None:
    assert label_probability([token("metal", p=0.9)], "fruit", ["fruit", "metal"]) is None
    assert label_probability([], "fruit", ["fruit", "metal"]) is None


def test_what_the_answer_did_not_get_goes_to_the_options_that_began_otherwise() -> None:
    tokens = [token("re", p=0.5, yes=0.3, un=0.1, the=0.1), token("ply", p=1.0)]
    found = option_probabilities(tokens, "reply", ["yes", "reply", "unclear"])
    assert found == pytest.approx({"reply": 0.5 / 0.9, "yes": 0.3 / 0.9, "unclear": 0.1 / 0.9})


def test_a_beginning_that_two_others_share_is_split_between_them() -> None:
    tokens = [token("other", p=0.6, top=0.4)]
    found = option_probabilities(tokens, "other", ["top_up", "top_down", "other"])
    assert found == pytest.approx({"other": 0.6, "top_up": 0.2, "top_down": 0.2})


# Entities


def plain(text: str, p: float = 1.0) -> dict[str, Any]:
    return spelled(text, p, {})


def test_an_entity_is_as_sure_as_its_string_times_its_type() -> None:
    tokens = [
        plain('{"entities": [{"text": "'),
        plain("New ", 0.9),
        plain("York", 0.4),
        plain('","type": "'),
        spelled("place", 0.6, {"person": math.log(0.2), "elsewhere": math.log(0.2)}),
        plain('"},{"text": "'),
        plain("Ann", 0.5),
        plain('","type": "'),
        spelled("person", 0.8, {}),
        plain('"}]}'),
    ]
    named = [("New York", "place"), ("Ann", "person")]
    sure = entity_probabilities(tokens, named, ["person", "place"])
    # Geometric mean of 0.9 and 0.4 is 0.6; of the types, place has 0.6 of 0.8.
    assert sure == pytest.approx([0.6 * 0.75, 0.5])


def test_an_entity_named_twice_has_the_tokens_of_its_own_place() -> None:
    tokens = [
        plain('{"entities": [{"text": "'),
        plain("Ann", 0.9),
        plain('","type": "person"},{"text": "'),
        plain("Ann", 0.3),
        plain('","type": "place"}]}'),
    ]
    sure = entity_probabilities(tokens, [("Ann", "person"), ("Ann", "place")], ["person", "place"])
    assert sure == pytest.approx([0.9, 0.3])


def test_an_entity_is_not_found_within_a_key_of_the_reply() -> None:
    tokens = [plain('{"entities": [{"text": "'), plain("ex", 0.2), plain('","type": "thing"}]}')]
    assert entity_probabilities(tokens, [("ex", "thing")], ["thing"]) == pytest.approx([0.2])


def test_an_entity_that_the_tokens_do_not_spell_has_the_mean_of_all() -> None:
    tokens = [plain('{"entities": ', 0.25), plain("[…]}", 1.0)]
    assert entity_probabilities(tokens, [("Ann", "person")], ["person"]) == pytest.approx([0.5])
    assert entity_probabilities([], [("Ann", "person")], ["person"]) == [0.0]


def test_every_answer_of_a_reply_has_its_own_probabilities() -> None:
    tokens = [
        token('{"t1": "', p=1.0),
        token("metal", p=0.8, fruit=0.2),
        token('", "t2": "', p=1.0),
        token("fruit", p=0.6, metal=0.2),
        token('"}', p=1.0),
    ]
    first, second = label_probabilities(tokens, ["metal", "fruit"], ["fruit", "metal"])
    assert first == pytest.approx({"metal": 0.8, "fruit": 0.2})
    assert second == pytest.approx({"fruit": 0.75, "metal": 0.25})


def test_an_answer_among_several_competes_with_longer_labels_at_its_closing_quote() -> None:
    tokens = [
        token('{"t1": "', p=1.0),
        token("card", p=0.9, bank=0.1),
        spelled('", "card": "', 0.45, {"_lost": math.log(0.45), '"}': math.log(0.1)}),
        token("card", p=1.0),
        token("_lost", p=0.6, QUOTE=0.4),
        token('"}', p=1.0),
    ]
    first, second = label_probabilities(tokens, ["card", "card_lost"], [*CARDS, "bank"])
    bank = 0.1
    assert first == pytest.approx(
        {"card": 0.9 * 0.55, "card_lost": 0.9 * 0.45, "card_arrival": 0.0, "bank": bank}
    )
    assert second == pytest.approx(
        {"card": 0.4, "card_lost": 0.6, "card_arrival": 0.0, "bank": 0.0}
    )


def test_of_an_answer_that_no_token_spells_nothing_is_known() -> None:
    assert label_probabilities([], ["metal"], ["fruit", "metal"]) == [None]
