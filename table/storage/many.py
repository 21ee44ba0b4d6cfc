"""Many requests at a time, answers in order: what hides the latency of an object store.

How many is the store's own number (`Storage.in_flight`). A disk answers at once, so there nothing
is asked ahead and no thread is made.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import TypeVar

from ..errors import FileMissing
from .base import Storage

T = TypeVar("T")
R = TypeVar("R")


def side_by_side(ask: Callable[[T], R], questions: Iterable[T], width: int) -> Iterator[R]:
    """The answers in the order of the questions, ``width`` of them asked at a time.

    No more answers than that are held. The first error, in this order, ends it: what is asked by
    then is waited for, nothing more is asked.
    """
    if width <= 1:
        yield from map(ask, questions)
        return
    waiting: deque[Future[R]] = deque()
    with ThreadPoolExecutor(width, thread_name_prefix="desilt-ask") as pool:
        try:
            for question in questions:
                # In the caller's context: its requests are counted as its own.
                waiting.append(pool.submit(copy_context().run, ask, question))
                if len(waiting) >= width:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for late in waiting:
                late.cancel()


def read_many(storage: Storage, paths: Iterable[str]) -> Iterator[bytes]:
    """The whole files, in order.

    Raises:
        FileMissing, StorageUnavailable: the first that cannot be read; those before it came.
    """
    return side_by_side(storage.read, paths, storage.in_flight)


def read_those_there(storage: Storage, paths: Iterable[str]) -> Iterator[bytes | None]:
    """The whole files, in order; None for one that does not exist."""

    def read(path: str) -> bytes | None:
        try:
            return storage.read(path)
        except FileMissing:
            return None

    return side_by_side(read, paths, storage.in_flight)
