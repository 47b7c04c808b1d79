"""The package as it is installed: its folders, its data files, its quick import, its links."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import evokd

ROOT = Path(__file__).resolve().parent.parent
LINKED = ("agents", "graph", "memory", "tools")
HEAVY = {"torch", "transformers", "chromadb", "langgraph", "langchain_core", "openai", "numpy"}


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def folders() -> dict[str, Path]:
    """Return every folder with Python files, by the name it is imported with."""
    found = {"evokd": ROOT / "evokd"}
    for top in (ROOT / "evokd", *(ROOT / name for name in LINKED)):
        prefix = "evokd" if top.name == "evokd" else f"evokd.{top.name}"
        found[prefix] = top
        found |= {
            f"{prefix}.{path.parent.relative_to(top).as_posix().replace('/', '.')}": path.parent
            for path in top.rglob("*.py")
            if path.parent != top and not any(one.is_symlink() for one in path.parents)
        }
    return found


def test_the_package_list_equals_the_folders(project: dict[str, Any]) -> None:
    assert set(project["tool"]["setuptools"]["packages"]) == set(folders())


def test_every_package_has_an_init_file() -> None:
    missing = [name for name, path in folders().items() if not (path / "__init__.py").exists()]
    assert missing == []


def test_top_level_folders_are_packages_below_evokd(project: dict[str, Any]) -> None:
    wanted = {"evokd": "evokd"} | {f"evokd.{name}": name for name in LINKED}
    assert project["tool"]["setuptools"]["package-dir"] == wanted
    for name in LINKED:
        link = ROOT / "evokd" / name
        assert str(link.readlink()) == f"../{name}"


def test_every_data_file_of_a_package_is_shipped(project: dict[str, Any]) -> None:
    patterns = project["tool"]["setuptools"]["package-data"]["*"]
    left_out = [
        path.name
        for folder in folders().values()
        for path in folder.iterdir()
        if path.is_file()
        and path.suffix not in (".py", ".pyc")
        and not any(fnmatch(path.name, pattern) for pattern in patterns)
    ]
    assert left_out == []


def test_the_command_and_the_version_are_those_of_the_package(project: dict[str, Any]) -> None:
    module, _, function = project["project"]["scripts"]["evokd"].partition(":")
    assert callable(getattr(import_module(module), function))
    assert project["project"]["version"] == evokd.__version__


def test_licence_and_readme_files_exist(project: dict[str, Any]) -> None:
    named = [project["project"]["readme"], *project["project"]["license-files"]]
    assert [name for name in named if not (ROOT / name).is_file()] == []


def test_importing_evokd_is_light() -> None:
    script = "import sys, json, evokd; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT
    )
    loaded = {name.partition(".")[0] for name in json.loads(done.stdout)}
    assert "evokd" in loaded
    assert not loaded & HEAVY


def test_every_public_name_can_be_had() -> None:
    for name in evokd.__all__:
        assert getattr(evokd, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = evokd.nonsense


def test_the_exported_graphs_exist_and_bring_no_checkpointer() -> None:
    graphs = json.loads((ROOT / "langgraph.json").read_text(encoding="utf-8"))["graphs"]
    for where in graphs.values():
        module, _, name = where.partition(":")
        assert getattr(import_module(module), name).checkpointer is None


def pages() -> list[Path]:
    folders = [ROOT, *(ROOT / name for name in ("docs", "examples", "benchmarks"))]
    return [
        page
        for folder in folders
        for page in (folder.glob("*.md") if folder == ROOT else folder.rglob("*.md"))
    ]


def links(page: Path) -> list[str]:
    """Return the relative links of a page, outside code blocks and without anchors."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    found = re.findall(r"\]\(([^)\s]+)\)|\b(?:src|href)=\"([^\"]+)\"", text)
    targets = ["".join(target).partition("#")[0] for target in found]
    return [one for one in targets if one and "://" not in one and not one.startswith("mailto:")]


def test_relative_links_of_the_pages_exist() -> None:
    broken = [
        f"{page.relative_to(ROOT)}: {link}"
        for page in pages()
        for link in links(page)
        if not (page.parent / link).exists()
    ]
    assert broken == []
