"""Keys looked up in the levels above a rewrite's output: is a key there, and what does it hold?

A rewrite walks through its keys in ascending slices, and so does the lookup beside it: each file
above is read once, chunk by chunk, its key columns alone. Where wanted keys are found, the rows'
values are read for the chunks that have hits, and only if they are needed. The lowest level that
has a key wins, since it holds the newer merge; rows that deletion vectors mark are not there.

Found rows are remembered as *marks*, for tables whose deletion vectors must delete them.

Spec: maintenance §5.3 step 2; reference class ``LookupLevels``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import polars as pl

from .data_file import OpenFile
from .deletes import Positions, Vectors, no_positions
from .format.parquet import Chunk
from .handle import TableHandle
from .lsm.order import order_frame
from .manifest.entry import DataFile
from .merge.rule import LEVEL, MergeRule
from .record_expiry import RecordExpiry
from .schema import Field, TableSchema

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class LookupFiles:
    """Where keys are looked up.

    ``files``: above the output level, by level, in key order. ``deletions``: of these files.
    ``expiry``: records that have expired are not found.
    """

    handle: TableHandle
    schema: TableSchema
    folder: str
    files: Sequence[DataFile]
    deletions: Vectors
    chunk_bytes: int
    expiry: RecordExpiry | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """``known``: which of the wanted keys are there. ``rows``: their records, in no order, with
    their level; None where values are not read."""

    known: Mask
    rows: pl.DataFrame | None


class Lookup:
    """One walk through ascending keys.

    Args:
        columns: of the records; None: only whether a key is there.
    """

    def __init__(self, files: LookupFiles, columns: Sequence[Field] | None) -> None:
        self._rule = MergeRule.of(files.schema)
        self._columns = columns
        by_level: dict[int, list[DataFile]] = {}
        for file in files.files:
            by_level.setdefault(file.level, []).append(file)
        self._levels = [_Level(files, by_level[n], self._rule, columns) for n in sorted(by_level)]

    @property
    def marks(self) -> Vectors:
        """Positions of all rows found so far, by file."""
        return {name: at for level in self._levels for name, at in level.marks().items()}

    def find(self, keys: pl.DataFrame) -> Found:
        """Look up keys, each once, ascending, all above those of the call before.

        Args:
            keys: the key columns.
        """
        wanted = order_frame(keys, self._rule.keys, self._rule.key_types)
        known = np.zeros(keys.height, dtype=np.bool_)
        rows: list[pl.DataFrame] = []
        for level in self._levels:
            left = np.flatnonzero(~known)
            if len(left) == 0:
                break
            found, frames = level.find(wanted[pl.Series(left)])
            known[left[found]] = True
            rows += frames
        if self._columns is None:
            return Found(known, None)
        return Found(known, pl.concat(rows) if rows else None)


@dataclass(slots=True)
class _KeyChunk:
    """The keys of some rows of a file; ``places``: their positions in the chunk."""

    opened: OpenFile
    chunk: Chunk
    keys: pl.DataFrame
    last: tuple[object, ...]


@dataclass(slots=True)
class _Level:
    """The files of one level, walked through once."""

    files: LookupFiles
    level_files: Sequence[DataFile]
    rule: MergeRule
    columns: Sequence[Field] | None
    _chunks: Iterator[_KeyChunk] | None = None
    _held: _KeyChunk | None = None
    _marks: dict[str, list[Positions]] = field(default_factory=dict[str, list[Positions]])

    def marks(self) -> dict[str, Positions]:
        return {name: np.unique(np.concatenate(found)) for name, found in self._marks.items()}

    def find(self, wanted: pl.DataFrame) -> tuple[npt.NDArray[np.intp], list[pl.DataFrame]]:
        """Which of the ascending keys are in this level, and their rows."""
        hits: list[npt.NDArray[np.intp]] = []
        rows: list[pl.DataFrame] = []
        numbered = wanted.with_row_index("\0wanted")
        highest = wanted.row(-1)
        while (held := self._current()) is not None:
            met = held.keys.join(numbered, on=wanted.columns, how="inner")
            if met.height:
                hits.append(met.get_column("\0wanted").to_numpy().astype(np.intp))
                rows += self._take(held, met.get_column("\0place").to_numpy().astype(np.int64))
            if held.last > highest:
                break  # later keys may be in it, too
            self._held = None
        return (np.concatenate(hits) if hits else np.zeros(0, dtype=np.intp)), rows

    def _current(self) -> _KeyChunk | None:
        if self._held is None:
            if self._chunks is None:
                self._chunks = self._walk()
            self._held = next(self._chunks, None)
        return self._held

    def _walk(self) -> Iterator[_KeyChunk]:
        for file in self.level_files:
            opened = OpenFile(self.files.handle, self.files.schema, self.files.folder, file)
            keys = [f for f in self.files.schema.physical if f.name in self.rule.keys]
            if self.files.expiry is not None:
                keys.append(self.files.schema.column(self.files.expiry.column))
            projection = opened.projection(keys)
            for chunk in opened.source.chunks(self.files.chunk_bytes):
                frame = opened.read(chunk, projection)
                yield self._key_chunk(opened, chunk, frame)

    def _key_chunk(self, opened: OpenFile, chunk: Chunk, frame: pl.DataFrame) -> _KeyChunk:
        order = order_frame(frame, self.rule.keys, self.rule.key_types)
        last = order.row(-1)
        places = pl.Series("\0place", np.arange(frame.height))
        there = np.ones(frame.height, dtype=np.bool_)
        deleted = self.files.deletions.get(opened.file.name, no_positions())
        low, high = np.searchsorted(deleted, [chunk.offset, chunk.offset + frame.height])
        there[deleted[low:high] - chunk.offset] = False
        expiry = self.files.expiry
        if expiry is not None:
            data_type = self.files.schema.column(expiry.column).type
            there &= frame.select(expiry.keep(data_type)).to_series().to_numpy()
        keys = order.with_columns(places)
        return _KeyChunk(
            opened, chunk, keys if there.all() else keys.filter(pl.Series(there)), last
        )

    def _take(self, held: _KeyChunk, places: Positions) -> list[pl.DataFrame]:
        """Mark the rows at these places of the chunk; their records if they are wanted."""
        name = held.opened.file.name
        self._marks.setdefault(name, []).append(places + held.chunk.offset)
        if self.columns is None:
            return []
        frame = held.opened.read(held.chunk, held.opened.projection(self.columns))
        level = pl.lit(held.opened.file.level, pl.Int32).alias(LEVEL)
        return [frame[pl.Series(places)].with_columns(level)]
