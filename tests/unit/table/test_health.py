"""The numbers of the health frame, and the write amplification behind one of them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import polars as pl
import pytest
from support.builders import (
    START_MILLIS,
    ManualClock,
    append_table,
    keyed_table,
    kv,
    live_files,
    reopened,
    upserts,
)
from support.faulty import FaultyStorage
from support.watch import Act, Watch, compact, overwrite, several, sum_bytes

from desilt.table.manifest.entry import EntryKind, frame_entries
from desilt.table.metadata import MetadataReader
from desilt.table.snapshot import CommitKind
from desilt.table.table import Table


@pytest.fixture
def table(tmp_path: Path) -> Table:
    table = keyed_table(tmp_path)
    table.write(upserts(5, "a"))
    table.write(upserts(5, "b", start=3))
    return table


# --- write amplification ------------------------------------------------------------------------


def test_write_amplification_is_all_bytes_over_appended_bytes(table: Table) -> None:
    appended = sum_bytes(table)
    watch = Watch(table)
    watch.look()
    assert watch.health()["write_amplification"] == 1.0

    table.compact("full")
    watch.look()

    compacted = sum_bytes(table)
    assert watch.observer.spend() == {"|0": [appended, compacted]}
    assert watch.health()["write_amplification"] == (appended + compacted) / appended


def test_write_amplification_counts_no_upgrade(tmp_path: Path) -> None:
    """A single file moves to the bottom by metadata alone."""
    table = keyed_table(tmp_path)
    table.write(upserts(5, "a"))
    table.compact("full")
    watch = Watch(table)
    watch.look()

    assert [level for _, level in live_files(table)] == [5]
    assert watch.health()["write_amplification"] == 1.0


def test_write_amplification_is_null_when_no_append_was_seen(table: Table) -> None:
    table.compact("full")
    for snapshot_id in (1, 2):
        os.unlink(f"{table.path}/snapshot/snapshot-{snapshot_id}")
    Path(f"{table.path}/snapshot/EARLIEST").write_text("3")
    watch = Watch(table)
    watch.look()

    assert watch.health()["write_amplification"] is None


def test_write_amplification_counts_what_an_overwrite_added_as_written(table: Table) -> None:
    table.compact("full")
    watch = Watch(table)
    watch.look()
    (appended, compacted) = watch.observer.spend()["|0"]

    overwrite(table)
    watch.look()

    assert watch.observer.spend() == {"|0": [appended + sum_bytes(table), compacted]}


def test_write_amplification_is_the_same_however_often_one_looks(table: Table) -> None:
    often, seldom = Watch(table), Watch(table)
    often.look()
    acts: tuple[Act, ...] = (several, compact, several)
    for act in acts:
        act(table)
        often.look()
    seldom.look()

    assert often.observer.spend() == seldom.observer.spend()


def test_spend_is_kept_per_partition_and_bucket(tmp_path: Path) -> None:
    table = keyed_table(
        tmp_path,
        columns={"k": "INT", "p": "STRING", "v": "STRING"},
        primary_key=("k", "p"),
        partition_by=("p",),
        options={"bucket": "2"},
    )
    table.write(pl.DataFrame({"k": range(50), "p": ["x", "y"] * 25, "v": ["v"] * 50}))
    table.compact("full", partition={"p": "x"}, bucket=0)
    watch = Watch(table)
    watch.look()

    spend = watch.observer.spend()
    assert sorted(spend) == ["p=x|0", "p=x|1", "p=y|0", "p=y|1"]
    assert all(appended > 0 for appended, _ in spend.values())


def test_restore_spend_goes_on_where_it_was(table: Table) -> None:
    first = Watch(table)
    first.look()
    saved, upto = first.observer.spend(), first.observer.spend_upto_snapshot_id
    table.compact("full")
    several(table)
    first.look()

    second = Watch(table)
    second.observer.restore_spend(saved, upto)
    second.look()

    assert second.observer.spend() == first.observer.spend()
    assert second.observer.spend_upto_snapshot_id == 8


def test_restore_spend_keeps_what_has_expired_since(table: Table) -> None:
    """The journal remembers what manifests forget."""
    watch = Watch(table)
    watch.observer.restore_spend({"|0": [1000, 3000]}, 2)
    watch.look()

    assert watch.health()["write_amplification"] == 4.0


def test_restore_spend_of_an_earlier_table_is_dropped(table: Table) -> None:
    watch = Watch(table)
    watch.observer.restore_spend({"|0": [1000, 3000]}, 77)
    watch.look()

    assert watch.observer.spend() == {"|0": [sum_bytes(table), 0]}


# --- the other numbers --------------------------------------------------------------------------


def test_small_files_are_those_below_their_share_of_the_target(tmp_path: Path) -> None:
    table = keyed_table(tmp_path)
    table.write(upserts(2000, "a"))
    table.write(upserts(1, "b"))
    large = sum_bytes(table, 1)
    small = sum_bytes(table) - large

    def small_files(target: int, ratio: str) -> object:
        options = {"target-file-size": f"{target} b", "compaction.small-file-ratio": ratio}
        schema = f"{table.path}/schema/schema-0"
        _with_options(schema, options)
        watch = Watch(table)
        watch.look()
        return watch.health()["small_files"]

    assert small_files(large + 1, "1.0") == 2
    assert small_files(large, "1.0") == 1
    assert small_files(2 * large, "0.5") == 1
    assert small_files(small, "1.0") == 0


def _with_options(path: str, options: dict[str, str]) -> None:
    raw = json.loads(Path(path).read_bytes())
    raw["options"] |= options
    Path(path).write_text(json.dumps(raw))


def test_overlap_bytes_are_those_of_sections_of_two_runs_or_more(tmp_path: Path) -> None:
    """Keys 0–4 and 3–7 hang together; 20–24 lies alone."""
    table = keyed_table(tmp_path)
    table.write(upserts(5, "a"))
    table.write(upserts(5, "b", start=20))
    watch = Watch(table)
    watch.look()
    assert watch.health()["overlap_bytes"] == 0

    alone = sum_bytes(table) - sum_bytes(table, 1)
    table.write(upserts(5, "c", start=3))
    watch.look()
    assert watch.health()["overlap_bytes"] == sum_bytes(table) - alone

    table.compact("full")
    watch.look()
    assert watch.health()["overlap_bytes"] == 0


def test_counts_of_a_keyed_bucket(table: Table) -> None:
    table.compact("full")
    table.write(kv((1, "x"), (2, "y")))
    table.delete(pl.DataFrame({"k": [3]}))
    watch = Watch(table)
    watch.look()
    health = watch.health()

    assert {name: health[name] for name in (
        "table", "partition", "bucket", "keyed", "files", "level0_files", "sorted_runs", "rows",
        "delete_rows", "bytes", "packable_files", "packable_bytes", "trigger", "stop_trigger",
        "up_level0",
    )} == {
        "table": "db.t", "partition": "", "bucket": 0, "keyed": True, "files": 3,
        "level0_files": 2, "sorted_runs": 3, "rows": 11, "delete_rows": 1,
        "bytes": sum_bytes(table), "packable_files": 0, "packable_bytes": 0, "trigger": 5,
        "stop_trigger": 8, "up_level0": False,
    }  # fmt: skip
    assert [run["level"] for run in health["runs"]] == [0, 0, 5]
    assert sum(run["bytes"] for run in health["runs"]) == sum_bytes(table)


def test_oldest_level0_age_comes_from_snapshot_times(tmp_path: Path) -> None:
    """The file is created, by its writer's clock, 500 seconds before its snapshot is."""
    clock = ManualClock()
    table = keyed_table(tmp_path, clock=clock)
    storage = FaultyStorage()
    storage.hook("before", "create", "/manifest/", lambda: clock.advance(500))
    slow = reopened(table, storage, clock)
    slow.write(kv((1, "a")))
    clock.advance(60)
    slow.write(kv((2, "b")))
    watch = Watch(table)
    watch.look()

    # The delta manifest is written before the snapshot's time is taken.
    assert watch.health(clock.millis + 40_000)["oldest_level0_age_seconds"] == 100.0


def test_oldest_level0_age_forgets_what_was_compacted(tmp_path: Path) -> None:
    clock = ManualClock()
    table = keyed_table(tmp_path, clock=clock)
    table.write(kv((1, "a")))
    watch = Watch(table)
    watch.look()
    clock.advance(100)
    table.compact("full")
    watch.look()
    assert watch.health(clock.millis)["oldest_level0_age_seconds"] is None

    clock.advance(100)
    table.write(kv((2, "b")))
    watch.look()
    assert watch.health(clock.millis + 7_000)["oldest_level0_age_seconds"] == 7.0


def test_oldest_level0_age_is_never_negative(table: Table) -> None:
    watch = Watch(table)
    watch.look()

    assert watch.health(START_MILLIS - 60_000)["oldest_level0_age_seconds"] == 0.0


def test_oldest_level0_age_counts_from_the_oldest_snapshot_seen_when_its_own_has_expired(
    tmp_path: Path,
) -> None:
    clock = ManualClock()
    table = keyed_table(tmp_path, clock=clock)
    table.write(kv((1, "a")))
    clock.advance(30)
    table.write(kv((2, "b")))
    os.unlink(f"{table.path}/snapshot/snapshot-1")
    Path(f"{table.path}/snapshot/EARLIEST").write_text("2")
    watch = Watch(table)
    watch.look()

    assert watch.health(clock.millis + 5_000)["oldest_level0_age_seconds"] == 5.0


def test_counts_of_an_append_bucket(tmp_path: Path) -> None:
    """Four small files wait, as packing wants five; then all of them are packable."""
    table = append_table(tmp_path)
    for number in range(4):
        table.write(pl.DataFrame({"n": [number], "v": ["x"]}))
    watch = Watch(table)
    watch.look()
    health = watch.health()
    assert (health["keyed"], health["files"], health["sorted_runs"]) == (False, 4, 0)
    assert (health["runs"], health["oldest_level0_age_seconds"]) == ([], None)
    assert (health["packable_files"], health["packable_bytes"]) == (0, 0)

    table.write(pl.DataFrame({"n": [4], "v": ["x"]}))
    watch.look()
    assert watch.health()["packable_files"] == 5
    assert watch.health()["packable_bytes"] == sum_bytes(table)

    table.compact("minor")
    watch.look()
    assert watch.health()["packable_files"] == 0


def test_overwrite_story_is_an_overwrite(table: Table) -> None:
    """The builder of the stories above does what it says."""
    table.compact("full")
    before = frame_entries(_live(table))
    overwrite(table)

    snapshot = table.handle.snapshots.latest()
    assert snapshot is not None
    assert snapshot.commit_kind is CommitKind.OVERWRITE
    assert {e.file.name for e in frame_entries(_live(table))}.isdisjoint(
        {e.file.name for e in before}
    )
    assert all(e.kind is EntryKind.ADD for e in frame_entries(_live(table)))


def _live(table: Table) -> pl.DataFrame:
    snapshot = table.handle.snapshots.latest()
    assert snapshot is not None
    return MetadataReader(table.handle).live(snapshot)


# --- looking again ------------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [7, 0, -7])
def test_a_look_at_an_unchanged_table_only_ages_its_numbers(tmp_path: Path, seconds: int) -> None:
    clock = ManualClock()
    table = keyed_table(tmp_path, clock=clock)
    table.write(kv((1, "a")))
    table.compact("full")
    table.write(kv((1, "b")))
    first, again = clock.millis + 5_000, clock.millis + 5_000 + seconds * 1000
    watch, fresh = Watch(table), Watch(table)
    watch.look()
    fresh.look()
    watch.health(first)
    watch.look()

    assert watch.health(again) == fresh.health(again)


def test_an_age_that_is_not_over_yet_does_not_grow(tmp_path: Path) -> None:
    """The writer's clock is ten seconds ahead of ours."""
    clock = ManualClock()
    table = keyed_table(tmp_path, clock=clock)
    table.write(kv((1, "a")))
    watch = Watch(table)
    watch.look()

    ages = [watch.health(clock.millis + 1000 * at)["oldest_level0_age_seconds"] for at in (-10, 2)]

    assert ages == [0.0, 2.0]
