"""The loop: what is due is started, what ends is followed up, what fails stays where it failed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import ClassVar

import polars as pl
import pytest
from support.daemon_fakes import MIB, START, FakeTable, World, a_task

from desilt.daemon.config_catalog import CatalogConfig
from desilt.daemon.errors import WorkerCrashed
from desilt.daemon.journal import Journal, OpenTask
from desilt.daemon.listen import (
    BacklogMeasured,
    BucketQuarantined,
    CatalogFailed,
    CommitRepublished,
    LeftoversSwept,
    PolicyFailed,
    TableAwaited,
    TableFailed,
    TableForgotten,
    TableHalted,
    TableSkipped,
    TaskFinished,
    TickFinished,
)
from desilt.daemon.sweep import IN_DOUBT_SECONDS
from desilt.daemon.task import Outcome
from desilt.policies import UniversalConfig, UniversalPolicy
from desilt.table.commit import CommitOutcome
from desilt.table.errors import (
    BadData,
    CommitConflict,
    CorruptTable,
    OutcomeUnknown,
    StorageUnavailable,
    TableMissing,
    UnsupportedFeature,
    VerificationFailed,
)


def outcomes(world: World) -> list[Outcome]:
    return [e.finished.outcome for e in world.said.of(TaskFinished) if isinstance(e, TaskFinished)]


def test_tick_compacts_what_is_due_and_leaves_the_rest(journal: Journal) -> None:
    table = FakeTable("db.t", {0: 6, 1: 2})
    world = World(journal, table)

    world.tick()

    assert table.runs == {0: 1, 1: 2}
    assert outcomes(world) == [Outcome.COMMITTED]


def test_task_that_ends_starts_the_next_without_a_tick(journal: Journal) -> None:
    table = FakeTable("db.t", {0: 5, 1: 6, 2: 7})
    world = World(journal, table, concurrent=1)

    world.app.tick()
    world.pool.run()

    assert table.runs == {0: 1, 1: 1, 2: 1}
    assert [plan.bucket for plan in world.engine.rewritten] == [2, 1, 0]  # the worst first


def test_bucket_that_is_due_again_goes_on_without_a_tick(journal: Journal) -> None:
    table = FakeTable("db.t", {0: 5})
    world = World(journal, table)
    world.app.tick()
    world.pool.run(limit=1)
    table.write(runs=9)

    world.tick()

    assert table.runs == {0: 1}
    assert len(world.engine.rewritten) == 2


def test_no_more_tasks_run_than_the_budget_allows(journal: Journal) -> None:
    world = World(journal, FakeTable("db.t", dict.fromkeys(range(5), 6)), concurrent=3)

    world.app.tick()
    world.app.tick()

    assert len(world.pool.waiting) == 3


def test_bucket_has_one_task_at_a_time(journal: Journal) -> None:
    world = World(journal, FakeTable("db.t", {0: 6}))

    world.app.tick()
    world.app.tick()

    assert len(world.pool.waiting) == 1


def test_long_tasks_leave_a_slot_to_tables_that_somebody_waits_for(journal: Journal) -> None:
    """Two buckets of a gigabyte are due before a row is written that only a compaction shows."""
    large = FakeTable("db.large", {0: 9, 1: 9}, run_bytes=128 * MIB)
    hidden = FakeTable("db.hidden", {0: 0}, facts={"up_level0": True})
    world = World(journal, large, hidden)
    world.app.tick()
    assert len(world.pool.waiting) == 1

    hidden.write()
    world.app.tick()
    world.pool.waiting.pop()()

    assert hidden.runs == {0: 1}
    assert large.runs == {0: 9, 1: 9}


def test_it_is_told_how_long_somebody_waits(journal: Journal) -> None:
    table = FakeTable("db.hidden", {0: 1}, facts={"up_level0": True})
    world = World(journal, table, FakeTable("db.t", {0: 1}))

    world.app.tick()

    assert world.said.of(TableAwaited) == [TableAwaited("db.hidden", 1.0)]


def test_it_is_told_once_that_nobody_waits_any_longer(journal: Journal) -> None:
    """Options change; the metric must not stand still at the last age for ever."""
    table = FakeTable("db.hidden", {0: 1}, facts={"up_level0": True})
    world = World(journal, table)
    world.app.tick()

    table.facts["up_level0"] = False
    world.app.tick()
    world.app.tick()

    assert world.said.of(TableAwaited) == [
        TableAwaited("db.hidden", 1.0),
        TableAwaited("db.hidden", 0.0),
    ]


@dataclass(frozen=True, slots=True)
class Fragile:
    """Cannot bear a table whose trigger is 13."""

    Config: ClassVar[type[UniversalConfig]] = UniversalConfig

    def judge(self, facts: pl.LazyFrame, *, now: datetime) -> pl.LazyFrame:
        if 13 in facts.collect()["trigger"].to_list():
            raise ZeroDivisionError("13")
        return UniversalPolicy().judge(facts, now=now)


def test_a_table_that_a_policy_cannot_bear_does_not_stop_the_others(journal: Journal) -> None:
    bad = FakeTable("db.bad", {0: 20}, facts={"trigger": 13})
    tables = FakeTable("db.a", {0: 6}), bad, FakeTable("db.c", {0: 6})
    world = World(journal, *tables, policy=Fragile())

    world.app.tick()

    why = "policy failed, policy=Fragile, error=ZeroDivisionError: 13, table=db.bad"
    assert world.said.of(PolicyFailed) == [PolicyFailed("default", why)]
    world.pool.run()
    assert [table.runs for table in tables] == [{0: 1}, {0: 20}, {0: 1}]


def test_long_tasks_take_all_slots_where_nobody_waits(journal: Journal) -> None:
    world = World(journal, FakeTable("db.large", {0: 9, 1: 9}, run_bytes=128 * MIB))

    world.app.tick()

    assert len(world.pool.waiting) == 2


def test_bucket_that_waits_is_not_passed_over_for_ever(journal: Journal) -> None:
    """One that is written all the time is always worse than one that nobody writes any more."""
    busy, idle = FakeTable("db.busy", {0: 9}), FakeTable("db.idle", {0: 5})
    world = World(journal, busy, idle, concurrent=1)
    world.app.tick()
    for _ in range(9):
        busy.write(runs=9)
        world.clock.advance(60)
        world.pool.run(limit=1)

    assert idle.runs == {0: 1}


def test_bucket_is_planned_whole_where_its_table_wants_that(journal: Journal) -> None:
    table = FakeTable("db.t", {0: 1}, facts={"full_commits": 1})
    world = World(journal, table, FakeTable("db.u", {0: 6}))

    world.app.tick()
    world.pool.run(limit=2)

    assert {plan.table: plan.mode for plan in world.engine.rewritten} == {
        "db.t": "full",
        "db.u": "minor",
    }


def test_tasks_get_their_share_of_the_memory(journal: Journal) -> None:
    world = World(journal, FakeTable("db.t", {0: 6}), concurrent=4, memory_bytes=1024 * MIB)

    world.tick()

    finished = world.said.of(TaskFinished)[0]
    assert isinstance(finished, TaskFinished)
    assert finished.finished.task.proposal.memory_bytes == 256 * MIB


def test_tick_with_nothing_new_measures_an_empty_backlog(journal: Journal) -> None:
    world = World(journal, FakeTable("db.t", {0: 1}))

    world.tick()

    assert world.said.of(BacklogMeasured)[-1] == BacklogMeasured(0, 0, 0.0)
    assert world.said.of(TickFinished)[-1] == TickFinished(1, 1, 0, 0, 0.0)


def test_backlog_ages_while_it_waits(journal: Journal) -> None:
    world = World(journal, FakeTable("db.t", {0: 6, 1: 6}), concurrent=1)

    world.app.tick()
    world.clock.advance(30)
    world.app.tick()

    assert world.said.of(BacklogMeasured)[-1] == BacklogMeasured(2, 12 * MIB, 30.0)


def test_bucket_without_a_plan_is_not_tried_again_before_the_next_snapshot(
    journal: Journal,
) -> None:
    table = FakeTable("db.t", {0: 6}, fruitless=True)
    world = World(journal, table)
    world.tick()
    world.tick()

    assert outcomes(world) == [Outcome.NOTHING]

    table.write()
    table.fruitless = False
    world.tick()

    assert outcomes(world) == [Outcome.NOTHING, Outcome.COMMITTED]


def test_conflict_is_planned_again_after_a_short_pause(journal: Journal) -> None:
    table = FakeTable("db.t", {0: 6}, fail_commit=[CommitConflict("input gone")])
    world = World(journal, table)

    world.tick()
    world.clock.advance(1)
    world.tick()

    assert outcomes(world) == [Outcome.CONFLICTED, Outcome.COMMITTED]
    assert journal.open_tasks() == ()


def test_storage_failure_is_retried_with_back_off(journal: Journal) -> None:
    errors: list[Exception] = [StorageUnavailable("disk full") for _ in range(2)]
    world = World(journal, FakeTable("db.t", {0: 6}, fail_rewrite=errors))

    for _ in range(4):  # seconds 0, 1, 2 and 3; pauses of 1 and 2 seconds
        world.tick()
        world.clock.advance(1)

    assert outcomes(world) == [Outcome.FAILED, Outcome.FAILED, Outcome.COMMITTED]


@pytest.mark.parametrize("error", [BadData("unknown kind"), VerificationFailed("a row is lost")])
def test_bad_bucket_is_quarantined_and_the_rest_goes_on(journal: Journal, error: Exception) -> None:
    table = FakeTable("db.t", {0: 6, 1: 5}, fail_rewrite=[error])
    world = World(journal, table)

    world.tick()
    world.clock.advance(3600)
    world.tick()

    assert table.runs == {0: 6, 1: 1}
    assert len(world.said.of(BucketQuarantined)) == 1
    assert [key.bucket for key in journal.holds().quarantined] == [0]


def test_quarantined_bucket_goes_on_when_a_person_lifts_it(journal: Journal) -> None:
    table = FakeTable("db.t", {0: 6}, fail_rewrite=[BadData("unknown kind")])
    world = World(journal, table)
    world.tick()

    journal.lift("db.t")
    world.tick()

    assert table.runs == {0: 1}


def test_quarantine_outlives_a_restart(journal: Journal) -> None:
    table = FakeTable("db.t", {0: 6}, fail_rewrite=[BadData("unknown kind")])
    World(journal, table).tick()

    World(journal, table).tick()

    assert table.runs == {0: 6}


def test_bucket_that_kills_its_worker_thrice_is_quarantined(journal: Journal) -> None:
    errors: list[Exception] = [WorkerCrashed("worker died, signal=9") for _ in range(3)]
    world = World(journal, FakeTable("db.t", {0: 6}, fail_rewrite=errors))

    for _ in range(5):
        world.tick()
        world.clock.advance(3600)

    assert outcomes(world) == [Outcome.CRASHED] * 3
    assert len(world.said.of(BucketQuarantined)) == 1


def test_leftovers_of_a_dead_worker_are_swept_at_the_next_tick(journal: Journal) -> None:
    errors: list[Exception] = [WorkerCrashed("worker died, signal=9")]
    world = World(journal, FakeTable("db.t", {0: 6}, fail_rewrite=errors))
    world.tick()
    (left,) = journal.open_tasks()

    world.tick()

    assert world.engine.swept == [left]
    assert journal.open_tasks() == ()
    assert world.said.of(LeftoversSwept) == [
        LeftoversSwept("db.t", left.task_id, committed=False, deleted=1)
    ]


def test_unknown_commit_is_looked_up_before_its_bucket_goes_on(journal: Journal) -> None:
    table = FakeTable("db.t", {0: 6}, fail_commit=[OutcomeUnknown("answer lost")])
    world = World(journal, table)
    world.tick()
    (left,) = journal.open_tasks()
    world.engine.committed_anyway.add(left.task_id)

    world.app.tick()
    assert world.engine.swept == [], "the publish may still be under way"
    world.clock.advance(IN_DOUBT_SECONDS)
    world.app.tick()

    assert outcomes(world) == [Outcome.UNKNOWN]
    assert journal.closed_tasks(9)[0].outcome == "committed"


def test_running_tasks_are_not_swept(journal: Journal) -> None:
    world = World(journal, FakeTable("db.t", {0: 6}))
    world.app.tick()
    (task,) = world.app._running.values()  # pyright: ignore[reportPrivateUsage]
    journal.open_task(task)

    world.app.tick()

    assert world.engine.swept == []


@pytest.mark.parametrize("ends", [False, True])
def test_a_task_that_begins_or_ends_meanwhile_is_not_swept(
    journal: Journal, monkeypatch: pytest.MonkeyPatch, ends: bool
) -> None:
    """Another thread starts or closes it while the open tasks are being read."""
    world = World(journal, FakeTable("db.t", {0: 1}))
    task, opened = a_task("other"), journal.open_tasks
    running = world.app._running  # pyright: ignore[reportPrivateUsage]
    if ends:
        running[task.key] = task
        journal.open_task(task)

    def open_tasks() -> tuple[OpenTask, ...]:
        monkeypatch.undo()
        if not ends:
            running[task.key] = task
            journal.open_task(task)
        found = opened()
        if ends:
            journal.close_task(task.task_id, "committed", task.started, {})
            running.pop(task.key)
        return found

    monkeypatch.setattr(journal, "open_tasks", open_tasks)
    world.tick()

    assert world.engine.swept == []


def test_a_publish_of_a_dead_daemon_may_still_reach_its_store(journal: Journal) -> None:
    before = START - timedelta(seconds=1)
    journal.open_task(a_task("left-1", path="s3://bucket/wh/db.db/t", started=before))
    world = World(journal, FakeTable("db.t", {0: 1}))

    world.tick()
    assert world.engine.swept == [], "its files may be those of the next snapshot"
    world.clock.advance(IN_DOUBT_SECONDS)
    world.tick()

    assert [task.task_id for task in world.engine.swept] == ["left-1"]


def test_start_sweeps_what_a_crashed_daemon_left(journal: Journal) -> None:
    journal.open_task(a_task("left-1"))
    world = World(journal, FakeTable("db.t", {0: 1}))

    world.tick()

    assert [task.task_id for task in world.engine.swept] == ["left-1"]
    assert journal.open_tasks() == ()


def test_sweep_that_fails_is_tried_again_with_back_off(journal: Journal) -> None:
    journal.open_task(a_task("left-1"))
    world = World(journal, FakeTable("db.t", {0: 1}))
    world.engine.fail_sweep = [StorageUnavailable("no disk"), StorageUnavailable("no disk")]

    for _ in range(4):
        world.tick()
        world.clock.advance(1)

    assert [task.task_id for task in world.engine.swept] == ["left-1"]
    assert world.said.names.count("sweep.failed") == 2


def test_leftovers_of_a_dropped_table_are_forgotten(journal: Journal) -> None:
    journal.open_task(a_task("left-1"))
    world = World(journal)
    world.engine.fail_sweep = [TableMissing("no table here")]

    world.tick()

    assert journal.open_tasks() == ()
    assert journal.closed_tasks(1)[0].outcome == "table-gone"


def test_table_that_cannot_be_read_does_not_stop_the_others(journal: Journal) -> None:
    bad = FakeTable("db.a", {0: 6}, fail_refresh=[StorageUnavailable("no disk")])
    good = FakeTable("db.b", {0: 6})
    world = World(journal, bad, good)

    world.tick()
    assert (bad.runs, good.runs) == ({0: 6}, {0: 1})
    assert len(world.said.of(TableFailed)) == 1

    world.clock.advance(1)
    world.tick()
    assert bad.runs == {0: 1}


@pytest.mark.parametrize("error", [CorruptTable("manifest is cut off"), KeyError("a bug")])
def test_broken_table_is_halted_until_a_person_says_so(journal: Journal, error: Exception) -> None:
    bad, good = FakeTable("db.a", {0: 6}, fail_refresh=[error]), FakeTable("db.b", {0: 6})
    world = World(journal, bad, good)
    for _ in range(3):
        world.tick()
        world.clock.advance(3600)
    assert (bad.runs, good.runs) == ({0: 6}, {0: 1})
    assert len(world.said.of(TableHalted)) == 1

    journal.lift("db.a")
    world.tick()

    assert bad.runs == {0: 1}


def test_table_that_is_not_understood_is_skipped_and_looked_at_now_and_then(
    journal: Journal,
) -> None:
    errors: list[Exception] = [UnsupportedFeature("merge engine", value="x") for _ in range(2)]
    table = FakeTable("db.a", {0: 6}, fail_open=errors)
    world = World(journal, table)

    world.tick()
    world.clock.advance(301)
    world.tick()
    world.tick()
    assert len(world.said.of(TableSkipped)) == 1  # the same reason is said once
    assert table.runs == {0: 6}

    world.clock.advance(301)
    world.tick()
    assert table.runs == {0: 1}


def test_table_dropped_in_mid_task_is_forgotten(journal: Journal) -> None:
    table = FakeTable("db.t", {0: 6})
    world = World(journal, table)
    world.app.tick()
    del world.engine.tables_by_name["db.t"]

    world.pool.run()
    world.tick()

    assert world.said.of(TableForgotten) == [TableForgotten("db.t")]
    assert world.said.of(TickFinished)[-1] == TickFinished(0, 0, 0, 0, 0.0)


def test_dropped_table_leaves_the_backlog(journal: Journal) -> None:
    world = World(journal, FakeTable("db.t", {0: 6, 1: 6}), concurrent=1)
    world.app.tick()
    del world.engine.tables_by_name["db.t"]

    world.app.tick()

    assert world.said.of(BacklogMeasured)[-1] == BacklogMeasured(0, 0, 0.0)


def test_warehouse_that_cannot_be_listed_keeps_its_known_tables(journal: Journal) -> None:
    table = FakeTable("db.t", {0: 1})
    world = World(journal, table)
    world.tick()
    world.engine.fail_tables = [StorageUnavailable("no disk")]
    table.write(runs=5)

    world.tick()

    assert table.runs == {0: 1}
    assert len(world.said.of(CatalogFailed)) == 1


def test_tables_of_several_catalogs_have_different_names(journal: Journal) -> None:
    catalogs = [CatalogConfig(name=name, warehouse=name) for name in ("a", "b")]
    world = World(journal, FakeTable("db.t", {0: 1}), catalogs=catalogs)

    world.tick()

    assert world.said.names.count("table.found") == 2
    assert world.said.of(TickFinished)[-1] == TickFinished(2, 2, 0, 0, 0.0)


def test_counters_survive_a_restart(journal: Journal) -> None:
    table = FakeTable("db.t", {0: 1}, spend={"|0": [100, 250]}, spend_upto_snapshot_id=7)
    world = World(journal, table)
    world.tick()
    world.app.close()
    table.spend, table.spend_upto_snapshot_id = {}, 0

    World(journal, table).tick()

    assert (table.spend, table.spend_upto_snapshot_id) == ({"|0": [100, 250]}, 7)


def test_drain_starts_nothing_more(journal: Journal) -> None:
    world = World(journal, FakeTable("db.t", {0: 6, 1: 6}), concurrent=1)
    world.app.tick()
    assert not world.app.drain(limit_seconds=0)
    assert not world.app.ready

    world.pool.run()
    world.app.tick()

    assert len(world.engine.rewritten) == 1
    assert world.app.drain(limit_seconds=0)


def test_ready_after_the_first_tick(journal: Journal) -> None:
    world = World(journal, FakeTable("db.t", {0: 1}))
    assert not world.app.ready

    world.tick()

    assert world.app.ready


def test_alive_while_it_ticks(journal: Journal) -> None:
    world = World(journal, FakeTable("db.t", {0: 1}))
    world.tick()
    assert world.app.alive

    world.clock.advance(61)

    assert not world.app.alive


def test_status_shows_what_runs_waits_and_was_done(journal: Journal) -> None:
    table = FakeTable("db.t", {0: 7, 1: 6}, fail_rewrite=[BadData("unknown kind")])
    world = World(journal, table, concurrent=1)
    world.app.tick()
    before = world.app.status()
    world.pool.run()
    after = world.app.status()

    assert (before["running"], before["waiting"]) != ([], [])
    assert (after["running"], after["waiting"]) == ([], [])
    assert [len(after[name]) for name in ("quarantined", "recent")] == [1, 2]  # type: ignore[arg-type]


def test_journal_that_cannot_be_written_stops_tasks_not_the_daemon(
    journal: Journal, tmp_path: Path
) -> None:
    table = FakeTable("db.t", {0: 6})
    world = World(journal, table)
    journal.close()

    world.tick()

    assert table.runs == {0: 6}
    assert "journal.failed" in world.said.names
    assert "tick.failed" not in world.said.names


def test_replaced_snapshot_is_published_again_and_said(journal: Journal) -> None:
    """Engines that only rename can replace a snapshot of ours; ticks look for a minute."""
    table = FakeTable("db.t", {0: 6})
    world = World(journal, table)
    world.tick()
    world.engine.replaced["/wh/db.t"] = CommitOutcome(9, attempts=1, lost_races=1)

    world.tick()
    world.clock.advance(61)
    world.tick()
    before = len(world.engine.rechecked)
    world.tick()

    said = world.said.of(CommitRepublished)
    assert [e.snapshot_id for e in said if isinstance(e, CommitRepublished)] == [9]
    assert len(world.engine.rechecked) == before
