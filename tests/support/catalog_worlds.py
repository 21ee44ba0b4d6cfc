"""Catalogs of our own for tests: small ones in SQLite, and a clock that sleeping moves."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Sequence
from pathlib import Path

from desilt.table.catalogs import CatalogOptions, JdbcCatalog
from desilt.table.handle import World
from desilt.table.storage import LocalStorage

from .builders import KEYED_COLUMNS, KEYED_OPTIONS, ManualClock
from .server_process import free_port

__all__ = [
    "UNREACHABLE",
    "WaitingWorld",
    "keyed",
    "rows_of_database",
    "sqlite_catalog",
    "write_row",
]

UNREACHABLE = f"127.0.0.1:{free_port()}"
"""An address where nobody listens."""


class WaitingWorld:
    """A world whose clock moves by sleeping; ``slept`` holds the waits."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.clock.advance(seconds)

    @property
    def world(self) -> World:
        return World(now_millis=self.clock.now, sleep=self.sleep, chance=lambda: 0.0)


def sqlite_catalog(
    folder: Path, *, key: str = "jdbc", world: World | None = None, lock_seconds: float = 480.0
) -> JdbcCatalog:
    """A catalog in ``catalog.db`` over the warehouse ``lake``."""
    options = CatalogOptions(
        "jdbc",
        warehouse=f"{folder}/lake",
        uri=f"jdbc:sqlite:{folder}/catalog.db",
        key=key,
        lock_acquire_timeout=lock_seconds,
    )
    return JdbcCatalog(options, storage=LocalStorage(sync=False), world=world)


def keyed(catalog: JdbcCatalog, name: str = "db.t") -> None:
    """A keyed table with one bucket, and its database."""
    catalog.create_database(name.partition(".")[0])
    catalog.create_table(name, KEYED_COLUMNS, primary_key=["k"], options=KEYED_OPTIONS)


def rows_of_database(folder: Path, sql: str) -> list[tuple[object, ...]]:
    """What a query on ``catalog.db`` finds."""
    with contextlib.closing(sqlite3.connect(folder / "catalog.db")) as connection:
        return connection.execute(sql).fetchall()


def write_row(folder: Path, sql: str, values: Sequence[object] = ()) -> None:
    """Change ``catalog.db`` as somebody else would."""
    with contextlib.closing(sqlite3.connect(folder / "catalog.db")) as connection:
        connection.execute(sql, tuple(values))
        connection.commit()
