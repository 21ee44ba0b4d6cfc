"""Functions over arrays and maps: ``collect``, ``merge_map``, ``nested_update`` and their kin.

Every one works on all keys at once: elements are laid out one a row beside the number of their key,
worked on as a table, and put together again. The order of elements that come out of Java's hash
maps is undefined there; here it is the order in which they came.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import polars as pl

from ...datatypes import BYTES, STRINGS, DataType, Root, to_polars
from ...errors import UnsupportedFeature
from .base import Plain, Term, misfit

NullKeys = Literal["merge", "ignore", "error"]
LIMIT_MAX = 2**31 - 1


def pairwise(
    acc: pl.Expr,
    new: pl.Expr,
    work: Callable[[pl.Series, pl.Series], pl.Series],
    dtype: pl.DataType,
) -> pl.Expr:
    """An expression that hands both columns, as lists, to ``work``."""

    def both(pair: pl.Series) -> pl.Series:
        left, right = (_as_list(pair.struct.field(n)) for n in ("acc", "new"))
        return work(left, right).cast(dtype)

    return pl.struct(acc.alias("acc"), new.alias("new")).map_batches(both, return_dtype=dtype)


def _as_list(series: pl.Series) -> pl.Series:
    """Maps as lists of their entries."""
    dtype = series.dtype
    if isinstance(dtype, pl.Map):
        entry = pl.Struct({"key": dtype.key, "value": dtype.value})
        return series.cast(pl.List(entry))
    return series


def elements_of(column: pl.Series, side: int) -> pl.DataFrame:
    """Elements with the number of their row, the side they come from, in order."""
    rows = pl.DataFrame({"row": pl.int_range(len(column), dtype=pl.UInt32, eager=True)})
    frame = rows.with_columns(column.alias("element")).filter(pl.col("element").list.len() > 0)
    return frame.explode("element").with_columns(side=pl.lit(side, pl.Int8))


def both_elements(acc: pl.Series, new: pl.Series) -> pl.DataFrame:
    return pl.concat([elements_of(acc, 0), elements_of(new, 1)]).sort("row", maintain_order=True)


def gathered(elements: pl.DataFrame, acc: pl.Series, new: pl.Series) -> pl.Series:
    """Elements as lists again; rows without any are empty, or null where both sides were."""
    lists = elements.group_by("row", maintain_order=True).agg("element")
    rows = pl.DataFrame({"row": pl.int_range(len(acc), dtype=pl.UInt32, eager=True)})
    joined = rows.join(lists, on="row", how="left", maintain_order="left").get_column("element")
    nothing = acc.is_null() & new.is_null()
    empty = pl.Series([[]], dtype=acc.dtype)
    filled = joined.to_frame().select(pl.col("element").cast(acc.dtype).fill_null(pl.lit(empty)))
    return filled.select(pl.when(~pl.lit(nothing)).then(pl.col("element"))).to_series()


@dataclass(frozen=True, slots=True)
class Collect(Plain):
    """Arrays laid end to end; ``distinct``: an element once."""

    data_type: DataType
    distinct: bool = False

    def __post_init__(self) -> None:
        if self.data_type.root is not Root.ARRAY:
            raise misfit("collect", self.data_type)

    def add(self, acc: pl.Expr, new: pl.Expr, flag: pl.Expr | None) -> Term:
        if not self.distinct or self.data_type.element.root in BYTES:
            # Byte arrays are compared by identity in every release: never equal.
            joined = acc.list.concat(new)
            return Term(
                pl.when(acc.is_null()).then(new).when(new.is_null()).then(acc).otherwise(joined)
            )
        return Term(pairwise(acc, new, self._union, to_polars(self.data_type)))

    def add_older(self, acc: pl.Expr, new: pl.Expr, flag: pl.Expr | None) -> Term:
        """What is there stays in front."""
        return self.add(acc, new, flag)

    def retract(self, acc: pl.Expr, new: pl.Expr) -> Term:
        return Term(pairwise(acc, new, _without_each, to_polars(self.data_type)))

    def _union(self, acc: pl.Series, new: pl.Series) -> pl.Series:
        elements = both_elements(acc, new)
        if not self.data_type.element.nested:
            kept = elements.unique(["row", "element"], keep="first", maintain_order=True)
        else:
            # Java takes the accumulator as it is: it was made distinct when it came in.
            old = elements.filter(pl.col("side") == 0)
            fresh = (
                elements.filter(pl.col("side") == 1)
                .unique(["row", "element"], keep="first", maintain_order=True)
                .join(
                    old, on=["row", "element"], how="anti", nulls_equal=True, maintain_order="left"
                )
            )
            kept = pl.concat([old, fresh]).sort("row", maintain_order=True)
        return gathered(kept, acc, new)


def _without_each(acc: pl.Series, gone: pl.Series) -> pl.Series:
    """``acc`` without one occurrence of each element of ``gone``; null stays null."""
    number = pl.int_range(pl.len()).over("row", "element").alias("number")
    left = elements_of(acc, 0).with_columns(number)
    right = elements_of(gone, 1).with_columns(number)
    kept = left.join(
        right, on=["row", "element", "number"], how="anti", nulls_equal=True, maintain_order="left"
    )
    result = gathered(kept, acc, acc)
    untouched = gone.is_null() | (gone.list.len() == 0)
    return pl.select(pl.when(pl.lit(untouched)).then(pl.lit(acc)).otherwise(result)).to_series()


@dataclass(frozen=True, slots=True)
class MergeMap(Plain):
    """Maps united, the new value of a key wins; taking back removes keys."""

    data_type: DataType

    def __post_init__(self) -> None:
        _check_map("merge_map", self.data_type)

    def add(self, acc: pl.Expr, new: pl.Expr, flag: pl.Expr | None) -> Term:
        united = pairwise(acc, new, _united, to_polars(self.data_type))
        return Term(
            pl.when(acc.is_null()).then(new).when(new.is_null()).then(acc).otherwise(united)
        )

    def retract(self, acc: pl.Expr, new: pl.Expr) -> Term:
        rest = pairwise(acc, new, _without_keys, to_polars(self.data_type))
        return Term(pl.when(acc.is_null() | new.is_null()).then(acc).otherwise(rest))


def _check_map(name: str, data_type: DataType) -> None:
    if data_type.root is not Root.MAP:
        raise misfit(name, data_type)
    if data_type.key.root in BYTES:
        # Java's hash map compares byte arrays by identity, which makes a map with a key twice.
        raise UnsupportedFeature(
            "maps with keys of bytes are not merged", function=name, type=str(data_type)
        )


_KEY = pl.col("element").struct.field("key").alias("key")


def _united(acc: pl.Series, new: pl.Series) -> pl.Series:
    entries = both_elements(acc, new).with_columns(_KEY)
    return gathered(entries.unique(["row", "key"], keep="last", maintain_order=True), acc, new)


def _without_keys(acc: pl.Series, gone: pl.Series) -> pl.Series:
    kept = (
        elements_of(acc, 0)
        .with_columns(_KEY)
        .join(
            elements_of(gone, 1).with_columns(_KEY),
            on=["row", "key"],
            how="anti",
            nulls_equal=True,
            maintain_order="left",
        )
    )
    return gathered(kept, acc, acc)


@dataclass(frozen=True, slots=True)
class MergeMapByTime(Plain):
    """``merge_map_with_keytime``: of each key the value whose time text is the largest."""

    data_type: DataType
    time_field: str

    def __post_init__(self) -> None:
        _check_map("merge_map_with_keytime", self.data_type)
        value = self.data_type.value
        fields = {f.name: f.type for f in value.parts} if value.root is Root.ROW else {}
        if len(fields) < 2 or self.time_field not in fields:
            raise misfit("merge_map_with_keytime", self.data_type)
        if fields[self.time_field].root not in STRINGS:
            raise misfit("merge_map_with_keytime", fields[self.time_field])

    def add(self, acc: pl.Expr, new: pl.Expr, flag: pl.Expr | None) -> Term:
        newest = pairwise(acc, new, self._newest, to_polars(self.data_type))
        return Term(
            pl.when(acc.is_null()).then(new).when(new.is_null()).then(acc).otherwise(newest)
        )

    def _newest(self, acc: pl.Series, new: pl.Series) -> pl.Series:
        value = pl.col("element").struct.field("value")
        time = value.struct.field(self.time_field)
        columns = (_KEY, value.is_null().alias("removed"), time.alias("time"))
        old = elements_of(acc, 0).with_columns(*columns)
        young = elements_of(new, 1).with_columns(*columns)
        pairs = young.join(
            old.select("row", "key", "removed", "time"),
            on=["row", "key"],
            how="left",
            nulls_equal=True,
            suffix="_old",
            maintain_order="left",
        )
        nothing_there = pl.col("removed_old").fill_null(value=True) | pl.col("time_old").is_null()
        later = nothing_there | (pl.col("time") > pl.col("time_old"))
        put = pairs.filter(~pl.col("removed") & pl.col("time").is_not_null() & later)
        touched = pl.concat([pairs.filter("removed"), put]).select("row", "key")
        kept = old.join(
            touched, on=["row", "key"], how="anti", nulls_equal=True, maintain_order="left"
        )
        whole = pl.concat([kept.select("row", "element"), put.select("row", "element")])
        return gathered(whole.sort("row", maintain_order=True), acc, new)


@dataclass(frozen=True, slots=True)
class Nested:
    """Options of the functions over arrays of rows."""

    keys: tuple[str, ...] = ()
    sequence: tuple[str, ...] = ()
    limit: int = LIMIT_MAX
    null_keys: NullKeys = "merge"


def check_rows(name: str, data_type: DataType, wanted: Sequence[str]) -> None:
    """An array of rows that have these fields.

    Raises:
        UnsupportedFeature: it is none, or a field is missing.
    """
    if data_type.root is not Root.ARRAY or data_type.element.root is not Root.ROW:
        raise misfit(name, data_type)
    known = {f.name for f in data_type.element.parts}
    for field in wanted:
        if field not in known:
            raise UnsupportedFeature("no such field in the rows", function=name, field=field)
