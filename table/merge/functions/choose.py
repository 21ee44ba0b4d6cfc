"""Functions whose result is one of the values that came in."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from ...datatypes import BYTES, FLOATS, INTEGERS, STRINGS, TIMESTAMPS, DataType, Root
from ...lsm.order import comparable
from .base import Form, Plain, Term, misfit, not_null

_COMPARABLE = (
    INTEGERS | FLOATS | STRINGS | BYTES | TIMESTAMPS | {Root.DECIMAL, Root.DATE, Root.TIME}
)


@dataclass(frozen=True, slots=True)
class PrimaryKey(Plain):
    """Keys: whatever comes in, they are equal."""

    @property
    def form(self) -> Form:
        return Form.LAST

    def add(self, acc: pl.Expr, new: pl.Expr, flag: pl.Expr | None) -> Term:
        return Term(new)

    def retract(self, acc: pl.Expr, new: pl.Expr) -> Term:
        return Term(new)


@dataclass(frozen=True, slots=True)
class LastValue(Plain):
    """The newest value, null too."""

    @property
    def form(self) -> Form:
        return Form.LAST

    def add(self, acc: pl.Expr, new: pl.Expr, flag: pl.Expr | None) -> Term:
        return Term(new)

    def retract(self, acc: pl.Expr, new: pl.Expr) -> Term:
        return Term(pl.when(pl.lit(value=False)).then(acc))


@dataclass(frozen=True, slots=True)
class LastNotNull(Plain):
    """The newest value that is not null; taking back any value leaves null."""

    @property
    def form(self) -> Form:
        return Form.LAST_NOT_NULL

    def add(self, acc: pl.Expr, new: pl.Expr, flag: pl.Expr | None) -> Term:
        return Term(pl.when(new.is_null()).then(acc).otherwise(new))

    def retract(self, acc: pl.Expr, new: pl.Expr) -> Term:
        return Term(pl.when(new.is_null()).then(acc))


@dataclass(frozen=True, slots=True)
class FirstValue(Plain):
    """The first value that was ever fed, null too."""

    @property
    def form(self) -> Form:
        return Form.FIRST

    @property
    def stateful(self) -> bool:
        return True

    def add(self, acc: pl.Expr, new: pl.Expr, flag: pl.Expr | None) -> Term:
        assert flag is not None
        return Term(pl.when(flag).then(acc).otherwise(new))

    def mark(self, new: pl.Expr, flag: pl.Expr) -> pl.Expr:
        return pl.lit(value=True)


@dataclass(frozen=True, slots=True)
class FirstNotNull(Plain):
    """The first value that was not null."""

    @property
    def form(self) -> Form:
        return Form.FIRST_NOT_NULL

    @property
    def stateful(self) -> bool:
        return True

    def add(self, acc: pl.Expr, new: pl.Expr, flag: pl.Expr | None) -> Term:
        assert flag is not None
        return Term(pl.when(~flag & new.is_not_null()).then(new).otherwise(acc))

    def mark(self, new: pl.Expr, flag: pl.Expr) -> pl.Expr:
        return flag | new.is_not_null()


@dataclass(frozen=True, slots=True)
class Extreme(Plain):
    """``max`` or ``min``: floats as Java orders them, text and bytes as unsigned bytes."""

    data_type: DataType
    largest: bool

    def __post_init__(self) -> None:
        if self.data_type.root not in _COMPARABLE:
            raise misfit("max" if self.largest else "min", self.data_type)

    @property
    def form(self) -> Form:
        return Form.MAX if self.largest else Form.MIN

    def add(self, acc: pl.Expr, new: pl.Expr, flag: pl.Expr | None) -> Term:
        old, young = comparable(acc, self.data_type), comparable(new, self.data_type)
        # A tie keeps the old one of `max` and takes the new one of `min`.
        takes_new = old < young if self.largest else old >= young
        return Term(not_null(acc, new, pl.when(takes_new).then(new).otherwise(acc)))


@dataclass(frozen=True, slots=True)
class Both(Plain):
    """``bool_and`` or ``bool_or``."""

    data_type: DataType
    every: bool

    def __post_init__(self) -> None:
        if self.data_type.root is not Root.BOOLEAN:
            raise misfit("bool_and" if self.every else "bool_or", self.data_type)

    def add(self, acc: pl.Expr, new: pl.Expr, flag: pl.Expr | None) -> Term:
        return Term(not_null(acc, new, acc & new if self.every else acc | new))
