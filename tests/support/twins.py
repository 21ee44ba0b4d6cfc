"""A table and its copy, one expired by us and one by Java: which files went from each?"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from desilt.table.expire import ExpiryResult, expire
from desilt.table.handle import TableHandle
from desilt.table.storage import LocalStorage

from .faulty import files_below
from .peer_refs import Expired
from .peer_refs import expire as expire_by
from .peers import Peer


def keep(count: int) -> dict[str, str]:
    """Options by which so many snapshots stay, whatever their age."""
    names = ("snapshot.num-retained.min", "snapshot.num-retained.max")
    return {**dict.fromkeys(names, str(count)), "snapshot.time-retained": "1 ms"}


@dataclass
class Twins:
    """``ours`` and ``javas`` hold the same bytes until they are expired."""

    ours: Path
    javas: Path

    @staticmethod
    def of(path: Path, options: Mapping[str, str], peer: Peer) -> Twins:
        """The table with these options in its schema, and a copy."""
        alter(path, options, peer)
        copy = path.parent / f"{path.name}-twin"
        shutil.copytree(path, copy)
        return Twins(path, copy)

    def alter(self, options: Mapping[str, str], peer: Peer) -> None:
        """The same options for both."""
        for path in (self.ours, self.javas):
            alter(path, options, peer)

    def expire_ours(self) -> ExpiryResult:
        return expire(handle_of(self.ours))

    def expire_javas(self, peer: Peer) -> Expired:
        return expire_by(peer, self.javas)

    def files(self) -> tuple[set[str], set[str]]:
        """Paths below the root: of our table, and of Java's."""
        return below(self.ours), below(self.javas)


def alter(path: Path, options: Mapping[str, str], peer: Peer) -> None:
    peer.alter(path, [{"op": "option", "key": k, "value": v} for k, v in options.items()])


def handle_of(path: Path) -> TableHandle:
    """The table, whether or not compaction would refuse it."""
    return TableHandle(f"db.{path.name}", str(path), LocalStorage(sync=False))


def below(path: Path) -> set[str]:
    return {file.removeprefix(f"{path}/") for file in files_below(str(path))}


def set_times(path: Path, millis: Mapping[int, int]) -> None:
    """Let snapshots have been committed at these times (epoch milliseconds)."""
    for snapshot_id, time in millis.items():
        file = path / "snapshot" / f"snapshot-{snapshot_id}"
        content = json.loads(file.read_text())
        file.write_text(json.dumps({**content, "timeMillis": time}))
