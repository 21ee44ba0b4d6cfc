"""Several sorted runs read side by side as slices: disjoint key ranges, bounded in memory.

Each run is a stream of chunks. What is decoded waits in a buffer; a slice is cut at a key that no
buffer ends below, so every record of its keys is in it. Each chunk is decoded once, and no more
than about two chunks a run are held. Slices are much smaller than chunks: what is merged and hashed
then stays in the processor's caches, and the copies that it takes are small.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import polars as pl

from ..merge.rule import MergeRule
from .order import bound_at, order_frame, rows_through

Bound = tuple[Any, ...]

SLICE_BYTES = 16 * 1024 * 1024
"""Decoded size that slices are cut to. Measured: a quarter is slower, four times hold more."""


class RunBuffer:
    """One run being read: decoded rows not yet given out."""

    def __init__(self, frames: Iterator[pl.DataFrame], rule: MergeRule) -> None:
        self._frames = frames
        self._rule = rule
        self._frame = pl.DataFrame()
        self._order = pl.DataFrame()
        self._low_water = 1
        self._exhausted = False
        self.row_bytes = 1

    def fill(self) -> None:
        """Decode until half a chunk is buffered or the run ends.

        Stopping at one row would cut a sliver each time two runs' chunks end near each other.
        """
        while self.due:
            frame = next(self._frames, None)
            if frame is None:
                self._exhausted = True
                return
            self._low_water = max(1, frame.height // 2)
            self.row_bytes = max(1, int(frame.estimated_size()) // max(1, frame.height))
            order = order_frame(frame, self._rule.keys, self._rule.key_types)
            if self.height:
                frame = pl.concat([self._frame, frame], how="vertical")
                order = pl.concat([self._order, order], how="vertical")
            self._frame, self._order = frame, order

    @property
    def due(self) -> bool:
        """Whether more must be decoded before rows are taken."""
        return not self._exhausted and self.height < self._low_water

    @property
    def height(self) -> int:
        return self._frame.height

    def bound(self, rows: int) -> Bound:
        """The key of the last of the first ``rows`` rows, or of all when fewer are buffered."""
        return bound_at(self._order, min(rows, self.height) - 1)

    def take(self, bound: Bound | None) -> pl.DataFrame | None:
        """Rows up to and including ``bound`` (None: all), removed from the buffer."""
        if self.height == 0:
            return None
        rows = self._frame.height if bound is None else rows_through(self._order, bound)
        taken = self._frame.slice(0, rows)
        self._frame = self._frame.slice(rows)
        self._order = self._order.slice(rows)
        return taken


def slices(runs: Sequence[Iterator[pl.DataFrame]], rule: MergeRule) -> Iterator[list[pl.DataFrame]]:
    """Frames of the same key range, one for each run that has rows in it, in ascending ranges.

    Args:
        runs: each ascending in key and without repeats, chunk by chunk.
    """
    buffers = [RunBuffer(frames, rule) for frames in runs]
    # Runs of one size need their next chunks at once, and a chunk is decoded by one processor.
    with ThreadPoolExecutor(pl.thread_pool_size(), thread_name_prefix="decode") as pool:
        while True:
            for _ in pool.map(RunBuffer.fill, [b for b in buffers if b.due]):
                continue
            filled = [b for b in buffers if b.height]
            if not filled:
                return
            # A run whose chunks are all decoded still bounds the slice, which keeps slices even.
            rows = max(1, SLICE_BYTES // (len(filled) * max(b.row_bytes for b in filled)))
            bound = None if len(filled) == 1 else min(b.bound(rows) for b in filled)
            frames = [f for b in filled if (f := b.take(bound)) is not None and f.height]
            yield frames
