"""Options that say which of the given rows count: kinds from a column, rows that grow old."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest
from support.canonical import Json
from support.histories import Batch, alike
from support.peer_streams import changes, snapshot_files
from support.peers import Peer
from support.players import Desilt, OfPeer, Player
from support.shapes import Shape

COLUMNS = {"k": "INT NOT NULL", "kind": "STRING", "v": "STRING"}
KINDS: Batch = [
    ["+I", 1, "+I", "a"],
    ["+I", 2, "+I", "a"],
    ["+I", 3, "+I", "a"],
    ["+I", 2, "-D", "a"],
    ["+I", 3, "-U", "a"],
    ["+I", 3, "+U", "b"],
]
DAY = 86_400


def written(player: Player, warehouse: Path, shape: Shape, batch: Batch) -> Path:
    path = player.create(shape, warehouse)
    player.write(shape, path, batch)
    return path


@pytest.mark.parametrize("producer", ["none", "input"])
@pytest.mark.parametrize("without_befores", ["true", "false"])
def test_kinds_come_from_a_column(
    java: Peer, tmp_path: Path, producer: str, without_befores: str
) -> None:
    options = {
        "bucket": "1",
        "rowkind.field": "kind",
        "ignore-update-before": without_befores,
        "changelog-producer": producer,
    }
    shape = Shape(COLUMNS, ("k",), (), options)

    theirs = written(OfPeer(java), tmp_path / "java", shape, KINDS)
    ours = written(Desilt(), tmp_path / "desilt", shape, KINDS)

    assert changes(java, ours) == changes(java, theirs)
    assert java.read(ours) == java.read(theirs)
    assert [row[0] for row in java.read(ours)["rows"]] == [1, 3]
    for path in (ours, theirs):
        assert Desilt().changes(shape, path) == changes(java, theirs)
        assert Desilt().read(shape, path) == java.read(theirs)["rows"]


@pytest.mark.parametrize("producer", ["none", "input"])
def test_befores_are_not_written(java: Peer, tmp_path: Path, producer: str) -> None:
    options = {"bucket": "1", "ignore-update-before": "true", "changelog-producer": producer}
    shape = Shape({"k": "INT NOT NULL", "v": "STRING"}, ("k",), (), options)
    batch: Batch = [["+I", 1, "a"], ["-U", 1, "a"], ["+U", 1, "b"], ["-U", 2, "x"], ["-D", 3, "y"]]

    theirs = written(OfPeer(java), tmp_path / "java", shape, batch)
    ours = written(Desilt(), tmp_path / "desilt", shape, batch)

    assert changes(java, ours) == changes(java, theirs)
    assert stored(java, ours) == stored(java, theirs)
    assert Desilt().read(shape, ours) == java.read(theirs)["rows"] == [[1, "b"]]


def stored(java: Peer, path: Path) -> list[list[Json]]:
    """Records of all files, sequence numbers left out."""
    files = snapshot_files(java, path, "live", records=True)
    return [[record[0], *record[2:]] for file in files for record in file["records"]]


def moment(seconds: int, kind: str) -> Json:
    if kind == "BIGINT milliseconds":
        return seconds * 1000
    if kind.startswith("TIMESTAMP"):
        return {"ms": seconds * 1000, "ns": 0}
    return seconds


TIME_TYPES = {
    "INT": [-5, 0],
    "BIGINT": [-5, 0],
    "BIGINT milliseconds": [0],
    "TIMESTAMP(3)": [-62_135_596_800, -5, 253_402_214_400],
    "TIMESTAMP(6)": [-62_135_596_800, 253_402_214_400],
    "TIMESTAMP(9)": [-5],
    "TIMESTAMP(6) WITH LOCAL TIME ZONE": [-62_135_596_800, 253_402_214_400],
}
"""Types of time columns, each with odd times besides those about now."""


@pytest.mark.parametrize("engine", ["deduplicate", "partial-update", "aggregation", "first-row"])
@pytest.mark.parametrize("kind", TIME_TYPES)
def test_old_records_vanish_in_compactions(
    java: Peer, tmp_path: Path, kind: str, engine: str
) -> None:
    now = int(time.time())
    columns = {"k": "INT NOT NULL", "t": kind.removesuffix(" milliseconds"), "v": "STRING"}
    options = {
        "bucket": "1",
        "merge-engine": engine,
        "record-level.expire-time": "2 d",
        "record-level.time-field": "t",
    }
    shape = Shape(columns, ("k",), (), options)
    days = (-9, -9, -9, 0, 9)
    times = [moment(at, kind) for at in (*TIME_TYPES[kind], *(now + day * DAY for day in days))]
    rows: Batch = [["+I", i, at, "a"] for i, at in enumerate([*times, None])]
    update: Batch = [["+I", 0, moment(now, kind), "b"], ["+I", 1, None, "b"], ["+I", 9, None, "b"]]
    paths = [OfPeer(java).create(shape, tmp_path / name) for name in ("java", "desilt")]
    for path in paths:
        for batch in (rows, update):
            java.write(path, batch)

    java.compact(paths[0])
    Desilt().compact(paths[1], full=True)

    left = alike(java.read(paths[0])["rows"])
    assert alike(java.read(paths[1])["rows"]) == left
    assert alike(Desilt().read(shape, paths[1])) == left
    assert 4 <= len(left) <= len(rows)


@pytest.mark.parametrize("engine", ["partial-update", "aggregation"])
@pytest.mark.parametrize("producer", ["none", "input", "full-compaction"])
def test_of_several_levels_the_lowest_counts_where_lookups_are_forced(
    java: Peer, tmp_path: Path, producer: str, engine: str
) -> None:
    """Even where a full-compaction changelog means that nothing was looked up on the way."""
    options = {
        "bucket": "1",
        "merge-engine": engine,
        "force-lookup": "true",
        "changelog-producer": producer,
        "fields.v.aggregate-function": "last_non_null_value",
        "fields.n.aggregate-function": "sum" if engine == "aggregation" else "last_non_null_value",
    }
    shape = Shape({"k": "INT NOT NULL", "v": "STRING", "n": "INT"}, ("k",), (), options)
    path = OfPeer(java).create(shape, tmp_path)
    java.write(path, [["+I", k, f"{k * 7919 % 1000003:09d}" * 3, 1] for k in range(400)])
    Desilt().compact(path, full=True)
    java.write(path, [["+I", 1, None, 2], ["+I", 2, "new", None], ["+I", 400, "new", 1]])
    Desilt().compact(path, full=False)
    assert {file["level"] for file in java.files(path)} == {4, 5}
    twin = tmp_path / "twin"
    shutil.copytree(path, twin)

    for full in (False, True):
        assert alike(Desilt().read(shape, path)) == alike(java.read(path)["rows"])
        if full:
            Desilt().compact(path, full=True)
            java.compact(twin, full=True)
    assert alike(java.read(path)["rows"]) == alike(java.read(twin)["rows"])
    if producer == "full-compaction":
        assert Desilt().changes(shape, path) == changes(java, path) == changes(java, twin)
