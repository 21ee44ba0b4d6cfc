"""Rows, hashes, order and bounds hold for every value, not only for the examples."""

from __future__ import annotations

import io
import math
from decimal import Decimal

import polars as pl
import pyarrow.parquet as pq
from hypothesis import given, settings
from hypothesis import strategies as st
from support.murmur import murmur_of_row

from desilt.table.bucket import encode_partitions, row_hashes
from desilt.table.datatypes import DataType, Root, parse_type
from desilt.table.errors import CorruptTable
from desilt.table.row import (
    Instant,
    Row,
    decode_row,
    encode_row,
    row_from_frame,
    series_from_values,
    sort_key,
)
from desilt.table.stats import (
    StatsKind,
    StatsMode,
    collect_stats,
    stats_of_rows,
    truncate_max,
    truncate_min,
)

TYPE_TEXTS = [
    "BOOLEAN", "TINYINT", "SMALLINT", "INT", "BIGINT", "FLOAT", "DOUBLE", "DATE", "TIME(3)",
    "CHAR(20)", "STRING", "BYTES", "DECIMAL(9, 2)", "DECIMAL(18, 18)", "DECIMAL(19, 0)",
    "DECIMAL(38, 10)", "TIMESTAMP(0)", "TIMESTAMP(3)", "TIMESTAMP(6)", "TIMESTAMP(9)",
    "TIMESTAMP_LTZ(3)", "TIMESTAMP_LTZ(6)",
]  # fmt: skip
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
INTEGER_BITS = {Root.TINYINT: 8, Root.SMALLINT: 16, Root.INT: 32, Root.BIGINT: 64}


def instants(precision: int) -> st.SearchStrategy[Instant]:
    step = 10 ** (6 - max(0, precision - 3)) if precision > 3 else 1_000_000
    fractions = st.integers(0, 1_000_000 // step - 1).map(lambda n: n * step)
    # Within what 64 bits of nanoseconds reach.
    return st.builds(Instant, st.integers(-9_000_000_000_000, 9_000_000_000_000), fractions)


def values_of(data_type: DataType) -> st.SearchStrategy[object]:
    root = data_type.root
    if root in INTEGER_BITS:
        limit = 1 << (INTEGER_BITS[root] - 1)
        return st.integers(-limit, limit - 1)
    if root is Root.DECIMAL:
        limit = 10**data_type.precision - 1
        scale = data_type.scale
        return st.integers(-limit, limit).map(
            lambda n: Decimal((int(n < 0), tuple(map(int, str(abs(n)))), -scale))
        )
    if root in (Root.TIMESTAMP, Root.TIMESTAMP_LTZ):
        return instants(data_type.precision)
    plain: dict[Root, st.SearchStrategy[object]] = {
        Root.BOOLEAN: st.booleans(),
        Root.FLOAT: st.floats(width=32),
        Root.DOUBLE: st.floats(),
        Root.DATE: st.integers(-800_000, 3_000_000),
        Root.TIME: st.integers(0, 86_399_999),
        Root.CHAR: TEXT,
        Root.VARCHAR: TEXT,
        Root.VARBINARY: st.binary(max_size=20),
    }
    return plain[root]


@st.composite
def typed_rows(draw: st.DrawFn, columns: int = 4) -> tuple[list[DataType], list[Row]]:
    """Some types and a few rows of them, nulls included."""
    texts = draw(st.lists(st.sampled_from(TYPE_TEXTS), min_size=1, max_size=columns))
    types = [parse_type(text) for text in texts]
    row = st.tuples(*(st.none() | values_of(data_type) for data_type in types))
    return types, draw(st.lists(row, min_size=1, max_size=6))


def same(left: Row, right: Row, types: list[DataType]) -> bool:
    return sort_key(left, types) == sort_key(right, types)


def frame_of(types: list[DataType], rows: list[Row]) -> pl.DataFrame:
    columns = list(zip(*rows, strict=True))
    return pl.DataFrame([series_from_values(f"c{i}", columns[i], t) for i, t in enumerate(types)])


@given(typed_rows(), st.booleans())
@settings(deadline=None)
def test_decoding_undoes_encoding(data: tuple[list[DataType], list[Row]], layout: bool) -> None:
    types, rows = data
    for row in rows:
        encoded = encode_row(row, types, key_layout=layout)

        assert len(encoded) % 8 == 4
        assert same(decode_row(encoded, types), row, types)


@given(typed_rows())
@settings(deadline=None)
def test_frames_hash_and_encode_as_their_rows(data: tuple[list[DataType], list[Row]]) -> None:
    types, rows = data
    frame = frame_of(types, rows)
    encoded = [encode_row(row, types) for row in rows]
    taken = [row_from_frame(frame, i, frame.columns, types) for i in range(len(rows))]

    assert [encode_row(row, types) for row in taken] == encoded
    assert row_hashes(frame, frame.columns, types).to_list() == [
        murmur_of_row(e[4:]) for e in encoded
    ]
    assert encode_partitions(frame, frame.columns, types).to_list() == encoded


def is_minus_zero(value: object) -> bool:
    return isinstance(value, float) and not value and math.copysign(1, value) < 0


@given(typed_rows(columns=1))
@settings(deadline=None)
def test_sort_key_orders_as_polars_sorts(data: tuple[list[DataType], list[Row]]) -> None:
    types, rows = data
    # Polars takes the two zeros for one.
    rows = [row for row in rows if not is_minus_zero(row[0])]
    if not rows:
        return
    ours = sorted(rows, key=lambda row: sort_key(row, types))

    assert frame_of(types, ours).equals(frame_of(types, rows).sort("c0", nulls_last=False))


@given(st.binary(max_size=60), st.lists(st.sampled_from(TYPE_TEXTS), max_size=3))
def test_any_bytes_are_a_row_or_corrupt(data: bytes, texts: list[str]) -> None:
    types = [parse_type(text) for text in texts]
    prefixed = len(types).to_bytes(4, "big") + data
    try:
        values = decode_row(prefixed, types)
    except CorruptTable:
        return
    assert len(values) == len(types)


@given(typed_rows(), st.data())
@settings(deadline=None)
def test_damaged_rows_are_rows_or_corrupt(
    data: tuple[list[DataType], list[Row]], choice: st.DataObject
) -> None:
    types, rows = data
    encoded = bytearray(encode_row(rows[0], types))
    place = choice.draw(st.integers(0, len(encoded) - 1))
    encoded[place] ^= choice.draw(st.integers(1, 255))
    try:
        decode_row(bytes(encoded[: choice.draw(st.integers(0, len(encoded)))]), types)
    except CorruptTable:
        return


UNITS = st.sampled_from(["a", "z", "é", "\ud7ff", "\uffff", "\U0001f600", "\U0010ffff"])
TRICKY_TEXT = st.text(UNITS, max_size=40)
TRICKY_BYTES = st.lists(st.sampled_from([0, 0x7F, 0xFE, 0xFF]), max_size=80).map(bytes)


@given(TRICKY_TEXT, st.integers(1, 8))
def test_truncated_text_bounds_hold(text: str, length: int) -> None:
    low, high = truncate_min(text, length), truncate_max(text, length)

    assert isinstance(low, str)
    assert low.encode() <= text.encode()
    if high is None:
        assert text[:length] == "\U0010ffff" * length
    else:
        assert isinstance(high, str)
        assert text.encode() <= high.encode()
        assert max(len(low), len(high)) <= length


@given(TRICKY_BYTES, st.integers(1, 8))
def test_truncated_byte_bounds_hold(raw: bytes, length: int) -> None:
    low, high = truncate_min(raw, length), truncate_max(raw, length)

    assert isinstance(low, bytes)
    assert low <= raw
    if high is None:
        assert raw[:length] == b"\xff" * length
    else:
        assert isinstance(high, bytes)
        assert raw <= high


@given(typed_rows(), st.sampled_from(["truncate(3)", "truncate(16)", "full"]), st.booleans())
@settings(deadline=None, max_examples=50)
def test_bounds_of_written_files_hold(
    data: tuple[list[DataType], list[Row]], mode: str, by_polars: bool
) -> None:
    types, rows = data
    frame = frame_of(types, rows)
    buffer = io.BytesIO()
    if by_polars:
        frame.write_parquet(buffer, row_group_size=2)
    else:
        pq.write_table(frame.to_arrow(), buffer, row_group_size=2)
    modes = [StatsMode.parse(mode)] * len(types)

    stats, _ = collect_stats(
        pq.read_metadata(buffer),
        frame.columns,
        types,
        modes,
        dense=False,
        nan_free=_nan_free(frame),
    )

    assert_bounds(
        decode_row(stats.min_values, types), decode_row(stats.max_values, types), types, rows
    )
    assert stats.null_counts == tuple(frame.null_count().row(0))


def _nan_free(frame: pl.DataFrame) -> list[str]:
    return [s.name for s in frame if s.dtype.is_float() and not s.is_nan().any()]


@given(typed_rows())
@settings(deadline=None)
def test_stats_of_rows_hold(data: tuple[list[DataType], list[Row]]) -> None:
    types, rows = data

    stats = stats_of_rows(rows, types)

    assert_bounds(
        decode_row(stats.min_values, types), decode_row(stats.max_values, types), types, rows
    )


@given(st.lists(TRICKY_TEXT | TRICKY_TEXT.map(lambda text: text * 4), min_size=1, max_size=4))
@settings(deadline=None, max_examples=50)
def test_long_text_keeps_its_bounds_through_polars_footers(texts: list[str]) -> None:
    types = [parse_type("STRING")]
    buffer = io.BytesIO()
    pl.DataFrame({"a": texts}).write_parquet(buffer)

    for mode in (StatsMode(StatsKind.TRUNCATE, 16), StatsMode(StatsKind.FULL)):
        stats, _ = collect_stats(pq.read_metadata(buffer), ["a"], types, [mode])
        low, high = decode_row(stats.min_values, types), decode_row(stats.max_values, types)
        assert_bounds(low, high, types, [(text,) for text in texts])


def assert_bounds(low: Row, high: Row, types: list[DataType], rows: list[Row]) -> None:
    for index, data_type in enumerate(types):
        values = [row[index] for row in rows if row[index] is not None]
        if low[index] is None:
            assert high[index] is None
            continue
        for value in values:
            keys = [sort_key((v,), [data_type]) for v in (low[index], value, high[index])]
            assert keys == sorted(keys)
