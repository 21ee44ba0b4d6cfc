"""Closed forms: what a column becomes without folding it record by record.

Only for keys without retracts. Choosing forms say *which* record's value it is, so that wide
columns are gathered once; summing ones work on integers. Each equals the fold (property tests).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl

from ..datatypes import INTEGERS, DataType, Root
from .feed import Feed, Indices, Mask
from .functions.base import Form

CHOOSING = frozenset({Form.LAST, Form.LAST_NOT_NULL, Form.FIRST, Form.FIRST_NOT_NULL})
COMPUTING = frozenset({Form.SUM, Form.MAX, Form.MIN})

_STEPS = 8
"""Nulls in a row before a binary search looks further."""
_Whole = npt.NDArray[np.int64]
_LIMITS = {Root.TINYINT: 2**7, Root.SMALLINT: 2**15, Root.INT: 2**31, Root.BIGINT: 2**63}
_SAFE = 2.0**62
"""Sums of magnitudes below this are exact in 64 bits, whatever rounding the estimate had."""


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
    if form is Form.SUM:
        return data_type.root in INTEGERS
    return form in (Form.MAX, Form.MIN) and data_type.root in INTEGERS | {Root.DATE}


def computed(feed: Feed, form: Form, column: str, data_type: DataType) -> pl.Series | None:
    """The column's value of every key; None where only the fold can tell (an overflow is near)."""
    series = feed.column(column)
    there = series.is_not_null().to_numpy()
    counts = np.add.reduceat(there.astype(np.int64), feed.starts)
    physical = series.to_physical()
    neutral = 0 if form is Form.SUM else _extreme(physical, largest=form is Form.MIN)
    values: _Whole = physical.fill_null(neutral).to_numpy().astype(np.int64)
    if form is Form.SUM:
        limit = min(_SAFE, float(_LIMITS[data_type.root]))
        # Java adds one after the other and refuses the first overflow on the way.
        if (np.add.reduceat(np.abs(values.astype(np.float64)), feed.starts) >= limit).any():
            return None
        result = np.add.reduceat(values, feed.starts)
    else:
        reducer = np.maximum if form is Form.MAX else np.minimum
        result = reducer.reduceat(values, feed.starts)
    whole = pl.Series(column, result).cast(physical.dtype).cast(series.dtype)
    return pl.select(pl.when(pl.lit(pl.Series(counts > 0))).then(whole)).to_series().alias(column)


def _extreme(series: pl.Series, *, largest: bool) -> int:
    """The end of the type's range that no value goes beyond."""
    info = np.iinfo(np.dtype(str(series.dtype).lower()))
    return int(info.max if largest else info.min)
