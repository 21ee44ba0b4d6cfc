"""Long-lived changelogs: copies of expired snapshots, kept for readers of changes.

A table whose changelog lives longer than its snapshots writes one for each snapshot that goes.

Spec: maintenance §10.3, format §11; reference class ``utils/ChangelogManager``.
"""

from __future__ import annotations

from contextlib import suppress

from . import paths
from .errors import FileMissing, StorageUnavailable
from .handle import TableHandle
from .snapshot import Snapshot, load_snapshot

PREFIX = "changelog-"


class ChangelogStore:
    """The long-lived changelogs of one table's main branch, or of another by its root."""

    def __init__(self, handle: TableHandle, root: str | None = None) -> None:
        self._storage = handle.storage
        self._root = root or handle.root

    def ids(self) -> tuple[int, ...]:
        """Rising."""
        listed = self._storage.list(paths.changelog_dir(self._root))
        ids = (paths.numbered(status.name, PREFIX) for status in listed)
        return tuple(sorted(found for found in ids if found is not None))

    def find(self, snapshot_id: int) -> Snapshot | None:
        """The snapshot as it was, or None when there is no such changelog."""
        path = paths.changelog_file(self._root, snapshot_id)
        try:
            return load_snapshot(self._storage.read(path), path)
        except FileMissing:
            return None

    def keep(self, snapshot: Snapshot) -> None:
        """Write the changelog of a snapshot that is about to go; twice does no harm."""
        path = paths.changelog_file(self._root, snapshot.id)
        self._storage.overwrite(path, snapshot.content)

    def delete(self, snapshot_id: int) -> None:
        self._storage.delete([paths.changelog_file(self._root, snapshot_id)])

    def write_hint(self, name: str, snapshot_id: int) -> None:
        """``LATEST`` or ``EARLIEST``; losing it is harmless, so a failure is too."""
        with suppress(StorageUnavailable):
            path = f"{paths.changelog_dir(self._root)}/{name}"
            self._storage.overwrite(path, str(snapshot_id).encode())

    def forget_hints(self) -> None:
        """None is left, so neither hint says anything; a failure is harmless."""
        with suppress(StorageUnavailable):
            folder = paths.changelog_dir(self._root)
            self._storage.delete([f"{folder}/EARLIEST", f"{folder}/LATEST"])
