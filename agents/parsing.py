"""From a raw reply to a value: it must have ended, parse and validate; nothing is guessed."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ValidationError

from evokd.store.replies import Reply


@dataclass(frozen=True)
class Lines:
    """A reply in plain lines.

    Args:
        words: what is asked for, for endpoints that no grammar binds.
        grammar: what binds llama.cpp.
    """

    words: str
    grammar: str


Form = dict[str, Any] | list[str] | Lines  # a JSON schema, the options of a choice, plain lines
Mode = Literal["grammar", "scalar", "object", "none"]  # how a form is bound
R = TypeVar("R", bound=BaseModel)


def parse_json(text: str) -> Any:
    """Parse JSON that may stand in a code fence or between words; never repair it.

    Raises:
        ValueError: there is no complete JSON value.
    """
    fenced = re.search(r"```(?:json)?\s*\n(.*?)```", text, re.DOTALL)
    body = (fenced.group(1) if fenced else text).strip()
    for start in (0, *(match.start() for match in re.finditer(r"[{\[]", body))):
        try:
            value, end = json.JSONDecoder().raw_decode(body[start:])
        except json.JSONDecodeError:
            continue
        if start or not body[start + end :].strip():
            return value
    raise ValueError("it holds no complete JSON value")


def validated(model: type[R], text: str) -> R:
    """Parse a reply and validate it.

    Raises:
        ValueError: it is no JSON, or not of this model; says where.
    """
    try:
        return model.model_validate(parse_json(text))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the reply"
        raise ValueError(f"{place}: {first['msg']}") from None


def was_cut(reply: Reply) -> bool:
    """Whether a reply was cut off at `max_tokens`."""
    return reply.finish_reason == "length"


def complete_texts(text: str, names: Sequence[str]) -> dict[str, list[str]]:
    """Return the lists of texts in a reply that was cut off, without the text it was cut off in.

    Raises:
        ValueError: no text is complete.
    """
    from langchain_core.utils.json import parse_partial_json

    found = parse_partial_json(text[max(0, text.find("{")) :])
    known = found if isinstance(found, dict) else {}
    lists: dict[str, list[str]] = {name: [] for name in names}
    for name in names:
        if isinstance(values := known.get(name), list):
            lists[name] = [one for one in values if isinstance(one, str)]
    begun = [name for name in names if lists[name]]
    if begun:
        lists[begun[-1]].pop()
    if not any(lists.values()):
        raise ValueError("it was cut off at max_tokens before its first text ended")
    return lists


def check_ended(reply: Reply) -> None:
    """Refuse a reply that is empty or was cut off.

    Raises:
        ValueError: saying which.
    """
    if not reply.text.strip():
        raise ValueError("it is empty")
    if was_cut(reply):
        raise ValueError("it was cut off at max_tokens")


def choice_schema(options: Sequence[str], mode: Mode) -> dict[str, Any]:
    """Return the JSON schema of a choice: a string, or an object with the key `answer`."""
    choice: dict[str, Any] = {"type": "string", "enum": list(options)}
    if mode == "scalar":
        return choice
    return {
        "type": "object",
        "properties": {"answer": choice},
        "required": ["answer"],
        "additionalProperties": False,
    }


def strict_schema(schema: Any, *, lengths: bool) -> Any:
    """Return a JSON schema as a strict mode takes it: no object has other keys than its own.

    Args:
        lengths: strings keep their limits; OpenAI itself refuses a schema that has any. Replies
            are validated in any case. A string's `format` is for the compact grammar alone.
    """
    if isinstance(schema, list):
        return [strict_schema(one, lengths=lengths) for one in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {
        key: strict_schema(value, lengths=lengths)
        for key, value in schema.items()
        if key != "format" and (lengths or key not in ("minLength", "maxLength"))
    }
    return kept | ({"additionalProperties": False} if kept.get("type") == "object" else {})


def unwrap(text: str, mode: Mode) -> str:
    """Return the answer in a reply: a JSON string, {"answer": …}, or bare words."""
    if mode == "grammar":
        return text.strip()
    try:
        value = parse_json(text)
    except ValueError:
        if mode != "none" and text.strip()[:1] in '{["':
            raise
        return text.strip().strip(".\"'` ")
    if isinstance(value, dict):
        value = next(iter(value.values()), "")
    return str(value)


def answers_one_of(text: str, mode: Mode, options: Sequence[str]) -> bool:
    """Whether a reply holds one of the options."""
    try:
        return unwrap(text, mode) in options
    except ValueError:
        return False


def in_words(form: Form) -> str:
    """Ask for a form in words, for endpoints that are bound to none."""
    if isinstance(form, Lines):
        return form.words
    if isinstance(form, list):
        return "Answer with exactly one of these and nothing else: " + ", ".join(form)
    return "Answer with JSON only, of this schema: " + json.dumps(form)
