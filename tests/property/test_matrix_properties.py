"""Histories of every support-matrix row against the plain model, shrinking to a minimal one.

Rows and compactions are drawn one by one, for small tables whose rows do not depend on when they
are compacted. After each step the table holds what the model makes of all records so far, or of
those that a compaction has seen where level 0 is hidden; what was told leads to what is there.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.changelog_replay import Replay
from support.engine_model import Record, Rules, feed_order, reduce
from support.engines import Cell
from support.histories import Row, alike
from support.matrix import ROWS
from support.players import Desilt
from support.shapes import Shape

from desilt.table.catalog import open_table

KEYS = st.integers(0, 3)
NUMBERS = st.one_of(st.none(), st.integers(-3, 3))
SMALL = {"bucket": "1", "num-sorted-run.compaction-trigger": "2"}
EXAMPLES = 6


@dataclass(frozen=True)
class Kind:
    """A small table of an engine: its columns besides ``k``, its options, and which row kinds may
    come. ``blank``: a -D removes the row, so its values are null; it is forgotten when it is merged
    with what comes after, so nothing may until all is merged. ``told``: a -D comes only where a row
    is."""

    engine: str
    columns: Mapping[str, str]
    options: Mapping[str, str]
    kinds: tuple[str, ...] = ("+I", "+U")
    blank: bool = False
    told: bool = False

    def without_orphans(self, values: Sequence[int | None]) -> list[int | None]:
        """A column of a sequence group is null where its sequence is: such a value is kept of a
        lone record only, and for as long as it is not merged."""
        row = dict(zip(self.columns, values, strict=True))
        for name, sequence in row.items():
            if sequence is None and f"fields.{name}.sequence-group" in self.options:
                row[self.options[f"fields.{name}.sequence-group"]] = None
        return list(row.values())


ALL = ("+I", "+I", "+U", "-U", "-D")
KINDS = (
    Kind("deduplicate", {"v": "INT"}, {}, ALL),
    Kind("deduplicate", {"v": "INT"}, {"ignore-delete": "true"}, ALL),
    Kind("deduplicate", {"s": "INT", "v": "INT"}, {"sequence.field": "s"}),
    Kind("first-row", {"v": "INT"}, {}),
    Kind("first-row", {"v": "INT"}, {"ignore-delete": "true"}, ("+I", "+U", "-D")),
    Kind("partial-update", {"a": "INT", "b": "INT"}, {}),
    Kind("partial-update", {"a": "INT", "b": "INT"},
         {"partial-update.remove-record-on-delete": "true"}, ("+I", "+U", "-D"), blank=True),
    Kind("partial-update", {"g": "INT", "a": "INT", "h": "INT", "b": "INT"},
         {"fields.g.sequence-group": "a", "fields.h.sequence-group": "b",
          "fields.b.aggregate-function": "max"}),
    Kind("aggregation", {"a": "INT", "b": "INT", "c": "INT"},
         {"fields.a.aggregate-function": "sum", "fields.b.aggregate-function": "max",
          "fields.c.aggregate-function": "last_non_null_value"}),
    Kind("aggregation", {"a": "BIGINT", "b": "INT"},
         {"fields.a.aggregate-function": "sum", "fields.b.aggregate-function": "min",
          "fields.b.ignore-retract": "true"}, ("+I", "+U", "-D"), told=True),
    Kind("aggregation", {"a": "INT", "b": "INT"},
         {"aggregation.remove-record-on-delete": "true", "fields.a.aggregate-function": "sum"},
         ("+I", "+U", "-D"), blank=True),
)  # fmt: skip


@dataclass(frozen=True)
class Write:
    """Changes: a kind, a key, and values."""

    rows: tuple[tuple[str, int, tuple[int | None, ...]], ...]


@dataclass(frozen=True)
class Compact:
    full: bool


Step = Write | Compact


def histories(kind: Kind) -> st.SearchStrategy[list[Step]]:
    values = st.tuples(*[NUMBERS] * len(kind.columns))
    row = st.tuples(st.sampled_from(kind.kinds), KEYS, values)
    write = st.lists(row, min_size=1, max_size=5).map(lambda rows: Write(tuple(rows)))
    compact = st.booleans().map(Compact)
    return st.lists(st.one_of(write, write, compact), min_size=4, max_size=10)


@dataclass
class World:
    """A table, every record written to it, and what its readers were told."""

    cell: Cell
    kind: Kind
    shape: Shape
    path: Path
    rules: Rules
    records: dict[int, list[Record]] = field(default_factory=dict[int, list[Record]])
    seen: list[Row] = field(default_factory=list[Row])
    _sequence: int = 0
    _gone: set[int] = field(default_factory=set[int])

    def merged(self) -> list[Row]:
        """The rows that the records so far make."""
        found: list[Row] = []
        for records in self.records.values():
            one = reduce(self.rules, feed_order(self.rules, records)) if records else None
            if one is not None and one.is_add:
                found.append(list(one.values))
        return found

    def write(self, step: Write) -> None:
        batch: list[list[object]] = []
        for kind, key, values in step.rows:
            row = self._row(kind, key, values)
            if row is None:
                continue
            batch.append([kind, *row])
            ignored = kind in ("-U", "-D") and self.rules.ignores_deletes
            if not ignored:
                record = Record(kind, self._sequence, tuple(row))
                self.records.setdefault(key, []).append(record)
            self._sequence += 1
        if batch:
            Desilt().write(self.shape, self.path, batch)  # type: ignore[arg-type]  # whole numbers

    def _row(self, kind: str, key: int, values: Sequence[int | None]) -> list[int | None] | None:
        """The change's row; None where it may not come."""
        if key in self._gone:
            return None
        if kind in ("+I", "+U"):
            return [key, *self.kind.without_orphans(values)]
        if self.kind.blank:
            self._gone.add(key)
            return [key, *(None for _ in values)]
        if self.kind.told and not any(row[0] == key for row in self.merged()):
            return None
        return [key, *values]

    def compact(self, *, full: bool) -> None:
        Desilt().compact(self.path, full=full)
        if full:
            self._gone.clear()
        if full or self.cell.looks_up:
            self.seen = self.merged()

    # --- checks -----------------------------------------------------------------------------------

    def check_rows(self) -> None:
        hidden = self.cell.vectors or self.cell.engine == "first-row"
        wanted = self.seen if hidden else self.merged()
        assert alike(Desilt().read(self.shape, self.path)) == alike(wanted)

    def check_changes(self) -> None:
        if self.cell.producer in ("none", "input"):
            return
        replay = Replay(self.rules)
        replay.take(Desilt().changes(self.shape, self.path))
        assert replay.left == replay.shown(self.seen)


def _applicable(cell: Cell) -> list[Kind]:
    return [kind for kind in KINDS if kind.engine == cell.engine]


@pytest.mark.parametrize("cell", ROWS, ids=str)
def test_every_row_holds_what_the_model_holds(cell: Cell) -> None:
    for kind in _applicable(cell):
        _plays(cell, kind)


def _plays(cell: Cell, kind: Kind) -> None:
    @given(history=histories(kind), deduplicates=st.booleans(), wide=st.booleans())
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    def run(history: list[Step], deduplicates: bool, wide: bool) -> None:
        options = {**SMALL, **cell.options, **kind.options}
        if deduplicates and cell.producer in ("lookup", "full-compaction"):
            options["changelog-producer.row-deduplicate"] = "true"
        if wide and cell.vectors:
            options["deletion-vectors.bitmap64"] = "true"
        columns = {"k": "INT NOT NULL", **kind.columns}
        shape = Shape(columns, ("k",), (), options)
        with tempfile.TemporaryDirectory() as folder:
            path = Desilt().create(shape, Path(folder))
            world = World(cell, kind, shape, path, Rules(columns, ("k",), options))
            for step in history:
                if isinstance(step, Write):
                    world.write(step)
                else:
                    world.compact(full=step.full)
                    world.check_rows()
            world.compact(full=True)
            world.check_rows()
            if open_table(str(path)).handle.snapshots.latest_id() is not None:
                world.check_changes()

    run()
