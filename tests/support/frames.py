"""Rows in the canonical encoding as Polars columns and back, exact, through physical numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import polars as pl

from .canonical import Json, ScalarType, float_text, parse_type
from .histories import Row
from .shapes import Shape

__all__ = ["column_of", "frame_of", "rows_of", "wire_of"]

_BYTES = ("BINARY", "VARBINARY", "BYTES")
_TIMESTAMPS = ("TIMESTAMP", "TIMESTAMP_LTZ")
_PER_MILLI = {"ms": 1, "us": 1_000, "ns": 1_000_000}
_PLAIN: dict[str, pl.DataType] = {
    "BOOLEAN": pl.Boolean(),
    "TINYINT": pl.Int8(),
    "SMALLINT": pl.Int16(),
    "INT": pl.Int32(),
    "BIGINT": pl.Int64(),
    "CHAR": pl.String(),
    "VARCHAR": pl.String(),
    "STRING": pl.String(),
}


def _unit(kind: ScalarType) -> Literal["ms", "us", "ns"]:
    return "ms" if kind.precision <= 3 else "us" if kind.precision <= 6 else "ns"


def _dtype(kind: ScalarType) -> pl.DataType:
    if kind.root in _TIMESTAMPS:
        return pl.Datetime(_unit(kind), "UTC" if kind.root == "TIMESTAMP_LTZ" else None)
    if kind.root == "DECIMAL":
        return pl.Decimal(kind.precision, kind.scale)
    if kind.root in _BYTES:
        return pl.Binary()
    others: dict[str, pl.DataType] = {
        "FLOAT": pl.Float32(), "DOUBLE": pl.Float64(), "DATE": pl.Date(), "TIME": pl.Time(),
    }  # fmt: skip
    return {**_PLAIN, **others}[kind.root]


def _each(values: Sequence[Any], change: Callable[[Any], Any]) -> list[Any]:
    """All values changed, nulls left alone."""
    return [None if value is None else change(value) for value in values]


def column_of(name: str, type_text: str, values: Sequence[Any]) -> pl.Series:
    """Wire values as the column that holds such a type."""
    kind = parse_type(type_text)
    root, dtype = kind.root, _dtype(kind)
    if root in ("FLOAT", "DOUBLE"):
        return pl.Series(name, _each(values, float), pl.Float64).cast(dtype)
    if root == "DECIMAL":
        return pl.Series(name, values, pl.String).cast(dtype)
    if root in _BYTES:
        return pl.Series(name, _each(values, bytes.fromhex), pl.Binary)
    if root == "DATE":
        return pl.Series(name, values, pl.String).str.to_date("%Y-%m-%d")
    if root == "TIME":
        return pl.Series(name, _each(values, lambda v: v * 1_000_000), pl.Int64).cast(dtype)
    if root in _TIMESTAMPS:
        per = _PER_MILLI[_unit(kind)]
        ticks = _each(values, lambda v: v["ms"] * per + v["ns"] * per // 1_000_000)
        return pl.Series(name, ticks, pl.Int64).cast(dtype)
    return pl.Series(name, values, dtype)


def wire_of(type_text: str, series: pl.Series) -> list[Json]:
    """The inverse of `column_of`; the series must have its type."""
    kind = parse_type(type_text)
    root = kind.root
    if root in ("FLOAT", "DOUBLE"):
        return _each(series.to_list(), float_text)
    if root == "DECIMAL":
        return _each(series.to_list(), lambda v: f"{v:f}")
    if root in _BYTES:
        return _each(series.to_list(), lambda v: v.hex())
    if root == "DATE":
        return _each(series.to_list(), lambda v: v.isoformat())
    if root == "TIME":
        return _each(series.to_physical().to_list(), lambda v: v // 1_000_000)
    if root in _TIMESTAMPS:
        per = _PER_MILLI[_unit(kind)]
        ticks = series.to_physical().to_list()
        return _each(ticks, lambda v: {"ms": v // per, "ns": v % per * 1_000_000 // per})
    return series.to_list()


def frame_of(shape: Shape, rows: Sequence[Row]) -> pl.DataFrame:
    """Rows of the shape's columns as a frame."""
    columns = list(zip(*rows, strict=True))
    return pl.DataFrame(
        [column_of(n, t, c) for (n, t), c in zip(shape.columns.items(), columns, strict=True)]
    )


def rows_of(shape: Shape, frame: pl.DataFrame) -> list[Row]:
    """The frame's rows; it must have the shape's columns in their order, and their types."""
    assert frame.columns == shape.names
    for name, text in shape.columns.items():
        assert frame.schema[name] == _dtype(parse_type(text)), name
    columns = [wire_of(text, frame.get_column(name)) for name, text in shape.columns.items()]
    return [list(row) for row in zip(*columns, strict=True)]
