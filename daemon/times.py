"""Moments and spans in flags of commands."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TypeVar

from .errors import UsageError

T = TypeVar("T")


def parsed(flag: str, parse: Callable[[], T]) -> T:
    """What ``parse`` makes of a flag's text.

    Raises:
        UsageError: it says ValueError.
    """
    try:
        return parse()
    except ValueError as error:
        raise UsageError(f"{flag}: {error}") from error


def parse_moment(flag: str, text: str) -> int:
    """Epoch milliseconds of ISO text such as ``2026-11-22T10:00``; UTC unless it says otherwise.

    Raises:
        UsageError: no such text.
    """
    moment = parsed(flag, lambda: datetime.fromisoformat(text))
    aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return int(aware.timestamp() * 1000)
