"""Which snapshots go: pure decisions over ids and times.

With L the latest id, E the earliest, and ``cut`` now minus the age:

1. ids below L - most + 1 go whatever their age;
2. of the others one goes only when the *next* snapshot is older than the age, too: until then the
   state that it stands for was the newest one not so long ago;
3. the first that may not go ends the range, and no bound is ever stepped over: L - least + 1, the
   smallest snapshot a consumer has still to read, the ones that running tasks read, E + limit.

What goes is always a piece at the old end, [E, until).

Spec: maintenance §10.1, §10.3; reference classes ``ExpireSnapshotsImpl``, ``ExpireChangelogImpl``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from ..consumers import Consumer
from ..retention import Bounds, Retention

Times = Callable[[int], int | None]
"""Epoch milliseconds of the snapshot with this id; None when there is none."""


@dataclass(frozen=True, slots=True)
class Bound:
    """Nothing from ``until`` on may go, and why; ``again``: only in this run."""

    until: int
    reason: str
    again: bool = False


@dataclass(frozen=True, slots=True)
class InUse:
    """What running tasks read: snapshots, and data files by name; ``tasks``: their ids, which are
    in the names of what they write."""

    snapshots: frozenset[int] = frozenset()
    files: frozenset[str] = frozenset()
    tasks: frozenset[str] = frozenset()


NOTHING_IN_USE = InUse()


@dataclass(frozen=True, slots=True)
class Range:
    """[``earliest``, ``until``) goes; ``bounds``: what kept it from being more, nearest first."""

    earliest: int
    until: int
    bounds: tuple[Bound, ...]

    @property
    def empty(self) -> bool:
        return self.until <= self.earliest

    def cut(self, bound: Bound) -> Range:
        """The same range, ending at the bound if that is nearer."""
        until = max(self.earliest, min(self.until, bound.until))
        return Range(self.earliest, until, _nearest((*self.bounds, bound), until))


def snapshot_range(
    ids: Sequence[int],
    times: Times,
    retention: Retention,
    *,
    consumers: Iterable[Consumer] = (),
    in_use: InUse = NOTHING_IN_USE,
    now: int,
) -> Range:
    """The snapshots that go.

    Args:
        ids: of all snapshots, rising, at least one; there may be gaps.
        now: epoch milliseconds.
    """
    earliest, latest = ids[0], ids[-1]
    bounds = [*_counted(earliest, latest, retention.snapshots, retention.limit)]
    if retention.consumers_hold_snapshots:
        bounds += _consumer_bounds(consumers)
    bounds += [Bound(s, f"a running task reads snapshot {s}") for s in sorted(in_use.snapshots)]
    until = min(b.until for b in bounds)
    first = max(latest - retention.snapshots.most + 1, earliest)
    cut = now - retention.snapshots.millis
    for snapshot_id in range(first, until):
        following = times(snapshot_id + 1)
        if following is not None and cut <= following:
            reason = f"snapshot {snapshot_id + 1} is no older than {retention.snapshots.millis} ms"
            bounds.append(Bound(snapshot_id, reason))
            break
    return _there(earliest, bounds, ids)


def changelog_range(
    ids: Sequence[int],
    times: Times,
    latest_snapshot: int,
    retention: Retention,
    *,
    consumers: Iterable[Consumer] = (),
    now: int,
) -> Range:
    """The long-lived changelogs that go. The newest one never does.

    Args:
        ids: of all long-lived changelogs, rising, at least one.
        latest_snapshot: the bounds count from here: snapshots are the newest changelogs.
    """
    assert retention.changelogs is not None
    keep = retention.changelogs
    earliest, newest = ids[0], ids[-1]
    bounds = [*_counted(earliest, latest_snapshot, keep, retention.limit, "changelog")]
    bounds += _consumer_bounds(consumers)
    bounds.append(Bound(newest, "the newest changelog stays"))
    until = min(b.until for b in bounds)
    cut = now - keep.millis
    for changelog_id in range(max(latest_snapshot - keep.most + 1, earliest), until + 1):
        time = times(changelog_id)
        if time is not None and cut <= time:
            reason = f"changelog {changelog_id} is no older than {keep.millis} ms"
            bounds.append(Bound(changelog_id, reason))
            break
    return _there(earliest, bounds, ids)


def every_changelog(ids: Sequence[int], *, consumers: Iterable[Consumer] = ()) -> Range:
    """All long-lived changelogs, as far as no consumer has still to read them.

    Args:
        ids: of all of them, rising, at least one.
    """
    bounds = [b for b in _consumer_bounds(consumers) if b.until <= ids[-1]]
    until = min((b.until for b in bounds), default=ids[-1] + 1)
    end = min((i for i in ids if i >= until), default=ids[-1] + 1)
    return Range(ids[0], end, _nearest(bounds, end))


def _counted(
    earliest: int, latest: int, bounds: Bounds, limit: int, what: str = "snapshot"
) -> tuple[Bound, ...]:
    return (
        Bound(latest - bounds.least + 1, f"the newest {bounds.least} {what}s stay"),
        Bound(earliest + limit, f"at most {limit} {what}s go at once", again=True),
    )


def _consumer_bounds(consumers: Iterable[Consumer]) -> list[Bound]:
    return [
        Bound(c.next_snapshot, f"consumer {c.name} has still to read {c.next_snapshot}")
        for c in consumers
    ]


def _there(earliest: int, bounds: Sequence[Bound], ids: Sequence[int]) -> Range:
    """The range up to the nearest bound; its end must exist, since it says what is still used."""
    until = max(earliest, min(b.until for b in bounds))
    end = max((i for i in ids if i <= until), default=earliest)
    if end < until:
        bounds = [*bounds, Bound(end, f"{until} is missing, and so is all down to {end}")]
    return Range(earliest, end, _nearest(bounds, end))


def _nearest(bounds: Iterable[Bound], until: int) -> tuple[Bound, ...]:
    """Bounds that end the range just here."""
    return tuple(b for b in bounds if b.until <= until)
