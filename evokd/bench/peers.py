"""Peers on the same rows: SetFit few-shot (the library), and the teacher asked directly."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from evokd.agents.card import render_card
from evokd.agents.labeler import label_text
from evokd.agents.parsing import unwrap
from evokd.agents.teacher import Call
from evokd.bench.archive import calls_file
from evokd.bench.cell import Places, cell_config, run_directory, share, stamped
from evokd.bench.records import Cell, CellResult, RoleCost
from evokd.bench.sets import load_set, read_packed
from evokd.bench.suites import TEACHER_ONE
from evokd.errors import ConfigError, ReplyError
from evokd.graph.session import Emit, Session, open_session
from evokd.records import Example
from evokd.store.ledger import OK
from evokd.tasks import load_task_data
from evokd.tools.packs import PACKS, fetch_pack

TEACHER_ROWS = 300
SETFIT_BODY = "all-MiniLM-L6-v2"


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
    said = model.predict([row.text for row in rows], show_progress_bar=False)
    correct = "".join(str(int(str(a) == row.label)) for a, row in zip(said, rows, strict=True))
    return stamped(
        CellResult(
            cell=cell,
            score=share(correct),
            correct=correct,
            seconds={"teacher": 0.0, "training": round(seconds, 3), "other": 0.0},
            packs={SETFIT_BODY: PACKS[SETFIT_BODY].weights_sha256},
            versions={"setfit": setfit.__version__},
        ),
        command,
    )


def run_teacher(cell: Cell, places: Places, command: str, emit: Emit) -> CellResult:
    """Ask the teacher's labeler for a fixed subsample of the rows, with or without the seeds.

    Raises:
        EvokdError: the endpoint failed; what it answered stays in the cache.
    """
    bench = load_set(cell.set, places.data)
    asked = Cell(**cell.model_dump() | {"strategy": "evokd"})
    config = cell_config(asked, bench, places)
    run = run_directory(cell, places)
    run.lock()
    try:
        data = load_task_data(config)
        with open_session(config, data, run, emit=emit, cache_dir=places.cache) as session:
            rows = subsample(list(bench.rows(cell.split).values()), cell.set)
            start = time.perf_counter()
            correct = _ask_all(session, rows, one_shot=cell.strategy == TEACHER_ONE)
            seconds = time.perf_counter() - start
            cost = session.ledger.spent_by_role().get("labeler", (0, 0, 0))
    finally:
        run.unlock()
    calls, tokens_in, tokens_out = cost
    return stamped(
        CellResult(
            cell=cell,
            score=share(correct),
            correct=correct,
            roles={
                "labeler": RoleCost(calls=calls, input_tokens=tokens_in, output_tokens=tokens_out)
            },
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
    rows = subsample(list(bench.rows(cell.split).values()), cell.set)
    votes: dict[str, Counter[str]] = {}
    for call in read_packed(calls_file(places.results, cell)):
        if call["outcome"] == OK and call["reply"]:
            answer = unwrap(call["reply"], "none")
            votes.setdefault(call["purpose"], Counter())[answer] += 1
    said = [votes.get(_purpose(place), Counter([""])) for place in range(len(rows))]
    correct = "".join(
        str(int(vote.most_common(1)[0][0] == row.label))
        for vote, row in zip(said, rows, strict=True)
    )
    return result.model_copy(update={"correct": correct, "score": share(correct)})


def subsample(rows: list[Example], name: str) -> list[Example]:
    """Return the 300 rows the teacher is asked, the same for every prompt and random seed."""
    rng = random.Random(f"{name} teacher")  # noqa: S311
    return rng.sample(rows, min(TEACHER_ROWS, len(rows)))


def _ask_all(session: Session, rows: list[Example], *, one_shot: bool) -> str:
    card = session.card
    if not one_shot:
        task = session.config.task
        card = render_card(session.prompts["card"], task.instructions, task.labels, ())
    said = ask_labeler(session, [row.text for row in rows], card)
    return "".join(str(int(label == row.label)) for label, row in zip(said, rows, strict=True))


def ask_labeler(session: Session, texts: Sequence[str], card: str) -> list[str]:
    """Return the labeler's answers, as many calls open as it may have; '' for an unusable reply.

    Raises:
        TeacherError: the endpoint failed.
    """
    teacher, prompt = session.teachers["labeler"], session.prompts["labeler"]

    def ask(place: int) -> str:
        call = Call(0, _purpose(place))
        try:
            return label_text(teacher, prompt, card, session.labels, texts[place], call).option
        except ReplyError:
            return ""

    with ThreadPoolExecutor(teacher.settings.max_concurrency or 1) as pool:
        return list(pool.map(ask, range(len(texts))))


def _purpose(place: int) -> str:
    return f"test:{place}"


def _teacher_pack(teacher: str) -> dict[str, str]:
    name = teacher.partition(":")[2]
    return {name: PACKS[name].weights_sha256} if name in PACKS else {}
