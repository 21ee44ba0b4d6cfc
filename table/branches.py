"""Branches: a table's other histories. Only metadata is their own, files are shared with main.

Spec: format §1.5, §14; reference class ``utils/FileSystemBranchManager``.
"""

from __future__ import annotations

from dataclasses import dataclass

from . import paths
from .handle import TableHandle
from .snapshot import SnapshotStore

PREFIX = "branch-"


@dataclass(frozen=True, slots=True)
class Branch:
    """``root``: where its schemas, snapshots and tags are."""

    name: str
    root: str

    def snapshots(self, handle: TableHandle) -> SnapshotStore:
        return SnapshotStore(handle.storage, self.root)


def list_branches(handle: TableHandle) -> tuple[Branch, ...]:
    """All branches but the main one, by name."""
    listed = handle.storage.list(paths.branches_dir(handle.root))
    names = [s.name.removeprefix(PREFIX) for s in listed if s.is_dir and s.name.startswith(PREFIX)]
    return tuple(Branch(name, paths.branch_root(handle.root, name)) for name in names)
