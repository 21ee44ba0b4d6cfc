"""An observer on a store that counts, and things that happen to a keyed table in the meantime."""

from __future__ import annotations

import os
import shutil
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from desilt.table.commit import Committer, removed
from desilt.table.commit_files import CommitRequest
from desilt.table.metadata import MetadataReader
from desilt.table.observe import TableObserver
from desilt.table.snapshot import CommitKind
from desilt.table.table import Table

from .builders import START_MILLIS, handle_on, kv, live_files
from .faulty import Call, FaultyStorage

HISTORY = (
    *("write_amplification", "oldest_level0_age_seconds"),
    *("commits_since_full", "full_age_seconds"),
)
"""Columns of the health frame that say what was seen, not what is there."""

Act = Callable[[Table], object]


class Watch:
    """An observer on a counting store; `look` refreshes and returns the calls that it cost."""

    def __init__(self, table: Table) -> None:
        self.root = table.path
        self.storage = FaultyStorage()
        self.observer = TableObserver(handle_on(table.path, self.storage))

    def look(self) -> list[Call]:
        before = len(self.storage.calls)
        self.observer.refresh()
        return self.storage.calls[before:]

    def health(self, now_millis: int = START_MILLIS) -> dict[str, Any]:
        """The only row of the health frame."""
        frame = self.observer.health(now_millis)
        assert frame.height == 1
        return frame.row(0, named=True)

    def manifest_reads(self) -> Counter[str]:
        """How often each manifest and manifest list was read so far."""
        return Counter(
            os.path.basename(c.path)
            for c in self.storage.calls
            if c.method == "read" and "/manifest/" in c.path
        )

    def assert_only_new(self, calls: list[Call], seen: set[str]) -> None:
        """``calls`` read no manifest of ``seen``, and each other one once."""
        assert not seen & {os.path.basename(c.path) for c in calls}
        assert set(self.manifest_reads().values()) <= {1}
        self.assert_right()

    def assert_right(self) -> None:
        """An observer that looks for the first time says the same, history aside."""
        fresh = TableObserver(handle_on(self.root, FaultyStorage()))
        fresh.refresh()
        left, right = (o.health(START_MILLIS).drop(HISTORY) for o in (self.observer, fresh))
        assert left.equals(right)
        assert self.observer.snapshot_id == fresh.snapshot_id


def sum_bytes(table: Table, snapshot_id: int | None = None) -> int:
    store = table.handle.snapshots
    snapshot = store.latest() if snapshot_id is None else store.get(snapshot_id)
    assert snapshot is not None
    total = MetadataReader(table.handle).live(snapshot)["size_bytes"].sum()
    assert isinstance(total, int)
    return total


def overwrite(table: Table) -> None:
    """Every file goes, and a new one takes their place."""
    reader = MetadataReader(table.handle)
    now = table.handle.snapshots.latest()
    assert now is not None
    names = {name for name, _ in live_files(table)}
    old = reader.entries(now, _partition(table), 0, names)
    name = f"data-{uuid.uuid4()}-0.parquet"
    shutil.copyfile(f"{table.path}/bucket-0/{old[0].file.name}", f"{table.path}/bucket-0/{name}")
    new = replace(old[0], file=replace(old[0].file, name=name))
    task = str(uuid.uuid4())
    Committer(table.handle).commit(
        CommitRequest(CommitKind.OVERWRITE, f"test-{task}", task, (*map(removed, old), new))
    )


def _partition(table: Table) -> bytes:
    snapshot = table.handle.snapshots.latest()
    assert snapshot is not None
    partition = MetadataReader(table.handle).live(snapshot)["partition"][0]
    assert isinstance(partition, bytes)
    return partition


def several(table: Table) -> None:
    for number in range(5):
        table.write(kv((number, "gap")))


def compact(table: Table) -> None:
    table.compact("full")
