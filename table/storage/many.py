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

AHEAD = 3
"""Questions begun or answered but not yet taken, for each asked at a time: while the first of them
takes long, or its taker is busy, the others go on."""

HELD_BYTES = 256 << 20
"""No more of files is asked for ahead, where their sizes are known."""

T = TypeVar("T")
R = TypeVar("R")

SizedFile = tuple[str, int]
"""Path and size in bytes; 0 where it is not known."""


def side_by_side(
    ask: Callable[[T], R],
    questions: Iterable[T],
    width: int,
    size: Callable[[T], int] | None = None,
) -> Iterator[R]:
    """The answers in the order of the questions, ``width`` of them asked at a time.

    Up to `AHEAD` times as many answers are held. The first error, in this order, ends it: what is
    asked by then is waited for, nothing more is asked.

    Args:
        size: bytes of an answer; of those held and asked for at most `HELD_BYTES`, or one alone.
    """
    if width <= 1:
        yield from map(ask, questions)
        return
    waiting: deque[tuple[Future[R], int]] = deque()
    held = 0
    with ThreadPoolExecutor(width, thread_name_prefix="desilt-ask") as pool:
        try:
            for question in questions:
                more = 0 if size is None else size(question)
                while waiting and (len(waiting) >= AHEAD * width or held + more > HELD_BYTES):
                    answer, of_it = waiting.popleft()
                    yield answer.result()
                    held -= of_it
                # In the caller's context: its requests are counted as its own.
                waiting.append((pool.submit(copy_context().run, ask, question), more))
                held += more
            while waiting:
                yield waiting.popleft()[0].result()
        finally:
            for late, _ in waiting:
                late.cancel()


def read_many(storage: Storage, files: Iterable[SizedFile]) -> Iterator[bytes]:
    """The whole files, in order.

    Raises:
        FileMissing, StorageUnavailable: the first that cannot be read; those before it came.
    """
    return side_by_side(lambda file: storage.read(file[0]), files, storage.in_flight, _size)


def read_those_there(storage: Storage, files: Iterable[SizedFile]) -> Iterator[bytes | None]:
    """The whole files, in order; None for one that does not exist."""

    def read(file: SizedFile) -> bytes | None:
        try:
            return storage.read(file[0])
        except FileMissing:
            return None

    return side_by_side(read, files, storage.in_flight, _size)


def _size(file: SizedFile) -> int:
    return file[1]
