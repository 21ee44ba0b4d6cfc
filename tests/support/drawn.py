"""What the histories of a matrix row contain, drawn without any library playing them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from .engine_histories import STYLES, Compact, EngineHistory
from .engine_model import Record, feed_order
from .engines import Cell
from .histories import Row

__all__ = ["demanded", "drawn"]


def demanded(cell: Cell) -> set[str]:
    """What some history of the row must have, whoever writes it."""
    everywhere = {"minor", "full", "null", "-D", "-U and +U"}
    return everywhere if cell.engine == "first-row" else {*everywhere, "late"}


def drawn(cell: Cell, seeds: Iterable[int], rounds: int) -> set[str]:
    """What these histories have of all that may be demanded, up to their last checks."""
    return {trait for seed in seeds for trait in _Drawn(cell, seed).traits(rounds)}


@dataclass
class _Drawn:
    """One history as it is drawn; records by key."""

    cell: Cell
    seed: int
    records: dict[str, list[Record]] = field(default_factory=dict[str, list[Record]])

    def traits(self, rounds: int) -> Iterator[str]:
        history = EngineHistory(self.seed, self.cell, STYLES[self.seed % len(STYLES)])
        for step in history.steps(rounds):
            if isinstance(step, Compact):
                yield "full" if step.full else "minor"
                continue
            before: tuple[str, str] | None = None
            for row in history.batch(step.count):
                key = self._key(history, row)
                yield from self._of(history, key, row)
                if before == ("-U", key) and row[0] == "+U":
                    yield "-U and +U"
                before = (str(row[0]), key)

    def _key(self, history: EngineHistory, row: Row) -> str:
        at = [history.rules.names.index(name) for name in history.shape.primary_keys]
        return str([row[1 + i] for i in at])

    def _of(self, history: EngineHistory, key: str, row: Row) -> Iterator[str]:
        older = self.records.setdefault(key, [])
        record = Record(str(row[0]), len(older), tuple(row[1:]))
        if record.kind == "-D":
            yield "-D"
        if record.is_add and None in record.values:
            yield "null"
        if _is_late(history, older, record):
            yield "late"
        older.append(record)


def _is_late(history: EngineHistory, older: list[Record], record: Record) -> bool:
    """Whether it comes after a record of its key that is newer, by the row's order or a group's."""
    rules = history.rules
    if rules.sequence and older and feed_order(rules, [*older, record])[-1] is not record:
        return True
    return any(
        rules.rank(group, record.values) < rules.rank(group, one.values)
        for group in set(rules.groups.values())
        for one in older
        if None not in [some.values[i] for some in (record, one) for i in group]
    )
