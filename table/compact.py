"""Compaction as an action on one table: plan, rewrite, commit, and sweeping up after a crash.

Everything crosses process borders as plain data. What a task writes starts with its id, so that
what a dead one left behind is known.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass

import polars as pl

from . import paths
from .commit import CommitOutcome, Committer, removed, upgraded
from .commit_files import CommitRequest, IndexChange
from .errors import CommitConflict, FileMissing, InvalidRequest, OutcomeUnknown, TableError
from .expiry.holders import read_holders
from .handle import TableHandle
from .manifest.entry import DataFile, EntryKind, ManifestEntry
from .metadata import MetadataReader
from .plan import CompactionPlan, directory
from .premises import check_premises
from .rewrite import RewriteOptions, RewriteResult, rewrite_bucket
from .snapshot import CommitKind, Snapshot
from .storage import TEMPORARY_SUFFIX, open_storage

__all__ = [
    "CompactionPlan",
    "RewriteOptions",
    "RewriteResult",
    "SweepResult",
    "commit",
    "commit_request",
    "commit_user",
    "handle_of",
    "rewrite",
    "sweep",
]


def commit_user(task_id: str) -> str:
    """Each task commits as a user of its own: batch identifiers repeat."""
    return f"desilt-{task_id}"


def handle_of(plan: CompactionPlan) -> TableHandle:
    """The plan's table; its store by what the environment says."""
    return TableHandle(plan.table, plan.path, open_storage(plan.path))


def rewrite(
    plan: CompactionPlan, options: RewriteOptions, handle: TableHandle | None = None
) -> RewriteResult:
    """Check the premises, then write and verify the new files (see `rewrite_bucket`).

    Raises:
        CommitConflict: a premise is broken, before or while the inputs are read.
        FileMissing: an input is gone though the table still counts on it.
    """
    handle = handle or handle_of(plan)
    snapshot = _latest(handle, plan)
    if snapshot.id != plan.snapshot_id:
        _check(handle, plan, snapshot)
    try:
        return rewrite_bucket(handle, plan, options)
    except FileMissing:
        _check(handle, plan, _latest(handle, plan))  # planning again helps only if this raises
        raise


def _latest(handle: TableHandle, plan: CompactionPlan) -> Snapshot:
    snapshot = handle.snapshots.latest()
    if snapshot is None:
        raise CommitConflict("the table has no snapshot any more", table=plan.table)
    return snapshot


def _check(handle: TableHandle, plan: CompactionPlan, snapshot: Snapshot) -> None:
    reader = MetadataReader(handle)
    live = reader.live(snapshot)
    index = reader.deletion_files(snapshot, plan.premises.partition, plan.bucket)
    check_premises(plan.premises, handle.latest_schema(), live, index)


def commit_request(plan: CompactionPlan, result: RewriteResult) -> CommitRequest:
    """The change that a finished rewrite makes."""
    by_name = {e.file.name: e for e in plan.inputs}
    rewritten = [by_name[n] for part in plan.rewrites if part.writes for n in part.names]
    entries: list[ManifestEntry] = [removed(e) for e in rewritten]
    added: list[ManifestEntry] = []
    for name in plan.upgrades:
        gone, moved = upgraded(by_name[name], plan.output_level)
        entries.append(gone)
        added.append(moved)
    premises = plan.premises

    def new(file: DataFile) -> ManifestEntry:
        place = (premises.partition, premises.bucket, premises.total_buckets)
        return ManifestEntry(EntryKind.ADD, *place, file)

    return CommitRequest(
        kind=CommitKind.COMPACT,
        user=commit_user(plan.task_id),
        task_id=plan.task_id,
        entries=(*entries, *added, *map(new, result.outputs)),
        premises=(premises.with_inputs(result.marked),),
        changelog=tuple(map(new, result.changelog)),
        index=_index_change(plan, result),
    )


def _index_change(plan: CompactionPlan, result: RewriteResult) -> IndexChange | None:
    if result.deletion_files is None:
        return None
    return IndexChange(tuple(e.file_name for e in plan.deletion_files), result.deletion_files)


def commit(
    plan: CompactionPlan, result: RewriteResult, committer: Committer | None = None
) -> CommitOutcome:
    """Publish a finished rewrite.

    Raises:
        CommitConflict: a premise broke; the outputs are removed.
        OutcomeUnknown: nothing is removed; `sweep` finds out later.
        StorageUnavailable: not published; the outputs are removed as far as possible.
    """
    committer = committer or Committer(handle_of(plan))
    try:
        return committer.commit(commit_request(plan, result))
    except OutcomeUnknown:
        raise
    except TableError as error:
        if not error.context.get("published_once"):
            discard(committer.handle, plan, result)
        raise


def discard(handle: TableHandle, plan: CompactionPlan, result: RewriteResult) -> None:
    """Remove a rewrite's new files; never an input, whatever their names."""
    inputs = {e.file.name for e in plan.inputs}
    folder = directory(handle, plan.partition, plan.bucket)
    names = [f.name for f in (*result.outputs, *result.changelog) if f.name not in inputs]
    gone = [paths.data_file(folder, name) for name in names]
    gone += [paths.index_file(handle.root, e.file_name) for e in result.deletion_files or ()]
    with suppress(TableError):
        handle.storage.delete(gone)


TEMPORARY_MILLIS_MAX = 60 * 60 * 1000
"""A temporary is made and renamed within seconds; one this old is a dead process's."""

_TASK_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True, slots=True)
class SweepResult:
    """``committed``: the task's snapshot is there; ``deleted``: leftovers that were removed."""

    committed: bool
    deleted: tuple[str, ...]


def sweep(handle: TableHandle, task_id: str, partition: str, bucket: int) -> SweepResult:
    """Remove what a dead task left behind: its files that no snapshot reaches, and only those.

    Of snapshots and hints that were never finished, whoever of us began them, those go that are
    long dead: their names cannot tell the task. A task that runs must not be swept. Tags, branches
    and long-lived changelogs hold files whose snapshot has expired since.

    Raises:
        InvalidRequest: not the id of a task; an empty one would match every file.
        StorageUnavailable, CorruptTable: nothing is removed then.
    """
    if _TASK_ID.fullmatch(task_id) is None:
        raise InvalidRequest("not a task id", task_id=task_id, table=handle.name)
    folder = directory(handle, partition, bucket)
    reach = _reachable(handle, task_id)
    gone = [
        paths.data_file(place, s.name)
        for place in (folder, paths.manifest_dir(handle.root), paths.index_dir(handle.root))
        for s in handle.storage.list(place)
        if task_id in s.name and s.name not in reach.names
    ]
    gone += _dead_temporaries(handle)
    handle.storage.delete(gone)
    return SweepResult(reach.committed, tuple(gone))


def _dead_temporaries(handle: TableHandle) -> list[str]:
    """Unfinished snapshots and hints of processes that died while publishing."""
    folder = paths.snapshot_dir(handle.root)
    latest = handle.world.now_millis() - TEMPORARY_MILLIS_MAX
    return [
        f"{folder}/{s.name}"
        for s in handle.storage.list(folder)
        if s.name.startswith(".")
        and s.name.endswith(TEMPORARY_SUFFIX)
        and s.modified_millis < latest
    ]


def _names_in(reader: MetadataReader, snapshot: Snapshot, task_id: str) -> set[str]:
    metas = [*reader.manifests(snapshot)]
    names = {snapshot.base_manifest_list, snapshot.delta_manifest_list}
    if snapshot.changelog_manifest_list is not None:
        names.add(snapshot.changelog_manifest_list)
        metas += reader.manifest_list(snapshot.changelog_manifest_list)
    if snapshot.index_manifest is not None:
        names |= {snapshot.index_manifest, *(e.file_name for e in reader.index(snapshot))}
    names |= {m.name for m in metas}
    ours = pl.col("name").str.contains(task_id, literal=True)
    for meta in metas:
        names |= set(reader.slim(meta.name).filter(ours)["name"].to_list())
    return names


@dataclass(frozen=True, slots=True)
class _Reach:
    names: frozenset[str]
    committed: bool


def _reachable(handle: TableHandle, task_id: str) -> _Reach:
    """Names with the task's id that somebody can still read, and whether it was committed."""
    store = handle.snapshots
    # Read, not taken from the hint: behind one that is out of date nothing would be protected.
    latest, earliest = store.latest(), store.earliest_id()
    reader = MetadataReader(handle)
    names: set[str] = set()
    committed = False
    for snapshot_id in range(earliest or 1, 0 if latest is None else latest.id + 1):
        snapshot = store.find(snapshot_id)
        if snapshot is None:
            continue
        committed = committed or snapshot.commit_user == commit_user(task_id)
        try:
            names |= _names_in(reader, snapshot, task_id)
        except FileMissing:
            if store.find(snapshot_id) is not None:
                raise  # a live snapshot that cannot be read protects what we cannot see
    for holder in read_holders(handle, (), changelogs=True).besides_kept():
        committed = committed or holder.snapshot.commit_user == commit_user(task_id)
        try:
            names |= _names_in(reader, holder.snapshot, task_id)
        except FileMissing:
            if not holder.partial and handle.storage.exists(holder.path):
                raise
    return _Reach(frozenset(n for n in names if task_id in n), committed)
