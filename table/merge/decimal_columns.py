"""Decimal columns as their unscaled integers, and back.

Polars would hold a cast against the precision; Paimon keeps sums beyond it (maintenance §4.5), so
the integers are put into the column as they are.
"""

from __future__ import annotations

from typing import Any, cast

import polars as pl
import pyarrow as pa

from ..datatypes import DataType
from ..errors import BadData

_FILE_LIMITS = ((9, 2**31), (18, 2**63))
"""Parquet holds decimals of so many digits in integers of 32 and 64 bits."""


def to_unscaled(series: pl.Series) -> pl.Series:
    """Int128: a DECIMAL(5, 2) of 1.5 is 150."""
    return series.to_physical()


def from_unscaled(series: pl.Series, data_type: DataType) -> pl.Series:
    """The decimals that these integers are.

    Raises:
        BadData: one is larger than a file can hold.
    """
    for digits, limit in _FILE_LIMITS:
        if data_type.precision <= digits:
            outside = (series >= limit) | (series < -limit)
            if outside.any():
                raise BadData("a decimal outgrows its column", type=str(data_type))
            break
    whole = series.cast(pl.Decimal(38, 0)).rechunk()
    array = cast("Any", whole).to_arrow(compat_level=pl.CompatLevel.oldest())
    kind = pa.decimal128(data_type.precision, data_type.scale)
    buffers = array.buffers()
    decimals = pa.Array.from_buffers(
        kind, len(array), buffers, null_count=array.null_count, offset=array.offset
    )
    return cast("pl.Series", pl.from_arrow(decimals)).alias(series.name)
