"""The two ends of every comparison, which ask no teacher.

fewshot   the student on the seeds alone: what anybody has without evokd
fullshot  the student on all gold rows of `data.train`: the ceiling

Of questions it learns the gold explanations; the baseline is then the student before that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langgraph.graph import END, START, StateGraph
from langgraph.runtime import Runtime

from evokd.graph import learning
from evokd.graph.session import RunContext, new_builder, session_of
from evokd.graph.state import RunInput, RunOutput, RunState

if TYPE_CHECKING:
    from langgraph.checkpoint.base import BaseCheckpointSaver
    from langgraph.graph.state import CompiledStateGraph


def build_fewshot(
    checkpointer: BaseCheckpointSaver[Any] | None = None,
) -> CompiledStateGraph[Any, Any, Any, Any]:
    """Return the graph that stops after the seeds."""
    builder = _builder()
    builder.add_edge("prepare", "finish")
    return builder.compile(checkpointer=checkpointer, name="fewshot")


def build_fullshot(
    checkpointer: BaseCheckpointSaver[Any] | None = None,
) -> CompiledStateGraph[Any, Any, Any, Any]:
    """Return the graph that learns all gold rows at once."""
    builder = _builder()
    builder.add_node("learn_gold", learning.learn_gold)
    builder.add_edge("prepare", "learn_gold")
    builder.add_edge("learn_gold", "finish")
    return builder.compile(checkpointer=checkpointer, name="fullshot")


def prepare(state: RunState, runtime: Runtime[RunContext]) -> dict[str, Any]:
    """Train the student on the seeds alone."""
    reasons = session_of(state, runtime).config.task.kind == "reasoning"
    return (learning.prepare_untrained if reasons else learning.prepare)(state, runtime)


def _builder() -> StateGraph[RunState, RunContext, RunInput, RunOutput]:
    builder = new_builder()
    builder.add_node("prepare", prepare)
    builder.add_node("finish", learning.finish)
    builder.add_edge(START, "prepare")
    builder.add_edge("finish", END)
    return builder
