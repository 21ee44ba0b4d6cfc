"""Reading a file that was written under another schema of the table.

Columns, and the fields of ROWs inside them, are matched by field id; one that the file does not
have is null; a changed type is cast where the cast cannot lose anything, and refused by name
elsewhere.

Spec: format §2.5.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from .datatypes import BYTES, INTEGERS, STRINGS, TIMESTAMPS, DataType, Field, Root, to_polars
from .errors import CorruptTable, UnsupportedFeature
from .nested import reshaped

_RANK = {Root.TINYINT: 0, Root.SMALLINT: 1, Root.INT: 2, Root.BIGINT: 3}
_DIGITS = {Root.TINYINT: 3, Root.SMALLINT: 5, Root.INT: 10, Root.BIGINT: 19}


@dataclass(frozen=True, slots=True)
class ColumnMap:
    """One wanted column: where it comes from in the file (None: nowhere, so null).

    ``written``: the type it has there.
    """

    name: str
    source: str | None
    type: DataType
    written: DataType | None = None


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
        made = [_expression(c, frame.schema) for c in self.columns]
        if any(c.source is not None for c in self.columns):
            return frame.select(made)
        return frame.with_columns(made).select(c.name for c in self.columns)


def _expression(column: ColumnMap, found: pl.Schema) -> pl.Expr:
    dtype = to_polars(column.type)
    if column.source is None or column.written is None:
        return pl.lit(None, dtype=dtype).alias(column.name)
    made = reshaped(pl.col(column.source), found[column.source], column.written, column.type)
    return made.cast(dtype).alias(column.name)


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
        changed = _lossy(source.type, target.type, target.name)
        if changed is not None:
            where, old, new = changed
            raise UnsupportedFeature(
                "column changed its type", column=where, old=str(old), new=str(new), file=path
            )
        columns.append(ColumnMap(target.name, source.name, target.type, source.type))
    return Projection(tuple(columns), carrier=min(present, default=None))


def lossless(old: DataType, new: DataType) -> bool:
    """True when every value of ``old`` is the same value in ``new``.

    Nullability aside, and fields of ROWs that only one of them has.
    """
    return _lossy(old, new, "") is None


def _lossy(old: DataType, new: DataType, name: str) -> tuple[str, DataType, DataType] | None:
    """The first place where a value could be lost, as a path, with its types; None if nowhere."""
    if old.root is not new.root or not old.nested:
        return None if _primitive_lossless(old, new) else (name, old, new)
    if old.root is Root.ROW:
        by_id = {f.id: f for f in old.parts}
        pairs = [(by_id[f.id], f) for f in new.parts if f.id in by_id]
    else:
        pairs = list(zip(old.parts, new.parts, strict=True))
    for before, after in pairs:
        found = _lossy(before.type, after.type, f"{name}.{after.name}")
        if found is not None:
            return found
    return None


def _primitive_lossless(old: DataType, new: DataType) -> bool:
    if old.nested or new.nested:
        return False
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
