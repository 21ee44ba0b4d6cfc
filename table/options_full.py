"""What a table's options say about merging a bucket whole, into its highest level.

Spec: maintenance §2.2, §5.1; reference classes ``EarlyFullCompaction``,
``GlobalFullCompactionSinkWrite``.
"""

from __future__ import annotations

from dataclasses import dataclass

from .option_values import OptionValues

_COMMITS = "full-compaction.delta-commits"
# Deprecated; Java makes commits of it by the interval of its checkpoints, whatever the producer.
_COMMITS_INTERVAL = "changelog-producer.compaction-interval"


@dataclass(frozen=True, slots=True)
class FullOptions:
    """When everything is merged; None where an option is absent."""

    options: OptionValues

    @property
    def commits(self) -> int | None:
        """So many commits later; every one where nothing else says when changes are told."""
        producer = self._tells_when_full
        if _COMMITS in self.options.raw:
            given = self.options.number(_COMMITS, 1)
            return max(given, 1) if producer or given >= 0 else None
        return 1 if producer and _COMMITS_INTERVAL not in self.options.raw else None

    @property
    def interval_millis(self) -> int | None:
        """So long after the last time."""
        keys = ["compaction.optimization-interval"]
        if _COMMITS not in self.options.raw:
            keys.append(_COMMITS_INTERVAL)
        given = [self.options.millis(key, 0) for key in keys if key in self.options.raw]
        return min(given, default=None)

    @property
    def below_bytes(self) -> int | None:
        """Always, while the bucket is smaller."""
        return self._bytes("compaction.total-size-threshold")

    @property
    def above_bytes(self) -> int | None:
        """When more than that lies above the highest level."""
        return self._bytes("compaction.incremental-size-threshold")

    @property
    def _tells_when_full(self) -> bool:
        return self.options.text("changelog-producer", "none").lower() == "full-compaction"

    def _bytes(self, key: str) -> int | None:
        return self.options.size(key, 0) if key in self.options.raw else None
