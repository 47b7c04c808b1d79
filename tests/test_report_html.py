"""The HTML report: what it must show, what it must never do, and where the curve's points lie."""

from __future__ import annotations

import copy
import re
from html.parser import HTMLParser
from typing import Any

import pytest

from evokd.report_chart import (
    Frame,
    axis_range,
    chart,
    curve,
    curve_columns,
    curve_points,
    label_period,
    labelled_columns,
    polylines,
    reliability_chart,
)
from evokd.report_html import (
    confusion_table,
    facts,
    headline,
    history_step,
    label_table,
    render_html,
)
from evokd.report_words import cell_percent, duration, short_count, tint

ATTACK = "<script>alert('x')</script>"
LABELS = {
    "card_arrival": "asks when a new card will arrive",
    "lost_or_stolen_card": "reports a card as gone",
    "exchange_rate": "asks about the rate",
}


def a_round(number: int, score: float | None, probe: float | None) -> dict[str, Any]:
    """Return one round of the fixture."""
    return {
        "round": number,
        "kind": "loop" if number else "init",
        "probe": probe,
        "score": score,
        "fresh": 0.5 + number / 100,
        "accepted": 30 + number,
        "rejected": {"near_duplicate": 3, "critic_unrealistic": number},
        "train_rows": 60 + 30 * number,
        "probe_rows": 12 + 4 * number,
        "per_label": dict.fromkeys(LABELS, 0.6 + number / 20),
        "weaknesses": {"open": 1, "closed": number, "returned": 0},
        "refills": 1,
        "output_tokens": 1900,
        "seconds": {"teacher": 61.0, "training": 20.0, "other": 4.0},
        "trained": True,
    }


REPORT: dict[str, Any] = {
    "run_id": "20261123-banking",
    "strategy": "evokd",
    "task": {
        "name": "banking",
        "kind": "classification",
        "instructions": "Say what a bank's customer wants.",
        "labels": LABELS,
    },
    "metric": "accuracy",
    "status": "finished",
    "stop_reason": "no gain in two rounds",
    "random_seed": 0,
    "versions": {"evokd": "0.1.0", "torch": "2.13.0"},
    "config_fingerprint": "3f9c1b2a77de",
    "created": "2026-11-23T10:00:00+00:00",
    "scores": {
        "baseline": 0.7813,
        "final": 0.9427,
        "best_round": 4,
        "per_label": dict.fromkeys(LABELS, 0.8),
        "baseline_per_label": {"card_arrival": 0.41, "exchange_rate": 0.999},
    },
    "best_round_rule": "highest probe score, the earliest if equal",
    "calibration": "uncalibrated",
    "labeler_bias": {"card_arrival": 1.6},
    "reliability": {
        "gold": 80,
        "rows": 80,
        "temperature": 2.5,
        "accuracy": 0.7,
        "raw": [
            {"rows": 20, "confidence": 0.65, "accuracy": 0.5},
            {"rows": 60, "confidence": 0.95, "accuracy": 0.75},
        ],
        "raw_error": 0.1875,
        "calibrated": [{"rows": 80, "confidence": 0.7, "accuracy": 0.6875}],
        "calibrated_error": 0.0125,
    },
    "init": a_round(0, 0.8317, 0.802),
    "rounds": [
        a_round(1, 0.8529, 0.861),
        a_round(2, 0.8931, 0.882),
        a_round(3, 0.9173, 0.917),
        a_round(4, 0.9427, 0.953),
        a_round(5, 0.9379, 0.944),
    ],
    "confusion": {
        "labels": list(LABELS),
        "matrix": [[38, 1, 1], [4, 36, 0], [0, 0, 40]],
        "split": "test",
    },
    "teacher": {
        "analyst": {
            "calls": 5,
            "cached": 0,
            "input_tokens": 12040,
            "output_tokens": 2100,
            "usd": None,
            "failed": 0,
            "seconds": 40.2,
            "model": "local:qwen2.5-coder-1.5b-instruct",
        },
        "generator": {
            "calls": 44,
            "cached": 2,
            "input_tokens": 30500,
            "output_tokens": 8200,
            "usd": 0.0123,
            "failed": 1,
            "seconds": 301.7,
            "model": "openai:gpt-5-mini",
        },
    },
    "seconds": {"teacher": 305.0, "training": 100.0, "other": 20.0},
    "seconds_setup": {"model_load": 8.1, "download": 0.0},
    "phases": {"analyze": 12.0, "generate": 100.0, "train": 100.0},
    "words": [
        {"text": "late", "label": "card_arrival", "probabilities": {"card_arrival": 0.71}},
        {"text": "arrive", "label": "card_arrival", "probabilities": {"card_arrival": 0.93}},
        {"text": "euro", "label": "exchange_rate", "probabilities": {"exchange_rate": 0.88}},
    ],
    "weaknesses": {"open": 1, "closed": 1, "returned": 1},
    "weakness_list": [
        {
            "id": "w1",
            "name": "Delivery against loss",
            "description": "A card that has not come is taken for a stolen one.",
            "labels": ["card_arrival", "lost_or_stolen_card"],
            "round": 1,
            "status": "closed",
            "probe_score": 1.0,
            "history": ["1:open:0.50", "2:closed:1.00"],
            "samples": [
                {
                    "text": "My card never came, did someone take it?",
                    "label": "card_arrival",
                    "difficulty": "hard",
                    "prediction": "lost_or_stolen_card",
                }
            ],
        },
        {"id": "w2", "name": "Rates in passing", "labels": [], "round": 2, "status": "returned"},
        {"id": "w3", "name": "Short questions", "labels": [], "round": 3, "status": "open"},
    ],
    "samples": {
        "accepted": 193,
        "probe": 32,
        "by_label": {"card_arrival": 70, "lost_or_stolen_card": 63, "exchange_rate": 60},
        "rejected": {"critic_unrealistic": 15, "near_duplicate": 18},
        "examples_rejected": [
            {
                "text": "When does my card come?",
                "intended_label": "card_arrival",
                "reason": "near_duplicate",
                "labeler_label": None,
            }
        ],
    },
    "warnings": ["2 test texts were dropped from the seeds"],
    "verdict": None,
    "graph_mermaid": "graph TD; prepare --> evaluate",
}

CONTRACT_ONLY: dict[str, Any] = {
    "run_id": "r1",
    "strategy": "static",
    "task": {"name": "banking", "kind": "classification"},
    "metric": "accuracy",
    "status": "budget",
    "random_seed": 0,
    "versions": {},
    "config_fingerprint": "abc",
    "scores": {"baseline": 0.5, "final": 0.75, "best_round": 1, "per_label": {"a": 0.75}},
    "rounds": [{"round": 1, "probe": 0.9, "score": 0.75, "accepted": 3, "rejected": {}}],
    "teacher": {
        "generator": {
            "calls": 4,
            "cached": 0,
            "input_tokens": 0,
            "output_tokens": 0,
            "usd": None,
        }
    },
    "seconds": {"teacher": 0.0, "training": 0.0, "other": 0.0},
    "weaknesses": {"open": 0, "closed": 0, "returned": 0},
    "verdict": None,
}


def changed(**keys: Any) -> dict[str, Any]:
    """Return the fixture with some keys replaced."""
    return copy.deepcopy(REPORT) | keys


class Page(HTMLParser):
    """Collects a page's text and fails on tags that are not closed in order."""

    VOID = {"meta", "link", "br", "circle", "rect", "line", "polyline"}

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: set[str] = set()
        self.words: list[str] = []
        self.feed(page.replace("<wbr>", ""))
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes |= {name for name, _ in attrs}
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes |= {name for name, _ in attrs}

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"style", "script"} & set(self.open[-1:]):
            self.words.append(data)

    @property
    def text(self) -> str:
        """The visible text with single spaces."""
        return " ".join(" ".join(self.words).split())


# ------------------------------------------------------------------------------------- the page


def test_page_is_well_formed_and_holds_the_sections_in_order() -> None:
    text = Page(render_html(REPORT)).text
    heads = [
        "Learning curve",
        "Scores by label and round",
        "Confusion matrix",
        "How far the labeler’s confidence can be trusted",
        "Words of its vocabulary that the student was taught",
        "Weaknesses and what became of them",
        "What was rejected and why",
        "Tokens and time",
        "Run facts",
        "Warnings",
    ]
    places = [text.rindex(head) for head in heads]
    assert places == sorted(places)


def test_every_rounds_scores_appear() -> None:
    text = Page(render_html(REPORT)).text
    for stage in [REPORT["init"], *REPORT["rounds"]]:
        assert f"{100 * stage['score']:.1f}%" in text
        assert f"{100 * stage['probe']:.1f}%" in text


def test_headline_tells_both_scores() -> None:
    text = Page(render_html(REPORT)).text
    assert "rose from 78.1% (baseline) to 94.3% (round 4)" in text
    assert "+16.1 points" in text
    assert "Test rows: 120." in text


def poisoned(value: Any) -> Any:
    """Replace every text in a report, keys of label tables included, by an attack."""
    if isinstance(value, str):
        return ATTACK
    if isinstance(value, list):
        return [poisoned(item) for item in value]
    if isinstance(value, dict):
        return {ATTACK if key in LABELS else key: poisoned(item) for key, item in value.items()}
    return value


def test_a_refitted_student_has_its_own_point_column_and_words() -> None:
    report = REPORT | {"refitted": 21}
    page = render_html(report)
    assert "round 4, refitted" in page
    assert "held-out texts it was refitted with" in page
    assert [column["name"] for column in label_table(report)["columns"]][-1] == "final"
    last = curve_columns(report)[-1]
    assert (last["name"], last["test"], last["probe"]) == ("refitted", 0.9427, None)
    assert curve_columns(REPORT)[-1]["name"] == "5"


def test_no_text_of_a_report_becomes_markup() -> None:
    page = render_html(poisoned(REPORT))
    assert "<script" not in page.lower()
    assert Page(page).text.count("alert('x')") > 20


@pytest.mark.parametrize("text", ['"><img src=x onerror=alert(1)>', "' onmouseover='alert(1)"])
def test_a_label_cannot_leave_an_attribute(text: str) -> None:
    report = changed(confusion={"labels": [text, "b"], "matrix": [[1, 0], [0, 1]]})
    page = render_html(report)
    assert "<img" not in page
    assert not [name for name in Page(page).attributes if name.startswith("on")]


def test_page_loads_nothing_from_outside() -> None:
    page = render_html(REPORT)
    assert "http://" not in page and "https://" not in page
    assert not re.search(r"\bsrc=|@import|url\(", page)
    assert set(re.findall(r'href="([^"]{1})', page)) == {"#", "d"}  # anchors and the empty icon
    assert 'href="data:,"' in page


@pytest.mark.parametrize("key", sorted(REPORT))
def test_a_missing_key_renders(key: str) -> None:
    report = changed()
    del report[key]
    Page(render_html(report))


@pytest.mark.parametrize("key", sorted(REPORT))
def test_a_null_key_renders(key: str) -> None:
    Page(render_html(changed(**{key: None})))


def test_the_bare_contract_renders() -> None:
    text = Page(render_html(CONTRACT_ONLY)).text
    assert "stopped at its budget" in text
    assert "No weaknesses were recorded." in text
    assert "Nothing was rejected." in text
    assert "No prices are known" in text


def test_an_empty_report_renders() -> None:
    text = Page(render_html({})).text
    assert "No scores were recorded." in text
    assert "The run completed no round." in text


def test_without_a_test_split_the_page_says_so_and_uses_the_probe() -> None:
    rounds = [a_round(1, None, 0.7001), a_round(2, None, 0.9003)]
    scores = {"baseline": None, "final": None, "best_round": 2}
    text = Page(render_html(changed(scores=scores, init=None, rounds=rounds))).text
    assert "There is no test score" in text
    assert "held-out rows rose from 70.0% (round 1) to 90.0% (round 2)" in text
    assert "scored once, after the run had ended" not in text


def test_zero_rounds_keep_the_baseline() -> None:
    scores = {"baseline": 0.7813, "final": None, "best_round": None}
    report = changed(scores=scores, init=None, rounds=[], status="failed")
    text = Page(render_html(report)).text
    assert "78.1%" in text
    assert "The run completed no round." in text
    assert "failed" in text


def test_a_single_round_is_drawn_as_one_mark() -> None:
    scores = {"baseline": None, "final": 0.85, "best_round": 1}
    drawings = curve(changed(scores=scores, init=None, rounds=[a_round(1, 0.85, None)]))
    assert [len(drawing["series"]) for drawing in drawings] == [1, 1]
    assert drawings[0]["series"][0]["lines"] == []
    assert len(drawings[0]["series"][0]["marks"]) == 1


def test_twenty_five_long_labels_render() -> None:
    names = [f"a_rather_long_label_name_nr_{i:03d}" for i in range(25)]
    matrix = [[20 if i == j else (i + j) % 3 // 2 for j in range(25)] for i in range(25)]
    report = changed(
        task={"name": "many", "labels": dict.fromkeys(names, "x")},
        scores={"final": 0.9, "best_round": 1, "baseline": 0.8},
        rounds=[a_round(1, 0.9, 0.9) | {"per_label": dict.fromkeys(names, 0.9)}],
        confusion={"labels": names, "matrix": matrix, "split": "test"},
    )
    page = render_html(report)
    Page(page)
    assert page.count('class="hit"') == 25
    assert all(f'title="{name}"' in page for name in names)


@pytest.mark.parametrize("final, verb", [(0.70, "fell"), (0.90, "rose"), (0.7813, "stayed at")])
def test_the_sentence_tells_the_direction(final: float, verb: str) -> None:
    scores = REPORT["scores"] | {"final": final}
    assert f" {verb} " in headline(changed(scores=scores))["sentence"]


def test_unknown_costs_are_not_counted_as_nothing() -> None:
    text = Page(render_html(REPORT)).text
    assert "0.0123" in text
    assert "leaves out the roles whose price is not known" in text


def test_labels_said_too_often_or_too_seldom_are_named() -> None:
    assert "card_arrival × 1.6" in Page(render_html(REPORT)).text.replace("\u200b", "")
    bias = {"a": 1.1, "b": 0.5, "c": 2.04, "d": 0.9}
    assert ("labeler's bias, taken out", "c × 2.0, b × 0.5") in facts({"labeler_bias": bias})
    assert facts({"labeler_bias": {"a": 1.1}}) == []


def test_the_share_of_neither_teacher_nor_training_is_told() -> None:
    assert "Neither teacher nor training: 4.7% of the wall time" in Page(render_html(REPORT)).text


def test_the_reliability_diagram_shows_both_confidences_and_their_errors() -> None:
    text = Page(render_html(REPORT)).text
    assert "80 gold rows" in text
    assert "Temperature 2.50" in text
    assert "0.188 before, 0.013 after" in text
    drawn = reliability_chart(REPORT)
    assert drawn is not None
    f = drawn["frame"]
    raw, calibrated = drawn["series"]
    assert raw["marks"][0] == (
        round(f.left + 0.65 * (f.width - f.left - f.right), 1),
        round(f.floor - 0.5 * (f.floor - f.top), 1),
    )
    assert len(calibrated["marks"]) == 1


def test_without_enough_gold_rows_there_is_no_diagram() -> None:
    report = REPORT | {"reliability": {"gold": 8, "rows": 0, "temperature": 1.0}}
    assert "can be trusted" not in Page(render_html(report)).text


def test_words_stand_under_their_label_the_labelers_surest_first() -> None:
    text = Page(render_html(REPORT)).text
    words = re.sub(r"\s+", " ", text[text.rindex("Words of its vocabulary") :])
    assert "card_arrival (2)" in words and "exchange_rate (1)" in words
    assert words.index("arrive 93") < words.index("late 71") < words.index("euro 88")


def test_a_run_without_words_shows_none() -> None:
    assert "Words of its vocabulary" not in Page(render_html(changed(words=[]))).text


def test_weaknesses_not_closed_come_first() -> None:
    text = Page(render_html(REPORT)).text
    names = ("Rates in passing", "Short questions", "Delivery against loss")
    places = [text.index(name) for name in names]
    assert places == sorted(places)
    assert "student said lost_or_stolen_card before training" in text


# ------------------------------------------------------------------------------------ the pieces

# Plot area: x from 10 to 90, y from 90 (low end) up to 20 (high end).
FRAME = Frame(100, 100, left=10, right=10, top=20, bottom=10)


def test_curve_points_lie_where_worked_out_by_hand() -> None:
    points = curve_points([0.5, None, 0.75, 1.0, 0.6], FRAME, 0.5, 1.0)
    assert points == [(10.0, 90.0), None, (50.0, 55.0), (70.0, 20.0), (90.0, 76.0)]


def test_a_single_point_stands_in_the_middle() -> None:
    assert curve_points([1.0], FRAME, 0.0, 1.0) == [(50.0, 20.0)]


def test_a_gap_breaks_the_line() -> None:
    points = [(0.0, 1.0), (1.0, 2.0), None, (3.0, 4.0), None, (5.0, 6.0), (6.0, 7.5)]
    assert polylines(points) == ["0,1 1,2", "5,6 6,7.5"]


@pytest.mark.parametrize(
    "values, expected",
    [
        ([], (0.0, 1.0, 0.2)),
        ([0.9], (0.88, 0.92, 0.01)),
        ([0.78, 0.94], (0.75, 1.0, 0.05)),
        ([0.0, 1.0], (0.0, 1.0, 0.2)),
        ([1.0, 1.0], (0.98, 1.0, 0.01)),
    ],
)
def test_axis_range(values: list[float], expected: tuple[float, float, float]) -> None:
    assert axis_range(values) == pytest.approx(expected)


def test_all_marks_lie_inside_the_plot() -> None:
    for drawing in curve(REPORT):
        frame = drawing["frame"]
        for mark in (mark for line in drawing["series"] for mark in line["marks"]):
            assert frame.left <= mark["x"] <= frame.width - frame.right
            assert frame.top <= mark["y"] <= frame.floor


def test_tokens_add_up_along_the_axis() -> None:
    ticks = curve(REPORT)[0]["x_ticks"]
    assert [tick["text"] for tick in ticks] == ["baseline", "+Init", "1", "2", "3", "4", "5"]
    assert [tick["tokens"] for tick in ticks][:4] == ["0", "1.9k", "3.8k", "5.7k"]


def test_many_rounds_thin_out_the_labels() -> None:
    columns = [{"name": str(i), "test": i / 40, "probe": None, "tokens": 0} for i in range(41)]
    drawing = chart(columns, Frame(440, 100, 20, 20, 10, 10), "wide")  # 10 px a round
    assert label_period(41, drawing["frame"]) == 5
    assert len(drawing["x_ticks"]) == 9


def test_the_best_rounds_value_keeps_its_neighbours_away() -> None:
    columns = [{"best": index == 7} for index in range(12)]
    assert labelled_columns(columns, 3) == {0, 3, 7}
    assert labelled_columns(columns, 1) == set(range(12))


@pytest.mark.parametrize("share, text", [(0.0, "0.00"), (0.01, "0.12"), (1.0, "0.65")])
def test_a_tint_is_never_too_weak_to_see(share: float, text: str) -> None:
    assert tint(share) == text


def test_labels_are_sorted_by_the_best_round_weakest_first() -> None:
    rounds = [a_round(4, 0.9, 0.9) | {"per_label": {"card_arrival": 0.9, "exchange_rate": 0.2}}]
    rows = label_table(changed(rounds=rounds))["rows"]
    assert [row["name"] for row in rows] == ["exchange_rate", "card_arrival", "lost_or_stolen_card"]
    assert [cell["value"] for cell in rows[0]["cells"]] == [0.999, 0.6, 0.2]


def test_confusion_lists_the_most_frequent_mistake_first() -> None:
    table = confusion_table(REPORT)
    assert table is not None
    top = table["top"][0]
    assert (top["gold"], top["predicted"]) == ("lost_or_stolen_card", "card_arrival")
    assert (top["count"], top["share"]) == (4, 0.1)
    assert [cell["kind"] for cell in table["rows"][1]["cells"]] == ["miss", "hit", "zero"]


@pytest.mark.parametrize(
    "step, expected",
    [
        ("2:open:0.50", {"round": "2", "status": "open", "score": 0.5}),
        ("3:closed:None", {"round": "3", "status": "closed", "score": None}),
        ("odd", {"round": None, "status": "odd", "score": None}),
    ],
)
def test_history_step(step: str, expected: dict[str, Any]) -> None:
    assert history_step(step) == expected


@pytest.mark.parametrize(
    "share, text",
    [(None, "–"), (0.0, "0"), (0.001, "<1"), (0.994, "99"), (0.999, ">99"), (1.0, "100")],
)
def test_a_cell_never_rounds_to_a_false_end(share: float | None, text: str) -> None:
    assert cell_percent(share) == text


@pytest.mark.parametrize(
    "seconds, text",
    [
        (None, "–"),
        (4.21, "4.2 s"),
        (59.7, "1 min 00 s"),
        (200.0, "3 min 20 s"),
        (3840.0, "1 h 04 min"),
    ],
)
def test_duration(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    "number, text",
    [(0, "0"), (950, "950"), (1900, "1.9k"), (12345, "12k"), (1_200_000, "1.2M")],
)
def test_short_count(number: int, text: str) -> None:
    assert short_count(number) == text


def test_how_a_pool_was_chosen_from_and_what_the_steps_kept_of_it_is_shown() -> None:
    report = copy.deepcopy(REPORT)
    assert "kept" not in rounds_table(render_html(report))
    report["rounds"][-1] |= {"train_rows": 1508, "kept_rows": 1219}
    report["pool"] = {"in_words": "9 rows read", "selection": "m-raru", "mode": "paper"}
    assert "<td>1,508, kept 1,219</td>" in rounds_table(render_html(report))
    assert ("chosen from the pool by", "m-raru, mode paper") in facts(report)
    report["pool"] |= {"mode": None, "noise": "mixture"}
    assert ("chosen from the pool by", "m-raru, noise mixture") in facts(report)


def rounds_table(page: str) -> str:
    """Return the table of the rounds, and what is said of it."""
    return page[page.index(">training rows<") : page.index("“Fresh batch”")]
