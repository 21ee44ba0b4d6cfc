"""Durations and sizes as people write them in YAML and on the command line.

``5s`` · ``500ms`` · ``2m`` · ``1h`` are durations; ``512MiB`` · ``1GiB`` are sizes. Binary units
only: a size is a memory budget, and ``MB`` means two different numbers to two different people.
"""

from __future__ import annotations

import math
import re

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_BYTES = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
_NUMBER_UNIT = re.compile(r"\s*([0-9]{1,15}(?:\.[0-9]{1,6})?)\s*([A-Za-z]*)\s*", re.ASCII)


class Duration(float):
    """Seconds, more than zero; its ``str`` is what `parse_duration` reads."""

    def __str__(self) -> str:
        for unit in ("d", "h", "m", "s"):
            if self >= _SECONDS[unit] and (self / _SECONDS[unit]).is_integer():
                return f"{int(self / _SECONDS[unit])}{unit}"
        return f"{float(self) * 1000:.15g}ms"


class Size(int):
    """Bytes, more than zero; its ``str`` is what `parse_size` reads."""

    def __str__(self) -> str:
        for unit in ("TiB", "GiB", "MiB", "KiB"):
            if self % _BYTES[unit] == 0:
                return f"{int(self) // _BYTES[unit]}{unit}"
        return f"{int(self)}B"


def parse_duration(text: object) -> Duration:
    """Seconds of ``"5s"``, ``"500ms"``, ``"2m"``, ``"1h"`` or ``"1d"``.

    Raises:
        ValueError: no such text; its message says what was expected.
    """
    number, unit = _split(text, "duration", "500ms, 5s, 2m or 1h")
    if unit not in _SECONDS:
        raise ValueError(f"bad duration unit {unit!r} in {text!r}, known are {', '.join(_SECONDS)}")
    return Duration(_positive(number * _SECONDS[unit], text, "duration"))


def parse_size(text: object) -> Size:
    """Bytes of ``"512MiB"`` and the like.

    Raises:
        ValueError: no such text; its message says what was expected.
    """
    number, unit = _split(text, "size", "512MiB or 1GiB")
    if unit not in _BYTES:
        raise ValueError(f"bad size unit {unit!r} in {text!r}, known are {', '.join(_BYTES)}")
    return Size(math.floor(_positive(math.floor(number * _BYTES[unit]), text, "size")))


def _split(text: object, what: str, example: str) -> tuple[float, str]:
    matched = _NUMBER_UNIT.fullmatch(text) if isinstance(text, str) else None
    if matched is None:
        raise ValueError(f"bad {what} {text!r}, expected text like {example}")
    return float(matched[1]), matched[2]


def _positive(number: float, text: object, what: str) -> float:
    if number <= 0:
        raise ValueError(f"bad {what} {text!r}, must be more than zero")
    return number
