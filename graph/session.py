"""What a run needs besides its state: files, memory, models. Opened before the graph, closed after.

A session is handed to the nodes as LangGraph context; it is never checkpointed.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evokd.agents.prompting import Prompt
from evokd.agents.teacher import CallLog, Teacher
from evokd.config import Config
from evokd.errors import ConfigError
from evokd.graph.budget import Budget
from evokd.graph.filling import (
    CHARS_PER_TOKEN,
    answers_of,
    capitals_told,
    check_lengths,
    check_of_questions,
    cut_gold,
    cut_pool,
    fill,
    foreign_texts,
    long_explanations,
    longest_text,
    size_of,
    some_texts,
    warn_of_case,
    warn_of_slots,
)
from evokd.graph.prompts import load_prompts, task_card, warn_of_types
from evokd.graph.serving import (
    ensure_pack,
    local_packs,
    needed_packs,
    open_embedder,
    open_teachers,
    start_server,
)
from evokd.graph.state import RunInput, RunOutput, RunState
from evokd.graph.strategies import LABELLED_TOGETHER, first_round, remembers, selects_in_steps
from evokd.memory.chroma import open_memory
from evokd.memory.weakness import WeaknessMemory
from evokd.records import Embedder, Emit, Event, Sample
from evokd.store.ledger import Ledger
from evokd.store.pool import Pool
from evokd.store.replies import ReplyCache, default_cache_dir
from evokd.store.run_dir import RunDirectory
from evokd.tasks import TaskData, TaskKind, kind_of, load_task_data, normalize
from evokd.tasks.explanations import AnswerForm
from evokd.tasks.texts import spaceless
from evokd.tools.gates import (
    TextForm,
    TextIndex,
    are_sentences,
    are_single_sentences,
    asks_questions,
    end_with_their_question,
    fewest_words,
)
from evokd.tools.student import resolve_student
from evokd.tools.students import AnyStudent, check_student

if TYPE_CHECKING:
    from langgraph.graph import StateGraph
    from langgraph.runtime import Runtime

    from evokd.tasks.grounding import Capitals

INSTRUCTION_WORDS = 5  # of the prompt in a row are no chance


@dataclass
class Session:
    """Everything a node may use."""

    config: Config
    data: TaskData
    run: RunDirectory
    ledger: Ledger
    log: CallLog
    teachers: Mapping[str, Teacher]
    prompts: Mapping[str, Prompt]
    card: str
    embedder: Embedder
    memory: WeaknessMemory | None
    student_source: str
    emit: Emit
    pool: Pool | None = None
    opened: tuple[int, AnyStudent] | None = None
    """The round whose student was asked last, and that student."""
    warnings: list[str] = field(default_factory=list)
    seconds_setup: dict[str, float] = field(default_factory=dict)
    _rounds_done: int = 0
    _seconds_done: float = 0.0

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels of the task."""
        return self.data.labels

    @property
    def kind(self) -> TaskKind:
        """The kind of the task."""
        return kind_of(self.config)

    @property
    def targets(self) -> dict[str, str]:
        """What texts are asked for, with its meaning."""
        return self.kind.targets(self.config.task.labels)

    @property
    def answers(self) -> AnswerForm:
        """What an answer is, where the task is to reason and a question has no choices."""
        return answers_of(self.config, self.data)

    def room(self, reply_tokens: int) -> int:
        """Return how many bytes a message after the card may have in a local model's slot."""
        tokens = self.config.local.slot_context - reply_tokens
        return tokens * CHARS_PER_TOKEN - size_of(self.card)

    @cached_property
    def form(self) -> TextForm:
        """What every text looks like, as the gold examples show."""
        gold = [row.text for row in self.data.seed]
        return TextForm(
            questions=asks_questions((row.text, row.label) for row in self.data.seed),
            one_question=end_with_their_question(gold),
            sentences=not self.kind.exclusive and are_sentences(gold),
            one_sentence=not self.kind.exclusive and are_single_sentences(gold),
            instructions=tuple(
                normalize(one) for one in self.prompts["generator"].phrases(INSTRUCTION_WORDS)
            ),
            fewest_words=fewest_words(gold),
            entities=not self.kind.exclusive,
        )

    @cached_property
    def capitals(self) -> Capitals:
        """What capital letters tell of the task's entities."""
        return capitals_told(self.config, self.data)

    @cached_property
    def guarded(self) -> TextIndex:
        """The validation and test texts, which no new text may come near."""
        rows = (*self.data.validation, *self.data.test)
        return self.index(row.text for row in rows)

    def index(self, texts: Iterable[str]) -> TextIndex:
        """Return texts to compare new ones with.

        Rows of entities may be tokens, joined by more spaces than a text that is written has.
        """
        return TextIndex(self.embedder, texts, normalize if self.kind.exclusive else spaceless)

    @cached_property
    def budget(self) -> Budget:
        """What the run has used of its budget."""
        return Budget(self.config, self.run, self.ledger)

    def accepted(self, before: int | None = None) -> list[Sample]:
        """Return the accepted samples of all rounds, or of those before one."""
        return [
            sample
            for sample in self.run.read_samples()
            if sample.accepted and (before is None or sample.round < before)
        ]

    def _usage(self) -> Event:
        """Return tokens so far, the last round's number and the seconds left.

        By the mean round, or by the budget where that ends sooner.
        """
        done, rounds = self._rounds_done, self._most_rounds()
        all_rounds = rounds + 1 - first_round(self.config)
        elapsed = self.ledger.window_seconds()
        spent = self.budget.spent()
        left = None
        if done:
            ends = [self._seconds_done / done * all_rounds]
            limits = self.config.budget.limits
            ends += [elapsed * limits[name] / spent[name] for name in limits if spent[name]]
            left = max(0.0, min(ends) - elapsed)
        tokens = int(spent["output_tokens"])
        return {"tokens": tokens, "rounds": rounds, "left": left}

    def _most_rounds(self) -> int:
        """Return how many rounds there may be: where all of a pool is labelled, as it takes."""
        counts = self.pool.counts if self.pool and selects_in_steps(self.config) else None
        if counts is None:
            return self.config.strategy.rounds
        return math.ceil(counts.kept / LABELLED_TOGETHER)

    def round_ended(self) -> None:
        """Take the time of the rounds so far, for the estimate of what is left."""
        first = first_round(self.config)
        self._rounds_done = sum(one.round >= first for one in self.run.read_rounds())
        self._seconds_done = self.ledger.window_seconds()

    @contextmanager
    def phase(self, name: str, round: int) -> Iterator[None]:
        """Write how long a node ran, and keep the open window of the run alive."""
        self.emit({"kind": "phase", "phase": name, "round": round})
        self.emit({"kind": "usage", **self._usage()})
        start = time.time()
        try:
            yield
        finally:
            self.ledger.add_phase(name, round, start, time.time())


@dataclass
class RunContext:
    """LangGraph context. Kept loose, so that Studio can draw the graph without a session."""

    session: Any = None


def new_builder() -> StateGraph[RunState, RunContext, RunInput, RunOutput]:
    """Return a graph without nodes, over the state and context of a run."""
    from langgraph.graph import StateGraph

    return StateGraph(
        RunState, context_schema=RunContext, input_schema=RunInput, output_schema=RunOutput
    )


_STUDIO: dict[str, Session] = {}
_STUDIO_STACK = ExitStack()


def session_of(state: Mapping[str, Any], runtime: Runtime[RunContext]) -> Session:
    """Return the session of a run: the runner's, or in Studio one opened from `task_file`.

    Raises:
        ConfigError: neither is there.
    """
    if runtime.context is not None and runtime.context.session is not None:
        session: Session = runtime.context.session
        return session
    task_file = state.get("task_file")
    if not task_file:
        raise ConfigError(
            "the graph was started without a run; use `evokd run TASK`, or give {'task_file': …}"
        )
    if task_file not in _STUDIO:
        _STUDIO[task_file] = _STUDIO_STACK.enter_context(_studio_session(task_file))
    return _STUDIO[task_file]


@contextmanager
def _studio_session(task_file: str) -> Iterator[Session]:
    from evokd.store.files import write_text
    from evokd.task_file import dump_config, load_config

    config = load_config(task_file)
    data = load_task_data(config)
    run = RunDirectory(Path("runs").resolve() / time.strftime("studio-%Y%m%d-%H%M%S"))
    run.lock()
    write_text(run.config, dump_config(config))
    with open_session(config, data, run, emit=_say_nothing) as session:
        yield session


def _say_nothing(event: Event) -> None:
    pass


@contextmanager
def open_session(
    config: Config,
    data: TaskData,
    run: RunDirectory,
    *,
    emit: Emit,
    cache_dir: Path | None = None,
) -> Iterator[Session]:
    """Open files and memory, fetch packs, start local servers, probe the endpoints.

    The order is cheap checks first; whatever was opened is closed again, also on an error.

    Raises:
        RefusedError: a pack, endpoint, key or model that cannot be used, or a memory in use.
    """
    setup: dict[str, float] = {}
    with ExitStack() as stack:
        packs = needed_packs(config)
        with _timed(setup, "downloads"):
            folders = {name: ensure_pack(name, emit) for name in packs}
        ledger = Ledger(run.calls)
        stack.callback(ledger.close)
        ledger.mark_lost()
        own, shared = _caches(run, cache_dir)
        stack.callback(own.close)
        stack.callback(shared.close)
        log = CallLog(ledger, (own, shared), run.run_id, config.strategy.name, config.random_seed)
        embedder = open_embedder(config, folders)
        memory = None
        if remembers(config):
            memory = open_memory(config.memory, run.run_id, run.memory, embedder)
            stack.callback(memory.close)
        student_source = resolve_student(config.student.model, folders)
        check_student(config.task.kind, student_source, config.student.max_length)
        can_read = check_of_questions(config, student_source)
        check_lengths(data, can_read)
        prompts = load_prompts(config)
        card = task_card(config, prompts["card"], data.seed)
        pool, warnings = None, warn_of_types(config, data.seed)
        warnings += warn_of_case(config, student_source)
        warnings += warn_of_slots(config, card, prompts, data.seed)
        warnings += cut_gold(config, data, student_source)
        warnings += long_explanations(config, data, student_source)
        if config.uses_pool:
            pool = Pool(run.pool)
            stack.callback(pool.close)
            with _timed(setup, "pool"):
                fill(pool, config, data, can_read, emit, longest=longest_text(config, card))
                # A causal model's pieces tell its own languages, not the task's; nor does it cut.
                if config.task.kind != "reasoning":
                    drawn = some_texts(pool)
                    warnings += foreign_texts(drawn, data, student_source)
                    warnings += cut_pool(config, drawn, student_source)
        for warning in warnings:
            emit({"kind": "warning", "text": warning})
        if names := capitals_told(config, data).names:
            told = f"nothing in small letters is taken for {', '.join(sorted(names))}"
            also = "nor, unless surely, a number, as no gold entity is (task.capitals)"
            emit({"kind": "note", "text": f"{told}, {also}"})
        with _timed(setup, "local server"):
            local = {
                name: start_server(name, card, config, run, stack, emit)
                for name in local_packs(config)
            }
        with _timed(setup, "probe"):
            teachers = open_teachers(config, log, local, emit)
        yield Session(
            config=config,
            data=data,
            run=run,
            ledger=ledger,
            log=log,
            teachers=teachers,
            prompts=prompts,
            card=card,
            embedder=embedder,
            memory=memory,
            student_source=student_source,
            emit=emit,
            pool=pool,
            warnings=[*data.warnings, *warnings],
            seconds_setup=setup,
        )


@contextmanager
def asking_session(
    config: Config, run: RunDirectory, *, emit: Emit = _say_nothing, cache_dir: Path | None = None
) -> Iterator[Session]:
    """Open a session only to ask its roles: nothing is run in the directory.

    Raises:
        RefusedError: as `open_session`, or data that cannot be used.
    """
    run.lock()
    try:
        data = load_task_data(config)
        with open_session(config, data, run, emit=emit, cache_dir=cache_dir) as session:
            yield session
    finally:
        run.unlock()


def _caches(run: RunDirectory, cache_dir: Path | None) -> tuple[ReplyCache, ReplyCache]:
    shared = (cache_dir or default_cache_dir()) / "replies.sqlite"
    return ReplyCache(run.calls), ReplyCache(shared)


@contextmanager
def _timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    seconds[name] = round(time.perf_counter() - start, 3)
