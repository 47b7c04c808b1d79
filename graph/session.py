"""What a run needs besides its state: files, memory, models. Opened before the graph, closed after.

A session is handed to the nodes as LangGraph context; it is never checkpointed.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evokd.agents.card import render_card, render_solved
from evokd.agents.critic import read_bad_examples
from evokd.agents.models import LocalEndpoint, chat_model, resolve_endpoint, split_model
from evokd.agents.prompting import Prompt, load_prompt
from evokd.agents.teacher import Call, CallLog, Capabilities, Teacher
from evokd.config import Config, role_settings
from evokd.errors import ConfigError, DataError
from evokd.graph.state import RunInput, RunOutput, RunState
from evokd.graph.strategies import first_round, remembers, strategy_of, used_roles
from evokd.memory.chroma import open_memory
from evokd.memory.embeddings import HashEmbedder, SentenceEmbedder
from evokd.memory.weakness import WeaknessMemory
from evokd.records import Embedder, Example, Sample
from evokd.store.ledger import Ledger, union_of
from evokd.store.pool import Pool
from evokd.store.replies import ReplyCache, default_cache_dir
from evokd.store.run_dir import RunDirectory
from evokd.tasks import (
    TaskData,
    TaskKind,
    content_key,
    kind_of,
    load_task_data,
    normalize,
    word_set,
)
from evokd.tasks.choices import are_needed, choices_key
from evokd.tasks.explanations import AnswerForm
from evokd.tasks.pool import PoolRow, read_pool
from evokd.tasks.reasoning import Question, question_of, read_answer, usual_form
from evokd.tools.gates import TextForm, TextIndex, are_sentences, asks_questions, fewest_words
from evokd.tools.pack_list import PACKS, find_pack
from evokd.tools.packs import fetch_pack, gguf_path, installed
from evokd.tools.reasoner import question_check
from evokd.tools.server import LocalServer
from evokd.tools.student import resolve_student, word_pieces
from evokd.tools.students import AnyStudent, check_student

if TYPE_CHECKING:
    from langgraph.graph import StateGraph
    from langgraph.runtime import Runtime

Event = dict[str, Any]
Emit = Callable[[Event], None]
WRITING = ("card", "analyst", "generator", "labeler", "critic", "attributes")
PROMPTS = {"classification": WRITING, "ner": WRITING, "reasoning": ("card", "reviser", "critic")}
INSTRUCTION_WORDS = 5  # of the prompt in a row are no chance
FOREIGN_SAMPLE, FOREIGN_CHARS = 300, 500  # texts of a pool, characters of each
FOREIGN = 1.6  # times the seeds' word pieces a word
UNKNOWN = 0.2  # of the word pieces, more than of the seeds'
LABEL_TOKENS = 100  # the order of a call about one text, and its reply
CHARS_PER_TOKEN = 3  # low on purpose: a prompt must never outgrow its slot
TOKENS_PER_VERDICT = 3  # a word
CALIBRATE, WORDS = "calibrate", "words"  # purposes, phases and roles of what is asked only once
FEWEST_SHARE = 1 / 3  # of a round: fewer samples are not worth their planning and training


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
        """Return how many characters a message after the card may have in a local model's slot."""
        tokens = self.config.local.slot_context - reply_tokens
        return tokens * CHARS_PER_TOKEN - len(self.card)

    @cached_property
    def form(self) -> TextForm:
        """What every text looks like, as the gold examples show."""
        gold = [row.text for row in self.data.seed]
        return TextForm(
            questions=asks_questions(gold),
            sentences=not self.kind.exclusive and are_sentences(gold),
            instructions=tuple(
                normalize(one) for one in self.prompts["generator"].phrases(INSTRUCTION_WORDS)
            ),
            fewest_words=fewest_words(gold),
        )

    @cached_property
    def guarded(self) -> TextIndex:
        """The validation and test texts, which no new text may come near."""
        rows = (*self.data.validation, *self.data.test)
        return TextIndex(self.embedder, (row.text for row in rows))

    def budget_reached(self, *, to_read: int = 0, share: float = 1.0) -> str:
        """Return which budget is used up, or ''; calls that are still open count, too.

        Args:
            to_read: for so many texts that somebody has to read tokens are kept back.
            share: of the budget that may be used, in (0, 1].
        """
        limits = self.config.budget.limits
        if not limits:
            return ""
        spent, pending = self.spent(), self.ledger.spent_by_open_calls()
        reading = self._price_of_reading() if to_read else {}
        for name, limit in limits.items():
            kept_back = to_read * reading.get(name, 0.0)
            if spent[name] + pending.get(name, 0) + kept_back >= share * limit:
                return f"budget: {name} {limit}"
        return ""

    def pays_for(self, role: str, call: Call, share: float = 1.0) -> bool:
        """Whether the budget pays for a call, or has: what was answered before a kill is there.

        Args:
            share: of the budget that may be used, in (0, 1].
        """
        if not self.budget_reached(share=share):
            return True
        return self.ledger.holds_reply(role, call.round, call.purpose)

    def writing_ends(self) -> bool:
        """Whether what is left of the budget is needed to read a round's texts.

        A text that nobody could read is lost where its label is in doubt, and reading costs a
        small part of what writing does.
        """
        return bool(self.budget_reached(to_read=self.config.strategy.samples_per_round))

    def _price_of_reading(self) -> dict[str, float]:
        """Return what labeler and critic have cost so far for each text, in tokens.

        Before there is a text, a verdict reads as much as a call of the reviser, and is a word.
        """
        texts = len(self.run.read_samples())
        by_role = self.ledger.spent_by_role()
        read = [by_role[role] for role in ("labeler", "critic") if role in by_role]
        if not texts and "reviser" in by_role:
            texts, tokens_in, _ = by_role["reviser"]
            read = [(texts, tokens_in, texts * TOKENS_PER_VERDICT)]
        if not texts:
            return {}
        words = self.ledger.budget_spent(f"{WORDS}:")
        written = sum(tokens_out for _, _, tokens_out in read)
        whole = written + sum(tokens_in for _, tokens_in, _ in read)
        return {
            "output_tokens": (written - words["output_tokens"]) / texts,
            "total_tokens": (whole - words["total_tokens"]) / texts,
        }

    def price_of_a_label(self) -> dict[str, float]:
        """Return what a text has cost so far that the labeler has read, by the budget's keys.

        Empty before it has read any. Minutes are those of calls that reached an endpoint.
        """
        texts = sum(one.labeler_label is not None for one in self.run.read_samples())
        if not texts:
            return {}
        minutes = _minutes(self.ledger.open_intervals("labeler"))
        spent = {**self.ledger.budget_spent(role="labeler"), "minutes": minutes}
        return {name: value / texts for name, value in spent.items()}

    def budget_exhausted(self) -> str:
        """Return the budget as a reason to stop: reached, or too small for a third of a round.

        Too small it is, too, where what is left is needed to read what a round would write: then
        nothing would be written.
        """
        if reached := self.budget_reached():
            return reached
        fewest = math.ceil(self.config.strategy.samples_per_round * FEWEST_SHARE)
        writes = strategy_of(self.config).writes
        if self.affordable(fewest) >= fewest and not (writes and self.writing_ends()):
            return ""
        return f"budget: too little is left for {fewest} more samples"

    def affordable(self, samples: int) -> int:
        """Return how many accepted samples, of those wanted, the budget still pays for.

        A sample's price, in tokens, dollars or minutes, is what the accepted ones have cost so
        far, all roles together, but for what was spent once at the start. Before there are any it
        is not known, and the wanted number stands.
        """
        accepted = len(self.accepted())
        spent = self.spent()
        once = [self.spent_on(purpose) for purpose in (CALIBRATE, WORDS)]
        for name, limit in self.config.budget.limits.items():
            if accepted and spent[name] > 0:
                left = max(0.0, limit - spent[name])
                price = (spent[name] - sum(one[name] for one in once)) / accepted
                samples = min(samples, int(left / price)) if price > 0 else samples
        return samples

    def spent(self) -> dict[str, float]:
        """Return what counts against the budget, by its keys."""
        return {**self.ledger.budget_spent(), "minutes": self.ledger.window_seconds() / 60}

    def spent_on(self, purpose: str) -> dict[str, float]:
        """Return what calls of a purpose, and the phase called so, have cost, by the budget's keys.

        That of a killed try is in it, that of a phase under way only with its calls.
        """
        minutes = _minutes(self.ledger.phase_intervals(purpose))
        return {**self.ledger.budget_spent(f"{purpose}:"), "minutes": minutes}

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
        strategy = self.config.strategy
        done, all_rounds = self._rounds_done, strategy.rounds + 1 - first_round(self.config)
        elapsed = self.ledger.window_seconds()
        spent = self.spent()
        left = None
        if done:
            ends = [self._seconds_done / done * all_rounds]
            limits = self.config.budget.limits
            ends += [elapsed * limits[name] / spent[name] for name in limits if spent[name]]
            left = max(0.0, min(ends) - elapsed)
        tokens = int(spent["output_tokens"])
        return {"tokens": tokens, "rounds": strategy.rounds, "left": left}

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
    from evokd.config import dump_config, load_config
    from evokd.store.files import write_text

    config = load_config(task_file)
    data = load_task_data(config)
    run = RunDirectory(Path("runs").resolve() / time.strftime("studio-%Y%m%d-%H%M%S"))
    run.lock()
    write_text(run.config, dump_config(config))
    with open_session(config, data, run, emit=lambda event: None) as session:
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
            folders = {name: _ensure_pack(name, emit) for name in packs}
        ledger = Ledger(run.calls)
        stack.callback(ledger.close)
        ledger.mark_lost()
        own, shared = _caches(run, cache_dir)
        stack.callback(own.close)
        stack.callback(shared.close)
        log = CallLog(ledger, (own, shared), run.run_id, config.strategy.name, config.random_seed)
        embedder = _open_embedder(config, folders)
        memory = None
        if remembers(config):
            memory = open_memory(config.memory, run.run_id, run.memory, embedder)
            stack.callback(memory.close)
        student_source = resolve_student(config.student.model, folders)
        check_student(config.task.kind, student_source, config.student.max_length)
        can_read = _question_check(config, student_source)
        _check_lengths(data, can_read)
        prompts = load_prompts(config)
        card = task_card(config, prompts["card"], data.seed)
        pool, warnings = None, list(data.warnings)
        if config.uses_pool:
            pool = Pool(run.pool)
            stack.callback(pool.close)
            with _timed(setup, "pool"):
                _fill(pool, config, data, can_read, emit, longest=longest_text(config, card))
                # A causal model's pieces tell its own languages, not the task's.
                exact = config.task.kind != "reasoning"
                foreign = _foreign(pool, data, student_source) if exact else []
            for warning in foreign:
                emit({"kind": "warning", "text": warning})
            warnings += foreign
        with _timed(setup, "local server"):
            local = {
                name: _start_server(name, card, config, run, stack, emit)
                for name in local_packs(config)
            }
        with _timed(setup, "probe"):
            teachers = _open_teachers(config, log, local, emit)
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
            warnings=warnings,
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


def answers_of(config: Config, data: TaskData) -> AnswerForm:
    """Return what an answer is to a question without choices."""
    return config.task.answers or usual_form(data.seed)


def _question_check(config: Config, student: str) -> Callable[[Question], bool]:
    """Return what tells whether the student can read a question; of other tasks it cuts texts."""
    if config.task.kind != "reasoning":
        return lambda question: True
    return question_check(student, config.task.instructions, config.student.max_new_tokens)


def _check_lengths(data: TaskData, can_read: Callable[[Question], bool]) -> None:
    for split, rows in data.gold.items():
        for row in rows:
            if not can_read(question_of(row)):
                raise DataError(
                    f"{split}: the question {row.text[:60]!r} and an explanation of it are longer "
                    "than the student reads; shorten or remove it, or make student.max_new_tokens "
                    "smaller"
                )


def _fill(
    pool: Pool,
    config: Config,
    data: TaskData,
    can_read: Callable[[Question], bool],
    emit: Emit,
    *,
    longest: float = math.inf,
) -> None:
    """Take in the texts of `data.pool` that may be asked about; the others are counted.

    A gold text is known by `content_key` and its choices: a copy in brackets or with a smiley is
    one, too. A question that says with the same words and numbers what a test question says, in
    another order, gives it away as well.

    Args:
        longest: what the labeler can read, in bytes.
    """
    sums = config.task.kind == "reasoning"

    def key(text: str, choices: Sequence[str]) -> tuple[str, Any]:
        return content_key(text, sums=sums), choices_key(choices)

    known = {key(row.text, row.choices): split for split, rows in data.gold.items() for row in rows}
    nearly = {(word_set(row.text), choices_key(row.choices)) for row in data.test if sums}
    needs_choices = are_needed(config.task.answers, data.seed)
    form = answers_of(config, data)

    def drop(row: PoolRow) -> str:
        if len(row.text) > config.data.pool_max_chars:
            return "too_long"
        if size_of(row.text) > longest:
            return "too_long_for_labeler"
        choices = row.columns.get("choices", [])
        if needs_choices and not choices:
            return "choices_missing"
        if "answer" in row.columns and not read_answer(row.columns["answer"], form, choices):
            return "answer_outside_choices" if choices else "answer_unreadable"
        if not can_read(Question(row.text, tuple(choices))):
            return "too_long"
        if split := known.get(key(row.text, choices)):
            return split
        is_nearly = bool(nearly) and (word_set(row.text), choices_key(choices)) in nearly
        return "nearly_test" if is_nearly else ""

    counts = pool.fill(read_pool(data.pool, kind_of(config).pool_columns), drop)
    emit({"kind": "note", "text": f"pool: {counts.in_words}"})
    if not counts.kept:
        raise DataError(f"data.pool: {counts.in_words}; there is nothing to ask about")


def size_of(text: str) -> int:
    """Return a text's length as room is counted, in bytes.

    A token is three letters of English, and one character of many other scripts.
    """
    return len(text.encode())


def longest_text(config: Config, card: str) -> float:
    """Return how many bytes a text may have that a local labeler is asked about alone."""
    if not is_local(config, "labeler") or "labeler" not in used_roles(config):
        return math.inf
    room = (config.local.slot_context - LABEL_TOKENS) * CHARS_PER_TOKEN - size_of(card)
    return room if room > 0 else math.inf  # then the card is too long, whatever the text


def _foreign(pool: Pool, data: TaskData, student: str) -> list[str]:
    """Return a warning where the student's tokenizer knows the pool's words less than the seeds'.

    It cuts them finer, or, in a script that it does not know, makes one unknown piece of each.
    """
    numbers = pool.draw(FOREIGN_SAMPLE, (), random.Random(0))  # noqa: S311
    ours, unknown_here = word_pieces(student, [row.text for row in data.seed])
    texts = [text[:FOREIGN_CHARS] for text in pool.texts(numbers)]
    theirs, unknown = word_pieces(student, texts)
    if theirs >= FOREIGN * ours:
        told = f"a word has {theirs:.1f} word pieces, one of the seeds {ours:.1f}"
    elif unknown >= UNKNOWN + unknown_here:
        told = f"the student does not know {unknown:.0%} of its word pieces"
    else:
        return []
    return [
        f"data.pool: {told}: its texts may be in another language, or of another kind, than the "
        "task's"
    ]


def shown_seed(config: Config, seed: Sequence[Example]) -> Sequence[Example]:
    """Return the gold rows that the roles may be shown."""
    return seed if config.strategy.show_seeds else ()


def task_card(config: Config, prompt: Prompt, seed: Sequence[Example]) -> str:
    """Return the first message of every role."""
    shown = shown_seed(config, seed)
    if config.task.kind == "reasoning":
        return render_solved(prompt, config.task.instructions, shown)
    return render_card(prompt, config.task.instructions, config.task.labels, shown)


def load_prompts(config: Config) -> dict[str, Prompt]:
    """Return the prompt of every role and the task card.

    Raises:
        ConfigError: a prompt of the user's cannot be used.
    """
    folder = config.agents.prompts
    kind = config.task.kind
    prompts = {name: load_prompt(name, kind, folder) for name in PROMPTS[kind]}
    if kind != "reasoning":
        read_bad_examples(prompts["critic"])
    return prompts


def is_local(config: Config, role: str) -> bool:
    """Whether a role's model is served by us."""
    return (role_settings(config.agents, role).model or "").startswith("local:")


def local_packs(config: Config) -> list[str]:
    """Return the packs that local servers serve.

    Raises:
        ConfigError: a model without provider, or a pack that does not exist.
    """
    names = []
    for role in used_roles(config):
        provider, name = split_model(role_settings(config.agents, role).model or "")
        if provider == "local" and name not in names:
            if find_pack(name).kind != "llm":
                raise ConfigError(f"agents.{role}: the pack {name!r} is no language model")
            names.append(name)
    return names


def needed_packs(config: Config) -> list[str]:
    """Return all packs a run needs: for student, embedder and local roles."""
    names = local_packs(config)
    for model in (config.student.model, config.memory.embedder):
        provider, _, name = model.partition(":")
        if provider == "local":
            find_pack(name)
            if name not in names:
                names.append(name)
    return names


def check_models(config: Config) -> None:
    """Check that prompts and every role's model are known and its key is there, without a call.

    Raises:
        RefusedError: naming role, model and what is missing.
    """
    load_prompts(config)
    packs = needed_packs(config)
    resolve_student(config.student.model, {name: Path() for name in packs})
    stand_in = {name: LocalEndpoint("http://127.0.0.1:1/v1", name) for name in PACKS}
    for role in used_roles(config):
        settings = role_settings(config.agents, role)
        chat_model(role, settings, resolve_endpoint(settings, stand_in))


def _ensure_pack(name: str, emit: Emit) -> Path:
    folder = installed(name)
    if folder is None:
        emit({"kind": "note", "text": f"fetching the model pack {name}"})
        folder = fetch_pack(
            name,
            progress=lambda pack, done, total: emit(
                {"kind": "download", "pack": pack, "done": done, "total": total}
            ),
        )
    return folder


def _caches(run: RunDirectory, cache_dir: Path | None) -> tuple[ReplyCache, ReplyCache]:
    shared = (cache_dir or default_cache_dir()) / "replies.sqlite"
    return ReplyCache(run.calls), ReplyCache(shared)


def _open_embedder(config: Config, folders: Mapping[str, Path]) -> Embedder:
    provider, _, name = config.memory.embedder.partition(":")
    if provider == "hash" and (not name or name.isdigit()):
        return HashEmbedder(int(name or 64))
    if provider == "path":
        return SentenceEmbedder(Path(name), f"path:{Path(name).name}")
    if provider == "local" and name in folders:
        return SentenceEmbedder(folders[name], config.memory.embedder)
    raise ConfigError(
        f"memory.embedder: {config.memory.embedder!r} is unknown; give local:PACK or path:DIR"
    )


def _start_server(
    name: str, card: str, config: Config, run: RunDirectory, stack: ExitStack, emit: Emit
) -> LocalEndpoint:
    emit({"kind": "note", "text": f"starting the local model {name}"})
    server = LocalServer(
        gguf_path(name),
        slots=config.local.slots,
        slot_context=config.local.slot_context,
        threads=config.local.threads,
        log_file=run.path / f"server-{name}.log",
    )
    stack.enter_context(server)
    server.share_prompt(card)
    return LocalEndpoint(server.base_url, f"sha256:{find_pack(name).weights_sha256}")


def _open_teachers(
    config: Config, log: CallLog, local: Mapping[str, LocalEndpoint], emit: Emit
) -> dict[str, Teacher]:
    teachers: dict[str, Teacher] = {}
    seen: dict[str, Capabilities] = {}
    for role in used_roles(config):
        settings = role_settings(config.agents, role)
        endpoint = resolve_endpoint(settings, local)
        teacher = Teacher(role, settings, endpoint, log)
        if endpoint.identity not in seen:
            emit({"kind": "note", "text": f"asking {endpoint.model} what it can do"})
            seen[endpoint.identity] = teacher.probe()
        teacher.capabilities = seen[endpoint.identity]
        teachers[role] = teacher
    return teachers


def _minutes(spans: list[tuple[float, float]]) -> float:
    return sum(end - start for start, end in union_of(spans)) / 60


@contextmanager
def _timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    seconds[name] = round(time.perf_counter() - start, 3)
