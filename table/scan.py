"""Reads a table as a lazy frame: merged on the way, with projection, predicate and limit pushed
down.

Partitions and buckets are read one after the other, slice by slice, so memory stays bounded. What
of the predicate may leave out partitions, buckets, files or row groups does (`scan_plan`); all of
it is applied to the rows in the end, so that nothing depends on what was left out.

Spec: format §8.6, §8.7.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import polars as pl
from polars.io.plugins import register_io_source

from .errors import InvalidRequest, TableError, naming
from .handle import TableHandle
from .predicate.parse import row_by_row
from .scan_snapshot import ScanRequest, Scope, SnapshotScan
from .schema import TableSchema
from .snapshot import Snapshot
from .supported import check_table

Reader = Callable[[Scope], Iterator[pl.DataFrame]]

_KEPT = "FILTER "  # how a query plan begins whose outermost step filters


def scan_table(
    handle: TableHandle,
    *,
    columns: Sequence[str] | None = None,
    filter: pl.Expr | None = None,  # Polars' own word
    limit: int | None = None,
    snapshot_id: int | None = None,
) -> pl.LazyFrame:
    """A snapshot's rows (the latest by default) as a lazy frame; no data is read yet.

    Args:
        limit: of the rows that pass ``filter``; which ones is not said.

    Raises:
        InvalidRequest: an unknown column or snapshot, a column named twice, or a negative limit.
        UnsupportedFeature: the table needs what this release does not have.
    """
    scan = open_scan(handle, snapshot_id)
    return lazy_scan(
        scan,
        scan.frames,
        ScanRequest(columns=checked_columns(columns, scan), filter=filter, limit=limit),
    )


def open_scan(handle: TableHandle, snapshot_id: int | None) -> SnapshotScan:
    """Scans in the newest schema, or in that of the snapshot asked for."""
    try:
        schema = handle.latest_schema()
        check_table(schema)
        snapshot = _snapshot(handle, snapshot_id)
        if snapshot is not None and snapshot_id is not None:
            schema = handle.schema(snapshot.schema_id)
            check_table(schema)
        return SnapshotScan(handle, schema, snapshot)
    except TableError as error:
        raise error.at(table=handle.name) from error


def lazy_scan(scan: SnapshotScan, read: Reader, request: ScanRequest) -> pl.LazyFrame:
    """The request as a lazy frame whose rows ``read`` gives, or whoever stands in for it."""
    if request.limit is not None and request.limit < 0:
        raise InvalidRequest("limit is negative", limit=request.limit, table=scan.handle.name)
    baked, left = ScanRequest(limit=request.limit), request.filter
    if request.limit is not None and left is not None:
        if row_by_row(left):
            known = as_pushed(left, scan.schema)
            baked, left = replace(baked, filter=left, known=known), None
        else:  # Polars filters, and must do so before it counts
            baked = ScanRequest()

    def batches(
        with_columns: list[str] | None,
        predicate: pl.Expr | None,
        n_rows: int | None,
        batch_size: int | None,
    ) -> Iterator[pl.DataFrame]:
        with naming(scan.handle.name):
            yield from read(scan.scope(baked.pushed(with_columns, predicate, n_rows)))

    lazy = register_io_source(batches, schema=scan.schema.polars)
    if left is not None:
        lazy = lazy.filter(left)
        lazy = lazy if request.limit is None else lazy.head(request.limit)
    return lazy if request.columns is None else lazy.select(request.columns)


def as_pushed(predicate: pl.Expr, schema: TableSchema) -> pl.Expr | None:
    """What Polars hands to a scan of the predicate, types resolved and constants folded.

    It may be a part of it: what could fail on a row that another part rules out stays behind. None
    where all of it does.
    """
    handed: list[pl.Expr | None] = []
    _filtered(predicate, schema, handed).collect()
    return handed[0] if handed else None


def kept_back(predicate: pl.Expr, schema: TableSchema) -> str | None:
    """The text of what Polars does not hand over; None where that is nothing. For eyes only."""
    first, _, rest = _filtered(predicate, schema, []).explain().partition("\n")
    return first.removeprefix(_KEPT) if first.startswith(_KEPT) and rest else None


def _filtered(
    predicate: pl.Expr, schema: TableSchema, handed: list[pl.Expr | None]
) -> pl.LazyFrame:
    def batches(
        with_columns: list[str] | None,
        predicate: pl.Expr | None,
        n_rows: int | None,
        batch_size: int | None,
    ) -> Iterator[pl.DataFrame]:
        handed.append(predicate)
        yield pl.DataFrame(schema=schema.polars).select(with_columns or schema.names)

    return register_io_source(batches, schema=schema.polars).filter(predicate)


def rows_of_levels(
    handle: TableHandle,
    schema: TableSchema,
    snapshot: Snapshot,
    columns: Sequence[str] | None,
    first_level: int,
) -> Iterator[pl.DataFrame]:
    """Merged rows of a snapshot, read from these levels on, in this schema.

    Level 0 is seen if asked for, also where batch reads do not see it.
    """
    scan = SnapshotScan(handle, schema, snapshot, first_level)
    request = ScanRequest(columns=None if columns is None else tuple(columns))
    yield from scan.frames(scan.scope(request))


def _snapshot(handle: TableHandle, snapshot_id: int | None) -> Snapshot | None:
    if snapshot_id is None:
        return handle.snapshots.latest()
    found = handle.snapshots.find(snapshot_id)
    if found is None:
        raise InvalidRequest("no such snapshot", snapshot_id=snapshot_id, table=handle.name)
    return found


def checked_columns(columns: Sequence[str] | None, scan: SnapshotScan) -> tuple[str, ...] | None:
    """
    Raises:
        InvalidRequest: an unknown column, or one that is named twice.
    """
    for place, name in enumerate(columns or ()):
        if name not in scan.schema.names:
            raise InvalidRequest("no such column", column=name, table=scan.handle.name)
        if columns is not None and name in columns[:place]:
            raise InvalidRequest("a column is named twice", column=name, table=scan.handle.name)
    return None if columns is None else tuple(columns)
