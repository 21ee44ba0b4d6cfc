"""Does one thing to many, several at a time; one that hangs keeps its thread, and nobody else's.

A *round* takes items from a queue until it is empty or its time is over; what was begun goes on
behind it, what was not is left to the next round. Each round has threads of its own: those that
hang in an earlier one cost it nothing, until there are too many of them.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

from .clock import Clock

T = TypeVar("T")

# Threads that hang beyond those of the round. Where that many do, it is the store that hangs.
HANGING_MAX = 64


class Crew:
    """Threads for one store, so that no store waits for another.

    Args:
        width: items at a time; 0: one after the other in the caller's own thread.
    """

    def __init__(self, width: int, clock: Clock) -> None:
        self._width = width
        self._clock = clock
        self._changed = threading.Condition()
        self._threads = 0

    def begin(self, work: Callable[[T], None], items: Iterable[T], seconds: float) -> Round[T]:
        """A round that runs; ``work`` must not raise. At least one item is begun."""
        begun = Round(work, items, self._clock, seconds)
        if not self._width:
            begun.work_off()
            return begun
        with self._changed:
            room = self._width + HANGING_MAX - self._threads
            threads = max(0, min(self._width, begun.waiting, room))
            self._threads += threads
        begun.workers = threads
        for _ in range(threads):
            threading.Thread(target=self._run, args=(begun,), daemon=True, name="look").start()
        return begun

    def _run(self, begun: Round[T]) -> None:
        try:
            begun.work_off()
        finally:
            with self._changed:
                self._threads -= 1
            begun.left()


class Round(Generic[T]):
    """What is left to do, and until when."""

    def __init__(
        self, work: Callable[[T], None], items: Iterable[T], clock: Clock, seconds: float
    ) -> None:
        self._work = work
        self._items = deque(items)
        self._clock = clock
        self._deadline = clock.monotonic() + seconds
        self._changed = threading.Condition()
        self.workers = 0

    @property
    def waiting(self) -> int:
        """Items that were not begun."""
        return len(self._items)

    def work_off(self) -> None:
        """Take items until there are none, or the time is over."""
        while True:
            try:
                item = self._items.popleft()
            except IndexError:
                return
            self._work(item)
            if self._clock.monotonic() >= self._deadline:
                return

    def left(self) -> None:
        """A worker has ended."""
        with self._changed:
            self.workers -= 1
            self._changed.notify_all()

    def wait(self) -> None:
        """Return when all is done, or the time is over; nothing more is begun then."""
        seconds = self._deadline - self._clock.monotonic()
        with self._changed:
            self._changed.wait_for(lambda: not self.workers, max(0.0, seconds))
        self._items.clear()
