"""What must still hold for a planned change to be right, and how each is checked.

A plan is made from one snapshot and committed on another; whatever happened in between must not
have touched what the plan rests on. Premises are plain data, so they travel with plans.

Spec: format §13.5, maintenance §9.2.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import polars as pl

from .datatypes import DataType
from .errors import CommitConflict, CorruptTable
from .lsm.run import level_runs, lsm_file
from .manifest.entry import EntryKind, ManifestEntry, frame_entries
from .manifest.index import IndexEntry
from .schema import TableSchema

REPLANS_MAX = 5
"""How often a change is planned anew because what it rests on changed under it."""


@dataclass(frozen=True, slots=True)
class InputFile:
    """A file that must still be live, at this level."""

    name: str
    level: int


@dataclass(frozen=True, slots=True)
class Premises:
    """What must hold in the latest snapshot for a change of one bucket to be valid.

    ``deletion_files``: names of the index files that hold the deletion vectors of the whole bucket
    (``bucket_index``), or only of the inputs, where many buckets' worth of files share one.
    """

    schema_id: int
    partition: bytes
    bucket: int
    total_buckets: int
    inputs: tuple[InputFile, ...]
    deletion_files: tuple[str, ...] = ()
    bucket_index: bool = True

    def with_inputs(self, more: Sequence[InputFile]) -> Premises:
        """The same, and these files must be live, too."""
        return replace(self, inputs=tuple(dict.fromkeys((*self.inputs, *more))))

    def deletion_files_now(self, index: Sequence[IndexEntry]) -> tuple[str, ...]:
        """What ``deletion_files`` would be, by these live index files of the bucket."""
        names = {wanted.name for wanted in self.inputs}
        return tuple(
            sorted(
                e.file_name
                for e in index
                if self.bucket_index or any(r.data_file in names for r in e.deletions or ())
            )
        )


@dataclass(frozen=True, slots=True)
class PartitionPremise:
    """What must hold for a change of a whole partition: it is as it was planned, file by file.

    ``digest``: of its live data and index files (`partition_digest`).
    """

    schema_id: int
    partition: bytes
    label: str
    digest: str

    def check(self, schema: TableSchema, live: pl.DataFrame, index: Sequence[IndexEntry]) -> None:
        """All of it; ``live`` and ``index`` are those of the partition.

        Raises:
            CommitConflict: naming the premise that broke.
        """
        if schema.id != self.schema_id:
            raise CommitConflict(
                "schema changed", premise="schema id", planned=self.schema_id, now=schema.id
            )
        if partition_digest(live, index) != self.digest:
            raise CommitConflict(
                "the partition changed", premise="partition files", partition=self.label
            )


def partitions_of(live: pl.DataFrame) -> dict[bytes, pl.DataFrame]:
    """Live files by partition."""
    parts = live.partition_by("partition", as_dict=True, maintain_order=True)
    return {bytes(key[0]): frame for key, frame in parts.items()}


def partition_digest(live: pl.DataFrame, index: Sequence[IndexEntry]) -> str:
    """Says the same of two states of a partition only if they hold the same files."""
    place = live.select("bucket", "level", "name").sort("bucket", "level", "name")
    text = place.write_csv(include_header=False, separator="\0")
    names = "\0".join(sorted(e.file_name for e in index))
    return hashlib.sha256(f"{text}\n{names}".encode()).hexdigest()


def check_premises(
    premises: Premises, schema: TableSchema, live: pl.DataFrame, index: Sequence[IndexEntry]
) -> None:
    """Every premise, by name.

    Args:
        index: live index files with deletion vectors of the bucket.

    Raises:
        CommitConflict: naming the premise that broke and the values.
    """
    if schema.id != premises.schema_id:
        raise CommitConflict(
            "schema changed", premise="schema id", planned=premises.schema_id, now=schema.id
        )
    deletion_files = premises.deletion_files_now(index)
    if deletion_files != premises.deletion_files:
        raise CommitConflict(
            "deletion vectors changed", premise="deletion files",
            planned=" ".join(premises.deletion_files) or "none",
            now=" ".join(deletion_files) or "none",
        )  # fmt: skip
    partition = live.filter(pl.col("partition") == premises.partition)
    buckets = set(partition["total_buckets"].unique().to_list()) - {premises.total_buckets}
    if buckets:
        raise CommitConflict(
            "bucket count changed", premise="bucket count", planned=premises.total_buckets,
            now=min(buckets),
        )  # fmt: skip
    bucket = partition.filter(pl.col("bucket") == premises.bucket).select("name", "level")
    there = set(bucket.iter_rows())
    for wanted in premises.inputs:
        if (wanted.name, wanted.level) not in there:
            raise CommitConflict(
                "an input is no longer live", premise="inputs live", file=wanted.name,
                level=wanted.level,
            )  # fmt: skip


def check_levels(
    entries: Sequence[ManifestEntry],
    premises: Premises,
    live: pl.DataFrame,
    key_types: Sequence[DataType],
) -> None:
    """No level above 0 of the bucket may hold overlapping files after these entries.

    Raises:
        CommitConflict: naming the level and files.
    """
    bucket = live.filter(
        (pl.col("partition") == premises.partition)
        & (pl.col("bucket") == premises.bucket)
        & (pl.col("level") > 0)
    )
    files = {(e.file.name, e.file.level): e.file for e in frame_entries(bucket)}
    place = (premises.partition, premises.bucket)
    changes = [e for e in entries if (e.partition, e.bucket) == place]
    for entry in changes:
        if entry.kind is EntryKind.DELETE:
            files.pop((entry.file.name, entry.file.level), None)
    for entry in changes:
        if entry.kind is EntryKind.ADD and entry.file.level > 0:
            files[(entry.file.name, entry.file.level)] = entry.file
    try:
        level_runs([lsm_file(f, key_types) for f in files.values()])
    except CorruptTable as error:
        raise CommitConflict(
            "files of a level would overlap", premise="levels", **error.context
        ) from error
