"""Functions over arrays of rows, a table inside a column: ``nested_update`` and
``nested_partial_update``."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from ...datatypes import DataType, to_polars
from ...errors import UnsupportedFeature
from .base import Plain, Term
from .nested import LIMIT_MAX, Nested, both_elements, check_rows, elements_of, gathered, pairwise


def _key(options: Nested) -> pl.Expr:
    fields = [pl.col("element").struct.field(k) for k in options.keys]
    return pl.struct(fields).alias("key")


def _null_key(options: Nested, array: pl.Expr) -> pl.Expr:
    """True where an element that is there has a null in its key."""
    element = pl.element()
    nulls = pl.any_horizontal([element.struct.field(k).is_null() for k in options.keys])
    return array.list.eval(element.is_not_null() & nulls).list.any().fill_null(value=False)


def _refusal(options: Nested, acc: pl.Expr, new: pl.Expr) -> pl.Expr | None:
    if options.null_keys != "error" or not options.keys:
        return None
    return _null_key(options, acc) | _null_key(options, new)


_WHY = "a nested key holds nulls"


@dataclass(frozen=True, slots=True)
class NestedUpdate(Plain):
    """Rows added behind those there, or, with a nested key, put in place of those with that key."""

    data_type: DataType
    options: Nested

    def __post_init__(self) -> None:
        check_rows("nested_update", self.data_type, (*self.options.keys, *self.options.sequence))
        if self.options.sequence and not self.options.keys:
            raise UnsupportedFeature("nested-sequence-field needs a nested-key")

    def add(self, acc: pl.Expr, new: pl.Expr, flag: pl.Expr | None) -> Term:
        work = self._upserted if self.options.keys else self._appended
        changed = pairwise(acc, new, work, to_polars(self.data_type))
        if not self.options.keys:
            full = acc.list.len() >= self.options.limit
            changed = pl.when(full.fill_null(value=False)).then(acc).otherwise(changed)
        value = pl.when(new.is_null()).then(acc).otherwise(changed)
        bad = _refusal(self.options, acc, new)
        return Term(value, None if bad is None else new.is_not_null() & bad, _WHY)

    def retract(self, acc: pl.Expr, new: pl.Expr) -> Term:
        work = self._without_keys if self.options.keys else _without_equal
        nothing = acc.is_null() | new.is_null()
        rest = pairwise(acc, new, work, to_polars(self.data_type))
        bad = _refusal(self.options, acc, new)
        value = pl.when(nothing).then(acc).otherwise(rest)
        return Term(value, None if bad is None else ~nothing & bad, _WHY)

    def _appended(self, acc: pl.Series, new: pl.Series) -> pl.Series:
        """Rows that are not null, the new ones up to the limit (nulls in ``acc`` count too)."""
        elements = both_elements(acc, new).filter(pl.col("element").is_not_null())
        room = self.options.limit - acc.list.len().cast(pl.Int64).fill_null(0)
        place = pl.int_range(pl.len()).over("row", "side")
        rooms = pl.lit(room).gather(pl.col("row"))
        kept = elements.filter((pl.col("side") == 0) | (place < rooms))
        return gathered(kept, acc, new)

    def _keyed(self, elements: pl.DataFrame) -> pl.DataFrame:
        keyed = elements.filter(pl.col("element").is_not_null()).with_columns(_key(self.options))
        if self.options.null_keys != "ignore":
            return keyed
        keys = [pl.col("key").struct.field(k).is_not_null() for k in self.options.keys]
        return keyed.filter(pl.all_horizontal(keys))

    def _upserted(self, acc: pl.Series, new: pl.Series) -> pl.Series:
        elements = self._keyed(both_elements(acc, new))
        admitted = self._admitted(elements)
        kept = admitted.unique(["row", "key"], keep="last", maintain_order=True)
        if self.options.sequence:
            fields = [
                pl.col("element").struct.field(f).alias(f"sequence{i}")
                for i, f in enumerate(self.options.sequence)
            ]
            ordered = admitted.with_row_index("place").with_columns(fields)
            by = [f"sequence{i}" for i in range(len(fields))]
            # Of equals the later one; nulls are the smallest.
            ordered = ordered.sort([*by, "place"], nulls_last=False)
            last = ordered.unique(["row", "key"], keep="last", maintain_order=True)
            kept = last.sort("place").drop("place", *by)
        return gathered(kept.sort("row", maintain_order=True), acc, new)

    def _admitted(self, elements: pl.DataFrame) -> pl.DataFrame:
        """Without new keys that the limit keeps out; they are counted in the order they come."""
        if self.options.limit == LIMIT_MAX:
            return elements
        keys = elements.unique(["row", "key"], keep="first", maintain_order=True)
        old = (pl.col("side") == 0).sum().over("row")
        number = pl.int_range(pl.len()).over("row", "side")
        inside = (pl.col("side") == 0) | (old + number < self.options.limit)
        allowed = keys.filter(inside).select("row", "key")
        return elements.join(
            allowed, on=["row", "key"], how="semi", nulls_equal=True, maintain_order="left"
        )

    def _without_keys(self, acc: pl.Series, gone: pl.Series) -> pl.Series:
        old = self._keyed(elements_of(acc, 0))
        old = old.unique(["row", "key"], keep="last", maintain_order=True)
        removed = self._keyed(elements_of(gone, 1)).select("row", "key")
        kept = old.join(
            removed, on=["row", "key"], how="anti", nulls_equal=True, maintain_order="left"
        )
        return gathered(kept, acc, acc)


def _without_equal(acc: pl.Series, gone: pl.Series) -> pl.Series:
    """Without every row that equals one of ``gone``; nulls go too."""
    kept = (
        elements_of(acc, 0)
        .filter(pl.col("element").is_not_null())
        .join(
            elements_of(gone, 1).filter(pl.col("element").is_not_null()),
            on=["row", "element"],
            how="anti",
            nulls_equal=True,
            maintain_order="left",
        )
    )
    return gathered(kept, acc, acc)


@dataclass(frozen=True, slots=True)
class NestedPartialUpdate(Plain):
    """Rows with a nested key, each laid field by field over the one with its key."""

    data_type: DataType
    options: Nested

    def __post_init__(self) -> None:
        if not self.options.keys:
            raise UnsupportedFeature("nested_partial_update needs a nested-key")
        check_rows("nested_partial_update", self.data_type, self.options.keys)

    def add(self, acc: pl.Expr, new: pl.Expr, flag: pl.Expr | None) -> Term:
        overlaid = pairwise(acc, new, self._overlaid, to_polars(self.data_type))
        value = pl.when(new.is_null()).then(acc).otherwise(overlaid)
        bad = _refusal(self.options, acc, new)
        return Term(value, None if bad is None else new.is_not_null() & bad, _WHY)

    def _overlaid(self, acc: pl.Series, new: pl.Series) -> pl.Series:
        elements = both_elements(acc, new).filter(pl.col("element").is_not_null())
        elements = elements.with_columns(_key(self.options))
        if self.options.null_keys == "ignore":
            keys = [pl.col("key").struct.field(k).is_not_null() for k in self.options.keys]
            elements = elements.filter(pl.all_horizontal(keys))
        names = [f.name for f in self.data_type.element.parts]
        fields = [
            pl.col("element").struct.field(n).drop_nulls().last().alias(f"field{i}")
            for i, n in enumerate(names)
        ]
        rows = elements.group_by("row", "key", maintain_order=True).agg(fields)
        whole = pl.struct([pl.col(f"field{i}").alias(n) for i, n in enumerate(names)])
        return gathered(rows.select("row", element=whole), acc, new)
