"""Task kinds: how rows are read and scored. A new kind is one module here."""

from evokd.tasks.classification import TaskData, is_unicode, load_task_data, normalize

__all__ = ["TaskData", "is_unicode", "load_task_data", "normalize"]
