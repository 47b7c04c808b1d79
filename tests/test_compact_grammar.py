"""The compact grammar, kind by kind; what it lets a model write is tested on the real server."""

from __future__ import annotations

import json
import re
from typing import Any, Literal

import pytest
from pydantic import BaseModel, Field

from evokd.agents.compact_grammar import (
    NUMBER,
    SENTENCE,
    choice_grammar,
    compact_grammar,
    lines_grammar,
)


def root_of(schema: dict[str, Any]) -> str:
    grammar = compact_grammar(schema)
    assert grammar is not None
    return grammar.partition("\n")[0].removeprefix("root ::= ")


class Inner(BaseModel):
    name: str = Field(max_length=60)
    labels: list[Literal["a", 'b "c"']] = Field(min_length=1, max_length=3)
    hard: int = Field(ge=1, le=3)


class Outer(BaseModel):
    inner: list[Inner] = Field(min_length=1, max_length=2)


def test_a_nested_model_is_one_line() -> None:
    choice = r'("\"a\"" | "\"b \\\"c\\\"\"")'
    inner = " ".join(
        [
            r'"{" "\"name\": " "\"" (first char{0,59})? "\"" ","',
            rf'"\"labels\": " "[" {choice} ("," {choice}){{0,2}} "]" ","',
            r'"\"hard\": " ("1" | "2" | "3") "}"',
        ]
    )
    assert root_of(Outer.model_json_schema()) == (
        rf'"{{" "\"inner\": " "[" {inner} ("," {inner}){{0,1}} "]" "}}"'
    )


@pytest.mark.parametrize(
    ("schema", "root"),
    [
        ({"type": "string"}, r'"\"" (first char{0,})? "\""'),
        ({"type": "string", "minLength": 1, "maxLength": 2000}, r'"\"" first char{0,} "\""'),
        ({"type": "array", "items": {"const": 1}, "maxItems": 0}, '"[]"'),
        (
            {"type": "array", "prefixItems": [{"const": 1}, {"enum": [2, 3]}]},
            '"[" "1" "," ("2" | "3") "]"',
        ),
        ({"type": "array", "items": {"const": 1}}, '"[" ("1" ("," "1"){0,})? "]"'),
        ({"type": "integer"}, '("-"? [0-9]{1,9})'),
        ({"enum": ["ä"]}, r'("\"ä\"")'),
    ],
)
def test_each_kind_of_schema(schema: dict[str, Any], root: str) -> None:
    assert root_of(schema) == root


@pytest.mark.parametrize("schema", [{"anyOf": []}, {"type": "number"}, {}])
def test_what_it_does_not_know_is_left_to_the_server(schema: dict[str, Any]) -> None:
    assert compact_grammar(schema) is None


def test_a_choice_is_bare_and_its_quotes_are_escaped() -> None:
    assert choice_grammar(["lost", 'the "big" ä']) == r'root ::= "lost" | "the \"big\" ä"'


def test_lines_end_in_an_answer_and_none_begins_as_that_line_does() -> None:
    control = r"\x7F\x00-\x1F"
    assert lines_grammar("Ab:", NUMBER, most=6, longest=99).splitlines() == [
        f'root ::= line{{1,6}} "Ab: " ({NUMBER})',
        rf'line ::= ([^ A{control}] | "A" [^b{control}] | "Ab" [^:{control}])'
        rf' [^{control}]{{0,99}} "\n"',
    ]


def as_regex(grammar: str, name: str = "root") -> str:
    """A grammar without recursion as a regular expression."""
    rules = dict(line.split(" ::= ", 1) for line in grammar.splitlines())

    def read(part: re.Match[str]) -> str:
        literal, sign, rule = part.groups()
        if rule:
            return f"(?:{as_regex(grammar, rule)})"
        return re.escape(json.loads(literal)) if literal else (sign or "").strip()

    parts = r'("(?:\\.|[^"\\])*")|(\[(?:\\.|[^\]\\])*\]|\{[^}]*\}|[()|*+?]|\s+)|([a-z]+)'
    return re.sub(parts, read, rules[name])


SENTENCES = [
    ("Ann left.", True),
    ("Ann left", True),
    ("Ann left .", True),
    ("Ann left. Bob came.", False),
    ("Ann left! “Bob came.”", False),
    ('"Ann left." Bob came.', False),
    ('"Ann left," he said.', True),
    ("He said “Ann left.”", True),
    ("Dr. Li and J. K. Rowling met in St. Paul, Minn., U.S. at 3.5 a.m.", True),
    ("It has 1.5 m, said Ann (of T.I. Inc.).", True),
    ("Ann left... he stayed", False),
    ("Ann left.他走了", False),
    ("他走了。", True),
    ("他走了。她来了。", False),
    ("C:\\ or é?!", True),
    ("A Ph.D. student met an R.N.", True),
    (". Ann left.", False),
    ('{"text": "Ann left."}', False),
    ("Ann\nleft.", False),
    (" Ann left.", False),
    ("", False),
]


@pytest.mark.parametrize(("text", "is_one"), SENTENCES)
def test_a_string_may_be_bound_to_be_one_sentence(text: str, is_one: bool) -> None:
    grammar = compact_grammar({"type": "string", "format": SENTENCE})
    assert grammar is not None
    matched = re.fullmatch(as_regex(grammar), json.dumps(text, ensure_ascii=False))
    assert bool(matched) is is_one
