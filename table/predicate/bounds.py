"""May a predicate be true within bounds? Asked for many files, or row groups, at once.

Bounds are a frame: a row for each file, and for each column the lowest and the highest value, how
many nulls there are, and whether NaN may hide (`BoundsFrame`). What is not known is null, and never
rules anything out.

For each part of a predicate two things are kept: may it be true of some row (T), may it be false of
some row (F). Joined like truth values, they never say no where a row might say yes:

    T(not p) = F(p)      T(p & q) = T(p) & T(q)      T(p | q) = T(p) | T(q)
    F(not p) = T(p)      F(p & q) = F(p) | F(q)      F(p | q) = F(p) & F(q)

A comparison keeps or turns around the order of values, so the lowest and the highest value answer
for all between. NaN is the greatest value to Polars, but no bound of a file or row group shows it
(format §5.1, §9.2: writers leave it out); where it may hide, a column has the values between its
bounds, or NaN, and comparisons of one column are asked of either alone, so that ``x > 1`` keeps a
file whose numbers are all below, and ``(x > 1) & (x < 2)`` does not.

Spec: format §5.1; reference classes ``SimpleStatsEvolution``, ``LeafPredicate``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
import numpy.typing as npt
import polars as pl

from ..datatypes import FLOATS, TIMESTAMPS, DataType, to_polars
from ..errors import UnsupportedFeature
from ..file_stats import ColumnBounds
from ..row import Instant, series_from_values
from .tree import All, AnyOf, Compare, Constant, IsNull, Leaf, Not, OneOf, Op, Operand, Tree

Mask = npt.NDArray[np.bool_]

_ROWS = "\0rows"
_YES, _NO = pl.lit(value=True), pl.lit(value=False)
_NOT_KNOWN = ColumnBounds()
_NANOS_OF_TICK = {"ms": 1_000_000, "us": 1_000, "ns": 1}


@dataclass(frozen=True, slots=True)
class BoundsFrame:
    """Bounds of some columns, a row for each file; ``types`` are those of the columns."""

    frame: pl.DataFrame
    types: Mapping[str, DataType]

    @staticmethod
    def of(
        bounds: Sequence[Mapping[str, ColumnBounds]],
        rows: Sequence[int | None],
        types: Mapping[str, DataType],
        *,
        nan_hides: bool,
    ) -> BoundsFrame:
        """
        Args:
            bounds: one mapping for each file; columns that are left out have no bounds.
            rows: how many each file has, where that is known.
            types: of the columns that are asked for; no nested ones.
            nan_hides: bounds of floats do not tell of NaN.
        """
        series = [pl.Series(_ROWS, rows, dtype=pl.Int64)]
        for name, data_type in types.items():
            own = [b.get(name, _NOT_KNOWN) for b in bounds]
            hides = nan_hides and data_type.root in FLOATS
            low = _bound_series(_low(name), [b.low for b in own], data_type, up=False)
            high = _bound_series(_high(name), [b.high for b in own], data_type, up=True)
            if hides:  # a bound that is NaN itself bounds nothing
                low, high = low.fill_nan(None), high.fill_nan(None)
            series += [
                low,
                high,
                pl.Series(_nulls(name), [b.null_count for b in own], dtype=pl.Int64),
                pl.Series(_nan(name), [hides], dtype=pl.Boolean).new_from_index(0, len(rows)),
            ]
        return BoundsFrame(pl.DataFrame(series), types)

    def united(self) -> BoundsFrame:
        """One row: bounds of rows whose values come from any of these files, or are null."""
        columns = [pl.col(_ROWS).sum()]
        for name in self.types:
            low, high = pl.col(_low(name)), pl.col(_high(name))
            empty = (pl.col(_nulls(name)) == pl.col(_ROWS)).fill_null(value=False)
            known = (empty | (low.is_not_null() & high.is_not_null())).all()
            columns += [
                pl.when(known).then(low.min()).alias(_low(name)),
                pl.when(known).then(high.max()).alias(_high(name)),
                pl.lit(None, pl.Int64).alias(_nulls(name)),
                pl.col(_nan(name)).any(),
            ]
        return BoundsFrame(self.frame.select(columns), self.types)


def may_match(tree: Tree, bounds: BoundsFrame) -> Mask:
    """For each row of bounds, whether a row of the file may pass the predicate.

    Columns that the bounds do not have may hold anything.
    """
    made = _Maybe(bounds.types).true(tree).fill_null(value=True)
    try:
        found = bounds.frame.with_columns(made.alias("\0may")).get_column("\0may")
    except pl.exceptions.PolarsError:  # whoever filters the rows will hear of it
        return np.ones(bounds.frame.height, dtype=np.bool_)
    return found.to_numpy()


# --- frames ---------------------------------------------------------------------------------------


def _low(name: str) -> str:
    return f"{name}\0low"


def _high(name: str) -> str:
    return f"{name}\0high"


def _nulls(name: str) -> str:
    return f"{name}\0nulls"


def _nan(name: str) -> str:
    return f"{name}\0nan"


def _bound_series(
    name: str, values: Sequence[object], data_type: DataType, *, up: bool
) -> pl.Series:
    """Bounds as a column of the type; one that it cannot hold is not known."""
    given = [_raised(v, data_type) for v in values] if up else list(values)
    try:
        return series_from_values(name, given, data_type)
    except UnsupportedFeature:
        one_by_one = [_single(name, v, data_type) for v in given]
        return pl.concat(one_by_one)


def _single(name: str, value: object, data_type: DataType) -> pl.Series:
    try:
        return series_from_values(name, [value], data_type)
    except UnsupportedFeature:
        return series_from_values(name, [None], data_type)


def _raised(value: object, data_type: DataType) -> object:
    """A highest value that is not cut below itself where the column's unit is coarser than it."""
    if data_type.root not in TIMESTAMPS or not isinstance(value, Instant):
        return value
    dtype = to_polars(data_type)
    assert isinstance(dtype, pl.Datetime)
    over = value.nanos_of_milli % _NANOS_OF_TICK[dtype.time_unit]
    if over == 0:
        return value
    nanos = value.nanos_of_milli - over + _NANOS_OF_TICK[dtype.time_unit]
    return Instant(value.epoch_millis + nanos // 1_000_000, nanos % 1_000_000)


# --- predicates -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Leaf:
    """A comparison asked of the values between the bounds, and of NaN."""

    true: pl.Expr
    false: pl.Expr
    nan_true: pl.Expr
    nan_false: pl.Expr


class _Maybe:
    """Expressions over a bounds frame that say whether a part may be true, or false."""

    def __init__(self, types: Mapping[str, DataType]) -> None:
        self._types = types

    def true(self, tree: Tree) -> pl.Expr:
        match tree:
            case Compare() | OneOf():
                return self._together([tree])
            case IsNull(column) if column in self._types:
                return _known(pl.col(_nulls(column)) > 0)
            case Constant(value):
                return _YES if value else _NO
            case Not(part):
                return self.false(part)
            case All(parts):
                others = [self.true(p) for p in parts if not isinstance(p, Compare | OneOf)]
                return _every([*map(self._together, _by_operand(parts)), *others])
            case AnyOf(parts):
                return _some([self.true(p) for p in parts])
            case _:
                return _YES

    def false(self, tree: Tree) -> pl.Expr:
        match tree:
            case Compare() | OneOf():
                leaf = self._leaf(tree)
                return _YES if leaf is None else self._of_rows(tree, leaf.false, leaf.nan_false)
            case IsNull(column) if column in self._types:
                return _known(pl.col(_nulls(column)) < pl.col(_ROWS))
            case Constant(value):
                return _YES if value is False else _NO
            case Not(part):
                return self.true(part)
            case All(parts):
                return _some([self.false(p) for p in parts])
            case AnyOf(parts):
                return _every([self.false(p) for p in parts])
            case _:
                return _YES

    def _together(self, leaves: Sequence[Leaf]) -> pl.Expr:
        """Whether comparisons of one operand may all be true of one value."""
        found = [leaf for leaf in map(self._leaf, leaves) if leaf is not None]
        if not found:
            return _YES
        within, nan = _every([f.true for f in found]), _every([f.nan_true for f in found])
        return self._of_rows(leaves[0], within, nan)

    def _of_rows(self, leaf: Leaf, within: pl.Expr, nan: pl.Expr) -> pl.Expr:
        """Either kind of value may be it, and there must be a value at all."""
        column = leaf.operand.column
        there = _known(pl.col(_nulls(column)) < pl.col(_ROWS))
        return there & (within | (pl.col(_nan(column)) & nan))

    def _leaf(self, leaf: Leaf) -> _Leaf | None:
        data_type = self._types.get(leaf.operand.column)
        if data_type is None:
            return None
        if isinstance(leaf, OneOf):
            return _one_of(leaf, data_type)
        return _compared(leaf, data_type)


def _compared(leaf: Compare, data_type: DataType) -> _Leaf:
    low, high = _ends(leaf.operand)

    def may(op: Op) -> pl.Expr:
        """Whether some value between the bounds may compare so."""
        match op:
            case Op.LT | Op.LE:
                return _known(op.of(low, leaf.literal))
            case Op.GT | Op.GE:
                return _known(op.of(high, leaf.literal))
            case Op.EQ:
                return may(Op.LE) & may(Op.GE)
            case Op.NE:
                return may(Op.LT) | may(Op.GT)

    nan = _NO
    if data_type.root in FLOATS:
        nan = _known(leaf.op.of(_nan_of(leaf.operand, data_type), leaf.literal))
    return _Leaf(may(leaf.op), may(_NEGATED[leaf.op]), nan, ~nan)


def _one_of(leaf: OneOf, data_type: DataType) -> _Leaf:
    low, high = _ends(leaf.operand)
    values = pl.lit(leaf.values)
    below, through = (
        pl.when(end.is_not_null()).then(values.search_sorted(end, side=side))  # type: ignore[arg-type]
        for end, side in ((low, "left"), (high, "right"))
    )
    nan = _NO
    if data_type.root in FLOATS:
        nan = pl.lit(value=bool(leaf.values.is_nan().any()))
    return _Leaf(_known(below < through), _YES, nan, ~nan)


_NEGATED = {Op.LT: Op.GE, Op.LE: Op.GT, Op.GT: Op.LE, Op.GE: Op.LT, Op.EQ: Op.NE, Op.NE: Op.EQ}


def _ends(operand: Operand) -> tuple[pl.Expr, pl.Expr]:
    name = operand.column
    return operand.of(pl.col(_low(name))), operand.of(pl.col(_high(name)))


def _nan_of(operand: Operand, data_type: DataType) -> pl.Expr:
    return operand.of(pl.lit(float("nan"), to_polars(data_type)))


def _known(answer: pl.Expr) -> pl.Expr:
    """An answer that is not known is: maybe."""
    return answer.fill_null(value=True)


def _every(parts: Sequence[pl.Expr]) -> pl.Expr:
    return reduce(lambda left, right: left & right, parts, _YES)


def _some(parts: Sequence[pl.Expr]) -> pl.Expr:
    return reduce(lambda left, right: left | right, parts, _NO)


def _by_operand(parts: Sequence[Tree]) -> list[list[Leaf]]:
    """The comparisons among the parts, those of one operand together."""
    found: dict[Operand, list[Leaf]] = {}
    for part in parts:
        if isinstance(part, Compare | OneOf):
            found.setdefault(part.operand, []).append(part)
    return list(found.values())
