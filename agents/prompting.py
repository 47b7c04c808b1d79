"""Prompt files: one a role and task kind, made of named blocks with strict placeholders.

A block starts with a line `=== name`; placeholders are written `{{name}}`. A user's folder
(`agents.prompts`) replaces single files; a few blocks may be missing there.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from evokd.errors import ConfigError

_PLACEHOLDER = re.compile(r"\{\{\s*(\w+)\s*\}\}")
# Blocks that a user's file need not have: then ours is used.
INHERITED = (
    "several",
    "sways",
    "sways_shown",
    "names",
    "names_listed",
    "calculate",
    "calculation",
    *(
        f"{block}_none"
        for block in ("rules", "rules_texts", "main", "plain", "easy", "hard", "like")
    ),
)
_BLOCK = re.compile(r"^=== (\w+)\n", re.MULTILINE)


class Prompt:
    """The blocks of one prompt file."""

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self.digest = hashlib.sha256(text.encode()).hexdigest()[:12]
        pieces = _BLOCK.split(text)
        self._blocks = {
            block: body.strip() for block, body in zip(pieces[1::2], pieces[2::2], strict=True)
        }

    @property
    def variables(self) -> dict[str, set[str]]:
        """The placeholders of every block."""
        return {block: set(_PLACEHOLDER.findall(body)) for block, body in self._blocks.items()}

    def has(self, block: str) -> bool:
        """Whether there is such a block."""
        return block in self._blocks

    def phrases(self, words: int) -> list[str]:
        """Return what stands between placeholders, sentence by sentence, from `words` words on.

        Before a colon two words fewer are enough, and the colon stays.
        """
        pieces = [
            piece.lstrip(' ,;:"').rstrip(' ,;"')
            for body in self._blocks.values()
            for sentence in re.split(r"[.\n]", body)
            for piece in _PLACEHOLDER.split(sentence)[::2]
        ]
        long = [one.strip(" :") for one in pieces if len(one.split()) >= words]
        led = [one for one in pieces if one.endswith(":") and words - 2 <= len(one.split()) < words]
        return [*long, *led]

    def inherit(self, shipped: Prompt) -> None:
        """Take over the blocks that may be missing."""
        for block in INHERITED:
            if block in shipped._blocks:
                self._blocks.setdefault(block, shipped._blocks[block])

    def fill(self, block: str, /, **values: object) -> str:
        """Return a block with its placeholders filled.

        Raises:
            ConfigError: the block does not exist, or a variable is missing or not used.
        """
        if block not in self._blocks:
            raise ConfigError(
                f"prompt {self.name} has no block {block!r}; it has {', '.join(self._blocks)}"
            )
        body = self._blocks[block]
        wanted = set(_PLACEHOLDER.findall(body))
        if wanted != set(values):
            raise ConfigError(
                f"prompt {self.name}, block {block}: variables missing: "
                f"{_names(wanted - set(values))}; unused: {_names(set(values) - wanted)}"
            )
        return _PLACEHOLDER.sub(lambda match: str(values[match.group(1)]), body)

    def examples(self, block: str, answers: Sequence[str]) -> list[tuple[str, str]]:
        """Return the texts of a block with their answers, from lines `answer: text`.

        Raises:
            ConfigError: a line is none such.
        """
        pairs = []
        for line in self.fill(block).splitlines():
            answer, _, text = line.partition(":")
            if answer.strip() not in answers or not text.strip():
                raise ConfigError(
                    f"prompt {self.name}, block {block}: {line[:60]!r}; each line is one of "
                    f"{', '.join(answers)}, a colon and a text"
                )
            pairs.append((text.strip(), answer.strip()))
        return pairs


def load_prompt(role: str, kind: str, folder: str | None = None) -> Prompt:
    """Read `<role>.<kind>.md` from the user's folder, else from the package.

    Raises:
        ConfigError: the folder is missing, or its file lacks a block or has other variables.
    """
    name = f"{role}.{kind}.md"
    if folder is not None:
        if not Path(folder).is_dir():
            raise ConfigError(f"agents.prompts: no folder {folder}; give one with prompt files")
        own = Path(folder) / name
        if own.exists():
            return _like(_shipped(name), Prompt(name, own.read_text(encoding="utf-8")))
    return _shipped(name)


def _shipped(name: str) -> Prompt:
    return Prompt(name, (resources.files("evokd.agents.prompts") / name).read_text("utf-8"))


def _like(shipped: Prompt, own: Prompt) -> Prompt:
    """Check that a user's prompt can be filled wherever ours can, before anybody is paid."""
    own.inherit(shipped)
    for block, wanted in shipped.variables.items():
        found = own.variables.get(block)
        if found is None:
            raise ConfigError(
                f"agents.prompts: {own.name} has no block {block!r}; a line '=== {block}' begins it"
            )
        if found != wanted:
            raise ConfigError(
                f"agents.prompts: {own.name}, block {block}: variables missing: "
                f"{_names(wanted - found)}; unknown: {_names(found - wanted)}"
            )
    return own


def _names(names: set[str]) -> str:
    return ", ".join(sorted(names)) or "none"
