"""Products and quotients of unscaled decimals, exact beyond 128 bits.

Up to 76 digits appear here, which no column type holds, so these few operations run over arrays of
whole numbers of any size (numpy's object arrays).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from ...datatypes import DataType

_Numbers = npt.NDArray[Any]
_NARROW_DIGITS = 18
"""Two numbers of so many digits multiply within 128 bits."""


def rounded_products(left: pl.Expr, right: pl.Expr, data_type: DataType) -> pl.Expr:
    """Unscaled products, half up to the type's scale; null beyond its precision."""
    scale, precision = data_type.scale, data_type.precision
    if precision <= _NARROW_DIGITS:
        product = left * right
        unit = 10**scale
        half_up = (product.abs() + unit // 2) // unit
        signed = pl.when(product < 0).then(0 - half_up).otherwise(half_up)
        return pl.when(half_up < pl.lit(10**precision, pl.Int128)).then(signed)

    def multiply(both: pl.Series) -> pl.Series:
        a, b, known = _numbers(both)
        product = a * b
        magnitude = _half_up(np.abs(product), np.full(len(a), 10**scale, dtype=object))
        return _column(_signed(magnitude, product < 0), known & (magnitude < 10**precision))

    return pl.struct(left.alias("a"), right.alias("b")).map_batches(
        multiply, return_dtype=pl.Int128
    )


def exact_quotients(left: pl.Expr, right: pl.Expr, data_type: DataType) -> pl.Expr:
    """Struct(value, endless): quotients half up to the scale, null beyond the precision.

    ``endless`` where the quotient has no last digit, or the divisor is zero: Java refuses those.
    """
    scale, precision = data_type.scale, data_type.precision

    def divide(both: pl.Series) -> pl.Series:
        a, b, known = _numbers(both)
        zero = (b == 0).astype(np.bool_)
        divisor = np.where(zero, 1, np.abs(b))
        magnitude = _half_up(np.abs(a) * 10**scale, divisor)
        endless = known & (zero | ~_ends(np.abs(a), divisor))
        value = _column(_signed(magnitude, (a < 0) != (b < 0)), known & (magnitude < 10**precision))
        columns = [value.alias("value"), pl.Series("endless", endless)]
        return pl.DataFrame(columns).to_struct()

    kind = pl.Struct({"value": pl.Int128, "endless": pl.Boolean})
    pair = pl.struct(left.alias("a"), right.alias("b"))
    return pair.map_batches(divide, return_dtype=kind)


def _numbers(both: pl.Series) -> tuple[_Numbers, _Numbers, npt.NDArray[np.bool_]]:
    """Both columns as whole numbers of any size (0 for nulls), and where both are there."""
    a, b = both.struct.field("a"), both.struct.field("b")
    known = (a.is_not_null() & b.is_not_null()).to_numpy()
    return (
        np.array(a.fill_null(0).to_list(), dtype=object),
        np.array(b.fill_null(0).to_list(), dtype=object),
        known,
    )


def _half_up(dividend: _Numbers, divisor: _Numbers) -> _Numbers:
    return np.asarray((dividend * 2 + divisor) // (divisor * 2), dtype=object)


def _signed(magnitude: _Numbers, negative: _Numbers) -> _Numbers:
    return np.where(negative.astype(np.bool_), -magnitude, magnitude)


def _ends(dividend: _Numbers, divisor: _Numbers) -> npt.NDArray[np.bool_]:
    """Whether each quotient has a last digit: in lowest terms only 2 and 5 divide below."""
    rest = divisor // np.where(dividend == 0, divisor, np.gcd(dividend, divisor))
    for prime in (2, 5):
        while (again := (rest % prime == 0).astype(np.bool_)).any():
            rest = np.where(again, rest // prime, rest)
    return np.asarray(rest == 1, dtype=np.bool_)


def _column(values: _Numbers, known: npt.NDArray[np.bool_]) -> pl.Series:
    kept = values.copy()
    kept[~known.astype(np.bool_)] = None
    return pl.Series("value", kept.tolist(), dtype=pl.Int128)
