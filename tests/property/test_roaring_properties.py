"""64-bit bitmaps survive their bytes; unions hold what both held; any bytes are read or refused."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st
from pyroaring import BitMap, BitMap64

from desilt.table.errors import BadData
from desilt.table.roaring import union_rbm32, union_rbm64
from desilt.table.roaring64 import dump_bitmap64, load_bitmap64

_TOP = 2**64
STARTS = st.one_of(
    st.integers(0, _TOP - 1),
    st.integers(0, 2**20),
    st.integers(0, 400).map(lambda i: i << 16),
    st.integers(0, 400).map(lambda i: i << 40 | 5),
    st.integers(0, 255).map(lambda i: i << 56),
)
Spread = tuple[int, int, int]
"""Start, how many, how far apart."""

SIZES: st.SearchStrategy[int] = st.sampled_from((1, 2, 30, 4096, 5000))
STEPS: st.SearchStrategy[int] = st.sampled_from((1, 1, 2, 3, 65_537))
SPREADS = st.tuples(STARTS, SIZES, STEPS)


def bitmap(spreads: Sequence[Spread]) -> BitMap64:
    made = BitMap64()
    for start, size, step in spreads:
        made.add(start)
        made.update(range(start, min(start + size * step, _TOP - 1), step))
    return made


BITMAPS = st.lists(SPREADS, max_size=8).map(bitmap)


@given(BITMAPS)
@settings(max_examples=80, deadline=None)
def test_bitmaps_survive_their_bytes(values: BitMap64) -> None:
    data = dump_bitmap64(values)

    assert load_bitmap64(data) == values
    assert dump_bitmap64(load_bitmap64(data)) == data


@given(st.lists(st.tuples(BITMAPS, BITMAPS), max_size=4))
@settings(max_examples=40, deadline=None)
def test_unions_hold_what_both_held(pairs: list[tuple[BitMap64, BitMap64]]) -> None:
    left = pl.Series("a", [dump_bitmap64(a) for a, _ in pairs], pl.Binary)
    right = pl.Series("b", [dump_bitmap64(b) for _, b in pairs], pl.Binary)

    united = [load_bitmap64(data) for data in union_rbm64(left, right)]
    assert united == [a | b for a, b in pairs]


NARROW = st.frozensets(st.integers(0, 2**32 - 1) | st.integers(0, 70_000), max_size=200)


@given(NARROW, NARROW)
@settings(max_examples=40, deadline=None)
def test_narrow_unions_hold_what_both_held(a: frozenset[int], b: frozenset[int]) -> None:
    (united,) = union_rbm32(pl.Series([BitMap(a).serialize()]), pl.Series([BitMap(b).serialize()]))

    assert set(BitMap.deserialize(united)) == a | b


@given(BITMAPS, st.data())
@settings(max_examples=80, deadline=None)
def test_damaged_bytes_are_read_or_refused(values: BitMap64, data: st.DataObject) -> None:
    """Never another error: the bytes come from a table."""
    damaged = bytearray(dump_bitmap64(values))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, min(len(damaged), 400) - 1))
        damaged[at] = data.draw(st.integers(0, 255))
    try:
        found = load_bitmap64(bytes(damaged))
    except BadData:
        return
    assert load_bitmap64(dump_bitmap64(found)) == found


@given(st.binary(max_size=300))
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    for union in (union_rbm32, union_rbm64):
        try:
            union(pl.Series([data]), pl.Series([data]))
        except BadData as error:
            assert "roaring bitmap" in error.message  # noqa: PT017 the other outcome is fine, too
