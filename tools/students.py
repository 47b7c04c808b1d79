"""The student of each kind of task: how it is opened and how it is trained.

`train_student` is the LangChain tool that the graphs call.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from langchain_core.tools import tool
from pydantic import BaseModel, ConfigDict, Field

from evokd.config import StudentSection
from evokd.tools.causal import check_causal
from evokd.tools.reasoner import Reasoner
from evokd.tools.reasoner_training import keep_reasoner, train_reasoner
from evokd.tools.student import Student
from evokd.tools.tagger import Tagger, check_tagger, train_tagger
from evokd.tools.training import (
    RowChoice,
    TrainingResult,
    TrainingRow,
    check_pretrained,
    read_training_rows,
    train,
)

AnyStudent = Student | Tagger | Reasoner
STUDENTS: dict[str, type[AnyStudent]] = {
    "classification": Student,
    "ner": Tagger,
    "reasoning": Reasoner,
}
CHECKS: dict[str, Callable[[str, int], None]] = {
    "classification": check_pretrained,
    "ner": check_tagger,
    "reasoning": check_causal,
}
TRAINERS: dict[str, Callable[..., TrainingResult]] = {
    "classification": train,
    "ner": train_tagger,
    "reasoning": train_reasoner,
}


def open_student(kind: str, folder: Path, settings: StudentSection) -> AnyStudent:
    """Load a trained student as its task file says it is to be asked."""
    opened: AnyStudent = STUDENTS[kind](
        folder, max_length=settings.max_length, precision=settings.precision
    )
    return opened


def check_student(kind: str, model: str, max_length: int) -> None:
    """Check that a student of a kind of task can be loaded and trained, without its weights.

    Raises:
        ConfigError: it cannot, or it does not read texts of `max_length` tokens.
    """
    CHECKS[kind](model, max_length)


def keep_student(kind: str, folder: Path, target: Path) -> None:
    """Write the student of a round as the one that is kept.

    Raises:
        StorageError: it cannot be written.
    """
    if kind == "reasoning":
        keep_reasoner(folder, target)
    else:
        shutil.copytree(folder, target)


def train_kind(
    kind: str,
    rows: Sequence[TrainingRow],
    labels: Sequence[str],
    model: str,
    output_dir: Path,
    settings: StudentSection,
    *,
    random_seed: int,
    repeat: bool = True,
    choice: Mapping[str, Any] | None = None,
    instructions: str = "",
    answers: str = "text",
    capitals: str = "auto",
) -> TrainingResult:
    """Train the student of a kind of task; see `training.train`.

    Args:
        choice: the fields of a `RowChoice`; rows without a confidence are learnt in any case.
        instructions: what a student that reasons is told before every question.
        answers: what form its answers have.
        capitals: what a student for entities makes of them, see `TaskSection`.
    """
    more: dict[str, Any] = {"choice": RowChoice(**choice)} if choice else {}
    if kind == "reasoning":
        more |= {"instructions": instructions, "answers": answers}
    elif kind == "ner":
        more |= {"tells_names": capitals == "auto"}
    return TRAINERS[kind](
        rows, labels, model, output_dir, settings, random_seed=random_seed, repeat=repeat, **more
    )


class TrainRequest(BaseModel):
    """Arguments of the tool `train_student`: paths and settings, so that traces stay small."""

    model_config = ConfigDict(extra="forbid")

    kind: str = Field(description="the task's: classification, ner or reasoning")
    rows_file: str = Field(
        description="JSONL of text, label, weight, confidence, steps, and entities with tokens"
    )
    labels: list[str] = Field(description="all labels, in the order of the logits")
    model: str = Field(description="folder or hub id of the pretrained weights")
    output_dir: str = Field(description="where the trained student is saved")
    settings: dict[str, Any] = Field(description="the section `student` of the task file")
    random_seed: int = 0
    repeat: bool = Field(True, description="several passes over the rows; off: one")
    choice: dict[str, Any] | None = Field(
        None, description="how rows with a confidence are chosen: the fields of a `RowChoice`"
    )
    instructions: str = Field("", description="what a student that reasons is told")
    answers: str = Field(
        "text", description="the form of its answers: number, yes_no, choice, text"
    )
    capitals: str = Field("auto", description="what tells an entity's type: auto or ignore")


@tool(args_schema=TrainRequest)
def train_student(
    kind: str,
    rows_file: str,
    labels: list[str],
    model: str,
    output_dir: str,
    settings: dict[str, Any],
    random_seed: int = 0,
    repeat: bool = True,
    choice: dict[str, Any] | None = None,
    instructions: str = "",
    answers: str = "text",
    capitals: str = "auto",
) -> dict[str, Any]:
    """Fine-tune the student on the rows of a file and save it; return rows, steps and speed."""
    result = train_kind(
        kind,
        read_training_rows(Path(rows_file)),
        labels,
        model,
        Path(output_dir),
        StudentSection(**settings),
        random_seed=random_seed,
        repeat=repeat,
        choice=choice,
        instructions=instructions,
        answers=answers,
        capitals=capitals,
    )
    return asdict(result)
