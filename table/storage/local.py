"""Local files behind the storage interface.

A file is published by hard-linking a finished temporary file: exclusive, and complete at once
(format §13.1). Everything is flushed to the device before it is published, so that a snapshot
never outlives the files it names.
"""

from __future__ import annotations

import errno
import os
import uuid
from collections.abc import Generator, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import BinaryIO

from ..errors import FileMissing, StorageUnavailable
from .base import FileStatus

TEMPORARY_SUFFIX = ".desilt.tmp"
"""Ends the hidden names under which files are made; a process that dies leaves one behind."""


@contextmanager
def _translated(action: str, path: str) -> Generator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise FileMissing("file does not exist", action=action, file=path) from error
    except OSError as error:
        reason = error.strerror or str(error)
        raise StorageUnavailable(f"cannot {action}", reason=reason, file=path) from error


class LocalSink:
    """A new local file, written in place and removed by ``abort``."""

    def __init__(self, path: str, *, sync: bool) -> None:
        self._path = path
        self._sync = sync
        self._size = 0
        self._open = True
        with _translated("create", path):
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            # Buffered: a file without writes in part when the disk is full, and pyarrow would not
            # look how much that was.
            self._file: BinaryIO = open(path, "xb")  # noqa: SIM115  # closed below

    @property
    def file(self) -> BinaryIO:
        return self._file

    @property
    def size_bytes(self) -> int:
        """Bytes so far; final after ``close``."""
        if self._open and not self._file.closed:
            return os.fstat(self._file.fileno()).st_size
        return self._size

    def close(self) -> None:
        if not self._open:
            return
        with _translated("write", self._path):
            self._file.flush()
            if self._sync:
                os.fsync(self._file.fileno())
            self._size = os.fstat(self._file.fileno()).st_size
            self._file.close()
        self._open = False  # not before: what cannot be written is still to be aborted

    def abort(self) -> None:
        if not self._open:
            return
        self._open = False
        with suppress(OSError):
            self._file.close()
        with suppress(OSError):
            os.unlink(self._path)


class LocalStorage:
    """Files of this machine.

    Args:
        sync: flush to the device before a file counts as written. Only tests that kill processes
            but never machines switch it off.
    """

    def __init__(self, *, sync: bool = True) -> None:
        self._sync = sync

    def read(self, path: str) -> bytes:
        with _translated("read", path), open(path, "rb") as file:
            return file.read()

    @property
    def in_flight(self) -> int:
        """One after the other: a disk answers at once."""
        return 1

    def exists(self, path: str) -> bool:
        with _translated("look at", path):
            return os.path.lexists(path)

    def is_directory(self, path: str) -> bool:
        with _translated("look at", path):
            return os.path.isdir(path)

    def list(self, directory: str) -> tuple[FileStatus, ...]:
        try:
            with os.scandir(directory) as entries:
                return tuple(sorted(_statuses(entries), key=lambda s: s.name))
        except (FileNotFoundError, NotADirectoryError):
            return ()
        except OSError as error:
            raise StorageUnavailable(
                "cannot list", reason=error.strerror, file=directory
            ) from error

    def walk(self, directory: str) -> Iterator[tuple[str, FileStatus]]:
        waiting = [""]
        while waiting:
            folder = waiting.pop()
            for status in self.list(f"{directory}/{folder}".rstrip("/")):
                below = f"{folder}/{status.name}" if folder else status.name
                if status.is_dir:
                    waiting.append(below)
                else:
                    yield below, status

    def exclusive(self, path: str) -> bool:
        """A hard link is never made over a file."""
        return True

    def create(self, path: str, data: bytes) -> bool:
        with _translated("create", path), self._temporary(path, data) as temporary:
            try:
                os.link(temporary, path)
            except FileExistsError:
                return False
            self._sync_dir(path)
            return True

    def overwrite(self, path: str, data: bytes) -> None:
        with _translated("overwrite", path), self._temporary(path, data) as temporary:
            os.replace(temporary, path)

    def delete(self, paths: Sequence[str]) -> None:
        for path in paths:
            with _translated("delete", path), suppress(FileNotFoundError):
                os.unlink(path)

    def remove_empty(self, directory: str) -> bool:
        with _translated("remove", directory):
            try:
                os.rmdir(directory)
            except (FileNotFoundError, NotADirectoryError):
                return False
            except OSError as error:
                if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
                    return False
                raise
            return True

    def open_source(self, path: str) -> str | BinaryIO:
        with _translated("open", path):
            os.stat(path)
        return path

    def soon(
        self, files: Sequence[tuple[str, int]], whole_bytes: int
    ) -> AbstractContextManager[None]:
        """Nothing: a disk answers at once."""
        return nullcontext()

    def open_sink(self, path: str) -> LocalSink:
        return LocalSink(path, sync=self._sync)

    @contextmanager
    def _temporary(self, path: str, data: bytes) -> Generator[str]:
        """A finished temporary file beside ``path``; gone afterwards whatever happens."""
        folder, name = os.path.split(path)
        os.makedirs(folder, exist_ok=True)
        temporary = f"{folder}/.{name}.{uuid.uuid4()}{TEMPORARY_SUFFIX}"
        try:
            with open(temporary, "xb", buffering=0) as file:
                view = memoryview(data)
                while view:
                    view = view[file.write(view) :]
                if self._sync:
                    os.fsync(file.fileno())
            yield temporary
        finally:
            with suppress(OSError):
                os.unlink(temporary)

    def _sync_dir(self, path: str) -> None:
        if not self._sync:
            return
        handle = os.open(os.path.dirname(path), os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _statuses(entries: Iterator[os.DirEntry[str]]) -> Iterator[FileStatus]:
    for entry in entries:
        try:
            info = entry.stat()
        except FileNotFoundError:
            continue  # deleted between the listing and the look
        millis = info.st_mtime_ns // 1_000_000
        yield FileStatus(entry.name, entry.is_dir(), info.st_size, millis)
