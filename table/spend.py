"""What writers appended to each bucket, and what compactions wrote into it since: bytes, counted
from delta manifests as they appear, since manifests forget.

Only new file names count; an upgrade adds no name and counts nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import polars as pl

from .snapshot import CommitKind, Snapshot


class Spend:
    """Counters by "partition|bucket": bytes appended, bytes written by compactions.

    Args:
        label: a serialized partition as text.
    """

    def __init__(self, label: Callable[[bytes], str]) -> None:
        self._label = label
        self._counters: dict[str, list[int]] = {}
        self.upto_snapshot_id = 0
        """The newest snapshot that was counted."""

    def take(self, snapshot: Snapshot, new: pl.DataFrame) -> None:
        """One more snapshot with the entries whose names it brought; counted once."""
        if snapshot.id <= self.upto_snapshot_id:
            return
        column = 1 if snapshot.commit_kind is CommitKind.COMPACT else 0
        sums = new.group_by("partition", "bucket").agg(pl.col("size_bytes").sum())
        for partition, bucket, size in sums.iter_rows():
            counters = self._counters.setdefault(self._key(partition, bucket), [0, 0])
            counters[column] += size
        self.upto_snapshot_id = snapshot.id

    def amplification(self, partition: bytes, bucket: int) -> float | None:
        """All bytes over those appended; None where no append was seen."""
        appended, compacted = self._counters.get(self._key(partition, bucket), (0, 0))
        return (appended + compacted) / appended if appended else None

    def counters(self) -> dict[str, list[int]]:
        """A copy."""
        return {key: list(counters) for key, counters in self._counters.items()}

    def restore(self, data: Mapping[str, Sequence[int]], upto_snapshot_id: int) -> None:
        """Put counters back; snapshots up to that id are not counted again."""
        self._counters = {key: [int(a), int(b)] for key, (a, b) in data.items()}
        self.upto_snapshot_id = upto_snapshot_id

    def _key(self, partition: bytes, bucket: int) -> str:
        return f"{self._label(partition)}|{bucket}"
