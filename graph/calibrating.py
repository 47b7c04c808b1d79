"""The node that asks the labeler gold rows its prompt does not show, to know how sure it is.

What came out stands in the run's `calibration.json`; the temperature travels in the state.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.runnables.config import ContextThreadPoolExecutor
from langgraph.runtime import Runtime

from evokd.agents.card import examples_of
from evokd.config import Config
from evokd.graph.budget import CALIBRATE
from evokd.graph.reading import label_call, label_group, label_groups
from evokd.graph.session import RunContext, Session, session_of
from evokd.graph.state import RunState
from evokd.records import Example, Sample
from evokd.tasks import TaskData
from evokd.tools.calibration import (
    FEWEST_GOLD,
    calibrated_apart,
    calibration_error,
    fit_temperature,
    reliability,
)

ASKED = 200  # gold rows at most
MOST_OF_BUDGET = 0.1  # that may go into it
FIRST = 4  # calls, whose price tells whether enough will fit

Answer = tuple[Example, str, dict[str, float]]  # the labeler's label, and what it gave all of them


def calibrate_labeler(state: RunState, runtime: Runtime[RunContext]) -> dict[str, Any]:
    """Fit a temperature on what the labeler says of gold rows; 1 where they are too few."""
    session = session_of(state, runtime)
    with session.phase(CALIBRATE, 0):
        gold = unseen_gold(session.config, session.data)
        start = time.time()
        answers, affordable = _ask(session, gold)
        found = {"gold": len(gold), "affordable": affordable} | measure(answers)
        found["spent"] = _spent(session, start)
        session.run.write_json(session.run.calibration, found)
    return {"temperature": found["temperature"]}


def unseen_gold(config: Config, data: TaskData) -> list[Example]:
    """Return gold rows that the labeler's prompt does not show, at most 200, by chance."""
    shown = [one for label in data.labels for one in examples_of(label, data.seed)]
    if not config.strategy.show_seeds:
        shown = []
    gold = [*(row for row in data.seed if row not in shown), *data.validation]
    rng = random.Random(f"{config.random_seed} calibration")  # noqa: S311
    return rng.sample(gold, min(ASKED, len(gold)))


def measure(answers: Sequence[Answer]) -> dict[str, Any]:
    """Return the temperature, and how reliable the confidence is with and without it.

    Confidence and accuracy are those of the label that would be learnt: what the labeler wrote. The
    calibrated confidence of a row is by a temperature that it had no part in.
    """
    gold = [example.label or "" for example, _, _ in answers]
    said = [label for _, label, _ in answers]
    rows = [row for _, _, row in answers]
    right = [label == true for label, true in zip(said, gold, strict=True)]
    told: dict[str, Any] = {"rows": len(rows), "temperature": 1.0}
    if len(rows) < FEWEST_GOLD:
        return told
    raw = reliability([row[label] for row, label in zip(rows, said, strict=True)], right)
    calibrated = reliability(calibrated_apart(rows, gold, said), right)
    return told | {
        "temperature": fit_temperature(rows, gold),
        "accuracy": sum(right) / len(right),
        "raw": raw,
        "raw_error": calibration_error(raw),
        "calibrated": calibrated,
        "calibrated_error": calibration_error(calibrated),
    }


def in_words(found: Mapping[str, Any]) -> str:
    """Say in a line how the labeler's confidence was calibrated.

    Args:
        found: what stands in `calibration.json`; empty where the strategy has no such file.
    """
    if not found:
        return "uncalibrated on gold rows"
    if "raw" not in found:
        gold, asked = found.get("gold", 0), found.get("rows", 0)
        why = f"; {asked} were answered within the budget" if gold >= FEWEST_GOLD else ""
        if (affordable := found.get("affordable")) is not None:
            why = (
                f"; after {asked} no more were asked, for a tenth of the budget pays for about "
                f"{affordable}"
            )
        return (
            f"uncalibrated: {gold} gold rows that the labeler's prompt does not show{why}; "
            f"{FEWEST_GOLD} are needed"
        )
    return (
        f"calibrated on {found['rows']} gold rows: temperature {found['temperature']:.2f}, "
        f"expected calibration error {found['raw_error']:.3f} before, "
        f"{found['calibrated_error']:.3f} after"
    )


def _spent(session: Session, start: float) -> dict[str, float]:
    """Return what calibration has cost, by the budget's keys, that of a killed try included.

    Args:
        start: when this try began, epoch seconds.
    """
    earlier = session.budget.spent_on(CALIBRATE)
    return {**earlier, "minutes": earlier["minutes"] + (time.time() - start) / 60}


def _ask(session: Session, gold: Sequence[Example]) -> tuple[list[Answer], int | None]:
    """Return what the labeler says of the rows; those it gave no usable answer to are left out.

    It is asked as it is asked later, so many texts a call, and only while a tenth of the budget
    lasts; where the first calls tell that this buys too few answers, no more are made.

    Returns:
        The answers; how many would be paid for, where these are too few.
    """
    if len(gold) < FEWEST_GOLD:
        return [], None
    by_id = {f"gold{place:04d}": row for place, row in enumerate(gold)}
    rows = [
        Sample(
            id=name,
            text=row.text,
            round=0,
            call=CALIBRATE,
            role=CALIBRATE,
            intended_label=row.label,
        )
        for name, row in by_id.items()
    ]
    groups = label_groups(session, rows)
    read = _label(session, groups[:FIRST])
    affordable = _affordable(session, groups)
    if too_few := affordable is not None and affordable < FEWEST_GOLD:
        groups = groups[:FIRST]
    read += _label(session, groups[FIRST:])
    answers = [
        (by_id[one.id], one.labeler_label, {name: given.get(name, 0.0) for name in session.labels})
        for one in read
        if one.labeler_label and (given := one.labeler_probabilities)
    ]
    return answers, affordable if too_few else None


def _label(session: Session, groups: Sequence[Sequence[Sample]]) -> list[Sample]:
    """Have rows labelled, as many calls open as may be, while the budget pays for it."""

    def ask(group: Sequence[Sample]) -> list[Sample]:
        if not session.budget.pays_for("labeler", label_call(group, 0, CALIBRATE), MOST_OF_BUDGET):
            return []
        return label_group(session, group, 0, CALIBRATE)

    width = session.teachers["labeler"].settings.max_concurrency or 1
    with ContextThreadPoolExecutor(width) as threads:
        return [one for part in threads.map(ask, groups) for one in part]


def _affordable(session: Session, groups: Sequence[Sequence[Sample]]) -> int | None:
    """Return for how many rows the budget pays, by the price of the first calls; None: for all.

    A call is made while anything is left. The same comes out after a killed try.
    """
    first = groups[:FIRST]
    paid = [session.ledger.budget_spent(label_call(one, 0, CALIBRATE).purpose) for one in first]
    spent, own = session.ledger.budget_spent(), session.ledger.budget_spent(f"{CALIBRATE}:")
    calls = len(groups)
    for name, limit in session.config.budget.limits.items():
        price = sum(one.get(name, 0) for one in paid) / len(first)
        if price:
            room = MOST_OF_BUDGET * limit - (spent[name] - own[name])
            calls = min(calls, math.ceil(max(0.0, room) / price))
    return sum(map(len, groups[:calls])) if calls < len(groups) else None
