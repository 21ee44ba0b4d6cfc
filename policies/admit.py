"""Which proposals start now, within what is left of the budgets; pure.

Order: higher score first, then the older level-0 file, then table, partition, bucket (and of one
bucket the cheaper), so that the same proposals always give the same answer. One task per bucket at
most.

Memory is held for the more urgent: where a proposal needs more than is left, but not more than
there is in all, those behind it wait with it. Otherwise small tasks would overtake it for ever.
One that needs more than there is in all holds nobody up.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import polars as pl

from .api import KEY_COLUMNS, PICK_COLUMNS, Action


@dataclass(frozen=True, slots=True, order=True)
class BucketKey:
    """Names one bucket; ``table`` is unique across catalogs, as the daemon names it."""

    table: str
    partition: str
    bucket: int

    def __str__(self) -> str:
        return " ".join(filter(None, (self.table, self.partition, f"bucket {self.bucket}")))


@dataclass(frozen=True, slots=True)
class PickLimits:
    """The numbers to plan a keyed bucket with: runs, percent, percent."""

    trigger: int
    size_amplification_percent: int
    size_ratio_percent: int


@dataclass(frozen=True, slots=True)
class Proposal:
    """A due verdict with its cost.

    ``memory_bytes``: what its task may use. ``oldest_level0_age_seconds``: None without level 0.
    """

    key: BucketKey
    action: Action
    score: float
    reason: str
    memory_bytes: int
    oldest_level0_age_seconds: float | None
    limits: PickLimits

    def __post_init__(self) -> None:
        if not math.isfinite(self.score) or self.score < 1:
            raise ValueError(f"a proposal is due, score={self.score}")
        if self.memory_bytes < 0:
            raise ValueError(f"memory is not negative, memory_bytes={self.memory_bytes}")


@dataclass(frozen=True, slots=True)
class Budget:
    """What is left for new tasks.

    ``memory_bytes_total``: the whole budget, running tasks included; None: all of it is left.
    """

    slots: int
    memory_bytes: int
    memory_bytes_total: int | None = None

    @property
    def whole(self) -> int:
        """Bytes that a task could ever have."""
        return self.memory_bytes if self.memory_bytes_total is None else self.memory_bytes_total


@dataclass(frozen=True, slots=True)
class Standing:
    """What must not be started: running buckets, quarantined ones, halted tables."""

    running: frozenset[BucketKey] = frozenset()
    quarantined: frozenset[BucketKey] = frozenset()
    halted: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Deferral:
    """A proposal that does not start now, and why."""

    proposal: Proposal
    reason: str


@dataclass(frozen=True, slots=True)
class Admission:
    """Both in order of urgency; together they are the proposals, each once."""

    admitted: tuple[Proposal, ...]
    deferred: tuple[Deferral, ...]


def proposals_from(verdicts: pl.DataFrame, *, memory_bytes: int) -> tuple[Proposal, ...]:
    """The due rows of checked verdicts, in the frame's order, each costing ``memory_bytes``."""
    wanted = [
        *KEY_COLUMNS, "action", "score", "reason", "oldest_level0_age_seconds", *PICK_COLUMNS
    ]  # fmt: skip
    due = verdicts.filter(pl.col("action").is_not_null()).select(wanted)
    return tuple(
        Proposal(
            key=BucketKey(table, partition, bucket),
            action=action,
            score=score,
            reason=reason,
            memory_bytes=memory_bytes,
            oldest_level0_age_seconds=age,
            limits=PickLimits(*limits),
        )
        for table, partition, bucket, action, score, reason, age, *limits in due.iter_rows()
    )


def urgency(proposal: Proposal) -> tuple[float, float, BucketKey, int]:
    """Sort key, most urgent first: score, age of the oldest level-0 file, bucket, least memory."""
    age = proposal.oldest_level0_age_seconds
    known = -1.0 if age is None or math.isnan(age) else age
    return (-proposal.score, -known, proposal.key, proposal.memory_bytes)


def plan_admission(proposals: Iterable[Proposal], budget: Budget, standing: Standing) -> Admission:
    """Split the proposals into those that start now and those that wait, each with its reason."""
    admitted: list[Proposal] = []
    deferred: list[Deferral] = []
    for proposal, why in _decide(sorted(proposals, key=urgency), budget, standing):
        if why is None:
            admitted.append(proposal)
        else:
            deferred.append(Deferral(proposal, why))
    return Admission(tuple(admitted), tuple(deferred))


def _decide(
    proposals: Iterable[Proposal], budget: Budget, standing: Standing
) -> Iterator[tuple[Proposal, str | None]]:
    """Each proposal in turn with the reason to defer it, or None."""
    taken: set[BucketKey] = set()
    slots, memory = budget.slots, budget.memory_bytes
    held_for: BucketKey | None = None
    for proposal in proposals:
        why = _obstacle(proposal, standing, taken)
        if why is None:
            why = _too_much(proposal, Budget(slots, memory, budget.whole), held_for)
            if why is None:
                taken.add(proposal.key)
                slots -= 1
                memory -= proposal.memory_bytes
            elif memory < proposal.memory_bytes <= budget.whole:
                held_for = held_for or proposal.key
        yield proposal, why


def _obstacle(proposal: Proposal, standing: Standing, taken: set[BucketKey]) -> str | None:
    """Why this bucket must not start at all, whatever is left."""
    if proposal.key.table in standing.halted:
        return "the table is halted"
    if proposal.key in standing.quarantined:
        return "the bucket is quarantined"
    if proposal.key in standing.running:
        return "a task of this bucket is running"
    if proposal.key in taken:
        return "another task of this bucket was admitted"
    return None


def _too_much(proposal: Proposal, left: Budget, held_for: BucketKey | None) -> str | None:
    """Which budget does not allow it."""
    needs = proposal.memory_bytes
    if needs > left.whole:
        return f"needs {needs} bytes of memory, more than the whole budget of {left.whole}"
    if left.slots <= 0:
        return "no slot left"
    if needs > left.memory_bytes:
        return f"needs {needs} bytes of memory, {left.memory_bytes} left"
    if held_for is not None:
        return f"memory is held for {held_for}"
    return None
