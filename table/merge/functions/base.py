"""What an aggregate function is."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import Protocol

import polars as pl

from ...datatypes import DataType
from ...errors import UnsupportedFeature


class Form(Enum):
    """The closed form that gives the same as adding one value after the other."""

    LAST = auto()
    LAST_NOT_NULL = auto()
    FIRST = auto()
    FIRST_NOT_NULL = auto()
    SUM = auto()
    MAX = auto()
    MIN = auto()


@dataclass(frozen=True, slots=True)
class Term:
    """A function's result; where ``bad`` is true the records must be refused, and ``why``."""

    value: pl.Expr
    bad: pl.Expr | None = None
    why: str = ""


class Function(Protocol):
    """One aggregate function of one column.

    ``flag`` tells of each key whether the function has had a value: only the functions that take
    the first one need it, the others have ``stateful`` false and get None.
    """

    @property
    def form(self) -> Form | None:
        """Its closed form, where it has one."""
        ...

    @property
    def stateful(self) -> bool: ...

    def add(self, acc: pl.Expr, new: pl.Expr, flag: pl.Expr | None) -> Term:
        """The accumulator after ``new`` came in."""
        ...

    def add_older(self, acc: pl.Expr, new: pl.Expr, flag: pl.Expr | None) -> Term:
        """The accumulator after ``new`` came in late: it belongs before what is there."""
        ...

    def mark(self, new: pl.Expr, flag: pl.Expr) -> pl.Expr:
        """The flag after ``new`` came in."""
        ...

    def retract(self, acc: pl.Expr, new: pl.Expr) -> Term | None:
        """The accumulator after ``new`` was taken back; None: the function cannot."""
        ...


class Plain:
    """What most functions share: no state, and an older value is added the other way round."""

    @property
    def form(self) -> Form | None:
        return None

    @property
    def stateful(self) -> bool:
        return False

    def add(self, acc: pl.Expr, new: pl.Expr, flag: pl.Expr | None) -> Term:
        raise AssertionError("a function says how it adds")

    def add_older(self, acc: pl.Expr, new: pl.Expr, flag: pl.Expr | None) -> Term:
        return self.add(new, acc, flag)

    def mark(self, new: pl.Expr, flag: pl.Expr) -> pl.Expr:
        return flag

    def retract(self, acc: pl.Expr, new: pl.Expr) -> Term | None:
        return None


@dataclass(frozen=True, slots=True)
class IgnoreRetract:
    """``fields.<f>.ignore-retract``: what is taken back stays."""

    inner: Function

    @property
    def form(self) -> Form | None:
        return self.inner.form

    @property
    def stateful(self) -> bool:
        return self.inner.stateful

    def add(self, acc: pl.Expr, new: pl.Expr, flag: pl.Expr | None) -> Term:
        return self.inner.add(acc, new, flag)

    def add_older(self, acc: pl.Expr, new: pl.Expr, flag: pl.Expr | None) -> Term:
        """Java's wrapper forgets that some functions have an order of their own here."""
        return self.inner.add(new, acc, flag)

    def mark(self, new: pl.Expr, flag: pl.Expr) -> pl.Expr:
        return self.inner.mark(new, flag)

    def retract(self, acc: pl.Expr, new: pl.Expr) -> Term | None:
        return Term(acc)


def not_null(acc: pl.Expr, new: pl.Expr, both: pl.Expr) -> pl.Expr:
    """``both`` where there are two values, else the one there is."""
    return pl.when(acc.is_null()).then(new).when(new.is_null()).then(acc).otherwise(both)


def misfit(name: str, data_type: DataType) -> UnsupportedFeature:
    """A function that cannot work on this type; Java says so at the first row."""
    return UnsupportedFeature(
        "aggregate function does not fit the type", function=name, type=str(data_type)
    )
