"""The demo's proof: the table, read back, against the log that the writer kept by itself."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..table.table import Table
from .demo_writer import FRAME_SCHEMA

Values = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Sent:
    """What the log says: rows that must be there by key, and how much was sent."""

    rows: dict[int, Values]
    batches: int
    events: int
    unacknowledged: int


@dataclass(frozen=True, slots=True)
class Proof:
    """Keys by what is wrong with them; nothing is when all counts are 0."""

    rows: int
    lost: int
    duplicated: int
    changed: int
    unexpected: int
    unacknowledged: int

    @property
    def holds(self) -> bool:
        wrong = self.lost + self.duplicated + self.changed + self.unexpected
        return wrong + self.unacknowledged == 0

    def __str__(self) -> str:
        return (
            f"{self.rows} rows read back, lost {self.lost}, duplicated {self.duplicated}, "
            f"changed {self.changed}, unexpected {self.unexpected}"
            + (f", commits without an answer {self.unacknowledged}" if self.unacknowledged else "")
        )


def read_log(path: Path) -> Sent:
    """Replay the writer's log."""
    rows: dict[int, Values] = {}
    batches = events = acknowledged = 0
    with path.open(encoding="utf-8") as lines:
        for record in map(json.loads, lines):
            if "acknowledged" in record:
                acknowledged += 1
                continue
            batches += 1
            events += len(record["rows"])
            _apply(rows, record["rows"])
    return Sent(rows, batches, events, batches - acknowledged)


def _apply(rows: dict[int, Values], events: Iterable[list[Any]]) -> None:
    for kind, key, *values in events:
        if kind == "-D":
            rows.pop(key, None)
        else:
            rows[key] = tuple(values)


def prove(table: Table, sent: Sent) -> Proof:
    """Read the table and compare it with what was sent."""
    found = table.scan(columns=list(FRAME_SCHEMA)).collect().rows()
    times = Counter(row[0] for row in found)
    by_key = {row[0]: tuple(row[1:]) for row in found}
    return Proof(
        rows=len(found),
        lost=sum(key not in times for key in sent.rows),
        duplicated=sum(count > 1 for count in times.values()),
        changed=sum(by_key.get(key, values) != values for key, values in sent.rows.items()),
        unexpected=sum(key not in sent.rows for key in times),
        unacknowledged=sent.unacknowledged,
    )
