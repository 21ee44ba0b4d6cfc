"""A Polars expression as a tree: what it is equal to when its parts are put together again.

`Expr.meta.pop` gives the parts of an expression, `Expr.meta.eq` says whether two expressions are
the same. So a form is known by making it anew from the parts and comparing; what is equal to none
of the forms below is `Unknown`. Nothing depends on how Polars prints or serialises expressions.

Expressions are best taken as Polars hands them to a scan: with types resolved, constants folded and
casts written out. Others are understood less, never wrongly.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from .tree import All, AnyOf, Compare, Constant, IsNull, Not, OneOf, Op, Operand, Tree, Unknown

DEPTH_MAX = 100
"""Levels of a predicate that are looked into; chains of & or | are one level."""

_FLIPPED = {Op.LT: Op.GT, Op.LE: Op.GE, Op.GT: Op.LT, Op.GE: Op.LE, Op.EQ: Op.EQ, Op.NE: Op.NE}
_CLOSED = {
    "both": (Op.GE, Op.LE),
    "left": (Op.GE, Op.LT),
    "right": (Op.GT, Op.LE),
    "none": (Op.GT, Op.LT),
}
_SIGNED: tuple[pl.DataType, ...] = (pl.Int8(), pl.Int16(), pl.Int32(), pl.Int64(), pl.Int128())
_UNKNOWN = Unknown()


def conjuncts(predicate: pl.Expr) -> tuple[pl.Expr, ...]:
    """What must all be true for the predicate to be, in its order."""
    return tuple(_chain(predicate, lambda left, right: left & right))


def parse(predicate: pl.Expr, schema: Mapping[str, pl.DataType]) -> Tree:
    """The predicate's tree.

    Args:
        schema: types of the columns that it may look at.
    """
    try:
        return _Parser(pl.Schema(schema)).tree(predicate, 0)
    except pl.exceptions.PolarsError:  # it does not fit the schema: whoever filters will hear of it
        return _UNKNOWN


def row_by_row(expr: pl.Expr) -> bool:
    """Whether its value in a row follows from that row alone, so that frames may be cut anywhere.

    Polars says so of the outermost operation; here every part is asked.
    """
    pending = [expr]
    while pending:
        part = pending.pop()
        try:
            if part.meta.is_literal():
                if pl.select(part.alias("value")).height != 1:
                    return False
                continue
            if not part.meta.is_row_separable():
                return False
        except pl.exceptions.PolarsError:  # a Python function, for one
            return False
        parts = _parts(part)
        if _looks_up(part, parts):
            # Another column Polars may take as a whole; values that are given are a whole.
            if not parts[1].meta.is_literal(allow_aliasing=True):
                return False
            parts = parts[:1]
        pending += parts
    return True


def _looks_up(expr: pl.Expr, parts: Sequence[pl.Expr]) -> bool:
    """Whether it asks if the first part is among the second."""
    return len(parts) == 2 and any(
        expr.meta.eq(parts[0].is_in(parts[1], nulls_equal=n)) for n in (False, True)
    )


def _parts(expr: pl.Expr) -> list[pl.Expr]:
    """The inputs of the outermost operation, in their order."""
    try:
        return list(reversed(expr.meta.pop()))
    except pl.exceptions.PolarsError:  # a Python function, for one
        return []


def _chain(expr: pl.Expr, join: Callable[[pl.Expr, pl.Expr], pl.Expr]) -> list[pl.Expr]:
    """The links of ``a join b join c``; the expression itself where it is no such chain."""
    found: list[pl.Expr] = []
    pending = [expr]
    while pending:
        link = pending.pop()
        parts = _parts(link)
        if len(parts) == 2 and link.meta.eq(join(parts[0], parts[1])):
            pending += reversed(parts)
        else:
            found.append(link)
    return found


@dataclass(frozen=True, slots=True)
class _Parser:
    schema: pl.Schema

    def tree(self, expr: pl.Expr, depth: int) -> Tree:
        if depth > DEPTH_MAX:
            return _UNKNOWN
        ands = _chain(expr, lambda left, right: left & right)
        if len(ands) > 1:
            return All(tuple(self.tree(e, depth + 1) for e in ands))
        ors = _chain(expr, lambda left, right: left | right)
        if len(ors) > 1:
            return AnyOf(tuple(self.tree(e, depth + 1) for e in ors))
        parts = _parts(expr)
        match len(parts):
            case 0:
                return self._leaf(expr)
            case 1:
                return self._of_one(expr, parts[0], depth)
            case 2:
                return self._of_two(expr, parts[0], parts[1])
            case 3:
                return self._between(expr, parts)
            case _:
                return _UNKNOWN

    def _leaf(self, expr: pl.Expr) -> Tree:
        if expr.meta.is_literal():
            value = _scalar(expr)
            if value is not None and isinstance(value.dtype, pl.Boolean | pl.Null):
                return Constant(value.item())
            return _UNKNOWN
        operand = self._operand(expr)
        if operand is None or self._dtype(operand) != pl.Boolean:
            return _UNKNOWN
        return Compare(operand, Op.EQ, pl.lit(value=True))

    def _of_one(self, expr: pl.Expr, part: pl.Expr, depth: int) -> Tree:
        if expr.meta.eq(part.not_()):
            return Not(self.tree(part, depth + 1))
        if not part.meta.is_column():
            return _UNKNOWN
        (column,) = part.meta.root_names()
        if expr.meta.eq(part.is_null()):
            return IsNull(column)
        if expr.meta.eq(part.is_not_null()):
            return Not(IsNull(column))
        return _UNKNOWN

    def _of_two(self, expr: pl.Expr, left: pl.Expr, right: pl.Expr) -> Tree:
        operand, literal = self._operand(left), right
        flipped = operand is None
        if operand is None:
            operand, literal = self._operand(right), left
        if operand is None or not literal.meta.is_literal(allow_aliasing=True):
            return _UNKNOWN
        if not flipped and (found := self._one_of(expr, operand, (left, right))) is not None:
            return found
        value = _scalar(literal)
        if value is None:
            return _UNKNOWN
        for op in Op:
            if expr.meta.eq(op.of(left, right)):
                return Compare(operand, _FLIPPED[op] if flipped else op, literal)
        if value.null_count():  # Polars makes is_null of it
            return _UNKNOWN
        equal = All((Not(IsNull(operand.column)), Compare(operand, Op.EQ, literal)))
        if expr.meta.eq(left.eq_missing(right)):
            return equal
        return Not(equal) if expr.meta.eq(left.ne_missing(right)) else _UNKNOWN

    def _one_of(
        self, expr: pl.Expr, operand: Operand, sides: tuple[pl.Expr, pl.Expr]
    ) -> Tree | None:
        left, right = sides
        missing = expr.meta.eq(left.is_in(right, nulls_equal=True))
        if not missing and not expr.meta.eq(left.is_in(right)):
            return None
        values = pl.select(right.alias("values")).to_series()
        if values.dtype == pl.List:
            values = values.explode()
        if values.dtype != self._dtype(operand) or values.dtype.is_nested():
            return _UNKNOWN
        null = bool(values.null_count())
        found = OneOf(operand, values.drop_nulls().unique().sort())
        if not missing:
            return found
        is_null = IsNull(operand.column)
        return AnyOf((found, is_null)) if null else All((Not(is_null), found))

    def _between(self, expr: pl.Expr, parts: Sequence[pl.Expr]) -> Tree:
        value, low, high = parts
        operand = self._operand(value)
        if operand is None or _scalar(low) is None or _scalar(high) is None:
            return _UNKNOWN
        for closed, (at_least, at_most) in _CLOSED.items():
            if expr.meta.eq(value.is_between(low, high, closed=closed)):  # type: ignore[arg-type]
                return All((Compare(operand, at_least, low), Compare(operand, at_most, high)))
        return _UNKNOWN

    # --- columns --------------------------------------------------------------------------------

    def _operand(self, expr: pl.Expr) -> Operand | None:
        """The expression as a column under casts that keep order; None where it is no such."""
        casts: list[pl.DataType] = []
        while not expr.meta.is_column():
            parts = _parts(expr)
            if len(parts) != 1 or not expr.meta.root_names():
                return None
            made = self._output(expr)
            if not keeps_order(self._output(parts[0]), made) or not _is_cast(expr, parts[0], made):
                return None
            casts.append(made)
            expr = parts[0]
        (column,) = expr.meta.root_names()
        if column not in self.schema or self.schema[column].is_nested():
            return None
        return Operand(column, tuple(reversed(casts)))

    def _output(self, expr: pl.Expr) -> pl.DataType:
        return pl.LazyFrame(schema=self.schema).select(expr.alias("made")).collect_schema()["made"]

    def _dtype(self, operand: Operand) -> pl.DataType:
        return operand.casts[-1] if operand.casts else self.schema[operand.column]


def _is_cast(expr: pl.Expr, inner: pl.Expr, made: pl.DataType) -> bool:
    """Whether the expression casts ``inner``, in any of the ways that Polars has."""
    ways = (
        inner.cast(made, strict=False),
        inner.cast(made),
        inner.cast(made, wrap_numerical=True),
    )
    return any(expr.meta.eq(way) for way in ways)


def _scalar(expr: pl.Expr) -> pl.Series | None:
    """The one value of a literal; None where it is no literal, or of a nested type."""
    if not expr.meta.is_literal():
        return None
    value = pl.select(expr.alias("value")).to_series()
    return value if len(value) == 1 and not value.dtype.is_nested() else None


def keeps_order(inner: pl.DataType, made: pl.DataType) -> bool:
    """Whether a cast never fails and never turns two values around (it may make them equal)."""
    if inner in _SIGNED and made in _SIGNED:
        return _SIGNED.index(inner) < _SIGNED.index(made)
    if made.is_float():
        narrower = inner == pl.Float32 and made == pl.Float64
        return narrower or inner.is_integer() or (inner.is_decimal() and made == pl.Float64)
    return False
