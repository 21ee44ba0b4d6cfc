"""Catalogs in databases, shared with Paimon's own JdbcCatalog: names, rows, and the lock."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import sqlite3
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from support.builders import KEYED_COLUMNS, KEYED_OPTIONS, kv, rows_of
from support.catalogs import jdbc_options, logged_locks, sqlite_uri, watch_locks
from support.lock_racers import KEYS_EACH, write_until
from support.peers import Peer, PeerError, new_java_peer
from support.postgres import Postgres

from desilt.table.catalogs import BaseCatalog, CatalogOptions, JdbcCatalog, open_catalog
from desilt.table.catalogs.jdbc_tables import CREATE
from desilt.table.errors import InvalidRequest
from desilt.table.storage import LocalStorage

RACE_SECONDS = 20.0
WRITERS = 4


@dataclass(frozen=True, slots=True)
class Place:
    """A database, empty at first, and a warehouse."""

    folder: Path
    uri: str
    dsn: str | None

    @property
    def warehouse(self) -> str:
        return str(self.folder / "lake")

    def options(self, key: str = "jdbc", **more: object) -> CatalogOptions:
        given: dict[str, Any] = {"warehouse": self.warehouse, "uri": self.uri, "key": key, **more}
        return CatalogOptions("jdbc", **given)

    def ours(self, key: str = "jdbc", **more: object) -> JdbcCatalog:
        catalog = open_catalog(self.options(key, **more), LocalStorage(sync=False))
        assert isinstance(catalog, JdbcCatalog)
        return catalog

    def peer(self, peer: Peer, key: str = "jdbc") -> Peer:
        return peer.in_catalog(jdbc_options({"warehouse": self.warehouse}, self.uri, key=key))

    def query(self, sql: str) -> list[tuple[object, ...]]:
        if self.dsn is not None:
            with psycopg.connect(self.dsn, autocommit=True) as server:
                cursor = server.execute(sql.encode())
                return [] if cursor.description is None else cursor.fetchall()
        path = self.uri.removeprefix("jdbc:sqlite:")
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
            return connection.execute(sql).fetchall()

    def layout(self, table: str) -> Sequence[object]:
        """Columns and keys of a table, as the database tells."""
        if self.dsn is None:
            return self.query(f"PRAGMA table_info({table})")
        return [
            self.query(
                "SELECT column_name, data_type, character_maximum_length, is_nullable, "
                f"column_default FROM information_schema.columns WHERE table_name = '{table}' "
                "ORDER BY ordinal_position"
            ),
            self.query(
                f"SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE "
                f"conrelid = '{table}'::regclass AND contype = 'p'"
            ),
        ]


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    if request.param == "sqlite":
        yield Place(tmp_path, sqlite_uri(tmp_path / "catalog.db"), None)
        return
    server: Postgres = request.getfixturevalue("postgres_server")
    database = server.fresh_database()
    yield Place(tmp_path, server.jdbc(database), server.dsn(database))
    server.drop_database(database)


@pytest.fixture
def server_place(postgres_server: Postgres, tmp_path: Path) -> Iterator[Place]:
    database = postgres_server.fresh_database()
    yield Place(tmp_path, postgres_server.jdbc(database), postgres_server.dsn(database))
    postgres_server.drop_database(database)


def java_table(peer: Peer, name: str = "db.t") -> str:
    database, _, table = name.partition(".")
    return str(
        peer.create_table(
            "", table, KEYED_COLUMNS, database=database, primary_keys=["k"], options=KEYED_OPTIONS
        )
    )


def our_table(catalog: BaseCatalog, name: str = "db.t") -> None:
    catalog.create_database(name.partition(".")[0])
    catalog.create_table(name, KEYED_COLUMNS, primary_key=["k"], options=KEYED_OPTIONS)


def test_java_makes_tables_that_we_keep(place: Place, java: Peer) -> None:
    peer, catalog = place.peer(java), place.ours()
    table = java_table(peer)
    for number in range(5):
        peer.insert(table, [[number, "java"], [0, f"j{number}"]])
    opened = catalog.table("db.t")

    assert (catalog.databases(), catalog.tables()) == (("db",), ("db.t",))
    assert opened.path == f"{place.warehouse}/db.db/t"
    before = rows_of(opened)
    assert before == [(0, "j4"), *((n, "java") for n in range(1, 5))]

    assert opened.compact("full").buckets
    opened.write(kv((9, "ours")))
    assert peer.insert(table, [[10, "java"]]) == [8]
    assert peer.read(table)["rows"] == [list(r) for r in (*before, (9, "ours"), (10, "java"))]
    assert place.query("SELECT * FROM paimon_distributed_locks") == []


def test_we_make_tables_that_java_keeps(place: Place, java: Peer) -> None:
    """Ours is also who makes the relational tables here."""
    catalog = place.ours()
    our_table(catalog)
    catalog.table("db.t").write(kv((1, "ours"), (2, "ours")))
    peer = place.peer(java)

    assert peer.read("db.t")["rows"] == [[1, "ours"], [2, "ours"]]
    peer.insert("db.t", [[2, "java"]])
    peer.compact("db.t")
    assert rows_of(catalog.table("db.t")) == [(1, "ours"), (2, "java")]
    with pytest.raises(PeerError, match="AlreadyExist"):
        java_table(peer)
    with pytest.raises(InvalidRequest, match="exists already"):
        our_table(catalog)


def test_rows_and_relations_are_the_same_whoever_makes_them(
    place: Place, java: Peer, tmp_path: Path
) -> None:
    catalog = place.ours("ours")
    our_table(catalog)
    with catalog.lock.held("db.t"):
        pass
    mine = {name: place.layout(name) for name in CREATE}
    rows = {
        name: sorted(map(repr, (row[1:] for row in place.query(f"SELECT * FROM {name}"))))
        for name in CREATE
    }
    for name in CREATE:
        place.query(f"DROP TABLE {name}")
    java_table(place.peer(java, "javas"), "db.u")

    assert mine == {name: place.layout(name) for name in CREATE}
    for name, expected in rows.items():
        found = sorted(map(repr, (row[1:] for row in place.query(f"SELECT * FROM {name}"))))
        assert [text.replace("'u'", "'t'") for text in found] == expected, name


def test_java_does_not_follow_a_databases_location_either(place: Place, java: Peer) -> None:
    peer = place.peer(java)
    java_table(peer, "db.first")
    place.query(
        "UPDATE paimon_database_properties SET property_value = "
        f"'{place.folder}/elsewhere' WHERE property_key = 'location'"
    )
    peer.insert(java_table(peer, "db.t"), [[1, "java"]])

    assert rows_of(place.ours().table("db.t")) == [(1, "java")]
    assert not (place.folder / "elsewhere").exists()


def test_java_waits_for_our_lock(place: Place, java: Peer) -> None:
    peer, catalog = place.peer(java), place.ours()
    table = java_table(peer)
    with ThreadPoolExecutor(1) as pool:
        with catalog.lock.held("db.t"):
            write = pool.submit(peer.insert, table, [[1, "java"]])
            time.sleep(2.0)
            assert not write.done()
        assert write.result(timeout=60) == [1]


def test_a_publish_takes_the_lock_as_java_does(server_place: Place, java: Peer) -> None:
    assert server_place.dsn is not None
    watch_locks(server_place.dsn)
    peer, catalog = server_place.peer(java), server_place.ours()
    table = java_table(peer)
    made = len(logged_locks(server_place.dsn))
    peer.insert(table, [[1, "java"]])
    theirs = logged_locks(server_place.dsn)[made:]
    catalog.table("db.t").write(kv((2, "ours")))
    ours = logged_locks(server_place.dsn)[made + len(theirs) :]

    assert theirs == ours == [("INSERT", "jdbc.db.t", 480), ("DELETE", "jdbc.db.t", 480)]


def test_a_dead_java_holder_is_healed(place: Place, java: Peer) -> None:
    java_table(place.peer(java))
    place.query(
        "INSERT INTO paimon_distributed_locks (lock_id, expire_time_seconds) "
        "VALUES ('jdbc.db.t', 2)"
    )
    began = time.monotonic()
    place.ours().table("db.t").write(kv((1, "ours")))

    assert 2 <= time.monotonic() - began < 20
    assert place.query("SELECT * FROM paimon_distributed_locks") == []


def test_time_zones_have_to_agree(server_place: Place) -> None:
    """Java's rows and sums are in its own zone: one nine hours ahead takes ours for dead."""
    with new_java_peer(jvm_options=["-Duser.timezone=Asia/Tokyo"]) as java:
        peer = server_place.peer(java)
        table = java_table(peer)
        with ThreadPoolExecutor(1) as pool:
            with server_place.ours(lock_time_zone="Asia/Tokyo").lock.held("db.t"):
                write = pool.submit(peer.insert, table, [[1, "java"]])
                time.sleep(2.0)
                assert not write.done()
            assert write.result(timeout=60) == [1]
        with server_place.ours(lock_time_zone="UTC").lock.held("db.t"):
            assert peer.insert(table, [[2, "java"]]) == [2]


def test_all_writers_of_a_race_keep_all_they_were_told(server_place: Place, java: Peer) -> None:
    """Java publishes by "exists?, then rename" on this disk: the lock is all that keeps order."""
    peer = server_place.peer(java)
    table = java_table(peer)
    stop = server_place.folder / "stop"
    logs = [server_place.folder / f"writer-{n}" for n in range(1, WRITERS + 1)]
    given = {"kind": "jdbc", "warehouse": server_place.warehouse, "uri": server_place.uri}
    context = multiprocessing.get_context("spawn")
    racers = [
        context.Process(target=write_until, args=(given, table, n, str(stop), str(log)))
        for n, log in enumerate(logs, 1)
    ]
    for racer in racers:
        racer.start()
    keys: list[int] = []
    waits: list[float] = []
    began = last = time.monotonic()
    while last - began < RACE_SECONDS:
        peer.insert(table, [[len(keys), "java"]])
        keys.append(len(keys))
        waits.append(round(time.monotonic() - last, 1))
        last = time.monotonic()
    stop.touch()
    for racer in racers:
        racer.join(timeout=120)
    told = [json.loads(log.read_text()) for log in logs]
    print(f"java={len(keys)} seconds={waits}", *({**one, "keys": len(one["keys"])} for one in told))

    assert [racer.exitcode for racer in racers] == [0] * WRITERS
    assert len(keys) < KEYS_EACH
    everything = sorted(keys + [key for one in told for key in one["keys"]])
    opened = server_place.ours().table("db.t")
    assert opened.scan().collect()["k"].sort().to_list() == everything
    assert sorted(int(str(row[0])) for row in peer.read(table)["rows"]) == everything
    assert server_place.query("SELECT * FROM paimon_distributed_locks") == []
    assert min(len(one["keys"]) for one in told) > 0
    assert len(keys) > 0
