"""What watching a fleet asks of S3, and what that costs: the formula of docs/operations.md.

Prices are examples, in dollars for a thousand requests.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

PRICES = {"GET": 0.0004, "HEAD": 0.0004, "LIST": 0.005, "PUT": 0.005, "DELETE": 0.0}
MONTH_SECONDS = 30 * 24 * 3600
# Keys of one answer to a LIST, by the API; a folder counts as one.
PAGE = 1000


@dataclass(frozen=True, slots=True)
class PerLook:
    """Requests of one look at an unchanged table, on average between two doubts."""

    requests: Mapping[str, float]

    @property
    def total(self) -> float:
        return sum(self.requests.values())


def lists_per_discovery(tables: int, databases: int = 1) -> int:
    """One for the warehouse, and for each database one for every thousand tables."""
    pages = math.ceil(tables / databases / PAGE) if databases else 0
    return 1 + databases * max(1, pages)


def dollars_a_month(
    look: PerLook, tables: int, scan_seconds: float, discover_seconds: float = 60.0
) -> float:
    """All tables unchanged, in one database."""
    looks = tables * MONTH_SECONDS / scan_seconds
    one = sum(PRICES[operation] * number for operation, number in look.requests.items())
    lists = lists_per_discovery(tables) * MONTH_SECONDS / discover_seconds
    return (looks * one + lists * PRICES["LIST"]) / 1000


def dollars_with_idle(
    look: PerLook,
    idle_look: PerLook,
    *,
    awake: int,
    idle: int,
    scan_seconds: float,
    idle_seconds: float,
) -> float:
    """Idle tables pause for three quarters of the interval, on average."""
    busy = dollars_a_month(look, awake, scan_seconds)
    resting = dollars_a_month(idle_look, idle, 0.75 * idle_seconds)
    pages = lists_per_discovery(awake + idle)
    counted = lists_per_discovery(awake) + lists_per_discovery(idle)
    return busy + resting + (pages - counted) * MONTH_SECONDS / 60.0 * PRICES["LIST"] / 1000
