from __future__ import annotations

import datetime as dt
import math
import struct
from decimal import Decimal
from itertools import pairwise

import polars as pl
import pytest

from desilt.table.datatypes import DataType, parse_type, to_polars
from desilt.table.errors import CorruptTable, UnsupportedFeature
from desilt.table.row import (
    Instant,
    decode_row,
    encode_row,
    instant_of_ticks,
    row_from_frame,
    series_from_values,
    sort_key,
)

NEW_YEAR = Instant(1704067200123, 0)
NEW_YEAR_MICROS = Instant(1704067200123, 456000)


def types_of(*texts: str) -> list[DataType]:
    return [parse_type(text) for text in texts]


WORKED_EXAMPLES = [
    pytest.param((), (), "00000000 0000000000000000", id="no fields"),
    pytest.param(("INT",), (5,), "00000001 0000000000000000 0500000000000000", id="int"),
    pytest.param(("INT",), (None,), "00000001 0001000000000000 0000000000000000", id="null int"),
    pytest.param(("STRING",), ("a",), "00000001 0000000000000000 6100000000000081", id="short"),
    pytest.param(
        ("STRING",), ("1234567",), "00000001 0000000000000000 3132333435363787", id="seven bytes"
    ),
    pytest.param(
        ("STRING",),
        ("12345678",),
        "00000001 0000000000000000 0800000010000000 3132333435363738",
        id="eight bytes",
    ),
    pytest.param(
        ("INT", "STRING", "BIGINT"),
        (1, "longer-than-7", None),
        "00000003 0004000000000000 0100000000000000 0d00000020000000 0000000000000000"
        "6c6f6e6765722d7468616e2d37000000",
        id="three fields",
    ),
    pytest.param(
        ("DECIMAL(10, 2)",),
        (Decimal("12.34"),),
        "00000001 0000000000000000 d204000000000000",
        id="compact decimal",
    ),
    pytest.param(
        ("DECIMAL(20, 4)",),
        (Decimal("-3.25"),),
        "00000001 0000000000000000 0200000010000000 810c000000000000 0000000000000000",
        id="wide decimal",
    ),
    pytest.param(
        ("DECIMAL(20, 4)",),
        (None,),
        "00000001 0001000000000000 0000000010000000 0000000000000000 0000000000000000",
        id="null wide decimal",
    ),
    pytest.param(
        ("TIMESTAMP(3)",),
        (NEW_YEAR,),
        "00000001 0000000000000000 7bf451c28c010000",
        id="timestamp in millis",
    ),
    pytest.param(
        ("TIMESTAMP(6)",),
        (NEW_YEAR_MICROS,),
        "00000001 0000000000000000 40f5060010000000 7bf451c28c010000",
        id="timestamp in micros",
    ),
    pytest.param(
        ("TIMESTAMP(6)",),
        (None,),
        "00000001 0001000000000000 0000000010000000 0000000000000000",
        id="null wide timestamp",
    ),
    pytest.param(
        ("BOOLEAN", "DATE"),
        (True, 19857),
        "00000002 0000000000000000 0100000000000000 914d000000000000",
        id="boolean and date",
    ),
    pytest.param(("DOUBLE",), (1.5,), "00000001 0000000000000000 000000000000f83f", id="double"),
    pytest.param(
        ("DATE", "TIMESTAMP(6)", "STRING"),
        (None, None, " "),
        "00000003 0003000000000000 0000000000000000 0000000020000000 2000000000000081"
        "0000000000000000",
        id="partition of nulls and a blank",
    ),
    pytest.param(
        ("DATE", "TIMESTAMP(6)", "STRING"),
        (19857, NEW_YEAR, "a/b=c:d"),
        "00000003 0000000000000000 914d000000000000 0000000020000000 612f623d633a6487"
        "7bf451c28c010000",
        id="partition",
    ),
]


@pytest.mark.parametrize(("types", "values", "expected"), WORKED_EXAMPLES)
def test_row_has_the_bytes_that_java_writes(
    types: tuple[str, ...], values: tuple[object, ...], expected: str
) -> None:
    encoded = encode_row(values, types_of(*types))

    assert encoded == bytes.fromhex(expected)
    assert decode_row(encoded, types_of(*types)) == values


def test_null_takes_no_chunk_in_the_layout_of_old_statistics() -> None:
    types = types_of("DECIMAL(20, 4)", "TIMESTAMP(6)", "STRING")

    encoded = encode_row((None, None, "12345678"), types, key_layout=False)

    slots = "0003000000000000 0000000000000000 0000000000000000 0800000020000000"
    assert encoded == bytes.fromhex(f"00000003 {slots} 3132333435363738")
    assert decode_row(encoded, types) == (None, None, "12345678")


@pytest.mark.parametrize(
    ("unscaled", "raw"), [(0, "00"), (-128, "80"), (128, "0080"), (-129, "ff7f"), (127, "7f")]
)
def test_wide_decimal_takes_as_few_bytes_as_hold_it(unscaled: int, raw: str) -> None:
    encoded = encode_row((Decimal(unscaled),), types_of("DECIMAL(38, 0)"))

    assert encoded[12] == len(raw) // 2
    assert encoded[20:36] == bytes.fromhex(raw).ljust(16, b"\0")


@pytest.mark.parametrize(("arity", "header"), [(56, 8), (57, 16), (120, 16), (121, 24)])
def test_header_grows_with_the_fields(arity: int, header: int) -> None:
    types = types_of(*["INT"] * arity)
    values = (*range(arity - 1), None)

    encoded = encode_row(values, types)

    assert len(encoded) == 4 + header + 8 * arity
    assert decode_row(encoded, types) == values


def test_nan_is_written_with_one_bit_pattern() -> None:
    (odd_nan,) = struct.unpack("<d", bytes.fromhex("010000000000f8ff"))

    encoded = encode_row((odd_nan, odd_nan), types_of("DOUBLE", "FLOAT"))

    assert encoded[12:] == bytes.fromhex("000000000000f87f 0000c07f00000000")


def test_minus_zero_keeps_its_sign() -> None:
    (value,) = decode_row(encode_row((-0.0,), types_of("FLOAT")), types_of("FLOAT"))

    assert isinstance(value, float)
    assert math.copysign(1, value) == -1


@pytest.mark.parametrize(
    ("type_text", "value"),
    [
        ("TINYINT", 128),
        ("INT", 2**31),
        ("INT", True),
        ("INT", 1.0),
        ("BIGINT", "1"),
        ("FLOAT", 1e300),
        ("BOOLEAN", 1),
        ("STRING", b"a"),
        ("BYTES", "a"),
        ("DECIMAL(3, 1)", Decimal("1.25")),
        ("DECIMAL(3, 1)", Decimal("100.0")),
        ("DECIMAL(3, 1)", Decimal("NaN")),
        ("DECIMAL(20, 1)", Decimal("Infinity")),
        ("TIMESTAMP(3)", 5),
        ("TIMESTAMP(6)", Instant(0, 1_000_000)),
        ("TIMESTAMP(6)", Instant(2**63, 0)),
    ],
)
def test_value_that_does_not_fit_is_refused(type_text: str, value: object) -> None:
    with pytest.raises(ValueError, match=r"."):
        encode_row((value,), types_of(type_text))


def test_another_number_of_values_is_refused() -> None:
    with pytest.raises(ValueError, match="2 values for 1 types"):
        encode_row((1, 2), types_of("INT"))


@pytest.mark.parametrize(
    ("type_text", "data", "message"),
    [
        ("INT", "", "row is too short"),
        ("INT", "00000001 0000000000000000 05000000", "row is too short"),
        ("INT", "00000002 0000000000000000 0500000000000000", "another number of fields"),
        ("STRING", "00000001 0000000000000000 0900000010000000 3132333435363738", "beyond its end"),
        ("STRING", "00000001 0000000000000000 08000000ffffff7f 3132333435363738", "beyond its end"),
        ("STRING", "00000001 0000000000000000 3132333435363788", "inline value has a bad length"),
        ("STRING", "00000001 0000000000000000 ff00000000000081", "no UTF-8"),
        (
            "DECIMAL(20, 0)",
            "00000001 0000000000000000 0000000010000000",
            "decimal has a bad length",
        ),
        (
            "DECIMAL(20, 0)",
            "00000001 0000000000000000 1000000010000000 7fffffffffffffffffffffffffffffff",
            "too many digits",
        ),
        ("DECIMAL(3, 0)", "00000001 0000000000000000 e803000000000000", "too many digits"),
        ("TIMESTAMP(6)", "00000001 0000000000000000 0000000010000000", "beyond its end"),
        (
            "TIMESTAMP(6)",
            "00000001 0000000000000000 40420f0010000000 0000000000000000",
            "nanos of a millisecond out of range",
        ),
    ],
)
def test_bytes_that_are_no_row_are_corrupt(type_text: str, data: str, message: str) -> None:
    with pytest.raises(CorruptTable, match=message):
        decode_row(bytes.fromhex(data), types_of(type_text))


def test_ticks_before_1970_are_floored() -> None:
    assert instant_of_ticks(-1, "ns") == Instant(-1, 999_999)
    assert instant_of_ticks(-1001, "us") == Instant(-2, 999_000)
    assert instant_of_ticks(-5, "ms") == Instant(-5, 0)


@pytest.mark.parametrize(
    ("type_text", "ascending"),
    [
        ("BOOLEAN", [None, False, True]),
        ("INT", [None, -2, -1, 0, 7]),
        (
            "DOUBLE",
            [None, -math.inf, -1.5, -5e-324, -0.0, 0.0, 5e-324, 1.5, math.inf, math.nan],
        ),
        ("STRING", [None, "", "b", "ba", "z", "é", "\uffae", "\U0001f600"]),
        ("BYTES", [None, b"", b"\x00", b"\x00\x00", b"\x7f", b"\xff"]),
        ("DECIMAL(20, 2)", [None, Decimal(-1), Decimal(1), Decimal(2), Decimal(10)]),
        ("TIMESTAMP(9)", [None, Instant(-2, 999_999), Instant(-1, 0), Instant(-1, 1), Instant(0)]),
    ],
)
def test_sort_key_orders_as_paimon_does(type_text: str, ascending: list[object]) -> None:
    types = types_of(type_text)

    keys = [sort_key((value,), types) for value in ascending]

    assert all(left < right for left, right in pairwise(keys))


def test_sort_key_compares_column_by_column() -> None:
    types = types_of("INT", "STRING")

    assert sort_key((1, "b"), types) < sort_key((2, "a"), types)
    assert sort_key((1, None), types) < sort_key((1, ""), types)


FRAME_VALUES = [
    pytest.param("FLOAT", [1.100000023841858, -0.0, None], id="float"),
    pytest.param("TINYINT", [-128, 127, None], id="tinyint"),
    pytest.param("BIGINT", [-(2**63), 2**63 - 1, None], id="bigint"),
    pytest.param("DECIMAL(38, 37)", [Decimal("-9." + "9" * 37), None], id="decimal"),
    pytest.param("CHAR(3)", ["é", "", None], id="char"),
    pytest.param("BYTES", [b"\xff\x00", b"", None], id="bytes"),
    pytest.param("DATE", [-719529, 3_000_000, None], id="date"),
    pytest.param("TIME(3)", [0, 86_399_999, None], id="time"),
    pytest.param("TIMESTAMP(3)", [Instant(-1), Instant(253402300800000), None], id="millis"),
    pytest.param("TIMESTAMP(6)", [Instant(-1, 999_000), Instant(0, 1000), None], id="micros"),
    pytest.param("TIMESTAMP_LTZ(9)", [Instant(-1, 999_999), Instant(5, 1), None], id="nanos"),
]


@pytest.mark.parametrize(("type_text", "values"), FRAME_VALUES)
def test_values_survive_a_frame(type_text: str, values: list[object]) -> None:
    (data_type,) = types_of(type_text)
    frame = series_from_values("a", values, data_type).to_frame()

    back = [row_from_frame(frame, i, ["a"], [data_type])[0] for i in range(len(values))]

    assert frame.schema["a"] == to_polars(data_type)
    assert back == values


def test_frame_values_finer_than_the_type_are_floored() -> None:
    before_1970 = dt.datetime(1969, 12, 31, 23, 59, 59, 999_999)  # noqa: DTZ001  a local time
    frame = pl.DataFrame({"t": [before_1970], "c": [dt.time(0, 0, 1, 999_999)]})

    row = row_from_frame(frame, 0, ["t", "c"], types_of("TIMESTAMP(3)", "TIME(3)"))

    assert row == (Instant(-1), 1999)


def test_timestamp_beyond_the_range_of_nanoseconds_is_unsupported() -> None:
    with pytest.raises(UnsupportedFeature, match="timestamp is out of range"):
        series_from_values("a", [Instant(253402300800000)], parse_type("TIMESTAMP(9)"))
