"""All records of one key range, ordered: by key, and the records of a key as they are fed.

Records are ordered on the narrow key and sequence columns alone; the wide rows stay where they are
and are gathered once, by whoever knows which of them survive.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import polars as pl

from ..lsm.order import order_frame
from ..schema import KIND, SEQUENCE
from .rule import RETRACT_KINDS, MergeRule

Indices = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Feed:
    """``order``: positions in ``rows`` in feed order. Key *g* has those from ``starts[g]`` on.

    ``ends`` is where each key's records end; every key has at least one.
    """

    rows: pl.DataFrame
    order: Indices
    starts: Indices
    ends: Indices

    @property
    def counts(self) -> Indices:
        """Records of each key."""
        return self.ends - self.starts

    @property
    def last(self) -> Indices:
        """Position of each key's newest record."""
        return self.order[self.ends - 1]

    @property
    def first(self) -> Indices:
        """Position of each key's oldest record."""
        return self.order[self.starts]

    def key_of(self, place: int) -> int:
        """The key of the record at this place of the feed."""
        return int(np.searchsorted(self.ends, place, side="right"))

    def column(self, name: str) -> pl.Series:
        """A column in feed order."""
        return self.rows.get_column(name).gather(self.order)

    def of_keys(self, keys: Indices) -> Feed:
        """The records of these keys alone, over the same rows."""
        counts = self.counts[keys]
        ends = np.cumsum(counts)
        starts = ends - counts
        within = np.arange(int(ends[-1]) if len(ends) else 0) - np.repeat(starts, counts)
        return Feed(self.rows, self.order[np.repeat(self.starts[keys], counts) + within],
                    starts, ends)  # fmt: skip

    def where(self, kept: Mask) -> Feed:
        """The records that ``kept`` (in feed order) says; keys that lose all of theirs go too."""
        counts = np.add.reduceat(kept.astype(np.int64), self.starts) if len(self.starts) else (
            np.zeros(0, dtype=np.int64)
        )  # fmt: skip
        counts = counts[counts > 0]
        ends = np.cumsum(counts)
        return Feed(self.rows, self.order[kept], ends - counts, ends)


def feed_of(frames: Sequence[pl.DataFrame], rule: MergeRule) -> Feed:
    """The feed of sorted runs of the same key range, each holding a key at most once.

    Runs whose sequence ranges follow each other need no sequence: they are laid end to end and
    sorted by key, stably.
    """
    present = [f for f in frames if f.height] or list(frames[:1])
    if len(present) == 1:
        count = present[0].height
        order = np.arange(count)
        return Feed(present[0], order, order, order + 1)
    ordered = sorted(present, key=lambda f: _bounds(f.get_column(SEQUENCE)))
    rows = pl.concat(ordered, how="vertical", rechunk=True)
    if not rule.sequence_fields and _sequences_disjoint(ordered):
        orders = [order_frame(f, rule.keys, rule.key_types) for f in ordered]
        keys = pl.concat(orders, how="vertical", rechunk=True)
        return _grouped(rows, keys, _stable_by_key(keys))
    return feed_of_rows(rows, rule)


def feed_of_rows(rows: pl.DataFrame, rule: MergeRule) -> Feed:
    """The feed of rows in any order, keys repeating."""
    narrow = rows.select(rule.columns)
    keys = order_frame(narrow, rule.keys, rule.key_types)
    return _grouped(rows, keys, _by_everything(narrow, keys, rule))


def _bounds(sequence: pl.Series) -> tuple[int, int]:
    return (int(sequence.min() or 0), int(sequence.max() or 0))  # type: ignore[arg-type]  # never null


def _sequences_disjoint(ordered: Sequence[pl.DataFrame]) -> bool:
    bounds = [_bounds(f.get_column(SEQUENCE)) for f in ordered]
    return all(left[1] < right[0] for left, right in pairwise(bounds))


def _stable_by_key(keys: pl.DataFrame) -> Indices:
    first = keys.to_series(0)
    if keys.width == 1 and first.dtype.is_integer() and not first.dtype.is_(pl.Int128()):
        # A stable sort of joined ascending runs merges them; ties keep oldest first.
        return np.argsort(first.to_numpy(), kind="stable").astype(np.int64, copy=False)
    by = pl.arg_sort_by(keys.columns, maintain_order=True)
    return keys.select(by).to_series().to_numpy().astype(np.int64)


def _by_everything(narrow: pl.DataFrame, keys: pl.DataFrame, rule: MergeRule) -> Indices:
    user = order_frame(narrow, rule.sequence_fields, rule.sequence_types)
    user = user.rename({name: f"_user{name}" for name in user.columns})
    add = (~pl.col(KIND).is_in(RETRACT_KINDS)).alias("_add")
    whole = pl.concat([keys, user, narrow.select(SEQUENCE, add)], how="horizontal")
    by = [*keys.columns, *user.columns, SEQUENCE, "_add"]
    descending = [name in user.columns and rule.descending for name in by]
    sorting = pl.arg_sort_by(by, descending=descending, nulls_last=False, maintain_order=True)
    return whole.select(sorting).to_series().to_numpy().astype(np.int64)


def _grouped(rows: pl.DataFrame, keys: pl.DataFrame, order: Indices) -> Feed:
    starts = np.flatnonzero(_first_of_each(keys, order)).astype(np.int64)
    ends = np.append(starts[1:], len(order))[: len(starts)].astype(np.int64)
    return Feed(rows, order, starts, ends)


def _first_of_each(keys: pl.DataFrame, order: Indices) -> Mask:
    """True at the first record of each key, in feed order."""
    first = keys.to_series(0)
    if keys.width == 1 and first.dtype.is_integer() and not first.dtype.is_(pl.Int128()):
        values = first.to_numpy()[order]
        return np.append(np.ones(min(1, len(values)), dtype=np.bool_), values[1:] != values[:-1])
    sorted_keys = keys[pl.Series(order)]
    changes: pl.Expr = pl.lit(value=False)
    for name in sorted_keys.columns:
        changes = changes | pl.col(name).ne_missing(pl.col(name).shift(1))
    found: Mask = sorted_keys.select(changes.alias("first")).to_series().to_numpy().copy()
    if len(found):
        found[0] = True
    return found
