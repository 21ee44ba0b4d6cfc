"""Runs one task: plan, write into the journal, rewrite in a worker, commit.

The journal knows the task before the worker writes its first byte, and forgets it only when its
outputs are known to be committed or removed; otherwise it stays open and is swept at the next tick.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..table.commit import CommitOutcome
from ..table.compact import CompactionPlan, RewriteResult
from .clock import Clock
from .engine import Engine, plan_options
from .errors import JournalError
from .journal import Journal
from .listen import JournalFailed, Listener, TaskStarted
from .logs import describe
from .observe import Watched
from .outcome import may_leave_files, outcome_of
from .task import Finished, Outcome, Task


class Executor:
    """Used by several threads, each with another bucket."""

    def __init__(self, engine: Engine, journal: Journal, clock: Clock, listener: Listener) -> None:
        self._engine = engine
        self._journal = journal
        self._clock = clock
        self._tell = listener

    def run(self, task: Task, table: Watched) -> Finished:
        """Do it; an error is part of the answer."""
        started = self._clock.monotonic()
        try:
            finished = self._run(task, table, started)
        except Exception as error:  # noqa: BLE001  decided by type in outcome.py
            seconds = self._clock.monotonic() - started
            finished = Finished(task, outcome_of(error), seconds, error=error)
        finally:
            with table.lock:
                table.reading.pop(task.task_id, None)
        return finished

    def _run(self, task: Task, table: Watched, started: float) -> Finished:
        plan = self._plan(task, table)
        if plan is None:
            return Finished(task, Outcome.NOTHING, self._clock.monotonic() - started)
        self._journal.open_task(task)
        self._tell(TaskStarted(task, plan.snapshot_id, plan.input_bytes))
        try:
            result = self._engine.rewrite(plan, task.proposal.memory_bytes)
            with table.commit_lock:
                committed = self._engine.commit(plan, result)
        except Exception as error:
            if not may_leave_files(error):
                self._close(task, outcome_of(error), {"error": describe(error)})
            raise
        finished = _finished(task, result, committed, self._clock.monotonic() - started)
        self._close(task, finished.outcome, {"snapshot_id": committed.snapshot_id})
        return finished

    def _plan(self, task: Task, table: Watched) -> CompactionPlan | None:
        key = task.key
        with table.lock:
            plan = table.observer.plan(
                key.partition,
                key.bucket,
                task.task_id,
                plan_options(task.proposal.limits),
            )
            if plan is not None:  # before the lock is left: expiry asks behind the same one
                table.reading[task.task_id] = plan.snapshot_id
            return plan

    def _close(self, task: Task, outcome: Outcome, detail: Mapping[str, object]) -> None:
        """A task that cannot be closed is swept later, which finds it committed or clean."""
        try:
            self._journal.close_task(task.task_id, outcome.value, self._clock.now(), detail)
        except JournalError as error:
            self._tell(JournalFailed(str(error)))


def _finished(
    task: Task, result: RewriteResult, committed: CommitOutcome, seconds: float
) -> Finished:
    return Finished(
        task=task,
        outcome=Outcome.COMMITTED,
        duration_seconds=seconds,
        snapshot_id=committed.snapshot_id,
        input_bytes=result.bytes_read,
        output_bytes=result.bytes_written,
        rows_in=result.rows_in,
        rows_out=result.rows_out,
        upgraded=result.upgraded,
        peak_rss_bytes=result.peak_rss_bytes,
        lost_races=committed.lost_races,
        readded=committed.readded,
    )
