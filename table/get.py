"""Rows by primary key, without a scan: key → partition and bucket → files → row groups → rows.

A key's partition and bucket follow from its values. In a bucket, binary search over the keys says
which files' key ranges hold any; footers say which row groups; of these the keys are read first,
and other columns only from the first key found to the last. What is left is merged as a scan would
merge it, so it holds for every engine.

Spec: format §7.1, §8.2, §8.6; reference classes ``LocalTableQuery``, ``LookupLevels``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import reduce

import numpy as np
import polars as pl

from .bucket import bucket_numbers, encode_partitions
from .conform import conform_keys
from .errors import UnsupportedFeature
from .handle import TableHandle
from .lsm.order import order_frame, rows_below, rows_through
from .lsm.run import LsmFile
from .merge.rule import MergeRule
from .plan import BucketKey
from .predicate.bounds import Mask
from .predicate.tree import All, OneOf, Operand, Tree
from .row import decode_row, encode_row, series_from_values
from .scan import checked_columns, open_scan
from .scan_plan import FileTests
from .scan_read import BucketReader, Sifts
from .scan_snapshot import ScanRequest, SnapshotScan, each_bucket
from .schema import TableSchema

_PLACE = "\0place"


def get_rows(
    handle: TableHandle,
    keys: pl.DataFrame,
    *,
    columns: Sequence[str] | None = None,
    snapshot_id: int | None = None,
) -> pl.DataFrame:
    """The merged rows of these primary keys, in the order in which the keys are given.

    A key that has no row is left out; one that is given twice is answered once, where it is first
    given.

    Args:
        keys: exactly the columns of the primary key, partition columns among them; values are made
            the table's as `write` does.
        columns: of the rows, in this order; all by default.

    Raises:
        InvalidRequest: columns that are missing or too many, a null in a key, an append table, an
            unknown column or snapshot, a column named twice.
        BadData: a value does not fit its key column.
        UnsupportedFeature: the table needs what this release does not have.
    """
    scan = open_scan(handle, snapshot_id)
    schema = scan.schema
    checked = checked_columns(columns, scan)
    output = schema.names if checked is None else checked
    wanted = conform_keys(keys, schema)
    needed = [n for n in schema.names if n in {*output, *schema.primary_keys}]
    reader = BucketReader(handle, schema, needed)
    found = [pl.DataFrame(schema=schema.polars).select(needed)]
    for key, files, own in _by_bucket(scan, wanted):
        plan = scan.plan(key, files, FileTests(keys=own))
        found += scan.rows(reader, plan, Sifts(own, own))
    rows = pl.concat(found)
    return rows[pl.Series(_places(rows, wanted, schema))].select(output)


def _places(rows: pl.DataFrame, wanted: pl.DataFrame, schema: TableSchema) -> pl.Series:
    """Places of the rows, in the order of their keys."""
    types = schema.types(schema.primary_keys)
    asked = order_frame(wanted, schema.primary_keys, types).unique(maintain_order=True)
    there = order_frame(rows, schema.primary_keys, types).with_row_index(_PLACE)
    met = asked.join(there, on=asked.columns, how="inner", maintain_order="left")
    return met.get_column(_PLACE)


# --- buckets --------------------------------------------------------------------------------------


def _by_bucket(
    scan: SnapshotScan, wanted: pl.DataFrame
) -> list[tuple[BucketKey, pl.DataFrame, KeySet]]:
    """The buckets that the keys belong to, with their files and the keys of each."""
    schema = scan.schema
    if wanted.height == 0:
        return []
    live = scan.scope(ScanRequest(known=_of_partitions(wanted, schema))).live
    place = ["partition", "bucket", "total_buckets"]
    buckets = live.select(place).unique(maintain_order=True)
    met = buckets.with_columns(_canonical(buckets.get_column("partition"), schema)).join(
        _hashed(wanted, buckets.get_column("total_buckets"), schema),
        on=["canonical", "bucket", "total_buckets"],
        how="inner",
    )
    own = {
        BucketKey(partition, bucket): rows
        for partition, bucket, rows in met.group_by("partition", "bucket")
        .agg(pl.col("row").unique())
        .iter_rows()
    }
    return [
        (key, files, KeySet.of(wanted[pl.Series(own[key])], schema))
        for key, files in each_bucket(live)
        if key in own
    ]


def _of_partitions(wanted: pl.DataFrame, schema: TableSchema) -> pl.Expr | None:
    """True of the keys' partitions, and of few others."""
    each = [pl.col(k).is_in(wanted.get_column(k).unique().implode()) for k in schema.partition_keys]
    return reduce(lambda left, right: left & right, each) if each else None


def _canonical(partitions: pl.Series, schema: TableSchema) -> pl.Series:
    """Partitions in the bytes that desilt gives them; other writers may have others."""
    types = schema.types(schema.partition_keys)
    made = [encode_row(decode_row(p, types), types) for p in partitions.to_list()]
    return pl.Series("canonical", made, dtype=pl.Binary())


def _hashed(wanted: pl.DataFrame, totals: pl.Series, schema: TableSchema) -> pl.DataFrame:
    """Partition and bucket of each key (``row``), for each number of buckets that there is."""
    types = schema.types(schema.bucket_keys)
    partitions = encode_partitions(
        wanted, schema.partition_keys, schema.types(schema.partition_keys)
    )
    rows = pl.Series("row", range(wanted.height), dtype=pl.Int64())
    frames = [
        pl.DataFrame(schema={"canonical": pl.Binary(), "bucket": pl.Int32(), "row": pl.Int64(),
                             "total_buckets": pl.Int32()})
    ]  # fmt: skip
    for total in totals.unique().to_list():
        if total < 1:
            raise UnsupportedFeature("dynamic buckets are not supported", total_buckets=total)
        bucket = bucket_numbers(wanted, schema.bucket_keys, types, total)
        frame = pl.DataFrame([partitions.alias("canonical"), bucket, rows])
        frames.append(frame.with_columns(pl.lit(total, pl.Int32()).alias("total_buckets")))
    return pl.concat(frames)


# --- keys -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class KeySet:
    """Keys of one bucket: which files may hold any, and which rows are theirs.

    ``order``: each key once, ascending, in the form of `order_frame`.
    """

    rule: MergeRule
    order: pl.DataFrame = field(compare=False)
    tree: Tree = field(compare=False)

    @staticmethod
    def of(keys: pl.DataFrame, schema: TableSchema) -> KeySet:
        """
        Args:
            keys: at least the columns of the trimmed primary key.
        """
        rule = MergeRule.of(schema)
        order = order_frame(keys, schema.trimmed_keys, rule.key_types)
        parts = (
            OneOf(Operand(name), keys.get_column(name).unique().sort())
            for name in schema.trimmed_keys
        )
        return KeySet(rule, order.unique().sort(order.columns), All(tuple(parts)))

    @property
    def columns(self) -> Sequence[str]:
        return self.rule.keys

    def files(self, files: Sequence[LsmFile]) -> Mask:
        """Whether a key lies between the smallest and the largest of each file."""
        try:
            lows = self._ends([f.file.min_key for f in files])
            highs = self._ends([f.file.max_key for f in files])
        except UnsupportedFeature:  # keys that no frame can hold: reading will say so
            return np.ones(len(files), dtype=np.bool_)
        return np.array(
            [
                rows_below(self.order, low) < rows_through(self.order, high)
                for low, high in zip(lows.iter_rows(), highs.iter_rows(), strict=True)
            ],
            dtype=np.bool_,
        )

    def _ends(self, keys: Sequence[bytes]) -> pl.DataFrame:
        types = self.rule.key_types
        rows = [decode_row(key, types) for key in keys]
        frame = pl.DataFrame(
            [
                series_from_values(name, [row[i] for row in rows], data_type)
                for i, (name, data_type) in enumerate(zip(self.rule.keys, types, strict=True))
            ]
        )
        return order_frame(frame, self.rule.keys, types)

    def wanted(self, rows: pl.DataFrame) -> Mask:
        """Which rows of a data file have one of the keys."""
        found = np.zeros(rows.height, dtype=np.bool_)
        there = order_frame(rows, self.rule.keys, self.rule.key_types).with_row_index(_PLACE)
        met = there.join(self.order, on=self.order.columns, how="semi")
        found[met.get_column(_PLACE).to_numpy()] = True
        return found
