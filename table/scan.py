"""Reads a table as a lazy frame: merged on the way, with projection and predicate pushed down.

Partitions and buckets are read one after the other, slice by slice, so memory stays bounded. What
only looks at partition columns prunes whole partitions; what only looks at keys is applied before
the merge (it keeps or drops all records of a key alike); everything else after it.

Spec: format §8.6, §8.7.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import polars as pl
from polars.io.plugins import register_io_source

from . import paths
from .compaction_rules import CompactionRules
from .data_file import read_columns
from .deletes import Vectors, read_vectors
from .errors import InvalidRequest, TableError, naming
from .handle import TableHandle
from .lsm.run import LsmFile, lsm_file
from .lsm.section import Section, alone, sections
from .lsm.slices import slices
from .manifest.entry import SLIM_SCHEMA, DataFile, frame_entries
from .merge.changes import merged_by_lookup
from .merge.engine import Engine, engine_of, needed_columns, only_columns
from .merge.feed import feed_of
from .merge.reduce import reduce_feed
from .merge.rule import LEVEL, MergeRule, is_retract
from .metadata import MetadataReader
from .plan import BucketKey, PlanInput, deletion_files, partition_text, refuse_files
from .row import decode_row, series_from_values
from .schema import Field, TableSchema
from .snapshot import Snapshot
from .supported import check_table

SCAN_CHUNK_BYTES = 24 * 1024 * 1024


def scan_table(
    handle: TableHandle,
    *,
    columns: Sequence[str] | None = None,
    filter: pl.Expr | None = None,  # Polars' own word
    snapshot_id: int | None = None,
) -> pl.LazyFrame:
    """A snapshot's rows (the latest by default) as a lazy frame; only metadata is read yet.

    Raises:
        InvalidRequest: an unknown column or snapshot.
        UnsupportedFeature: the table needs what this release does not have.
    """
    try:
        reader = _reader(handle, snapshot_id)
    except TableError as error:
        raise error.at(table=handle.name) from error
    schema = reader.schema
    for name in columns or ():
        if name not in schema.names:
            raise InvalidRequest("no such column", column=name, table=handle.name)

    def batches(
        with_columns: list[str] | None,
        predicate: pl.Expr | None,
        n_rows: int | None,
        batch_size: int | None,
    ) -> Iterator[pl.DataFrame]:
        with naming(handle.name):
            yield from reader.batches(with_columns, predicate, n_rows)

    lazy = register_io_source(batches, schema=schema.polars)
    if filter is not None:
        lazy = lazy.filter(filter)
    return lazy.select(columns) if columns is not None else lazy


def rows_of_levels(
    handle: TableHandle,
    schema: TableSchema,
    snapshot: Snapshot,
    columns: Sequence[str] | None,
    first_level: int,
) -> Iterator[pl.DataFrame]:
    """Merged rows of a snapshot, read from these levels on, in this schema."""
    yield from _Reader(handle, schema, snapshot, first_level).batches(columns, None, None)


def _reader(handle: TableHandle, snapshot_id: int | None) -> _Reader:
    """Reads in the newest schema, or in that of the snapshot asked for."""
    schema = handle.latest_schema()
    check_table(schema)
    snapshot = _snapshot(handle, snapshot_id)
    if snapshot is not None and snapshot_id is not None:
        schema = handle.schema(snapshot.schema_id)
        check_table(schema)
    return _Reader(handle, schema, snapshot)


def _snapshot(handle: TableHandle, snapshot_id: int | None) -> Snapshot | None:
    if snapshot_id is None:
        return handle.snapshots.latest()
    found = handle.snapshots.find(snapshot_id)
    if found is None:
        raise InvalidRequest("no such snapshot", snapshot_id=snapshot_id, table=handle.name)
    return found


class _Reader:
    """Reads one snapshot; the schema is the one rows are returned in."""

    def __init__(
        self,
        handle: TableHandle,
        schema: TableSchema,
        snapshot: Snapshot | None,
        first_level: int = 0,
    ) -> None:
        self._handle = handle
        self.schema = schema
        self._live = pl.DataFrame(schema=SLIM_SCHEMA)
        self._snapshot = snapshot
        self._metadata = MetadataReader(handle)
        if snapshot is not None:
            self._metadata.index(snapshot)  # kinds that are not understood are refused
            self._live = self._metadata.live(snapshot)
            least = max(first_level, 1 if schema.options.hides_level0 else 0)
            if least:
                self._live = self._live.filter(pl.col("level") >= least)

    def batches(
        self, wanted: Sequence[str] | None, predicate: pl.Expr | None, limit: int | None
    ) -> Iterator[pl.DataFrame]:
        output = list(wanted) if wanted is not None else list(self.schema.names)
        asked = predicate.meta.root_names() if predicate is not None else []
        needed = tuple(n for n in self.schema.names if n in {*output, *asked})
        left = limit
        for frame in self._frames(needed, predicate, set(asked)):
            part = frame.select(output)
            if left is not None:
                part = part.head(left)
                left -= part.height
            yield part
            if left == 0:
                return

    def _frames(
        self, needed: tuple[str, ...], predicate: pl.Expr | None, asked: set[str]
    ) -> Iterator[pl.DataFrame]:
        early = predicate is not None and asked <= {
            *self.schema.primary_keys, *self.schema.partition_keys
        }  # fmt: skip
        on_partition = predicate is not None and asked <= set(self.schema.partition_keys)
        for partition, bucket, files in self._buckets():
            if on_partition and predicate is not None and not self._holds(partition, predicate):
                continue
            text = partition_text(self.schema, partition)
            folder = paths.bucket_dir(self._handle.root, text, bucket)
            try:
                place = _Place(folder, self._deletions(partition, bucket))
                if self.schema.keyed:
                    frames = self._keyed(place, files, needed, predicate if early else None)
                else:
                    frames = self._plain(place, files, needed)
                for frame in frames:
                    yield frame if predicate is None else frame.filter(predicate)
            except TableError as error:
                raise error.at(table=self._handle.name, partition=text, bucket=bucket) from error

    def _buckets(self) -> Iterator[tuple[bytes, int, list[DataFile]]]:
        keys = self._live.select("partition", "bucket").unique().sort("partition", "bucket")
        for partition, bucket in keys.iter_rows():
            chosen = (pl.col("partition") == partition) & (pl.col("bucket") == bucket)
            entries = frame_entries(self._live.filter(chosen))
            refuse_files(entries)
            yield partition, bucket, [e.file for e in entries]

    def _deletions(self, partition: bytes, bucket: int) -> Vectors:
        """Deleted rows of the bucket's files."""
        if self._snapshot is None:
            return {}
        given = PlanInput(self._snapshot, self.schema, self._live)
        found = deletion_files(self._metadata, given, BucketKey(partition, bucket))
        return {
            name: positions
            for entry in found
            for name, positions in read_vectors(
                self._handle.storage,
                paths.index_file(self._handle.root, entry.file_name),
                entry.deletions or (),
            ).items()
        }

    def _holds(self, partition: bytes, predicate: pl.Expr) -> bool:
        keys = self.schema.partition_keys
        types = self.schema.types(keys)
        values = decode_row(partition, types)
        row = pl.DataFrame(
            [series_from_values(k, [v], t) for k, v, t in zip(keys, values, types, strict=True)]
        )
        return row.filter(predicate).height > 0

    # --- reading --------------------------------------------------------------------------------

    def _plain(
        self, place: _Place, files: list[DataFile], needed: tuple[str, ...]
    ) -> Iterator[pl.DataFrame]:
        fields = [f for f in self.schema.fields if f.name in needed] or [self.schema.fields[0]]
        for file in sorted(files, key=lambda f: (f.min_sequence, f.creation_millis or 0, f.name)):
            yield from self._file(place, file, fields)

    def _keyed(
        self, place: _Place, files: list[DataFile], needed: tuple[str, ...], early: pl.Expr | None
    ) -> Iterator[pl.DataFrame]:
        rule = MergeRule.of(self.schema)
        asked = () if early is None else early.meta.root_names()
        engine = engine_of(self.schema)
        read = needed_columns(engine, tuple(n for n in self.schema.names if n in {*needed, *asked}))
        reading = _Reading(
            place,
            [f for f in self.schema.physical if f.name in {*rule.columns, *read}],
            rule,
            only_columns(engine, read),
            CompactionRules.of(self.schema).lookup,
            early,
        )
        types = self.schema.types(self.schema.trimmed_keys)
        parts = sections(lsm_file(f, types) for f in files)
        if self._distinct(files):
            parts = tuple(alone(f) for section in parts for f in section.files)
        for section in parts:
            for frame in self._section(section, reading):
                yield frame.select(needed)

    def _distinct(self, files: Sequence[DataFile]) -> bool:
        """Whether no two rows have one key, so that files need no merging (format §8.6)."""
        options = self.schema.options
        clean = all(f.level != 0 and not f.delete_row_count for f in files)
        return clean and (options.deletion_vectors or options.merge_engine == "first-row")

    def _section(self, section: Section, reading: _Reading) -> Iterator[pl.DataFrame]:
        runs = [self._run(run, reading) for run in section.runs]
        if len(runs) == 1:
            for frame in runs[0]:
                yield frame.filter(~is_retract())
            return
        for frames in slices(runs, reading.rule):
            feed = feed_of(frames, reading.rule)
            merge = merged_by_lookup if reading.lookup else reduce_feed
            yield merge(feed, reading.rule, reading.engine).kept(drop_deletes=True)

    def _run(self, files: Sequence[LsmFile], reading: _Reading) -> Iterator[pl.DataFrame]:
        for f in files:
            level = pl.lit(f.file.level, pl.Int32).alias(LEVEL)
            for frame in self._file(reading.place, f.file, reading.fields):
                kept = frame if reading.early is None else frame.filter(reading.early)
                if kept.height:
                    yield kept.with_columns(level) if reading.lookup else kept

    def _file(
        self, place: _Place, file: DataFile, fields: Sequence[Field]
    ) -> Iterator[pl.DataFrame]:
        return read_columns(
            self._handle,
            self.schema,
            fields,
            (place.folder, file),
            SCAN_CHUNK_BYTES,
            place.deletions.get(file.name),
        )


@dataclass(frozen=True, slots=True)
class _Place:
    """A bucket's folder and deleted rows."""

    folder: str
    deletions: Vectors


@dataclass(frozen=True, slots=True)
class _Reading:
    """How a keyed bucket is read; ``early`` is a predicate on keys alone."""

    place: _Place
    fields: Sequence[Field]
    rule: MergeRule
    engine: Engine
    lookup: bool
    early: pl.Expr | None
