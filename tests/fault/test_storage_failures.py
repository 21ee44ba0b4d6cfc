"""A full disk, a warehouse that may only be read, and a table that changes under a task.

What happens at every single call is in `test_compaction_faults.py` and `test_write_faults.py`.
"""

from __future__ import annotations

import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.builders import (
    Task,
    handle_on,
    keyed_table,
    kv,
    live_files,
    orphans,
    reopened,
    rows_of,
    upserts,
)
from support.faulty import (
    MUTATIONS,
    Failure,
    FaultyStorage,
    files_below,
)
from support.stories import STORIES

from desilt.table.errors import (
    CommitConflict,
    StorageUnavailable,
    TableError,
    TableMissing,
)
from desilt.table.table import Table

FULL = next(s for s in STORIES if s.name == "full")
MORE = upserts(6, "new", start=2)


def test_a_compaction_that_failed_is_healed_by_the_next_one(tmp_path: Path) -> None:
    table = FULL.build(tmp_path)
    FULL.observe(table)
    store = FaultyStorage(fault=Failure(45))
    with pytest.raises(StorageUnavailable):
        reopened(table, store).compact("full")

    table.compact("full")

    assert rows_of(table) == FULL.rows
    assert len(live_files(table)) == 1


def test_a_scan_says_that_the_store_failed_whichever_call_fails(tmp_path: Path) -> None:
    table = FULL.build(tmp_path)
    probe = FaultyStorage()
    rows_of(Table(handle_on(table.path, probe)))

    for at in range(len(probe.calls)):
        store = FaultyStorage(fault=Failure(at))
        with pytest.raises(Exception, match="the store fails"):
            rows_of(Table(handle_on(table.path, store)))


# --- a full disk ----------------------------------------------------------------------------------


def test_a_full_disk_is_a_failing_store_and_changes_nothing(tmp_path: Path) -> None:
    table = FULL.build(tmp_path)
    FULL.observe(table)
    files = files_below(table.path)
    full = FaultyStorage(fault=Failure(0, forever=True, methods=MUTATIONS))

    with pytest.raises(StorageUnavailable):
        reopened(table, full).compact("full")
    with pytest.raises(StorageUnavailable):
        reopened(table, full).write(MORE)

    assert files_below(table.path) == files
    assert rows_of(table) == FULL.rows


@pytest.mark.parametrize("method", ["write", "close", "create"])
def test_a_disk_that_fills_up_while_writing_is_a_failing_store(method: str, tmp_path: Path) -> None:
    table = FULL.build(tmp_path)
    files = files_below(table.path)
    store = FaultyStorage(fault=Failure(0, forever=True, methods=frozenset({method})))

    with pytest.raises(StorageUnavailable):
        reopened(table, store).compact("full")

    assert files_below(table.path) == files


_LIMITED = """
import resource, sys
import polars as pl
from desilt.table.catalog import open_table
from desilt.table.errors import StorageUnavailable
table = open_table(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
try:
    table.compact("full")
except StorageUnavailable as error:
    print("unavailable:", error)
"""


@pytest.mark.parametrize("types", ["STRING", "TIMESTAMP(9)"], ids=["polars", "pyarrow"])
def test_a_real_file_that_cannot_grow_is_a_failing_store(types: str, tmp_path: Path) -> None:
    """The encoder writes into the file itself; its error must still be the store's."""
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
    table = keyed_table(tmp_path, columns={"k": "INT NOT NULL", "v": "STRING", "t": types})
    rows = upserts(3000, "x" * 3)
    table.write(rows)
    table.write(rows.head(2500))
    files = files_below(table.path)

    done = subprocess.run(
        [sys.executable, "-c", _LIMITED, table.path, "4096"],
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout.startswith("unavailable:"), done.stdout + done.stderr
    assert ".parquet" in done.stdout
    assert files_below(table.path) == files


# --- a warehouse that may only be read ------------------------------------------------------------


def test_a_read_only_warehouse_can_be_read_and_refuses_the_rest(tmp_path: Path) -> None:
    table = FULL.build(tmp_path)
    FULL.observe(table)
    files = files_below(table.path)
    read_only = FaultyStorage(
        fault=Failure(0, forever=True, methods=frozenset({"create", "overwrite", "open_sink"}))
    )
    seen = reopened(table, read_only)

    assert rows_of(seen) == FULL.rows
    with pytest.raises(StorageUnavailable):
        seen.compact("full")
    with pytest.raises(StorageUnavailable):
        seen.write(MORE)
    assert files_below(table.path) == files


# --- the world changes in the middle of a task ----------------------------------------------------


def test_a_table_dropped_during_the_rewrite_is_missing(tmp_path: Path) -> None:
    table = FULL.build(tmp_path)
    store = FaultyStorage()
    store.hook("before", "open_source", ".parquet", lambda: shutil.rmtree(table.path))

    with pytest.raises((TableMissing, CommitConflict)):
        reopened(table, store).compact("full")

    assert not any(p.endswith(".parquet") for p in files_below(str(tmp_path)))


def test_a_table_dropped_before_the_commit_is_missing_and_stays_gone(tmp_path: Path) -> None:
    table = FULL.build(tmp_path)
    task = Task.of(table.handle)
    plan = task.plan()
    result = task.rewrite(plan)
    shutil.rmtree(table.path)

    with pytest.raises(TableMissing):
        task.commit(plan, result)

    assert files_below(str(tmp_path)) == frozenset()


def test_an_input_deleted_under_the_rewrite_names_the_file_when_it_is_still_live(
    tmp_path: Path,
) -> None:
    table = FULL.build(tmp_path)
    gone = next(iter(p for p in sorted(files_below(table.path)) if p.endswith(".parquet")))
    Path(gone).unlink()
    files = files_below(table.path)

    with pytest.raises(TableError, match=Path(gone).name) as raised:
        table.compact("full")

    assert not isinstance(raised.value, CommitConflict), "planning again would never help"
    assert files_below(table.path) == files


def test_another_compactor_that_wins_leaves_the_loser_without_a_trace(tmp_path: Path) -> None:
    table = FULL.build(tmp_path)
    FULL.observe(table)
    task = Task.of(table.handle)
    plan = task.plan()
    result = task.rewrite(plan)
    table.compact("full")
    after = files_below(table.path)

    with pytest.raises(CommitConflict, match="no longer live"):
        task.commit(plan, result)

    ours = {p for p in after if task.task_id in p}
    assert files_below(table.path) == after - ours
    assert orphans(table) == set()
    assert rows_of(table) == FULL.rows


def test_a_rewrite_whose_inputs_another_compactor_took_is_a_conflict(tmp_path: Path) -> None:
    table = FULL.build(tmp_path)
    task = Task.of(table.handle)
    plan = task.plan()
    table.compact("full")
    for entry in plan.inputs:
        Path(f"{table.path}/bucket-0/{entry.file.name}").unlink()  # expired, too

    with pytest.raises(CommitConflict):
        task.rewrite(plan)


def test_compact_plans_again_when_the_schema_changes_under_the_rewrite(tmp_path: Path) -> None:
    table = FULL.build(tmp_path)
    FULL.observe(table)
    store = FaultyStorage()
    text = Path(f"{table.path}/schema/schema-0").read_text()

    def alter() -> None:
        Path(f"{table.path}/schema/schema-1").write_text(text.replace('"id": 0,', '"id": 1,', 1))

    store.hook("before", "open_sink", ".parquet", alter)
    summary = reopened(table, store).compact("full")

    assert summary.snapshot_id == FULL.snapshots + 1
    assert rows_of(table) == FULL.rows
    assert table.handle.snapshots.get(FULL.snapshots + 1).schema_id == 1
    assert orphans(table) == set()


def test_a_hint_that_cannot_be_written_is_no_failure(tmp_path: Path) -> None:
    table = keyed_table(tmp_path)
    store = FaultyStorage(fault=Failure(0, forever=True, methods=frozenset({"overwrite"})))

    outcome = reopened(table, store).write(kv((1, "a")))

    assert outcome is not None
    assert outcome.snapshot_id == 1
    assert rows_of(table) == [(1, "a")]
