"""Many tables: each is looked at in its turn, and what goes wrong with one stays with it.

Where time matters it is the manual clock's; what is counted are calls, never seconds.
"""

from __future__ import annotations

import random
import threading
from collections import Counter
from pathlib import Path
from typing import cast

import polars as pl
import pytest
from support.daemon_fakes import START, FakeObserver, FakeTable, World

from desilt.daemon.clock import ManualClock, SystemClock
from desilt.daemon.config_catalog import CatalogConfig
from desilt.daemon.crew import HANGING_MAX, Crew
from desilt.daemon.engine import LOCAL_WIDTH, Rewriter, TableEngine
from desilt.daemon.journal import Journal, Spend
from desilt.daemon.listen import (
    CatalogFailed,
    FleetLooked,
    PolicyFailed,
    TableFailed,
    TableForgotten,
    TableFound,
    TableHalted,
    TaskFinished,
    TickFailed,
)
from desilt.daemon.observe import IDLE_AFTER_SECONDS, Pace
from desilt.table.errors import CorruptTable, StorageUnavailable, TableMissing
from desilt.table.storage.options import IN_FLIGHT

# A round ends when all looks have; only one in which something hangs takes so long.
HANG_SECONDS = 1.0


def fleet(number: int, runs: int = 1) -> list[FakeTable]:
    return [FakeTable(f"db.t{n:05d}", {0: runs}) for n in range(number)]


def looks(world: World) -> Counter[str]:
    """How often each table was looked at."""
    return Counter({name: seen.refreshes for name, seen in world.engine.observers.items()})


def last(world: World) -> FleetLooked:
    told = world.said.of(FleetLooked)[-1]
    assert isinstance(told, FleetLooked)
    return told


# --- ten thousand tables --------------------------------------------------------------------------


@pytest.fixture
def light(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fakes that cost little: nothing is saved, and all tables share a frame."""
    frame = FakeObserver(FakeTable("db.t", {0: 6}))._frame()  # pyright: ignore[reportPrivateUsage]

    def save_nothing(_journal: Journal, _path: str, _spend: Spend) -> None:
        return

    def shared(_observer: FakeObserver) -> pl.DataFrame:
        return frame

    monkeypatch.setattr(Journal, "save_spend", save_nothing)
    monkeypatch.setattr(FakeObserver, "_frame", shared)


@pytest.mark.usefixtures("light")
def test_ten_thousand_tables_cost_one_look_each_and_one_health_frame_in_all(
    journal: Journal,
) -> None:
    world = World(journal, *fleet(10_000), tick_seconds=1e6, pace=Pace(discover_seconds=60.0))
    world.app.tick()
    for _ in range(3):
        world.clock.advance(5.0)
        world.app.tick()

    assert set(looks(world).values()) == {4}
    assert {seen.measures for seen in world.engine.observers.values()} == {1}
    assert world.engine.listed == 1
    assert (last(world).looked, last(world).left, last(world).lag_seconds) == (10_000, 0, 0.0)


@pytest.mark.usefixtures("light")
def test_ten_thousand_due_tables_are_one_backlog(journal: Journal) -> None:
    world = World(journal, *fleet(10_000, runs=6), tick_seconds=1e6)

    world.app.tick()

    waiting = world.app.status()["waiting"]
    assert isinstance(waiting, list)
    assert len(cast("list[object]", waiting)) == 10_000 - 2


def test_a_table_that_changed_is_measured_and_no_other(journal: Journal) -> None:
    tables = fleet(50)
    world = World(journal, *tables)
    world.tick()

    tables[7].write()
    world.clock.advance(1.0)
    world.tick()

    measured = {name: seen.measures for name, seen in world.engine.observers.items()}
    assert {name for name, times in measured.items() if times > 1} == {"db.t00007"}


def test_what_waits_grows_older_though_nothing_is_measured_again(journal: Journal) -> None:
    table = FakeTable("db.t", {0: 1}, facts={"oldest_level0_age_seconds": 10.0})
    world = World(journal, table)
    world.tick()
    world.clock.advance(90.0)
    world.tick()

    now = int(world.clock.now().timestamp() * 1000)
    frame = world.app._fleet.facts.frame(now)  # pyright: ignore[reportPrivateUsage]
    assert frame["oldest_level0_age_seconds"].to_list() == [100.0]
    assert world.engine.observers["db.t"].measures == 1


# --- the budget of a tick -------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_a_tick_goes_on_where_the_last_one_ended(
    journal: Journal, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each look takes a second of a tick of seven; nobody is looked at twice before all were."""
    print(f"seed={seed}")
    chance = random.Random(seed)
    tables = fleet(chance.randint(8, 60))
    chance.shuffle(tables)
    world = World(journal, *tables, tick_seconds=7.0)
    slow_looks(world, monkeypatch, seconds=1.0)

    for _ in range(chance.randint(3, 30)):
        world.tick()
        times = looks(world)
        spread = [times[table.name] for table in tables]
        assert max(spread) - min(spread) <= 1
        assert last(world).looked == 7
        assert last(world).left == len(tables) - 7


def test_the_lag_says_how_old_the_oldest_look_is(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(journal, *fleet(20), tick_seconds=5.0)
    slow_looks(world, monkeypatch, seconds=1.0)

    lags = list[float]()
    for _ in range(8):
        world.tick()
        lags.append(last(world).lag_seconds)

    # The first four ticks reach everybody; from then on the oldest look is three ticks old.
    assert lags == [5.0, 10.0, 15.0, 19.0, 19.0, 19.0, 19.0, 19.0]
    assert world.app.ready


def test_not_ready_before_every_table_had_its_turn(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(journal, *fleet(12), tick_seconds=5.0)
    slow_looks(world, monkeypatch, seconds=1.0)

    ready = list[bool]()
    for _ in range(3):
        world.tick()
        ready.append(world.app.ready)

    assert ready == [False, False, True]


def slow_looks(world: World, monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Every look takes so long, by the manual clock."""
    refresh = FakeObserver.refresh

    def slow(observer: FakeObserver) -> bool:
        world.clock.advance(seconds)
        return refresh(observer)

    monkeypatch.setattr(FakeObserver, "refresh", slow)


# --- pace -----------------------------------------------------------------------------------------


def test_warehouses_are_listed_now_and_then(journal: Journal) -> None:
    world = World(journal, FakeTable("db.a", {0: 1}), pace=Pace(discover_seconds=60.0))
    world.tick()
    world.engine.tables_by_name["db.b"] = FakeTable("db.b", {0: 1})

    seen = list[int]()
    for _ in range(7):
        world.clock.advance(10.0)
        world.tick()
        seen.append(looks(world)["db.b"])

    assert seen == [0, 0, 0, 0, 0, 1, 2]
    assert world.engine.listed == 2


def test_a_listing_that_failed_is_tried_at_the_next_tick(journal: Journal) -> None:
    world = World(journal, FakeTable("db.a", {0: 1}), pace=Pace(discover_seconds=60.0))
    world.engine.fail_tables = [StorageUnavailable("cannot LIST")]
    world.tick()
    world.tick()

    assert len(world.said.of(CatalogFailed)) == 1
    assert looks(world) == {"db.a": 1}


def test_idle_tables_are_looked_at_in_the_last_half_of_their_interval(journal: Journal) -> None:
    tables = fleet(200)
    world = World(journal, *tables, pace=Pace(0.0, idle_seconds=100.0))
    world.tick()
    world.clock.advance(IDLE_AFTER_SECONDS)
    world.tick()  # the last one before they rest
    before = looks(world)

    per_tick = list[int]()
    for _ in range(10):
        world.clock.advance(10.0)
        world.tick()
        per_tick.append(last(world).looked)

    assert per_tick[:4] == [0, 0, 0, 0]
    assert max(per_tick) < 100, "they are not due together"
    assert set((looks(world) - before).values()) == {1}, "each once"
    assert len(looks(world) - before) == 200


def test_a_table_that_wakes_up_is_looked_at_at_every_tick(journal: Journal) -> None:
    table = FakeTable("db.t", {0: 1})
    world = World(journal, table, pace=Pace(0.0, idle_seconds=100.0))
    world.tick()
    world.clock.advance(IDLE_AFTER_SECONDS)
    world.tick()
    table.write()
    for _ in range(11):
        world.clock.advance(10.0)
        world.tick()

    assert 3 <= looks(world)["db.t"] - 2 < 11


# --- one that goes wrong --------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(8))
def test_what_comes_goes_and_breaks_disturbs_nobody(journal: Journal, seed: int) -> None:
    """However it goes, every other table is looked at once a tick."""
    print(f"seed={seed}")
    chance = random.Random(seed)
    steady = [FakeTable(f"db.steady{n}", {0: chance.choice([1, 6])}) for n in range(30)]
    odd = [FakeTable(f"db.odd{n}", {0: 1}) for n in range(10)]
    everybody = [*steady, *odd]
    chance.shuffle(everybody)
    world = World(journal, *everybody, tick_seconds=1e6)
    there = world.engine.tables_by_name
    errors = (StorageUnavailable("slow"), CorruptTable("bad"), TableMissing("gone"), ValueError())

    for tick in range(1, 16):
        for table in chance.sample(odd, 3):
            match chance.choice(("breaks", "goes", "comes", "cannot be opened")):
                case "breaks":
                    table.fail_refresh.append(chance.choice(errors))
                case "goes":
                    there.pop(table.name, None)
                case "comes":
                    there[table.name] = table
                case _:
                    table.fail_open.append(chance.choice(errors))
        world.clock.advance(chance.uniform(0.1, 5.0))
        before = looks(world)
        world.app.tick()
        seen = looks(world)
        assert {seen[t.name] - before[t.name] for t in steady} == {1}, f"tick {tick}"
        world.pool.run()

    assert world.said.of(TickFailed, PolicyFailed, CatalogFailed) == []
    assert [t.runs for t in steady] == [{0: 1}] * 30, "and compacted"


def test_a_table_that_vanished_is_forgotten_by_its_own_look(journal: Journal) -> None:
    """Long before the warehouse is listed again; and it is looked into again when it is listed."""
    table, other = FakeTable("db.t", {0: 6}), FakeTable("db.u", {0: 1})
    world = World(journal, table, other, concurrent=1, pace=Pace(discover_seconds=1e6))
    world.app.tick()
    table.fail_refresh = [TableMissing("no table here")]
    world.app.tick()

    assert [e.name for e in world.said.of(TableForgotten)] == ["table.forgotten"]
    assert [t.name for t in world.app._fleet.tables] == ["db.u"]  # pyright: ignore[reportPrivateUsage]
    assert looks(world)["db.u"] == 2


@pytest.mark.parametrize("width", [1, 4])
def test_a_look_that_hangs_holds_up_nobody(journal: Journal, width: int) -> None:
    hanging = [HangingTable(f"db.h{n}", {0: 6}) for n in range(width)]
    tables = fleet(40, runs=6)
    world = World(journal, *tables, *hanging, concurrent=64, tick_seconds=HANG_SECONDS)
    world.engine.look_width = width
    try:
        for tick in (1, 2, 3):
            world.clock.advance(5.0)
            world.app.tick()
            if tick > 1:  # all threads of the first may have hung before the others' turn
                assert min(looks(world)[t.name] for t in tables) >= tick - 1
        assert last(world).late == width
        assert last(world).lag_seconds == 10.0, "that of those that hang"
        assert world.app.ready
        world.pool.run()
        finished = [e for e in world.said.of(TaskFinished) if isinstance(e, TaskFinished)]
        assert {e.finished.task.key.table for e in finished} == {table.name for table in tables}
    finally:
        for table in hanging:
            table.go_on.set()
    wait_for_looks(world, hanging)
    world.app.tick()

    assert last(world).late == 0
    world.pool.run()
    assert {tuple(table.runs.items()) for table in hanging} == {((0, 1),)}


class HangingTable(FakeTable):
    """Its looks do not end before ``go_on`` is set."""

    @property
    def go_on(self) -> threading.Event:
        return EVENTS.setdefault(id(self), threading.Event())


EVENTS: dict[int, threading.Event] = {}


@pytest.fixture(autouse=True)
def hang(monkeypatch: pytest.MonkeyPatch) -> None:
    refresh = FakeObserver.refresh

    def hanging(observer: FakeObserver) -> bool:
        table = observer._table  # pyright: ignore[reportPrivateUsage]
        if isinstance(table, HangingTable):
            table.go_on.wait()
        return refresh(observer)

    monkeypatch.setattr(FakeObserver, "refresh", hanging)


def wait_for_looks(world: World, tables: list[HangingTable]) -> None:
    while any(t.looking for t in world.app._fleet.tables):  # pyright: ignore[reportPrivateUsage]
        threading.Event().wait(0.01)
    assert all(looks(world)[table.name] for table in tables)


def test_a_wide_tick_says_the_same_as_a_narrow_one(journal: Journal, tmp_path: Path) -> None:
    other = Journal(tmp_path / "other.db")
    said = list[Counter[str]]()
    for log, width in ((journal, 0), (other, 16)):
        tables = fleet(60)
        tables[3].fail_refresh = [CorruptTable("bad")]
        tables[4].fail_refresh = [StorageUnavailable("slow")]
        world = World(log, *tables, tick_seconds=60.0)
        world.engine.look_width = width
        world.tick()
        world.tick()
        said.append(Counter(world.said.names))
    other.close()

    assert said[0] == said[1]
    assert said[0]["table.found"] == 60
    assert said[0][TableHalted.name] == said[0][TableFailed.name] == 1


def test_a_table_is_found_before_it_is_looked_at_in_one_turn(journal: Journal) -> None:
    world = World(journal, *fleet(3))
    world.tick()

    assert len(world.said.of(TableFound)) == 3
    assert last(world).looked == 3


# --- crews ----------------------------------------------------------------------------------------


def test_threads_that_hang_are_replaced_until_they_are_too_many() -> None:
    crew, go_on = Crew(8, SystemClock()), threading.Event()
    started = list[int]()

    def hang(item: int) -> None:
        started.append(item)
        go_on.wait()

    for _ in range(30):
        crew.begin(hang, range(100), 0.0).wait()
    # A thread that was begun may come too late for its round.
    assert len(started) <= 8 + HANGING_MAX
    go_on.set()


def test_a_round_begins_one_item_at_least() -> None:
    done = list[int]()
    Crew(0, ManualClock(START)).begin(done.append, range(3), 0.0).wait()

    assert done == [0]


@pytest.mark.parametrize(
    ("catalog", "width"),
    [
        (CatalogConfig(name="lake", warehouse="/lake"), LOCAL_WIDTH),
        (CatalogConfig(name="lake", warehouse="s3://b/lake"), IN_FLIGHT),
        (CatalogConfig(name="lake", warehouse="lake", kind="rest", uri="http://r"), IN_FLIGHT),
    ],
)
def test_looks_are_as_wide_as_hides_the_latency_of_the_store(
    catalog: CatalogConfig, width: int
) -> None:
    rewriter: Rewriter = None  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    assert TableEngine(rewriter).width(catalog) == width
