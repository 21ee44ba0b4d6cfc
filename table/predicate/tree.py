"""What is understood of a predicate: a tree of plain records."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum

import polars as pl


class Op(StrEnum):
    """A comparison, written as it is read: value, operator, literal."""

    LT = "<"
    LE = "<="
    GT = ">"
    GE = ">="
    EQ = "=="
    NE = "!="

    def of(self, value: pl.Expr, literal: pl.Expr) -> pl.Expr:
        """The comparison as Polars makes it."""
        match self:
            case Op.LT:
                return value < literal
            case Op.LE:
                return value <= literal
            case Op.GT:
                return value > literal
            case Op.GE:
                return value >= literal
            case Op.EQ:
                return value == literal
            case Op.NE:
                return value != literal


@dataclass(frozen=True, slots=True)
class Operand:
    """A column, or casts of it, innermost first, that keep the order of its values."""

    column: str
    casts: tuple[pl.DataType, ...] = ()

    def of(self, value: pl.Expr) -> pl.Expr:
        """A value of the column's type, cast likewise."""
        for dtype in self.casts:
            value = value.cast(dtype, strict=False)
        return value


@dataclass(frozen=True, slots=True)
class Compare:
    """The operand against one value; null where the operand is."""

    operand: Operand
    op: Op
    literal: pl.Expr = field(compare=False)


@dataclass(frozen=True, slots=True)
class OneOf:
    """The operand is among values: not null, in ascending order. Null where the operand is."""

    operand: Operand
    values: pl.Series = field(compare=False)


@dataclass(frozen=True, slots=True)
class IsNull:
    """The column is null; never null itself."""

    column: str


@dataclass(frozen=True, slots=True)
class Constant:
    """A value of its own, null for one."""

    value: bool | None


@dataclass(frozen=True, slots=True)
class Unknown:
    """Anything: it may be true, false or null."""


@dataclass(frozen=True, slots=True)
class Not:
    part: Tree


@dataclass(frozen=True, slots=True)
class All:
    """Every part is true."""

    parts: tuple[Tree, ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """At least one part is true."""

    parts: tuple[Tree, ...]


Leaf = Compare | OneOf
Tree = Leaf | IsNull | Constant | Unknown | Not | All | AnyOf


def understood(tree: Tree, *, truth: bool = True) -> bool:
    """Whether bounds could ever say that it is not true (``truth`` False: not false)."""
    match tree:
        case Unknown():
            return False
        case Not(part):
            return understood(part, truth=not truth)
        case All(parts) | AnyOf(parts):
            each = [understood(p, truth=truth) for p in parts]
            return any(each) if isinstance(tree, All) == truth else all(each)
        case OneOf():
            return truth
        case _:
            return True


def leaves(tree: Tree) -> Iterator[Tree]:
    """The parts that have no parts."""
    match tree:
        case Not(part):
            yield from leaves(part)
        case All(parts) | AnyOf(parts):
            for part in parts:
                yield from leaves(part)
        case _:
            yield tree


def columns(tree: Tree) -> frozenset[str]:
    """Columns whose bounds are asked for."""
    found: set[str] = set()
    for leaf in leaves(tree):
        match leaf:
            case Compare(operand=operand) | OneOf(operand=operand):
                found.add(operand.column)
            case IsNull(column):
                found.add(column)
            case _:
                pass
    return frozenset(found)
