"""EvoKD: weakness-driven generation (Liu et al., 2024, arXiv 2403.06414).

prepare → evaluate → analyze → generate ⇉ screen → label ⇉ settle → critique ⇉ gate → train
                        ↑         ↑________________ refill _________________↙          ↓
                        └──────────────────────────── decide ← record ←────────────────┘
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langgraph.graph import END, START, StateGraph

from evokd.graph import learning, teaching
from evokd.graph.session import RunContext
from evokd.graph.state import RunInput, RunOutput, RunState

if TYPE_CHECKING:
    from langgraph.checkpoint.base import BaseCheckpointSaver
    from langgraph.graph.state import CompiledStateGraph


def build_graph(
    checkpointer: BaseCheckpointSaver[Any] | None = None,
) -> CompiledStateGraph[Any, Any, Any, Any]:
    """Return the compiled graph; `langgraph dev` wants it without a checkpointer."""
    builder = StateGraph(
        RunState, context_schema=RunContext, input_schema=RunInput, output_schema=RunOutput
    )
    builder.add_node("prepare", learning.prepare)
    builder.add_node("evaluate", learning.evaluate)
    builder.add_node("analyze", teaching.analyze_student)
    builder.add_node("generate", teaching.generate)
    builder.add_node("screen", teaching.screen)
    builder.add_node("label", teaching.label)
    builder.add_node("settle", teaching.settle)
    builder.add_node("critique", teaching.critique)
    builder.add_node("gate", teaching.gate)
    builder.add_node("refill", teaching.refill)
    builder.add_node("train", learning.train)
    builder.add_node("record", learning.record)
    builder.add_node("decide", learning.decide)
    builder.add_node("finish", learning.finish)
    builder.add_edge(START, "prepare")
    builder.add_edge("prepare", "evaluate")
    builder.add_edge("evaluate", "analyze")
    builder.add_conditional_edges("analyze", teaching.send_to_generator, ["generate", "screen"])
    builder.add_edge("generate", "screen")
    builder.add_conditional_edges("screen", teaching.send_to_labeler, ["label", "settle"])
    builder.add_edge("label", "settle")
    builder.add_conditional_edges("settle", teaching.send_to_critic, ["critique", "gate"])
    builder.add_edge("critique", "gate")
    builder.add_conditional_edges("gate", teaching.route_after_gate, ["refill", "train"])
    builder.add_conditional_edges("refill", teaching.send_to_generator, ["generate", "screen"])
    builder.add_edge("train", "record")
    builder.add_edge("record", "decide")
    builder.add_conditional_edges("decide", learning.route_after_decide, ["analyze", "finish"])
    builder.add_edge("finish", END)
    return builder.compile(checkpointer=checkpointer, name="evokd")


graph = build_graph()
