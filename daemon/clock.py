"""Time as a thing that is passed in, so that tests can turn the hands."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """Two readings; only differences of the second are durations."""

    def now(self) -> datetime:
        """Wall-clock time, aware, UTC; may jump."""
        ...

    def monotonic(self) -> float:
        """Seconds since some fixed moment; never goes back."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """Wall-clock time, aware, UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds since some fixed moment."""
        return time.monotonic()


class ManualClock:
    """A clock that only moves when told to; shipped for whoever tests against desilt."""

    def __init__(self, start: datetime) -> None:
        self._now = start
        self._seconds = 0.0

    def now(self) -> datetime:
        """The start plus everything that `advance` added."""
        return self._now

    def monotonic(self) -> float:
        """Everything that `advance` added, in seconds."""
        return self._seconds

    def advance(self, seconds: float) -> None:
        """Move both readings forward."""
        self._now += timedelta(seconds=seconds)
        self._seconds += seconds
