"""Reading a file that was written under another schema of the table.

Columns are matched by field id; one that the file does not have is null; a changed type is cast
where the cast cannot lose anything, and refused by name elsewhere.

Spec: format §2.5.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from .datatypes import BYTES, INTEGERS, STRINGS, TIMESTAMPS, DataType, Root, to_polars
from .errors import CorruptTable, UnsupportedFeature
from .schema import Field

_RANK = {Root.TINYINT: 0, Root.SMALLINT: 1, Root.INT: 2, Root.BIGINT: 3}
_DIGITS = {Root.TINYINT: 3, Root.SMALLINT: 5, Root.INT: 10, Root.BIGINT: 19}


@dataclass(frozen=True, slots=True)
class ColumnMap:
    """One wanted column: where it comes from in the file (None: nowhere, so null)."""

    name: str
    source: str | None
    type: DataType


@dataclass(frozen=True, slots=True)
class Projection:
    """How to turn a file's columns into the wanted ones, in the wanted order.

    ``carrier``: a column of the file that is read where no wanted one is in it, to count its rows.
    """

    columns: tuple[ColumnMap, ...]
    carrier: str | None = None

    @property
    def sources(self) -> tuple[str, ...]:
        """Columns to read from the file; never none, or its rows could not be counted."""
        found = tuple(c.source for c in self.columns if c.source is not None)
        return found or (() if self.carrier is None else (self.carrier,))

    def apply(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The wanted columns of as many rows as ``frame`` has."""
        if any(c.source is not None for c in self.columns):
            return frame.select(self.expressions())
        return frame.with_columns(self.expressions()).select(c.name for c in self.columns)

    def expressions(self) -> list[pl.Expr]:
        return [_expression(c) for c in self.columns]


def _expression(column: ColumnMap) -> pl.Expr:
    dtype = to_polars(column.type)
    if column.source is None:
        return pl.lit(None, dtype=dtype).alias(column.name)
    return pl.col(column.source).cast(dtype).alias(column.name)


def project(
    wanted: Sequence[Field], written: Sequence[Field], present: frozenset[str], path: str
) -> Projection:
    """The projection from a file written with ``written`` to the columns ``wanted``.

    Args:
        present: column names that are really in the file.

    Raises:
        UnsupportedFeature: a column changed its type in a way that could lose values.
        CorruptTable: the file lacks a column that its schema has.
    """
    by_id = {f.id: f for f in written}
    columns: list[ColumnMap] = []
    for target in wanted:
        source = by_id.get(target.id)
        if source is None:
            columns.append(ColumnMap(target.name, None, target.type))
            continue
        if source.name not in present:
            raise CorruptTable("data file lacks a column", column=source.name, file=path)
        if not lossless(source.type, target.type):
            raise UnsupportedFeature(
                "column changed its type",
                column=target.name,
                old=str(source.type),
                new=str(target.type),
                file=path,
            )
        columns.append(ColumnMap(target.name, source.name, target.type))
    return Projection(tuple(columns), carrier=min(present, default=None))


def lossless(old: DataType, new: DataType) -> bool:
    """True when every value of ``old`` is the same value in ``new`` (nullability aside)."""
    if old.root in _RANK and new.root in _RANK:
        return _RANK[old.root] <= _RANK[new.root]
    if old.root in INTEGERS and new.root is Root.DECIMAL:
        return new.precision - new.scale >= _DIGITS[old.root]
    if old.root in INTEGERS and new.root is Root.DOUBLE:
        return old.root is not Root.BIGINT
    if old.root is Root.FLOAT and new.root is Root.DOUBLE:
        return True
    if old.root is not new.root:
        return old.root in STRINGS and new.root is Root.VARCHAR and new.length >= old.length
    if old.root is Root.DECIMAL:
        wider = new.precision - new.scale >= old.precision - old.scale
        return wider and new.scale >= old.scale
    if old.root in TIMESTAMPS or old.root is Root.TIME:
        return new.precision >= old.precision
    if old.root in STRINGS | BYTES:
        return new.length >= old.length and (
            old.root not in (Root.CHAR, Root.BINARY) or old.length == new.length
        )
    return True
