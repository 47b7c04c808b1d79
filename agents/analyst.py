"""The analyst: finds the patterns behind the student's failures and plans what to write next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, create_model

from evokd.agents.card import shorten
from evokd.agents.prompting import Prompt
from evokd.agents.teacher import Call, Message, Teacher

SHOWN_CHARS = 110


@dataclass(frozen=True)
class Shown:
    """One text the student was asked about."""

    text: str
    label: str
    predicted: str
    confidence: float


@dataclass(frozen=True)
class Findings:
    """What the analyst is shown of the student.

    Lists come in order of importance; where the prompt would outgrow the model's context the
    last entries go first: of `related`, then `right`, then `wrong`.
    """

    wrong: Sequence[Shown]
    right: Sequence[Shown]
    related: Sequence[Shown] = ()
    scores: Mapping[str, float] = field(default_factory=dict)
    open_weaknesses: Sequence[str] = ()


class PlannedWeakness(BaseModel):
    """One named weakness and what to write against it."""

    model_config = ConfigDict(extra="ignore")

    name: str = Field(max_length=60, description="a short name")
    pattern: str = Field(max_length=110, description="which texts the student gets wrong, and why")
    labels: list[str] = Field(min_length=1, max_length=3, description="the labels concerned")
    hard: int = Field(ge=1, le=9, description="weight of hard texts")
    easy: int = Field(ge=0, le=9, description="weight of easy texts")
    vary: str = Field(max_length=70, description="what new texts should vary")


def analyze(
    teacher: Teacher,
    prompt: Prompt,
    card: str,
    labels: Sequence[str],
    findings: Findings,
    *,
    max_weaknesses: int,
    max_chars: int,
    call: Call,
) -> list[PlannedWeakness]:
    """Return up to `max_weaknesses` weaknesses with a plan for each.

    Args:
        max_chars: room for the user message; `findings` is trimmed to fit.

    Raises:
        ReplyError, TeacherError: see `Teacher.ask`.
    """
    user = _fit(prompt, findings, max_weaknesses, max_chars)
    messages: list[Message] = [("system", card), ("user", user)]
    reply = teacher.ask(messages, _reply_model(tuple(labels), max_weaknesses), call)
    return list(cast(Any, reply).weaknesses)


def _reply_model(labels: tuple[str, ...], at_most: int) -> type[BaseModel]:
    label = Literal[labels]  # type: ignore[valid-type]
    one = create_model(
        "PlannedWeakness",
        __base__=PlannedWeakness,
        labels=(list[label], Field(min_length=1, max_length=3)),
    )
    return create_model("Analysis", weaknesses=(list[one], Field(min_length=1, max_length=at_most)))


def _fit(prompt: Prompt, findings: Findings, max_weaknesses: int, max_chars: int) -> str:
    wrong, right, related = list(findings.wrong), list(findings.right), list(findings.related)
    while True:
        user = prompt.fill(
            "main",
            wrong=_lines(wrong) or "(none)",
            right=_lines(right) or "(none)",
            related=_lines(related) or "(none)",
            scores=", ".join(f"{label} {score:.0%}" for label, score in findings.scores.items())
            or "(not known yet)",
            open="; ".join(findings.open_weaknesses) or "(none)",
            count=max_weaknesses,
        )
        longest = next((rows for rows in (related, right, wrong) if rows), None)
        if len(user) <= max_chars or longest is None:
            return user
        longest.pop()


def _lines(rows: Sequence[Shown]) -> str:
    return "\n".join(
        f'- "{shorten(row.text, SHOWN_CHARS)}" is {row.label}'
        + (
            f", student said {row.predicted} ({row.confidence:.2f})"
            if row.predicted != row.label
            else f" ({row.confidence:.2f})"
        )
        for row in rows
    )
