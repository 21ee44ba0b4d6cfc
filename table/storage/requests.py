"""What was asked of object stores, counted: requests cost money, and time.

One counter for the process. Workers hand theirs to the daemon, which adds them to its own.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple, TypeAlias

OPERATIONS = ("GET", "HEAD", "LIST", "PUT", "DELETE")
"""As they are billed; the requests of multipart uploads are PUTs."""

OUTCOMES = ("ok", "refused", "throttled", "failed")
"""``refused``: an answer that says no (missing, exists already, not allowed); ``throttled``: come
again later; ``failed``: an error of the store or the network. Each attempt counts."""


Rows: TypeAlias = Sequence[tuple[str, str, str, int]]


class Asked(NamedTuple):
    """One kind of request."""

    bucket: str
    operation: str
    outcome: str


class Counts(NamedTuple):
    """``requests`` by kind; bytes of bodies by bucket."""

    requests: Mapping[Asked, int]
    read_bytes: Mapping[str, int]
    written_bytes: Mapping[str, int]

    def as_rows(self) -> list[tuple[str, str, str, int]]:
        """As plain data; bytes are rows without an outcome."""
        rows = [(a.bucket, a.operation, a.outcome, n) for a, n in self.requests.items()]
        for name, moved in (("read", self.read_bytes), ("written", self.written_bytes)):
            rows += [(bucket, name, "", count) for bucket, count in moved.items()]
        return rows

    @staticmethod
    def of_rows(rows: Rows) -> Counts:
        """What `as_rows` made."""
        moved = {
            name: {b: n for b, what, _, n in rows if what == name} for name in ("read", "written")
        }
        asked = {Asked(b, what, outcome): n for b, what, outcome, n in rows if what not in moved}
        return Counts(asked, moved["read"], moved["written"])


class OwnCount:
    """Requests by operation. Safe to use from any thread."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._asked: Counter[str] = Counter()

    def count(self, operation: str) -> None:
        """One attempt."""
        with self._mutex:
            self._asked[operation] += 1

    def take(self) -> dict[str, int]:
        """Those since it was asked last."""
        with self._mutex:
            taken, self._asked = dict(self._asked), Counter()
            return taken


_OWN: ContextVar[OwnCount | None] = ContextVar("own", default=None)


@contextmanager
def counted(own: OwnCount) -> Generator[None]:
    """What this context asks inside is counted there, too."""
    token = _OWN.set(own)
    try:
        yield
    finally:
        _OWN.reset(token)


class RequestCounter:
    """Safe to use from any thread."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._requests: Counter[Asked] = Counter()
        self._read: Counter[str] = Counter()
        self._written: Counter[str] = Counter()

    def count(self, bucket: str, operation: str, outcome: str) -> None:
        """One attempt of a request that has ended."""
        with self._mutex:
            self._requests[Asked(bucket, operation, outcome)] += 1
        own = _OWN.get()
        if own is not None:
            own.count(operation)

    def moved(self, bucket: str, *, read: int = 0, written: int = 0) -> None:
        """Bytes of a body."""
        with self._mutex:
            self._read[bucket] += read
            self._written[bucket] += written

    def counts(self) -> Counts:
        """As they are now."""
        with self._mutex:
            return Counts(dict(self._requests), dict(self._read), dict(self._written))

    def take(self) -> Counts:
        """As they are now; they start at 0 again."""
        with self._mutex:
            taken = Counts(dict(self._requests), dict(self._read), dict(self._written))
            self._requests, self._read, self._written = Counter(), Counter(), Counter()
            return taken

    def add(self, counts: Counts) -> None:
        """What another process counted."""
        with self._mutex:
            self._requests.update(counts.requests)
            self._read.update(counts.read_bytes)
            self._written.update(counts.written_bytes)


REQUESTS = RequestCounter()
