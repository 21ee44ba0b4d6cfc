"""Append tables whose rows Java deletes by vectors, and what its own compaction makes of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.histories import alike
from support.peer_streams import delete_rows, index_files, pack, snapshot_files
from support.peers import Peer, PeerUnsupported

COLUMNS = {"k": "INT", "p": "INT", "v": "STRING"}


def table(peer: Peer, warehouse: Path, bucket: str, *, wide: bool) -> Path:
    """Three commits of six rows, three to a file or more."""
    options = {
        "bucket": bucket,
        "deletion-vectors.enabled": "true",
        "deletion-vectors.bitmap64": str(wide).lower(),
        "compaction.min.file-num": "2",
    }
    if bucket != "-1":
        options["bucket-key"] = "k"
    path = peer.create_table(warehouse, "t", COLUMNS, partition_keys=["p"], options=options)
    for first in (0, 6, 12):
        peer.insert(path, [[i, i % 2, "a"] for i in range(first, first + 6)])
    return path


def delete(peer: Peer, path: Path, count: int) -> list[str]:
    """Deletes the first rows of the first two files; the rows that are left."""
    files = snapshot_files(peer, path, "live", records=True)
    marked = {file["name"]: list(range(min(count, file["rowCount"]))) for file in files[:2]}
    delete_rows(peer, path, marked)
    return alike(
        record[2:]
        for file in files
        for position, record in enumerate(file["records"])
        if position not in marked.get(file["name"], ())
    )


@pytest.mark.parametrize("wide", [False, True], ids=["32-bit", "64-bit"])
@pytest.mark.parametrize("bucket", ["-1", "2"])
def test_deleted_rows_are_not_read(java: Peer, tmp_path: Path, bucket: str, wide: bool) -> None:
    path = table(java, tmp_path, bucket, wide=wide)

    left = delete(java, path, 1)

    assert alike(java.read(path)["rows"]) == left
    assert java.snapshots(path)[-1]["kind"] == "OVERWRITE"


def test_deletes_join_those_before(java: Peer, tmp_path: Path) -> None:
    path = table(java, tmp_path, "-1", wide=False)
    delete(java, path, 1)

    left = delete(java, path, 2)

    assert alike(java.read(path)["rows"]) == left
    marked = [
        positions for entry in index_files(java, path) for positions in entry["deleted"].values()
    ]
    assert marked == [[0, 1], [0, 1]]


@pytest.mark.parametrize("bucket", ["-1", "2"])
def test_java_compacts_deleted_rows_away(java: Peer, tmp_path: Path, bucket: str) -> None:
    path = table(java, tmp_path, bucket, wide=True)
    left = delete(java, path, 1)

    made = pack(java, path) if bucket == "-1" else java.compact(path, full=True)

    assert len(made) == 1
    assert alike(java.read(path)["rows"]) == left
    assert sum(file["rowCount"] for file in java.files(path)) == len(left)
    assert [entry["deleted"] for entry in index_files(java, path) if entry["deleted"]] == []


def test_the_oldest_java_deletes_too(java09: Peer, java: Peer, tmp_path: Path) -> None:
    path = table(java09, tmp_path, "-1", wide=False)

    left = delete(java09, path, 1)

    assert alike(java09.read(path)["rows"]) == left
    assert alike(java.read(path)["rows"]) == left


def test_the_oldest_java_has_no_wide_vectors(java09: Peer, tmp_path: Path) -> None:
    path = table(java09, tmp_path, "-1", wide=True)

    with pytest.raises(PeerUnsupported):
        delete(java09, path, 1)
