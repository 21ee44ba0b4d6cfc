"""What a dead task left behind is removed, and never anything else."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

import pytest
from support import refs
from support.builders import (
    Task,
    faulty,
    files_of,
    handle_on,
    keyed_table,
    live_files,
    orphans,
    rows_of,
    upserts,
)
from support.faulty import Failure
from support.shelves import Shelves

from desilt.table.compact import sweep
from desilt.table.errors import CorruptTable, InvalidRequest, StorageUnavailable
from desilt.table.paths import latest_hint, snapshot_file
from desilt.table.storage import LocalStorage
from desilt.table.table import Table


@pytest.fixture
def table(shelves: Shelves, tmp_path: Path) -> Table:
    table = keyed_table(tmp_path / "made")
    table.write(upserts(5, "a"))
    table.write(upserts(5, "b", start=3))
    return shelves(table).table


on_disk = pytest.mark.parametrize("shelves", ["local"], indirect=True)
"""What needs a disk, or is refused before a store is asked."""


def _left_behind(table: Table) -> Task:
    """A task that died between its rewrite and its commit."""
    task = Task.of(table.handle)
    task.rewrite(task.plan())
    return task


def test_sweep_removes_the_files_of_a_task_that_never_committed(table: Table) -> None:
    task = _left_behind(table)
    left = orphans(table)

    swept = sweep(table.handle, task.task_id, "", 0)

    assert not swept.committed
    assert set(swept.deleted) == left
    assert len(left) == 1
    assert orphans(table) == set()


def test_sweep_twice_removes_nothing_more(table: Table) -> None:
    task = _left_behind(table)
    sweep(table.handle, task.task_id, "", 0)

    assert sweep(table.handle, task.task_id, "", 0).deleted == ()


def test_sweep_of_a_committed_task_removes_nothing(table: Table) -> None:
    task = Task.of(table.handle)
    task.run()
    files = files_of(table)

    swept = sweep(table.handle, task.task_id, "", 0)

    assert swept.committed
    assert swept.deleted == ()
    assert files_of(table) == files


def test_sweep_keeps_files_that_only_an_older_snapshot_reaches(table: Table) -> None:
    task = Task.of(table.handle)
    task.run()
    table.write(upserts(2, "c"))
    table.compact("full")
    assert not any(task.task_id in name for name, _ in live_files(table))

    swept = sweep(table.handle, task.task_id, "", 0)

    assert swept.committed
    assert swept.deleted == ()
    assert rows_of(table, 3) == rows_of(table, 2)


def test_sweep_of_a_committed_task_believes_no_hint(table: Table) -> None:
    """LATEST is written as well as may be; here nobody could for as long as snapshots live."""
    task = Task.of(table.handle)
    task.run()
    table.write(upserts(2, "c"))
    rows = rows_of(table, 4)
    storage = table.handle.storage
    storage.delete([snapshot_file(table.path, gone) for gone in (1, 2)])
    storage.overwrite(latest_hint(table.path), b"1")

    swept = sweep(table.handle, task.task_id, "", 0)

    assert (swept.committed, swept.deleted) == (True, ())
    assert rows_of(table, 4) == rows


def test_sweep_leaves_the_files_of_other_tasks_alone(table: Table) -> None:
    mine, other = _left_behind(table), _left_behind(table)

    swept = sweep(table.handle, mine.task_id, "", 0)

    assert all(mine.task_id in path for path in swept.deleted)
    assert any(other.task_id in path for path in orphans(table))


def test_sweep_of_an_unknown_task_removes_nothing(table: Table) -> None:
    _left_behind(table)
    files = files_of(table)

    assert sweep(table.handle, str(uuid.uuid4()), "", 0).deleted == ()
    assert files_of(table) == files


@on_disk
@pytest.mark.parametrize("task_id", ["", "a", "data-", "parquet", "../x", "*"])
def test_sweep_refuses_what_is_no_task_id(task_id: str, table: Table) -> None:
    """A journal that was tampered with must not turn a sweep into a broom for everything."""
    task = _left_behind(table)
    files = files_of(table)

    with pytest.raises(InvalidRequest, match="task id"):
        sweep(table.handle, task_id, "", 0)

    assert files_of(table) == files
    assert task.task_id


@pytest.mark.parametrize(
    ("damaged", "damage"),
    [  # a snapshot that is gone is an expired one
        ("manifest-list", "truncated"),
        ("manifest-list", "gone"),
        ("manifest", "truncated"),
        ("manifest", "gone"),
        ("snapshot", "truncated"),
    ],
)
def test_sweep_removes_nothing_where_a_snapshot_cannot_be_read(
    damaged: str, damage: str, table: Table
) -> None:
    task, storage = _left_behind(table), table.handle.storage
    latest = table.handle.snapshots.latest()
    assert latest is not None
    if damaged == "snapshot":
        path = f"{table.path}/snapshot/snapshot-1"
    elif damaged == "manifest-list":
        path = f"{table.path}/manifest/{latest.delta_manifest_list}"
    else:
        path = next(
            p for p in sorted(files_of(table)) if "/manifest/manifest-" in p and "-list-" not in p
        )
    if damage == "truncated":
        storage.overwrite(path, storage.read(path)[:20])
    else:
        storage.delete([path])
    files = files_of(table)

    with pytest.raises(CorruptTable):
        sweep(table.handle, task.task_id, "", 0)

    assert files_of(table) == files


def test_sweep_removes_nothing_when_the_store_fails_at_any_look(table: Table) -> None:
    task = _left_behind(table)
    files = files_of(table)
    probe = faulty(table)
    sweep(handle_on(table.path, probe), str(uuid.uuid4()), "", 0)

    for at in range(len(probe.calls)):
        store = faulty(table, Failure(at, forever=True))
        with pytest.raises(StorageUnavailable):
            sweep(handle_on(table.path, store), task.task_id, "", 0)
        assert files_of(table) == files


def test_sweep_works_after_older_snapshots_expired(table: Table) -> None:
    task = _left_behind(table)
    gone = [f"{table.path}/snapshot/{name}" for name in ("snapshot-1", "EARLIEST")]
    table.handle.storage.delete(gone)

    swept = sweep(table.handle, task.task_id, "", 0)

    assert len(swept.deleted) == 1
    assert rows_of(table)


@on_disk
def test_sweep_removes_snapshots_that_a_killed_process_never_finished(table: Table) -> None:
    """A kill between writing the temporary file and linking it leaves a name without a task id."""
    folder = Path(table.path) / "snapshot"
    dead = folder / f".snapshot-3.{uuid.uuid4()}.desilt.tmp"
    young = folder / f".LATEST.{uuid.uuid4()}.desilt.tmp"
    foreign = folder / f".snapshot-3.{uuid.uuid4()}.tmp"
    for path in (dead, young, foreign):
        path.write_bytes(b"{")
    for path in (dead, foreign):
        os.utime(path, (0, 0))

    swept = sweep(table.handle, str(uuid.uuid4()), "", 0)

    assert swept.deleted == (str(dead),)
    assert young.exists()
    assert foreign.exists()


@on_disk
def test_a_publish_that_is_killed_leaves_what_a_sweep_knows(table: Table) -> None:
    """The temporary's name is the one that a sweep looks for."""
    store = LocalStorage(sync=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "link", _killed)
        patch.setattr(os, "unlink", _gone)  # the process is gone: nobody cleans up
        with pytest.raises(KeyboardInterrupt):
            store.create(f"{table.path}/snapshot/snapshot-9", b"{}")
    (left,) = Path(table.path, "snapshot").glob(".snapshot-9.*")
    os.utime(left, (0, 0))

    assert sweep(table.handle, str(uuid.uuid4()), "", 0).deleted == (str(left),)


def _killed(*_: object) -> None:
    raise KeyboardInterrupt


def _gone(path: str) -> None:
    """No cleaning up."""


@on_disk
@pytest.mark.parametrize("holder", ["tag", "branch"])
def test_sweep_keeps_files_whose_snapshot_expired_but_not_its_tag(
    table: Table, holder: str
) -> None:
    """A daemon that comes back after days finds the snapshot of its last task gone."""
    task = Task.of(table.handle)
    task.run()
    rows = rows_of(table)
    refs.create_tag(table, "v")
    if holder == "branch":
        refs.create_branch(table, "b", "v")
        refs.delete_tag(table, "v")
    table.write(upserts(2, "c"))
    table.compact("full")
    table.expire(retain_max=1)
    files = files_of(table)

    swept = sweep(table.handle, task.task_id, "", 0)

    assert swept.committed
    assert swept.deleted == ()
    assert files_of(table) == files
    held = {label: path for label, path in refs.snapshot_files(table).items() if "tag-v" in label}
    assert [rows_of(refs.on_snapshot_file(table, path)) for path in held.values()] == [rows]
