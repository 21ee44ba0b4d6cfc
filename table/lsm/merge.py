"""The `deduplicate` merge: of all records of a key, the last one in feed order.

Frames in, frame out; rows are never touched one by one. Records are ordered on the narrow key and
sequence columns alone; the wide rows are gathered once, winners only.

Feed order: key, then the user's sequence fields (null smallest, in both directions), then
`_SEQUENCE_NUMBER`, then retracts before adds.

Spec: maintenance §4.1, §4.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import polars as pl

from ..datatypes import DataType
from ..schema import KEY_PREFIX, KIND, SEQUENCE, TableSchema
from .order import order_frame

Indices = npt.NDArray[np.int64]

RETRACT_KINDS = (1, 3)
"""-U and -D."""


@dataclass(frozen=True, slots=True)
class MergeRule:
    """What decides between records of one key; column names are those of the frames merged."""

    keys: tuple[str, ...]
    key_types: tuple[DataType, ...]
    sequence_fields: tuple[str, ...] = ()
    sequence_types: tuple[DataType, ...] = ()
    descending: bool = False

    @staticmethod
    def of(schema: TableSchema) -> MergeRule:
        options = schema.options
        fields = options.sequence_fields
        return MergeRule(
            tuple(KEY_PREFIX + k for k in schema.trimmed_keys),
            schema.types(schema.trimmed_keys),
            fields,
            schema.types(fields),
            options.sequence_descending,
        )

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns the rule looks at, each once."""
        return tuple(dict.fromkeys((*self.keys, SEQUENCE, KIND, *self.sequence_fields)))


def merge(frames: Sequence[pl.DataFrame], rule: MergeRule, *, drop_deletes: bool) -> pl.DataFrame:
    """Winners in key order.

    Args:
        frames: sorted runs of the same key range, each holding a key at most once.
        drop_deletes: leave out keys whose winner is a retract.
    """
    present = [f for f in frames if f.height]
    if len(present) <= 1:
        merged = present[0] if present else frames[0]
        return _without_retracts(merged) if drop_deletes else merged
    ordered = _oldest_first(present)
    if not rule.sequence_fields and _sequences_disjoint(ordered):
        winners = _by_age(ordered, rule)
    else:
        winners = _by_sequence(ordered, rule)
    everything = pl.concat(ordered, how="vertical", rechunk=True)
    if drop_deletes:
        kinds = everything.get_column(KIND).gather(winners)
        winners = winners[~np.isin(kinds.to_numpy(), RETRACT_KINDS)]
    return everything[pl.Series(winners)]


def _without_retracts(frame: pl.DataFrame) -> pl.DataFrame:
    retract = pl.col(KIND).is_in(RETRACT_KINDS)
    return frame.filter(~retract)


def _oldest_first(frames: Sequence[pl.DataFrame]) -> list[pl.DataFrame]:
    return sorted(frames, key=lambda f: _bounds(f.get_column(SEQUENCE)))


def _bounds(sequence: pl.Series) -> tuple[int, int]:
    return (int(sequence.min() or 0), int(sequence.max() or 0))  # type: ignore[arg-type]  # never null


def _sequences_disjoint(ordered: Sequence[pl.DataFrame]) -> bool:
    bounds = [_bounds(f.get_column(SEQUENCE)) for f in ordered]
    return all(left[1] < right[0] for left, right in pairwise(bounds))


def _by_age(ordered: Sequence[pl.DataFrame], rule: MergeRule) -> Indices:
    """Winners when each frame is wholly newer than the one before: the last position of a key."""
    orders = [order_frame(f, rule.keys, rule.key_types) for f in ordered]
    order = pl.concat(orders, how="vertical", rechunk=True)
    first = order.to_series(0)
    if order.width == 1 and first.dtype.is_integer() and not first.dtype.is_(pl.Int128()):
        values = first.to_numpy()
        # A stable sort of joined ascending runs merges them; ties keep oldest first.
        sorting = np.argsort(values, kind="stable")
        keys = values[sorting]
        last = np.append(keys[1:] != keys[:-1], True)
        return np.asarray(sorting[last], dtype=np.int64)
    by = order.select(pl.arg_sort_by(order.columns, maintain_order=True)).to_series()
    return _last_of_each(order, by)


def _by_sequence(ordered: Sequence[pl.DataFrame], rule: MergeRule) -> Indices:
    """Winners by the full feed order."""
    narrow = pl.concat([f.select(rule.columns) for f in ordered], how="vertical", rechunk=True)
    order = order_frame(narrow, rule.keys, rule.key_types)
    sorting = feed_order(narrow, order, rule)
    return _last_of_each(order, sorting)


def last_of_each_key(rows: pl.DataFrame, rule: MergeRule) -> pl.DataFrame:
    """Rows in any order, keys repeating, as winners in key order (what a write buffer does)."""
    narrow = rows.select(rule.columns)
    order = order_frame(narrow, rule.keys, rule.key_types)
    return rows[pl.Series(_last_of_each(order, feed_order(narrow, order, rule)))]


def feed_order(narrow: pl.DataFrame, order: pl.DataFrame, rule: MergeRule) -> pl.Series:
    """Row positions of ``narrow`` in feed order (keys first)."""
    user = order_frame(narrow, rule.sequence_fields, rule.sequence_types)
    user = user.rename({name: f"_user{name}" for name in user.columns})
    whole = pl.concat(
        [order, user, narrow.select(SEQUENCE, (~pl.col(KIND).is_in(RETRACT_KINDS)).alias("_add"))],
        how="horizontal",
    )
    by = [*order.columns, *user.columns, SEQUENCE, "_add"]
    descending = [name in user.columns and rule.descending for name in by]
    sorting = pl.arg_sort_by(by, descending=descending, nulls_last=False, maintain_order=True)
    return whole.select(sorting).to_series()


def _last_of_each(order: pl.DataFrame, sorting: pl.Series) -> Indices:
    """Positions of the last row of each key, in key order."""
    keys = order[sorting]
    changes: pl.Expr = pl.lit(value=False)
    for name in keys.columns:
        changes = changes | pl.col(name).ne_missing(pl.col(name).shift(-1))
    last = keys.select(changes.alias("last")).to_series().to_numpy().copy()
    if len(last):
        last[-1] = True
    return np.asarray(sorting.to_numpy()[last], dtype=np.int64)
