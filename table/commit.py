"""Makes a change visible: before/after files become the next snapshot, or a named refusal.

One attempt, in steps:

1. read the latest snapshot, now; nothing is ever built on a remembered one;
2. on a retry: is our commit among the snapshots since? then it is done;
3. check the premises (inputs live at their level, schema, bucket count, index) and that no level
   would hold overlapping files;
4. write the delta manifest once, and base and delta lists on the latest snapshot;
5. create ``snapshot-<latest + 1>`` exclusively; if it exists, the race is lost: back to 1 with the
   same data files;
6. read it back. Engines that publish by "exists?, then rename" may have replaced it: that too is a
   lost race. Read the base once more: if that was replaced meanwhile, its new delta is missing from
   our snapshot and is added back by a commit of its own.

A broken premise is a `CommitConflict`: the manifests of the attempt are removed, data files are the
caller's to remove.

Spec: format §13, maintenance §9.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import polars as pl

from . import paths
from .datatypes import DataType
from .errors import (
    CommitConflict,
    CorruptTable,
    FileMissing,
    OutcomeUnknown,
    StorageUnavailable,
    TableError,
)
from .handle import TableHandle
from .lsm.run import level_runs, lsm_file
from .manifest.codec import ManifestMeta, write_manifest, write_manifest_list
from .manifest.entry import (
    ENTRY_SCHEMA,
    EntryKind,
    FileSource,
    ManifestEntry,
    entries_frame,
    frame_entries,
)
from .manifest.fold import cancel
from .manifest.merge import MergeLimits, full_candidates, minor_groups
from .metadata import MetadataReader
from .row import decode_row
from .schema import TableSchema
from .snapshot import CommitKind, Snapshot, dump_snapshot
from .stats import stats_of_rows

BATCH_IDENTIFIER = 9223372036854775807
"""Commit identifier of batch jobs; each needs a fresh user then."""

READ_BACK_TRIES = 5


@dataclass(frozen=True, slots=True)
class InputFile:
    """A file that must still be live, at this level."""

    name: str
    level: int


@dataclass(frozen=True, slots=True)
class Premises:
    """What must hold in the latest snapshot for a change of one bucket to be valid."""

    schema_id: int
    partition: bytes
    bucket: int
    total_buckets: int
    inputs: tuple[InputFile, ...]
    index_manifest: str | None


@dataclass(frozen=True, slots=True)
class CommitRequest:
    """One change: entries added and removed, who commits, and under which premises.

    ``task_id`` starts the names of the manifests that are written.
    """

    kind: CommitKind
    user: str
    task_id: str
    entries: tuple[ManifestEntry, ...]
    identifier: int = BATCH_IDENTIFIER
    premises: Premises | None = None


@dataclass(frozen=True, slots=True)
class CommitOutcome:
    """A published snapshot. ``readded``: entries of replaced foreign snapshots put back."""

    snapshot_id: int
    attempts: int
    lost_races: int
    readded: int = 0


@dataclass(slots=True)
class _Attempt:
    """Files written for one request: the delta once, lists and merged manifests an attempt."""

    delta: ManifestMeta | None = None
    request_files: list[str] = field(default_factory=list[str])
    attempt_files: list[str] = field(default_factory=list[str])
    counter: int = 0


@dataclass(slots=True)
class _Published:
    snapshot: Snapshot
    request: CommitRequest


class Committer:
    """Commits changes to one table; one of these at a time is enough, two are safe.

    Args:
        reader: manifests already read (the observer's); a fresh one by default.
    """

    def __init__(self, handle: TableHandle, reader: MetadataReader | None = None) -> None:
        self._handle = handle
        self._reader = reader or MetadataReader(handle)
        self._last: _Published | None = None

    def commit(self, request: CommitRequest) -> CommitOutcome:
        """Publish the change.

        Raises:
            CommitConflict: a premise broke; manifests of the attempts are removed.
            OutcomeUnknown: the store failed while publishing and cannot be asked; nothing removed.
            StorageUnavailable: the store failed before publishing; manifests removed as far as can.
        """
        self.check_last()
        attempt = _Attempt()
        try:
            return self._until_published(request, attempt)
        except OutcomeUnknown:
            raise
        except TableError as error:
            self._remove(attempt.request_files + attempt.attempt_files)
            raise error.at(table=self._handle.name) from error

    def check_last(self) -> CommitOutcome | None:
        """Commit our last change again if another engine replaced its snapshot meanwhile.

        Returns None when there is nothing to do. A change whose premises broke is dropped: its
        inputs are gone, so its rows are in other files.
        """
        last, self._last = self._last, None
        if last is None:
            return None
        path = paths.snapshot_file(self._handle.root, last.snapshot.id)
        try:
            if self._handle.storage.read(path) == last.snapshot.content:
                self._last = last
                return None
        except FileMissing:
            return None  # expired: far behind the latest one
        attempt = _Attempt()
        try:
            return self._until_published(last.request, attempt)
        except CommitConflict:
            self._remove(attempt.request_files + attempt.attempt_files)
            if last.request.kind is not CommitKind.COMPACT:
                raise
            return None

    # --- attempts -------------------------------------------------------------------------------

    def _until_published(self, request: CommitRequest, attempt: _Attempt) -> CommitOutcome:
        options = self._handle.latest_schema().options
        limit = options.number("commit.max-retries", 10)
        lost, since = 0, None
        while True:
            base = self._handle.snapshots.latest()
            if since is not None and (done := self._already(request, since, base)):
                self._last = _Published(done, request)
                return CommitOutcome(done.id, lost + 1, lost)
            since = 0 if base is None else base.id
            published = self._attempt(request, base, attempt)
            if published is not None:
                self._last = _Published(published, request)
                readded = self._readd_replaced(base)
                return CommitOutcome(published.id, lost + 1, lost, readded)
            self._remove(attempt.attempt_files)
            attempt.attempt_files.clear()
            lost += 1
            if lost > limit:
                raise CommitConflict("commit lost too many races", races=lost)
            self._wait(lost)

    def _wait(self, lost: int) -> None:
        """10 ms doubling up to 10 s, and up to a fifth more (format §13.2)."""
        seconds = min(0.01 * 2 ** (lost - 1), 10.0)
        self._handle.world.sleep(seconds * (1 + 0.2 * self._handle.world.chance()))

    def _already(
        self, request: CommitRequest, since: int, latest: Snapshot | None
    ) -> Snapshot | None:
        """Our snapshot among those from ``since`` on, if an earlier attempt was published."""
        for snapshot_id in range(max(1, since), (latest.id if latest else 0) + 1):
            found = self._handle.snapshots.find(snapshot_id)
            if (
                found is not None
                and found.commit_user == request.user
                and found.commit_identifier == request.identifier
                and found.commit_kind == request.kind
            ):
                return found
        return None

    def _attempt(
        self, request: CommitRequest, base: Snapshot | None, attempt: _Attempt
    ) -> Snapshot | None:
        schema = self._handle.latest_schema()
        if request.premises is not None:
            self._check(request, request.premises, base, schema)
        if attempt.delta is None:
            attempt.delta = self._write_delta(request, schema, attempt)
        content = self._write_lists(request, base, schema, attempt, attempt.delta)
        snapshot_id = 1 if base is None else base.id + 1
        return self._publish(snapshot_id, content)

    def _publish(self, snapshot_id: int, content: bytes) -> Snapshot | None:
        path = paths.snapshot_file(self._handle.root, snapshot_id)
        try:
            created = self._handle.storage.create(path, content)
        except StorageUnavailable as error:
            created = self._find_out(path, content, error)
        if not created or not self._is_ours(path, content):
            return None
        self._hint(snapshot_id)
        return self._handle.snapshots.get(snapshot_id)

    def _find_out(self, path: str, content: bytes, error: StorageUnavailable) -> bool:
        """After a lost answer: is the snapshot there, and is it ours?"""
        try:
            return self._handle.storage.read(path) == content
        except FileMissing:
            raise error from None  # it was never made
        except StorageUnavailable as again:
            raise OutcomeUnknown(
                "the answer to a publish was lost", file=path, table=self._handle.name
            ) from again

    def _is_ours(self, path: str, content: bytes) -> bool:
        try:
            return self._handle.storage.read(path) == content
        except FileMissing:
            return False
        except StorageUnavailable as error:
            raise OutcomeUnknown(
                "a published snapshot cannot be read back", file=path, table=self._handle.name
            ) from error

    def _hint(self, snapshot_id: int) -> None:
        """LATEST is a hint: losing it is harmless, so a failure is too."""
        try:
            self._handle.storage.overwrite(
                paths.latest_hint(self._handle.root), str(snapshot_id).encode()
            )
            if snapshot_id == 1:
                self._handle.storage.overwrite(paths.earliest_hint(self._handle.root), b"1")
        except StorageUnavailable:
            return

    # --- a base that was replaced under us ------------------------------------------------------

    def _readd_replaced(self, base: Snapshot | None) -> int:
        """Add back the delta of a snapshot that took our base's place after we had read it."""
        if base is None:
            return 0
        now = self._handle.snapshots.find(base.id)
        if now is None or now.content == base.content:
            return 0
        entries = self._entries_of(now)
        latest = self._handle.snapshots.latest()
        live = set[tuple[str, int]]()
        if latest is not None:
            frame = self._reader.live(latest)
            live = set(zip(frame["name"].to_list(), frame["level"].to_list(), strict=True))
        missing = tuple(
            e for e in entries if (e.kind is EntryKind.ADD) != ((e.file.name, e.file.level) in live)
        )
        if not missing or any(e.kind is EntryKind.DELETE for e in entries):
            # A compaction that lost its place took no rows with it: its inputs are still live.
            return 0
        task_id = str(uuid.uuid4())
        request = CommitRequest(now.commit_kind, f"desilt-{task_id}", task_id, missing)
        last = self._last
        attempt = _Attempt()
        self._until_published(request, attempt)
        self._last = last
        return len(missing)

    def _entries_of(self, snapshot: Snapshot) -> tuple[ManifestEntry, ...]:
        metas = self._reader.manifest_list(snapshot.delta_manifest_list)
        frames = [pl.DataFrame(schema=ENTRY_SCHEMA), *(self._reader.whole(m.name) for m in metas)]
        return frame_entries(pl.concat(frames))

    # --- checks ---------------------------------------------------------------------------------

    def _check(
        self,
        request: CommitRequest,
        premises: Premises,
        base: Snapshot | None,
        schema: TableSchema,
    ) -> None:
        if base is None:
            raise CommitConflict("the table has no snapshot any more", premise="inputs live")
        live = self._reader.live(base)
        check_premises(premises, base, schema, live)
        if schema.keyed:
            _check_levels(request, premises, live, schema.types(schema.trimmed_keys))

    # --- writing --------------------------------------------------------------------------------

    def _name(self, request: CommitRequest, attempt: _Attempt, prefix: str) -> str:
        name = f"{prefix}-{request.task_id}-{attempt.counter}"
        attempt.counter += 1
        return name

    def _create(self, name: str, data: bytes, made: list[str]) -> None:
        path = paths.manifest_file(self._handle.root, name)
        made.append(path)
        if not self._handle.storage.create(path, data):
            raise CorruptTable("a manifest of ours exists already", file=path)

    def _write_manifest(
        self, request: CommitRequest, entries: pl.DataFrame, schema: TableSchema,
        attempt: _Attempt, made: list[str],
    ) -> ManifestMeta:  # fmt: skip
        name = self._name(request, attempt, "manifest")
        data = write_manifest(entries)
        self._create(name, data, made)
        return manifest_meta(name, len(data), entries, schema.types(schema.partition_keys))

    def _write_delta(
        self, request: CommitRequest, schema: TableSchema, attempt: _Attempt
    ) -> ManifestMeta:
        entries = entries_frame(request.entries)
        return self._write_manifest(request, entries, schema, attempt, attempt.request_files)

    def _write_lists(
        self,
        request: CommitRequest,
        base: Snapshot | None,
        schema: TableSchema,
        attempt: _Attempt,
        delta: ManifestMeta,
    ) -> bytes:
        made = attempt.attempt_files
        base_metas = () if base is None else self._reader.manifests(base)

        def write(entries: pl.DataFrame) -> ManifestMeta:
            return self._write_manifest(request, entries, schema, attempt, made)

        merged = merge_manifests(base_metas, schema, self._reader, write)
        base_name = self._name(request, attempt, "manifest-list")
        base_data = write_manifest_list(merged)
        self._create(base_name, base_data, made)
        delta_name = self._name(request, attempt, "manifest-list")
        delta_data = write_manifest_list([delta] if request.entries else [])
        self._create(delta_name, delta_data, made)
        lists = {
            "baseManifestList": base_name,
            "baseManifestListSize": len(base_data),
            "deltaManifestList": delta_name,
            "deltaManifestListSize": len(delta_data),
        }
        return self._snapshot_bytes(request, base, schema, lists)

    def _snapshot_bytes(
        self,
        request: CommitRequest,
        base: Snapshot | None,
        schema: TableSchema,
        lists: Mapping[str, object],
    ) -> bytes:
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
                "indexManifest": base and base.index_manifest,
                "commitUser": request.user,
                "commitIdentifier": request.identifier,
                "commitKind": request.kind.value,
                # Expiry and time travel rely on times that never fall.
                "timeMillis": now if base is None else max(now, base.time_millis),
                "totalRecordCount": (0 if base is None else base.total_record_count) + delta,
                "deltaRecordCount": delta,
                "watermark": base and base.watermark,
                "statistics": self._statistics(base, schema),
                "nextRowId": base and base.next_row_id,
            }
        )

    def _statistics(self, base: Snapshot | None, schema: TableSchema) -> str | None:
        """The statistics file is carried while it speaks of the schema in force."""
        if base is None or base.statistics is None or base.schema_id != schema.id:
            return None
        return base.statistics

    def _remove(self, files: Sequence[str]) -> None:
        """Best effort: what stays is an orphan that the task id finds."""
        try:
            self._handle.storage.delete(files)
        except StorageUnavailable:
            return


def check_premises(
    premises: Premises, snapshot: Snapshot, schema: TableSchema, live: pl.DataFrame
) -> None:
    """Every premise, by name.

    Raises:
        CommitConflict: naming the premise that broke and the values.
    """
    if schema.id != premises.schema_id:
        raise CommitConflict(
            "schema changed", premise="schema id", planned=premises.schema_id, now=schema.id
        )
    if snapshot.index_manifest != premises.index_manifest:
        raise CommitConflict(
            "index changed", premise="index file", planned=premises.index_manifest,
            now=snapshot.index_manifest,
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


def _check_levels(
    request: CommitRequest, premises: Premises, live: pl.DataFrame, key_types: Sequence[DataType]
) -> None:
    """No level above 0 of the bucket may hold overlapping files afterwards."""
    bucket = live.filter(
        (pl.col("partition") == premises.partition)
        & (pl.col("bucket") == premises.bucket)
        & (pl.col("level") > 0)
    )
    files = {(e.file.name, e.file.level): e.file for e in frame_entries(bucket)}
    for entry in request.entries:
        if entry.kind is EntryKind.DELETE:
            files.pop((entry.file.name, entry.file.level), None)
    for entry in request.entries:
        if entry.kind is EntryKind.ADD and entry.file.level > 0:
            files[(entry.file.name, entry.file.level)] = entry.file
    try:
        level_runs([lsm_file(f, key_types) for f in files.values()])
    except CorruptTable as error:
        raise CommitConflict(
            "files of a level would overlap", premise="levels", **error.context
        ) from error


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


def upgraded(entry: ManifestEntry, level: int) -> tuple[ManifestEntry, ManifestEntry]:
    """The DELETE and the ADD that move a file to another level, everything else unchanged."""
    moved = replace(entry, kind=EntryKind.ADD, file=replace(entry.file, level=level))
    return removed(entry), moved


def removed(entry: ManifestEntry) -> ManifestEntry:
    """The DELETE of a live entry."""
    return replace(entry, kind=EntryKind.DELETE)


COMPACT_SOURCE = int(FileSource.COMPACT)
