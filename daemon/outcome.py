"""From an error to the next step: the only file of the daemon that decides by error type."""

from __future__ import annotations

from enum import Enum, auto

from ..table.errors import (
    BadData,
    CommitConflict,
    CorruptTable,
    InvalidRequest,
    OutcomeUnknown,
    StorageUnavailable,
    TableError,
    TableMissing,
    UnsupportedFeature,
    VerificationFailed,
)
from .errors import ConfigError, JournalError, UsageError, WorkerCrashed, WorkerTimedOut
from .task import Outcome

# A bucket that kills its worker this often in a row would go on doing so, at the price of a worker
# each time; three allow for a machine that was short of memory for some minutes.
WORKER_ATTEMPTS_MAX = 3


class Next(Enum):
    """What to do after a failure."""

    RESCAN = auto()  # look at the table again and plan anew, at once
    RETRY = auto()  # the same again after a pause that grows
    SKIP_TABLE = auto()  # leave it alone; look now and then whether it changed
    QUARANTINE_BUCKET = auto()  # this bucket waits for a person, the rest of the table goes on
    HALT_TABLE = auto()  # the table waits for a person
    FORGET_TABLE = auto()  # there is no such table any more


def after_failure(error: Exception, *, attempt: int = 1) -> Next:
    """The next step; an error of an unknown type is a bug, never a retry.

    Args:
        attempt: how often in a row this has failed now, from 1.
    """
    match error:
        case CommitConflict():
            return Next.RESCAN
        case StorageUnavailable() | OutcomeUnknown() | JournalError():
            return Next.RETRY
        case WorkerCrashed() | WorkerTimedOut():
            return Next.RETRY if attempt < WORKER_ATTEMPTS_MAX else Next.QUARANTINE_BUCKET
        case UnsupportedFeature():
            return Next.SKIP_TABLE
        case BadData() | VerificationFailed():
            return Next.QUARANTINE_BUCKET
        case TableMissing():
            return Next.FORGET_TABLE
        case CorruptTable():
            return Next.HALT_TABLE
        case _:
            return Next.HALT_TABLE  # a bug of ours: traceback, counter, page


def outcome_of(error: Exception) -> Outcome:
    """What the metrics and the journal call the failure."""
    match error:
        case CommitConflict():
            return Outcome.CONFLICTED
        case VerificationFailed():
            return Outcome.REJECTED
        case WorkerCrashed():
            return Outcome.CRASHED
        case WorkerTimedOut():
            return Outcome.TIMED_OUT
        case OutcomeUnknown():
            return Outcome.UNKNOWN
        case _:
            return Outcome.FAILED


def may_leave_files(error: Exception) -> bool:
    """Whether such a task may have left files; `table/` removes its own on every refusal."""
    match error:
        case StorageUnavailable() | OutcomeUnknown():
            return True
        case TableError():
            return False
        case _:
            return True


def exit_code(error: Exception) -> int:
    """The exit code of a command that ended with ``error``.

    1 failed · 2 bad usage or configuration · 3 refused by name · 4 the input changed too often.
    """
    match error:
        case ConfigError() | UsageError() | InvalidRequest() | TableMissing():
            return 2
        case UnsupportedFeature():
            return 3
        case CommitConflict():
            return 4
        case _:
            return 1
