"""Writes rows: hashed to partitions and buckets as Paimon does, one sorted level-0 file a bucket.

Vectorised: rows are never touched one by one, only buckets are. A key that comes more than once in
a call is merged as the table's engine merges, since a level-0 file holds a key once; with the
changelog producer `input` the rows also go, as they came, to a changelog file.

Spec: format §7.1 (buckets), §8.1–8.5 (files), §11; maintenance §4.6.
"""

from __future__ import annotations

import itertools
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
from .merge.feed import feed_of_rows
from .merge.reduce import reduce_feed
from .merge.rule import MergeRule
from .metadata import MetadataReader
from .output import OutputSpec, OutputWriter
from .plan import partition_text
from .row_kinds import with_kinds
from .schema import KEY_PREFIX, SEQUENCE, TableSchema
from .snapshot import CommitKind
from .supported import check_table


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
    if schema.keyed:
        rows = with_kinds(rows, schema, kinds)
    elif kinds is not None:
        raise InvalidRequest("row kinds need a primary key", table=handle.name)
    if rows.height == 0:
        return None
    options = options or WriteOptions()
    committer = committer or Committer(handle)
    task_id = str(uuid.uuid4())
    writer = _BucketWriter(handle, schema, task_id, committer.reader)
    try:
        entries, changelog = writer.write(rows)
    except BaseException:
        writer.discard()
        raise
    request = CommitRequest(
        CommitKind.APPEND,
        options.user or f"desilt-{task_id}",
        task_id,
        entries,
        BATCH_IDENTIFIER if options.identifier is None else options.identifier,
        changelog=changelog,
    )
    try:
        return committer.commit(request)
    except OutcomeUnknown:
        raise
    except TableError as error:
        if not error.context.get("published_once"):
            writer.discard()
        raise


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
        self._numbers = itertools.count()

    def write(
        self, rows: pl.DataFrame
    ) -> tuple[tuple[ManifestEntry, ...], tuple[ManifestEntry, ...]]:
        """New files, and new changelog files."""
        located = rows.with_columns(self._partitions(rows), self._buckets(rows))
        sequences = self._last_sequences(located.get_column("_partition"))
        entries: list[ManifestEntry] = []
        changelog: list[ManifestEntry] = []
        total = self._schema.options.bucket
        by = ["_partition", "_bucket"]
        for part in located.partition_by(by, maintain_order=True):
            partition, bucket = part.select(by).row(0)
            first = sequences.get((partition, bucket), -1) + 1
            files, changes = self._write_bucket(part.drop(by), partition, bucket, first)
            for made, kept in ((files, entries), (changes, changelog)):
                kept += [ManifestEntry(EntryKind.ADD, partition, bucket, total, f) for f in made]
        return tuple(entries), tuple(changelog)

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

    def _last_sequences(self, partitions: pl.Series) -> dict[tuple[bytes, int], int]:
        """The largest sequence number of each bucket of these partitions (format §8.4)."""
        snapshot = self._handle.snapshots.latest()
        if snapshot is None or self._schema.options.bucket == -1:
            return {}
        live = self._reader.live(snapshot)
        live = live.filter(pl.col("partition").is_in(partitions.unique().implode()))
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
    ) -> tuple[tuple[DataFile, ...], tuple[DataFile, ...]]:
        schema = self._schema
        folder = paths.bucket_dir(self._handle.root, partition_text(schema, partition), bucket)
        if not schema.keyed:
            return self._files(folder, rows, first_sequence), ()
        feed = feed_of_rows(_numbered(rows, schema, first_sequence), MergeRule.of(schema))
        merged = reduce_feed(feed, MergeRule.of(schema), engine_of(schema))
        files = self._files(folder, merged.kept(drop_deletes=False), first_sequence)
        if schema.options.changelog_producer != "input":
            return files, ()
        came = feed.rows[pl.Series(feed.order)]
        return files, self._files(folder, came, first_sequence, changelog=True)

    def _files(
        self, folder: str, rows: pl.DataFrame, first_sequence: int, *, changelog: bool = False
    ) -> tuple[DataFile, ...]:
        spec = OutputSpec(
            folder,
            self._task_id,
            0,
            FileSource.APPEND,
            self._numbers,
            first_sequence,
            changelog=changelog,
        )
        writer = OutputWriter(self._handle, self._schema, spec)
        try:
            return writer.write(_parts(rows.select(f.name for f in self._schema.physical)))
        finally:
            self._paths += writer.paths


PART_ROWS = 65_536


def _parts(rows: pl.DataFrame) -> Iterator[pl.DataFrame]:
    for start in range(0, rows.height, PART_ROWS):
        yield rows.slice(start, PART_ROWS)


def _numbered(rows: pl.DataFrame, schema: TableSchema, first_sequence: int) -> pl.DataFrame:
    """Physical columns, numbered in the order the rows came."""
    numbers = pl.int_range(first_sequence, first_sequence + rows.height, eager=True)
    keys: Sequence[pl.Expr] = [pl.col(k).alias(KEY_PREFIX + k) for k in schema.trimmed_keys]
    return rows.with_columns(*keys, numbers.alias(SEQUENCE))
