"""What one compaction of one bucket would do: plain data, made from metadata alone, printable.

A plan names its inputs, what is upgraded by metadata, what is rewritten together, and the premises
under which all that is right. Workers get plans as JSON.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import msgspec
import polars as pl

from . import paths
from .append import (
    Group,
    PackOptions,
    pack_all_ordered,
    pack_all_unordered,
    pack_ordered,
    pack_unordered,
)
from .datatypes import DataType
from .errors import UnsupportedFeature
from .handle import TableHandle
from .lsm.pick import Growth, Pick, PickOptions, RunSize, pick_full, pick_universal
from .lsm.run import LevelRun, LsmFile, level_runs, lsm_file
from .lsm.section import Treatment, TreatOptions, treat
from .manifest.entry import DataFile, ManifestEntry, frame_entries
from .metadata import MetadataReader
from .options import TableOptions
from .partition import partition_path
from .premises import InputFile, Premises
from .row import decode_row
from .schema import TableSchema
from .snapshot import Snapshot

Mode = Literal["minor", "full"]
SectionNames = tuple[tuple[str, ...], ...]
"""Runs of one section as file names; a run's files in key order."""


@dataclass(frozen=True, slots=True)
class RewritePlan:
    """Files merged into new ones together; sections in key order (one, of one run, if appended)."""

    sections: tuple[SectionNames, ...]
    drop_deletes: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(name for section in self.sections for run in section for name in run)


@dataclass(frozen=True, slots=True)
class CompactionPlan:
    """One compaction of one bucket. Bytes and rows are predictions: what would be read.

    ``inputs`` holds every file that is rewritten or upgraded, as the manifest has it.
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
    reason: str
    premises: Premises
    inputs: tuple[ManifestEntry, ...]
    upgrades: tuple[str, ...]
    rewrites: tuple[RewritePlan, ...]
    bucket_files: int

    @property
    def input_bytes(self) -> int:
        """Bytes that a rewrite reads (upgrades read nothing)."""
        files = self.files
        return sum(files[n].size_bytes for r in self.rewrites for n in r.names)

    @property
    def input_rows(self) -> int:
        files = self.files
        return sum(files[n].row_count for r in self.rewrites for n in r.names)

    @property
    def input_files(self) -> int:
        return sum(len(r.names) for r in self.rewrites)

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


@dataclass(frozen=True, slots=True)
class PlanInput:
    """A snapshot with its live files (slim) and the schema in force: what a plan is made from."""

    snapshot: Snapshot
    schema: TableSchema
    live: pl.DataFrame


@dataclass(frozen=True, slots=True)
class PlanOptions:
    """``growth``: which release's growing rule.

    The numbers replace the table's own for picking only (its levels stay): what a policy decided.
    """

    mode: Mode = "minor"
    growth: Growth = Growth.HEAD
    trigger: int | None = None
    size_amplification_percent: int | None = None
    size_ratio_percent: int | None = None

    def limit(self, own: PickOptions) -> PickOptions:
        """The table's own numbers, replaced where one is given."""
        return replace(
            own,
            trigger=own.trigger if self.trigger is None else self.trigger,
            size_amplification_percent=own.size_amplification_percent
            if self.size_amplification_percent is None
            else self.size_amplification_percent,
            size_ratio_percent=own.size_ratio_percent
            if self.size_ratio_percent is None
            else self.size_ratio_percent,
        )


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
    bucket = given.live.filter(
        (pl.col("partition") == key.partition) & (pl.col("bucket") == key.bucket)
    )
    entries = frame_entries(bucket)
    if not entries:
        return None
    refuse_files(entries)
    if given.schema.keyed:
        decided = _decide_keyed(given.schema, [e.file for e in entries], options)
    else:
        decided = _decide_append(given.schema, [e.file for e in entries], options)
    if decided is None or not (decided.upgrades or decided.rewrites):
        return None
    names = {*decided.upgrades, *(n for r in decided.rewrites for n in r.names)}
    whole = reader.entries(given.snapshot, key.partition, key.bucket, names)
    return CompactionPlan(
        table=handle.name,
        path=handle.root,
        task_id=task_id,
        partition=partition_text(given.schema, key.partition),
        bucket=key.bucket,
        mode=options.mode,
        keyed=given.schema.keyed,
        snapshot_id=given.snapshot.id,
        output_level=decided.output_level,
        reason=decided.reason,
        premises=Premises(
            schema_id=given.schema.id,
            partition=key.partition,
            bucket=key.bucket,
            total_buckets=entries[0].total_buckets,
            inputs=tuple(InputFile(e.file.name, e.file.level) for e in whole),
            index_manifest=given.snapshot.index_manifest,
        ),
        inputs=whole,
        upgrades=decided.upgrades,
        rewrites=decided.rewrites,
        bucket_files=len(entries),
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


def refuse_files(entries: tuple[ManifestEntry, ...]) -> None:
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


@dataclass(frozen=True, slots=True)
class _Decision:
    upgrades: tuple[str, ...]
    rewrites: tuple[RewritePlan, ...]
    output_level: int
    reason: str


def pick_options(options: TableOptions, runs: tuple[LevelRun, ...], growth: Growth) -> PickOptions:
    """The table's options for picking; levels that hold files always count."""
    deepest = max((r.level for r in runs), default=0)
    return PickOptions(
        trigger=options.trigger,
        size_amplification_percent=options.size_amplification_percent,
        size_ratio_percent=options.size_ratio_percent,
        max_level=max(options.levels - 1, deepest),
        growth=growth,
    )


def bucket_runs(files: list[DataFile], key_types: tuple[DataType, ...]) -> tuple[LevelRun, ...]:
    return level_runs([lsm_file(f, key_types) for f in files])


def _decide_keyed(
    schema: TableSchema, files: list[DataFile], options: PlanOptions
) -> _Decision | None:
    table_options = schema.options
    runs = bucket_runs(files, schema.types(schema.trimmed_keys))
    sizes = [RunSize(r.level, r.size_bytes) for r in runs]
    picking = options.limit(pick_options(table_options, runs, options.growth))
    pick = pick_full(sizes, picking) if options.mode == "full" else pick_universal(sizes, picking)
    if pick is None:
        return None
    treatment = _treatment(runs, pick, picking, table_options, full=options.mode == "full")
    # Deletes may go once nothing older can lie below: over all files, not only the inputs.
    drop = pick.output_level >= max(r.level for r in runs)
    return _Decision(
        tuple(f.file.name for f in treatment.upgrades),
        tuple(
            RewritePlan(
                tuple(
                    tuple(tuple(f.file.name for f in run) for run in section.runs)
                    for section in rewrite
                ),
                drop_deletes=drop,
            )
            for rewrite in treatment.rewrites
        ),
        pick.output_level,
        pick.reason,
    )


def _treatment(
    runs: tuple[LevelRun, ...],
    pick: Pick,
    picking: PickOptions,
    options: TableOptions,
    *,
    full: bool,
) -> Treatment:
    picked: list[LsmFile] = [f for run in runs[: pick.count] for f in run.files]
    single = len(runs) == 1 and runs[0].level == picking.max_level
    if full and single and not options.force_rewrite_all:
        return Treatment((), ())
    return treat(
        picked,
        TreatOptions(
            output_level=pick.output_level,
            max_level=picking.max_level,
            small_file_bytes=options.small_file_bytes,
            force_rewrite=options.force_rewrite_all,
        ),
    )


def _decide_append(
    schema: TableSchema, files: list[DataFile], options: PlanOptions
) -> _Decision | None:
    groups = pack(schema.options, files, options.mode)
    if not groups:
        return None
    rewrites = tuple(RewritePlan(((tuple(f.name for f in group),),)) for group in groups)
    count = sum(len(g) for g in groups)
    reason = f"packing: {count} of {len(files)} files into {len(groups)} bins"
    return _Decision((), rewrites, 0, reason)


def pack(options: TableOptions, files: list[DataFile], mode: Mode) -> tuple[Group, ...]:
    """Groups of append files to join, by the table's bucket mode."""
    packing = PackOptions.of(options)
    ordered = options.bucket > 0 and options.append_ordered
    if mode == "full":
        chosen = pack_all_ordered if ordered else pack_all_unordered
    else:
        chosen = pack_ordered if ordered else pack_unordered
    return chosen(files, packing)
