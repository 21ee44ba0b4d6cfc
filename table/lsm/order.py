"""Keys as Polars can order them: one comparable column per key column.

Paimon orders floats as Java does (−0.0 below 0.0, NaN greatest), which Polars does not; those
become integers with the same order. Temporal columns become their integers, so that bounds are
plain Python values. Strings and bytes are compared as unsigned bytes by both.

Spec: format §8.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from ..datatypes import FLOATS, TIMESTAMPS, DataType, Root

_PHYSICAL = TIMESTAMPS | {Root.DATE, Root.TIME}


def order_name(index: int) -> str:
    return f"_order{index}"


def order_frame(
    frame: pl.DataFrame, columns: Sequence[str], types: Sequence[DataType]
) -> pl.DataFrame:
    """Columns ``_order0`` … whose ascending order is the key order of ``frame``'s rows."""
    series = [
        _comparable(frame.get_column(name), data_type).alias(order_name(i))
        for i, (name, data_type) in enumerate(zip(columns, types, strict=True))
    ]
    return pl.DataFrame(series)


def _comparable(series: pl.Series, data_type: DataType) -> pl.Series:
    if data_type.root in FLOATS:
        return _float_order(series)
    if data_type.root is Root.BOOLEAN:
        return series.cast(pl.UInt8)
    if data_type.root in _PHYSICAL:
        return series.to_physical()
    return series


def _float_order(series: pl.Series) -> pl.Series:
    """Integers in Java's order of these floats; nulls stay null."""
    values = series.to_numpy(allow_copy=True)
    wide = values.astype(np.float64, copy=True)
    wide[np.isnan(wide)] = np.nan  # one NaN, the positive one
    bits = wide.view(np.int64)
    ordered = bits ^ ((bits >> 63) & np.int64(0x7FFFFFFFFFFFFFFF))
    result = pl.Series(series.name, ordered)
    if series.null_count():
        return pl.select(pl.when(series.is_not_null()).then(result)).to_series()
    return result


def comparable(value: pl.Expr, data_type: DataType) -> pl.Expr:
    """An expression whose ascending order is that of the type's values."""
    if data_type.root in FLOATS:
        return float_rank(value)
    if data_type.root is Root.BOOLEAN:
        return value.cast(pl.UInt8)
    return value


def float_rank(value: pl.Expr) -> pl.Expr:
    """Integers in Java's order of floats: −0.0 below 0.0, NaN above all."""
    wide = value.cast(pl.Float64)
    one_nan = pl.when(wide.is_nan()).then(pl.lit(float("nan"))).otherwise(wide)
    bits = one_nan.reinterpret(dtype=pl.Int64)
    return pl.when(bits < 0).then(bits ^ pl.lit(2**63 - 1, pl.Int64)).otherwise(bits)


def rows_through(order: pl.DataFrame, bound: Sequence[Any]) -> int:
    """How many rows of an ascending order frame are at most ``bound``; by binary search."""
    return _span(order, bound)[1]


def rows_below(order: pl.DataFrame, bound: Sequence[Any]) -> int:
    """How many rows of an ascending order frame are below ``bound``; by binary search."""
    return _span(order, bound)[0]


def _span(order: pl.DataFrame, bound: Sequence[Any]) -> tuple[int, int]:
    """Where the rows that equal the bound begin and end."""
    start, end = 0, order.height
    for name, value in zip(order.columns, bound, strict=True):
        column = order.get_column(name).slice(start, end - start)
        wanted = pl.Series([value], dtype=column.dtype)
        end = start + int(column.search_sorted(wanted, "right").item())
        start += int(column.search_sorted(wanted, "left").item())
    return start, end


def bound_at(order: pl.DataFrame, row: int) -> tuple[Any, ...]:
    """One row as plain values."""
    return order.row(row)


def strictly_ascending(order: pl.DataFrame) -> bool:
    """True when every row is above the one before it."""
    return _each_follows(order, equal=False)


def ascending(order: pl.DataFrame) -> bool:
    """True when no row is below the one before it."""
    return _each_follows(order, equal=True)


def _each_follows(order: pl.DataFrame, *, equal: bool) -> bool:
    if order.height < 2:
        return True
    above: pl.Expr = pl.lit(value=equal)
    for name in reversed(order.columns):
        column, before = pl.col(name), pl.col(name).shift(1)
        above = (column > before) | ((column == before) & above)
    return bool(order.select(above.slice(1).all()).item())
