"""Drops whole partitions: a plan of pure data, and snapshots that remove all their files.

A partition is dropped as it was planned, file by file: when a writer or a compaction changes it
meanwhile, the plan is made anew. Files themselves go when no snapshot needs them any more.

Spec: maintenance §11.3, §11.7; reference classes ``FileStoreCommitImpl.dropPartitions``,
``OverwriteChangesProvider``.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import polars as pl

from .commit import Committer
from .commit_files import CommitRequest, IndexChange
from .compact import commit_user
from .datatypes import INTEGERS, DataType, Root
from .errors import CommitConflict, InvalidRequest
from .handle import TableHandle
from .manifest.entry import ENTRY_SCHEMA, SLIM_SCHEMA, EntryKind
from .manifest.index import IndexEntry
from .metadata import MetadataReader
from .partition import value_texts
from .partition_list import PartitionInfo, partitions_in
from .premises import REPLANS_MAX, PartitionPremise, partition_digest, partitions_of
from .schema import TableSchema
from .snapshot import CommitKind, Snapshot

Spec = Mapping[str, object]
"""Values by partition column: text, or what has the text; None for null. Columns may be missing."""


@dataclass(frozen=True, slots=True)
class PartitionDrop:
    """One partition that goes, and what it must still be then."""

    info: PartitionInfo
    premise: PartitionPremise


@dataclass(frozen=True, slots=True)
class DropPlan:
    """Partitions that go, in this order. ``batch_size``: how many one commit takes; None: all."""

    table: str
    snapshot_id: int | None
    partitions: tuple[PartitionDrop, ...]
    batch_size: int | None = None

    @property
    def empty(self) -> bool:
        return not self.partitions

    def batches(self) -> tuple[tuple[PartitionDrop, ...], ...]:
        """What each commit drops."""
        size = self.batch_size or max(1, len(self.partitions))
        parts = self.partitions
        return tuple(parts[at : at + size] for at in range(0, len(parts), size))

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return {
            "table": self.table,
            "snapshot_id": self.snapshot_id,
            "partitions": [p.info.as_dict() for p in self.partitions],
            "commits": len(self.batches()) if self.partitions else 0,
            **_totals([p.info for p in self.partitions]),
        }


@dataclass(frozen=True, slots=True)
class DropResult:
    """What was dropped, and the snapshots that did it."""

    table: str
    partitions: tuple[PartitionInfo, ...] = ()
    snapshots: tuple[int, ...] = ()

    @property
    def snapshot_id(self) -> int | None:
        """The last one published; None when there was nothing to drop."""
        return self.snapshots[-1] if self.snapshots else None

    def plus(self, other: DropResult) -> DropResult:
        """Both, one after the other."""
        return replace(
            self,
            partitions=(*self.partitions, *other.partitions),
            snapshots=(*self.snapshots, *other.snapshots),
        )

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return {
            "table": self.table,
            "snapshots": list(self.snapshots),
            "partitions": [p.label for p in self.partitions],
            **_totals(self.partitions),
        }


def _totals(partitions: Sequence[PartitionInfo]) -> dict[str, object]:
    return {
        "rows": sum(p.rows for p in partitions),
        "files": sum(p.files for p in partitions),
        "size_bytes": sum(p.size_bytes for p in partitions),
    }


# --- deciding -------------------------------------------------------------------------------------


def plan_drop(
    handle: TableHandle, specs: Iterable[Spec], reader: MetadataReader | None = None
) -> DropPlan:
    """The partitions of the latest snapshot that one of the specs names.

    Raises:
        InvalidRequest: no spec, an empty one, a column that is no partition key, or a value that
            cannot be one of its type.
    """
    schema = handle.latest_schema()
    wanted = [dict(spec) for spec in specs]
    check_specs(wanted, schema)
    snapshot = handle.snapshots.latest()
    if snapshot is None:
        return DropPlan(handle.name, None, ())
    reader = reader or MetadataReader(handle)
    found = partitions_in(snapshot, schema, reader)
    chosen = [p for p in found if any(matches(spec, p, schema) for spec in wanted)]
    return plan_of(handle, snapshot, schema, reader, chosen)


def plan_of(
    handle: TableHandle,
    snapshot: Snapshot,
    schema: TableSchema,
    reader: MetadataReader,
    chosen: Sequence[PartitionInfo],
    batch_size: int | None = None,
) -> DropPlan:
    """The plan that drops these partitions of the snapshot."""
    live = partitions_of(reader.live(snapshot)) if chosen else {}
    index = reader.index(snapshot)
    drops: list[PartitionDrop] = []
    for info in chosen:
        digest = partition_digest(live[info.partition], _of(index, info.partition))
        premise = PartitionPremise(schema.id, info.partition, info.label, digest)
        drops.append(PartitionDrop(info, premise))
    return DropPlan(handle.name, snapshot.id, tuple(drops), batch_size)


def _of(index: Sequence[IndexEntry], partition: bytes) -> list[IndexEntry]:
    return [e for e in index if e.partition == partition]


def check_specs(specs: Sequence[Spec], schema: TableSchema) -> None:
    """Specs that can mean something to the table.

    Raises:
        InvalidRequest: as `plan_drop`.
    """
    if not specs:
        raise InvalidRequest("no partition is named")
    if not schema.partition_keys:
        raise InvalidRequest("the table has no partitions")
    for spec in specs:
        if not spec:
            raise InvalidRequest("a partition spec is empty: it would name all partitions")
        for key, value in spec.items():
            if key not in schema.partition_keys:
                raise InvalidRequest("no such partition column", column=key)
            _check_value(key, value, schema.column(key).type, schema.options.default_partition)


def _check_value(key: str, value: object, data_type: DataType, default_name: str) -> None:
    if value is None or value == default_name or data_type.root not in INTEGERS:
        return
    try:
        int(str(value))
    except ValueError:
        raise InvalidRequest(
            "value is not of the column's type", column=key, value=value, type=str(data_type)
        ) from None


def matches(spec: Spec, info: PartitionInfo, schema: TableSchema) -> bool:
    """Whether the partition has all the values of the spec."""
    values = dict(zip(schema.partition_keys, info.row, strict=True))
    default_name = schema.options.default_partition
    for key, wanted in spec.items():
        value, data_type = values[key], schema.column(key).type
        if wanted is None or wanted == default_name:
            if value is not None:
                return False
        elif value is None or not _same(str(wanted), value, data_type):
            return False
    return True


def _same(text: str, value: object, data_type: DataType) -> bool:
    if data_type.root in INTEGERS:
        return int(text) == value
    if data_type.root is Root.BOOLEAN:
        text = text.lower()
    return text in value_texts(value, data_type)


# --- acting ---------------------------------------------------------------------------------------


def apply_drop(
    handle: TableHandle, plan: DropPlan, committer: Committer, done: DropResult | None = None
) -> DropResult:
    """Drop the plan's partitions, batch by batch.

    Args:
        done: what was dropped before, to go on from.

    Raises:
        DropConflict: a partition is not what it was; the error says what was dropped before.
        OutcomeUnknown, StorageUnavailable: as `Committer.commit`.
    """
    result = done or DropResult(handle.name)
    for batch in plan.batches() if plan.partitions else ():
        try:
            request = _request(handle, batch, committer.reader)
            outcome = committer.commit(request)
        except CommitConflict as error:
            raise DropConflict(error, result) from error
        dropped = DropResult(handle.name, tuple(d.info for d in batch), (outcome.snapshot_id,))
        result = result.plus(dropped)
    return result


class DropConflict(CommitConflict):
    """A premise broke. ``done``: what had been dropped until then."""

    def __init__(self, error: CommitConflict, done: DropResult) -> None:
        super().__init__(error.message, **error.context)
        self.done = done


def _request(
    handle: TableHandle, batch: Sequence[PartitionDrop], reader: MetadataReader
) -> CommitRequest:
    """The DELETEs of all files that the partitions hold now, if that is what was planned."""
    snapshot = handle.snapshots.latest()
    if snapshot is None:
        raise CommitConflict("the table has no snapshot any more", premise="partition files")
    schema = handle.latest_schema()
    live = reader.live(snapshot)
    parts, index = partitions_of(live), reader.index(snapshot)
    gone: list[IndexEntry] = []
    for drop in batch:
        of_it = _of(index, drop.premise.partition)
        none = pl.DataFrame(schema=SLIM_SCHEMA)
        drop.premise.check(schema, parts.get(drop.premise.partition, none), of_it)
        gone += of_it
    wanted = pl.Series([d.premise.partition for d in batch], dtype=pl.Binary())
    files = live.filter(pl.col("partition").is_in(wanted.implode()))
    entries = reader.with_stats(snapshot, files).with_columns(
        pl.lit(int(EntryKind.DELETE), dtype=pl.Int32()).alias("kind")
    )
    task_id = str(uuid.uuid4())
    return CommitRequest(
        kind=CommitKind.OVERWRITE,
        user=commit_user(task_id),
        task_id=task_id,
        entries=(),
        index=IndexChange(tuple(e.file_name for e in gone), ()) if gone else None,
        bulk=entries.select(list(ENTRY_SCHEMA)),
        partitions=tuple(d.premise for d in batch),
    )


def drop_partitions(
    handle: TableHandle, specs: Iterable[Spec], committer: Committer | None = None
) -> DropResult:
    """Drop the partitions that the specs name, as one snapshot; planned anew when they
    change.

    Raises:
        InvalidRequest: as `plan_drop`.
        CommitConflict: they changed under us too often.
        StorageUnavailable: not published; what was written is removed as far as possible.
    """
    committer = committer or Committer(handle)
    wanted = [dict(spec) for spec in specs]
    for attempt in range(REPLANS_MAX):
        try:
            return apply_drop(handle, plan_drop(handle, wanted, committer.reader), committer)
        except CommitConflict:
            if attempt == REPLANS_MAX - 1:
                raise
    return DropResult(handle.name)
