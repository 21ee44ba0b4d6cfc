"""Rows in the canonical encoding as Polars columns and back, exact, through physical numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import polars as pl
import pyarrow as pa

from .canonical import ColumnType, Json, float_text, ordered, parse_type
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


def _unit(kind: ColumnType) -> Literal["ms", "us", "ns"]:
    return "ms" if kind.precision <= 3 else "us" if kind.precision <= 6 else "ns"


def _dtype(kind: ColumnType) -> pl.DataType:
    if kind.root in _TIMESTAMPS:
        return pl.Datetime(_unit(kind), "UTC" if kind.root == "TIMESTAMP_LTZ" else None)
    if kind.root == "DECIMAL":
        return pl.Decimal(kind.precision, kind.scale)
    if kind.root in _BYTES:
        return pl.Binary()
    if kind.parts:
        return _nested_dtype(kind)
    others: dict[str, pl.DataType] = {
        "FLOAT": pl.Float32(), "DOUBLE": pl.Float64(), "DATE": pl.Date(), "TIME": pl.Time(),
    }  # fmt: skip
    return {**_PLAIN, **others}[kind.root]


def _nested_dtype(kind: ColumnType) -> pl.DataType:
    inner = [_dtype(part) for part in kind.inner]
    if kind.root == "ARRAY":
        return pl.List(inner[0])
    if kind.root == "ROW":
        return pl.Struct(dict(zip((name for name, _ in kind.parts), inner, strict=True)))
    return pl.Map(inner[0], inner[1])


def _each(values: Sequence[Any], change: Callable[[Any], Any]) -> list[Any]:
    """All values changed, nulls left alone."""
    return [None if value is None else change(value) for value in values]


def column_of(name: str, type_text: str, values: Sequence[Any]) -> pl.Series:
    """Wire values as the column that holds such a type."""
    return _column(name, parse_type(type_text), values)


def _column(name: str, kind: ColumnType, values: Sequence[Any]) -> pl.Series:
    root, dtype = kind.root, _dtype(kind)
    if kind.parts:
        return _nested_column(kind, values).cast(dtype).alias(name)
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


def _nested_column(kind: ColumnType, values: Sequence[Any]) -> pl.Series:
    """Maps as lists of their entries."""
    if kind.root == "ARRAY":
        return _lists(_column("", kind.inner[0], _joined(values)), values)
    if kind.root == "ROW":
        return _structs(kind, _each(values, lambda v: v["row"]))
    entries = _each(values, lambda v: v["map"])
    return _lists(_structs(kind, _joined(entries)), entries)


def _joined(lists: Sequence[Any]) -> list[Any]:
    return [item for items in lists if items is not None for item in items]


def _lists(items: pl.Series, like: Sequence[Any]) -> pl.Series:
    """The items cut into lists as long as those of ``like``; Arrow's lists keep nanoseconds."""
    starts: list[int | None] = []
    end = 0
    for given in like:
        starts.append(None if given is None else end)
        end += 0 if given is None else len(given)
    made = pa.LargeListArray.from_arrays(pa.array([*starts, end], pa.int64()), items.to_arrow())
    return pl.Series(made)


def _structs(kind: ColumnType, rows: Sequence[Any]) -> pl.Series:
    fields = [
        _column(name, part, [None if row is None else row[i] for row in rows])
        for i, (name, part) in enumerate(kind.parts)
    ]
    made = pl.DataFrame(fields).with_columns(
        _there=pl.Series([r is not None for r in rows], dtype=pl.Boolean)
    )
    names = [name for name, _ in kind.parts]
    return made.select(pl.when("_there").then(pl.struct(names))).to_series()


def wire_of(type_text: str, series: pl.Series) -> list[Json]:
    """The inverse of `column_of`; the series must have its type. Maps come in `ordered` order."""
    kind = parse_type(type_text)
    values = _wire(kind, series)
    return [ordered(value) for value in values] if kind.parts else values


def _wire(kind: ColumnType, series: pl.Series) -> list[Any]:
    root = kind.root
    if kind.parts:
        return _nested_wire(kind, series)
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


def _nested_wire(kind: ColumnType, series: pl.Series) -> list[Any]:
    if kind.root == "ROW":
        columns = [_wire(part, series.struct.field(name)) for name, part in kind.parts]
        rows = zip(series.is_null(), zip(*columns, strict=True), strict=True)
        return [None if null else {"row": list(row)} for null, row in rows]
    if kind.root == "ARRAY":
        return _cut(series, lambda items: _wire(kind.inner[0], items))
    pair = ColumnType("ROW", 0, 0, nullable=False, parts=kind.parts)
    lists = _cut(series.map.entries(), lambda items: _wire(pair, items))
    return _each(lists, lambda entries: {"map": [entry["row"] for entry in entries]})


def _cut(lists: pl.Series, wire: Callable[[pl.Series], list[Any]]) -> list[Any]:
    items = iter(wire(lists.filter(lists.list.len() > 0).explode()))
    return _each(lists.list.len().to_list(), lambda count: [next(items) for _ in range(count)])


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
