"""Which partitions a predicate leaves, by manifest and by entry.

Spec: format §4.2 (``_PARTITION_STATS``), §5.1; reference class ``ManifestsReader``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl

from .errors import CorruptTable, UnsupportedFeature
from .file_stats import ColumnBounds
from .manifest.codec import ManifestMeta
from .predicate.bounds import BoundsFrame, may_match
from .row import decode_row, series_from_values
from .scan_filter import ScanFilter, together, tree_of
from .schema import TableSchema


class FilteredPartitions:
    """The partitions that pass the conjuncts which look at partition columns alone."""

    def __init__(self, schema: TableSchema, given: ScanFilter) -> None:
        self._keys = schema.partition_keys
        self._types = schema.types(self._keys)
        self._predicate = together(given.on_partitions)
        self._tree = tree_of(given.on_partitions)
        self._passed: dict[bytes, bool] = {}

    def manifests(self, metas: Sequence[ManifestMeta]) -> Sequence[bool]:
        """Which manifests may hold entries of such partitions."""
        if self._predicate is None:
            return [True] * len(metas)
        bounds = BoundsFrame.of(
            [self._bounds(m) for m in metas],
            [m.added_files + m.deleted_files for m in metas],
            dict(zip(self._keys, self._types, strict=True)),
            nan_hides=True,
        )
        return [bool(yes) for yes in may_match(self._tree, bounds)]

    def _bounds(self, meta: ManifestMeta) -> Mapping[str, ColumnBounds]:
        """Nothing where the statistics are not those of these columns."""
        stats, keys = meta.partition_stats, self._keys
        try:
            lows = decode_row(stats.min_values, self._types)
            highs = decode_row(stats.max_values, self._types)
        except CorruptTable:
            return {}
        counts = stats.null_counts or ()
        nulls = counts if len(counts) == len(keys) else (None,) * len(keys)
        return {
            k: ColumnBounds(low, high, count)
            for k, low, high, count in zip(keys, lows, highs, nulls, strict=True)
        }

    def entries(self, entries: pl.DataFrame) -> pl.DataFrame:
        """The entries of partitions that pass."""
        if self._predicate is None or entries.height == 0:
            return entries
        partitions = entries.get_column("partition").unique()
        self._decide([p for p in partitions.to_list() if p not in self._passed], self._predicate)
        passed = pl.Series([p for p in partitions.to_list() if self._passed[p]], dtype=pl.Binary())
        if len(passed) == len(partitions):
            return entries
        return entries.filter(pl.col("partition").is_in(passed.implode()))

    def _decide(self, partitions: Sequence[bytes], predicate: pl.Expr) -> None:
        if not partitions:
            return
        passed = set(range(len(partitions)))
        try:
            frame = self._decoded(partitions)
            passed = set(frame.filter(predicate)["\0row"].to_list())
        except (pl.exceptions.PolarsError, UnsupportedFeature):
            pass  # the rows of each will have to say
        self._passed |= {p: i in passed for i, p in enumerate(partitions)}

    def _decoded(self, partitions: Sequence[bytes]) -> pl.DataFrame:
        rows = [decode_row(p, self._types) for p in partitions]
        columns = [
            series_from_values(key, [row[i] for row in rows], data_type)
            for i, (key, data_type) in enumerate(zip(self._keys, self._types, strict=True))
        ]
        return pl.DataFrame(columns).with_columns(
            pl.Series("\0row", range(len(partitions)), dtype=pl.Int64())
        )
