"""LLKD: unlabelled texts, teacher confidence and student uncertainty.

prepare → calibrate → score_pool → choose → label ⇉ settle → critique ⇉ keep → train
                          ↑                                                      ↓
                          └──────────────────── decide ← record ←────────────────┘

After Li et al., Learning with Less (Findings of NAACL 2025, arXiv 2411.08028). Two modes:

paper     the teacher labels the pool, a part of it each round, however many that takes; then one
          student is trained, and every step keeps the rows of which the teacher is sure and the
          student is not; the critic is not asked
budgeted  ours: the student chooses which texts the teacher is asked about, so that teacher tokens
          are saved, too; a text is learnt with the label that the labeler and the texts like it
          give it together, and a student is trained every round, while labels are few on some of
          its own, too; held-out rows are drawn by chance; what the student confused becomes a
          weakness, and failures like it steer what is asked next
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any, Literal

from langgraph.graph import END, START
from langgraph.runtime import Runtime

from evokd.graph import learning, reading
from evokd.graph.calibrating import calibrate_labeler
from evokd.graph.planning import Aim
from evokd.graph.pooling import (
    asked_numbers,
    calibrated,
    choose_texts,
    draw_by_chance,
    draw_by_label,
    last_failures,
    pool_drafts,
    score_all,
    score_some,
    settle_pool,
    texts_left,
    with_weakness,
)
from evokd.graph.session import RunContext, Session, new_builder, session_of
from evokd.graph.state import (
    RunState,
    accept_pending,
    by_id,
    count_decisions,
    read_drafts,
)
from evokd.graph.strategies import LABELLED_TOGETHER, selects_in_steps
from evokd.records import Failure, Weakness
from evokd.tools.selection import LOOKS_AT_STUDENT, balanced_shares

if TYPE_CHECKING:
    from langgraph.checkpoint.base import BaseCheckpointSaver
    from langgraph.graph.state import CompiledStateGraph

ALL_ASKED = "every text of the pool was asked"
NOT_TRAINED: dict[str, Any] = {
    "trained": False,
    "train_rows": 0,
    "probe_rows": 0,
    "probe": None,
    "per_label": {},
    "fresh": None,
    "errors": {},
    "kept_rows": None,
}


def build_graph(
    checkpointer: BaseCheckpointSaver[Any] | None = None,
) -> CompiledStateGraph[Any, Any, Any, Any]:
    """Return the compiled graph; `langgraph dev` wants it without a checkpointer."""
    builder = new_builder()
    builder.add_node("prepare", learning.prepare)
    builder.add_node("calibrate", calibrate_labeler)
    builder.add_node("score_pool", score_pool)
    builder.add_node("choose", choose)
    builder.add_node("label", reading.label)
    builder.add_node("settle", settle)
    builder.add_node("critique", reading.critique)
    builder.add_node("keep", keep)
    builder.add_node("train", train)
    builder.add_node("record", learning.record)
    builder.add_node("decide", decide)
    builder.add_node("finish", learning.finish)
    builder.add_edge(START, "prepare")
    builder.add_edge("prepare", "calibrate")
    builder.add_edge("calibrate", "score_pool")
    builder.add_edge("score_pool", "choose")
    builder.add_conditional_edges("choose", reading.send_to_labeler, ["label", "settle"])
    builder.add_edge("label", "settle")
    # The loop's router, with what stands here for the loop's `gate`.
    to_critic: dict[Hashable, str] = {"critique": "critique", "gate": "keep"}
    builder.add_conditional_edges("settle", reading.send_to_critic, to_critic)
    builder.add_edge("critique", "keep")
    builder.add_edge("keep", "train")
    builder.add_edge("train", "record")
    builder.add_edge("record", "decide")
    builder.add_conditional_edges("decide", route_after_decide, ["score_pool", "finish"])
    builder.add_edge("finish", END)
    return builder.compile(checkpointer=checkpointer, name="llkd")


def score_pool(state: RunState, runtime: Runtime[RunContext]) -> dict[str, Any]:
    """Have the last student look at the pool, where that decides what is asked."""
    session = session_of(state, runtime)
    chooses = not selects_in_steps(session.config)
    if chooses and session.config.strategy.selection in LOOKS_AT_STUDENT:
        with session.phase("score_pool", state["round"]):
            score_all(session, state["round"])
    return {}


def choose(state: RunState, runtime: Runtime[RunContext]) -> dict[str, Any]:
    """Choose what the teacher is asked about.

    Held-out rows are drawn by chance; up to half of them, or with validation rows all, among those
    of the labels that new weaknesses confuse.
    """
    session = session_of(state, runtime)
    strategy, round = session.config.strategy, state["round"]
    with session.phase("choose", round):
        in_steps = selects_in_steps(session.config)
        total = LABELLED_TOGETHER
        if not in_steps:
            total = session.budget.affordable(strategy.samples_per_round)
        total = min(total, texts_left(session))
        asked = asked_numbers(session.run.read_samples())
        aims = _new_aims(session, round)
        room = 0 if in_steps else _at_least_one(strategy.probe_share, total)
        tests = held_out_for(aims, room if session.data.validation else room // 2)
        if tests and strategy.selection not in LOOKS_AT_STUDENT:
            score_some(session, round, asked)
        held_out = draw_by_label(session, round, asked, tests)
        if not session.data.validation:
            by_chance = room - len(held_out)
            held_out += draw_by_chance(session, round, {*asked, *held_out}, by_chance)
        learned = Counter(one.label for one in session.accepted() if one.split == "train")
        shares = balanced_shares(max(0, total - len(held_out)), session.labels, learned)
        selection = "random" if in_steps else None
        chosen = choose_texts(session, round, asked, shares, held_out, selection)
        drafts = pool_drafts(session, round, held_out, chosen)
    told = f"asks about {len(chosen)} texts of the pool and, held out, {len(held_out)}"
    session.emit({"kind": "note", "text": f"round {round}: {told}"})
    return {
        "assignments": [],
        "drafts": by_id(drafts),
        "weaknesses": [aim.model_dump() for aim in aims],
    }


def settle(state: RunState, runtime: Runtime[RunContext]) -> dict[str, Any]:
    """Give what the labeler has read its label; only contested rows go to the critic.

    Without consensus what it is unsure of is left out, see `settle_pool`.

    Contested is a row that teacher and student are both sure of, and differ.
    """
    session = session_of(state, runtime)
    with session.phase("settle", state["round"]):
        trusted = state["labeler_bias"], state["temperature"], session.labels
        drafts = [calibrated(one, *trusted) for one in read_drafts(state)]
        settled = settle_pool(session, state["round"], drafts)
    return {"drafts": by_id(settled)}


def keep(state: RunState, runtime: Runtime[RunContext]) -> dict[str, Any]:
    """Accept what nobody rejected."""
    session = session_of(state, runtime)
    with session.phase("keep", state["round"]):
        aims = [Aim(**one).weakness for one in state["weaknesses"]]
        kept = [with_weakness(one, aims) for one in accept_pending(read_drafts(state))]
    session.emit({"kind": "gate", "round": state["round"], **count_decisions(kept)})
    return {"drafts": by_id(kept)}


def train(state: RunState, runtime: Runtime[RunContext]) -> dict[str, Any]:
    """Train the next student; in the paper mode once, when the teacher has labelled its last."""
    session = session_of(state, runtime)
    if not selects_in_steps(session.config):
        return learning.train(state, runtime)
    left = texts_left(session, read_drafts(state))
    stop = session.budget.reached() if left else ALL_ASKED
    update = learning.train(state, runtime) if stop else {"trained": NOT_TRAINED}
    return update | {"stop": stop}


def decide(state: RunState, runtime: Runtime[RunContext]) -> dict[str, Any]:
    """Stop as the loop does, or when every text of the pool was asked.

    The paper mode stops for the pool or the budget only, as `train` found.
    """
    session = session_of(state, runtime)
    if selects_in_steps(session.config):
        return {"round": state["round"] + (0 if state["stop"] else 1)}
    update = learning.decide(state, runtime)
    if not texts_left(session) and not update["stop"]:
        update |= {"stop": ALL_ASKED, "round": state["round"]}
    return update


def route_after_decide(state: RunState) -> Literal["score_pool", "finish"]:
    """Go on with the next round, or finish."""
    return "finish" if state["stop"] else "score_pool"


def _new_aims(session: Session, round: int) -> list[Aim]:
    """Return what the student was not known to confuse; nothing where nothing is remembered."""
    if session.memory is None:
        return []
    known = {tuple(one.labels) for one in session.memory.weaknesses(session.run.run_id)}
    wrong = [
        one for one in last_failures(session, round) if (one.label, one.predicted) not in known
    ]
    return aims_of(wrong, round, session.config.strategy.max_weaknesses)


def aims_of(wrong: Sequence[Failure], round: int, most: int) -> list[Aim]:
    """Return what the student confuses as weaknesses, the most frequent confusions first.

    Args:
        wrong: failures of the last batch; a confusion of one text is none.
        most: as many weaknesses at most.
    """
    counts = Counter((one.label, one.predicted) for one in wrong)
    named = [(pair, texts) for pair, texts in counts.most_common(most) if texts > 1]
    return [
        Aim(
            weakness=Weakness(
                id=f"w{round:02d}-{place}",
                name=f"{label} taken for {predicted}",
                description=f"{texts} of the texts asked about in round {round - 1}",
                labels=[label, predicted],
                round=round,
            ),
            vary="",
            hard=1,
            easy=0,
        )
        for place, ((label, predicted), texts) in enumerate(named)
    ]


def held_out_for(aims: Sequence[Aim], room: int) -> Counter[str]:
    """Return label → how many held-out texts new weaknesses have drawn for them, at most `room`.

    Of each weakness first a text that looks like it, then one that may be taken for another: by
    what the student calls them.
    """
    pairs = [aim.weakness.labels for aim in aims]
    labels = [label for pair in zip(*pairs, strict=True) for label in pair]
    return Counter(labels[:room])


def _at_least_one(share: float, total: int) -> int:
    return max(1, round(share * total)) if share and total > 1 else 0


graph = build_graph()
