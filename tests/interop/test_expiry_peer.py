"""Expiry beside Java's: from twin tables the same files go, and what stays every peer can read.

Where we keep more than Java does, the test says what Java loses by it.
"""

from __future__ import annotations

import os
import shutil
import time
from contextlib import suppress
from pathlib import Path

import pytest
from support import peer_refs
from support.canonical import Json
from support.faulty import FaultyStorage
from support.peer_streams import changes
from support.peers import Peer, PeerError
from support.reachable import needed_by
from support.twins import Twins, alter, below, handle_of, keep, set_times

from desilt.table.catalog import open_table
from desilt.table.consumers import ConsumerStore
from desilt.table.errors import CommitConflict
from desilt.table.expire import Override, expire, plan_expiry
from desilt.table.handle import TableHandle

COLUMNS = {"p": "STRING NOT NULL", "k": "INT NOT NULL", "v": "STRING"}
KEYED = {"bucket": "1", "manifest.merge-min-count": "3"}
KINDS: dict[str, dict[str, str]] = {
    "none": {},
    "input": {"changelog-producer": "input"},
    "lookup": {"changelog-producer": "lookup"},
    "vectors": {"deletion-vectors.enabled": "true"},
}
DECOUPLED = {"changelog.num-retained.max": "7", "changelog.num-retained.min": "5"}


@pytest.fixture(scope="module")
def peers(java: Peer, java09: Peer, pypaimon: Peer) -> dict[str, Peer]:
    return {"java": java, "java09": java09, "pypaimon": pypaimon}


def keyed(peer: Peer, warehouse: Path, options: dict[str, str] | None = None) -> Path:
    """Writes and compactions of a partitioned table; a whole partition's files go on the way."""
    path = peer.create_table(
        warehouse, "t", COLUMNS, partition_keys=["p"], primary_keys=["p", "k"],
        options={**KEYED, **(options or {})},
    )  # fmt: skip
    for turn in range(6):
        rows: list[list[Json]] = [["+I", "ab"[k % 2], k, f"{turn}"] for k in range(turn % 3, 6)]
        peer.write(path, rows)
        if turn % 2:
            peer.compact(path)
    return path


def appended(peer: Peer, warehouse: Path, options: dict[str, str] | None = None) -> Path:
    path = peer.create_table(warehouse, "t", COLUMNS, options={"bucket": "-1", **(options or {})})
    for turn in range(7):
        peer.insert(path, [["a", k, f"{turn}"] for k in range(3)])
    return path


def rows_by(peer: Peer, path: Path, snapshot: int | None = None) -> list[list[Json]]:
    return sorted(peer.read(path, snapshot=snapshot)["rows"], key=repr)


def changes_of(peer: Peer, path: Path, snapshot: int) -> list[list[Json]]:
    """What a streaming reader gets for one snapshot, sorted."""
    found = changes(peer, path, first=snapshot, last=snapshot)
    return sorted((row for part in found for row in part["rows"]), key=repr)


def folders(path: Path) -> set[str]:
    return {os.path.relpath(folder, path) for folder, _, _ in os.walk(path)}


def hints(path: Path) -> dict[str, str]:
    found = [*path.glob("*/EARLIEST"), *path.glob("*/LATEST")]
    return {f"{file.parent.name}/{file.name}": file.read_text() for file in found}


# --- the same files -------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["plain", "decoupled"])
@pytest.mark.parametrize(
    ("version", "kind"),
    [*(("java", kind) for kind in KINDS), ("java09", "none"), ("java09", "lookup")],
)
def test_same_files_go_as_by_java(
    peers: dict[str, Peer], tmp_path: Path, version: str, kind: str, mode: str
) -> None:
    peer = peers[version]
    path = keyed(peer, tmp_path, KINDS[kind])
    for tag, snapshot in (("t2", 2), ("t2-too", 2), ("t4", 4)):
        peer_refs.create_tag(peer, path, tag, snapshot)
    options = {"snapshot.clean-empty-directories": "true"}
    twins = Twins.of(path, {**options, **(DECOUPLED if mode == "decoupled" else {})}, peer)
    before = below(path)
    for count in (5, 3):
        twins.alter(keep(count), peer)
        ours, javas = twins.expire_ours(), twins.expire_javas(peer)
        left, expected = twins.files()

        assert left == expected
        assert (ours.snapshots, ours.changelogs) == (javas["snapshots"], javas["changelogs"])
        assert hints(twins.ours) == hints(twins.javas)
        assert folders(twins.ours) == folders(twins.javas)
    gone = before - below(path)
    assert any("/manifest-" in name for name in gone)
    if mode == "decoupled":  # what writers appended is the changelog, and lives as long
        assert any(name.startswith("changelog/changelog-") for name in left)
    else:
        assert any("/data-" in name for name in gone)
        assert not any(name.startswith("changelog/") for name in left)


@pytest.mark.parametrize("version", ["java", "java09"])
def test_same_files_of_an_append_table_go(
    peers: dict[str, Peer], tmp_path: Path, version: str
) -> None:
    path = appended(peers[version], tmp_path)
    options = keep(2)
    twins = Twins.of(path, options, peers[version])
    twins.expire_ours()
    twins.expire_javas(peers[version])
    left, expected = twins.files()

    assert left == expected
    assert sum("snapshot-" in name for name in left) == 2


@pytest.mark.parametrize(
    ("ages", "newest", "oldest"),
    [
        # Minutes ago; what newer Java leaves, and what 0.9 leaves, which looks at the snapshot
        # itself and not at the one after it.
        ([300, 200, 100, 50, 40, 30, 20, 10, 0], {3, 4, 5, 6, 7, 8, 9}, {4, 5, 6, 7, 8, 9}),
        (
            [300, 50, 45, 40, 30, 20, 10, 5, 0],
            {1, 2, 3, 4, 5, 6, 7, 8, 9},
            {2, 3, 4, 5, 6, 7, 8, 9},
        ),
        ([99, 98, 97, 96, 95, 94, 93, 92, 91], {8, 9}, {8, 9}),
    ],
)
def test_age_is_that_of_the_next_snapshot(
    java: Peer, java09: Peer, tmp_path: Path, ages: list[int], newest: set[int], oldest: set[int]
) -> None:
    path = keyed(java09, tmp_path)
    now = int(time.time() * 1000)
    set_times(path, {i + 1: now - age * 60_000 for i, age in enumerate(ages)})
    options = {"snapshot.num-retained.min": "2", "snapshot.time-retained": "1 h"}
    twins = Twins.of(path, options, java09)
    third = Path(shutil.copytree(path, path.parent / "third"))
    twins.expire_ours()
    twins.expire_javas(java)
    peer_refs.expire(java09, third)
    left, expected = twins.files()

    assert left == expected
    assert set(handle_of(twins.ours).snapshots.ids()) == newest
    assert set(handle_of(third).snapshots.ids()) == oldest


def test_consumers_hold_as_in_java(java: Peer, tmp_path: Path) -> None:
    path = keyed(java, tmp_path)
    peer_refs.set_consumer(java, path, "far", 7)
    peer_refs.set_consumer(java, path, "near", 4)
    options = keep(1)
    twins = Twins.of(path, options, java)
    twins.expire_ours()
    twins.expire_javas(java)
    left, expected = twins.files()

    assert left == expected
    assert handle_of(path).snapshots.ids()[0] == 4
    assert {c.name: c.next_snapshot for c in ConsumerStore(handle_of(path)).all()} == {
        "far": 7, "near": 4,
    }  # fmt: skip


def test_java_counts_a_consumer_of_ours(java: Peer, java09: Peer, tmp_path: Path) -> None:
    path = keyed(java, tmp_path)
    store = ConsumerStore(handle_of(path))
    store.advance("ours", 3)
    store.advance("ours", 5)

    for peer in (java, java09):
        assert peer_refs.refs(peer, path)["consumers"] == {"ours": 5}
    peer_refs.expire(
        java, path, {"snapshot.num-retained.max": "2", "snapshot.num-retained.min": "1"}
    )
    assert handle_of(path).snapshots.ids()[0] == 5


# --- what stays is read ---------------------------------------------------------------------------


@pytest.mark.parametrize("readers", [["java", "java09"], ["java", "pypaimon"]], ids="+".join)
def test_peers_read_every_snapshot_tag_and_branch_that_stays(
    peers: dict[str, Peer], tmp_path: Path, readers: list[str]
) -> None:
    writer = peers["java09"] if "java09" in readers else peers["java"]
    path = keyed(writer, tmp_path)
    for snapshot in (1, 3, 6):
        peer_refs.create_tag(writer, path, f"t{snapshot}", snapshot)
    peer_refs.create_branch(writer, path, "b", "t3")
    ids = [s["id"] for s in writer.snapshots(path)]
    rows = {i: rows_by(writer, path, i) for i in ids}

    assert expire(handle_of(path), Override(retain_max=3, retain_min=3)).snapshots == len(ids) - 3
    for peer in (peers[name] for name in readers):
        assert [s["id"] for s in peer.snapshots(path)] == ids[-3:]
        for i in ids[-3:]:
            assert rows_by(peer, path, i) == rows[i], i
        for i in (1, 3, 6):
            tagged = peer_refs.read_tag(peer, path, f"t{i}")["rows"]
            assert sorted(tagged, key=repr) == rows[i], i
    for peer in (peers[name] for name in readers if name != "pypaimon"):
        assert sorted(peer_refs.read_branch(peer, path, "b")["rows"], key=repr) == rows[3]


@pytest.mark.parametrize("version", ["java", "java09"])
@pytest.mark.parametrize("kind", ["none", "input", "lookup"])
def test_changes_of_expired_snapshots_are_read_as_long_as_their_changelogs_live(
    peers: dict[str, Peer], tmp_path: Path, version: str, kind: str
) -> None:
    peer = peers[version]
    path = keyed(peer, tmp_path, KINDS[kind])
    options = keep(2)
    decoupled = {"changelog.num-retained.max": "6", "changelog.num-retained.min": "6"}
    alter(path, {**options, **decoupled}, peer)
    ids = [s["id"] for s in peer.snapshots(path)]
    before = {i: changes_of(peer, path, i) for i in ids}
    result = expire(handle_of(path))
    kept = sorted(int(f.name.rpartition("-")[2]) for f in path.glob("changelog/changelog-*"))

    assert kept == ids[-6:-2]
    assert result.changelogs == len(ids) - 6
    for i in kept + ids[-2:]:
        assert changes_of(peer, path, i) == before[i], i
    assert any(before[i] for i in kept)


@pytest.mark.parametrize("version", ["java", "java09"])
def test_java_goes_on_after_us(peers: dict[str, Peer], tmp_path: Path, version: str) -> None:
    """It writes, compacts, tags and expires, and leaves no more than if it had done all alone."""
    peer = peers[version]
    path = keyed(peer, tmp_path)
    peer_refs.create_tag(peer, path, "t2", 2)
    options = keep(5)
    twins = Twins.of(path, options, peer)
    twins.expire_ours()
    twins.expire_javas(peer)
    for table in (twins.ours, twins.javas):
        peer_refs.delete_tag(peer, table, "t2")
        peer.write(table, [["+I", "a", 2, "later"]])
        peer.compact(table)
        peer_refs.expire(peer, table, keep(2))
    left, expected = twins.files()

    assert len(left) == len(expected)
    assert rows_by(peer, twins.ours) == rows_by(peer, twins.javas)
    assert len(handle_of(path).snapshots.ids()) == 2


# --- where we keep more ---------------------------------------------------------------------------


def test_a_branch_outlives_its_tag_with_us_and_not_with_java(java: Peer, tmp_path: Path) -> None:
    path = keyed(java, tmp_path)
    peer_refs.create_tag(java, path, "t2", 2)
    peer_refs.create_branch(java, path, "b", "t2")
    rows = rows_by(java, path, 2)
    peer_refs.delete_tag(java, path, "t2")
    options = keep(2)
    twins = Twins.of(path, options, java)
    plan = plan_expiry(handle_of(path))
    twins.expire_ours()
    twins.expire_javas(java)
    left, expected = twins.files()

    assert left > expected
    assert any(p.holder == "branch b" and p.files > 0 for p in plan.protections)
    assert sorted(peer_refs.read_branch(java, twins.ours, "b")["rows"], key=repr) == rows
    with pytest.raises(PeerError):
        peer_refs.read_branch(java, twins.javas, "b")


def test_a_rollback_published_as_the_latest_survives_with_us_and_not_with_java(
    java: Peer, tmp_path: Path
) -> None:
    """Files that a compaction removed came back: its DELETE no longer says that they may go."""
    path = java.create_table(
        tmp_path, "t", COLUMNS, primary_keys=["k"], options={"bucket": "1"}
    )  # fmt: skip
    for turn in range(2):
        java.write(path, [["+I", "a", k, f"{turn}"] for k in range(4 - turn)])
    rows = rows_by(java, path)
    peer_refs.create_tag(java, path, "t2", 2)
    java.compact(path)
    assert peer_refs.rollback_as_latest(java, path, "t2") == 4
    peer_refs.delete_tag(java, path, "t2")
    for _ in range(2):
        java.write(path, [["+I", "a", 9, "later"]])
    options = keep(2)
    twins = Twins.of(path, options, java)
    twins.expire_ours()
    twins.expire_javas(java)
    left, expected = twins.files()

    assert left > expected
    assert rows_by(java, twins.ours) == [*rows, ["a", 9, "later"]]
    assert open_table(str(twins.ours)).scan().collect().height == 5
    with pytest.raises(PeerError):
        rows_by(java, twins.javas)


# --- at the same time -----------------------------------------------------------------------------


@pytest.mark.parametrize("count", [2, 1], ids=["as far", "further"])
@pytest.mark.parametrize(
    ("method", "part"),
    [("list", "/branch"), ("delete", "/data-"), ("delete", "/manifest-"), ("delete", "/snapshot-")],
)
def test_java_may_expire_while_we_do(
    java: Peer, tmp_path: Path, method: str, part: str, count: int
) -> None:
    path = keyed(java, tmp_path)
    rows = rows_by(java, path)
    storage = FaultyStorage()
    acted: list[int] = []
    storage.hook(
        "before", method, part,
        lambda: acted.append(peer_refs.expire(java, path, keep(count))["snapshots"]),
    )  # fmt: skip
    handle = TableHandle("db.t", str(path), storage)
    with suppress(CommitConflict):
        expire(handle, Override(2, 2))
    expire(handle_of(path), Override(count, count))

    assert acted[0] > 0
    assert len(handle.snapshots.ids()) == count
    assert rows_by(java, path) == rows
    assert {n.rpartition("/")[2] for n in below(path) if "/data-" in n or "manifest" in n} == {
        name
        for snapshot in handle.snapshots.ids()
        for name in needed_by(path, path / "snapshot" / f"snapshot-{snapshot}")
    }
