"""Storage: the interface, and the stores behind it."""

from __future__ import annotations

from .base import Directories, FileStatus, Ranges, Sink, Storage
from .local import TEMPORARY_SUFFIX, LocalStorage
from .many import read_many, read_those_there, side_by_side

__all__ = [
    "TEMPORARY_SUFFIX",
    "Directories",
    "FileStatus",
    "LocalStorage",
    "Ranges",
    "Sink",
    "Storage",
    "read_many",
    "read_those_there",
    "side_by_side",
]
