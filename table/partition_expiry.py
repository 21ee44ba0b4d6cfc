"""Expires partitions: those whose time, by their values or their newest file, is long ago.

Spec: maintenance §11.3; reference class ``NormalPartitionExpire``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .commit import Committer
from .errors import CommitConflict, InvalidRequest
from .handle import TableHandle
from .metadata import MetadataReader
from .partition_drop import DropConflict, DropPlan, DropResult, apply_drop, plan_of
from .partition_list import PartitionInfo, partitions_in, wall_text
from .partition_time import PartitionClock, PartitionOverride, by_age
from .premises import REPLANS_MAX
from .schema import TableSchema


@dataclass(frozen=True, slots=True)
class PartitionExpiryPlan:
    """What one run would drop. ``left``: how many more have expired than one run takes.

    ``timeless``: labels of partitions whose values say no time, or whose files none; they stay.
    ``cut``: the wall clock before which a partition's time must be.
    """

    strategy: str
    cut: str
    drop: DropPlan
    left: int = 0
    stay: int = 0
    timeless: tuple[str, ...] = ()

    @property
    def empty(self) -> bool:
        return self.drop.empty

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return {
            **self.drop.as_dict(), "strategy": self.strategy, "cut": self.cut, "left": self.left,
            "stay": self.stay, "timeless": list(self.timeless),
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class PartitionExpiryResult:
    """``left``: expired ones beyond what one run takes: the next may follow at once."""

    dropped: DropResult
    left: int = 0
    timeless: int = 0

    @property
    def more(self) -> bool:
        return self.left > 0

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return {**self.dropped.as_dict(), "left": self.left, "timeless": self.timeless}


def clock_of(
    handle: TableHandle, schema: TableSchema, override: PartitionOverride | None = None
) -> PartitionClock:
    """The table's rule as it is now.

    Raises:
        InvalidRequest: the table has no partitions, or nobody says when they expire.
        UnsupportedFeature: a strategy or a pattern letter that is not known here, by name.
    """
    if not schema.partition_keys:
        raise InvalidRequest("the table has no partitions")
    options = (override or PartitionOverride()).on(schema.options.partitions)
    keys = schema.partition_keys
    clock = PartitionClock.of(options, keys, schema.types(keys), handle.world.creation_millis())
    if clock is None:
        raise InvalidRequest(
            "nobody says when partitions expire", option="partition.expiration-time"
        )
    return clock


def plan_partition_expiry(
    handle: TableHandle,
    override: PartitionOverride | None = None,
    reader: MetadataReader | None = None,
) -> PartitionExpiryPlan:
    """What a run now would drop of the latest snapshot, oldest first, at most as many as one takes.

    Raises:
        InvalidRequest, UnsupportedFeature: as `clock_of`.
    """
    schema = handle.latest_schema()
    clock = clock_of(handle, schema, override)
    options = (override or PartitionOverride()).on(schema.options.partitions)
    snapshot = handle.snapshots.latest()
    if snapshot is None:
        drop = DropPlan(handle.name, None, ())
        return PartitionExpiryPlan(clock.strategy, wall_text(clock.cut_millis), drop)
    reader = reader or MetadataReader(handle)
    found = partitions_in(snapshot, schema, reader)
    judged = [(p, clock.judge(p.row, p.newest_millis)) for p in found]
    expired = oldest_first([p for p, gone in judged if gone], schema.options.default_partition)
    chosen = expired[: max(0, options.max_num)]
    drop = plan_of(handle, snapshot, schema, reader, chosen, options.batch_size)
    return PartitionExpiryPlan(
        clock.strategy,
        wall_text(clock.cut_millis),
        drop,
        left=len(expired) - len(chosen),
        stay=sum(1 for _, gone in judged if gone is False),
        timeless=tuple(p.label for p, gone in judged if gone is None),
    )


def oldest_first(partitions: Sequence[PartitionInfo], default_name: str) -> list[PartitionInfo]:
    """In the order in which Java takes them: by the text of their values."""

    def key(info: PartitionInfo) -> bytes:
        return by_age([default_name if t is None else t for t in info.texts.values()])

    return sorted(partitions, key=key)


def expire_partitions(
    handle: TableHandle,
    override: PartitionOverride | None = None,
    committer: Committer | None = None,
) -> PartitionExpiryResult:
    """Plan and apply, one run; planned anew when a partition changes meanwhile.

    One that a writer added to has still expired by its values, so it goes with what was added; by
    its newest file it has not, so it stays.

    Raises:
        InvalidRequest, UnsupportedFeature: as `clock_of`.
        CommitConflict: they changed under us too often.
        StorageUnavailable: not published; what was written is removed as far as possible.
    """
    committer = committer or Committer(handle)
    done = DropResult(handle.name)
    for attempt in range(REPLANS_MAX):
        plan = plan_partition_expiry(handle, override, committer.reader)
        try:
            done = apply_drop(handle, plan.drop, committer, done)
        except DropConflict as error:
            done = error.done
            if attempt == REPLANS_MAX - 1:
                raise
            continue
        return PartitionExpiryResult(done, plan.left, len(plan.timeless))
    raise CommitConflict("partitions changed too often", table=handle.name)
