"""What is remembered about failures between attempts: a value, replaced as a whole.

Nothing here reads a clock or decides by error type; `outcome.after_failure` decides, this file
keeps the decision. Four things can stand in the way of a bucket:

    paused       it failed; not again before a moment that moves away with every failure in a row
    skipped      its table uses what desilt does not understand; looked at now and then
    quarantined  a person must look at this bucket
    halted       a person must look at its table
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TypeVar

from ..policies.admit import BucketKey

# One second is about what a store needs to get over a hiccup; ten minutes keep the load of a store
# that stays away at a few calls per hour and table, and still recover without a person.
BACKOFF_SECONDS = 1.0
BACKOFF_SECONDS_MAX = 600.0
# A schema change by which a table becomes acceptable is rare; looking costs a few small reads.
SKIP_SECONDS = 300.0

# A table by the name that the daemon gives it, or a bucket.
Subject = str | BucketKey


@dataclass(frozen=True, slots=True)
class Pause:
    """``attempts`` failures in a row; nothing more before ``until``."""

    attempts: int
    until: datetime
    reason: str


@dataclass(frozen=True, slots=True)
class Hold:
    """Waits for a person; ``reason`` says what went wrong."""

    reason: str
    since: datetime


@dataclass(frozen=True, slots=True)
class Ledger:
    """Failures by table and bucket. Every method returns a new ledger."""

    pauses: Mapping[Subject, Pause] = field(default_factory=dict[Subject, Pause])
    skipped: Mapping[str, Pause] = field(default_factory=dict[str, Pause])
    halted: Mapping[str, Hold] = field(default_factory=dict[str, Hold])
    quarantined: Mapping[BucketKey, Hold] = field(default_factory=dict[BucketKey, Hold])

    def table_open(self, table: str, now: datetime) -> bool:
        """Whether the table may be looked at and worked on."""
        return (
            table not in self.halted
            and _passed(self.skipped.get(table), now)
            and _passed(self.pauses.get(table), now)
        )

    def bucket_open(self, bucket: BucketKey, now: datetime) -> bool:
        """Whether the bucket, and its table, may be worked on."""
        return (
            bucket not in self.quarantined
            and _passed(self.pauses.get(bucket), now)
            and self.table_open(bucket.table, now)
        )

    def attempts(self, subject: Subject) -> int:
        """Failures in a row so far."""
        pause = self.pauses.get(subject)
        return 0 if pause is None else pause.attempts

    def paused(self, subject: Subject, reason: str, now: datetime) -> Ledger:
        """One more failure of ``subject``: wait twice as long as the last time."""
        attempts = self.attempts(subject) + 1
        pause = Pause(attempts, now + timedelta(seconds=backoff_seconds(attempts)), reason)
        return replace(self, pauses={**self.pauses, subject: pause})

    def succeeded(self, subject: Subject) -> Ledger:
        """``subject`` works: its failures in a row are over."""
        if subject not in self.pauses and subject not in self.skipped:
            return self
        return replace(
            self, pauses=_without(self.pauses, subject), skipped=_without(self.skipped, subject)
        )

    def skip(self, table: str, reason: str, now: datetime) -> Ledger:
        """Leave the table alone until its next look."""
        pause = Pause(1, now + timedelta(seconds=SKIP_SECONDS), reason)
        return replace(self, skipped={**self.skipped, table: pause})

    def halt(self, table: str, reason: str, now: datetime) -> Ledger:
        """Do not touch the table until a person says so."""
        return replace(self, halted={**self.halted, table: Hold(reason, now)})

    def quarantine(self, bucket: BucketKey, reason: str, now: datetime) -> Ledger:
        """Do not touch the bucket until a person says so."""
        return replace(self, quarantined={**self.quarantined, bucket: Hold(reason, now)})

    def forget(self, table: str) -> Ledger:
        """The table is gone, and so is everything about it."""
        return Ledger(
            pauses={k: v for k, v in self.pauses.items() if _table(k) != table},
            skipped=_without(self.skipped, table),
            halted=_without(self.halted, table),
            quarantined={k: v for k, v in self.quarantined.items() if k.table != table},
        )

    def with_holds(
        self, halted: Mapping[str, Hold], quarantined: Mapping[BucketKey, Hold]
    ) -> Ledger:
        """The same ledger with exactly these holds, as the journal has them.

        A hold that a person lifted takes the failures in a row of its subject with it.
        """
        lifted = {*self.halted, *self.quarantined} - {*halted, *quarantined}
        return replace(
            self, halted=halted, quarantined=quarantined, pauses=_without(self.pauses, *lifted)
        )


def backoff_seconds(attempts: int) -> float:
    """The pause after ``attempts`` failures in a row: 1, 2, 4 … seconds, at most ten minutes."""
    doublings = min(attempts - 1, 30)  # 2^30 s is far beyond the limit, and no overflow
    return float(min(BACKOFF_SECONDS * 2**doublings, BACKOFF_SECONDS_MAX))


def _table(subject: Subject) -> str:
    return subject if isinstance(subject, str) else subject.table


def _passed(pause: Pause | None, now: datetime) -> bool:
    return pause is None or now >= pause.until


_K = TypeVar("_K")
_V = TypeVar("_V")


def _without(mapping: Mapping[_K, _V], *keys: object) -> dict[_K, _V]:
    gone: Iterable[object] = set(keys)
    return {key: value for key, value in mapping.items() if key not in gone}
