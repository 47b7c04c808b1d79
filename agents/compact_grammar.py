"""Grammars for llama.cpp (GBNF): a bare choice, JSON on one line, and lines that end in an answer.

The server's own way from schema to grammar allows line breaks and indentation, and a small model
uses them: such a reply takes up to twice the tokens, and on a CPU twice the time. The space after
a colon stays, and no string begins with a separator: a model that is denied the space it expects
begins its text with a comma, because quote and comma are one token. A string may be bound to be one
sentence: a small model runs on, and a sampler that forbids the likeliest token (XTC) forbids the
quote that would end it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from evokd.tasks.texts import CUT_SHORT

SENTENCE = "sentence"  # the `format` of a string that is no more than one
# Longer limits would make the grammar itself large; validation checks them anyway.
LONGEST_LIMIT = 200
MOST_NUMBERS = 20
NUMBER = (
    '"-"? ([0-9]{1,12} | [0-9]{1,3} ("," [0-9]{3}){1,3}) ("." [0-9]{1,6} | "/" [1-9] [0-9]{0,5})?'
)
_CONTROL = r"\x7F\x00-\x1F"
CALCULATION = "[(0-9-] [0-9.+*/() -]{0,60}"
TEXT = rf"[^ {_CONTROL}] [^{_CONTROL}]{{0,{LONGEST_LIMIT - 1}}}"
_CHARS = r"""first ::= [^"\\\x7F\x00-\x1F ,;:}\]] | escaped
char ::= [^"\\\x7F\x00-\x1F] | escaped
escaped ::= [\\] (["\\bfnrt] | "u" [0-9a-fA-F]{4})"""

# What a sentence ends with may stand within a word ("3.5") and behind what is cut short ("Dr. Li"),
# not before a word in small letters ("Yahoo! said"): a model goes on with one if it may.
_STOPS = ".!?…。！？"
_NO_LETTER = rf'"\\\x7F\x00-\x1F {_STOPS}'
_SENTENCE = rf"""sentence ::= (short | begun rest) (" " (short | letter+ rest))* (" "? stop)?
begun ::= ([^{_NO_LETTER},;:{{}}[\]] | quoted) letter*
rest ::= ("." [a-zA-Z0-9] letter*)*
letter ::= [^{_NO_LETTER}] | quoted
quoted ::= [\\] (["\\] | "u" [0-9a-fA-F]{{4}})
stop ::= [{_STOPS}]{{1,3}} ([)\]'”’」』] | "\\\"")?
short ::= [(“‘]? (([a-zA-Z] [a-z]? "."){{0,3}} [a-zA-Z] | cut) "." ([,;:)’'-] letter*)?
cut ::= {" | ".join(f'"{one.capitalize()}" | "{one}"' for one in sorted(CUT_SHORT))}"""


class _UnknownSchemaError(ValueError):
    """The schema holds something no rule is written for."""


def choice_grammar(options: Sequence[str]) -> str:
    """Return a grammar for one of the options, bare: no quotes, no JSON."""
    return f"root ::= {any_of(options)}"


def line_grammar(rule: str) -> str:
    """Return a grammar for one line.

    Args:
        rule: see `CALCULATION`.
    """
    return f"root ::= {rule}"


def lines_grammar(mark: str, answer: str, *, most: int, longest: int = LONGEST_LIMIT) -> str:
    """Return a grammar for lines and then an answer.

    Args:
        mark: what begins the last line and no other.
        answer: a rule, see `NUMBER`.
        most: lines before it; one at least.
        longest: characters of a line.
    """
    others = [
        f"{_quoted(mark[:at])} [^{mark[at]}{_CONTROL}]" if at else f"[^ {mark[0]}{_CONTROL}]"
        for at in range(len(mark))
    ]
    return "\n".join(
        [
            f"root ::= line{{1,{most}}} {_quoted(mark + ' ')} ({answer})",
            f'line ::= ({" | ".join(others)}) [^{_CONTROL}]{{0,{longest}}} "\\n"',
        ]
    )


def any_of(options: Sequence[str]) -> str:
    """Return a rule for one of the options."""
    return " | ".join(_quoted(one) for one in options)


def compact_grammar(schema: Mapping[str, Any]) -> str | None:
    """Return a grammar for a JSON schema of objects, arrays, tuples, strings, choices and integers.

    All properties of an object are written, in their order.

    Returns:
        None where the schema holds anything else.
    """
    try:
        root = _rule(schema, schema.get("$defs", {}))
    except _UnknownSchemaError:
        return None
    sentences = f"\n{_SENTENCE}" if f" {SENTENCE} " in root else ""
    return f"root ::= {root}\n{_CHARS}{sentences}"


def _rule(schema: Mapping[str, Any], shared: Mapping[str, Any]) -> str:
    if "$ref" in schema:
        return _rule(shared[schema["$ref"].rpartition("/")[2]], shared)
    if "const" in schema:
        return _literal(schema["const"])
    if "enum" in schema:
        return "(" + " | ".join(_literal(one) for one in schema["enum"]) + ")"
    match schema.get("type"):
        case "object":
            fields = [
                f"{_quoted(json.dumps(name) + ': ')} {_rule(one, shared)}"
                for name, one in schema.get("properties", {}).items()
            ]
            return _quoted("{") + " " + ' "," '.join(fields) + " " + _quoted("}")
        case "array" if "prefixItems" in schema:
            return _tuple([_rule(one, shared) for one in schema["prefixItems"]])
        case "array":
            return _array(schema, _rule(schema["items"], shared))
        case "string" if schema.get("format") == SENTENCE:
            return rf'"\"" {SENTENCE} "\""'
        case "string":
            return _string(schema.get("minLength", 0), schema.get("maxLength"))
        case "integer":
            return _integer(schema)
    raise _UnknownSchemaError(schema)


def _string(least: int, most: int | None) -> str:
    text = f"first char{_times(max(0, least - 1), None if most is None else most - 1)}"
    return f'"\\"" {text if least else f"({text})?"} "\\""'


def _array(schema: Mapping[str, Any], item: str) -> str:
    least, most = schema.get("minItems", 0), schema.get("maxItems")
    if most == 0:
        return '"[]"'
    rest = f'("," {item}){_times(max(0, least - 1), None if most is None else most - 1)}'
    filled = f"{item} {rest}"
    return f'"[" {filled if least else f"({filled})?"} "]"'


def _tuple(items: Sequence[str]) -> str:
    return '"[" ' + ' "," '.join(items) + ' "]"'


def _times(least: int, most: int | None) -> str:
    if most is None or most > LONGEST_LIMIT:
        return f"{{{least},}}"
    return f"{{{least},{most}}}"


def _integer(schema: Mapping[str, Any]) -> str:
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is None or high is None or high - low >= MOST_NUMBERS:
        return '("-"? [0-9]{1,9})'
    return "(" + " | ".join(_quoted(str(number)) for number in range(low, high + 1)) + ")"


def _literal(value: object) -> str:
    return _quoted(json.dumps(value, ensure_ascii=False))


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
