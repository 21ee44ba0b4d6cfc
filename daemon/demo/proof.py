"""The demo's proof: each table, read back, against the writer's log and the follower's rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from ...table.table import Table
from .kinds import Kind, Values
from .log import Sent
from .replay import Follower


@dataclass(frozen=True, slots=True)
class Proof:
    """Keys by what is wrong with them; nothing is when all counts are 0, and snapshots are few.

    ``untold``: keys that the changes leave with another row than the table; ``misfits``: changes
    that could not follow the ones before them. ``changes``: None where nobody tells any.
    """

    rows: int
    lost: int
    duplicated: int
    changed: int
    unexpected: int
    unacknowledged: int
    snapshots: int
    snapshots_max: int
    changes: int | None = None
    untold: int = 0
    misfits: int = 0

    @property
    def holds(self) -> bool:
        wrong = self.lost + self.duplicated + self.changed + self.unexpected
        wrong += self.unacknowledged + self.untold + self.misfits
        return wrong == 0 and self.snapshots <= self.snapshots_max

    def __str__(self) -> str:
        parts = [
            f"{self.rows} rows read back",
            f"lost {self.lost}, duplicated {self.duplicated}, changed {self.changed}, "
            f"unexpected {self.unexpected}",
            f"{self.snapshots} snapshots, at most {self.snapshots_max}",
        ]
        if self.changes is not None:
            parts.append(
                f"{self.changes} changes replayed, untold {self.untold}, misfits {self.misfits}"
            )
        if self.unacknowledged:
            parts.append(f"commits without an answer {self.unacknowledged}")
        return "; ".join(parts)


def prove(
    kind: Kind, table: Table, sent: Sent, follower: Follower | None, snapshots_max: int
) -> Proof:
    """Read the table and compare it with what was sent, and with what was told."""
    found = table.scan(columns=list(kind.columns)).collect().rows()
    times = Counter(row[0] for row in found)
    by_key: Mapping[int, Values] = {row[0]: tuple(row[1:]) for row in found}
    return Proof(
        rows=len(found),
        lost=len(sent.rows.keys() - times.keys()),
        duplicated=sum(count > 1 for count in times.values()),
        changed=sum(by_key.get(key, values) != values for key, values in sent.rows.items()),
        unexpected=len(times.keys() - sent.rows.keys()),
        unacknowledged=sent.batches - sent.acknowledged,
        snapshots=len(table.handle.snapshots.ids()),
        snapshots_max=snapshots_max,
        changes=None if follower is None else follower.changes,
        untold=0 if follower is None else _different(follower.rows, by_key),
        misfits=0 if follower is None else follower.misfits,
    )


def _different(left: Mapping[int, Values], right: Mapping[int, Values]) -> int:
    """Keys whose rows are not the same on both sides."""
    return sum(left.get(key) != right.get(key) for key in left.keys() | right.keys())
