"""The settings of a run: one schema, and its defaults; `task_file` reads it.

Explicit settings beat the file, the file beats the environment, the environment beats the
defaults below. Which numbers come from a paper and which are ours stands in `docs/methods.md`.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

ROLES = ("analyst", "generator", "labeler", "critic", "reviser")
STRATEGIES = ("evokd", "llkd", "elad", "static", "attr", "fewshot", "fullshot")
POOL_STRATEGIES = ("evokd", "llkd", "elad")
SELECTIONS = ("llkd", "random", "uncertainty", "confidence", "m-raru", "k-centre")
QUESTION_STRATEGIES = ("elad", "fewshot", "fullshot")
QUESTION_SELECTIONS = ("explanation", "random", "least-confidence", "answer-entropy")
DEFAULT_TEACHER = "local:qwen2.5-coder-1.5b-instruct"
DEFAULT_EMBEDDER = "local:all-MiniLM-L6-v2"
DEFAULT_REASONER = "local:smollm2-135m-instruct"


class Settings(BaseModel):
    """Base of all sections: unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", validate_assignment=True)


class TaskSection(Settings):
    """What the student must learn."""

    kind: Literal["classification", "ner", "reasoning"] = Field(
        description="classification: a text has one label; ner: it holds entities of some types; "
        "reasoning: it is a question that is answered after an explanation"
    )
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    instructions: str = Field(min_length=1)
    texts: str | None = Field(
        None,
        min_length=1,
        description="what one text is, such as 'one short question about facts'; None: what a "
        "person types",
    )
    topics: Literal["any"] | list[str] = Field(
        default=[],
        description="what texts of any label may have to do with, such as your products; any: "
        "everyday things of all kinds, for texts about the whole world",
    )
    labels: dict[str, str] = Field(
        default={},
        description="label or entity type → meaning; its parts, between semicolons, are written "
        "about in turn; a task of reasoning has none",
    )
    capitals: Literal["auto", "ignore"] = Field(
        "auto",
        description="task.kind ner: auto: of a type whose gold entities, two or more, are "
        "capitalized, nothing in small letters is one, nor a number; ignore: it may be",
    )
    answers: Literal["number", "yes_no", "choice", "text"] | None = Field(
        None,
        description="task.kind reasoning: what an answer is where a question has no choices; None: "
        "what all seeds' answers are, else a text",
    )

    @model_validator(mode="after")
    def _labels_are_usable(self) -> TaskSection:
        for label in self.labels:
            if not label.strip() or label != label.strip() or "\n" in label or '"' in label:
                raise ValueError(
                    f"label {label!r} is empty or holds a quote, a line break or outer spaces"
                )
            odd = label == "none" or label.split() != [label] or label.strip("-") != label
            if self.kind == "ner" and odd:
                raise ValueError(
                    f"entity type {label!r} is the word none, holds a space, or ends with a dash"
                )
        if self.kind != "reasoning" and not self.labels:
            raise ValueError(
                "missing key 'task.labels': each label, or entity type, with its meaning"
            )
        if self.kind == "classification" and len(self.labels) < 2:
            raise ValueError("labels: expected two or more; with one there is nothing to tell")
        if self.kind == "reasoning" and self.labels:
            raise ValueError("labels: a task of reasoning has none; its answers stand in the rows")
        return self

    @field_validator("topics", mode="before")
    @classmethod
    def _topics_are_words(cls, topics: Any) -> Any:
        if topics != "any" and not (isinstance(topics, list) and all(map(_is_one_line, topics))):
            raise ValueError("expected any, or a list of topics of a few words each")
        return topics


class DataSection(Settings):
    """Where the gold rows are: JSONL (`.gz` too) or CSV, relative to the task file."""

    seed: str
    validation: str | None = None
    test: str | None = Field(None, description="for the final report only")
    train: str | None = Field(None, description="all gold rows; only `fullshot` learns from them")
    pool: str | None = Field(
        None,
        description="unlabelled texts or questions, for llkd, evokd and elad: JSONL, CSV or a text "
        "a line (.gz too), Parquet, a folder of such tables or of .txt files, or one that datasets "
        "saved",
    )
    pool_max_chars: int = Field(
        4000, ge=1, description="longer texts of the pool are dropped and counted"
    )

    @property
    def files(self) -> dict[str, str]:
        """The files that are given, by split."""
        return {name: path for name, path in self.model_dump().items() if isinstance(path, str)}


class StudentSection(Settings):
    """The student and its training schedule (all ours; see docs/methods.md)."""

    model: str = DEFAULT_EMBEDDER
    max_length: int = Field(64, ge=8, le=8192, description="tokens, as many as the model reads")
    pooling: Literal["mean", "own"] = Field(
        "mean",
        description="what a text classifier reads: all tokens' mean; own: as the model's does",
    )
    learning_rate: float | None = Field(
        None,
        gt=0,
        description="None: 3e-5 (pooling own: 1e-4); for entities 1.5e-4; heads that begin at "
        "random there learn ten times as quickly",
    )
    batch_size: int = Field(16, ge=1, description="rows a step below 256 rows, four times it above")
    passes: float = Field(8, gt=0, description="passes over the rows; `repeat` off makes it 1")
    min_steps: int = Field(120, ge=1)
    max_steps: int = Field(600, ge=1)
    seed_weight: int = Field(3, ge=1, description="how often a seed counts")
    warmup: float = Field(0.1, ge=0, lt=1)
    weight_decay: float = Field(0.01, ge=0)
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    freeze_embeddings: bool = True
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    continue_training: bool = Field(
        False, description="go on from the last round's weights instead of the pretrained ones"
    )
    threads: int | None = Field(None, ge=1, description="CPU threads; None: all cores")
    lora_rank: int = Field(
        16, ge=1, le=256, description="task.kind reasoning: of its LoRA matrices"
    )
    max_new_tokens: int = Field(
        80, ge=8, le=4096, description="task.kind reasoning: longer explanations are cut"
    )
    calculator: bool = Field(
        True, description="task.kind reasoning: code works out the sums while the student writes"
    )
    temperature: float = Field(
        0.7, gt=0, le=2, description="task.kind reasoning: of explanations that are compared"
    )


class RoleSection(Settings):
    """The model of one role. What is None falls back to `agents.default`."""

    model: str | None = None
    base_url: str | None = None
    api_key_env: str | None = Field(
        None,
        pattern=r"^[A-Za-z_][A-Za-z0-9_]*$",
        description="the name of the environment variable that holds the key, not the key",
    )
    temperature: float | None = Field(None, ge=0, le=2)
    presence_penalty: float | None = Field(
        None, ge=-2, le=2, description="against repeating itself within one reply of several texts"
    )
    xtc_probability: float | None = Field(
        None,
        ge=0,
        le=1,
        description="how often the likeliest tokens are left out where several are likely, for "
        "variety; llama.cpp servers only",
    )
    dry_multiplier: float | None = Field(
        None,
        ge=0,
        description="how hard word sequences that stand in the prompt or the reply already are "
        "punished (DRY), against copies; llama.cpp servers only",
    )
    max_tokens: int | None = Field(None, ge=1)
    timeout: float | None = Field(None, gt=0, description="seconds a call")
    max_concurrency: int | None = Field(None, ge=1, description="calls open at once, an endpoint")
    max_retries: int | None = Field(None, ge=0, description="after 429, 5xx and time-outs")
    samples: int | None = Field(None, ge=2, le=9, description="k of the agreement confidence")
    usd_per_million_input: float | None = Field(None, ge=0)
    usd_per_million_output: float | None = Field(None, ge=0)


class AgentsSection(Settings):
    """One model per role, over a default."""

    default: RoleSection = Field(default_factory=RoleSection)
    analyst: RoleSection = Field(default_factory=RoleSection)
    generator: RoleSection = Field(default_factory=RoleSection)
    labeler: RoleSection = Field(default_factory=RoleSection)
    critic: RoleSection = Field(default_factory=RoleSection)
    reviser: RoleSection = Field(default_factory=RoleSection)
    prompts: str | None = Field(None, description="a folder whose prompt files replace ours")


class LocalSection(Settings):
    """The embedded llama.cpp server."""

    slots: int = Field(4, ge=1, le=64)
    slot_context: int = Field(2048, ge=512, description="tokens a slot")
    threads: int | None = Field(None, ge=1, description="None: all cores")


class StrategySection(Settings):
    """The teaching loop. The switches exist for ablations; the paper's behaviour is the default."""

    name: str = Field("evokd", description=", ".join(STRATEGIES))
    mode: Literal["budgeted", "paper"] = Field(
        "budgeted",
        description="llkd: budgeted: the student chooses what the teacher is asked about; paper: "
        "the teacher labels the pool, and every training step chooses among what it labelled",
    )
    selection: str = Field(
        "llkd",
        description="llkd: which texts of the pool the teacher is asked about, or, in the mode "
        "paper, which labelled ones a training step learns: "
        + ", ".join(SELECTIONS)
        + "; elad: which questions are revised: "
        + ", ".join(QUESTION_SELECTIONS),
    )
    weighting: Literal["product", "sum", "one"] = Field(
        "product",
        description="mode paper: what a row counts for in a step: the teacher's confidence times "
        "the student's uncertainty, their sum, or one; m-raru: one",
    )
    surest_share: float = Field(
        0.25,
        gt=0,
        le=1,
        description="mode paper, selections llkd and confidence: the share of the rows, of each "
        "label those the teacher is surest of, that the steps choose among",
    )
    consensus: bool = Field(
        True,
        description="llkd: a text of the pool is learnt with the label that the labeler, what it "
        "says too often (of texts of random words) divided out, and the texts like it give it "
        "together; off: the labeler's",
    )
    self_training: bool = Field(
        True,
        description="llkd, mode budgeted: while the teacher's labels are few, a student is trained "
        "twice a round, the second time also on texts of the pool that nobody was asked about, "
        "with the label it gives them itself, of each label those it is surest of",
    )
    noise: Literal["none", "mixture"] = Field(
        "none",
        description="llkd: mixture: halfway through a training, rows whose loss says that their "
        "label is likely wrong are left out (two-component mixture); task.kind ner, any strategy: "
        "so are single tokens of generated texts",
    )
    show_seeds: bool = Field(
        True,
        description="the task card shows the seeds; off: the labeler is asked zero-shot, and the "
        "seeds, where they are many, calibrate it in llkd; the critic sees them in any case",
    )
    rounds: int = Field(6, ge=1, le=1000)
    samples_per_round: int = Field(32, ge=2)
    init_samples: int = Field(64, ge=0, description="+Init: plain texts before the loop; 0: none")
    texts_per_call: int = Field(8, ge=1, le=50)
    lengths: list[str] = Field(
        default=["5 to 9 words", "8 to 14 words", "3 to 7 words", "a few words up to 20"],
        min_length=1,
        description="the lengths asked for, call by call in turn",
    )
    easy_share: float = Field(0.5, ge=0, le=1, description="share of easy texts; the paper: half")
    max_weaknesses: int = Field(3, ge=1, le=20, description="named by one analysis")
    max_refills: int = Field(2, ge=0, le=10)
    topics: bool = Field(
        True, description="every second text of evokd is given one of the task's topics"
    )
    analyst: bool = True
    words: int = Field(
        300,
        ge=0,
        description="words of the student's vocabulary that the labeler is asked about once the "
        "first batch is learnt; only where that is a hundred or more a label, so with two or three "
        "labels, for a tenth of the budget at most; 0: none",
    )
    names: int = Field(
        0,
        ge=0,
        le=40,
        description="task.kind ner: names that the generator lists for each part of a type's "
        "meaning before it writes, such as 8; evokd gives its texts some of them; 0: none",
    )
    labeler_min_confidence: float = Field(
        0.8,
        ge=0,
        le=1,
        description="τ; half of it where labeler and intention agree; of a pool's texts, those the "
        "labeler is sure of",
    )
    calibrate: bool = Field(
        True,
        description="take the labeler's bias towards some labels out of its probabilities; it "
        "reads the whole first batch for it",
    )
    critic: bool = True
    critic_min_confidence: float = Field(
        0.35, ge=0, le=1, description="probability of yes, against everything that may be wrong"
    )
    memory: bool = True
    easy: bool = True
    correct: bool = Field(True, description="the analyst also sees what was right")
    review: bool = Field(
        True, description="earlier batches stay in training; the mode paper needs it"
    )
    repeat: bool = Field(True, description="a batch is trained on more than once")
    texts_per_label: int = Field(
        1,
        ge=1,
        le=20,
        description="texts that one labeler call is asked about, for task.kind classification; "
        "several share one prompt and are labelled less well",
    )
    recheck_named: bool = Field(
        True,
        description="where a sentence of a pool's text names the label it was given, the labeler "
        "is asked whether it is an order to it, and labels an order's text without it; off: not",
    )
    separation: bool = Field(True, description="a separate labeler; off: the intended label")
    check: Literal["doubtful", "all"] = Field(
        "doubtful",
        description="what labeler and critic read: the labeler the first batch, and both held-out "
        "texts and those whose label the student or their neighbours would not have guessed; "
        "or all (the paper)",
    )
    patience: int = Field(3, ge=1, description="rounds without gain before it stops")
    probe_share: float = Field(
        0.2,
        gt=0,
        lt=1,
        description="of a round's texts that is held out; llkd: those that new weaknesses are "
        "tested on are among them, and where there are validation rows nothing else is",
    )
    empty_share: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="kind ner: share of the training texts that name no entity; None: as many as "
        "of a type",
    )
    refit: bool = Field(
        True,
        description="the kept student is trained once more, with the held-out texts, when no "
        "decision is left that they could serve",
    )
    stop_when_closed: bool = False
    candidates: int = Field(
        150, ge=1, description="elad: questions of the pool that the student explains in a round"
    )
    continuations: int = Field(
        2,
        ge=1,
        le=20,
        description="elad: explanations that are sampled after every step, or, for the selection "
        "answer-entropy, twice as many from the beginning",
    )
    annotation: Literal["clear", "solved", "calculation", "whole"] = Field(
        "solved",
        description="elad: solved: the reviser solves the question, and keeps "
        "the student's steps up to the first that its solution does not bear out; calculation: of "
        "its solution it writes the calculation only, a quarter of the tokens, for answers that "
        "are numbers and take few sums; clear: it reads "
        "step after step instead, for a teacher that checks as well as it solves; whole: it "
        "explains the question itself",
    )
    reviser_min_confidence: float = Field(
        0.3,
        ge=0,
        le=1,
        description="annotation calculation: how likely the reviser has to find the calculation it "
        "wrote, where its endpoint tells; what it finds less likely is not learnt",
    )
    known_answers: Literal["check", "measure"] = Field(
        "check",
        description="elad: what answers in the pool's rows are for: check: a revision that ends in "
        "another one is rejected; measure: the report says how many do",
    )

    @property
    def init(self) -> bool:
        """Whether there is an +Init batch."""
        return self.init_samples > 0


class GatesSection(Settings):
    """Checks without an LLM."""

    min_words: int | None = Field(
        None, ge=1, description="None: half of the shortest seed's, where there are five seeds"
    )
    max_words: int = Field(60, ge=1)
    max_cosine: float = Field(0.95, gt=0, le=1, description="nearer than this is a duplicate")
    max_lexical: float = Field(0.85, gt=0, le=1, description="Jaccard of character 4-grams")
    max_leak_cosine: float = Field(0.985, gt=0, le=1, description="to validation and test texts")
    max_entity_uses: int = Field(
        4, ge=1, description="a text that names only entities in use so often is rejected"
    )
    max_template_uses: int = Field(
        2,
        ge=1,
        description="of texts almost equal but for names and numbers, so many stay (task.kind ner)",
    )

    @model_validator(mode="after")
    def _some_length_is_left(self) -> GatesSection:
        if self.min_words is not None and self.min_words > self.max_words:
            raise ValueError(
                f"min_words {self.min_words} is more than max_words {self.max_words}, so that "
                "every text would be rejected; make one larger or the other smaller"
            )
        return self


class MemorySection(Settings):
    """Where weaknesses and failures live."""

    path: str | None = Field(None, description="a folder shared by runs; None: in the run")
    url: str | None = Field(None, description="http://host:port of a Chroma server")
    embedder: str = DEFAULT_EMBEDDER
    related: int = Field(4, ge=0, description="past failures shown to the analyst")

    @model_validator(mode="after")
    def _one_place(self) -> MemorySection:
        if self.path and self.url:
            raise ValueError("give either path or url, not both")
        return self


class BudgetSection(Settings):
    """The run stops before a round, or a batch of calls, that would start beyond any of these."""

    output_tokens: int | None = Field(None, ge=1)
    total_tokens: int | None = Field(None, ge=1)
    usd: float | None = Field(None, gt=0)
    minutes: float | None = Field(None, gt=0, description="of the rounds; set-up not counted")

    @property
    def limits(self) -> dict[str, float]:
        """The limits that are set, by key."""
        return {name: limit for name, limit in self.model_dump().items() if limit is not None}


class Config(Settings):
    """A whole task file."""

    task: TaskSection
    data: DataSection
    student: StudentSection = Field(default_factory=StudentSection)
    agents: AgentsSection = Field(default_factory=AgentsSection)
    local: LocalSection = Field(default_factory=LocalSection)
    strategy: StrategySection = Field(default_factory=StrategySection)
    gates: GatesSection = Field(default_factory=GatesSection)
    memory: MemorySection = Field(default_factory=MemorySection)
    budget: BudgetSection = Field(default_factory=BudgetSection)
    random_seed: int = Field(0, ge=0, lt=2**31)

    @model_validator(mode="before")
    @classmethod
    def _fill_in_defaults(cls, raw: Any) -> Any:
        """What a kind of task has other defaults for stands in its task file, as it were."""
        task = raw.get("task") if isinstance(raw, dict) else None
        ours = KIND_DEFAULTS.get(str(task.get("kind")), {}) if isinstance(task, dict) else {}
        filled = dict(raw) if ours else raw
        for section, values in ours.items():
            asked = raw.get(section) or {}
            if isinstance(asked, dict):
                filled[section] = {**values, **asked}
        return filled

    @model_validator(mode="after")
    def _strategy_exists(self) -> Config:
        if self.strategy.name not in STRATEGIES:
            near = nearest(self.strategy.name, STRATEGIES)
            raise ValueError(
                f"unknown strategy {self.strategy.name!r}{near}; known: {', '.join(STRATEGIES)}"
            )
        reasons = self.task.kind == "reasoning"
        name = self.strategy.name
        if not (name in QUESTION_STRATEGIES if reasons else name != "elad"):
            raise ValueError(
                f"the strategy {self.strategy.name} is not for task.kind {self.task.kind}; elad is "
                "for reasoning, which has fewshot and fullshot beside it"
            )
        known = QUESTION_SELECTIONS if reasons else SELECTIONS
        if self.strategy.selection not in known:
            near = nearest(self.strategy.selection, known)
            raise ValueError(
                f"unknown strategy.selection {self.strategy.selection!r}{near}; "
                f"known: {', '.join(known)}"
            )
        if self.strategy.name == "elad" and self.strategy.candidates < (
            self.strategy.samples_per_round
        ):
            raise ValueError(
                f"strategy.candidates is {self.strategy.candidates}, but "
                f"{self.strategy.samples_per_round} explanations are revised in a round "
                "(strategy.samples_per_round), so that there would be nothing to choose: give as "
                "many candidates or more"
            )
        if self.strategy.name in ("llkd", "elad") and not self.data.pool:
            raise ValueError(
                f"the strategy {self.strategy.name} chooses from unlabelled texts: give them in "
                "data.pool"
            )
        if self.uses_pool:
            self._is_fit_for_a_pool()
        if self.task.kind == "ner" and not self.strategy.separation:
            raise ValueError(
                "strategy.separation is off, but only the labeler knows the entities of a text"
            )
        if self.task.kind == "ner" and not self.strategy.show_seeds:
            raise ValueError(
                "strategy.show_seeds is off, but without examples of a type nobody finds entities; "
                "it is for task.kind classification"
            )
        has_noise = self.task.kind == "ner" or self.strategy.name == "llkd"
        if self.strategy.noise != "none" and not has_noise:
            raise ValueError(
                f"strategy.noise {self.strategy.noise} is for task.kind ner and for the strategy "
                f"llkd, not for {self.strategy.name} with task.kind {self.task.kind}; make it none"
            )
        if self.task.kind != "ner" and self.strategy.empty_share is not None:
            raise ValueError(
                "strategy.empty_share is for task.kind ner; a text of this task has a label always"
            )
        if self.strategy.name == "fullshot" and not self.data.train:
            raise ValueError("the strategy fullshot learns from gold rows: give them in data.train")
        return self

    @property
    def uses_pool(self) -> bool:
        """Whether a run of this config asks about the texts of a pool."""
        return bool(self.data.pool) and self.strategy.name in POOL_STRATEGIES

    def _is_fit_for_a_pool(self) -> None:
        name, strategy = self.strategy.name, self.strategy
        if name != "llkd" and strategy.mode == "paper":
            raise ValueError(f"strategy.mode paper is for the strategy llkd; {name} has one mode")
        if self.task.kind == "ner":
            raise ValueError("data.pool is for task.kind classification and reasoning, not ner")
        if name == "evokd" and strategy.selection != "llkd":
            raise ValueError(
                f"strategy.selection {strategy.selection} does not look at labels, but evokd takes "
                "as many texts of each from a pool as it wants; leave it out, or make it llkd"
            )
        if not self.strategy.separation:
            raise ValueError(
                "strategy.separation is off, but only the labeler knows the labels of a pool"
            )
        if self.strategy.mode == "paper" and not self.strategy.review:
            raise ValueError(
                "strategy.review is off, but strategy.mode paper trains once, on all that the "
                "teacher has labelled in its batches; leave it on"
            )
        if self.strategy.mode == "paper" and self.strategy.selection == "k-centre":
            raise ValueError(
                "strategy.selection k-centre chooses texts to ask about, not rows of a training "
                "step; take another one, or strategy.mode budgeted"
            )


# Role settings by default: the generator wants variety, all others the likeliest answer.
ROLE_DEFAULTS: dict[str, dict[str, Any]] = {
    "default": {
        "model": DEFAULT_TEACHER,
        "temperature": 0.0,
        "max_tokens": 512,
        "timeout": 300.0,
        "max_concurrency": 4,
        "max_retries": 4,
        "samples": 3,
        "api_key_env": "OPENAI_API_KEY",
    },
    "generator": {"temperature": 1.0},
}


# What a kind of task has other defaults for (docs/methods.md): a student that writes is trained
# with LoRA on few rows, each of them many tokens.
KIND_DEFAULTS: dict[str, dict[str, dict[str, Any]]] = {
    "reasoning": {
        "student": {
            "model": DEFAULT_REASONER,
            "batch_size": 8,
            "passes": 6,
            "min_steps": 20,
            "seed_weight": 1,
        },
        "strategy": {
            "name": "elad",
            "selection": "explanation",
            "rounds": 3,
            "samples_per_round": 40,
        },
    },
}


# For the embedded server only. A presence penalty keeps a small model from writing the same text
# eight times (some hosted models refuse the parameter), XTC from beginning all of them alike, DRY
# from copying examples, its orders or its own last text. The critic's long conversation has to be
# computed once a slot, and its one-word answers gain nothing from many slots.
LOCAL_DEFAULTS: dict[str, dict[str, Any]] = {
    "generator": {"presence_penalty": 0.8, "xtc_probability": 0.5, "dry_multiplier": 0.8},
    "critic": {"max_concurrency": 2},
}


def role_settings(agents: AgentsSection, role: str) -> RoleSection:
    """Return the complete settings of `role`: own, else `default`, else ours."""
    own = getattr(agents, role).model_dump(exclude_none=True) if role in ROLES else {}
    asked = {**agents.default.model_dump(exclude_none=True), **own}
    ours = {**ROLE_DEFAULTS["default"], **ROLE_DEFAULTS.get(role, {})}
    if str(asked.get("model", DEFAULT_TEACHER)).startswith("local:"):
        ours.update(LOCAL_DEFAULTS.get(role, {}))
    return RoleSection(**{**ours, **asked})


def config_fingerprint(parts: dict[str, Any]) -> str:
    """Return a short hash of whatever decides a run's outcome."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def nearest(word: str, choices: Any) -> str:
    """Return ', did you mean …?' for the closest of `choices`, or ''."""
    match = difflib.get_close_matches(str(word), [str(choice) for choice in choices], n=1)
    return f", did you mean {match[0]!r}?" if match else ""


def _is_one_line(words: Any) -> bool:
    return isinstance(words, str) and bool(words.strip()) and "\n" not in words
