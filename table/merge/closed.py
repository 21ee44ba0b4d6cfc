"""Closed forms: what a column becomes without folding it record by record.

Only for keys without retracts. Choosing forms say *which* record's value it is, so that wide
columns are gathered once; the others compute. Each equals the fold (property tests).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl

from ..datatypes import FLOATS, INTEGERS, TIMESTAMPS, DataType, Root
from .decimal_columns import from_unscaled
from .feed import Feed, Indices, Mask
from .functions.base import Form
from .functions.numeric import COMPACT_DIGITS

CHOOSING = frozenset({Form.LAST, Form.LAST_NOT_NULL, Form.FIRST, Form.FIRST_NOT_NULL})
COMPUTING = frozenset({Form.SUM, Form.MAX, Form.MIN})

_STEPS = 8
"""Nulls in a row before a binary search looks further."""
_Whole = npt.NDArray[np.int64]
_LIMITS = {Root.TINYINT: 2**7, Root.SMALLINT: 2**15, Root.INT: 2**31, Root.BIGINT: 2**63}
_SAFE = 2.0**62
"""Sums of magnitudes below this are exact in 64 bits, whatever rounding the estimate had."""
_ROUNDS = 64
"""Records of a key up to which they are added round by round."""


def chosen(feed: Feed, form: Form, there: Mask | None) -> Indices:
    """The position of the record whose value each key's column takes.

    Args:
        there: of every row of ``feed.rows`` whether it has a value; None where all have.
    """
    match form:
        case Form.LAST:
            return feed.last
        case Form.FIRST:
            return feed.first
        case _:
            return _first_or_last_there(feed, there, first=form is Form.FIRST_NOT_NULL)


def _first_or_last_there(feed: Feed, there: Mask | None, *, first: bool) -> Indices:
    if there is None:
        return feed.first if first else feed.last
    place = feed.starts.copy() if first else feed.ends - 1
    found = feed.order[place]
    empty = np.flatnonzero(~there[found])
    # Few keys have many nulls in a row: go on step by step with those that are left.
    step = 1 if first else -1
    bound = feed.ends if first else feed.starts - 1
    for _ in range(_STEPS):
        if len(empty) == 0:
            return found
        place[empty] += step
        empty = empty[place[empty] != bound[empty]]  # where all are null, so is the one found
        found[empty] = feed.order[place[empty]]
        empty = empty[~there[found[empty]]]
    if len(empty):
        found[empty] = _searched(feed.of_keys(empty), there, first=first)
    return found


def _searched(feed: Feed, there: Mask, *, first: bool) -> Indices:
    """The same by binary search, which does not mind how far away it is."""
    places = np.flatnonzero(there[feed.order])
    if first:
        place = np.append(places, len(feed.order))[np.searchsorted(places, feed.starts)]
        inside = place < feed.ends
    else:
        place = np.concatenate(([-1], places))[np.searchsorted(places, feed.ends)]
        inside = place >= feed.starts
    return np.where(inside, feed.order[np.where(inside, place, 0)], feed.last)


def computes(form: Form | None, data_type: DataType) -> bool:
    """Whether `computed` has this form for this type."""
    root = data_type.root
    whole = root in INTEGERS or (root is Root.DECIMAL and data_type.precision <= COMPACT_DIGITS)
    if form is Form.SUM:
        return whole or root in FLOATS
    return form in (Form.MAX, Form.MIN) and (whole or root in TIMESTAMPS | {Root.DATE})


def computed(feed: Feed, form: Form, column: str, data_type: DataType) -> pl.Series | None:
    """The column's value of every key; None where only the fold can tell (an overflow is near)."""
    series = feed.column(column)
    there = series.is_not_null().to_numpy()
    if data_type.root in FLOATS:
        made = _added_in_order(feed, series, there)
        return None if made is None else made.alias(column)
    counts = np.add.reduceat(there.astype(np.int64), feed.starts)
    physical = series.to_physical()
    if data_type.root is Root.DECIMAL:
        physical = physical.cast(pl.Int64)  # as Java holds so few digits
    neutral = 0 if form is Form.SUM else _extreme(physical, largest=form is Form.MIN)
    values: _Whole = physical.fill_null(neutral).to_numpy().astype(np.int64)
    if form is Form.SUM:
        # Java adds one after the other and refuses the first overflow on the way.
        magnitudes = np.add.reduceat(np.abs(values.astype(np.float64)), feed.starts)
        if (magnitudes >= min(_SAFE, _limit(data_type))).any():
            return None
        result = np.add.reduceat(values, feed.starts)
    else:
        reducer = np.maximum if form is Form.MAX else np.minimum
        result = reducer.reduceat(values, feed.starts)
    made = pl.select(pl.when(pl.lit(pl.Series(counts > 0))).then(pl.Series(result))).to_series()
    if data_type.root is Root.DECIMAL:
        return from_unscaled(made.cast(pl.Int128), data_type).alias(column)
    return made.cast(physical.dtype).cast(series.dtype).alias(column)


def _limit(data_type: DataType) -> float:
    if data_type.root is Root.DECIMAL:
        return float(10**data_type.precision)
    return float(_LIMITS[data_type.root])


def _added_in_order(feed: Feed, series: pl.Series, there: Mask) -> pl.Series | None:
    """Sums of floats, one record after the other: any other order would round otherwise."""
    counts = feed.counts
    rounds = int(counts.max()) if len(counts) else 0
    if rounds > _ROUNDS:
        return None
    values = series.fill_null(0).to_numpy()
    total, some = values[feed.starts], there[feed.starts]
    keys = np.arange(len(counts))
    for number in range(1, rounds):
        keys = keys[counts[keys] > number]
        at = feed.starts[keys] + number
        old, new = total[keys], values[at]
        with np.errstate(all="ignore"):  # infinities may meet
            both = old + new
        total[keys] = np.where(there[at], np.where(some[keys], both, new), old)
        some[keys] |= there[at]
    return pl.select(pl.when(pl.lit(pl.Series(some))).then(pl.Series(total))).to_series()


def _extreme(series: pl.Series, *, largest: bool) -> int:
    """The end of the type's range that no value goes beyond."""
    info = np.iinfo(np.dtype(str(series.dtype).lower()))
    return int(info.max if largest else info.min)
