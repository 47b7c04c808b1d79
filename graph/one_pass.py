"""Baselines that never look at the student: texts are written once and kept as they come.

static  one pass of plain texts per label (the style of ZeroGen, Ye et al., 2022)
attr    the same with attributes drawn for every text (AttrPrompt, Yu et al., 2023)

prepare → (plan_attributes) → plan_texts → generate ⇉ sift → (label ⇉) collect → train → record
                                  ↑___________________________ decide ______________________↙

Where the task is to find entities, somebody has to say where they are: then the labeler reads
every text, and what it says stands. The texts come in batches, so that there is a learning curve;
a batch knows nothing of the student trained on the last one. The generator, its prompt, the
student and its schedule are `evokd`'s.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, Any, Literal

from langgraph.graph import END, START, StateGraph
from langgraph.runtime import Runtime
from langgraph.types import Send

from evokd.agents.attributes import Attributes, find_attributes
from evokd.agents.teacher import Call
from evokd.errors import ReplyError
from evokd.graph import learning, reading, writing
from evokd.graph.planning import PlannedCall, label_quotas, plan_round, to_plain
from evokd.graph.session import RunContext, Session, new_builder, session_of
from evokd.graph.state import (
    RunInput,
    RunOutput,
    RunState,
    by_id,
    count_decisions,
    read_drafts,
)

if TYPE_CHECKING:
    from langgraph.checkpoint.base import BaseCheckpointSaver
    from langgraph.graph.state import CompiledStateGraph


def build_static(
    checkpointer: BaseCheckpointSaver[Any] | None = None,
) -> CompiledStateGraph[Any, Any, Any, Any]:
    """Return the graph of plain one-pass generation."""
    builder = _builder()
    builder.add_edge("prepare", "plan_texts")
    return builder.compile(checkpointer=checkpointer, name="static")


def build_attr(
    checkpointer: BaseCheckpointSaver[Any] | None = None,
) -> CompiledStateGraph[Any, Any, Any, Any]:
    """Return the graph of attribute-varied generation."""
    builder = _builder()
    builder.add_node("plan_attributes", plan_attributes)
    builder.add_edge("prepare", "plan_attributes")
    builder.add_edge("plan_attributes", "plan_texts")
    return builder.compile(checkpointer=checkpointer, name="attr")


def plan_attributes(state: RunState, runtime: Runtime[RunContext]) -> dict[str, Any]:
    """Ask the analyst in what texts of the task differ, and for topics of every label."""
    session = session_of(state, runtime)
    with session.phase("plan_attributes", state["round"]):
        asked = (session.teachers["analyst"], session.prompts["attributes"], session.card)
        labels = {}
        for label in session.targets:
            try:
                labels[label] = find_attributes(
                    *asked, label, Call(state["round"], f"attributes:{label}")
                )
            except ReplyError as error:
                session.emit({"kind": "note", "text": str(error)})
                labels[label] = Attributes(topics=[], styles=[])
    return {"attributes": {label: one.model_dump() for label, one in labels.items()}}


def plan_texts(state: RunState, runtime: Runtime[RunContext]) -> dict[str, Any]:
    """Share the batch out evenly over the labels, those without entities by their own share."""
    session = session_of(state, runtime)
    strategy = session.config.strategy
    texts = session.budget.affordable(strategy.samples_per_round)
    wanted = label_quotas(texts, dict.fromkeys(session.targets, 1.0), strategy.empty_share)
    calls = plan_round(state["round"], 0, strategy, wanted, {}, (), {}, plain=True)
    if state.get("attributes"):
        calls = [_with_attributes(session, state, call) for call in calls]
    session.emit({"kind": "plan", "round": state["round"], "weaknesses": []})
    return {"assignments": to_plain(calls), "drafts": None}


def sift(state: RunState, runtime: Runtime[RunContext]) -> dict[str, Any]:
    """Reject broken texts, leaks and exact copies, and nothing else."""
    session = session_of(state, runtime)
    with session.phase("sift", state["round"]):
        drafts = read_drafts(state)
        known = reading.known_rows(session, state["round"], drafts, drafts)
        sifted = reading.screen_drafts(session, drafts, known, exact=True)
    return {"drafts": by_id(sifted)}


def send_to_labeler(
    state: RunState, runtime: Runtime[RunContext]
) -> list[Send] | Literal["settle"]:
    """Have entities named; a text's one label is known."""
    session = session_of(state, runtime)
    return "settle" if session.kind.exclusive else reading.send_to_labeler(state, runtime)


def collect(state: RunState, runtime: Runtime[RunContext]) -> dict[str, Any]:
    """Keep every text under the label it was written for, or with the entities that were named."""
    session = session_of(state, runtime)
    with session.phase("collect", state["round"]):
        kept = [
            one.model_copy(
                update={"accepted": True, "label": one.labeler_label or one.intended_label}
            )
            if one.accepted is None
            else one
            for one in read_drafts(state)
        ]
    session.emit({"kind": "gate", "round": state["round"], **count_decisions(kept)})
    return {"drafts": by_id(kept)}


def route_after_decide(state: RunState) -> Literal["plan_texts", "finish"]:
    """Go on with the next batch, or finish."""
    return "finish" if state["stop"] else "plan_texts"


def _with_attributes(session: Session, state: RunState, call: PlannedCall) -> PlannedCall:
    """Draw a topic and a style for every text of a call."""
    known = Attributes(**state["attributes"][call.label])
    rng = call.rng(session.config.random_seed)
    return call.model_copy(update={"attributes": [known.draw(rng) for _ in range(call.texts)]})


def _builder() -> StateGraph[RunState, RunContext, RunInput, RunOutput]:
    builder = new_builder()
    builder.add_node("prepare", learning.prepare)
    builder.add_node("plan_texts", plan_texts)
    builder.add_node("generate", writing.generate)
    builder.add_node("sift", sift)
    builder.add_node("label", reading.label)
    builder.add_node("collect", collect)
    builder.add_node("train", learning.train)
    builder.add_node("record", learning.record)
    builder.add_node("decide", learning.decide)
    builder.add_node("finish", learning.finish)
    builder.add_edge(START, "prepare")
    # The loop's routers, with what stands here for the loop's `screen` and `settle`.
    to_generator: dict[Hashable, str] = {"generate": "generate", "screen": "sift"}
    builder.add_conditional_edges("plan_texts", writing.send_to_generator, to_generator)
    builder.add_edge("generate", "sift")
    to_labeler: dict[Hashable, str] = {"label": "label", "settle": "collect"}
    builder.add_conditional_edges("sift", send_to_labeler, to_labeler)
    builder.add_edge("label", "collect")
    builder.add_edge("collect", "train")
    builder.add_edge("train", "record")
    builder.add_edge("record", "decide")
    builder.add_conditional_edges("decide", route_after_decide, ["plan_texts", "finish"])
    builder.add_edge("finish", END)
    return builder
