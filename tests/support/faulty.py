"""A storage that counts every call and can die, fail, lie about or be overtaken at any of them.

Wraps a real store, so that what is left behind is really there. A *call* is one thing the store is
asked for: each path of a `delete`, and each write, close and abort of a sink, is one of its own.
Calls are numbered from 0 and logged before they act.

- `Death`: the process is gone: this call and every later one raises `Died`, so that no cleanup
  code can act, as after a kill;
- `Failure`: the call raises StorageUnavailable (a sink: an OSError), once or from then on;
- `LostAnswer`: the call acts, and then raises StorageUnavailable;
- `hook`: somebody else acts just before or after a call.
"""

from __future__ import annotations

import errno
import io
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, BinaryIO, Literal, TypeVar, cast

from desilt.table.errors import StorageUnavailable
from desilt.table.storage import FileStatus, LocalStorage, Ranges, Sink, Storage, is_remote

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

T = TypeVar("T")
When = Literal["before", "after"]
Hook = Callable[[], object]

MUTATIONS = frozenset({"create", "overwrite", "open_sink", "write"})
"""Calls that need space on the disk."""


class Died(BaseException):
    """The process was killed at a storage call; nothing that catches errors may catch this."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call: the method's name (sinks: write, close, abort) and the path."""

    method: str
    path: str


@dataclass(frozen=True, slots=True)
class Death:
    """Dies instead of making call ``at``."""

    at: int


@dataclass(frozen=True, slots=True)
class Failure:
    """Call ``at`` fails (``forever``: and every later one) among those that ``methods`` names."""

    at: int
    forever: bool = False
    methods: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class LostAnswer:
    """Call ``at`` acts and then fails; with ``then_deaf`` every later one fails without acting."""

    at: int
    then_deaf: bool = False


Fault = Death | Failure | LostAnswer


@dataclass(slots=True)
class _Hook:
    when: When
    method: str
    part: str
    action: Hook
    left: int = 1

    def matches(self, when: When, call: Call) -> bool:
        named = self.method == call.method and self.part in call.path
        return self.left > 0 and self.when == when and named


@dataclass(slots=True)
class FaultyStorage:
    """A store with at most one fault and any number of hooks.

    ``fired`` tells whether the fault was reached; ``made`` holds every path that a call may have
    made, so that files which appeared without a call are found by `unaccounted`.
    """

    inner: Storage = field(default_factory=lambda: LocalStorage(sync=False))
    fault: Fault | None = None
    calls: list[Call] = field(default_factory=list[Call])
    made: set[str] = field(default_factory=set[str])
    fired: bool = False
    _dead: bool = False
    _lock: threading.RLock = field(default_factory=threading.RLock, repr=False)
    _open: list[BinaryIO] = field(default_factory=list[BinaryIO])
    _hooks: list[_Hook] = field(default_factory=list[_Hook])

    def hook(self, when: When, method: str, part: str, action: Hook, *, times: int = 1) -> None:
        """Run ``action`` before or after the next call of ``method`` whose path holds ``part``.

        Calls that the action itself makes are counted, but run no hook that is already running.
        """
        self._hooks.append(_Hook(when, method, part, action, times))

    def count(self, method: str, part: str = "") -> int:
        """How many calls of this method had ``part`` in their path."""
        return sum(1 for c in self.calls if c.method == method and part in c.path)

    def unaccounted(self, before: frozenset[str], root: str) -> frozenset[str]:
        """Files below ``root`` now that were not there ``before`` and that no call made."""
        return frozenset(files_below(root) - before - self.made)

    # --- the interface --------------------------------------------------------------------------

    @property
    def in_flight(self) -> int:
        return self.inner.in_flight

    def exclusive(self, path: str) -> bool:
        return self.inner.exclusive(path)

    def is_directory(self, path: str) -> bool:
        return self._call("is_directory", path, lambda: self.inner.is_directory(path))

    def walk(self, directory: str) -> Iterator[tuple[str, FileStatus]]:
        return self._call("walk", directory, lambda: iter(tuple(self.inner.walk(directory))))

    def read(self, path: str) -> bytes:
        return self._call("read", path, lambda: self.inner.read(path))

    def exists(self, path: str) -> bool:
        return self._call("exists", path, lambda: self.inner.exists(path))

    def list(self, directory: str) -> tuple[FileStatus, ...]:
        return self._call("list", directory, lambda: self.inner.list(directory))

    def create(self, path: str, data: bytes) -> bool:
        return self._call("create", path, lambda: self.inner.create(path, data))

    def overwrite(self, path: str, data: bytes) -> None:
        self._call("overwrite", path, lambda: self.inner.overwrite(path, data))

    def delete(self, paths: Sequence[str]) -> None:
        for path in paths:
            self._call("delete", path, partial(self.inner.delete, [path]))

    def open_source(self, path: str) -> str | BinaryIO | Ranges:
        return self._call("open_source", path, lambda: self.inner.open_source(path))

    def soon(
        self, files: Sequence[tuple[str, int]], whole_bytes: int
    ) -> AbstractContextManager[None]:
        return self.inner.soon(files, whole_bytes)

    def open_sink(self, path: str) -> Sink:
        try:
            sink = self._call("open_sink", path, lambda: self._opened(path))
        except StorageUnavailable:
            self._close_files()  # the caller will never get the one that was opened
            raise
        return FaultySink(self, path, sink)

    def _opened(self, path: str) -> Sink:
        sink = self.inner.open_sink(path)
        self._open.append(sink.file)
        return sink

    # --- faults ---------------------------------------------------------------------------------

    def _call(self, method: str, path: str, action: Callable[[], T]) -> T:
        with self._lock:  # a rewrite reads ahead in a thread
            return self._counted(method, path, action)

    def _counted(self, method: str, path: str, action: Callable[[], T]) -> T:
        if self._dead:
            raise Died(f"dead before {method} {path}")
        index = len(self.calls)
        call = Call(method, path)
        self.calls.append(call)
        self._run_hooks("before", call)
        if self._fails(index, call):
            self.fired = True
            raise _failure(call)
        if method in MUTATIONS:
            self.made.add(path)
        result = action()
        self._run_hooks("after", call)
        if isinstance(self.fault, LostAnswer) and index == self.fault.at:
            self.fired = True
            raise _failure(call)
        return result

    def _fails(self, index: int, call: Call) -> bool:
        match self.fault:
            case Death(at):
                if index >= at:
                    self._die()
                    raise Died(f"died at call {index}, {call.method} {call.path}")
                return False
            case Failure(at, forever, methods):
                reached = index >= at if forever else index == at
                return reached and (methods is None or call.method in methods)
            case LostAnswer(at, deaf):
                return deaf and index > at
            case None:
                return False

    def _die(self) -> None:
        """A kernel closes the files of a dead process."""
        self.fired = self._dead = True
        self._close_files()

    def _close_files(self) -> None:
        for file in self._open:
            file.close()

    def _run_hooks(self, when: When, call: Call) -> None:
        for hook in [h for h in self._hooks if h.matches(when, call)]:
            hook.left -= 1
            hook.action()


class ActsAt(FaultyStorage):
    """Lets somebody else act before the n-th call."""

    def __init__(self, at: int, action: Hook, inner: Storage | None = None) -> None:
        super().__init__(inner or LocalStorage(sync=False))
        self._at = at
        self._action = action

    def _run_hooks(self, when: When, call: Call) -> None:
        if when == "before" and len(self.calls) == self._at + 1:
            self._action()


class FaultySink:
    """A sink whose writes, close and abort are calls; what it wrote so far stays after a death."""

    def __init__(self, storage: FaultyStorage, path: str, inner: Sink) -> None:
        self._storage = storage
        self._path = path
        self._inner = inner
        self._file = _CountedFile(self.called, inner.file)

    @property
    def file(self) -> BinaryIO:
        return cast(BinaryIO, self._file)

    @property
    def size_bytes(self) -> int:
        return self._inner.size_bytes

    def close(self) -> None:
        self.called("close", self._inner.close)

    def abort(self) -> None:
        try:
            self.called("abort", self._inner.abort)
        except StorageUnavailable:
            self._inner.file.close()  # an abort is best effort: the file stays

    def called(self, method: str, action: Callable[[], T]) -> T:
        # A sink's own store is reached only from here and from its file.
        return self._storage._call(method, self._path, action)  # pyright: ignore[reportPrivateUsage]


class _CountedFile(io.RawIOBase):
    """The file of a sink as encoders see it: without a descriptor, so every byte comes by here."""

    def __init__(self, called: Callable[[str, Callable[[], int]], int], inner: BinaryIO) -> None:
        self._called = called
        self._inner = inner

    def writable(self) -> bool:
        return True

    def write(self, data: ReadableBuffer, /) -> int:
        payload = bytes(data)
        try:
            return self._called("write", lambda: self._write_all(payload))
        except StorageUnavailable as error:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error

    def _write_all(self, payload: bytes) -> int:
        view = memoryview(payload)
        while view:
            view = view[self._inner.write(view) :]
        return len(payload)


def _failure(call: Call) -> StorageUnavailable:
    return StorageUnavailable("the store fails", call=call.method, file=call.path)


def files_below(root: str, storage: Storage | None = None) -> frozenset[str]:
    """Every file below ``root``, hidden ones too, as absolute paths.

    Args:
        storage: where it is; what is on this machine is looked up without asking it.
    """
    if storage is not None and is_remote(root):
        return frozenset(f"{root}/{below}" for below, _ in storage.walk(root))
    found = (os.path.join(folder, n) for folder, _, names in os.walk(root) for n in names)
    return frozenset(found)
