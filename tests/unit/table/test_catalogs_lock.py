"""The lock table: who holds it, when it is freed, and that nobody else's row is deleted."""

from __future__ import annotations

import sqlite3
import threading
import time
from pathlib import Path

import pytest
from support.builders import kv, rows_of
from support.catalog_worlds import (
    WaitingWorld,
    keyed,
    rows_of_database,
    sqlite_catalog,
    write_row,
)

from desilt.table.catalogs import JdbcLock
from desilt.table.catalogs.address import SqliteAddress
from desilt.table.catalogs.database import Database
from desilt.table.errors import StorageUnavailable
from desilt.table.handle import World
from desilt.table.publish import Place, UnderLock
from desilt.table.storage import LocalStorage

LOCKS = "SELECT lock_id, expire_time_seconds FROM paimon_distributed_locks"
LOCK_ID = "jdbc.db.t"


class Locks:
    """A lock on ``catalog.db``; the database's clock is real, ours moves by sleeping."""

    def __init__(self, folder: Path, *, timeout: float = 480.0, max_sleep: float = 8.0) -> None:
        self.folder = folder
        self.waiting = WaitingWorld()
        self.database = Database(
            SqliteAddress(str(folder / "catalog.db")), self.waiting.world.now_millis
        )
        self.lock = JdbcLock(
            self.database,
            "jdbc",
            self.waiting.world,
            acquire_timeout=timeout,
            check_max_sleep=max_sleep,
        )

    def rows(self) -> list[tuple[object, ...]]:
        return rows_of_database(self.folder, LOCKS)

    def foreign(self, age_seconds: int, expire_seconds: int) -> None:
        """A row as Java inserts it, so old."""
        write_row(
            self.folder,
            "INSERT INTO paimon_distributed_locks VALUES (?, datetime('now', ?), ?)",
            [LOCK_ID, f"{-age_seconds} seconds", expire_seconds],
        )


@pytest.fixture
def locks(tmp_path: Path) -> Locks:
    made = Locks(tmp_path)
    with made.lock.held("db.other"):
        pass
    return made


def test_the_row_is_there_while_the_lock_is_held_and_no_longer(locks: Locks) -> None:
    with locks.lock.held("db.t") as hold:
        hold.check()
        assert locks.rows() == [(LOCK_ID, 480)]

    assert locks.rows() == []
    assert locks.waiting.slept == []


def test_the_lock_is_given_back_after_an_error(locks: Locks) -> None:
    with pytest.raises(ZeroDivisionError), locks.lock.held("db.t"):
        raise ZeroDivisionError

    assert locks.rows() == []


def test_locks_of_other_tables_are_free(locks: Locks) -> None:
    with locks.lock.held("db.t"), locks.lock.held("db.u"):
        assert len(locks.rows()) == 2


def test_a_live_row_is_waited_for_as_java_waits(locks: Locks) -> None:
    locks.foreign(age_seconds=0, expire_seconds=10_000)

    with pytest.raises(StorageUnavailable, match=f"the lock cannot be had, lock={LOCK_ID}"):
        locks.lock.held("db.t").__enter__()

    assert locks.waiting.slept[:8] == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 8.0]
    assert 480 < sum(locks.waiting.slept) < 480 + 9
    assert locks.rows() == [(LOCK_ID, 10_000)], "nobody else's row is deleted"


def test_a_row_dead_by_its_time_is_deleted_after_it_was_watched(locks: Locks) -> None:
    locks.foreign(age_seconds=1_000, expire_seconds=480)

    with locks.lock.held("db.t"):
        assert locks.rows() == [(LOCK_ID, 480)]

    assert 30 <= sum(locks.waiting.slept) < 40


def test_a_row_of_a_later_time_zone_dies_when_its_time_was_watched(locks: Locks) -> None:
    """Its holder's clock is two hours ahead: by its time it is not even taken yet."""
    locks.foreign(age_seconds=-7_200, expire_seconds=60)

    with locks.lock.held("db.t"):
        assert 60 < sum(locks.waiting.slept) < 70


def test_a_row_that_changes_is_alive_whatever_its_time_says(tmp_path: Path) -> None:
    """Its holders' clocks are hours behind: each row looks dead, and each is another one."""
    locks = Locks(tmp_path)
    with locks.lock.held("db.other"):
        pass
    age = 36_000

    def renew(seconds: float) -> None:
        nonlocal age
        age -= 1
        locks.waiting.sleep(seconds)
        write_row(tmp_path, "DELETE FROM paimon_distributed_locks")
        locks.foreign(age_seconds=age, expire_seconds=480)

    lock = JdbcLock(
        locks.database,
        "jdbc",
        World(locks.waiting.clock.now, renew, lambda: 0.0),
        acquire_timeout=100,
    )
    locks.foreign(age_seconds=age, expire_seconds=480)

    with pytest.raises(StorageUnavailable, match="cannot be had"):
        lock.held("db.t").__enter__()


def test_what_took_our_place_after_our_time_is_not_deleted(locks: Locks) -> None:
    with locks.lock.held("db.t") as hold:
        write_row(locks.folder, "DELETE FROM paimon_distributed_locks")
        locks.foreign(age_seconds=0, expire_seconds=99)
        with pytest.raises(StorageUnavailable, match=f"lost while it was held, lock={LOCK_ID}"):
            hold.check()

    assert locks.rows() == [(LOCK_ID, 99)]


def test_a_release_that_fails_is_no_error_and_made_up_for(locks: Locks) -> None:
    path = locks.folder / "catalog.db"
    aside = locks.folder / "aside.db"
    with locks.lock.held("db.t"):
        locks.lock.close()
        path.rename(aside)
        path.mkdir()
    path.rmdir()
    aside.rename(path)
    assert locks.rows() == [(LOCK_ID, 480)]

    with locks.lock.held("db.t"):
        assert locks.waiting.slept == []
    assert locks.rows() == []


def test_a_lost_answer_leaves_no_row(locks: Locks, monkeypatch: pytest.MonkeyPatch) -> None:
    once = Database.once

    def lost(database: Database, sql: str, *values: object) -> int:
        once(database, sql, *values)
        raise StorageUnavailable("the answer is lost")

    monkeypatch.setattr(Database, "once", lost)
    with pytest.raises(StorageUnavailable, match="the answer is lost"):
        locks.lock.held("db.t").__enter__()

    assert locks.rows() == []


def test_a_row_that_cannot_be_read_is_named(locks: Locks) -> None:
    write_row(
        locks.folder, "INSERT INTO paimon_distributed_locks VALUES (?, 'x', 'soon')", [LOCK_ID]
    )

    with pytest.raises(StorageUnavailable, match="cannot be read"):
        locks.lock.held("db.t").__enter__()


def test_a_connection_is_renewed_after_idleness(locks: Locks) -> None:
    locks.waiting.clock.advance(3_600)
    with locks.lock.held("db.t"):
        assert locks.rows() == [(LOCK_ID, 480)]


def test_one_holder_at_a_time(tmp_path: Path) -> None:
    """Threads with locks of their own, as processes have them."""
    inside, most, done = 0, 0, 0
    guard = threading.Lock()

    def work() -> None:
        nonlocal inside, most, done
        database = Database(SqliteAddress(str(tmp_path / "catalog.db")), World().now_millis)
        world = World(sleep=lambda _seconds: time.sleep(0.001))
        lock = JdbcLock(database, "jdbc", world)
        for _ in range(20):
            with lock.held("db.t"):
                with guard:
                    inside += 1
                    most = max(most, inside)
                with guard:
                    inside -= 1
                    done += 1
        lock.close()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (most, done) == (1, 80)


# --- publishing ---------------------------------------------------------------------------------


class Careless(LocalStorage):
    """A store that replaces what exists, as some object stores do."""

    def exclusive(self, path: str) -> bool:
        return False


def test_a_lost_lock_keeps_a_careless_store_from_being_written(locks: Locks) -> None:
    place = Place("db.t", f"{locks.folder}/t", _Slow(locks))

    with pytest.raises(StorageUnavailable, match="lost while it was held"):
        UnderLock(locks.lock).publish(place, 1, b"{}", None)

    assert not (locks.folder / "t").exists()


class _Slow(Careless):
    """While it looks for a file, somebody takes the lock away."""

    def __init__(self, locks: Locks) -> None:
        super().__init__(sync=False)
        self._locks = locks

    def exists(self, path: str) -> bool:
        if self._locks.rows():
            write_row(self._locks.folder, "DELETE FROM paimon_distributed_locks")
            self._locks.foreign(age_seconds=0, expire_seconds=99)
        return super().exists(path)


class _Silent(LocalStorage):
    """A store whose answer never comes."""

    def __init__(self, *, exclusive: bool) -> None:
        super().__init__(sync=False)
        self._exclusive = exclusive

    def exclusive(self, path: str) -> bool:
        return self._exclusive

    def create(self, path: str, data: bytes) -> bool:
        raise StorageUnavailable("no answer", in_doubt=True)


@pytest.mark.parametrize("exclusive", [True, False])
def test_a_publish_that_may_be_late_keeps_the_lock_where_it_could_replace(
    locks: Locks, exclusive: bool
) -> None:
    """A store that creates exclusively refuses a late one; a careless one replaces with it."""
    place = Place("db.t", f"{locks.folder}/t", _Silent(exclusive=exclusive))

    with pytest.raises(StorageUnavailable, match="no answer"):
        UnderLock(locks.lock).publish(place, 1, b"{}", None)

    assert bool(locks.rows()) != exclusive


def test_a_commit_under_a_broken_lock_leaves_nothing(tmp_path: Path) -> None:
    waiting = WaitingWorld()
    catalog = sqlite_catalog(tmp_path, world=waiting.world, lock_seconds=5)
    keyed(catalog)
    table = catalog.table("db.t")
    table.write(kv((1, "a")))
    before = sorted(path for path in (tmp_path / "lake").rglob("*"))
    write_row(
        tmp_path,
        "INSERT INTO paimon_distributed_locks VALUES ('jdbc.db.t', datetime('now'), 10000)",
    )

    with pytest.raises(StorageUnavailable, match="the lock cannot be had"):
        table.write(kv((2, "b")))

    assert sorted(path for path in (tmp_path / "lake").rglob("*")) == before
    write_row(tmp_path, "DELETE FROM paimon_distributed_locks")
    table.write(kv((2, "b")))
    assert rows_of(table) == [(1, "a"), (2, "b")]


def test_a_database_locked_by_others_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("desilt.table.catalogs.database.SQLITE_BUSY_SECONDS", 0.1)
    catalog = sqlite_catalog(tmp_path)
    keyed(catalog)
    table = catalog.table("db.t")
    other = sqlite3.connect(tmp_path / "catalog.db")
    try:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StorageUnavailable, match="database is locked"):
            table.write(kv((1, "a")))
    finally:
        other.close()
    table.write(kv((2, "b")))
    assert rows_of(table) == [(2, "b")]
