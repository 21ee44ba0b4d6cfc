"""Expiry in the daemon: whose turn it is, what is bounded, what an error costs."""

from __future__ import annotations

from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from support.builders import keyed_table, kv
from support.daemon_fakes import FakeTable, World

from desilt.daemon.config_catalog import CatalogConfig
from desilt.daemon.engine import Rewriter, TableEngine
from desilt.daemon.expiry import EXPIRE_SECONDS, IN_FLIGHT_MAX
from desilt.daemon.journal import Journal
from desilt.daemon.listen import (
    ExpiryFailed,
    ExpiryFinished,
    ExpirySkipped,
    TableForgotten,
    TableHalted,
)
from desilt.daemon.logs import LogListener, make_logger
from desilt.daemon.metrics import MetricsListener
from desilt.daemon.outcome import Next
from desilt.daemon.supervisor import Supervisor, SupervisorOptions
from desilt.table.errors import (
    CommitConflict,
    CorruptTable,
    StorageUnavailable,
    TableMissing,
    UnsupportedFeature,
)
from desilt.table.expire import InUse, Override

OWN = Override()


def expired(world: World) -> list[str]:
    return [path for path, _, _ in world.engine.expired]


def test_tables_are_expired_by_their_rule(journal: Journal) -> None:
    table = FakeTable("db.t", {0: 1}, old_snapshots=5)
    world = World(journal, table, snapshots=Override(retain_max=3))
    world.tick()

    assert world.engine.expired == [("/wh/db.t", Override(retain_max=3), InUse())]
    assert world.said.of(ExpiryFinished) == [
        ExpiryFinished("db.t", 5, 0, 0, files=5, size_bytes=50, left=3, duration_seconds=0.0)
    ]


def test_tables_whose_rule_does_not_speak_of_snapshots_keep_them(journal: Journal) -> None:
    world = World(journal, FakeTable("db.t", {0: 1}, old_snapshots=5))
    world.tick()

    assert world.engine.expired == []


def test_a_table_has_a_turn_a_minute(journal: Journal) -> None:
    world = World(journal, FakeTable("db.t", {0: 1}), snapshots=OWN)
    for _ in range(3):
        world.tick()
    world.clock.advance(EXPIRE_SECONDS - 1)
    world.tick()
    assert len(expired(world)) == 1
    world.clock.advance(1)
    world.tick()

    assert len(expired(world)) == 2


def test_the_pause_between_two_runs_can_be_set(journal: Journal) -> None:
    world = World(journal, FakeTable("db.t", {0: 1}), snapshots=OWN, expire_seconds=5.0)
    world.tick()
    world.clock.advance(4)
    world.tick()
    assert len(expired(world)) == 1
    world.clock.advance(1)
    world.tick()

    assert len(expired(world)) == 2


def test_what_only_the_limit_of_a_run_ended_goes_on_at_once(journal: Journal) -> None:
    table = FakeTable("db.t", {0: 1}, old_snapshots=120)
    world = World(journal, table, snapshots=OWN)
    for _ in range(5):
        world.tick()

    assert table.old_snapshots == 0
    assert len(expired(world)) == 3


def test_few_tables_wait_for_expiry_and_each_has_its_turn(journal: Journal) -> None:
    tables = [FakeTable(f"db.t{i}", {0: 1}) for i in range(IN_FLIGHT_MAX + 3)]
    world = World(journal, *tables, snapshots=OWN)
    world.app.tick()
    world.app.tick()
    assert len(world.expiry_pool.waiting) == IN_FLIGHT_MAX

    world.expiry_pool.run()
    world.tick()
    assert sorted(expired(world)) == sorted(f"/wh/{table.name}" for table in tables)


def test_the_table_that_waits_longest_comes_first(journal: Journal) -> None:
    tables = [FakeTable(f"db.t{i}", {0: 1}) for i in range(IN_FLIGHT_MAX + 1)]
    world = World(journal, *tables, snapshots=OWN)
    world.tick()
    world.clock.advance(2 * EXPIRE_SECONDS)
    world.app.tick()
    world.expiry_pool.run(limit=1)

    assert expired(world)[-1] == f"/wh/db.t{IN_FLIGHT_MAX}"


def test_snapshots_that_running_tasks_read_are_told(journal: Journal) -> None:
    table = FakeTable("db.t", {0: 6}, snapshot_id=9)
    world = World(journal, table, snapshots=OWN)
    seen: list[InUse] = []
    rewrite = world.engine.rewrite

    def slow_rewrite(*arguments: object) -> object:
        world.expiry_pool.run()
        seen.append(world.engine.expired[-1][2])
        return rewrite(*arguments)  # type: ignore[arg-type]  # passed on

    world.engine.rewrite = slow_rewrite  # type: ignore[method-assign,assignment]
    world.tick()
    world.clock.advance(EXPIRE_SECONDS)
    world.tick()

    assert seen == [InUse(frozenset({9}))]
    assert world.engine.expired[-1][2] == InUse()


def test_the_real_engine_expires_a_real_table(tmp_path: Path) -> None:
    table = keyed_table(tmp_path)
    for number in range(4):
        table.write(kv((number, "v")))
    supervisor = Supervisor(SupervisorOptions(workers=1, threads=1, rss_bytes_max=2**30))
    engine = TableEngine(Rewriter(supervisor, "quarter"))
    opened = engine.open(CatalogConfig(name="lake", warehouse=str(tmp_path)), "db.t")
    held = engine.expire(opened.path, Override(1, 1), lambda: InUse(frozenset({2})))
    result = engine.expire(opened.path, Override(1, 1), InUse)

    assert (held.snapshots, result.snapshots, result.left) == (1, 2, 1)
    assert table.handle.snapshots.ids() == (4,)


# --- errors -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "step", "pause"),
    [
        (StorageUnavailable("away"), Next.RETRY, 1),
        (CommitConflict("changed"), Next.RESCAN, 1),
        (CorruptTable("tag is not readable"), Next.HALT_TABLE, 600),
        (RuntimeError("a bug"), Next.HALT_TABLE, 600),
    ],
)
def test_an_error_costs_its_own_table_a_pause(
    journal: Journal, error: Exception, step: Next, pause: float
) -> None:
    bad, good = FakeTable("db.bad", {0: 6}), FakeTable("db.good", {0: 1}, old_snapshots=2)
    bad.fail_expire = [error]
    world = World(journal, bad, good, snapshots=OWN)
    world.tick()
    (failed,) = world.said.of(ExpiryFailed)

    assert isinstance(failed, ExpiryFailed)
    assert (failed.table, failed.next) == ("db.bad", step)
    assert good.old_snapshots == 0
    assert bad.runs == {0: 1}, "it goes on being compacted"
    assert world.said.of(TableHalted) == []
    world.clock.advance(pause - 0.5)
    world.tick()
    assert expired(world).count("/wh/db.bad") == 1
    world.clock.advance(0.5)
    world.tick()
    assert expired(world).count("/wh/db.bad") == 2


def test_pauses_grow_while_it_goes_on_failing(journal: Journal) -> None:
    table = FakeTable("db.t", {0: 1}, fail_expire=[StorageUnavailable("away")] * 3)
    world = World(journal, table, snapshots=OWN)
    moments: list[int] = []
    for second in range(12):
        before = len(expired(world))
        world.tick()
        moments += [second] * (len(expired(world)) - before)
        world.clock.advance(1)

    assert moments == [0, 1, 3, 7]  # after 1, 2 and 4 seconds; then it went through


def test_a_refused_table_is_told_of_once(journal: Journal) -> None:
    table = FakeTable("db.t", {0: 1}, fail_expire=[UnsupportedFeature("outside")] * 2)
    world = World(journal, table, snapshots=OWN)
    for _ in range(2):
        world.tick()
        world.clock.advance(300)

    assert len(expired(world)) == 2
    assert [e.name for e in world.said.of(ExpirySkipped)] == ["expiry.skipped"]


def test_a_table_dropped_meanwhile_is_no_failure(journal: Journal) -> None:
    world = World(journal, FakeTable("db.t", {0: 1}), snapshots=OWN)
    world.engine.tables_by_name["db.t"].fail_expire = [TableMissing("gone")]
    world.tick()

    assert world.said.of(ExpiryFailed, ExpirySkipped) == []


def test_tables_that_are_left_alone_are_not_expired(journal: Journal) -> None:
    table = FakeTable("db.t", {0: 1}, fail_refresh=[CorruptTable("broken")])
    world = World(journal, table, snapshots=OWN)
    world.tick()

    assert len(world.said.of(TableHalted)) == 1
    assert world.engine.expired == []


def test_nothing_is_expired_while_the_daemon_ends(journal: Journal) -> None:
    world = World(journal, FakeTable("db.t", {0: 1}, old_snapshots=5), snapshots=OWN)
    world.app.tick()
    world.app.drain(0)
    world.expiry_pool.run()
    world.clock.advance(EXPIRE_SECONDS)
    world.tick()

    assert world.engine.expired == []


# --- what is said -------------------------------------------------------------------------------


def test_metrics_of_expiry(journal: Journal) -> None:
    registry = CollectorRegistry()
    table = FakeTable("db.t", {0: 1}, old_snapshots=60)
    table.fail_expire = [StorageUnavailable("away")]
    world = World(journal, table, snapshots=OWN, listeners=[MetricsListener(registry)])

    def value(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(name, labels)

    world.tick()
    assert value("desilt_expired_snapshots_total", table="db.t") == 0
    assert value("desilt_failures_total", subject="expiry") == 1
    for _ in range(2):
        world.clock.advance(1)
        world.tick()
    assert value("desilt_expired_snapshots_total", table="db.t") == 60
    assert value("desilt_expired_files_total", table="db.t") == 60
    assert value("desilt_snapshots", table="db.t") == 3
    labels = {"table": "db.t", "action": "expire"}
    assert value("desilt_last_success_timestamp_seconds", **labels) is not None
    MetricsListener.__call__(world_listener(world), TableForgotten("db.t"))
    assert value("desilt_snapshots", table="db.t") is None


def world_listener(world: World) -> MetricsListener:
    (listener,) = (x for x in world.listeners if isinstance(x, MetricsListener))
    return listener


def test_only_an_expiry_that_did_something_is_a_line_of_the_log(
    journal: Journal, capsys: pytest.CaptureFixture[str]
) -> None:
    import sys

    from desilt.daemon.config import LogsConfig

    logs = LogListener(make_logger(LogsConfig(level="info"), sys.stdout))
    table = FakeTable("db.t", {0: 1}, old_snapshots=5)
    world = World(journal, table, snapshots=OWN, listeners=[logs])
    for _ in range(3):
        world.tick()
        world.clock.advance(EXPIRE_SECONDS)
    lines = [line for line in capsys.readouterr().out.splitlines() if "expiry.finished" in line]

    assert len(expired(world)) == 3
    assert len(lines) == 1
    assert '"snapshots": 5' in lines[0]
