"""Branches: a table's other histories. Only metadata is their own, files are shared with main.

Spec: format §1.5, §14; reference class ``utils/FileSystemBranchManager``.
"""

from __future__ import annotations

from dataclasses import dataclass

from . import paths
from .handle import TableHandle
from .snapshot import SnapshotStore

PREFIX = "branch-"
_OWN = frozenset({"schema", "snapshot", "tag", "changelog", "consumer"})


@dataclass(frozen=True, slots=True)
class Branch:
    """``root``: where its schemas, snapshots and tags are."""

    name: str
    root: str

    def snapshots(self, handle: TableHandle) -> SnapshotStore:
        return SnapshotStore(handle.storage, self.root)


def list_branches(handle: TableHandle) -> tuple[Branch, ...]:
    """All branches but the main one, by name; ``a/b`` is one, too, and lies a folder deeper."""
    found: list[Branch] = []
    for folder in _folders(handle, paths.branches_dir(handle.root)):
        if folder.startswith(PREFIX):
            name = folder.removeprefix(PREFIX)
            branch = Branch(name, paths.branch_root(handle.root, name))
            # One without anything is half made or half deleted; who asks for it must know.
            found += _branches(handle, branch) or [branch]
    return tuple(found)


def _branches(handle: TableHandle, folder: Branch) -> list[Branch]:
    """The branch of that name if it is one, and those in its folder."""
    inside = _folders(handle, folder.root)
    found = [] if _OWN.isdisjoint(inside) else [folder]
    for name in inside:
        if name not in _OWN:
            found += _branches(handle, Branch(f"{folder.name}/{name}", f"{folder.root}/{name}"))
    return found


def _folders(handle: TableHandle, path: str) -> list[str]:
    return [status.name for status in handle.storage.list(path) if status.is_dir]
