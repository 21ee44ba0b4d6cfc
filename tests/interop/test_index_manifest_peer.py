"""Index manifests cross in both directions: Java's are read whole, and Java reads ours."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from support.peer_refs import IndexInfo, index_entries
from support.peers import Peer

from desilt.table.manifest.index import IndexEntry, read_index_manifest, write_index_manifest

DELETIONS = {"bucket": "2", "deletion-vectors.enabled": "true"}
COLUMNS = {"p": "STRING NOT NULL", "k": "INT NOT NULL", "v": "STRING"}


@pytest.fixture(scope="module")
def peers(java: Peer, java09: Peer) -> dict[str, Peer]:
    return {"java": java, "java09": java09}


def vectors(peer: Peer, warehouse: Path, options: dict[str, str] | None = None) -> Path:
    """A table whose compacted files have deletion vectors in both partitions."""
    path = peer.create_table(
        warehouse, "t", COLUMNS, partition_keys=["p"], primary_keys=["p", "k"],
        options={**DELETIONS, **(options or {})},
    )  # fmt: skip
    peer.insert(path, [[p, k, "old"] for p in "ab" for k in range(20)])
    peer.compact(path)
    peer.insert(path, [[p, k, "new"] for p in "ab" for k in range(5)])
    peer.compact(path, full=False)
    return path


def hashes(peer: Peer, warehouse: Path) -> Path:
    """A table with dynamic buckets: its index files hold the hashes of the keys."""
    path = peer.create_table(
        warehouse, "h", {"k": "INT NOT NULL", "v": "STRING"}, primary_keys=["k"],
        options={"bucket": "-1"},
    )  # fmt: skip
    peer.write(path, [["+I", k, "x"] for k in range(7)], bucket=0)
    return path


def manifest_of(path: Path) -> Path:
    latest = (path / "snapshot" / "LATEST").read_text()
    snapshot = json.loads((path / "snapshot" / f"snapshot-{latest}").read_text())
    return path / "manifest" / str(snapshot["indexManifest"])


def read(path: Path) -> tuple[IndexEntry, ...]:
    return read_index_manifest(manifest_of(path).read_bytes(), "index-manifest")


def told(entry: IndexEntry) -> IndexInfo:
    """The entry in the peer's words."""
    ranges = entry.deletions
    return {
        "partition": entry.partition.hex(),
        "bucket": entry.bucket,
        "type": entry.index_type,
        "name": entry.file_name,
        "size": entry.file_size,
        "rowCount": entry.row_count,
        "deletions": None
        if ranges is None
        else [[r.data_file, r.offset, r.length, r.cardinality] for r in ranges],
        "externalPath": entry.external_path,
        "globalIndex": None,
    }


@pytest.mark.parametrize("writer", ["java", "java09"])
@pytest.mark.parametrize("make", [vectors, hashes])
def test_entries_are_those_that_java_lists(
    peers: dict[str, Peer], tmp_path: Path, writer: str, make: Callable[[Peer, Path], Path]
) -> None:
    path = make(peers[writer], tmp_path)
    entries = read(path)

    assert entries
    assert [told(entry) for entry in entries] == index_entries(peers[writer], path)


def test_vectors_of_java_are_described_as_they_lie_in_the_file(java: Peer, tmp_path: Path) -> None:
    path = vectors(java, tmp_path)
    for entry in read(path):
        body = (path / "index" / entry.file_name).read_bytes()
        assert len(body) == entry.file_size
        assert entry.deletions is not None
        assert len(entry.deletions) == entry.row_count
        for found in entry.deletions:
            assert int.from_bytes(body[found.offset : found.offset + 4]) == found.length
            assert list(path.glob(f"p=*/bucket-{entry.bucket}/{found.data_file}"))
    assert sum(r.cardinality or 0 for e in read(path) for r in e.deletions or ()) == 10


@pytest.mark.parametrize("writer", ["java", "java09"])
@pytest.mark.parametrize("reader", ["java", "java09"])
def test_java_reads_what_we_wrote(
    peers: dict[str, Peer], tmp_path: Path, writer: str, reader: str
) -> None:
    # 2.0 writes Parquet that 0.9 reads, too; rows come out right only with their vectors.
    path = vectors(peers[writer], tmp_path)
    before = index_entries(peers[reader], path)
    manifest_of(path).write_bytes(write_index_manifest(read(path)))
    rows = sorted(peers[reader].read(path)["rows"], key=repr)

    assert index_entries(peers[reader], path) == before
    assert rows == sorted(
        [[p, k, "new" if k < 5 else "old"] for p in "ab" for k in range(20)], key=repr
    )


def test_a_global_index_survives_us(java: Peer, tmp_path: Path) -> None:
    """Made by hand, as only engines build them: what Java reads before and after is the same."""
    path = vectors(java, tmp_path)
    described = {
        "_ROW_RANGE_START": 5, "_ROW_RANGE_END": 2**40, "_INDEX_FIELD_ID": 2,
        "_EXTRA_FIELD_IDS": [1, 3], "_INDEX_META": b"\x00\xff", "_SOURCE_META": b"s",
    }  # fmt: skip
    (first, *rest) = read(path)
    outside = IndexEntry(
        first.kind, first.partition, first.bucket, "btree", "btree-1", 10, 100, None,
        f"{tmp_path}/elsewhere/btree-1", described,
    )  # fmt: skip
    manifest_of(path).write_bytes(write_index_manifest([outside, first, *rest]))
    once = index_entries(java, path)
    manifest_of(path).write_bytes(write_index_manifest(read(path)))

    assert once[0]["globalIndex"] is not None
    assert once[0]["globalIndex"]["rowRangeEnd"] == 2**40
    assert once[0]["globalIndex"]["extraFieldIds"] == [1, 3]
    assert once[0]["externalPath"] == outside.external_path
    assert index_entries(java, path) == once
    assert [told(e)["name"] for e in read(path)] == [i["name"] for i in once]
