"""Carries a plan out. Before every batch it looks who came since, and spares what they use.

Age is judged by the store's own clock here: a file is made to see what time it is there, so that a
machine whose clock runs ahead takes nothing that is young. Where the catalog has a lock it is held
from the look to the end of the batch, so that nobody publishes in between.

Dying at any moment leaves orphans and nothing else; the next run finds them.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass

import polars as pl

from .. import paths
from ..errors import CommitConflict, StorageUnavailable
from ..expiry.apply import UseReader
from ..expiry.names import NameReader
from ..expiry.range import NOTHING_IN_USE
from ..handle import TableHandle
from ..storage import TEMPORARY_SUFFIX, Directories
from .holders import holder_files, read_files
from .plan import OrphanPlan, counts
from .planner import not_in_use
from .used import UsedNames

BATCH = 1000
"""Files to a request of an object store."""


@dataclass(frozen=True, slots=True)
class OrphanResult:
    """What went. ``files``: by place, those already gone included; ``kept``: files of the plan that
    somebody uses by now, or that are young by the store's clock."""

    files: dict[str, int]
    size_bytes: int
    folders: int
    kept: int

    @property
    def files_total(self) -> int:
        """All places together."""
        return sum(self.files.values())


def apply_orphans(
    plan: OrphanPlan,
    handle: TableHandle,
    *,
    in_use: UseReader = lambda: NOTHING_IN_USE,
    names: NameReader | None = None,
) -> OrphanResult:
    """Delete what the plan says and still nobody uses.

    Raises:
        CommitConflict: another table stands here, or it changed while it was looked at.
        CorruptTable, UnsupportedFeature: somebody came whose files cannot be told; the rest stays.
        StorageUnavailable: the store failed; the next run goes on.
    """
    return _Applier(plan, handle, in_use, names or NameReader(handle)).run()


class _Applier:
    """One plan being carried out."""

    def __init__(
        self, plan: OrphanPlan, handle: TableHandle, in_use: UseReader, names: NameReader
    ) -> None:
        self._plan = plan
        self._handle = handle
        self._in_use = in_use
        self._looked = set(plan.looked)
        self._used = UsedNames(handle, names, plan.manifests)

    def run(self) -> OrphanResult:
        plan, handle = self._plan, self._handle
        if plan.path != handle.root:
            raise CommitConflict("the plan is of another table", planned=plan.path)
        left = self._old_enough(plan.files)
        gone = [left.clear()]
        while left.height:
            with handle.publisher.quiet(handle.place):
                left = self._unused(left)
                batch, left = left.head(BATCH), left.slice(BATCH)
                self._delete(batch["path"])
            gone.append(batch)
        files = pl.concat(gone)
        return OrphanResult(
            files=counts(files),
            size_bytes=int(files["size_bytes"].sum()),
            folders=self._remove_folders(),
            kept=plan.files.height - files.height,
        )

    def _old_enough(self, files: pl.DataFrame) -> pl.DataFrame:
        if not files.height:
            return files
        now = store_millis(self._handle)
        cut = now - self._plan.settings.older_than_millis
        return files.filter(pl.col("modified_millis") < cut)

    def _unused(self, files: pl.DataFrame) -> pl.DataFrame:
        """Those that nobody who came since the last look uses, nor a task that runs now."""
        schema_id = self._handle.latest_schema_id()
        if schema_id != self._plan.schema_id:
            raise CommitConflict("schema changed", planned=self._plan.schema_id, now=schema_id)
        in_use = self._in_use()  # first: a task that ends now has its snapshot among the holders
        fresh = [f for f in holder_files(self._handle) if f.mark not in self._looked]
        holders = tuple(read_files(self._handle, fresh))
        left = self._used.unused(files, holders)
        self._looked.update(file.mark for file in fresh)
        return not_in_use(left, in_use)

    def _delete(self, files: pl.Series) -> None:
        if files.len():
            self._handle.storage.delete([self._absolute(path) for path in files.to_list()])

    def _absolute(self, path: str) -> str:
        outside = path.startswith("/") or "://" in path
        return path if outside else f"{self._handle.root}/{path}"

    def _remove_folders(self) -> int:
        """Empty folders, and their parents as far as they became empty by that."""
        storage = self._handle.storage
        if not isinstance(storage, Directories):
            return 0
        removed, folders = 0, set(self._plan.folders)
        while folders:
            emptied = {f for f in folders if storage.remove_empty(f"{self._handle.root}/{f}")}
            removed += len(emptied)
            folders = {f.rpartition("/")[0] for f in emptied} - {""}
        return removed


def store_millis(handle: TableHandle) -> int:
    """What time it is at the store, as a new file there says, in epoch milliseconds.

    Raises:
        StorageUnavailable: the file cannot be made, or is not there then.
    """
    folder = paths.snapshot_dir(handle.root)
    name = f".clock.{uuid.uuid4()}{TEMPORARY_SUFFIX}"
    path = f"{folder}/{name}"
    handle.storage.overwrite(path, b"")
    try:
        for status in handle.storage.list(folder):
            if status.name == name:
                return status.modified_millis
    finally:
        handle.storage.delete([path])
    raise StorageUnavailable("a listing lacks a file that is there", file=path)
