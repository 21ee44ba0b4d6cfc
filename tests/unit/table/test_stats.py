from __future__ import annotations

import io
import math
from collections.abc import Sequence
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from desilt.table.datatypes import DataType, parse_type
from desilt.table.errors import UnsupportedFeature
from desilt.table.row import Instant, decode_row, encode_row
from desilt.table.stats import (
    EMPTY_STATS,
    StatsKind,
    StatsMode,
    collect_stats,
    stats_of_rows,
    truncate_max,
    truncate_min,
)

FULL = StatsMode(StatsKind.FULL)
CUT = StatsMode(StatsKind.TRUNCATE, 16)


def parsed(*texts: str) -> list[DataType]:
    return [parse_type(text) for text in texts]


def footer(frame: pl.DataFrame, writer: str, group_rows: int | None = None, **options: Any) -> Any:
    buffer = io.BytesIO()
    if writer == "polars":
        frame.write_parquet(buffer, row_group_size=group_rows)
    else:
        pq.write_table(frame.to_arrow(), buffer, row_group_size=group_rows, **options)
    buffer.seek(0)
    return pq.read_metadata(buffer)


def bounds_of(
    series: pl.Series, type_text: str, writer: str, mode: StatsMode = FULL, **options: Any
) -> tuple[object, object, int | None]:
    """Minimum, maximum and null count that are collected of one column."""
    types = parsed(type_text)
    metadata = footer(series.alias("a").to_frame(), writer, **options)
    stats, _ = collect_stats(metadata, ["a"], types, [mode], dense=False, nan_free=["a"])
    assert stats.null_counts is not None
    (low,), (high,) = decode_row(stats.min_values, types), decode_row(stats.max_values, types)
    return low, high, stats.null_counts[0]


@pytest.fixture(params=["polars", "pyarrow"])
def writer(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize(
    ("value", "low", "high"),
    [
        ("abcdefghijklmnop", "abcdefghijklmnop", "abcdefghijklmnop"),
        ("abcdefghijklmnopqrstuvwxyz", "abcdefghijklmnop", "abcdefghijklmnoq"),
        ("z" * 20, "z" * 16, "z" * 15 + "{"),
        ("é" * 17, "é" * 16, "é" * 15 + "ê"),
        ("a" + "\U0010ffff" * 16, "a" + "\U0010ffff" * 15, "b"),
        ("a" * 15 + "\ud7ffx", "a" * 15 + "\ud7ff", "a" * 15 + "\ue000"),
        ("\U0010ffff" * 17, "\U0010ffff" * 16, None),
        (b"\x01" * 17, b"\x01" * 16, b"\x01" * 15 + b"\x02"),
        (b"\x01" + b"\xff" * 16, b"\x01" + b"\xff" * 15, b"\x02"),
        (b"\xff" * 17, b"\xff" * 16, None),
        (5, 5, 5),
    ],
)
def test_truncation_cuts_down_and_up(value: object, low: object, high: object) -> None:
    assert truncate_min(value, 16) == low
    assert truncate_max(value, 16) == high


def test_both_bounds_are_dropped_when_the_maximum_cannot_be_cut(writer: str) -> None:
    series = pl.Series([b"a", b"\xff" * 40])

    assert bounds_of(series, "BYTES", writer, CUT) == (None, None, 0)


@pytest.mark.parametrize(
    ("text", "mode"),
    [
        ("none", StatsMode(StatsKind.NONE)),
        ("COUNTS", StatsMode(StatsKind.COUNTS)),
        ("full", FULL),
        ("truncate(16)", CUT),
        (" Truncate(016) ", CUT),
    ],
)
def test_mode_is_parsed_in_any_case(text: str, mode: StatsMode) -> None:
    assert StatsMode.parse(text) == mode


@pytest.mark.parametrize("text", ["", "truncate", "truncate(0)", "truncate(-1)", "most"])
def test_unknown_mode_is_unsupported(text: str) -> None:
    with pytest.raises(UnsupportedFeature, match="unknown stats mode"):
        StatsMode.parse(text)


TYPED = [
    pytest.param("BOOLEAN", pl.Series([True, False, None]), False, True, id="boolean"),
    pytest.param("TINYINT", pl.Series([-3, 4, None], dtype=pl.Int8), -3, 4, id="tinyint"),
    pytest.param("BIGINT", pl.Series([-(2**63), 4, None]), -(2**63), 4, id="bigint"),
    pytest.param("FLOAT", pl.Series([1.5, -2.5, None], dtype=pl.Float32), -2.5, 1.5, id="float"),
    pytest.param("STRING", pl.Series(["é", "z", None]), "z", "é", id="text"),
    pytest.param("BYTES", pl.Series([b"\x7f", b"\xff", None]), b"\x7f", b"\xff", id="bytes"),
    pytest.param("DATE", pl.Series([date(1969, 12, 31), None, date(1970, 1, 2)]), -1, 1, id="date"),
    pytest.param("TIME(3)", pl.Series([time(0, 0, 1), time(0), None]), 0, 1000, id="time"),
    *(
        pytest.param(
            f"DECIMAL({p}, 2)",
            pl.Series([Decimal("-1.25"), Decimal("10.00"), None], dtype=pl.Decimal(p, 2)),
            Decimal("-1.25"),
            Decimal("10.00"),
            id=f"decimal {p}",
        )
        for p in (9, 18, 38)
    ),
    pytest.param(
        "TIMESTAMP(3)",
        pl.Series([-1, 5, None]).cast(pl.Datetime("ms")),
        Instant(-1),
        Instant(5),
        id="timestamp in millis",
    ),
    pytest.param(
        "TIMESTAMP(6)",
        pl.Series([-1, 5, None]).cast(pl.Datetime("us")),
        Instant(-1, 999_000),
        Instant(0, 5000),
        id="timestamp in micros",
    ),
    pytest.param(
        "TIMESTAMP_LTZ(6)",
        pl.Series([-1, 5, None]).cast(pl.Datetime("us", "UTC")),
        Instant(-1, 999_000),
        Instant(0, 5000),
        id="timestamp of a zone",
    ),
]


@pytest.mark.parametrize(("type_text", "series", "low", "high"), TYPED)
def test_bounds_come_from_the_footer(
    type_text: str, series: pl.Series, low: object, high: object, writer: str
) -> None:
    assert bounds_of(series, type_text, writer) == (low, high, 1)


def test_decimals_stored_as_integers_are_read_too() -> None:
    series = pl.Series([Decimal("-1.25"), Decimal("10.00")], dtype=pl.Decimal(9, 2))

    bounds = bounds_of(series, "DECIMAL(9, 2)", "pyarrow", store_decimal_as_integer=True)

    assert bounds == (Decimal("-1.25"), Decimal("10.00"), 0)


def test_times_stored_in_millis_are_read_too() -> None:
    table = pa.table({"a": pa.array([5, 1], pa.time32("ms"))})
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    types = parsed("TIME(3)")

    stats, _ = collect_stats(pq.read_metadata(buffer), ["a"], types, [FULL])

    assert stats.min_values == encode_row((1,), types)
    assert stats.max_values == encode_row((5,), types)


@pytest.mark.parametrize(
    "text",
    ["z" * 100, "a" * 63 + "é" * 40, "a" * 62 + "\U0001f600" * 9, "\ud7ff" * 40, "é" * 5000],
)
@pytest.mark.parametrize("mode", [CUT, StatsMode(StatsKind.TRUNCATE, 128), FULL])
def test_bounds_of_long_text_hold(text: str, mode: StatsMode, writer: str) -> None:
    low, high, _ = bounds_of(pl.Series([text]), "STRING", writer, mode)

    assert low is None or str(low).encode() <= text.encode()
    assert high is None or text.encode() <= str(high).encode()


@pytest.mark.parametrize("zeros", [[0.0], [-0.0], [-0.0, 0.0]])
def test_zero_bounds_cover_both_zeros(zeros: list[float], writer: str) -> None:
    low, high, _ = bounds_of(pl.Series(zeros), "DOUBLE", writer)

    assert (math.copysign(1, float(str(low))), math.copysign(1, float(str(high)))) == (-1, 1)


def test_float_bounds_are_unknown_when_nobody_vouches_that_there_is_no_nan(writer: str) -> None:
    types = parsed("DOUBLE")
    metadata = footer(pl.DataFrame({"a": [1.0, math.nan, None]}), writer)

    stats, _ = collect_stats(metadata, ["a"], types, [FULL])

    assert decode_row(stats.max_values, types) == (None,)
    assert stats.null_counts == (1,)


def test_nanosecond_timestamps_have_no_bounds() -> None:
    nanos = pl.Series([1, None]).cast(pl.Datetime("ns"))

    as_long = bounds_of(nanos, "TIMESTAMP(9)", "pyarrow")
    as_int96 = bounds_of(nanos, "TIMESTAMP(9)", "pyarrow", use_deprecated_int96_timestamps=True)

    assert as_long == (None, None, 1)
    assert as_int96[:2] == (None, None)


def test_bounds_span_row_groups_and_skip_groups_of_nulls(writer: str) -> None:
    values = [None, None, 5, None, -7, 3]
    metadata = footer(pl.DataFrame({"a": values}), writer, group_rows=2)
    types = parsed("BIGINT")

    stats, _ = collect_stats(metadata, ["a"], types, [FULL])

    assert metadata.num_row_groups == 3
    assert stats.min_values == encode_row((-7,), types)
    assert stats.max_values == encode_row((5,), types)
    assert stats.null_counts == (3,)


def test_bounds_are_unknown_when_one_row_group_has_none() -> None:
    # pyarrow leaves out bounds of more than 4 KiB.
    metadata = footer(pl.DataFrame({"a": ["a", "z" * 5000]}), "pyarrow", group_rows=1)
    types = parsed("STRING")

    stats, _ = collect_stats(metadata, ["a"], types, [FULL])

    assert decode_row(stats.max_values, types) == (None,)
    assert stats.null_counts == (0,)


def test_column_of_nulls_has_only_its_count(writer: str) -> None:
    assert bounds_of(pl.Series([None, None], dtype=pl.String), "STRING", writer) == (None, None, 2)


def collected(modes: Sequence[str], *, dense: bool) -> tuple[object, tuple[str, ...] | None]:
    """Statistics of the columns a, b and (not in the file) c."""
    metadata = footer(pl.DataFrame({"a": [1], "b": ["x"]}), "polars")
    types = parsed("BIGINT", "STRING", "INT")
    stats, kept = collect_stats(
        metadata, ["a", "b", "c"], types, [StatsMode.parse(m) for m in modes], dense=dense
    )
    return stats.null_counts, kept


def test_dense_store_leaves_out_columns_without_statistics() -> None:
    assert collected(["full", "counts", "full"], dense=True) == ((0, 0), ("a", "b"))
    assert collected(["none", "full", "full"], dense=True) == ((0,), ("b",))
    assert collected(["none", "none", "none"], dense=True) == ((), ())


def test_legacy_store_keeps_all_columns_and_names_none() -> None:
    assert collected(["none", "full", "full"], dense=False) == ((None, 0, None), None)


def test_no_names_are_given_when_all_columns_are_kept() -> None:
    metadata = footer(pl.DataFrame({"a": [1]}), "polars")

    _, kept = collect_stats(metadata, ["a"], parsed("BIGINT"), [CUT])

    assert kept is None


def test_counts_mode_keeps_no_bounds(writer: str) -> None:
    series = pl.Series([1, None])

    assert bounds_of(series, "BIGINT", writer, StatsMode(StatsKind.COUNTS)) == (None, None, 1)


def test_columns_of_another_unit_are_floored() -> None:
    late = datetime(1969, 12, 31, 23, 59, 59, 999_999)  # noqa: DTZ001  a local time
    series = pl.Series([late], dtype=pl.Datetime("us"))

    assert bounds_of(series, "TIMESTAMP(6)", "polars") == (
        Instant(-1, 999_000),
        Instant(-1, 999_000),
        0,
    )


def test_empty_stats_are_rows_of_no_fields() -> None:
    assert EMPTY_STATS.min_values == EMPTY_STATS.max_values == bytes(12)
    assert EMPTY_STATS.null_counts == ()
    assert stats_of_rows([], []) == EMPTY_STATS


def test_stats_of_rows_are_full_and_in_paimons_order() -> None:
    types = parsed("STRING", "DOUBLE", "INT")
    rows = [("\U0001f600" * 20, 0.0, None), (None, math.nan, None), ("\uffae", -0.0, None)]

    stats = stats_of_rows(rows, types)

    assert stats.min_values == encode_row(("\uffae", -0.0, None), types)
    assert stats.max_values == encode_row(("\U0001f600" * 20, math.nan, None), types)
    assert stats.null_counts == (1, 0, 3)


def test_nested_columns_have_no_statistics(writer: str) -> None:
    """Nor does a column that is called like the path of a field inside another get that field's."""
    frame = pl.DataFrame({"r": [{"a": 1}], "r.b": [7], "l": [[9]], "m": [{"key": "x"}]})
    columns = ["r", "r.a", "r.b", "l", "m"]
    types = parsed("ROW<a BIGINT>", "BIGINT", "BIGINT", "ARRAY<BIGINT>", "ROW<key STRING>")
    metadata = footer(frame, writer)

    stats, kept = collect_stats(metadata, columns, types, [FULL] * 5)
    assert kept == ("r.b",)
    assert decode_row(stats.min_values, types[2:3]) == (7,)
    sparse, kept = collect_stats(metadata, columns, types, [FULL] * 5, dense=False)
    assert kept is None
    assert sparse.null_counts == (None, None, 0, None, None)
