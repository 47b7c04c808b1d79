"""The node that learns how far the labeler is to be trusted: what it leans to, how sure it is.

It is asked about texts of random words, which hold no label, and about gold rows that its prompt
does not show. What came out stands in the run's `calibration.json`; bias and temperature travel in
the state.
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
from evokd.graph.strategies import reads_again
from evokd.records import Example, Sample
from evokd.tasks import TaskData
from evokd.tools.calibration import (
    FEWEST_GOLD,
    calibrate,
    calibrated_apart,
    calibration_error,
    fit_temperature,
    leaning,
    reliability,
)

ASKED = 200  # gold rows at most
MOST_OF_BUDGET = 0.1  # that may go into gold rows
MOST_WITH_LEANING = 0.15  # and into these and random words
FIRST = 4  # calls, whose price tells whether enough will fit
MEANINGLESS = 10  # texts of random words; twenty (Fei et al., 2023): a point better at most
SHUFFLED = 200  # texts of the pool that give their words
LONGEST = 60  # words of such a text

Answer = tuple[Example, str, dict[str, float]]  # the labeler's label, and what it gave all of them


def calibrate_labeler(state: RunState, runtime: Runtime[RunContext]) -> dict[str, Any]:
    """Measure the labeler's bias, and fit a temperature on what it then says of gold rows.

    The temperature is 1 where they are too few.
    """
    session = session_of(state, runtime)
    with session.phase(CALIBRATE, 0):
        gold = unseen_gold(session.config, session.data)
        start = time.time()
        answers, affordable = _ask(session, gold)
        bias = _ask_leaning(session) if reads_again(session.config) else {}
        found = {"gold": len(gold), "affordable": affordable, "bias": bias}
        found |= measure([unbiased(one, bias) for one in answers])
        found["spent"] = _spent(session, start)
        session.run.write_json(session.run.calibration, found)
    return {"temperature": found["temperature"], "labeler_bias": bias}


def unbiased(answer: Answer, bias: Mapping[str, float]) -> Answer:
    """Return an answer with a bias divided out; an empty one changes nothing."""
    if not bias:
        return answer
    row = calibrate(answer[2], bias)
    return answer[0], max(row, key=row.__getitem__), row


def _ask_leaning(session: Session) -> dict[str, float]:
    """Return label → how much too often the labeler says it; empty where it could not be asked.

    Only while 15% of the budget are not spent, gold rows included.
    """
    texts = random_texts(session)
    rows = [_asked(f"words{place:02d}", text) for place, text in enumerate(texts)]
    read = _label(session, label_groups(session, rows), MOST_WITH_LEANING)
    said = [one.labeler_probabilities for one in read if one.labeler_probabilities]
    return leaning(said, session.labels) if said else {}


def random_texts(session: Session) -> list[str]:
    """Return texts of words that texts of the pool have, by chance, each as long as one of these.

    Where texts have no spaces, of their signs.
    """
    assert session.pool is not None
    rng = random.Random(f"{session.config.random_seed} leaning")  # noqa: S311
    texts = session.pool.texts(session.pool.draw(SHUFFLED, (), rng))
    spaced = sum(len(text.split()) > 1 for text in texts) > len(texts) / 2
    cut = [text.split() if spaced else list(text) for text in texts]
    words = [word for one in cut for word in one]
    lengths = [min(LONGEST, len(rng.choice(cut))) for _ in range(MEANINGLESS)] if texts else []
    return [
        (" " if spaced else "").join(rng.choice(words) for _ in range(length)) for length in lengths
    ]


def _asked(name: str, text: str, label: str = "") -> Sample:
    return Sample(id=name, text=text, round=0, call=CALIBRATE, role=CALIBRATE, intended_label=label)


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
    rows = [_asked(name, row.text, row.label or "") for name, row in by_id.items()]
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


def _label(
    session: Session, groups: Sequence[Sequence[Sample]], share: float = MOST_OF_BUDGET
) -> list[Sample]:
    """Have rows labelled, as many calls open as may be, while a share of the budget lasts."""

    def ask(group: Sequence[Sample]) -> list[Sample]:
        if not session.budget.pays_for("labeler", label_call(group, 0, CALIBRATE), share):
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
