"""Holds the *written files* of a rewrite against its inputs, by another route than the merge.

While a rewrite reads its inputs, an *expectation* is built beside it (`verify_keyed`): records by a
hash grouping over the keys (the merge sorts), how many rows of each kind, an order-free hash of
every key, sequence and kind, and of a quarter of the columns (all of them on request). Afterwards
the files are read back, and must say the same: rows, kinds, hashes, keys strictly ascending.

A lost or doubled row, a wrong winner, a changed kind and a broken order are always caught; a
changed value is caught when its column is in this turn's quarter.

A changelog must lead from what was to what is: the hashes of its +I and +U rows less those of its
-U and -D rows are those of the rows after less those of the rows before.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import polars as pl

from .errors import VerificationFailed

Hashes = npt.NDArray[np.uint64]
QUARTERS = 4
MASK = 0xFFFFFFFFFFFFFFFF
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
            counts = np.bincount(kinds.to_numpy().view(np.uint8))
            for kind in np.flatnonzero(counts):
                self.kinds[int(kind)] = self.kinds.get(int(kind), 0) + int(counts[kind])
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
    return (total + sum_of(hashes)) & MASK


def sum_of(hashes: Hashes) -> int:
    """Their sum, as 64 bits hold it."""
    return int(hashes.sum(dtype=np.uint64))


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


def check_append(expected: Tally, written: Iterable[pl.DataFrame], columns: Sequence[str]) -> None:
    """The same for append tables: every row, in order.

    Raises:
        VerificationFailed: saying what differs.
    """
    tally = Tally()
    for frame in written:
        count_in_order(tally, frame, columns)
    demand_same(expected, tally)


def demand_same(expected: Tally, written: Tally) -> None:
    """
    Raises:
        VerificationFailed: saying what differs.
    """
    difference = expected.difference(written)
    if difference is not None:
        raise VerificationFailed("written files differ from their inputs", difference=difference)
