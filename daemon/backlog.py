"""What is due and since when; no I/O, no clock, no lock: the app holds its own around it.

A proposal that planning found nothing to do for is *fruitless* until its table has another
snapshot: asking again would give the same answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from ..policies.admit import BucketKey, Proposal
from .plan import DueTable


@dataclass(frozen=True, slots=True)
class Measure:
    """Due buckets, their live bytes, and how long the oldest has been due (0 without any)."""

    tasks: int
    size_bytes: int
    oldest_due_age_seconds: float


class Backlog:
    """Due work by table."""

    def __init__(self) -> None:
        # All by table first: a change of one costs the same however many there are.
        self._due: dict[str, DueTable] = {}
        self._since: dict[str, dict[BucketKey, datetime]] = {}
        self._fruitless: dict[str, dict[BucketKey, int | None]] = {}

    def replace(
        self, table: str, due: DueTable | None, snapshot_id: int | None, now: datetime
    ) -> None:
        """What is due in ``table`` as of this snapshot; None: nothing."""
        given_up = self._fruitless.pop(table, {})
        given_up = {key: seen for key, seen in given_up.items() if seen == snapshot_id}
        if given_up:
            self._fruitless[table] = given_up
        proposals = () if due is None else due.proposals
        kept = tuple(p for p in proposals if p.key not in given_up)
        since = self._since.pop(table, {})
        if due is None or not kept:
            self._due.pop(table, None)
            return
        self._since[table] = {p.key: since.get(p.key, now) for p in kept}
        self._due[table] = DueTable(due.rule, kept, due.size_bytes)

    def fruitless(self, key: BucketKey, snapshot_id: int | None) -> None:
        """Nothing to do for this bucket as long as its table has this snapshot."""
        self._fruitless.setdefault(key.table, {})[key] = snapshot_id

    def worked_on(self, key: BucketKey, now: datetime) -> None:
        """Something was done for the bucket: if it is still due, it is so from now on."""
        if key in self._since.get(key.table, {}):
            self._since[key.table][key] = now

    def proposals(self) -> tuple[Proposal, ...]:
        """All that is due."""
        return tuple(p for due in self._due.values() for p in due.proposals)

    def waiting(self, now: datetime) -> tuple[Proposal, ...]:
        """The same, each with how long it has been due."""
        return tuple(
            replace(
                p, waited_seconds=max(0.0, (now - self._since[p.key.table][p.key]).total_seconds())
            )
            for p in self.proposals()
        )

    def rules(self) -> Mapping[str, str]:
        """The rule that judged each table with due work."""
        return {table: due.rule for table, due in self._due.items()}

    def measure(self, now: datetime) -> Measure:
        """How much there is."""
        keys = [proposal.key for proposal in self.proposals()]
        sizes = sum(self._due[key.table].size_bytes[key] for key in keys)
        oldest = min((self._since[key.table][key] for key in keys), default=now)
        return Measure(len(keys), sizes, max(0.0, (now - oldest).total_seconds()))
