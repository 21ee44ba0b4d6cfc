"""What one compaction of one bucket would do: plain data, made from metadata alone, printable.

A plan names its inputs, what is upgraded by metadata, what is rewritten together and how its keys
are merged, and the premises under which all that is right. Workers get plans as JSON.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import msgspec
import polars as pl

from . import paths
from .decision import Bucket, Mode, PlanOptions, RewritePlan
from .errors import UnsupportedFeature
from .handle import TableHandle
from .manifest.entry import DataFile, ManifestEntry, frame_entries
from .manifest.index import IndexEntry
from .metadata import MetadataReader
from .partition import partition_path
from .plan_append import decide_append
from .plan_keyed import decide_keyed
from .premises import InputFile, Premises
from .record_expiry import RecordExpiry
from .row import decode_row
from .schema import TableSchema
from .snapshot import Snapshot

UNKNOWN_ROWS = 2**62
"""More than any file has."""


@dataclass(frozen=True, slots=True)
class CompactionPlan:
    """One compaction of one bucket. Bytes and rows are predictions: what would be read.

    ``inputs`` holds every file that is rewritten or upgraded, as the manifest has it; ``lookups``
    those in which keys are looked up. ``deletion_files``: the index files with the deletion vectors
    of the bucket, or of the inputs where buckets share them.
    """

    table: str
    path: str
    task_id: str
    partition: str
    bucket: int
    mode: Mode
    keyed: bool
    snapshot_id: int
    output_level: int
    max_level: int
    reason: str
    premises: Premises
    inputs: tuple[ManifestEntry, ...]
    upgrades: tuple[str, ...]
    rewrites: tuple[RewritePlan, ...]
    bucket_files: int
    lookups: tuple[ManifestEntry, ...] = ()
    deletion_files: tuple[IndexEntry, ...] = ()
    expiry: RecordExpiry | None = None

    @property
    def input_bytes(self) -> int:
        """Bytes that are read (upgrades alone read nothing, nor are lookups counted)."""
        files = self.files
        return sum(files[n].size_bytes for r in self.rewrites for n in r.names)

    @property
    def input_rows(self) -> int:
        files = self.files
        return sum(files[n].row_count for r in self.rewrites for n in r.names)

    @property
    def input_files(self) -> int:
        """Files that are rewritten."""
        return sum(len(r.names) for r in self.rewrites if r.writes)

    @property
    def prefix(self) -> str:
        """What the names of all data files of this task start with, after the table's prefix."""
        return self.task_id

    @property
    def files(self) -> dict[str, DataFile]:
        """Every input by name."""
        return {e.file.name: e.file for e in self.inputs}

    def to_json(self) -> str:
        return msgspec.json.encode(self).decode()

    @staticmethod
    def from_json(text: str | bytes) -> CompactionPlan:
        return msgspec.json.decode(text, type=CompactionPlan)


@dataclass(frozen=True, slots=True)
class BucketKey:
    """One bucket of a table: serialized partition and number."""

    partition: bytes
    bucket: int

    @property
    def chosen(self) -> pl.Expr:
        """True for the bucket's entries."""
        return (pl.col("partition") == self.partition) & (pl.col("bucket") == self.bucket)


@dataclass(frozen=True, slots=True)
class PlanInput:
    """A snapshot with its live files (slim) and the schema in force: what a plan is made from."""

    snapshot: Snapshot
    schema: TableSchema
    live: pl.DataFrame


def plan_bucket(
    handle: TableHandle,
    reader: MetadataReader,
    given: PlanInput,
    key: BucketKey,
    task_id: str,
    options: PlanOptions,
) -> CompactionPlan | None:
    """What to do with one bucket; None when nothing is due.

    Raises:
        UnsupportedFeature: the bucket holds files this release must not rewrite.
        CorruptTable: manifests contradict themselves.
    """
    entries = frame_entries(given.live.filter(key.chosen))
    if not entries:
        return None
    refuse_files(entries)
    schema = given.schema
    index = deletion_files(reader, given, key)
    expiry = RecordExpiry.of(schema, handle.world.now_millis())
    bucket = Bucket(
        schema,
        tuple(e.file for e in entries),
        deleted_rows(index),
        _expired(handle, reader, given, key, entries, expiry),
    )
    decided = decide_keyed(bucket, options) if schema.keyed else decide_append(bucket, options)
    if decided is None or not (decided.upgrades or decided.rewrites):
        return None
    names = {*decided.upgrades, *(n for r in decided.rewrites for n in r.names)}
    whole = reader.entries(given.snapshot, key.partition, key.bucket, names)
    by_name = {e.file.name: e for e in entries}
    bucketed = schema.options.bucket > 0
    premises = Premises(
        schema_id=schema.id,
        partition=key.partition,
        bucket=key.bucket,
        total_buckets=entries[0].total_buckets,
        inputs=tuple(InputFile(e.file.name, e.file.level) for e in whole),
        bucket_index=bucketed,
    )
    premises = replace(premises, deletion_files=premises.deletion_files_now(index))
    return CompactionPlan(
        table=handle.name,
        path=handle.root,
        task_id=task_id,
        partition=partition_text(schema, key.partition),
        bucket=key.bucket,
        mode=options.mode,
        keyed=schema.keyed,
        snapshot_id=given.snapshot.id,
        output_level=decided.output_level,
        max_level=decided.max_level,
        reason=decided.reason,
        premises=premises,
        inputs=whole,
        upgrades=decided.upgrades,
        rewrites=decided.rewrites,
        bucket_files=len(entries),
        lookups=tuple(by_name[name] for name in decided.lookups),
        deletion_files=tuple(e for e in index if e.file_name in premises.deletion_files),
        expiry=expiry,
    )


def deletion_files(
    reader: MetadataReader, given: PlanInput, key: BucketKey
) -> tuple[IndexEntry, ...]:
    """The index files with deletion vectors of the bucket.

    Raises:
        UnsupportedFeature: there are vectors, and the table's options say that there are none.
    """
    found = reader.deletion_files(given.snapshot, key.partition, key.bucket)
    if not given.schema.options.deletion_vectors and any(e.deletions for e in found):
        raise UnsupportedFeature(
            "deletion vectors are left from before they were disabled",
            option="deletion-vectors.enabled", value="false",
        )  # fmt: skip
    return found


def deleted_rows(index: Sequence[IndexEntry]) -> dict[str, int]:
    """Rows that vectors take from each data file; `UNKNOWN_ROWS` where the writer did not say."""
    return {
        r.data_file: UNKNOWN_ROWS if r.cardinality is None else r.cardinality
        for e in index
        for r in e.deletions or ()
    }


def _expired(
    handle: TableHandle,
    reader: MetadataReader,
    given: PlanInput,
    key: BucketKey,
    entries: Sequence[ManifestEntry],
    expiry: RecordExpiry | None,
) -> frozenset[str]:
    """Files that hold expired records; they are looked at with their statistics."""
    if expiry is None or not given.schema.keyed:
        return frozenset()
    names = {e.file.name for e in entries}
    whole = reader.entries(given.snapshot, key.partition, key.bucket, names)
    return frozenset(
        e.file.name for e in whole if expiry.holds_expired(e.file, given.schema, handle)
    )


def partition_text(schema: TableSchema, partition: bytes) -> str:
    """The partition as its directory text, without slashes at the ends; "" without partitions."""
    types = schema.types(schema.partition_keys)
    options = schema.options
    return partition_path(
        decode_row(partition, types),
        schema.partition_keys,
        types,
        default_name=options.default_partition,
        legacy=options.legacy_partition_names,
    ).strip("/")


def directory(handle: TableHandle, partition: str, bucket: int) -> str:
    return paths.bucket_dir(handle.root, partition, bucket)


def refuse_files(entries: Sequence[ManifestEntry]) -> None:
    """Refuse by name files whose rewriting needs what this release does not have."""
    for entry in entries:
        file = entry.file
        if not file.name.endswith(".parquet"):
            raise UnsupportedFeature("file format is not supported", file=file.name)
        if file.external_path is not None:
            raise UnsupportedFeature("external paths are not supported", file=file.name)
        if file.first_row_id is not None or file.write_cols is not None:
            raise UnsupportedFeature("row tracking is not supported", file=file.name)
        if entry.bucket < 0:
            raise UnsupportedFeature("postpone buckets are not supported", bucket=entry.bucket)
