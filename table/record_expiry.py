"""Records that have outlived their table's `record-level.expire-time`: they vanish in compactions.

Every record is held against its own time before it is merged; one without a time stays. Reads do
not look at it, so an expired record is seen until a compaction passes.

Spec: maintenance §4.8; reference class ``RecordLevelExpire``.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from .datatypes import TIMESTAMPS, DataType, Root, time_unit
from .errors import InvalidRequest, UnsupportedFeature
from .file_stats import file_bounds
from .handle import TableHandle
from .manifest.entry import DataFile
from .row import Instant
from .schema import TableSchema

_MILLIS_FROM = 1_000_000_000_000
"""A BIGINT from here on is milliseconds, below it seconds."""


_PER_MILLI = {"ms": 1, "us": 1_000, "ns": 1_000_000}


@dataclass(frozen=True, slots=True)
class RecordExpiry:
    """``before_seconds``: records whose time, in epoch seconds, is below this have expired."""

    column: str
    before_seconds: int

    @staticmethod
    def of(schema: TableSchema, now_millis: int) -> RecordExpiry | None:
        """The table's rule at this moment; None where records stay for ever.

        Raises:
            InvalidRequest, UnsupportedFeature: the time column is missing or of another type.
        """
        seconds = schema.options.expire_seconds
        if seconds is None:
            return None
        column = schema.options.expire_field
        if column not in schema.names:
            raise InvalidRequest(
                "record-level expiry needs a time column", option="record-level.time-field",
                value=column,
            )  # fmt: skip
        data_type = schema.column(column).type
        if data_type.root not in TIMESTAMPS | {Root.INT, Root.BIGINT}:
            raise UnsupportedFeature(
                "a time column is INT, BIGINT or TIMESTAMP", column=column, type=str(data_type)
            )
        return RecordExpiry(column, now_millis // 1000 - seconds)

    def keep(self, data_type: DataType) -> pl.Expr:
        """True for records that stay."""
        column = pl.col(self.column)
        return column.is_null() | (_seconds(column, data_type) >= self.before_seconds)

    def holds_expired(self, file: DataFile, schema: TableSchema, handle: TableHandle) -> bool:
        """Whether the file's statistics say that a record of it has expired."""
        written = schema if file.schema_id == schema.id else handle.schema(file.schema_id)
        bounds = file_bounds(file, schema, written).get(self.column)
        if bounds is None or bounds.low is None:
            return False
        return self.before_seconds > _whole_seconds(bounds.low, schema.column(self.column).type)


def _seconds(column: pl.Expr, data_type: DataType) -> pl.Expr:
    """Epoch seconds, cut off towards zero as Java divides."""
    if data_type.root in TIMESTAMPS:
        return _towards_zero(_floor_millis(column, data_type), 1000)
    whole = column.cast(pl.Int64)
    if data_type.root is Root.BIGINT:
        return pl.when(whole >= _MILLIS_FROM).then(whole // 1000).otherwise(whole)
    return whole


def _floor_millis(column: pl.Expr, data_type: DataType) -> pl.Expr:
    """Of the number that is stored: nanoseconds of a late year would be too many for 64 bits."""
    return column.to_physical() // _PER_MILLI[time_unit(data_type)]


def _towards_zero(value: pl.Expr, by: int) -> pl.Expr:
    magnitude = value.abs() // by
    return pl.when(value < 0).then(-magnitude).otherwise(magnitude)


def _whole_seconds(value: object, data_type: DataType) -> int:
    if isinstance(value, Instant):
        sign = -1 if value.epoch_millis < 0 else 1
        return sign * (abs(value.epoch_millis) // 1000)
    assert isinstance(value, int)
    millis = data_type.root is Root.BIGINT and value >= _MILLIS_FROM
    return value // 1000 if millis else value
