"""Expiry of one table: plans as data, what protects what, folders, refusals."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import fastavro
import polars as pl
import pytest
from support import refs
from support.builders import (
    START_MILLIS,
    ManualClock,
    append_table,
    handle_on,
    keyed_table,
    kv,
    rows_of,
    upserts,
)
from support.faulty import FaultyStorage, files_below
from support.reachable import names_below, needed_by

from desilt.table import expire as expire_module
from desilt.table import paths
from desilt.table.branches import list_branches
from desilt.table.errors import (
    CommitConflict,
    CorruptTable,
    FileMissing,
    TableMissing,
    UnsupportedFeature,
)
from desilt.table.expire import (
    ExpiryPlan,
    ExpiryResult,
    InUse,
    NameReader,
    Override,
    apply_expiry,
    expire,
    plan_expiry,
)
from desilt.table.expiry import planner, reach
from desilt.table.manifest.entry import EntryKind
from desilt.table.manifest.index import HASH, IndexEntry, write_index_manifest
from desilt.table.table import Table
from desilt.table.tagging.delete import delete_tags

KEEP_ONE = Override(retain_min=1, retain_max=1)


def edited(table: Table, snapshot_id: int, **values: object) -> None:
    """A snapshot whose file says something else."""
    path = Path(paths.snapshot_file(table.path, snapshot_id))
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def busy(folder: Path, *, options: Mapping[str, str] | None = None) -> Table:
    """Snapshots 1 and 2, their compaction 3, and 4, 5, a minute apart."""
    clock = ManualClock()
    table = keyed_table(folder, clock=clock, options=options)
    for number in range(2):
        table.write(upserts(3, f"v{number}-"))
        clock.advance(60)
    table.compact("full")
    for number in range(2):
        clock.advance(60)
        table.write(kv((7, f"last{number}")))
    return table


@pytest.fixture
def table(tmp_path: Path) -> Table:
    return busy(tmp_path)


# --- plans ----------------------------------------------------------------------------------------


def test_a_plan_says_what_goes_and_changes_nothing(table: Table) -> None:
    before = files_below(table.path)
    plan = plan_expiry(table.handle, KEEP_ONE)
    part = plan.snapshots

    assert [g.id for g in part.going] == [1, 2, 3, 4]
    assert (part.earliest, part.until, plan.left) == (1, 5, 1)
    assert part.counts() == {
        "data": 2, "changelog": 0, "index": 0, "manifest": 0, "index-manifest": 0,
        "manifest-list": 8, "statistics": 0,
    }  # fmt: skip
    assert part.size_bytes == sum(Path(table.path, p).stat().st_size for p in part.files["path"])
    assert files_below(table.path) == before


def test_a_plan_is_json(table: Table) -> None:
    refs.create_tag(table, "v", 2)
    refs.consumer(table, "c", 4)
    plan = plan_expiry(table.handle, KEEP_ONE)
    told = json.loads(json.dumps(plan.as_dict(files=True)))

    assert told["snapshots"]["expired"] == [
        {"id": i, "time_millis": START_MILLIS + m * 60_000} for i, m in ((1, 0), (2, 1), (3, 2))
    ]
    assert told["snapshots"]["stays_because"] == ["consumer c has still to read 4"]
    assert sorted(told["snapshots"]["paths"]) == sorted(plan.files["path"])
    assert told["protected"] == [
        {"by": "tag v", "files": 2, "size_bytes": sum(sizes(table, plan_all(table)))}
    ]
    assert "paths" not in plan.as_dict()["snapshots"]  # type: ignore[operator]  # a mapping


def plan_all(table: Table) -> list[str]:
    """Data files that the compaction removed."""
    reader = NameReader(table.handle)
    changed = reader.changed_names(table.handle.snapshots.get(3).delta_manifest_list)
    added = reader.changed_names(table.handle.snapshots.get(4).delta_manifest_list)
    live = needed_by(table.path, paths.snapshot_file(table.path, 3))
    return [n for n in changed if n not in live and n not in added]


def sizes(table: Table, names: list[str]) -> list[int]:
    return [Path(table.path, "bucket-0", name).stat().st_size for name in names]


def test_files_go_in_an_order_in_which_the_rest_can_be_found_again(table: Table) -> None:
    edited(table, 1, statistics="stat-1")
    kinds = plan_expiry(table.handle, KEEP_ONE).files["kind"].unique(maintain_order=True).to_list()

    assert kinds == ["data", "manifest-list", "statistics"]


def test_without_anything_to_do_only_the_hint_is_written(table: Table) -> None:
    hint = Path(table.path, "snapshot/EARLIEST")
    before = files_below(table.path)
    for content in (None, "0", "4"):
        if content is None:
            hint.unlink()
        else:
            hint.write_text(content)
            edited_hint = content == "4"
            if edited_hint:  # a hint that names a snapshot is believed
                assert table.expire(retain_min=9).left == 2
                continue
        assert table.expire(retain_min=9) == ExpiryResult(0, 0, 0, {}, 0, 5)
        assert hint.read_text() == "1"
    assert files_below(table.path) == before


def test_a_table_without_snapshots_has_nothing_to_expire(tmp_path: Path) -> None:
    table = keyed_table(tmp_path)
    before = files_below(table.path)

    assert table.expire(retain_max=1) == ExpiryResult(0, 0, 0, {}, 0, 0)
    assert files_below(table.path) == before


def test_a_table_that_is_gone_is_missing(table: Table) -> None:
    shutil.rmtree(table.path)

    with pytest.raises(TableMissing):
        expire(table.handle)
    assert not Path(table.path).exists()


def test_python_calls_plan_or_do_it(table: Table) -> None:
    plan = table.expire(retain_max=2, retain_min=2, dry_run=True)
    result = table.expire(retain_max=2, retain_min=2)

    assert isinstance(plan, ExpiryPlan)
    assert result == ExpiryResult(
        3,
        0,
        0,
        {k: n for k, n in plan.snapshots.counts().items() if n},
        plan.snapshots.size_bytes,
        2,
    )
    assert result.files_total == plan.files.height
    assert table.handle.snapshots.ids() == (4, 5)
    assert table.expire(retain_min=1, retain_age=timedelta(hours=1)).snapshots == 0
    assert table.expire(retain_min=1, retain_age=timedelta(seconds=1)).snapshots == 0
    assert table.expire(retain_min=1, retain_age=timedelta(0)).snapshots == 0
    assert table.expire(retain_max=1).snapshots == 1


def test_append_tables_expire(tmp_path: Path) -> None:
    table = append_table(tmp_path, options={"compaction.min.file-num": "2"})
    for number in range(4):
        table.write(
            pl.DataFrame({"n": [number], "v": ["x"]}, schema={"n": pl.Int32, "v": pl.String})
        )
    table.compact("full")
    rows = rows_of(table)
    result = table.expire(retain_max=1)

    assert result.files["data"] == 4
    assert rows_of(table) == rows
    assert names_below(table.path) == needed_by(table.path, paths.snapshot_file(table.path, 5))


# --- who protects ---------------------------------------------------------------------------------


def test_running_tasks_keep_the_snapshot_they_read(table: Table) -> None:
    plan = plan_expiry(table.handle, KEEP_ONE, in_use=InUse(frozenset({2, 4})))

    assert plan.snapshots.until == 2
    assert [b.reason for b in plan.snapshots.bounds] == ["a running task reads snapshot 2"]


def test_running_tasks_keep_the_files_they_read_reachable(table: Table) -> None:
    """A file alone would be an orphan once its snapshot is gone: the snapshot stays, too."""
    (file, *_) = plan_all(table)
    plan = plan_expiry(table.handle, KEEP_ONE, in_use=InUse(files=frozenset({file, "other"})))

    assert plan.snapshots.until == 2
    assert [b.reason for b in plan.snapshots.bounds] == [f"a running task reads {file}"]
    assert plan.snapshots.counts()["data"] == 0


def test_a_task_that_starts_after_the_plan_is_found_by_its_files(table: Table) -> None:
    plan = plan_expiry(table.handle, KEEP_ONE)
    (file, *_) = plan_all(table)

    with pytest.raises(CommitConflict, match=f"a running task reads a file, file={file}"):
        apply_expiry(plan, table.handle, in_use=lambda: InUse(files=frozenset({file})))


def test_tags_of_large_tables_are_asked_as_java_asks_them(
    table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a straight history the newest tag before a removal holds all that any older one holds."""
    for name, snapshot_id in (("one", 1), ("two", 2), ("four", 4)):
        refs.create_tag(table, name, snapshot_id)
    monkeypatch.setattr(reach, "FULL_BYTES_MAX", 0)
    asked = plan_protections(table, 0)

    assert asked == {"tag two"}
    assert plan_protections(table, reach.FULL_BYTES_MAX + 2**20) == {"tag one", "tag two"}


def plan_protections(table: Table, full_bytes: int) -> set[str]:
    from desilt.table.expiry.files import removed_files
    from desilt.table.expiry.holders import kept_chain, read_holders

    names, store = NameReader(table.handle), table.handle.snapshots
    removed = removed_files(names, [store.get(i) for i in range(2, 6)], gone_before=5)
    holders = read_holders(table.handle, kept_chain(table.path, [store.get(5)]), changelogs=True)
    found = reach.ReachReader(table.handle, names, removed, full_bytes).reach(holders)
    return set(found.data["holder"])


def test_a_file_that_comes_again_is_kept_for_old_tags_too(tmp_path: Path) -> None:
    """Removed, published again by a rollback, removed again: a tag from before still holds it."""
    table = busy(tmp_path)
    refs.create_tag(table, "old", 2)
    rows = rows_of(table, 2)
    first = table.handle.snapshots.get(2)
    table.expire(retain_max=1)
    refs.create_tag(table, "between", 5)
    refs.rollback_as_latest(table, first)
    table.compact("full")
    table.write(kv((8, "x")))
    table.expire(retain_max=1)

    tagged = refs.on_snapshot_file(table, paths.tag_file(table.path, "old"))
    assert rows_of(tagged) == rows


def test_a_branch_of_an_expired_snapshot_has_lost_its_changelog(tmp_path: Path) -> None:
    table = busy(tmp_path, options={"changelog-producer": "input"})
    refs.create_tag(table, "t", 2)
    table.expire(retain_max=1)
    refs.create_branch(table, "b-1", "t")
    rows = rows_of(refs.on_branch(table, "b-1"))
    table.write(kv((8, "x")))
    table.expire(retain_max=1)
    delete_tags(table.handle, ["t"])
    table.compact("full")
    table.expire(retain_max=1)

    assert table.handle.snapshots.ids() == (7,)
    assert rows_of(refs.on_branch(table, "b-1")) == rows


@pytest.mark.parametrize("name", ["dashed-name", "team/two", "team/two/three"])
def test_a_branch_keeps_its_files_whatever_its_name(tmp_path: Path, name: str) -> None:
    """Java makes a branch of any name; each slash is a folder more."""
    table = busy(tmp_path)
    refs.create_tag(table, "t", 2)
    refs.create_branch(table, "made", "t")
    place = Path(table.path, "branch", f"branch-{name}")
    place.parent.mkdir(exist_ok=True, parents=True)
    Path(paths.branch_root(table.path, "made")).rename(place)
    rows = rows_of(table, 2)
    delete_tags(table.handle, ["t"])
    table.expire(retain_max=1)

    assert rows_of(refs.on_snapshot_file(table, f"{place}/snapshot/snapshot-2")) == rows
    assert [branch.name for branch in list_branches(table.handle)] == [name]


def test_a_file_that_comes_again_is_kept_in_large_tables_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Removed, and published again by a rollback, in the range that goes."""
    table = busy(tmp_path)
    rows = rows_of(table, 2)
    refs.rollback_as_latest(table, table.handle.snapshots.get(2))
    monkeypatch.setattr(planner, "ReachReader", partial(reach.ReachReader, full_bytes_max=0))
    table.expire(retain_max=1)

    assert table.handle.snapshots.ids() == (6,)
    assert rows_of(table) == rows


def test_a_snapshot_built_on_a_replaced_one_keeps_its_files(table: Table) -> None:
    """On a plain disk somebody may rename a compaction over the base of a later snapshot."""
    store = table.handle.snapshots
    rows = rows_of(table, 2)
    four = json.loads(store.get(4).content)
    base = json.loads(store.get(2).content)
    # Snapshot 4 goes on from 2, as if 3 had been something else when its writer looked.
    lists = {"baseManifestList": base["baseManifestList"], "baseManifestListSize": None}
    delta = {"deltaManifestList": base["deltaManifestList"], "deltaManifestListSize": None}
    edited(table, 4, **{**four, **lists, **delta})
    table.expire(retain_max=2)

    assert rows_of(table, 4) == rows


def test_idle_consumers_are_forgotten_and_hold_nothing(tmp_path: Path) -> None:
    table = busy(tmp_path, options={"consumer.expiration-time": "1 h"})
    now = table.handle.world.now_millis()
    refs.consumer(table, "idle", 1, modified=now - 3_600_001)
    refs.consumer(table, "alive", 3, modified=now - 3_599_000)
    result = table.expire(retain_max=1)

    assert (result.consumers, result.snapshots) == (1, 2)
    assert [p.name for p in Path(table.path, "consumer").iterdir()] == ["consumer-alive"]


def test_idle_consumers_of_a_table_without_snapshots_are_forgotten(tmp_path: Path) -> None:
    table = keyed_table(tmp_path, options={"consumer.expiration-time": "1 h"})
    refs.consumer(table, "idle", 1, modified=START_MILLIS - 3_600_001)

    assert table.expire().consumers == 1
    assert table.expire().consumers == 0


def test_a_consumer_that_moves_in_the_last_moment_is_kept(tmp_path: Path) -> None:
    table = busy(tmp_path, options={"consumer.expiration-time": "1 h"})
    refs.consumer(table, "slow", 1, modified=START_MILLIS - 2 * 3_600_000)
    plan = plan_expiry(table.handle, KEEP_ONE)
    refs.consumer(table, "slow", 2, modified=table.handle.world.now_millis())

    with pytest.raises(CommitConflict, match="consumer=slow, snapshot_id=2"):
        apply_expiry(plan, table.handle)
    assert Path(table.path, "consumer/consumer-slow").exists()


def test_statistics_and_index_files_go_with_the_last_snapshot_that_names_them(
    table: Table,
) -> None:
    for name in ("stat-1", "stat-2"):
        _write(table, f"statistics/{name}", b"{}")
    for name in ("index-1", "index-2"):
        _write(table, f"index/{name}", b"x")
    entries = {
        name: IndexEntry(EntryKind.ADD, bytes(12), 0, HASH, name, 1, 1)
        for name in ("index-1", "index-2")
    }
    _write(table, "manifest/index-manifest-1", write_index_manifest([entries["index-1"]]))
    _write(table, "manifest/index-manifest-2", write_index_manifest(list(entries.values())))
    _write(table, "manifest/index-manifest-3", write_index_manifest([entries["index-2"]]))
    for snapshot_id, index, statistics in ((1, 1, 1), (2, 2, 1), (4, 3, 2), (5, 3, 2)):
        edited(
            table, snapshot_id, indexManifest=f"index-manifest-{index}",
            statistics=f"stat-{statistics}",
        )  # fmt: skip
    refs.create_tag(table, "v", 1)
    plan = plan_expiry(table.handle, KEEP_ONE)
    gone = {n for n in plan.names()["name"] if n.startswith(("index", "stat"))}

    assert gone == {"index-manifest-2"}
    refs.delete_tag(table, "v")
    plan = plan_expiry(table.handle, KEEP_ONE)
    gone = {n for n in plan.names()["name"] if n.startswith(("index", "stat"))}
    assert gone == {"index-manifest-1", "index-manifest-2", "index-1", "stat-1"}


def _write(table: Table, path: str, data: bytes) -> None:
    Path(table.path, path).parent.mkdir(exist_ok=True)
    Path(table.path, path).write_bytes(data)


# --- folders --------------------------------------------------------------------------------------


@pytest.mark.parametrize("clean", ["true", "false"])
def test_empty_folders_go_only_when_the_table_says_so(tmp_path: Path, clean: str) -> None:
    table = keyed_table(
        tmp_path,
        columns={"p": "STRING NOT NULL", "q": "INT NOT NULL", "k": "INT NOT NULL"},
        primary_key=["p", "q", "k"],
        partition_by=["p", "q"],
        options={"snapshot.clean-empty-directories": clean},
    )
    rows = pl.DataFrame({"p": ["a", "a", "b"], "q": [1, 2, 1], "k": [1, 1, 1]})
    table.write(rows.cast({"q": pl.Int32, "k": pl.Int32}))
    for name in ("p=a/q=1", "p=b/q=1"):  # as a partition is dropped: its files go in one commit
        _drop(table, name)
    table.write(rows.cast({"q": pl.Int32, "k": pl.Int32}).filter(pl.col("q") == 2))
    table.expire(retain_max=1)
    left = {str(p.relative_to(table.path)) for p in Path(table.path).glob("p=*/**") if p.is_dir()}

    assert "p=a/q=2/bucket-0" in left
    assert ("p=b" in left) == (clean == "false")
    assert ("p=a/q=1/bucket-0" in left) == (clean == "false")


def _drop(table: Table, partition: str) -> None:
    from desilt.table.commit import Committer, removed
    from desilt.table.commit_files import CommitRequest
    from desilt.table.manifest.entry import frame_entries
    from desilt.table.metadata import MetadataReader
    from desilt.table.plan import partition_text
    from desilt.table.snapshot import CommitKind

    live = frame_entries(MetadataReader(table.handle).live(refs.latest_of(table)))
    entries = tuple(
        removed(e) for e in live if partition_text(table.schema, e.partition) == partition
    )
    request = CommitRequest(CommitKind.OVERWRITE, f"u-{partition}", "t-" + partition[2], entries)
    Committer(table.handle).commit(request)


# --- what stands in the way -----------------------------------------------------------------------


def test_a_tag_that_names_missing_files_is_named(table: Table) -> None:
    content = json.loads(table.handle.snapshots.get(2).content)
    broken = {**content, "baseManifestList": "manifest-list-gone", "baseManifestListSize": None}
    _write(table, "tag/tag-broken", json.dumps(broken).encode())
    before = files_below(table.path)

    with pytest.raises(FileMissing, match=r"manifest-list-gone.*holder=tag broken"):
        table.expire(retain_max=1)
    assert files_below(table.path) == before


@pytest.mark.parametrize("name", ["../../../outside", "a/b", "..", ""])
def test_a_file_name_cannot_leave_its_folder(table: Table, name: str) -> None:
    """A delta that removes somebody else's file."""
    delta = table.handle.snapshots.get(3).delta_manifest_list
    (line,) = NameReader(table.handle).manifest_list(delta)
    path = Path(table.path, "manifest", line.name)
    with path.open("rb") as file:
        reader = fastavro.reader(file)
        entries: list[Any] = list(reader)
        schema: Any = reader.writer_schema
    for entry in entries:
        if entry["_KIND"] == EntryKind.DELETE:
            entry["_FILE"]["_FILE_NAME"] = name
            break
    with path.open("wb") as out:
        fastavro.writer(out, schema, entries)
    before = files_below(table.path)

    with pytest.raises(CorruptTable, match="file name escapes the table"):
        table.expire(retain_max=1)
    assert files_below(table.path) == before


def test_a_missing_snapshot_in_the_range_is_passed_over(table: Table) -> None:
    Path(paths.snapshot_file(table.path, 2)).unlink()

    assert table.expire(retain_max=1).snapshots == 3
    assert table.handle.snapshots.ids() == (5,)


def test_a_missing_manifest_of_what_stays_stops_everything(table: Table) -> None:
    Path(table.path, "manifest", refs.latest_of(table).delta_manifest_list).unlink()
    before = files_below(table.path)

    with pytest.raises(FileMissing, match="manifest-list"):
        table.expire(retain_max=1)
    assert files_below(table.path) == before


def test_options_that_contradict_each_other_stop_expiry_alone(tmp_path: Path) -> None:
    table = busy(tmp_path, options={"snapshot.num-retained.min": "0"})
    table.compact("full")

    with pytest.raises(UnsupportedFeature, match=r"snapshot.num-retained.min, value=0, table=db.t"):
        table.expire()


def test_a_table_that_changes_all_the_time_is_given_up_after_some_tries(
    table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(expire_module, "REPLANS_MAX", 2)
    following = [4, 3, 2]
    storage = FaultyStorage()
    before = files_below(table.path)
    reads = [0]

    def on_hint() -> None:
        """It is read first and last when a plan is made: what comes then is new to the plan."""
        reads[0] += 1
        if reads[0] % 2 == 0:
            refs.consumer(table, "c", following.pop(0))

    storage.hook("after", "read", "EARLIEST", on_hint, times=4)
    with pytest.raises(CommitConflict, match="consumer=c, snapshot_id=3"):
        expire(handle_on(table.path, storage), KEEP_ONE)
    assert following == [2]
    assert files_below(table.path) - {f"{table.path}/consumer/consumer-c"} == before


def test_metadata_is_read_once_by_a_reader_that_is_kept(table: Table) -> None:
    storage = FaultyStorage()
    handle = handle_on(table.path, storage, ManualClock(START_MILLIS))
    names = NameReader(handle)
    plan_expiry(handle, KEEP_ONE, names=names)
    first = storage.count("read", "/manifest/manifest-list-")
    assert plan_expiry(handle, Override(retain_min=9), names=names).empty
    plan_expiry(handle, KEEP_ONE, names=names)

    assert first == 10
    assert storage.count("read", "/manifest/manifest-list-") == first
