"""Turn a task description and a handful of examples into a small, fast model of your own."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from evokd.api import RunResult, distill, plan, predict, predict_each, resume
    from evokd.config import Config
    from evokd.errors import EvokdError
    from evokd.task_file import load_config

__version__ = "0.1.0"
__all__ = [
    "Config",
    "EvokdError",
    "RunResult",
    "__version__",
    "distill",
    "load_config",
    "plan",
    "predict",
    "predict_each",
    "resume",
]

# Public names are imported on first use, so that `import evokd` and `evokd --help` stay quick.
_HOMES = {
    "Config": "evokd.config",
    "load_config": "evokd.task_file",
    "EvokdError": "evokd.errors",
    "RunResult": "evokd.api",
    "distill": "evokd.api",
    "plan": "evokd.api",
    "predict": "evokd.api",
    "predict_each": "evokd.api",
    "resume": "evokd.api",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'evokd' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
