"""The task card: the first message of every role.

It is the same text for all roles and calls, byte for byte, so that a local server computes it
once a slot and keeps it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice

from evokd.agents.prompting import Prompt
from evokd.records import Example
from evokd.tasks.explanations import split_steps
from evokd.tasks.reasoning import asked_question

EXAMPLES_PER_LABEL = 2
SOLVED_EXAMPLES = 4
MAX_EXAMPLE_CHARS = 300


def render_card(
    prompt: Prompt, instructions: str, labels: Mapping[str, str], seed: Sequence[Example]
) -> str:
    """Return the card: the task, and each label with its meaning and up to two gold examples."""
    lines = []
    for label, meaning in labels.items():
        lines.append(f"- {label}: {meaning}" if meaning else f"- {label}")
        gold = examples_of(label, seed)
        lines.extend(f"  Example: {shorten(row.text, MAX_EXAMPLE_CHARS)}" for row in gold)
    return prompt.fill("main", instructions=instructions.strip(), labels="\n".join(lines))


def render_solved(prompt: Prompt, instructions: str, seed: Sequence[Example]) -> str:
    """Return the card of a task of reasoning: up to four gold questions with their explanations."""
    shown = [
        prompt.fill(
            "example",
            question=asked_question(shorten(row.text, 2 * MAX_EXAMPLE_CHARS), row.choices),
            steps="\n".join(split_steps(row.rationale)),
            answer=row.label,
        )
        for row in solved_first(seed)
    ]
    return prompt.fill("main", instructions=instructions.strip(), examples="\n\n".join(shown))


def solved_first(seed: Sequence[Example]) -> list[Example]:
    """Return the gold questions that are shown: up to four, those with an explanation first."""
    return sorted(seed, key=lambda row: not row.rationale)[:SOLVED_EXAMPLES]


def examples_of(label: str, seed: Sequence[Example]) -> list[Example]:
    """Return the gold examples of a label that the card shows."""
    named = (
        row for row in seed if row.label == label or label in {one.label for one in row.entities}
    )
    return list(islice(named, EXAMPLES_PER_LABEL))


def shorten(text: str, limit: int) -> str:
    """Return `text` on one line, cut at `limit` characters."""
    flat = " ".join(text.split())
    return flat if len(flat) <= limit else flat[: limit - 1].rstrip() + "…"
