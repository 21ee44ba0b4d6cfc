"""Merges a table's manifests now, as far as that helps, without touching a data file.

The result is a COMPACT snapshot that changes nothing: its delta is empty. It is not made where a
merge would write again what is there.

Spec: maintenance §11.6; reference class ``FileStoreCommitImpl.compactManifest``.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from .commit import Committer
from .commit_files import CommitRequest
from .compact import commit_user
from .errors import CommitConflict, TableError
from .handle import TableHandle
from .manifest.merge import limits_of
from .manifest_rewrite import plan_full
from .metadata import MetadataReader
from .premises import REPLANS_MAX
from .snapshot import CommitKind


@dataclass(frozen=True, slots=True)
class ManifestPlan:
    """Manifests that are merged, by name; none where nothing helps. ``entries``: what they hold,
    ``live``: what is left of them. ``kept``: manifests that stay as they are."""

    table: str
    snapshot_id: int | None
    merged: tuple[str, ...] = ()
    kept: int = 0
    size_bytes: int = 0
    entries: int = 0
    live: int = 0

    @property
    def empty(self) -> bool:
        return not self.merged

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return {
            "table": self.table, "snapshot_id": self.snapshot_id, "merged": list(self.merged),
            "kept": self.kept, "size_bytes": self.size_bytes, "entries": self.entries,
            "live": self.live,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class ManifestMergeResult:
    """Manifests and their bytes, before and after (None: nobody could look any more).

    ``snapshot_id``: None where there was nothing to do.
    """

    table: str
    snapshot_id: int | None
    manifests_before: int | None
    manifests_after: int | None
    bytes_before: int | None
    bytes_after: int | None

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return {
            "table": self.table, "snapshot_id": self.snapshot_id,
            "manifests_before": self.manifests_before, "manifests_after": self.manifests_after,
            "bytes_before": self.bytes_before, "bytes_after": self.bytes_after,
        }  # fmt: skip


def plan_manifest_compaction(
    handle: TableHandle, reader: MetadataReader | None = None
) -> ManifestPlan:
    """Which manifests of the latest snapshot a merge would rewrite."""
    snapshot = handle.snapshots.latest()
    if snapshot is None:
        return ManifestPlan(handle.name, None)
    schema = handle.latest_schema()
    reader = reader or MetadataReader(handle)
    metas = reader.manifests(snapshot)
    limits = limits_of(schema.options).at_once()
    full = plan_full(metas, limits, schema.types(schema.partition_keys), reader)
    if full is None:
        return ManifestPlan(handle.name, snapshot.id, kept=len(metas))
    return ManifestPlan(
        handle.name,
        snapshot.id,
        tuple(m.name for m in full.rewritten),
        len(full.kept),
        sum(m.size_bytes for m in full.rewritten),
        sum(m.added_files + m.deleted_files for m in full.rewritten),
        full.live.height,
    )


def apply_manifest_compaction(
    handle: TableHandle, plan: ManifestPlan, committer: Committer
) -> ManifestMergeResult:
    """Merge the plan's manifests, and what came since, and publish the result.

    Raises:
        CommitConflict: somebody else merged one of them meanwhile.
        OutcomeUnknown, StorageUnavailable: as `Committer.commit`.
    """
    before = _held(handle, committer.reader, plan.snapshot_id)
    if plan.empty:
        return _result(handle, None, before, before)
    task_id = str(uuid.uuid4())
    request = CommitRequest(
        kind=CommitKind.COMPACT,
        user=commit_user(task_id),
        task_id=task_id,
        entries=(),
        merged=plan.merged,
    )
    outcome = committer.commit(request)
    return _result(
        handle, outcome.snapshot_id, before, _held(handle, committer.reader, outcome.snapshot_id)
    )


def compact_manifests(
    handle: TableHandle, committer: Committer | None = None
) -> ManifestMergeResult:
    """Plan and apply; planned anew when somebody else merges meanwhile.

    Raises:
        CommitConflict: the manifests changed under us too often.
        StorageUnavailable: not published; what was written is removed as far as possible.
    """
    committer = committer or Committer(handle)
    for _ in range(REPLANS_MAX - 1):
        plan = plan_manifest_compaction(handle, committer.reader)
        try:
            return apply_manifest_compaction(handle, plan, committer)
        except CommitConflict:
            continue
    plan = plan_manifest_compaction(handle, committer.reader)
    return apply_manifest_compaction(handle, plan, committer)


_Held = tuple[int, int] | None


def _held(handle: TableHandle, reader: MetadataReader, snapshot_id: int | None) -> _Held:
    """Manifests of a snapshot and their bytes; only to tell of, so what fails fails nothing."""
    if snapshot_id is None:
        return 0, 0
    try:
        metas = reader.manifests(handle.snapshots.get(snapshot_id))
    except TableError:
        return None
    return len(metas), sum(m.size_bytes for m in metas)


def _result(
    handle: TableHandle, snapshot_id: int | None, before: _Held, after: _Held
) -> ManifestMergeResult:
    manifests_before, bytes_before = before or (None, None)
    manifests_after, bytes_after = after or (None, None)
    return ManifestMergeResult(
        handle.name, snapshot_id, manifests_before, manifests_after, bytes_before, bytes_after
    )
