"""What a keyed rewrite must yield, computed beside it by grouping over hashes of the keys.

The rewrite orders records by key and works on neighbours; here nothing is ordered by key. Records
are put in the order of their sequences alone, and a hash table finds which belong together:

- of engines that choose a record, the last (first) one of a key is the one that stays;
- of engines that make one, each checked column has an aggregate of its own (last, last not null,
  first, sum, …) over the keys without retracts; keys with retracts, and functions without such an
  aggregate, are folded record by record.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import polars as pl

from .compaction_rules import Wrapper
from .datatypes import FLOATS, INTEGERS, to_polars
from .errors import VerificationFailed
from .lsm.order import order_frame, strictly_ascending
from .merge.engine import (
    Aggregation,
    Deduplicate,
    Engine,
    FirstRow,
    PartialUpdate,
    ValueColumn,
    needed_columns,
    only_columns,
)
from .merge.feed import feed_of_rows
from .merge.functions.base import Form
from .merge.reduce import fold_all
from .merge.rule import ADD_KIND, LEVEL, RETRACT_KINDS, MergeRule
from .schema import KIND, SEQUENCE
from .verify import MASK, Hashes, Tally, demand_same, row_hashes, sum_of

Indices = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Merging:
    """How the records of a key are merged in a rewrite.

    ``lookup``: of the levels above 0 only the lowest counts. ``top_level``: the highest level.
    ``compared``: columns whose change makes a change; None: every update is one.
    """

    rule: MergeRule
    engine: Engine
    wrapper: Wrapper = Wrapper.PLAIN
    lookup: bool = False
    top_level: int = 0
    compared: frozenset[str] | None = None


class KeyedExpectation:
    """What the rows and the changes of a rewrite must be.

    ``tally``: of the rows that are written. ``net``: hashes of the rows after less those before,
    over the keys that may have changed.

    Args:
        columns: value columns to compare this turn.
    """

    def __init__(self, merging: Merging, columns: Sequence[str], *, drop_deletes: bool) -> None:
        self.tally = Tally()
        self.net = 0
        self._merging = merging
        self._rule = merging.rule
        self._columns = tuple(columns)
        self._identity = (*self._rule.keys, SEQUENCE, KIND)
        self._values = (*self._rule.keys, *columns)
        self._net_columns = net_columns(merging, columns)
        self._drop = drop_deletes
        engine = only_columns(merging.engine, columns)
        needed = needed_columns(merging.engine, tuple(columns))
        self._engine = only_columns(engine, needed)
        self._needed = tuple(dict.fromkeys((*self._rule.columns, *needed)))
        self._plain = isinstance(merging.engine, Deduplicate) and not (
            merging.engine.ignore_delete or merging.lookup or merging.wrapper is not Wrapper.PLAIN
        )

    def observe(self, frames: Sequence[pl.DataFrame], known: pl.DataFrame | None = None) -> None:
        """One slice: frames of the same key range, each holding a key at most once.

        Args:
            known: keys that are above the output level, for engines that only ask whether.
        """
        frames = [f for f in frames if f.height]
        if not frames:
            return
        if self._plain:
            self._observe_winners(frames)
        else:
            self._observe_merged(frames, known)

    @property
    def rule(self) -> MergeRule:
        return self._rule

    # --- the last record of each key --------------------------------------------------------------

    def _observe_winners(self, frames: Sequence[pl.DataFrame]) -> None:
        """Rows stay where they are: hashes and kinds of the winners are enough."""
        identity = np.concatenate([row_hashes(f, self._identity) for f in frames])
        values = np.concatenate([row_hashes(f, self._values) for f in frames])
        kinds = pl.concat([f.get_column(KIND) for f in frames])
        if len(frames) > 1:
            narrow = pl.concat([f.select(self._rule.columns) for f in frames], how="vertical")
            feed = self._feed(frames, narrow)
            chosen = feed[self._last_of_each(narrow[pl.Series(feed)])]
            identity, values, kinds = identity[chosen], values[chosen], kinds.gather(chosen)
        self._count(kinds, identity, values)

    def _count(self, kinds: pl.Series, identity: Hashes, values: Hashes) -> None:
        if self._drop:
            kept = ~np.isin(kinds.to_numpy(), RETRACT_KINDS)
            identity, values, kinds = identity[kept], values[kept], kinds.filter(pl.Series(kept))
        self.tally.add(kinds, identity, values)

    def _last_of_each(self, rows: pl.DataFrame) -> Mask:
        """A hash set filled from the end: the first one of a key that it sees is the last."""
        key = _key(order_frame(rows, self._rule.keys, self._rule.key_types))
        return key.is_last_distinct().to_numpy()

    def _feed(self, frames: Sequence[pl.DataFrame], narrow: pl.DataFrame) -> Indices:
        """Row positions in feed order, keys aside: the oldest record first.

        Runs whose sequence ranges follow each other need no sort: they are laid end to end.
        """
        if not self._rule.sequence_fields:
            quick = _feed_by_run(frames)
            if quick is not None:
                return quick
        user = order_frame(narrow, self._rule.sequence_fields, self._rule.sequence_types)
        user = user.rename({c: f"_user{c}" for c in user.columns})
        add = (~narrow.get_column(KIND).is_in(RETRACT_KINDS)).alias("_add")
        sequence = pl.concat([user, narrow.select(SEQUENCE), add.to_frame()], how="horizontal")
        descending = [self._rule.descending] * user.width + [False, False]
        by = pl.arg_sort_by(sequence.columns, descending=descending, nulls_last=False)
        return sequence.select(by).to_series().to_numpy().astype(np.int64)

    # --- records made of several ------------------------------------------------------------------

    def _observe_merged(self, frames: Sequence[pl.DataFrame], known: pl.DataFrame | None) -> None:
        names = (*self._needed, LEVEL)
        rows = pl.concat([f.select(names) for f in frames], how="vertical")
        order = order_frame(rows, self._rule.keys, self._rule.key_types)
        feed = self._feed(frames, rows)
        single = ~_key(order).is_duplicated().to_numpy()
        if self._merging.wrapper is Wrapper.PLAIN:
            # Lone records stay where they are: their hashes are enough.
            self._count_where(frames, single)
            feed = feed[~single[feed]]
            single = np.zeros(len(feed), dtype=np.bool_)
        else:
            single = single[feed]
        at = pl.Series(feed)
        rows = pl.concat([rows[at], order[at]], how="horizontal")
        keys = order.columns
        several = rows.filter(pl.Series(~single))
        merged = self._without_lower(several, keys)
        alone = rows.filter(pl.Series(single))
        if self._merging.wrapper in (Wrapper.LOOKUP, Wrapper.FIRST_ROW):
            merged, alone = pl.concat([merged, alone]), alone.clear()
        after = pl.concat([alone.select(self._result), self._made(merged, keys)])
        # What was at the highest level was there, even where it does not count any more.
        were = several if self._merging.wrapper is Wrapper.FULL else merged
        self._observe_changes(pl.concat([alone, were]), after, keys, known)
        if self._merging.wrapper is Wrapper.FIRST_ROW:
            after = self._first_rows(after, merged, keys, known)
        kinds = after.get_column(KIND)
        self._count(kinds, row_hashes(after, self._identity), row_hashes(after, self._values))

    def _count_where(self, frames: Sequence[pl.DataFrame], chosen: Mask) -> None:
        """Count these rows of the frames, laid end to end, as they are."""
        identity = np.concatenate([row_hashes(f, self._identity) for f in frames])
        values = np.concatenate([row_hashes(f, self._values) for f in frames])
        kinds = pl.concat([f.get_column(KIND) for f in frames])
        self._count(kinds.filter(pl.Series(chosen)), identity[chosen], values[chosen])

    @property
    def _result(self) -> tuple[str, ...]:
        """Columns of what is made."""
        order = [f"_order{i}" for i in range(len(self._rule.keys))]
        return tuple(dict.fromkeys((*self._identity, *self._columns, *order)))

    def _without_lower(self, rows: pl.DataFrame, keys: list[str]) -> pl.DataFrame:
        if not self._merging.lookup or rows.height == 0:
            return rows
        above = pl.when(pl.col(LEVEL) > 0).then(pl.col(LEVEL))
        smallest = above.min().over(keys)
        return rows.filter((pl.col(LEVEL) <= 0) | (pl.col(LEVEL) == smallest))

    def _made(self, rows: pl.DataFrame, keys: list[str]) -> pl.DataFrame:
        match self._engine:
            case Deduplicate(ignore_delete=ignored):
                kept = rows.filter(~_retract()) if ignored else rows
                last = kept.unique(keys, keep="last", maintain_order=True)
                return last.select(self._result)
            case FirstRow():
                first = rows.filter(~_retract()).unique(keys, keep="first", maintain_order=True)
                return first.select(self._result)
            case PartialUpdate() | Aggregation():
                return self._aggregated(rows, keys, self._engine)

    def _aggregated(
        self, rows: pl.DataFrame, keys: list[str], engine: PartialUpdate | Aggregation
    ) -> pl.DataFrame:
        checked = [c for c in engine.columns if c.name in self._columns]
        simple = {c.name: _aggregate(c, engine) for c in checked}
        hard = [name for name, made in simple.items() if made is None]
        easy, rest = _without_retracts(rows, keys)
        made = easy.group_by(keys, maintain_order=True).agg(
            *(pl.col(k).last() for k in self._rule.keys),
            pl.col(SEQUENCE).last(),
            pl.lit(ADD_KIND, pl.Int8).alias(KIND),
            *(expression for expression in simple.values() if expression is not None),
        )
        if hard:
            few = engine.only(needed_columns(engine, hard))
            folded = self._folded(easy, few, (*keys, *hard))
            made = made.join(folded, on=keys, how="left", nulls_equal=True)
        made = made.select(self._result)
        if rest.height == 0:
            return made
        return pl.concat([made, self._folded(rest, engine, self._result)])

    def _folded(
        self, rows: pl.DataFrame, engine: PartialUpdate | Aggregation, names: Sequence[str]
    ) -> pl.DataFrame:
        """These columns of each key, record by record."""
        feed = feed_of_rows(rows, self._rule)
        state = fold_all(feed, engine)
        order = [f"_order{i}" for i in range(len(self._rule.keys))]
        keys = feed.rows[pl.Series(feed.last)].select(*self._rule.keys, *order)
        whole = pl.concat([keys, state], how="horizontal")
        return whole.select(pl.col(n).cast(rows.schema[n]) for n in names)

    # --- changes ----------------------------------------------------------------------------------

    def _observe_changes(
        self,
        rows: pl.DataFrame,
        after: pl.DataFrame,
        keys: list[str],
        known: pl.DataFrame | None,
    ) -> None:
        match self._merging.wrapper:
            case Wrapper.PLAIN:
                return
            case Wrapper.LOOKUP:
                fresh = rows.filter(pl.col(LEVEL) == 0).select(keys).unique()
                before = rows.filter((pl.col(LEVEL) > 0) & ~_retract())
                before = before.join(fresh, on=keys, how="semi", nulls_equal=True)
                after = after.join(fresh, on=keys, how="semi", nulls_equal=True)
            case Wrapper.FULL:
                before = rows.filter(pl.col(LEVEL) == self._merging.top_level)
                lone = rows.join(
                    rows.group_by(keys).len().filter(pl.col("len") == 1), on=keys, how="semi"
                ).filter((pl.col(LEVEL) == self._merging.top_level) & _retract())
                # A lone retract at the top is no change, whatever becomes of it.
                before = before.join(lone, on=keys, how="anti")
            case Wrapper.FIRST_ROW:
                before = rows.clear()
                after = self._first_rows(after, rows, keys, known, new_only=True)
        added = row_hashes(after.filter(~_retract()), self._net_columns)
        gone = row_hashes(before, self._net_columns)
        self.net = (self.net + sum_of(added) - sum_of(gone)) & MASK

    def _first_rows(
        self,
        after: pl.DataFrame,
        rows: pl.DataFrame,
        keys: list[str],
        known: pl.DataFrame | None,
        *,
        new_only: bool = False,
    ) -> pl.DataFrame:
        """Without keys above the output level, but with those that an input had above level 0."""
        there = rows.filter((pl.col(LEVEL) > 0) & ~_retract()).select(keys)
        new = after.join(there, on=keys, how="anti")
        if known is not None:
            new = new.join(known.rename(dict(zip(known.columns, keys, strict=True))), on=keys,
                           how="anti")  # fmt: skip
        if new_only:
            return new
        return pl.concat([new, after.join(there, on=keys, how="semi")])


def net_columns(merging: Merging, columns: Sequence[str]) -> tuple[str, ...]:
    """Key and value columns that a changelog is held against: those that make a change."""
    compared = merging.compared
    kept = [c for c in columns if compared is None or c in compared]
    return (*merging.rule.keys, *kept)


def _retract() -> pl.Expr:
    return pl.col(KIND).is_in(RETRACT_KINDS)


def _without_retracts(rows: pl.DataFrame, keys: Sequence[str]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rows of keys that have none, and the others."""
    if not rows.select(_retract().any()).item():
        return rows, rows.clear()
    marked = rows.with_columns(_retract().any().over(keys).alias("\0hard"))
    return marked.filter(~pl.col("\0hard")), marked.filter("\0hard")


def _key(order: pl.DataFrame) -> pl.Series:
    return order.to_series() if order.width == 1 else order.to_struct()


def _aggregate(column: ValueColumn, engine: PartialUpdate | Aggregation) -> pl.Expr | None:
    """The column over the records of a key without retracts; None where there is no such thing."""
    value = pl.col(column.name)
    form = column.function.form if column.function is not None else Form.LAST_NOT_NULL
    if isinstance(engine, PartialUpdate) and column.group is not None:
        return None
    match form:
        case Form.LAST:
            return value.last()
        case Form.LAST_NOT_NULL:
            return value.last(ignore_nulls=True)
        case Form.FIRST:
            return value.first()
        case Form.FIRST_NOT_NULL:
            return value.first(ignore_nulls=True)
        case Form.SUM if column.type.root in INTEGERS:
            total = value.cast(pl.Int64).sum().cast(pl.Int64)
            return (
                pl.when(value.count() > 0)
                .then(total)
                .cast(to_polars(column.type))
                .alias(column.name)
            )
        case Form.MAX | Form.MIN if column.type.root not in FLOATS:
            return value.max() if form is Form.MAX else value.min()
        case _:
            return None


def _feed_by_run(frames: Sequence[pl.DataFrame]) -> Indices | None:
    """Row positions, the rows of older frames first; None where sequence ranges overlap."""
    spans = sorted((*_span(f.get_column(SEQUENCE)), i) for i, f in enumerate(frames))
    if any(left[1] >= right[0] for left, right in pairwise(spans)):
        return None
    starts = np.cumsum([0, *(f.height for f in frames)])
    parts: list[Indices]
    parts = [np.arange(starts[i], starts[i + 1], dtype=np.int64) for _, _, i in spans]
    return np.concatenate(parts)


def _span(sequence: pl.Series) -> tuple[int, int]:
    """Smallest and largest; sequences are never null."""
    numbers = sequence.to_numpy()
    return int(numbers.min()), int(numbers.max())


def check_keyed(
    expected: KeyedExpectation, written: Iterable[pl.DataFrame], columns: Sequence[str]
) -> None:
    """Read the written rows (in file order) and compare.

    Raises:
        VerificationFailed: saying what differs.
    """
    rule = expected.rule
    tally = Tally()
    identity, values = (*rule.keys, SEQUENCE, KIND), (*rule.keys, *columns)
    before: pl.DataFrame | None = None
    for frame in written:
        order = order_frame(frame, rule.keys, rule.key_types)
        joined = order if before is None else pl.concat([before, order])
        if not strictly_ascending(joined):
            raise VerificationFailed("written keys do not ascend", rows=tally.rows)
        before = order.tail(1) if order.height else before
        tally.add(frame.get_column(KIND), row_hashes(frame, identity), row_hashes(frame, values))
    demand_same(expected.tally, tally)


class ChangelogCheck:
    """A changelog as it was handed to its writer, to be held against what the file holds."""

    def __init__(self, merging: Merging, columns: Sequence[str]) -> None:
        self.tally = Tally()
        self._identity = (*merging.rule.keys, SEQUENCE, KIND)
        self._values = (*merging.rule.keys, *columns)
        self._net_columns = net_columns(merging, columns)

    def observe(self, rows: pl.DataFrame) -> None:
        """Rows that are written."""
        self._add(self.tally, rows)

    def _add(self, tally: Tally, rows: pl.DataFrame) -> int:
        """Count them in; their net hash."""
        if rows.height == 0:
            return 0
        kinds = rows.get_column(KIND)
        tally.add(kinds, row_hashes(rows, self._identity), row_hashes(rows, self._values))
        retract = np.isin(kinds.to_numpy(), RETRACT_KINDS)
        hashes = row_hashes(rows, self._net_columns)
        return sum_of(hashes[~retract]) - sum_of(hashes[retract])

    def check(self, written: Iterable[pl.DataFrame], expected: KeyedExpectation) -> None:
        """
        Raises:
            VerificationFailed: the file holds other rows, or they do not lead from what was to
                what is.
        """
        tally, net = Tally(), 0
        for frame in written:
            net += self._add(tally, frame)
        demand_same(self.tally, tally)
        if net & MASK != expected.net:
            raise VerificationFailed("the changelog does not lead to the rows written")
