"""Chores of tables: whose turn it is, what they are told is in use, what a failure costs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from prometheus_client import CollectorRegistry
from support.builders import keyed_table, kv
from support.daemon_fakes import FakeTable, World, a_task

from desilt.daemon.chores import Chore, ChoreDone, OrphanChore, PartitionChore, TagChore
from desilt.daemon.config_catalog import CatalogConfig
from desilt.daemon.config_upkeep import OrphansConfig, PartitionsConfig, TagsConfig, chores_of
from desilt.daemon.engine import Rewriter, TableEngine
from desilt.daemon.journal import Journal
from desilt.daemon.listen import UpkeepFailed, UpkeepFinished, UpkeepSkipped
from desilt.daemon.metrics import MetricsListener
from desilt.daemon.schedule import Cron, Every, next_after
from desilt.daemon.supervisor import Supervisor, SupervisorOptions
from desilt.daemon.units import Duration
from desilt.daemon.upkeep import FIRST_SECONDS_MAX
from desilt.table.catalog import Catalog
from desilt.table.errors import CorruptTable, StorageUnavailable, UnsupportedFeature
from desilt.table.expire import InUse
from desilt.table.orphans.clean import OrphanSettings
from desilt.table.partition_time import PartitionOverride

HOUR = 3_600_000
TAGS = TagChore(Every(Duration(60)))
DAILY = OrphanChore(Every(Duration(86400)), OrphanSettings(HOUR))
DROPS = PartitionChore(Every(Duration(60)), PartitionOverride(expire_millis=1))


def done(world: World) -> list[tuple[str, str]]:
    return [(path, chore.name) for path, chore, _ in world.engine.tidied]


def test_chores_are_done_at_their_times(journal: Journal) -> None:
    world = World(journal, FakeTable("db.t", {0: 1}), chores=(TAGS,))
    world.tick()
    assert done(world) == []

    for expected in (1, 1, 2):
        world.clock.advance(30 if expected == 1 and done(world) else 60)
        world.tick()
        assert len(done(world)) == expected
    assert done(world)[0] == ("/wh/db.t", "tags")


def test_what_is_done_seldom_is_first_done_soon(journal: Journal) -> None:
    world = World(journal, FakeTable("db.t", {0: 1}), chores=(DAILY,))
    world.tick()
    world.clock.advance(FIRST_SECONDS_MAX)
    world.tick()
    world.clock.advance(FIRST_SECONDS_MAX)
    world.tick()

    assert done(world) == [("/wh/db.t", "orphans")]
    world.clock.advance(86400)
    world.tick()
    assert len(done(world)) == 2


def test_a_cron_expression_means_its_times_alone(journal: Journal) -> None:
    nightly = OrphanChore(Cron("17 3 * * *"), OrphanSettings(HOUR))
    world = World(journal, FakeTable("db.t", {0: 1}), chores=(nightly,))
    world.tick()
    due = next_after(nightly.when, world.clock.now())
    assert (due.hour, due.minute) == (3, 17)
    world.clock.advance((due - world.clock.now()).total_seconds() - 1)
    world.tick()
    assert done(world) == []
    world.clock.advance(3 * 86400)  # three nights are missed: one run
    world.tick()
    world.tick()
    assert len(done(world)) == 1


def test_next_after_is_later() -> None:
    moment = datetime(2026, 3, 4, 3, 17, tzinfo=UTC)
    assert next_after(Cron("17 3 * * *"), moment) == moment + timedelta(days=1)
    assert next_after(Every(Duration(90)), moment) == moment + timedelta(seconds=90)


def test_a_run_that_would_go_on_is_followed_at_once(journal: Journal) -> None:
    table = FakeTable("db.t", {0: 1}, chores_done=[ChoreDone(dropped=3, more=True)])
    world = World(journal, table, chores=(DROPS,))
    world.tick()
    world.clock.advance(60)
    world.tick()
    world.tick()
    world.tick()

    assert len(done(world)) == 2
    finished = world.said.of(UpkeepFinished)
    assert [e.dropped for e in finished if isinstance(e, UpkeepFinished)] == [3, 0]


def test_running_and_open_tasks_are_in_use(journal: Journal) -> None:
    table = FakeTable("db.t", {0: 9})
    world = World(journal, table, chores=(TAGS,))
    world.app.tick()  # a task is admitted, and waits in the pool
    world.clock.advance(60)
    world.app.tick()
    world.pool.waiting.clear()
    world.expiry_pool.run()

    ((_, _, used),) = world.engine.tidied
    assert used.snapshots == frozenset()
    lost = "11111111-1111-4111-8111-111111111111"
    world.clock.advance(60)
    world.app.tick()
    journal.open_task(a_task(lost))
    world.expiry_pool.run()
    assert world.engine.tidied[-1][2].tasks == {lost}


@pytest.mark.parametrize("error", [StorageUnavailable("away"), CorruptTable("broken")])
def test_a_failure_costs_its_chore_a_pause_and_nothing_else(
    journal: Journal, error: Exception
) -> None:
    bad, good = FakeTable("db.bad", {0: 1}, fail_expire=[error]), FakeTable("db.good", {0: 1})
    world = World(journal, bad, good, chores=(TAGS,))
    world.tick()
    world.clock.advance(60)
    world.tick()

    (failed,) = world.said.of(UpkeepFailed)
    assert isinstance(failed, UpkeepFailed)
    assert (failed.table, failed.action) == ("db.bad", "tags")
    assert {path for path, _ in done(world)} == {"/wh/db.bad", "/wh/db.good"}
    world.clock.advance(600)
    world.tick()
    assert sorted(done(world)).count(("/wh/db.bad", "tags")) == 2


def test_a_refused_table_is_named_once(journal: Journal) -> None:
    errors: list[Exception] = [UnsupportedFeature("no", option="x") for _ in range(3)]
    world = World(journal, FakeTable("db.t", {0: 1}, fail_expire=errors), chores=(TAGS,))
    for _ in range(4):
        world.tick()
        world.clock.advance(600)

    assert len(done(world)) == 3
    assert len(world.said.of(UpkeepSkipped)) == 1


def test_nothing_is_begun_when_the_daemon_drains(journal: Journal) -> None:
    world = World(journal, FakeTable("db.t", {0: 1}), chores=(TAGS,))
    world.tick()
    world.clock.advance(60)
    world.app.tick()
    world.app.drain(0)
    world.expiry_pool.run()
    world.tick()

    assert done(world) == []


def test_metrics_say_what_was_done(journal: Journal) -> None:
    registry = CollectorRegistry()
    table = FakeTable("db.t", {0: 1}, chores_done=[ChoreDone(files=7, size_bytes=70)])
    world = World(journal, table, chores=(TAGS,), listeners=[MetricsListener(registry)])
    world.tick()
    world.clock.advance(60)
    world.tick()

    labels = {"table": "db.t", "action": "tags"}
    assert registry.get_sample_value("desilt_upkeep_total", {**labels, "what": "files"}) == 7
    assert registry.get_sample_value("desilt_upkeep_total", {**labels, "what": "bytes"}) == 70
    assert registry.get_sample_value("desilt_last_success_timestamp_seconds", labels) is not None


def test_sections_become_chores() -> None:
    chores = chores_of(
        TagsConfig(creation="process-time", retain_age=Duration(7200)),
        PartitionsConfig(expire_after=Duration(86400), strategy="update-time"),
        OrphansConfig(),
    )

    assert [chore.name for chore in chores] == ["tags", "partitions", "orphans"]
    assert isinstance(chores[0], TagChore)
    assert dict(chores[0].overrides) == {
        "tag.automatic-creation": "process-time",
        "tag.default-time-retained": "7200000 ms",
    }
    assert chores_of(None, None, None) == ()


def test_the_real_engine_tidies_a_real_table(tmp_path: Path) -> None:
    warehouse = tmp_path / "lake"
    table = Catalog(str(_made(warehouse))).create_table(
        "db.parts",
        {"k": "INT NOT NULL", "dt": "STRING NOT NULL", "v": "STRING"},
        primary_key=["k", "dt"],
        partition_by=["dt"],
        options={"bucket": "1"},
    )
    for day in ("2020-01-01", "2099-01-01"):
        table.write(
            pl.DataFrame({"k": [1], "dt": [day], "v": ["a"]}, schema_overrides={"k": pl.Int32})
        )
    supervisor = Supervisor(SupervisorOptions(workers=1, threads=1, rss_bytes_max=2**30))
    engine = TableEngine(Rewriter(supervisor, "quarter"))
    opened = engine.open(CatalogConfig(name="lake", warehouse=str(warehouse)), "db.parts")

    def tidy(chore: Chore) -> ChoreDone:
        return engine.tidy(opened.path, chore, InUse)

    always = TagChore(Every(Duration(60)), (("tag.automatic-creation", "process-time"),))
    assert tidy(always).made == 1
    assert tidy(always) == ChoreDone()
    assert tidy(PartitionChore(Every(Duration(60)), PartitionOverride())) == ChoreDone()
    old = PartitionOverride(expire_millis=86_400_000, formatter="yyyy-MM-dd")
    assert tidy(PartitionChore(Every(Duration(60)), old)).dropped == 1
    assert table.scan().collect()["dt"].to_list() == ["2099-01-01"]
    orphan = Path(table.path, "manifest", "manifest-of-a-dead-writer")
    orphan.write_bytes(b"x")
    settings = OrphanSettings(1, forced=True)
    assert tidy(OrphanChore(Every(Duration(60)), settings)).files in (0, 1)
    assert tidy(OrphanChore(Every(Duration(60)), settings)).files in (0, 1)
    assert not orphan.exists()


def _made(folder: Path) -> Path:
    keyed_table(folder).write(kv((1, "a")))
    return folder
