"""A catalog's database that goes away at the worst moments: nothing is lost, nothing is blocked."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from support.builders import KEYED_COLUMNS, KEYED_OPTIONS, kv, rows_of
from support.catalog_worlds import keyed, sqlite_catalog
from support.postgres import Postgres
from support.tcp_proxy import TcpProxy

from desilt.table.catalogs import CatalogOptions, JdbcCatalog
from desilt.table.errors import StorageUnavailable
from desilt.table.storage import LocalStorage
from desilt.table.table import Table

ROWS = [(1, "a")]
LOCKS = "SELECT lock_id FROM paimon_distributed_locks"


class Interrupted(LocalStorage):
    """A store where something happens just before or after a snapshot is made."""

    def __init__(self) -> None:
        super().__init__(sync=False)
        self.before: Callable[[], object] | None = None
        self.after: Callable[[], object] | None = None

    def create(self, path: str, data: bytes) -> bool:
        if "/snapshot/snapshot-" not in path:
            return super().create(path, data)
        before, self.before = self.before, None
        after, self.after = self.after, None
        if before is not None:
            before()
        made = super().create(path, data)
        if after is not None:
            after()
        return made


@dataclass(frozen=True, slots=True)
class Scene:
    """A table with one row, whose catalog's database is behind a proxy."""

    folder: Path
    proxy: TcpProxy
    dsn: str
    storage: Interrupted
    catalog: JdbcCatalog
    table: Table

    def locks(self) -> list[str]:
        with psycopg.connect(self.dsn) as server:
            return [str(row[0]) for row in server.execute(LOCKS)]

    def execute(self, sql: str) -> None:
        with psycopg.connect(self.dsn, autocommit=True) as server:
            server.execute(sql.encode())

    def files(self) -> list[Path]:
        return sorted(path for path in self.folder.rglob("*") if path.is_file())

    def ours(self, user: str | None = None, lock_seconds: float = 480.0) -> JdbcCatalog:
        """Another catalog on the same database."""
        return JdbcCatalog(
            _options(self.folder, self.proxy.port, self.dsn, user, lock_seconds),
            storage=LocalStorage(sync=False),
        )


def _options(
    folder: Path, port: int, dsn: str, user: str | None = None, lock_seconds: float = 480.0
) -> CatalogOptions:
    parts = urlsplit(dsn)
    return CatalogOptions(
        "jdbc",
        warehouse=f"{folder}/lake",
        uri=f"jdbc:postgresql://127.0.0.1:{port}{parts.path}?user={user or parts.username}",
        lock_acquire_timeout=lock_seconds,
    )


@pytest.fixture
def scene(postgres_server: Postgres, database: str, tmp_path: Path) -> Iterator[Scene]:
    with TcpProxy(postgres_server.host, postgres_server.port) as proxy:
        dsn = postgres_server.dsn(database)
        storage = Interrupted()
        catalog = JdbcCatalog(_options(tmp_path, proxy.port, dsn), storage=storage)
        catalog.create_database("db")
        table = catalog.create_table(
            "db.t", KEYED_COLUMNS, primary_key=["k"], options=KEYED_OPTIONS
        )
        table.write(kv(*ROWS))
        yield Scene(tmp_path, proxy, dsn, storage, catalog, table)
        catalog.close()


def test_no_database_no_commit_and_nothing_left(scene: Scene) -> None:
    before = scene.files()
    with scene.proxy.away():
        with pytest.raises(StorageUnavailable, match="the catalog's database fails"):
            scene.table.write(kv((2, "b")))
        with pytest.raises(StorageUnavailable, match=r"postgresql://127\.0\.0\.1"):
            scene.catalog.tables()
    assert scene.files() == before

    scene.table.write(kv((2, "b")))
    assert rows_of(scene.table) == [*ROWS, (2, "b")]
    assert scene.catalog.tables() == ("db.t",)


def test_connections_that_died_idle_are_made_anew(scene: Scene) -> None:
    scene.proxy.cut()
    assert scene.catalog.tables() == ("db.t",)
    scene.proxy.cut()
    scene.table.write(kv((2, "b")))

    assert rows_of(scene.table) == [*ROWS, (2, "b")]


def test_a_database_that_goes_while_the_lock_is_held_spoils_nothing(scene: Scene) -> None:
    scene.storage.before = scene.proxy.go_away
    outcome = scene.table.write(kv((2, "b")))
    scene.proxy.come_back()

    assert outcome is not None
    assert outcome.snapshot_id == 2
    assert rows_of(scene.table) == [*ROWS, (2, "b")]
    assert scene.locks() == ["jdbc.db.t"], "it could not be given back"

    began = time.monotonic()
    scene.table.write(kv((3, "c")))
    assert time.monotonic() - began < 10, "what was left is freed first, not waited for"
    assert scene.locks() == []


def test_a_lost_answer_to_the_release_is_no_failure(scene: Scene) -> None:
    scene.proxy.lose_answer(b"DELETE FROM paimon_distributed_locks")
    scene.table.write(kv((2, "b")))

    assert scene.proxy.lost == 1
    assert rows_of(scene.table) == [*ROWS, (2, "b")]
    assert scene.locks() == []


def test_a_lost_answer_to_the_taking_is_asked_again(scene: Scene) -> None:
    scene.proxy.lose_answer(b"INSERT INTO paimon_distributed_locks")
    began = time.monotonic()
    scene.table.write(kv((2, "b")))

    assert time.monotonic() - began < 10, "our own row is not waited for"
    assert scene.proxy.lost == 1
    assert scene.locks() == []
    assert rows_of(scene.table) == [*ROWS, (2, "b")]


def test_a_network_that_drops_everything_ends_the_wait(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("desilt.table.catalogs.database.STATEMENT_SECONDS", -4)
    monkeypatch.setattr("desilt.table.catalogs.database.CONNECT_SECONDS", 2)
    scene.proxy.stall()
    began = time.monotonic()
    with pytest.raises(StorageUnavailable, match="database fails"):
        scene.table.write(kv((2, "b")))
    took = time.monotonic() - began
    scene.proxy.resume()

    assert took < 30
    monkeypatch.undo()
    scene.table.write(kv((2, "b")))
    assert rows_of(scene.table) == [*ROWS, (2, "b")]


def test_a_holder_that_died_is_healed_when_its_time_is_over(scene: Scene) -> None:
    scene.execute(
        "INSERT INTO paimon_distributed_locks (lock_id, expire_time_seconds) "
        "VALUES ('jdbc.db.t', 3)"
    )
    began = time.monotonic()
    scene.table.write(kv((2, "b")))

    assert 3 <= time.monotonic() - began < 20
    assert scene.locks() == []


def test_a_holder_that_lives_is_waited_for_in_vain(scene: Scene) -> None:
    before = scene.files()
    scene.execute(
        "INSERT INTO paimon_distributed_locks (lock_id, expire_time_seconds) "
        "VALUES ('jdbc.db.t', 1000)"
    )
    other = scene.ours(lock_seconds=2)
    with pytest.raises(StorageUnavailable, match=r"the lock cannot be had, lock=jdbc\.db\.t"):
        other.table("db.t").write(kv((2, "b")))
    other.close()

    assert scene.files() == before
    assert scene.locks() == ["jdbc.db.t"]


def test_who_may_only_read_lists_and_reads(scene: Scene) -> None:
    """The rights that docs/operations.md names, and what is missing without them."""
    for user, rights in (("reader", "SELECT"), ("keeper", "SELECT, INSERT, DELETE")):
        scene.execute(f"DROP ROLE IF EXISTS {user}")
        scene.execute(f"CREATE ROLE {user} LOGIN")
        scene.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {user}")
        scene.execute(f"GRANT {rights} ON paimon_distributed_locks TO {user}")
    try:
        reader, keeper = scene.ours("reader"), scene.ours("keeper")
        assert reader.tables() == keeper.tables() == ("db.t",)
        assert rows_of(reader.table("db.t")) == ROWS
        with pytest.raises(StorageUnavailable, match="permission denied for table paimon_distri"):
            reader.table("db.t").write(kv((2, "b")))
        keeper.table("db.t").write(kv((2, "b")))
        with pytest.raises(StorageUnavailable, match="permission denied"):
            keeper.create_database("more")
        reader.close()
        keeper.close()
    finally:
        for user in ("reader", "keeper"):
            scene.execute(f"DROP OWNED BY {user}")
            scene.execute(f"DROP ROLE {user}")
    assert rows_of(scene.table) == [*ROWS, (2, "b")]


def test_a_sqlite_file_that_is_read_only(tmp_path: Path) -> None:
    catalog = sqlite_catalog(tmp_path)
    keyed(catalog)
    catalog.table("db.t").write(kv(*ROWS))
    catalog.close()
    file = tmp_path / "catalog.db"
    content = bytearray(file.read_bytes())
    content[18] = 3  # a version of the format that no SQLite writes yet
    file.write_bytes(content)

    assert catalog.tables() == ("db.t",)
    with pytest.raises(StorageUnavailable, match="readonly database"):
        catalog.table("db.t").write(kv((2, "b")))
    assert rows_of(catalog.table("db.t")) == ROWS
    catalog.close()


def test_a_sqlite_file_that_is_cut_off(tmp_path: Path) -> None:
    catalog = sqlite_catalog(tmp_path)
    keyed(catalog)
    catalog.close()
    file = tmp_path / "catalog.db"
    file.write_bytes(file.read_bytes()[:5000])

    with pytest.raises(StorageUnavailable, match="malformed"):
        catalog.tables()
    catalog.close()
