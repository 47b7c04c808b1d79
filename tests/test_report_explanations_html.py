"""The HTML report of a task of reasoning: what became of explanations, and words that fit it."""

from __future__ import annotations

import copy
import re
from typing import Any

import pytest
from test_report_html import ATTACK, Page
from test_report_html import REPORT as OF_LABELS

from evokd.report_html import render_html
from evokd.report_kinds import explanation_card

COUNTS = {
    "revised": 40,
    "approved": 8,
    "known": 36,
    "right_before": 6,
    "right_after": 19,
    "accepted_known": 25,
    "accepted_right": 17,
    "approved_wrong": 5,
    "spoiled": 1,
    "walked": 40,
    "compared": 0,
    "miscalculated": 15,
    "located": 5,
    "asked": 12,
    "overlooked": 7,
}

BROKEN: dict[str, Any] = {
    "question": "Each of 12 houses in a block gets 4 letters. How many letters does a block get?",
    "choices": [],
    "round": 2,
    "uncertainty": {"intra": 0.6667, "inter": 0.25},
    "steps": ["There are 12 houses.", "Letters: 12 * 4 = 44.", "So the block gets 44 letters."],
    "answer": "44",
    "first_wrong": 1,
    "revised": ["There are 12 houses.", "Each gets 4, so 12 * 4 = 48.", "That is for one block."],
    "revised_answer": "48",
    "after": ["12 * 4 = 48 letters for a block."],
    "after_answer": "48",
    "known_answer": "48",
}
WITH_CHOICES: dict[str, Any] = {
    "question": "What does a thermometer measure?",
    "choices": ["length", "heat", "weight"],
    "round": 1,
    "uncertainty": {},
    "steps": ["It shows how warm it is."],
    "answer": "heat",
    "first_wrong": None,
    "revised": ["It shows how warm it is."],
    "revised_answer": "heat",
    "after": [],
    "after_answer": "length",
    "known_answer": None,
}


def a_round(number: int, score: float) -> dict[str, Any]:
    """Return one round of the fixture."""
    return {
        "round": number,
        "kind": "loop",
        "probe": None,
        "score": score,
        "fresh": 0.15,
        "accepted": 13,
        "rejected": {"miscalculated": 5, "critic_explanation": 2},
        "train_rows": 4 + 13 * number,
        "probe_rows": 0,
        "per_label": {},
        "errors": {"no_answer": 3, "miscalculated": 5, "misreasoned": 2},
        "explanations": {"explained": 50, "cut": 9 - number, "unanswered": 11},
        "refills": 0,
        "output_tokens": 2400,
        "seconds": {"teacher": 80.0, "training": 40.0, "other": 5.0},
        "trained": True,
    }


REPORT: dict[str, Any] = {
    "run_id": "20261127-svamp",
    "strategy": "elad",
    "task": {
        "name": "svamp",
        "kind": "reasoning",
        "instructions": "Solve the arithmetic word problem.",
        "labels": {},
    },
    "metric": "accuracy",
    "status": "finished",
    "stop_reason": "all rounds are done",
    "random_seed": 0,
    "scores": {
        "baseline": 0.0333,
        "final": 0.16,
        "best_round": 2,
        "per_label": {},
        "baseline_per_label": {},
    },
    "best_round_rule": "the last round; this strategy holds nothing out",
    "calibration": "uncalibrated on gold rows",
    "reliability": None,
    "labeler_bias": {},
    "explanations": {
        "baseline": {"explained": 100, "cut": 61, "unanswered": 40},
        "final": {"explained": 100, "cut": 2, "unanswered": 3},
    },
    "init": None,
    "rounds": [a_round(1, 0.11), a_round(2, 0.16)],
    "confusion": None,
    "teacher": {"reviser": {"calls": 160, "cached": 0, "output_tokens": 4800}},
    "seconds": {"teacher": 160.0, "training": 80.0, "other": 10.0},
    "weaknesses": {"open": 1, "closed": 0, "returned": 0},
    "weakness_list": [
        {
            "id": "w01-no_answer",
            "name": "no answer",
            "description": "3 of 13 explanations of round 1",
            "labels": ["no_answer"],
            "round": 1,
            "status": "open",
            "probe_score": 0.77,
            "history": ["1:open:0.77"],
            "samples": [],
        }
    ],
    "samples": {
        "accepted": 26,
        "probe": 0,
        "unchecked": 20,
        "by_label": {"48": 2, "7": 1},
        "rejected": {"miscalculated": 10, "critic_explanation": 4},
        "examples_rejected": [
            {
                "text": "Kelly has 106 games and gives away 64. How many are left?",
                "intended_label": "52",
                "reason": "critic_explanation",
                "labeler_label": None,
            }
        ],
    },
    "pool": {"in_words": "696 rows read, 696 kept"},
    "marked": [],
    "revisions": COUNTS,
    "explained": [BROKEN, WITH_CHOICES],
    "warnings": [],
}


def changed(**keys: Any) -> dict[str, Any]:
    """Return the fixture with some keys replaced."""
    return copy.deepcopy(REPORT) | keys


def text_of(report: dict[str, Any]) -> str:
    """Return what a reader of the page sees."""
    return Page(render_html(report)).text


def items(page: str, mark: str) -> list[str]:
    """Return the texts of the list items of one class, without markup."""
    found = re.findall(rf'<li class="{mark}">(.*?)</li>', page, re.DOTALL)
    return [" ".join(re.sub(r"<[^>]*>", "", one).split()) for one in found]


def answers(card: dict[str, Any]) -> list[str]:
    """Return what each column of a card's page says of its answer."""
    page = render_html(changed(explained=[card]))
    (columns,) = re.findall(r'<div class="explained">(.*?)</article>', page, re.DOTALL)
    said = re.findall(r"<p[^>]*>(.*?)</p>", columns, re.DOTALL)
    return [" ".join(re.sub(r"<[^>]*>", "", one).split()) for one in said]


# ------------------------------------------------------------------------------------ the counts


def test_the_counts_are_told_with_their_shares() -> None:
    text = text_of(REPORT)
    assert "given 40 of the student’s explanations" in text
    assert "approved 8 as they were (20.0%) and corrected 32" in text
    assert "right before the revision 6 of 36 (16.7%)" in text
    assert "right after the revision 19 of 36 (52.8%)" in text
    assert "right before, wrong after 1 of 6 (16.7%)" in text
    assert "wrong, but approved as they were 5 of 36 (13.9%)" in text
    assert "right among the accepted 17 of 25 (68.0%)" in text
    assert "36 of the 40 questions have an answer in the pool" in text


def test_the_reviser_s_walk_is_told_with_its_shares() -> None:
    text = text_of(REPORT)
    assert "explanations with a miscalculated step 15 of 40 (37.5%)" in text
    assert "the reviser’s first “no” was to that very step 5 of 15 (33.3%)" in text
    assert "it got as far as that step 12 of 15 (80.0%)" in text
    assert "and called it right 7 of 12 (58.3%)" in text
    assert "nothing to recompute" not in text


def test_without_known_answers_none_is_called_right() -> None:
    known = ("known", "right_before", "right_after", "accepted_known", "accepted_right")
    text = text_of(changed(revisions=COUNTS | dict.fromkeys(known, 0)))
    assert "The pool has no answers to compare with." in text
    assert "right before" not in text
    assert "The pool has no answers" not in text_of(REPORT)


def test_without_a_miscalculated_step_there_is_nothing_to_recompute() -> None:
    none = dict.fromkeys(("miscalculated", "located", "asked", "overlooked"), 0)
    text = text_of(changed(revisions=COUNTS | none))
    assert "There was nothing to recompute: in the 40 explanations" in text
    assert "first “no”" not in text


def test_a_reviser_that_wrote_whole_explanations_is_not_said_to_have_walked() -> None:
    none = dict.fromkeys(("approved", "walked", "miscalculated", "located", "asked"), 0)
    text = text_of(changed(revisions=COUNTS | none | {"overlooked": 0}))
    assert "40 explanations were revised, none of them step by step." in text
    assert "asked about no single step" in text
    assert "approved 0" not in text


def test_explanations_held_against_a_solution_are_not_said_to_be_unread() -> None:
    none = dict.fromkeys(("walked", "miscalculated", "located", "asked", "overlooked"), 0)
    text = text_of(changed(revisions=COUNTS | none | {"compared": 40}))
    assert "answered 40 of the questions itself" in text
    assert "It bore out 8 as they were (20.0%) and went on in 32" in text
    assert "none of them step by step" not in text
    assert "asked about no single step" not in text


def test_a_check_against_known_answers_is_told_beside_what_it_makes_right() -> None:
    rejected = REPORT["samples"] | {"rejected": {"not_the_known_answer": 9}}
    assert "right because of that check" in text_of(changed(samples=rejected))
    assert "right because of that check" not in text_of(REPORT)


def test_what_was_cut_or_holds_no_answer_is_told_for_the_pool_and_for_test() -> None:
    text = text_of(REPORT)
    assert (
        "baseline, test questions 100 61 40 before round 1, questions of the pool 50 8 11" in text
    )
    assert "before round 2, questions of the pool 50 7 11 final, test questions 100 2 3" in text
    assert "without a readable answer" not in text_of(OF_LABELS)


# ------------------------------------------------------------------------------------- the cards


def test_a_card_tells_question_round_uncertainty_and_known_answer() -> None:
    text = text_of(changed(explained=[BROKEN]))
    assert BROKEN["question"] in text
    assert "round 2 broke at step 2 of 3 uncertainty: intra 0.67, inter 0.25" in text
    assert "known answer 48 ✓ the revised one is the same" in text
    assert "intra is the share of other answers where it answers after fewer" in text
    assert "least confidence" not in text  # no card shows it
    text = text_of(changed(explained=[BROKEN | {"known_answer": "50"}]))
    assert "known answer 50 ✗ the revised one is another" in text


def test_a_card_tells_choices_by_letter_and_nothing_that_is_not_known() -> None:
    text = text_of(changed(explained=[WITH_CHOICES]))
    assert "(a) length (b) heat (c) weight" in text
    assert "known answer " not in text
    assert "uncertainty:" not in text and "Uncertainty, from" not in text


def test_the_first_wrong_step_and_the_new_ones_are_marked_and_no_other() -> None:
    page = render_html(changed(explained=[BROKEN]))
    assert items(page, "wrong") == ["Letters: 12 * 4 = 44. first wrong step"]
    assert items(page, "new") == [
        "Each gets 4, so 12 * 4 = 48. new",
        "That is for one block. new",
    ]
    assert page.count("<li>There are 12 houses.</li>") == 2  # before, and kept


def test_an_explanation_that_broke_at_its_answer_keeps_all_its_steps() -> None:
    steps = ["There are 12 houses.", "12 * 4 = 48."]
    card = BROKEN | {
        "steps": steps,
        "answer": "84",
        "first_wrong": 2,
        "revised": [*steps, "So the block gets 48."],
    }
    page = render_html(changed(explained=[card]))
    assert items(page, "wrong") == []
    assert items(page, "new") == ["So the block gets 48. new"]
    assert "broke at its answer" in Page(page).text
    assert answers(card) == ["Answer: 84 ✗ wrong", "Answer: 48", "Answer: 48 ✓ as revised"]
    assert answers(card | {"answer": ""})[0] == "no answer ✗ missing"


def test_an_empty_explanation_broke_at_its_answer() -> None:
    card = BROKEN | {"steps": [], "answer": "", "first_wrong": 0}
    assert answers(card)[:2] == ["no steps", "no answer ✗ missing"]
    assert len(items(render_html(changed(explained=[card])), "new")) == 3


def test_nothing_is_marked_where_nothing_was_wrong() -> None:
    page = render_html(changed(explained=[WITH_CHOICES]))
    assert items(page, "wrong") == items(page, "new") == []
    assert "approved as it was" in Page(page).text
    assert answers(WITH_CHOICES)[0] == "Answer: heat"


def test_a_whole_explanation_of_the_reviser_s_is_not_called_approved() -> None:
    card = BROKEN | {"first_wrong": None}
    page = render_html(changed(explained=[card]))
    assert items(page, "wrong") == []
    assert len(items(page, "new")) == 3
    assert "written anew" in Page(page).text
    assert "approved as it was" not in Page(page).text


@pytest.mark.parametrize(
    "revised, after, choices, is_same",
    [
        ("48", "48", [], True),
        ("48", "48.5", [], False),
        ("Paris", "paris", [], True),
        ("heat", "length", ["length", "heat"], False),
        ("48", "", [], False),
        ("", "", [], False),
    ],
)
def test_the_student_s_new_answer_is_held_against_the_revised_one(
    revised: str, after: str, choices: list[str], is_same: bool
) -> None:
    told = {"revised_answer": revised, "after_answer": after, "choices": choices}
    card = BROKEN | told
    assert explanation_card(card)["columns"][2]["as_revised"] is is_same
    sign = "✓ as revised" if is_same else "✗ not as revised"
    assert answers(card)[-1].endswith(sign)


def test_a_long_step_is_shortened_and_a_long_question_is_not() -> None:
    card = BROKEN | {"question": "word " * 200 + "end?", "after": ["again " * 200 + "end."]}
    text = text_of(changed(explained=[card]))
    assert "word end?" in text
    assert "again end." not in text
    assert "again again agai …" in text


def test_a_card_of_which_nothing_is_known_renders() -> None:
    assert answers({}) == ["no steps", "no answer"] * 2 + ["no steps", "no answer ✗ not as revised"]


# -------------------------------------------------------------------------------------- the page


def test_without_revisions_there_is_no_section() -> None:
    for report in (OF_LABELS, changed(revisions=None, explained=[])):
        page = render_html(report)
        assert 'id="explanations"' not in page and "#explanations" not in page


def test_without_an_accepted_explanation_the_counts_stay() -> None:
    text = text_of(changed(explained=[]))
    assert "There is no accepted explanation to show." in text
    assert "given 40 of the student’s explanations" in text


@pytest.mark.parametrize("report", [REPORT, OF_LABELS], ids=["reasoning", "labels"])
def test_every_link_of_the_head_leads_to_a_section(report: dict[str, Any]) -> None:
    page = render_html(report)
    links = re.findall(r'href="#([^"]+)"', page)
    assert set(links) <= set(re.findall(r'<section id="([^"]+)"', page))
    assert ("explanations" in links) is (report is REPORT)


def test_a_page_of_reasoning_does_not_speak_of_labels() -> None:
    text = text_of(REPORT)
    for words in ("label", "Confusion", "intended", "onfidence can", "calibrated", "kept out of"):
        assert words not in text
    assert "no_answer" not in text  # the tag of a weakness would only repeat its name
    assert "26 of 40 explanations were accepted" in text
    assert "explanations accepted 26" in text
    assert "student answered 52" in text
    assert "20 were accepted without the critic, because their arithmetic leads to" in text
    assert "Each is tested in every later round on the questions that the student explains" in text
    assert "no answer 3" in text  # a kind of mistake, in words


def test_the_student_that_a_page_of_reasoning_begins_with_is_called_untrained() -> None:
    assert "rose from 3.3% (baseline, untrained) to 16.0% (round 2)" in text_of(REPORT)
    assert "The baseline is the student before any training." in text_of(REPORT)
    assert "untrained" not in text_of(OF_LABELS)
    assert "before any training" not in text_of(OF_LABELS)


def poisoned(value: Any) -> Any:
    """Replace every text in a report, and the names of uncertainties, by an attack."""
    if isinstance(value, str):
        return value if value == "reasoning" else ATTACK
    if isinstance(value, list):
        return [poisoned(item) for item in value]
    if isinstance(value, dict):
        names = {"intra": ATTACK}
        return {names.get(key, key): poisoned(item) for key, item in value.items()}
    return value


def test_no_text_of_an_explanation_becomes_markup() -> None:
    page = render_html(poisoned(REPORT))
    assert "<script" not in page.lower()
    (cards,) = re.findall(r'<section id="explanations">(.*?)</section>', page, re.DOTALL)
    # Of the first card 13 texts, of the second 9: questions, choices, steps, answers and what
    # uncertainty is called.
    assert Page(cards).text.count("alert('x')") == 13 + 9


@pytest.mark.parametrize("key", sorted(REPORT))
def test_a_missing_or_null_key_renders(key: str) -> None:
    Page(render_html(changed(**{key: None})))
    report = changed()
    del report[key]
    Page(render_html(report))


@pytest.mark.parametrize("key", sorted(BROKEN))
def test_a_missing_or_null_key_of_a_card_renders(key: str) -> None:
    card = {name: value for name, value in BROKEN.items() if name != key}
    Page(render_html(changed(explained=[card, BROKEN | {key: None}])))


@pytest.mark.parametrize("key", sorted(COUNTS))
def test_a_missing_or_null_count_renders(key: str) -> None:
    Page(render_html(changed(revisions=COUNTS | {key: None})))
    Page(render_html(changed(revisions={k: v for k, v in COUNTS.items() if k != key})))
