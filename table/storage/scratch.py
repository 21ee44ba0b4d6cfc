"""Local files for what is being read of remote ones.

Each process has a folder of its own, which goes when it ends; a process that starts removes those
of dead ones. A live one holds a lock on its folder: the number of a process says nothing, since
each container has a process 1, and so had the one that died.
"""

from __future__ import annotations

import atexit
import fcntl
import os
import shutil
import tempfile
import threading
import uuid
from contextlib import suppress
from pathlib import Path

from ..errors import StorageUnavailable

PREFIX = "desilt-scratch-"

_mutex = threading.Lock()
_own: dict[tuple[int, Path], Path] = {}
"""This process's folder below each parent; a process that was forked makes its own."""


class Scratch:
    """A folder of this process below ``parent`` (None: the system's for temporary files)."""

    def __init__(self, parent: str | None) -> None:
        self._parent = Path(parent or tempfile.gettempdir())

    def new_path(self) -> str:
        """Where a file can be made.

        Raises:
            StorageUnavailable: the folder cannot be made.
        """
        key = os.getpid(), self._parent
        with _mutex:
            if key not in _own or not _own[key].is_dir():
                _own[key] = _make(self._parent)
            return str(_own[key] / uuid.uuid4().hex)


def _make(parent: Path) -> Path:
    try:
        parent.mkdir(parents=True, exist_ok=True)
        _remove_dead(parent)
        made = tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=parent)
        while not _held(made):
            made = tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=parent)
    except OSError as error:
        raise scratch_failed(error, str(parent)) from error
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return Path(made)


def _held(folder: str) -> bool:
    """Whether it is locked now, until this process ends; False: removed before it was."""
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        return False
    with suppress(OSError):  # where there are no locks, nobody can take it from us either
        fcntl.flock(handle, fcntl.LOCK_SH)
    if os.path.isdir(folder):
        return True
    os.close(handle)
    return False


def scratch_failed(error: OSError, path: str) -> StorageUnavailable:
    """What to raise when the local disk fails: the table is well, and so is its store."""
    return StorageUnavailable(
        "the scratch folder cannot be used", reason=error.strerror or str(error), scratch=path
    )


def _remove_dead(parent: Path) -> None:
    """Folders of processes that are no more."""
    for folder in parent.glob(f"{PREFIX}*"):
        with suppress(OSError):
            handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(handle)
