"""Manifests cross in both directions: the peers' are read the fast way and the slow way alike.

That the peers read ours is what every history in `test_histories` and every listing in
`test_metadata_peer` rests on; here all manifests of a table are ours.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal
from support.histories import History
from support.peers import Peer
from support.players import DESILT, Play
from support.shapes import NESTED_TYPES, Limits

from desilt.table.catalog import open_table
from desilt.table.manifest.codec import (
    read_manifest,
    read_manifest_list,
    read_manifest_slowly,
    write_manifest,
    write_manifest_list,
)
from desilt.table.manifest.entry import ENTRY_SCHEMA, SLIM_SCHEMA
from desilt.table.metadata import MetadataReader

WRITERS = ["java", "java09", "pypaimon", DESILT]
FOR_ALL = Limits(
    without_types=frozenset({"TIMESTAMP(9)", "TIMESTAMP(9) WITH LOCAL TIME ZONE", *NESTED_TYPES}),
    plain_float_keys=True,
    null_partitions=False,
    options={"file.compression": [""], "manifest.merge-min-count": ["", "2"]},
)


@pytest.fixture(scope="module")
def peers(java: Peer, java09: Peer, pypaimon: Peer) -> dict[str, Peer]:
    return {"java": java, "java09": java09, "pypaimon": pypaimon}


def written(peers: dict[str, Peer], writer: str, home: Path, seed: int) -> Play:
    """A table whose manifests are all of one writer."""
    history = History(seed, FOR_ALL, keyed=seed % 3 != 2)
    play = Play(history, peers, writer, home)
    compacts = [f"{writer} compacts fully"]
    if writer == "pypaimon" or (writer != DESILT and not history.shape.keyed):
        compacts = []
    for step in [f"{writer} writes", f"{writer} writes", *compacts, f"{writer} writes"]:
        play.step(step)
    return play


def manifests_of(path: Path) -> list[Path]:
    found = (path / "manifest").iterdir()
    return [p for p in found if p.name.startswith("manifest-") and "list" not in p.name]


@pytest.mark.parametrize("stats", [True, False], ids=["whole", "slim"])
@pytest.mark.parametrize("seed", range(7000, 7003))
@pytest.mark.parametrize("writer", WRITERS)
def test_both_readers_find_the_same_entries(
    peers: dict[str, Peer], tmp_path: Path, writer: str, seed: int, stats: bool
) -> None:
    play = written(peers, writer, tmp_path, seed)
    manifests = manifests_of(play.path)
    for manifest in manifests:
        data = manifest.read_bytes()
        fast = read_manifest(data, manifest.name, stats=stats)
        assert_frame_equal(fast, read_manifest_slowly(data, manifest.name, stats=stats))
        assert fast.schema == pl.Schema(ENTRY_SCHEMA if stats else SLIM_SCHEMA)
        assert fast.height > 0
    assert len(manifests) >= 3


@pytest.mark.parametrize("writer", WRITERS)
def test_manifests_keep_everything_when_written_again(
    peers: dict[str, Peer], tmp_path: Path, writer: str
) -> None:
    play = written(peers, writer, tmp_path, seed=7010)
    for manifest in manifests_of(play.path):
        entries = read_manifest(manifest.read_bytes(), manifest.name, stats=True)
        again = read_manifest(write_manifest(entries), "again", stats=True)
        assert_frame_equal(again, entries)
    for listing in (play.path / "manifest").glob("manifest-list-*"):
        metas = read_manifest_list(listing.read_bytes(), listing.name)
        assert read_manifest_list(write_manifest_list(metas), "again") == metas


@pytest.mark.parametrize("writer", ["java", "java09", "pypaimon"])
def test_manifests_written_again_by_us_are_read_by_their_writer(
    peers: dict[str, Peer], tmp_path: Path, writer: str
) -> None:
    play = written(peers, writer, tmp_path, seed=7020)
    sizes: dict[str, int] = {}
    for manifest in manifests_of(play.path):
        entries = read_manifest(manifest.read_bytes(), manifest.name, stats=True)
        sizes[manifest.name] = manifest.write_bytes(write_manifest(entries))
    for listing in (play.path / "manifest").glob("manifest-list-*"):
        metas = read_manifest_list(listing.read_bytes(), listing.name)
        resized = [replace(meta, size_bytes=sizes[meta.name]) for meta in metas]
        sizes[listing.name] = listing.write_bytes(write_manifest_list(resized))
    for file in (play.path / "snapshot").glob("snapshot-*"):
        file.write_text(json.dumps(with_sizes(json.loads(file.read_text()), sizes)))

    handle = open_table(str(play.path)).handle
    snapshot = handle.snapshots.latest()
    assert snapshot is not None
    assert len(peers[writer].files(play.path)) == MetadataReader(handle).live(snapshot).height
    play.check(writer, DESILT, "java")


def with_sizes(snapshot: dict[str, Any], sizes: dict[str, int]) -> dict[str, Any]:
    """The snapshot with the lengths that its manifest lists have now, where it says any."""
    for field in ("baseManifestList", "deltaManifestList"):
        if f"{field}Size" in snapshot:
            snapshot[f"{field}Size"] = sizes[snapshot[field]]
    return snapshot
