"""Which snapshots go: pure, over ids and times; told as a line of ages in minutes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from desilt.table.consumers import Consumer, expired
from desilt.table.expiry.range import Bound, InUse, Range, changelog_range, snapshot_range
from desilt.table.retention import Bounds, Retention

MINUTE = 60_000
NOW = 1_000 * MINUTE


def keep(least: int, most: int = 2**31 - 1, minutes: int = 60, *, limit: int = 50) -> Retention:
    return Retention(Bounds(least, most, minutes * MINUTE), None, limit, False, None, True, False)


def line(ages: str) -> dict[int, int]:
    """Times of snapshots 1, 2 …, whose ages in minutes these are; ``-`` for one that is missing."""
    return {at: NOW - int(age) * MINUTE for at, age in enumerate(ages.split(), 1) if age != "-"}


def gone(ages: str, retention: Retention, **given: object) -> list[int]:
    times = line(ages)
    found = snapshot_range(list(times), times.get, retention, now=NOW, **given)  # type: ignore[arg-type]  # passed on
    return [i for i in times if found.earliest <= i < found.until]


@pytest.mark.parametrize(
    ("ages", "retention", "expected"),
    [
        # All are old: the newest two stay.
        ("500 400 300 200 100", keep(2), [1, 2, 3]),
        # A snapshot goes only when the next one is old, too: 3 stood for the table until 59 ago.
        ("500 400 300 59 5", keep(1), [1, 2]),
        ("500 400 61 60 5", keep(1), [1, 2]),
        # Exactly as old as the age is not older.
        ("500 60 30 20 10", keep(1), []),
        ("500 61 30 20 10", keep(1), [1]),
        # More than may stay: those go whatever their age.
        ("50 40 30 20 10", keep(1, 3), [1, 2]),
        ("50 40 30 20 10", keep(3, 3), [1, 2]),
        # The bound on the number never reaches what must stay.
        ("500 400 300 200 100", keep(5), []),
        ("500 400 300 200 100", keep(9), []),
        # A limit on one run.
        ("500 400 300 200 100", keep(1, limit=2), [1, 2]),
        ("50 40 30 20 10", keep(1, 1, limit=2), [1, 2]),
        # One snapshot alone stays.
        ("500", keep(1), []),
        # No age at all: only the number counts.
        ("50 40 30 20 0", keep(2, minutes=0), [1, 2, 3]),
        # Missing ones in the middle are passed over.
        ("500 - 300 200 100", keep(2), [1, 3]),
        ("500 400 - 300 50 5", keep(1), [1, 2]),
        # What would be the first to stay is missing: the one before it stays.
        ("500 400 300 - 200 100", keep(3), [1, 2]),
        ("500 400 - - 300 200", keep(3), [1]),
    ],
)
def test_snapshots_that_go(ages: str, retention: Retention, expected: list[int]) -> None:
    assert gone(ages, retention) == expected


@pytest.mark.parametrize(
    ("following", "expected"), [([3], [1, 2]), ([4, 2], [1]), ([1], []), ([9], [1, 2, 3, 4])]
)
def test_consumers_hold_what_they_have_still_to_read(
    following: list[int], expected: list[int]
) -> None:
    consumers = [Consumer(f"c{n}", n, 0) for n in following]
    ages = "500 400 300 200 100"

    assert gone(ages, keep(1), consumers=consumers) == expected
    assert gone(ages, keep(1, 1), consumers=consumers) == expected
    only = replace(keep(1), consumers_hold_snapshots=False)
    assert gone(ages, only, consumers=consumers) == [1, 2, 3, 4]


@pytest.mark.parametrize(("read", "expected"), [({3}, [1, 2]), ({5, 2}, [1]), ({1}, [])])
def test_running_tasks_hold_what_they_read(read: set[int], expected: list[int]) -> None:
    in_use = InUse(frozenset(read))

    assert gone("500 400 300 200 100", keep(1, 1), in_use=in_use) == expected


def test_the_nearest_bounds_are_the_reasons() -> None:
    times = line("500 400 300 200 100 5")
    consumers = [Consumer("c", 3, 0), Consumer("d", 9, 0)]
    found = snapshot_range(
        list(times), times.get, keep(4), consumers=consumers, in_use=InUse(frozenset({4})), now=NOW
    )

    assert (found.earliest, found.until) == (1, 3)
    assert {b.reason for b in found.bounds} == {
        "the newest 4 snapshots stay", "consumer c has still to read 3",
    }  # fmt: skip


def test_age_is_a_reason() -> None:
    times = line("500 400 30 5")
    found = snapshot_range(list(times), times.get, keep(1), now=NOW)

    assert found.bounds == (Bound(2, "snapshot 3 is no older than 3600000 ms"),)


def test_a_range_can_be_cut_shorter_and_never_longer() -> None:
    whole = Range(3, 8, (Bound(8, "a"),))

    assert whole.cut(Bound(5, "b")) == Range(3, 5, (Bound(5, "b"),))
    assert whole.cut(Bound(9, "b")) == whole
    assert whole.cut(Bound(1, "b")).empty
    assert not whole.empty


# --- long-lived changelogs ------------------------------------------------------------------------


def changelogs_gone(
    ages: str, latest: int, bounds: Bounds, *, limit: int = 50, following: int | None = None
) -> list[int]:
    times = line(ages)
    retention = replace(keep(1), changelogs=bounds, limit=limit, consumers_hold_snapshots=False)
    consumers = [] if following is None else [Consumer("c", following, 0)]
    found = changelog_range(list(times), times.get, latest, retention, consumers=consumers, now=NOW)
    return [i for i in times if found.earliest <= i < found.until]


def test_snapshots_count_towards_the_bounds_of_changelogs() -> None:
    """Five changelogs and one snapshot, at least two of them: the newest changelog stays."""
    assert changelogs_gone("500 400 300 200 100", 6, Bounds(2, 3, 0)) == [1, 2, 3, 4]
    assert changelogs_gone("500 400 300 200 100", 6, Bounds(3, 3, 0)) == [1, 2, 3]
    assert changelogs_gone("500 400 300 200 100", 9, Bounds(3, 3, 0)) == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("ages", "expected"),
    [
        ("500 400 300 200 100", [1, 2, 3, 4]),  # their own age, not that of the next
        ("500 400 59 50 40", [1, 2]),
        ("59 50 40 30 20", []),
    ],
)
def test_changelogs_go_by_their_own_age(ages: str, expected: list[int]) -> None:
    assert changelogs_gone(ages, 6, Bounds(1, 99, 60 * MINUTE)) == expected


def test_consumers_and_the_limit_hold_changelogs() -> None:
    ages = "500 400 300 200 100"

    assert changelogs_gone(ages, 6, Bounds(1, 1, 0), following=3) == [1, 2]
    assert changelogs_gone(ages, 6, Bounds(1, 1, 0), limit=1) == [1]


# --- consumers ------------------------------------------------------------------------------------


def test_consumers_that_did_not_move_are_forgotten() -> None:
    consumers = [Consumer("old", 1, 100), Consumer("edge", 1, 200), Consumer("new", 1, 300)]

    assert [c.name for c in expired(consumers, 800, 1000)] == ["old"]
    assert expired(consumers, None, 10**15) == ()
