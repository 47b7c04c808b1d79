"""ELAD: the teacher is asked only where the student's own explanation is shaky.

prepare → explain → select → revise ⇉ inspect → critique ⇉ keep → train → record → decide → finish
             ↑                                                                        │
             └────────────────────────────────────────────────────────────────────────┘

After Zhang et al., ELAD (Findings of ACL 2024, arXiv 2402.13098): the student explains and answers
questions of a pool; those with the shakiest explanations are chosen; the reviser looks for the
first wrong step of the student's own explanation and corrects from there; the student is trained on
what came out. Arithmetic is recomputed by code; only where there is none the critic is asked.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from langgraph.graph import END, START
from langgraph.runtime import Runtime
from langgraph.types import Send

from evokd.errors import ReplyError
from evokd.graph import learning
from evokd.graph.failures import RELATED_OF, failure_of, related_failures
from evokd.graph.fitting import last_round, student_of
from evokd.graph.pooling import asked_numbers, draw_near, pool_of, random_of
from evokd.graph.reading import each_alone, send_in_batches
from evokd.graph.remembering import remember_samples
from evokd.graph.revising import (
    REVISE,
    inspect_revision,
    is_spent,
    judge_revision,
    revise_explanation,
    without_too_long,
)
from evokd.graph.session import RunContext, Session, new_builder, session_of
from evokd.graph.state import (
    ReadTask,
    RunState,
    accept_pending,
    by_id,
    count_decisions,
    read_drafts,
)
from evokd.memory.weakness import count_statuses, retest
from evokd.records import POOL, Failure, Sample, Weakness
from evokd.tasks import Mistake
from evokd.tasks.arithmetic import first_miscalculated
from evokd.tasks.reasoning import (
    MISCALCULATED,
    MISREASONED,
    explanation_counts,
    plain_mistake,
    question_of,
    read_answer,
)
from evokd.tools.reasoner import Reasoner
from evokd.tools.selection import NEAR
from evokd.tools.shakiness import look_closely
from evokd.tools.uncertainty import (
    RANKED_BY,
    Shakiness,
    choose_questions,
)

if TYPE_CHECKING:
    from langgraph.checkpoint.base import BaseCheckpointSaver
    from langgraph.graph.state import CompiledStateGraph

ALL_ASKED = "every question of the pool was revised"


def build_graph(
    checkpointer: BaseCheckpointSaver[Any] | None = None,
) -> CompiledStateGraph[Any, Any, Any, Any]:
    """Return the compiled graph; `langgraph dev` wants it without a checkpointer."""
    builder = new_builder()
    builder.add_node("prepare", learning.prepare_untrained)
    builder.add_node("explain", explain)
    builder.add_node("select", select)
    builder.add_node("revise", revise)
    builder.add_node("inspect", inspect)
    builder.add_node("critique", critique)
    builder.add_node("keep", keep)
    builder.add_node("train", train)
    builder.add_node("record", record)
    builder.add_node("decide", decide)
    builder.add_node("finish", learning.finish)
    builder.add_edge(START, "prepare")
    builder.add_edge("prepare", "explain")
    builder.add_edge("explain", "select")
    builder.add_conditional_edges("select", send_to_reviser, ["revise", "inspect"])
    builder.add_edge("revise", "inspect")
    to_critic: dict[Hashable, str] = {"critique": "critique", "keep": "keep"}
    builder.add_conditional_edges("inspect", send_to_critic, to_critic)
    builder.add_edge("critique", "keep")
    builder.add_edge("keep", "train")
    builder.add_edge("train", "record")
    builder.add_edge("record", "decide")
    builder.add_conditional_edges("decide", route_after_decide, ["explain", "finish"])
    builder.add_edge("finish", END)
    return builder.compile(checkpointer=checkpointer, name="elad")


def explain(state: RunState, runtime: Runtime[RunContext]) -> dict[str, Any]:
    """Have the last student explain and answer questions of the pool.

    They are drawn by chance, but for some that are like what it got wrong of open weaknesses.
    """
    session = session_of(state, runtime)
    round, strategy = state["round"], session.config.strategy
    with session.phase("explain", round):
        numbers = _drawn(session, round)
        rows = _candidates(session, round, numbers)
        student = student_of(session, last_round(session, round))
        assert isinstance(student, Reasoner)
        questions = [question_of(row) for row in rows]
        said = student.explain(questions)
        predictions = student.predictions(questions, said)
        shaky = look_closely(
            student,
            questions,
            said,
            [one.confidence for one in predictions],
            RANKED_BY[strategy.selection],
            samples=strategy.continuations,
            temperature=session.config.student.temperature,
            random_seed=random_of(session, round, "explanations").randrange(1 << 30),
        )
    counts = explanation_counts(predictions)
    told = "explains {explained} questions; {cut} cut off, {unanswered} without an answer"
    told = told.format(**counts)
    session.emit({"kind": "note", "text": f"round {round}: the student {told}"})
    candidates = [
        row.model_copy(
            update={
                "prediction": prediction,
                "intended_label": prediction.label,
                "uncertainty": kinds.by_kind,
            }
        )
        for row, prediction, kinds in zip(rows, predictions, shaky, strict=True)
    ]
    return {
        "candidates": [one.model_dump() for one in candidates],
        "explanations": counts,
        "mistakes": {
            one.id: plain_mistake(said) for one, said in zip(candidates, predictions, strict=True)
        },
        "drafts": None,
    }


def select(state: RunState, runtime: Runtime[RunContext]) -> dict[str, Any]:
    """Choose the questions whose explanations are revised, within the budget."""
    session = session_of(state, runtime)
    round, strategy = state["round"], session.config.strategy
    with session.phase("select", round):
        candidates = [Sample(**one) for one in state["candidates"]]
        count = session.budget.affordable(strategy.samples_per_round)
        shaky = [Shakiness(one.uncertainty) for one in candidates]
        rng = random_of(session, round, "selection")
        places = choose_questions(shaky, count, strategy.selection, rng)
        chosen = [candidates[place] for place in places]
    told = f"{len(chosen)} of {len(candidates)} explanations are revised"
    session.emit({"kind": "note", "text": f"round {round}: {told}"})
    return {"drafts": by_id(chosen), "candidates": [], "weaknesses": []}


def send_to_reviser(
    state: RunState, runtime: Runtime[RunContext]
) -> list[Send] | Literal["inspect"]:
    """Send the chosen questions to the reviser."""
    session = session_of(state, runtime)
    drafts = each_alone(read_drafts(state))
    return send_in_batches("revise", state, drafts, session, "reviser") or "inspect"


def revise(state: ReadTask, runtime: Runtime[RunContext]) -> dict[str, Any]:
    """Find the first wrong step of an explanation and have it corrected from there.

    Of the budget is kept back what the critic's verdicts will cost.
    """
    session = session_of(state, runtime)
    revised = []
    with session.phase(REVISE, state["round"]):
        for raw in state["samples"]:
            sample = Sample(**raw)
            if is_spent(session, sample):
                revised.append(sample.rejected("budget"))
                continue
            try:
                revised.append(revise_explanation(session, sample))
            except ReplyError as error:
                session.emit({"kind": "note", "text": str(error)})
                revised.append(sample.rejected("revision_unusable_reply"))
    return {"drafts": by_id(revised)}


def inspect(state: RunState, runtime: Runtime[RunContext]) -> dict[str, Any]:
    """Check the revisions by code: answers that can be read, arithmetic, and their length."""
    session = session_of(state, runtime)
    with session.phase("inspect", state["round"]):
        strategy = session.config.strategy
        inspected = [
            inspect_revision(
                one,
                session.answers,
                check_known=strategy.known_answers == "check",
                min_confidence=strategy.reviser_min_confidence,
            )
            if one.accepted is None
            else one
            for one in read_drafts(state)
        ]
        inspected = without_too_long(session, inspected)
        if not strategy.critic:
            inspected = [one.model_copy(update={"checked": False}) for one in inspected]
    return {"drafts": by_id(inspected)}


def send_to_critic(state: RunState, runtime: Runtime[RunContext]) -> list[Send] | Literal["keep"]:
    """Send the critic what code cannot recompute."""
    session = session_of(state, runtime)
    doubtful = [one for one in read_drafts(state) if one.accepted is None and one.checked]
    return send_in_batches("critique", state, each_alone(doubtful), session, "critic") or "keep"


def critique(state: ReadTask, runtime: Runtime[RunContext]) -> dict[str, Any]:
    """Have the critic judge a revised explanation, whatever is left: `revise` kept that back."""
    session = session_of(state, runtime)
    with session.phase("critique", state["round"]):
        judged = [judge_revision(session, Sample(**raw)) for raw in state["samples"]]
    return {"drafts": by_id(judged)}


def keep(state: RunState, runtime: Runtime[RunContext]) -> dict[str, Any]:
    """Accept what nobody rejected."""
    session = session_of(state, runtime)
    with session.phase("keep", state["round"]):
        kept = accept_pending(read_drafts(state))
    session.emit({"kind": "gate", "round": state["round"], **count_decisions(kept)})
    return {"drafts": by_id(kept)}


def train(state: RunState, runtime: Runtime[RunContext]) -> dict[str, Any]:
    """Train the next student on the revised explanations of all rounds."""
    session = session_of(state, runtime)
    round = state["round"]
    with session.phase("train", round):
        accepted = [one for one in read_drafts(state) if one.accepted]
        last = last_round(session, round)
        measured = learning.train_and_measure(session, round, last, accepted)
    session.emit({"kind": "trained", "round": round, **measured})
    return {"trained": measured}


def record(state: RunState, runtime: Runtime[RunContext]) -> dict[str, Any]:
    """Write samples and the round's line; what kinds of steps went wrong goes to memory."""
    session = session_of(state, runtime)
    with session.phase("record", state["round"]):
        found = state.get("mistakes", {})
        samples, counts = _remember(session, state["round"], read_drafts(state), found)
        session.run.write_samples(state["round"], samples)
    learning.write_round(session, state, samples, counts)
    return {"drafts": None}


def decide(state: RunState, runtime: Runtime[RunContext]) -> dict[str, Any]:
    """Stop as the loop does, or when every question of the pool was revised."""
    session = session_of(state, runtime)
    update = learning.decide(state, runtime)
    asked = asked_numbers(session.run.read_samples())
    if len(asked) >= len(pool_of(session)) and not update["stop"]:
        update |= {"stop": ALL_ASKED, "round": state["round"]}
    return update


def route_after_decide(state: RunState) -> Literal["explain", "finish"]:
    """Go on with the next round, or finish."""
    return "finish" if state["stop"] else "explain"


def _drawn(session: Session, round: int) -> list[int]:
    """Return the numbers of a round's candidates; a selection by chance looks at no failures."""
    strategy, asked = session.config.strategy, asked_numbers(session.run.read_samples())
    failures = _open_failures(session, round) if RANKED_BY[strategy.selection] else []
    number = strategy.candidates
    if not RANKED_BY[strategy.selection]:  # all that are explained are chosen
        number = min(number, session.budget.affordable(strategy.samples_per_round))
    near = int(NEAR * number) if failures else 0
    drawn = pool_of(session).draw(number - near, asked, random_of(session, round))
    return drawn + (draw_near(session, round, {*asked, *drawn}, failures, near) if near else [])


def _open_failures(session: Session, round: int) -> list[Failure]:
    """Return the latest failures of open weaknesses, and those like them in memory."""
    memory, run_id = session.memory, session.run.run_id
    if memory is None:
        return []
    open_ = {one.id for one in memory.open_weaknesses(run_id)}
    latest = [one for one in reversed(memory.failures(run_id)) if one.weakness in open_]
    wrong = latest[:RELATED_OF]
    return [*wrong, *related_failures(session, round, wrong)]


def _candidates(session: Session, round: int, numbers: Sequence[int]) -> list[Sample]:
    pool = pool_of(session)
    return [
        Sample(
            id=f"r{round:02d}p{number:07d}",
            text=text,
            round=round,
            call=POOL,
            role=POOL,
            intended_label="",
            split="train",
            choices=more.get("choices", []),
            known_answer=read_answer(more["answer"], session.answers, more.get("choices", []))
            if "answer" in more
            else None,
        )
        for number, text, more in zip(numbers, pool.texts(numbers), pool.more(numbers), strict=True)
    ]


def _remember(
    session: Session, round: int, samples: Sequence[Sample], found: Mapping[str, str]
) -> tuple[list[Sample], dict[str, int]]:
    """Write failures, and a weakness for every kind of wrong step; test those known before.

    The explanations of all candidates are the test: they are the student's before it is taught any.
    What is wrong with reasoning only the revised ones tell.

    Args:
        found: id → what is plainly wrong with the explanation of a candidate, or ''.

    Returns:
        The samples, each with the weakness it shows, and how many weaknesses there are by status.
    """
    memory, run_id = session.memory, session.run.run_id
    if memory is None:
        return list(samples), {}
    shown = {one.id: _mistake_of(session, one) for one in samples if one.accepted}
    errors = {name: said.error if said else "" for name, said in shown.items()}
    known = {one.labels[0]: one for one in memory.weaknesses(run_id) if one.round < round}
    names = {error: f"w{round:02d}-{error}" for error in session.kind.errors}
    names |= {error: one.id for error, one in known.items()}
    told = [
        one.model_copy(update={"weakness": names.get(errors.get(one.id, ""))}) for one in samples
    ]
    accepted = [one for one in told if one.accepted]
    failures = [failure_of(one, said, run_id) for one in accepted if (said := shown[one.id])]
    remember_samples(memory, run_id, round, accepted, failures)
    tested = []
    for error in session.kind.errors:
        seen = list((errors if error == MISREASONED else {**found, **errors}).values())
        if error in known:
            tested.append(retest(known[error], [one != error for one in seen], round))
        elif number := seen.count(error):
            tested.append(
                Weakness(
                    id=names[error],
                    name=error.replace("_", " "),
                    description=f"{number} of {len(seen)} explanations of round {round}",
                    labels=[error],
                    round=round,
                )
            )
    memory.put_weaknesses(tested)
    return told, count_statuses(memory.weaknesses(run_id))


def _mistake_of(session: Session, sample: Sample) -> Mistake | None:
    """Return what is wrong with the student's explanation, and in which step; None: nothing is.

    A right answer may stand after a wrong step, too.
    """
    said, revision = sample.prediction, sample.revision
    if said is None:
        return None
    at = revision.first_wrong if revision else None
    steps = said.steps or []
    part = steps[at] if at is not None and at < len(steps) else ""
    for mistake in session.kind.mistakes(sample, said):
        return replace(mistake, part=part)
    if at is None:
        return None
    error = MISCALCULATED if first_miscalculated(steps) == at else MISREASONED
    return Mistake(sample.label or "", said.label, error, part)


graph = build_graph()
