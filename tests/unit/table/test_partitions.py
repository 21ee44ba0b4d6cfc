"""Partitions: what a table lists, which expire, how they are dropped; and who comes in between."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from support.builders import (
    START_MILLIS,
    ManualClock,
    catalog,
    orphans,
    reopened,
    rows_of,
)
from support.faulty import FaultyStorage

from desilt.table.commit import Committer
from desilt.table.delete import delete_where
from desilt.table.errors import CommitConflict, InvalidRequest, UnsupportedFeature
from desilt.table.metadata import MetadataReader
from desilt.table.partition_drop import apply_drop
from desilt.table.partition_time import PartitionOverride, filled, local_instant
from desilt.table.snapshot import CommitKind, Snapshot
from desilt.table.table import Table

DAY = 86_400_000
EXPIRY = {"partition.expiration-time": "7 d"}
OLD, NEW = "2023-10-01", "2023-11-14"  # START_MILLIS is 2023-11-14T22:13:20


def table_of(
    folder: Path, options: dict[str, str] | None = None, *, clock: ManualClock | None = None
) -> Table:
    """An append table with partitions ``p``."""
    return catalog(folder, clock=clock).create_table(
        "db.t", {"p": "STRING", "n": "INT"}, partition_by=["p"],
        options={"bucket": "-1", **EXPIRY, **(options or {})},
    )  # fmt: skip


def rows(*names: str | None, count: int = 2) -> pl.DataFrame:
    given = [(name, n) for name in names for n in range(count)]
    return pl.DataFrame(given, schema={"p": pl.String, "n": pl.Int32}, orient="row")


def names_of(table: Table) -> list[str | None]:
    return [p.texts["p"] for p in table.partitions()]


def latest(table: Table) -> Snapshot:
    found = table.handle.snapshots.latest()
    assert found is not None
    return found


# --- listing and choosing -------------------------------------------------------------------------


def test_partitions_are_listed_with_what_they_hold(tmp_path: Path) -> None:
    clock = ManualClock()
    table = table_of(tmp_path, clock=clock)
    table.write(rows("a", "b", None))
    clock.advance(60)
    table.write(rows("b", count=5))
    a, b, null = sorted(table.partitions(), key=lambda p: str(p.texts["p"] or "~"))

    assert (a.label, a.rows, a.files) == ("p=a", 2, 1)
    assert (b.label, b.rows, b.files) == ("p=b", 7, 2)
    assert null.texts == {"p": None}
    assert (b.newest_millis or 0) - (a.newest_millis or 0) == 60_000
    assert json.loads(json.dumps(a.as_dict()))["rows"] == 2


def test_old_ones_go_in_one_overwrite(tmp_path: Path) -> None:
    table = table_of(tmp_path)
    table.write(rows(OLD, NEW, "2023-01-01", None, "no time"))
    plan = table.plan_partition_expiry()
    result = table.expire_partitions()

    assert [p.info.texts["p"] for p in plan.drop.partitions] == ["2023-01-01", OLD]
    assert plan.timeless == ("p=__DEFAULT_PARTITION__", "p=no time")
    assert (plan.stay, plan.left, plan.drop.snapshot_id) == (1, 0, 1)
    assert json.loads(json.dumps(plan.as_dict()))["rows"] == 4
    assert names_of(table) == [NEW, None, "no time"]
    last = latest(table)
    assert (last.commit_kind, last.delta_record_count, last.total_record_count) == (
        CommitKind.OVERWRITE, -4, 6,
    )  # fmt: skip
    assert result.dropped.snapshots == (2,)
    assert table.expire_partitions().dropped.snapshots == ()
    assert table.handle.snapshots.latest_id() == 2


def test_exactly_as_old_as_allowed_stays(tmp_path: Path) -> None:
    clock = ManualClock()
    table = table_of(tmp_path, clock=clock)
    table.write(rows("2023-11-07 22:13:20", "2023-11-07 22:13:19.999"))
    offset = table.handle.world.creation_millis() - START_MILLIS
    clock.millis -= offset  # so that the local wall clock shows START_MILLIS

    table.expire_partitions()

    assert names_of(table) == ["2023-11-07 22:13:20"]


def test_by_the_newest_file_old_values_may_stay(tmp_path: Path) -> None:
    clock = ManualClock()
    options = {"partition.expiration-strategy": "update-time"}
    table = table_of(tmp_path, options, clock=clock)
    table.write(rows(OLD, "any", None))
    clock.advance(6 * 86_400)
    table.write(rows(OLD))
    clock.advance(86_400)
    assert table.expire_partitions().dropped.partitions == ()  # not more than 7 days

    clock.advance(1)
    table.expire_partitions()

    assert names_of(table) == [OLD]


def test_no_more_than_allowed_go_and_in_batches(tmp_path: Path) -> None:
    table = table_of(tmp_path, {"partition.expiration-max-num": "5"})
    table.write(rows(*(f"2023-01-{day:02d}" for day in range(1, 9))))
    result = table.expire_partitions(PartitionOverride(batch_size=2))

    assert [p.texts["p"] for p in result.dropped.partitions] == [
        f"2023-01-{day:02d}" for day in range(1, 6)
    ]
    assert result.dropped.snapshots == (2, 3, 4)
    assert (result.left, result.more) == (3, True)
    assert not table.expire_partitions().more
    assert names_of(table) == []


def test_the_files_go_with_the_snapshots(tmp_path: Path) -> None:
    clock = ManualClock()
    table = table_of(tmp_path, clock=clock)
    table.write(rows(OLD, NEW))
    table.expire_partitions()
    clock.advance(86_400)
    result = table.expire(retain_max=1, retain_min=1)

    assert result.files["data"] == 1
    assert orphans(table) == set()
    assert [row[0] for row in rows_of(table)] == [NEW, NEW]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"partition.expiration-strategy": "custom"}, UnsupportedFeature, "value=custom"),
        ({"partition.expiration-strategy": "other"}, UnsupportedFeature, "value=other"),
        ({"partition.timestamp-formatter": "yyyy-MM-dd hh"}, UnsupportedFeature, "letter h"),
        ({"partition.expiration-time": "soon"}, UnsupportedFeature, "no duration"),
        ({"partition.expiration-max-num": "few"}, UnsupportedFeature, "no number"),
    ],
)
def test_what_is_not_known_is_refused(
    tmp_path: Path, options: dict[str, str], error: type[Exception], message: str
) -> None:
    table = table_of(tmp_path, options)
    table.write(rows(OLD))

    with pytest.raises(error, match=message):
        table.expire_partitions()
    assert names_of(table) == [OLD]


def test_nothing_says_when(tmp_path: Path) -> None:
    plain = catalog(tmp_path / "a").create_table("db.t", {"n": "INT"}, options={"bucket": "-1"})
    silent = catalog(tmp_path / "b").create_table(
        "db.t", {"p": "STRING", "n": "INT"}, partition_by=["p"], options={"bucket": "-1"}
    )

    with pytest.raises(InvalidRequest, match="no partitions"):
        plain.expire_partitions(PartitionOverride(expire_millis=1))
    with pytest.raises(InvalidRequest, match=r"partition\.expiration-time"):
        silent.expire_partitions()
    assert silent.expire_partitions(PartitionOverride(expire_millis=1)).dropped.snapshots == ()


def test_the_longest_name_in_a_pattern_counts() -> None:
    texts: list[Callable[[], str]] = [lambda: "A", lambda: "B"]

    assert filled("$dt $dt1$x$", ["dt", "dt1"], texts) == "A B$x$"


def test_local_instants_order_as_the_clock_does() -> None:
    assert local_instant(START_MILLIS + 1) - local_instant(START_MILLIS) == 1
    assert local_instant(10**15) == 10**15  # year 33658


# --- dropping -------------------------------------------------------------------------------------


def test_specs_choose_whole_and_partial(tmp_path: Path) -> None:
    table = catalog(tmp_path).create_table(
        "db.t", {"p": "STRING", "d": "DATE", "h": "INT", "n": "INT"},
        partition_by=["p", "d", "h"], options={"bucket": "-1"},
    )  # fmt: skip
    given = pl.DataFrame(
        [(p, d, h, 1) for p in ("a", None) for d in (19000, 19001) for h in (1, 2)],
        schema={"p": pl.String, "d": pl.Int32, "h": pl.Int32, "n": pl.Int32}, orient="row",
    ).with_columns(pl.col("d").cast(pl.Date))  # fmt: skip
    table.write(given)

    assert len(table.plan_drop([{"p": "a", "d": "2022-01-08", "h": "01"}]).partitions) == 1
    assert len(table.plan_drop([{"d": 19000}]).partitions) == 4
    assert len(table.plan_drop([{"p": None}, {"h": 1}]).partitions) == 6
    assert table.plan_drop([{"p": "none"}]).empty
    result = table.drop_partitions([{"p": None}, {"h": 1}])
    assert (len(result.partitions), result.snapshots) == (6, (2,))
    assert [p.label for p in table.partitions()] == ["p=a/d=19000/h=2", "p=a/d=19001/h=2"]
    assert table.drop_partitions([{"p": "none"}]).snapshot_id is None


@pytest.mark.parametrize(
    ("specs", "message"),
    [
        ("[]", "no partition is named"),
        ("[{}]", "would name all"),
        ('[{"n": "1"}]', "no such partition column"),
        ('[{"h": "x"}]', "not of the column's type"),
    ],
)
def test_specs_that_mean_nothing_are_refused(tmp_path: Path, specs: str, message: str) -> None:
    table = catalog(tmp_path).create_table(
        "db.t", {"h": "INT", "n": "INT"}, partition_by=["h"], options={"bucket": "-1"}
    )

    with pytest.raises(InvalidRequest, match=message):
        table.drop_partitions(json.loads(specs))


def test_deletion_vectors_go_too(tmp_path: Path) -> None:
    table = table_of(tmp_path, {"deletion-vectors.enabled": "true"})
    table.write(rows(OLD, NEW, count=4))
    delete_where(table.handle, pl.col("n") == 1)
    table.expire_partitions()
    (left,) = MetadataReader(table.handle).index(latest(table))
    data = {r.data_file for r in left.deletions or ()}

    assert len(data) == 1
    assert rows_of(table) == [(NEW, 0), (NEW, 2), (NEW, 3)]
    assert latest(table).total_record_count == 4


@pytest.mark.parametrize("drops", ["true", "false"])
def test_deletes_say_nothing_of_values_if_the_table_says_so(tmp_path: Path, drops: str) -> None:
    table = table_of(tmp_path, {"manifest.delete-file-drop-stats": drops})
    table.write(rows(OLD))
    table.expire_partitions()
    reader = MetadataReader(table.handle)
    (delta,) = reader.manifest_list(latest(table).delta_manifest_list)
    entry = reader.whole(delta.name).row(0, named=True)

    assert (entry["value_stats_cols"] == []) == (drops == "true")
    assert (len(entry["value_min"]) > 20) == (drops == "false")
    assert rows_of(table) == []


# --- who comes in between -------------------------------------------------------------------------


def racing(table: Table, action: Callable[[], object], *, times: int = 1) -> Table:
    """The table, where somebody acts just before its next snapshot is published."""
    storage = FaultyStorage()
    storage.hook("before", "create", "/snapshot/snapshot-", action, times=times)
    return reopened(table, storage)


def test_what_a_writer_adds_goes_too_by_values(tmp_path: Path) -> None:
    table = table_of(tmp_path)
    table.write(rows(OLD, NEW))
    result = racing(table, lambda: table.write(rows(OLD, count=3))).expire_partitions()

    assert [p.rows for p in result.dropped.partitions] == [5]
    assert result.dropped.snapshots == (3,)
    assert names_of(table) == [NEW]
    assert latest(table).total_record_count == 2
    assert orphans(table) == set()


def test_what_a_writer_touches_stays_by_its_newest_file(tmp_path: Path) -> None:
    clock = ManualClock()
    table = table_of(tmp_path, {"partition.expiration-strategy": "update-time"}, clock=clock)
    table.write(rows("a", "b"))
    clock.advance(8 * 86_400)
    storage = FaultyStorage()
    storage.hook("before", "create", "/snapshot/snapshot-", lambda: table.write(rows("a")))
    result = reopened(table, storage, clock).expire_partitions()

    assert [p.label for p in result.dropped.partitions] == ["p=b"]
    assert names_of(table) == ["a"]


def test_a_writer_elsewhere_is_only_a_lost_race(tmp_path: Path) -> None:
    table = table_of(tmp_path)
    table.write(rows(OLD, NEW))
    raced = racing(table, lambda: table.write(rows(NEW)))
    plan = raced.plan_partition_expiry()

    result = apply_drop(raced.handle, plan.drop, Committer(raced.handle))

    assert result.snapshots == (3,)
    assert len(rows_of(table)) == 4
    assert orphans(table) == set()


def test_a_compaction_of_the_partition_has_it_planned_anew(tmp_path: Path) -> None:
    table = table_of(tmp_path)
    for _ in range(6):
        table.write(rows(OLD))
    result = racing(table, lambda: table.compact("full")).expire_partitions()

    assert [p.files for p in result.dropped.partitions] == [1]
    assert latest(table).commit_kind == CommitKind.OVERWRITE
    assert rows_of(table) == []
    assert orphans(table) == set()


def test_a_plan_of_another_state_is_refused(tmp_path: Path) -> None:
    table = table_of(tmp_path)
    table.write(rows(OLD))
    plan = table.plan_partition_expiry().drop
    table.write(rows(OLD))

    with pytest.raises(CommitConflict, match="the partition changed"):
        apply_drop(table.handle, plan, Committer(table.handle))
    other = replace(
        plan,
        partitions=tuple(
            replace(d, premise=replace(d.premise, schema_id=7)) for d in plan.partitions
        ),
    )
    with pytest.raises(CommitConflict, match="schema changed"):
        apply_drop(table.handle, other, Committer(table.handle))
    assert table.handle.snapshots.latest_id() == 2


def test_who_changes_it_every_time_wins(tmp_path: Path) -> None:
    table = table_of(tmp_path)
    table.write(rows(OLD))
    raced = racing(table, lambda: table.write(rows(OLD)), times=99)

    with pytest.raises(CommitConflict, match="the partition changed"):
        raced.expire_partitions()
    assert len(rows_of(table)) == 12
    assert orphans(table) == set()


def test_expiry_of_snapshots_while_it_waits_is_harmless(tmp_path: Path) -> None:
    table = table_of(tmp_path)
    table.write(rows(OLD, NEW))
    plan = table.plan_partition_expiry().drop
    table.write(rows(NEW))
    table.expire(retain_max=1, retain_min=1)

    assert apply_drop(table.handle, plan, Committer(table.handle)).snapshots == (3,)
    assert names_of(table) == [NEW]
