"""Column types as text, in Arrow and in Polars."""

from __future__ import annotations

import polars as pl
import pyarrow as pa
import pytest

from desilt.table.datatypes import (
    MAX_LENGTH,
    DataType,
    Root,
    from_arrow,
    parse_type,
    time_unit,
    to_arrow,
    to_polars,
    type_text,
)
from desilt.table.errors import CorruptTable, InvalidRequest, UnsupportedFeature

# The text that Java writes, the Polars type, the Arrow type that files get.
TYPES: list[tuple[str, pl.DataType, pa.DataType]] = [
    ("BOOLEAN", pl.Boolean(), pa.bool_()),
    ("TINYINT", pl.Int8(), pa.int8()),
    ("SMALLINT", pl.Int16(), pa.int16()),
    ("INT", pl.Int32(), pa.int32()),
    ("BIGINT", pl.Int64(), pa.int64()),
    ("FLOAT", pl.Float32(), pa.float32()),
    ("DOUBLE", pl.Float64(), pa.float64()),
    ("DECIMAL(1, 0)", pl.Decimal(1, 0), pa.decimal128(1, 0)),
    ("DECIMAL(38, 38)", pl.Decimal(38, 38), pa.decimal128(38, 38)),
    ("CHAR(1)", pl.String(), pa.large_string()),
    ("CHAR(255)", pl.String(), pa.large_string()),
    ("VARCHAR(10)", pl.String(), pa.large_string()),
    ("STRING", pl.String(), pa.large_string()),
    ("BINARY(16)", pl.Binary(), pa.large_binary()),
    ("VARBINARY(10)", pl.Binary(), pa.large_binary()),
    ("BYTES", pl.Binary(), pa.large_binary()),
    ("DATE", pl.Date(), pa.date32()),
    ("TIME(0)", pl.Time(), pa.time32("ms")),
    ("TIME(3)", pl.Time(), pa.time32("ms")),
    ("TIMESTAMP(0)", pl.Datetime("ms"), pa.timestamp("ms")),
    ("TIMESTAMP(3)", pl.Datetime("ms"), pa.timestamp("ms")),
    ("TIMESTAMP(4)", pl.Datetime("us"), pa.timestamp("us")),
    ("TIMESTAMP(6)", pl.Datetime("us"), pa.timestamp("us")),
    ("TIMESTAMP(9)", pl.Datetime("ns"), pa.timestamp("ns")),
    ("TIMESTAMP(3) WITH LOCAL TIME ZONE", pl.Datetime("ms", "UTC"), pa.timestamp("ms", "UTC")),
    ("TIMESTAMP(9) WITH LOCAL TIME ZONE", pl.Datetime("ns", "UTC"), pa.timestamp("ns", "UTC")),
]


@pytest.mark.parametrize(("text", "polars", "arrow"), TYPES, ids=[t for t, _, _ in TYPES])
def test_type_has_its_text_its_polars_and_its_arrow_type(
    text: str, polars: pl.DataType, arrow: pa.DataType
) -> None:
    parsed = parse_type(text)

    assert type_text(parsed) == str(parsed) == text
    assert to_polars(parsed) == polars
    assert to_arrow(parsed) == arrow


@pytest.mark.parametrize("text", [t for t, _, _ in TYPES])
def test_not_null_is_kept_in_text(text: str) -> None:
    parsed = parse_type(f"{text} NOT NULL")

    assert not parsed.nullable
    assert type_text(parsed) == f"{text} NOT NULL"
    assert parsed == parse_type(text).not_null()


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("int", "INT"),
        ("INTEGER", "INT"),
        ("double precision", "DOUBLE"),
        ("DECIMAL", "DECIMAL(10, 0)"),
        ("DECIMAL(5)", "DECIMAL(5, 0)"),
        ("NUMERIC(5,2)", "DECIMAL(5, 2)"),
        ("DEC( 5 , 2 )", "DECIMAL(5, 2)"),
        ("CHAR", "CHAR(1)"),
        ("VARCHAR", "VARCHAR(1)"),
        ("VARCHAR(2147483647)", "STRING"),
        ("BINARY", "BINARY(1)"),
        ("VARBINARY(2147483647)", "BYTES"),
        ("TIME", "TIME(0)"),
        ("TIME WITHOUT TIME ZONE", "TIME(0)"),
        ("TIMESTAMP", "TIMESTAMP(6)"),
        ("TIMESTAMP WITHOUT TIME ZONE", "TIMESTAMP(6)"),
        ("TIMESTAMP(3) WITHOUT TIME ZONE NOT NULL", "TIMESTAMP(3) NOT NULL"),
        ("TIMESTAMP WITH LOCAL TIME ZONE", "TIMESTAMP(6) WITH LOCAL TIME ZONE"),
        ("TIMESTAMP_LTZ(3)", "TIMESTAMP(3) WITH LOCAL TIME ZONE"),
        ("STRING NULL", "STRING"),
        ("  BIGINT   NOT NULL ", "BIGINT NOT NULL"),
    ],
)
def test_other_spellings_mean_the_same_type(text: str, canonical: str) -> None:
    assert type_text(parse_type(text)) == canonical


@pytest.mark.parametrize(
    "text",
    ["VARIANT", "BLOB", "BLOB NOT NULL", "VECTOR<FLOAT, 3>", "GEOMETRY(EPSG:4326)",
     "GEOGRAPHY"],
)  # fmt: skip
def test_special_types_are_refused_by_name(text: str) -> None:
    with pytest.raises(UnsupportedFeature, match="type is not supported") as caught:
        parse_type(text)
    assert caught.value.context["type"] == text


@pytest.mark.parametrize("text", ["ARRAY<BLOB>", "MAP<INT, VARIANT>", "ROW<a VECTOR<INT, 2>>"])
def test_special_types_inside_others_are_refused_by_name(text: str) -> None:
    with pytest.raises(UnsupportedFeature, match="type is not supported"):
        parse_type(text)


@pytest.mark.parametrize("text", ["", "MONEY", "INT INT", "TIMESTAMP(3", "INTERVAL DAY", "NULL"])
def test_unknown_types_are_refused_with_their_text(text: str) -> None:
    with pytest.raises(UnsupportedFeature, match="unknown type") as caught:
        parse_type(text)
    assert caught.value.context["type"] == text


@pytest.mark.parametrize(
    "text",
    ["DECIMAL(0, 0)", "DECIMAL(39, 0)", "DECIMAL(5, 6)", "CHAR(0)", "VARCHAR(2147483648)",
     "BINARY(0)", "TIME(10)", "TIMESTAMP(10)", "TIMESTAMP_LTZ(12)"],
)  # fmt: skip
def test_parameters_out_of_range_are_corrupt(text: str) -> None:
    with pytest.raises(CorruptTable, match="out of range") as caught:
        parse_type(text)
    assert caught.value.context["type"] == text


@pytest.mark.parametrize("value", [None, 7, ["INT"], True])
def test_a_type_that_is_no_text_is_corrupt(value: object) -> None:
    with pytest.raises(CorruptTable, match="must be text"):
        parse_type(value)


@pytest.mark.parametrize(
    ("precision", "unit"), [(0, "ms"), (3, "ms"), (4, "us"), (6, "us"), (7, "ns"), (9, "ns")]
)
def test_time_unit_follows_the_precision(precision: int, unit: str) -> None:
    assert time_unit(DataType(Root.TIMESTAMP, precision=precision)) == unit


# --- from Arrow ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arrow", "text"),
    [
        (pa.bool_(), "BOOLEAN"),
        (pa.int8(), "TINYINT"),
        (pa.int64(), "BIGINT"),
        (pa.float32(), "FLOAT"),
        (pa.decimal128(20, 4), "DECIMAL(20, 4)"),
        (pa.string(), "STRING"),
        (pa.large_string(), "STRING"),
        (pa.string_view(), "STRING"),
        (pa.binary(), "BYTES"),
        (pa.binary_view(), "BYTES"),
        (pa.binary(8), "BINARY(8)"),
        (pa.date32(), "DATE"),
        (pa.time32("s"), "TIME(0)"),
        (pa.time32("ms"), "TIME(3)"),
        (pa.time64("us"), "TIME(3)"),
        (pa.timestamp("s"), "TIMESTAMP(0)"),
        (pa.timestamp("us"), "TIMESTAMP(6)"),
        (pa.timestamp("ns"), "TIMESTAMP(9)"),
        (pa.timestamp("ms", "Europe/Berlin"), "TIMESTAMP(3) WITH LOCAL TIME ZONE"),
    ],
    ids=str,
)
def test_from_arrow_gives(arrow: pa.DataType, text: str) -> None:
    assert type_text(from_arrow(arrow)) == text
    assert type_text(from_arrow(arrow, nullable=False)) == f"{text} NOT NULL"


@pytest.mark.parametrize(
    "arrow",
    [pa.uint8(), pa.uint64(), pa.float16(), pa.null(), pa.date64(), pa.duration("s"),
     pa.list_(pa.uint8()), pa.struct([("a", pa.float16())]), pa.map_(pa.string(), pa.null()),
     pa.list_(pa.int8(), 2), pa.dictionary(pa.int8(), pa.string())],
    ids=str,
)  # fmt: skip
def test_from_arrow_refuses_what_paimon_has_no_type_for(arrow: pa.DataType) -> None:
    with pytest.raises(InvalidRequest, match="no Paimon type"):
        from_arrow(arrow)


@pytest.mark.parametrize(("text", "polars", "arrow"), TYPES, ids=[t for t, _, _ in TYPES])
def test_from_arrow_of_a_files_type_has_the_same_polars_type(
    text: str, polars: pl.DataType, arrow: pa.DataType
) -> None:
    assert to_polars(from_arrow(arrow)) == polars


def test_largest_length_is_javas() -> None:
    assert MAX_LENGTH == 2**31 - 1
