"""Somebody who follows a table as a consumer, and makes the table anew of what he is told."""

from __future__ import annotations

from ...table.change_reader import Changes
from ...table.consumers import ConsumerStore
from ...table.table import Table
from .kinds import Kind, Values

CONSUMER = "desilt-demo"


class Follower:
    """Holds the rows that the changes make; `catch_up` takes those that are new.

    A change fits when -U and -D name the row that is held, +I comes where none is, and +U comes
    where -U took one away.
    """

    def __init__(self, kind: Kind, table: Table) -> None:
        self._table = table
        self._columns = list(kind.columns)
        self.rows: dict[int, Values] = {}
        self.changes = 0
        self.misfits = 0
        self._open: set[int] = set()

    def catch_up(self) -> None:
        """Everything that is told by now; expiry leaves what was not asked for yet."""
        told = self._table.follow(CONSUMER, start=1, columns=self._columns, idle_seconds=0.0)
        for part in told:
            self.take(part)

    def take(self, part: Changes) -> None:
        """Changes in their order."""
        self.changes += part.rows.height
        for kind, (key, *values) in zip(part.kinds, part.rows.iter_rows(), strict=True):
            self.misfits += not self._fits(kind, key, tuple(values))
            self._apply(kind, key, tuple(values))

    def leave(self) -> None:
        """Follow no more: the table is kept for nobody."""
        ConsumerStore(self._table.handle).delete([CONSUMER])

    def _fits(self, kind: str, key: int, values: Values) -> bool:
        if kind in ("-U", "-D"):
            return self.rows.get(key) == values
        return key not in self.rows and (kind == "+U") == (key in self._open)

    def _apply(self, kind: str, key: int, values: Values) -> None:
        if kind in ("-U", "-D"):
            self.rows.pop(key, None)
        else:
            self.rows[key] = values
        if kind == "-U":
            self._open.add(key)
        else:
            self._open.discard(key)
