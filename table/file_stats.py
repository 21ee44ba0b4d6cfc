"""What a data file's statistics say of the columns of the schema in force.

The row of bounds in a manifest names no columns: which it has follows from the schema that the
file was written with, the columns it was written with, and those that have statistics at all.

Spec: format §5.1, §2.5.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .datatypes import DataType
from .errors import CorruptTable
from .manifest.entry import DataFile
from .row import decode_row
from .schema import TableSchema


@dataclass(frozen=True, slots=True)
class ColumnBounds:
    """Values in the forms of `row`; None: no bound is known. ``null_count`` None: unknown."""

    low: object = None
    high: object = None
    null_count: int | None = None


def file_bounds(
    file: DataFile, schema: TableSchema, written: TableSchema
) -> Mapping[str, ColumnBounds]:
    """Bounds by column of ``schema``; columns that nothing is known of are left out.

    Args:
        written: the schema that the file was written with.

    Raises:
        CorruptTable: the statistics are not of these columns; names the file.
    """
    names = _stats_columns(file, written)
    if not names:
        return {}
    stats, types = file.value_stats, [written.column(n).type for n in names]
    try:
        lows, highs = decode_row(stats.min_values, types), decode_row(stats.max_values, types)
    except CorruptTable as error:
        raise error.at(file=file.name) from error
    counts = stats.null_counts or (None,) * len(names)
    if len(counts) != len(names):
        raise CorruptTable("statistics have another number of columns", file=file.name)
    by_id = {
        written.column(n).id: (written.column(n).type, ColumnBounds(low, high, nulls))
        for n, low, high, nulls in zip(names, lows, highs, counts, strict=True)
    }
    found = ((f.name, f.type, by_id[f.id]) for f in schema.fields if f.id in by_id)
    return {name: bounds for name, now, (then, bounds) in found if _same(now, then)}


def _stats_columns(file: DataFile, written: TableSchema) -> tuple[str, ...]:
    names = written.names
    if file.write_cols is not None:
        names = tuple(n for n in names if n in file.write_cols)
    if file.value_stats_cols is not None:
        known = set(names)
        unknown = [n for n in file.value_stats_cols if n not in known]
        if unknown:
            raise CorruptTable("statistics of no column", column=unknown[0], file=file.name)
        return file.value_stats_cols
    return names


def _same(now: DataType, then: DataType) -> bool:
    """Whether a value of the old type is the same value in the same form now."""
    return now.not_null() == then.not_null()
