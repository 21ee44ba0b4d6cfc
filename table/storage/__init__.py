"""Storage: the interface, and the stores behind it."""

from __future__ import annotations

from .base import FileStatus, Sink, Storage
from .local import LocalStorage

__all__ = ["FileStatus", "LocalStorage", "Sink", "Storage"]
