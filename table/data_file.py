"""Rows of one data file, held against what its manifest and its schema say of it as they are read.

A file that holds fewer rows than it should, or keys that do not ascend, would make a merge lose
rows in silence. Whoever reads a data file reads it through here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import polars as pl

from . import paths
from .errors import BadData, CorruptTable, first_line
from .evolution import Projection, project
from .format.parquet import Chunk, ParquetSource
from .handle import TableHandle
from .lsm.order import order_frame, strictly_ascending
from .manifest.entry import DataFile
from .merge.rule import MergeRule
from .schema import KIND, SEQUENCE, Field, TableSchema


def read_columns(
    handle: TableHandle,
    schema: TableSchema,
    wanted: Sequence[Field],
    place: tuple[str, DataFile],
    limit_bytes: int,
) -> Iterator[pl.DataFrame]:
    """The file chunk by chunk as the columns ``wanted`` of ``schema``, in file order.

    Args:
        wanted: in keyed tables, at least the keys and system columns.
        place: the file's directory and the file.
        limit_bytes: decoded bytes of a chunk, about.

    Raises:
        FileMissing: no such file.
        CorruptTable: unreadable, rows are missing or too many, or keys do not ascend.
        BadData: a key or system column holds nulls.
        UnsupportedFeature: a column changed its type in a way that could lose values.
    """
    folder, file = place
    path = paths.data_file(folder, file.name)
    source = ParquetSource(handle.storage, path)
    if source.rows != file.row_count:
        raise CorruptTable(
            "data file has other rows than its manifest says", file=path, manifest=file.row_count,
            rows=source.rows,
        )  # fmt: skip
    written = schema if file.schema_id == schema.id else handle.schema(file.schema_id)
    projection = project(wanted, written.physical, source.columns, path)
    check = _OrderCheck(schema, path)
    for chunk in source.chunks(limit_bytes):
        yield check.passed(_projected(source, chunk, projection, path))


def _projected(
    source: ParquetSource, chunk: Chunk, projection: Projection, path: str
) -> pl.DataFrame:
    raw = source.read(chunk, projection.sources)
    try:
        return projection.apply(raw)
    except pl.exceptions.PolarsError as error:
        raise CorruptTable(
            "a column is not of its type", reason=first_line(error), file=path
        ) from error


class _OrderCheck:
    """Passes chunks of one file on while they ascend; append tables have no order."""

    def __init__(self, schema: TableSchema, path: str) -> None:
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
        if not strictly_ascending(joined):
            raise CorruptTable("keys do not ascend in a data file", file=self._path)
        self._last = order.tail(1)
        return frame
