"""An object as a local file that is fetched in pieces.

The local file has the object's size and is empty but for what was fetched, so that Polars and
pyarrow read it as any other, and as fast. What was read is given back to the disk as reading goes
on: a reader that goes through a large file holds a few row groups of it.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Generator, Sequence
from concurrent.futures import Executor, Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from ..errors import StorageUnavailable
from .object_path import ObjectPath
from .requests import REQUESTS
from .s3_calls import LocalFailure, S3Calls
from .scratch import Scratch, scratch_failed

FIRST_BYTES = 256 << 10
"""Read from the end of an object when it is opened, which tells its size, too: most footers fit."""

PIECE_BYTES = 8 << 20
"""Of one request; larger ranges are fetched by several at a time."""

KEPT_BYTES = 64 << 20
"""More than this of one object is not kept behind what is being read."""

_BLOCK_BYTES = 1 << 20

Range = tuple[int, int]


@dataclass(frozen=True, slots=True)
class _Piece:
    begin: int
    end: int
    coming: Future[None]


def _done() -> Future[None]:
    done: Future[None] = Future()
    done.set_result(None)
    return done


class S3Ranges:
    """See `Ranges`. For one reader at a time."""

    def __init__(
        self, calls: S3Calls, place: ObjectPath, scratch: Scratch, pool: Executor, size_bytes: int
    ) -> None:
        self._calls = calls
        self._place = place
        self._scratch = scratch
        self._pool = pool
        self._size = size_bytes
        self._pieces: list[_Piece] = []
        self._tail = size_bytes
        self._local = _LocalFile(scratch.new_path(), size_bytes)
        self._mutex = threading.Lock()

    @property
    def path(self) -> str:
        return self._local.path

    @property
    def size_bytes(self) -> int:
        return self._size

    def put_tail(self, data: bytes) -> None:
        """The end of the object, which is kept for as long as it is read."""
        self._tail = self._size - len(data)
        self._local.write(self._tail, data)
        self._pieces.append(_Piece(self._tail, self._size, _done()))

    def fetch(self, ranges: Sequence[Range], ahead: Sequence[Range] = ()) -> None:
        with self._mutex:
            self._pieces = [p for p in self._pieces if not _failed(p.coming)]
            self._make_room(min((begin for begin, _ in ranges), default=0))
            for begin, end in ranges:
                self._begin(begin, min(end, self._size))
            for begin, end in ahead:
                self._begin(begin, min(end, self._size))
            needed = [p.coming for p in self._pieces if _touches(p, ranges)]
        for coming in needed:
            coming.result()

    def _begin(self, begin: int, end: int) -> None:
        for low, high in _without(begin, end, self._pieces):
            for at in range(low, high, PIECE_BYTES):
                until = min(at + PIECE_BYTES, high)
                coming = self._pool.submit(_get, self._calls, self._place, self._local, at, until)
                self._pieces.append(_Piece(at, until, coming))

    def _make_room(self, begin: int) -> None:
        """Give back what lies behind, once it is much; what is coming stays.

        The local file is replaced by a new one: whoever reads the old one still can.
        """
        behind = [p for p in self._pieces if p.end <= begin and p.begin < self._tail]
        if sum(p.end - p.begin for p in behind) <= KEPT_BYTES:
            return
        for piece in self._pieces:
            with suppress(Exception):  # what failed is not kept, and is asked for again
                piece.coming.result()
        kept = [
            p
            for p in self._pieces
            if p.end > begin and _succeeded(p.coming)  # the end of the object is among them
        ]
        old, new = self._local, _LocalFile(self._scratch.new_path(), self._size)
        for piece in kept:
            new.copy(old, piece.begin, piece.end)
        self._local, self._pieces = new, kept  # not before: a disk that is full leaves all as it is
        old.remove()


def _failed(coming: Future[None]) -> bool:
    return coming.done() and not _succeeded(coming)


def _succeeded(coming: Future[None]) -> bool:
    return coming.done() and not coming.cancelled() and coming.exception() is None


def _touches(piece: _Piece, ranges: Sequence[Range]) -> bool:
    return any(piece.begin < end and begin < piece.end for begin, end in ranges)


def _without(begin: int, end: int, pieces: Sequence[_Piece]) -> list[Range]:
    """What of the range is in no piece; those that failed count for nothing."""
    left: list[Range] = []
    at = begin
    for piece in sorted(pieces, key=lambda p: p.begin):
        if _failed(piece.coming):
            continue
        if piece.end <= at or piece.begin >= end:
            continue
        if piece.begin > at:
            left.append((at, piece.begin))
        at = max(at, piece.end)
    if at < end:
        left.append((at, end))
    return left


class _LocalFile:
    """A file of the scratch folder; gone when nobody refers to it any more.

    It is not held open: thousands of them may wait to be read.
    """

    def __init__(self, path: str, size_bytes: int) -> None:
        self.path = path
        self._finalizer = weakref.finalize(self, _remove, path)
        try:
            with self._opened(os.O_RDWR | os.O_CREAT | os.O_EXCL) as handle:
                os.ftruncate(handle, size_bytes)
        except StorageUnavailable:
            self.remove()
            raise

    def write(self, at: int, data: bytes | memoryview) -> None:
        view = memoryview(data)
        with self._opened(os.O_WRONLY) as handle:
            while view:
                written = os.pwrite(handle, view, at)
                at, view = at + written, view[written:]

    def copy(self, other: _LocalFile, begin: int, end: int) -> None:
        """These bytes of the other one."""
        for at in range(begin, end, _BLOCK_BYTES):
            self.write(at, other._read(at, min(_BLOCK_BYTES, end - at)))

    def _read(self, at: int, count: int) -> bytes:
        with self._opened(os.O_RDONLY) as handle:
            return os.pread(handle, count, at)

    @contextmanager
    def _opened(self, flags: int) -> Generator[int]:
        try:
            handle = os.open(self.path, flags, 0o600)
            try:
                yield handle
            finally:
                os.close(handle)
        except OSError as error:
            raise scratch_failed(error, self.path) from error

    def remove(self) -> None:
        self._finalizer()


def _remove(path: str) -> None:
    with suppress(OSError):
        os.unlink(path)


def opened_ranges(
    calls: S3Calls, place: ObjectPath, scratch: Scratch, pool: Executor, whole_bytes: int = 0
) -> S3Ranges:
    """The object with its end fetched.

    Args:
        whole_bytes: its size, where it is known and all of it is wanted.

    Raises:
        FileMissing, StorageUnavailable: as named.
    """
    wanted = max(FIRST_BYTES, whole_bytes)
    size, tail = calls.call("GET", place, lambda: _end(calls, place, wanted))
    REQUESTS.moved(place.bucket, read=len(tail))
    found = S3Ranges(calls, place, scratch, pool, size)
    found.put_tail(tail)
    return found


def _end(calls: S3Calls, place: ObjectPath, wanted: int) -> tuple[int, bytes]:
    """(Size, the last bytes) of the object; an empty one satisfies no range."""
    client = calls.client
    try:
        answer = client.get_object(Bucket=place.bucket, Key=place.key, Range=f"bytes=-{wanted}")
    except client.exceptions.ClientError as error:
        if str(error.response.get("Error", {}).get("Code")) not in ("InvalidRange", "416"):
            raise
        return 0, b""
    data = answer["Body"].read()
    total = str(answer.get("ContentRange", "")).rpartition("/")[2]
    return int(total) if total.isdigit() else len(data), data


def _get(calls: S3Calls, place: ObjectPath, local: _LocalFile, begin: int, end: int) -> None:
    """Fetch a range; a body that breaks off is gone on with where it did."""
    at = begin

    def get() -> None:
        nonlocal at
        answer = calls.client.get_object(
            Bucket=place.bucket, Key=place.key, Range=f"bytes={at}-{end - 1}"
        )
        for block in answer["Body"].iter_chunks(_BLOCK_BYTES):
            try:
                local.write(at, block)
            except StorageUnavailable as error:
                raise LocalFailure(error) from error
            at += len(block)

    calls.call("GET", place, get)
    REQUESTS.moved(place.bucket, read=end - begin)
    if at != end:
        raise StorageUnavailable(
            "cannot GET", reason="the store sent fewer bytes", expected=end - begin,
            got=at - begin, file=place.path,
        )  # fmt: skip


Opening = Future[S3Ranges]
"""One that is being opened."""
