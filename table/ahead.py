"""Work in threads of its own: the next item, while this one is being used; checks beside a merge.

Polars works outside the interpreter lock, so decoding a slice, merging the one before, checking it
and encoding what came out really run side by side.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import ParamSpec, Self, TypeVar

T = TypeVar("T")
P = ParamSpec("P")


def ahead(items: Iterator[T]) -> Generator[T]:
    """The same items in the same order, one of them ahead; so one more is held in memory.

    Whatever ``items`` raises is raised here, at its turn. No thread is left when this generator
    ends or is closed.
    """
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="ahead") as pool:
        end = object()
        coming = pool.submit(next, items, end)
        while (item := coming.result()) is not end:
            coming = pool.submit(next, items, end)
            yield item  # type: ignore[misc]  # it is not the end


class Beside:
    """Calls in a thread, in their order, while the caller goes on; one at a time, so that no more
    than what one of them holds is held.

    What a call raises is raised by the next `do` or `wait`. Leaving the context waits, too, but
    raises nothing of its own when something is on its way already.
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="beside")
        self._running: Future[object] | None = None

    def do(self, call: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> None:
        """Begin it as soon as the one before has ended."""
        self.wait()
        self._running = self._pool.submit(call, *args, **kwargs)

    def wait(self) -> None:
        """Until the last one has ended."""
        running, self._running = self._running, None
        if running is not None:
            running.result()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self.wait()
        finally:
            self._pool.shutdown()
