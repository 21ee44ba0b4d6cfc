"""A store in memory that behaves as an object store does: no folders, one recursive listing."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import BinaryIO

from desilt.table.errors import FileMissing
from desilt.table.storage import FileStatus, Ranges, Sink


@dataclass(slots=True)
class MemoryStorage:
    """``files``: folder → name → (content, milliseconds). ``now``: the store's own clock."""

    now: Callable[[], int]
    in_flight: int = 1
    files: dict[str, dict[str, tuple[bytes, int]]] = field(
        default_factory=dict[str, dict[str, tuple[bytes, int]]]
    )
    lock: threading.Lock = field(default_factory=threading.Lock)

    def put(self, path: str, data: bytes = b"", millis: int | None = None) -> None:
        """Make or replace a file, as if it was last written then."""
        folder, _, name = path.rpartition("/")
        with self.lock:
            inside = self.files.setdefault(folder, {})
            inside[name] = (data, self.now() if millis is None else millis)

    def paths(self) -> dict[str, int]:
        """Every file and when it was written."""
        return {
            f"{folder}/{name}": millis
            for folder, inside in self.files.items()
            for name, (_, millis) in inside.items()
        }

    def read(self, path: str) -> bytes:
        folder, _, name = path.rpartition("/")
        try:
            return self.files[folder][name][0]
        except KeyError as error:
            raise FileMissing("file does not exist", file=path) from error

    def exists(self, path: str) -> bool:
        folder, _, name = path.rpartition("/")
        return name in self.files.get(folder, {})

    def is_directory(self, path: str) -> bool:
        return any(f"{folder}/".startswith(f"{path}/") for folder in self.files)

    def list(self, directory: str) -> tuple[FileStatus, ...]:
        found = [
            FileStatus(name, False, len(data), millis)
            for name, (data, millis) in self.files.get(directory, {}).items()
        ]
        start = f"{directory}/"
        below = {f.removeprefix(start).partition("/")[0] for f in self.files if f.startswith(start)}
        found += [FileStatus(name, True, 0, 0) for name in below]
        return tuple(sorted(found, key=lambda status: status.name))

    def walk(self, directory: str) -> Iterator[tuple[str, FileStatus]]:
        for folder, inside in [(f, dict(i)) for f, i in self.files.items()]:
            if f"{folder}/".startswith(f"{directory}/"):
                below = folder.removeprefix(directory).lstrip("/")
                for name, (data, millis) in inside.items():
                    path = f"{below}/{name}".lstrip("/")
                    yield path, FileStatus(name, False, len(data), millis)

    def exclusive(self, path: str) -> bool:
        return True

    def create(self, path: str, data: bytes) -> bool:
        if self.exists(path):
            return False
        self.put(path, data)
        return True

    def overwrite(self, path: str, data: bytes) -> None:
        self.put(path, data)

    def delete(self, paths: Sequence[str]) -> None:
        for path in paths:
            folder, _, name = path.rpartition("/")
            with self.lock:
                inside = self.files.get(folder, {})
                inside.pop(name, None)
                if not inside:
                    self.files.pop(folder, None)

    def open_source(self, path: str) -> str | BinaryIO | Ranges:
        return io.BytesIO(self.read(path))

    def soon(
        self, files: Sequence[tuple[str, int]], whole_bytes: int
    ) -> AbstractContextManager[None]:
        return nullcontext()

    def open_sink(self, path: str) -> Sink:
        raise NotImplementedError(path)
