"""The wanted rows of one data file, reading as little of it as its footer and its keys allow.

Row groups in which nothing can be wanted are skipped. Of the others the columns that decide are
read first, and the rest only from the first wanted row to the last. Positions in deletion vectors
count all rows of the file, skipped ones too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import polars as pl

from .data_file import OpenFile, OrderCheck
from .deletes import Positions
from .format.parquet import Chunk
from .predicate.bounds import BoundsFrame, may_match
from .predicate.tree import Tree, columns
from .schema import Field, TableSchema

Mask = npt.NDArray[np.bool_]


class Sift(Protocol):
    """Says which rows are wanted, by the columns that it looks at, whatever file they are in."""

    @property
    def columns(self) -> Sequence[str]:
        """Physical columns that it must be given."""
        ...

    @property
    def tree(self) -> Tree:
        """True of every wanted row; it looks at columns of the table."""
        ...

    def wanted(self, rows: pl.DataFrame) -> Mask: ...


@dataclass(frozen=True, slots=True)
class RowsWanted:
    """What is read of a file.

    ``fields``: in keyed tables at least the keys and system columns. ``limit_bytes``: decoded bytes
    of a chunk, about. ``sift``: None: all rows. ``head``: how many rows of the file will do.
    """

    fields: Sequence[Field]
    limit_bytes: int
    sift: Sift | None = None
    head: int | None = None


def row_groups(opened: OpenFile, schema: TableSchema, sift: Sift | None) -> Mask:
    """For each row group, whether it may hold wanted rows."""
    rows = opened.group_rows()
    if sift is None:
        return np.ones(len(rows), dtype=np.bool_)
    types = {n: schema.column(n).type for n in sorted(columns(sift.tree))}
    bounds = BoundsFrame.of(opened.group_bounds(list(types)), rows, types, nan_hides=True)
    return may_match(sift.tree, bounds)


def read_rows(
    opened: OpenFile, schema: TableSchema, wanted: RowsWanted, deletions: Positions | None
) -> Iterator[pl.DataFrame]:
    """The wanted rows that are not deleted, as the wanted columns, in file order.

    Raises: as `read_columns`.
    """
    opened.check_deletions(deletions)
    check = OrderCheck(schema, opened.path)
    probed, rest = _split(wanted, check)
    probe, others = opened.projection(probed), opened.projection(rest)
    names = [f.name for f in wanted.fields]
    groups = [bool(may) for may in row_groups(opened, schema, wanted.sift)]
    for chunk in _cut(opened.source.chunks(wanted.limit_bytes, groups), wanted.head):
        frame = check.passed(opened.read(chunk, probe))
        keep = _kept(frame, chunk, wanted.sift, deletions)
        if keep is None:
            yield frame
            continue
        places = np.flatnonzero(keep)
        if len(places) == 0:
            continue
        low, high = int(places[0]), int(places[-1]) + 1
        frame = frame.slice(low, high - low)
        if rest:
            part = Chunk(chunk.offset + low, high - low, chunk.decoded_bytes)
            frame = pl.concat([frame, opened.read(part, others)], how="horizontal").select(names)
        yield frame if len(places) == frame.height else frame.filter(pl.Series(keep[low:high]))


def _split(wanted: RowsWanted, check: OrderCheck) -> tuple[list[Field], list[Field]]:
    """The columns that decide about rows, and the others. Never none of the first kind."""
    if wanted.sift is None:
        return list(wanted.fields), []
    deciding = {*check.columns, *wanted.sift.columns}
    probed = [f for f in wanted.fields if f.name in deciding] or list(wanted.fields[:1])
    return probed, [f for f in wanted.fields if f not in probed]


def _cut(chunks: Sequence[Chunk], head: int | None) -> Iterator[Chunk]:
    """The chunks; the first one cut so that so many rows need no more than it."""
    for index, chunk in enumerate(chunks):
        if index == 0 and head is not None and 0 < head < chunk.rows:
            yield Chunk(chunk.offset, head, chunk.decoded_bytes)
            yield Chunk(chunk.offset + head, chunk.rows - head, chunk.decoded_bytes)
        else:
            yield chunk


def _kept(
    frame: pl.DataFrame, chunk: Chunk, sift: Sift | None, deletions: Positions | None
) -> Mask | None:
    """The rows of a chunk that are wanted and not deleted; None: all."""
    keep = None if sift is None else np.array(sift.wanted(frame), dtype=np.bool_)
    if deletions is None:
        return keep
    low, high = np.searchsorted(deletions, [chunk.offset, chunk.offset + frame.height])
    if low < high:
        keep = np.ones(frame.height, dtype=np.bool_) if keep is None else keep
        keep[deletions[low:high] - chunk.offset] = False
    return keep
