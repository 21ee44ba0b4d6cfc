"""From an error to the next step, to a metric's label, and to an exit code."""

from __future__ import annotations

import pytest

from desilt.daemon.errors import (
    ConfigError,
    JournalError,
    ServerError,
    UsageError,
    WorkerBug,
    WorkerCrashed,
    WorkerTimedOut,
)
from desilt.daemon.outcome import Next, after_failure, exit_code, may_leave_files, outcome_of
from desilt.daemon.task import Outcome
from desilt.table import errors
from desilt.table.errors import TableError

CASES: list[tuple[Exception, Next, Outcome, int, bool]] = [
    (errors.CommitConflict("x"), Next.RESCAN, Outcome.CONFLICTED, 4, False),
    (errors.StorageUnavailable("x"), Next.RETRY, Outcome.FAILED, 1, True),
    (errors.OutcomeUnknown("x"), Next.RETRY, Outcome.UNKNOWN, 1, True),
    (errors.UnsupportedFeature("x"), Next.SKIP_TABLE, Outcome.FAILED, 3, False),
    (errors.InvalidRequest("x"), Next.HALT_TABLE, Outcome.FAILED, 2, False),
    (errors.BadData("x"), Next.QUARANTINE_BUCKET, Outcome.FAILED, 1, False),
    (errors.VerificationFailed("x"), Next.QUARANTINE_BUCKET, Outcome.REJECTED, 1, False),
    (errors.TableMissing("x"), Next.FORGET_TABLE, Outcome.FAILED, 2, False),
    (errors.CorruptTable("x"), Next.HALT_TABLE, Outcome.FAILED, 1, False),
    (errors.FileMissing("x"), Next.HALT_TABLE, Outcome.FAILED, 1, False),
    (WorkerCrashed("x"), Next.RETRY, Outcome.CRASHED, 1, True),
    (WorkerTimedOut("x"), Next.RETRY, Outcome.TIMED_OUT, 1, True),
    (WorkerBug("x"), Next.HALT_TABLE, Outcome.FAILED, 1, True),
    (JournalError("x"), Next.RETRY, Outcome.FAILED, 1, True),
    (ServerError("x"), Next.HALT_TABLE, Outcome.FAILED, 1, True),
    (ConfigError("f", "k", "p"), Next.HALT_TABLE, Outcome.FAILED, 2, True),
    (UsageError("x"), Next.HALT_TABLE, Outcome.FAILED, 2, True),
    (KeyError("a bug"), Next.HALT_TABLE, Outcome.FAILED, 1, True),
]


@pytest.mark.parametrize(
    ("error", "step", "outcome", "code", "files"), CASES, ids=lambda value: type(value).__name__
)
def test_every_error_has_its_answers(
    error: Exception, step: Next, outcome: Outcome, code: int, files: bool
) -> None:
    assert after_failure(error) is step
    assert outcome_of(error) is outcome
    assert exit_code(error) == code
    assert may_leave_files(error) is files


def test_every_table_error_is_in_the_table_above() -> None:
    def below(kind: type[TableError]) -> set[type[TableError]]:
        return {kind}.union(*(below(child) for child in kind.__subclasses__()))

    missing = below(TableError) - {TableError} - {type(case[0]) for case in CASES}

    assert {kind.__name__ for kind in missing if kind.__module__ == errors.__name__} == set()


@pytest.mark.parametrize("error", [WorkerCrashed("x"), WorkerTimedOut("x")])
def test_worker_that_fails_thrice_in_a_row_quarantines_its_bucket(error: Exception) -> None:
    steps = [after_failure(error, attempt=attempt) for attempt in (1, 2, 3)]

    assert steps == [Next.RETRY, Next.RETRY, Next.QUARANTINE_BUCKET]
