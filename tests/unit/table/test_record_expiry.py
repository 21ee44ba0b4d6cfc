"""Records that outlive their table's time to live: which go, when, and what is left alone."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from support.builders import START_MILLIS, ManualClock, keyed_table, reopened, rows_of

from desilt.table.errors import InvalidRequest, UnsupportedFeature
from desilt.table.table import Table

HOUR = 3600
NOW = START_MILLIS // 1000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC).replace(tzinfo=None)


def table_of(folder: Path, time_type: str, clock: ManualClock, **options: str) -> Table:
    made = {"record-level.expire-time": "1 h", "record-level.time-field": "t"}
    return keyed_table(
        folder,
        columns={"k": "INT NOT NULL", "t": time_type},
        options={**made, **{key.replace("_", "-"): value for key, value in options.items()}},
        clock=clock,
    )


def written(table: Table, times: Sequence[int | None], dtype: pl.DataType) -> None:
    table.write(pl.DataFrame({"k": range(len(times)), "t": pl.Series(times, dtype=dtype)}))


def keys_left(table: Table) -> list[object]:
    return [row[0] for row in rows_of(table)]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


SECONDS = [None, NOW, NOW - HOUR, NOW - HOUR - 1, 0, -5]


def test_a_record_goes_when_it_is_older_than_its_time_to_live(
    tmp_path: Path, clock: ManualClock
) -> None:
    table = table_of(tmp_path, "INT", clock)
    written(table, SECONDS, pl.Int32())
    assert keys_left(table) == [0, 1, 2, 3, 4, 5], "reads do not look at it"

    table.compact("full", verify="full")

    assert keys_left(table) == [0, 1, 2]


def test_large_numbers_are_milliseconds(tmp_path: Path, clock: ManualClock) -> None:
    table = table_of(tmp_path, "BIGINT", clock)
    written(table, [*SECONDS, NOW * 1000, (NOW - HOUR) * 1000, (NOW - HOUR) * 1000 - 1], pl.Int64())

    table.compact("full", verify="full")

    assert keys_left(table) == [0, 1, 2, 6, 7]


@pytest.mark.parametrize(
    ("time_type", "unit", "farthest"),
    [
        ("TIMESTAMP(3)", "ms", 9999),
        ("TIMESTAMP(6)", "us", 9999),
        ("TIMESTAMP(9)", "ns", 2200),
        ("TIMESTAMP(6) WITH LOCAL TIME ZONE", "us", 9999),
    ],
)
def test_timestamps_count_in_seconds(
    tmp_path: Path, clock: ManualClock, time_type: str, unit: str, farthest: int
) -> None:
    table = table_of(tmp_path, time_type, clock)
    border = EPOCH + timedelta(seconds=NOW - HOUR)
    times = [
        None, border, border + timedelta(milliseconds=999), border - timedelta(milliseconds=1),
        datetime(farthest, 1, 1), datetime(1700, 1, 1),  # noqa: DTZ001 the column has no zone
    ]  # fmt: skip
    zone = "UTC" if "ZONE" in time_type else None
    told = pl.Series(times, dtype=pl.Datetime(unit)).dt.replace_time_zone(zone)  # type: ignore[arg-type]
    for _ in range(2):  # a file without statistics alone would only be moved
        table.write(pl.DataFrame({"k": range(len(times)), "t": told}))

    table.compact("full", verify="full")

    assert keys_left(table) == [0, 1, 2, 4]


def test_an_expired_record_is_not_merged_either(tmp_path: Path, clock: ManualClock) -> None:
    """What is left of a key is what the records that stay make of it."""
    table = table_of(tmp_path, "INT", clock, merge_engine="aggregation",
                     **{"fields.default-aggregate-function": "first_value"})  # fmt: skip
    table.write(pl.DataFrame({"k": [1], "t": [NOW - 2 * HOUR]}))
    table.write(pl.DataFrame({"k": [1], "t": [NOW]}))

    table.compact("full", verify="full")

    assert rows_of(table) == [(1, NOW)]


def test_time_passes_and_a_minor_compaction_finds_the_file(
    tmp_path: Path, clock: ManualClock
) -> None:
    table = table_of(tmp_path, "INT", clock)
    written(table, [NOW, NOW + HOUR], pl.Int32())
    table.compact("full")
    assert keys_left(table) == [0, 1]
    clock.advance(HOUR + 1)

    later = reopened(table, clock=clock)
    later.compact("full", verify="full")

    assert keys_left(later) == [1]
    assert later.compact("full").snapshot_id is None


def test_a_changelog_does_not_tell_what_expired(tmp_path: Path, clock: ManualClock) -> None:
    table = table_of(tmp_path, "INT", clock, changelog_producer="lookup")
    written(table, [NOW - 2 * HOUR, NOW], pl.Int32())

    table.compact("full", verify="full")

    latest = table.handle.snapshots.latest_id() or 0
    told = [row for part in table.changes(0, latest) for row in part.rows.rows()]
    assert told == [(1, NOW)]


def test_a_time_column_that_is_missing_is_named(tmp_path: Path) -> None:
    options = {"record-level.expire-time": "1 h", "record-level.time-field": "x"}

    with pytest.raises(InvalidRequest, match=r"record-level\.time-field, value=x"):
        keyed_table(tmp_path, options=options)


def test_a_time_column_of_another_type_is_named(tmp_path: Path) -> None:
    options = {"record-level.expire-time": "1 h", "record-level.time-field": "v"}

    with pytest.raises(UnsupportedFeature, match="column=v, type=STRING"):
        keyed_table(tmp_path, options=options)
