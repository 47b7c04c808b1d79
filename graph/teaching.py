"""The nodes that teach: plan, write, label, judge, gate.

Parallel branches only return samples; files and memory are written by `graph/learning.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, TypedDict

from langgraph.runtime import Runtime
from langgraph.types import Send

from evokd.agents.analyst import Findings, PlannedWeakness, Shown, analyze
from evokd.agents.critic import ACCEPT, Critic, Verdict
from evokd.agents.generator import Assignment, generate_texts
from evokd.agents.labeler import label_text, name_entities
from evokd.agents.teacher import Call
from evokd.errors import ReplyError
from evokd.graph.learning import BASELINE, failures_of, last_round, predict, student_of
from evokd.graph.planning import (
    PROBES_PER_TARGET,
    Aim,
    PlannedCall,
    label_weights,
    orders_of,
    parts_of,
    plan_round,
    probe_quotas,
    share_out,
    to_plain,
    with_examples,
    with_topics,
)
from evokd.graph.session import RunContext, Session, session_of
from evokd.graph.state import ReadTask, RunState, WriteTask, read_drafts
from evokd.graph.strategies import first_round
from evokd.graph.topics import GENERAL as GENERAL_TOPICS
from evokd.records import Example, Failure, Sample, Weakness
from evokd.tasks import TaskKind, normalize
from evokd.tasks.ner import NOTHING, are_names, ground
from evokd.tools.calibration import calibrate, label_bias
from evokd.tools.doubt import leave_one_out
from evokd.tools.gates import (
    TextIndex,
    are_sentences,
    asks_questions,
    balance,
    first_question,
    is_outvoted,
    reject_worn_entities,
    screen_texts,
    settle_label,
)

RELATED_OF = 6  # of the worst failures are looked up in memory
EXAMPLES = 6  # a label: hard texts are modelled on them
SHOWN_RIGHT = 3
NEAREST_TO_AVOID = 2
CHARS_PER_TOKEN = 3  # low on purpose: a prompt must never outgrow its slot
REPLY_TOKENS = 500
INSTRUCTION_WORDS = 5  # of the prompt in a row are no chance


def analyze_student(state: RunState, runtime: Runtime[RunContext]) -> dict[str, Any]:
    """Name weaknesses from the last batch's right and wrong, and plan this round's calls."""
    session = session_of(state, runtime)
    round = state["round"]
    with session.phase("analyze", round):
        planned = [] if round == 0 else _ask_analyst(session, state)
        aims = [_to_aim(one, round, index) for index, one in enumerate(planned)]
        total = session.affordable(round_size(session, round))
        wanted, probes = _quotas(session, state, aims, total)
        calls = _plan_calls(session, state, 0, wanted, probes, aims)
    session.emit(
        {"kind": "plan", "round": round, "weaknesses": [aim.weakness.name for aim in aims]}
    )
    return {
        "weaknesses": [aim.model_dump() for aim in aims],
        "wanted": total,
        "assignments": to_plain(calls),
        "refill": 0,
        "drafts": None,
    }


def send_to_generator(state: RunState) -> list[Send] | Literal["screen"]:
    """One branch a planned call."""
    common = _common(state)
    sends = [
        Send("generate", WriteTask(assignment=call, **common)) for call in state["assignments"]
    ]
    return sends or "screen"


def generate(state: WriteTask, runtime: Runtime[RunContext]) -> dict[str, Any]:
    """Write the texts of one call."""
    session = session_of(state, runtime)
    call = PlannedCall(**state["assignment"])
    with session.phase("generate", state["round"]):
        if session.budget_reached():
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
    return {"drafts": _by_id(samples)}


def screen(state: RunState, runtime: Runtime[RunContext]) -> dict[str, Any]:
    """Reject bad formats, duplicates and leaks, and find what is worth being read by the critic."""
    session = session_of(state, runtime)
    drafts = read_drafts(state)
    with session.phase("screen", state["round"]):
        fresh = [one for one in drafts if one.accepted is None and one.label is None]
        if _asks_questions(session):
            fresh = [one.model_copy(update={"text": first_question(one.text)}) for one in fresh]
        known = known_rows(session, state["round"], fresh, drafts)
        screened = screen_drafts(session, fresh, known)
        guessed = _guess(session, state["round"], screened, known)
    return {"drafts": _by_id(guessed)}


def send_to_labeler(state: RunState, runtime: Runtime[RunContext]) -> list[Send] | str:
    """A few texts a branch; without separation nobody is asked."""
    session = session_of(state, runtime)
    waiting = [one for one in read_drafts(state) if one.accepted is None and one.label is None]
    if not session.config.strategy.separation:
        return "settle"
    return _send_in_batches("label", state, waiting, session, "labeler") or "settle"


def label(state: ReadTask, runtime: Runtime[RunContext]) -> dict[str, Any]:
    """Label texts without the intended label."""
    session = session_of(state, runtime)
    with session.phase("label", state["round"]):
        labelled = [
            _label(session, Sample(**row), state["round"], "label") for row in state["samples"]
        ]
    return {"drafts": _by_id(labelled)}


def settle(state: RunState, runtime: Runtime[RunContext]) -> dict[str, Any]:
    """Calibrate the labeler, and reject what it is not sure of, before the critic is asked."""
    session = session_of(state, runtime)
    strategy = session.config.strategy
    with session.phase("settle", state["round"]):
        drafts = read_drafts(state)
        before = (one for one in session.run.read_samples() if one.round < state["round"])
        bias = labeler_bias(session, [*before, *drafts])
        settled = [
            settle_label(_unbiased(one, bias), strategy.labeler_min_confidence, strategy.separation)
            if one.accepted is None and one.label is None
            else one
            for one in drafts
        ]
    return {"drafts": _by_id(settled), "labeler_bias": bias}


def send_to_critic(state: RunState, runtime: Runtime[RunContext]) -> list[Send] | str:
    """A few texts a branch; without a critic all go to the gate."""
    session = session_of(state, runtime)
    if not session.config.strategy.critic:
        return "gate"
    waiting = [
        one
        for one in read_drafts(state)
        if one.checked and one.accepted is None and one.critic_verdict is None
    ]
    return _send_in_batches("critique", state, waiting, session, "critic") or "gate"


def critique(state: ReadTask, runtime: Runtime[RunContext]) -> dict[str, Any]:
    """Accept, repair or reject each text; a repaired one goes through the labeler once more."""
    session = session_of(state, runtime)
    with session.phase("critique", state["round"]):
        judged = [
            _judge(session, Sample(**row), state["round"], state["labeler_bias"])
            for row in state["samples"]
        ]
    return {"drafts": _by_id(judged)}


def gate(state: RunState, runtime: Runtime[RunContext]) -> dict[str, Any]:
    """Take the final decision on every draft: label, balance, then accept."""
    session = session_of(state, runtime)
    strategy = session.config.strategy
    with session.phase("gate", state["round"]):
        drafts = read_drafts(state)
        repaired = [one for one in drafts if one.accepted is None and one.repaired_from]
        known = known_rows(session, state["round"], repaired, drafts)
        screened = {one.id: one for one in screen_drafts(session, repaired, known)}
        settled = [
            settle_label(
                one,
                strategy.labeler_min_confidence,
                strategy.separation,
                one.critic_verdict == ACCEPT or is_outvoted(one),
            )
            if one.checked and one.accepted is None
            else one
            for one in (screened.get(one.id, one) for one in drafts)
        ]
        earlier = known_rows(session, state["round"], [], [])
        fresh = reject_worn_entities(settled, earlier, session.config.gates.max_entity_uses)
        wanted, probes = _targets(session, state)
        capped = _balance_parts(fresh, wanted, probes)
        final = [
            one.model_copy(update={"accepted": True}) if one.accepted is None else one
            for one in capped
        ]
    session.emit({"kind": "gate", "round": state["round"], **count_decisions(final)})
    return {"drafts": _by_id(final)}


def route_after_gate(state: RunState, runtime: Runtime[RunContext]) -> Literal["refill", "train"]:
    """Refill while a label lacks half of its share, the held-out rows half, or all a third."""
    session = session_of(state, runtime)
    if state["refill"] >= session.config.strategy.max_refills or session.budget_reached():
        return "train"
    wanted, probes = _targets(session, state)
    missing, missing_probes = _missing(session, state)
    starved = any(2 * short > wanted[name] for name, short in missing.items())
    blind = 2 * sum(missing_probes.values()) > sum(probes.values())
    accepted = sum(one.accepted is True for one in read_drafts(state))
    few = 3 * accepted < 2 * (sum(wanted.values()) + sum(probes.values()))
    return "refill" if starved or blind or few else "train"


def refill(state: RunState, runtime: Runtime[RunContext]) -> dict[str, Any]:
    """Plan calls for what is missing."""
    session = session_of(state, runtime)
    wave = state["refill"] + 1
    aims = [Aim(**one) for one in state["weaknesses"]]
    missing, missing_probes = _missing(session, state)
    calls = _plan_calls(session, state, wave, missing, missing_probes, aims)
    session.emit({"kind": "note", "text": f"refill {wave}: {len(calls)} more generator calls"})
    return {"assignments": to_plain(calls), "refill": wave}


def round_size(session: Session, round: int) -> int:
    """Return how many accepted samples a round aims for, where the budget allows it."""
    strategy = session.config.strategy
    return strategy.init_samples if round == 0 else strategy.samples_per_round


def _ask_analyst(session: Session, state: RunState) -> list[PlannedWeakness]:
    strategy = session.config.strategy
    if not strategy.analyst:
        return []
    wrong, right = _last_answers(session, state["round"])
    findings = Findings(
        wrong=[shown for one in wrong for shown in _shown_wrong(session.kind, one)],
        right=[_shown_right(one) for one in right[:SHOWN_RIGHT]] if strategy.correct else [],
        related=_related(session, wrong[:RELATED_OF]),
        scores=state.get("scores", {}),
        open_weaknesses=_open_names(session),
    )
    room = session.config.local.slot_context - REPLY_TOKENS
    try:
        return analyze(
            session.teachers["analyst"],
            session.prompts["analyst"],
            session.card,
            findings,
            max_weaknesses=strategy.max_weaknesses,
            max_chars=max(600, room * CHARS_PER_TOKEN - len(session.card)),
            call=Call(state["round"], f"analysis-{state['round']}"),
        )
    except ReplyError as error:
        session.emit({"kind": "note", "text": f"no analysis this round: {error}"})
        return []


def _last_answers(session: Session, round: int) -> tuple[list[Sample], list[Sample]]:
    """Return what the last batch's student got wrong, hardest first, and right, closest first.

    Held-out texts are left out: they judge what is written from these.
    """
    last = [
        one
        for one in session.accepted()
        if one.round == round - 1 and one.split == "train" and one.prediction
    ]
    wrong = {
        one.id for one in last if one.prediction and session.kind.mistakes(one, one.prediction)
    }
    return (
        _hardest_first(one for one in last if one.id in wrong),
        _closest_first(one for one in last if one.id not in wrong),
    )


def _give_examples(session: Session, round: int, calls: list[PlannedCall]) -> list[PlannedCall]:
    """Model hard texts on what the student got wrong, or nearly wrong, of their label.

    What nobody has read is no example: its faults would be copied.
    """
    wrong, right = _last_answers(session, round)
    examples: dict[str, list[str]] = {}
    for one in (*wrong, *(one for one in right if one.checked)):
        known = examples.setdefault(one.label or "", [])
        if len(known) < EXAMPLES:
            known.append(one.text)
    return with_examples(calls, examples)


def _related(session: Session, wrong: list[Sample]) -> list[Shown]:
    k = session.config.memory.related
    if session.memory is None or not wrong or not k:
        return []
    own = {one.id for sample in wrong for one in failures_of(session.kind, sample, "")}
    found = session.memory.related_failures([one.text for one in wrong], k, exclude=own)
    return [_shown(one) for one in found]


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
    return with_topics(calls, _topics(session), session.config.random_seed)


def _topics(session: Session) -> Sequence[str]:
    task = session.config.task
    if not session.config.strategy.topics:
        return ()
    return GENERAL_TOPICS if task.topics == "any" else task.topics


def _quotas(
    session: Session, state: RunState, aims: list[Aim], total: int
) -> tuple[dict[str, int], dict[str, int]]:
    """Return how many of `total` accepted samples are wanted per label, (training, held out)."""
    held_out = Counter(
        one.label or "" for one in session.accepted(before=state["round"]) if one.split == "probe"
    )
    probes = _probe_plan(session, total, aims, held_out)
    weights = label_weights(list(session.targets), state.get("scores", {}), aims)
    return share_out(max(0, total - sum(probes.values())), weights), probes


def _probe_plan(
    session: Session, total: int, aims: list[Aim], held_out: Mapping[str, int]
) -> dict[str, int]:
    if session.data.validation:  # validation rows judge the rounds; weaknesses need their own
        firsts = Counter(aim.weakness.labels[0] for aim in aims)
        return {name: PROBES_PER_TARGET * count for name, count in firsts.items()}
    return probe_quotas(list(session.targets), total, session.config.strategy, aims, held_out)


def _targets(session: Session, state: RunState) -> tuple[dict[str, int], dict[str, int]]:
    aims = [Aim(**one) for one in state["weaknesses"]]
    return _quotas(session, state, aims, state["wanted"])


def _missing(session: Session, state: RunState) -> tuple[dict[str, int], dict[str, int]]:
    wanted, probes = _targets(session, state)
    accepted = [one for one in read_drafts(state) if one.accepted]
    have = Counter(one.label for one in accepted if one.split == "train")
    have_probes = Counter(one.label for one in accepted if one.split == "probe")
    return (
        {name: count - have[name] for name, count in wanted.items() if count > have[name]},
        {
            name: count - have_probes[name]
            for name, count in probes.items()
            if count > have_probes[name]
        },
    )


def _balance_parts(
    samples: list[Sample], wanted: Mapping[str, int], probes: Mapping[str, int]
) -> list[Sample]:
    """Cap training and held-out samples apart; half beyond the share, or two, is welcome."""
    order = [one.id for one in samples]
    capped: dict[str, Sample] = {}
    for split, caps in (("train", wanted), ("probe", probes)):
        part = [one for one in samples if one.split == split]
        taken = Counter(one.label for one in part if one.accepted)
        left = {name: _cap(count) - taken[name] for name, count in caps.items()}
        capped.update({one.id: one for one in balance(part, left)})
    untouched = {one.id: one for one in samples}
    return [capped.get(name, untouched[name]) for name in order]


def _cap(count: int) -> int:
    return count + max(2, count // 2)


def _assignment(session: Session, round: int, call: PlannedCall) -> Assignment:
    avoid: list[str] = []
    if session.memory is not None and round > 0:
        about = f"{call.label} {session.targets[call.label]}"
        (near,) = session.memory.nearest_samples([about], NEAREST_TO_AVOID * 4)
        avoid = [one.text for one in near if one.label == call.label][:NEAREST_TO_AVOID]
    return Assignment(
        label=call.label,
        orders=orders_of(call, session.targets[call.label]),
        length=call.length,
        rival=call.rival,
        vary=call.vary,
        avoid=avoid,
        questions=_asks_questions(session),
    )


def _asks_questions(session: Session) -> bool:
    return asks_questions(row.text for row in session.data.seed)


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
        gates = gates.model_copy(update={"max_cosine": any_, "max_lexical": any_})
    parts = [part for one in session.config.task.labels.values() for part in parts_of(one)]
    index = TextIndex(session.embedder, [*parts, *(row.text for row in known)])
    guarded = TextIndex(
        session.embedder, (row.text for row in (*session.data.validation, *session.data.test))
    )
    phrases = session.prompts["generator"].phrases(INSTRUCTION_WORDS)
    gold = [row.text for row in session.data.seed]
    return screen_texts(
        fresh,
        gates,
        session.embedder,
        index,
        guarded,
        session.labels,
        questions=_asks_questions(session),
        sentences=not session.kind.exclusive and are_sentences(gold),
        instructions=[normalize(one) for one in phrases],
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
    guesses = [
        leave_one_out(
            session.embedder.embed([*(row.text for row in known), *texts]),
            [*(row.label or "" for row in known), *intended],
        )[len(known) :]
    ]
    if (taught := last_round(session, round)) != BASELINE:  # else it knows the seeds only
        said = predict(session, student_of(session, taught), pending)
        guesses.append([one.label for one in said])
    unread = not strategy.calibrate or round > first_round(session.config)
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

    Entities have nobody but the labeler to speak for them: a sure one is enough.
    """
    doubted = sample.repaired_from or sample.labeler_label not in (None, sample.intended_label)
    agreed = _is_agreed(sample) if session.kind.exclusive else _is_surely_named(session, sample)
    if sample.split == "train" and agreed and not doubted:
        return sample.model_copy(update={"checked": False, "label": sample.intended_label})
    return sample.rejected("budget")


def _is_surely_named(session: Session, sample: Sample) -> bool:
    """Whether the labeler has named what was asked for, and is sure of all it named."""
    sure = (sample.labeler_confidence or 0.0) >= session.config.strategy.labeler_min_confidence
    return sample.labeler_label == sample.intended_label and sure


def _unbiased(sample: Sample, bias: Mapping[str, float]) -> Sample:
    if not bias or sample.labeler_probabilities is None:
        return sample
    probabilities = calibrate(sample.labeler_probabilities, bias)
    label = max(probabilities, key=lambda name: probabilities[name])
    return sample.model_copy(
        update={"labeler_label": label, "labeler_confidence": probabilities[label]}
    )


def _label(session: Session, sample: Sample, round: int, purpose: str) -> Sample:
    if session.budget_reached():
        return _out_of_budget(session, sample)
    call = Call(round, f"{purpose}:{sample.id}")
    try:
        if session.kind.exclusive:
            return _label_text(session, sample, call)
        return _name_entities(session, sample, call)
    except ReplyError as error:
        session.emit({"kind": "note", "text": str(error)})
        return sample.rejected("label_unusable_reply") if sample.checked else sample


def _label_text(session: Session, sample: Sample, call: Call) -> Sample:
    asked = session.teachers["labeler"], session.prompts["labeler"], session.card, session.labels
    choice = label_text(*asked, sample.text, call)
    return sample.model_copy(
        update={
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
    named = name_entities(*asked, session.data.seed, session.labels, sample.text, call)
    names = are_names(session.data.seed)
    found = ground(sample.text, named.mentions, names=names)
    types = [one.label for one in found.entities] or [NOTHING]
    read = sample.model_copy(
        update={
            "entities": list(found.entities),
            "labeler_label": sample.intended_label if sample.intended_label in types else types[0],
            "labeler_confidence": min(
                (one.confidence for one in found.entities), default=named.confidence
            ),
        }
    )
    return read.rejected("entity_not_in_text") if found.lost else read


def _judge(session: Session, sample: Sample, round: int, bias: Mapping[str, float]) -> Sample:
    if session.budget_reached():
        return _out_of_budget(session, sample)
    label = sample.label or sample.intended_label
    call = Call(round, f"critique:{sample.id}")
    critic = _critic(session)
    try:
        # The types of entities do not exclude each other, so that no other one speaks against it.
        alone = is_outvoted(sample) or not session.kind.exclusive
        settled = label if alone else sample.intended_label
        verdict = critic.judge(sample.text, label, settled, call)
        if not verdict.repairable:
            return _judged(sample, verdict)
        text = critic.repair(sample.text, verdict.verdict, label, call)
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


def _send_in_batches(
    node: str, state: RunState, samples: list[Sample], session: Session, role: str
) -> list[Send]:
    """Split samples into about two batches for each call that may be open at once."""
    width = session.teachers[role].settings.max_concurrency or 1
    size = max(1, len(samples) // (2 * width))
    common = _common(state)
    return [
        Send(
            node,
            ReadTask(
                samples=[one.model_dump() for one in samples[start : start + size]],
                labeler_bias=state.get("labeler_bias", {}),
                **common,
            ),
        )
        for start in range(0, len(samples), size)
    ]


class _Common(TypedDict):
    run_id: str
    task_file: str
    round: int


def _common(state: RunState) -> _Common:
    return {
        "run_id": state.get("run_id", ""),
        "task_file": state.get("task_file", ""),
        "round": state["round"],
    }


def _by_id(samples: Iterable[Sample]) -> dict[str, dict[str, Any]]:
    return {one.id: one.model_dump() for one in samples}


def labeler_bias(session: Session, samples: Iterable[Sample]) -> dict[str, float]:
    """Return label → how much too often the labeler says it, over the first batch.

    That batch it reads in full; of later ones only what is doubtful. Empty where it has read none,
    or is not to be calibrated.
    """
    first = first_round(session.config)
    rows = [
        (one.labeler_probabilities, one.intended_label)
        for one in samples
        if one.labeler_probabilities is not None and one.round == first
    ]
    if not session.config.strategy.calibrate or not rows:
        return {}
    probabilities, intended = zip(*rows, strict=True)
    return label_bias(probabilities, intended, session.labels)


def count_decisions(samples: Iterable[Sample]) -> dict[str, Any]:
    """Return how many samples are accepted, and how many rejected by reason."""
    rows = list(samples)
    return {
        "accepted": sum(bool(one.accepted) for one in rows),
        "rejected": dict(Counter(one.reason or "" for one in rows if one.accepted is False)),
    }


def _hardest_first(samples: Iterable[Sample]) -> list[Sample]:
    """Wrong while confident comes first."""
    return sorted(samples, key=lambda one: -(one.prediction.confidence if one.prediction else 0))


def _closest_first(samples: Iterable[Sample]) -> list[Sample]:
    """Right, but barely, comes first."""
    return sorted(samples, key=lambda one: one.prediction.confidence if one.prediction else 1)


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
    return Shown(sample.text, label, label, sample.prediction.confidence)
