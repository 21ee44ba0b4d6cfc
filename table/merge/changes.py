"""What a rewrite makes of a key range: the rows that stay, and the changelog of what became of
them.

Three ways besides the plain one, each as the tables of maintenance §5 have it:

- *lookup*: of the records above level 0 only the one of the smallest level counts, for it holds all
  below; where no input has one, it was looked up above the output level. Changes are those of keys
  with level-0 records.
- *full*: changes are those against what was at the highest level.
- *first-row*: a key that is there already stays as it is; a new one is a change.

Records carry the level of their file in the column `_LEVEL`.

Reference classes ``LookupChangelogMergeFunctionWrapper``, ``FullChangelogMergeFunctionWrapper``,
``FirstRowMergeFunctionWrapper``, ``LookupMergeFunction``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from ..datatypes import FLOATS, DataType
from ..lsm.order import float_rank
from ..schema import KIND, TableSchema
from .engine import Engine
from .feed import Feed, Indices, Mask
from .reduce import Reduced, reduce_feed
from .rule import (
    ADD_KIND,
    DELETE_KIND,
    LEVEL,
    RETRACT_KINDS,
    UPDATE_AFTER_KIND,
    UPDATE_BEFORE_KIND,
    MergeRule,
)


@dataclass(frozen=True, slots=True)
class Changes:
    """``rows``: what is left of each key, in key order, retracts included.

    ``changelog``: rows with their kinds, in key order, -U before +U.
    """

    rows: pl.DataFrame
    changelog: pl.DataFrame


@dataclass(frozen=True, slots=True)
class Deduplication:
    """Updates that change none of these columns are no changes; None: every update is one."""

    columns: tuple[tuple[str, DataType], ...] | None = None

    @staticmethod
    def of(schema: TableSchema) -> Deduplication:
        options = schema.options
        if not options.row_deduplicate:
            return Deduplication()
        ignored = set(options.row_deduplicate_ignored)
        return Deduplication(
            tuple((f.name, f.type) for f in schema.fields if f.name not in ignored)
        )

    @property
    def names(self) -> frozenset[str] | None:
        """The columns that make a change; None: every update is one."""
        return None if self.columns is None else frozenset(n for n, _ in self.columns)

    def same(self, before: pl.DataFrame, after: pl.DataFrame) -> Mask:
        """Row by row, whether nothing that counts has changed."""
        if self.columns is None:
            return np.zeros(before.height, dtype=np.bool_)
        if not self.columns:
            return np.ones(before.height, dtype=np.bool_)
        equal = [
            _equal(before.get_column(name), after.get_column(name), data_type)
            for name, data_type in self.columns
        ]
        return np.asarray(np.logical_and.reduce(equal), dtype=np.bool_)


def _equal(before: pl.Series, after: pl.Series, data_type: DataType) -> Mask:
    if data_type.root in FLOATS:  # by their bits, as Java compares them: 0.0 is not -0.0
        before, after = (
            s.alias("v").to_frame().select(float_rank(pl.col("v"))).to_series()
            for s in (before, after)
        )
    return before.eq_missing(after).to_numpy()


# --- lookup ---------------------------------------------------------------------------------------


def without_lower(feed: Feed) -> Feed:
    """Of each key's records above level 0 only the one of the smallest level."""
    levels = feed.column(LEVEL).to_numpy()
    above = levels > 0
    if not above.any():
        return feed
    highest = np.iinfo(levels.dtype).max
    smallest = np.minimum.reduceat(np.where(above, levels, highest), feed.starts)
    return feed.where(~above | (levels == np.repeat(smallest, feed.counts)))


def changes_by_lookup(feed: Feed, rule: MergeRule, engine: Engine, same: Deduplication) -> Changes:
    """Level 0 moved up; the feed holds what was looked up.

    Raises:
        BadData: records that the engine must refuse.
    """
    feed = without_lower(feed)
    levels = feed.column(LEVEL).to_numpy()
    before = _position_where(feed, levels > 0)
    fresh = np.logical_or.reduceat(levels == 0, feed.starts)
    none_single = np.zeros(len(feed.starts), dtype=np.bool_)
    after = reduce_feed(feed, rule, engine, single=none_single)
    touched = fresh & after.present
    return Changes(_kept(after), _changelog(feed, before, after, touched, same))


def merged_by_lookup(feed: Feed, rule: MergeRule, engine: Engine) -> Reduced:
    """A merge without level 0, or a read: keys with one record are taken as they are."""
    single = feed.counts == 1
    return reduce_feed(without_lower(feed), rule, engine, single=single)


# --- full compaction ------------------------------------------------------------------------------


def changes_at_top(
    feed: Feed,
    rule: MergeRule,
    engine: Engine,
    same: Deduplication,
    top_level: int,
    *,
    lowest_level: bool = False,
) -> Changes:
    """Everything merged into the highest level.

    Args:
        lowest_level: as `CompactionRules` has it.
    """
    before = _position_where(feed, feed.column(LEVEL).to_numpy() == top_level)
    merge = merged_by_lookup if lowest_level else reduce_feed
    after = merge(feed, rule, engine)
    unchanged = (feed.counts == 1) & (before >= 0)
    touched = ~unchanged & after.present
    return Changes(_kept(after), _changelog(feed, before, after, touched, same, all_add=True))


# --- first-row ------------------------------------------------------------------------------------


def changes_of_first_rows(feed: Feed, rule: MergeRule, engine: Engine, known: Mask) -> Changes:
    """New keys are written and are changes; those above (``known``, by key) are neither."""
    levels = feed.column(LEVEL).to_numpy()
    # A retract that is ignored says nothing of where the key was.
    adds = ~np.isin(feed.column(KIND).to_numpy(), RETRACT_KINDS)
    there = np.logical_or.reduceat((levels > 0) & adds, feed.starts)
    none_single = np.zeros(len(feed.starts), dtype=np.bool_)
    first = reduce_feed(feed, rule, engine, single=none_single)
    kept = first.present & (there | ~known)
    new = kept & ~there
    rows = first.rows.drop(LEVEL)
    return Changes(rows.filter(pl.Series(kept)), rows.filter(pl.Series(new)))


# --- changelog ------------------------------------------------------------------------------------


def _kept(after: Reduced) -> pl.DataFrame:
    rows = after.rows.drop(LEVEL)
    return rows if after.present.all() else rows.filter(pl.Series(after.present))


def _position_where(feed: Feed, wanted: Mask) -> Indices:
    """The position of the record of each key that ``wanted`` says; -1 where there is none."""
    found = np.full(len(feed.starts), -1, dtype=np.int64)
    at = np.flatnonzero(wanted)
    found[np.searchsorted(feed.ends, at, side="right")] = feed.order[at]
    return found


def _changelog(
    feed: Feed,
    before: Indices,
    after: Reduced,
    touched: Mask,
    same: Deduplication,
    *,
    all_add: bool = False,
) -> pl.DataFrame:
    """Rows of the touched keys whose before and after differ.

    Args:
        all_add: what was before counts as an add, whatever its kind.
    """
    kinds = feed.rows.get_column(KIND).to_numpy()
    was = (before >= 0) & (all_add | ~np.isin(kinds[before], RETRACT_KINDS))
    is_ = ~np.isin(after.rows.get_column(KIND).to_numpy(), RETRACT_KINDS) & after.present
    inserted = np.flatnonzero(touched & ~was & is_)
    removed = np.flatnonzero(touched & was & ~is_)
    updated = np.flatnonzero(touched & was & is_)
    if len(updated):
        rows_before = feed.rows[pl.Series(before[updated])]
        rows_after = after.rows[pl.Series(updated)]
        updated = updated[~same.same(rows_before, rows_after)]
    return _interleaved(
        feed.rows,
        after.rows,
        [
            (removed, before[removed], DELETE_KIND),
            (updated, before[updated], UPDATE_BEFORE_KIND),
            (updated, None, UPDATE_AFTER_KIND),
            (inserted, None, ADD_KIND),
        ],
    )


def _interleaved(
    old: pl.DataFrame, new: pl.DataFrame, parts: list[tuple[Indices, Indices | None, int]]
) -> pl.DataFrame:
    """Rows of both frames with new kinds, by key; of one key in the order of the parts.

    Each part names its keys, where their rows are (None: in ``new``, by key), and their kind.
    """
    keys = np.concatenate([part[0] for part in parts])
    frames = [
        (new[pl.Series(keys_)] if positions is None else old[pl.Series(positions)]).with_columns(
            pl.lit(kind, pl.Int8).alias(KIND)
        )
        for keys_, positions, kind in parts
    ]
    whole = pl.concat(frames, how="vertical").drop(LEVEL)
    return whole[pl.Series(np.argsort(keys, kind="stable"))]
