"""The sections of the YAML that say what is done to tables now and then."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from ..table.errors import TableError
from ..table.orphans.clean import OrphanSettings
from ..table.partition_time import PartitionOverride
from .chores import Chore, OrphanChore, PartitionChore, TagChore
from .schedule import Cron, Every
from .units import Duration

Count = Annotated[int, msgspec.Meta(ge=1)]
Text = Annotated[str, msgspec.Meta(min_length=1)]


class ScanInterval:
    """When something is done: every so often, or at the times of a cron expression."""

    __slots__ = ("when",)

    def __init__(self, when: Every | Cron) -> None:
        self.when = when

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ScanInterval) and other.when == self.when

    def __hash__(self) -> int:
        return hash(self.when)


class SnapshotsConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="kebab"):
    """Which snapshots stay. What is not given is the table's own (`snapshot.num-retained.min` and
    `.max`, `snapshot.time-retained`); an empty section means all of it is."""

    retain_min: Count | None = None
    """Keep at least so many snapshots, however old."""

    retain_max: Count | None = None
    """Keep at most so many, however young. Given alone, it takes the other bound along where the
    two would contradict each other."""

    retain_age: Duration | None = None
    """Keep what is younger, as `90m`, `12h` or `7d`, beyond `retain-min` and up to `retain-max`."""


class TagsConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="kebab"):
    """Automatic tags, and the end of tags whose retention has passed. What is not given is the
    table's own; an empty section means all of it is."""

    schedule: ScanInterval = ScanInterval(Every(Duration(60)))
    """How often, or `{cron: "…"}`. Snapshots must not expire before they are tagged: let them stay
    for several times as long."""

    creation: Literal["none", "process-time", "watermark", "batch"] | None = None
    """In place of `tag.automatic-creation`."""

    period: Literal["daily", "hourly", "two-hours"] | None = None
    """In place of `tag.creation-period`."""

    delay: Duration | None = None
    """In place of `tag.creation-delay`."""

    retain_max: Count | None = None
    """In place of `tag.num-retained-max`: automatic tags that stay."""

    retain_age: Duration | None = None
    """In place of `tag.default-time-retained`: how long new tags stay."""


class PartitionsConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="kebab"):
    """Partitions are dropped when their time has come. What is not given is the table's own
    (`partition.expiration-…`); tables that nobody gives an age are left alone."""

    schedule: ScanInterval = ScanInterval(Every(Duration(3600)))
    """How often, or `{cron: "…"}`."""

    expire_after: Duration | None = None
    """In place of `partition.expiration-time`: how old a partition may become."""

    strategy: Literal["values-time", "update-time"] | None = None
    """In place of `partition.expiration-strategy`: by the partition's values, or by its newest
    file."""

    pattern: Text | None = None
    """In place of `partition.timestamp-pattern`, as `$dt $hour`."""

    formatter: Text | None = None
    """In place of `partition.timestamp-formatter`, as `yyyyMMdd HH`."""

    max_num: Count | None = None
    """In place of `partition.expiration-max-num`: so many in one run; the next follows at once."""

    batch_size: Count | None = None
    """In place of `partition.expiration-batch-size`: so many in one commit."""


class OrphansConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="kebab"):
    """Files that no snapshot, tag, branch or changelog speaks of are deleted."""

    schedule: ScanInterval = ScanInterval(Cron("17 3 * * *"))
    """How often, or `{cron: "…"}`. A run lists the whole table."""

    older_than: Duration = Duration(86400)
    """Younger files stay, whoever they belong to; at least `1h`, and longer than any writer takes
    from a file to its commit."""

    external_paths: bool = False
    """Look below the tables' external data paths, too; no two tables may share one."""


def chores_of(
    tags: TagsConfig | None, partitions: PartitionsConfig | None, orphans: OrphansConfig | None
) -> tuple[Chore, ...]:
    """The sections that are there, as chores.

    Raises:
        TableError: a value that the action refuses.
    """
    found: list[Chore] = []
    if tags is not None:
        found.append(TagChore(tags.schedule.when, _tag_overrides(tags)))
    if partitions is not None:
        found.append(PartitionChore(partitions.schedule.when, _partition_override(partitions)))
    if orphans is not None:
        millis = int(orphans.older_than * 1000)
        settings = OrphanSettings(millis, external=orphans.external_paths)
        found.append(OrphanChore(orphans.schedule.when, settings))
    return tuple(found)


def problem_of(orphans: OrphansConfig | None) -> str | None:
    """What is wrong with the section's values together; None: nothing."""
    try:
        chores_of(None, None, orphans)
    except TableError as error:
        return str(error)
    return None


def _tag_overrides(tags: TagsConfig) -> tuple[tuple[str, str], ...]:
    given = {
        "tag.automatic-creation": tags.creation,
        "tag.creation-period": tags.period,
        "tag.creation-delay": _millis_text(tags.delay),
        "tag.num-retained-max": None if tags.retain_max is None else str(tags.retain_max),
        "tag.default-time-retained": _millis_text(tags.retain_age),
    }
    return tuple((key, value) for key, value in given.items() if value is not None)


def _partition_override(partitions: PartitionsConfig) -> PartitionOverride:
    after = partitions.expire_after
    return PartitionOverride(
        expire_millis=None if after is None else int(after * 1000),
        strategy=partitions.strategy,
        pattern=partitions.pattern,
        formatter=partitions.formatter,
        max_num=partitions.max_num,
        batch_size=partitions.batch_size,
    )


def _millis_text(duration: Duration | None) -> str | None:
    return None if duration is None else f"{int(duration * 1000)} ms"
