"""EvoKD: weakness-driven generation (Liu et al., 2024, arXiv 2403.06414).

prepare → evaluate → analyze → generate ⇉ screen → label ⇉ settle → critique ⇉ gate → train
                        ↑         ↑________________ refill _________________↙          ↓
                        └── choose_words ←─────────── decide ← record ←────────────────┘

With `strategy.names`, where entities are taught, `evaluate ⇉ list_names → analyze`: `naming.py`.
`choose_words ⇉ label_words → keep_words` is passed once, after the first batch: `vocabulary.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langgraph.graph import END, START

from evokd.graph import gating, learning, naming, reading, vocabulary, writing
from evokd.graph.session import new_builder

if TYPE_CHECKING:
    from langgraph.checkpoint.base import BaseCheckpointSaver
    from langgraph.graph.state import CompiledStateGraph


def build_graph(
    checkpointer: BaseCheckpointSaver[Any] | None = None,
) -> CompiledStateGraph[Any, Any, Any, Any]:
    """Return the compiled graph; `langgraph dev` wants it without a checkpointer."""
    builder = new_builder()
    builder.add_node("prepare", learning.prepare)
    builder.add_node("evaluate", learning.evaluate)
    builder.add_node("list_names", naming.list_names)
    builder.add_node("analyze", writing.analyze_student)
    builder.add_node("generate", writing.generate)
    builder.add_node("screen", reading.screen)
    builder.add_node("label", reading.label)
    builder.add_node("settle", reading.settle)
    builder.add_node("critique", reading.critique)
    builder.add_node("gate", gating.gate)
    builder.add_node("refill", writing.refill)
    builder.add_node("train", learning.train)
    builder.add_node("record", learning.record)
    builder.add_node("decide", learning.decide)
    builder.add_node("choose_words", vocabulary.choose_words)
    builder.add_node("label_words", vocabulary.label_words)
    builder.add_node("keep_words", vocabulary.keep_words)
    builder.add_node("finish", learning.finish)
    builder.add_edge(START, "prepare")
    builder.add_edge("prepare", "evaluate")
    builder.add_conditional_edges("evaluate", naming.send_to_list, ["list_names", "analyze"])
    builder.add_edge("list_names", "analyze")
    builder.add_conditional_edges("analyze", writing.send_to_generator, ["generate", "screen"])
    builder.add_edge("generate", "screen")
    builder.add_conditional_edges("screen", reading.send_to_labeler, ["label", "settle"])
    builder.add_edge("label", "settle")
    builder.add_conditional_edges("settle", reading.send_to_critic, ["critique", "gate"])
    builder.add_edge("critique", "gate")
    builder.add_conditional_edges("gate", gating.route_after_gate, ["refill", "train"])
    builder.add_conditional_edges("refill", writing.send_to_generator, ["generate", "screen"])
    builder.add_edge("train", "record")
    builder.add_edge("record", "decide")
    builder.add_conditional_edges(
        "decide",
        learning.route_after_decide,
        {"analyze": "choose_words", "finish": "finish"},
    )
    builder.add_conditional_edges("choose_words", vocabulary.send_words, ["label_words", "analyze"])
    builder.add_edge("label_words", "keep_words")
    builder.add_edge("keep_words", "analyze")
    builder.add_edge("finish", END)
    return builder.compile(checkpointer=checkpointer, name="evokd")


graph = build_graph()
