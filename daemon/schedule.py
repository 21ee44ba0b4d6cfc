"""When ticks happen. The only file that imports apscheduler.

One job, one tick at a time: a tick that takes longer than the interval delays the next one, and
however many were missed meanwhile, one makes up for all of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TypeAlias, cast

from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.combining import OrTrigger
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.interval import IntervalTrigger

from .units import Duration

Trigger: TypeAlias = CronTrigger | OrTrigger | IntervalTrigger

SECONDS_MAX = 36_500 * 86_400.0
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DAY_NUMBERS = re.compile(r"(?:(\*)|([0-7])(?:-([0-7]))?)(?:/([1-9]\d{0,2}))?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Every:
    """A tick each ``seconds`` after the start; at most a hundred years, as far as a date goes."""

    seconds: Duration

    def __post_init__(self) -> None:
        if self.seconds > SECONDS_MAX:
            raise ValueError(
                f"bad interval {self.seconds}, must be at most {Duration(SECONDS_MAX)}"
            )

    def __str__(self) -> str:
        return str(self.seconds)


@dataclass(frozen=True, slots=True)
class Cron:
    """A tick whenever the five-field expression matches, in UTC, as crontab reads it.

    Sunday is 0 and 7; where both kinds of day are given, either will do.
    """

    expression: str

    def __post_init__(self) -> None:
        check_cron(self.expression)

    def __str__(self) -> str:
        return f'{{cron: "{self.expression}"}}'


def check_cron(expression: str) -> None:
    """Pass when ``expression`` is a five-field cron expression that matches some day.

    Raises:
        ValueError: it is none; the message quotes it.
    """
    try:
        first = _next_fire(_cron_trigger(expression), datetime.now(UTC))
    except ValueError as error:
        raise ValueError(f"bad cron expression {expression!r}: {error}") from error
    if first is None:
        raise ValueError(f"bad cron expression {expression!r}: there is no such day")


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
    found = _next_fire(_trigger(when), moment + timedelta(microseconds=1))
    assert found is not None  # looked at when the expression was checked
    return found


def _next_fire(trigger: Trigger, moment: datetime) -> datetime | None:
    return cast("datetime | None", trigger.get_next_fire_time(None, moment))


def _trigger(when: Every | Cron) -> Trigger:
    match when:
        case Every(seconds):
            fraction = float(seconds)  # a float is understood, whatever the docstring says
            return IntervalTrigger(seconds=fraction, timezone=UTC)  # pyright: ignore[reportArgumentType]
        case Cron(expression):
            return _cron_trigger(expression)


def _cron_trigger(expression: str) -> CronTrigger | OrTrigger:
    fields = expression.split()
    if len(fields) != 5:
        return _all_of(*fields)  # it says what is wrong
    *before, weekdays = fields
    days = before[2]
    weekdays = ",".join(_weekdays(part) for part in weekdays.split(","))
    if days.startswith("*") or fields[4].startswith("*"):
        return _all_of(*before, weekdays)
    minute, hour, _, month = before
    return OrTrigger([_all_of(*before, "*"), _all_of(minute, hour, "*", month, weekdays)])


def _all_of(*fields: str) -> CronTrigger:
    return CronTrigger.from_crontab(" ".join(fields), timezone=UTC)


def _weekdays(part: str) -> str:
    """Days of the week by name: apscheduler counts them from Monday, crontab from Sunday."""
    match = _DAY_NUMBERS.fullmatch(part)
    if match is None or part == "*":
        return part
    every, first, last, step = match.groups()
    low = 0 if every else int(first)
    high = int(last) if last else low if not (every or step) else 6
    if low > high:
        raise ValueError(f"{part} ends before it begins")
    return ",".join(dict.fromkeys(_DAYS[low : high + 1 : int(step or 1)]))
