"""Orphans beside Java's: what one leaves, the other finds nothing in; what stays is read whole."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest
from support import peer_refs
from support.canonical import Json
from support.peers import Peer
from support.twins import below, handle_of, keep

from desilt.table.expire import expire
from desilt.table.missing_files import remove_missing
from desilt.table.orphans.clean import OrphanSettings, clean_orphans, plan_orphans

COLUMNS = {"p": "STRING NOT NULL", "k": "INT NOT NULL", "v": "STRING"}
KINDS: dict[str, dict[str, str]] = {
    "none": {},
    "lookup": {"changelog-producer": "lookup"},
    "vectors": {"deletion-vectors.enabled": "true"},
}
HOUR = 3_600_000
DEAD = {
    "p=a/bucket-0/data-dead-0.parquet", "p=z/bucket-7/data-dead-1.parquet",
    "manifest/manifest-dead-0", "manifest/manifest-list-dead-0", "index/index-dead-0",
    "statistics/stats-dead-0", "snapshot/.snapshot-99.dead.tmp", "changelog/notes",
    "branch/branch-b/snapshot/notes",
}  # fmt: skip
FOREIGN = {
    "notes", "p=a/notes", "other/bucket-0/data-dead-3.parquet", "schema/.schema-9.dead.tmp",
    "tag/.tag-dead.tmp", "p=a/bucket-0/x.managed.blob", "p=a/bucket-0/deeper/data-dead-2.parquet",
}  # fmt: skip


def lived_in(java: Peer, warehouse: Path, options: dict[str, str]) -> Path:
    """Compactions, tags, a branch that was written to, a rollback of each kind, an expiry; and
    what dead writers left."""
    path = java.create_table(
        warehouse, "t", COLUMNS, partition_keys=["p"], primary_keys=["p", "k"],
        options={"bucket": "1", "manifest.merge-min-count": "3", **options},
    )  # fmt: skip
    for turn in range(6):
        rows: list[list[Json]] = [["+I", "ab"[k % 2], k, f"{turn}"] for k in range(turn % 3, 6)]
        java.write(path, rows)
        if turn % 2:
            java.compact(path)
        if turn in (1, 3, 4):
            peer_refs.create_tag(java, path, f"t{turn}")
    peer_refs.create_branch(java, path, "b", "t1")
    if "changelog-producer" not in options:
        peer_refs.rollback_as_latest(java, path, "t3")
    java.write(path, [["+I", "a", 9, "later"]])
    peer_refs.delete_tag(java, path, "t4")
    expire(handle_of(path), None)
    peer_refs.expire(java, path, keep(4))
    _roll_back(path)
    for name in DEAD | FOREIGN:
        file = path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"left")
    _age(path)
    return path


def _roll_back(path: Path) -> None:
    """The latest snapshot goes, as by a rollback; all its files are left behind."""
    latest = handle_of(path).snapshots.latest_id()
    assert latest is not None
    (path / "snapshot" / "LATEST").write_text(str(latest - 1))
    (path / "snapshot" / f"snapshot-{latest}").unlink()


def _age(path: Path) -> None:
    then = time.time() - 3 * HOUR / 1000
    for folder, _, names in os.walk(path, topdown=False):
        for name in (*names, "."):
            os.utime(Path(folder, name), (then, then))


def _everything(java: Peer, path: Path) -> dict[str, list[list[Json]]]:
    """Rows of every snapshot, tag and branch."""
    found = {
        f"snapshot {s['id']}": java.read(path, snapshot=s["id"])["rows"]
        for s in java.snapshots(path)
    }
    for tag in peer_refs.refs(java, path)["tags"]:
        found[f"tag {tag}"] = peer_refs.read_tag(java, path, tag)["rows"]
    for branch in peer_refs.refs(java, path)["branches"]:
        found[f"branch {branch}"] = peer_refs.read_branch(java, path, branch)["rows"]
    return {label: sorted(rows, key=repr) for label, rows in found.items()}


@pytest.mark.parametrize("kind", KINDS)
def test_java_and_desilt_delete_the_same_orphans(java: Peer, tmp_path: Path, kind: str) -> None:
    ours = lived_in(java, tmp_path, KINDS[kind])
    javas = Path(shutil.copytree(ours, ours.parent / "javas"))
    before, rows = below(ours), _everything(java, ours)
    cut = int(time.time() * 1000) - HOUR
    result = clean_orphans(handle_of(ours), OrphanSettings(HOUR))
    gone = peer_refs.remove_orphans(java, javas, cut)

    assert below(ours) == below(javas)
    assert len(gone) == result.files_total
    assert before - below(ours) > DEAD, "and what the rollback left"
    assert below(ours) >= FOREIGN
    assert not (ours / "p=z").exists() or not (javas / "p=z").exists()
    assert _everything(java, ours) == rows
    assert len(rows) >= 5
    # Neither finds anything in what the other left.
    assert peer_refs.remove_orphans(java, ours, int(time.time() * 1000) - HOUR) == []
    assert plan_orphans(handle_of(javas), OrphanSettings(HOUR)).files.is_empty()


def test_java_goes_on_after_us(java: Peer, java09: Peer, tmp_path: Path) -> None:
    path = lived_in(java, tmp_path, {})
    clean_orphans(handle_of(path), OrphanSettings(HOUR))
    java.write(path, [["+I", "a", 1, "after"]])
    java.compact(path)
    rows = sorted(java.read(path)["rows"], key=repr)

    assert ["a", 1, "after"] in [row[-3:] for row in rows]
    assert peer_refs.remove_orphans(java, path, int(time.time() * 1000) - HOUR) == []
    assert clean_orphans(handle_of(path), OrphanSettings(HOUR)).files_total == 0


@pytest.mark.parametrize("kind", ["none", "vectors"])
def test_java_reads_a_table_without_its_lost_files(
    java: Peer, pypaimon: Peer, tmp_path: Path, kind: str
) -> None:
    path = java.create_table(
        tmp_path, "t", COLUMNS, partition_keys=["p"], primary_keys=["p", "k"],
        options={"bucket": "1", **KINDS[kind]},
    )  # fmt: skip
    for p in "abc":
        java.write(path, [["+I", p, k, "v"] for k in range(4)])
    java.compact(path)
    java.write(path, [["+I", "a", 0, "w"], ["+I", "b", 0, "w"]])
    java.compact(path)
    for file in (path / "p=b" / "bucket-0").glob("data-*"):
        file.unlink()
    plan, outcome = remove_missing(handle_of(path))

    assert plan.files > 0
    assert outcome is not None
    expected = [
        ["a", 0, "w"],
        *(["a", k, "v"] for k in (1, 2, 3)),
        *(["c", k, "v"] for k in range(4)),
    ]
    for peer in (java, pypaimon):
        assert sorted(peer.read(path)["rows"], key=repr) == sorted(expected, key=repr)
    java.write(path, [["+I", "b", 0, "back"]])
    java.compact(path)
    assert len(java.read(path)["rows"]) == 9
