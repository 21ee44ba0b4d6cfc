"""A foreign engine on a store without conditional puts, which publishes by "exists?, then rename".

It looks at the table, builds its commit on what it saw, finds the next id free, and renames its
snapshot into place: over whatever was published there in between.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from desilt.table.storage import is_remote
from desilt.table.table import Table

from .builders import copied, reopened
from .faulty import files_below


@dataclass(slots=True)
class ForeignWriter:
    """Acts on a copy of the table as it was when it looked, and then moves its files over."""

    table: Table
    folder: Path
    _looks: int = 0
    _root: str = ""

    def look(self) -> None:
        """Remember the table as it is now."""
        self._looks += 1
        self._root = _brought(self.table, self.folder / f"foreign-{self._looks}")

    def publish(self, act: Callable[[Table], object]) -> str:
        """Commit ``act`` as if nothing had happened since the look; the snapshot file's path."""
        before = files_below(self._root)
        act(reopened(self._root))
        snapshots: list[str] = []
        for path in sorted(files_below(self._root) - before):
            target = self.table.path + path.removeprefix(self._root)
            if "/snapshot/snapshot-" in path:
                snapshots.append(target)
            self.table.handle.storage.overwrite(target, Path(path).read_bytes())
        assert snapshots, "a foreign writer publishes something"
        return snapshots[-1]


def _brought(table: Table, folder: Path) -> str:
    """A copy of the table on the disk; its root."""
    if not is_remote(table.path):
        return copied(table, folder)
    root, storage = f"{folder}/db.db/t", table.handle.storage
    for below, _ in storage.walk(table.path):
        target = Path(root, below)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(storage.read(f"{table.path}/{below}"))
    return root
