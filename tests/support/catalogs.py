"""Catalogs of the peers: their options, and what a catalog in a database holds."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Mapping
from pathlib import Path

import psycopg

__all__ = ["LockRow", "jdbc_options", "logged_locks", "sqlite_uri", "watch_locks"]

LockRow = tuple[str, str, int]
"""What happened (INSERT or DELETE), the lock's id, the seconds after which it counts as dead."""

_WATCH = """
CREATE TABLE IF NOT EXISTS paimon_distributed_locks (
  lock_id VARCHAR(255) NOT NULL, acquired_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP NOT NULL,
  expire_time_seconds BIGINT DEFAULT 0 NOT NULL, PRIMARY KEY (lock_id));
CREATE TABLE lock_log (n SERIAL, happened TEXT, lock_id TEXT, seconds BIGINT);
CREATE FUNCTION log_lock() RETURNS TRIGGER AS $$ BEGIN
  INSERT INTO lock_log (happened, lock_id, seconds) VALUES
    (TG_OP, COALESCE(NEW.lock_id, OLD.lock_id),
     COALESCE(NEW.expire_time_seconds, OLD.expire_time_seconds));
  RETURN NULL; END $$ LANGUAGE plpgsql;
CREATE TRIGGER log_lock AFTER INSERT OR DELETE ON paimon_distributed_locks
  FOR EACH ROW EXECUTE FUNCTION log_lock();
"""


def jdbc_options(
    storage: Mapping[str, str], uri: str, *, key: str = "jdbc", lock: bool = True
) -> dict[str, str]:
    """A catalog in a database over a warehouse whose options are given."""
    locking = {"lock.enabled": "true", "lock.type": "jdbc"} if lock else {}
    return {**storage, "metastore": "jdbc", "uri": uri, "catalog-key": key, **locking}


def sqlite_uri(path: Path) -> str:
    """The address of a SQLite database, made if need be, that several processes can write to.

    Java's catalog leaves results open, which are read locks: without a write-ahead log no other
    process can write then.
    """
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
    return f"jdbc:sqlite:{path}"


def watch_locks(dsn: str) -> None:
    """From now on a PostgreSQL database keeps account of the catalog's lock rows."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(_WATCH)


def logged_locks(dsn: str) -> list[LockRow]:
    """What happened to lock rows since `watch_locks`, in order."""
    with psycopg.connect(dsn) as connection:
        rows = connection.execute("SELECT happened, lock_id, seconds FROM lock_log ORDER BY n")
        return [(str(happened), str(lock), int(seconds)) for happened, lock, seconds in rows]
