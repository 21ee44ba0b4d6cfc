"""When ticks happen; apscheduler's own clock, but nothing waits for it longer than it must."""

from __future__ import annotations

import threading

import pytest

from desilt.daemon.schedule import Cron, Every, Schedule, check_cron
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
