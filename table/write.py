"""Writes rows: hashed to partitions and buckets as Paimon does, one sorted level-0 file a bucket.

Vectorised: rows are never touched one by one, only buckets are. A key that comes more than once in
a call keeps its last row, since a level-0 file holds a key once.

Spec: format §7.1 (buckets), §8.1–8.5 (files).
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

import polars as pl

from . import paths
from .bucket import bucket_numbers, encode_partitions
from .commit import CommitOutcome, Committer
from .commit_files import BATCH_IDENTIFIER, CommitRequest
from .conform import conform
from .errors import InvalidRequest, OutcomeUnknown, TableError
from .handle import TableHandle
from .manifest.entry import DataFile, EntryKind, FileSource, ManifestEntry
from .merge.engine import engine_of
from .merge.reduce import merge_rows
from .merge.rule import MergeRule
from .metadata import MetadataReader
from .output import OutputSpec, OutputWriter
from .plan import partition_text
from .schema import KEY_PREFIX, KIND, SEQUENCE, TableSchema
from .snapshot import CommitKind
from .supported import check_table

INSERT = 0
DELETE = 3
KINDS = {"+I": 0, "-U": 1, "+U": 2, "-D": 3}


@dataclass(frozen=True, slots=True)
class WriteOptions:
    """Who commits, under which identifier; a fresh user by default."""

    user: str | None = None
    identifier: int | None = None


def write_rows(
    handle: TableHandle,
    frame: pl.DataFrame,
    *,
    kinds: pl.Series | None = None,
    options: WriteOptions | None = None,
    committer: Committer | None = None,
) -> CommitOutcome | None:
    """Append rows as one snapshot; None when there are none.

    Args:
        frame: columns by name; missing nullable ones become null.
        kinds: row kinds (``+I -U +U -D``), as text or as numbers 0–3, one a row; inserts by
            default. Only keyed tables take retracts.

    Raises:
        InvalidRequest: unknown or missing columns, kinds on an append table.
        BadData: nulls where none may be, values that do not fit a type.
        StorageUnavailable, OutcomeUnknown, CommitConflict: as the commit says.
    """
    schema = handle.latest_schema()
    check_table(schema)
    rows = conform(frame, schema)
    if rows.height == 0:
        return None
    if schema.keyed:
        rows = rows.with_columns(_kind_numbers(kinds, rows.height).alias(KIND))
    elif kinds is not None:
        raise InvalidRequest("row kinds need a primary key", table=handle.name)
    options = options or WriteOptions()
    committer = committer or Committer(handle)
    task_id = str(uuid.uuid4())
    writer = _BucketWriter(handle, schema, task_id, committer.reader)
    try:
        entries = writer.write(rows)
    except BaseException:
        writer.discard()
        raise
    request = CommitRequest(
        CommitKind.APPEND,
        options.user or f"desilt-{task_id}",
        task_id,
        entries,
        BATCH_IDENTIFIER if options.identifier is None else options.identifier,
    )
    try:
        return committer.commit(request)
    except OutcomeUnknown:
        raise
    except TableError as error:
        if not error.context.get("published_once"):
            writer.discard()
        raise


def _kind_numbers(kinds: pl.Series | None, height: int) -> pl.Series:
    if kinds is None:
        return pl.Series([INSERT], dtype=pl.Int8).new_from_index(0, height)
    if len(kinds) != height:
        raise InvalidRequest("one kind a row is needed", rows=height, kinds=len(kinds))
    try:
        if kinds.dtype == pl.String:
            numbers = kinds.replace_strict(KINDS, return_dtype=pl.Int8)
        else:
            numbers = kinds.cast(pl.Int8)
    except pl.exceptions.PolarsError as error:
        raise InvalidRequest("row kinds are +I, -U, +U, -D") from error
    if kinds.dtype.is_float() or not numbers.is_between(0, 3).all() or numbers.null_count():
        raise InvalidRequest("row kinds are +I, -U, +U, -D")
    return numbers


class _BucketWriter:
    """Writes one call's rows, bucket by bucket."""

    def __init__(
        self, handle: TableHandle, schema: TableSchema, task_id: str, reader: MetadataReader
    ) -> None:
        self._handle = handle
        self._reader = reader
        self._schema = schema
        self._task_id = task_id
        self._paths: list[str] = []
        self._next_index = 0

    def write(self, rows: pl.DataFrame) -> tuple[ManifestEntry, ...]:
        located = rows.with_columns(self._partitions(rows), self._buckets(rows))
        sequences = self._last_sequences()
        entries: list[ManifestEntry] = []
        by = ["_partition", "_bucket"]
        for part in located.partition_by(by, maintain_order=True):
            partition, bucket = part.select(by).row(0)
            first = sequences.get((partition, bucket), -1) + 1
            files = self._write_bucket(part.drop(by), partition, bucket, first)
            total = self._schema.options.bucket
            entries += [ManifestEntry(EntryKind.ADD, partition, bucket, total, f) for f in files]
        return tuple(entries)

    def discard(self) -> None:
        with suppress(TableError):
            self._handle.storage.delete(self._paths)

    def _partitions(self, rows: pl.DataFrame) -> pl.Series:
        keys = self._schema.partition_keys
        return encode_partitions(rows, keys, self._schema.types(keys)).alias("_partition")

    def _buckets(self, rows: pl.DataFrame) -> pl.Series:
        count = self._schema.options.bucket
        if count == -1:
            return pl.Series("_bucket", [0], pl.Int32()).new_from_index(0, rows.height)
        keys = self._schema.bucket_keys
        return bucket_numbers(rows, keys, self._schema.types(keys), count).alias("_bucket")

    def _last_sequences(self) -> dict[tuple[bytes, int], int]:
        """The largest sequence number of each bucket (format §8.4)."""
        snapshot = self._handle.snapshots.latest()
        if snapshot is None or self._schema.options.bucket == -1:
            return {}
        live = self._reader.live(snapshot)
        self._check_bucket_count(live)
        largest = live.group_by("partition", "bucket").agg(pl.col("max_sequence").max())
        return {(p, b): s for p, b, s in largest.iter_rows()}

    def _check_bucket_count(self, live: pl.DataFrame) -> None:
        count = self._schema.options.bucket
        other = set(live["total_buckets"].unique().to_list()) - {count}
        if other:
            raise InvalidRequest(
                "partitions with another bucket count need an overwrite first",
                table=self._handle.name, bucket=count, found=min(other),
            )  # fmt: skip

    def _write_bucket(
        self, rows: pl.DataFrame, partition: bytes, bucket: int, first_sequence: int
    ) -> tuple[DataFile, ...]:
        schema = self._schema
        folder = paths.bucket_dir(self._handle.root, partition_text(schema, partition), bucket)
        spec = OutputSpec(
            folder, self._task_id, 0, FileSource.APPEND, self._next_index, first_sequence
        )
        writer = OutputWriter(self._handle, schema, spec)
        if schema.keyed:
            rows = _sorted_by_key(rows, schema, first_sequence)
        try:
            return writer.write(_parts(rows.select(f.name for f in schema.physical)))
        finally:
            self._paths += writer.paths
            self._next_index = writer.next_index


PART_ROWS = 65_536


def _parts(rows: pl.DataFrame) -> Iterator[pl.DataFrame]:
    for start in range(0, rows.height, PART_ROWS):
        yield rows.slice(start, PART_ROWS)


def _sorted_by_key(rows: pl.DataFrame, schema: TableSchema, first_sequence: int) -> pl.DataFrame:
    """Physical rows in key order, each key once, numbered in the order they came."""
    numbers = pl.int_range(first_sequence, first_sequence + rows.height, eager=True)
    keys: Sequence[pl.Expr] = [pl.col(k).alias(KEY_PREFIX + k) for k in schema.trimmed_keys]
    physical = rows.with_columns(*keys, numbers.alias(SEQUENCE))
    return merge_rows(physical, MergeRule.of(schema), engine_of(schema))
