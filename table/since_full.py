"""How long ago a bucket's files were merged into one run: in commits, and in time.

Kept from delta manifests as they appear. A compaction whose outputs lie at the highest level has
merged all that was there when it was planned; what was appended meanwhile lies at level 0 still.
Of snapshots that have expired nothing is known: there were at least as many commits as are counted.

Spec: maintenance §2.2, §5.1; reference classes ``GlobalFullCompactionSinkWrite``,
``EarlyFullCompaction``.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import polars as pl

from .manifest.entry import EntryKind
from .snapshot import CommitKind, Snapshot

Key = tuple[bytes, int]
"""Serialized partition, and bucket."""


@dataclass(slots=True)
class _Bucket:
    """``level0``: the snapshot that appended each file at level 0. ``lifted``: how many snapshots'
    files have left level 0, but were not merged with all others."""

    level0: dict[str, int] = field(default_factory=dict[str, int])
    lifted: int = 0
    full_millis: int | None = None

    @property
    def waiting(self) -> set[int]:
        return set(self.level0.values())


class SinceFull:
    """What was appended to each bucket since it was one run, and when it became one."""

    def __init__(self) -> None:
        self._buckets: dict[Key, _Bucket] = {}
        self._upto = 0

    def take(self, snapshot: Snapshot, delta: pl.DataFrame, top_level: int) -> None:
        """One more snapshot, oldest first, with its entries; what was taken before is not again."""
        if snapshot.id <= self._upto:
            return
        self._upto = snapshot.id
        entries = delta.select("partition", "bucket", "kind", "level", "name")
        appends = snapshot.commit_kind is CommitKind.APPEND
        for (partition, bucket), some in entries.group_by("partition", "bucket"):
            state = self._buckets.setdefault(_key(partition, bucket), _Bucket())
            before = state.waiting
            whole = False
            for _, _, kind, level, name in some.iter_rows():
                if kind == EntryKind.DELETE:
                    state.level0.pop(name, None)
                elif appends and level == 0:
                    state.level0[name] = snapshot.id
                else:
                    whole = whole or (not appends and level >= top_level)
            if whole:
                state.lifted, state.full_millis = 0, snapshot.time_millis
            else:
                state.lifted += len(before - state.waiting)

    def commits(self, key: Key) -> int:
        """Appends since the bucket was one run, as far as they were seen."""
        state = self._buckets.get(key)
        return 0 if state is None else state.lifted + len(state.waiting)

    def full_millis(self, key: Key) -> int | None:
        """When the bucket became one run; None when nobody saw it."""
        state = self._buckets.get(key)
        return None if state is None else state.full_millis

    def keep(self, live: pl.DataFrame) -> None:
        """Forget what is not among these live files: snapshots may have been missed or replaced."""
        keys = set(live.select("partition", "bucket").unique().iter_rows())
        level0 = set(live.filter(pl.col("level") == 0)["name"].to_list())
        self._buckets = {key: state for key, state in self._buckets.items() if key in keys}
        for state in self._buckets.values():
            state.level0 = {name: at for name, at in state.level0.items() if name in level0}


def _key(partition: object, bucket: object) -> Key:
    assert isinstance(partition, bytes)
    assert isinstance(bucket, int)
    return partition, bucket
