"""Which seeds a test plays."""

from __future__ import annotations

import os

__all__ = ["seeds"]


def seeds(first: int, count: int) -> range:
    """DESILT_HISTORIES=10 plays ten times as many."""
    return range(first, first + count * int(os.environ.get("DESILT_HISTORIES", "1")))
