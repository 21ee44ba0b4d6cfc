"""Tags and rollback beside Java: it reads what we made, we act on what it made, and both go on.

Where the same history and options decide (automatic tags, deletion, rollback) twins end alike.
"""

from __future__ import annotations

import json
import shutil
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import pytest
from support import peer_refs
from support.canonical import Json
from support.peers import Peer, PeerError
from support.reachable import names_below, needed_by
from support.twins import Twins, alter, below, handle_of, keep, set_times

from desilt.table import paths
from desilt.table.catalog import open_table
from desilt.table.expire import Override, expire
from desilt.table.table import Table
from desilt.table.tagging.auto import auto_tags
from desilt.table.tagging.delete import delete_tags
from desilt.table.tagging.expire import expire_tags
from desilt.table.tags import read_tags

COLUMNS = {"p": "STRING NOT NULL", "k": "INT NOT NULL", "v": "STRING"}
NOON = int(datetime(2026, 3, 4, 12, tzinfo=UTC).timestamp() * 1000)
MINUTE = 60_000


@pytest.fixture(scope="module")
def peers(java: Peer, java09: Peer, pypaimon: Peer) -> dict[str, Peer]:
    return {"java": java, "java09": java09, "pypaimon": pypaimon}


def keyed(peer: Peer, warehouse: Path, options: dict[str, str] | None = None) -> Path:
    """Ten snapshots: writes, and a compaction after every second one."""
    path = peer.create_table(
        warehouse, "t", COLUMNS, partition_keys=["p"], primary_keys=["p", "k"],
        options={"bucket": "1", "manifest.merge-min-count": "3", **(options or {})},
    )  # fmt: skip
    for turn in range(7):
        rows: list[list[Json]] = [["+I", "ab"[k % 2], k, f"{turn}"] for k in range(turn % 3, 6)]
        peer.write(path, rows)
        if turn % 2:
            peer.compact(path)
    return path


def table_of(path: Path) -> Table:
    return open_table(str(path))


def by_snapshot(peer: Peer, path: Path) -> dict[int, list[list[Json]]]:
    return {
        s["id"]: sorted(peer.read(path, snapshot=s["id"])["rows"], key=repr)
        for s in peer.snapshots(path)
    }


def latest_rows(peer: Peer, path: Path) -> list[list[Json]]:
    return sorted(peer.read(path)["rows"], key=repr)


def tag_rows(peer: Peer, path: Path, tag: str) -> list[list[Json]]:
    return sorted(peer_refs.read_tag(peer, path, tag)["rows"], key=repr)


# --- tags by hand ---------------------------------------------------------------------------------


@pytest.mark.parametrize("readers", [["java", "java09"], ["java", "pypaimon"]], ids="+".join)
def test_peers_read_our_tags_whole_whatever_expires_and_is_deleted_beside_them(
    peers: dict[str, Peer], tmp_path: Path, readers: list[str]
) -> None:
    writer = peers["java09"] if "java09" in readers else peers["java"]
    path = keyed(writer, tmp_path)
    rows, table = by_snapshot(writer, path), table_of(path)
    for snapshot in (2, 3, 5, 7):
        table.create_tag(f"plain-{snapshot}", snapshot_id=snapshot)
        table.create_tag(f"kept-{snapshot}", snapshot_id=snapshot, retained=timedelta(days=2))

    def check(left: list[int]) -> None:
        for reader in (peers[name] for name in readers):
            for snapshot in left:
                for name in (f"plain-{snapshot}", f"kept-{snapshot}"):
                    assert tag_rows(reader, path, name) == rows[snapshot], (reader.name, name)

    check([2, 3, 5, 7])
    expire(handle_of(path), Override(retain_max=1, retain_min=1))
    check([2, 3, 5, 7])
    delete_tags(handle_of(path), ["plain-3", "kept-3"])
    check([2, 5, 7])
    for reader in (peers[name] for name in readers if name != "pypaimon"):
        found = peer_refs.refs(reader, path)["tags"]
        assert found == {f"{kind}-{i}": i for kind in ("plain", "kept") for i in (2, 5, 7)}


def test_java_expires_our_tags_by_their_retention(java: Peer, tmp_path: Path) -> None:
    """And we Java's: both take the same times from the same files."""
    path = keyed(java, tmp_path)
    table = table_of(path)
    table.create_tag("ours-over", snapshot_id=2, retained=timedelta(milliseconds=1))
    table.create_tag("ours", snapshot_id=3, retained=timedelta(minutes=5))
    peer_refs.create_tag_for(java, path, "javas-over", 4, 0.001)
    peer_refs.create_tag_for(java, path, "javas", 5, 300.25)
    peer_refs.create_tag(java, path, "ever", 6)
    tags = {t.name: t for t in read_tags(handle_of(path))}
    assert tags["javas"].retained == timedelta(seconds=300.25)
    assert tags["javas"].created is not None
    now = datetime.now(UTC).replace(tzinfo=None)  # peers and tests count in UTC
    assert abs(tags["javas"].created - now) < timedelta(minutes=2)
    time.sleep(0.05)
    twins = Twins.of(path, {}, java)
    gone = expire_tags(handle_of(twins.ours)).names
    left = peer_refs.expire_tags(java, twins.javas)["tags"]

    assert set(gone) == {"ours-over", "javas-over"}
    assert set(left) == {"ours", "javas", "ever"} == {t.name for t in table.tags()}


@pytest.mark.parametrize("seed", [1, 2])
def test_older_tags_go_as_by_java(java: Peer, tmp_path: Path, seed: int) -> None:
    path = keyed(java, tmp_path)
    names = [f"t{i}" for i in range(1, 7)]
    for number, name in enumerate(names, 1):
        if number % 2:
            peer_refs.create_tag(java, path, name, number)
        else:
            peer_refs.create_tag_for(java, path, name, number, 3600)
        time.sleep(0.05)
    limit = int(Path(paths.tag_file(str(path), names[seed * 2])).stat().st_mtime * 1000) + 1
    copy = path.parent / "t-twin"
    shutil.copytree(path, copy)  # with the times of the files
    expire_tags(handle_of(path), older_than_millis=limit)
    left = peer_refs.expire_tags(java, copy, limit)["tags"]

    assert {t.name for t in read_tags(handle_of(path))} == set(left)
    assert 0 < len(left) < len(names)


@pytest.mark.parametrize("version", ["java", "java09"])
def test_a_deleted_tag_leaves_what_java_leaves(
    peers: dict[str, Peer], tmp_path: Path, version: str
) -> None:
    peer = peers[version]
    path = keyed(peer, tmp_path)
    for snapshot in (1, 2, 4, 5, 8):
        peer_refs.create_tag(peer, path, f"t{snapshot}", snapshot)
    expire(handle_of(path), Override(retain_max=2, retain_min=2))
    twins = Twins.of(path, {}, peer)
    for name in ("t4", "t1", "t8", "t5", "t2"):
        delete_tags(handle_of(twins.ours), [name])
        peer_refs.delete_tag(peer, twins.javas, name)
        left, expected = twins.files()
        assert left == expected, name
    last = handle_of(path).snapshots.ids()
    assert names_below(path) == set[str]().union(
        *(needed_by(path, paths.snapshot_file(str(path), i)) for i in last)
    )


def test_a_deleted_tag_leaves_a_branch_alone_with_us_and_not_with_java(
    java: Peer, tmp_path: Path
) -> None:
    path = keyed(java, tmp_path)
    peer_refs.create_tag(java, path, "t2", 2)
    peer_refs.create_branch(java, path, "b", "t2")
    rows = by_snapshot(java, path)[2]
    expire(handle_of(path), Override(retain_max=1, retain_min=1))
    twins = Twins.of(path, {}, java)
    delete_tags(handle_of(twins.ours), ["t2"])
    peer_refs.delete_tag(java, twins.javas, "t2")

    assert sorted(peer_refs.read_branch(java, twins.ours, "b")["rows"], key=repr) == rows
    with pytest.raises(PeerError):
        peer_refs.read_branch(java, twins.javas, "b")


def test_renamed_and_replaced_by_either(java: Peer, tmp_path: Path) -> None:
    path = keyed(java, tmp_path)
    rows, table = by_snapshot(java, path), table_of(path)
    peer_refs.create_tag_for(java, path, "javas", 2, 3600)
    table.create_tag("ours", snapshot_id=3)
    expire(handle_of(path), Override(retain_max=5, retain_min=5))
    table.rename_tag("javas", "javas by us")
    peer_refs.rename_tag(java, path, "ours", "ours by java")
    assert tag_rows(java, path, "javas by us") == rows[2]
    assert tag_rows(java, path, "ours by java") == rows[3]
    table.replace_tag("javas by us", snapshot_id=8, retained=timedelta(hours=2))
    peer_refs.replace_tag(java, path, "ours by java", 9, 7200)

    assert tag_rows(java, path, "javas by us") == rows[8]
    found = {t.name: (t.snapshot.id, t.retained) for t in table.tags()}
    assert found == {
        "javas by us": (8, timedelta(hours=2)), "ours by java": (9, timedelta(hours=2)),
    }  # fmt: skip


# --- automatic tags -------------------------------------------------------------------------------

PERIODS: dict[str, dict[str, str]] = {
    "hourly": {"tag.creation-period": "hourly"},
    "two-hours": {"tag.creation-period": "two-hours", "tag.creation-delay": "7 min"},
    "daily": {"tag.period-formatter": "without_dashes", "tag.automatic-completion": "true"},
    "own": {"tag.creation-period-duration": "45 min", "tag.creation-delay": "10 min"},
    "plain hours": {
        "tag.creation-period": "hourly",
        "tag.period-formatter": "without_dashes_and_spaces",
        "tag.num-retained-max": "3",
    },
    "completed": {
        "tag.creation-period": "hourly",
        "tag.period-formatter": "without_dashes",
        "tag.automatic-completion": "true",
        "tag.num-retained-max": "4",
        "tag.default-time-retained": "1 d",
    },
}


def history(peer: Peer, warehouse: Path, count: int) -> Path:
    path = peer.create_table(
        warehouse, "t", {"k": "INT NOT NULL", "v": "STRING"}, primary_keys=["k"],
        options={"bucket": "1"},
    )  # fmt: skip
    for number in range(count):
        peer.write(path, [["+I", number % 3, f"{number}"]])
    return path


def set_watermarks(path: Path, millis: dict[int, int]) -> None:
    for snapshot, watermark in millis.items():
        file = path / "snapshot" / f"snapshot-{snapshot}"
        file.write_text(json.dumps({**json.loads(file.read_text()), "watermark": watermark}))


@pytest.fixture(scope="module")
def written(peers: dict[str, Peer], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {
        name: history(peers[name], tmp_path_factory.mktemp(f"auto-{name}"), 18)
        for name in ("java", "java09")
    }


@pytest.mark.parametrize("seed", [11, 12])
@pytest.mark.parametrize("by", ["process-time", "watermark"])
@pytest.mark.parametrize(
    ("version", "period"),
    [*(("java", p) for p in PERIODS), ("java09", "hourly"), ("java09", "two-hours")],
)
def test_the_same_history_makes_the_same_tags(
    peers: dict[str, Peer],
    written: dict[str, Path],
    tmp_path: Path,
    version: str,
    period: str,
    by: str,
    seed: int,
) -> None:
    """In two runs, as a history goes on; in the second each goes on where the other ended."""
    peer, rng = peers[version], Random(seed)
    print(f"{seed=}")
    ours, javas = tmp_path / "db.db" / "ours", tmp_path / "db.db" / "javas"
    shutil.copytree(written[version], ours)
    step = 26 * 60 if period == "daily" else 95
    times, at = dict[int, int](), NOON
    for snapshot in range(1, 19):
        at += rng.choice([0, 1, rng.randrange(step), rng.randrange(2 * step)]) * MINUTE
        times[snapshot] = at
    set_times(ours, times)
    if by == "watermark":
        times = {i: t + 17 * MINUTE for i, t in times.items() if i > 2}
        set_watermarks(ours, times)
    # 0.9 knows no such option: it takes its machine's time zone, which is UTC in the peer.
    zone = "UTC" if version == "java09" else "Asia/Kolkata"
    options = {
        "tag.automatic-creation": by, "sink.process-time-zone": zone,
        "sink.watermark-time-zone": "America/Los_Angeles", **PERIODS[period],
    }  # fmt: skip
    hidden = {i: (ours / "snapshot" / f"snapshot-{i}").read_bytes() for i in range(11, 19)}
    for snapshot in hidden:
        (ours / "snapshot" / f"snapshot-{snapshot}").unlink()
    (ours / "snapshot" / "LATEST").write_text("10")
    shutil.copytree(ours, javas)
    total, expected = 0, dict[str, int]()
    for turn in range(2):
        if turn:
            for root in (ours, javas):
                for snapshot, content in hidden.items():
                    (root / "snapshot" / f"snapshot-{snapshot}").write_bytes(content)
                (root / "snapshot" / "LATEST").write_text("18")
            ours, javas = javas, ours
        total += len(auto_tags(handle_of(ours), options).made)
        expected = peer_refs.auto_tags(peer, javas, options)["tags"]
        assert {t.name: t.snapshot.id for t in read_tags(handle_of(ours))} == expected
    assert total > 1
    assert peer_refs.auto_tags(peer, ours, options)["tags"] == expected  # nothing is left to do


# --- rollback -------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["java", "java09"])
@pytest.mark.parametrize("decoupled", [False, True], ids=["plain", "decoupled"])
@pytest.mark.parametrize("way", ["snapshot", "tag", "expired tag"])
def test_both_roll_back_to_the_same(
    peers: dict[str, Peer], tmp_path: Path, version: str, way: str, decoupled: bool
) -> None:
    """0.9 deletes files of what went; the same snapshots, tags, changelogs and hints are left."""
    peer = peers[version]
    path = keyed(peer, tmp_path, {"changelog-producer": "input"})
    rows = by_snapshot(peer, path)
    for snapshot in (3, 6, 9):
        peer_refs.create_tag(peer, path, f"t{snapshot}", snapshot)
    more = {"changelog.num-retained.min": "20", "changelog.num-retained.max": "20"}
    target = 6
    if way == "expired tag":
        alter(path, {**keep(2), **(more if decoupled else {})}, peer)
        expire(handle_of(path))
    twins = Twins.of(path, {}, peer)
    table = table_of(twins.ours)
    if way == "snapshot":
        table.rollback(snapshot_id=target)
        peer_refs.rollback(peer, twins.javas, snapshot=target)
    else:
        table.rollback(tag=f"t{target}")
        peer_refs.rollback(peer, twins.javas, tag=f"t{target}")
    left, expected = twins.files()
    if version == "java":
        assert left == expected
    else:
        assert left > expected
    own = ("snapshot/", "tag/", "changelog/changelog-")
    assert {f for f in left if f.startswith(own)} == {f for f in expected if f.startswith(own)}
    assert peer_refs.refs(peer, twins.ours) == peer_refs.refs(peer, twins.javas)
    assert latest_rows(peer, twins.ours) == rows[target]
    for name in ("LATEST", "EARLIEST"):
        files = [p / "snapshot" / name for p in (twins.ours, twins.javas)]
        assert files[0].exists() == files[1].exists()
        if files[0].exists():
            assert files[0].read_text() == files[1].read_text(), name


@pytest.mark.parametrize("version", ["java", "java09"])
@pytest.mark.parametrize("expired", [False, True], ids=["there", "expired"])
def test_java_goes_on_after_our_rollback_and_we_after_javas(
    peers: dict[str, Peer], tmp_path: Path, version: str, expired: bool
) -> None:
    peer = peers[version]
    path = keyed(peer, tmp_path)
    peer_refs.create_tag(peer, path, "t3", 3)
    peer_refs.create_tag(peer, path, "t6", 6)
    rows = by_snapshot(peer, path)
    if expired:
        expire(handle_of(path), Override(retain_max=2, retain_min=2))
    twins = Twins.of(path, {}, peer)
    table_of(twins.ours).rollback(tag="t6")
    peer_refs.rollback(peer, twins.javas, tag="t6")
    assert sorted(map(list, table_of(twins.javas).scan().collect().rows()), key=repr) == rows[6]
    for root in (twins.ours, twins.javas):
        table = table_of(root)
        peer.write(root, [["+I", "a", 2, "by java"]])
        table.compact("full")
        table.write(table.scan().collect().head(1))
        peer.compact(root)
        peer_refs.create_tag(peer, root, "later")
        expire(handle_of(root), Override(retain_max=2, retain_min=2))
    assert ["a", 2, "by java"] in latest_rows(peer, twins.ours)
    assert latest_rows(peer, twins.ours) == latest_rows(peer, twins.javas)
    for tag in ("t3", "t6"):
        assert tag_rows(peer, twins.ours, tag) == rows[int(tag[1])]
    assert len(below(twins.ours)) > 0
    assert handle_of(twins.ours).snapshots.ids() == handle_of(twins.javas).snapshots.ids()
