"""Deletes tags, and the files that only they held, after looking again.

    look → tag files → look → data files → empty folders → look → metadata

The tag's own file goes first: from then on nobody can come to its files by it, and whatever this
dies at, no tag is left that cannot be read. Files that it did not come to delete are orphans.
Who came after the plan was made (a snapshot, a tag, a branch) keeps what it holds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

import polars as pl

from .. import paths
from ..errors import CommitConflict
from ..expiry.apply import UseReader
from ..expiry.files import ROWS
from ..expiry.holders import digest
from ..expiry.names import NameReader
from ..expiry.range import NOTHING_IN_USE
from ..expiry.removal import delete_below, remove_folders
from ..handle import TableHandle
from ..tags import find_tag
from .deletion import TagDeletion, held_names, plan_deletion

T = TypeVar("T")

# Each time somebody came who holds files, or a tag changed; five in a row is a table that changes
# faster than it can be looked at.
REPLANS_MAX = 5


@dataclass(frozen=True, slots=True)
class TagsDeleted:
    """What went. ``files``: by kind, those already gone included; ``kept``: planned, and held by
    somebody who came meanwhile."""

    names: tuple[str, ...]
    files: dict[str, int]
    size_bytes: int
    kept: int = 0

    @property
    def files_total(self) -> int:
        """All kinds together."""
        return sum(self.files.values())


def delete_tags(
    handle: TableHandle,
    names: Sequence[str],
    *,
    in_use: UseReader = lambda: NOTHING_IN_USE,
    reader: NameReader | None = None,
) -> TagsDeleted:
    """Plan and apply; a plan that no longer holds is made anew, a few times.

    Raises:
        InvalidRequest: one of them does not exist.
        CommitConflict: the table changed too often.
        TableMissing, UnsupportedFeature, CorruptTable, StorageUnavailable: as named.
    """
    known = reader or NameReader(handle)

    def once() -> TagsDeleted:
        plan = plan_deletion(handle, names, in_use=in_use(), reader=known)
        return apply_deletion(plan, handle, in_use=in_use, reader=known)

    return tried_again(once)


def tried_again(once: Callable[[], T]) -> T:
    """Do it, again after a conflict, a few times."""
    for _ in range(REPLANS_MAX - 1):
        with suppress(CommitConflict):
            return once()
    return once()


def apply_deletion(
    plan: TagDeletion,
    handle: TableHandle,
    *,
    in_use: UseReader = lambda: NOTHING_IN_USE,
    reader: NameReader | None = None,
) -> TagsDeleted:
    """Delete what the plan says.

    Raises:
        CommitConflict: the plan no longer holds, and nothing was deleted.
        StorageUnavailable: the store failed; tags that are left can be deleted again.
    """
    known = reader or NameReader(handle)
    if plan.going:
        _check(plan, handle, in_use, known)
        _delete_tag_files(plan, handle)
    return release(plan, handle, known)


def release(plan: TagDeletion, handle: TableHandle, reader: NameReader) -> TagsDeleted:
    """Delete the plan's files alone; its tags are gone, or others by now.

    Raises:
        StorageUnavailable: the store failed; what is left are orphans.
    """
    rows = pl.col("kind").is_in([kind.value for kind in ROWS])
    gone = [plan.files.clear()]
    for part in (plan.files.filter(rows), plan.files.filter(~rows)):
        free = _free(part, plan, handle, reader)
        delete_below(handle, free["path"])
        gone.append(free)
    if plan.clean_directories:
        remove_folders(handle, gone[1]["path"])
    every = pl.concat(gone)
    counts = {str(kind): int(n) for kind, n in every.group_by("kind").len().sort("kind").rows()}
    kept = plan.files.height - every.height
    return TagsDeleted(plan.names, counts, int(every["size_bytes"].sum()), kept)


def _check(plan: TagDeletion, handle: TableHandle, in_use: UseReader, reader: NameReader) -> None:
    schema_id = handle.latest_schema_id()
    if schema_id != plan.schema_id:
        raise CommitConflict("schema changed", planned=plan.schema_id, now=schema_id)
    for entry in plan.going:
        tag = find_tag(handle, entry.name)
        if tag is None or digest(tag.snapshot) != entry.digest:
            raise CommitConflict("a tag changed", tag=entry.name)
    if plan.files.is_empty():
        return
    used = in_use()
    for entry in plan.going:
        if entry.alone is None and entry.snapshot_id in used.snapshots:
            raise CommitConflict("a running task reads a snapshot", snapshot_id=entry.snapshot_id)
    held = held_names(plan, handle, reader) | used.files
    name = pl.col("path").str.extract(r"([^/]*)$")
    found = plan.files.filter(name.is_in(list(held)))
    if found.height:
        raise CommitConflict("a file is held by now", file=found["path"][0])


def _delete_tag_files(plan: TagDeletion, handle: TableHandle) -> None:
    handle.storage.delete([paths.tag_file(handle.root, name) for name in plan.names])
    if plan.success_files:
        handle.storage.delete([paths.tag_success_file(handle.root, name) for name in plan.names])


def _free(
    files: pl.DataFrame, plan: TagDeletion, handle: TableHandle, reader: NameReader
) -> pl.DataFrame:
    """Those of the files that nobody came to hold; none where that cannot be found out."""
    if files.is_empty():
        return files
    try:
        held = tried_again(lambda: held_names(plan, handle, reader))
    except CommitConflict:
        return files.clear()
    return files.filter(~pl.col("path").str.extract(r"([^/]*)$").is_in(list(held)))
