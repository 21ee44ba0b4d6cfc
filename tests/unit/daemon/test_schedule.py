"""When ticks happen; apscheduler's own clock, but nothing waits for it longer than it must."""

from __future__ import annotations

import threading
from datetime import UTC, datetime

import pytest

from desilt.daemon.schedule import Cron, Every, Schedule, check_cron, next_after
from desilt.daemon.units import Duration


@pytest.mark.parametrize("when", [Every(Duration(3600)), Cron("0 0 1 1 *")])
def test_first_tick_is_at_once(when: Every | Cron) -> None:
    ticked = threading.Event()
    schedule = Schedule(when, ticked.set)

    schedule.start()
    arrived = ticked.wait(5)
    schedule.stop()

    assert arrived


def test_ticks_repeat_at_fractions_of_a_second() -> None:
    ticks = threading.Semaphore(0)
    schedule = Schedule(Every(Duration(0.02)), ticks.release)

    schedule.start()
    arrived = [ticks.acquire(timeout=5) for _ in range(3)]
    schedule.stop()

    assert all(arrived)


def test_bad_cron_is_quoted() -> None:
    with pytest.raises(ValueError, match=r"bad cron expression '99 \* \* \* \*'"):
        check_cron("99 * * * *")


@pytest.mark.parametrize(
    ("days", "expected"),
    [
        ("* * 0", "sun"), ("* * 7", "sun"), ("* * sun", "sun"), ("* * 1", "mon"),
        ("* * 1-5", "mon tue wed thu fri"), ("* * 5-7", "sun fri sat"),
        ("* * 6,0", "sun sat"), ("* * */2", "sun tue thu sat"), ("* * 1-5/2", "mon wed fri"),
        ("* * 3/2", "wed fri"), ("* * tue,4", "tue thu"),
        ("* * 0-7", "sun mon tue wed thu fri sat"),
    ],
)  # fmt: skip
def test_days_of_the_week_are_counted_as_crontab_does(days: str, expected: str) -> None:
    when, moment, found = Cron(f"0 3 {days}"), datetime(2026, 11, 29, tzinfo=UTC), list[str]()
    while (moment := next_after(when, moment)) < datetime(2026, 12, 6, tzinfo=UTC):
        found.append(f"{moment:%a}".lower())

    assert " ".join(found) == expected


@pytest.mark.parametrize(
    ("expression", "expected"),
    [("0 3 13 11 5", [6, 13, 20, 27]), ("0 3 */13 11 5", [27]), ("0 3 13 11 *", [13])],
)
def test_either_kind_of_day_will_do_where_both_are_given(
    expression: str, expected: list[int]
) -> None:
    when, moment, found = Cron(expression), datetime(2026, 11, 1, tzinfo=UTC), list[int]()
    while (moment := next_after(when, moment)) < datetime(2026, 12, 1, tzinfo=UTC):
        found.append(moment.day)

    assert found == expected


@pytest.mark.parametrize("expression", ["0 0 30 2 *", "0 0 31 4,6 *"])
def test_a_day_that_never_comes_is_refused(expression: str) -> None:
    with pytest.raises(ValueError, match="there is no such day"):
        Cron(expression)


@pytest.mark.parametrize("expression", ["0 3 * * 8", "0 3 * * 5-1", "0 3 * *", "0 3 * * 1 2026"])
def test_what_crontab_does_not_know_is_refused(expression: str) -> None:
    with pytest.raises(ValueError, match="bad cron expression"):
        Cron(expression)
