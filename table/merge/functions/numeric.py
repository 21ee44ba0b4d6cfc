"""``sum`` and ``product``.

Decimals come as their unscaled integers (Int128). Integers never wrap around: a result beyond the
type refuses the records, as Paimon does since 2.0. Decimals are kept or become null, as the
reference's traps say: up to 18 digits a sum is not held against its precision, everything else
beyond the precision is null.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from ...datatypes import FLOATS, INTEGERS, DataType, Root
from .base import Form, Plain, Term, misfit, not_null
from .decimals import exact_quotients, rounded_products

_LIMITS = {
    Root.TINYINT: 2**7,
    Root.SMALLINT: 2**15,
    Root.INT: 2**31,
    Root.BIGINT: 2**63,
}
_DTYPES = {
    Root.TINYINT: pl.Int8(),
    Root.SMALLINT: pl.Int16(),
    Root.INT: pl.Int32(),
    Root.BIGINT: pl.Int64(),
}
COMPACT_DIGITS = 18
"""Java holds decimals of up to this many digits in a long, and adds them as longs."""


def _check_type(name: str, data_type: DataType) -> None:
    if data_type.root not in INTEGERS | FLOATS | {Root.DECIMAL}:
        raise misfit(name, data_type)


def _within(value: pl.Expr, data_type: DataType, what: str) -> Term:
    """An integer result in its type, refused where it does not fit."""
    limit = _LIMITS[data_type.root]
    fits = (value >= -limit) & (value < limit)
    return Term(
        pl.when(fits).then(value).cast(_DTYPES[data_type.root]), ~fits, f"{what} overflows its type"
    )


def _wide(value: pl.Expr, data_type: DataType) -> pl.Expr:
    """Room for one operation without wrapping around."""
    return value.cast(pl.Int128 if data_type.root is Root.BIGINT else pl.Int64)


@dataclass(frozen=True, slots=True)
class Sum(Plain):
    """Nulls count as nothing; taking back from nothing leaves the negative."""

    data_type: DataType

    def __post_init__(self) -> None:
        _check_type("sum", self.data_type)

    @property
    def form(self) -> Form:
        return Form.SUM

    def add(self, acc: pl.Expr, new: pl.Expr, flag: pl.Expr | None) -> Term:
        return self._both(acc, new, sign=1)

    def retract(self, acc: pl.Expr, new: pl.Expr) -> Term:
        root = self.data_type.root
        if root in FLOATS:
            nothing = -new
            return Term(
                pl.when(acc.is_null()).then(nothing).when(new.is_null()).then(acc)
                .otherwise(acc - new)
            )  # fmt: skip
        if root is Root.DECIMAL:
            kept = self._decimal(acc - new)
            fits = new.abs() < pl.lit(10**self.data_type.precision, pl.Int128)
            alone = pl.when(fits).then(0 - new)
            return Term(
                pl.when(acc.is_null()).then(alone).when(new.is_null()).then(acc).otherwise(kept)
            )
        wide = _wide(acc, self.data_type).fill_null(0) - _wide(new, self.data_type)
        term = _within(wide, self.data_type, "sum")
        value = pl.when(new.is_null()).then(acc).otherwise(term.value)
        return Term(value, term.bad, term.why)

    def _both(self, acc: pl.Expr, new: pl.Expr, sign: int) -> Term:
        root = self.data_type.root
        if root in FLOATS:
            return Term(not_null(acc, new, acc + new))
        if root is Root.DECIMAL:
            return Term(not_null(acc, new, self._decimal(acc + new)))
        term = _within(
            _wide(acc, self.data_type) + _wide(new, self.data_type), self.data_type, "sum"
        )
        return Term(not_null(acc, new, term.value), term.bad, term.why)

    def _decimal(self, total: pl.Expr) -> pl.Expr:
        """The unscaled sum as Java keeps it."""
        digits = self.data_type.precision
        fits = total.abs() < pl.lit(10**digits, pl.Int128)
        if digits <= COMPACT_DIGITS:
            # A long's range, not the precision; beyond it Java falls back to the checked way.
            limit = pl.lit(2**63, pl.Int128)
            fits = (total >= -limit) & (total < limit)
        return pl.when(fits).then(total)


@dataclass(frozen=True, slots=True)
class Product(Plain):
    """Nulls count as nothing; taking back divides."""

    data_type: DataType

    def __post_init__(self) -> None:
        _check_type("product", self.data_type)

    def add(self, acc: pl.Expr, new: pl.Expr, flag: pl.Expr | None) -> Term:
        root = self.data_type.root
        if root in FLOATS:
            return Term(not_null(acc, new, acc * new))
        if root is Root.DECIMAL:
            return Term(not_null(acc, new, rounded_products(acc, new, self.data_type)))
        term = _within(
            _wide(acc, self.data_type) * _wide(new, self.data_type), self.data_type, "product"
        )
        return Term(not_null(acc, new, term.value), term.bad, term.why)

    def retract(self, acc: pl.Expr, new: pl.Expr) -> Term:
        root = self.data_type.root
        nothing = acc.is_null() | new.is_null()
        if root in FLOATS:
            return Term(pl.when(nothing).then(acc).otherwise(acc / new))
        if root is Root.DECIMAL:
            quotient = exact_quotients(acc, new, self.data_type)
            bad = ~nothing & quotient.struct.field("endless")
            value = pl.when(nothing).then(acc).otherwise(quotient.struct.field("value"))
            return Term(value, bad, "product cannot be divided without rest")
        divisor, dividend = _wide(new, self.data_type), _wide(acc, self.data_type)
        zero = divisor == 0
        # Towards zero, as Java divides.
        whole = dividend.abs() // pl.when(zero).then(1).otherwise(divisor.abs())
        signed = pl.when((dividend < 0) != (divisor < 0)).then(0 - whole).otherwise(whole)
        term = _within(signed, self.data_type, "product")
        assert term.bad is not None
        value = pl.when(nothing).then(acc).otherwise(term.value)
        return Term(value, ~nothing & (zero | term.bad), "product cannot be divided")
