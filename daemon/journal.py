"""What a restarted daemon has to know: tasks under way, holds, and counters. SQLite.

A task is *opened* before its worker writes the first byte and *closed* only when its outputs are
known to be committed or removed. So after any crash the open tasks are exactly those whose
leftovers may lie about, and the table says of each whether it was committed. Losing the journal
loses history, never data: leftovers become orphans, and a held bucket is tried again.

One daemon per journal: a second one would take the tasks of the first for leftovers. A lock on the
file beside it (``<path>.lock``) says so for as long as the daemon lives; commands that only look or
lift a hold open the database without that lock.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import sqlite3
import threading
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from ..policies.admit import BucketKey
from .errors import JournalError
from .ledger import Hold
from .task import Outcome, Task

SCHEMA_VERSION = 1
# What /tasks and a person with sqlite3 can look back on; about 5 MB.
CLOSED_TASKS_MAX = 10_000
# Another process holds the database only for one small transaction of its own.
BUSY_SECONDS = 5.0

_SCHEMA = """
CREATE TABLE IF NOT EXISTS tasks (
    task_id TEXT PRIMARY KEY, table_name TEXT NOT NULL, path TEXT NOT NULL,
    partition TEXT NOT NULL, bucket INTEGER NOT NULL, file_prefix TEXT NOT NULL,
    action TEXT NOT NULL, started TEXT NOT NULL, finished TEXT, outcome TEXT, detail TEXT
);
CREATE INDEX IF NOT EXISTS tasks_finished ON tasks (finished);
CREATE TABLE IF NOT EXISTS holds (
    table_name TEXT NOT NULL, partition TEXT NOT NULL, bucket INTEGER,
    reason TEXT NOT NULL, since TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS spend (
    path TEXT PRIMARY KEY, upto_snapshot_id INTEGER NOT NULL, counters TEXT NOT NULL
);
"""


@dataclass(frozen=True, slots=True)
class OpenTask:
    """A task whose outputs may lie about."""

    task_id: str
    table: str
    path: str
    partition: str
    bucket: int
    started: datetime


@dataclass(frozen=True, slots=True)
class ClosedTask:
    """A task of the past."""

    task_id: str
    key: BucketKey
    action: str
    started: str
    finished: str
    outcome: str
    detail: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Holds:
    """What waits for a person."""

    halted: Mapping[str, Hold]
    quarantined: Mapping[BucketKey, Hold]


@dataclass(frozen=True, slots=True)
class Spend:
    """Write-amplification counters: partition|bucket → [appended bytes, compacted bytes]."""

    upto_snapshot_id: int
    counters: Mapping[str, Sequence[int]]


class Journal:
    """The database; safe to use from several threads. Every method raises `JournalError` only.

    Args:
        path: of the SQLite file; made if missing, its directory must exist.
        exclusive: take the daemon's lock, or fail because another daemon has it.
    """

    def __init__(self, path: str | Path, *, exclusive: bool = True) -> None:
        self._path = os.fspath(path)
        self._mutex = threading.Lock()
        self._lock_file = _locked(f"{self._path}.lock", self._path) if exclusive else None
        try:
            with _named(self._path):
                self._db = self._opened()
        except JournalError:
            self._unlock()
            raise

    def _opened(self) -> sqlite3.Connection:
        db = sqlite3.connect(
            self._path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        try:
            db.execute("PRAGMA journal_mode=WAL")
            # A task that is opened must be on disk before its worker writes, power cut included.
            db.execute("PRAGMA synchronous=FULL")
            self._check_version(int(db.execute("PRAGMA user_version").fetchone()[0]))
            db.executescript(
                f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA user_version={SCHEMA_VERSION}; COMMIT"
            )
        except BaseException:
            db.close()
            raise
        return db

    def _check_version(self, version: int) -> None:
        if version not in (0, SCHEMA_VERSION):
            raise JournalError(
                f"state of another version of desilt, path={self._path}, version={version}"
            )

    def close(self) -> None:
        """Let another daemon have it."""
        with self._mutex:
            self._db.close()
        self._unlock()

    def _unlock(self) -> None:
        if self._lock_file is not None:
            self._lock_file.close()

    @contextlib.contextmanager
    def _transaction(self) -> Generator[sqlite3.Connection]:
        with self._mutex, _named(self._path):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    self._db.execute("ROLLBACK")
                raise

    def _rows(self, query: str, *values: object) -> list[tuple[object, ...]]:
        with self._mutex, _named(self._path):
            return self._db.execute(query, values).fetchall()

    def open_task(self, task: Task) -> None:
        """Remember the task; on disk when this returns."""
        key = task.key
        with self._transaction() as db:
            db.execute(
                "INSERT INTO tasks (task_id, table_name, path, partition, bucket, file_prefix,"
                " action, started) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    task.task_id, key.table, task.path, key.partition, key.bucket,
                    task.file_prefix, task.proposal.action, task.started.isoformat(),
                ),
            )  # fmt: skip

    def close_task(
        self, task_id: str, outcome: str, finished: datetime, detail: Mapping[str, object]
    ) -> None:
        """Its outputs are committed or removed; ``detail`` is kept as JSON."""
        text = json.dumps(dict(detail), default=str)
        with self._transaction() as db:
            db.execute(
                "UPDATE tasks SET finished = ?, outcome = ?, detail = ? WHERE task_id = ?",
                (finished.isoformat(), outcome, text, task_id),
            )
            db.execute(
                "DELETE FROM tasks WHERE rowid IN (SELECT rowid FROM tasks"
                " WHERE finished IS NOT NULL ORDER BY finished DESC LIMIT -1 OFFSET ?)",
                (CLOSED_TASKS_MAX,),
            )

    def open_tasks(self) -> tuple[OpenTask, ...]:
        """Tasks that were opened and not closed, oldest first."""
        rows = self._rows(
            "SELECT task_id, table_name, path, partition, bucket, started FROM tasks"
            " WHERE finished IS NULL ORDER BY started, task_id"
        )
        return tuple(
            OpenTask(
                str(task_id), str(table), str(path), str(partition), _int(bucket), _time(started)
            )
            for task_id, table, path, partition, bucket, started in rows
        )

    def closed_tasks(self, limit: int) -> tuple[ClosedTask, ...]:
        """The last ``limit`` tasks, newest first."""
        rows = self._rows(
            "SELECT task_id, table_name, partition, bucket, action, started, finished, outcome,"
            " detail FROM tasks WHERE finished IS NOT NULL ORDER BY finished DESC, task_id LIMIT ?",
            limit,
        )
        return tuple(
            ClosedTask(
                str(row[0]), BucketKey(str(row[1]), str(row[2]), _int(row[3])), str(row[4]),
                str(row[5]), str(row[6]), str(row[7]), json.loads(str(row[8])),
            )
            for row in rows
        )  # fmt: skip

    def task_count(self) -> int:
        """Tasks remembered; says which quarter of the columns comes next."""
        return _int(self._rows("SELECT count(*) FROM tasks")[0][0])

    def hold(self, table: str, bucket: BucketKey | None, hold: Hold) -> None:
        """A person must look at the bucket, or at the whole table (None)."""
        partition, number = ("", None) if bucket is None else (bucket.partition, bucket.bucket)
        with self._transaction() as db:
            db.execute(
                "DELETE FROM holds WHERE table_name = ? AND partition = ? AND bucket IS ?",
                (table, partition, number),
            )
            db.execute(
                "INSERT INTO holds (table_name, partition, bucket, reason, since)"
                " VALUES (?, ?, ?, ?, ?)",
                (table, partition, number, hold.reason, hold.since.isoformat()),
            )

    def holds(self) -> Holds:
        """Everything that waits for a person."""
        halted: dict[str, Hold] = {}
        quarantined: dict[BucketKey, Hold] = {}
        for table, partition, bucket, reason, since in self._rows(
            "SELECT table_name, partition, bucket, reason, since FROM holds"
        ):
            hold = Hold(str(reason), _time(since))
            if bucket is None:
                halted[str(table)] = hold
            else:
                quarantined[BucketKey(str(table), str(partition), _int(bucket))] = hold
        return Holds(halted, quarantined)

    def lift(self, table: str | None = None) -> int:
        """Lift the holds of one table, or all; how many there were.

        Rejected tasks are opened again, so that the files they kept as evidence are swept.
        """
        which, values = ("", ()) if table is None else (" AND table_name = ?", (table,))
        with self._transaction() as db:
            db.execute(
                "UPDATE tasks SET finished = NULL, outcome = NULL"
                f" WHERE outcome = '{Outcome.REJECTED}'{which}",
                values,
            )
            return db.execute(f"DELETE FROM holds WHERE TRUE{which}", values).rowcount

    def save_spend(self, path: str, spend: Spend) -> None:
        """Keep the counters of the table at ``path``."""
        counters = json.dumps({key: list(value) for key, value in spend.counters.items()})
        with self._transaction() as db:
            db.execute(
                "INSERT OR REPLACE INTO spend (path, upto_snapshot_id, counters) VALUES (?, ?, ?)",
                (path, spend.upto_snapshot_id, counters),
            )

    def spend(self, path: str) -> Spend | None:
        """The counters of the table at ``path`` as last saved."""
        rows = self._rows("SELECT upto_snapshot_id, counters FROM spend WHERE path = ?", path)
        return Spend(_int(rows[0][0]), json.loads(str(rows[0][1]))) if rows else None

    def forget(self, path: str) -> None:
        """The table at ``path`` is gone, and so are its counters."""
        with self._transaction() as db:
            db.execute("DELETE FROM spend WHERE path = ?", (path,))


def _locked(lock_path: str, path: str) -> IO[bytes]:
    try:
        stream = open(lock_path, "ab")  # noqa: SIM115  held open for as long as the journal is
    except OSError as error:
        raise JournalError(
            f"state cannot be written, path={path}, error={error.strerror or error}"
        ) from error
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        stream.close()
        raise JournalError(f"state is in use by another daemon, path={path}") from error
    return stream


@contextlib.contextmanager
def _named(path: str) -> Generator[None]:
    """sqlite3's errors as ours, in words that say what to do."""
    try:
        yield
    except sqlite3.Error as error:
        text = str(error)
        if "locked" in text or "busy" in text:
            what = "state is locked by another process"
        elif isinstance(error, sqlite3.DatabaseError) and (
            "not a database" in text or "malformed" in text
        ):
            what = "state is corrupt, move it away to start with an empty one"
        else:
            what = "state cannot be used"
        raise JournalError(f"{what}, path={path}, error={text}") from error
    except ValueError as error:  # a value in the file that nobody of us wrote
        raise JournalError(f"state is corrupt, path={path}, error={error}") from error


def _int(value: object) -> int:
    if not isinstance(value, int):
        raise JournalError(f"state is corrupt: a number was expected, value={value!r}")
    return value


def _time(value: object) -> datetime:
    try:
        return datetime.fromisoformat(str(value)).astimezone(UTC)
    except ValueError as error:
        raise JournalError(f"state is corrupt: a time was expected, value={value!r}") from error
