"""Which failures are looked up in memory, and which of them show a weakness."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from evokd.graph.failures import open_failures, related_failures
from evokd.memory.embeddings import HashEmbedder
from evokd.memory.weakness import InMemoryWeaknesses
from evokd.records import Failure, Weakness
from evokd.tasks import KINDS
from evokd.tasks.ner import BOUNDARY, MISSED, SPURIOUS

TEXT = "Ann Lee is in Oslo"


def failure(id: str, label: str, predicted: str, error: str, text: str = TEXT) -> Failure:
    return Failure(
        id=id,
        text=text,
        label=label,
        predicted=predicted,
        confidence=0.5,
        round=1,
        run="earlier",
        error=error,
        part=id,
    )


@pytest.fixture
def session() -> Any:
    """What the lookup needs of a session, with an empty memory."""
    memory = InMemoryWeaknesses(HashEmbedder(), "now")
    return SimpleNamespace(
        kind=KINDS["ner"],
        memory=memory,
        accepted=list,
        labels=["person", "place"],
        targets={"person": "", "place": "", "none": ""},
        config=SimpleNamespace(memory=SimpleNamespace(related=2)),
        run=SimpleNamespace(run_id="now"),
    )


def test_failures_of_the_same_kind_and_type_come_before_nearer_ones(session: Any) -> None:
    near = [failure(f"n{place}", "place", "none", MISSED) for place in range(5)]
    same = [
        failure("b1", "person", "person", BOUNDARY, "Ann Lee is in Rome"),
        failure("b2", "person", "person", BOUNDARY, "Bob Ray sat in Oslo"),
    ]
    session.memory.add_failures([*near, *same])
    wrong = [failure("w", "person", "person", BOUNDARY)]
    assert {one.id for one in related_failures(session, 2, wrong)} == {"b1", "b2"}
    spurious = [failure("w", "none", "place", SPURIOUS)]
    assert {one.id for one in related_failures(session, 2, spurious)} <= {"n0", "n1", "n2", "n3"}


@pytest.mark.parametrize(
    ("error", "labels", "predicted", "shown"),
    [
        (MISSED, ["person"], "none", True),
        (BOUNDARY, ["person"], "person", True),
        (BOUNDARY, ["person"], "none", False),  # missed it is
        (SPURIOUS, ["none", "person"], "person", True),
        (SPURIOUS, ["none", "person"], "place", False),
    ],
)
def test_an_open_weakness_is_shown_by_mistakes_of_its_kind(
    session: Any, error: str, labels: list[str], predicted: str, shown: bool
) -> None:
    made = MISSED if (error, predicted) == (BOUNDARY, "none") else error
    earlier = InMemoryWeaknesses(HashEmbedder(), "earlier", session.memory.rows)
    earlier.put_weaknesses(
        [Weakness(id="w", name="n", description="d", labels=labels, error=error, round=1)]
    )
    session.memory.add_failures([failure("f", labels[0], predicted, made)])
    assert [one.id for one in open_failures(session, 2)] == (["f"] if shown else [])
