"""Paimon's lock in a database: a row that only one can insert, deleted when done.

A row says when it was taken and after how many seconds it is dead; then anybody may delete it. Two
weaknesses of the protocol are kept away from our side. A holder that outlives its time would, by
Java's rule, delete the next holder's row: ours bears a stamp, and we delete no other. And the time
of a row has no time zone, so a row of another zone may look dead while it is alive: we delete a row
only after it stood there unchanged for a while before our own eyes, and always after its whole
time of that.

Spec: format §16; reference classes ``jdbc/JdbcCatalogLock``, ``jdbc/JdbcUtils``.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass

from ..errors import StorageUnavailable, TableError
from ..handle import World
from .database import Database, DuplicateRow
from .jdbc_tables import LOCKS, ensure_tables

FIRST_SLEEP_SECONDS = 0.1
WATCH_MILLIS_MAX = 30_000
"""How long a row that is dead by its time is watched before it is deleted."""

_CLOCK = {
    "sqlite": "strftime('%Y-%m-%d %H:%M:%S', 'now') || '.' || CAST(? AS VARCHAR)",
    "postgresql": "date_trunc('second', LOCALTIMESTAMP) + CAST(? AS interval)",
}
_AGE = {
    "sqlite": "strftime('%s', 'now') - strftime('%s', acquired_at)",
    "postgresql": "EXTRACT(EPOCH FROM AGE(NOW(), acquired_at))",
}


@dataclass(frozen=True, slots=True)
class _Row:
    """A lock somebody holds: when it was taken as text, its seconds to live, how old it is."""

    acquired_at: str
    expire_seconds: int
    age_seconds: float


@dataclass(frozen=True, slots=True)
class JdbcHold:
    """A lock that we hold."""

    lock: JdbcLock
    lock_id: str
    stamp: str

    def check(self) -> None:
        """Nothing, as long as the lock is still ours.

        Raises:
            StorageUnavailable: it was taken from us, or its database fails.
        """
        if not self.lock.is_ours(self.lock_id, self.stamp):
            raise StorageUnavailable("the lock was lost while it was held", lock=self.lock_id)

    def keep(self) -> None:
        """Do not give it back: it is free when its time is over."""
        self.lock.keep(self.lock_id, self.stamp)


class JdbcLock:
    """The lock table of a catalog.

    Args:
        key: the catalog's key, the first part of a lock's name.
        check_max_sleep: the longest wait between two tries, seconds.
        acquire_timeout: how long to try, and when our rows are dead, seconds.
    """

    def __init__(
        self,
        database: Database,
        key: str,
        world: World,
        *,
        check_max_sleep: float = 8.0,
        acquire_timeout: float = 480.0,
    ) -> None:
        self._database = database
        self._key = key
        self._world = world
        self._max_sleep = check_max_sleep
        self._timeout_millis = int(acquire_timeout * 1000)
        self._guard = threading.Lock()
        self._seen: dict[str, tuple[str, int]] = {}
        self._left: set[tuple[str, str]] = set()
        self._kept: set[tuple[str, str]] = set()
        self._ready = False

    @contextmanager
    def held(self, table: str) -> Generator[JdbcHold]:
        """Hold the lock of the table called ``db.table``; it cannot be taken twice by one holder.

        Raises:
            StorageUnavailable: it cannot be had in time, or its database fails.
        """
        lock_id = f"{self._key}.{table}"
        self._prepare()
        stamp = self._acquire(lock_id)
        try:
            yield JdbcHold(self, lock_id, stamp)
        finally:
            with self._guard:
                kept = (lock_id, stamp) in self._kept
                self._kept.discard((lock_id, stamp))
            if not kept:
                self._release(lock_id, stamp)

    def keep(self, lock_id: str, stamp: str) -> None:
        """Leave this row of ours to its end."""
        with self._guard:
            self._kept.add((lock_id, stamp))

    def close(self) -> None:
        """Give the connection back."""
        self._database.close()

    def is_ours(self, lock_id: str, stamp: str) -> bool:
        """Whether the row is there, and bears this stamp."""
        sql = f"SELECT 1 FROM {LOCKS} WHERE lock_id = ? AND CAST(acquired_at AS VARCHAR) LIKE ?"
        return bool(self._database.query(sql, lock_id, f"%.{stamp}"))

    def _prepare(self) -> None:
        """The lock table is there, and without rows that we could not delete before."""
        if not self._ready:
            ensure_tables(self._database)
            self._ready = True
        with self._guard:
            left = tuple(self._left)
        for lock_id, stamp in left:
            self._delete(lock_id, stamp)
            with self._guard:
                self._left.discard((lock_id, stamp))

    # --- taking ---------------------------------------------------------------------------------

    def _acquire(self, lock_id: str) -> str:
        began = self._world.now_millis()
        sleep = FIRST_SLEEP_SECONDS
        while True:
            stamp = _stamp()
            if self._inserted(lock_id, stamp):
                return stamp
            waited = self._world.now_millis() - began
            if waited > self._timeout_millis:
                raise StorageUnavailable(
                    "the lock cannot be had", lock=lock_id, seconds=round(waited / 1000)
                )
            if not self._cleared(lock_id):
                self._world.sleep(min(sleep, self._max_sleep))
                sleep *= 2

    def _inserted(self, lock_id: str, stamp: str) -> bool:
        """Whether the row is ours now.

        After a lost answer it may be there, where nobody else would remove it for minutes. So it is
        deleted by its stamp, and if that can be done, the database is well enough to try again.
        """
        try:
            self._insert(lock_id, stamp)
        except DuplicateRow:
            return False
        except StorageUnavailable as error:
            if not self._release(lock_id, stamp):
                raise
            try:
                self._insert(lock_id, stamp)
            except DuplicateRow:
                return False
            except StorageUnavailable:
                self._release(lock_id, stamp)
                raise error from None
        with self._guard:
            self._seen.pop(lock_id, None)
        return True

    def _insert(self, lock_id: str, stamp: str) -> None:
        clock = _CLOCK[self._database.kind]
        fraction = stamp if self._database.kind == "sqlite" else f"0.{stamp} seconds"
        self._database.once(
            f"INSERT INTO {LOCKS} (lock_id, acquired_at, expire_time_seconds) "
            f"VALUES (?, {clock}, ?)",
            *(lock_id, fraction, self._timeout_millis // 1000),
        )

    # --- rows of the dead -----------------------------------------------------------------------

    def _cleared(self, lock_id: str) -> bool:
        """Whether somebody's row was dead and is gone now."""
        row = self._row(lock_id)
        if row is None:
            return True
        watched = self._watched(lock_id, row)
        expire_millis = row.expire_seconds * 1000
        dead = watched > expire_millis or (
            row.age_seconds > row.expire_seconds and watched >= min(WATCH_MILLIS_MAX, expire_millis)
        )
        if not dead:
            return False
        sql = f"DELETE FROM {LOCKS} WHERE lock_id = ? AND CAST(acquired_at AS VARCHAR) = ?"
        return self._database.repeat(sql, lock_id, row.acquired_at) > 0

    def _row(self, lock_id: str) -> _Row | None:
        rows = self._database.query(
            f"SELECT CAST(acquired_at AS VARCHAR), expire_time_seconds, "
            f"{_AGE[self._database.kind]} FROM {LOCKS} WHERE lock_id = ?",
            lock_id,
        )
        if not rows:
            return None
        acquired_at, expire, age = rows[0]
        try:
            return _Row(str(acquired_at), int(expire), float(-1 if age is None else age))
        except (TypeError, ValueError) as error:
            raise StorageUnavailable(
                "a row of the lock table cannot be read", lock=lock_id, reason=str(error)
            ) from error

    def _watched(self, lock_id: str, row: _Row) -> int:
        """For how many milliseconds the row is known to have stood there unchanged."""
        now = self._world.now_millis()
        with self._guard:
            text, since = self._seen.get(lock_id, ("", now))
            if text != row.acquired_at:
                since = now
            self._seen[lock_id] = (row.acquired_at, since)
        return now - since

    # --- giving back ----------------------------------------------------------------------------

    def _release(self, lock_id: str, stamp: str) -> bool:
        """Delete our row. What was done under the lock stands, so a failure is no error: the row is
        deleted before the next lock is taken, or expires."""
        try:
            self._delete(lock_id, stamp)
        except TableError:
            with self._guard:
                self._left.add((lock_id, stamp))
            return False
        return True

    def _delete(self, lock_id: str, stamp: str) -> None:
        sql = f"DELETE FROM {LOCKS} WHERE lock_id = ? AND CAST(acquired_at AS VARCHAR) LIKE ?"
        self._database.repeat(sql, lock_id, f"%.{stamp}")


def _stamp() -> str:
    """Six digits for behind the second; the last is no zero: PostgreSQL would not print it."""
    return f"{uuid.uuid4().int % 100_000:05d}{uuid.uuid4().int % 9 + 1}"
