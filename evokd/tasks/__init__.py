"""Task kinds: how rows are read and scored. A new kind is one module here."""

from evokd.tasks.classification import TaskData, load_task_data, normalize

__all__ = ["TaskData", "load_task_data", "normalize"]
