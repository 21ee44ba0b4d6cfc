"""Statements to a catalog's database, SQLite or PostgreSQL: one connection, made when needed.

The connection serves one thread at a time. It is closed after a failure and after a while of
idleness, so that what firewalls and restarts do to old connections costs nothing but a new one.
Every statement commits by itself.
"""

from __future__ import annotations

import os
import socket
import sqlite3
import threading
import weakref
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Protocol

import psycopg

from ..errors import StorageUnavailable, TableError, first_line
from .address import Address, PostgresAddress, SqliteAddress, host_parameters

IDLE_MILLIS_MAX = 60_000
UNTRIED_MILLIS_MAX = 1_000
CONNECT_SECONDS = 10
STATEMENT_SECONDS = 30
SQLITE_BUSY_SECONDS = 10

Row = tuple[Any, ...]


class DuplicateRow(Exception):
    """The row exists already."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Rows of a query, or how many rows a statement changed."""

    rows: Sequence[Row]
    changed: int


class Dialect(Protocol):
    """A kind of database."""

    name: str
    """``sqlite`` or ``postgresql``."""

    failures: tuple[type[Exception], ...]
    duplicate: type[Exception]

    def connect(self) -> Any: ...

    def run(self, connection: Any, sql: str, values: Sequence[object]) -> Answer: ...


class Database:
    """The database at an address.

    Args:
        now_millis: what time it is.
    """

    def __init__(self, address: Address, now_millis: Callable[[], int]) -> None:
        self.place = address.place
        self._now = now_millis
        self._dialect = dialect_of(address)
        self._guard = threading.Lock()
        self._slot = _Slot()
        self._used = 0
        # Who forgets to close gives back all the same, and is not warned by the driver.
        weakref.finalize(self, self._slot.close)

    @property
    def kind(self) -> str:
        """``sqlite`` or ``postgresql``."""
        return self._dialect.name

    def query(self, sql: str, *values: object) -> Sequence[Row]:
        """Rows; asked once more on a new connection when the old one fails.

        Raises:
            StorageUnavailable: the database cannot be reached, or refuses.
        """
        return self._repeatable(sql, values).rows

    def repeat(self, sql: str, *values: object) -> int:
        """How many rows a statement changed that may as well be run twice.

        Raises:
            StorageUnavailable: as `query`.
        """
        return self._repeatable(sql, values).changed

    def once(self, sql: str, *values: object) -> int:
        """How many rows a statement changed; after an error it may have been done or not.

        Raises:
            DuplicateRow: a row with this key exists.
            StorageUnavailable: as `query`.
        """
        if self._now() - self._used > UNTRIED_MILLIS_MAX:
            self.query("SELECT 1")  # so that a connection that died idle is not found out now
        with self._guard:
            return self._run(sql, values).changed

    def close(self) -> None:
        """Give the connection back."""
        with self._guard:
            self._slot.close()

    def _repeatable(self, sql: str, values: Sequence[object]) -> Answer:
        with self._guard:
            fresh = self._slot.connection is None
            try:
                return self._run(sql, values)
            except StorageUnavailable:
                if fresh:
                    raise
                return self._run(sql, values)

    def _run(self, sql: str, values: Sequence[object]) -> Answer:
        try:
            connection = self._connected()
            answer = self._dialect.run(connection, sql, values)
        except self._dialect.duplicate as error:
            raise DuplicateRow from error
        except self._dialect.failures as error:
            self._slot.close()
            raise self._failure(error) from error
        except BaseException:
            self._slot.close()  # interrupted: the answer to come would be the next one's
            raise
        self._used = self._now()
        return answer

    def _connected(self) -> Any:
        if self._now() - self._used > IDLE_MILLIS_MAX:
            self._slot.close()
        if self._slot.connection is None:
            self._slot.connection = self._dialect.connect()
        return self._slot.connection

    def _failure(self, error: Exception) -> TableError:
        return StorageUnavailable(
            "the catalog's database fails", database=self.place, reason=first_line(error)
        )


class _Slot:
    """Where a connection is, while there is one."""

    def __init__(self) -> None:
        self.connection: Any = None

    def close(self) -> None:
        connection, self.connection = self.connection, None
        if connection is not None:
            with suppress(sqlite3.Error, psycopg.Error, OSError):
                connection.close()


def dialect_of(address: Address) -> Dialect:
    """How to talk to the database there."""
    if isinstance(address, SqliteAddress):
        return _Sqlite(address)
    return _Postgres(address)


@contextmanager
def _deadline(connection: psycopg.Connection[Row]) -> Generator[None]:
    """Ends the connection of a statement whose answer does not come, though the network says that
    all is well: the driver itself would wait for ever."""
    handle = socket.socket(fileno=os.dup(connection.fileno()))
    timer = threading.Timer(STATEMENT_SECONDS + 5, _shut, (handle,))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
        handle.close()


def _shut(handle: socket.socket) -> None:
    try:
        handle.shutdown(socket.SHUT_RDWR)
    except OSError:
        return


class _Sqlite:
    name = "sqlite"
    failures: tuple[type[Exception], ...] = (sqlite3.Error, sqlite3.Warning)
    duplicate: type[Exception] = sqlite3.IntegrityError

    def __init__(self, address: SqliteAddress) -> None:
        self._path = address.path

    def connect(self) -> sqlite3.Connection:
        return sqlite3.connect(
            self._path,
            timeout=SQLITE_BUSY_SECONDS,
            isolation_level=None,
            check_same_thread=False,
        )

    def run(self, connection: sqlite3.Connection, sql: str, values: Sequence[object]) -> Answer:
        cursor = connection.execute(sql, values)
        rows = cursor.fetchall()
        return Answer(rows, max(cursor.rowcount, 0))


class _Postgres:
    name = "postgresql"
    failures: tuple[type[Exception], ...] = (psycopg.Error, OSError)
    duplicate: type[Exception] = psycopg.errors.UniqueViolation

    def __init__(self, address: PostgresAddress) -> None:
        self._address = address

    def connect(self) -> psycopg.Connection[Row]:
        address = self._address
        settings = {
            "timezone": address.time_zone,
            "datestyle": "ISO",
            "statement_timeout": f"{STATEMENT_SECONDS}s",
        }
        parameters: dict[str, Any] = {
            "connect_timeout": CONNECT_SECONDS,
            "application_name": "desilt",
            # A peer that vanished without a word is noticed by the kernel, not never.
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            "tcp_user_timeout": STATEMENT_SECONDS * 1000,
            **host_parameters(address.hosts),
            "dbname": address.database,
            **address.parameters,
        }
        # Poolers that share sessions know no prepared statements.
        connection = psycopg.connect(autocommit=True, prepare_threshold=None, **parameters)
        try:
            for key, value in settings.items():
                connection.execute("SELECT set_config(%s, %s, false)", (key, value))
        except psycopg.Error:
            connection.close()
            raise
        return connection

    def run(self, connection: Any, sql: str, values: Sequence[object]) -> Answer:
        text = sql.replace("%", "%%").replace("?", "%s").encode()
        with _deadline(connection), connection.cursor() as cursor:
            cursor.execute(text, values)
            rows = cursor.fetchall() if cursor.description is not None else ()
            return Answer(rows, max(cursor.rowcount, 0))
