"""``listagg``: text joined with a delimiter."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from ...datatypes import MAX_LENGTH, DataType, Root
from ...errors import UnsupportedFeature
from ...partition import WHITE
from .base import Plain, Term, misfit

_BLANKS = "".join(sorted(WHITE))


def is_blank(text: pl.Expr) -> pl.Expr:
    """True for text of nothing but what Java calls white space; null for null."""
    return text.str.strip_chars(_BLANKS) == ""


@dataclass(frozen=True, slots=True)
class ListAgg(Plain):
    """Blank text and null are not there at all; ``distinct`` adds only tokens that are new."""

    data_type: DataType
    delimiter: str = ","
    distinct: bool = False

    def __post_init__(self) -> None:
        if self.data_type.root is not Root.VARCHAR or self.data_type.length != MAX_LENGTH:
            raise misfit("listagg", self.data_type)
        if self.distinct and not self.delimiter:
            raise UnsupportedFeature("listagg distinct needs a delimiter", function="listagg")

    def add(self, acc: pl.Expr, new: pl.Expr, flag: pl.Expr | None) -> Term:
        nothing_new = new.is_null() | is_blank(new)
        nothing_yet = acc.is_null() | is_blank(acc)
        joined = self._new_tokens(acc, new) if self.distinct else acc + self.delimiter + new
        return Term(pl.when(nothing_new).then(acc).when(nothing_yet).then(new).otherwise(joined))

    def _new_tokens(self, acc: pl.Expr, new: pl.Expr) -> pl.Expr:
        both = pl.struct(acc.alias("acc"), new.alias("new"))
        return both.map_batches(self._append, return_dtype=pl.String)

    def _append(self, both: pl.Series) -> pl.Series:
        """The accumulator and, behind it, each token that it does not hold, once."""
        rows = both.struct.unnest().with_row_index("row")
        old, new = self._tokens(rows, "acc"), self._tokens(rows, "new")
        fresh = (
            new.filter(~is_blank(pl.col("token")))
            .unique(["row", "token"], keep="first", maintain_order=True)
            .join(old, on=["row", "token"], how="anti", maintain_order="left")
        )
        added = fresh.group_by("row").agg(pl.col("token").str.join(self.delimiter))
        joined = rows.join(added, on="row", how="left", maintain_order="left")
        behind = (self.delimiter + pl.col("token")).fill_null("")
        return joined.select(pl.col("acc") + behind).to_series()

    def _tokens(self, rows: pl.DataFrame, name: str) -> pl.DataFrame:
        split = pl.col(name).str.split(self.delimiter)
        return rows.select("row", token=split).explode("token").drop_nulls("token")
