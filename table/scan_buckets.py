"""Which buckets a predicate leaves: those that the values it names for the bucket keys hash to.

Spec: format §7.1, §7.3; reference classes ``BucketSelectConverter``, ``BucketSelector``.
"""

from __future__ import annotations

from functools import reduce

import numpy as np
import polars as pl

from .bucket import bucket_numbers
from .datatypes import FLOATS, DataType, to_polars
from .predicate.points import points
from .row import is_wide_decimal, unscaled_of
from .scan_filter import ScanFilter
from .schema import TableSchema

COMBINATIONS_MAX = 100_000
"""Keys that are hashed at most; more of them leave hardly a bucket out."""


def in_wanted_buckets(live: pl.DataFrame, schema: TableSchema, given: ScanFilter) -> pl.DataFrame:
    """The files of buckets that may hold rows which pass, in their order.

    Each file's own number of buckets counts: that of the table may have changed since.
    """
    keys = wanted_keys(schema, given)
    if keys is None or live.height == 0:
        return live
    types = schema.types(schema.bucket_keys)
    wanted = pl.col("bucket") < 0
    for total in live.get_column("total_buckets").unique().to_list():
        of_total = pl.col("total_buckets") == total
        if total > 0:
            found = bucket_numbers(keys, schema.bucket_keys, types, total).unique()
            of_total &= pl.col("bucket").is_in(found.implode())
        wanted |= of_total
    return live.filter(wanted)


def wanted_keys(schema: TableSchema, given: ScanFilter) -> pl.DataFrame | None:
    """All values of the bucket keys that pass; None: any."""
    if not schema.bucket_keys:
        return None
    trees = [c.tree for c in given.conjuncts if c.separable]
    columns: list[pl.DataFrame] = []
    for name in schema.bucket_keys:
        data_type = schema.column(name).type
        found = points(trees, name, to_polars(data_type))
        values = None if found is None else _hashed(found.drop_nulls(), data_type)
        if values is None:
            return None
        columns.append(values.alias(name).to_frame())
    if np.prod([float(c.height) for c in columns]) > COMBINATIONS_MAX:
        return None
    return reduce(lambda left, right: left.join(right, how="cross"), columns)


def _hashed(values: pl.Series, data_type: DataType) -> pl.Series | None:
    """Every value that equals one of these and may have another hash; None where that is unsure.

    To Polars -0.0 is 0.0, and all NaN are one; pypaimon takes a byte more than Java for wide
    decimals that are a negative power of 256 halved.
    """
    if data_type.root in FLOATS:
        if values.is_nan().any():
            return None
        zeros = pl.Series(values.name, [0.0, -0.0], dtype=values.dtype)
        return pl.concat([values.filter(values != 0), zeros]) if (values == 0).any() else values
    if is_wide_decimal(data_type):
        unscaled = (unscaled_of(v, data_type) for v in values.to_list())
        if any(n < 0 and (-n).bit_count() == 1 and (-n).bit_length() % 8 == 0 for n in unscaled):
            return None
    return values
