"""Data files that the latest snapshot counts on and that are gone: found, and taken out of it.

What is gone is gone; this makes the loss known to the table, so that the rest can be read. Nothing
that is only hard to see may count as gone: a folder's listing says what to look at, then each file
is asked for by its name, when the plan is made and once more right before the commit. Its deletion
vector goes with it.

Spec: maintenance §11.2; reference classes ``RemoveUnexistingFilesAction``, ``ListUnexistingFiles``.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace

import polars as pl

from . import paths
from .commit import CommitOutcome, Committer, removed
from .commit_files import CommitRequest, IndexChange
from .compact import commit_user
from .errors import CommitConflict, OutcomeUnknown, TableError
from .expiry.files import folders
from .handle import TableHandle
from .manifest.entry import ManifestEntry
from .manifest.index import IndexEntry
from .metadata import MetadataReader
from .premises import REPLANS_MAX, InputFile, Premises
from .schema import TableSchema
from .snapshot import CommitKind, Snapshot
from .storage import is_text, side_by_side
from .supported import check_table
from .vector_files import VectorChanges, VectorWriter, vectors_in


@dataclass(frozen=True, slots=True)
class MissingBucket:
    """Files of one bucket that are gone. ``folder``: below the root; ``index``: the index files
    with their deletion vectors, and perhaps with others'."""

    folder: str
    premises: Premises
    entries: tuple[ManifestEntry, ...]
    index: tuple[IndexEntry, ...]

    def files(self, root: str) -> tuple[str, ...]:
        return tuple(paths.data_file(f"{root}/{self.folder}", e.file.name) for e in self.entries)


@dataclass(frozen=True, slots=True)
class MissingPlan:
    """What one snapshot counts on and is gone. ``looked``: how many files it has."""

    table: str
    task_id: str
    snapshot_id: int
    looked: int
    buckets: tuple[MissingBucket, ...]

    @property
    def empty(self) -> bool:
        return not self.buckets

    @property
    def files(self) -> int:
        return sum(len(b.entries) for b in self.buckets)

    @property
    def rows(self) -> int:
        """Rows that are lost, as the files counted them."""
        return sum(e.file.row_count for b in self.buckets for e in b.entries)

    @property
    def size_bytes(self) -> int:
        return sum(e.file.size_bytes for b in self.buckets for e in b.entries)

    def as_dict(self) -> dict[str, object]:
        """Plain data for JSON."""
        return {
            "table": self.table,
            "snapshot": self.snapshot_id,
            "looked": self.looked,
            "files": self.files,
            "rows": self.rows,
            "size_bytes": self.size_bytes,
            "paths": [path.lstrip("/") for b in self.buckets for path in b.files("")],
        }


def plan_missing(handle: TableHandle, reader: MetadataReader | None = None) -> MissingPlan:
    """Find them in the latest snapshot.

    Raises:
        TableMissing, UnsupportedFeature, CorruptTable, StorageUnavailable: as named.
        CommitConflict: the table changed while it was looked at; look again.
    """
    schema = handle.latest_schema()
    check_table(schema)
    task_id = str(uuid.uuid4())
    snapshot = handle.snapshots.latest()
    if snapshot is None:
        return MissingPlan(handle.name, task_id, 0, 0, ())
    finder = _Finder(handle, schema, snapshot, reader or MetadataReader(handle))
    live = finder.live()
    buckets = tuple(finder.buckets(finder.absent(live)))
    return MissingPlan(handle.name, task_id, snapshot.id, live.height, buckets)


class _Finder:
    """One look at one snapshot."""

    def __init__(
        self, handle: TableHandle, schema: TableSchema, snapshot: Snapshot, reader: MetadataReader
    ) -> None:
        self._handle, self._schema = handle, schema
        self._snapshot, self._reader = snapshot, reader

    def live(self) -> pl.DataFrame:
        """Live files with the ``folder`` below the root that they are in."""
        live = self._reader.live(self._snapshot)
        where = folders(self._schema, live)
        return live.join(where, on=["partition", "bucket"], how="left", maintain_order="left")

    def absent(self, live: pl.DataFrame) -> pl.DataFrame:
        """Those that are not there: a listing for every folder, then a question for every file."""
        storage, root = self._handle.storage, self._handle.root
        places = live["folder"].unique().sort().to_list()

        def names(folder: str) -> pl.DataFrame:
            listed = [s.name for s in storage.list(f"{root}/{folder}") if is_text(s.name)]
            return pl.DataFrame({"folder": folder, "name": pl.Series(listed, dtype=pl.String)})

        found = [live.clear().select("folder", "name")]
        found += side_by_side(names, places, storage.in_flight)
        unseen = live.join(pl.concat(found), on=["folder", "name"], how="anti")
        asked = [f"{root}/{f}/{n}" for f, n in unseen.select("folder", "name").iter_rows()]
        there = pl.Series(
            list(side_by_side(storage.exists, asked, storage.in_flight)), dtype=pl.Boolean
        )
        absent = unseen.filter(~there) if unseen.height else unseen
        if absent.height and self._handle.snapshots.find(self._snapshot.id) is None:
            raise CommitConflict("a snapshot went away", snapshot_id=self._snapshot.id)
        return absent

    def buckets(self, absent: pl.DataFrame) -> Iterator[MissingBucket]:
        keys = ["folder", "partition", "bucket", "total_buckets"]
        for key, files in sorted(absent.partition_by(keys, as_dict=True).items(), key=_order):
            folder, partition, bucket, total = key
            names = tuple(zip(files["name"].to_list(), files["level"].to_list(), strict=True))
            premises = Premises(
                schema_id=self._schema.id,
                partition=partition,
                bucket=bucket,
                total_buckets=total,
                inputs=tuple(InputFile(name, level) for name, level in names),
                bucket_index=self._schema.options.bucket > 0,
            )
            index = self._reader.deletion_files(self._snapshot, partition, bucket)
            premises = replace(premises, deletion_files=premises.deletion_files_now(index))
            entries = self._reader.entries(
                self._snapshot, partition, bucket, [name for name, _ in names]
            )
            held = tuple(e for e in index if e.file_name in premises.deletion_files)
            yield MissingBucket(folder, premises, entries, held)


def _order(item: tuple[tuple[object, ...], pl.DataFrame]) -> str:
    return str(item[0][0])


# --- acting ---------------------------------------------------------------------------------------


def apply_missing(
    plan: MissingPlan, handle: TableHandle, committer: Committer | None = None
) -> CommitOutcome | None:
    """Take them out of the table as one snapshot; None when there is nothing to do.

    Raises:
        CommitConflict: a file is back, or the table changed; what was written is removed.
        OutcomeUnknown: nothing is removed; `sweep` finds out later.
        StorageUnavailable: not published; what was written is removed as far as possible.
    """
    if plan.empty:
        return None
    _check_absent(plan, handle)
    written: list[str] = []
    try:
        request = _request(plan, handle, written)
        _check_absent(plan, handle)  # writing vectors takes a while
        return (committer or Committer(handle)).commit(request)
    except OutcomeUnknown:
        raise
    except TableError as error:
        if not error.context.get("published_once"):
            with suppress(TableError):
                handle.storage.delete(written)
        raise


def remove_missing(handle: TableHandle) -> tuple[MissingPlan, CommitOutcome | None]:
    """Plan and apply; a plan that no longer holds is made anew, a few times."""
    for _ in range(REPLANS_MAX - 1):
        with suppress(CommitConflict):
            plan = plan_missing(handle)
            return plan, apply_missing(plan, handle)
    plan = plan_missing(handle)
    return plan, apply_missing(plan, handle)


def _check_absent(plan: MissingPlan, handle: TableHandle) -> None:
    files = [path for bucket in plan.buckets for path in bucket.files(handle.root)]
    answers = side_by_side(handle.storage.exists, files, handle.storage.in_flight)
    for path, there in zip(files, answers, strict=True):
        if there:
            raise CommitConflict("a missing file is back", file=path)


def _request(plan: MissingPlan, handle: TableHandle, written: list[str]) -> CommitRequest:
    added: list[IndexEntry] = []
    gone: list[str] = []
    for bucket in plan.buckets:
        change = _without_vectors(plan, bucket, handle, written, first=len(added))
        if change is not None:
            gone += change.removed
            added += change.added
    return CommitRequest(
        kind=CommitKind.OVERWRITE,
        user=commit_user(plan.task_id),
        task_id=plan.task_id,
        entries=tuple(removed(e) for bucket in plan.buckets for e in bucket.entries),
        premises=tuple(bucket.premises for bucket in plan.buckets),
        index=IndexChange(tuple(gone), tuple(added)) if gone or added else None,
    )


def _without_vectors(
    plan: MissingPlan, bucket: MissingBucket, handle: TableHandle, written: list[str], first: int
) -> IndexChange | None:
    """The bucket's index files without the vectors of what is gone; None if they have none."""
    names = {e.file.name for e in bucket.entries}
    index = tuple(e for e in bucket.index if _speaks_of(e, names))
    if not index:
        return None
    changes = VectorChanges(vectors_in(handle, index))
    changes.forget(names)
    premises = bucket.premises
    writer = VectorWriter(
        handle, handle.schema(premises.schema_id).options, plan.task_id, premises.partition,
        premises.bucket, written,
    )  # fmt: skip
    return IndexChange(
        tuple(e.file_name for e in index), writer.write(changes.vectors, first=first)
    )


def _speaks_of(entry: IndexEntry, names: Iterable[str]) -> bool:
    files = {found.data_file for found in entry.deletions or ()}
    return not files.isdisjoint(names)
