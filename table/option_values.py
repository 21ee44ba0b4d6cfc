"""A table's options as they are stored, read as values of one kind or another."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from .duration import parse_duration
from .errors import UnsupportedFeature

MIB = 1024 * 1024

_SIZE = re.compile(r"^\s*(\d+)\s*([a-z]*)\s*$")
_UNITS = {
    "": 1, "b": 1, "bytes": 1,
    "k": 1024, "kb": 1024, "kibibytes": 1024,
    "m": MIB, "mb": MIB, "mebibytes": MIB,
    "g": 1024 * MIB, "gb": 1024 * MIB, "gibibytes": 1024 * MIB,
    "t": MIB * MIB, "tb": MIB * MIB, "tebibytes": MIB * MIB,
}  # fmt: skip


def parse_size(text: str, key: str) -> int:
    """Bytes of Paimon size text such as ``128 mb``; a bad one is refused with its key."""
    match = _SIZE.match(text.lower())
    if match is None or match[2] not in _UNITS:
        raise UnsupportedFeature("option value is no size", option=key, value=text)
    return int(match[1]) * _UNITS[match[2]]


@dataclass(frozen=True, slots=True)
class OptionValues:
    """Texts by key. A value that is not of its kind is refused with its key.

    Sizes in bytes, durations in milliseconds, percents as whole numbers.
    """

    raw: Mapping[str, str]

    def text(self, key: str, default: str) -> str:
        return self.raw.get(key, default).strip()

    def number(self, key: str, default: int) -> int:
        value = self.raw.get(key)
        if value is None:
            return default
        try:
            return int(value)
        except ValueError:
            raise UnsupportedFeature("option value is no number", option=key, value=value) from None

    def ratio(self, key: str, default: float) -> float:
        value = self.raw.get(key)
        if value is None:
            return default
        try:
            return float(value)
        except ValueError:
            raise UnsupportedFeature("option value is no number", option=key, value=value) from None

    def size(self, key: str, default: int) -> int:
        value = self.raw.get(key)
        return default if value is None else parse_size(value, key)

    def millis(self, key: str, default: int) -> int:
        value = self.raw.get(key)
        return default if value is None else parse_duration(value, key)

    def flag(self, key: str, *, default: bool) -> bool:
        value = self.raw.get(key)
        if value is None:
            return default
        if value.strip().lower() not in ("true", "false"):
            raise UnsupportedFeature("option value is no boolean", option=key, value=value)
        return value.strip().lower() == "true"

    def names(self, key: str) -> tuple[str, ...]:
        """A list of column names, comma between."""
        return tuple(n.strip() for n in self.text(key, "").split(",") if n.strip())
