"""Rows of one data file, held against what its manifest and its schema say of it as they are read.

A file that holds fewer rows than it should, or keys that do not ascend, would make a merge lose
rows in silence. Whoever reads a data file reads it through here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager

import numpy as np
import polars as pl

from . import paths
from .deletes import Positions
from .errors import BadData, CorruptTable, first_line
from .evolution import Projection, project
from .file_stats import ColumnBounds
from .format.parquet import Chunk, ParquetSource
from .handle import TableHandle
from .lsm.order import ascending, order_frame, strictly_ascending
from .manifest.entry import DataFile
from .merge.rule import MergeRule
from .schema import KIND, SEQUENCE, Field, TableSchema
from .stats import group_bounds
from .storage import Storage

SOON_WHOLE_BYTES = 4 << 20
"""Files up to this size are fetched whole before they are opened."""

SOON_BYTES_MAX = 512 << 20
"""More than this is not fetched ahead: then only what is behind the rows is."""


def opened_soon(
    storage: Storage, folder: str, files: Sequence[DataFile]
) -> AbstractContextManager[None]:
    """These files are opened inside, in any order; see `Storage.soon`."""
    total = sum(min(file.size_bytes, SOON_WHOLE_BYTES) for file in files)
    whole = SOON_WHOLE_BYTES if total <= SOON_BYTES_MAX else 0
    return storage.soon([(paths.data_file(folder, f.name), f.size_bytes) for f in files], whole)


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
        self._schema = schema
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

    def check_deletions(self, deletions: Positions | None) -> None:
        """
        Raises:
            CorruptTable: rows are deleted that the file does not have.
        """
        if deletions is not None and len(deletions) and deletions[-1] >= self.source.rows:
            raise CorruptTable(
                "a deletion vector reaches beyond its file", file=self.path,
                position=int(deletions[-1]), rows=self.source.rows,
            )  # fmt: skip

    def group_rows(self) -> list[int]:
        """Rows of each row group."""
        metadata = self.source.metadata
        return [int(metadata.row_group(i).num_rows) for i in range(metadata.num_row_groups)]

    def group_bounds(self, columns: Sequence[str]) -> Sequence[Mapping[str, ColumnBounds]]:
        """Bounds of columns of the schema in each row group, as far as the footer knows them.

        A column that the file does not have is null; of one that had another type nothing is known.
        """
        rows = self.group_rows()
        found: list[dict[str, ColumnBounds]] = [{} for _ in rows]
        by_id = {f.id: f for f in self._written.fields}
        for name in columns:
            now = self._schema.column(name)
            then = by_id.get(now.id)
            if then is None:
                bounds = [ColumnBounds(null_count=n) for n in rows]
            elif then.type.not_null() == now.type.not_null():
                given = group_bounds(self.source.metadata, then.name, then.type)
                bounds = [ColumnBounds(*b) for b in given]
            else:
                continue
            for group, of_group in zip(found, bounds, strict=True):
                group[name] = of_group
        return found

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
    opened.check_deletions(deletions)
    projection = opened.projection(wanted)
    check = OrderCheck(schema, opened.path, unique=unique)
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


class OrderCheck:
    """Passes chunks of one file on while they ascend; append tables have no order.

    ``columns``: those that it must be given.
    """

    def __init__(self, schema: TableSchema, path: str, *, unique: bool = True) -> None:
        self._check = strictly_ascending if unique else ascending
        self._rule = MergeRule.of(schema) if schema.keyed else None
        self.columns = () if self._rule is None else (*self._rule.keys, SEQUENCE, KIND)
        self._path = path
        self._last: pl.DataFrame | None = None

    def passed(self, frame: pl.DataFrame) -> pl.DataFrame:
        if self._rule is None or frame.height == 0:
            return frame
        for name in self.columns:
            if frame.get_column(name).null_count():
                raise BadData("a key or system column holds nulls", column=name, file=self._path)
        order = order_frame(frame, self._rule.keys, self._rule.key_types)
        joined = order if self._last is None else pl.concat([self._last, order])
        if not self._check(joined):
            raise CorruptTable("keys do not ascend in a data file", file=self._path)
        self._last = order.tail(1)
        return frame
