"""Prompt files: one a role and task kind, made of named blocks with strict placeholders.

A block starts with a line `=== name`; placeholders are written `{{name}}`. A user's folder
(`agents.prompts`) replaces single files.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from importlib import resources
from pathlib import Path

from evokd.errors import ConfigError

_PLACEHOLDER = re.compile(r"\{\{\s*(\w+)\s*\}\}")
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
            missing = ", ".join(sorted(wanted - set(values))) or "none"
            unused = ", ".join(sorted(set(values) - wanted)) or "none"
            raise ConfigError(
                f"prompt {self.name}, block {block}: variables missing: {missing}; unused: {unused}"
            )
        return _PLACEHOLDER.sub(lambda match: str(values[match.group(1)]), body)


def load_prompt(role: str, kind: str, folder: str | None = None) -> Prompt:
    """Read `<role>.<kind>.md` from the user's folder, else from the package."""
    name = f"{role}.{kind}.md"
    if folder is not None:
        if not Path(folder).is_dir():
            raise ConfigError(f"agents.prompts: no folder {folder}; give one with prompt files")
        own = Path(folder) / name
        if own.exists():
            return Prompt(name, own.read_text(encoding="utf-8"))
    return Prompt(name, (resources.files("evokd.agents.prompts") / name).read_text("utf-8"))


def prompt_digests(roles: Iterable[str], kind: str, folder: str | None = None) -> dict[str, str]:
    """Return the hash of every prompt file in use, part of the run's fingerprint."""
    return {role: load_prompt(role, kind, folder).digest for role in roles}
