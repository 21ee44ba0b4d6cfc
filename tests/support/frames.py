"""Rows in the canonical encoding as Polars frames and back, exact, through physical numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl

from .canonical import Json, ScalarType, float_text, parse_type
from .histories import Row
from .shapes import Shape

__all__ = ["frame_of", "rows_of"]

_INTEGERS = {"TINYINT": pl.Int8, "SMALLINT": pl.Int16, "INT": pl.Int32, "BIGINT": pl.Int64}
_PER_MILLI = {"ms": 1, "us": 1_000, "ns": 1_000_000}


def _unit(kind: ScalarType) -> Any:
    return "ms" if kind.precision <= 3 else "us" if kind.precision <= 6 else "ns"


def _series(name: str, type_text: str, values: Sequence[Any]) -> pl.Series:
    """A column of wire values as Polars holds it; exact, through physical numbers."""
    kind = parse_type(type_text)
    root = kind.root
    if root in _INTEGERS:
        return pl.Series(name, values, _INTEGERS[root])
    if root in ("FLOAT", "DOUBLE"):
        numbers = [None if v is None else float(v) for v in values]
        return pl.Series(name, numbers, pl.Float64).cast(
            pl.Float32 if root == "FLOAT" else pl.Float64
        )
    if root == "DECIMAL":
        return pl.Series(name, values, pl.String).cast(pl.Decimal(kind.precision, kind.scale))
    if root in ("BINARY", "VARBINARY", "BYTES"):
        return pl.Series(
            name, [None if v is None else bytes.fromhex(v) for v in values], pl.Binary
        )
    if root == "DATE":
        return pl.Series(name, values, pl.String).str.to_date("%Y-%m-%d")
    if root == "TIME":
        return pl.Series(
            name, [None if v is None else v * 1_000_000 for v in values], pl.Int64
        ).cast(pl.Time)
    if root in ("TIMESTAMP", "TIMESTAMP_LTZ"):
        per = _PER_MILLI[_unit(kind)]
        ticks = [None if v is None else v["ms"] * per + v["ns"] * per // 1_000_000 for v in values]
        zone = "UTC" if root == "TIMESTAMP_LTZ" else None
        return pl.Series(name, ticks, pl.Int64).cast(pl.Datetime(_unit(kind), zone))
    return pl.Series(name, values, pl.Boolean if root == "BOOLEAN" else pl.String)


def frame_of(shape: Shape, rows: Sequence[Row]) -> pl.DataFrame:
    columns = list(zip(*rows, strict=True))
    return pl.DataFrame(
        [
            _series(name, text, values)
            for (name, text), values in zip(shape.columns.items(), columns, strict=True)
        ]
    )


def _wire(type_text: str, series: pl.Series) -> list[Json]:
    kind = parse_type(type_text)
    root = kind.root
    if root in ("FLOAT", "DOUBLE"):
        return [None if v is None else float_text(v) for v in series.to_list()]
    if root == "DECIMAL":
        return [None if v is None else f"{v:f}" for v in series.to_list()]
    if root in ("BINARY", "VARBINARY", "BYTES"):
        return [None if v is None else v.hex() for v in series.to_list()]
    if root == "DATE":
        return [None if v is None else v.isoformat() for v in series.to_list()]
    if root == "TIME":
        return [None if v is None else v // 1_000_000 for v in series.to_physical().to_list()]
    if root in ("TIMESTAMP", "TIMESTAMP_LTZ"):
        per = _PER_MILLI[_unit(kind)]
        return [
            None if v is None else {"ms": v // per, "ns": v % per * 1_000_000 // per}
            for v in series.to_physical().to_list()
        ]
    return series.to_list()


def rows_of(shape: Shape, frame: pl.DataFrame) -> list[Row]:
    assert frame.columns == shape.names
    columns = [_wire(text, frame.get_column(name)) for name, text in shape.columns.items()]
    return [list(row) for row in zip(*columns, strict=True)]
