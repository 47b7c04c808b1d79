"""The state of a run: ids, paths, small numbers, and the current round's texts.

Everything is a plain dict, list, str, int or float, because the checkpointer stores nothing else.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Annotated, Any, TypeVar

from typing_extensions import TypedDict  # the one of Python 3.11 gives Studio no input form

from evokd.records import Sample

V = TypeVar("V")


def merge_by_key(old: dict[str, V] | None, new: dict[str, V] | None) -> dict[str, V]:
    """Merge what branches return, the newer one wins; None clears all.

    Merging twice changes nothing.
    """
    if new is None:
        return {}
    return {**(old or {}), **new}


def read_drafts(state: RunState) -> list[Sample]:
    """Return the current round's samples, by id."""
    return [Sample(**row) for _, row in sorted(state.get("drafts", {}).items())]


def by_id(samples: Iterable[Sample]) -> dict[str, dict[str, Any]]:
    """Return samples as the state holds them."""
    return {one.id: one.model_dump() for one in samples}


def accept_pending(samples: Iterable[Sample]) -> list[Sample]:
    """Return the samples, those accepted that nobody rejected."""
    return [
        one.model_copy(update={"accepted": True}) if one.accepted is None else one
        for one in samples
    ]


def count_decisions(samples: Iterable[Sample]) -> dict[str, Any]:
    """Return how many samples are accepted, and how many rejected by reason."""
    rows = list(samples)
    return {
        "accepted": sum(bool(one.accepted) for one in rows),
        "rejected": dict(Counter(one.reason or "" for one in rows if one.accepted is False)),
    }


def branch_of(state: RunState) -> BranchInput:
    """Return what every branch of the round is handed."""
    return {
        "run_id": state.get("run_id", ""),
        "task_file": state.get("task_file", ""),
        "round": state["round"],
    }


class RunInput(TypedDict, total=False):
    """What starts a run."""

    run_id: str
    """Given by the runner."""
    task_file: str
    """Given in Studio, where no runner opens the session."""


class RunState(TypedDict, total=False):
    """What travels between nodes."""

    run_id: str
    """Given at the start."""
    task_file: str
    """Given at the start, in Studio only."""
    round: int
    """Current round; 0 is the +Init batch. Set by `prepare`, counted up by `decide`."""
    refill: int
    """Refills of this round so far. Set by `prepare` and `analyze` (0), counted up by `refill`."""
    weaknesses: list[dict[str, Any]]
    """Weaknesses named this round. Written by `analyze`."""
    assignments: list[dict[str, Any]]
    """Generator calls of this wave. Written by `analyze`, `refill` and `plan_texts`."""
    drafts: Annotated[dict[str, dict[str, Any]], merge_by_key]
    """This round's samples by id. Written from `generate` to `train`, cleared by `record`; before
    them words of the student's vocabulary, written by `choose_words`, cleared by `keep_words`."""
    candidates: list[dict[str, Any]]
    """Questions of a pool with the student's explanations. Written by elad's `explain`, cleared by
    its `select`."""
    explanations: dict[str, int]
    """How many of the candidates were explained, cut, unanswered. Written by elad's `explain`."""
    mistakes: dict[str, str]
    """Candidate's id → what is plainly wrong with its explanation, or ''. Written by elad's
    `explain`."""
    rivals: dict[str, str]
    """Label → the label the student confuses it with most. Written by `evaluate`, `train`."""
    scores: dict[str, float]
    """Label → recall or F1 on what the run may see. Written by `evaluate`, `train`."""
    trained: dict[str, Any]
    """What `train` reports of this round, read by `record` and `decide`."""
    best_round: int
    """Best round so far by probe. Written by `prepare`, `decide` and `finish`."""
    without_gain: int
    """Rounds since the probe score last rose. Written by `prepare` and `decide`."""
    attributes: dict[str, dict[str, list[str]]]
    """Label → topics and styles of its texts. Written by `plan_attributes`, in `attr` only."""
    names: Annotated[dict[str, list[str]], merge_by_key]
    """Place among the listed parts → names that texts may be given. Written by `list_names`."""
    labeler_bias: dict[str, float]
    """Label → how much too often the labeler says it. Written by `settle`, read by `critique`; in
    llkd written by `calibrate`, read by `settle`."""
    temperature: float
    """Of the labeler's confidence; 1: as it is. Written by `calibrate`, read by llkd's `settle`."""
    wanted: int
    """Accepted samples this round aims for. Written by `analyze`."""
    stop: str
    """Why the loop ends; '' while it goes on. Written by `decide`, by llkd's `train` in its mode
    `paper`."""


class BranchInput(TypedDict):
    """What `Send` hands to every branch, so that it finds its session."""

    run_id: str
    task_file: str
    round: int


class WriteTask(BranchInput):
    """What `Send` hands to one `generate` branch."""

    assignment: dict[str, Any]


class NameTask(BranchInput):
    """What `Send` hands to one `list_names` branch: the place of its part among the listed ones."""

    place: int


class ReadTask(BranchInput):
    """What `Send` hands to one `label`, `label_words` or `critique` branch."""

    samples: list[dict[str, Any]]
    labeler_bias: dict[str, float]


class RunOutput(TypedDict, total=False):
    """What a finished graph returns."""

    run_id: str
    round: int
    best_round: int
    stop: str
