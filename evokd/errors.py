"""The errors a user can meet.

Every message says what was found, what was expected and what to do; none holds a secret.

    EvokdError
    ├── RefusedError            exit code 2: refused before the start, nothing was written
    │   ├── ConfigError         a task file with missing, unknown or impossible settings
    │   ├── DataError           rows that cannot be used
    │   ├── PackError           model weights missing, unreachable or with a wrong hash
    │   ├── EndpointError       an endpoint that is dead, refuses the key or lacks the model
    │   ├── RunInUseError       another process holds the run directory or the memory
    │   └── ResumeError         a run that is unknown, or whose config, data or code changed
    ├── StoppedError            exit code 3: stopped in the middle, `evokd resume` goes on
    │   ├── TeacherError        the teacher failed for good while the loop was running
    │   └── StorageError        a file could not be written (full disk, missing rights)
    └── ReplyError              one teacher reply that cannot be used; never leaves the loop
"""

from __future__ import annotations

EXIT_DONE = 0
EXIT_REFUSED = 2
EXIT_STOPPED = 3
EXIT_INTERRUPTED = 130


class EvokdError(Exception):
    """Anything evokd raises on purpose."""

    exit_code = EXIT_STOPPED


class RefusedError(EvokdError):
    """The work was refused before it started."""

    exit_code = EXIT_REFUSED


class ConfigError(RefusedError):
    """The task file asks for something that does not exist or cannot be."""


class DataError(RefusedError):
    """The rows of a data file cannot be used."""


class PackError(RefusedError):
    """Model weights cannot be had, or are not the ones they claim to be."""


class EndpointError(RefusedError):
    """A teacher endpoint cannot be used at all."""


class RunInUseError(RefusedError):
    """Another process writes the same run directory or memory."""


class ResumeError(RefusedError):
    """A run cannot be resumed as asked."""


class StoppedError(EvokdError):
    """The run stopped in the middle and can be resumed."""


class TeacherError(StoppedError):
    """The teacher failed while the loop was running."""


class StorageError(StoppedError):
    """Something could not be written."""


class ReplyError(EvokdError):
    """A teacher reply that cannot be parsed or validated.

    It names role and model and quotes the start of the reply; the caller drops the reply and
    counts it. It never becomes a sample.
    """

    def __init__(self, role: str, model: str, problem: str, text: str) -> None:
        start = text[:120].replace("\n", " ")
        super().__init__(f"{role} ({model}): {problem}; the reply starts with {start!r}")
        self.problem = problem
        self.text = text
