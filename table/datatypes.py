"""Paimon's primitive types, and what they are in Arrow and Polars.

One record, `DataType`, for all of them; nested types are refused by name. Type text is read and
written as in schema files (reference: format §2.2).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import cast

import polars as pl
import pyarrow as pa

from .errors import CorruptTable, InvalidRequest, UnsupportedFeature

MAX_LENGTH = 2147483647


class Root(StrEnum):
    """The type without its parameters; the values are Paimon's words."""

    BOOLEAN = "BOOLEAN"
    TINYINT = "TINYINT"
    SMALLINT = "SMALLINT"
    INT = "INT"
    BIGINT = "BIGINT"
    FLOAT = "FLOAT"
    DOUBLE = "DOUBLE"
    DECIMAL = "DECIMAL"
    CHAR = "CHAR"
    VARCHAR = "VARCHAR"
    BINARY = "BINARY"
    VARBINARY = "VARBINARY"
    DATE = "DATE"
    TIME = "TIME"
    TIMESTAMP = "TIMESTAMP"
    TIMESTAMP_LTZ = "TIMESTAMP_LTZ"


INTEGERS = frozenset({Root.TINYINT, Root.SMALLINT, Root.INT, Root.BIGINT})
FLOATS = frozenset({Root.FLOAT, Root.DOUBLE})
STRINGS = frozenset({Root.CHAR, Root.VARCHAR})
BYTES = frozenset({Root.BINARY, Root.VARBINARY})
TIMESTAMPS = frozenset({Root.TIMESTAMP, Root.TIMESTAMP_LTZ})

_NESTED = frozenset(
    {"ARRAY", "MAP", "MULTISET", "ROW", "VARIANT", "BLOB", "VECTOR", "GEOMETRY", "GEOGRAPHY"}
)
_ALIASES = {
    "INTEGER": "INT",
    "DOUBLE PRECISION": "DOUBLE",
    "DEC": "DECIMAL",
    "NUMERIC": "DECIMAL",
    "STRING": "VARCHAR",
    "BYTES": "VARBINARY",
}
_TEXT = re.compile(
    r"^\s*(?P<word>[A-Z_]+(?: PRECISION)?)\s*(?:\(\s*(?P<a>\d+)\s*(?:,\s*(?P<b>\d+)\s*)?\))?"
    r"(?P<zone>\s+WITH(?:OUT)?(?: LOCAL)? TIME ZONE)?(?P<not>\s+NOT NULL|\s+NULL)?\s*$"
)


@dataclass(frozen=True, slots=True)
class DataType:
    """One primitive type.

    ``length`` is set for CHAR, VARCHAR, BINARY, VARBINARY; ``precision`` for DECIMAL, TIME and
    timestamps; ``scale`` for DECIMAL. Elsewhere they are 0.
    """

    root: Root
    nullable: bool = True
    length: int = 0
    precision: int = 0
    scale: int = 0

    def not_null(self) -> DataType:
        return replace(self, nullable=False)

    def __str__(self) -> str:
        return type_text(self)


def parse_type(text: object) -> DataType:
    """The type that a schema file's ``type`` value says.

    Raises:
        UnsupportedFeature: nested and special types, by name.
        CorruptTable: text that is no type.
    """
    if isinstance(text, dict):
        nested = cast(dict[str, object], text)
        raise UnsupportedFeature("nested types are not supported", type=nested.get("type"))
    if not isinstance(text, str):
        raise CorruptTable("a type must be text", type=text)
    match = _TEXT.match(text.upper())
    if match is None:
        raise _unknown(text)
    word = _ALIASES.get(match["word"], match["word"])
    first = int(match["a"]) if match["a"] else None
    second = int(match["b"]) if match["b"] else None
    nullable = (match["not"] or "").strip() != "NOT NULL"
    if match["zone"] and "LOCAL" in match["zone"]:
        word = {"TIMESTAMP": "TIMESTAMP_LTZ"}.get(word, word)
    if word not in Root.__members__:
        raise _unknown(text)
    defaulted = _with_default(match["word"], Root(word), first, second)
    return _checked(replace(defaulted, nullable=nullable), text)


def _unknown(text: str) -> Exception:
    word = re.split(r"[\s(<]", text.strip().upper(), maxsplit=1)[0]
    if word in _NESTED:
        return UnsupportedFeature("type is not supported", type=text)
    return UnsupportedFeature("unknown type", type=text)


def _with_default(word: str, root: Root, first: int | None, second: int | None) -> DataType:
    if word in ("STRING", "BYTES"):
        return DataType(root, length=MAX_LENGTH)
    if root in STRINGS | BYTES:
        return DataType(root, length=1 if first is None else first)
    if root is Root.DECIMAL:
        return DataType(root, precision=10 if first is None else first, scale=second or 0)
    if root is Root.TIME:
        return DataType(root, precision=first or 0)
    if root in TIMESTAMPS:
        return DataType(root, precision=6 if first is None else first)
    return DataType(root)


def _checked(parsed: DataType, text: str) -> DataType:
    bad = (
        (parsed.root in STRINGS | BYTES and not 1 <= parsed.length <= MAX_LENGTH)
        or (
            parsed.root is Root.DECIMAL
            and not (1 <= parsed.precision <= 38 and parsed.scale <= parsed.precision)
        )
        or (parsed.root in TIMESTAMPS | {Root.TIME} and parsed.precision > 9)
    )
    if bad:
        raise CorruptTable("type parameters out of range", type=text)
    return parsed


def type_text(data_type: DataType) -> str:
    """The text as Java writes it into schema files."""
    root = data_type.root
    match root:
        case Root.CHAR | Root.BINARY:
            text = f"{root}({data_type.length})"
        case Root.VARCHAR:
            text = "STRING" if data_type.length == MAX_LENGTH else f"VARCHAR({data_type.length})"
        case Root.VARBINARY:
            text = "BYTES" if data_type.length == MAX_LENGTH else f"VARBINARY({data_type.length})"
        case Root.DECIMAL:
            text = f"DECIMAL({data_type.precision}, {data_type.scale})"
        case Root.TIME | Root.TIMESTAMP:
            text = f"{root}({data_type.precision})"
        case Root.TIMESTAMP_LTZ:
            text = f"TIMESTAMP({data_type.precision}) WITH LOCAL TIME ZONE"
        case _:
            text = root.value
    return text if data_type.nullable else f"{text} NOT NULL"


_POLARS: dict[Root, pl.DataType] = {
    Root.BOOLEAN: pl.Boolean(),
    Root.TINYINT: pl.Int8(),
    Root.SMALLINT: pl.Int16(),
    Root.INT: pl.Int32(),
    Root.BIGINT: pl.Int64(),
    Root.FLOAT: pl.Float32(),
    Root.DOUBLE: pl.Float64(),
    Root.CHAR: pl.String(),
    Root.VARCHAR: pl.String(),
    Root.BINARY: pl.Binary(),
    Root.VARBINARY: pl.Binary(),
    Root.DATE: pl.Date(),
    Root.TIME: pl.Time(),
}


def time_unit(data_type: DataType) -> str:
    """Arrow unit of a timestamp: ms up to precision 3, us up to 6, else ns."""
    return "ms" if data_type.precision <= 3 else "us" if data_type.precision <= 6 else "ns"


def to_polars(data_type: DataType) -> pl.DataType:
    """The Polars type that holds the column in memory."""
    if data_type.root is Root.DECIMAL:
        return pl.Decimal(data_type.precision, data_type.scale)
    if data_type.root in TIMESTAMPS:
        zone = "UTC" if data_type.root is Root.TIMESTAMP_LTZ else None
        return pl.Datetime(time_unit(data_type), zone)  # type: ignore[arg-type]  # our own literal
    return _POLARS[data_type.root]


_ARROW: dict[Root, pa.DataType] = {
    Root.BOOLEAN: pa.bool_(),
    Root.TINYINT: pa.int8(),
    Root.SMALLINT: pa.int16(),
    Root.INT: pa.int32(),
    Root.BIGINT: pa.int64(),
    Root.FLOAT: pa.float32(),
    Root.DOUBLE: pa.float64(),
    Root.CHAR: pa.large_string(),
    Root.VARCHAR: pa.large_string(),
    Root.BINARY: pa.large_binary(),
    Root.VARBINARY: pa.large_binary(),
    Root.DATE: pa.date32(),
    Root.TIME: pa.time32("ms"),
}


def to_arrow(data_type: DataType) -> pa.DataType:
    """The Arrow type that is written to files (strings large, as Polars' encoder wants them)."""
    if data_type.root is Root.DECIMAL:
        return pa.decimal128(data_type.precision, data_type.scale)
    if data_type.root in TIMESTAMPS:
        zone = "UTC" if data_type.root is Root.TIMESTAMP_LTZ else None
        return pa.timestamp(time_unit(data_type), zone)
    return _ARROW[data_type.root]


_PRECISION = {"s": 0, "ms": 3, "us": 6, "ns": 9}


def from_arrow(arrow: pa.DataType, *, nullable: bool = True) -> DataType:
    """The Paimon type a column of this Arrow type gets when a table is created from it.

    Raises:
        InvalidRequest: types that Paimon has no primitive type for (unsigned integers, nested …).
    """
    root = _arrow_root(arrow)
    if root is None:
        raise InvalidRequest("no Paimon type for this Arrow type", type=str(arrow))
    if root is Root.DECIMAL:
        return DataType(root, nullable, precision=arrow.precision, scale=arrow.scale)
    if root in TIMESTAMPS:
        return DataType(root, nullable, precision=_PRECISION[arrow.unit])
    if root is Root.TIME:
        return DataType(root, nullable, precision=min(3, _PRECISION[arrow.unit]))
    if pa.types.is_fixed_size_binary(arrow):
        return DataType(Root.BINARY, nullable, length=arrow.byte_width)
    length = MAX_LENGTH if root in STRINGS | BYTES else 0
    return DataType(root, nullable, length=length)


def _arrow_root(arrow: pa.DataType) -> Root | None:
    t = pa.types
    tests = (
        (t.is_boolean, Root.BOOLEAN),
        (t.is_int8, Root.TINYINT),
        (t.is_int16, Root.SMALLINT),
        (t.is_int32, Root.INT),
        (t.is_int64, Root.BIGINT),
        (t.is_float32, Root.FLOAT),
        (t.is_float64, Root.DOUBLE),
        (t.is_decimal, Root.DECIMAL),
        (t.is_string, Root.VARCHAR),
        (t.is_large_string, Root.VARCHAR),
        (t.is_string_view, Root.VARCHAR),
        (t.is_binary, Root.VARBINARY),
        (t.is_large_binary, Root.VARBINARY),
        (t.is_binary_view, Root.VARBINARY),
        (t.is_fixed_size_binary, Root.BINARY),
        (t.is_date32, Root.DATE),
        (t.is_time, Root.TIME),
    )
    for test, root in tests:
        if test(arrow):
            return root
    if t.is_timestamp(arrow):
        return Root.TIMESTAMP_LTZ if arrow.tz else Root.TIMESTAMP
    return None
