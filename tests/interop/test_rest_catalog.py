"""REST catalogs, against the server of Paimon's own tests and beside its Java client."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.builders import KEYED_COLUMNS, KEYED_OPTIONS, kv, rows_of
from support.peers import Peer
from support.proxy import HttpProxy
from support.proxy_faults import (
    Answer,
    CutAnswer,
    Delay,
    LostAnswer,
    Match,
    Refuse,
    slow_down,
)
from support.rest_server import RestServer

from desilt.table.catalogs import CatalogOptions, RestCatalog, ThroughServer, TokenSource
from desilt.table.errors import (
    CommitConflict,
    InvalidRequest,
    OutcomeUnknown,
    StorageUnavailable,
    TableMissing,
    UnsupportedFeature,
)
from desilt.table.publish import Place
from desilt.table.storage import LocalStorage, Storage

COMMIT = Match(method="POST", path="/commit$")


@contextmanager
def opened(server: RestServer, uri: str | None = None, **more: Any) -> Generator[RestCatalog]:
    given: dict[str, Any] = {
        "uri": uri or server.uri,
        "warehouse": server.warehouse,
        "token": server.token,
        "data_roots": (str(server.folder),),
        **more,
    }
    catalog = RestCatalog(CatalogOptions("rest", **given), storage=LocalStorage(sync=False))
    yield catalog
    catalog.close()


def make(catalog: RestCatalog, name: str = "db.t") -> None:
    catalog.create_database(name.partition(".")[0])
    catalog.create_table(name, KEYED_COLUMNS, primary_key=["k"], options=KEYED_OPTIONS)


def java_table(peer: Peer) -> str:
    return str(
        peer.create_table(
            "", "t", KEYED_COLUMNS, database="db", primary_keys=["k"], options=KEYED_OPTIONS
        )
    )


def files_of(server: RestServer) -> list[Path]:
    return sorted(path for path in server.folder.rglob("*") if path.is_file())


def test_java_makes_tables_that_we_keep(rest_catalog: RestServer, java: Peer) -> None:
    peer = java.in_catalog(rest_catalog.paimon_options())
    table = java_table(peer)
    for number in range(5):
        peer.insert(table, [[number, "java"], [0, f"j{number}"]])
    with opened(rest_catalog) as catalog:
        ours = catalog.table("db.t")
        before = rows_of(ours)

        assert (catalog.databases(), catalog.tables()) == (("db",), ("db.t",))
        assert ours.path == f"{rest_catalog.folder}/db.db/t"
        assert before == [(0, "j4"), *((n, "java") for n in range(1, 5))]
        assert ours.compact("full").buckets
        ours.write(kv((9, "ours")))
        assert peer.insert(table, [[10, "java"]]) == [8]
        assert peer.read(table)["rows"] == [list(r) for r in (*before, (9, "ours"), (10, "java"))]
        latest = catalog.latest_snapshot("db.t")
        assert latest is not None
        assert latest["id"] == 8


def test_we_make_tables_that_java_keeps(rest_catalog: RestServer, java: Peer) -> None:
    peer = java.in_catalog(rest_catalog.paimon_options())
    with opened(rest_catalog) as catalog:
        make(catalog)
        assert catalog.latest_snapshot("db.t") is None
        catalog.table("db.t").write(kv((1, "ours"), (2, "ours")))

        assert peer.read("db.t")["rows"] == [[1, "ours"], [2, "ours"]]
        peer.insert("db.t", [[2, "java"]])
        peer.compact("db.t")
        assert rows_of(catalog.table("db.t")) == [(1, "ours"), (2, "java")]
        with pytest.raises(InvalidRequest, match="status=409"):
            make(catalog)


def test_names_are_encoded_and_listed_page_by_page(rest_catalog: RestServer) -> None:
    """The server gives a hundred names at a time."""
    with opened(rest_catalog) as catalog:
        make(catalog, "db ö.t a%+ä")
        for number in range(120):
            catalog.create_table(f"db ö.t{number:03d}", {"n": "INT"})

        assert catalog.databases() == ("db ö",)
        assert catalog.tables() == tuple(
            sorted(["db ö.t a%+ä", *(f"db ö.t{n:03d}" for n in range(120))])
        )
        catalog.table("db ö.t a%+ä").write(kv((1, "a")))
        assert rows_of(catalog.table("db ö.t a%+ä")) == [(1, "a")]


def test_both_write_at_once(rest_catalog: RestServer, java: Peer) -> None:
    peer = java.in_catalog(rest_catalog.paimon_options())
    with opened(rest_catalog) as catalog:
        make(catalog)
        table = catalog.table("db.t")
        keys: list[int] = []

        def write() -> None:
            for number in range(40):
                try:
                    table.write(kv((1000 + number, "ours")))
                    keys.append(1000 + number)
                    if number % 10 == 9:
                        table.compact("minor")
                except CommitConflict:
                    continue

        with ThreadPoolExecutor(1) as pool:
            ours = pool.submit(write)
            for number in range(20):
                peer.insert("db.t", [[number, "java"]])
            ours.result(timeout=120)
        everything = sorted([*range(20), *keys])

        assert len(keys) > 20
        assert table.scan().collect()["k"].sort().to_list() == everything
        assert sorted(int(str(row[0])) for row in peer.read("db.t")["rows"]) == everything


# --- answers that do not come -------------------------------------------------------------------


@pytest.fixture
def proxy(rest_catalog: RestServer) -> Iterator[HttpProxy]:
    with HttpProxy(rest_catalog.uri) as made:
        yield made


def test_a_lost_answer_to_a_commit_is_found_out(rest_catalog: RestServer, proxy: HttpProxy) -> None:
    with opened(rest_catalog, proxy.endpoint) as catalog:
        make(catalog)
        table = catalog.table("db.t")
        proxy.on(COMMIT, LostAnswer())
        outcome = table.write(kv((1, "a")))

        assert outcome is not None
        assert (outcome.snapshot_id, outcome.attempts) == (1, 1)
        assert len(proxy.seen(COMMIT)) == 1, "a commit is sent once"
        assert rows_of(table) == [(1, "a")]


def test_a_commit_that_was_refused_leaves_nothing(
    rest_catalog: RestServer, proxy: HttpProxy
) -> None:
    with opened(rest_catalog, proxy.endpoint) as catalog:
        make(catalog)
        table = catalog.table("db.t")
        before = files_of(rest_catalog)
        proxy.on(COMMIT, Answer(429, "TooManyRequests"))
        with pytest.raises(StorageUnavailable, match="status=429"):
            table.write(kv((1, "a")))
        assert files_of(rest_catalog) == before

        table.write(kv((1, "b")))
        assert rows_of(table) == [(1, "b")]


@pytest.mark.parametrize("fault", [Refuse(), Answer(500, "InternalError")])
def test_a_commit_that_may_still_be_done_keeps_its_files(
    rest_catalog: RestServer, proxy: HttpProxy, fault: Refuse | Answer
) -> None:
    """Nobody knows what a server does that has not said so; sweeping finds out."""
    with opened(rest_catalog, proxy.endpoint) as catalog:
        make(catalog)
        table = catalog.table("db.t")
        proxy.on(COMMIT, fault)
        with pytest.raises(OutcomeUnknown):
            table.write(kv((1, "a")))
        left = files_of(rest_catalog)

        table.write(kv((1, "b")))
        assert rows_of(table) == [(1, "b")]
        assert set(left) <= set(files_of(rest_catalog))


def test_questions_are_asked_again(rest_catalog: RestServer, proxy: HttpProxy) -> None:
    with opened(rest_catalog, proxy.endpoint) as catalog:
        make(catalog)
        proxy.on(Match(method="GET"), slow_down(0))
        assert catalog.tables() == ("db.t",)
        proxy.on(Match(method="GET"), CutAnswer(after=10))
        assert catalog.tables() == ("db.t",)
        proxy.go_away()
        with pytest.raises(StorageUnavailable, match=r"server=http://127\.0\.0\.1"):
            catalog.tables()
        proxy.come_back()
        assert catalog.tables() == ("db.t",)


def test_a_server_that_is_silent_is_given_up(rest_catalog: RestServer, proxy: HttpProxy) -> None:
    with opened(rest_catalog) as catalog:
        make(catalog)
    with opened(rest_catalog, proxy.endpoint, request_timeout=0.5) as catalog:
        table = catalog.table("db.t")
        proxy.on(COMMIT, Delay(3.0))
        began = time.monotonic()
        with pytest.raises(OutcomeUnknown):
            table.write(kv((1, "a")))
        assert time.monotonic() - began < 3

        while catalog.latest_snapshot("db.t") is None and time.monotonic() - began < 30:
            time.sleep(0.1)
        assert rows_of(catalog.table("db.t")) == [(1, "a")], "it was carried out all the same"


# --- who may, and which table it is -------------------------------------------------------------


def test_a_wrong_token_is_named_and_not_shown(rest_catalog: RestServer) -> None:
    with (
        opened(rest_catalog, token="wrong-token") as catalog,
        pytest.raises(StorageUnavailable, match="does not let us") as caught,
    ):
        catalog.tables()

    assert "wrong-token" not in repr(caught.value)


def test_what_the_server_does_not_know_is_missing(rest_catalog: RestServer) -> None:
    with opened(rest_catalog) as catalog:
        make(catalog)
        with pytest.raises(TableMissing, match="status=404"):
            catalog.table("db.u")
        with pytest.raises(InvalidRequest, match=r"a table name is db\.table"):
            catalog.table("db.t/token")


def test_a_commit_to_a_table_made_anew_is_refused(rest_catalog: RestServer) -> None:
    """The name is the same, the table is another one."""
    with opened(rest_catalog) as catalog:
        make(catalog)
        table = catalog.table("db.t")
        publisher = table.handle.publisher
        assert isinstance(publisher, ThroughServer)
        old = ThroughServer(publisher.client, publisher.path, "another id")
        table.write(kv((1, "a")))
        base = table.handle.snapshots.latest()
        assert base is not None
        with pytest.raises(TableMissing, match="status=404"):
            old.publish(table.handle.place, 2, base.content, base.content)


def test_a_commit_on_an_old_base_loses(rest_catalog: RestServer) -> None:
    with opened(rest_catalog) as catalog:
        make(catalog)
        table = catalog.table("db.t")
        table.write(kv((1, "a")))
        first = table.handle.snapshots.get(1)
        table.write(kv((2, "b")))
        publisher = table.handle.publisher

        assert not publisher.publish(table.handle.place, 2, first.content, first.content)
        with pytest.raises(UnsupportedFeature, match="only the server itself"):
            publisher.alone(Place("db.t", table.path, LocalStorage()))


def test_a_tables_own_credentials_reach_its_store(rest_catalog: RestServer) -> None:
    asked: list[tuple[str, TokenSource]] = []

    def store(path: str, token: TokenSource | None) -> Storage:
        assert token is not None
        asked.append((path, token))
        return LocalStorage(sync=False)

    with opened(rest_catalog) as plain:
        make(plain)
    options = CatalogOptions(
        "rest",
        uri=rest_catalog.uri,
        warehouse=rest_catalog.warehouse,
        token=rest_catalog.token,
        data_roots=(str(rest_catalog.folder),),
        data_token=True,
    )
    catalog = RestCatalog(options, storage=store)
    catalog.table("db.t").write(kv((1, "a")))
    (path, token) = asked[0]
    first = token()
    catalog.close()

    assert path == f"{rest_catalog.folder}/db.db/t"
    assert first.expires_at_millis > time.time() * 1000
    assert first.options
    assert not any(value in repr(first) for value in first.options.values() if len(value) > 3)
