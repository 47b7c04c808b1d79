"""What the README shows must exist: commands, make targets, files."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.main import get_command

from evokd.bench.records import SuiteResult
from evokd.bench.table import markdown, replace_block
from evokd.cli import app

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", sorted(set(re.findall(r"^evokd (\w+)", README, re.MULTILINE))))
def test_every_command_of_the_readme_exists(name: str) -> None:
    assert name in get_command(app).commands  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", sorted(set(re.findall(r"\bmake ([a-z-]+)", README))))
def test_every_make_target_of_the_readme_exists(name: str) -> None:
    assert re.search(rf"^{name}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.parametrize("name", re.findall(r"^<!-- bench:(\S+) -->$", README, re.MULTILINE))
def test_the_tables_of_the_readme_are_those_of_the_results(name: str) -> None:
    text = (ROOT / "benchmarks" / "results" / f"{name}.json").read_text(encoding="utf-8")
    suite = SuiteResult.model_validate_json(text)
    assert replace_block(README, name, markdown(suite)) == README


def test_the_task_file_of_the_readme_is_valid() -> None:
    import yaml

    from evokd.task_file import parse_config

    block = re.search(r"```yaml\n(.*?)```", README, re.DOTALL)
    assert block is not None
    parse_config(yaml.safe_load(block.group(1)), "README")
