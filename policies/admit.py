"""Which proposals start now, within what is left of the budgets; pure.

Order: higher score first, where waiting counts, then the older level-0 file, then table, partition,
bucket (and of one bucket the cheaper), so that the same proposals always give the same answer. One
task per bucket at most.

Long tasks may have fewer slots than there are: what readers wait for does not wait for them.

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

# Read and merged within seconds, even on a slow machine.
QUICK_BYTES = 256 * 2**20
# Of a row about so much is its key: one part of ten.
KEY_SHARE = 10
# A due bucket that has waited so long counts double, after as long again threefold: its turn comes,
# whatever else is due.
WAIT_SECONDS = 300.0


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
    """What to plan a keyed bucket with: runs, percent, percent; ``full``: merge it whole."""

    trigger: int
    size_amplification_percent: int
    size_ratio_percent: int
    full: bool = False


@dataclass(frozen=True, slots=True)
class Proposal:
    """A due verdict with its cost.

    ``memory_bytes``: what its task may use. ``oldest_level0_age_seconds``: None without level 0.
    ``read_bytes``: about what it reads, at most. ``waited_seconds``: since it is due.
    """

    key: BucketKey
    action: Action
    score: float
    reason: str
    memory_bytes: int
    oldest_level0_age_seconds: float | None
    limits: PickLimits
    read_bytes: int = 0
    waited_seconds: float = 0.0

    @property
    def quick(self) -> bool:
        """Whether its task takes seconds."""
        return self.read_bytes <= QUICK_BYTES

    def __post_init__(self) -> None:
        if not math.isfinite(self.score) or self.score < 1:
            raise ValueError(f"a proposal is due, score={self.score}")
        if self.memory_bytes < 0:
            raise ValueError(f"memory is not negative, memory_bytes={self.memory_bytes}")


@dataclass(frozen=True, slots=True)
class Budget:
    """What is left for new tasks.

    ``memory_bytes_total``: the whole budget, running tasks included; None: all of it is left.
    ``long_slots``: of the slots those that tasks may have which are not quick; None: all.
    """

    slots: int
    memory_bytes: int
    memory_bytes_total: int | None = None
    long_slots: int | None = None

    @property
    def whole(self) -> int:
        """Bytes that a task could ever have."""
        return self.memory_bytes if self.memory_bytes_total is None else self.memory_bytes_total

    def without(self, proposal: Proposal) -> Budget:
        """What is left when it has started, too."""
        fewer = None if self.long_slots is None else self.long_slots - (not proposal.quick)
        return Budget(self.slots - 1, self.memory_bytes - proposal.memory_bytes, self.whole, fewer)


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
        *KEY_COLUMNS, "action", "score", "reason", "oldest_level0_age_seconds", "read_bytes",
        *PICK_COLUMNS,
    ]  # fmt: skip
    due = verdicts.filter(pl.col("action").is_not_null())
    due = due.with_columns(read_bytes=_read_bytes()).select(wanted)
    return tuple(
        Proposal(
            key=BucketKey(table, partition, bucket),
            action=action,
            score=score,
            reason=reason,
            memory_bytes=memory_bytes,
            oldest_level0_age_seconds=age,
            limits=PickLimits(*limits),
            read_bytes=read,
        )
        for table, partition, bucket, action, score, reason, age, read, *limits in due.iter_rows()
    )


def _read_bytes() -> pl.Expr:
    """What is packed; of a keyed bucket all, but where level 0 only goes up: what lies at the
    lowest levels, and the keys of all others, in which those that go up are looked up."""
    size, level = (pl.element().struct.field(name) for name in ("bytes", "level"))
    lifted = pl.when(level <= 1).then(size).otherwise(size // KEY_SHARE)
    lifts = pl.col("up_level0") & ~pl.col("full") & (pl.col("sorted_runs") < pl.col("trigger"))
    return (
        pl.when(~pl.col("keyed"))
        .then(pl.col("packable_bytes"))
        .when(lifts)
        .then(pl.col("runs").list.eval(lifted).list.sum())
        .otherwise(pl.col("bytes"))
        .fill_null(0)
    )


def urgency(proposal: Proposal) -> tuple[float, float, BucketKey, int]:
    """Sort key, most urgent first: score and what was waited, age of the oldest level-0 file,
    bucket, least memory."""
    age = proposal.oldest_level0_age_seconds
    known = -1.0 if age is None or math.isnan(age) else age
    score = proposal.score * (1 + max(0.0, proposal.waited_seconds) / WAIT_SECONDS)
    return (-score, -known, proposal.key, proposal.memory_bytes)


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
    left = budget
    held_for: BucketKey | None = None
    for proposal in proposals:
        why = _obstacle(proposal, standing, taken)
        if why is None:
            why = _too_much(proposal, left, held_for)
            if why is None:
                taken.add(proposal.key)
                left = left.without(proposal)
            elif left.memory_bytes < proposal.memory_bytes <= budget.whole:
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
    if left.long_slots is not None and left.long_slots <= 0 and not proposal.quick:
        return "the last slot is kept for quick tasks"
    if needs > left.memory_bytes:
        return f"needs {needs} bytes of memory, {left.memory_bytes} left"
    if held_for is not None:
        return f"memory is held for {held_for}"
    return None
