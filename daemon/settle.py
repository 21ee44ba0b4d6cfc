"""Carries out what follows from a failure: asks `outcome.after_failure`, writes ledger and journal.

The one owner of the ledger; safe to use from several threads.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from ..policies.admit import BucketKey
from .clock import Clock
from .errors import JournalError
from .journal import Journal
from .ledger import Hold, Ledger, Subject
from .listen import (
    BucketQuarantined,
    Event,
    HoldsCounted,
    JournalFailed,
    Listener,
    TableFailed,
    TableHalted,
    TableSkipped,
)
from .logs import describe
from .outcome import Next, after_failure


class Settlement:
    """Ledger, journal and listener, kept in step."""

    def __init__(self, journal: Journal, clock: Clock, listener: Listener) -> None:
        self._journal = journal
        self._clock = clock
        self._tell = listener
        self._mutex = threading.RLock()
        self._ledger = Ledger()
        # Holds that the journal could not take; while there are any, its own are not read back.
        self._unsaved: list[tuple[str, BucketKey | None, Hold]] = []

    @property
    def ledger(self) -> Ledger:
        """As it is now; a value that stays as it is."""
        with self._mutex:
            return self._ledger

    def reload_holds(self) -> None:
        """Take over what the journal says: a person may have lifted holds meanwhile."""
        with self._mutex:
            unsaved, self._unsaved = self._unsaved, []
            for table, bucket, hold in unsaved:
                self._save(table, bucket, hold)
            if self._unsaved:
                return
            try:
                holds = self._journal.holds()
            except JournalError as error:
                self._tell(JournalFailed(str(error)))
                return
            self._ledger = self._ledger.with_holds(holds.halted, holds.quarantined)
            self._tell(HoldsCounted(len(holds.halted), len(holds.quarantined)))

    def succeeded(self, subject: Subject) -> None:
        """Table or bucket: it works."""
        self._change(lambda ledger: ledger.succeeded(subject))

    def forget(self, table: str) -> None:
        """The table is gone."""
        self._change(lambda ledger: ledger.forget(table))

    def table_failed(self, table: str, error: Exception) -> Next:
        """Looking at the table failed; returns what was done about it."""
        step = after_failure(error, attempt=self.ledger.attempts(table) + 1)
        if step is Next.QUARANTINE_BUCKET:
            step = Next.HALT_TABLE  # no bucket is known to be the one
        if step in (Next.RETRY, Next.RESCAN):
            self._change(lambda ledger: ledger.paused(table, str(error), self._clock.now()))
            self._tell(TableFailed(table, step, describe(error)))
            return step
        return self._stop(table, step, error)

    def bucket_failed(self, key: BucketKey, error: Exception) -> Next:
        """A task on the bucket failed; returns what was done about it."""
        step = after_failure(error, attempt=self.ledger.attempts(key) + 1)
        if step in (Next.RETRY, Next.RESCAN):
            # A lost race waits too: whoever won it may be about to win the next one.
            self._change(lambda ledger: ledger.paused(key, str(error), self._clock.now()))
            return step
        if step is Next.QUARANTINE_BUCKET:
            hold = Hold(describe(error), self._clock.now())
            self._change(lambda ledger: ledger.quarantine(key, hold.reason, hold.since))
            self._tell(BucketQuarantined(key.table, key.partition, key.bucket, hold.reason))
            self._save(key.table, key, hold)
            return step
        return self._stop(key.table, step, error)

    def _stop(self, table: str, step: Next, error: Exception) -> Next:
        """Skip, halt or forget the whole table."""
        now, reason = self._clock.now(), describe(error)
        match step:
            case Next.SKIP_TABLE:
                known = self.ledger.skipped.get(table)
                self._change(lambda ledger: ledger.skip(table, reason, now))
                if known is None or known.reason != reason:
                    self._tell(TableSkipped(table, reason))
            case Next.FORGET_TABLE:
                self.forget(table)
            case _:
                self._change(lambda ledger: ledger.halt(table, reason, now))
                self._tell(TableHalted(table, reason))
                self._save(table, None, Hold(reason, now))
        return step

    def _change(self, change: Callable[[Ledger], Ledger]) -> None:
        with self._mutex:
            self._ledger = change(self._ledger)

    def _save(self, table: str, bucket: BucketKey | None, hold: Hold) -> None:
        with self._mutex:
            event: Event | None = None
            try:
                self._journal.hold(table, bucket, hold)
            except JournalError as error:
                self._unsaved.append((table, bucket, hold))
                event = JournalFailed(str(error))
            if event is not None:
                self._tell(event)
