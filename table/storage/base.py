"""The one door to bytes: a small interface that local disks, object stores and test doubles share.

Every byte of a table goes through it, data files too: readers get a *source* to scan, writers get
a *sink* to stream into. Paths are absolute text with forward slashes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import BinaryIO, Protocol, runtime_checkable


@dataclass(frozen=True, slots=True)
class FileStatus:
    """One entry of a listing; ``name`` is the last part of its path, size in bytes."""

    name: str
    is_dir: bool
    size_bytes: int
    modified_millis: int


def is_text(path: str) -> bool:
    """Whether it is Unicode. On a plain disk a name is bytes; no file of a table has another."""
    return path.isascii() or not any("\ud800" <= c <= "\udfff" for c in path)


class Sink(Protocol):
    """A new file being streamed; nothing counts on it until ``close`` returned.

    ``abort`` throws the file away. Both may be called twice; the second call does nothing.
    """

    @property
    def file(self) -> BinaryIO: ...

    @property
    def size_bytes(self) -> int: ...

    def close(self) -> None: ...

    def abort(self) -> None: ...


@runtime_checkable
class Ranges(Protocol):
    """A remote file as a local one that is fetched in pieces; what was not fetched reads as zeros.

    ``path``: of the local file; ``size_bytes``: of the whole file.
    """

    @property
    def path(self) -> str: ...

    @property
    def size_bytes(self) -> int: ...

    def fetch(
        self, ranges: Sequence[tuple[int, int]], ahead: Sequence[tuple[int, int]] = ()
    ) -> None:
        """Return when these ranges (first byte, byte after the last) are there.

        Args:
            ahead: ranges that will be asked for next; they are begun.

        Raises:
            FileMissing: it was deleted since it was opened.
            StorageUnavailable: the store fails, or the scratch folder is full.
        """
        ...


class Storage(Protocol):
    """What desilt needs of a store.

    Raises (every method): StorageUnavailable when the store fails. Reading what does not exist
    raises FileMissing.
    """

    @property
    def in_flight(self) -> int:
        """How many requests at a time hide the store's latency; 1 where there is none."""
        ...

    def read(self, path: str) -> bytes:
        """The whole file."""
        ...

    def exists(self, path: str) -> bool:
        """Whether there is a file; for folders see `is_directory`."""
        ...

    def is_directory(self, path: str) -> bool:
        """Whether anything is below; object stores know no empty folders."""
        ...

    def list(self, directory: str) -> tuple[FileStatus, ...]:
        """Entries sorted by name, not recursive; a missing directory is empty."""
        ...

    def walk(self, directory: str) -> Iterator[tuple[str, FileStatus]]:
        """Every file below, however deep, with its path relative to the directory; in no order.

        What comes or goes meanwhile may be missed or be gone; a missing directory is empty.
        """
        ...

    def exclusive(self, path: str) -> bool:
        """Whether `create` beside this path is known to refuse what exists, whoever made it."""
        ...

    def create(self, path: str, data: bytes) -> bool:
        """Make the file, complete or not at all; False when it exists already."""
        ...

    def overwrite(self, path: str, data: bytes) -> None:
        """Replace the file's content, complete or not at all (hints only)."""
        ...

    def delete(self, paths: Sequence[str]) -> None:
        """Remove files; missing ones are fine."""
        ...

    def open_source(self, path: str) -> str | BinaryIO | Ranges:
        """What Polars and pyarrow read a data file from: a local path, a seekable file, or a local
        file whose ranges are there once they were fetched."""
        ...

    def soon(
        self, files: Sequence[tuple[str, int]], whole_bytes: int
    ) -> AbstractContextManager[None]:
        """These files (path, size) are opened inside; a store with latency begins at once.

        Args:
            whole_bytes: files up to this size are read whole.
        """
        ...

    def open_sink(self, path: str) -> Sink:
        """A new file to stream into; FileExistsError never happens: names are unique."""
        ...


@runtime_checkable
class Directories(Protocol):
    """What a store with real directories can do, too; object stores have none."""

    def remove_empty(self, directory: str) -> bool:
        """Remove a directory if nothing is in it; False when something is, or it is not there.

        Raises:
            StorageUnavailable: the store fails.
        """
        ...
