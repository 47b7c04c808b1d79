"""Entities: tags, offsets, and strings that an LLM named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from evokd.agents.compact_grammar import compact_grammar
from evokd.agents.labeler import agreed
from evokd.config import Config
from evokd.errors import DataError
from evokd.records import Example, FoundEntity, Prediction
from evokd.task_file import load_config
from evokd.tasks import Mistake, load_task_data, ner
from evokd.tasks.grounding import Capitals, Mention, ground
from evokd.tasks.ner import (
    MOST_ENTITIES,
    Entity,
    NamedEntities,
    TaggedText,
    capitals_of,
    entities_reply,
    from_entities,
    from_tags,
    reply_of,
    to_tags,
)
from evokd.tasks.rows import TaskData, read_task_data
from evokd.tasks.words import is_lowered, is_no_name, split_tokens

EXAMPLE = Path(__file__).parent.parent / "examples" / "ner" / "task.yaml"
KIND = NamedEntities()
LABELS = ["person", "place"]
WORDS = st.text(min_size=1, max_size=6).filter(lambda word: word.split() == [word])
TEXTS = st.text(min_size=1, max_size=40).filter(str.strip)


@st.composite
def tagged(draw: st.DrawFn) -> tuple[list[str], list[str]]:
    """Any tokens, with any valid tags."""
    tokens = draw(st.lists(WORDS, min_size=1, max_size=12))
    tags: list[str] = []
    for _ in tokens:
        last = tags[-1] if tags else "O"
        inside = [f"I-{last[2:]}"] if last != "O" else []
        tags.append(draw(st.sampled_from(["O", "B-person", "B-place", *inside])))
    return tokens, tags


@st.composite
def with_entities(draw: st.DrawFn) -> tuple[str, list[Entity]]:
    """Any text, with any entities that do not overlap and have no white space at their edges."""
    text = draw(TEXTS)
    places = sorted(draw(st.sets(st.integers(0, len(text)), max_size=8)))
    entities = []
    for start, end in zip(places[::2], places[1::2], strict=False):
        inside = text[start:end]
        if inside.strip():
            first = start + len(inside) - len(inside.lstrip())
            last = end - len(inside) + len(inside.rstrip())
            label = draw(st.sampled_from(LABELS))
            entities.append(Entity(start=first, end=last, label=label))
    return text, entities


# There and back


@given(tagged())
def test_tags_to_entities_to_tags_is_the_identity(row: tuple[list[str], list[str]]) -> None:
    assert to_tags(from_tags(*row)) == row


@given(with_entities())
def test_entities_to_tags_to_entities_keeps_every_entity(row: tuple[str, list[Entity]]) -> None:
    text, entities = row
    there = from_entities(text, entities)
    tokens, tags = to_tags(there)
    back = from_tags(tokens, tags)
    assert (there.text, there.entities) == (text, entities)
    assert [one.label for one in back.entities] == [one.label for one in entities]
    without_space = ["".join(text[one.start : one.end].split()) for one in entities]
    assert without_space == [
        "".join(back.text[one.start : one.end].split()) for one in back.entities
    ]


@given(TEXTS)
def test_tokens_hold_all_of_a_text_but_white_space(text: str) -> None:
    spans = split_tokens(text)
    assert "".join(text[start:end] for start, end in spans) == "".join(text.split())
    assert all(text[start:end].split() == [text[start:end]] for start, end in spans)


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("Where's Rome?", ["Where", "'", "s", "Rome", "?"]),
        ("50% of_all 3.5", ["50", "%", "of_all", "3", ".", "5"]),
        ("a cafe\u0301 👍🏽!", ["a", "cafe\u0301", "👍🏽", "!"]),
        ("👩\u200d🚀 up", ["👩\u200d🚀", "up"]),
        ("שלום עולם", ["שלום", "עולם"]),
    ],
)
def test_tokens_are_words_and_signs(text: str, tokens: list[str]) -> None:
    assert [text[start:end] for start, end in split_tokens(text)] == tokens


# Rows


@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        ({"tokens": ["a"], "tags": []}, "1 tokens but 0 tags"),
        ({"tokens": [], "tags": []}, "no tokens"),
        ({"tokens": ["a b"], "tags": ["O"]}, "white space"),
        ({"tokens": [""], "tags": ["O"]}, "empty"),
        ({"tokens": ["a"], "tags": ["I-person"]}, "no B-person goes before it"),
        ({"tokens": ["a", "b"], "tags": ["B-place", "I-person"]}, "tag 2 is 'I-person'"),
        ({"tokens": ["a"], "tags": ["person"]}, "expected O, B-<type> or I-<type>"),
        ({"tokens": ["a"], "tags": ["B-"]}, "expected O, B-<type> or I-<type>"),
        ({"tokens": ["a"], "tags": ["B-persn"]}, "did you mean 'person'"),
        ({"tokens": "a", "tags": "O"}, "tokens is 'a'; expected a list of strings such as Rome"),
        ({"tokens": ["a"], "tags": [0]}, "tags[0] is 0; expected a string such as B-PER"),
        ({"tokens": ["a", None], "tags": ["O", "O"]}, "tokens[1] is None; expected a string"),
        ({"tokens": ["a"], "ner_tags": ["O"]}, "found tokens, ner_tags"),
        ({"tokens": ["a"], "tags": ["O"], "text": "b"}, "not both; found tokens, tags, text"),
        ({"tokens": ["a"], "tags": ["S-person"]}, "(IOB2)"),
        ({"text": "a", "label": "b"}, "found text, label"),
        ({"text": "a", "entities": None}, "entities is None; expected a list, [] where"),
        ({"text": 1, "entities": []}, "text is 1; expected a string"),
        ({"text": " ", "entities": []}, "the text is empty"),
        ({"text": "a b", "entities": [{"start": 0, "end": 4, "label": "place"}]}, "not in a text"),
        ({"text": "a b", "entities": [{"start": 1, "end": 1, "label": "place"}]}, "has to end"),
        ({"text": "a b", "entities": [{"start": -1, "end": 1, "label": "place"}]}, "has to end"),
        ({"text": "a b", "entities": [{"start": 0, "end": 2, "label": "place"}]}, "white space"),
        ({"text": "a b", "entities": [{"start": "0", "end": 1, "label": "x"}]}, "expected start"),
        (
            {
                "text": "New York City",
                "entities": [
                    {"start": 0, "end": 8, "label": "place"},
                    {"start": 4, "end": 13, "label": "place"},
                ],
            },
            "'New York' and 'York City' overlap",
        ),
    ],
)
def test_a_bad_row_is_refused_with_its_place_and_the_reason(
    raw: dict[str, Any], problem: str
) -> None:
    with pytest.raises(DataError) as refusal:
        KIND.check_row(raw, "train.jsonl:7", LABELS)
    assert str(refusal.value).startswith("train.jsonl:7: ")
    assert problem in str(refusal.value)


def test_both_forms_of_a_row_say_the_same() -> None:
    tokens = KIND.check_row({"tokens": ["In", "Rome"], "tags": ["O", "B-place"]}, "x:1", LABELS)
    offsets = KIND.check_row(
        {"text": "In Rome", "entities": [{"start": 3, "end": 7, "label": "place"}]}, "x:2", LABELS
    )
    assert tokens.model_copy(update={"tokens": []}) == offsets
    assert tokens.label == offsets.label == "place"


@pytest.mark.parametrize(
    ("entities", "problem"),
    [
        ([(0, 2)], "does not begin and end with a token"),
        ([(0, 4), (0, 4)], "two entities hold the token 'Rome'"),
    ],
)
def test_entities_that_are_no_tags_are_refused(
    entities: list[tuple[int, int]], problem: str
) -> None:
    row = TaggedText(
        text="Rome",
        entities=[Entity(start=start, end=end, label="place") for start, end in entities],
        tokens=[(0, 4)],
    )
    with pytest.raises(ValueError, match=problem):
        to_tags(row)


# Grounding


def grounded(text: str, *named: tuple[str, str]) -> list[tuple[str, str]]:
    found = ground(text, [Mention(string, label) for string, label in named])
    return [(text[one.start : one.end], one.label) for one in found.entities]


@pytest.mark.parametrize(
    ("text", "string", "found"),
    [
        ("He lives in Rome.", "Rome", ["Rome"]),
        ("he lives in rome.", "Rome", ["rome"]),
        ("He lives in New  York.", "new york", ["New  York"]),
        ("He lives in Rome.", '"Rome."', ["Rome"]),
        ("Rome, Romeo and Rome", "Rome", ["Rome", "Rome"]),
        ("The USA", "US", []),
        ("In 2010s", "2010", []),
        ("a cafe\u0301", "cafe", []),
        ("a cafe\u0301", "café", ["cafe\u0301"]),
        ("the ﬁle", "file", ["ﬁle"]),
        ("the ﬁle", "f", []),
        ("我住在北京。", "北京", ["北京"]),
        ("גר בתל אביב", "תל אביב", ["תל אביב"]),
        ("I 👍 Rome👍", "Rome", ["Rome"]),
        ("Straße", "STRASSE", ["Straße"]),
        ("He lives in Rome.", "Paris", []),
        ("He lives in Rome.", " ", []),
        ("He lives in Rome.", " Rome ", ["Rome"]),
        ("He lives in Rome.", '""', []),
        ("said O’Brien", "O'Brien", ["O’Brien"]),
        ("Paris–Nice is a race", "Paris-Nice", ["Paris–Nice"]),
        ("to Pa\u00adris", "Paris", ["Pa\u00adris"]),
        ("\u200eRome\u200e it is", "Rome", ["Rome"]),
        ("PARIS - Paris is", "Paris", ["PARIS", "Paris"]),
        ("New York and New\nYork", "New York", ["New York", "New\nYork"]),
        ("the US told us, the US", "US", ["US", "US"]),
        ("He ate an apple. Apple is red", "apple", ["apple", "Apple"]),
        ("He ate an apple of Apple", "apple", ["apple"]),
        ("Al met Al-Qaeda", "Al", ["Al"]),
        ("Brien is no O'Brien", "Brien", ["Brien"]),
        ("Rome, Rome-based and Rome's", "Rome", ["Rome", "Rome", "Rome"]),
        ("the Paris-Nice race", "Paris", ["Paris"]),
        ("Ann is non-Jordan-like, Ann", "Jordan", ["Jordan"]),
        ("ROME'S MAYOR LEFT ROME", "ROME", ["ROME", "ROME"]),
        ("O'SHEA and O", "O", ["O"]),
        ("L'Espagne bat l’Espagne", "Espagne", ["Espagne", "Espagne"]),
        ("Anti-Trump crowds met Trump.", "Trump", ["Trump", "Trump"]),
        ("D-Day is a Day", "Day", ["Day"]),
        ("او علی\u200cرضا است، نه علی", "علی", ["علی"]),
        ("AT & T is big", "AT&T", ["AT & T"]),
        ("Yahoo ! and Yahoo!", "Yahoo!", ["Yahoo !", "Yahoo!"]),
        ("AT & T, AT&T and at&t", "AT & T", ["AT & T", "AT&T"]),
        ("in Yahoo ! News, yahoo ! news", "Yahoo! News", ["Yahoo ! News", "yahoo ! news"]),
        ("see Rudy Vallee 's son", "Rudy Vallee's", ["Rudy Vallee 's"]),
        ("George W.Bush", "George W. Bush", ["George W.Bush"]),
        ("in Rome .", "Rome.", ["Rome"]),
        ("我 住 在 北 京 。", "北京", ["北 京"]),
        ("He met Al Bert", "Albert", []),
        ("He left Rome, Italy.", "Rome,", ["Rome"]),
        ("He left Rome, Italy.", "Rome, Italy", ["Rome, Italy"]),
        ("In the U.S., he said", "U.S.,", ["U.S."]),
        ("They sang 'Jaws' again", "'Jaws'", ["Jaws"]),
        ("They sang “Jaws” again", "“Jaws”", ["Jaws"]),
        ("They sang “Jaws” again", '"Jaws"', ["Jaws"]),
        ("He left Rome, Italy.", "rome,", ["Rome"]),
        ("They sang (Jaws) again", "(Jaws)", ["Jaws"]),
        ("the 'Jaws' and 'Ran' films", "'Jaws' and 'Ran'", ["'Jaws' and 'Ran'"]),
        ("हिन्दी भाषा है", "हिन्दीभाषा", []),
    ],
)
def test_a_string_is_found_between_word_edges(text: str, string: str, found: list[str]) -> None:
    assert grounded(text, (string, "place")) == [(one, "place") for one in found]
    lost = ground(text, [Mention(string, "place")]).lost
    assert lost == (() if found else (Mention(string, "place"),))


def test_a_string_with_two_types_has_them_in_the_order_of_its_places() -> None:
    text = "Washington left Washington for Washington."
    assert grounded(text, ("Washington", "person"), ("Washington", "place")) == [
        ("Washington", "person"),
        ("Washington", "place"),
        ("Washington", "place"),
    ]


def test_a_place_within_a_longer_name_takes_no_type_from_the_others() -> None:
    text = "The Washington Post praised Washington."
    named = [
        Mention("Washington", "person", 0.9),
        Mention("Washington", "place", 0.2),
        Mention("Washington Post", "paper", 0.9),
    ]
    found = ground(text, named).entities
    assert [(one.start, one.label) for one in found] == [(4, "paper"), (28, "person")]


def test_of_two_that_overlap_the_longer_one_stays() -> None:
    text = "the New York Times"
    named = [Mention("New York", "place"), Mention("New York Times", "person")]
    found = ground(text, named)
    assert [text[one.start : one.end] for one in found.entities] == ["New York Times"]
    assert found.lost == ()  # it is in the text, too


def test_of_two_types_of_one_place_the_surer_one_stays() -> None:
    named = [Mention("Rome", "person", 0.3), Mention("rome", "place", 0.9)]
    found = ground("Rome", named)
    assert [one.label for one in found.entities] == ["place"]
    assert found.lost == ()


def test_every_spelling_that_is_named_is_found() -> None:
    text = "PARIS (Reuters) - Paris is big"
    named = ("PARIS", "place"), ("Paris", "place")
    assert grounded(text, *named) == list(named)


def test_another_word_of_the_same_letters_keeps_its_own_type() -> None:
    text = "US troops told us"
    found = ground(text, [Mention("US", "place", 0.6), Mention("us", "person", 0.9)])
    assert [(text[one.start : one.end], one.label) for one in found.entities] == [
        ("US", "place"),
        ("us", "person"),
    ]


def test_a_spelling_that_is_not_there_yields_to_one_that_is() -> None:
    assert grounded("Rome", ("ROME", "person"), ("Rome", "place")) == [("Rome", "place")]


SPELLINGS = ("us", "US", "Us", "uS")


@given(st.lists(st.sampled_from(SPELLINGS), min_size=1, max_size=6), st.data())
def test_of_spellings_that_stand_there_each_word_has_the_type_of_its_own(
    words: list[str], data: st.DataObject
) -> None:
    labels = {word: data.draw(st.sampled_from(LABELS)) for word in sorted(set(words))}
    named = data.draw(st.permutations(sorted(labels.items())))
    assert grounded(" ".join(words), *named) == [(word, labels[word]) for word in words]


@given(
    st.lists(st.sampled_from(SPELLINGS), min_size=1, max_size=4),
    st.lists(st.sampled_from((*SPELLINGS, "them", "'them'", "'us'")), max_size=6),
)
def test_what_is_lost_has_no_place_in_any_spelling(words: list[str], named: list[str]) -> None:
    mentions = [Mention(word, "place") for word in named]
    lost = ground(" ".join(words), mentions).lost
    assert lost == tuple(one for one in mentions if "them" in one.text)


@given(with_entities(), st.text(max_size=3))
def test_whatever_is_named_the_entities_found_are_valid(
    row: tuple[str, list[Entity]], other: str
) -> None:
    text, entities = row
    named = [Mention(text[one.start : one.end], one.label) for one in entities]
    named.append(Mention(other, "place"))
    found = ground(text, named)
    tokens, tags = to_tags(from_entities(text, found.entities))
    assert len(tokens) == len(tags)
    assert set(found.lost) <= set(named)


# Metric and mistakes


def example(text: str, *entities: tuple[str, str]) -> Example:
    """A gold row whose entities are given as strings."""
    return Example(text=text, label="", entities=spans(text, *entities))


def answer(text: str, *entities: tuple[str, str]) -> Prediction:
    found = [FoundEntity(**one.model_dump(), confidence=0.9) for one in spans(text, *entities)]
    return Prediction(label="", confidence=0.9, entities=found)


def spans(text: str, *entities: tuple[str, str]) -> list[Entity]:
    return [
        Entity(start=text.index(part), end=text.index(part) + len(part), label=label)
        for part, label in entities
    ]


def test_strict_f1_of_a_hand_computed_case() -> None:
    one, two = "Ann met Bob Ray in Rome", "nobody was there"
    rows = [example(one, ("Ann", "person"), ("Bob Ray", "person"), ("Rome", "place")), example(two)]
    # Right: Ann. Wrong: a boundary, a type, and one from nowhere: precision 1/4, recall 1/3.
    said = [
        answer(one, ("Ann", "person"), ("Bob", "person"), ("Rome", "person")),
        answer(two, ("there", "place")),
    ]
    assert KIND.score(rows, said) == pytest.approx(2 / 7)
    by_label = KIND.score_by_label(rows, said, [*LABELS, "thing"])
    assert by_label == pytest.approx({"person": 0.4, "place": 0.0})  # 1 of 3 said, 1 of 2 there
    assert KIND.score([], []) == 0.0
    assert KIND.score([example(two)], [answer(two)]) == 0.0
    assert KIND.score_by_label([example(two)], [answer(two)], LABELS) == {}


def test_an_entity_within_a_token_of_ours_is_scored() -> None:
    text = "a Rome-like town"
    assert KIND.score([example(text, ("Rome", "place"))], [answer(text, ("Rome", "place"))]) == 1.0
    assert KIND.score([example(text, ("Ro", "place"))], [answer(text, ("Rome", "place"))]) == 0.0


def test_every_mistake_is_told_with_its_kind_and_the_part_it_is_about() -> None:
    text = "Ann met Bob Ray in Rome near Oslo"
    row = example(
        text, ("Ann", "person"), ("Bob Ray", "person"), ("Rome", "place"), ("Oslo", "place")
    )
    said = answer(text, ("met", "person"), ("Bob", "person"), ("Rome", "person"), ("Oslo", "place"))
    assert KIND.mistakes(row, said) == [
        Mistake("person", "none", "missed", "Ann"),
        Mistake("person", "person", "wrong boundary", "Bob Ray"),
        Mistake("place", "person", "wrong type", "Rome"),
        Mistake("none", "person", "spurious", "met"),
    ]
    assert (
        KIND.mistakes(row, answer(text, *[(text[e.start : e.end], e.label) for e in row.entities]))
        == []
    )


def test_an_entity_found_stands_for_the_one_it_fits_best() -> None:
    text = "Ann Rome"
    row = example(text, ("Ann", "person"), ("Rome", "place"))
    assert KIND.mistakes(row, answer(text, (text, "place"))) == [
        Mistake("person", "none", "missed", "Ann"),
        Mistake("place", "place", "wrong boundary", "Rome"),
    ]


def test_a_student_is_not_told_where_the_entities_of_a_row_are() -> None:
    text = "a Rome-like town"
    (asked,) = KIND.inputs([example(text, ("Ro", "place"))])
    assert asked.entities == []
    assert asked.words == ["a", "Rome", "-", "like", "town"]


@given(tagged())
def test_rows_with_their_own_tokens_score_one_against_themselves(
    row: tuple[list[str], list[str]],
) -> None:
    read = KIND.check_row({"tokens": row[0], "tags": row[1]}, "x:1", LABELS)
    found = [FoundEntity(**one.model_dump(), confidence=1.0) for one in read.entities]
    said = Prediction(label="", confidence=1.0, entities=found)
    assert KIND.score([read], [said]) == (1.0 if found else 0.0)
    assert KIND.mistakes(read, said) == []
    assert [(one.start, one.end) for one in KIND.inputs([read])[0].entities] == []
    assert KIND.inputs([read])[0].words == row[0]


def test_a_type_s_entities_are_names_where_no_gold_one_is_in_small_letters() -> None:
    names = [example("so Ann met Bob", ("Ann", "person"), ("Bob", "person"))]
    assert capitals_of(names).names == {"person"}
    assert not capitals_of([example("so Ann met Bob", ("Ann", "person"))]).names  # too few to tell
    lowered = example("In town Ann ate", ("town", "place"), ("Ann", "person"))
    assert capitals_of([*names, lowered]).names == {"person"}
    assert not capitals_of([*names, example("Met ann", ("ann", "person"))]).names
    typed = example("met ann", ("ann", "person"))
    assert capitals_of([*names, typed]).names == {"person"}


def test_enough_capital_letters_of_all_types_tell_of_one_that_has_but_one() -> None:
    people = [example("so Ann met Bob", ("Ann", "person"), ("Bob", "person"))] * 2
    place = example("we saw Rome", ("Rome", "place"))
    day = example("it took 2 days", ("2 days", "time"))
    few, enough, dated = (
        capitals_of([*people, *more]) for more in ([place], [place, place], [day, place])
    )
    assert (few.names, few.usual) == ({"person"}, False)
    assert (enough.names, enough.usual) == ({"person", "place"}, True)
    assert (dated.names, dated.usual) == ({"person", "place"}, True)  # a digit is a mark, no name
    small = example("We ate for days", ("days", "time"))
    told = capitals_of([*people, place, day, small])
    assert (told.names, told.usual) == ({"person"}, True)
    assert not capitals_of([*people, place, day, small, small]).usual
    assert not capitals_of([*people, *[day] * 5]).usual
    assert not capitals_of([example("在2020年", ("2020年", "time"))] * 6).usual


def test_where_capital_letters_are_usual_what_has_none_must_be_surely_named() -> None:
    usual = Capitals(frozenset({"person"}), usual=True)
    text = "The prize of two days went to Ann"
    named = [Mention("The prize", "event", 0.79), Mention("two days", "time", 0.8)]
    found = ground(text, [*named, Mention("Ann", "event", 0.1)], usual).entities
    assert [text[one.start : one.end] for one in found] == ["two days", "Ann"]
    assert len(ground(text, named, Capitals(frozenset({"person"}))).entities) == 2


def test_a_type_with_figures_among_its_gold_entities_may_have_others() -> None:
    dates = ["on 5 May 1990", "in June 2001", "he wrote 1984"]
    rows = [example(text, (text.split(" ", 1)[1], "date")) for text in dates[:2]]
    figured = example("So he wrote 1984", ("1984", "date"))
    others = [example(f"so {dates[0]}", ("5 May 1990", "date"))] * 20
    without, few, many = (capitals_of([*rows, *more]) for more in ([], [figured], others))
    named = [Mention("1999", "date", 0.7)]
    assert not without.figured
    assert not ground("He died in 1999.", named, without).entities
    assert few.names == few.figured == {"date"}
    assert ground("He died in 1999.", named, few).entities
    assert not many.figured
    assert not capitals_of([*rows, figured, *others]).figured  # one label in more than twenty


def test_an_i_alone_tells_nothing_of_capital_letters() -> None:
    assert not is_no_name("I live in paris", 10, 15)
    assert not is_no_name("and I’m in paris", 11, 16)
    assert is_no_name("We live in paris", 11, 16)
    assert is_no_name("II. live in paris", 12, 17)


@pytest.mark.parametrize(
    ("text", "string", "is_name"),
    [
        ("Aspirin helps.", "Aspirin", False),
        ("It hurts. “Aspirin helps.”", "Aspirin", False),
        ("- Aspirin helps", "Aspirin", False),
        ("TAKE ASPIRIN NOW", "ASPIRIN", False),
        ("Bayer Aspirin helps", "Bayer Aspirin", True),
        ("Take Aspirin", "Aspirin", True),
        ("iPhone sales fell", "iPhone", True),
        ("in 東京", "東京", False),
    ],
)
def test_a_capital_letter_that_every_word_would_have_there_makes_no_name(
    text: str, string: str, is_name: bool
) -> None:
    people = [example("so Ann met Bob", ("Ann", "person"), ("Bob", "person"))]
    rows = [*people, *[example(text, (string, "thing"))] * 2]
    assert capitals_of(rows).names == ({"person", "thing"} if is_name else {"person"})


@pytest.mark.parametrize(
    ("string", "lowered"),
    [("common noun", True), ("iPhone", False), ("Ann", False), ("747", False), ("東京", False)],
)
def test_small_letters_are_told_where_letters_know_case(string: str, lowered: bool) -> None:
    assert is_lowered(string) is lowered


def test_a_reply_names_no_more_than_half_of_the_words_and_one() -> None:
    form = entities_reply(LABELS, "so Ann met Bob again")  # five tokens
    two = [{"text": "Ann", "type": "person"}, {"text": "Bob", "type": "person"}]
    assert [one.text for one in form.model_validate({"entities": two}).entities] == ["Ann", "Bob"]
    with pytest.raises(ValidationError):
        form.model_validate({"entities": [*two, *two, two[0]]})
    three = {"entities": [*two, two[0]]}  # a list of names
    assert entities_reply(LABELS, "Arsenal Chelsea Leeds").model_validate(three)
    many = entities_reply(LABELS, "word " * 500).model_json_schema()
    assert many["properties"]["entities"]["maxItems"] == MOST_ENTITIES


def test_of_several_replies_a_name_given_twice_is_two_mentions() -> None:
    def reply(*pairs: tuple[str, str]) -> Any:
        return entities_reply(LABELS, "word " * 20).model_validate(
            {"entities": [{"text": text, "type": label} for text, label in pairs]}
        )

    thrice = [("Paris", "person"), ("Paris", "person"), ("Paris", "place")]
    assert agreed([reply(*thrice)] * 3, 3) == [Mention(*one) for one in thrice]
    two = [reply(*thrice), reply(thrice[0], thrice[2])]
    assert agreed(two, 3) == [Mention("Paris", label, 2 / 3) for label in ("person", "place")]


def test_a_pair_an_entity_is_asked_for_and_read_like_an_object() -> None:
    form = entities_reply(LABELS, "Ann met Bob", as_pairs=True)
    rows = [example("Ann met Bob", ("Ann", "person"), ("Bob", "person")), example("so it went")]
    for row in rows:
        pairs, objects = (reply_of(row, as_pairs=as_pairs) for as_pairs in (True, False))
        assert form.model_validate_json(pairs) == form.model_validate_json(objects)
    assert reply_of(rows[0], as_pairs=True) == '{"entities": [["Ann","person"],["Bob","person"]]}'
    assert compact_grammar(form.model_json_schema()) is not None
    for wrong in (["Ann"], ["Ann", "dog"], ["Ann", "person", "place"]):
        with pytest.raises(ValidationError):
            form.model_validate({"entities": [wrong]})


def test_where_entities_are_names_one_that_stands_in_small_letters_is_none() -> None:
    text = "the mission of Apollo and the iPhone"
    named = [Mention("Mission", "event"), Mention("Apollo", "event"), Mention("iPhone", "thing")]
    found = ground(text, named, Capitals({"event", "thing"}))
    assert [text[one.start : one.end] for one in found.entities] == ["Apollo", "iPhone"]
    assert found.lost == ()  # it is in the text
    assert len(ground(text, named, Capitals({"thing"})).entities) == 3
    typed = ground(text.lower(), [Mention("apollo", "event")], Capitals({"event"}))
    assert len(typed.entities) == 1  # who types no capital letter gives names none


@pytest.mark.parametrize(
    ("text", "string", "confidence", "kept"),
    [
        ("The poet met Ann.", "The poet", 0.79, False),
        ("La peste est un roman.", "La peste", 0.8, True),
        ("He met Ann.", "He", 0.49, False),
        ("Lincoln met Ann.", "Lincoln", 0.5, True),
        ("The Hague is a city.", "The Hague", 0.1, True),
        ("747s land here, said Ann.", "747s land", 0.79, False),
        ("747s land here, said Ann.", "747s land", 0.8, True),
        ("747 land here, said Ann.", "747", 0.79, False),
        ("B747 lands here, said Ann.", "B747", 0.1, True),
        ("747s land here, said ann.", "747s land", 0.1, True),
        ("Ann reads about p53.", "p53", 0.1, True),
        ("Ann had covid-19.", "covid-19", 0.1, True),
        ("Ann left in the early 1700s.", "early 1700s", 0.79, False),
        ("Ann walked 3,600 km", "3,600 km", 0.79, False),
        ("在2020年 by Ann", "2020年", 0.1, True),
        ("so we met Ann.", "Ann", 0.1, True),
        ("I've seen the world.", "world", 0.49, False),
        ("I've seen paris.", "paris", 0.5, True),
        ("he met ann.", "he", 0.1, True),
        ("HE MET ANN.", "HE MET", 0.1, True),
        ("东京 is Tokyo.", "东京", 0.1, True),
    ],
)
def test_what_no_capital_letter_marks_is_a_name_if_it_was_surely_named(
    text: str, string: str, confidence: float, kept: bool
) -> None:
    named = [Mention(string, "place", confidence)]
    assert bool(ground(text, named, Capitals({"place"})).entities) is kept
    assert ground(text, named).entities  # of types that are no names, whatever was named


def test_a_name_is_not_looked_for_within_words_where_it_stands_alone() -> None:
    arabic = "سافر علي إلى عليان"
    (found,) = ground(arabic, [Mention("علي", "person")]).entities
    assert arabic[found.start : found.end] == "علي"
    chinese = "我在北京工作"
    (found,) = ground(chinese, [Mention("北京", "place")]).entities
    assert (found.start, found.end) == (2, 4)
    assert [chinese[start:end] for start, end in split_tokens(chinese)] == list(chinese)


# Files


def read(tmp_path: Path, *rows: dict[str, Any], name: str = "seed.jsonl") -> TaskData:
    """Read rows as seeds, against a test row that says nothing."""
    folder = tmp_path
    for file, lines in ((name, rows), ("test.jsonl", [{"text": "Ann met Bob.", "entities": []}])):
        written = "".join(json.dumps(row) + "\n" for row in lines)
        (folder / file).write_text(written, encoding="utf-8")
    config = Config.model_validate(
        {
            "task": {"kind": "ner", "name": "n", "instructions": "i", "labels": {"person": "p"}},
            "data": {"seed": str(folder / name), "test": str(folder / "test.jsonl")},
        }
    )
    return read_task_data(config, KIND)


def person(text: str, *starts: int, length: int = 3) -> dict[str, Any]:
    found = [{"start": start, "end": start + length, "label": "person"} for start in starts]
    return {"text": text, "entities": found}


def test_rows_of_one_text_that_say_otherwise_are_refused(tmp_path: Path) -> None:
    rows = person("Ann saw Ann", 0), person("Ann saw Ann", 8)
    with pytest.raises(DataError, match=r"seed.jsonl:2: the text 'Ann saw Ann' has"):
        read(tmp_path, *rows)


def test_a_text_in_both_forms_is_one_text(tmp_path: Path) -> None:
    tokens = {"tokens": ["Ann", "ran", "."], "tags": ["B-person", "O", "O"]}
    data = read(tmp_path, person("Ann ran.", 0), tokens)
    assert [row.text for row in data.seed] == ["Ann ran."]
    assert data.warnings == ("seed: 1 duplicate row(s) kept once",)


def test_case_tells_two_texts_apart(tmp_path: Path) -> None:
    data = read(tmp_path, person("Bob fell", 0), {"text": "bob fell", "entities": []})
    assert len(data.seed) == 2


def test_a_test_text_is_no_seed_in_any_form(tmp_path: Path) -> None:
    tokens = {"tokens": ["ann", "met", "bob", "."], "tags": ["B-person", "O", "O", "O"]}
    data = read(tmp_path, tokens, person("Eve ran", 0))
    assert [row.text for row in data.seed] == ["Eve ran"]
    assert data.warnings == ("seed: 1 row(s) that also stand in test were dropped",)


def test_entities_within_words_are_warned_of(tmp_path: Path) -> None:
    data = read(tmp_path, person("10mg it is", 0, length=2), person("Ann ran", 0))
    (told,) = data.warnings
    assert told.startswith("seed: 1 entities begin or end within a word, such as '10'")
    tokens = {"tokens": ["10", "mg"], "tags": ["B-person", "O"]}
    assert read(tmp_path, tokens).warnings == ()


def test_a_csv_is_refused_in_words_that_help(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"seed\.csv: rows of this kind fit no CSV; expected JSONL"):
        read(tmp_path, person("Ann ran", 0), name="seed.csv")


def test_the_example_loads_and_its_rows_survive_both_ways() -> None:
    config = load_config(EXAMPLE)
    data = load_task_data(config)
    assert config.task.kind == "ner"
    shown = {one.label for row in data.seed for one in row.entities}
    assert shown == set(config.task.labels)
    assert len(data.test) > 100
    for row in (*data.seed, *data.test):
        assert from_tags(*to_tags(ner.tagged(row))).entities == list(row.entities)
