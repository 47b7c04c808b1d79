"""The rows and small records that travel between folders.

This module knows nothing of files, models or graphs. Everything here turns into plain dicts with
`model_dump()`, because the graph's state may hold nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field

Difficulty = Literal["hard", "easy", "plain"]
WeaknessStatus = Literal["open", "closed", "returned"]
Split = Literal["train", "probe", ""]
POOL = "pool"  # the role of samples that nobody wrote
Span = tuple[int, int]
"""First code point, one past the last."""
Event = dict[str, Any]
"""Something that happened in a run; `kind` says what."""
Emit = Callable[[Event], None]
"""Takes what happens, and shows it."""


class Record(BaseModel):
    """Base of all records: unknown fields are errors."""

    model_config = ConfigDict(extra="forbid")


class Entity(Record):
    """One entity of a text; offsets count code points."""

    start: int = Field(ge=0, description="first code point")
    end: int = Field(gt=0, description="one past the last code point")
    label: str = Field(description="its type")


class FoundEntity(Entity):
    """An entity that somebody found, and how sure they were."""

    confidence: float = Field(ge=0.0, le=1.0 + 1e-6)


class Example(Record):
    """One gold row from the user.

    Where the task is to find entities, `label` is the type that batches are balanced by; where it
    is to reason, `text` is the question and `label` the answer.
    """

    text: str
    label: str
    entities: list[Entity] = Field(default_factory=list)
    tokens: list[Span] = Field(default_factory=list, description="where its file says they are")
    choices: list[str] = Field(
        default_factory=list, description="what a question's answer is one of"
    )
    rationale: str = Field("", description="why the answer is right, a step a line")


class Prediction(Record):
    """What a student says of one text."""

    label: str
    confidence: float = Field(ge=0.0, le=1.0 + 1e-6)
    entities: list[FoundEntity] | None = Field(
        None, description="what was found; None: the task has no entities"
    )
    steps: list[str] | None = Field(
        None, description="the explanation before the answer; None: the task asks for none"
    )
    cut: bool | None = Field(
        None, description="whether it was cut at the longest an explanation may be; None: no steps"
    )


class Revision(Record):
    """What the reviser made of a student's explanation."""

    steps: list[str]
    answer: str
    verdicts: list[bool] = Field(
        default_factory=list,
        description="of the student's steps, then of its answer, as far as the walk went",
    )
    first_wrong: int | None = Field(
        None,
        description="place of the first wrong step, from 0; one past the last: the answer; None: "
        "none was found, perhaps because nobody looked",
    )
    compared: bool = Field(
        False, description="with a solution, sums by code: the verdicts are not the reviser's alone"
    )
    confidence: float | None = Field(
        None, description="how likely the reviser found its calculation; None: it did not tell"
    )


class Chosen(Record):
    """Why a text of a pool was asked about."""

    by: str = Field(description="what decided: chance, held out, uncertainty, distance, …")
    score: float | None = Field(None, description="by that measure; None: chance has none")


class Sample(Record):
    """One row made by a run, with its whole provenance; one line of `samples.jsonl`."""

    id: str = Field(
        description="r<round>w<wave>c<generator call>-<place in the reply>, or "
        "r<round>p<number in the pool>"
    )
    text: str
    round: int
    call: str = Field(description="the generator call that wrote it; siblings share it")
    role: str = Field("generator", description="the role that wrote the text")
    intended_label: str
    label: str | None = Field(None, description="the label it is trained with, once settled")
    entities: list[FoundEntity] = Field(
        default_factory=list, description="what the labeler found, for a task of entities"
    )
    lost: list[str] = Field(
        default_factory=list, description="what it named that does not stand in the text"
    )
    weakness: str | None = Field(None, description="id of the weakness it aims at")
    difficulty: Difficulty = "plain"
    guesses: list[str] = Field(
        default_factory=list, description="labels its neighbours and the student would give it"
    )
    checked: bool = Field(
        True, description="to be read by the critic; off: nothing speaks against its label"
    )
    orders: list[str] = Field(
        default_factory=list,
        description="what in a text of a pool orders its labeler about, or may: its label is that "
        "of the rest",
    )
    chosen: Chosen | None = Field(None, description="of a text of a pool: why it was asked about")
    labeler_label: str | None = Field(None, description="after calibration, like its confidence")
    labeler_confidence: float | None = None
    labeler_probabilities: dict[str, float] | None = Field(
        None, description="label → probability as the labeler gave them, before calibration"
    )
    calibrated_probabilities: dict[str, float] | None = Field(
        None, description="of a pool's text: the same, the labeler's bias and temperature taken out"
    )
    critic_verdict: str | None = None
    critic_confidence: float | None = None
    repaired_from: str | None = Field(None, description="the text before the critic's repair")
    accepted: bool | None = Field(None, description="the gates' decision; None while pending")
    reason: str | None = Field(None, description="why it was rejected")
    split: Split = Field("", description="train, probe (held out for ever), '' if rejected")
    prediction: Prediction | None = Field(
        None, description="the student's answer before it was trained on this row"
    )

    choices: list[str] = Field(default_factory=list, description="of a question")
    uncertainty: dict[str, float] = Field(
        default_factory=dict, description="of the student's explanation, by kind; in [0, 1]"
    )
    revision: Revision | None = Field(None, description="of the student's explanation")
    known_answer: str | None = Field(None, description="the pool's own; no role is shown it")

    @property
    def content(self) -> str:
        """The text without what orders its reader about; where that is all of it, the text."""
        content = self.text
        for one in self.orders:
            before = r"(?<!\w)" if _has_case(one[:1]) else ""
            after = r"(?!\w)" if _has_case(one[-1:]) else ""
            content = re.sub(before + re.escape(one) + after, "", content, count=1)
        return content.strip() or self.text

    def rejected(self, reason: str) -> Sample:
        """Return a copy that is out, for `reason`."""
        return self.model_copy(update={"accepted": False, "reason": reason, "split": ""})


class Word(Record):
    """One word of the student's vocabulary that the labeler read; one line of `words.jsonl`."""

    text: str
    label: str | None = Field(description="within which it ranks high; None: it is not learnt")
    student: str = Field(description="the label that the student would have given it")
    probabilities: dict[str, float] = Field(description="label → probability by the labeler")
    round: int = Field(description="from which on it is learnt")


class Weakness(Record):
    """A named pattern of failures."""

    id: str
    name: str
    description: str
    labels: list[str]
    error: str = Field("confusion", description="what kind of mistake it is")
    round: int = Field(description="the round that found it")
    status: WeaknessStatus = "open"
    probes: list[str] = Field(default_factory=list, description="ids of held-out samples")
    probe_score: float | None = Field(None, description="share of its probes the student got right")
    history: list[str] = Field(default_factory=list, description="'<round>:<status>:<score>'")


class Failure(Record):
    """One text the student got wrong before it was trained on it."""

    id: str
    text: str
    label: str
    predicted: str
    confidence: float
    round: int
    run: str
    weakness: str | None = None
    error: str = Field("confusion", description="what kind of mistake it is")
    part: str = Field("", description="the part of the text it is about; '' for the whole")


class RoundRecord(Record):
    """One line of `rounds.jsonl`. Round 0 is the +Init batch, for `elad` the seeds alone."""

    round: int
    kind: Literal["init", "loop"]
    accepted: int
    rejected: dict[str, int]
    train_rows: int
    probe_rows: int
    probe: float | None = Field(None, description="score on the run's own probe or validation")
    fresh: float | None = Field(None, description="score on the fresh batch before training on it")
    score: float | None = Field(None, description="test score, filled in after the loop")
    per_label: dict[str, float] = Field(default_factory=dict)
    weaknesses: dict[str, int] = Field(default_factory=dict)
    errors: dict[str, int] = Field(
        default_factory=dict, description="mistakes in the fresh batch before it was taught"
    )
    explanations: dict[str, int] = Field(
        default_factory=dict,
        description="elad: how many questions of the pool the student explained, how many of these "
        "were cut, and how many hold no answer",
    )
    refills: int = 0
    output_tokens: int = 0
    seconds: dict[str, float] = Field(default_factory=dict)
    trained: bool = True
    kept_rows: int | None = Field(
        None,
        description="rows that `llkd` in its paper mode kept in at least one step or began from",
    )
    relabelled: int | None = Field(
        None, description="texts of a pool that are learnt with another label than they have"
    )
    self_labelled: int | None = Field(
        None, description="texts of a pool that are learnt with the label the student gives them"
    )
    ignored_tokens: int | None = Field(
        None, description="tokens of generated texts left out as likely mislabelled"
    )


class Embedder(Protocol):
    """Turns texts into unit vectors."""

    model_id: str
    dimension: int

    def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """Return one L2-normalised vector of length `dimension` per text."""
        ...


def _has_case(character: str) -> bool:
    """Whether a character is of an alphabet that writes words apart."""
    return character.lower() != character.upper()
