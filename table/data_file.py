"""Rows of one data file, held against what its manifest and its schema say of it as they are read.

A file that holds fewer rows than it should, or keys that do not ascend, would make a merge lose
rows in silence. Whoever reads a data file reads it through here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import polars as pl

from . import paths
from .deletes import Positions
from .errors import BadData, CorruptTable, first_line
from .evolution import Projection, project
from .format.parquet import Chunk, ParquetSource
from .handle import TableHandle
from .lsm.order import ascending, order_frame, strictly_ascending
from .manifest.entry import DataFile
from .merge.rule import MergeRule
from .schema import KIND, SEQUENCE, Field, TableSchema


class OpenFile:
    """A data file whose footer has been read.

    Args:
        schema: that rows are returned in; the file may be of an older one.

    Raises:
        FileMissing: no such file.
        CorruptTable: unreadable, or it has other rows than its manifest says.
    """

    def __init__(
        self, handle: TableHandle, schema: TableSchema, folder: str, file: DataFile
    ) -> None:
        self.file = file
        self.path = paths.data_file(folder, file.name)
        self.source = ParquetSource(handle.storage, self.path)
        self._written = schema if file.schema_id == schema.id else handle.schema(file.schema_id)
        if self.source.rows != file.row_count:
            raise CorruptTable(
                "data file has other rows than its manifest says", file=self.path,
                manifest=file.row_count, rows=self.source.rows,
            )  # fmt: skip

    def projection(self, wanted: Sequence[Field]) -> Projection:
        """How the file's columns become the ``wanted`` ones of the schema.

        Raises:
            UnsupportedFeature: a column changed its type in a way that could lose values.
        """
        return project(wanted, self._written.physical, self.source.columns, self.path)

    def read(self, chunk: Chunk, projection: Projection) -> pl.DataFrame:
        """All rows of a chunk, deleted ones too.

        Raises:
            CorruptTable: a column is not of its type.
        """
        raw = self.source.read(chunk, projection.sources)
        try:
            return projection.apply(raw)
        except pl.exceptions.PolarsError as error:
            raise CorruptTable(
                "a column is not of its type", reason=first_line(error), file=self.path
            ) from error


def read_columns(
    handle: TableHandle,
    schema: TableSchema,
    wanted: Sequence[Field],
    place: tuple[str, DataFile],
    limit_bytes: int,
    deletions: Positions | None = None,
    *,
    unique: bool = True,
) -> Iterator[pl.DataFrame]:
    """The file chunk by chunk as the columns ``wanted`` of ``schema``, in file order.

    Args:
        wanted: in keyed tables, at least the keys and system columns.
        place: the file's directory and the file.
        limit_bytes: decoded bytes of a chunk, about.
        deletions: positions of rows that are left out.
        unique: a key comes once; in changelog files it may come again and again.

    Raises:
        FileMissing: no such file.
        CorruptTable: unreadable, rows are missing or too many, or keys do not ascend.
        BadData: a key or system column holds nulls.
        UnsupportedFeature: a column changed its type in a way that could lose values.
    """
    opened = OpenFile(handle, schema, *place)
    if deletions is not None and len(deletions) and deletions[-1] >= opened.source.rows:
        raise CorruptTable(
            "a deletion vector reaches beyond its file", file=opened.path,
            position=int(deletions[-1]), rows=opened.source.rows,
        )  # fmt: skip
    projection = opened.projection(wanted)
    check = _OrderCheck(schema, opened.path, unique=unique)
    for chunk in opened.source.chunks(limit_bytes):
        frame = check.passed(opened.read(chunk, projection))
        yield frame if deletions is None else without(frame, chunk.offset, deletions)


def without(frame: pl.DataFrame, offset: int, deletions: Positions) -> pl.DataFrame:
    """The frame, whose first row is the file's row ``offset``, without the deleted rows."""
    low, high = np.searchsorted(deletions, [offset, offset + frame.height])
    if low == high:
        return frame
    kept = np.ones(frame.height, dtype=np.bool_)
    kept[deletions[low:high] - offset] = False
    return frame.filter(pl.Series(kept))


class _OrderCheck:
    """Passes chunks of one file on while they ascend; append tables have no order."""

    def __init__(self, schema: TableSchema, path: str, *, unique: bool) -> None:
        self._check = strictly_ascending if unique else ascending
        self._rule = MergeRule.of(schema) if schema.keyed else None
        self._path = path
        self._last: pl.DataFrame | None = None

    def passed(self, frame: pl.DataFrame) -> pl.DataFrame:
        if self._rule is None or frame.height == 0:
            return frame
        for name in (*self._rule.keys, SEQUENCE, KIND):
            if frame.get_column(name).null_count():
                raise BadData("a key or system column holds nulls", column=name, file=self._path)
        order = order_frame(frame, self._rule.keys, self._rule.key_types)
        joined = order if self._last is None else pl.concat([self._last, order])
        if not self._check(joined):
            raise CorruptTable("keys do not ascend in a data file", file=self._path)
        self._last = order.tail(1)
        return frame
