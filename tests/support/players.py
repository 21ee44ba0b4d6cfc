"""Whoever plays a history on a table, desilt and the peers alike, and the play itself."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import polars as pl
import pytest

from desilt.table.catalog import Catalog, open_table
from desilt.table.storage import LocalStorage
from desilt.table.table import Table

from .frames import frame_of, rows_of
from .histories import Batch, History, Row, alike
from .peer_streams import SnapshotChanges
from .peers import Peer, PeerError
from .shapes import Shape

__all__ = ["DESILT", "Desilt", "OfPeer", "Play", "Player"]

DESILT = "desilt"
_DOUBLED = "which is already in the the map"


class Player(Protocol):
    """A library that reads and changes tables; rows are in the canonical encoding."""

    def create(self, shape: Shape, warehouse: Path) -> Path: ...
    def write(self, shape: Shape, path: Path, batch: Batch) -> None: ...
    def compact(self, path: Path, *, full: bool) -> None: ...
    def read(self, shape: Shape, path: Path, snapshot: int | None = None) -> list[Row]: ...


class Desilt:
    """The code under test, by its public calls; rewrites are verified in full.

    Nothing is flushed to the device: no test pulls a plug.
    """

    storage = LocalStorage(sync=False)

    def table(self, path: Path) -> Table:
        return open_table(str(path), storage=self.storage)

    def create(self, shape: Shape, warehouse: Path) -> Path:
        table = Catalog(str(warehouse), storage=self.storage).create_table(
            "default.t",
            dict(shape.columns),
            primary_key=shape.primary_keys,
            partition_by=shape.partition_keys,
            options=shape.options,
        )
        return Path(table.path)

    def write(self, shape: Shape, path: Path, batch: Batch) -> None:
        kinds = pl.Series([row[0] for row in batch], dtype=pl.String) if shape.keyed else None
        self.table(path).write(frame_of(shape, [row[1:] for row in batch]), kinds=kinds)

    def delete(self, shape: Shape, path: Path, rows: Sequence[Row]) -> None:
        """Deletes by key: only key, partition and sequence columns of the rows are handed over."""
        needed = {*shape.primary_keys, *shape.partition_keys, shape.sequence}
        frame = frame_of(shape, rows)
        self.table(path).delete(frame.select(n for n in shape.names if n in needed))

    def compact(self, path: Path, *, full: bool) -> None:
        self.table(path).compact("full" if full else "minor", verify="full")

    def read(self, shape: Shape, path: Path, snapshot: int | None = None) -> list[Row]:
        return rows_of(shape, self.table(path).scan(snapshot_id=snapshot).collect())

    def expire(self, path: Path, *, kept: int) -> None:
        """Drops all but the latest snapshots."""
        self.table(path).expire(retain_max=kept, retain_min=1)

    def changes(self, shape: Shape, path: Path, first: int = 1) -> list[SnapshotChanges]:
        """What streams are told, in the form of `peer_streams.changes`; refusals are raised."""
        table = self.table(path)
        latest = table.handle.snapshots.latest_id() or 0
        found: dict[int, SnapshotChanges] = {}
        for part in table.changes(first - 1, latest):
            rows = rows_of(shape, part.rows)
            told = found.setdefault(part.snapshot_id, {"snapshot": part.snapshot_id, "rows": []})
            told["rows"] += [[kind, *row] for kind, row in zip(part.kinds, rows, strict=True)]
        return list(found.values())


class OfPeer:
    """A peer as a player."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer

    def create(self, shape: Shape, warehouse: Path) -> Path:
        return self.peer.create_table(
            warehouse,
            "t",
            shape.columns,
            partition_keys=shape.partition_keys,
            primary_keys=shape.primary_keys,
            options=shape.options,
        )

    def write(self, shape: Shape, path: Path, batch: Batch) -> None:
        self.peer.write(path, batch)

    def compact(self, path: Path, *, full: bool) -> None:
        self.peer.compact(path, full=full)

    def read(self, shape: Shape, path: Path, snapshot: int | None = None) -> list[Row]:
        found = self.peer.read(path, snapshot=snapshot)
        assert found["columns"] == shape.names
        return found["rows"]


class Play:
    """One history played on one table: random steps, and what readers must find after each.

    A step is a player's name and a verb: "java writes", "desilt compacts fully". `moments` keeps
    shape and rows of every snapshot that was the latest after a step, for time travel.
    """

    def __init__(
        self, history: History, peers: Mapping[str, Peer], creator: str, warehouse: Path
    ) -> None:
        self.history = history
        self.desilt = Desilt()
        self.players: dict[str, Player] = {name: OfPeer(peer) for name, peer in peers.items()}
        self.players[DESILT] = self.desilt
        self.peers = peers
        self.creator = creator
        self.moments: dict[int, tuple[Shape, list[str]]] = {}
        history.note(f"{creator} creates")
        self.path = self.players[creator].create(history.shape, warehouse)

    def run(self, count: int, weights: Mapping[str, int]) -> None:
        """Takes ``count`` steps, chosen by weight; desilt reads after each."""
        if self.history.deep:
            self._sink()
        for _ in range(count):
            (step,) = self.history.rng.choices(list(weights), list(weights.values()))
            self.step(step)
            self.check(DESILT)

    def _sink(self) -> None:
        """Makes a large bottom run, and has what comes above it merged without it."""
        for step in (
            f"{self.creator} writes",
            f"{DESILT} compacts fully",
            f"{self.creator} writes",
            f"{DESILT} deletes",
            f"{self.creator} writes",
            f"{DESILT} compacts",
        ):
            self.step(step)
            self.check(DESILT)

    def step(self, step: str) -> None:
        name, verb = step.split(" ", 1)
        self.history.note(step)
        self._act(name, verb)
        latest = open_table(str(self.path)).handle.snapshots.latest_id()
        if latest is not None:
            self.moments.setdefault(latest, (self.history.shape, self.history.expected))

    def _act(self, name: str, verb: str) -> None:
        history, player = self.history, self.players[name]
        if verb == "writes":
            # pypaimon takes inserts alone, and keeps a key twice if it comes twice.
            plain = name == "pypaimon"
            batch = history.batch(retracts=not plain, repeats=not plain)
            player.write(history.shape, self.path, batch)
        elif verb == "deletes":
            self.desilt.delete(history.shape, self.path, history.deletes())
        elif verb == "alters":
            changes = history.evolve()
            history.note(f"  {json.dumps(changes, ensure_ascii=False)}")
            self.peers[name].alter(self.path, changes)
        else:
            self._compact(player, full=verb == "compacts fully")

    def _compact(self, player: Player, *, full: bool) -> None:
        try:
            player.compact(self.path, full=full)
        except PeerError as error:
            # Java's compaction of append tables may delete and add one file in one commit, which
            # its own commit then refuses; nothing has changed.
            if self.history.shape.keyed or _DOUBLED not in str(error):
                raise
            self.history.note("  and gives up")

    def check(self, *names: str) -> None:
        """Fails unless each of these players reads the expected rows of the latest snapshot."""
        for name in names:
            found = self.players[name].read(self.history.shape, self.path)
            self._compare(name, alike(found), self.history.expected)

    def check_past(self, *names: str) -> None:
        """The same for a random earlier snapshot."""
        if not self.moments:
            return
        snapshot = self.history.rng.choice(list(self.moments))
        shape, expected = self.moments[snapshot]
        for name in names:
            found = self.players[name].read(shape, self.path, snapshot)
            self._compare(f"{name} at snapshot {snapshot}", alike(found), expected)

    def _compare(self, reader: str, found: list[str], expected: list[str]) -> None:
        if found == expected:
            return
        extra = [row for row in found if row not in expected][:5]
        missing = [row for row in expected if row not in found][:5]
        pytest.fail(
            f"{reader} read {len(found)} rows, not {len(expected)}\n{self.history}\n"
            f"extra: {extra}\nmissing: {missing}"
        )
