"""Deletes the rows of an append table that a predicate chooses, by deletion vectors.

No data file is touched: the rows' positions are added to the vectors of their files, for all
buckets in one snapshot. What is written meanwhile is not deleted; a file that is rewritten
meanwhile, or loses other rows, has its bucket's deletion planned anew.

Spec: maintenance §6.3, format §10; reference class ``AppendDeleteFileMaintainer``.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from . import paths
from .commit import CommitOutcome, Committer
from .commit_files import CommitRequest, IndexChange
from .compact import commit_user
from .data_file import OpenFile
from .deletes import Positions, Vectors, no_positions
from .errors import (
    CommitConflict,
    InvalidRequest,
    OutcomeUnknown,
    TableError,
    first_line,
)
from .file_rows import row_groups
from .handle import TableHandle
from .manifest.entry import DataFile
from .manifest.index import IndexEntry
from .plan import BucketKey
from .predicate.parse import row_by_row
from .premises import REPLANS_MAX, InputFile, Premises
from .scan import as_pushed
from .scan_plan import BucketPlan
from .scan_snapshot import ScanRequest, SnapshotScan, each_bucket, file_tests
from .schema import TableSchema
from .snapshot import CommitKind, Snapshot
from .supported import check_table
from .vector_files import VectorChanges, VectorWriter, vectors_in

CHUNK_BYTES = 24 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Deletion:
    """A deletion that was published: rows newly deleted, and in how many data files they are."""

    snapshot_id: int
    rows: int
    files: int


@dataclass(frozen=True, slots=True)
class BucketDeletion:
    """What goes from one bucket. ``marks``: new positions by data file. ``index``: the index files
    that are replaced; they hold other files' vectors, too."""

    premises: Premises
    marks: Vectors
    index: tuple[IndexEntry, ...]


@dataclass(frozen=True, slots=True)
class DeletionPlan:
    """One deletion, by bucket; all of them are published together."""

    task_id: str
    snapshot_id: int
    buckets: tuple[BucketDeletion, ...]

    @property
    def rows(self) -> int:
        return sum(len(at) for b in self.buckets for at in b.marks.values())

    @property
    def files(self) -> int:
        return sum(len(b.marks) for b in self.buckets)


def delete_where(
    handle: TableHandle, predicate: pl.Expr, committer: Committer | None = None
) -> Deletion | None:
    """Delete every row for which the predicate is true, as one snapshot; None if there is none.

    Raises:
        InvalidRequest: a table with a primary key, one without deletion vectors, or a predicate
            that does not fit its columns or looks at more than one row at a time.
        CommitConflict: the files changed under us too often.
        StorageUnavailable: not published; what was written is removed as far as possible.
    """
    committer = committer or Committer(handle)
    for attempt in range(REPLANS_MAX):
        plan = plan_deletion(handle, predicate, str(uuid.uuid4()))
        if plan is None:
            return None
        try:
            outcome = apply_deletion(handle, plan, committer)
        except CommitConflict:
            if attempt == REPLANS_MAX - 1:
                raise
            continue
        return Deletion(outcome.snapshot_id, plan.rows, plan.files)
    return None


# --- deciding -------------------------------------------------------------------------------------


def plan_deletion(handle: TableHandle, predicate: pl.Expr, task_id: str) -> DeletionPlan | None:
    """Find the rows in the latest snapshot; None when there are none."""
    schema = handle.latest_schema()
    check_table(schema)
    if schema.keyed:
        raise InvalidRequest("rows of a table with a primary key are deleted by their keys")
    if not schema.options.deletion_vectors:
        raise InvalidRequest(
            "rows of an append table are deleted by vectors: set deletion-vectors.enabled",
            option="deletion-vectors.enabled", value="false",
        )  # fmt: skip
    for name in predicate.meta.root_names():
        if name not in schema.names:
            raise InvalidRequest("no such column", column=name, table=handle.name)
    if not row_by_row(predicate):  # files are asked piece by piece: a maximum would be a piece's
        raise InvalidRequest(
            "whether a row goes must follow from that row alone", predicate=str(predicate),
            table=handle.name,
        )  # fmt: skip
    snapshot = handle.snapshots.latest()
    if snapshot is None:
        return None
    finder = _Finder(handle, schema, snapshot, predicate)
    buckets = tuple(finder.buckets())
    return DeletionPlan(task_id, snapshot.id, buckets) if buckets else None


class _Finder:
    """Looks for rows of one snapshot that the predicate chooses, where a scan would look for them:
    files and row groups in which none can be are not read."""

    def __init__(
        self, handle: TableHandle, schema: TableSchema, snapshot: Snapshot, predicate: pl.Expr
    ) -> None:
        self._handle, self._schema = handle, schema
        self._predicate = predicate
        asked = set(predicate.meta.root_names())
        self._fields = [f for f in schema.fields if f.name in asked] or [schema.fields[0]]
        self._scan = SnapshotScan(handle, schema, snapshot)
        self._scope = self._scan.scope(ScanRequest(known=self._pushed()))
        self._sift = self._scan.sifts(self._scope.filter).rows

    def buckets(self) -> Iterator[BucketDeletion]:
        tests = file_tests(self._handle, self._schema, self._scope.filter)
        for key, files in each_bucket(self._scope.live):
            plan = self._scan.plan(key, files, tests)
            try:
                found = self._bucket(key, plan, int(files.item(0, "total_buckets")))
            except TableError as error:
                raise error.at(
                    table=self._handle.name, partition=plan.text, bucket=key.bucket
                ) from error
            if found is not None:
                yield found

    def _pushed(self) -> pl.Expr | None:
        try:
            return as_pushed(self._predicate, self._schema)
        except pl.exceptions.PolarsError as error:
            raise _misfit(error) from error

    def _bucket(
        self, key: BucketKey, plan: BucketPlan, total_buckets: int
    ) -> BucketDeletion | None:
        folder = paths.bucket_dir(self._handle.root, plan.text, key.bucket)
        index = self._scan.index(plan)
        before = vectors_in(self._handle, index)
        marks: dict[str, Positions] = {}
        for file in (f for part in plan.parts for f in part.files):
            at = self._rows(folder, file, before.get(file.name, no_positions()))
            if len(at):
                marks[file.name] = at
        if not marks:
            return None
        levels = {f.name: f.level for part in plan.parts for f in part.files}
        premises = Premises(
            schema_id=self._schema.id,
            partition=key.partition,
            bucket=key.bucket,
            total_buckets=total_buckets,
            inputs=tuple(InputFile(name, levels[name]) for name in marks),
            bucket_index=self._schema.options.bucket > 0,
        )
        premises = replace(premises, deletion_files=premises.deletion_files_now(index))
        replaced = tuple(e for e in index if e.file_name in premises.deletion_files)
        return BucketDeletion(premises, marks, replaced)

    def _rows(self, folder: str, file: DataFile, deleted: Positions) -> Positions:
        """Positions of chosen rows of a file that are not deleted yet."""
        opened = OpenFile(self._handle, self._schema, folder, file)
        projection = opened.projection(self._fields)
        groups = [bool(may) for may in row_groups(opened, self._schema, self._sift)]
        found = [no_positions()]
        for chunk in opened.source.chunks(CHUNK_BYTES, groups):
            frame = opened.read(chunk, projection).with_row_index("\0row", offset=chunk.offset)
            try:
                chosen = frame.filter(self._predicate).get_column("\0row")
            except pl.exceptions.PolarsError as error:
                raise _misfit(error) from error
            found.append(chosen.to_numpy().astype(np.int64))
        return np.setdiff1d(np.concatenate(found), deleted, assume_unique=True)


def _misfit(error: pl.exceptions.PolarsError) -> InvalidRequest:
    return InvalidRequest("the predicate does not fit the table", reason=first_line(error))


# --- acting ---------------------------------------------------------------------------------------


def apply_deletion(handle: TableHandle, plan: DeletionPlan, committer: Committer) -> CommitOutcome:
    """Write the new index files and publish them.

    Raises:
        CommitConflict: a premise broke; what was written is removed.
        OutcomeUnknown: nothing is removed; `sweep` finds out later.
        StorageUnavailable: not published; what was written is removed as far as possible.
    """
    written: list[str] = []
    try:
        return committer.commit(_request(handle, plan, written))
    except OutcomeUnknown:
        raise
    except TableError as error:
        if not error.context.get("published_once"):
            with suppress(TableError):
                handle.storage.delete(written)
        raise


def _request(handle: TableHandle, plan: DeletionPlan, written: list[str]) -> CommitRequest:
    added: list[IndexEntry] = []
    for bucket in plan.buckets:
        premises = bucket.premises
        changes = VectorChanges(vectors_in(handle, bucket.index))
        changes.mark(bucket.marks)
        options = handle.schema(premises.schema_id).options
        writer = VectorWriter(
            handle, options, plan.task_id, premises.partition, premises.bucket, written
        )
        added += writer.write(changes.vectors, first=len(added))
    return CommitRequest(
        kind=CommitKind.OVERWRITE,
        user=commit_user(plan.task_id),
        task_id=plan.task_id,
        entries=(),
        premises=tuple(b.premises for b in plan.buckets),
        index=IndexChange(tuple(e.file_name for b in plan.buckets for e in b.index), tuple(added)),
    )
