"""The store fails at every single call in turn, once, for good, or only its answer is lost.

Whatever a compaction or a write then answers is true: a success is there, a StorageUnavailable
changed nothing and left nothing, and only an OutcomeUnknown may be either.
"""

from __future__ import annotations

import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from support.builders import (
    Task,
    copied,
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
    Fault,
    FaultyStorage,
    LostAnswer,
    files_below,
)
from support.stories import STORIES, Story

from desilt.table.compact import sweep
from desilt.table.errors import (
    CommitConflict,
    OutcomeUnknown,
    StorageUnavailable,
    TableError,
    TableMissing,
)
from desilt.table.table import Table

FULL = next(s for s in STORIES if s.name == "full")
Rows = list[tuple[object, ...]]
ACTING = MUTATIONS | {"close", "delete"}
MORE = upserts(6, "new", start=2)


def _calls(run: Callable[[FaultyStorage], object]) -> list[tuple[int, str]]:
    """(number, method) of every call of a run without faults."""
    store = FaultyStorage()
    run(store)
    return [(i, c.method) for i, c in enumerate(store.calls)]


def _faults(calls: list[tuple[int, str]]) -> Iterator[Fault]:
    """Every call fails once; those that act also for good from then on, and without an answer."""
    for index, method in calls:
        yield Failure(index)
        if method in ACTING or ("read" in method and index > len(calls) - 4):
            yield Failure(index, forever=True)
            yield LostAnswer(index)
            yield LostAnswer(index, then_deaf=True)


def _outcome(run: Callable[[], object]) -> type[TableError] | None:
    try:
        run()
    except (StorageUnavailable, OutcomeUnknown) as error:
        return type(error)
    return None


def _check(outcome: type[TableError] | None, after: Table, old: int, fault: Fault) -> None:
    latest = after.handle.snapshots.latest()
    assert latest is not None
    if outcome is StorageUnavailable:
        assert latest.id == old
    elif outcome is None:
        assert latest.id > old
    if outcome is not OutcomeUnknown and fault in (Failure(getattr(fault, "at", 0)),):
        assert orphans(after) == set(), "what failed once was not tidied up"


@pytest.mark.parametrize("story", STORIES, ids=lambda s: s.name)
def test_a_compaction_answers_truly_whichever_storage_call_fails(
    story: Story, tmp_path: Path
) -> None:
    table = story.build(tmp_path / "made")
    story.observe(table)
    probe = copied(table, tmp_path / "probe")
    calls = _calls(lambda store: Task.of(handle_on(probe, store), story.mode).run())
    calls = calls if story is FULL else [c for c in calls if c[1] in ACTING]

    for number, fault in enumerate(_faults(calls)):
        root = copied(table, tmp_path / str(number))
        before = files_below(root)
        store = FaultyStorage(fault=fault)
        task = Task.of(handle_on(root, store), story.mode)
        outcome = _outcome(task.run)
        after = reopened(root)

        _check(outcome, after, story.snapshots, fault)
        assert not store.unaccounted(before, root)
        if files_below(root) != before:
            assert rows_of(after) == story.rows
            sweep(after.handle, task.task_id, "", 0)
            assert orphans(after) == set()
            assert rows_of(after) == story.rows


def test_a_compaction_that_failed_is_healed_by_the_next_one(tmp_path: Path) -> None:
    table = FULL.build(tmp_path)
    FULL.observe(table)
    store = FaultyStorage(fault=Failure(45))
    with pytest.raises(StorageUnavailable):
        reopened(table, store).compact("full")

    table.compact("full")

    assert rows_of(table) == FULL.rows
    assert len(live_files(table)) == 1


def test_a_write_answers_truly_whichever_storage_call_fails(tmp_path: Path) -> None:
    table = keyed_table(tmp_path / "made", options={"bucket": "2"})
    table.write(upserts(6, "old"))
    old = rows_of(table)
    probe = copied(table, tmp_path / "probe")
    calls = _calls(lambda store: Table(handle_on(probe, store)).write(MORE))
    new = rows_of(reopened(probe))

    for number, fault in enumerate(_faults(calls)):
        root = copied(table, tmp_path / str(number))
        before = files_below(root)
        store = FaultyStorage(fault=fault)
        outcome = _outcome(partial(Table(handle_on(root, store)).write, MORE))
        after = reopened(root)

        _check(outcome, after, 1, fault)
        assert not store.unaccounted(before, root)
        assert rows_of(after) in _possible(outcome, old, new)


def _possible(outcome: type[TableError] | None, old: Rows, new: Rows) -> tuple[Rows, ...]:
    """What a reader may see after this outcome."""
    if outcome is OutcomeUnknown:
        return (old, new)
    return (new,) if outcome is None else (old,)


def test_a_scan_says_that_the_store_failed_whichever_call_fails(tmp_path: Path) -> None:
    table = FULL.build(tmp_path)
    total = len(_calls(lambda store: rows_of(Table(handle_on(table.path, store)))))

    for at in range(total):
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
