"""The same tables on the same object store: written by each, compacted and expired by desilt, read
by Java and pypaimon."""

from __future__ import annotations

import random
from pathlib import Path

import polars as pl
import pytest
from support.catalogs import jdbc_options
from support.peer_refs import create_tag, read_tag
from support.peers import Peer
from support.servers import Postgres, Rgw

from desilt.table.catalog import Catalog
from desilt.table.catalogs import BaseCatalog, CatalogOptions, open_catalog
from desilt.table.orphans.clean import OrphanSettings, clean_orphans
from desilt.table.storage import StoreOptions
from desilt.table.table import Table

COLUMNS = {"k": "BIGINT NOT NULL", "v": "STRING"}
KINDS = {
    "deduplicate": {},
    "vectors": {"deletion-vectors.enabled": "true", "changelog-producer": "lookup"},
    "aggregation": {"merge-engine": "aggregation", "fields.v.aggregate-function": "last_value"},
}
NAME = "default.t"
Rows = dict[int, str]


def store_options(server: Rgw) -> StoreOptions:
    return StoreOptions(
        endpoint=server.endpoint,
        region=server.region,
        access_key=server.access_key,
        secret_key=server.secret_key,
    )


def ours(table: Table) -> Rows:
    return dict(table.scan().collect().select("k", "v").rows())


def theirs(peer: Peer) -> Rows:
    return {int(str(k)): str(v) for k, v in peer.read(NAME)["rows"]}


def write(table: Table, rows: Rows) -> None:
    table.write(pl.DataFrame({"k": list(rows), "v": list(rows.values())}))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", [11, 12])
def test_histories_of_all_on_one_store(
    s3_server: Rgw, bucket: str, java: Peer, pypaimon: Peer, kind: str, seed: int
) -> None:
    print(f"{seed=}")
    chance, options = random.Random(seed), s3_server.paimon_options(bucket)
    java, pypaimon = java.in_catalog(options), pypaimon.in_catalog(options)
    java.create_table("", "t", COLUMNS, primary_keys=["k"], options={"bucket": "1", **KINDS[kind]})
    table = Catalog(options["warehouse"], store=store_options(s3_server)).table(NAME)
    writers = ["java", "desilt"] if kind == "vectors" else ["java", "pypaimon", "desilt"]
    expected: Rows = {}
    for step in range(10):
        rows = {chance.randrange(40): f"{step}-{chance.random():.6f}" for _ in range(12)}
        match chance.choice(writers):
            case "java":
                java.insert(NAME, [[k, v] for k, v in rows.items()])
            case "pypaimon":
                pypaimon.insert(NAME, [[k, v] for k, v in rows.items()])
            case _:
                write(table, rows)
        expected |= rows
        if chance.random() < 0.4:
            table.compact(mode=chance.choice(["minor", "full"]))
    create_tag(java, Path(NAME), "kept")
    table.compact(mode="full")

    assert ours(table) == expected
    assert theirs(java) == expected
    assert theirs(pypaimon) == expected
    table.expire(retain_max=1, retain_min=1)
    clean_orphans(table.handle, OrphanSettings(1, forced=True))
    assert ours(table) == theirs(java) == theirs(pypaimon) == expected
    tagged = {int(str(k)): str(v) for k, v in read_tag(java, Path(NAME), "kept")["rows"]}
    if kind != "vectors":  # there a tag shows what was compacted by then
        assert tagged == expected
    assert {s["id"] for s in java.snapshots(NAME)} == set(table.handle.snapshots.ids())
    java.insert(NAME, [[1, "after"]])
    write(table, {2: "after"})
    java.compact(NAME)
    assert theirs(java) == ours(table) == expected | {1: "after", 2: "after"}


def test_append_tables_are_packed_for_all(
    s3_server: Rgw, bucket: str, java: Peer, pypaimon: Peer
) -> None:
    options = s3_server.paimon_options(bucket)
    java, pypaimon = java.in_catalog(options), pypaimon.in_catalog(options)
    java.create_table("", "t", {"k": "BIGINT", "v": "STRING"}, options={"bucket": "-1"})
    table = Catalog(options["warehouse"], store=store_options(s3_server)).table(NAME)
    for number in range(6):
        java.insert(NAME, [[number, "java"]])
        pypaimon.insert(NAME, [[number + 100, "python"]])
        write(table, {number + 200: "desilt"})
    before = ours(table)
    summary = table.compact(mode="full")

    assert summary.files_before > summary.files_after == 1
    assert len(before) == 18
    assert ours(table) == theirs(java) == theirs(pypaimon) == before


def test_a_jdbc_catalog_on_the_store(
    s3_server: Rgw, bucket: str, java: Peer, postgres_server: Postgres, database: str
) -> None:
    """Names and lock in PostgreSQL, files in the bucket."""
    storage, uri = s3_server.paimon_options(bucket), postgres_server.jdbc(database)
    java = java.in_catalog(jdbc_options(storage, uri))
    java.create_table("", "t", COLUMNS, primary_keys=["k"], options={"bucket": "1"})
    catalog: BaseCatalog = open_catalog(
        CatalogOptions(
            kind="jdbc", warehouse=storage["warehouse"], uri=uri, store=store_options(s3_server)
        )
    )
    try:
        assert catalog.tables() == (NAME,)
        table = catalog.table(NAME)
        for number in range(4):
            java.insert(NAME, [[number, "java"]])
            write(table, {number + 10: "desilt"})
        table.compact(mode="full")
        table.expire(retain_max=1, retain_min=1)
        expected = {n: "java" for n in range(4)} | {n + 10: "desilt" for n in range(4)}
        assert ours(table) == theirs(java) == expected
        made = catalog.create_table(
            "default.made", COLUMNS, primary_key=["k"], options={"bucket": "1"}
        )
        write(made, {1: "a"})
        assert {int(str(k)): v for k, v in java.read("default.made")["rows"]} == {1: "a"}
    finally:
        catalog.close()
