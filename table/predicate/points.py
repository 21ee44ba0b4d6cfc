"""Values that a predicate leaves to a column, where it names them one by one."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from .tree import All, AnyOf, Compare, OneOf, Op, Tree


def points(trees: Sequence[Tree], column: str, dtype: pl.DataType) -> pl.Series | None:
    """All values that the column can have where every tree is true, each once; None: any.

    Args:
        dtype: the column's.
    """
    found = [p for tree in trees if (p := _of(tree, column, dtype)) is not None]
    if not found:
        return None
    return min(found, key=len).unique()


def _of(tree: Tree, column: str, dtype: pl.DataType) -> pl.Series | None:
    match tree:
        case Compare(operand, Op.EQ, literal) if operand.column == column and not operand.casts:
            return _exact(pl.select(literal.alias(column)).to_series(), dtype)
        case OneOf(operand, values) if operand.column == column and not operand.casts:
            return values.alias(column)
        case AnyOf(parts):
            each = [_of(p, column, dtype) for p in parts]
            known = [p for p in each if p is not None]
            return pl.concat(known) if len(known) == len(each) else None
        case All(parts):
            return points(parts, column, dtype)
        case _:
            return None


def _exact(value: pl.Series, dtype: pl.DataType) -> pl.Series | None:
    """The value in the column's type; None where other values might be equal to it, too."""
    given = value.dtype
    same_kind = (given.is_integer() and dtype.is_integer()) or (
        dtype.is_decimal() and (given.is_decimal() or given.is_integer())
    )
    if given == dtype:
        return value
    if not same_kind:
        return None
    made = value.cast(dtype, strict=False)
    return made if (made == value).item() else None
