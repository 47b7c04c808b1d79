"""The benchmark's tables: what they must show, and where the curves' points lie."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import pytest

from evokd.bench.records import Difference, EqualTotalRow, Row, SuiteResult, TokensSaved
from evokd.bench.table import (
    FRAME,
    chart,
    difference_text,
    html,
    markdown,
    replace_block,
    score_text,
    set_table,
    spread,
    stepped,
    summary_lines,
    x_ticks,
)
from evokd.errors import ConfigError

ATTACK = "<script>alert('x')</script>"


def a_row(strategy: str, **changes: Any) -> Row:
    """Return a complete row."""
    known: dict[str, Any] = {
        "set": "banking8",
        "kind": "classification",
        "metric": "accuracy",
        "shots": 1,
        "strategy": strategy,
        "variant": "",
        "complete": True,
        "mean": 0.941,
        "std": 0.012,
        "ci_low": 0.92,
        "ci_high": 0.956,
        "diff_static": None,
        "seeds": [0, 1, 2],
        "input_tokens": 52345.6,
        "output_tokens": 6012.0,
        "tokens_by_role": {
            "labeler": {"calls": 200, "input_tokens": 40_000, "output_tokens": 900},
            "generator": {"calls": 60, "input_tokens": 12_346, "output_tokens": 5112},
        },
        "accepted": 153.0,
        "seconds": 822.0,
        "commit": "65c99d8",
        "date": "2026-11-24T10:00:00Z",
        "packs": {},
        "command": "evokd bench core",
    }
    return Row(**known | changes)


STATIC = a_row(
    "static", mean=0.88, std=0.02, diff_evokd=Difference(mean=0.061, low=-0.003, high=0.092)
)
FEWSHOT = a_row("fewshot", mean=0.765, std=None, seeds=[0], output_tokens=0.0, input_tokens=0.0)


def a_suite(*rows: Row, **changes: Any) -> SuiteResult:
    """Return a suite of these rows."""
    known: dict[str, Any] = {
        "suite": "core",
        "split": "test",
        "command": "evokd bench core",
        "created": "2026-11-24T12:30:00Z",
        "rows": list(rows),
    }
    return SuiteResult(**known | changes)


def a_curve(strategy: str, *points: tuple[float, float], variant: str = "") -> dict[str, Any]:
    """Return one curve of a suite."""
    known = {"set": "banking8", "shots": 1, "strategy": strategy, "variant": variant}
    return known | {"points": [list(point) for point in points]}


class Page(HTMLParser):
    """Collect the text and the elements of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.text = ""
        self.tags: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


# -------------------------------------------------------------------------------------- Markdown


@pytest.mark.parametrize(
    ("share", "by_chance", "said"),
    [
        (0.625, 0.9, "reached for good with 62% of them, by random with 90%"),
        (None, None, "not reached"),
    ],
)
def test_the_pools_table_says_how_many_teacher_tokens_are_saved(
    share: float | None, by_chance: float | None, said: str
) -> None:
    saved = TokensSaved(
        goal=0.871, tokens=2400.4, share=share, share_by_chance=by_chance, seeds=[0, 1]
    )
    rows = [a_row("llkd", tokens_saved=saved), a_row("llkd", variant="random")]
    (note,) = [one for one in set_table(rows, "test").notes if "saved" in one]
    assert note == (
        "Teacher tokens saved: 87.1, where random ends with 2,400 tokens written, is "
        f"{said} (seeds 0, 1; students before the last round)"
    )


def test_markdown_shows_every_number_of_a_row() -> None:
    lines = markdown(a_suite(a_row("evokd"), STATIC)).splitlines()
    assert lines[0] == "#### banking8 1-shot"
    assert lines[2] == (
        "| strategy | accuracy on test, % | 95% interval | evokd − it | teacher tokens written "
        "| by role | read | accepted | minutes | seeds | date | commit |"
    )
    assert lines[4] == (
        "| evokd | 94.1 ± 1.2 | 92.0–95.6 | – | 6,012 | generator 5,112, labeler 900 | 52,346 "
        "| 153 | 13.7 | 0, 1, 2 | 2026-11-24 | 65c99d8 |"
    )
    assert lines[5].startswith("| static | 88.0 ± 2.0 | 92.0–95.6 | +6.1 (−0.3 to +9.2) |")
    assert "Command: evokd bench core" in lines
    assert lines[-1] == "`evokd bench core`, 2026-11-24 12:30 UTC"


def test_every_line_of_a_markdown_table_has_as_many_columns() -> None:
    rows = [line for line in markdown(a_suite(STATIC)).splitlines() if line.startswith("|")]
    assert {line.count("|") for line in rows} == {13}


def test_a_variant_is_named_after_its_strategy() -> None:
    text = markdown(a_suite(a_row("evokd", variant="no critic")))
    assert "| evokd, no critic | 94.1" in text


def test_sets_and_shots_have_tables_of_their_own() -> None:
    suite = a_suite(a_row("evokd"), a_row("evokd", shots=5), a_row("evokd", set="trec"), STATIC)
    titles = re.findall(r"^#### (.*)", markdown(suite), re.MULTILINE)
    assert titles == ["banking8 1-shot", "banking8 5-shot", "trec 1-shot"]
    assert summary_lines(suite)[0].count("±") == 2


def test_complete_rows_carry_no_mark() -> None:
    text = markdown(a_suite(a_row("evokd")))
    assert "*" not in text
    assert "Failed" not in text


def test_an_incomplete_row_is_marked_and_explained() -> None:
    text = markdown(a_suite(a_row("evokd", complete=False), STATIC))
    assert "| evokd\\* |" in text
    assert "| static |" in text
    assert "\n\n\\* not every random seed" in text


def test_failed_cells_are_listed_with_their_error() -> None:
    row = a_row(
        "evokd",
        variant="no critic",
        complete=False,
        mean=None,
        std=None,
        ci_low=None,
        ci_high=None,
        seeds=[],
        input_tokens=None,
        output_tokens=None,
        tokens_by_role={},
        accepted=None,
        seconds=None,
        commit="",
        date="",
        errors=["seed 1: out of\n  memory | <b>", "seed 2: no teacher"],
    )
    text = markdown(a_suite(row))
    assert "| evokd, no critic\\*" + 11 * " | –" + " |" in text
    assert "\nFailed:\n\n- evokd, no critic, seed 1: out of memory \\| \\<b>\n" in text
    assert "\n- evokd, no critic, seed 2: no teacher\n" in text


@pytest.mark.parametrize(
    ("field", "title"), [("diff_untrained", "untrained"), ("diff_teacher", "teacher")]
)
def test_a_students_gain_over_itself_untrained_or_its_teacher_has_a_column_where_it_is_known(
    field: str, title: str
) -> None:
    gain = Difference(mean=0.12, low=0.08, high=0.16)
    trained = a_row("elad").model_copy(update={field: gain})
    text = markdown(a_suite(trained, a_row("elad", variant="random")))
    (line,) = [one for one in text.splitlines() if one.startswith("| elad |")]
    header = next(one for one in text.splitlines() if one.startswith("| strategy |"))
    assert f"| it − {title} | teacher tokens written |" in header
    assert "| +12.0 (+8.0 to +16.0) | 6,012 |" in line
    assert f"it − {title}" not in markdown(a_suite(STATIC))


def test_equal_totals_have_a_table_only_if_there_are_any() -> None:
    equal = EqualTotalRow(
        set="trec", shots=1, strategy="static", total_tokens=9000, mean=0.876, spent=8765.4,
        first_batch=1200, seeds=[0, 1],
    )  # fmt: skip
    text = markdown(a_suite(STATIC, equal_total=[equal]))
    assert "| trec 1-shot | static | 87.6 | 9,000 | 8,765 | 0, 1 |" in text
    varied = markdown(a_suite(STATIC, equal_total=[equal.model_copy(update={"variant": "whole"})]))
    assert "| trec 1-shot | static, whole | 87.6 |" in varied
    assert text.index("#### banking8") < text.index("#### At equal total tokens")
    assert "equal total" not in markdown(a_suite(STATIC))


def test_a_strategy_without_a_student_at_equal_totals_says_what_its_first_batch_needs() -> None:
    equal = EqualTotalRow(
        set="trec", shots=1, strategy="evokd", total_tokens=9000, mean=None, spent=None,
        first_batch=43210, seeds=[0, 1],
    )  # fmt: skip
    text = markdown(a_suite(STATIC, equal_total=[equal]))
    assert (
        "| trec 1-shot | evokd | none within the limit; its first batch needs 43,210 tokens "
        "| 9,000 | – | 0, 1 |"
    ) in text


def test_an_empty_suite_says_so() -> None:
    text = markdown(a_suite(created=""))
    assert text == "There are no results yet.\n\n`evokd bench core`\n"
    assert "There are no results yet." in Page(html(a_suite())).text
    assert summary_lines(a_suite()) == []


def test_no_line_ends_in_a_space_and_every_call_writes_the_same() -> None:
    suite = a_suite(a_row("evokd", complete=False, errors=["seed 1: x"]), STATIC)
    text = markdown(suite)
    assert not re.search(r"[ \t]$", text, re.MULTILINE)
    assert text.endswith("UTC\n")
    assert (markdown(suite), html(suite)) == (text, html(suite))


def test_summary_lines_are_plain_and_aligned() -> None:
    suite = a_suite(a_row("evokd"), STATIC, FEWSHOT, a_row("evokd", set="trec", complete=False))
    assert summary_lines(suite) == [
        "banking8 1-shot  evokd 94.1 ± 1.2  static 88.0 ± 2.0  fewshot 76.5",
        "trec 1-shot      evokd* 94.1 ± 1.2",
    ]


def test_a_missing_score_is_a_dash() -> None:
    assert score_text(a_row("evokd", mean=None, std=None)) == "–"


@pytest.mark.parametrize(
    "low, text", [(0.0, "+0.0"), (-0.0001, "+0.0"), (-0.012, "−1.2"), (0.3, "+30.0")]
)
def test_a_difference_has_a_sign_and_no_negative_zero(low: float, text: str) -> None:
    assert f"({text} to " in difference_text(Difference(mean=0.5, low=low, high=0.6))


# ----------------------------------------------------------------------------------------- block


README = "# A\n<!-- bench:core -->\nold\n\nolder\n<!-- /bench:core -->\nrest\n"


def test_a_block_is_replaced_and_the_rest_is_kept() -> None:
    text = replace_block(README, "core", "new\nlines\n")
    assert text == "# A\n<!-- bench:core -->\nnew\nlines\n<!-- /bench:core -->\nrest\n"
    assert replace_block(text, "core", "new\nlines\n") == text


def test_a_block_may_be_empty_at_first() -> None:
    text = replace_block("<!-- bench:a -->\n<!-- /bench:a -->", "a", "x")
    assert text == "<!-- bench:a -->\nx\n<!-- /bench:a -->"


@pytest.mark.parametrize(
    "text",
    [
        "nothing",
        README.replace("<!-- /bench:core -->", ""),
        README.replace("<!-- bench:core -->", ""),
        "<!-- /bench:core -->\n<!-- bench:core -->",
        README + README,
        README.replace("bench:core", "bench:wide"),
    ],
)
def test_missing_or_odd_markers_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="<!-- bench:core --> and <!-- /bench:core -->"):
        replace_block(text, "core", "new")


# ------------------------------------------------------------------------------------------ HTML

CURVES = [
    a_curve("evokd", (0, 0.5), (2000, 0.9), (4000, 0.94)),
    a_curve("static", (0, 0.5), (1000, 0.8)),
    a_curve("evokd", (0, 0.1), (9000, 0.2), variant="no critic"),
]
TEACHER = a_row("teacher_zero_shot", mean=0.8, std=None)
DRAWN = a_suite(a_row("evokd"), STATIC, FEWSHOT, TEACHER, curves=CURVES)


def test_html_shows_the_same_tables() -> None:
    row = a_row("evokd", variant="no critic", complete=False, errors=["seed 1: out of memory"])
    text = Page(html(a_suite(row, STATIC))).text
    for shown in (
        "banking8 1-shot",
        "evokd, no critic*",
        "94.1 ± 1.2",
        "+6.1 (−0.3 to +9.2)",
        "52,346",
        "* not every random seed",
        "evokd, no critic, seed 1: out of memory",
        "evokd bench core, 2026-11-24 12:30 UTC",
    ):
        assert shown in text


def test_html_escapes_texts() -> None:
    row = a_row("evokd", set=ATTACK, variant=ATTACK, commit=ATTACK, complete=False, errors=[ATTACK])
    page = html(a_suite(row, suite=ATTACK, command=ATTACK))
    assert "script" not in Page(page).tags
    assert ATTACK not in page
    assert Page(page).text.count(ATTACK) >= 6


def test_html_loads_nothing() -> None:
    page = html(DRAWN)
    assert not re.search(r"https?:|url\(|@import|<script|<link(?! rel=\"icon\")|<img", page)


def test_html_draws_a_curve_where_there_is_one() -> None:
    page = html(DRAWN)
    assert page.count('class="chart"') == 1
    assert 'class="chart"' not in html(a_suite(STATIC, FEWSHOT))
    assert {"svg", "polyline", "circle", "table", "figure"} <= set(Page(page).tags)


def test_a_chart_has_lines_for_budgets_and_dashes_for_the_others() -> None:
    drawing = chart(DRAWN, ("banking8", 1))
    assert drawing is not None
    assert [(line["name"], line["dashed"]) for line in drawing["series"]] == [
        ("evokd", False),
        ("static", False),
        ("fewshot", True),
        ("teacher zero shot", True),
    ]
    assert len({line["colour"] for line in drawing["series"]}) == 4


def test_a_chart_leaves_variants_out() -> None:
    variant = a_row("fewshot", variant="no critic", mean=0.99)
    assert chart(a_suite(*DRAWN.rows, variant, curves=CURVES), ("banking8", 1)) == chart(
        DRAWN, ("banking8", 1)
    )


def test_a_charts_points_lie_where_worked_out_by_hand() -> None:
    drawing = chart(DRAWN, ("banking8", 1))
    assert drawing is not None
    # Scores from 0.5 to 0.94: the axis goes from 40% to 100%, the plot from 52 to 770 px and from
    # 324 px up to 34 px.
    assert (drawing["y_ticks"][0]["text"], drawing["y_ticks"][-1]["text"]) == ("40%", "100%")
    evokd, static, fewshot, _ = drawing["series"]
    assert evokd["lines"] == ["52,275.7 411,275.7 411,82.3 770,82.3 770,63"]
    assert static["end"] == (231.5, 130.7)
    assert fewshot["lines"] == ["52,147.6 770,147.6"]


def test_labels_of_a_chart_do_not_touch() -> None:
    suite = a_suite(*(a_row(f"level{i}") for i in range(6)), curves=CURVES[:1])
    drawing = chart(suite, ("banking8", 1))
    assert drawing is not None
    heights = sorted(line["label_y"] for line in drawing["series"])
    gaps = [lower - upper for upper, lower in zip(heights, heights[1:], strict=False)]
    assert len(heights) == 7
    assert min(gaps) >= 16


def test_a_set_without_written_tokens_has_no_chart() -> None:
    suite = a_suite(a_row("evokd"), curves=[a_curve("evokd", (0, 0.5))])
    assert chart(suite, ("banking8", 1)) is None


def test_a_line_keeps_its_height_until_the_next_point() -> None:
    assert stepped([(0, 9), (4, 5), (6, 1)]) == [(0, 9), (4, 9), (4, 5), (6, 5), (6, 1)]
    assert stepped([(0, 9)]) == [(0, 9)]


@pytest.mark.parametrize(
    "heights, expected",
    [
        ([50, 10], [50, 10]),
        ([20, 10, 15], [30, 10, 20]),
        ([98, 99, 100], [80, 90, 100]),
        ([], []),
    ],
)
def test_labels_are_spread(heights: list[float], expected: list[float]) -> None:
    assert spread(heights, gap=10, floor=100) == expected


@pytest.mark.parametrize(
    "far, texts",
    [
        (4000, ["0", "1.0k", "2.0k", "3.0k", "4.0k"]),
        (6100, ["0", "2.0k", "4.0k", "6.0k"]),
        (7, ["0", "2", "4", "6"]),
    ],
)
def test_token_ticks_are_round_numbers(far: float, texts: list[str]) -> None:
    ticks = x_ticks(far)
    assert [tick["text"] for tick in ticks] == texts
    assert ticks[0]["x"] == FRAME.left
    assert ticks[-1]["x"] <= FRAME.width - FRAME.right
