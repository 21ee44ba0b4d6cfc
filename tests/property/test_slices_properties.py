"""Slices of any runs: every row once, ranges that never touch, runs kept apart and in order."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from unittest.mock import patch

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from desilt.table.datatypes import parse_type
from desilt.table.lsm import slices as module
from desilt.table.lsm.order import order_frame, rows_through
from desilt.table.lsm.slices import slices
from desilt.table.merge.rule import MergeRule

Key = tuple[int, str]
RULE = MergeRule(("_KEY_a", "_KEY_b"), (parse_type("INT"), parse_type("STRING")))
KEYS = st.tuples(st.integers(-4, 20), st.sampled_from(["", "a", "ab", "é", "\U0001f600"]))
RUNS = st.lists(st.lists(KEYS, unique=True, max_size=40), min_size=1, max_size=5)


def _frame(keys: list[Key]) -> pl.DataFrame:
    schema = {"_KEY_a": pl.Int32(), "_KEY_b": pl.String()}
    return pl.DataFrame(keys, schema=schema, orient="row")


def _ordered(keys: list[Key]) -> list[Key]:
    return sorted(keys, key=_comparable)


def _comparable(key: Key) -> tuple[int, bytes]:
    return key[0], key[1].encode()


def _chunks(keys: list[Key], rows: int) -> Iterator[pl.DataFrame]:
    for start in range(0, len(keys), rows):
        yield _frame(keys[start : start + rows])


@settings(deadline=None)  # the first one loads Polars' engine
@given(runs=RUNS, rows=st.integers(1, 15), slice_bytes=st.sampled_from([1, 150, 1000, 10**6]))
def test_slices_hold_every_row_once_in_ranges_that_never_touch(
    runs: list[list[Key]], rows: int, slice_bytes: int
) -> None:
    """Whatever the chunks and however small the slices."""
    sorted_runs = [_ordered(run) for run in runs]
    with patch.object(module, "SLICE_BYTES", slice_bytes):
        cut = [
            [frame.rows() for frame in frames]
            for frames in slices([_chunks(run, rows) for run in sorted_runs], RULE)
        ]

    keys = [[key for frame in frames for key in frame] for frames in cut]
    assert all(keys)
    for left, right in pairwise(keys):
        assert max(map(_comparable, left)) < min(map(_comparable, right))
    everything = sorted(_comparable(k) for part in keys for k in part)
    assert everything == sorted(_comparable(k) for run in runs for k in run)
    for frames in cut:
        assert all(frame == _ordered(frame) for frame in frames)


@settings(deadline=None)
@given(keys=st.lists(KEYS, unique=True, max_size=40), bound=KEYS)
def test_rows_through_counts_the_rows_up_to_a_bound(keys: list[Key], bound: Key) -> None:
    """Also for bounds that are no row, and for nothing at all."""
    order = order_frame(_frame(_ordered(keys)), RULE.keys, RULE.key_types)

    counted = rows_through(order, bound)

    assert counted == sum(_comparable(key) <= _comparable(bound) for key in keys)
