"""Orphan files, case by case; `tests/property/test_orphans_properties.py` holds the rule whole."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest
from support import refs
from support.builders import ManualClock, keyed_table, kv, reopened, rows_of
from support.faulty import files_below
from support.graphs import EXTERNAL, MAIN, ROOT, Graph
from support.memory import MemoryStorage

from desilt.table import paths
from desilt.table.errors import (
    CommitConflict,
    CorruptTable,
    FileMissing,
    InvalidRequest,
    StorageUnavailable,
    UnsupportedFeature,
)
from desilt.table.expire import InUse
from desilt.table.manifest.entry import EntryKind
from desilt.table.missing_files import remove_missing
from desilt.table.orphans.clean import (
    OrphanPlan,
    OrphanSettings,
    apply_orphans,
    clean_orphans,
    plan_orphans,
)
from desilt.table.storage import FileStatus
from desilt.table.table import Table

HOUR, DAY = 3_600_000, 86_400_000


@pytest.fixture
def table(tmp_path: Path) -> Table:
    """Two snapshots in a partitioned table on a disk, two days ago."""
    table = keyed_table(
        tmp_path,
        columns={"p": "INT NOT NULL", "k": "INT NOT NULL"},
        primary_key=("p", "k"),
        partition_by=("p",),
        clock=ManualClock(int(time.time() * 1000)),
    )
    for p in (1, 2):
        table.write(pl.DataFrame({"p": [p], "k": [p]}, schema={"p": pl.Int32, "k": pl.Int32}))
    age(table.path)
    return table


def age(root: str, millis: int = 2 * DAY) -> None:
    """Everything below was last changed so long ago."""
    then = time.time() - millis / 1000
    for folder, _, names in os.walk(root, topdown=False):
        for name in (*names, "."):
            os.utime(Path(folder, name), (then, then))


def leave(table: Table, *files: str) -> None:
    for file in files:
        Path(table.path, file).parent.mkdir(parents=True, exist_ok=True)
        Path(table.path, file).write_bytes(b"left")
    age(table.path)


def names(plan: OrphanPlan) -> set[str]:
    return set(plan.files["path"].to_list())


ORPHANS = {
    "p=1/bucket-0/data-x-0.parquet", "p=9/bucket-3/changelog-x-0.parquet", "manifest/manifest-x-0",
    "index/index-x-0", "statistics/stats-x-0", "snapshot/.snapshot-9.x.desilt.tmp",
    "snapshot/notes", "changelog/.changelog-9.x.tmp", "p=1/bucket-postpone/data-x-0.parquet",
}  # fmt: skip
OTHERS = {
    "schema/.schema-9.x.desilt.tmp", "tag/.tag-9.x.desilt.tmp", "consumer/.consumer-9.x.tmp",
    "notes", "p=1/notes", "bucket-0/data-x-0.parquet", "other/bucket-0/data-x-0.parquet",
    "p=1/bucket-0/deeper/data-x-0.parquet", "p=1/bucket-0/x.managed.blob", "p=1/q=1/bucket-0/x",
    "branch/notes", "snapshot/deeper/notes",
}  # fmt: skip


def test_old_files_in_places_of_files_go_and_no_others(table: Table) -> None:
    before = files_below(table.path)
    rows = rows_of(table)
    leave(table, *ORPHANS, *OTHERS)
    result = clean_orphans(table.handle)

    assert files_below(table.path) == before | {f"{table.path}/{name}" for name in OTHERS}
    assert result.files == {
        "data": 3, "index": 1, "manifest": 1, "statistics": 1, "snapshot": 2, "changelog": 1,
    }  # fmt: skip
    assert (result.files_total, result.size_bytes, result.kept) == (9, 36, 0)
    assert rows_of(table) == rows
    assert plan_orphans(table.handle).empty


def test_names_that_are_no_text_or_no_number_are_nobody_s(table: Table) -> None:
    strange = [
        os.fsencode(f"{table.path}/p=1/bucket-0/") + name for name in (b"x\xff", b"data-\xff")
    ]
    for path in strange:
        Path(os.fsdecode(path)).touch()
    for folder in ("snapshot", "changelog", "schema"):
        Path(table.path, folder).mkdir(exist_ok=True)
        Path(table.path, folder, f"{folder}-\u00b2").touch()
    leave(table, "p=1/bucket-0/data-left-0.parquet")
    rows = rows_of(table)
    clean_orphans(table.handle)
    table.expire(retain_max=1, retain_min=1, retain_age=timedelta())

    assert all(os.path.exists(path) for path in strange)
    assert not Path(table.path, "p=1/bucket-0/data-left-0.parquet").exists()
    assert remove_missing(table.handle)[1] is None
    assert rows_of(reopened(table)) == rows


def test_young_files_stay(table: Table) -> None:
    leave(table, "p=1/bucket-0/data-x-0.parquet")
    now = time.time()
    path = Path(table.path, "p=1/bucket-0/data-x-0.parquet")
    os.utime(path, (now - 3601, now - 3601))

    assert plan_orphans(table.handle).young == 1
    assert plan_orphans(table.handle).files.is_empty()
    assert names(plan_orphans(table.handle, OrphanSettings(HOUR))) == {
        "p=1/bucket-0/data-x-0.parquet"
    }


def test_limits_below_an_hour_must_be_forced() -> None:
    with pytest.raises(InvalidRequest, match="older-than is too small"):
        OrphanSettings(HOUR - 1)
    assert OrphanSettings(0, forced=True).older_than_millis == 0
    with pytest.raises(InvalidRequest):
        OrphanSettings(-1, forced=True)


def test_a_plan_can_be_printed(table: Table) -> None:
    leave(table, "manifest/manifest-x-0")
    plan = plan_orphans(table.handle)
    found = json.loads(json.dumps(plan.as_dict(files=True)))

    assert found["files"]["manifest"] == 1
    assert found["paths"] == ["manifest/manifest-x-0"]
    assert "paths" not in plan.as_dict()


def test_empty_folders_go_upwards_when_old(table: Table) -> None:
    for folder in ("p=7/bucket-0", "p=8", "p=1/bucket-4", "p=1/other", "q"):
        Path(table.path, folder).mkdir(parents=True)
    age(table.path)
    Path(table.path, "p=9/bucket-0").mkdir(parents=True)
    plan = plan_orphans(table.handle)

    assert plan.folders == ("p=1/bucket-4", "p=7/bucket-0", "p=8")
    assert not plan.empty
    assert apply_orphans(plan, table.handle).folders == 4
    left = {p.name for p in Path(table.path).iterdir()}
    assert {"p=1", "p=2", "p=9", "q"} <= left
    assert not {"p=7", "p=8"} & left
    assert Path(table.path, "p=1/other").is_dir()


def test_a_folder_that_is_used_again_stays(table: Table) -> None:
    folder = Path(table.path, "p=7/bucket-0")
    folder.mkdir(parents=True)
    age(table.path)
    plan = plan_orphans(table.handle)
    (folder / "data-new-0.parquet").write_bytes(b"")

    assert apply_orphans(plan, table.handle).folders == 0
    assert (folder / "data-new-0.parquet").exists()


# --- who holds ------------------------------------------------------------------------------------


def at_rest(graph: Graph) -> OrphanPlan:
    """The plan, two days later."""
    graph.clock.advance(2 * DAY / 1000)
    return plan_orphans(graph.handle, OrphanSettings(external=True), graph.in_use)


def plain(seed: int = 0) -> Graph:
    """A graph without partitions, external paths and changelogs of any kind."""
    while True:
        graph = Graph(seed)
        if not (graph.partitioned or graph.external or graph.decoupled or graph.producer):
            return graph
        seed += 1


def test_a_branch_without_a_schema_ends_it() -> None:
    graph = plain()
    graph.leave()
    graph.branch()
    branch = graph.branches()[0]
    graph.storage.delete([paths.schema_file(branch, 0)])

    with pytest.raises(CorruptTable, match="a branch has no schema"):
        at_rest(graph)


@pytest.mark.parametrize("part", ["manifest-list", "manifest-", "index-manifest"])
@pytest.mark.parametrize("damage", ["gone", "cut off"])
def test_metadata_that_cannot_be_read_ends_it(part: str, damage: str) -> None:
    graph = plain()
    graph.vectors(MAIN)
    graph.append(MAIN)
    graph.leave()
    manifests = graph.storage.files[f"{ROOT}/manifest"]
    latest = graph.snapshot(MAIN, 3)
    used = {
        "manifest-list": latest.base_manifest_list,
        "manifest-": graph.states[latest.content].metas[0].name,
        "index-manifest": latest.index_manifest or "",
    }[part]
    data, millis = manifests[used]
    if damage == "gone":
        del manifests[used]
    else:
        manifests[used] = (data[: len(data) // 2], millis)
    before = graph.storage.paths()

    with pytest.raises(CorruptTable, match=used) as caught:
        at_rest(graph)
    assert isinstance(caught.value, FileMissing) == (damage == "gone")
    assert graph.storage.paths() == before


def test_a_listing_that_lacks_the_latest_snapshot_ends_it() -> None:
    graph = plain()
    graph.append(MAIN)
    listed = graph.storage.list

    class Behind(MemoryStorage):
        def list(self, directory: str) -> tuple[FileStatus, ...]:
            return tuple(s for s in listed(directory) if s.name != "snapshot-2")

    behind = Behind(graph.clock.now, files=graph.storage.files)
    with pytest.raises(StorageUnavailable, match="lacks a file that is there"):
        plan_orphans(replace(graph.handle, storage=behind))
    graph.storage.delete([paths.snapshot_file(ROOT, i) for i in (1, 2)])
    with pytest.raises(CorruptTable, match="so are all others"):
        plan_orphans(graph.handle)


def test_names_that_newer_writers_put_into_a_snapshot_are_used() -> None:
    graph = plain()
    snapshot = graph.snapshot(MAIN, 1)
    content = json.loads(snapshot.content)
    content["newer"] = {"files": ["index/index-newer-0", "manifest-newer-0"]}
    graph.storage.put(paths.snapshot_file(ROOT, 1), json.dumps(content).encode())
    graph.storage.put(f"{ROOT}/index/index-newer-0")
    graph.storage.put(f"{ROOT}/manifest/manifest-newer-0")
    graph.storage.put(f"{ROOT}/manifest/manifest-nobodys-0")

    assert names(at_rest(graph)) == {"manifest/manifest-nobodys-0"}


def test_running_tasks_keep_what_they_read_and_write() -> None:
    graph = plain()
    for name in ("data-task-1-0", "data-read-0", "data-other-0"):
        graph.storage.put(f"{ROOT}/bucket-0/{name}")
    graph.in_use = InUse(files=frozenset({"data-read-0"}), tasks=frozenset({"task-1"}))
    plan = at_rest(graph)

    assert names(plan) == {"bucket-0/data-other-0"}
    in_use = InUse(files=frozenset({"data-other-0"}))
    assert apply_orphans(plan, graph.handle, in_use=lambda: in_use).kept == 1
    assert graph.storage.exists(f"{ROOT}/bucket-0/data-other-0")


def test_an_entry_that_removes_a_file_uses_it() -> None:
    """Also where no entry that added it is left."""
    graph = plain()
    gone = graph.file(0)
    graph.commit(MAIN, [replace(gone, kind=EntryKind.DELETE)])
    graph.storage.put(f"{ROOT}/bucket-0/data-x-0.parquet")

    assert names(at_rest(graph)) == {"bucket-0/data-x-0.parquet"}


def test_a_tag_may_have_lost_its_changes() -> None:
    seed = next(s for s in range(100) if Graph(s).producer and not Graph(s).external)
    graph = Graph(seed)
    graph.tag(MAIN)
    snapshot = graph.snapshot(MAIN, 1)
    assert snapshot.changelog_manifest_list is not None
    graph.storage.delete([paths.manifest_file(ROOT, snapshot.changelog_manifest_list)])
    graph.storage.put(f"{ROOT}/manifest/manifest-x-0")

    assert "manifest/manifest-x-0" in names(at_rest(graph))


# --- external paths -------------------------------------------------------------------------------


@pytest.fixture
def outside() -> Graph:
    seed = next(s for s in range(100) if Graph(s).external and not Graph(s).partitioned)
    graph = Graph(seed)
    for _ in range(4):
        graph.append(MAIN)
    graph.storage.put(f"{EXTERNAL}/bucket-0/data-x-0.parquet")
    graph.clock.advance(2 * DAY / 1000)
    return graph


def test_external_paths_are_looked_at_when_somebody_says_so(outside: Graph) -> None:
    assert plan_orphans(outside.handle).empty
    assert names(plan_orphans(outside.handle, OrphanSettings(external=True))) == {
        f"{EXTERNAL}/bucket-0/data-x-0.parquet"
    }
    before = outside.storage.paths().keys()
    clean_orphans(outside.handle, OrphanSettings(external=True))
    assert before - outside.storage.paths().keys() == {f"{EXTERNAL}/bucket-0/data-x-0.parquet"}


def test_an_external_path_in_another_store_is_refused(outside: Graph) -> None:
    schema = json.loads(outside.storage.read(paths.schema_file(ROOT, 0)))
    schema["options"]["data-file.external-paths"] = "s3://elsewhere/t"
    outside.storage.put(paths.schema_file(ROOT, 0), json.dumps(schema).encode())

    with pytest.raises(UnsupportedFeature, match="another store"):
        plan_orphans(outside.handle, OrphanSettings(external=True))
    assert plan_orphans(outside.handle).empty


def test_tables_whose_files_are_not_understood_are_refused(outside: Graph) -> None:
    schema = json.loads(outside.storage.read(paths.schema_file(ROOT, 0)))
    schema["options"]["data-file.path-directory"] = "deep"
    outside.storage.put(paths.schema_file(ROOT, 0), json.dumps(schema).encode())

    with pytest.raises(UnsupportedFeature, match=r"data-file\.path-directory"):
        plan_orphans(outside.handle)


# --- between the plan and its carrying out --------------------------------------------------------


def late(graph: Graph) -> None:
    """A writer commits what it wrote long ago."""
    graph.commit(MAIN, [graph.written[0]])


def late_on_a_branch(graph: Graph) -> None:
    graph.commit(graph.branches()[0], [graph.written[0]])


def late_then_tagged(graph: Graph) -> None:
    """Its snapshot is gone again, its tag is there."""
    graph.commit(MAIN, [graph.written[0]])
    graph.storage.put(paths.tag_file(ROOT, "late"), graph.snapshot(MAIN, 2).content)
    graph.storage.delete([paths.snapshot_file(ROOT, 2)])
    graph.storage.put(paths.latest_hint(ROOT), b"1")


def replaced(graph: Graph) -> None:
    """The latest snapshot is another one now."""
    graph.storage.delete([paths.snapshot_file(ROOT, 1)])
    graph.commit(MAIN, [graph.written[0]])


@pytest.mark.parametrize("act", [late, late_on_a_branch, late_then_tagged, replaced])
def test_who_comes_meanwhile_keeps_what_it_uses(act: Callable[[Graph], None]) -> None:
    graph = plain()
    graph.branch()
    graph.written.append(graph.file(0))
    graph.storage.put(f"{ROOT}/bucket-0/data-x-0.parquet")
    plan = at_rest(graph)
    act(graph)
    result = apply_orphans(plan, graph.handle)

    kept = graph.written[0].file
    assert result.kept == 1 + len(kept.extra_files)
    assert graph.storage.exists(f"{ROOT}/bucket-0/{kept.name}")
    assert not graph.storage.exists(f"{ROOT}/bucket-0/data-x-0.parquet")


def test_only_what_is_new_is_read_again() -> None:
    graph = plain()
    for _ in range(10):
        graph.append(MAIN)
    graph.storage.put(f"{ROOT}/bucket-0/data-x-0.parquet")
    plan = at_rest(graph)
    graph.append(MAIN)
    reads: list[str] = []

    class Counting(MemoryStorage):
        def read(self, path: str) -> bytes:
            reads.append(path)
            return MemoryStorage.read(self, path)

    storage = Counting(graph.clock.now, files=graph.storage.files)
    apply_orphans(plan, replace(graph.handle, storage=storage))

    new = graph.states[graph.snapshot(MAIN, 12).content].metas[-1].name
    manifests = [p.rpartition("/")[2] for p in reads if "/manifest-" in p and "-list" not in p]
    assert new in manifests
    assert len(manifests) <= 2, "the new one, and what it merged"
    assert [p for p in reads if "snapshot-" in p] == [paths.snapshot_file(ROOT, 12)]


def test_a_schema_change_ends_it() -> None:
    graph = plain()
    graph.storage.put(f"{ROOT}/bucket-0/data-x-0.parquet")
    plan = at_rest(graph)
    graph.storage.put(paths.schema_file(ROOT, 1), graph.storage.read(paths.schema_file(ROOT, 0)))

    with pytest.raises(CommitConflict, match="schema changed"):
        apply_orphans(plan, graph.handle)


def test_a_plan_is_for_its_own_table() -> None:
    graph = plain()
    plan = at_rest(graph)
    with pytest.raises(CommitConflict, match="another table"):
        apply_orphans(plan, replace(graph.handle, root="/elsewhere"))


def test_a_clock_that_runs_ahead_takes_nothing_young() -> None:
    """Ours is three hours ahead of the store's, where the files were made just now."""
    graph = plain()
    graph.storage.put(f"{ROOT}/bucket-0/data-x-0.parquet")
    world = replace(graph.handle.world, now_millis=lambda: graph.clock.now() + 3 * HOUR)
    handle = replace(graph.handle, world=world)
    plan = plan_orphans(handle, OrphanSettings(HOUR))
    assert plan.files.height == 1

    result = apply_orphans(plan, handle)
    assert (result.files_total, result.kept) == (0, 1)
    assert graph.storage.exists(f"{ROOT}/bucket-0/data-x-0.parquet")
    assert not any("clock" in path for path in graph.storage.paths())


def test_refs_made_by_hand_hold(tmp_path: Path) -> None:
    """On a disk, with real data files: a tag and a branch whose snapshot is gone."""
    table = keyed_table(tmp_path, clock=ManualClock(int(time.time() * 1000)))
    for k in range(4):
        table.write(kv((k, "v")))
    refs.create_tag(table, "t", 1)
    refs.create_tag(table, "of-b", 2)
    refs.create_branch(table, "b", "of-b")
    refs.delete_tag(table, "of-b")
    for i in (1, 2, 3):
        Path(paths.snapshot_file(table.path, i)).unlink()
    age(table.path)
    rows = {label: rows_of(refs.on_snapshot_file(table, p)) for label, p in
            refs.snapshot_files(table).items()}  # fmt: skip
    result = clean_orphans(table.handle)

    assert result.files["manifest"] > 0
    for label, path in refs.snapshot_files(table).items():
        assert rows_of(refs.on_snapshot_file(table, path)) == rows[label], label
