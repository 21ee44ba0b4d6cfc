"""When ticks happen. The only file that imports apscheduler.

One job, one tick at a time: a tick that takes longer than the interval delays the next one, and
however many were missed meanwhile, one makes up for all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import cast

from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.interval import IntervalTrigger

from .units import Duration


@dataclass(frozen=True, slots=True)
class Every:
    """A tick each ``seconds`` after the start."""

    seconds: Duration

    def __str__(self) -> str:
        return str(self.seconds)


@dataclass(frozen=True, slots=True)
class Cron:
    """A tick whenever the five-field expression matches, in UTC."""

    expression: str

    def __post_init__(self) -> None:
        check_cron(self.expression)


def check_cron(expression: str) -> None:
    """Pass when ``expression`` is a five-field cron expression.

    Raises:
        ValueError: it is none; the message quotes it.
    """
    try:
        CronTrigger.from_crontab(expression, timezone=UTC)
    except ValueError as error:
        raise ValueError(f"bad cron expression {expression!r}: {error}") from error


class Schedule:
    """Calls ``tick`` at its times, in a thread of its own, from `start` to `stop`."""

    def __init__(self, when: Every | Cron, tick: Callable[[], None]) -> None:
        self._scheduler = BackgroundScheduler(timezone=UTC)
        self._scheduler.add_job(
            tick,
            _trigger(when),
            id="tick",
            max_instances=1,
            coalesce=True,
            misfire_grace_time=None,
            next_run_time=datetime.now(UTC),
        )

    def start(self) -> None:
        """The first tick is now, whatever the times say: an operator wants to see something."""
        self._scheduler.start()

    def stop(self) -> None:
        """No more ticks; one that runs is waited for."""
        self._scheduler.shutdown(wait=True)


def next_after(when: Every | Cron, moment: datetime) -> datetime:
    """The next time that is meant, later than ``moment``."""
    if isinstance(when, Every):
        return moment + timedelta(seconds=float(when.seconds))
    later = moment + timedelta(microseconds=1)
    found = cast("datetime | None", _trigger(when).get_next_fire_time(None, later))
    assert found is not None  # a cron expression of five fields has no end
    return found


def _trigger(when: Every | Cron) -> IntervalTrigger | CronTrigger:
    match when:
        case Every(seconds):
            fraction = float(seconds)  # a float is understood, whatever the docstring says
            return IntervalTrigger(seconds=fraction, timezone=UTC)  # pyright: ignore[reportArgumentType]
        case Cron(expression):
            return CronTrigger.from_crontab(expression, timezone=UTC)
