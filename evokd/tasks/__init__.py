"""Task kinds: how rows are read and scored. A new kind is one module here."""

from evokd.config import Config
from evokd.tasks.classification import Classification
from evokd.tasks.kind import Mistake, Row, TaskKind
from evokd.tasks.ner import NamedEntities
from evokd.tasks.reasoning import Reasoning
from evokd.tasks.rows import TaskData, read_task_data
from evokd.tasks.texts import content_key, copy_key, is_unicode, normalize, word_set

__all__ = [
    "KINDS",
    "Mistake",
    "Row",
    "TaskData",
    "TaskKind",
    "content_key",
    "copy_key",
    "is_unicode",
    "kind_of",
    "load_task_data",
    "normalize",
    "word_set",
]

KINDS: dict[str, TaskKind] = {
    kind.name: kind for kind in (Classification(), NamedEntities(), Reasoning())
}


def kind_of(config: Config) -> TaskKind:
    """Return the kind of a task."""
    return KINDS[config.task.kind]


def load_task_data(config: Config) -> TaskData:
    """Read and check the rows of a task; see `read_task_data`.

    Raises:
        DataError: see there.
    """
    return read_task_data(config, kind_of(config))
