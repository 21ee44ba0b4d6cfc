"""How long ago a bucket's files were merged into one run: in commits of the table, and in time.

Kept from delta manifests as they appear. A compaction whose outputs lie at the highest level has
merged all that was there when it was planned; what was appended meanwhile lies at level 0 still.
Commits are those of the whole table, from the first on whose rows wait in the bucket: as in Java,
where a bucket that was written once is merged with all others when the table's turn comes.
Of a snapshot that nobody saw (expired, rolled back) nothing is known but the files that are left
of it: they came before all that is seen from then on, with one commit at least.

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


_WRITES = (CommitKind.APPEND, CommitKind.OVERWRITE)


@dataclass(slots=True)
class _Bucket:
    """``level0``: the commit that wrote each file at level 0. ``lifted``: the oldest one whose
    files have left level 0, but were not merged with all others."""

    level0: dict[str, int] = field(default_factory=dict[str, int])
    lifted: int | None = None
    full_millis: int | None = None

    @property
    def oldest(self) -> int | None:
        """The first commit whose rows wait to be merged with all others."""
        waiting = (self.lifted, *self.level0.values())
        return min((commit for commit in waiting if commit is not None), default=None)


class SinceFull:
    """What was appended to each bucket since it was one run, and when it became one."""

    def __init__(self) -> None:
        self._buckets: dict[Key, _Bucket] = {}
        self._upto = 0
        self._commits = 0
        self._looked = 0
        """How many of the commits were there at the last look."""

    def take(self, snapshot: Snapshot, delta: pl.DataFrame, top_level: int) -> None:
        """One more snapshot, oldest first, with its entries; what was taken before is not again."""
        if snapshot.id <= self._upto:
            return
        self._upto = snapshot.id
        self._commits += snapshot.commit_kind in _WRITES
        entries = delta.select("partition", "bucket", "kind", "level", "name")
        for (partition, bucket), some in entries.group_by("partition", "bucket"):
            state = self._of(_key(partition, bucket))
            if self._apply(state, snapshot.commit_kind, some, top_level):
                state.lifted, state.full_millis = None, snapshot.time_millis

    def _apply(
        self, state: _Bucket, kind: CommitKind, entries: pl.DataFrame, top_level: int
    ) -> bool:
        """Follow one bucket's entries; whether they made it one run."""
        whole = False
        if kind is CommitKind.OVERWRITE:
            state.lifted = None  # what was there is not there any more
        for _, _, what, level, name in entries.iter_rows():
            if what == EntryKind.DELETE:
                commit = state.level0.pop(name, None)
                if kind is CommitKind.COMPACT and commit is not None:
                    state.lifted = commit if state.lifted is None else min(state.lifted, commit)
            elif level == 0 and kind in _WRITES:
                state.level0[name] = self._commits
            else:
                whole = whole or (kind is not CommitKind.APPEND and level >= top_level)
        return whole

    def commits(self, key: Key) -> int:
        """Commits since the bucket was one run, as far as they were seen; 0 while it is."""
        state = self._buckets.get(key)
        oldest = None if state is None else state.oldest
        return 0 if oldest is None else self._commits - oldest + 1

    def full_millis(self, key: Key) -> int | None:
        """When the bucket became one run; None when nobody saw it."""
        state = self._buckets.get(key)
        return None if state is None else state.full_millis

    def keep(self, live: pl.DataFrame, top_level: int) -> None:
        """Hold it against what is live: files may have come, and gone, in snapshots not seen."""
        place = ["partition", "bucket"]
        keys = set(live.select(place).unique().iter_rows())
        self._buckets = {key: state for key, state in self._buckets.items() if key in keys}
        level0 = live.filter(pl.col("level") == 0).select(*place, "name")
        names = set(level0["name"].to_list())
        known: set[str] = set()
        for state in self._buckets.values():
            state.level0 = {name: at for name, at in state.level0.items() if name in names}
            known |= state.level0.keys()
        for partition, bucket, name in level0.iter_rows():
            if name not in known:
                self._of(_key(partition, bucket)).level0[name] = self._looked
        between = live.filter(pl.col("level").is_between(1, top_level - 1)).select(place).unique()
        for partition, bucket in between.iter_rows():
            state = self._of(_key(partition, bucket))
            state.lifted = self._looked if state.lifted is None else state.lifted
        self._looked = self._commits

    def _of(self, key: Key) -> _Bucket:
        return self._buckets.setdefault(key, _Bucket())


def _key(partition: object, bucket: object) -> Key:
    assert isinstance(partition, bytes)
    assert isinstance(bucket, int)
    return partition, bucket
