"""Session-long fixtures of the servers; one starts when the first test of a process asks for it.

A run with DESILT_NO_PEERS=1 skips what uses them. A server that is merely not set up is an error.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from .peers import peers_disabled
from .rest_server import RestServer, rest_server
from .servers import Postgres, Rgw, postgres, rgw
from .shelves import BucketShelf, LocalShelf, Shelves

__all__ = [
    "bucket",
    "database",
    "postgres_server",
    "rest_catalog",
    "role_server",
    "s3_server",
    "shelves",
]


def _require_servers() -> None:
    if peers_disabled():
        pytest.skip("DESILT_NO_PEERS is set")


@pytest.fixture(scope="session")
def s3_server() -> Iterator[Rgw]:
    """Ceph's object gateway: a real S3 server with conditional puts."""
    _require_servers()
    with rgw() as server:
        yield server


@pytest.fixture(scope="session")
def role_server() -> Iterator[Rgw]:
    """Another one, where roles can be taken on."""
    _require_servers()
    with rgw(roles=True) as server:
        yield server


@pytest.fixture
def bucket(s3_server: Rgw) -> Iterator[str]:
    """A fresh bucket of the administrator; what is in it goes when the test ends."""
    name = s3_server.fresh_bucket()
    yield name
    s3_server.empty_bucket(name)


@pytest.fixture(params=["local", "s3"])
def shelves(request: pytest.FixtureRequest, tmp_path: Path) -> Shelves:
    """Makes a shelf for a table; two may not be of one folder."""
    if request.param == "local":
        return partial(LocalShelf, folder=tmp_path)
    server, bucket = request.getfixturevalue("s3_server"), request.getfixturevalue("bucket")
    return partial(BucketShelf, server=server, bucket=bucket, folder=tmp_path)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres]:
    """A PostgreSQL server."""
    _require_servers()
    with postgres() as server:
        yield server


@pytest.fixture
def database(postgres_server: Postgres) -> Iterator[str]:
    """The name of a fresh database, which is dropped when the test ends."""
    name = postgres_server.fresh_database()
    yield name
    postgres_server.drop_database(name)


@pytest.fixture
def rest_catalog() -> Iterator[RestServer]:
    """A REST catalog server that knows no tables yet."""
    _require_servers()
    with rest_server() as server:
        yield server
