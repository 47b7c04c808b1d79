"""Peers on the same rows: SetFit few-shot (the library), and the teacher asked directly."""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from evokd.agents.card import render_card
from evokd.agents.labeler import agreed, label_text, name_entities
from evokd.agents.parsing import unwrap, validated
from evokd.agents.reviser import WHOLE, read_reply
from evokd.agents.teacher import Call
from evokd.bench.archive import calls_file
from evokd.bench.cell import Places, cell_config, marks, run_directory, scored, stamped
from evokd.bench.records import Cell, CellResult, RoleCost
from evokd.bench.sets import load_set, read_packed
from evokd.bench.suites import ELAD, POOL, TEACHER_ONE
from evokd.errors import ConfigError, DataError, ReplyError
from evokd.graph.revising import reviser_of
from evokd.graph.session import Session, asking_session
from evokd.records import Emit, Example, Prediction
from evokd.store.ledger import OK
from evokd.store.run_dir import RunDirectory
from evokd.tasks import TaskKind
from evokd.tasks.explanations import AnswerForm, canonical_answer, form_with
from evokd.tasks.grounding import Capitals, Mention
from evokd.tasks.ner import capitals_of, entities_reply, found_in
from evokd.tasks.reasoning import Reasoning, asked_question
from evokd.tools.pack_list import PACKS
from evokd.tools.packs import fetch_pack

LABELER, REVISER = "labeler", "reviser"
SETFIT_BODY = "all-MiniLM-L6-v2"
T = TypeVar("T")


def run_setfit(cell: Cell, places: Places, command: str) -> CellResult:
    """Train SetFit (Tunstall et al., 2022) on the seeds, with the library's defaults.

    Its body is the student's.

    Raises:
        ConfigError: the library is not installed.
    """
    try:
        import setfit
        from datasets import Dataset
    except ImportError as error:
        raise ConfigError(
            f"the peer setfit needs its library ({error}): "
            "pip install -c constraints.txt 'evokd[bench]', or make bench"
        ) from None
    bench = load_set(cell.set, places.data)
    gold = list(bench.seed(cell.shots, cell.seed).values())
    rows = list(bench.rows(cell.split).values())
    model = setfit.SetFitModel.from_pretrained(
        str(fetch_pack(SETFIT_BODY)), labels=bench.labels, local_files_only=True
    )
    data = Dataset.from_dict(
        {"text": [row.text for row in gold], "label": [row.label for row in gold]}
    )
    start = time.perf_counter()
    arguments = setfit.TrainingArguments(seed=cell.seed, save_strategy="no", report_to="none")
    setfit.Trainer(model=model, args=arguments, train_dataset=data).train()
    seconds = time.perf_counter() - start
    labels = map(str, model.predict([row.text for row in rows], show_progress_bar=False))
    said = [Prediction(label=label, confidence=1.0) for label in labels]
    return stamped(
        CellResult(
            cell=cell,
            **scored(bench.task_kind, marks(bench.task_kind, rows, said)),
            seconds={"teacher": 0.0, "training": round(seconds, 3), "other": 0.0},
            packs={SETFIT_BODY: PACKS[SETFIT_BODY].weights_sha256},
            versions={"setfit": setfit.__version__},
        ),
        command,
    )


def run_teacher(cell: Cell, places: Places, command: str, emit: Emit) -> CellResult:
    """Ask the teacher's labeler for a fixed subsample of the rows, with or without the seeds.

    Questions its reviser explains and answers, as where it annotates.

    Raises:
        EvokdError: the endpoint failed; what it answered stays in the cache.
    """
    bench = load_set(cell.set, places.data)
    strategy, role = ("evokd", LABELER)
    if isinstance(bench.task_kind, Reasoning):
        strategy, role = ELAD, REVISER
    asked = Cell(**cell.model_dump() | {"strategy": strategy})
    config = cell_config(asked, bench, places)
    run = run_directory(cell, places)
    with asking_session(config, run, emit=emit, cache_dir=places.cache) as session:
        rows = bench.teacher_rows(cell.split)
        start = time.perf_counter()
        found = _ask_all(session, rows, one_shot=cell.strategy == TEACHER_ONE)
        seconds = time.perf_counter() - start
        cost = session.ledger.spent_by_role().get(role, (0, 0, 0))
    calls, tokens_in, tokens_out = cost
    return stamped(
        CellResult(
            cell=cell,
            **scored(bench.task_kind, found),
            roles={role: RoleCost(calls=calls, input_tokens=tokens_in, output_tokens=tokens_out)},
            seconds={"teacher": round(seconds, 3), "training": 0.0, "other": 0.0},
            packs=_teacher_pack(cell.teacher),
        ),
        command,
    )


def recompute_teacher(result: CellResult, places: Places) -> CellResult:
    """Return a teacher's cell with its score, read anew from the kept answers.

    Raises:
        DataError: the answers cannot be read, or the set is not that of the cell.
    """
    cell = result.cell
    bench = load_set(cell.set, places.data)
    rows = bench.teacher_rows(cell.split)
    answers: dict[str, list[str]] = {}
    for call in read_packed(calls_file(places.results, cell)):
        if call["outcome"] == OK and call["reply"]:
            answers.setdefault(call["purpose"], []).append(call["reply"])
    kind = bench.task_kind
    one_shot = cell.strategy == TEACHER_ONE
    gold = list(bench.seed(cell.shots, cell.seed).values()) if one_shot else []
    if isinstance(kind, Reasoning):
        form = bench.task["answers"]
        said = [
            _read_explanation(row, answers.get(f"{_purpose(place)}:{WHOLE}", []), form)
            for place, row in enumerate(rows)
        ]
    else:
        capitals = capitals_of(gold)
        samples = max(map(len, answers.values()), default=1)  # of some rows all could be used
        said = [
            _read_answers(
                kind, row, answers.get(_purpose(place), []), bench.labels, capitals, samples
            )
            for place, row in enumerate(rows)
        ]
    return result.model_copy(update=scored(kind, marks(kind, rows, said)))


def _read_answers(
    kind: TaskKind,
    row: Example,
    replies: Sequence[str],
    labels: Sequence[str],
    capitals: Capitals,
    samples: int,
) -> Prediction:
    """Return what the kept replies to one row say; several are voted on, of `samples` asked for."""
    if kind.exclusive:
        votes = Counter(unwrap(one, "none") for one in replies) or Counter([""])
        return Prediction(label=votes.most_common(1)[0][0], confidence=1.0)
    form = entities_reply(labels, row.text)
    try:
        read = [validated(form, one) for one in replies]
    except ValueError as error:
        raise DataError(f"a kept answer cannot be read: {error}") from None
    return _found(row.text, agreed(read, samples), capitals)


def _read_explanation(row: Example, replies: Sequence[str], form: AnswerForm) -> Prediction:
    """Return the answer of the kept explanation of a question; '' where none could be used."""
    form = form_with(row.choices, form)
    try:
        said = [read_reply(one, form, row.choices).answer for one in replies]
    except ValueError as error:
        raise DataError(f"a kept answer cannot be read: {error}") from None
    answer = canonical_answer(said[-1], form, row.choices) if said else ""
    return Prediction(label=answer, confidence=1.0)


def _found(text: str, named: Sequence[Mention], capitals: Capitals) -> Prediction:
    """Return what was named, without regard to confidences: the kept answers hold none."""
    return found_in(text, [replace(one, confidence=1.0) for one in named], capitals)


def _ask_all(session: Session, rows: list[Example], *, one_shot: bool) -> str:
    """Return the teacher's marks."""
    if isinstance(session.kind, Reasoning):
        return marks(session.kind, rows, _ask_for_explanations(session, rows))
    card, gold = session.card, session.data.seed
    if not one_shot:
        task, gold = session.config.task, ()
        card = render_card(session.prompts["card"], task.instructions, task.labels, ())
    if session.kind.exclusive:
        labels = ask_labeler(session, [row.text for row in rows], card)
        said = [Prediction(label=label, confidence=1.0) for label in labels]
    else:
        said = _ask_for_entities(session, [row.text for row in rows], card, gold)
    return marks(session.kind, rows, said)


@contextmanager
def zero_shot(name: str, data: Path, cache: Path | None) -> Iterator[Session]:
    """Open a session whose labeler is asked about a set's texts as the suite `pool` asks it.

    Args:
        cache: the reply cache; None: the user's.
    """
    with tempfile.TemporaryDirectory(prefix="evokd-") as folder:
        places = Places(data=data, work=Path(folder), results=Path(folder), cache=cache)
        cell = Cell(set=name, shots=1, strategy=POOL, seed=0, budget=0)
        config = cell_config(cell, load_set(name, data), places)
        with asking_session(config, RunDirectory(Path(folder) / "run"), cache_dir=cache) as session:
            yield session


def ask_labeler(session: Session, texts: Sequence[str], card: str) -> list[str]:
    """Return the labeler's answers, as many calls open as it may have; '' for an unusable reply.

    Raises:
        TeacherError: the endpoint failed.
    """
    asked = session.teachers["labeler"], session.prompts["labeler"], card, session.labels

    def ask(place: int) -> str:
        try:
            return label_text(*asked, texts[place], Call(0, _purpose(place))).option
        except ReplyError:
            return ""

    return ask_each(session, ask, len(texts))


def _ask_for_entities(
    session: Session, texts: Sequence[str], card: str, gold: Sequence[Example]
) -> list[Prediction]:
    """Return what the labeler finds in the texts; nothing for an unusable reply."""
    asked = session.teachers["labeler"], session.prompts["labeler"], card, gold, session.labels
    capitals = capitals_of(gold)

    def ask(place: int) -> Prediction:
        call = Call(0, _purpose(place))
        try:
            named = name_entities(*asked, texts[place], call, capitals).mentions
        except ReplyError:
            named = []
        return _found(texts[place], named, capitals)

    return ask_each(session, ask, len(texts))


def _ask_for_explanations(session: Session, rows: Sequence[Example]) -> list[Prediction]:
    """Return the reviser's own answers, after the gold explanations; '' for an unusable reply."""
    reviser = reviser_of(session)

    def ask(place: int) -> Prediction:
        row, call = rows[place], Call(0, _purpose(place))
        form = form_with(row.choices, session.answers)
        try:
            own = reviser.explain(asked_question(row.text, row.choices), call, form, row.choices)
        except ReplyError:
            return Prediction(label="", confidence=1.0)
        answer = canonical_answer(own.answer, form, row.choices)
        return Prediction(label=answer, confidence=1.0)

    return ask_each(session, ask, len(rows), REVISER)


def ask_each(
    session: Session, ask: Callable[[int], T], number: int, role: str = LABELER
) -> list[T]:
    """Return what `ask` says of 0, 1, …, as many calls open as the role may have."""
    with ThreadPoolExecutor(session.teachers[role].settings.max_concurrency or 1) as pool:
        return list(pool.map(ask, range(number)))


def _purpose(place: int) -> str:
    return f"test:{place}"


def _teacher_pack(teacher: str) -> dict[str, str]:
    name = teacher.partition(":")[2]
    return {name: PACKS[name].weights_sha256} if name in PACKS else {}
