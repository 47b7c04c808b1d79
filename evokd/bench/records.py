"""What the benchmark writes: a cell of the grid, its result, and the file of a suite."""

from __future__ import annotations

import re
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from evokd.config import DEFAULT_TEACHER

Kind = Literal["classification", "ner", "reasoning"]
MARKS, COUNTS = r"^[01]*$", r"^(\d+/\d+/\d+( \d+/\d+/\d+)*)?$"


def file_name(words: str) -> str:
    """Return words as a part of a file's name."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", words)


class BenchRecord(BaseModel):
    """Base of all records: unknown fields are errors."""

    model_config = ConfigDict(extra="forbid")


class Cell(BenchRecord):
    """One run of the grid."""

    set: str
    shots: int = Field(ge=1, description="gold examples a label in the seed")
    strategy: str
    variant: str = Field("", description="what is switched off or chosen by; '' for none")
    seed: int = Field(ge=0, description="random seed; it also draws the gold examples")
    budget: int = Field(
        ge=0, description="generated teacher tokens; 0: no limit, or nothing is asked"
    )
    split: Literal["test", "dev"] = "test"
    teacher: str = DEFAULT_TEACHER
    student: str = Field("", description="model of the student; '': the set's")

    @property
    def id(self) -> str:
        """The name of the cell's files."""
        parts = [self.set, f"{self.shots}shot", self.strategy]
        if self.variant:
            parts.append(self.variant)
        if self.budget:
            parts.append(f"{self.budget}tokens")
        parts.append(f"seed{self.seed}")
        if self.split == "dev":
            parts.append(self.split)
        if self.teacher != DEFAULT_TEACHER:
            parts.append(self.teacher)
        if self.student:
            parts.append(f"student-{self.student}")
        return file_name("-".join(parts))


class CurvePoint(BenchRecord):
    """The student after one round; round -1 is the student on the seeds alone."""

    round: int
    input_tokens: int = Field(description="prompt tokens so far, cache hits included")
    output_tokens: int = Field(description="generated tokens so far, cache hits included")
    accepted: int = Field(description="accepted samples so far")
    score: float = Field(description="in [0, 1], on the rows of the split")


class RoleCost(BenchRecord):
    """What one role cost, cache hits included at their original price."""

    calls: int
    input_tokens: int
    output_tokens: int


class CellResult(BenchRecord):
    """One cell that ran to its end, or the error that stopped it."""

    cell: Cell
    kind: Kind = "classification"
    metric: str = "accuracy"
    error: str | None = None
    broken: bool = Field(False, description="the kept file cannot be read; nobody overwrites it")
    score: float | None = Field(None, ge=0, le=1, description="of the student the run kept")
    correct: str = Field(
        "", pattern=MARKS, description="one character a row of the split: 1 right, 0 wrong"
    )
    counts: str = Field(
        "",
        pattern=COUNTS,
        description="for entities, a row of the split: right/found/gold, rows parted by spaces",
    )
    before: str = Field(
        "",
        pattern=MARKS,
        description="the same of the untrained student, over the same rows; questions only",
    )
    kept_round: int | None = None
    curve: list[CurvePoint] = Field(default_factory=list)
    roles: dict[str, RoleCost] = Field(default_factory=dict)
    accepted: int = 0
    kept_rows: int | None = Field(
        None, description="of these, the rows kept in some training step, where steps choose"
    )
    rejected: dict[str, int] = Field(default_factory=dict, description="reason → samples")
    revisions: dict[str, int] = Field(
        default_factory=dict, description="how often a reviser was right; see `revision_counts`"
    )
    seconds: dict[str, float] = Field(
        default_factory=dict, description="teacher, training, other; no set-up"
    )
    commit: str = ""
    date: str = Field("", description="UTC, ISO 8601, when the cell ended")
    packs: dict[str, str] = Field(default_factory=dict, description="model pack → sha256")
    versions: dict[str, str] = Field(default_factory=dict)
    machine: str = ""
    command: str = ""

    @property
    def marks(self) -> str:
        """What the score is computed from: `correct` or `counts`."""
        return self.correct or self.counts

    @property
    def input_tokens(self) -> int:
        """Prompt tokens of all roles."""
        return sum(one.input_tokens for one in self.roles.values())

    @property
    def output_tokens(self) -> int:
        """Generated tokens of all roles."""
        return sum(one.output_tokens for one in self.roles.values())


class Difference(BenchRecord):
    """A paired difference of two strategies, with its 95% bootstrap interval."""

    mean: float
    low: float
    high: float


class TokensSaved(BenchRecord):
    """Where the mean curve of `llkd` reaches what choosing by chance ends with."""

    goal: float = Field(description="the score that `random` ends with, in [0, 1]")
    tokens: float = Field(description="generated tokens behind it, mean over the seeds")
    share: float | None = Field(
        description="generated tokens at which the goal is reached for good / `tokens`; None: never"
    )
    share_by_chance: float | None = Field(
        description="the same of the curve by chance, which ends at the goal"
    )
    seeds: list[int] = Field(description="the random seeds of both curves")


class Row(BenchRecord):
    """One line of the table: a strategy on a set, over its random seeds. Scores in [0, 1]."""

    set: str
    kind: Kind
    metric: str
    shots: int
    strategy: str
    variant: str
    complete: bool = Field(description="every random seed of the suite has its score")
    mean: float | None
    std: float | None = Field(description="over the random seeds; None for one seed")
    ci_low: float | None = Field(description="95% bootstrap interval over the rows of the split")
    ci_high: float | None
    diff_static: Difference | None = Field(description="against `static`, paired by row and seed")
    diff_evokd: Difference | None = Field(
        None,
        description="`evokd` minus this row, paired by row and seed; the teacher on the rows it "
        "was asked",
    )
    diff_chance: Difference | None = Field(
        None,
        description="`llkd` against choosing nothing in the same mode, selections of `elad` "
        "against questions by chance, its annotations, `fewshot` and `fullshot` beside it against "
        "`elad` itself, paired likewise",
    )
    diff_untrained: Difference | None = Field(
        None, description="a student that reasons against itself untrained, paired likewise"
    )
    diff_fewshot: Difference | None = Field(
        None, description="`elad` against the student that has learnt the seeds alone"
    )
    diff_teacher: Difference | None = Field(
        None, description="`llkd` against the teacher, same prompt, on the rows it was asked"
    )
    tokens_saved: TokensSaved | None = Field(None, description="`llkd` against `random`")
    seeds: list[int]
    input_tokens: float | None = Field(description="mean over the seeds")
    output_tokens: float | None
    tokens_by_role: dict[str, dict[str, float]]
    accepted: float | None
    kept_rows: float | None = Field(None, description="see `CellResult`; mean over the seeds")
    revisions: dict[str, int] = Field(
        default_factory=dict, description="see `CellResult`; sums over the seeds"
    )
    seconds: float | None
    overhead: float | None = Field(
        None, description="share of the seconds that is neither teacher nor training, in [0, 1]"
    )
    commit: str
    since: str = Field("", description="when the oldest cell ended")
    date: str = Field(description="when the newest cell ended")
    packs: dict[str, str]
    command: str = Field(description="all commands that ran its cells, parted by '; '")
    machines: list[str] = Field(default_factory=list, description="that cells ran on")
    errors: list[str] = Field(default_factory=list, description="why cells failed, 'seed N: …'")


class EqualTotalRow(BenchRecord):
    """A strategy's score at a number of total tokens (prompts included) all strategies reached."""

    set: str
    shots: int
    strategy: str
    variant: str = ""
    total_tokens: int = Field(description="the limit, equal for all strategies of the set")
    mean: float | None = Field(description="None: no trained student of some seed is within it")
    spent: float | None = Field(description="total tokens behind the score, mean over the seeds")
    first_batch: int = Field(description="what the first trained student cost, the dearest seed's")
    seeds: list[int]


class SuiteResult(BenchRecord):
    """`benchmarks/results/<suite>.json`."""

    suite: str
    split: Literal["test", "dev"]
    command: str
    created: str
    rows: list[Row]
    equal_total: list[EqualTotalRow] = Field(default_factory=list)
    curves: list[dict[str, Any]] = Field(
        default_factory=list,
        description="one a row: set, shots, strategy, variant, points [output_tokens, mean score]",
    )
