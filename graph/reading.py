"""The nodes that have texts read: screen, label, settle, critique.

Parallel branches only return samples; the nodes of `graph/learning.py` write files and memory.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from langgraph.runtime import Runtime
from langgraph.types import Send

from evokd.agents.critic import Critic, Verdict
from evokd.agents.generator import tidied
from evokd.agents.labeler import label_text, label_texts, name_entities, sways
from evokd.agents.teacher import Call, Choice
from evokd.errors import ReplyError
from evokd.graph.filling import size_of
from evokd.graph.fitting import BASELINE, last_round, predict, student_of
from evokd.graph.planning import parts_of
from evokd.graph.pooling import settle_pool
from evokd.graph.serving import is_local
from evokd.graph.session import RunContext, Session, session_of
from evokd.graph.state import ReadTask, RunState, branch_of, by_id, read_drafts
from evokd.graph.strategies import first_round
from evokd.records import POOL, Example, Sample
from evokd.tasks import normalize
from evokd.tasks.grounding import ground
from evokd.tasks.ner import NOTHING
from evokd.tasks.texts import first_sentence
from evokd.tools.calibration import calibrate, label_bias
from evokd.tools.doubt import leave_one_out
from evokd.tools.gates import (
    first_question,
    is_outvoted,
    screen_texts,
    settle_label,
)
from evokd.tools.orders import part_named, part_orders

LABEL = "label"  # phase and purpose
# Behind the purpose of the call that asked first: whether a sentence is an order, and without it.
SWAYS, AGAIN = "-order", "-again"
LABEL_REPLY_TOKENS = 400  # of a call about several texts
SWAYING = 0.6  # from here on a sentence that names its text's label is taken for an order
# What of it counts: how much surer the labeler is of another label without the sentence.
SURER = 0.2


def screen(state: RunState, runtime: Runtime[RunContext]) -> dict[str, Any]:
    """Reject bad formats, duplicates and leaks, and find what is worth being read by the critic."""
    session = session_of(state, runtime)
    drafts = read_drafts(state)
    with session.phase("screen", state["round"]):
        # What people wrote is not rejected for its form; it is labelled in any case.
        fresh = [
            one for one in drafts if one.accepted is None and one.label is None and one.role != POOL
        ]
        if session.form.questions and session.form.one_question:
            fresh = [one.model_copy(update={"text": first_question(one.text)}) for one in fresh]
        if session.form.one_sentence:
            fresh = [one.model_copy(update={"text": first_sentence(one.text)}) for one in fresh]
        known = known_rows(session, state["round"], fresh, drafts)
        screened = screen_drafts(session, fresh, known)
        guessed = _guess(session, state["round"], screened, known)
    return {"drafts": by_id(guessed)}


def send_to_labeler(
    state: RunState, runtime: Runtime[RunContext]
) -> list[Send] | Literal["settle"]:
    """A few calls a branch; without separation nobody is asked."""
    session = session_of(state, runtime)
    waiting = [one for one in read_drafts(state) if one.accepted is None and one.label is None]
    if not session.config.strategy.separation:
        return "settle"
    groups = label_groups(session, waiting)
    return send_in_batches("label", state, groups, session, "labeler") or "settle"


def label(state: ReadTask, runtime: Runtime[RunContext]) -> dict[str, Any]:
    """Label texts without the intended label."""
    return label_branch(state, runtime, LABEL)


def label_branch(state: ReadTask, runtime: Runtime[RunContext], purpose: str) -> dict[str, Any]:
    """Label what a branch was sent; the phase is called as the calls' purpose is."""
    session = session_of(state, runtime)
    with session.phase(purpose, state["round"]):
        samples = [Sample(**row) for row in state["samples"]]
        labelled = [
            one
            for group in label_groups(session, samples)
            for one in label_group(session, group, state["round"], purpose)
        ]
    return {"drafts": by_id(labelled)}


def settle(state: RunState, runtime: Runtime[RunContext]) -> dict[str, Any]:
    """Calibrate the labeler, and reject what it is not sure of, before the critic is asked."""
    session = session_of(state, runtime)
    strategy = session.config.strategy
    with session.phase("settle", state["round"]):
        drafts = read_drafts(state)
        before = (one for one in session.run.read_samples() if one.round < state["round"])
        bias = labeler_bias(session, [*before, *drafts])
        unbiased = [
            _unbiased(one, bias) if one.accepted is None and one.label is None else one
            for one in drafts
        ]
        settled = [
            settle_label(one, strategy.labeler_min_confidence, strategy.separation)
            if one.accepted is None and one.label is None
            else one
            for one in settle_pool(session, state["round"], unbiased)
        ]
    return {"drafts": by_id(settled), "labeler_bias": bias}


def send_to_critic(state: RunState, runtime: Runtime[RunContext]) -> list[Send] | Literal["gate"]:
    """A few texts a branch; without a critic all go to the gate."""
    session = session_of(state, runtime)
    if "critic" not in session.teachers:
        return "gate"
    waiting = [
        one
        for one in read_drafts(state)
        if one.checked and one.accepted is None and one.critic_verdict is None
    ]
    return send_in_batches("critique", state, each_alone(waiting), session, "critic") or "gate"


def critique(state: ReadTask, runtime: Runtime[RunContext]) -> dict[str, Any]:
    """Accept, repair or reject each text; a repaired one goes through the labeler once more."""
    session = session_of(state, runtime)
    with session.phase("critique", state["round"]):
        judged = [
            _judge(session, Sample(**row), state["round"], state["labeler_bias"])
            for row in state["samples"]
        ]
    return {"drafts": by_id(judged)}


def known_rows(
    session: Session, round: int, fresh: list[Sample], drafts: list[Sample]
) -> list[Example | Sample]:
    """Return what there is beside `fresh`: seeds, earlier rounds, other drafts not rejected."""
    taken = {one.id for one in fresh}
    others = (one for one in drafts if one.id not in taken and one.accepted is not False)
    return [*session.data.seed, *session.accepted(before=round), *others]


def screen_drafts(
    session: Session,
    fresh: list[Sample],
    known: Sequence[Example | Sample],
    *,
    exact: bool = False,
) -> list[Sample]:
    """Check `fresh` against label meanings, known rows, each other, validation and test.

    Args:
        known: see `known_rows`.
        exact: of the duplicates, only equal texts are rejected.
    """
    if not fresh:
        return []
    gates = session.config.gates
    if exact:
        any_ = float("inf")
        unlimited = ("max_cosine", "max_lexical", "max_template_uses")
        gates = gates.model_copy(update=dict.fromkeys(unlimited, any_))
    parts = [part for one in session.config.task.labels.values() for part in parts_of(one)]
    index = session.index([*parts, *(row.text for row in known)])
    return screen_texts(
        fresh, gates, session.embedder, index, session.guarded, session.labels, session.form
    )


def _guess(
    session: Session, round: int, fresh: list[Sample], known: Sequence[Example | Sample]
) -> list[Sample]:
    """Say what neighbours and student would call each text, and settle where they agree with it.

    Such texts the critic does not read, and the labeler only in the first batch, which tells its
    bias. Held-out texts are always read, for they judge the student.
    """
    pending = [one for one in fresh if one.accepted is None]
    strategy = session.config.strategy
    if strategy.check == "all" or not pending or not session.kind.exclusive:
        return fresh
    intended = [one.intended_label for one in pending]
    texts = [one.text for one in pending]
    known = [row for row in known if row.label]
    guesses = [
        leave_one_out(
            session.embedder.embed([*(row.text for row in known), *texts]),
            [*(row.label or "" for row in known), *intended],
        )[len(known) :]
    ]
    if (taught := last_round(session, round)) != BASELINE:  # else it knows the seeds only
        said = predict(session, student_of(session, taught), pending)
        guesses.append([one.label for one in said])
    is_measured = strategy.calibrate and not session.config.uses_pool
    unread = not is_measured or round > first_round(session.config)
    guessed = {}
    for one, *said in zip(pending, *guesses, strict=True):
        told = one.model_copy(update={"guesses": list(said)})
        if one.split == "train" and _is_agreed(told):
            label = one.intended_label if unread else None
            told = told.model_copy(update={"checked": False, "label": label})
        guessed[one.id] = told
    return [guessed.get(one.id, one) for one in fresh]


def _is_agreed(sample: Sample) -> bool:
    """Whether neighbours and student would give a text the label it was written for."""
    return set(sample.guesses) == {sample.intended_label}


def _out_of_budget(session: Session, sample: Sample) -> Sample:
    """What nobody can be paid to read any more is kept where nothing speaks against its label.

    Of entities those that the labeler has named: the critic would have judged the text alone.
    """
    doubted = sample.repaired_from or sample.labeler_label not in (None, sample.intended_label)
    if session.kind.exclusive:
        if sample.split == "train" and _is_agreed(sample) and not doubted:
            return sample.model_copy(update={"checked": False, "label": sample.intended_label})
    elif sample.labeler_label is not None and not sample.repaired_from:
        least = session.config.strategy.labeler_min_confidence
        settled = settle_label(sample, least, separation=True, agreed=True)
        return settled.model_copy(update={"checked": False})
    return sample.rejected("budget")


def _unbiased(sample: Sample, bias: Mapping[str, float]) -> Sample:
    if not bias or sample.labeler_probabilities is None:
        return sample
    probabilities = calibrate(sample.labeler_probabilities, bias)
    label = max(probabilities, key=lambda name: probabilities[name])
    return sample.model_copy(
        update={"labeler_label": label, "labeler_confidence": probabilities[label]}
    )


def label_groups(session: Session, samples: Sequence[Sample]) -> list[list[Sample]]:
    """Return what each labeler call is asked about: as many texts as may be, and as have room.

    Of the texts of some of these groups, in their order, it makes the same groups again.
    """
    most = session.config.strategy.texts_per_label if session.kind.exclusive else 1
    is_slotted = is_local(session.config, "labeler")
    room = session.room(LABEL_REPLY_TOKENS) if is_slotted else math.inf
    groups: list[list[Sample]] = []
    used = 0
    for one in samples:
        if not groups or len(groups[-1]) == most or used + size_of(one.text) > room:
            groups.append([])
            used = 0
        groups[-1].append(one)
        used += size_of(one.text)
    return groups


def label_call(group: Sequence[Sample], round: int, purpose: str) -> Call:
    """Return the call that asks for the labels of some texts."""
    return Call(round, f"{purpose}:{' '.join(one.id for one in group)}")


def label_group(
    session: Session, group: Sequence[Sample], round: int, purpose: str = LABEL
) -> list[Sample]:
    """Label the texts of one call; those its reply does not tell about, one by one."""
    call = label_call(group, round, purpose)
    if len(group) == 1 or not session.budget.pays_for("labeler", call):
        return [_label(session, one, round, purpose) for one in group]
    shown = [_shown(session, one) for one in group]
    asked = session.teachers["labeler"], session.prompts["labeler"], session.card
    found: list[Choice | None] = [None] * len(group)
    try:
        found = label_texts(*asked, session.labels, [text for text, _ in shown], call)
    except ReplyError as error:
        session.emit({"kind": "note", "text": str(error)})
    return [
        _label(session, one, round, purpose, choice)
        for one, choice in zip(group, found, strict=True)
    ]


def _label(
    session: Session, sample: Sample, round: int, purpose: str, found: Choice | None = None
) -> Sample:
    """Label a text.

    Args:
        found: the answer, where a call about several texts brought it.
    """
    call = label_call([sample], round, purpose)
    if found is None and not session.budget.pays_for("labeler", call):
        return _out_of_budget(session, sample)
    try:
        if not session.kind.exclusive:
            return _name_entities(session, sample, call)
        text, orders = _shown(session, sample)
        choice = found or _ask_label(session, text, call)
        return _recheck(session, sample, text, orders, choice, round, purpose)
    except ReplyError as error:
        session.emit({"kind": "note", "text": str(error)})
        return sample.rejected("label_unusable_reply") if sample.checked else sample


def _ask_label(session: Session, text: str, call: Call) -> Choice:
    asked = session.teachers["labeler"], session.prompts["labeler"], session.card, session.labels
    return label_text(*asked, text, call)


def _recheck(
    session: Session,
    sample: Sample,
    text: str,
    orders: list[str],
    choice: Choice,
    round: int,
    purpose: str,
) -> Sample:
    """Return a text with its label; of a pool's, with that of what is no order in it.

    A sentence that names the label may be an order in a form that no rule knows, or what the text
    is about ("I want a refund. Thanks!"): the labeler is asked which, without the rest and without
    the labels. Where it is in doubt, the rest decides: what an order is added to is surely of
    another label, what the sentence is part of mostly of the same. If it is an order, the label is
    that of the rest.

    Args:
        text: as it was shown, without `orders`.
    """
    strategy = session.config.strategy
    all_orders = bool(orders) and text == sample.text
    checks = sample.role == POOL and strategy.recheck_named and not all_orders
    rest, naming = part_named(text, choice.option) if checks else (text, [])
    if not naming:
        return _with_label(sample, choice, orders)
    ask, again = (label_call([sample], round, purpose + which) for which in (SWAYS, AGAIN))
    if not session.budget.pays_for("labeler", ask):
        return _out_of_budget(session, sample)
    swaying = sways(session.teachers["labeler"], session.prompts["labeler"], naming, ask)
    if swaying < SWAYING - SURER:
        return _with_label(sample, choice, orders)
    if not session.budget.pays_for("labeler", again):
        return _out_of_budget(session, sample)
    without = _ask_label(session, rest, again)
    surer = without.confidence - without.probability(choice.option)
    if swaying + SURER * surer < SWAYING:
        return _with_label(sample, choice, orders)
    return _with_label(sample, without, [*orders, *naming])


def _shown(session: Session, sample: Sample) -> tuple[str, list[str]]:
    """Return a text without orders to its reader, and these: one of a pool may be by anybody."""
    return part_orders(sample.text, session.labels) if sample.role == POOL else (sample.text, [])


def _with_label(sample: Sample, choice: Choice, orders: list[str]) -> Sample:
    return sample.model_copy(
        update={
            "orders": orders,
            "labeler_label": choice.option,
            "labeler_confidence": choice.confidence,
            "labeler_probabilities": {choice.option: choice.confidence, **choice.others},
        }
    )


def _name_entities(session: Session, sample: Sample, call: Call) -> Sample:
    """Have the entities named, and find them in the text; one that is not there ends the sample.

    The label is the type that was asked for, if there is an entity of it, else that of the first.
    """
    asked = session.teachers["labeler"], session.prompts["labeler"], session.card
    seed, labels = session.data.seed, session.labels
    named = name_entities(*asked, seed, labels, sample.text, call, session.capitals)
    found = ground(sample.text, named.mentions, session.capitals)
    types = [one.label for one in found.entities] or [NOTHING]
    read = sample.model_copy(
        update={
            "entities": list(found.entities),
            "lost": [one.text for one in found.lost],
            "labeler_label": sample.intended_label if sample.intended_label in types else types[0],
            "labeler_confidence": min(
                (one.confidence for one in found.entities), default=named.confidence
            ),
        }
    )
    return read.rejected("entity_not_in_text") if found.lost else read


def _judge(session: Session, sample: Sample, round: int, bias: Mapping[str, float]) -> Sample:
    label = sample.label or sample.intended_label
    call = Call(round, f"critique:{sample.id}")
    if not session.budget.pays_for("critic", call):
        return _out_of_budget(session, sample)
    critic = _critic(session)
    try:
        if sample.role == POOL:  # what somebody wrote is neither bad nor rewritten
            verdict = critic.judge_label(sample.content, label, sample.intended_label, call)
            return _judged(sample, verdict)
        # The types of entities do not exclude each other, so that no other one speaks against it.
        alone = is_outvoted(sample) or not session.kind.exclusive
        settled = label if alone else sample.intended_label
        verdict = critic.judge(sample.text, label, settled, call)
        if not verdict.repairable:
            return _judged(sample, verdict)
        repair = critic.repair(sample.text, verdict.verdict, label, call)
        text = tidied(repair, session.targets) or sample.text
        repaired = sample.model_copy(
            update={"text": text, "repaired_from": sample.text, "role": "critic"}
        )
        if normalize(text) == normalize(sample.text):
            return _judged(repaired, verdict)
        again = Call(round, f"critique-again:{sample.id}")
        verdict = critic.judge(text, label, settled, again)
    except ReplyError:
        return sample.rejected("critic_unusable_reply")
    judged = _judged(repaired, verdict)
    return judged if judged.accepted is False else _relabel(session, judged, round, bias)


def _judged(sample: Sample, verdict: Verdict) -> Sample:
    judged = sample.model_copy(
        update={"critic_verdict": verdict.verdict, "critic_confidence": verdict.confidence}
    )
    return judged if verdict.accepted else judged.rejected(verdict.reason)


def _critic(session: Session) -> Critic:
    return Critic(
        teacher=session.teachers["critic"],
        prompt=session.prompts["critic"],
        card=session.card,
        labels=session.targets,
        good=[row.text for row in session.data.seed],
        min_confidence=session.config.strategy.critic_min_confidence,
        texts=session.config.task.texts,
    )


def _relabel(session: Session, sample: Sample, round: int, bias: Mapping[str, float]) -> Sample:
    """A repaired text must get the same label once more."""
    if not session.config.strategy.separation:
        return sample
    again = _unbiased(_label(session, sample, round, "relabel"), bias)
    if again.accepted is None and again.labeler_label != sample.label:
        return again.rejected("label_differs")
    return again


def each_alone(samples: Iterable[Sample]) -> list[list[Sample]]:
    """Return samples as groups of one."""
    return [[one] for one in samples]


def send_in_batches(
    node: str, state: RunState, groups: Sequence[Sequence[Sample]], session: Session, role: str
) -> list[Send]:
    """Split groups of samples into at most two batches for each call that may be open at once.

    Args:
        groups: what a call is about; none is torn apart.
    """
    width = session.teachers[role].settings.max_concurrency or 1
    size = max(1, math.ceil(len(groups) / (2 * width)))
    branch = branch_of(state)
    return [
        Send(
            node,
            ReadTask(
                samples=[one.model_dump() for group in batch for one in group],
                labeler_bias=state.get("labeler_bias", {}),
                **branch,
            ),
        )
        for batch in (groups[start : start + size] for start in range(0, len(groups), size))
    ]


def labeler_bias(session: Session, samples: Iterable[Sample]) -> dict[str, float]:
    """Return label → how much too often the labeler says it, over the first batch.

    That batch it reads in full; of later ones only what is doubtful. Empty where it has read none,
    is not to be calibrated, or reads the texts of a pool: those are asked for with no label.
    """
    first = first_round(session.config)
    rows = [
        (one.labeler_probabilities, one.intended_label)
        for one in samples
        if one.labeler_probabilities is not None and one.round == first
    ]
    if not session.config.strategy.calibrate or not rows or session.config.uses_pool:
        return {}
    probabilities, intended = zip(*rows, strict=True)
    return label_bias(probabilities, intended, session.labels)
