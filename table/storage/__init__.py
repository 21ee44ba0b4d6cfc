"""Storage: the interface, and the stores behind it."""

from __future__ import annotations

from .base import FileStatus, Sink, Storage
from .local import TEMPORARY_SUFFIX, LocalStorage

__all__ = ["TEMPORARY_SUFFIX", "FileStatus", "LocalStorage", "Sink", "Storage"]
