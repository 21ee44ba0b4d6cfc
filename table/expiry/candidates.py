"""Which snapshots and long-lived changelogs go, and which data files they might leave behind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from ..changelogs import ChangelogStore
from ..consumers import Consumer, ConsumerStore, expired
from ..errors import CommitConflict, FileMissing
from ..handle import TableHandle
from ..retention import Retention
from ..snapshot import Snapshot
from ..storage import side_by_side
from .files import REMOVED_SCHEMA, removed_files
from .names import NameReader
from .range import Bound, InUse, Range, changelog_range, every_changelog, snapshot_range

_EVER = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Candidates:
    """What one range might leave behind. ``members``: what goes; ``end``: the first that stays;
    ``removed``: data files, REMOVED_SCHEMA."""

    range: Range
    members: tuple[Snapshot, ...]
    end: Snapshot
    removed: pl.DataFrame


class CandidateFinder:
    """One look at one table: every snapshot file is read at most once.

    ``idle``: consumers that are to be forgotten; ``ids``: of snapshots from the earliest on.
    """

    def __init__(
        self, handle: TableHandle, retention: Retention, in_use: InUse, names: NameReader
    ) -> None:
        self._handle = handle
        self._retention = retention
        self._in_use = in_use
        self._names = names
        self.now = handle.world.now_millis()
        self._read: dict[int, Snapshot | None] = {}
        consumers = ConsumerStore(handle).all()
        self.idle = expired(consumers, retention.consumer_millis, self.now)
        self._consumers: tuple[Consumer, ...] = tuple(c for c in consumers if c not in self.idle)
        self.ids = self._ids()

    @property
    def _decoupled(self) -> bool:
        return self._retention.changelogs is not None

    def _ids(self) -> tuple[int, ...]:
        """Ids from the earliest snapshot on, rising; the hints say which is the earliest."""
        earliest = self._handle.snapshots.earliest_id()
        ids = self._handle.snapshots.ids()
        return ids if earliest is None else tuple(i for i in ids if i >= earliest)

    def snapshot(self, snapshot_id: int) -> Snapshot | None:
        if snapshot_id not in self._read:
            self._read[snapshot_id] = self._handle.snapshots.find(snapshot_id)
        return self._read[snapshot_id]

    def read_ahead(self, ids: Sequence[int]) -> None:
        """Have these snapshots there, read side by side."""
        missing = [i for i in ids if i not in self._read]
        find, width = self._handle.snapshots.find, self._handle.storage.in_flight
        self._read.update(zip(missing, side_by_side(find, missing, width), strict=True))

    def _time(self, snapshot_id: int) -> int | None:
        found = self.snapshot(snapshot_id)
        return None if found is None else found.time_millis

    def snapshots(self) -> Candidates:
        """The snapshots that go; there must be one at all."""
        found = snapshot_range(
            self.ids,
            self._time,
            self._retention,
            consumers=self._consumers,
            in_use=self._in_use,
            now=self.now,
        )
        candidates = self._of(found)
        read = candidates.removed.filter(pl.col("name").is_in(list(self._in_use.files)))
        if not read.height:
            return candidates
        # What a running task reads stays reachable: its snapshot does, too, or it would be lost.
        last = min(read["snapshot_id"].to_list()) - 1
        shorter = found.cut(Bound(last, f"a running task reads {read['name'][0]}"))
        return self._of(shorter)

    def _of(self, found: Range) -> Candidates:
        until = max(i for i in self.ids if i <= found.until)
        self.read_ahead([i for i in self.ids if found.earliest <= i <= until])
        end = self.snapshot(until)
        if end is None:
            raise CommitConflict("a snapshot went away", snapshot_id=until)
        found = Range(found.earliest, until, found.bounds)
        going = [self.snapshot(i) for i in self.ids if found.earliest <= i < until]
        members = tuple(s for s in going if s is not None)
        # The first one's delta was dealt with when the snapshot before it went.
        deltas = [*members[1:], end] if members else []
        appended = not self._decoupled or self._retention.produces_changelog
        if self._handle.storage.in_flight > 1:
            self._names.read_ahead(deltas)
        try:
            removed = removed_files(self._names, deltas, gone_before=until, appended=appended)
        except FileMissing as error:
            if self._handle.snapshots.find(until) is not None:
                raise
            raise CommitConflict("a snapshot went away", snapshot_id=until) from error
        return Candidates(found, members, end, removed)

    def no_snapshots(self) -> Candidates:
        """None goes: changelogs are expired alone."""
        earliest = self.ids[0]
        end = self.snapshot(earliest)
        if end is None:
            raise CommitConflict("a snapshot went away", snapshot_id=earliest)
        return Candidates(Range(earliest, earliest, ()), (), end, _none_removed())

    def changelogs(
        self, going: Sequence[Snapshot], *, everything: bool = False
    ) -> Candidates | None:
        """The long-lived changelogs that go, counting those that ``going`` becomes.

        Args:
            everything: all that no consumer has still to read, whatever their number and age.
        """
        store = ChangelogStore(self._handle)
        becoming = {s.id: s for s in going}
        ids = tuple(sorted({*store.ids(), *becoming}))
        if not ids:
            return None

        def copy(changelog_id: int) -> Snapshot | None:
            return becoming.get(changelog_id) or store.find(changelog_id)

        def time(changelog_id: int) -> int | None:
            found = copy(changelog_id)
            return None if found is None else found.time_millis

        if everything:
            found = every_changelog(ids, consumers=self._consumers)
        else:
            found = changelog_range(
                ids, time, self.ids[-1], self._retention, consumers=self._consumers, now=self.now
            )
        end = copy(found.until)
        if end is None and found.until > ids[-1]:
            end = self.snapshot(self.ids[0])  # of what is left that is the oldest
        if end is None:
            raise CommitConflict("a changelog went away", changelog_id=found.until)
        copies = [copy(i) for i in ids if found.earliest <= i < found.until]
        members = tuple(c for c in copies if c is not None)
        plain = [c for c in members if c.changelog_manifest_list is None]
        return Candidates(found, members, end, removed_files(self._names, plain, gone_before=_EVER))


def _none_removed() -> pl.DataFrame:
    return pl.DataFrame(schema=REMOVED_SCHEMA)
