"""Looking at a table reads nothing twice, whatever happened in between.

A store that logs every call counts the reads. After each story the observer must say the same as
one that looks for the first time.
"""

from __future__ import annotations

import os
import shutil
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest
from support.alter import set_options
from support.builders import (
    START_MILLIS,
    ManualClock,
    handle_on,
    keyed_table,
    kv,
    reopened,
    upserts,
    world,
)
from support.faulty import Call, Failure, FaultyStorage
from support.foreign import ForeignWriter
from support.watch import HISTORY, Act, Watch, compact, overwrite, several, sum_bytes

from desilt.table.errors import StorageUnavailable, TableMissing
from desilt.table.handle import TableHandle
from desilt.table.observe import DOUBT_LOOKS, DOUBT_SECONDS, DOUBT_SECONDS_MAX, TableObserver
from desilt.table.table import Table


def quiet(root: str, latest: int) -> list[Call]:
    return [Call("exists", f"{root}/snapshot/snapshot-{latest + 1}")]


def refreshed(observer: TableObserver) -> bool:
    """Whether one of so many looks as a table is in doubt after finds something new."""
    return any([observer.refresh() for _ in range(DOUBT_LOOKS)])


@pytest.fixture
def table(tmp_path: Path) -> Table:
    table = keyed_table(tmp_path)
    table.write(upserts(5, "a"))
    table.write(upserts(5, "b", start=3))
    return table


# --- reads --------------------------------------------------------------------------------------


def test_refresh_asks_for_the_next_id_when_nothing_changed(table: Table) -> None:
    watch = Watch(table)
    watch.look()

    hint = Call("read", f"{table.path}/snapshot/LATEST")
    assert watch.look() == [hint, *quiet(table.path, 2)], "right after something new"
    for _ in range(3 * DOUBT_LOOKS):
        assert watch.look() == quiet(table.path, 2)


def test_looks_at_an_empty_table_cost_as_little(tmp_path: Path) -> None:
    watch = Watch(keyed_table(tmp_path))
    for _ in range(2):
        watch.look()

    for _ in range(3):
        assert watch.look() == quiet(watch.root, 0)


def test_writer_that_expires_what_it_wrote_between_two_looks_is_noticed_in_time(
    table: Table,
) -> None:
    """The next id was there and is gone again; the one that was known, too."""
    clock, observer = doubtful(table)
    refreshed(observer)
    for number in range(5):
        table.write(kv((number, "new")))
    table.expire(retain_max=1, retain_min=1, retain_age=timedelta(0))

    assert not observer.refresh()
    clock.advance(DOUBT_SECONDS)
    assert refreshed(observer)

    assert observer.snapshot_id == 7


def test_doubt_comes_in_time_where_looks_are_rare(table: Table) -> None:
    clock, observer = doubtful(table)
    observer.refresh()
    set_options(table, **{"num-sorted-run.compaction-trigger": "2"})
    clock.advance(DOUBT_SECONDS_MAX)

    assert observer.refresh()
    assert observer.schema.options.trigger == 2


def test_tables_that_were_found_together_are_not_in_doubt_together(tmp_path: Path) -> None:
    """What a look costs at most is spread over as many looks as a doubt takes to come."""
    storage, clock = FaultyStorage(), ManualClock()
    path = keyed_table(tmp_path).path
    handles = [TableHandle(f"db.t{n}", path, storage, world(clock)) for n in range(40)]
    observers = [TableObserver(handle) for handle in handles]
    for observer in observers:
        observer.refresh()
    costs = list[int]()
    for _ in range(4 * DOUBT_LOOKS):
        clock.advance(DOUBT_SECONDS / 4)
        before = len(storage.calls)
        for observer in observers:
            observer.refresh()
        costs.append(len(storage.calls) - before)

    settled = costs[DOUBT_LOOKS:]
    assert max(settled) <= 2 * len(observers)
    assert sum(settled) == (1 + 2 / DOUBT_LOOKS) * len(observers) * len(settled)


def test_an_empty_table_made_again_with_another_schema_is_noticed_in_time(tmp_path: Path) -> None:
    table = keyed_table(tmp_path)
    clock, observer = doubtful(table)
    shutil.rmtree(table.path)
    keyed_table(tmp_path, columns={"k": "BIGINT NOT NULL", "w": "INT"})

    clock.advance(DOUBT_SECONDS)
    refreshed(observer)

    assert observer.schema.names == ("k", "w")


def test_refresh_says_whether_there_was_something_new(table: Table) -> None:
    observer = TableObserver(table.handle)

    assert observer.refresh()
    assert not observer.refresh()
    table.write(kv((1, "x")))
    assert observer.refresh()


def test_health_and_labels_cost_no_read(table: Table) -> None:
    watch = Watch(table)
    watch.look()
    before = len(watch.storage.calls)
    watch.health()
    watch.observer.buckets()

    assert len(watch.storage.calls) == before


STORIES: dict[str, tuple[Act, ...]] = {
    "one write": (lambda t: t.write(kv((9, "x"))),),
    "a delete": (lambda t: t.delete(pl.DataFrame({"k": [1]})),),
    "a compaction": (compact,),
    "a gap of several snapshots": (several,),
    "a gap with a compaction in it": (several, compact, several),
    "an overwrite": (compact, overwrite),
    "a gap with an overwrite in it": (compact, overwrite, several),
}


@pytest.mark.parametrize("merge_min_count", ["30", "2"], ids=["lists-grow", "manifests-merge"])
@pytest.mark.parametrize("story", STORIES)
def test_refresh_reads_only_new_manifests_after(
    tmp_path: Path, story: str, merge_min_count: str
) -> None:
    table = keyed_table(tmp_path, options={"manifest.merge-min-count": merge_min_count})
    table.write(upserts(5, "a"))
    table.write(upserts(5, "b", start=3))
    watch = Watch(table)
    watch.look()
    seen = set(watch.manifest_reads())

    for act in STORIES[story]:
        act(table)
    calls = watch.look()

    watch.assert_only_new(calls, seen)
    watch.look()
    assert watch.look() == quiet(table.path, watch.observer.snapshot_id or 0)


def test_refresh_reads_each_manifest_once_over_a_whole_history(table: Table) -> None:
    watch = Watch(table)
    acts = [act for story in STORIES.values() for act in story]
    for number, act in enumerate([*acts, *acts]):
        act(table)
        if number % 3:
            watch.look()
            watch.assert_only_new([], set())


def test_refresh_notices_a_replaced_snapshot_and_reads_only_what_is_new(
    table: Table, tmp_path: Path
) -> None:
    foreign = ForeignWriter(table, tmp_path)
    foreign.look()
    reopened(table).write(kv((50, "ours")))  # a writer that does not look back
    watch = Watch(table)
    watch.look()
    seen = set(watch.manifest_reads())

    foreign.publish(lambda t: t.write(kv((60, "theirs"))))
    table.write(kv((61, "next")))
    calls = watch.look()

    # What the two snapshots share had been read; the replacing one's own manifest is new.
    watch.assert_only_new(calls, seen)
    assert watch.health()["rows"] == 12


def test_refresh_survives_snapshots_that_expire_while_it_looks(table: Table) -> None:
    """Java removes the manifests of an expired snapshot before the snapshot itself."""
    several(table)
    first = table.handle.snapshots.get(1)
    os.unlink(f"{table.path}/manifest/{first.delta_manifest_list}")
    watch = Watch(table)
    watch.look()

    assert watch.observer.snapshot_id == 7
    assert watch.health()["files"] == 7


def test_refresh_after_a_gap_whose_snapshots_have_expired(table: Table) -> None:
    watch = Watch(table)
    watch.look()
    several(table)
    for snapshot_id in range(1, 7):
        os.unlink(f"{table.path}/snapshot/snapshot-{snapshot_id}")
    Path(f"{table.path}/snapshot/EARLIEST").write_text("7")
    seen = set(watch.manifest_reads())

    watch.assert_only_new(watch.look(), seen)


@pytest.mark.parametrize("hint", ["gone", "too low", "too high", "nonsense"])
def test_refresh_finds_the_newest_snapshot_without_a_right_hint(table: Table, hint: str) -> None:
    path = Path(f"{table.path}/snapshot/LATEST")
    if hint == "gone":
        path.unlink()
    else:
        path.write_text({"too low": "1", "too high": "7", "nonsense": "x"}[hint])
    observer = TableObserver(table.handle)
    observer.refresh()

    assert observer.snapshot_id == 2


# --- tables that come and go --------------------------------------------------------------------


def test_refresh_of_an_empty_table_sees_no_snapshot(tmp_path: Path) -> None:
    observer = TableObserver(keyed_table(tmp_path).handle)

    assert not observer.refresh()
    assert observer.snapshot_id is None
    assert observer.health(START_MILLIS).height == 0


def test_refresh_of_a_dropped_table_says_so(table: Table) -> None:
    watch = Watch(table)
    watch.look()
    shutil.rmtree(table.path)

    with pytest.raises(TableMissing, match=r"table=db\.t"):
        watch.look()


@pytest.mark.parametrize("writes", [0, 1, 3, 6])
def test_refresh_follows_a_table_that_was_dropped_and_made_again(
    tmp_path: Path, writes: int
) -> None:
    """With fewer snapshots than were seen, and with more; its schema id is the same."""
    table = keyed_table(tmp_path)
    for number in range(4):
        table.write(kv((number, "old")))
    watch = Watch(table)
    watch.look()
    shutil.rmtree(table.path)

    again = keyed_table(tmp_path, columns={"k": "BIGINT NOT NULL", "w": "INT"})
    for number in range(writes):
        again.write(pl.DataFrame({"k": [number], "w": [1]}))
    watch.look()

    watch.assert_right()
    assert watch.observer.schema.names == ("k", "w")


def doubtful(table: Table) -> tuple[ManualClock, TableObserver]:
    """An observer that has looked, and its clock."""
    clock = ManualClock()
    observer = TableObserver(handle_on(table.path, FaultyStorage(), clock))
    observer.refresh()
    return clock, observer


def assert_right(observer: TableObserver) -> None:
    """What it says is what one who looks for the first time says, history and all."""
    fresh = TableObserver(observer.handle)
    fresh.refresh()
    left, right = (o.health(START_MILLIS + 600_000) for o in (observer, fresh))
    assert left.equals(right)
    assert observer.spend() == fresh.spend()


@pytest.mark.parametrize("altered", [False, True])
def test_a_table_made_again_with_as_many_snapshots_is_noticed_in_time(
    tmp_path: Path, altered: bool
) -> None:
    table = keyed_table(tmp_path)
    for number in range(2):
        table.write(kv((number, "old")))
    clock, observer = doubtful(table)
    shutil.rmtree(table.path)
    again = keyed_table(tmp_path, columns={"k": "BIGINT NOT NULL", "w": "INT"})
    for number in range(2):
        again.write(pl.DataFrame({"k": [number], "w": [1]}))

    if altered:
        set_options(again, **{"num-sorted-run.compaction-trigger": "2"})

    clock.advance(DOUBT_SECONDS - 1)
    assert not refreshed(observer)
    clock.advance(2)
    assert refreshed(observer)

    assert observer.schema.names == ("k", "w")
    assert_right(observer)


def test_a_rollback_that_was_written_on_to_the_same_id_is_noticed_in_time(table: Table) -> None:
    clock, observer = doubtful(table)
    before = observer.spend()
    for path in (f"{table.path}/snapshot/snapshot-2", f"{table.path}/snapshot/LATEST"):
        os.unlink(path)
    reopened(table).write(upserts(50, "c"))

    clock.advance(DOUBT_SECONDS)
    assert refreshed(observer)

    health = observer.health(START_MILLIS)
    assert health["rows"].to_list() == [55]
    assert health["commits_since_full"].to_list() == [2]
    assert observer.spend() == before  # of the same table, so what was spent stays spent


@pytest.mark.parametrize("writes", [0, 1])
def test_an_option_that_changed_without_a_snapshot_is_noticed_in_time(
    tmp_path: Path, writes: int
) -> None:
    table = keyed_table(tmp_path)
    for number in range(writes):
        table.write(kv((number, "v")))
    clock, observer = doubtful(table)
    set_options(table, **{"num-sorted-run.compaction-trigger": "2"})

    clock.advance(DOUBT_SECONDS)
    refreshed(observer)

    assert observer.schema.options.trigger == 2
    assert observer.health(START_MILLIS)["trigger"].to_list() == [2] * writes


def test_a_table_in_doubt_costs_three_reads_more(table: Table) -> None:
    clock, observer = doubtful(table)
    storage = observer.handle.storage
    assert isinstance(storage, FaultyStorage)
    observer.refresh()
    clock.advance(DOUBT_SECONDS)
    before = len(storage.calls)
    assert not refreshed(observer)

    assert [c for c in storage.calls[before:] if c not in quiet(table.path, 2)] == [
        Call("read", f"{table.path}/snapshot/snapshot-2"),
        Call("read", f"{table.path}/schema/schema-0"),
        Call("exists", f"{table.path}/schema/schema-1"),
    ]
    assert len(storage.calls) == before + DOUBT_LOOKS + 3


def test_spend_starts_anew_with_a_table_that_was_made_again(tmp_path: Path) -> None:
    table = keyed_table(tmp_path)
    for number in range(4):
        table.write(kv((number, "old")))
    watch = Watch(table)
    watch.look()
    shutil.rmtree(table.path)

    again = keyed_table(tmp_path)
    again.write(kv((1, "new")))
    again.write(kv((2, "new")))
    watch.look()

    assert watch.observer.spend() == {"|0": [sum_bytes(again), 0]}
    assert watch.observer.spend_upto_snapshot_id == 2


@pytest.mark.parametrize("at", range(12))
def test_refresh_that_failed_loses_nothing(table: Table, at: int) -> None:
    watch = Watch(table)
    watch.look()
    before = watch.health()
    table.compact("full")
    table.write(kv((9, "x")))

    watch.storage.fault = Failure(len(watch.storage.calls) + at)
    try:
        watch.look()
    except StorageUnavailable:
        assert watch.observer.snapshot_id == 2
        seen = {name: before[name] for name in HISTORY}  # may have been seen already
        assert {**watch.health(), **seen} == before
    watch.storage.fault = None
    watch.look()

    watch.assert_right()
    fresh = TableObserver(table.handle)
    fresh.refresh()
    assert watch.observer.spend() == fresh.spend()


def test_plan_is_none_for_a_bucket_that_is_gone(table: Table) -> None:
    observer = TableObserver(table.handle)
    assert observer.plan("", 0, "x") is None
    observer.refresh()

    assert observer.plan("", 1, "x") is None
    assert observer.plan("p=1", 0, "x") is None
