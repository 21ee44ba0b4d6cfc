"""Holds the *written files* of a rewrite against its inputs, by another route than the merge.

While a rewrite reads its inputs, an *expectation* is built beside it: winners by a hash grouping
over the keys (the merge sorts), how many rows of each kind, an order-free hash of every winner's
(key, sequence, kind), and of a quarter of the columns (all of them on request). Afterwards the
files are read back, and must say the same: rows, kinds, hashes, keys strictly ascending.

A lost or doubled row, a wrong winner, a changed kind and a broken order are always caught; a
changed value is caught when its column is in this turn's quarter.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import polars as pl

from .errors import VerificationFailed
from .lsm.order import order_frame, strictly_ascending
from .merge.rule import RETRACT_KINDS, MergeRule
from .schema import KIND, SEQUENCE

Hashes = npt.NDArray[np.uint64]
QUARTERS = 4
_SEED = 11


def quarter(columns: Sequence[str], turn: int, *, full: bool) -> tuple[str, ...]:
    """The value columns that are compared this turn: every fourth one, or all."""
    if full:
        return tuple(columns)
    return tuple(columns[turn % QUARTERS :: QUARTERS])


def row_hashes(frame: pl.DataFrame, columns: Sequence[str]) -> Hashes:
    """One 64-bit hash a row over these columns."""
    return frame.select(columns).hash_rows(seed=_SEED).to_numpy()


@dataclass(slots=True)
class Tally:
    """What a set of rows is known by; equal tallies mean equal rows, for all that was hashed."""

    rows: int = 0
    kinds: dict[int, int] = field(default_factory=dict[int, int])
    identity: int = 0
    values: int = 0

    def add(self, kinds: pl.Series | None, identity: Hashes, values: Hashes) -> None:
        """Count these rows in; ``kinds`` is None in append tables."""
        self.rows += len(identity)
        if kinds is not None:
            counted = np.unique(kinds.to_numpy(), return_counts=True)
            for kind, count in zip(*counted, strict=True):
                self.kinds[int(kind)] = self.kinds.get(int(kind), 0) + int(count)
        self.identity = _wrapped(self.identity, identity)
        self.values = _wrapped(self.values, values)

    def difference(self, other: Tally) -> str | None:
        """What differs, in words; None when nothing does."""
        if self.rows != other.rows:
            return f"rows: expected {self.rows}, written {other.rows}"
        if self.kinds != other.kinds:
            return f"kinds: expected {self.kinds}, written {other.kinds}"
        if self.identity != other.identity:
            return "keys, sequences or kinds differ"
        if self.values != other.values:
            return "values differ"
        return None


def _wrapped(total: int, hashes: Hashes) -> int:
    return (total + int(hashes.sum(dtype=np.uint64))) & 0xFFFFFFFFFFFFFFFF


class KeyedExpectation:
    """What a merge of keyed runs must yield, computed beside it.

    Args:
        rule: keys and sequence of the table.
        columns: value columns to compare this turn.
    """

    def __init__(self, rule: MergeRule, columns: Sequence[str], *, drop_deletes: bool) -> None:
        self.tally = Tally()
        self._rule = rule
        self._identity = (*rule.keys, SEQUENCE, KIND)
        self._values = (*rule.keys, *columns)
        self._drop = drop_deletes

    def observe(self, frames: Sequence[pl.DataFrame]) -> None:
        """One slice: frames of the same key range, each holding a key at most once."""
        frames = [f for f in frames if f.height]
        identity = np.concatenate([row_hashes(f, self._identity) for f in frames])
        values = np.concatenate([row_hashes(f, self._values) for f in frames])
        kinds = pl.concat([f.get_column(KIND) for f in frames])
        chosen = self._winners(frames)
        if chosen is not None:
            identity, values, kinds = identity[chosen], values[chosen], kinds.gather(chosen)
        if self._drop:
            kept = ~np.isin(kinds.to_numpy(), RETRACT_KINDS)
            identity, values, kinds = identity[kept], values[kept], kinds.filter(pl.Series(kept))
        self.tally.add(kinds, identity, values)

    def _winners(self, frames: Sequence[pl.DataFrame]) -> npt.NDArray[np.int64] | None:
        """Row positions of the winners, in no order; None when every row wins.

        A hash set over the keys, filled from the last record in feed order backwards: the first
        one of a key that it sees wins.
        """
        if len(frames) == 1:
            return None
        narrow = pl.concat([f.select(self._rule.columns) for f in frames], how="vertical")
        order = order_frame(narrow, self._rule.keys, self._rule.key_types)
        feed = self._feed(frames, narrow)
        keys = order[pl.Series(feed)]
        key = keys.to_series() if keys.width == 1 else keys.to_struct()
        last: npt.NDArray[np.bool_] = key.is_last_distinct().to_numpy()
        return np.asarray(feed[last], dtype=np.int64)

    def _feed(self, frames: Sequence[pl.DataFrame], narrow: pl.DataFrame) -> npt.NDArray[np.int64]:
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


def _feed_by_run(frames: Sequence[pl.DataFrame]) -> npt.NDArray[np.int64] | None:
    """Row positions, the rows of older frames first; None where sequence ranges overlap."""
    spans = sorted((*_span(f.get_column(SEQUENCE)), i) for i, f in enumerate(frames))
    if any(left[1] >= right[0] for left, right in pairwise(spans)):
        return None
    starts = np.cumsum([0, *(f.height for f in frames)])
    parts: list[npt.NDArray[np.int64]]
    parts = [np.arange(starts[i], starts[i + 1], dtype=np.int64) for _, _, i in spans]
    return np.concatenate(parts)


def _span(sequence: pl.Series) -> tuple[int, int]:
    """Smallest and largest; sequences are never null."""
    numbers = sequence.to_numpy()
    return int(numbers.min()), int(numbers.max())


class AppendExpectation:
    """What a packing of append files must yield: the same rows in the same order."""

    def __init__(self, columns: Sequence[str]) -> None:
        self.tally = Tally()
        self._columns = tuple(columns)

    def observe(self, frame: pl.DataFrame) -> None:
        count_in_order(self.tally, frame, self._columns)


def count_in_order(tally: Tally, frame: pl.DataFrame, columns: Sequence[str]) -> None:
    """Count rows in with hashes that depend on their position."""
    position = np.arange(tally.rows, tally.rows + frame.height, dtype=np.uint64)
    weight = position * np.uint64(2) + np.uint64(1)
    hashes = row_hashes(frame, columns) * weight
    tally.add(None, hashes, hashes)


def check_keyed(
    expected: Tally, written: Iterable[pl.DataFrame], rule: MergeRule, columns: Sequence[str]
) -> None:
    """Read the written rows (in file order) and compare.

    Raises:
        VerificationFailed: saying what differs.
    """
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
    _demand(expected, tally)


def check_append(expected: Tally, written: Iterable[pl.DataFrame], columns: Sequence[str]) -> None:
    """The same for append tables: every row, in order.

    Raises:
        VerificationFailed: saying what differs.
    """
    tally = Tally()
    for frame in written:
        count_in_order(tally, frame, columns)
    _demand(expected, tally)


def _demand(expected: Tally, written: Tally) -> None:
    difference = expected.difference(written)
    if difference is not None:
        raise VerificationFailed("written files differ from their inputs", difference=difference)
