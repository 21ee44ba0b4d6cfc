"""Durations as Paimon writes them in options: ``1 h``, ``10 min``, ``500ms``, ``3600000``.

Spec: reference class ``utils/TimeUtils`` (labels in any case; a bare number is milliseconds).
"""

from __future__ import annotations

import re

from .errors import UnsupportedFeature

_TEXT = re.compile(r"([0-9]+)\s*(\S*)", re.ASCII)
_LONG_MAX = 2**63 - 1

_NANOS = {
    "d": 86_400_000_000_000, "day": 86_400_000_000_000,
    "h": 3_600_000_000_000, "hour": 3_600_000_000_000,
    "m": 60_000_000_000, "min": 60_000_000_000, "minute": 60_000_000_000,
    "s": 1_000_000_000, "sec": 1_000_000_000, "second": 1_000_000_000,
    "ms": 1_000_000, "milli": 1_000_000, "millisecond": 1_000_000,
    "µs": 1_000, "micro": 1_000, "microsecond": 1_000,
    "ns": 1, "nano": 1, "nanosecond": 1,
}  # fmt: skip
_PLURAL = frozenset(
    {"day", "hour", "minute", "sec", "second", "milli", "millisecond", "micro", "microsecond",
     "nano", "nanosecond"}
)  # fmt: skip


def parse_duration(text: str, key: str) -> int:
    """Whole milliseconds of a duration, rounded down; a bad one is refused with its key.

    Raises:
        UnsupportedFeature: no number in front, an unknown unit, or more than Java can count.
    """
    match = _TEXT.fullmatch(text.strip())
    nanos = None if match is None else _nanos_of(match[2].lower())
    if match is None or nanos is None:
        raise UnsupportedFeature("option value is no duration", option=key, value=text)
    number = int(match[1])
    millis = number * nanos // 1_000_000
    if max(number, millis) > _LONG_MAX:
        raise UnsupportedFeature("option value is too long a duration", option=key, value=text)
    return millis


def _nanos_of(label: str) -> int | None:
    """Nanoseconds of one unit; None for a label nobody knows."""
    if label == "":
        return 1_000_000
    if label in _NANOS:
        return _NANOS[label]
    singular = label.removesuffix("s")
    return _NANOS[singular] if label.endswith("s") and singular in _PLURAL else None
