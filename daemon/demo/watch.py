"""What the demo knows while it runs: every table's health, from its metadata alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import polars as pl

from ...table.observe import TableObserver
from ...table.snapshot import CommitKind
from ...table.table import Table
from ..plan import Rule, TableFacts, judge
from .kinds import Kind
from .replay import Follower


@dataclass(frozen=True, slots=True)
class Look:
    """One look at a table. ``score``: of its worst bucket. ``changes``: told so far; None: nobody
    tells any. ``resting``: nothing is due, hidden or untold."""

    kind: Kind
    files: int
    sorted_runs: int
    trigger: int
    write_amplification: float | None
    score: float
    appends: int
    compactions: int
    snapshots: int
    changes: int | None
    resting: bool


class Watcher:
    """Looks at one table and follows it; keeps counts of the snapshots that it saw."""

    def __init__(self, kind: Kind, table: Table, rules: Sequence[Rule]) -> None:
        self.kind = kind
        self.table = table
        self.follower = Follower(kind, table) if kind.tells else None
        self._rules = tuple(rules)
        self._observer = TableObserver(table.handle)
        self._counts = {CommitKind.APPEND: 0, CommitKind.COMPACT: 0}
        self._seen = 0

    def look(self) -> Look:
        """The state now; reads only what is new since the last look."""
        self._observer.refresh()
        self._count()
        if self.follower is not None:
            self.follower.catch_up()
        buckets = self._judged()
        score = _most(buckets, "score")
        return Look(
            kind=self.kind,
            files=int(buckets["files"].sum()),
            sorted_runs=int(_most(buckets, "sorted_runs")),
            trigger=int(_most(buckets, "trigger")),
            write_amplification=_most(buckets, "write_amplification") or None,
            score=score,
            appends=self._counts[CommitKind.APPEND],
            compactions=self._counts[CommitKind.COMPACT],
            snapshots=len(self.table.handle.snapshots.ids()),
            changes=None if self.follower is None else self.follower.changes,
            resting=score < 1,
        )

    def leave(self) -> None:
        """Look no more."""
        if self.follower is not None:
            self.follower.leave()

    def _judged(self) -> pl.DataFrame:
        """The health of every bucket, with the score that the daemon gives it."""
        now = datetime.now(UTC)
        facts = self._observer.health(int(now.timestamp() * 1000))
        judged = judge(
            [TableFacts(self.table.name, "", self.table.name, facts)], self._rules, now=now
        )
        frames = [frame for _, frame in judged.verdicts]
        return pl.concat(frames) if frames else facts.with_columns(score=pl.lit(0.0))

    def _count(self) -> None:
        store = self.table.handle.snapshots
        for snapshot_id in range(self._seen + 1, (self._observer.snapshot_id or 0) + 1):
            snapshot = store.find(snapshot_id)  # none: it has expired meanwhile
            if snapshot is not None and snapshot.commit_kind in self._counts:
                self._counts[snapshot.commit_kind] += 1
            self._seen = snapshot_id


def _most(buckets: pl.DataFrame, column: str) -> float:
    """The highest value; 0 where there is none."""
    return max((float(value) for value in buckets[column].drop_nulls().to_list()), default=0.0)
