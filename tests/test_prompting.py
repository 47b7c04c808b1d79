"""Prompt files, the task card, and what each role is shown, over a teacher that only listens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import pytest
from pydantic import BaseModel, ValidationError

from evokd.agents.analyst import Findings, PlannedWeakness, Shown, analyze
from evokd.agents.attributes import find_attributes
from evokd.agents.card import EXAMPLES_PER_LABEL, render_card, shorten
from evokd.agents.compact_grammar import compact_grammar
from evokd.agents.critic import ACCEPT, FAULTS, WRONG_LABEL, Critic, Repaired, Verdict
from evokd.agents.generator import Assignment, Order, generate_texts, tidied, written_order
from evokd.agents.labeler import SHOWN_GOLD, label_text, name_entities, shown_gold
from evokd.agents.parsing import complete_texts, strict_schema, validated
from evokd.agents.prompting import Prompt, load_prompt
from evokd.agents.teacher import Call, Capabilities, Choice, Message, Teacher
from evokd.config import Config
from evokd.errors import ConfigError
from evokd.graph.filling import warn_of_slots
from evokd.graph.prompts import PROMPTS, WRITING, load_prompts, task_card
from evokd.graph.session import INSTRUCTION_WORDS
from evokd.records import Difficulty, Entity, Example
from evokd.store.replies import Reply
from evokd.tasks import KINDS, TaskKind, normalize
from evokd.tasks.grounding import Capitals
from evokd.tasks.ner import BOUNDARY, MISSED

KIND = "classification"
LABELS = {"lost": "the card is gone", "arrival": "a card is on its way"}
CALL = Call(1, "c1")
TEXT = "a text of quite some words about nothing"


class Listener:
    """Stands in for a teacher: keeps what it was asked and says what it was told to."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.asked: list[Sequence[Message]] = []
        self.options: list[list[str]] = []
        self.forms: list[type[BaseModel]] = []
        self.purposes: list[str] = []
        self.most: list[int | None] = []
        self.capabilities = Capabilities(logprobs=True)
        self.samples = 3

    def ask_raw(
        self, messages: Sequence[Message], reply: type[BaseModel], call: Call
    ) -> tuple[BaseModel, Reply]:
        raw = Reply(text="", finish_reason="stop", input_tokens=0, output_tokens=0)
        return self.ask(messages, reply, call), raw

    def ask_often(
        self, messages: Sequence[Message], reply: type[BaseModel], call: Call
    ) -> list[BaseModel]:
        return [self.ask(messages, reply, call) for _ in list(self.answers)]

    def ask(
        self,
        messages: Sequence[Message],
        reply: type[BaseModel],
        call: Call,
        *,
        begun: Callable[[str], BaseModel] | None = None,
        most: int | None = None,
    ) -> BaseModel:
        self.most.append(most)
        self.asked.append(messages)
        self.forms.append(reply)
        self.purposes.append(call.purpose)
        answer = self.answers.pop(0)
        if begun is not None and isinstance(answer, str):
            return begun(answer)
        return reply.model_validate(answer)

    def choose(self, messages: Sequence[Message], options: Sequence[str], call: Call) -> Choice:
        self.asked.append(messages)
        self.options.append(list(options))
        self.purposes.append(call.purpose)
        return Choice(*self.answers.pop(0))

    @property
    def user(self) -> str:
        """The last message of the last call."""
        return self.asked[-1][-1][1]


def as_teacher(listener: Listener) -> Teacher:
    return cast(Teacher, listener)


# Prompt files


def test_a_block_is_filled() -> None:
    prompt = Prompt("p", "=== main\nHello {{name}}.\n\n=== other\n{{ a }} and {{a}}\n")
    assert prompt.fill("main", name="you") == "Hello you."
    assert prompt.fill("other", a=1) == "1 and 1"


def test_values_with_braces_are_kept_and_not_filled_again() -> None:
    prompt = Prompt("p", "=== main\n{{one}} {{two}}")
    assert prompt.fill("main", one="{{two}}", two="{x} \\1") == "{{two}} {x} \\1"


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, "variables missing: name; unused: none"),
        ({"name": 1, "more": 2}, "variables missing: none; unused: more"),
        ({"nam": 1}, "variables missing: name; unused: nam"),
    ],
)
def test_a_missing_or_extra_variable_is_an_error(values: dict[str, int], said: str) -> None:
    with pytest.raises(ConfigError, match=f"prompt p, block main: {said}"):
        Prompt("p", "=== main\nHello {{name}}.").fill("main", **values)


def test_a_missing_block_is_an_error_that_lists_the_blocks() -> None:
    with pytest.raises(ConfigError, match="prompt p has no block 'hard'; it has main"):
        Prompt("p", "=== main\nHello").fill("hard")


def test_a_users_folder_replaces_single_files(tmp_path: Path) -> None:
    (tmp_path / "labeler.classification.md").write_text("=== main\nOwn {{text}}", encoding="utf-8")
    own = load_prompt("labeler", KIND, str(tmp_path))
    assert own.fill("main", text="x") == "Own x"
    ours = load_prompt("labeler", KIND)
    assert own.fill("several", texts="x") == ours.fill("several", texts="x")
    assert own.digest != load_prompt("labeler", KIND).digest
    others = [role for role in WRITING if role != "labeler"]
    assert all(
        load_prompt(role, KIND).digest == load_prompt(role, KIND, str(tmp_path)).digest
        for role in others
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("=== start\nOwn {{text}}", "no block 'main'"),
        ("=== main\nOwn", "missing: text; unknown: none"),
        ("=== main\nOwn {{text}} {{label}}", "missing: none; unknown: label"),
    ],
)
def test_a_users_prompt_that_could_not_be_filled_is_refused(
    tmp_path: Path, text: str, said: str
) -> None:
    (tmp_path / "labeler.classification.md").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=said):
        load_prompt("labeler", KIND, str(tmp_path))


def test_a_users_folder_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="absent"):
        load_prompt("labeler", KIND, str(tmp_path / "absent"))


# The card


def make_card(seed: Sequence[Example] = ()) -> str:
    return render_card(load_prompt("card", KIND), " Sort the mail. ", LABELS, seed)


def test_the_card_holds_task_labels_meanings_and_two_examples_a_label() -> None:
    seed = [Example(text=f"gone {number}", label="lost") for number in range(4)]
    card = make_card([*seed, Example(text="when", label="arrival")])
    assert "Sort the mail." in card
    assert "- lost: the card is gone\n  Example: gone 0\n  Example: gone 1\n- arrival" in card
    assert card.count("Example: ") == EXAMPLES_PER_LABEL + 1


def test_a_label_without_a_meaning_stands_alone() -> None:
    card = render_card(load_prompt("card", KIND), "x", {"lost": "", "b": "y"}, ())
    assert "- lost\n- b: y" in card


def test_an_example_that_looks_like_a_placeholder_stays_as_it_is() -> None:
    assert "Example: {{labels}}" in make_card([Example(text="{{labels}}", label="lost")])


@pytest.mark.parametrize(
    ("text", "short"), [("a  b\nc", "a b c"), ("abcdef", "abcdef"), ("abc defg", "abc…")]
)
def test_text_is_put_on_one_line_and_cut(text: str, short: str) -> None:
    assert shorten(text, 6 if text != "abc defg" else 5) == short


# The generator


PLAIN: dict[Difficulty, int] = {"plain": 2}
MIXED: dict[Difficulty, int] = {"hard": 1, "easy": 2}


def order(counts: dict[Difficulty, int], **fields: Any) -> Assignment:
    orders = [Order(difficulty, count) for difficulty, count in counts.items()]
    return Assignment(label="lost", orders=orders, length="3 to 7 words", **fields)


def written(
    assignment: Assignment, **texts: list[str]
) -> tuple[list[tuple[Difficulty, str]], Listener]:
    listener = Listener(
        texts or {name: ["a"] * order.count for name, order in assignment.named_orders()}
    )
    prompt = load_prompt("generator", KIND)
    answer = generate_texts(as_teacher(listener), prompt, "card", LABELS, assignment, CALL)
    return answer, listener


def test_what_one_text_is_takes_the_place_of_the_person_who_types() -> None:
    listener = Listener({"plain": ["a", "b"]})
    generate_texts(
        as_teacher(listener),
        load_prompt("generator", KIND),
        "card",
        LABELS,
        order(PLAIN),
        CALL,
        texts="one line of a poem",
    )
    assert "each of them one line of a poem." in listener.user
    assert "as a person in the task would type them" not in listener.user
    assert "The label of all of them is lost" in listener.user


def test_a_topic_and_a_style_go_with_the_texts_they_were_drawn_for() -> None:
    orders = [Order("plain", 1, attributes="a taxi; curt"), Order("plain", 1, attributes="a bus")]
    _, listener = written(
        Assignment(label="lost", orders=orders, length="short"), plain_1=["a"], plain_2=["b"]
    )
    assert "plain_1: write 1, with these attributes: a taxi; curt" in listener.user
    assert "plain_2: write 1, with these attributes: a bus" in listener.user


def test_a_topic_stands_beside_the_part_of_the_meaning_or_the_example() -> None:
    orders = [
        Order("plain", 1, "is late", topic="a taxi"),
        Order("hard", 1, topic="a bus", example="Where is it?"),
    ]
    _, listener = written(
        Assignment(label="lost", orders=orders, length="short"), plain=["a"], hard=["b"]
    )
    assert "plain: write 1, having to do with a taxi, all about this: is late." in listener.user
    assert 'hard: write 1 of the same kind as "Where is it?", having to do with a bus, each' in (
        listener.user
    )


def test_the_generator_returns_texts_with_their_difficulty() -> None:
    texts, _ = written(order(MIXED), easy=["b", "c"], hard=["a"])
    assert texts == [("hard", "a"), ("easy", "b"), ("easy", "c")]


def test_texts_are_put_on_one_line_and_empty_ones_left_out() -> None:
    texts, _ = written(order(PLAIN), plain=[" a\u2028b\n", "  "])
    assert texts == [("plain", "a b")]


@pytest.mark.parametrize("end", ["the third is br", 'the third"', "the third\\u00", ""])
def test_of_a_reply_that_was_cut_off_the_texts_that_ended_are_kept(end: str) -> None:
    listener = Listener(f'{{"hard": ["a"], "easy": ["b", "c", "{end}')
    found = generate_texts(
        as_teacher(listener),
        load_prompt("generator", KIND),
        "card",
        LABELS,
        order(MIXED),
        CALL,
    )
    assert found[:2] == [("hard", "a"), ("easy", "b")]
    assert set(found) <= {("hard", "a"), ("easy", "b"), ("easy", "c")}


@pytest.mark.parametrize("text", ["", "{", '{"hard": ["a', '[1, "x', '{"hard": "abc", "easy": 3'])
def test_a_reply_cut_off_before_a_text_ended_holds_none(text: str) -> None:
    with pytest.raises(ValueError):
        complete_texts(text, ["hard", "easy"])


def test_texts_that_are_single_sentences_end_as_the_grammar_says() -> None:
    for bound in (True, False):
        _, listener = written(order(PLAIN, one_sentence=bound))
        schema = listener.forms[0].model_json_schema()
        assert (" sentence " in str(compact_grammar(schema))) is bound
        assert "format" not in str(strict_schema(schema, lengths=True))


def test_half_characters_are_refused_in_a_repair() -> None:
    assert validated(Repaired, '{"text": "fine"}').text == "fine"
    with pytest.raises(ValueError, match="text"):
        validated(Repaired, '{"text": "broken \\ud83d"}')


def test_half_characters_never_become_texts() -> None:
    texts, _ = written(order(PLAIN), plain=["fine", "broken \ud83d"])
    assert [text.encode() for _, text in texts] == [b"fine"]


def test_the_generator_is_held_to_the_number_of_texts() -> None:
    _, listener = written(order(PLAIN))
    for count in (1, 3):
        with pytest.raises(ValidationError):
            listener.forms[0].model_validate({"plain": ["a"] * count})


def test_plain_texts_are_asked_for_by_label_and_meaning_after_the_card() -> None:
    _, listener = written(order(PLAIN))
    assert listener.asked[0][0] == ("system", "card")
    assert "The label of all of them is lost: the card is gone." in listener.user
    assert "Length: 3 to 7 words." in listener.user
    assert "plain: write 2." in listener.user
    assert "weakness" not in listener.user
    assert "exist already" not in listener.user


def test_a_meaning_that_is_given_in_parts_is_not_repeated_as_a_whole() -> None:
    orders = [Order("plain", 2, "it was stolen"), Order("plain", 1, "it fell")]
    texts, listener = written(
        Assignment(label="lost", orders=orders, length="short"), plain_1=["a", "b"], plain_2=["c"]
    )
    assert "plain_1: write 2, all about this: it was stolen." in listener.user
    assert "plain_2: write 1, all about this: it fell." in listener.user
    assert "the card is gone" not in listener.user
    assert texts == [("plain", "a"), ("plain", "b"), ("plain", "c")]


def test_hard_texts_are_asked_for_near_the_rival_and_the_weakness() -> None:
    assignment = order(MIXED, rival="arrival", vary="the month", avoid=["an old one"])
    _, listener = written(assignment)
    assert "hard: write 1 that really are lost, but whose words or situation remind of arrival" in (
        listener.user
    )
    assert "easy: write 2, clear and typical, that anybody would put under" in listener.user
    assert "Vary: the month." in listener.user
    assert 'exist already: "an old one"' in listener.user


def test_lists_of_questions_are_named_so() -> None:
    orders = [Order("plain", 1, "it was stolen"), Order("plain", 1, "it fell")]
    texts, listener = written(
        Assignment(label="lost", orders=orders, length="short", questions=True),
        question_1=["a?"],
        question_2=["b?"],
    )
    assert "question_2: ask 1 question, all about this: it fell." in listener.user
    assert texts == [("plain", "a?"), ("plain", "b?")]


def test_hard_texts_may_be_modelled_on_a_failure() -> None:
    orders = [Order("hard", 2, example="where did I put it"), Order("easy", 1, "it was stolen")]
    texts, listener = written(
        Assignment(label="lost", orders=orders, length="short", rival="arrival"),
        hard=["a", "b"],
        easy=["c"],
    )
    assert 'hard: write 2 of the same kind as "where did I put it"' in listener.user
    assert "easy: write 1, clear and typical, that" in listener.user
    assert "arrival" not in listener.user
    assert texts == [("hard", "a"), ("hard", "b"), ("easy", "c")]


def test_phrases_of_a_prompt_are_what_stands_between_placeholders() -> None:
    prompt = Prompt("p", "=== a\n{{one}} of the same kind as {{two}}. Too short.\n\n=== b\n{{x}}")
    assert prompt.phrases(5) == ["of the same kind as"]
    assert prompt.phrases(2) == ["of the same kind as", "Too short"]


def test_before_a_colon_a_phrase_of_a_prompt_is_shorter_and_keeps_it() -> None:
    prompt = Prompt("p", "=== a\n, all about this: {{one}}; one thing: {{two}}")
    assert prompt.phrases(5) == ["all about this:"]
    assert prompt.phrases(3) == ["all about this", "one thing:"]


def test_the_order_itself_is_no_text() -> None:
    echo = normalize("Write three, all about this: Asks what taking out cash costs.")
    phrases = load_prompt("generator", "classification").phrases(INSTRUCTION_WORDS)
    assert any(normalize(one) in echo for one in phrases)


def test_no_placeholder_is_left_in_any_form() -> None:
    every: dict[Difficulty, int] = {"plain": 1, "easy": 1, "hard": 1}
    for assignment in (
        order(every),
        order(every, rival="arrival", vary="v", avoid=["x", "y"]),
    ):
        assert "{{" not in written(assignment)[1].user


# Task kinds


@pytest.mark.parametrize("role", ["card", "generator", "critic", "attributes"])
def test_prompts_that_the_same_code_fills_have_the_same_blocks_in_every_kind(role: str) -> None:
    entities = load_prompt(role, "ner").variables
    # Texts without entities, and lists of them.
    own = {one for one in entities if one.endswith("_none") or one.startswith("names")}
    common = {block: names for block, names in entities.items() if block not in own}
    assert common == load_prompt(role, "classification").variables


@pytest.mark.parametrize("kind", [one for one in KINDS.values() if "analyst" in PROMPTS[one.name]])
def test_the_analyst_has_words_for_every_mistake_of_a_kind(kind: TaskKind) -> None:
    wrong = [Shown("in Oslo", "a", "b", 0.8, error, "Oslo") for error in kind.errors]
    plans = {f"c{place}": PLAN for place in range(1, len(wrong) + 1)}
    listener = Listener(plans)
    planned = analyze(
        as_teacher(listener),
        load_prompt("analyst", kind.name),
        "card",
        Findings(wrong=wrong, right=[]),
        max_weaknesses=9,
        max_chars=9000,
        call=CALL,
    )
    assert len(planned) == len(kind.errors)
    assert listener.user.count('"in Oslo": "Oslo" (0.80)') == len(kind.errors)


@pytest.mark.parametrize(
    ("error", "predicted"),
    [(BOUNDARY, "person"), (MISSED, "none")],  # a missed one asks for no texts without entities
)
def test_where_no_two_labels_are_confused_one_is_concerned(error: str, predicted: str) -> None:
    listener = Listener({"c1": PLAN | {"name": "person"}})
    (planned,) = analyze(
        as_teacher(listener),
        load_prompt("analyst", "ner"),
        "card",
        Findings(wrong=[Shown("Ann Lee", "person", predicted, 0.8, error, "Ann Lee")], right=[]),
        max_weaknesses=1,
        max_chars=9000,
        call=CALL,
    )
    assert (planned.labels, planned.name) == (["person"], f"person: {error}")
    assert planned.error == error


def test_texts_without_entities_are_not_asked_to_name_any() -> None:
    orders = [Order("hard", 2), Order("hard", 2, example="March was wet"), Order("easy", 2)]
    none = Assignment(label="none", orders=orders, length="short", rival="person")
    types = {"person": "people", "none": "no entity of any of these types"}
    for kind, told in (("ner", True), ("classification", False)):
        user = written_order(load_prompt("generator", kind), types, none, "a line of a diary")
        assert ("no entity at all" in user) is told
        assert ("is none" in user) is not told  # there it is a label like any other
    user = written_order(load_prompt("generator", "ner"), types, none, "a line of a diary")
    assert "hard_1: 2, with words that are easy to take for person but are none" in user
    assert 'hard_2: 2 of the same kind as "March was wet", each' in user
    assert "names" not in user.replace("It names nobody", "")
    plain = [Order("plain", 1, topic="a hat"), Order("plain", 2, topic="a cow"), Order("plain", 1)]
    first = Assignment(label="none", orders=plain, length="short")
    user = written_order(load_prompt("generator", "ner"), types, first, None)
    assert "plain_1: about a hat.\nplain_2: 2, about a cow.\nplain_3: 1." in user
    some = Assignment(label="person", orders=orders, length="short", rival="none")
    assert "many different names" in written_order(
        load_prompt("generator", "ner"), types, some, None
    )


# The labeler


def test_the_labeler_sees_the_card_and_the_text_alone() -> None:
    listener = Listener(("lost", 0.9))
    prompt = load_prompt("labeler", KIND)
    choice = label_text(as_teacher(listener), prompt, "card", list(LABELS), "it is gone", CALL)
    assert choice == Choice("lost", 0.9)
    assert listener.asked[0][0] == ("system", "card")
    assert 'Text: "it is gone"' in listener.user
    assert not any(label in listener.user for label in LABELS)
    assert listener.options == [["lost", "arrival"]]


def test_the_labeler_of_entities_is_shown_gold_answers_in_the_form_it_has_to_keep() -> None:
    gold = [
        Example(
            text="Ann is in Oslo and Oslo is cold",
            label="person",
            entities=[
                Entity(start=0, end=3, label="person"),
                Entity(start=10, end=14, label="place"),
                Entity(start=19, end=23, label="place"),
            ],
        ),
        Example(text="nobody here", label="none"),
        Example(text="x" * 1000, label="none"),  # too long to be shown
    ]
    listener = Listener({"entities": [{"text": "Bob", "type": "person"}]})
    prompt = load_prompt("labeler", "ner")
    types = ["person", "place"]
    named = name_entities(as_teacher(listener), prompt, "card", gold, types, "Bob ran", CALL)
    said = named.mentions
    assert [(one.text, one.label) for one in said] == [("Bob", "person")]
    roles, words = zip(*listener.asked[0], strict=True)
    assert roles == ("system", "user", "assistant", "user", "assistant", "user")
    assert words[2] == (
        '{"entities": [{"text": "Ann","type": "person"},{"text": "Oslo","type": "place"}]}'
    )
    assert words[4] == '{"entities": []}'
    assert words[5] == 'Text: "Bob ran"'
    with pytest.raises(ValidationError):
        listener.forms[0].model_validate({"entities": [{"text": "Bob", "type": "animal"}]})


def test_which_types_are_names_the_labeler_is_told() -> None:
    prompt = load_prompt("labeler", "ner")
    types = ["food", "person"]
    for capitals, told in (
        (Capitals(), ""),
        (Capitals({"person"}), "\nperson are names, written with"),
        (Capitals({"food", "person"}), "\nThey are names, written with"),
        (Capitals({"person"}, usual=True), "\nThey are names, written with"),
    ):
        listener = Listener({"entities": []})
        asked = as_teacher(listener), prompt, "card", [], types, TEXT, CALL
        name_entities(*asked, capitals)
        said = listener.asked[0][1][1]
        assert told in said
        assert ("are names" in said) is bool(told)


def test_without_log_probabilities_entities_are_voted_on() -> None:
    ann, oslo, bob = ({"text": name, "type": "person"} for name in ("Ann", "Oslo", "Bob"))
    answers = [{"entities": one} for one in ([ann, oslo], [ann], [bob, ann, oslo, ann])]
    listener = Listener(*answers)
    listener.capabilities = Capabilities(logprobs=False)
    prompt = load_prompt("labeler", "ner")
    asked = as_teacher(listener), prompt, "card", [], ["person"], TEXT, CALL
    named = name_entities(*asked)
    assert [one.text for one in named.mentions] == ["Ann", "Oslo"]
    assert [one.confidence for one in named.mentions] == pytest.approx([1.0, 2 / 3])
    # Three answers were wanted. One that is lost counts as one that says something else.
    listener.answers = [{"entities": []}, {"entities": [ann]}]
    named = name_entities(*asked)
    assert (named.mentions, named.confidence) == ([], pytest.approx(1 / 3))


def test_the_labeler_is_shown_a_few_gold_rows_of_every_type_first() -> None:
    def row(number: int, label: str) -> Example:
        return Example(
            text=f"Ann {number}", label=label, entities=[Entity(start=0, end=3, label=label)]
        )

    gold = [*(row(number, "person") for number in range(30)), row(30, "place")]
    shown = shown_gold(gold)
    assert len(shown) == SHOWN_GOLD
    assert [one.label for one in shown[:2]] == ["person", "place"]


def test_a_type_that_only_long_rows_hold_is_shown_by_the_shortest() -> None:
    place = Entity(start=0, end=4, label="place")
    person = Entity(start=0, end=3, label="person")
    long, longer = (
        Example(text="Oslo " + "x " * count, label="place", entities=[place])
        for count in (130, 150)
    )
    short = Example(text="Ann ran", label="person", entities=[person])
    assert shown_gold([longer, long, short]) == [short, long]


def test_rows_without_entities_do_not_crowd_out_a_type() -> None:
    place = Entity(start=0, end=4, label="place")
    empty = [Example(text=f"nobody {number}", label="none") for number in range(10)]
    gold = [*empty, Example(text="Oslo", label="place", entities=[place])]
    shown = shown_gold(gold)
    assert [one.label for one in shown[:2]] == ["none", "place"]
    assert len(shown) == SHOWN_GOLD


def slot_warnings(
    seed: Sequence[Example], kind: str = "ner", *, labels: int = 2, model: str = "local:x"
) -> list[str]:
    meanings = {f"kind{number}": "what it means" for number in range(labels)}
    config = Config.model_validate(
        {
            "task": {"kind": kind, "name": "x", "instructions": "Say.", "labels": meanings},
            "data": {"seed": "seed.jsonl"} | ({} if labels else {"pool": "pool.jsonl"}),
            "agents": {"default": {"model": model}},
        }
    )
    prompts = load_prompts(config)
    return warn_of_slots(config, task_card(config, prompts["card"], seed), prompts, seed)


def tagged_text(text: str) -> Example:
    return Example(text=text, label="kind0", entities=[Entity(start=0, end=3, label="kind0")])


def test_examples_that_leave_no_room_in_a_local_slot_are_warned_of() -> None:
    short = [tagged_text("Ann lives in a small house behind the old church of the town.")] * 8
    assert slot_warnings(short) == []
    hindi = [tagged_text("ऐन शहर के पुराने चर्च के पीछे एक छोटे से घर में रहती है और " * 4)] * 8
    (told,) = slot_warnings(hindi)
    assert told.startswith("local.slot_context: with its reply a call of the critic is about 2")
    assert "a slot has 2048" in told and "set it to 4096" in told
    assert slot_warnings(hindi, model="openai:x") == []


def test_a_card_of_many_labels_that_leaves_no_room_in_a_local_slot_is_warned_of() -> None:
    seed = [
        Example(text=f"this is text {number} " * 4, label=f"kind{number}") for number in range(80)
    ]
    (told,) = slot_warnings(seed, "classification", labels=80)
    assert "a call of the critic is about 2" in told
    assert slot_warnings(seed[:20], "classification", labels=20) == []


def test_long_solved_questions_that_leave_no_room_for_the_reviser_are_warned_of() -> None:
    steps = "it was one\nso it is two\n" * 8
    passages = [
        Example(text="a passage " * length, label="yes", rationale=steps) for length in (40, 200)
    ]
    short, long = ([one] * 4 for one in passages)
    assert slot_warnings(short, "reasoning", labels=0) == []
    (told,) = slot_warnings(long, "reasoning", labels=0)
    assert "a call of the reviser is about 3" in told and "a slot has 2048" in told


# The analyst

ROW = Shown("where is it", "arrival", "lost", 0.8)
PLAN = {"name": "late", "pattern": "late cards", "hard": 2, "easy": 1, "vary": "x"}


def analyzed(findings: Findings, max_chars: int = 9000) -> tuple[list[PlannedWeakness], Listener]:
    shown = len({(row.label, row.predicted) for row in findings.wrong})
    listener = Listener({f"c{place + 1}": PLAN for place in range(min(2, shown))})
    found = analyze(
        as_teacher(listener),
        load_prompt("analyst", KIND),
        "card",
        findings,
        max_weaknesses=2,
        max_chars=max_chars,
        call=CALL,
    )
    return found, listener


def test_the_analyst_sees_confusions_right_related_scores_and_open_weaknesses() -> None:
    findings = Findings(
        wrong=[ROW],
        right=[Shown("gone", "lost", "lost", 0.61)],
        related=[Shown("years ago", "lost", "arrival", 0.5)],
        scores={"lost": 0.75},
        open_weaknesses=["slow (lost)"],
    )
    user = analyzed(findings)[1].user
    for part in (
        "c1: arrival taken for lost, 1 times",
        '- "where is it" (0.80)',
        '- "gone" is lost (0.61)',
        '- "years ago" is lost, student said arrival (0.50)',
        "lost 75%",
        "slow (lost)",
    ):
        assert part in user


@pytest.mark.parametrize(
    ("label", "predicted", "error", "told"),
    [
        ("place", "none", "missed", "is place, student missed it (0.50)"),
        ("none", "place", "spurious", "is no entity, student said place (0.50)"),
        ("place", "person", "wrong type", "is place, student said person (0.50)"),
        (
            "place",
            "place",
            "wrong boundary",
            "is place, student found it too short or too long (0.50)",
        ),
    ],
)
def test_related_mistakes_in_entities_say_their_kind(
    label: str, predicted: str, error: str, told: str
) -> None:
    related = [Shown("in New York", label, predicted, 0.5, error, "York")]
    user = analyzed(Findings(wrong=[ROW], right=[], related=related))[1].user
    assert f'- "in New York": "York" {told}' in user


def test_what_is_not_known_yet_is_said() -> None:
    user = analyzed(Findings(wrong=[ROW], right=[]))[1].user
    assert user.count("(none)") == 3
    assert "(not known yet)" in user


def test_a_student_without_failures_has_no_weaknesses_and_nobody_is_asked() -> None:
    found, listener = analyzed(Findings(wrong=[], right=[Shown("gone", "lost", "lost", 0.61)]))
    assert found == []
    assert not listener.asked


def test_the_labels_of_a_weakness_are_those_of_its_confusion_the_most_frequent_first() -> None:
    wrong = [
        Shown("a", "lost", "arrival", 0.9),
        Shown("b", "arrival", "lost", 0.8),
        Shown("c", "arrival", "lost", 0.7),
        Shown("d", "lost", "stolen", 0.6),
    ]
    found, listener = analyzed(Findings(wrong=wrong, right=[]))
    assert [one.labels for one in found] == [["arrival", "lost"], ["lost", "arrival"]]
    assert "c2: lost taken for arrival" in listener.user
    assert "stolen" not in listener.user


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("parcels abroad", "parcels abroad"),
        ("Arrival", "arrival taken for lost"),
        (" ", "arrival taken for lost"),
    ],
)
def test_a_weakness_is_not_named_after_a_label(name: str, kept: str) -> None:
    listener = Listener({"c1": PLAN | {"name": name}})
    (found,) = analyze(
        as_teacher(listener),
        load_prompt("analyst", KIND),
        "card",
        Findings(wrong=[ROW], right=[]),
        max_weaknesses=2,
        max_chars=9000,
        call=CALL,
    )
    assert found.name == kept


def test_a_long_prompt_loses_related_first_then_right_then_wrong() -> None:
    rows = {
        name: [Shown(f"{name} {number} " + "x" * 100, "lost", "late", 0.5) for number in (0, 1)]
        for name in ("wrong", "right", "related")
    }
    findings = Findings(**rows)
    whole = len(analyzed(findings)[1].user)
    kept = []
    for room in (whole - 1, whole - 250, whole - 400, whole - 500, 0):
        user = analyzed(findings, room)[1].user
        kept.append("".join(str(user.count(f'"{name} ')) for name in rows))
    assert kept == ["221", "220", "210", "200", "000"]


def test_the_analyst_is_held_to_one_plan_a_confusion() -> None:
    form = analyzed(Findings(wrong=[ROW], right=[]))[1].forms[0]
    with pytest.raises(ValidationError):
        form.model_validate({})
    with pytest.raises(ValidationError):
        form.model_validate({"c1": PLAN | {"name": 3}})


# The critic


def judged(*answers: tuple[str, float], label: str = "lost") -> tuple[Verdict, Listener]:
    listener = Listener(*answers)
    critic = Critic(
        as_teacher(listener), load_prompt("critic", KIND), "card", LABELS, ["good one"], 0.4
    )
    return critic.judge("it is gone", label, "lost", CALL), listener


def test_the_critic_accepts_with_one_word() -> None:
    verdict, listener = judged(("yes", 0.9))
    assert (verdict, verdict.accepted) == (Verdict(ACCEPT, 0.9), True)
    assert listener.options == [["yes", *FAULTS]]


def test_the_critic_is_told_what_one_text_is() -> None:
    listener = Listener(("yes", 0.9))
    prompt = load_prompt("critic", KIND)
    critic = Critic(as_teacher(listener), prompt, "card", LABELS, [], 0.4, "one line of a poem")
    critic.judge("it is gone", "lost", "lost", CALL)
    assert "Could this be one line of a poem?" in listener.asked[0][-1][1]


def test_a_fault_named_with_hesitation_is_accepted_and_keeps_the_probability_of_yes() -> None:
    assert judged(("unclear", 0.55, {"yes": 0.45}))[0] == Verdict(ACCEPT, 0.45)


@pytest.mark.parametrize(("said", "verdict"), [("arrival", ACCEPT), ("lost", WRONG_LABEL)])
def test_of_a_text_that_somebody_wrote_only_the_label_is_asked(said: str, verdict: str) -> None:
    listener = Listener((said, 0.7, {"arrival": 0.3} if said == "lost" else {}))
    critic = Critic(as_teacher(listener), load_prompt("critic", KIND), "card", LABELS, [], 0.4)
    found = critic.judge_label("it is gone", "arrival", "lost", CALL)
    assert found == Verdict(verdict, 0.7 if said == "arrival" else 0.3)
    assert listener.options == [["lost", "arrival"]]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_bad_text_is_given_its_fault_as_the_reason(fault: str) -> None:
    verdict, listener = judged((fault, 0.8, {"yes": 0.1}))
    assert verdict == Verdict(fault, 0.1)
    assert (verdict.reason, verdict.accepted) == (f"critic_{fault}", False)
    assert len(listener.asked) == 1


def test_an_unsure_yes_has_the_likeliest_fault() -> None:
    verdict, _ = judged(("yes", 0.2, {"reply": 0.1, "letter": 0.19}))
    assert verdict == Verdict("letter", 0.2)


@pytest.mark.parametrize(("yes", "repairable"), [(0.35, True), (0.25, False)])
def test_only_a_doubtful_text_is_worth_a_repair(yes: float, repairable: bool) -> None:
    verdict, listener = judged(("reply", 1 - yes, {"yes": yes}))
    assert (verdict.repairable, verdict.accepted) == (repairable, False)
    assert len(listener.asked) == 1


def test_where_labeler_and_intention_differ_the_critic_also_chooses_a_label() -> None:
    verdict, listener = judged(("yes", 0.9), ("arrival", 0.7), label="arrival")
    assert verdict.accepted
    assert listener.options[1] == ["lost", "arrival"]  # the intended label is named first


def test_a_label_the_critic_does_not_share_is_wrong() -> None:
    verdict, _ = judged(("yes", 0.9), ("lost", 0.7), label="arrival")
    assert verdict.reason == "critic_wrong_label"


def test_the_critic_is_shown_good_and_bad_texts_as_turns_and_asked_last() -> None:
    turns = judged(("yes", 0.9))[1].asked[0]
    assert [role for role, _ in turns] == [
        "system",
        "user",
        "assistant",
        "user",
        "assistant",
        "user",
    ]
    assert [said for role, said in turns if role == "assistant"] == ["yes", "reply"]
    assert 'Text: "good one"' in turns[1][1]
    assert turns[-1][1] == 'Text: "it is gone"'


def test_all_calls_about_a_text_have_purposes_of_their_own() -> None:
    _, listener = judged(("yes", 0.9), ("arrival", 0.7), label="arrival")
    assert len(set(listener.purposes)) == 2


def repairing(text: str) -> tuple[str, Listener]:
    listener = Listener({"text": text})
    critic = Critic(as_teacher(listener), load_prompt("critic", KIND), "card", LABELS, [], 0.4)
    return critic.repair("it gone is", "unclear", "lost", CALL), listener


def test_a_repair_goes_on_with_the_conversation_and_returns_the_new_text() -> None:
    text, listener = repairing(" my card is gone ")
    assert text == "my card is gone"
    asked = listener.asked[0]
    assert 'Text: "it gone is"' in asked[-3][1]
    assert asked[-2] == ("assistant", "unclear")
    assert "lost (the card is gone)" in listener.user


def test_a_repair_may_be_little_longer_than_the_text() -> None:
    _, listener = repairing("my card is gone")
    assert listener.most == [len("it gone is") + 40]


def test_a_repaired_text_is_one_line() -> None:
    assert repairing("my card\n is\u2028gone")[0] == "my card is gone"


@pytest.mark.parametrize("line", ["nice try", "rude: go away", "reply:"])
def test_a_users_bad_example_without_its_fault_is_refused(line: str) -> None:
    prompt = Prompt("own.md", f"=== question\nq\n\n=== text\n{{{{text}}}}\n\n=== bad\n{line}")
    critic = Critic(as_teacher(Listener()), prompt, "card", LABELS, ["good one"], 0.4)
    with pytest.raises(ConfigError, match=r"own\.md, block bad.*reply, letter"):
        critic.judge("it is gone", "lost", "lost", CALL)


@pytest.mark.parametrize("line", ["Where is it?", "rule: say so", "order:"])
def test_a_users_example_of_an_order_is_refused_before_anybody_is_asked(
    tmp_path: Path, line: str
) -> None:
    own = f"=== main\nOwn {{{{text}}}}\n\n=== sways_shown\n{line}"
    (tmp_path / "labeler.classification.md").write_text(own, encoding="utf-8")
    config = Config.model_validate(
        {
            "task": {"kind": KIND, "name": "x", "instructions": "Say.", "labels": LABELS},
            "data": {"seed": "seed.jsonl"},
            "agents": {"default": {"model": "local:x"}, "prompts": str(tmp_path)},
        }
    )
    with pytest.raises(ConfigError, match=r"block sways_shown.*content, order, a colon"):
        load_prompts(config)


def test_half_characters_are_no_attributes() -> None:
    listener = Listener({"topics": ["a", "b \ud83d", *"cdefgh"], "styles": list("vwxyz")})
    prompt = load_prompt("attributes", KIND)
    found = find_attributes(as_teacher(listener), prompt, "card", "lost", CALL)
    assert found.topics == list("acdefgh")
    assert found.styles == list("vwxyz")


@pytest.mark.parametrize(
    ("written", "text"),
    [
        ("Ann (PER) sang in Rome [LOC].", "Ann sang in Rome."),
        ("<PER> Ann sang.", "Ann sang."),
        ("Ann (per) sang (PERSON).", "Ann (per) sang (PERSON)."),
        ("Ann (PER] sang.", "Ann (PER] sang."),
        ("All of C++ (C++) is fun.", "All of C++ is fun."),
        (". The Nile is long.", "The Nile is long."),
        (": so it is", "so it is"),
        ("... and so on", "... and so on"),
        (".5 is a half", ".5 is a half"),
        (":) is a smile", ":) is a smile"),
    ],
)
def test_what_a_generator_adds_to_a_text_is_no_part_of_it(written: str, text: str) -> None:
    assert tidied(written, ["PER", "LOC", "C++"]) == text
