"""The writer's own record of what it sent: the demo's proof believes it and nothing else.

Every batch is on the device before its commit begins, and is acknowledged when the commit is done.
One JSON object a line::

    {"table": "demo.events", "batch": 3, "rows": [["+I", 17, "user-4", 1999], …]}
    {"table": "demo.events", "acknowledged": 3}
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from .kinds import KINDS, Merge, Values
from .streams import Event


class Log:
    """Written by the writer; a line is on the device when the call returns."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def sends(self, table: str, batch: int, rows: Sequence[Event]) -> None:
        """About to commit these."""
        self._line({"table": table, "batch": batch, "rows": rows})

    def acknowledges(self, table: str, batch: int) -> None:
        """The commit is done."""
        self._line({"table": table, "acknowledged": batch})

    def _line(self, record: Mapping[str, object]) -> None:
        self._file.write(json.dumps(record) + "\n")
        self._file.flush()
        os.fsync(self._file.fileno())


@dataclass(slots=True)
class Sent:
    """What the log says of one table: rows that must be there by key, and how much was sent."""

    merge: Merge
    rows: dict[int, Values] = field(default_factory=dict[int, Values])
    batches: int = 0
    events: int = 0
    acknowledged: int = 0

    def take(self, rows: Sequence[Sequence[object]]) -> None:
        """One batch, in the order in which it was written."""
        self.batches += 1
        self.events += len(rows)
        for kind, key, *values in rows:
            assert isinstance(kind, str)
            assert isinstance(key, int)
            left = self.merge(self.rows.get(key), kind, tuple(values))
            if left is None:
                self.rows.pop(key, None)
            else:
                self.rows[key] = left


def read_log(path: Path) -> dict[str, Sent]:
    """What was sent to each table."""
    sent = {kind.name: Sent(kind.merge) for kind in KINDS}
    with path.open(encoding="utf-8") as lines:
        for record in map(json.loads, lines):
            one = sent[record["table"]]
            if "acknowledged" in record:
                one.acknowledged += 1
            else:
                one.take(record["rows"])
    return sent
