"""What the peers tell about changes, files and vectors by snapshot, on one small table."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.histories import Batch
from support.peer_streams import changes, index_files, refusals, snapshot_files, write_stream
from support.peers import Peer
from support.shapes import Shape

COLUMNS = {"k": "INT NOT NULL", "v": "STRING"}
LOADED: Batch = [["+I", i, "a"] for i in range(4)]
UPDATED: Batch = [["+U", 1, "b"], ["-D", 2, "z"], ["+I", 9, "n"]]
NET: Batch = [["-U", 1, "a"], ["+U", 1, "b"], ["-D", 2, "a"], ["+I", 9, "n"]]


@pytest.fixture(params=["java", "java09"])
def peer(request: pytest.FixtureRequest) -> Peer:
    found = request.getfixturevalue(request.param)
    assert isinstance(found, Peer)
    return found


def table(peer: Peer, warehouse: Path, **options: str) -> Path:
    """Four rows, compacted fully (snapshots 1 and 2), then changed and compacted (3 and 4)."""
    named = {key.replace("_", "-"): value for key, value in options.items()}
    if "vectors" in named:
        named["deletion-vectors.enabled"] = named.pop("vectors")
    path = peer.create_table(
        warehouse, "t", COLUMNS, primary_keys=["k"], options={"bucket": "1", **named}
    )
    peer.write(path, LOADED)
    peer.compact(path, full=True)
    peer.write(path, UPDATED)
    peer.compact(path, full=named.get("changelog-producer") == "full-compaction")
    return path


def test_changes_without_a_producer_are_what_was_written(peer: Peer, tmp_path: Path) -> None:
    path = table(peer, tmp_path)

    assert changes(peer, path) == [
        {"snapshot": 1, "rows": LOADED},
        {"snapshot": 3, "rows": UPDATED},
    ]


@pytest.mark.parametrize("producer", ["lookup", "full-compaction"])
def test_changes_are_net_where_compactions_produce_them(
    peer: Peer, tmp_path: Path, producer: str
) -> None:
    path = table(peer, tmp_path, changelog_producer=producer)

    assert changes(peer, path) == [
        {"snapshot": 2, "rows": LOADED},
        {"snapshot": 4, "rows": NET},
    ]


def test_changes_begin_and_end_where_asked(peer: Peer, tmp_path: Path) -> None:
    path = table(peer, tmp_path, changelog_producer="input")

    assert [one["snapshot"] for one in changes(peer, path, first=2)] == [3]
    assert [one["snapshot"] for one in changes(peer, path, last=2)] == [1]
    assert changes(peer, path, first=4) == []


def test_changes_may_begin_with_the_whole_table(peer: Peer, tmp_path: Path) -> None:
    path = table(peer, tmp_path, changelog_producer="lookup")

    found = changes(peer, path, first=2, options={"scan.mode": "from-snapshot-full"})

    assert found == [{"snapshot": 2, "rows": LOADED}, {"snapshot": 4, "rows": NET}]


def test_files_of_a_compaction_come_with_their_records(peer: Peer, tmp_path: Path) -> None:
    path = table(peer, tmp_path, changelog_producer="lookup", vectors="true")

    moved = snapshot_files(peer, path, "delta", snapshot=4, records=True)
    (changelog,) = snapshot_files(peer, path, "changelog", snapshot=4, records=True)

    assert [(entry["kind"], entry["level"]) for entry in moved] == [("DELETE", 0), ("ADD", 4)]
    assert moved[1]["records"] == [["+U", 4, 1, "b"], ["+I", 6, 9, "n"]]
    assert changelog["records"] == [
        ["-U", 1, 1, "a"],
        ["+U", 4, 1, "b"],
        ["-D", 2, 2, "a"],
        ["+I", 6, 9, "n"],
    ]
    assert [entry["level"] for entry in snapshot_files(peer, path, "live")] == [5, 4]


def test_vectors_name_the_rows_that_moved_up_over(peer: Peer, tmp_path: Path) -> None:
    path = table(peer, tmp_path, vectors="true")

    (index,) = index_files(peer, path)

    (bottom,) = [file for file in peer.files(path) if file["level"] == 5]
    (vector,) = index["ranges"]
    assert index["deleted"] == {bottom["name"]: [1, 2]}
    assert (vector["file"], vector["offset"]) == (bottom["name"], 1)
    assert index_files(peer, path, snapshot=1) == []


def test_records_of_append_tables_are_rows(peer: Peer, tmp_path: Path) -> None:
    path = peer.create_table(tmp_path, "t", COLUMNS, options={"bucket": "-1"})
    peer.insert(path, [[1, "a"], [2, None]])

    (file,) = snapshot_files(peer, path, "live", records=True)

    assert file["records"] == [["+I", -1, 1, "a"], ["+I", -1, 2, None]]


def test_a_stream_compacts_as_it_writes(peer: Peer, tmp_path: Path) -> None:
    path = peer.create_table(tmp_path, "t", COLUMNS, primary_keys=["k"], options={"bucket": "1"})
    batches: list[Batch] = [[["+I", i, "a"]] for i in range(3)]

    write_stream(peer, path, batches, options={"num-sorted-run.compaction-trigger": "2"})

    kinds = [snapshot["kind"] for snapshot in peer.snapshots(path)]
    assert kinds.count("APPEND") == 3
    assert "COMPACT" in kinds
    assert len(peer.read(path)["rows"]) == 3


def test_refusals_say_why_or_nothing(peer: Peer) -> None:
    good = Shape(COLUMNS, ("k",), (), {"bucket": "1"})
    bad = Shape(COLUMNS, ("k",), (), {"bucket": "1", "merge-engine": "nonsense"})

    allowed, refused = refusals(peer, [good, bad])

    assert allowed is None
    assert refused is not None
    assert "MergeEngine" in refused
