"""The task file: read from YAML, changed by `--set a.b=c`, checked, written again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from evokd.config import Config, nearest
from evokd.errors import ConfigError


def load_config(path: str | Path, overrides: list[str] | None = None) -> Config:
    """Read a task file, apply `a.b=c` overrides and check it.

    Relative data paths are resolved against the file's folder.

    Raises:
        ConfigError: naming the key, what was found, what was expected.
    """
    path = Path(path)
    raw = _read_yaml(path)
    for override in overrides or []:
        apply_override(raw, override)
    config = parse_config(raw, str(path))
    for name, value in config.data.files.items():
        setattr(config.data, name, str((path.parent / value).resolve()))
    if config.memory.path:
        config.memory.path = str((path.parent / config.memory.path).resolve())
    if config.agents.prompts:
        config.agents.prompts = str((path.parent / config.agents.prompts).resolve())
    return config


def parse_config(raw: dict[str, Any], where: str) -> Config:
    """Validate a raw mapping; `where` names it in errors.

    Raises:
        ConfigError: all problems at once, one a line.
    """
    try:
        return Config.model_validate(raw)
    except ValidationError as error:
        lines = [_explain(problem) for problem in error.errors()]
        raise ConfigError(f"{where} cannot be used:\n  " + "\n  ".join(lines)) from None


def dump_config(config: Config) -> str:
    """Return the config as YAML."""
    text: str = yaml.safe_dump(config.model_dump(), sort_keys=False, allow_unicode=True)
    return text


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"no task file at {path}; give the path of a YAML task file") from None
    except IsADirectoryError:
        raise ConfigError(f"{path} is a folder; give the task file inside it") from None
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{path} is not UTF-8 (byte {error.start}); save it as UTF-8 and try again"
        ) from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(raw, dict):
        raise ConfigError(f"{path} holds {type(raw).__name__}, expected a mapping with 'task'")
    return raw


def apply_override(raw: dict[str, Any], override: str) -> None:
    """Set one 'a.b=c' in a raw task file.

    Raises:
        ConfigError: it is no KEY=VALUE, or the key lies inside a value.
    """
    key, equals, value = override.partition("=")
    if not equals or not key:
        raise ConfigError(f"--set {override!r}: expected KEY=VALUE, such as strategy.rounds=3")
    *parents, last = key.split(".")
    place = raw
    for parent in parents:
        if place.get(parent) is None:
            place[parent] = {}
        place = place[parent]
        if not isinstance(place, dict):
            raise ConfigError(f"--set {override!r}: {parent!r} holds a value, not a section")
    try:
        place[last] = yaml.safe_load(value)
    except yaml.YAMLError:
        raise ConfigError(f"--set {override!r}: the value is not valid YAML") from None


def _explain(problem: Any) -> str:
    loc = ".".join(str(part) for part in problem["loc"]) or "the task file"
    if problem["type"] == "extra_forbidden":
        section = _section_at(problem["loc"][:-1])
        known = list(section.model_fields) if section else []
        near = nearest(problem["loc"][-1], known)
        return f"unknown key {loc!r}{near or '; known here: ' + ', '.join(known)}"
    if problem["type"] == "missing":
        return f"missing key {loc!r}"
    message = problem["msg"].removeprefix("Value error, ")
    found = problem.get("input")
    secret = problem["loc"][-1:] in (("api_key_env",), ("base_url",))
    plain = isinstance(found, str | int | float | bool) and not secret
    shown = f" (found {found!r})" if plain else ""
    return f"{loc}: {message}{shown}"


def _section_at(loc: tuple[Any, ...]) -> type[BaseModel] | None:
    section: Any = Config
    for part in loc:
        field = section.model_fields.get(part)
        if field is None:
            return None
        section = field.annotation
        if get_origin(section) is Annotated:
            section = get_args(section)[0]
        if not (isinstance(section, type) and issubclass(section, BaseModel)):
            return None
    return section if isinstance(section, type) else None
