"""The prompts of a run: which a task kind has, and the first message of every role."""

from __future__ import annotations

from collections.abc import Sequence

from evokd.agents.card import render_card, render_solved
from evokd.agents.critic import read_bad_examples
from evokd.agents.labeler import SHOWN_CHARS, SHOWN_GOLD, read_order_examples, types_not_shown
from evokd.agents.prompting import Prompt, load_prompt
from evokd.config import Config
from evokd.graph.strategies import used_roles
from evokd.records import Example

WRITING = ("card", "analyst", "generator", "labeler", "critic", "attributes")
PROMPTS = {"classification": WRITING, "ner": WRITING, "reasoning": ("card", "reviser", "critic")}


def shown_seed(config: Config, seed: Sequence[Example]) -> Sequence[Example]:
    """Return the gold rows that the roles may be shown."""
    return seed if config.strategy.show_seeds else ()


def task_card(config: Config, prompt: Prompt, seed: Sequence[Example]) -> str:
    """Return the first message of every role."""
    shown = shown_seed(config, seed)
    if config.task.kind == "reasoning":
        return render_solved(prompt, config.task.instructions, shown)
    return render_card(prompt, config.task.instructions, config.task.labels, shown)


def warn_of_types(config: Config, seed: Sequence[Example]) -> list[str]:
    """Return a warning where the labeler of entities is shown no example of some type."""
    if config.task.kind != "ner" or "labeler" not in used_roles(config):
        return []
    types = types_not_shown(seed, tuple(config.task.labels))
    if not types:
        return []
    return [
        f"seed: the labeler is shown no example of {', '.join(types)}: it is shown {SHOWN_GOLD} "
        f"seeds at most, none of more than {2 * SHOWN_CHARS} signs; give shorter ones, or some "
        "that hold entities of several types"
    ]


def load_prompts(config: Config) -> dict[str, Prompt]:
    """Return the prompt of every role and the task card.

    Raises:
        ConfigError: a prompt of the user's cannot be used.
    """
    folder = config.agents.prompts
    kind = config.task.kind
    prompts = {name: load_prompt(name, kind, folder) for name in PROMPTS[kind]}
    if kind != "reasoning":
        read_bad_examples(prompts["critic"])
    if kind == "classification":
        read_order_examples(prompts["labeler"])
    return prompts
