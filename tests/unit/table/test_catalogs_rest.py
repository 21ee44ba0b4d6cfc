"""REST catalogs: answers that no honest server gives. (The protocol itself is held against
Paimon's own server, in tests/interop/test_rest_catalog.py.)"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from support.catalog_worlds import UNREACHABLE, WaitingWorld

from desilt.table.catalogs import CatalogOptions, RestCatalog
from desilt.table.errors import InvalidRequest, StorageUnavailable, TableError, UnsupportedFeature
from desilt.table.snapshot import same_snapshot
from desilt.table.storage import LocalStorage

SECRET = "s3cret"
TABLE: dict[str, Any] = {"id": "1", "name": "t", "path": "/lake/db.db/t", "schemaId": 0}


class Double(ThreadingHTTPServer):
    """Answers by path; what is missing is 404."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: dict[str, object] = {"/v1/config": {"defaults": {}, "overrides": {}}}
        self.asked: list[str] = []
        self.headers: list[dict[str, str]] = []

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        double = self.server
        assert isinstance(double, Double)
        double.asked.append(self.path)
        double.headers.append(dict(self.headers))
        found = double.answers.get(self.path, double.answers.get(self.path.partition("?")[0]))
        status, body = _answer(found)
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        if status == 302:
            self.send_header("Location", "/elsewhere")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        return


def _answer(found: object) -> tuple[int, bytes]:
    match found:
        case None:
            return 404, b"{}"
        case (int() as status, bytes() as body):
            return status, body
        case bytes():
            return 200, found
        case _:
            return 200, json.dumps(found).encode()


@pytest.fixture
def double() -> Iterator[Double]:
    server = Double()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def waiting() -> WaitingWorld:
    return WaitingWorld()


@pytest.fixture
def catalog(double: Double, waiting: WaitingWorld) -> Iterator[RestCatalog]:
    made = RestCatalog(
        CatalogOptions(
            "rest", uri=double.uri, token=SECRET, data_roots=("/lake", "s3://bucket/lake")
        ),
        world=waiting.world,
    )
    yield made
    made.close()


def table(double: Double, **fields: object) -> None:
    double.answers["/v1/databases/db/tables/t"] = {**TABLE, **fields}


HOSTILE = ["../lake/db.db/t", "/lake/../etc", "/etc", "/lake", "/lakes/t", "lake/t", "",
           "file:lake", "file://other/lake/t", "/lake/%2e%2e/etc", "s3://bucket/lake/../x", "s3://another/lake/t",
           "hdfs://n/lake/t", "/lake/a\nb", "file:/etc/passwd", "s3://[bucket/lake/t",
           "//[lake/t"]  # fmt: skip


@pytest.mark.parametrize("path", HOSTILE)
def test_a_hostile_path_is_refused(double: Double, path: str) -> None:
    """With a store for everything, so that only the check stands before it."""
    table(double, path=path)
    options = CatalogOptions("rest", uri=double.uri, data_roots=("/lake", "s3://bucket/lake"))
    catalog = RestCatalog(options, storage=LocalStorage())

    with pytest.raises((InvalidRequest, UnsupportedFeature)):
        catalog.handle("db.t")
    catalog.close()


def test_local_paths_need_a_root(double: Double) -> None:
    table(double)
    catalog = RestCatalog(CatalogOptions("rest", uri=double.uri))

    with pytest.raises(InvalidRequest, match="outside of the data roots"):
        catalog.handle("db.t")
    catalog.close()


@pytest.mark.parametrize("path", ["/lake/db.db/t", "file:/lake/db.db/t", "file:///lake/db.db/t/"])
def test_a_path_below_a_root_is_taken(double: Double, catalog: RestCatalog, path: str) -> None:
    table(double, path=path)

    assert catalog.handle("db.t").root == "/lake/db.db/t"


@pytest.mark.parametrize("kind", ["format-table", "object-table", "view"])
def test_tables_of_other_kinds_are_refused_by_name(
    double: Double, catalog: RestCatalog, kind: str
) -> None:
    table(double, schema={"options": {"type": kind}})

    with pytest.raises(UnsupportedFeature, match=f"type={kind}"):
        catalog.handle("db.t")


BROKEN = [b"", b"null", b"[]", b"{", b"\xff", b'{"id": 1}', b'{"id": "1", "path": 3}',
          b"[" * 99_999, b'{"id": "1", "path": "/lake/t", "schemaId": "x"}']  # fmt: skip


@pytest.mark.parametrize("body", BROKEN)
def test_a_broken_answer_is_named(double: Double, catalog: RestCatalog, body: bytes) -> None:
    double.answers["/v1/databases/db/tables/t"] = body

    with pytest.raises(StorageUnavailable, match="the server's answer cannot be read"):
        catalog.handle("db.t")


def test_an_answer_without_end_is_cut(
    double: Double, catalog: RestCatalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("desilt.table.catalogs.rest_client.ANSWER_BYTES_MAX", 1000)
    table(double, filler="x" * 2000)

    with pytest.raises(StorageUnavailable, match="too large"):
        catalog.handle("db.t")


def test_a_list_without_end_is_cut(
    double: Double, catalog: RestCatalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("desilt.table.catalogs.rest.PAGES_MAX", 5)
    double.answers["/v1/databases"] = {"databases": ["a"], "nextPageToken": "again"}

    with pytest.raises(StorageUnavailable, match="does not end"):
        catalog.databases()
    assert len(double.asked) == 6


def test_a_redirect_is_not_followed(double: Double, catalog: RestCatalog) -> None:
    """It would take the token along."""
    double.answers["/v1/databases"] = (302, b"")

    with pytest.raises(StorageUnavailable, match="status=302"):
        catalog.databases()
    assert "/elsewhere" not in double.asked


STATUS: list[tuple[int, type[TableError]]] = [
    (400, InvalidRequest), (401, StorageUnavailable), (403, StorageUnavailable),
    (404, TableError), (409, InvalidRequest), (418, StorageUnavailable),
    (429, StorageUnavailable), (500, StorageUnavailable), (501, UnsupportedFeature),
    (503, StorageUnavailable),
]  # fmt: skip


@pytest.mark.parametrize(("status", "error"), STATUS)
def test_a_status_is_an_error_by_name(
    double: Double, catalog: RestCatalog, status: int, error: type[TableError]
) -> None:
    double.answers["/v1/databases"] = (status, b'{"message": "no luck", "code": 1}')

    with pytest.raises(error, match=f"status={status}, reason=no luck") as caught:
        catalog.databases()
    assert SECRET not in repr(caught.value)
    assert double.headers[0]["Authorization"] == f"Bearer {SECRET}"


def test_a_busy_server_is_asked_four_times(
    double: Double, catalog: RestCatalog, waiting: WaitingWorld
) -> None:
    double.answers["/v1/databases"] = (503, b"")

    with pytest.raises(StorageUnavailable):
        catalog.databases()
    assert double.asked.count("/v1/databases") == 4
    assert waiting.slept == [0.4, 0.8, 1.6]


def test_a_server_that_is_not_there_is_named(waiting: WaitingWorld) -> None:
    options = CatalogOptions("rest", uri=f"http://{UNREACHABLE}", token=SECRET)
    catalog = RestCatalog(options, world=waiting.world)

    with pytest.raises(StorageUnavailable, match="does not answer, server=http://127") as caught:
        catalog.tables()
    assert SECRET not in repr(caught.value)


URIS = ["ftp://h", "h:80", "http://", "http://u:p@h", "http://h?x=s3cret", "http://[s3cret"]


@pytest.mark.parametrize("uri", URIS)
def test_a_uri_is_a_place_and_nothing_else(uri: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        RestCatalog(CatalogOptions("rest", uri=uri))
    assert SECRET not in repr(caught.value)


@pytest.mark.parametrize("token", [f"{SECRET}\n", f"{SECRET}\r\nX: y", f"{SECRET}€"])
def test_a_token_that_http_cannot_say_is_refused_and_not_shown(token: str) -> None:
    with pytest.raises(InvalidRequest, match="header='Authorization'") as caught:
        RestCatalog(CatalogOptions("rest", uri=f"http://{UNREACHABLE}", token=token))
    assert SECRET not in repr(caught.value)


def test_a_header_of_the_server_that_http_cannot_say_is_refused(
    double: Double, catalog: RestCatalog
) -> None:
    double.answers["/v1/config"] = {"overrides": {"header.X-A": "a\nX-B: b"}}

    with pytest.raises(InvalidRequest, match="header='X-A'"):
        catalog.databases()


def test_options_of_the_server_are_merged(double: Double, waiting: WaitingWorld) -> None:
    double.answers["/v1/config"] = {
        "defaults": {"prefix": "theirs", "header.X-A": "a", "none": None},
        "overrides": {"header.X-B": "b"},
    }
    double.answers["/v1/ours/databases"] = {"databases": ["db"]}
    options = CatalogOptions("rest", uri=double.uri, prefix="ours", warehouse="w h")
    catalog = RestCatalog(options, world=waiting.world)

    assert catalog.databases() == ("db",)
    assert double.asked == ["/v1/config?warehouse=w+h", "/v1/ours/databases"]
    assert (double.headers[1]["X-A"], double.headers[1]["X-B"]) == ("a", "b")
    catalog.close()


def test_a_server_that_wants_another_login_is_refused_by_name(
    double: Double, catalog: RestCatalog
) -> None:
    double.answers["/v1/config"] = {"overrides": {"token.provider": "dlf"}}

    with pytest.raises(UnsupportedFeature, match="token_provider=dlf"):
        catalog.databases()


# --- credentials of tables ----------------------------------------------------------------------

HOUR = 3_600_000


@pytest.fixture
def grant(double: Double, waiting: WaitingWorld) -> Callable[[str, int], None]:
    def give(key: str, millis: int) -> None:
        double.answers["/v1/databases/db/tables/t/token"] = {
            "token": {"fs.s3a.access-key": key},
            "expiresAtMillis": waiting.clock.millis + millis,
        }

    return give


def test_credentials_are_kept_and_renewed_before_they_expire(
    catalog: RestCatalog, waiting: WaitingWorld, grant: Callable[[str, int], None]
) -> None:
    source = catalog.tokens("db.t")
    grant("one", 4 * HOUR)
    assert source().options == {"fs.s3a.access-key": "one"}
    grant("two", 8 * HOUR)
    waiting.clock.advance(3 * 3600 - 1)
    assert source().options["fs.s3a.access-key"] == "one"
    waiting.clock.advance(2)
    assert source().options["fs.s3a.access-key"] == "two"


def test_short_credentials_are_renewed_at_half_their_time(
    catalog: RestCatalog, waiting: WaitingWorld, grant: Callable[[str, int], None]
) -> None:
    """By Java's rule, an hour before the end, each use would ask for new ones."""
    source = catalog.tokens("db.t")
    grant("one", 900_000)
    source()
    grant("two", 900_000)
    waiting.clock.advance(449)
    assert source().options["fs.s3a.access-key"] == "one"
    waiting.clock.advance(2)
    assert source().options["fs.s3a.access-key"] == "two"


def test_old_credentials_serve_while_there_are_no_new_ones(
    double: Double,
    catalog: RestCatalog,
    waiting: WaitingWorld,
    grant: Callable[[str, int], None],
) -> None:
    source = catalog.tokens("db.t")
    grant("one", 2 * HOUR)
    source()
    double.answers["/v1/databases/db/tables/t/token"] = (503, b"")
    waiting.clock.advance(3700)
    assert source().options["fs.s3a.access-key"] == "one"
    waiting.clock.advance(3700)
    with pytest.raises(StorageUnavailable):
        source()


def test_expired_credentials_are_not_taken(
    catalog: RestCatalog, grant: Callable[[str, int], None]
) -> None:
    grant("one", -1)

    with pytest.raises(StorageUnavailable, match="expired"):
        catalog.tokens("db.t")()


# --- snapshots in other words -------------------------------------------------------------------

OURS: dict[str, Any] = {
    "id": 3,
    "commitUser": "u",
    "baseManifestList": "b",
    "deltaManifestList": "d",
}


def test_a_snapshot_is_known_by_what_it_says() -> None:
    ours = json.dumps(OURS).encode()

    assert same_snapshot(ours, ours)
    assert same_snapshot(json.dumps({"x": 1, **OURS}, indent=7).encode(), ours)
    for key in OURS:
        assert not same_snapshot(json.dumps({**OURS, key: "other"}).encode(), ours)
        assert not same_snapshot(json.dumps({k: OURS[k] for k in OURS if k != key}).encode(), ours)
    for found in (b"", b"null", b"[1]", b"\xff", b"[" * 99_999):
        assert not same_snapshot(found, ours)
