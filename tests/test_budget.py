"""What a run has used of its budget, and what the rest still pays for."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from evokd.graph.budget import Budget
from evokd.task_file import load_config


def budget(task: Path, setting: str | None, samples: list[Any], **ledger: Any) -> Budget:
    """A budget over samples and a scripted ledger."""
    run: Any = SimpleNamespace(read_samples=lambda: samples)
    scripted: Any = SimpleNamespace(**ledger)
    return Budget(load_config(task, [setting] if setting else []), run, scripted)


@pytest.mark.parametrize(("spent", "ends"), [(81, False), (82, True)])
def test_tokens_are_kept_back_to_read_what_is_written(
    toy_task: Path, spent: int, ends: bool
) -> None:
    one = budget(
        toy_task,
        "budget.output_tokens=100",  # 9 samples a round
        [None] * 10,
        budget_spent=lambda purpose="", role=None: {
            "output_tokens": 0 if purpose else spent,
            "total_tokens": 0,
            "usd": 0,
        },
        spent_by_open_calls=lambda: {},
        spent_by_role=lambda: {
            "generator": (2, 9, 60),
            "labeler": (10, 9, 15),
            "critic": (5, 9, 5),
        },
        window_seconds=lambda: 1.0,
    )  # two tokens a text: 18 for a round
    assert one.writing_ends() is ends
    assert one.reached() == ""


@pytest.mark.parametrize(("spent", "ends"), [(0.6, False), (0.8, True)])
def test_dollars_are_kept_back_to_judge_what_is_revised(
    toy_task: Path, spent: float, ends: bool
) -> None:
    by_role = {"critic": 0.2}

    def budget_spent(purpose: str = "", role: str | None = None) -> dict[str, float]:
        usd = by_role.get(role, 0.0) if role else 0.0 if purpose else spent
        return {"output_tokens": 0, "total_tokens": 0, "usd": usd}

    one = budget(
        toy_task,
        "budget.usd=1",
        [None] * 10,
        budget_spent=budget_spent,
        spent_by_open_calls=lambda: {},
        spent_by_role=lambda: {"reviser": (10, 900, 300), "critic": (10, 900, 10)},
        window_seconds=lambda: 1.0,
    )  # two cents a verdict
    assert bool(one.reached(to_read=15)) is ends
    assert one.reached() == ""


def test_without_a_budget_nothing_is_counted_before_a_call(toy_task: Path) -> None:
    assert budget(toy_task, None, []).reached(to_read=9) == ""  # its ledger can count nothing


def test_words_are_no_part_of_what_a_sample_has_cost(toy_task: Path) -> None:
    one = budget(
        toy_task,
        "budget.output_tokens=1000",
        [SimpleNamespace(accepted=True, round=0)] * 10,
        budget_spent=lambda purpose="": {
            "output_tokens": {"": 400.0, "words:": 300.0}.get(purpose, 0.0)
        },
        phase_intervals=lambda name: [],
        window_seconds=lambda: 0.0,
    )
    assert one.affordable(100) == 60  # 600 are left, a sample has cost ten
