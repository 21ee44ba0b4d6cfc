"""Follows a table: what it holds now, then every change as it comes, as a consumer or anonymously.

A consumer's file names the next snapshot that it reads, and expiry keeps all from there on. It is
moved when the caller asks for more after the last rows of a snapshot: whoever dies in between reads
them again, and loses nothing. Reading the whole table at the start is not held by the file; whoever
dies meanwhile starts anew.

Spec: maintenance §10.1, format §14; reference class ``DataTableStreamScan``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from .change_reader import ChangeReader, Changes, inserts
from .changelogs import ChangelogStore
from .consumers import ConsumerStore
from .errors import InvalidRequest
from .handle import TableHandle
from .scan import rows_of_levels
from .schema import TableSchema
from .snapshot import Snapshot

Start = Literal["full", "latest", "earliest"] | int
TOUCH_MILLIS = 60_000
"""A consumer's file is written at least so often, lest it be taken for forgotten."""


@dataclass(frozen=True, slots=True)
class FollowOptions:
    """``start``: where no consumer says it: ``full`` tells the table first, as +I, then changes;
    ``latest`` what comes from now on; ``earliest`` all changes that are kept; or a snapshot's id.
    ``poll_seconds``: between two looks. ``idle_seconds``: end when nothing came for that long; None
    goes on for ever."""

    columns: Sequence[str] | None = None
    start: Start = "full"
    poll_seconds: float = 1.0
    idle_seconds: float | None = None


def follow(handle: TableHandle, consumer: str | None, options: FollowOptions) -> Iterator[Changes]:
    """Changes as they come, in the schema that is the newest one now (see `FollowOptions`).

    Raises:
        InvalidRequest: what comes next has expired, or the table is not the one it was.
        UnsupportedFeature: a table whose changes nobody tells.
    """
    schema = handle.latest_schema()
    reader = ChangeReader(handle, schema, options.columns)
    place = _Place(handle, consumer)
    waited = 0.0
    while True:
        if place.next is None:
            yield from _begin(handle, schema, place, options)
        snapshot = None if place.next is None else _upcoming(handle, schema, reader, place.next)
        if snapshot is not None:
            waited = 0.0
            yield from _told(reader, snapshot, place)
            continue
        place.keep()
        if options.idle_seconds is not None and waited >= options.idle_seconds:
            return
        handle.world.sleep(options.poll_seconds)
        waited += options.poll_seconds


def _told(reader: ChangeReader, snapshot: Snapshot, place: _Place) -> Iterator[Changes]:
    told = False
    for changes in reader.of(snapshot):
        told = True
        yield changes
    place.next = snapshot.id + 1
    if told:
        place.keep()


def _upcoming(
    handle: TableHandle, schema: TableSchema, reader: ChangeReader, snapshot_id: int
) -> Snapshot | None:
    """The next snapshot to be read; None while it is not there, or not to be told yet."""
    latest = handle.snapshots.latest_id() or 0
    if snapshot_id > latest + 1:
        raise InvalidRequest(
            "the next snapshot lies beyond the latest: the table was rolled back or made anew; "
            "reset the consumer", snapshot_id=snapshot_id, latest=latest, table=handle.name,
        )  # fmt: skip
    if snapshot_id > latest:
        return None
    snapshot = reader.snapshot(snapshot_id)
    delay = schema.options.read_delay_millis
    late = snapshot.time_millis > handle.world.now_millis() - delay
    return None if delay and late else snapshot


class _Place:
    """Where a reader is; ``next`` is None before the table has a first snapshot."""

    def __init__(self, handle: TableHandle, consumer: str | None) -> None:
        self._world, self._store, self._consumer = handle.world, ConsumerStore(handle), consumer
        self.next = None if consumer is None else self._store.next_snapshot(consumer)
        self._kept, self._kept_at = self.next, self._world.now_millis()

    def keep(self) -> None:
        """Write the consumer's file, if it is not what and as fresh as it should be."""
        if self._consumer is None or self.next is None:
            return
        now = self._world.now_millis()
        if self.next != self._kept or now - self._kept_at >= TOUCH_MILLIS:
            self._store.advance(self._consumer, self.next)
            self._kept, self._kept_at = self.next, now


def _begin(
    handle: TableHandle, schema: TableSchema, place: _Place, options: FollowOptions
) -> Iterator[Changes]:
    """What is told before the first change; sets the place unless there is no snapshot yet."""
    latest = handle.snapshots.latest_id()
    if isinstance(options.start, int):
        if options.start < 1:
            raise InvalidRequest("snapshot ids start at 1", start=options.start)
        place.next = options.start
    elif latest is None:
        return
    elif options.start == "latest":
        place.next = latest + 1
    elif options.start == "earliest":
        place.next = _earliest(handle, latest)
    else:
        snapshot = handle.snapshots.get(latest)
        for rows in rows_of_levels(handle, schema, snapshot, options.columns, _first_level(schema)):
            yield Changes(latest, rows, inserts(rows.height))
        place.next = latest + 1
    place.keep()


def _earliest(handle: TableHandle, latest: int) -> int:
    """The first snapshot whose changes are kept, by itself or as a long-lived changelog."""
    earliest = handle.snapshots.earliest_id() or latest
    preserved = set(ChangelogStore(handle).ids())
    while earliest - 1 in preserved:  # no further than without a gap
        earliest -= 1
    return earliest


def _first_level(schema: TableSchema) -> int:
    """What lies below is told as changes, later: when a compaction has seen it.

    Where nobody tells it then, level 0 is told now, whether batch reads see it or not.
    """
    match schema.options.changelog_producer:
        case "lookup":
            return 1
        case "full-compaction":
            return schema.options.levels - 1
        case _:
            return 0
