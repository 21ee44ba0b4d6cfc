"""Somebody who follows a table in a thread of their own, and what they were told."""

from __future__ import annotations

import threading
import time
from itertools import groupby
from pathlib import Path

from desilt.table.catalog import open_table
from desilt.table.handle import World

from .frames import rows_of
from .peer_streams import SnapshotChanges
from .shapes import Shape

__all__ = ["Follower"]


class _NothingMore(Exception):
    """All was told, and nobody writes any more."""


class Follower:
    """Follows as a consumer, from the first snapshot on, until all was told after `end`."""

    def __init__(self, shape: Shape, path: Path, consumer: str) -> None:
        self.shape = shape
        self.told: list[SnapshotChanges] = []
        self.error: Exception | None = None
        self._ending = threading.Event()
        self._table = open_table(str(path), world=World(sleep=self._sleep))
        self._thread = threading.Thread(target=self._follow, args=(consumer,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Let it go once all was told; `end` says what that was."""
        self._ending.set()

    def end(self) -> list[SnapshotChanges]:
        """What it was told, snapshot by snapshot; raises what it raised."""
        self.stop()
        self._thread.join(60)
        assert not self._thread.is_alive()
        if self.error is not None:
            raise self.error
        return [
            {"snapshot": snapshot, "rows": [row for part in parts for row in part["rows"]]}
            for snapshot, parts in groupby(self.told, lambda part: part["snapshot"])
        ]

    def _follow(self, consumer: str) -> None:
        try:
            for part in self._table.follow(consumer, start=1, poll_seconds=0.5):
                rows = rows_of(self.shape, part.rows)
                kinded = [[kind, *row] for kind, row in zip(part.kinds, rows, strict=True)]
                self.told.append({"snapshot": part.snapshot_id, "rows": kinded})
        except _NothingMore:
            pass
        except Exception as error:  # noqa: BLE001  told by `end`
            self.error = error

    def _sleep(self, seconds: float) -> None:
        if self._ending.is_set():
            raise _NothingMore
        time.sleep(seconds)
