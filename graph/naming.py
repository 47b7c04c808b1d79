"""The nodes that ask for names: entities of every type, listed once before the first text.

(evaluate) ⇉ list_names → analyze

A small teacher that is asked for sentences about, say, people names the same few again and again.
Asked for a list it names others each time, for a few tokens a name. Texts are then given some of
them, the names of another type beside their own now and then, so that they differ in what a tagger
is to learn: the entities' terms before the sentences, as in ProgGen (Heng et al., 2024). Where they
stand and of which type they are says the labeler, who sees no list.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Literal

from langgraph.runtime import Runtime
from langgraph.types import Send

from evokd.agents.generator import list_names as ask_for_names
from evokd.agents.teacher import Call
from evokd.config import Config
from evokd.errors import ReplyError
from evokd.graph.budget import NAMES
from evokd.graph.planning import parts_of
from evokd.graph.session import RunContext, Session, session_of
from evokd.graph.state import NameTask, RunState, branch_of
from evokd.tasks import kind_of
from evokd.tasks.words import is_lowered

MAX_WORDS, MAX_CHARS = 8, 60  # of a name
_MARKS = frozenset('<>[]{}|\\"“”:;')  # of placeholders and comments


def send_to_list(state: RunState, runtime: Runtime[RunContext]) -> list[Send] | Literal["analyze"]:
    """One branch a part of a type's meaning; where names are no matter, nobody is asked."""
    session = session_of(state, runtime)
    branch = branch_of(state)
    places = range(len(listed_parts(session.config)))
    return [Send("list_names", NameTask(place=place, **branch)) for place in places] or "analyze"


def list_names(state: NameTask, runtime: Runtime[RunContext]) -> dict[str, Any]:
    """Have names of one part of a type's meaning listed."""
    session = session_of(state, runtime)
    place = state["place"]
    _, part = listed_parts(session.config)[place]
    call = Call(state["round"], f"{NAMES}:{place:02d}")
    with session.phase(NAMES, state["round"]):
        if not session.budget.pays_for("generator", call):
            return {"names": {}}
        try:
            found = ask_for_names(
                session.teachers["generator"],
                session.prompts["generator"],
                session.card,
                part,
                session.config.strategy.names,
                call,
            )
        except ReplyError as error:
            session.emit({"kind": "note", "text": str(error)})
            found = []
    return {"names": {str(place): found}}


def listed_parts(config: Config) -> list[tuple[str, str]]:
    """Return (type, part of its meaning) for every list that is asked for."""
    if not config.strategy.names or kind_of(config).exclusive:
        return []
    return [
        (label, part)
        for label, meaning in config.task.labels.items()
        for part in parts_of(meaning) or [label]
    ]


def names_of(session: Session, state: RunState) -> dict[str, list[str]]:
    """Return type → the names that texts may be given."""
    found = state.get("names", {})
    if not found:
        return {}
    parts = enumerate(listed_parts(session.config))
    listed = [(label, found.get(str(place), [])) for place, (label, _) in parts]
    return usable_names(listed, session.targets, session.capitals.names)


def usable_names(
    listed: Iterable[tuple[str, Sequence[str]]],
    meanings: Mapping[str, str],
    capitalized: AbstractSet[str],
) -> dict[str, list[str]]:
    """Return type → names, without what is no name, or one of two types.

    Args:
        listed: (type, names), a type perhaps several times.
        meanings: type → meaning; what only repeats it is no name.
        capitalized: types of which what stands in small letters is no entity.
    """
    told = {word for text in meanings.items() for part in text for word in _words(part)}
    owners: dict[str, set[str]] = {}
    kept: dict[str, dict[str, str]] = {}
    for label, names in listed:
        for name in (" ".join(one.split()) for one in names):
            if not _is_name(name, told) or (label in capitalized and is_lowered(name)):
                continue
            owners.setdefault(name.casefold(), set()).add(label)
            kept.setdefault(label, {}).setdefault(name.casefold(), name)
    return {
        label: [name for key, name in names.items() if len(owners[key]) == 1]
        for label, names in kept.items()
    }


def _is_name(name: str, told: AbstractSet[str]) -> bool:
    return (
        len(name.split()) <= MAX_WORDS
        and len(name) <= MAX_CHARS
        and not _MARKS & set(name)
        and not set(_words(name)) <= told
    )


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())
