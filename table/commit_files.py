"""The metadata files of a commit: delta manifest, manifest lists, snapshot content.

Names start with the task's id, so that what a dead task left behind is known. Nothing here is
visible to anybody until the snapshot that names it is published.

Spec: format §3, §4; maintenance §9.4, §11.6.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import polars as pl

from . import paths
from .datatypes import DataType
from .errors import CommitConflict, CorruptTable
from .handle import TableHandle
from .manifest.codec import ManifestMeta, write_manifest_list
from .manifest.entry import ENTRY_SCHEMA, EntryKind, ManifestEntry, entries_frame
from .manifest.index import IndexEntry, write_index_manifest
from .manifest.merge import MergeLimits, limits_of
from .manifest_rewrite import Merge, Roller, after_merges, merge_manifests
from .metadata import MetadataReader
from .premises import PartitionPremise, Premises
from .row import decode_row
from .schema import TableSchema
from .snapshot import CommitKind, Snapshot, dump_snapshot
from .stats import EMPTY_STATS, stats_of_rows

BATCH_IDENTIFIER = 9223372036854775807
"""Commit identifier of batch jobs; each needs a fresh user then."""


@dataclass(frozen=True, slots=True)
class IndexChange:
    """Index files that go, by name, and those that come."""

    removed: tuple[str, ...]
    added: tuple[IndexEntry, ...]

    def apply(self, entries: Sequence[IndexEntry]) -> tuple[IndexEntry, ...]:
        """The live index files after the change.

        Raises:
            CommitConflict: one that is to go is not there any more.
        """
        gone = set(self.removed)
        missing = gone - {e.file_name for e in entries}
        if missing:
            raise CommitConflict("an index file is no longer live", file=min(missing))
        return (*(e for e in entries if e.file_name not in gone), *self.added)


@dataclass(frozen=True, slots=True)
class CommitRequest:
    """One change: who, what kind, which files came and went; and under which premises it is right.

    ``premises``: of each bucket that the change rests on; none for a plain append, which is right
    whatever happened. ``changelog``: ADD entries of changelog files. ``index``: None where index
    files stay as they are. ``bulk``: entries besides, too many to be records, as a frame of
    ENTRY_SCHEMA. ``partitions``: what whole partitions must still hold. ``merged``: manifests that
    this commit is to merge, whatever the table's thresholds say; None: those of its options.
    """

    kind: CommitKind
    user: str
    task_id: str
    entries: tuple[ManifestEntry, ...]
    identifier: int = BATCH_IDENTIFIER
    premises: tuple[Premises, ...] = ()
    changelog: tuple[ManifestEntry, ...] = ()
    index: IndexChange | None = None
    bulk: pl.DataFrame | None = field(default=None, compare=False)
    partitions: tuple[PartitionPremise, ...] = ()
    merged: tuple[str, ...] | None = None

    @property
    def rests_on_something(self) -> bool:
        """Whether there are premises, which need a snapshot to hold in."""
        return bool(self.premises or self.partitions or self.merged is not None)

    def all_entries(self) -> pl.DataFrame:
        """Entries and bulk as one frame."""
        entries = entries_frame(self.entries)
        return entries if self.bulk is None else pl.concat([entries, self.bulk])


class CommitFiles:
    """Writes the metadata files of one change: the delta once, the rest for every attempt.

    ``change_files`` are those of the delta, ``attempt_files`` those of the attempt now going on,
    ``merge_files`` the manifests of its merges, which the next attempt uses where it can.
    """

    def __init__(self, handle: TableHandle, reader: MetadataReader, request: CommitRequest) -> None:
        self._handle = handle
        self._reader = reader
        self._request = request
        self._delta: tuple[ManifestMeta, ...] | None = None
        self._delta_list: tuple[str, int] = ("", 0)
        self._changelog: dict[str, object] = {}
        self._merges: list[Merge] = []
        self._used: frozenset[str] = frozenset()
        self._run = uuid.uuid4().hex[:8]  # the same change may be committed a second time
        self._counter = 0
        self.change_files: list[str] = []
        self.attempt_files: list[str] = []
        self.merge_files: list[str] = []

    def write_change(self, schema: TableSchema) -> None:
        """Write what no base changes, once: delta and changelog."""
        if self._delta is None:
            delta = self._write_change(self._request.all_entries(), schema)
            self._delta_list = self._write_list(delta, self.change_files)
            self._changelog = self._write_changelog(schema)
            self._delta = delta

    def unused(self) -> list[str]:
        """Manifests of merges that the last attempt did not use."""
        return [path for path in self.merge_files if path not in self._used]

    def snapshot(self, base: Snapshot | None, schema: TableSchema) -> bytes:
        """The content of the snapshot that puts the change on ``base``, all its files written."""
        self.write_change(schema)
        lists = self._write_lists(base, schema)
        return self._content(base, schema, {**lists, **self._changelog, **self._write_index(base)})

    def _write_change(self, entries: pl.DataFrame, schema: TableSchema) -> tuple[ManifestMeta, ...]:
        """Manifests of the change itself; none where there are no entries."""
        if schema.options.manifest_drops_stats:
            entries = without_delete_stats(entries)
        roller = self._roller(schema, self.change_files)
        roller.add(entries)
        return roller.finish()

    def _roller(self, schema: TableSchema, made: list[str]) -> Roller:
        types = schema.types(schema.partition_keys)

        def store(entries: pl.DataFrame, data: bytes) -> ManifestMeta:
            name = self._name("manifest")
            self._create(name, data, made)
            return manifest_meta(name, len(data), entries, types)

        return Roller(schema.options.manifest_target_bytes, store)

    def _write_changelog(self, schema: TableSchema) -> dict[str, object]:
        changelog = self._request.changelog
        if not changelog:
            return {}
        metas = self._write_change(entries_frame(changelog), schema)
        name, size = self._write_list(metas, self.change_files)
        return {
            "changelogManifestList": name,
            "changelogManifestListSize": size,
            "changelogRecordCount": sum(e.file.row_count for e in changelog),
        }

    def _write_index(self, base: Snapshot | None) -> dict[str, object]:
        change = self._request.index
        if change is None:
            return {"indexManifest": base and base.index_manifest}
        entries = change.apply(() if base is None else self._reader.index(base))
        name = self._name("index-manifest")
        self._create(name, write_index_manifest(entries), self.attempt_files)
        return {"indexManifest": name}

    def _write_list(self, metas: Sequence[ManifestMeta], made: list[str]) -> tuple[str, int]:
        """A manifest list; its name and exact size."""
        name, data = self._name("manifest-list"), write_manifest_list(metas)
        self._create(name, data, made)
        return name, len(data)

    def _name(self, prefix: str) -> str:
        self._counter += 1
        return f"{prefix}-{self._request.task_id}-{self._run}-{self._counter - 1}"

    def _create(self, name: str, data: bytes, made: list[str]) -> None:
        path = paths.manifest_file(self._handle.root, name)
        made.append(path)
        if not self._handle.storage.create(path, data):
            raise CorruptTable("a manifest of ours exists already", file=path)

    def _write_lists(self, base: Snapshot | None, schema: TableSchema) -> dict[str, object]:
        base_metas = () if base is None else self._reader.manifests(base)
        merged = merge_manifests(
            after_merges(base_metas, self._merges),
            self._limits(schema),
            schema.types(schema.partition_keys),
            self._reader,
            lambda: self._roller(schema, self.merge_files),
            self._merges,
        )
        if base is not None:
            self._reader.keep_only(base)
        self._used = frozenset(paths.manifest_file(self._handle.root, m.name) for m in merged)
        base_name, base_size = self._write_list(merged, self.attempt_files)
        delta_name, delta_size = self._delta_list
        return {
            "baseManifestList": base_name,
            "baseManifestListSize": base_size,
            "deltaManifestList": delta_name,
            "deltaManifestListSize": delta_size,
        }

    def _limits(self, schema: TableSchema) -> MergeLimits:
        limits = limits_of(schema.options)
        return limits if self._request.merged is None else limits.at_once()

    def _content(
        self, base: Snapshot | None, schema: TableSchema, lists: Mapping[str, object]
    ) -> bytes:
        request = self._request
        delta = _rows_added(request)
        now = self._handle.world.now_millis()
        return dump_snapshot(
            {
                "version": 3,
                "uuid": str(uuid.uuid4()),
                "id": 1 if base is None else base.id + 1,
                "schemaId": schema.id,
                **lists,
                "commitUser": request.user,
                "commitIdentifier": request.identifier,
                "commitKind": request.kind.value,
                # Expiry and time travel rely on times that never fall.
                "timeMillis": now if base is None else max(now, base.time_millis),
                "totalRecordCount": (0 if base is None else base.total_record_count) + delta,
                "deltaRecordCount": delta,
                "watermark": base and base.watermark,
                "statistics": _statistics(base, schema),
                "nextRowId": base and base.next_row_id,
            }
        )


def _rows_added(request: CommitRequest) -> int:
    rows = sum(e.file.row_count * (1 if e.kind is EntryKind.ADD else -1) for e in request.entries)
    if request.bulk is None:
        return rows
    gone = pl.col("kind") == EntryKind.DELETE
    signed = pl.when(gone).then(-pl.col("row_count")).otherwise(pl.col("row_count"))
    return rows + int(request.bulk.select(signed.sum()).item())


def without_delete_stats(entries: pl.DataFrame) -> pl.DataFrame:
    """DELETE entries say nothing of the values in their files any more."""
    gone = pl.col("kind") == EntryKind.DELETE
    nulls = EMPTY_STATS.null_counts
    empty: dict[str, object] = {
        "value_min": EMPTY_STATS.min_values,
        "value_max": EMPTY_STATS.max_values,
        "value_nulls": None if nulls is None else list(nulls),
        "value_stats_cols": [],
    }
    return entries.with_columns(
        pl.when(gone)
        .then(pl.lit(pl.Series([value], dtype=ENTRY_SCHEMA[name])))
        .otherwise(pl.col(name))
        .alias(name)
        for name, value in empty.items()
    )


def _statistics(base: Snapshot | None, schema: TableSchema) -> str | None:
    """The statistics file is carried while it speaks of the schema in force."""
    if base is None or base.statistics is None or base.schema_id != schema.id:
        return None
    return base.statistics


def manifest_meta(
    name: str, size: int, entries: pl.DataFrame, partition_types: Sequence[DataType]
) -> ManifestMeta:
    """The manifest list line of a manifest just written (format §4.2)."""
    partitions = [decode_row(p, partition_types) for p in entries["partition"].unique().to_list()]
    added = int((entries["kind"] == EntryKind.ADD).sum())
    has_ids = entries.height > 0 and entries["first_row_id"].null_count() == 0
    last_ids = entries["first_row_id"] + entries["row_count"] - 1

    def whole(series: pl.Series, *, largest: bool) -> int | None:
        value = series.max() if largest else series.min()
        return None if value is None else int(value)  # type: ignore[arg-type]  # integers

    return ManifestMeta(
        name=name,
        size_bytes=size,
        added_files=added,
        deleted_files=entries.height - added,
        partition_stats=stats_of_rows(partitions, partition_types),
        schema_id=whole(entries["schema_id"], largest=True) or 0,
        min_bucket=whole(entries["bucket"], largest=False),
        max_bucket=whole(entries["bucket"], largest=True),
        min_level=whole(entries["level"], largest=False),
        max_level=whole(entries["level"], largest=True),
        min_row_id=whole(entries["first_row_id"], largest=False) if has_ids else None,
        max_row_id=whole(last_ids, largest=True) if has_ids else None,
    )
