"""The strategies by name: which graph each has, which roles it asks, whether it remembers.

A new strategy is one graph file with `build_graph`, and one line here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from evokd.config import Config
from evokd.tasks import kind_of

if TYPE_CHECKING:
    from langgraph.checkpoint.base import BaseCheckpointSaver
    from langgraph.graph.state import CompiledStateGraph

LABELLED_TOGETHER = 200  # texts a round of the paper mode, for a round's texts travel in the state


@dataclass(frozen=True)
class Strategy:
    """What the rest of the code must know of a strategy.

    Args:
        module: where its graph is built.
        builder: the function that builds it.
        roles: the roles it may ask.
        teaches: it looks at the student: failures, weaknesses, probes, +Init.
        labels_only: it writes no texts, but has those of a pool labelled.
        revises: it has the student's explanations of a pool's questions revised.
    """

    module: str
    builder: str = "build_graph"
    roles: tuple[str, ...] = ()
    teaches: bool = False
    labels_only: bool = False
    revises: bool = False

    @property
    def writes(self) -> bool:
        """Whether it may write texts, not only have those of a pool read."""
        return not (self.labels_only or self.revises)

    def build(
        self, checkpointer: BaseCheckpointSaver[Any] | None = None
    ) -> CompiledStateGraph[Any, Any, Any, Any]:
        """Return the compiled graph."""
        build: Callable[..., Any] = getattr(import_module(self.module), self.builder)
        graph: CompiledStateGraph[Any, Any, Any, Any] = build(checkpointer)
        return graph


STRATEGY = {
    "evokd": Strategy(
        "evokd.graph.evokd", roles=("analyst", "generator", "labeler", "critic"), teaches=True
    ),
    "llkd": Strategy("evokd.graph.llkd", roles=("labeler", "critic"), labels_only=True),
    "elad": Strategy("evokd.graph.elad", roles=("reviser", "critic"), revises=True),
    "static": Strategy("evokd.graph.one_pass", "build_static", ("generator",)),
    "attr": Strategy("evokd.graph.one_pass", "build_attr", ("analyst", "generator")),
    "fewshot": Strategy("evokd.graph.gold_only", "build_fewshot"),
    "fullshot": Strategy("evokd.graph.gold_only", "build_fullshot"),
}


def strategy_of(config: Config) -> Strategy:
    """Return the strategy a config names."""
    return STRATEGY[config.strategy.name]


def used_roles(config: Config) -> list[str]:
    """Return the roles a run of this config calls."""
    strategy = strategy_of(config)
    if not (strategy.teaches or strategy.labels_only or strategy.revises):
        names_entities = bool(strategy.roles) and not kind_of(config).exclusive
        return [*strategy.roles, *(["labeler"] if names_entities else [])]
    switches = {
        "analyst": config.strategy.analyst,
        "critic": config.strategy.critic and not selects_in_steps(config),
        "labeler": config.strategy.separation,
    }
    return [role for role in strategy.roles if switches.get(role, True)]


def remembers(config: Config) -> bool:
    """Whether a run of this config keeps a weakness memory; labelling a whole pool needs none."""
    strategy = strategy_of(config)
    looks = (
        strategy.teaches
        or strategy.revises
        or (strategy.labels_only and not selects_in_steps(config))
    )
    return looks and config.strategy.memory


def first_round(config: Config) -> int:
    """Return the number of the first round: 0 where there is an +Init batch."""
    return 0 if strategy_of(config).teaches and config.strategy.init else 1


def selects_in_steps(config: Config) -> bool:
    """Whether every training step of a run chooses among what the teacher labelled."""
    return strategy_of(config).labels_only and config.strategy.mode == "paper"


def trains_itself(config: Config) -> bool:
    """Whether a student learns, too, what it is itself surest of in the pool."""
    chooses = strategy_of(config).labels_only and not selects_in_steps(config)
    return chooses and config.strategy.self_training


def reads_again(config: Config) -> bool:
    """Whether a training learns what the labeler and the texts' neighbours say together."""
    return strategy_of(config).labels_only and config.strategy.consensus
