"""Gates without an LLM: every gate has a text that passes and one that does not."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evokd.config import GatesSection
from evokd.memory.embeddings import HashEmbedder
from evokd.records import FoundEntity, Sample
from evokd.tasks.texts import first_sentence
from evokd.tools.gates import (
    ANY_FORM,
    EntityUses,
    TextForm,
    TextIndex,
    are_sentences,
    are_single_sentences,
    asks_questions,
    balance,
    end_with_their_question,
    entity_names,
    fewest_words,
    first_question,
    format_problem,
    is_outvoted,
    jaccard,
    screen_texts,
    settle_label,
)

LABELS = ["card_arrival", "lost"]
GATES = GatesSection()


class AngleEmbedder:
    """Turns each text into a unit vector at a given angle, in degrees."""

    model_id = "angles"
    dimension = 2

    def __init__(self, angles: dict[str, float]) -> None:
        self.angles = angles

    def embed(self, texts: Sequence[str]) -> list[list[float]]:
        turns = [math.radians(self.angles[text]) for text in texts]
        return [[math.cos(turn), math.sin(turn)] for turn in turns]


def sample(text: str, **fields: object) -> Sample:
    base = {"id": text, "text": text, "round": 1, "call": "c", "intended_label": "lost"}
    return Sample.model_validate(base | fields)


def reasons(
    texts: Sequence[str],
    known: Sequence[str] = (),
    guarded: Sequence[str] = (),
    form: TextForm = ANY_FORM,
) -> list[str | None]:
    embedder = HashEmbedder()
    screened = screen_texts(
        [sample(text) for text in texts],
        GATES,
        embedder,
        TextIndex(embedder, known),
        TextIndex(embedder, guarded),
        LABELS,
        form,
    )
    return [one.reason for one in screened]


# Format


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "format_too_short"),
        ("one two three four five", "format_too_long"),
        ("where is [my card]", "format_placeholder"),
        ("it cost <amount>", "format_placeholder"),
        ("i am {name}", "format_placeholder"),
        ("Dear bank, help", "format_placeholder"),
        ("thanks, Kind regards", "format_placeholder"),
        ("plain_2", "format_placeholder"),
        ("Question_2: why not?", "format_placeholder"),
        ("the plain_2 card", None),
        (">> question 2: when?", "format_placeholder"),
        ("my question is: when", None),
        ("my Card_Arrival please", "format_label_name"),
    ],
)
def test_a_text_that_is_none_is_named(text: str, problem: str) -> None:
    assert format_problem(text, GatesSection(max_words=4), LABELS) == problem


@pytest.mark.parametrize(
    "text",
    ["help", "one two three four", "my dear mother", "card arrival when", "i lost it", "5 < 6"],
)
def test_a_usable_text_passes_the_format_gate(text: str) -> None:
    assert format_problem(text, GatesSection(max_words=4), LABELS) is None


def test_the_shortest_length_is_a_setting() -> None:
    gates = GatesSection(min_words=2)
    assert format_problem("help", gates, LABELS) == "format_too_short"
    assert format_problem("help me", gates, LABELS) is None


@pytest.mark.parametrize(
    ("examples", "least"),
    [
        (["one two three four five", *["one two three four five six"] * 4], 2),
        (["one two three four five"] * 4, 1),  # four say too little
        (["one", *["one two three four five six"] * 4], 1),
        ([], 1),
    ],
)
def test_without_a_setting_half_of_the_shortest_example_is_the_shortest_text(
    examples: list[str], least: int
) -> None:
    assert fewest_words(examples) == least


def test_the_setting_for_the_shortest_length_goes_before_the_examples() -> None:
    form = TextForm(fewest_words=3)
    assert format_problem("Hello there", GatesSection(), LABELS, form) == "format_too_short"
    assert format_problem("Hello there", GatesSection(min_words=2), LABELS, form) is None
    assert format_problem("help", GatesSection(min_words=2), LABELS, form) == "format_too_short"


def test_examples_longer_than_a_text_may_be_leave_some_length() -> None:
    form = TextForm(fewest_words=fewest_words(["one two " * 80] * 5))
    assert form.fewest_words == 80
    assert format_problem("one two " * 20, GATES, LABELS, form) is None
    assert format_problem("one two " * 14, GATES, LABELS, form) == "format_too_short"
    assert format_problem("one two " * 31, GATES, LABELS, form) == "format_too_long"


def test_a_text_in_a_script_without_spaces_is_as_long_as_its_signs() -> None:
    form = TextForm(fewest_words=fewest_words(["我 住 在 北 京 。"] * 5))  # gold rows are tokens
    assert format_problem("他在上海工作。", GATES, LABELS, form) is None
    assert format_problem("好。", GATES, LABELS, form) == "format_too_short"
    assert format_problem("iPhone 手机", GatesSection(min_words=4), LABELS) == "format_too_short"
    assert format_problem("iPhone 手机呢", GatesSection(min_words=4), LABELS) is None


# Duplicates and leaks


@pytest.mark.parametrize(
    ("examples", "questions"),
    [
        (["who?", "what ?", "where?", "why?", "when?"], True),
        (["who?", "誰？", "من؟", "why?", "when?"], True),
        (["who?", "what?", "where?", "why?"], False),  # four say too little
        (["who?", "what?", "where?", "why?", "tell me when"], False),
        ([*["who?"] * 20, "tell me when"], True),  # one odd example sets no form
        ([*["who?"] * 19, "tell me when"], False),
    ],
)
def test_a_task_of_questions_is_told_by_its_examples(examples: list[str], questions: bool) -> None:
    assert asks_questions((one, "a") for one in examples) is questions


def test_a_label_of_statements_makes_a_task_one_of_both() -> None:
    asked = [("who?", "a")] * 60
    assert asks_questions([*asked, ("tell me", "b"), ("why?", "b"), ("when?", "b")])
    assert not asks_questions([*asked, ("tell me", "b"), ("why?", "b")])


@pytest.mark.parametrize(
    ("examples", "end"),
    [
        (["who?", "what ?", 'which "one?"'], True),
        (["who?", "what?", "which one? I forgot."], True),  # one odd example sets no form
        (["Hi. Where is it? I wait.", "Where? Thanks!", "who?"], False),
        (["I wait.", "I wait."], True),  # nothing is cut off them
    ],
)
def test_whether_texts_end_with_their_question_is_told_by_most_examples(
    examples: list[str], end: bool
) -> None:
    assert end_with_their_question(examples) is end


def test_in_a_task_of_questions_a_statement_is_rejected() -> None:
    assert (
        format_problem("It is there.", GATES, LABELS, TextForm(questions=True))
        == "format_no_question"
    )
    assert format_problem("Where is it?", GATES, LABELS, TextForm(questions=True)) is None
    assert format_problem("It is there.", GATES, LABELS) is None


def test_a_text_that_holds_the_instruction_is_rejected() -> None:
    echo = 'ask a question of the same  kind as "How old is she?"'
    phrases = ["of the same kind as"]
    assert (
        format_problem(echo, GATES, LABELS, TextForm(instructions=phrases)) == "format_instruction"
    )
    assert (
        format_problem("Of what kind is it?", GATES, LABELS, TextForm(instructions=phrases)) is None
    )


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("Why is it so? Because it is. Or not?", "Why is it so?"),
        ("I lost it. Can you help?? Thanks", "I lost it. Can you help?"),
        ("誰ですか？私です。", "誰ですか？"),
        ("It is so.", "It is so."),
        ("", ""),
    ],
)
def test_of_a_question_nothing_stays_behind_its_mark(text: str, asked: str) -> None:
    assert first_question(text) == asked


def test_texts_that_differ_pass() -> None:
    texts = ["my card was stolen today", "when will the new one arrive"]
    assert reasons(texts, known=["how do i top up"], guarded=["what is the fee"]) == [None, None]


def test_the_same_text_up_to_case_and_spaces_is_a_duplicate() -> None:
    assert reasons(["My  CARD is gone"], known=["my card is gone"]) == ["duplicate"]


def test_of_two_equal_drafts_the_first_stays() -> None:
    assert reasons(["my card is gone", "my card is gone"]) == [None, "duplicate"]


def test_a_rejected_draft_does_not_stand_in_the_way_of_a_good_one() -> None:
    assert reasons(["my card is [gone]", "my card is gone"]) == ["format_placeholder", None]


def test_almost_the_same_letters_are_a_near_duplicate() -> None:
    known = ["please tell me when my new bank card is going to arrive at home"]
    assert reasons([known[0] + "!"], known=known) == ["near_duplicate"]


@pytest.mark.parametrize(("angle", "reason"), [(10.0, "semantic_duplicate"), (30.0, None)])
def test_a_text_of_almost_the_same_meaning_is_a_semantic_duplicate(
    angle: float, reason: str | None
) -> None:
    embedder = AngleEmbedder({"old text": 0.0, "unlike letters": angle})  # cos 10° = .985
    (screened,) = screen_texts(
        [sample("unlike letters")],
        GATES,
        embedder,
        TextIndex(embedder, ["old text"]),
        TextIndex(embedder),
        LABELS,
    )
    assert screened.reason == reason


@pytest.mark.parametrize(("angle", "reason"), [(5.0, "leak"), (12.0, None)])
def test_a_text_very_near_to_a_test_text_is_a_leak(angle: float, reason: str | None) -> None:
    embedder = AngleEmbedder({"test text": 0.0, "unlike letters": angle})  # cos 12° = .978
    (screened,) = screen_texts(
        [sample("unlike letters")],
        GATES,
        embedder,
        TextIndex(embedder),
        TextIndex(embedder, ["test text"]),
        LABELS,
    )
    assert screened.reason == reason


def test_the_same_text_as_in_test_is_a_leak_before_it_is_a_duplicate() -> None:
    assert reasons(["My card"], known=["my card"], guarded=["my card"]) == ["leak"]


def test_a_screened_out_sample_is_rejected_and_keeps_its_text() -> None:
    embedder = HashEmbedder()
    index = TextIndex(embedder, ["x y"])
    (one,) = screen_texts(
        [sample("x y", split="train")], GATES, embedder, index, TextIndex(embedder), LABELS
    )
    assert (one.accepted, one.text, one.split) == (False, "x y", "")
    assert len(index) == 1


def test_jaccard_of_hand_computed_sets() -> None:
    assert jaccard(frozenset("abc"), frozenset("bcd")) == 0.5
    assert jaccard(frozenset(), frozenset()) == 1.0


def test_lexical_similarity_counts_four_letters() -> None:
    index = TextIndex(HashEmbedder(), ["abcdef"])  # abcd bcde cdef
    assert index.lexical("abcdex") == 0.5  # abcd bcde cdex: 2 of 4
    assert TextIndex(HashEmbedder()).lexical("abc") == 0.0


# Labels


@pytest.mark.parametrize(
    ("said", "sure", "agreed", "label", "reason"),
    [
        ("lost", 0.9, None, "lost", None),
        ("lost", 0.9, False, "lost", None),
        ("lost", 0.4, None, "lost", None),
        ("lost", 0.39, None, None, "label_unsure"),
        ("arrival", 0.79, True, None, "label_unsure"),
        (None, None, None, None, "label_unusable_reply"),
        ("card_arrival", 0.9, None, "card_arrival", None),
        ("card_arrival", 0.9, True, "card_arrival", None),
        ("card_arrival", 0.9, False, None, "label_differs"),
    ],
)
def test_the_label_is_settled_by_labeler_and_critic(
    said: str | None, sure: float | None, agreed: bool | None, label: str | None, reason: str | None
) -> None:
    drafted = sample("x", labeler_label=said, labeler_confidence=sure)
    settled = settle_label(drafted, 0.8, separation=True, agreed=agreed)
    assert (settled.label, settled.reason) == (label, reason)
    assert (settled.intended_label, settled.labeler_label) == ("lost", said)


@pytest.mark.parametrize(
    ("said", "sure", "checked", "label"),
    [
        ("lost", 0.2, False, "lost"),
        ("card_arrival", 0.7, False, "lost"),
        (None, None, False, "lost"),
        ("card_arrival", 0.9, True, "card_arrival"),
    ],
)
def test_only_a_sure_labeler_speaks_against_what_all_others_say(
    said: str | None, sure: float | None, checked: bool, label: str
) -> None:
    drafted = sample("x", checked=False, labeler_label=said, labeler_confidence=sure)
    settled = settle_label(drafted, 0.8, separation=True)
    assert (settled.checked, settled.label, settled.accepted) == (checked, label, None)


@pytest.mark.parametrize(
    ("said", "guesses", "outvoted"),
    [
        ("card_arrival", ["card_arrival", "lost"], False),
        ("card_arrival", ["lost"], False),
        ("card_arrival", ["card_arrival", "card_arrival"], True),
        ("card_arrival", ["card_arrival", "exchange_rate"], True),
        ("lost", ["lost"], False),
        ("lost", ["card_arrival"], False),
        (None, ["card_arrival"], False),
    ],
)
def test_labeler_and_others_outvote_the_intention_unless_held_out(
    said: str | None, guesses: list[str], outvoted: bool
) -> None:
    assert is_outvoted(sample("x", labeler_label=said, guesses=guesses)) is outvoted
    assert not is_outvoted(sample("x", labeler_label=said, guesses=guesses, split="probe"))


def test_without_separation_the_intended_label_stands() -> None:
    drafted = sample("x", labeler_label="card_arrival", labeler_confidence=0.1)
    assert settle_label(drafted, 0.8, separation=False).label == "lost"


# Balance


def labelled(id: str, label: str, sure: float | None, **fields: object) -> Sample:
    return sample(id, label=label, labeler_confidence=sure, split="train", **fields)


def balanced(
    drafts: Sequence[Sample],
    caps: Mapping[str, int],
    known: Sequence[Sample] = (),
    most: int = 2,
) -> list[Sample]:
    of_training = {("train", label): cap for label, cap in caps.items()}
    return balance(drafts, of_training, EntityUses(known, most))


def test_a_label_against_an_unsure_labeler_is_as_sure_as_the_labeler_is_not() -> None:
    rows = [
        labelled("a", "lost", 0.7, labeler_label="card_arrival"),
        labelled("b", "lost", 0.5, labeler_label="lost"),
    ]
    assert [one.reason for one in balanced(rows, {"lost": 1})] == ["balance", None]


def test_beyond_a_labels_cap_the_surest_stay_and_order_is_kept() -> None:
    rows = [labelled("a", "lost", 0.8), labelled("b", "lost", 0.99), labelled("c", "lost", 0.9)]
    kept = balanced(rows, {"lost": 2})
    assert [(one.id, one.reason) for one in kept] == [("a", "balance"), ("b", None), ("c", None)]


def test_of_equally_sure_samples_the_first_stays() -> None:
    kept = balanced([labelled("a", "lost", 0.9), labelled("b", "lost", 0.9)], {"lost": 1})
    assert [one.reason for one in kept] == [None, "balance"]


def test_a_label_without_a_cap_gets_nothing() -> None:
    assert balanced([labelled("a", "lost", 0.9)], {"other": 5})[0].reason == "balance"


def test_settled_samples_neither_count_nor_change() -> None:
    rows = [
        labelled("old", "lost", 1.0, accepted=True),
        labelled("out", "lost", 1.0, accepted=False, reason="leak"),
        labelled("new", "lost", 0.5),
    ]
    assert balanced(rows, {"lost": 1}) == rows


def test_where_all_gold_texts_end_with_a_mark_one_that_breaks_off_is_rejected() -> None:
    gold = ["It rains.", "Does it?", 'He said "no."', "So it ends !"]
    assert are_sentences(gold)
    assert not are_sentences(gold[:3])  # too few to tell
    assert not are_sentences([*gold, "no mark"])
    assert are_sentences([*gold * 6, "no mark"])  # one odd example sets no form
    for text, problem in (
        ("He is remembered as the", "format_cut_off"),
        ("He is remembered (as a poet.)", None),
        ("彼は詩人だった。", None),
    ):
        assert format_problem(text, GATES, [], TextForm(sentences=True)) == problem
        assert format_problem(text, GATES, []) is None


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("Ann left. Bob came.", "Ann left."),
        ("Ann left! “Bob came.”", "Ann left!"),
        ("He said “Ann left.” Bob came.", "He said “Ann left.”"),
        ("Ann left", "Ann left"),
        ("Ann left.", "Ann left."),
        ("Dr. Li and J. K. Rowling met in St. Paul, Minn. No more.", None),
        ("On Oct. 15 he left the U.S. Army.", None),
        ("It cost 1. 1 million", None),
        ("so it goes. and on", None),
        ("他走了。她来了。", "他走了。"),
        ("他走了。", "他走了。"),
        ("", ""),
    ],
)
def test_a_text_up_to_the_end_of_its_first_sentence(text: str, first: str | None) -> None:
    assert first_sentence(text) == (text if first is None else first)


def test_whether_texts_are_single_sentences_is_told_by_most_examples() -> None:
    one, two = "Ann left .", "Ann left. Bob came."
    assert are_single_sentences([one, one, two])
    assert not are_single_sentences([one, two])
    assert not are_single_sentences([])


# Entities


def naming(*names: str, id: str = "a", accepted: bool | None = None) -> Sample:
    text = " and ".join(names)
    entities = [
        FoundEntity(
            start=text.index(one), end=text.index(one) + len(one), label="person", confidence=1.0
        )
        for one in names
    ]
    return sample(text, id=id, label="lost", split="train", entities=entities, accepted=accepted)


def test_a_text_that_names_nothing_but_worn_entities_is_rejected() -> None:
    known = [naming("Ann"), naming("ANN", "Bob")]
    drafts = [naming("Ann"), naming("Ann", "Eve"), naming("Bob"), naming("Bob"), naming()]
    screened = balanced(drafts, {"lost": 9}, known)
    assert [one.reason for one in screened] == ["entity_worn", None, None, "entity_worn", None]


@pytest.mark.parametrize(("name", "other"), [("Yahoo !", "Yahoo!"), ("O'Neal", "O’Neal")])
def test_an_entity_spelled_otherwise_is_worn_as_well(name: str, other: str) -> None:
    (screened,) = balanced([naming(other)], {"lost": 9}, [naming(name), naming(name)])
    assert screened.reason == "entity_worn"


def test_accepted_drafts_are_never_rejected_for_their_entities() -> None:
    drafts = [naming("Ann", accepted=True), naming("Ann", accepted=True), naming("Ann")]
    screened = balanced(drafts, {"lost": 9}, drafts[:2])
    assert [one.reason for one in screened] == [None, None, "entity_worn"]


def test_texts_beyond_a_labels_cap_wear_no_entities() -> None:
    over = [naming("Ann") for _ in range(3)]
    other = naming("Ann").model_copy(update={"label": "card_arrival"})
    screened = balanced([*over, other], {"lost": 1, "card_arrival": 1})
    assert [one.reason for one in screened] == [None, "balance", "balance", None]


@given(
    st.lists(st.tuples(st.sampled_from(LABELS), st.sampled_from(["Ann", "Bob", ""]))),
    st.integers(0, 3),
)
def test_a_rejected_text_has_its_labels_share_or_its_entities_used_up(
    drawn: list[tuple[str, str]], cap: int
) -> None:
    drafts = [
        naming(*filter(None, [name])).model_copy(update={"label": label}) for label, name in drawn
    ]
    final = balanced(drafts, dict.fromkeys(LABELS, cap))
    stay = [one for one in final if one.reason is None]
    uses = Counter(name for one in stay for name in entity_names(one))
    for one in final:
        if one.reason == "balance":
            assert sum(other.label == one.label for other in stay) == cap
        if one.reason == "entity_worn":
            assert [uses[name] for name in entity_names(one)] == [2]


BORN = [
    "Tom Cruise was born in Rome.",
    "Eve was born in New York.",
    "Bob was born on 3 May in Oslo.",
    "Paul Klee was born in Bern.",
    "Ann was born in 1912, before the war.",
]


def test_the_third_text_that_differs_by_names_and_numbers_alone_is_rejected() -> None:
    entities = TextForm(entities=True)
    assert reasons(BORN, form=entities) == [None, None, None, "template_worn", None]
    assert reasons(BORN[3:], known=BORN[:1], form=entities) == [None, None]
    assert reasons(BORN[3:], known=BORN[:2], form=entities) == ["template_worn", None]


@pytest.mark.parametrize(
    "texts",
    [
        ["Apple Unveils New Phone", "Senate Passes Budget Bill", "Storm Hits Florida Coast"],
        ["Ford Opens Plant in Kenya", "Fiat Closes Works in Turin", "Wizz Flies Again in May"],
        ["AJAX 3 - 2 PSV", "Inter 0 - 0 Milan", "Rangers 2 - 1 Celtic"],
        ["Ms. Li Wei, Huawei, Shenzhen", "Mr. Abe Roe, Ford, Detroit", "Dr. Eve Poe, Bayer, Ulm"],
    ],
)
def test_headlines_and_lists_are_of_no_template(texts: list[str]) -> None:
    assert reasons(texts, form=TextForm(entities=True)) == [None] * 3


def test_texts_with_labels_may_differ_by_a_number_alone() -> None:
    assert reasons(BORN) == [None] * len(BORN)


def test_a_rejected_text_wears_no_template() -> None:
    texts = [BORN[0], BORN[0], BORN[1]]
    assert reasons(texts, form=TextForm(entities=True)) == [None, "duplicate", None]
