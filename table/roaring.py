"""Serialized roaring bitmaps united, a column with a column: what ``rbm32`` and ``rbm64`` do.

Spec: maintenance §4.5; reference classes ``RoaringBitmap32``, ``RoaringBitmap64``.
"""

from __future__ import annotations

from collections.abc import Callable

import polars as pl
from pyroaring import BitMap

from .errors import BadData
from .roaring64 import dump_bitmap64, load_bitmap64

Union = Callable[[bytes, bytes], bytes]


def union_rbm32(a: pl.Series, b: pl.Series) -> pl.Series:
    """Row by row, the union of two bitmaps in RoaringBitmap's portable format.

    Args:
        a: serialized bitmaps, none null; ``b`` as many.

    Raises:
        BadData: a value is no such bitmap.
    """
    return _united(a, b, lambda left, right: _dump(_load(left) | _load(right)))


def union_rbm64(a: pl.Series, b: pl.Series) -> pl.Series:
    """The same for bitmaps of 64 bits, as Java's ``Roaring64Bitmap`` writes them."""
    return _united(a, b, _united64)


def _united(a: pl.Series, b: pl.Series, union: Union) -> pl.Series:
    # A loop, but over bitmaps and not over their values: the call into pyroaring, which touches
    # every container, costs far more than a turn of it.
    united = [union(left, right) for left, right in zip(a, b, strict=True)]
    return pl.Series(a.name, united, dtype=pl.Binary)


def _load(data: bytes) -> BitMap:
    try:
        return BitMap.deserialize(data)
    except (ValueError, IndexError) as error:
        raise BadData("bytes are no roaring bitmap", reason=str(error)) from error


def _dump(bitmap: BitMap) -> bytes:
    bitmap.run_optimize()  # as Java does before it writes
    return bitmap.serialize()


def _united64(left: bytes, right: bytes) -> bytes:
    return dump_bitmap64(load_bitmap64(left) | load_bitmap64(right))
