"""Storage: the interface, and the stores behind it."""

from __future__ import annotations

from .base import Directories, FileStatus, Ranges, Sink, Storage, is_text
from .local import TEMPORARY_SUFFIX, LocalStorage
from .many import read_many, read_those_there, side_by_side
from .opening import is_remote, normal_path, open_storage
from .options import StoreOptions

__all__ = [
    "TEMPORARY_SUFFIX",
    "Directories",
    "FileStatus",
    "LocalStorage",
    "Ranges",
    "Sink",
    "Storage",
    "StoreOptions",
    "is_remote",
    "is_text",
    "normal_path",
    "open_storage",
    "read_many",
    "read_those_there",
    "side_by_side",
]
