"""Random predicates over a frame's columns, most of which some rows pass and others do not.

Values come from the frame itself, from neighbours of its values, or from other types, so that
comparisons meet bounds exactly, miss them by a little, and make Polars cast.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import reduce
from typing import Literal

import polars as pl

__all__ = ["distinct_rows", "random_predicate", "rows_text"]

_OPS: Sequence[Callable[[pl.Expr, pl.Expr], pl.Expr]] = (
    lambda a, b: a == b,
    lambda a, b: a != b,
    lambda a, b: a < b,
    lambda a, b: a <= b,
    lambda a, b: a > b,
    lambda a, b: a >= b,
)
_CLOSED: tuple[Literal["both", "left", "right", "none"], ...] = ("both", "left", "right", "none")


def random_predicate(
    rng: random.Random, frame: pl.DataFrame, names: Sequence[str] | None = None, *, depth: int = 2
) -> pl.Expr:
    """A predicate on columns of the frame (only these, if named), which must not be nested all."""
    flat = [n for n in names or frame.columns if not frame.schema[n].is_nested()]
    if not flat:
        return _of_any(rng, rng.choice(list(names or frame.columns)))
    if depth and rng.random() < 0.6:
        parts = [random_predicate(rng, frame, names, depth=depth - 1) for _ in range(2)]
        joined = reduce((lambda a, b: a & b) if rng.random() < 0.6 else (lambda a, b: a | b), parts)
        return ~joined if rng.random() < 0.15 else joined
    made = _comparison(rng, frame.get_column(rng.choice(flat)))
    return ~made if rng.random() < 0.15 else made


def _of_any(rng: random.Random, name: str) -> pl.Expr:
    return pl.col(name).is_null() if rng.random() < 0.5 else pl.col(name).is_not_null()


def _comparison(rng: random.Random, values: pl.Series) -> pl.Expr:
    column = pl.col(values.name)
    kinds: list[Callable[[], pl.Expr]] = [
        lambda: rng.choice(_OPS)(column, _literal(rng, values)),
        lambda: rng.choice(_OPS)(column, _literal(rng, values)),
        lambda: rng.choice(_OPS)(_literal(rng, values), column),
        lambda: _between(rng, values),
        lambda: _among(rng, values),
        lambda: _of_any(rng, values.name),
        lambda: column.eq_missing(_literal(rng, values)),
        lambda: column.ne_missing(_literal(rng, values)),
        lambda: _of_another_type(rng, values),
        lambda: _not_understood(rng, values),
    ]
    if isinstance(values.dtype, pl.Boolean):
        kinds.append(lambda: column)
    return rng.choice(kinds)()


def _literal(rng: random.Random, values: pl.Series) -> pl.Expr:
    return _lit(_one(rng, values))


def _lit(value: pl.Series) -> pl.Expr:
    """A series of one as a literal; Python's own types do not reach every year."""
    if value.dtype.is_temporal():
        physical = value.to_physical()
        return pl.lit(physical.item(), dtype=physical.dtype).cast(value.dtype)
    return pl.lit(value.item(), dtype=value.dtype)


def _one(rng: random.Random, values: pl.Series) -> pl.Series:
    """A value that is there, or the one next to it; never null."""
    present = values.drop_nulls()
    if len(present) == 0:
        present = pl.Series(values.name, [0]).cast(pl.Int32).cast(_castable(values.dtype))
        present = present.cast(values.dtype, strict=False).fill_null(strategy="zero")
    chosen = present.gather([rng.randrange(len(present))])
    return _next_to(rng, chosen) if rng.random() < 0.4 else chosen


def _castable(dtype: pl.DataType) -> pl.DataType:
    return pl.String() if isinstance(dtype, pl.Binary) else dtype


def _next_to(rng: random.Random, value: pl.Series) -> pl.Series:
    dtype = value.dtype
    if isinstance(dtype, pl.String | pl.Binary):
        text = value.item()
        empty, more = ("", "\u0001") if isinstance(dtype, pl.String) else (b"", b"\x01")
        return pl.Series(value.name, [rng.choice([text[:-1], text + more, empty])], dtype=dtype)
    if isinstance(dtype, pl.Boolean):
        return ~value
    if dtype.is_float():
        return value + rng.choice([-1.0, 0.5])
    if dtype.is_decimal():
        return value
    ticks = value.to_physical().cast(pl.Int64) + rng.choice([-1, 1])
    moved = ticks.cast(value.to_physical().dtype, strict=False).cast(dtype, strict=False)
    return value if moved.null_count() else moved


def _between(rng: random.Random, values: pl.Series) -> pl.Expr:
    ends = pl.concat([_one(rng, values), _one(rng, values)])
    ends = ends.sort() if rng.random() < 0.9 else ends
    low, high = (_lit(ends.slice(i, 1)) for i in range(2))
    return pl.col(values.name).is_between(low, high, closed=rng.choice(_CLOSED))


def _among(rng: random.Random, values: pl.Series) -> pl.Expr:
    chosen = pl.concat([_one(rng, values) for _ in range(rng.choice([1, 1, 2, 5]))])
    if rng.random() < 0.3:
        chosen = pl.concat([chosen, pl.Series(values.name, [None], dtype=values.dtype)])
    if rng.random() < 0.1:
        chosen = chosen.clear()
    return pl.col(values.name).is_in(chosen.implode(), nulls_equal=rng.random() < 0.3)


def _of_another_type(rng: random.Random, values: pl.Series) -> pl.Expr:
    """Compared with a literal that makes Polars cast, or with a cast column."""
    column, dtype, op = pl.col(values.name), values.dtype, rng.choice(_OPS)
    value = _one(rng, values)
    if dtype.is_integer():
        number = value.item()
        return rng.choice(
            [
                op(column, pl.lit(number + 0.5)),
                op(column, pl.lit(float(number))),
                op(column.cast(pl.Float64), pl.lit(float(number))),
                op(column.cast(pl.Int128), pl.lit(number)),
                op(column, pl.lit(number)),
            ]
        )
    if dtype.is_float():
        return rng.choice([op(column, pl.lit(1)), op(column, pl.lit(value.item()))])
    if dtype.is_decimal():
        return rng.choice(
            [op(column, pl.lit(float(value.item()))), op(column, pl.lit(int(value.item())))]
        )
    if isinstance(dtype, pl.Datetime):
        other = pl.Datetime(rng.choice(["ms", "us"]), dtype.time_zone)
        return op(column, _lit(value.cast(other)))
    if isinstance(dtype, pl.Date):
        return op(column, _lit(value.cast(pl.Datetime("us"))))
    return op(column, _lit(value))


def _not_understood(rng: random.Random, values: pl.Series) -> pl.Expr:
    column, dtype = pl.col(values.name), values.dtype
    if dtype.is_integer():
        return column % 3 == rng.randrange(3)
    if dtype.is_float():
        return column.is_nan()
    if isinstance(dtype, pl.String):
        return column.str.len_chars() > rng.randrange(4)
    return column.hash() % 2 == rng.randrange(2)


def rows_text(frame: pl.DataFrame) -> list[str]:
    """The rows as sorted texts: equal lists are equal multisets, to the last nanosecond."""
    exact = frame.with_columns(pl.selectors.datetime().to_physical())
    return sorted(map(repr, exact.rows()))


def distinct_rows(frame: pl.DataFrame) -> int:
    return len(set(rows_text(frame)))
