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
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from langgraph.graph import END, START
from langgraph.runtime import Runtime
from langgraph.types import Send

from evokd.agents.card import solved_first
from evokd.agents.critic import judge_explanation
from evokd.agents.reviser import Correction, Reviser, first_apart, rest_of
from evokd.agents.teacher import Call
from evokd.errors import ReplyError
from evokd.graph import learning
from evokd.graph.failures import RELATED_OF, failure_of, related_failures
from evokd.graph.pooling import asked_numbers, draw_near, pool_of, random_of
from evokd.graph.prompts import shown_seed
from evokd.graph.reading import each_alone, send_in_batches
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
from evokd.records import POOL, Failure, Prediction, Revision, Sample, Weakness
from evokd.tasks import Mistake
from evokd.tasks.arithmetic import first_miscalculated, goes_against, is_worked_out
from evokd.tasks.explanations import AnswerForm, canonical_answer, form_with, same_answer
from evokd.tasks.reasoning import (
    MISCALCULATED,
    MISREASONED,
    Question,
    asked_question,
    explanation_counts,
    plain_mistake,
    question_of,
    read_answer,
)
from evokd.tools.reasoner import Explained, Prefix, Reasoner, explanation_tokens
from evokd.tools.selection import NEAR
from evokd.tools.uncertainty import (
    CONFIDENCE,
    ENTROPY,
    INTER,
    INTRA,
    RANKED_BY,
    Shakiness,
    answer_entropy,
    choose_questions,
    disagreement,
)

if TYPE_CHECKING:
    from langgraph.checkpoint.base import BaseCheckpointSaver
    from langgraph.graph.state import CompiledStateGraph

SEEDS_ONLY = 0  # the round whose student knows what an explanation looks like, and no more
REVISE = "revise"  # phase and purpose
ALL_ASKED = "every question of the pool was revised"


def build_graph(
    checkpointer: BaseCheckpointSaver[Any] | None = None,
) -> CompiledStateGraph[Any, Any, Any, Any]:
    """Return the compiled graph; `langgraph dev` wants it without a checkpointer."""
    builder = new_builder()
    builder.add_node("prepare", prepare)
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


def prepare(state: RunState, runtime: Runtime[RunContext]) -> dict[str, Any]:
    """Note the student as it is, the baseline, and teach it the seeds' explanations: round 0."""
    session = session_of(state, runtime)
    seeds = learning.rows_for(session.config, session.data.seed)
    with session.phase("prepare", SEEDS_ONLY):
        for round, rows in ((learning.BASELINE, []), (SEEDS_ONLY, seeds)):
            known = (session.run.student_of_round(round) / "config.json").exists()
            if not known and (rows or round == learning.BASELINE):
                learning.fit_student(session, rows, round)
    if not seeds:
        return learning.BEGINNING | {"round": 1}
    learning.write_seeds_round(session, len(seeds))
    return learning.BEGINNING | {"round": 1, "best_round": SEEDS_ONLY}


def explain(state: RunState, runtime: Runtime[RunContext]) -> dict[str, Any]:
    """Have the last student explain and answer questions of the pool.

    They are drawn by chance, but for some that are like what it got wrong of open weaknesses.
    """
    session = session_of(state, runtime)
    round, strategy = state["round"], session.config.strategy
    with session.phase("explain", round):
        numbers = _drawn(session, round)
        rows = _candidates(session, round, numbers)
        student = learning.student_of(session, learning.last_round(session, round))
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
            if _is_spent(session, sample):
                revised.append(sample.rejected("budget"))
                continue
            try:
                revised.append(_revised(session, sample))
            except ReplyError as error:
                session.emit({"kind": "note", "text": str(error)})
                revised.append(sample.rejected("revision_unusable_reply"))
    return {"drafts": by_id(revised)}


def inspect(state: RunState, runtime: Runtime[RunContext]) -> dict[str, Any]:
    """Check the revisions by code: answers that can be read, arithmetic, and their length."""
    session = session_of(state, runtime)
    with session.phase("inspect", state["round"]):
        checks = session.config.strategy.known_answers == "check"
        inspected = [
            inspect_revision(one, session.answers, check_known=checks)
            if one.accepted is None
            else one
            for one in read_drafts(state)
        ]
        inspected = _without_too_long(session, inspected)
        if not session.config.strategy.critic:
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
        judged = [_judged(session, Sample(**raw)) for raw in state["samples"]]
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
        last = learning.last_round(session, round)
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


def look_closely(
    student: Reasoner,
    questions: Sequence[Question],
    said: Sequence[Explained],
    sure: Sequence[float],
    kinds: Sequence[str],
    *,
    samples: int,
    temperature: float,
    random_seed: int,
) -> list[Shakiness]:
    """Return how shaky each explanation is, by the kinds of uncertainty that are asked for.

    Args:
        said: the likeliest explanation of each question.
        sure: the confidence in each one's answer.
        samples: explanations sampled after each step; of a whole one twice as many.
    """
    found: list[dict[str, float]] = [{} for _ in questions]
    prefixes = [
        Prefix(question, one.steps[:place])
        for question, one in zip(questions, said, strict=True)
        for place in range(max(1, len(one.steps)))
    ]
    owners = [at for at, one in enumerate(said) for _ in range(max(1, len(one.steps)))]
    sampling: dict[str, Any] = {"temperature": temperature, "random_seed": random_seed}
    same = [
        partial(same_answer, form=form_with(q.choices, student.answer_form), choices=q.choices)
        for q in questions
    ]

    def share_out(answers: Sequence[str], owners: Sequence[int]) -> list[list[str]]:
        shared: list[list[str]] = [[] for _ in questions]
        for owner, answer in zip(owners, answers, strict=True):
            shared[owner].append(answer)
        return shared

    if INTRA in kinds:
        shared = share_out(student.answers(prefixes), owners)
        for row, answers, one, is_same in zip(found, shared, said, same, strict=True):
            row[INTRA] = disagreement(answers, one.answer, is_same)
    if INTER in kinds:
        again = student.go_on(prefixes, samples=samples, **sampling)
        repeated = [owner for owner in owners for _ in range(samples)]
        shared = share_out([one.answer for one in again], repeated)
        for row, answers, one, is_same in zip(found, shared, said, same, strict=True):
            row[INTER] = disagreement(answers, one.answer, is_same)
    if CONFIDENCE in kinds:
        for row, confidence in zip(found, sure, strict=True):
            row[CONFIDENCE] = 1.0 - confidence
    if ENTROPY in kinds:
        number = 2 * samples
        again = student.explain(questions, samples=number, **sampling)
        repeated = [at for at in range(len(questions)) for _ in range(number)]
        shared = share_out([one.answer for one in again], repeated)
        for row, answers, is_same in zip(found, shared, same, strict=True):
            row[ENTROPY] = answer_entropy(answers, is_same)
    return [Shakiness(row) for row in found]


def inspect_revision(sample: Sample, answers: AnswerForm, *, check_known: bool) -> Sample:
    """Return a revised sample with its answer, or rejected with the reason.

    A revision whose last step ends with a sum that comes to its answer needs no critic.

    Args:
        answers: the form of an answer to a question without choices.
        check_known: an answer that the pool knows has to be met.
    """
    revision = sample.revision
    if revision is None:
        return sample.rejected("revision_missing")
    if not revision.steps:
        return sample.rejected("no_steps")
    form = form_with(sample.choices, answers)
    answer = canonical_answer(revision.answer, form, sample.choices)
    if not answer:
        return sample.rejected("answer_outside_options" if sample.choices else "answer_unreadable")
    if first_miscalculated(revision.steps) is not None:
        return sample.rejected("miscalculated")
    if (
        check_known
        and sample.known_answer
        and not same_answer(answer, sample.known_answer, form, sample.choices)
    ):
        return sample.rejected("not_the_known_answer")
    last = revision.steps[-1]
    if form == "number" and goes_against(last, answer):
        return sample.rejected("answer_contradicts_steps")
    proven = form == "number" and is_worked_out(answer, last)
    return sample.model_copy(update={"label": answer, "checked": not proven})


def _without_too_long(session: Session, samples: Sequence[Sample]) -> list[Sample]:
    """Reject the revisions that the student could not write to their end."""
    told = [(one.revision.steps if one.revision else [], one.label or "") for one in samples]
    lengths = explanation_tokens(session.student_source, told)
    most = session.config.student.max_new_tokens
    return [
        one.rejected("explanation_too_long") if one.accepted is None and length > most else one
        for one, length in zip(samples, lengths, strict=True)
    ]


def _drawn(session: Session, round: int) -> list[int]:
    """Return the numbers of a round's candidates; a selection by chance looks at no failures."""
    strategy, asked = session.config.strategy, asked_numbers(session.run.read_samples())
    failures = _open_failures(session, round) if RANKED_BY[strategy.selection] else []
    near = int(NEAR * strategy.candidates) if failures else 0
    drawn = pool_of(session).draw(strategy.candidates - near, asked, random_of(session, round))
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


def _is_spent(session: Session, sample: Sample) -> bool:
    """Whether what is left of the budget is needed to judge what the round has revised.

    The sample counts, too, and so does what other branches have begun with.
    """
    if not session.config.strategy.critic:
        return bool(session.budget.reached())
    purposes = session.ledger.purposes(sample.round, f"{REVISE}:")
    begun = {one.split(":")[1] for one in purposes}
    return bool(session.budget.reached(to_read=len(begun | {sample.id})))


def _revised(session: Session, sample: Sample) -> Sample:
    """Return a sample with its revision, or rejected where the budget ends before a correction."""
    said = sample.prediction
    assert said is not None
    reviser = _reviser(session)
    call = Call(sample.round, f"{REVISE}:{sample.id}")
    question = asked_question(sample.text, sample.choices)
    steps = said.steps or []
    asked = call, form_with(sample.choices, session.answers), sample.choices
    if session.config.strategy.annotation == "whole":
        own = reviser.explain(question, *asked)
        broken = _broken(said, own, *asked[1:])
        return sample.model_copy(update={"revision": _revision([], own, first_wrong=broken)})
    if session.config.strategy.annotation == "solved":
        own = reviser.explain(question, *asked)
        revision = _beside(reviser, question, said, own, *asked)
        return sample.model_copy(update={"revision": revision})
    walk = reviser.walk(question, steps, said.label, call, first_miscalculated(steps))
    at, verdicts = walk.first_wrong, list(walk.verdicts)
    if at is None and steps:
        revision = Revision(steps=steps, answer=said.label, verdicts=verdicts)
    elif verdicts and _is_spent(session, sample):
        return sample.rejected("budget")
    else:  # an answer alone explains nothing, right as it may be
        wrong = steps[at] if at is not None and at < len(steps) else ""
        own = reviser.correct(question, steps[:at], wrong, *asked)
        revision = _revision(steps[:at], own, verdicts=verdicts, first_wrong=at)
    return sample.model_copy(update={"revision": revision})


def _reviser(session: Session) -> Reviser:
    return Reviser(
        session.teachers["reviser"],
        session.prompts["reviser"],
        session.card,
        session.config.task.instructions,
        [
            row
            for row in solved_first(shown_seed(session.config, session.data.seed))
            if row.rationale
        ],
    )


def _beside(
    reviser: Reviser,
    question: str,
    said: Prediction,
    own: Correction,
    call: Call,
    form: AnswerForm,
    choices: Sequence[str],
) -> Revision:
    """Return the student's explanation as far as the reviser's own bears it out, then that one.

    An answer alone, without a step, explains nothing.
    """
    steps = said.steps or []
    walk = reviser.compare(question, steps, own.steps, call)
    agrees = same_answer(said.label, own.answer, form, choices)
    verdicts, at = list(walk.verdicts), walk.first_wrong
    if at is None:
        verdicts += [agrees] if said.label else []
        at = None if agrees else len(steps)
    if at is None and steps:
        return Revision(steps=steps, answer=said.label, verdicts=verdicts, compared=True)
    kept = steps[:at]
    rest = Correction(tuple(rest_of(own.steps, kept)), own.answer)
    return _revision(kept, rest, verdicts=verdicts, first_wrong=at, compared=True)


def _broken(
    said: Prediction, own: Correction, form: AnswerForm, choices: Sequence[str]
) -> int | None:
    """Return where an explanation broke, as far as code can tell that has another one beside it.

    At its first wrong sum; where its answer is another one, at the first result that the other one
    has not, or at the answer.
    """
    steps = said.steps or []
    broken = first_miscalculated(steps)
    if broken is not None or same_answer(said.label, own.answer, form, choices):
        return broken
    apart = first_apart(steps, own.steps)
    return len(steps) if apart is None else apart


def _revision(kept: Sequence[str], own: Correction, **more: Any) -> Revision:
    """Return what is kept of the student's steps, and the reviser's after them."""
    return Revision(steps=[*kept, *own.steps], answer=own.answer, **more)


def _judged(session: Session, sample: Sample) -> Sample:
    revision, strategy = sample.revision, session.config.strategy
    assert revision is not None
    call = Call(sample.round, f"critique:{sample.id}")
    question = asked_question(sample.text, sample.choices)
    asked = session.teachers["critic"], session.prompts["critic"], session.card
    try:
        sure = judge_explanation(*asked, question, revision.steps, sample.label or "", call)
    except ReplyError as error:
        session.emit({"kind": "note", "text": str(error)})
        return sample.rejected("critic_unusable_reply")
    verdict = "accept" if sure >= strategy.critic_min_confidence else "reject"
    judged = sample.model_copy(update={"critic_verdict": verdict, "critic_confidence": sure})
    return judged if verdict == "accept" else judged.rejected("critic_explanation")


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
    learning.remember_samples(memory, run_id, round, accepted, failures)
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
