"""Reasoning: rows of questions, the metric, and what kind of mistake an answer is."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evokd.errors import DataError
from evokd.records import Example, Prediction, Sample
from evokd.tasks import Mistake, TaskKind
from evokd.tasks.explanations import AnswerForm
from evokd.tasks.reasoning import (
    Question,
    Reasoning,
    asked_question,
    first_flawed,
    question_of,
    read_answer,
    read_question,
    usual_form,
)

KIND = Reasoning()
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30).filter(str.strip)


def read(**raw: Any) -> Example:
    return KIND.check_row({"question": "How many?", "answer": "51", **raw}, "train.jsonl:7", [])


def said(answer: str, *steps: str) -> Prediction:
    return Prediction(label=answer, confidence=0.5, steps=list(steps))


@st.composite
def rows(draw: st.DrawFn) -> dict[str, Any]:
    """Any row that is right."""
    options = st.lists(TEXTS, min_size=2, max_size=5, unique_by=lambda one: folded(one))
    choices = draw(st.just([]) | options)
    answers = st.sampled_from(choices) if choices else TEXTS | st.integers() | st.floats(-1e9, 1e9)
    row = {"question": draw(TEXTS), "answer": draw(answers)}
    more = {"choices": choices, "rationale": draw(st.just("") | TEXTS)}
    return row | {key: value for key, value in more.items() if value}


def folded(text: str) -> str:
    return " ".join(text.split()).casefold()


# Rows


@pytest.mark.parametrize(
    ("answer", "label"),
    [
        ("51", "51"),
        (51, "51"),
        (51.0, "51"),
        (0.1, "0.1"),
        (1e21, "1000000000000000000000"),
        (-3, "-3"),
        ("$1,200.50", "1200.5"),
        ("12 apples", "12"),
        ("Yes.", "yes"),
        ("False", "no"),
        (" The  Beatles 1", "The Beatles 1"),
        ("B", "B"),
    ],
)
def test_an_answer_is_kept_in_its_one_way_of_writing(answer: Any, label: str) -> None:
    assert read(answer=answer).label == label


@pytest.mark.parametrize("answer", ["B", "(b)", "dark  BLUE", "It is dark blue."])
@pytest.mark.parametrize("choices", [["red", " dark\tblue "], "red|dark blue"])
def test_an_answer_is_one_of_the_choices_by_letter_or_text(answer: str, choices: Any) -> None:
    row = read(answer=answer, choices=choices)
    assert (row.label, row.choices) == ("dark blue", ["red", "dark blue"])


@pytest.mark.parametrize(
    ("raw", "row"),
    [
        (
            {"answer": "He has 48/2 = <<48/2=24>>24.\nIn all 48+24 = 72.\n#### 1,072"},
            {"label": "1072", "rationale": "He has 48/2 = 24.\nIn all 48+24 = 72."},
        ),
        (
            {"answer": "It is blue.\nAnswer: (b)", "choices": ["red", "blue"], "rationale": "So."},
            {"label": "blue", "choices": ["red", "blue"], "rationale": "So."},
        ),
        (
            {"answer": "Answer: a", "choices": ["Answer: a", "Answer: b"]},
            {"label": "Answer: a", "choices": ["Answer: a", "Answer: b"]},
        ),
    ],
)
def test_an_answer_that_is_a_whole_solution_ends_with_the_answer(
    raw: dict[str, Any], row: dict[str, Any]
) -> None:
    assert read(**raw) == Example(text="How many?", **row)


def test_what_a_csv_leaves_empty_is_not_there() -> None:
    row = read(choices="", rationale=None)
    assert row == Example(text="How many?", label="51")


@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        ({"answer": "51"}, "no key 'question'; found ['answer']"),
        ({"question": "How many?", "text": "51"}, "no key 'answer'; found ['question', 'text']"),
        ({"question": " ", "answer": "51"}, "the question is empty"),
        ({"question": None, "answer": "51"}, "the question is None; expected a string"),
        ({"question": "a\ud800", "answer": "51"}, "the question holds half a surrogate pair"),
        ({"question": "a", "answer": ""}, "the answer is empty"),
        ({"question": "a", "answer": None}, "the answer is None; expected a string, a number"),
        ({"question": "a", "answer": ["51"]}, "expected a string, a number, true or false"),
        ({"question": "a", "answer": float("nan")}, "the answer is nan; expected a string, a n"),
        ({"question": "a", "answer": "\udfff"}, "the answer holds half a surrogate pair"),
        ({"question": "a", "answer": "b", "choices": 5}, "the choices are 5; expected a list"),
        ({"question": "a", "answer": "b", "choices": {"b": 1}}, "expected a list of strings"),
        ({"question": "a", "answer": "b", "choices": ["b", 5]}, "the choice is 5; expected a str"),
        ({"question": "a", "answer": "b", "choices": ["b"]}, "expected two to 26"),
        ({"question": "a", "answer": "b", "choices": "b"}, "expected two to 26"),
        ({"question": "a", "answer": "b", "choices": ["b", " "]}, "none of them empty"),
        ({"question": "a", "answer": "b", "choices": ["b", "B"]}, "no two the same but for cap"),
        ({"question": "a", "answer": "b", "choices": [*map(str, range(27))]}, "expected two to 26"),
        ({"question": "a", "answer": "b", "choices": ["b", "\ud800"]}, "half a surrogate pair"),
        ({"question": "a", "answer": "reed", "choices": ["red", "blue"]}, "did you mean 'red'"),
        ({"question": "a", "answer": "(c)", "choices": ["red", "blue"]}, "one of red, blue"),
        ({"question": "a", "answer": "red or blue", "choices": ["red", "blue"]}, "none of the"),
        ({"question": "a", "answer": "b", "rationale": ["c"]}, "the rationale is ['c']; expected"),
        ({"question": "a", "answer": "b", "rationale": 0}, "the rationale is 0; expected a string"),
        ({"question": "a", "answer": "b", "rationale": "\ud800"}, "the rationale holds half a"),
    ],
)
def test_a_bad_row_is_refused_with_its_place_and_the_reason(
    raw: dict[str, Any], problem: str
) -> None:
    with pytest.raises(DataError) as refusal:
        KIND.check_row(raw, "train.jsonl:7", [])
    assert str(refusal.value).startswith("train.jsonl:7: ")
    assert problem in str(refusal.value)


@given(rows())
def test_a_row_comes_back_from_its_file_as_it_was(raw: dict[str, Any]) -> None:
    row = KIND.check_row(raw, "x:1", [])
    written = json.loads(json.dumps(KIND.raw(row)))
    assert KIND.check_row(written, "x:1", []) == row
    assert (KIND.mark(row, said(row.label)), KIND.mark(row, said(""))) == ("1", "0")
    assert KIND.inputs([row]) == [question_of(row)]
    assert set(written) == set(raw)


def test_a_file_holds_choices_and_a_rationale_only_where_there_are_any() -> None:
    assert KIND.raw(read()) == {"question": "How many?", "answer": "51"}
    raw = {"question": "Which?", "answer": "b", "choices": ["a", "b"], "rationale": "Not a.\nSo b."}
    assert KIND.raw(KIND.check_row(raw, "x:1", [])) == raw


# What a student is asked


def test_a_student_is_shown_the_question_and_its_choices_but_no_answer() -> None:
    sample = Sample(id="a", text="b?", round=1, call="pool", intended_label="", known_answer="7")
    asked = KIND.inputs([read(), read(answer="a", choices=["a", "b"]), sample])
    assert asked == [Question("How many?"), Question("How many?", ("a", "b")), Question("b?")]


def test_the_usual_form_is_that_of_all_rows_without_choices() -> None:
    number, truth, choice = read(), read(answer="no"), read(answer="a", choices=["a", "b"])
    assert usual_form([number, choice, read(answer="5 km")]) == "number"
    assert usual_form([truth, truth]) == "yes_no"
    assert usual_form([number, truth]) == "text"
    assert usual_form([choice]) == usual_form([]) == "text"


def test_a_question_is_asked_with_its_options() -> None:
    assert asked_question("Which?", ["red", "blue"]) == "Which?\n(a) red\n(b) blue"
    assert asked_question("Which?", []) == "Which?"
    assert Question("Which?", ("red", "blue")).asked == "Which?\n(a) red\n(b) blue"


@pytest.mark.parametrize(
    ("text", "question"),
    [
        ("How many?", Question("How many?")),
        ('{"a": 1} is what?', Question('{"a": 1} is what?')),
        ('{"a": 1}', Question('{"a": 1}')),
        ("7", Question("7")),
        ('{"question": "How many?"}', Question("How many?")),
        ('{"question": "Which? ", "choices": ["a", "b"]}', Question("Which?", ("a", "b"))),
    ],
)
def test_a_question_is_asked_by_hand_as_text_or_as_a_row(text: str, question: Question) -> None:
    assert read_question(text) == question


@pytest.mark.parametrize(
    ("value", "form", "choices", "answer"),
    [
        (7.0, "number", [], "7"),
        ("7 apples", "number", [], "7"),
        ("He has 3 + 4 = <<3+4=7>>7.\n#### 7", "number", [], "7"),
        ("She paid 2 * 600 = 1,200.\n#### 1,200", "text", [], "1200"),
        ("many", "number", [], ""),
        ([7], "number", [], ""),
        (True, "yes_no", [], "yes"),
        ("(b)", "number", ["red", "blue"], "blue"),
        ("green", "text", ["red", "blue"], ""),
    ],
)
def test_the_answer_of_a_pool_s_row_is_read(
    value: Any, form: AnswerForm, choices: list[str], answer: str
) -> None:
    assert read_answer(value, form, choices) == answer


def test_a_row_with_one_choice_is_refused() -> None:
    with pytest.raises(DataError, match="the choices are"):
        read_question('{"question": "Which?", "choices": ["a"]}')


# Metric and mistakes


def test_accuracy_counts_answers_however_they_are_written() -> None:
    asked = [read(), read(answer="no"), read(answer="Paris"), read(answer="a", choices=["x", "y"])]
    answers = [said("$51.00"), said("False."), said("paris"), said("(a)")]
    assert KIND.score(asked, answers) == 1.0
    assert KIND.score(asked, [said("15"), *answers[1:]]) == 0.75
    assert KIND.score(asked, [said("")] * 4) == 0.0
    assert KIND.score([], []) == 0.0
    assert [KIND.mark(asked[0], one) for one in (answers[0], said("15"))] == ["1", "0"]


def test_as_many_predictions_as_rows_are_expected() -> None:
    with pytest.raises(ValueError):
        KIND.score([read()], [])


@pytest.mark.parametrize(
    ("prediction", "error"),
    [
        (said("", "25 + 26 = 50"), "no_answer"),
        (said("50", "He has 25.", "25 + 26 = 50"), "miscalculated"),
        (said("50", "25 + 25 = 50"), "misreasoned"),
        (said("50"), "misreasoned"),
        (Prediction(label="50", confidence=0.5), "misreasoned"),
    ],
)
def test_a_mistake_is_no_answer_a_wrong_sum_or_wrong_reasoning(
    prediction: Prediction, error: str
) -> None:
    assert error in KIND.errors
    assert KIND.mistakes(read(), prediction) == [Mistake("51", prediction.label, error)]


def test_a_right_answer_is_no_mistake_even_after_a_wrong_sum() -> None:
    assert KIND.mistakes(read(), said("51", "25 + 26 = 50")) == []


@pytest.mark.parametrize(
    ("steps", "place"),
    [
        (["He has 25.", "25 + 26 = 51"], None),
        (["He has 25.", "25 + 26 = 50", "He has 25."], 1),
        (["He has 25.", "He has 25.", "25 + 26 = 50"], 1),
        (["He has 25.", "he has 25"], None),
        ([], None),
    ],
)
def test_a_step_is_flawed_where_its_sum_is_wrong_or_it_was_there_before(
    steps: list[str], place: int | None
) -> None:
    assert first_flawed(steps) == place


def test_there_are_no_labels() -> None:
    assert KIND.targets({}) == {}
    assert KIND.labels_in(read()) == set()
    assert KIND.score_by_label([read()], [said("51")], []) == {}


def test_it_is_a_kind_and_says_what_it_is() -> None:
    kind: TaskKind = KIND
    assert (kind.name, kind.metric, kind.exclusive) == ("reasoning", "accuracy", True)
    assert set(json.loads(kind.form)) == set(kind.columns) == {"question", "answer"}
    assert kind.pool_columns[0] == "question"
    assert kind.describe(read()) == "the answer '51'"
    assert kind.says(read(answer="51.0 km")) == "51"
