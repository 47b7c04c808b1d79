"""Checkpoints of a run: LangGraph's state in `checkpoints.sqlite`, written at every step."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

from evokd.graph.session import RunContext, Session
from evokd.graph.state import RunState
from evokd.graph.strategies import strategy_of
from evokd.store.files import storage_errors

if TYPE_CHECKING:
    from langgraph.graph.state import CompiledStateGraph

# Of the graph, at most; our own round limit ends the loop.
STEPS_A_WAVE = 8
STEPS_BESIDE = 20


@contextmanager
def open_graph(session: Session) -> Iterator[CompiledStateGraph[Any, Any, Any, Any]]:
    """Open the graph of the session's strategy over its checkpoints."""
    from langgraph.checkpoint.sqlite import SqliteSaver

    with storage_errors(session.run.checkpoints):
        connection = sqlite3.connect(session.run.checkpoints, check_same_thread=False)
    with closing(connection):
        yield strategy_of(session.config).build(SqliteSaver(connection))


def run_rounds(session: Session) -> RunState:
    """Run, or go on with, the loop to its end; one invocation, so one trace, a round."""
    with open_graph(session) as graph, storage_errors(session.run.path):
        config = _thread(session, 0)
        snapshot = graph.get_state(config)
        start: Any = None if snapshot.created_at else {"run_id": session.run.run_id}
        _lift_spent_budget(graph, config, session)
        session.ledger.open_window()
        try:
            while start is not None or graph.get_state(config).next:
                round = graph.get_state(config).values.get("round", 0)
                graph.invoke(
                    start,
                    _thread(session, round),
                    context=RunContext(session),
                    interrupt_after=["decide"],
                )
                start = None
        finally:
            session.ledger.close_window()
        final: RunState = graph.get_state(config).values  # type: ignore[assignment]
    return final


def _lift_spent_budget(
    graph: CompiledStateGraph[Any, Any, Any, Any], config: Any, session: Session
) -> None:
    """Let a run that ended at its budget go on, once the budget has grown."""
    snapshot = graph.get_state(config)
    ended = bool(snapshot.created_at) and not snapshot.next
    values = snapshot.values
    stopped = values.get("stop", "").startswith("budget")
    if ended and stopped and not session.budget.exhausted():
        further = {"stop": "", "round": values["round"] + 1}
        graph.update_state(config, further, as_node="decide")


def _thread(session: Session, round: int) -> Any:
    strategy = session.config.strategy
    widest = max(
        (teacher.settings.max_concurrency or 1 for teacher in session.teachers.values()), default=1
    )
    return {
        "configurable": {"thread_id": session.run.run_id},
        "run_name": f"evokd round {round}",
        "tags": [strategy.name, f"round:{round}"],
        "metadata": {
            "run": session.run.run_id,
            "round": round,
            "strategy": strategy.name,
            "thread_id": session.run.run_id,
        },
        "max_concurrency": widest,
        "recursion_limit": STEPS_BESIDE + STEPS_A_WAVE * (strategy.max_refills + 1),
    }
