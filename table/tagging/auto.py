"""Tags that are made automatically: one for each period that is over, or for each day's batch.

Snapshots are walked from the one behind the newest tag of a period on, oldest first. The first that
was committed (or whose watermark lies) a whole period and the delay behind the start of the period
that is waited for is tagged, under the name of the period that was over then. So the same history
and options make the same tags whoever makes them, here or in a Java writer's commit, once or twice.

Spec: maintenance §11.5; reference classes ``tag/TagAutoCreation``, ``tag/TagBatchCreation``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from .. import paths
from ..commit_files import BATCH_IDENTIFIER
from ..errors import CommitConflict, InvalidRequest
from ..expiry.apply import UseReader
from ..expiry.range import NOTHING_IN_USE
from ..handle import TableHandle
from ..options_tags import CreationMode, TagOptions
from ..snapshot import CommitKind, Snapshot
from ..tags import find_tag, same_state, tag_times
from .delete import TagsDeleted, delete_tags, tried_again
from .deletion import check_taggable
from .edit import NewTag, apply_replacement, apply_tag, plan_replacement, write_success
from .periods import Periods
from .settings import tag_options

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NO_WATERMARK = -(2**63)
_BATCH = "batch-write-"
_BATCH_NAME = re.compile(rf"{_BATCH}\d{{4}}-\d{{2}}-\d{{2}}", re.ASCII)
_BY_WRITERS = frozenset({CommitKind.APPEND, CommitKind.OVERWRITE})


@dataclass(frozen=True, slots=True)
class AutoTags:
    """Tags to be made, oldest snapshot first, and names of those that are too many then.

    ``replaced``: names among the made ones that show an older snapshot now.
    """

    table: str
    mode: CreationMode
    made: tuple[NewTag, ...] = ()
    replaced: frozenset[str] = frozenset()
    trimmed: tuple[str, ...] = ()

    @property
    def empty(self) -> bool:
        return not self.made and not self.trimmed

    def as_dict(self) -> dict[str, object]:
        """Plain data for JSON."""
        return {
            "table": self.table,
            "mode": self.mode.value,
            "made": [{**new.as_dict(), "replaces": new.name in self.replaced} for new in self.made],
            "trimmed": list(self.trimmed),
        }


@dataclass(frozen=True, slots=True)
class AutoTagsMade:
    """``made``: names; ``deleted``: what went because there were too many."""

    made: tuple[str, ...]
    deleted: TagsDeleted | None


def plan_auto_tags(handle: TableHandle, overrides: Mapping[str, str] | None = None) -> AutoTags:
    """The tags that are due now; none where the table's options ask for none.

    Args:
        overrides: options in place of the table's own.

    Raises:
        CommitConflict: the table changed while it was looked at; look again.
        TableMissing, UnsupportedFeature, CorruptTable, StorageUnavailable: as named.
    """
    options = tag_options(check_taggable(handle), overrides)
    match options.mode:
        case CreationMode.NONE:
            return AutoTags(handle.name, options.mode)
        case CreationMode.BATCH:
            return _Batches(handle, options).plan()
        case _:
            return _Walk(handle, options).plan()


def apply_auto_tags(
    plan: AutoTags, handle: TableHandle, *, in_use: UseReader = lambda: NOTHING_IN_USE
) -> AutoTagsMade:
    """Make them, then delete those that are too many. One that is there by now is left as it is.

    Raises:
        CommitConflict: a snapshot or a tag went away meanwhile; look again.
        StorageUnavailable: the store failed; the next run goes on.
    """
    made: list[str] = []
    for new in plan.made:
        if new.name in plan.replaced:
            planned = plan_replacement(
                handle, new.name, new.snapshot_id, new.retained, in_use=in_use
            )
            apply_replacement(planned, handle)
            if new.success_file:  # in Java such a tag is deleted and made again
                write_success(handle, new.name)
            made.append(new.name)
        elif apply_tag(new, handle, exists_ok=True):
            made.append(new.name)
    there = tag_times(handle) if plan.trimmed else {}
    names = [name for name in plan.trimmed if name in there]
    deleted = delete_tags(handle, names, in_use=in_use) if names else None
    return AutoTagsMade(tuple(made), deleted)


def auto_tags(
    handle: TableHandle,
    overrides: Mapping[str, str] | None = None,
    *,
    in_use: UseReader = lambda: NOTHING_IN_USE,
) -> AutoTagsMade:
    """Plan and apply; a plan that no longer holds is made anew, a few times.

    Raises:
        CommitConflict: the table changed too often.
        TableMissing, UnsupportedFeature, CorruptTable, StorageUnavailable: as named.
    """

    def once() -> AutoTagsMade:
        try:
            return apply_auto_tags(plan_auto_tags(handle, overrides), handle, in_use=in_use)
        except InvalidRequest as error:  # a tag or a snapshot of the plan went away
            raise CommitConflict("a tag changed", reason=error.message) from error

    return tried_again(once)


# --- by period ------------------------------------------------------------------------------------


class _Walk:
    """One walk over the snapshots of one table."""

    def __init__(self, handle: TableHandle, options: TagOptions) -> None:
        self._handle = handle
        self._options = options
        self._periods = Periods.of(options)
        starts = {name: self._periods.start(name) for name in tag_times(handle)}
        self._starts = {name: start for name, start in starts.items() if start is not None}

    def plan(self) -> AutoTags:
        due = list(self._due())
        snapshots = {new.name: new.snapshot.id for new in due}
        trimmed = _too_many(self._handle, self._options.retained_max, [*self._starts], snapshots)
        return AutoTags(
            self._handle.name,
            self._options.mode,
            made=tuple(new for new in due if new.name not in trimmed),
            trimmed=tuple(name for name in trimmed if name in self._starts),
        )

    def _due(self) -> Iterator[NewTag]:
        next_id, next_start = self._place()
        latest = self._handle.snapshots.latest()
        if latest is None or not self._any_due(latest, next_start):
            return
        for snapshot in self._behind(next_id):
            time = self._time(snapshot)
            if time is None or not self._is_due(time, next_start):
                continue
            start = self._periods.finished_at(time)
            if self._options.completes and next_start is not None:
                start = next_start
            name = self._periods.name(start)
            if name not in self._starts:
                yield _new(self._handle, self._options, name, snapshot)
            next_start = start + self._periods.millis

    def _place(self) -> tuple[int, int | None]:
        """The first snapshot to look at, and the period that is waited for; None: any."""
        if not self._starts:
            return self._handle.snapshots.earliest_id() or 1, None
        newest = max(self._starts, key=lambda name: (self._starts[name], name))
        tag = find_tag(self._handle, newest)
        if tag is None:
            raise CommitConflict("a tag changed", tag=newest)
        return tag.snapshot.id + 1, self._starts[newest] + self._periods.millis

    def _any_due(self, latest: Snapshot, next_start: int | None) -> bool:
        """Times rise with the snapshots, so mostly one look at the latest is enough."""
        time = self._time(latest)
        return time is None or self._is_due(time, next_start)

    def _is_due(self, time: int, next_start: int | None) -> bool:
        if next_start is None:
            return True
        return time - self._options.delay_millis >= next_start + self._periods.millis

    def _behind(self, first: int) -> Iterator[Snapshot]:
        """Snapshots from ``first`` on; expired ones are passed over, a later gap ends the walk."""
        ids = set(self._handle.snapshots.ids())
        at = first if first in ids else max(first, min(ids, default=first))
        while at in ids and (snapshot := self._handle.snapshots.find(at)) is not None:
            yield snapshot
            at += 1

    def _time(self, snapshot: Snapshot) -> int | None:
        """Local milliseconds that decide; None for a snapshot without a watermark of the
        calendar."""
        if self._options.mode is CreationMode.PROCESS_TIME:
            return _process_local(self._handle, self._options, snapshot)
        watermark = snapshot.watermark
        if watermark is None or watermark == _NO_WATERMARK:
            return None
        try:
            return self._options.watermark_zone.local_millis(watermark)
        except OverflowError:  # the end of a stream, as 2**63 - 1; no period is that late
            return None


def _process_local(handle: TableHandle, options: TagOptions, snapshot: Snapshot) -> int:
    zone = options.process_zone
    if zone is None:
        return handle.world.local_millis(snapshot.time_millis)
    return zone.local_millis(snapshot.time_millis)


def _new(handle: TableHandle, options: TagOptions, name: str, snapshot: Snapshot) -> NewTag:
    source = paths.snapshot_file(handle.root, snapshot.id)
    return NewTag(
        handle.name, name, snapshot, source, options.default_retained, options.success_files
    )


def _too_many(
    handle: TableHandle, most: int | None, names: list[str], new: Mapping[str, int]
) -> tuple[str, ...]:
    """Those of the oldest snapshots among the names there are and will be; ``new``: their ids."""
    every = {*names, *new}
    if most is None or len(every) <= most:
        return ()
    ids = dict(new)
    for name in names:
        tag = find_tag(handle, name) if name not in new else None
        if tag is not None:
            ids[name] = tag.snapshot.id
    oldest = sorted(ids, key=lambda name: (ids[name], name))
    return tuple(oldest[: max(0, len(oldest) - most)])


# --- by batch -------------------------------------------------------------------------------------


class _Batches:
    """Each day's last snapshot of a batch job has the day's name; a later one takes it over.

    Java makes these at the end of a batch job. Whether a snapshot is of one is told by its
    identifier: compactions are passed over.
    """

    def __init__(self, handle: TableHandle, options: TagOptions) -> None:
        self._handle = handle
        self._options = options
        names = tag_times(handle)
        self._names = [n for n in names if _BATCH_NAME.fullmatch(n) or n == options.batch_name]

    def plan(self) -> AutoTags:
        own = self._options.batch_name
        newest = own if own in self._names else max(self._names, default=None)
        tag = None if newest is None else find_tag(self._handle, newest)
        chosen: dict[str, Snapshot] = {}
        for snapshot in self._back_to(0 if tag is None else tag.snapshot.id):
            name = self._name(snapshot)
            if name in chosen:
                continue
            known = find_tag(self._handle, name) if name in self._names else None
            if (
                known is None
                or known.snapshot.id < snapshot.id
                or (known.snapshot.id == snapshot.id and not same_state(known.snapshot, snapshot))
            ):
                chosen[name] = snapshot
            if tag is None or own is not None:
                break  # the first tag of all, or the only one, is of the newest
        return self._planned(dict(reversed(chosen.items())))

    def _planned(self, chosen: Mapping[str, Snapshot]) -> AutoTags:
        made = [_new(self._handle, self._options, n, s) for n, s in chosen.items()]
        ids = {name: snapshot.id for name, snapshot in chosen.items()}
        trimmed = _too_many(self._handle, self._options.retained_max, self._names, ids)
        return AutoTags(
            self._handle.name,
            self._options.mode,
            made=tuple(new for new in made if new.name not in trimmed),
            replaced=frozenset(chosen) & frozenset(self._names),
            trimmed=tuple(name for name in trimmed if name in self._names),
        )

    def _back_to(self, known: int) -> Iterator[Snapshot]:
        """Snapshots of batch jobs down to the one that is known, newest first."""
        for snapshot_id in reversed(self._handle.snapshots.ids()):
            if snapshot_id <= known:
                return
            snapshot = self._handle.snapshots.find(snapshot_id)
            if (
                snapshot is not None
                and snapshot.commit_kind in _BY_WRITERS
                and snapshot.commit_identifier == BATCH_IDENTIFIER
            ):
                yield snapshot

    def _name(self, snapshot: Snapshot) -> str:
        if self._options.batch_name is not None:
            return self._options.batch_name
        local = _process_local(self._handle, self._options, snapshot)
        day = _EPOCH + timedelta(milliseconds=local)
        return f"{_BATCH}{day:%Y-%m-%d}"
