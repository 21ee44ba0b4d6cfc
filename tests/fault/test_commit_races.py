"""Committers that race, on the disk and in a bucket: lost races, broken premises, lost answers; and
real processes on the disk, which on S3 are those of `test_s3_commits.py`."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from support.builders import (
    Task,
    faulty,
    files_of,
    keyed_table,
    kv,
    live_files,
    orphans,
    reopened,
    rows_of,
    upserts,
)
from support.faulty import Failure, FaultyStorage, LostAnswer
from support.racers import compact_until, write_and_log
from support.shelves import Shelves

from desilt.table.commit import Committer
from desilt.table.commit_files import CommitRequest, IndexChange
from desilt.table.compact import sweep
from desilt.table.errors import CommitConflict, OutcomeUnknown
from desilt.table.manifest.entry import EntryKind
from desilt.table.snapshot import CommitKind
from desilt.table.table import Table
from desilt.table.vector_files import VectorWriter


@pytest.fixture
def table(shelves: Shelves, tmp_path: Path) -> Table:
    table = keyed_table(tmp_path / "warehouse")
    table.write(upserts(5, "a"))
    table.write(upserts(5, "b", start=3))
    return shelves(table).table


ROWS = [*((k, f"a{k}") for k in range(3)), *((k, f"b{k}") for k in range(3, 8))]


# --- lost races -----------------------------------------------------------------------------------


def test_a_lost_race_is_committed_again_with_the_same_data_files(table: Table) -> None:
    store = faulty(table)
    task = Task.of(reopened(table, store).handle)
    plan = task.plan()
    result = task.rewrite(plan)
    store.hook("before", "create", "snapshot-3", lambda: reopened(table).write(kv((9, "c"))))
    sinks = store.count("open_sink")

    outcome = task.commit(plan, result)

    assert (outcome.snapshot_id, outcome.attempts, outcome.lost_races) == (4, 2, 1)
    assert store.count("open_sink") == sinks
    assert rows_of(table) == [*ROWS, (9, "c")]
    assert (result.outputs[0].name, 5) in live_files(table)
    assert orphans(table) == set(), "the first attempt's manifest lists are removed"


def test_a_lost_race_writes_the_delta_manifest_once(table: Table) -> None:
    store = faulty(table)
    store.hook(
        "before", "create", "snapshot/snapshot-",
        lambda: reopened(table).write(kv((9, "c"))), times=3,
    )  # fmt: skip
    outcome = reopened(table, store).write(kv((10, "d")))

    assert outcome is not None
    assert outcome.lost_races == 3
    assert store.count("create", "manifest-list-") == 4 + 1
    assert store.count("create", "/manifest/manifest-") - 5 == 1
    assert orphans(table) == set()


def test_commit_waits_longer_after_each_lost_race(table: Table) -> None:
    store = faulty(table)
    store.hook(
        "before", "create", "snapshot/snapshot-",
        lambda: reopened(table).write(kv((9, "c"))), times=4,
    )  # fmt: skip
    slept: list[float] = []
    handle = reopened(table, store).handle
    patient = replace(handle, world=replace(handle.world, sleep=slept.append))

    Table(patient).write(kv((10, "d")))

    assert slept == [0.01, 0.02, 0.04, 0.08]


def test_commit_gives_up_after_as_many_lost_races_as_the_table_says(tmp_path: Path) -> None:
    table = keyed_table(tmp_path, options={"commit.max-retries": "3"})
    table.write(kv((1, "a")))
    store = faulty(table)
    store.hook(
        "before", "create", "snapshot/snapshot-",
        lambda: reopened(table).write(kv((9, "c"))), times=100,
    )  # fmt: skip

    with pytest.raises(CommitConflict, match="too many races, races=4"):
        reopened(table, store).write(kv((10, "d")))

    assert store.count("create", "snapshot/snapshot-") == 4
    assert rows_of(table) == [(1, "a"), (9, "c")]
    assert orphans(table) == set(), "data files and manifests of the loser are removed"


# --- broken premises ------------------------------------------------------------------------------


def _take_an_input(table: Table) -> None:
    reopened(table).compact("full")


def _change_the_schema(table: Table) -> None:
    content = table.handle.storage.read(f"{table.path}/schema/schema-0")
    changed = content.replace(b'"id": 0,', b'"id": 1,', 1)
    assert table.handle.storage.create(f"{table.path}/schema/schema-1", changed)


def _change_the_bucket_count(table: Table) -> None:
    """Somebody writes a file of the same partition under another number of buckets."""
    entry = Task.of(table.handle).plan().inputs[0]
    added = replace(
        entry,
        kind=EntryKind.ADD,
        bucket=1,
        total_buckets=2,
        file=replace(entry.file, name="data-foreign-0.parquet"),
    )
    Committer(table.handle).commit(CommitRequest(CommitKind.APPEND, "foreign", "foreign", (added,)))


def _change_the_index(table: Table) -> None:
    """Somebody deletes a row of an input by a vector."""
    entry = Task.of(table.handle).plan().inputs[0]
    writer = VectorWriter(table.handle, table.schema.options, "foreign", entry.partition, 0, [])
    added = writer.write({entry.file.name: np.zeros(1, dtype=np.int64)})
    request = CommitRequest(
        CommitKind.OVERWRITE, "foreign", "foreign", (), index=IndexChange((), added)
    )
    Committer(table.handle).commit(request)


@pytest.mark.parametrize(
    ("breaks", "premise"),
    [
        (_take_an_input, "inputs live"),
        (_change_the_schema, "schema id"),
        (_change_the_bucket_count, "bucket count"),
        (_change_the_index, "deletion files"),
    ],
)
@pytest.mark.parametrize("when", ["before the commit", "in the attempt"])
def test_a_broken_premise_is_a_conflict_that_removes_our_outputs_and_nothing_else(
    when: str, breaks: Callable[[Table], None], premise: str, table: Table
) -> None:
    store = faulty(table)
    task = Task.of(reopened(table, store).handle)
    plan = task.plan()
    result = task.rewrite(plan)
    others: set[str] = set()

    def somebody_else_acts() -> None:
        before = files_of(table)
        breaks(table)
        others.update(files_of(table) - before)

    before = files_of(table) - {f"{table.path}/bucket-0/{f.name}" for f in result.outputs}
    if when == "before the commit":
        somebody_else_acts()
    else:  # after the premises were checked once: the race must be lost first
        store.hook("before", "create", "snapshot-3", somebody_else_acts)
        if breaks is _change_the_schema:
            store.hook("before", "create", "snapshot-3", lambda: _lose(table, others))

    with pytest.raises(CommitConflict) as raised:
        task.commit(plan, result)

    assert raised.value.context["premise"] == premise
    assert files_of(table) == before | others


def _lose(table: Table, others: set[str]) -> None:
    before = files_of(table)
    reopened(table).write(kv((9, "c")))
    others.update(files_of(table) - before)


def test_a_rewrite_is_not_begun_when_its_premises_are_broken_already(table: Table) -> None:
    store = faulty(table)
    task = Task.of(reopened(table, store).handle)
    plan = task.plan()
    _take_an_input(table)

    with pytest.raises(CommitConflict):
        task.rewrite(plan)

    assert store.count("open_sink") == 0


def test_levels_that_would_overlap_are_a_conflict(table: Table) -> None:
    """Two upgrades of different files into one level: each premise holds, together they clash."""
    task = Task.of(table.handle)
    plan = task.plan()
    result = task.rewrite(plan)
    other = replace(
        plan.inputs[0],
        kind=EntryKind.ADD,
        file=replace(plan.inputs[0].file, name="data-foreign-0.parquet", level=5),
    )
    Committer(table.handle).commit(
        CommitRequest(CommitKind.COMPACT, "foreign", "foreign", (other,))
    )

    with pytest.raises(CommitConflict) as raised:
        task.commit(plan, result)

    assert raised.value.context["premise"] == "levels"


def test_compact_plans_a_bucket_again_when_its_inputs_were_taken(table: Table) -> None:
    store = faulty(table)
    store.hook("before", "create", "snapshot-3", lambda: reopened(table).compact("full"))
    store.hook("before", "create", "snapshot-3", lambda: reopened(table).write(kv((9, "c"))))

    summary = reopened(table, store).compact("full")

    assert summary.snapshot_id == 5
    assert len(live_files(table)) == 1
    assert rows_of(table) == [*ROWS, (9, "c")]
    assert orphans(table) == set()


# --- lost answers ---------------------------------------------------------------------------------


def _arm(store: FaultyStorage, fault: Callable[[int], Failure | LostAnswer]) -> None:
    """The next publish is where the fault strikes."""

    def strike() -> None:
        store.fault = fault(len(store.calls) - 1)

    store.hook("before", "create", "snapshot/snapshot-", strike)


def test_a_lost_answer_is_resolved_by_reading_back(table: Table) -> None:
    store = faulty(table)
    writer = reopened(table, store)
    _arm(store, LostAnswer)

    outcome = writer.write(kv((9, "c")))

    assert store.fired
    assert outcome is not None
    assert (outcome.snapshot_id, outcome.lost_races) == (3, 0)
    assert rows_of(table) == [*ROWS, (9, "c")]


def test_a_lost_answer_to_a_lost_race_is_a_lost_race(table: Table) -> None:
    store = faulty(table)
    writer = reopened(table, store)
    store.hook("before", "create", "snapshot-3", lambda: reopened(table).write(kv((9, "c"))))
    _arm(store, LostAnswer)

    outcome = writer.write(kv((10, "d")))

    assert outcome is not None
    assert (outcome.snapshot_id, outcome.lost_races) == (4, 1)
    assert rows_of(table) == sorted([*ROWS, (9, "c"), (10, "d")], key=repr)


@pytest.mark.parametrize(
    ("fault", "committed"),
    [
        pytest.param(partial(LostAnswer, then_deaf=True), True, id="published"),
        pytest.param(partial(Failure, forever=True), False, id="not-published"),
    ],
)
def test_an_unknown_outcome_deletes_nothing_and_sweep_finds_out_later(
    fault: Callable[[int], Failure | LostAnswer], committed: bool, table: Table
) -> None:
    store = faulty(table)
    task = Task.of(reopened(table, store).handle)
    plan = task.plan()
    result = task.rewrite(plan)
    _arm(store, fault)

    with pytest.raises(OutcomeUnknown):
        task.commit(plan, result)
    deletes = store.count("delete")
    swept = sweep(table.handle, task.task_id, "", 0)

    assert deletes == 0
    assert swept.committed == committed
    assert (len(swept.deleted) == 0) == committed
    assert rows_of(table) == ROWS
    assert orphans(table) == set()


def test_a_write_of_unknown_outcome_keeps_its_files(table: Table) -> None:
    store = faulty(table)
    writer = reopened(table, store)
    _arm(store, partial(LostAnswer, then_deaf=True))

    with pytest.raises(OutcomeUnknown):
        writer.write(kv((9, "c")))

    assert store.count("delete") == 0
    assert rows_of(table) == [*ROWS, (9, "c")]


# --- real processes -------------------------------------------------------------------------------

COMMITS = 30


def test_two_writers_and_two_compactors_on_one_bucket_keep_every_acknowledged_row(
    tmp_path: Path,
) -> None:
    table = keyed_table(
        tmp_path / "warehouse",
        options={"num-sorted-run.compaction-trigger": "3", "commit.max-retries": "50"},
    )
    spawned = multiprocessing.get_context("spawn")
    stop = str(tmp_path / "stop")
    logs = [str(tmp_path / f"log-{i}") for i in range(4)]
    writers = [
        spawned.Process(target=write_and_log, args=(table.path, w, COMMITS, logs[w]))
        for w in (0, 1)
    ]
    compactors = [
        spawned.Process(target=compact_until, args=(table.path, mode, stop, logs[c]))
        for c, mode in ((2, "minor"), (3, "full"))
    ]
    for process in (*writers, *compactors):
        process.start()
    for process in writers:
        process.join(100)
    Path(stop).touch()
    for process in compactors:
        process.join(20)

    assert [p.exitcode for p in (*writers, *compactors)] == [0, 0, 0, 0]
    expected = {int(k): v for log in logs[:2] for k, v in json.loads(Path(log).read_text()).items()}
    rows = table.scan().collect().rows()
    assert len(rows) == len(expected)
    assert dict(rows) == expected
    assert orphans(table) == set()
    compacted = [json.loads(Path(log).read_text())["commits"] for log in logs[2:]]
    assert sum(compacted) > 0, "the compactors must have taken part"
    latest = table.handle.snapshots.latest()
    assert latest is not None
    assert latest.id >= 2 * COMMITS + sum(compacted)
