"""When partitions expire, straight from the definition: an independent model for tests.

Times are made first and written as text, never read back: what a text means is known by
construction.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import datetime, timedelta

__all__ = ["FORMATS", "Drawn", "TimeWriting", "draw"]


@dataclass(frozen=True, slots=True)
class TimeWriting:
    """Partition columns with their types, the options that say how to read them, and the finest
    unit that they tell, in seconds."""

    columns: dict[str, str]
    options: dict[str, str]
    unit: int

    def values(self, moment: datetime) -> tuple[object, ...]:
        """How the moment is written into the columns."""
        day = moment.strftime("%Y-%m-%d")
        match list(self.columns):
            case ["dt"] if self.columns["dt"] == "INT":
                return (int(moment.strftime("%Y%m%d")),)
            case ["dt"] if self.unit == 1:
                return (moment.strftime("%Y-%m-%d %H:%M:%S"),)
            case ["dt"]:
                return (day,)
            case ["dt", "hour"] if self.columns["hour"] == "INT":
                return (moment.strftime("%Y%m%d"), moment.hour)
            case ["dt", "hour"]:
                return (day, moment.strftime("%H"))
            case ["region", "day"]:
                return (f"r{moment.day % 3}", moment.strftime("%d.%m.%Y"))
            case _:
                raise AssertionError(self.columns)


_PATTERN, _FORMATTER = "partition.timestamp-pattern", "partition.timestamp-formatter"

FORMATS: dict[str, TimeWriting] = {
    "day": TimeWriting({"dt": "STRING"}, {}, 86_400),
    "second": TimeWriting({"dt": "STRING"}, {}, 1),
    "number": TimeWriting({"dt": "INT"}, {_FORMATTER: "yyyyMMdd"}, 86_400),
    "hour": TimeWriting({"dt": "STRING", "hour": "STRING"}, {_PATTERN: "$dt $hour:00:00"}, 3600),
    "hour-number": TimeWriting(
        {"dt": "STRING", "hour": "INT"},
        {_PATTERN: "$dt $hour", _FORMATTER: "yyyyMMdd H"},
        3600,
    ),
    "second-column": TimeWriting(
        {"region": "STRING", "day": "STRING"},
        {_PATTERN: "$day", _FORMATTER: "dd.MM.yyyy"},
        86_400,
    ),
}


@dataclass(frozen=True, slots=True)
class Drawn:
    """Partitions of a table: values, and when each is, or None for no time at all."""

    writing: TimeWriting
    partitions: dict[tuple[object, ...], datetime | None]

    def expired(self, now: datetime, age: timedelta) -> set[tuple[object, ...]]:
        """Those whose time lies more than ``age`` before ``now``."""
        return {v for v, at in self.partitions.items() if at is not None and now - age > at}


def draw(rng: random.Random, name: str, now: datetime, count: int = 12) -> Drawn:
    """Partitions around ``now``, a few of them without a time."""
    writing = FORMATS[name]
    found: dict[tuple[object, ...], datetime | None] = {}
    for _ in range(count):
        seconds = rng.randrange(-20 * 86_400, 3 * 86_400)
        moment = now + timedelta(seconds=seconds)
        moment -= timedelta(
            seconds=(moment - datetime(2000, 1, 1)).total_seconds() % writing.unit  # noqa: DTZ001
        )
        found[writing.values(moment)] = moment
    width = len(writing.columns)
    last = list(writing.columns.values())[-1]
    found[(*writing.values(now)[: width - 1], None)] = None
    if last == "STRING":
        found[(*writing.values(now)[: width - 1], "no time")] = None
    return Drawn(writing, found)
