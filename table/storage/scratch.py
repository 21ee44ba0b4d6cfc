"""Local files for what is being read of remote ones.

Each process has a folder of its own, named after it, which goes when it ends; a process that starts
removes those of dead ones.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
import threading
import uuid
from contextlib import suppress
from pathlib import Path

from ..errors import StorageUnavailable

PREFIX = "desilt-scratch-"


class Scratch:
    """A folder of this process below ``parent`` (None: the system's for temporary files)."""

    def __init__(self, parent: str | None) -> None:
        self._parent = Path(parent or tempfile.gettempdir())
        self._mutex = threading.Lock()
        self._folder: tuple[int, Path] | None = None

    def new_path(self) -> str:
        """Where a file can be made.

        Raises:
            StorageUnavailable: the folder cannot be made.
        """
        return str(self._own() / uuid.uuid4().hex)

    def _own(self) -> Path:
        with self._mutex:
            if self._folder is None or self._folder[0] != os.getpid():
                self._folder = (os.getpid(), self._make())
            return self._folder[1]

    def _make(self) -> Path:
        try:
            self._parent.mkdir(parents=True, exist_ok=True)
            _remove_dead(self._parent)
            made = tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=self._parent)
        except OSError as error:
            raise scratch_failed(error, str(self._parent)) from error
        atexit.register(shutil.rmtree, made, ignore_errors=True)
        return Path(made)


def scratch_failed(error: OSError, path: str) -> StorageUnavailable:
    """What to raise when the local disk fails: the table is well, and so is its store."""
    return StorageUnavailable(
        "the scratch folder cannot be used", reason=error.strerror or str(error), scratch=path
    )


def _remove_dead(parent: Path) -> None:
    """Folders of processes that are no more."""
    for folder in parent.glob(f"{PREFIX}*"):
        owner = folder.name.removeprefix(PREFIX).partition("-")[0]
        if owner.isdigit() and not _alive(int(owner)):
            shutil.rmtree(folder, ignore_errors=True)


def _alive(pid: int) -> bool:
    with suppress(PermissionError):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
    return True
