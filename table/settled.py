"""Small files that other engines overwrite in place: a reader can meet one half written.

Tags and consumers are rewritten so on plain disks. What does not parse is read again a little
later; what still does not parse is damage.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from .errors import CorruptTable
from .handle import TableHandle

T = TypeVar("T")

# A few hundred bytes are written in far less than one pause; Java tries ten times, too.
TRIES = 5
PAUSE_SECONDS = 0.05


def read_settled(handle: TableHandle, path: str, load: Callable[[bytes, str], T]) -> T:
    """What ``load`` makes of the file.

    Raises:
        FileMissing: it does not exist.
        CorruptTable: it does not parse, however often it is read.
    """
    for _ in range(TRIES - 1):
        try:
            return load(handle.storage.read(path), path)
        except CorruptTable:
            if not handle.storage.exists(path):
                raise
            handle.world.sleep(PAUSE_SECONDS)
    return load(handle.storage.read(path), path)
