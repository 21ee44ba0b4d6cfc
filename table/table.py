"""A table for callers: ties the parts together, holds no logic of its own."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, overload

import polars as pl

from .change_reader import ChangeReader, Changes
from .commit import CommitOutcome, Committer
from .compact import commit, rewrite
from .conform import delete_rows
from .decision import Mode, PlanOptions
from .delete import Deletion, delete_where
from .errors import CommitConflict, naming
from .expire import ExpiryPlan, ExpiryResult, expire, plan_expiry
from .follow import FollowOptions, Start, follow
from .get import get_rows
from .handle import TableHandle
from .manifest_compaction import (
    ManifestMergeResult,
    ManifestPlan,
    compact_manifests,
    plan_manifest_compaction,
)
from .observe import TableObserver
from .partition_drop import DropPlan, DropResult, Spec, drop_partitions, plan_drop
from .partition_expiry import (
    PartitionExpiryPlan,
    PartitionExpiryResult,
    expire_partitions,
    plan_partition_expiry,
)
from .partition_list import PartitionInfo, list_partitions
from .partition_time import PartitionOverride
from .plan import CompactionPlan
from .premises import REPLANS_MAX
from .retention import Override
from .rewrite import RewriteOptions, RewriteResult
from .rollback import RollbackPlan, RollbackResult, RollbackTarget, plan_rollback, rollback
from .scan import scan_table
from .scan_explain import ScanExplanation, explain_scan
from .schema import TableSchema
from .tagging.delete import TagsDeleted, delete_tags
from .tagging.deletion import TagDeletion, plan_deletion
from .tagging.edit import (
    NewTag,
    Renaming,
    Replacement,
    create_tag,
    plan_replacement,
    rename_tag,
    replace_tag,
)
from .tags import Tag, read_tags
from .write import WriteOptions, write_rows


@dataclass(frozen=True, slots=True)
class BucketCompaction:
    """One bucket's compaction as it went."""

    plan: CompactionPlan
    result: RewriteResult
    outcome: CommitOutcome


@dataclass(frozen=True, slots=True)
class CompactionSummary:
    """What a `compact` call did; ``snapshot_id``: the last one published, None if none was due."""

    buckets: tuple[BucketCompaction, ...]

    @property
    def snapshot_id(self) -> int | None:
        return max((b.outcome.snapshot_id for b in self.buckets), default=None)

    @property
    def files_before(self) -> int:
        """Files rewritten."""
        return sum(b.plan.input_files for b in self.buckets)

    @property
    def files_after(self) -> int:
        """Files written."""
        return sum(len(b.result.outputs) for b in self.buckets)


class Table:
    """One table. Every call reads the newest state; nothing is cached between calls."""

    def __init__(self, handle: TableHandle) -> None:
        self.handle = handle
        self._committer = Committer(handle)

    @property
    def name(self) -> str:
        """``db.table``."""
        return self.handle.name

    @property
    def path(self) -> str:
        return self.handle.root

    @property
    def schema(self) -> TableSchema:
        """The newest schema, read now."""
        return self.handle.latest_schema()

    def scan(
        self,
        columns: list[str] | None = None,
        filter: pl.Expr | None = None,  # Polars' own word
        snapshot_id: int | None = None,
        limit: int | None = None,
    ) -> pl.LazyFrame:
        """Merged rows as a lazy frame (see `scan_table`)."""
        with naming(self.name):
            return scan_table(
                self.handle, columns=columns, filter=filter, limit=limit, snapshot_id=snapshot_id
            )

    def explain(
        self,
        columns: list[str] | None = None,
        filter: pl.Expr | None = None,  # Polars' own word
        snapshot_id: int | None = None,
        limit: int | None = None,
    ) -> ScanExplanation:
        """What such a scan would read, and what not, by which step (see `ScanExplanation`)."""
        with naming(self.name):
            return explain_scan(
                self.handle, columns=columns, filter=filter, limit=limit, snapshot_id=snapshot_id
            )

    def get(
        self,
        keys_df: pl.DataFrame,
        columns: list[str] | None = None,
        snapshot_id: int | None = None,
    ) -> pl.DataFrame:
        """The merged rows of these primary keys, found without a scan (see `get_rows`)."""
        with naming(self.name):
            return get_rows(self.handle, keys_df, columns=columns, snapshot_id=snapshot_id)

    def changes(
        self, from_snapshot: int, to_snapshot: int, *, columns: Sequence[str] | None = None
    ) -> Iterator[Changes]:
        """What changed above ``from_snapshot``, up to ``to_snapshot`` itself (see `ChangeReader`).

        Raises:
            InvalidRequest: one of the snapshots has expired, or is not there yet.
            UnsupportedFeature: a table whose changes nobody tells.
        """
        with naming(self.name):
            reader = ChangeReader(self.handle, self.schema, columns)
            yield from reader.between(from_snapshot, to_snapshot)

    def follow(
        self,
        consumer: str | None = None,
        *,
        start: Start = "full",
        columns: Sequence[str] | None = None,
        poll_seconds: float = 1.0,
        idle_seconds: float | None = None,
    ) -> Iterator[Changes]:
        """Changes as they come, after what the table holds now (see `FollowOptions`).

        Args:
            consumer: under this name the place is kept in the table: whoever follows with it
                again goes on there, and expiry leaves what it has not read.
        """
        options = FollowOptions(columns, start, poll_seconds, idle_seconds)
        with naming(self.name):
            yield from follow(self.handle, consumer, options)

    def write(
        self,
        df: pl.DataFrame,
        *,
        kinds: pl.Series | None = None,
        user: str | None = None,
        identifier: int | None = None,
    ) -> CommitOutcome | None:
        """Append rows as one snapshot (see `write_rows`)."""
        options = WriteOptions(user, identifier)
        with naming(self.name):
            return write_rows(
                self.handle, df, kinds=kinds, options=options, committer=self._committer
            )

    @overload
    def delete(self, which: pl.Expr) -> Deletion | None: ...

    @overload
    def delete(self, which: pl.DataFrame) -> CommitOutcome | None: ...

    def delete(self, which: pl.DataFrame | pl.Expr) -> CommitOutcome | Deletion | None:
        """Delete rows as one snapshot; None where there is nothing to delete.

        Args:
            which: of a table with a primary key the keys: each is retracted. Of an append table a
                predicate (see `delete_where`).
        """
        with naming(self.name):
            if isinstance(which, pl.Expr):
                return delete_where(self.handle, which, self._committer)
            rows = delete_rows(which, self.schema)
            kinds = pl.Series(["-D"]).new_from_index(0, rows.height)
            return write_rows(self.handle, rows, kinds=kinds, committer=self._committer)

    def compact(
        self,
        mode: Mode = "full",
        *,
        partition: Mapping[str, str] | None = None,
        bucket: int | None = None,
        verify: Literal["quarter", "full"] = "quarter",
    ) -> CompactionSummary:
        """Compact in this process, bucket by bucket; a bucket that changes meanwhile is re-planned.

        Raises:
            CommitConflict: a bucket changed under us too often.
        """
        observer = TableObserver(self.handle)
        observer.refresh()
        options = RewriteOptions(verify=verify)
        done: list[BucketCompaction] = []
        for text, number in observer.buckets():
            if (bucket is not None and number != bucket) or not _within(text, partition):
                continue
            with naming(self.name):
                compacted = self._compact_bucket(observer, text, number, mode, options)
            if compacted is not None:
                done.append(compacted)
        return CompactionSummary(tuple(done))

    def _compact_bucket(
        self, observer: TableObserver, text: str, bucket: int, mode: Mode, options: RewriteOptions
    ) -> BucketCompaction | None:
        for attempt in range(REPLANS_MAX):
            plan = observer.plan(text, bucket, str(uuid.uuid4()), PlanOptions(mode))
            if plan is None:
                return None
            try:
                result = rewrite(plan, options, self.handle)
                outcome = commit(plan, result, self._committer)
            except CommitConflict:
                if attempt == REPLANS_MAX - 1:
                    raise
                observer.refresh()
                continue
            return BucketCompaction(plan, result, outcome)
        return None

    @overload
    def expire(
        self,
        *,
        retain_max: int | None = None,
        retain_min: int | None = None,
        retain_age: timedelta | None = None,
        dry_run: Literal[False] = False,
    ) -> ExpiryResult: ...

    @overload
    def expire(
        self,
        *,
        retain_max: int | None = None,
        retain_min: int | None = None,
        retain_age: timedelta | None = None,
        dry_run: Literal[True],
    ) -> ExpiryPlan: ...

    def expire(
        self,
        *,
        retain_max: int | None = None,
        retain_min: int | None = None,
        retain_age: timedelta | None = None,
        dry_run: bool = False,
    ) -> ExpiryResult | ExpiryPlan:
        """Drop old snapshots and what only they hold; bounds not given are the table's own.

        Args:
            dry_run: only say what would go.

        Raises:
            CommitConflict: the table changed under us too often.
        """
        millis = None if retain_age is None else retain_age // timedelta(milliseconds=1)
        override = Override(retain_min, retain_max, millis)
        with naming(self.name):
            if dry_run:
                return plan_expiry(self.handle, override)
            return expire(self.handle, override)

    # --- tags -----------------------------------------------------------------------------------

    def tags(self) -> tuple[Tag, ...]:
        """All tags, by snapshot id and name."""
        with naming(self.name):
            return read_tags(self.handle)

    def create_tag(
        self, name: str, *, snapshot_id: int | None = None, retained: timedelta | None = None
    ) -> NewTag:
        """Tag a snapshot, the latest by default (see `plan_tag`).

        Raises:
            InvalidRequest: the name is taken, or there is no such snapshot.
        """
        with naming(self.name):
            return create_tag(self.handle, name, snapshot_id, retained)

    @overload
    def delete_tag(self, name: str, *, dry_run: Literal[False] = False) -> TagsDeleted: ...

    @overload
    def delete_tag(self, name: str, *, dry_run: Literal[True]) -> TagDeletion: ...

    def delete_tag(self, name: str, *, dry_run: bool = False) -> TagsDeleted | TagDeletion:
        """Delete a tag, and the files that nobody else can reach (see `plan_deletion`)."""
        with naming(self.name):
            if dry_run:
                return plan_deletion(self.handle, [name])
            return delete_tags(self.handle, [name])

    def rename_tag(self, name: str, new_name: str) -> Renaming:
        """The same tag under another name."""
        with naming(self.name):
            return rename_tag(self.handle, name, new_name)

    def replace_tag(
        self,
        name: str,
        *,
        snapshot_id: int | None = None,
        retained: timedelta | None = None,
        dry_run: bool = False,
    ) -> Replacement:
        """Let a tag show another snapshot, the latest by default; without ``retained`` it has no
        retention then. What it alone held until then goes (see `plan_replacement`)."""
        with naming(self.name):
            act = plan_replacement if dry_run else replace_tag
            return act(self.handle, name, snapshot_id, retained)

    @overload
    def rollback(
        self,
        *,
        snapshot_id: int | None = None,
        tag: str | None = None,
        timestamp: datetime | None = None,
        reset_consumers: bool = False,
        dry_run: Literal[False] = False,
    ) -> RollbackResult: ...

    @overload
    def rollback(
        self,
        *,
        snapshot_id: int | None = None,
        tag: str | None = None,
        timestamp: datetime | None = None,
        reset_consumers: bool = False,
        dry_run: Literal[True],
    ) -> RollbackPlan: ...

    def rollback(
        self,
        *,
        snapshot_id: int | None = None,
        tag: str | None = None,
        timestamp: datetime | None = None,
        reset_consumers: bool = False,
        dry_run: bool = False,
    ) -> RollbackResult | RollbackPlan:
        """Back to a snapshot, a tag, or the last snapshot not after a time; newer snapshots and
        tags are gone then. Writers must be stopped (see `apply_rollback`).

        Args:
            timestamp: one without a time zone is local.
            reset_consumers: let consumers that have read beyond go on right after the target.
        """
        millis = None if timestamp is None else int(timestamp.timestamp() * 1000)
        to = RollbackTarget(snapshot_id, tag, millis)
        with naming(self.name):
            if dry_run:
                return plan_rollback(self.handle, to, reset_consumers=reset_consumers)
            return rollback(self.handle, to, reset_consumers=reset_consumers)

    # --- partitions and manifests ---------------------------------------------------------------

    def partitions(self) -> tuple[PartitionInfo, ...]:
        """The partitions of the latest snapshot, and what each holds."""
        with naming(self.name):
            return list_partitions(self.handle)

    def drop_partitions(self, specs: Iterable[Spec]) -> DropResult:
        """Drop whole partitions as one snapshot (see `drop_partitions`).

        Args:
            specs: values by partition column, as ``[{"dt": "2026-01-01"}]``; columns that are left
                out may have any value.
        """
        with naming(self.name):
            return drop_partitions(self.handle, specs, self._committer)

    def plan_drop(self, specs: Iterable[Spec]) -> DropPlan:
        """What `drop_partitions` would drop."""
        with naming(self.name):
            return plan_drop(self.handle, specs)

    def expire_partitions(self, override: PartitionOverride | None = None) -> PartitionExpiryResult:
        """Drop the partitions whose time has come; rules not given are the table's own.

        Raises:
            InvalidRequest: the table has no partitions, or nobody says when they expire.
            CommitConflict: they changed under us too often.
        """
        with naming(self.name):
            return expire_partitions(self.handle, override, self._committer)

    def plan_partition_expiry(
        self, override: PartitionOverride | None = None
    ) -> PartitionExpiryPlan:
        """What `expire_partitions` would drop."""
        with naming(self.name):
            return plan_partition_expiry(self.handle, override)

    def compact_manifests(self) -> ManifestMergeResult:
        """Merge the manifests, where that helps, as one snapshot that changes nothing."""
        with naming(self.name):
            return compact_manifests(self.handle, self._committer)

    def plan_manifest_compaction(self) -> ManifestPlan:
        """What `compact_manifests` would merge."""
        with naming(self.name):
            return plan_manifest_compaction(self.handle)


def _within(partition: str, wanted: Mapping[str, str] | None) -> bool:
    """Whether a partition text has all the wanted ``key=value`` parts."""
    parts = set(partition.split("/"))
    return all(f"{key}={value}" in parts for key, value in (wanted or {}).items())
