"""``rbm32`` and ``rbm64``: roaring bitmaps united."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from ...datatypes import DataType, Root
from ...roaring import union_rbm32, union_rbm64
from .base import Plain, Term, misfit, not_null


@dataclass(frozen=True, slots=True)
class BitmapUnion(Plain):
    """Values are serialized bitmaps; what is no bitmap is refused as bad data."""

    data_type: DataType
    wide: bool

    def __post_init__(self) -> None:
        if self.data_type.root is not Root.VARBINARY:
            raise misfit("rbm64" if self.wide else "rbm32", self.data_type)

    def add(self, acc: pl.Expr, new: pl.Expr, flag: pl.Expr | None) -> Term:
        pair = pl.struct(acc.alias("acc"), new.alias("new"))
        return Term(not_null(acc, new, pair.map_batches(self._united, return_dtype=pl.Binary)))

    def _united(self, pair: pl.Series) -> pl.Series:
        """United where both are there; elsewhere null."""
        both = pair.struct.unnest().with_row_index("row")
        there = both.drop_nulls()
        union = union_rbm64 if self.wide else union_rbm32
        united = union(there.get_column("acc"), there.get_column("new"))
        found = there.select("row", united.alias("united"))
        return both.join(found, on="row", how="left", maintain_order="left").get_column("united")
