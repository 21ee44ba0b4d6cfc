"""The metadata files of a commit: delta manifest, manifest lists, snapshot content.

Names start with the task's id, so that what a dead task left behind is known. Nothing here is
visible to anybody until the snapshot that names it is published.

Spec: format §3, §4; maintenance §9.4, §11.6.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from . import paths
from .datatypes import DataType
from .errors import CommitConflict, CorruptTable
from .handle import TableHandle
from .manifest.codec import ManifestMeta, write_manifest, write_manifest_list
from .manifest.entry import EntryKind, ManifestEntry, entries_frame
from .manifest.fold import cancel
from .manifest.index import IndexEntry, write_index_manifest
from .manifest.merge import MergeLimits, full_candidates, minor_groups
from .metadata import MetadataReader
from .premises import Premises
from .row import decode_row
from .schema import TableSchema
from .snapshot import CommitKind, Snapshot, dump_snapshot
from .stats import stats_of_rows

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
    files stay as they are.
    """

    kind: CommitKind
    user: str
    task_id: str
    entries: tuple[ManifestEntry, ...]
    identifier: int = BATCH_IDENTIFIER
    premises: tuple[Premises, ...] = ()
    changelog: tuple[ManifestEntry, ...] = ()
    index: IndexChange | None = None


class CommitFiles:
    """Writes the metadata files of one change: the delta once, the rest for every attempt.

    ``change_files`` are those of the delta, ``attempt_files`` those of the attempt now going on.
    """

    def __init__(self, handle: TableHandle, reader: MetadataReader, request: CommitRequest) -> None:
        self._handle = handle
        self._reader = reader
        self._request = request
        self._delta: tuple[ManifestMeta, ...] | None = None
        self._changelog: dict[str, object] = {}
        self._run = uuid.uuid4().hex[:8]  # the same change may be committed a second time
        self._counter = 0
        self.change_files: list[str] = []
        self.attempt_files: list[str] = []

    def snapshot(self, base: Snapshot | None, schema: TableSchema) -> bytes:
        """The content of the snapshot that puts the change on ``base``, all its files written."""
        if self._delta is None:
            self._delta = self._write_change(self._request.entries, schema)
            self._changelog = self._write_changelog(schema)
        lists = self._write_lists(base, schema, self._delta)
        return self._content(base, schema, {**lists, **self._changelog, **self._write_index(base)})

    def _write_change(
        self, entries: Sequence[ManifestEntry], schema: TableSchema
    ) -> tuple[ManifestMeta, ...]:
        """A manifest of the change itself; none where there are no entries."""
        if not entries:
            return ()
        return (self._write_manifest(entries_frame(entries), schema, self.change_files),)

    def _write_changelog(self, schema: TableSchema) -> dict[str, object]:
        changelog = self._request.changelog
        if not changelog:
            return {}
        name, size = self._write_list(self._write_change(changelog, schema), self.change_files)
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

    def _write_manifest(
        self, entries: pl.DataFrame, schema: TableSchema, made: list[str]
    ) -> ManifestMeta:
        name = self._name("manifest")
        data = write_manifest(entries)
        self._create(name, data, made)
        return manifest_meta(name, len(data), entries, schema.types(schema.partition_keys))

    def _write_lists(
        self, base: Snapshot | None, schema: TableSchema, delta: Sequence[ManifestMeta]
    ) -> dict[str, object]:
        made = self.attempt_files
        base_metas = () if base is None else self._reader.manifests(base)

        def write(entries: pl.DataFrame) -> ManifestMeta:
            return self._write_manifest(entries, schema, made)

        merged = merge_manifests(base_metas, schema, self._reader, write)
        base_name, base_size = self._write_list(merged, made)
        delta_name, delta_size = self._write_list(delta, made)
        return {
            "baseManifestList": base_name,
            "baseManifestListSize": base_size,
            "deltaManifestList": delta_name,
            "deltaManifestListSize": delta_size,
        }

    def _content(
        self, base: Snapshot | None, schema: TableSchema, lists: Mapping[str, object]
    ) -> bytes:
        request = self._request
        delta = sum(
            e.file.row_count * (1 if e.kind is EntryKind.ADD else -1) for e in request.entries
        )
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


def merge_manifests(
    metas: Sequence[ManifestMeta],
    schema: TableSchema,
    reader: MetadataReader,
    write: Callable[[pl.DataFrame], ManifestMeta],
) -> tuple[ManifestMeta, ...]:
    """The base list, with small manifests merged as the table's options say."""
    options = schema.options
    limits = MergeLimits(
        options.manifest_target_bytes,
        options.manifest_full_threshold_bytes,
        options.manifest_merge_min_count,
    )
    rewritten = full_candidates(metas, limits)
    if rewritten:
        return _merge_full(metas, rewritten, reader, write)
    merged: list[ManifestMeta] = []
    for group in minor_groups(metas, limits):
        if len(group) == 1:
            merged.append(group[0])
            continue
        entries = cancel(pl.concat([reader.whole(m.name) for m in group]))
        if entries.height:
            merged.append(write(entries))
    return tuple(merged)


def _merge_full(
    metas: Sequence[ManifestMeta],
    candidates: Sequence[ManifestMeta],
    reader: MetadataReader,
    write: Callable[[pl.DataFrame], ManifestMeta],
) -> tuple[ManifestMeta, ...]:
    """Candidates, and untouched manifests that hold a removed file, become survivors only."""
    names = {m.name for m in candidates}
    removed = pl.concat([reader.slim(m.name) for m in candidates])
    removed = removed.filter(pl.col("kind") == EntryKind.DELETE)
    for meta in metas:
        if meta.name not in names:
            slim = reader.slim(meta.name)
            if slim.join(removed, on=["name", "level"], how="semi").height:
                names.add(meta.name)
    touched = [m for m in metas if m.name in names]
    entries = cancel(pl.concat([reader.whole(m.name) for m in touched]))
    entries = entries.filter(pl.col("kind") == EntryKind.ADD)
    kept = tuple(m for m in metas if m.name not in names)
    return (*kept, write(entries)) if entries.height else kept
