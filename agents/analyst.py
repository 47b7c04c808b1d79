"""The analyst: finds the patterns behind the student's failures and plans what to write next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, create_model

from evokd.agents.card import shorten
from evokd.agents.prompting import Prompt
from evokd.agents.teacher import Call, Message, Teacher
from evokd.tasks.ner import BOUNDARY, MISSED, SPURIOUS, WRONG_TYPE

SHOWN_CHARS = 110
SHOWN_PER_CONFUSION = 3
ENTITY_MISTAKES = {
    MISSED: "{label}, student missed it",
    SPURIOUS: "no entity, student said {predicted}",
    WRONG_TYPE: "{label}, student said {predicted}",
    BOUNDARY: "{label}, student found it too short or too long",
}


@dataclass(frozen=True)
class Shown:
    """One text the student was asked about, and what it said.

    Args:
        error: what kind of mistake it is, as the task's kind names it.
        part: the part of the text it is about; '' for the whole.
    """

    text: str
    label: str
    predicted: str
    confidence: float
    error: str = "confusion"
    part: str = ""


Confusion = tuple[tuple[str, str, str], list[Shown]]
"""(label, what it was taken for, kind of mistake), and the texts."""


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


class Plan(BaseModel):
    """What the analyst says of one confusion."""

    model_config = ConfigDict(extra="ignore")

    name: str = Field(max_length=60, description="a short name")
    pattern: str = Field(max_length=110, description="which texts the student gets wrong, and why")
    hard: int = Field(ge=1, le=9, description="weight of hard texts")
    easy: int = Field(ge=0, le=9, description="weight of easy texts")
    vary: str = Field(max_length=70, description="what new texts should vary")


class PlannedWeakness(Plan):
    """One named weakness with its plan and the labels concerned, the true one first.

    Args:
        error: what kind of mistake it is, as the task's kind names it.
    """

    labels: list[str]
    error: str = "confusion"


def analyze(
    teacher: Teacher,
    prompt: Prompt,
    card: str,
    findings: Findings,
    *,
    max_weaknesses: int,
    max_chars: int,
    call: Call,
) -> list[PlannedWeakness]:
    """Return a weakness, with a plan, for each of the student's worst confusions.

    A confusion is a label and what the student took it for. Which ones there are is counted, not
    asked; the analyst says what is behind each. A small model that has to find them by itself
    names weaknesses after labels, and mixes the labels up.

    Args:
        max_weaknesses: as many confusions are shown, those with the most wrong texts.
        max_chars: room for the user message; `findings` is trimmed to fit.

    Raises:
        ReplyError, TeacherError: see `Teacher.ask`.
    """
    confusions = find_confusions(findings.wrong)[:max_weaknesses]
    if not confusions:
        return []
    user = _fit(prompt, findings, confusions, max_chars)
    messages: list[Message] = [("system", card), ("user", user)]
    names = [f"c{place}" for place in range(1, len(confusions) + 1)]
    fields: dict[str, Any] = dict.fromkeys(names, (Plan, ...))
    reply = teacher.ask(messages, create_model("Analysis", **fields), call)
    return [
        _weakness(getattr(reply, name), *about)
        for name, (about, _) in zip(names, confusions, strict=True)
    ]


def _weakness(plan: Plan, label: str, predicted: str, error: str) -> PlannedWeakness:
    """Small analysts like to answer with a label's name, which names no pattern."""
    # What is missed is taken for nothing: texts without entities do not help there.
    labels = [label] if error == MISSED else list(dict.fromkeys([label, predicted]))
    said = plan.model_dump() | {"labels": labels, "error": error}
    if _plain(plan.name) in {_plain(label), _plain(predicted), ""}:
        taken = f"{label} taken for {predicted}"
        said["name"] = f"{label}: {error}" if len(labels) == 1 else taken
    return PlannedWeakness(**said)


def _plain(name: str) -> str:
    return " ".join(name.replace("_", " ").casefold().split())


def find_confusions(wrong: Sequence[Shown]) -> list[Confusion]:
    """Return ((label, what it was taken for, kind), texts), the most frequent first."""
    groups: dict[tuple[str, str, str], list[Shown]] = {}
    for row in wrong:
        groups.setdefault((row.label, row.predicted, row.error), []).append(row)
    return sorted(groups.items(), key=lambda group: -len(group[1]))


def _fit(
    prompt: Prompt, findings: Findings, confusions: Sequence[Confusion], max_chars: int
) -> str:
    right, related = list(findings.right), list(findings.related)
    wrong = [list(rows[:SHOWN_PER_CONFUSION]) for _, rows in confusions]
    while True:
        user = prompt.fill(
            "main",
            wrong="\n".join(
                prompt.fill(
                    error.replace(" ", "_"),
                    name=f"c{place}",
                    label=label,
                    predicted=predicted,
                    count=len(all_rows),
                    texts=_quoted(rows),
                )
                for place, (((label, predicted, error), all_rows), rows) in enumerate(
                    zip(confusions, wrong, strict=True), 1
                )
            ),
            right=_lines(right) or "(none)",
            related=_lines(related) or "(none)",
            scores=", ".join(f"{label} {score:.0%}" for label, score in findings.scores.items())
            or "(not known yet)",
            open="; ".join(findings.open_weaknesses) or "(none)",
        )
        longest = next((rows for rows in (related, right) if rows), None) or max(wrong, key=len)
        if len(user) <= max_chars or not longest:
            return user
        longest.pop()


def _quoted(rows: Sequence[Shown]) -> str:
    return "\n".join(f"- {_text(row)} ({row.confidence:.2f})" for row in rows)


def _lines(rows: Sequence[Shown]) -> str:
    return "\n".join(f"- {_text(row)} is {_told(row)} ({row.confidence:.2f})" for row in rows)


def _told(row: Shown) -> str:
    """Return what a text, or the part of it, is, and what the student made of it."""
    if row.error in ENTITY_MISTAKES:
        return ENTITY_MISTAKES[row.error].format(label=row.label, predicted=row.predicted)
    said = f", student said {row.predicted}" if row.predicted != row.label else ""
    return f"{row.label}{said}"


def _text(row: Shown) -> str:
    part = f': "{row.part}"' if row.part else ""
    return f'"{shorten(row.text, SHOWN_CHARS)}"{part}'
