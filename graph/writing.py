"""The nodes that have texts written: name weaknesses, plan calls, generate, refill.

Parallel branches only return samples; the nodes of `graph/learning.py` write files and memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from langgraph.runtime import Runtime
from langgraph.types import Send

from evokd.agents.analyst import Findings, PlannedWeakness, Shown, analyze
from evokd.agents.generator import Assignment, generate_texts
from evokd.agents.teacher import Call
from evokd.errors import ReplyError
from evokd.graph.failures import failures_of, last_answers, related_failures
from evokd.graph.naming import names_of
from evokd.graph.planning import (
    Aim,
    PlannedCall,
    orders_of,
    plan_round,
    to_plain,
    with_examples,
    with_names,
    with_topics,
)
from evokd.graph.pooling import draw_from_pool
from evokd.graph.quotas import (
    TEXTS_PER_WEAKNESS,
    bare_aims,
    lacking_quotas,
    round_quotas,
    round_size,
)
from evokd.graph.session import RunContext, Session, session_of
from evokd.graph.state import RunState, WriteTask, branch_of, by_id
from evokd.graph.strategies import strategy_of
from evokd.graph.topics import topics_of
from evokd.records import Failure, Sample, Weakness
from evokd.tasks import TaskKind
from evokd.tasks.ner import NOTHING

EXAMPLES = 6  # a label: hard texts are modelled on them
SHOWN_RIGHT = 3
NEAREST_TO_AVOID = 2
REPLY_TOKENS = 500


def analyze_student(state: RunState, runtime: Runtime[RunContext]) -> dict[str, Any]:
    """Name weaknesses from the last batch's right and wrong, and plan this round's calls."""
    session = session_of(state, runtime)
    round = state["round"]
    with session.phase("analyze", round):
        planned = [] if round == 0 else _ask_analyst(session, state)
        aims = [_to_aim(one, round, index) for index, one in enumerate(planned)]
        total = session.budget.affordable(round_size(session, round))
        wanted, probes = round_quotas(session, state, aims, total)
        drawn: list[Sample] = []
        if session.pool:
            drawn, wanted, probes = draw_from_pool(session, round, wanted, probes)
        calls = _plan_calls(session, state, 0, wanted, probes, aims)
    session.emit(
        {"kind": "plan", "round": round, "weaknesses": [aim.weakness.name for aim in aims]}
    )
    return {
        "weaknesses": [aim.model_dump() for aim in aims],
        "wanted": total,
        "assignments": to_plain(calls),
        "refill": 0,
        "drafts": by_id(drawn) or None,
    }


def send_to_generator(state: RunState) -> list[Send] | Literal["screen"]:
    """One branch a planned call."""
    branch = branch_of(state)
    sends = [
        Send("generate", WriteTask(assignment=call, **branch)) for call in state["assignments"]
    ]
    return sends or "screen"


def generate(state: WriteTask, runtime: Runtime[RunContext]) -> dict[str, Any]:
    """Write the texts of one call."""
    session = session_of(state, runtime)
    call = PlannedCall(**state["assignment"])
    with session.phase("generate", state["round"]):
        if session.budget.writing_ends():
            return {"drafts": {}}
        try:
            texts = generate_texts(
                session.teachers["generator"],
                session.prompts["generator"],
                session.card,
                session.targets,
                _assignment(session, state["round"], call),
                Call(state["round"], call.id),
                texts=session.config.task.texts,
            )
        except ReplyError as error:
            session.emit({"kind": "note", "text": str(error)})
            return {"drafts": {}}
    samples = [
        Sample(
            id=f"{call.id}-{index:02d}",
            text=text,
            round=state["round"],
            call=call.id,
            intended_label=call.label,
            weakness=call.weakness,
            difficulty=difficulty,
            split="probe" if call.probe else "train",
        )
        for index, (difficulty, text) in enumerate(texts)
    ]
    return {"drafts": by_id(samples)}


def refill(state: RunState, runtime: Runtime[RunContext]) -> dict[str, Any]:
    """Plan calls for what is missing: of a label, or, of a pool's texts, for a weakness."""
    session = session_of(state, runtime)
    wave = state["refill"] + 1
    wanted, probes = lacking_quotas(session, state)
    bare = bare_aims(session, state)
    for aim in bare:
        label = aim.weakness.labels[0]
        wanted[label] = max(wanted.get(label, 0), TEXTS_PER_WEAKNESS)
    others = [one for one in (Aim(**row) for row in state["weaknesses"]) if one not in bare]
    calls = _plan_calls(session, state, wave, wanted, probes, [*bare, *others])
    session.emit({"kind": "note", "text": f"refill {wave}: {len(calls)} more generator calls"})
    return {"assignments": to_plain(calls), "refill": wave}


def _ask_analyst(session: Session, state: RunState) -> list[PlannedWeakness]:
    strategy = session.config.strategy
    if not strategy.analyst:
        return []
    wrong, right = last_answers(session, state["round"])
    findings = Findings(
        wrong=[shown for one in wrong for shown in _shown_wrong(session.kind, one)],
        right=[_shown_right(one) for one in right[:SHOWN_RIGHT]] if strategy.correct else [],
        related=[_shown(one) for one in related_failures(session, state["round"], wrong)],
        scores=state.get("scores", {}),
        open_weaknesses=_open_names(session),
    )
    try:
        return analyze(
            session.teachers["analyst"],
            session.prompts["analyst"],
            session.card,
            findings,
            max_weaknesses=strategy.max_weaknesses,
            max_chars=max(600, session.room(REPLY_TOKENS)),
            call=Call(state["round"], f"analysis-{state['round']}"),
        )
    except ReplyError as error:
        session.emit({"kind": "note", "text": f"no analysis this round: {error}"})
        return []


def _give_examples(session: Session, round: int, calls: list[PlannedCall]) -> list[PlannedCall]:
    """Model hard texts on what the student got wrong, or nearly wrong, of their label.

    What nobody has read is no example: its faults would be copied.
    """
    wrong, right = last_answers(session, round)
    examples: dict[str, list[str]] = {}
    for one in (*wrong, *(one for one in right if one.checked)):
        known = examples.setdefault(one.label or "", [])
        if len(known) < EXAMPLES:
            known.append(one.content)
    return with_examples(calls, examples)


def _open_names(session: Session) -> list[str]:
    if session.memory is None:
        return []
    return [
        f"{one.name} ({', '.join(one.labels)})"
        for one in session.memory.open_weaknesses(session.run.run_id)
    ][-6:]


def _to_aim(planned: PlannedWeakness, round: int, index: int) -> Aim:
    weakness = Weakness(
        id=f"w{round:02d}-{index}",
        name=planned.name.strip(),
        description=planned.pattern.strip(),
        labels=planned.labels,
        error=planned.error,
        round=round,
    )
    return Aim(weakness=weakness, vary=planned.vary.strip(), hard=planned.hard, easy=planned.easy)


def _plan_calls(
    session: Session,
    state: RunState,
    wave: int,
    wanted: Mapping[str, int],
    probes: Mapping[str, int],
    aims: list[Aim],
) -> list[PlannedCall]:
    round, strategy = state["round"], session.config.strategy
    calls = plan_round(round, wave, strategy, wanted, probes, aims, state.get("rivals", {}))
    calls = _give_examples(session, round, calls)
    nameless = None if session.kind.exclusive else NOTHING
    calls = with_topics(calls, topics_of(session.config), session.config.random_seed, nameless)
    return with_names(calls, names_of(session, state), session.config.random_seed)


def _assignment(session: Session, round: int, call: PlannedCall) -> Assignment:
    avoid: list[str] = []
    if session.memory is not None and round > 0:
        about = f"{call.label} {session.targets[call.label]}"
        (near,) = session.memory.nearest_samples([about], NEAREST_TO_AVOID * 4)
        avoid = [one.text for one in near if one.label == call.label][:NEAREST_TO_AVOID]
    names = not session.kind.exclusive and call.label != NOTHING
    return Assignment(
        label=call.label,
        orders=orders_of(call, session.targets[call.label], names=names),
        length=call.length,
        rival=call.rival,
        vary=call.vary,
        avoid=avoid,
        questions=session.form.questions,
        one_sentence=session.form.one_sentence and strategy_of(session.config).teaches,
    )


def _shown_wrong(kind: TaskKind, sample: Sample) -> list[Shown]:
    """Return a sample's mistakes, one entry each."""
    return [_shown(one) for one in failures_of(kind, sample, "")]


def _shown(failure: Failure) -> Shown:
    return Shown(
        failure.text,
        failure.label,
        failure.predicted,
        failure.confidence,
        failure.error,
        failure.part,
    )


def _shown_right(sample: Sample) -> Shown:
    assert sample.prediction is not None
    label = sample.label or ""
    return Shown(sample.content, label, label, sample.prediction.confidence)
