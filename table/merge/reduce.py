"""One record of each key's records, for a whole key range at once.

Keys with a single record are not merged at all: kind, sequence and values are taken as they are
(Paimon's reducer does the same). Of the others, keys without retracts go by closed forms where
their columns have them; the rest is folded. Every column is then gathered once.

Spec: maintenance §4.1 (single-record bypass), §4.2–4.5.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from ..datatypes import Root
from ..errors import BadData
from ..schema import KIND, SEQUENCE
from .aggregation import AggregationProgram
from .closed import CHOOSING, chosen, computed, computes
from .decimal_columns import from_unscaled
from .engine import (
    Aggregation,
    Deduplicate,
    Engine,
    FirstRow,
    PartialUpdate,
    ValueColumn,
    only_columns,
)
from .feed import Feed, Indices, Mask, feed_of, feed_of_rows
from .fold import DELETED, INSERTED, BadRecord, Check, Program, bad_data, fold
from .functions.base import Form
from .partial_update import NULL_REFUSED, PartialUpdateProgram
from .rule import ADD_KIND, DELETE_KIND, RETRACT_KINDS, MergeRule

_Positions = npt.NDArray[np.uint32]
NO_RETRACTS = "first-row takes no deletes: set ignore-delete"


@dataclass(frozen=True, slots=True)
class Reduced:
    """One row for each key of a feed, in key order; ``present`` is false where nothing is left."""

    rows: pl.DataFrame
    present: Mask

    def kept(self, *, drop_deletes: bool) -> pl.DataFrame:
        """What is left, without retracts if so asked."""
        keep = self.present
        if drop_deletes:
            kinds = self.rows.get_column(KIND).to_numpy()
            keep = keep & ~np.isin(kinds, RETRACT_KINDS)
        return self.rows if keep.all() else self.rows.filter(pl.Series(keep))


def merge(
    frames: Sequence[pl.DataFrame], rule: MergeRule, engine: Engine, *, drop_deletes: bool
) -> pl.DataFrame:
    """What is left of each key, in key order.

    Args:
        frames: sorted runs of the same key range, each holding a key at most once.
        drop_deletes: leave out keys whose result is a retract.

    Raises:
        BadData: records that the engine must refuse, with their key.
    """
    return reduce_feed(feed_of(frames, rule), rule, engine).kept(drop_deletes=drop_deletes)


def merge_rows(rows: pl.DataFrame, rule: MergeRule, engine: Engine) -> pl.DataFrame:
    """Rows in any order, keys repeating, as one row a key (what a write buffer does)."""
    return reduce_feed(feed_of_rows(rows, rule), rule, engine).kept(drop_deletes=False)


def reduce_feed(
    feed: Feed, rule: MergeRule, engine: Engine, *, single: Mask | None = None
) -> Reduced:
    """One row for each key of the feed.

    Args:
        single: keys whose only record is taken as it is; by default those with one record.
    """
    lone: Mask = feed.counts == 1 if single is None else single
    match engine:
        case Deduplicate():
            return _deduplicated(feed, engine, lone)
        case FirstRow():
            return _first_rows(feed, rule, engine, lone)
        case PartialUpdate() | Aggregation():
            try:
                return _combined(feed, engine, lone)
            except BadRecord as error:
                raise bad_data(error, key_text(feed, rule, error.key)) from error


def key_text(feed: Feed, rule: MergeRule, key: int) -> str:
    """A key's values, for messages."""
    row = feed.rows.select(rule.keys).row(int(feed.first[key]))
    return ",".join(str(value) for value in row)


# --- engines that choose a record -----------------------------------------------------------------


def _deduplicated(feed: Feed, engine: Deduplicate, single: Mask) -> Reduced:
    last = feed.last
    present = np.ones(len(last), dtype=np.bool_)
    if engine.ignore_delete:
        adds = _adds(feed)
        last, present = _last_where(feed, adds | _of_records(feed, single))
    return Reduced(_gather(feed.rows, last), present)


def _first_rows(feed: Feed, rule: MergeRule, engine: FirstRow, single: Mask) -> Reduced:
    adds = _adds(feed)
    counted = adds | _of_records(feed, single)
    if not engine.ignore_delete and not counted.all():
        key = feed.key_of(int(np.argmin(counted)))
        raise BadData(NO_RETRACTS, key=key_text(feed, rule, key))
    there = np.flatnonzero(counted)
    at = np.searchsorted(there, feed.starts)
    place = np.append(there, len(feed.order))[at]
    present = place < feed.ends
    first = np.where(present, feed.order[np.where(present, place, 0)], feed.first)
    return Reduced(_gather(feed.rows, first), present)


def _last_where(feed: Feed, counted: Mask) -> tuple[Indices, Mask]:
    """The newest record of each key that counts, and whether there is one."""
    there = np.flatnonzero(counted)
    place = np.concatenate(([-1], there))[np.searchsorted(there, feed.ends)]
    present = place >= feed.starts
    return np.where(present, feed.order[np.where(present, place, 0)], feed.last), present


def _adds(feed: Feed) -> Mask:
    """Records that are no retracts, in feed order."""
    return ~np.isin(feed.column(KIND).to_numpy(), RETRACT_KINDS)


def _of_records(feed: Feed, keys: Mask) -> Mask:
    """A mask over keys as one over records."""
    return np.repeat(keys, feed.counts)


def _gather(rows: pl.DataFrame, positions: Indices) -> pl.DataFrame:
    return rows[pl.Series(positions)]


# --- engines that make a record -------------------------------------------------------------------


def _combined(feed: Feed, engine: PartialUpdate | Aggregation, single: Mask) -> Reduced:
    merged = np.flatnonzero(~single)
    present = np.ones(len(feed.starts), dtype=np.bool_)
    if len(merged) == 0:
        return Reduced(_gather(feed.rows, feed.last), present)
    part = feed if len(merged) == len(single) else feed.of_keys(merged)
    retract = np.logical_or.reduceat(~_adds(part), part.starts)
    result = _Result(feed, merged)
    try:
        _add_plain(result, part, np.flatnonzero(~retract), engine)
        _add_folded(result, part, np.flatnonzero(retract), engine)
    except BadRecord as error:
        raise BadRecord(int(merged[error.key]), error.check) from error
    return Reduced(result.rows(), present)


class _Result:
    """Where each key's value of a column comes from: a record, or what was made of several.

    Rows are gathered once in the end; what was made is put behind the column's own values then.
    """

    def __init__(self, feed: Feed, merged: Indices) -> None:
        self._rows = feed.rows
        self._merged = merged
        self._last: _Positions = feed.last.astype(np.uint32)  # as Polars has positions
        self._positions: dict[str, _Positions] = {}
        self._made: dict[str, list[pl.Series]] = {}
        self.kinds = np.full(len(merged), ADD_KIND, dtype=np.int8)

    def take(self, column: str, keys: Indices, positions: Indices) -> None:
        """The values of these merged keys are those at these positions, not the last ones."""
        self._own(column)[self._merged[keys]] = positions

    def make(self, keys: Indices, frame: pl.DataFrame) -> None:
        """The values of these merged keys are the rows of ``frame``, in the columns it has."""
        for series in frame.get_columns():
            made = self._made.setdefault(series.name, [])
            begin = self._rows.height + sum(len(part) for part in made)
            made.append(series.cast(self._rows.schema[series.name]))
            self._own(series.name)[self._merged[keys]] = np.arange(begin, begin + len(series))

    def rows(self) -> pl.DataFrame:
        """Every key's row, in key order."""
        self.make(np.arange(len(self._merged)), pl.Series(KIND, self.kinds).to_frame())
        kept = [name for name in self._rows.columns if name not in self._positions]
        gathered = self._rows.select(kept)[pl.Series(self._last)]
        each = [self._gathered(name, at) for name, at in self._positions.items()]
        return pl.concat([gathered, *each], how="horizontal").select(self._rows.columns)

    def _own(self, column: str) -> _Positions:
        """The positions of a column whose values are not those of the last records."""
        if column not in self._positions:
            self._positions[column] = self._last.copy()
        return self._positions[column]

    def _gathered(self, name: str, at: _Positions) -> pl.DataFrame:
        column, made = self._rows.get_column(name), self._made.get(name)
        whole = column if made is None else pl.concat([column, *made], rechunk=True)
        return whole.gather(pl.Series(at)).to_frame()


def _add_plain(
    result: _Result, feed: Feed, keys: Indices, engine: PartialUpdate | Aggregation
) -> None:
    """Keys without retracts: closed forms, and a fold over the columns that have none."""
    if len(keys) == 0:
        return
    part = feed if len(keys) == len(feed.starts) else feed.of_keys(keys)
    folded: list[str] = []
    there = _validity(part.rows, engine)
    for column in engine.columns:
        form = _form(engine, column)
        if form is not None and form in CHOOSING:
            known = there.get(column.name)
            if form is not Form.LAST and not (form is Form.LAST_NOT_NULL and known is None):
                result.take(column.name, keys, chosen(part, form, known))
        elif form is not None and computes(form, column.type):
            values = computed(part, form, column.name, column.type)
            if values is None:
                folded.append(column.name)
            else:
                result.make(keys, values.to_frame())
        else:
            folded.append(column.name)
    if isinstance(engine, PartialUpdate):
        _refuse_nulls(part, engine, keys)
    if folded:
        _make_folded(result, part, keys, only_columns(engine, folded), kinds=False)


def _validity(rows: pl.DataFrame, engine: PartialUpdate | Aggregation) -> dict[str, Mask]:
    """Where values are, by column that has nulls and is chosen by them."""
    by_nulls = (Form.LAST_NOT_NULL, Form.FIRST_NOT_NULL)
    names = [
        c.name
        for c in engine.columns
        if _form(engine, c) in by_nulls and rows.get_column(c.name).null_count()
    ]
    there = rows.select(pl.col(names).is_not_null()) if names else rows.select()
    return {series.name: series.to_numpy() for series in there.get_columns()}


def _form(engine: PartialUpdate | Aggregation, column: ValueColumn) -> Form | None:
    if column.function is None and column.group is None:
        return Form.LAST_NOT_NULL  # of partial-update
    if isinstance(engine, PartialUpdate) and column.group is not None:
        return None
    return None if column.function is None else column.function.form


def _refuse_nulls(feed: Feed, engine: PartialUpdate, keys: Indices) -> None:
    """Partial-update without groups takes no null for a NOT NULL column."""
    if engine.groups:
        return
    for column in engine.columns:
        if column.type.nullable or not feed.rows.get_column(column.name).null_count():
            continue
        nulls = feed.column(column.name).is_null().to_numpy()
        if nulls.any():
            key = int(keys[feed.key_of(int(np.argmax(nulls)))])
            raise BadRecord(key, Check(pl.lit(value=True), NULL_REFUSED, column.name))


def _add_folded(
    result: _Result, feed: Feed, keys: Indices, engine: PartialUpdate | Aggregation
) -> None:
    """Keys with retracts: the fold over all columns."""
    if len(keys):
        part = feed if len(keys) == len(feed.starts) else feed.of_keys(keys)
        _make_folded(result, part, keys, engine, kinds=True)


def _make_folded(
    result: _Result,
    feed: Feed,
    keys: Indices,
    engine: Engine,
    *,
    kinds: bool,
) -> None:
    assert isinstance(engine, PartialUpdate | Aggregation)
    try:
        folded = fold_all(feed, engine)
    except BadRecord as error:
        raise BadRecord(int(keys[error.key]), error.check) from error
    if kinds:
        result.kinds[keys] = folded.get_column(KIND).to_numpy()
        result.make(keys, folded.drop(KIND))
    else:
        result.make(keys, folded.drop(KIND, SEQUENCE))


def fold_all(feed: Feed, engine: PartialUpdate | Aggregation) -> pl.DataFrame:
    """Every key folded, none by a closed form: what `reduce_feed` must equal, value columns alone.

    Raises:
        BadRecord: records that must be refused.
    """
    state = fold(feed, _program(engine))
    columns = [
        from_unscaled(state.get_column(c.name), c.type)
        if c.type.root is Root.DECIMAL
        else state.get_column(c.name)
        for c in engine.columns
    ]
    kinds = pl.Series(KIND, _kinds(state), dtype=pl.Int8)
    return pl.DataFrame([*columns, state.get_column(SEQUENCE), kinds])


def _program(engine: PartialUpdate | Aggregation) -> Program:
    if isinstance(engine, PartialUpdate):
        return PartialUpdateProgram(engine)
    return AggregationProgram(engine)


def _kinds(state: pl.DataFrame) -> npt.NDArray[np.int8]:
    """-D where the whole row was removed, or no add was seen."""
    deleted = state.get_column(DELETED).to_numpy()
    if INSERTED in state.columns:
        deleted = deleted | ~state.get_column(INSERTED).to_numpy()
    return np.where(deleted, DELETE_KIND, ADD_KIND).astype(np.int8)
