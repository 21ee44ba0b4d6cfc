"""Reading ahead: the next item is computed in a thread while this one is being used.

Polars works outside the interpreter lock, so a merge and the encoding of what it yielded before
really run side by side.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


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
