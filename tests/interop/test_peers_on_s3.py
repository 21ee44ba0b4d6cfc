"""The peers on a real object store and in catalogs of databases: what our own tests presume."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from support.catalogs import jdbc_options, logged_locks, sqlite_uri, watch_locks
from support.peer_refs import (
    create_branch,
    create_tag,
    expire,
    expire_partitions,
    list_partitions,
    read_branch,
    read_tag,
    remove_orphans,
    rollback_to,
)
from support.peers import Peer
from support.servers import Postgres, Rgw

COLUMNS = {"k": "INT NOT NULL", "v": "STRING"}
DATED = {"k": "INT NOT NULL", "day": "STRING NOT NULL", "v": "STRING"}
FAR_FUTURE = 2**42


def make(peer: Peer, table: str = "t") -> Path:
    return peer.create_table("", table, COLUMNS, primary_keys=["k"], options={"bucket": "1"})


def rows(peer: Peer, table: Path) -> list[list[object]]:
    return sorted([list(row) for row in peer.read(table)["rows"]], key=str)


def keys(server: Rgw, bucket: str, part: str) -> list[str]:
    pages = server.client().get_paginator("list_objects_v2").paginate(Bucket=bucket)
    found = [one.get("Key", "") for page in pages for one in page.get("Contents", [])]
    return [key for key in found if part in key]


def test_peers_read_each_other_on_the_store(
    s3_server: Rgw, bucket: str, java: Peer, java_too: Peer, pypaimon: Peer
) -> None:
    options = s3_server.paimon_options(bucket)
    one, two, python = (peer.in_catalog(options) for peer in (java, java_too, pypaimon))
    table = make(one)
    assert one.insert(table, [[1, "java"], [2, "java"]]) == [1]
    assert rows(two, table) == [[1, "java"], [2, "java"]]
    assert python.insert(table, [[2, "python"], [3, "python"]]) == [2]
    merged = [[1, "java"], [2, "python"], [3, "python"]]
    assert rows(one, table) == rows(two, table) == rows(python, table) == merged
    assert two.compact(table) == [3]
    assert rows(python, table) == merged
    assert [one["level"] for one in one.files(table)] == [5]
    assert keys(s3_server, bucket, "/snapshot/snapshot-3") == [
        "warehouse/default.db/t/snapshot/snapshot-3"
    ]


def test_java_maintains_a_table_on_the_store(s3_server: Rgw, bucket: str, java: Peer) -> None:
    peer = java.in_catalog(s3_server.paimon_options(bucket))
    table = peer.create_table(
        "",
        "t",
        DATED,
        primary_keys=["k", "day"],
        partition_keys=["day"],
        options={"bucket": "1"},
    )
    peer.insert(table, [[1, "2020-01-01", "a"], [2, "9999-01-01", "b"]])
    create_tag(peer, table, "tagged", retained_millis=3_600_000)
    create_branch(peer, table, "side", "tagged")
    peer.insert(table, [[2, "9999-01-01", "c"]])
    assert rows(peer, table) == [[1, "2020-01-01", "a"], [2, "9999-01-01", "c"]]
    old = [[1, "2020-01-01", "a"], [2, "9999-01-01", "b"]]
    assert sorted(read_tag(peer, table, "tagged")["rows"], key=str) == old
    assert sorted(read_branch(peer, table, "side")["rows"], key=str) == old

    days = [{"day": "2020-01-01"}, {"day": "9999-01-01"}]
    assert sorted(list_partitions(peer, table), key=str) == days
    too_old = {
        "partition.expiration-time": "365 d",
        "partition.timestamp-formatter": "yyyy-MM-dd",
        "partition.timestamp-pattern": "$day",
    }
    assert expire_partitions(peer, table, too_old) == days[:1]
    assert list_partitions(peer, table) == days[1:]

    junk = "warehouse/default.db/t/day=9999-01-01/bucket-0/data-junk-0.parquet"
    s3_server.client().put_object(Bucket=bucket, Key=junk, Body=b"junk")
    for dry in (True, False):
        assert keys(s3_server, bucket, "junk") == [junk]
        found = remove_orphans(peer, table, FAR_FUTURE, dry_run=dry)
        assert found == [f"s3://{bucket}/{junk}"]
    assert keys(s3_server, bucket, "junk") == []

    few = {"snapshot.num-retained.min": "1", "snapshot.num-retained.max": "1"}
    assert expire(peer, table, {**few, "snapshot.time-retained": "1 ms"})["snapshots"] == 2
    assert rollback_to(peer, table, tag="tagged") == 1
    assert rows(peer, table) == old


def in_database(one: Peer, two: Peer, options: Mapping[str, str]) -> Path:
    """A table that one process makes and another changes and fills."""
    first, second = one.in_catalog(options), two.in_catalog(options)
    table = make(first)
    assert second.insert(table, [[1, "a"]]) == [1]
    assert second.alter(table, [{"op": "add", "name": "w", "type": "INT"}]) == 1
    assert first.insert(table, [[2, "b", 2]]) == [2]
    assert rows(second, table) == [[1, "a", None], [2, "b", 2]]
    return table


def test_catalog_in_sqlite(
    s3_server: Rgw, bucket: str, tmp_path: Path, java: Peer, java_too: Peer, pypaimon: Peer
) -> None:
    uri = sqlite_uri(tmp_path / "catalog.db")
    options = jdbc_options(s3_server.paimon_options(bucket), uri)
    table = in_database(java, java_too, options)
    assert rows(pypaimon.in_catalog(options), table) == [[1, "a", None], [2, "b", 2]]


def test_catalog_in_postgres(
    s3_server: Rgw,
    bucket: str,
    postgres_server: Postgres,
    database: str,
    java: Peer,
    java_too: Peer,
    pypaimon: Peer,
    capsys: pytest.CaptureFixture[str],
) -> None:
    dsn = postgres_server.dsn(database)
    watch_locks(dsn)
    options = jdbc_options(
        s3_server.paimon_options(bucket), postgres_server.jdbc(database), key="cat"
    )
    begun = time.monotonic()
    table = in_database(java, java_too, options)
    assert rows(pypaimon.in_catalog(options), table) == [[1, "a", None], [2, "b", 2]]
    locks = logged_locks(dsn)
    with capsys.disabled():
        print(f"\nlock rows in {time.monotonic() - begun:.1f} s: {locks}")
    assert {(happened, lock) for happened, lock, _seconds in locks} == {
        ("INSERT", "cat.default.t"),
        ("DELETE", "cat.default.t"),
    }
    assert len(locks) % 2 == 0
