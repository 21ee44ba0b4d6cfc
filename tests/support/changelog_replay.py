"""What a changelog makes of a table: changes applied one by one, each checked to fit."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from .canonical import Json
from .engine_model import Rules
from .histories import Row, alike
from .peer_streams import SnapshotChanges

__all__ = ["Misfit", "Replay"]


class Misfit(Exception):
    """A change that cannot follow the ones before it."""


@dataclass
class Replay:
    """The rows that a reader of a changelog holds.

    A change fits when a -U or -D names the row that is there, a +I comes where none is, and a +U
    follows the -U of its key. Columns that the producer leaves out of its comparison may differ
    from the table's, so they count nowhere. A `first-row` changelog keeps the kinds of its input.
    """

    rules: Rules
    rows: dict[str, Row] = field(default_factory=dict[str, Row])
    _pending: set[str] = field(default_factory=set[str])

    def take(self, changes: Sequence[SnapshotChanges]) -> None:
        for one in changes:
            for change in one["rows"]:
                self._apply(one["snapshot"], str(change[0]), list(change[1:]))
            if self._pending:
                raise Misfit(f"snapshot {one['snapshot']}: -U without +U: {sorted(self._pending)}")

    @property
    def left(self) -> list[str]:
        """The rows as comparable texts; compare with `shown`."""
        return alike(self.rows.values())

    def shown(self, rows: Iterable[Sequence[Json]]) -> list[str]:
        """Rows of a table, without what a changelog may not have told."""
        return alike(self._told(row) for row in rows)

    def _told(self, row: Sequence[Json]) -> Row:
        told = self.rules.compared
        comparable = self.rules.comparable(row)
        return [v if told is None or i in told else None for i, v in enumerate(comparable)]

    def _apply(self, snapshot: int, kind: str, values: Row) -> None:
        key = self._key(values)
        told = self._told(values)
        held = self.rows.get(key)
        where = f"snapshot {snapshot}: {kind} {values}, held {held}"
        if kind in ("-U", "-D"):
            if held != told:
                raise Misfit(where)
            del self.rows[key]
            if kind == "-U":
                self._pending.add(key)
            return
        paired = key in self._pending
        first = self.rules.engine == "first-row"
        if held is not None or (paired != (kind == "+U") and not first):
            raise Misfit(where)
        self._pending.discard(key)
        self.rows[key] = told

    def _key(self, values: Row) -> str:
        by_name: Mapping[str, Json] = dict(zip(self.rules.names, values, strict=True))
        return json.dumps([by_name[name] for name in self.rules.primary_keys])
