"""What the daemon adds to the error tree of `table/errors.py`, named after what to do next.

DesiltError
├── ConfigError        edit the YAML; nothing is started (exit 2)
├── UsageError         correct the command line (exit 2)
├── JournalError       make the state file usable; tasks wait until then
├── ServerError        choose another address for the HTTP server
└── WorkerError        nothing is known to be wrong with the table
    ├── WorkerCrashed  the process died or panicked: its task again, later, a few times
    ├── WorkerTimedOut the task took too long and was killed: the same
    └── WorkerBug      an error of a kind nobody expected: a bug of ours
"""

from __future__ import annotations

from ..table.errors import DesiltError


class ConfigError(DesiltError):
    """The YAML cannot be used; ``str`` reads ``file: key: problem``.

    Args:
        file: path of the YAML file, as the user gave it.
        key: where in it, like ``policies[1].compaction.kind``; "" for the file as a whole.
        problem: what is wrong, lower case, no full stop.
    """

    def __init__(self, file: str, key: str, problem: str) -> None:
        self.file = file
        self.key = key
        self.problem = problem
        super().__init__(": ".join(part for part in (file, key, problem) if part))


class UsageError(DesiltError):
    """The command line asks for something that makes no sense."""


class JournalError(DesiltError):
    """The state database is locked, corrupt or cannot be written."""


class ServerError(DesiltError):
    """The HTTP server cannot listen."""


class WorkerError(DesiltError):
    """A worker process did not answer with a result."""


class WorkerCrashed(WorkerError):
    """The worker process died, or Polars panicked inside it."""


class WorkerTimedOut(WorkerError):
    """The worker took longer than it may and was killed."""


class WorkerBug(WorkerError):
    """The worker raised something that is no error of the table: a bug."""
