"""Everybody who can read a snapshot of the table, of main and of every branch; from listings.

A holder is known by its file's place, size and time: listing a few folders says which are new since
they were looked at last, and only those are read. The listing is older than what is read then, so
that a file replaced in between counts as new once more.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from .. import paths
from ..branches import Branch, list_branches
from ..errors import CorruptTable, FileMissing, StorageUnavailable, TableMissing
from ..expiry.holders import Holder
from ..handle import TableHandle
from ..settled import read_settled
from ..snapshot import Snapshot, load_snapshot
from ..storage import FileStatus, side_by_side


@dataclass(frozen=True, slots=True)
class HolderFile:
    """A file that somebody can read a snapshot by. ``mark``: which file, as it was listed.

    ``partial``: only its changes are read, so that other files of it may be gone.
    """

    label: str
    path: str
    mark: str
    partial: bool = False


def holder_files(handle: TableHandle) -> tuple[HolderFile, ...]:
    """All of them, as listed now: a reader may miss one that comes while it looks, no other.

    Raises:
        CorruptTable: a branch without a schema: half made or half deleted, and who reads it?
        StorageUnavailable: a listing that lacks what is there.
    """
    branches = list_branches(handle)
    for branch in branches:
        check_branch(handle, branch)
    roots = [(handle.root, ""), *((b.root, f"branch {b.name}, ") for b in branches)]
    return tuple(file for root, prefix in roots for file in _below(handle, root, prefix))


def check_branch(handle: TableHandle, branch: Branch) -> None:
    """The branch has a schema that can be read.

    Raises:
        CorruptTable: it has none.
    """
    try:
        replace(handle, root=branch.root).latest_schema()
    except TableMissing as error:
        raise CorruptTable(
            "a branch has no schema", branch=branch.name, table=handle.name
        ) from error


def _below(handle: TableHandle, root: str, prefix: str) -> Iterator[HolderFile]:
    """Snapshots before tags and changelogs: what becomes one of those was a snapshot first."""
    hint = _latest_hint(handle, root)  # before the listing: what is published meanwhile is no lack
    snapshots = tuple(_listed(handle, paths.snapshot_dir(root), "snapshot-", numbered=True))
    _check_listing(handle, root, hint, {status.name for status, _ in snapshots})
    for status, name in snapshots:
        yield _file(paths.snapshot_dir(root), status, f"{prefix}snapshot {name}")
    for status, name in _listed(handle, paths.changelog_dir(root), "changelog-", numbered=True):
        label = f"{prefix}changelog {name}"
        yield _file(paths.changelog_dir(root), status, label, partial=True)
    for status, name in _listed(handle, paths.tag_dir(root), "tag-", numbered=False):
        yield _file(paths.tag_dir(root), status, f"{prefix}tag {name}")


def _listed(
    handle: TableHandle, folder: str, prefix: str, *, numbered: bool
) -> Iterator[tuple[FileStatus, str]]:
    for status in handle.storage.list(folder):
        name = status.name.removeprefix(prefix)
        if (
            status.name.startswith(prefix)
            and not status.is_dir
            and (not numbered or paths.numbered(status.name, prefix) is not None)
        ):
            yield status, name


def _latest_hint(handle: TableHandle, root: str) -> str:
    """The id in the LATEST hint; "" where there is none."""
    try:
        hint = handle.storage.read(paths.latest_hint(root)).decode().strip()
    except (FileMissing, UnicodeDecodeError):
        return ""
    return "" if paths.numbered(hint, "") is None else hint


def _check_listing(handle: TableHandle, root: str, hint: str, names: set[str]) -> None:
    """A listing without the snapshot that the hint names, though it is there, lacks others, too."""
    if not hint or f"snapshot-{hint}" in names:
        return
    file = paths.snapshot_file(root, int(hint))
    if handle.storage.exists(file):
        raise StorageUnavailable("a listing lacks a file that is there", file=file)
    if not names:
        raise CorruptTable("the latest snapshot is gone, and so are all others", file=file)


def _file(folder: str, status: FileStatus, label: str, *, partial: bool = False) -> HolderFile:
    path = f"{folder}/{status.name}"
    return HolderFile(label, path, f"{path} {status.size_bytes} {status.modified_millis}", partial)


def read_files(handle: TableHandle, files: Iterable[HolderFile]) -> Iterator[Holder]:
    """What these hold, read many at a time; those that went since they were listed are left out.

    Raises:
        CorruptTable, UnsupportedFeature: one that cannot be read, by its file.
    """

    def read(file: HolderFile) -> tuple[HolderFile, Snapshot] | None:
        try:
            return file, read_settled(handle, file.path, load_snapshot)
        except FileMissing:
            return None

    for found in side_by_side(read, files, handle.storage.in_flight):
        if found is not None:
            file, snapshot = found
            yield Holder(file.label, file.path, snapshot, changelog=True, partial=file.partial)
