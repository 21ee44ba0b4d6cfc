"""What a keyed table must hold: a plain dict, and its state after each snapshot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

Row = tuple[object, ...]


@dataclass(slots=True)
class KeyedModel:
    """Rows by key. Keys are compared by their text, as Java tells −0.0 from 0.0, and NaN is NaN.

    ``key`` and ``sequence`` are positions in a row. With a sequence column a row replaces only one
    with a smaller sequence (null smallest; ``descending``: a larger one, null still smallest).
    """

    key: tuple[int, ...]
    sequence: int | None = None
    descending: bool = False
    rows: dict[str, Row] = field(default_factory=dict[str, Row])
    states: dict[int, dict[str, Row]] = field(default_factory=dict[int, dict[str, Row]])

    def key_of(self, row: Sequence[object]) -> str:
        return repr([row[i] for i in self.key])

    def write(self, rows: Sequence[Row]) -> None:
        for row in rows:
            there = self.rows.get(self.key_of(row))
            if there is None or self._replaces(row, there):
                self.rows[self.key_of(row)] = row

    def delete(self, rows: Sequence[Row]) -> None:
        """Remove the keys of these rows."""
        for row in rows:
            self.rows.pop(self.key_of(row), None)

    def committed(self, snapshot_id: int) -> None:
        """The state now is what this snapshot holds."""
        self.states[snapshot_id] = dict(self.rows)

    def _replaces(self, row: Row, there: Row) -> bool:
        if self.sequence is None:
            return True
        new, old = row[self.sequence], there[self.sequence]
        if new is None or old is None:
            return old is None
        assert isinstance(new, int)
        assert isinstance(old, int)
        return new <= old if self.descending else new >= old
