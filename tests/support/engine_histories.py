"""Seeded random histories of tables of every merge engine: batches of changes that it takes.

What a table holds after merges depends, for some engines, on which files were merged when: a sum
that was retracted before it was there, a delete that a compaction has forgotten. A history has a
style, which says what may be compared.

* ``steady``: nothing depends on when it is compacted. A table that nobody compacts reads the same.
* ``stepwise``: it depends on what was merged together, but not on levels. A table compacted at the
  same steps reads the same (fully where compactions do not take all of level 0 along anyway).
* ``wild``: whatever the library takes. A compaction is held against the model of its own input.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

from .canonical import Json
from .engine_model import IllegalMerge, Record, Rules, feed_order, merge, reduce
from .engine_values import column_value, order_values
from .engines import Cell, engine_shape, rules_of
from .histories import Batch, Row, alike
from .shapes import Shape, random_value

__all__ = ["STYLES", "Allowance", "Compact", "EngineHistory", "Style", "Write"]

Style = Literal["steady", "stepwise", "wild"]
STYLES: tuple[Style, ...] = get_args(Style)

KEYS = 30
# Their late inputs may as well have come in time.
_ORDERLESS = {"sum", "product", "max", "min", "bool_and", "bool_or", "last_value", None}
_ORDERLESS_GROUPS = _ORDERLESS | {"primary-key"}
_TRIES = 20


@dataclass
class _Key:
    """What was written of one key, and how far its ordering columns have got."""

    values: dict[str, Json]
    records: list[Record] = field(default_factory=list[Record])
    rank: int = 0
    groups: dict[tuple[int, ...], int] = field(default_factory=dict[tuple[int, ...], int])
    retired: bool = False


@dataclass(frozen=True, slots=True)
class Allowance:
    """What the libraries that take part can do with a table.

    Shapes are drawn until ``accept`` takes one. Without ``retracts`` all changes are +I or +U; with
    ``inserts`` they are +I, and no batch has a key twice. With ``tame``, as always but in wild
    histories, merging a lone record changes nothing of it.
    """

    accept: Callable[[Shape], bool] = lambda shape: True
    inserts: bool = False
    retracts: bool = True
    tame: bool = False


@dataclass(frozen=True, slots=True)
class Write:
    """A batch comes; ``count``: of so many keys, else of a random number."""

    count: int | None = None


@dataclass(frozen=True, slots=True)
class Compact:
    """A compaction, ``full`` or minor."""

    full: bool


class EngineHistory:
    """One table's life: its shape, and batches of changes that its engine takes."""

    def __init__(
        self, seed: int, cell: Cell, style: Style, allowance: Allowance | None = None
    ) -> None:
        allowance = allowance or Allowance()
        self.seed, self.cell, self.style = seed, cell, style
        self.inserts = allowance.inserts
        self.retracts = allowance.retracts and not allowance.inserts
        self._tame = allowance.tame or style != "wild"
        self.rng = random.Random(f"{cell} {style} {seed}")
        self.shape: Shape = engine_shape(self.rng, cell)
        while not allowance.accept(self.shape):
            self.shape = engine_shape(self.rng, cell)
        self.rules: Rules = rules_of(self.shape)
        self.log: list[str] = []
        self._written = 0
        self._keys = [_Key(values) for values in self._key_pool()]
        self._legal = _Legal(self.rules, cell, style)

    def __str__(self) -> str:
        return f"seed {self.seed}, {self.cell}, {self.style}: {self.shape}\n" + "\n".join(self.log)

    def steps(self, rounds: int) -> Iterator[Write | Compact]:
        """Writes and compactions, so many times; it begins with a bottom run, mostly.

        Each step is drawn when it is asked for: batches come from the same generator.
        """
        if self.rng.random() < 0.7:
            yield Write(40)
            yield Compact(full=True)
        for _ in range(rounds):
            for _ in range(self.rng.choice([1, 2])):
                yield Write()
            yield Compact(full=self.full(0.3))

    def full(self, chance: float) -> bool:
        """Whether the next compaction is full; always where a table and its twin are alike only if
        all of their files are merged."""
        only = self.style == "stepwise" and not self.cell.looks_up
        return self.rng.random() < chance or only

    def note(self, step: str) -> None:
        """Remembers a step for the text of a failure."""
        self.log.append(step)

    def batch(self, count: int | None = None) -> Batch:
        """New changes, each a kind and values; several of one key may be among them."""
        rng = self.rng
        made: Batch = []
        keys = rng.choices(self._keys, k=count or rng.choice([15, 25, 40]))
        if self.inserts:
            keys = list({id(key): key for key in keys}.values())
        for key in keys:
            if not key.retired:
                made += self._changes(key)
        self.log += [f"    {json.dumps(row, ensure_ascii=False)}" for row in made]
        return made

    @property
    def expected(self) -> list[str]:
        """What a reader must find now, of a steady history (see `alike`)."""
        current = (self._current(key) for key in self._keys)
        return alike(self.rules.comparable(one.values) for one in current if one is not None)

    # --- keys -----------------------------------------------------------------------------------

    def _key_pool(self) -> list[dict[str, Json]]:
        found: dict[str, dict[str, Json]] = {}
        while len(found) < KEYS:
            key = {
                name: self.rng.randrange(2)
                if name in self.shape.partition_keys
                else random_value(self.rng, self.shape.columns[name])
                for name in self.shape.primary_keys
            }
            found[json.dumps(key)] = key
        return list(found.values())

    def _current(self, key: _Key) -> Record | None:
        """The row that the key has now, as far as that does not depend on compactions."""
        if not key.records:
            return None
        try:
            merged = reduce(self.rules, feed_order(self.rules, key.records))
        except IllegalMerge:
            return key.records[-1] if key.records[-1].is_add else None
        return merged if merged is not None and merged.is_add else None

    # --- changes --------------------------------------------------------------------------------

    def _changes(self, key: _Key) -> list[Row]:
        if self.inserts:
            one = self._add(key, "+I")
            return [[one.kind, *one.values]]
        current = self._current(key)
        if self.retracts and self.rng.random() < 0.25:
            retract = self._retract(key, current)
            if retract is not None:
                pair = retract.kind == "-U" and not key.retired
                after = [self._add(key, "+U")] if pair else []
                return [[one.kind, *one.values] for one in (retract, *after)]
        kind = self.rng.choice(["+I", "+I", "+U"])
        one = self._add(key, kind)
        return [[one.kind, *one.values]]

    def _add(self, key: _Key, kind: str) -> Record:
        row = [self._value(i) for i in range(len(self.rules.names))]
        self._order(key, row, retracts=False)
        return self._take(key, kind, row)

    def _value(self, position: int) -> Json:
        if self.rules.nullable[position] and self.rng.random() < 0.25:
            return None
        return column_value(self.rng, self.rules, position, tame=self._tame, undoable=self.retracts)

    def _take(self, key: _Key, kind: str, row: list[Json]) -> Record:
        for name, value in key.values.items():
            row[self.rules.names.index(name)] = value
        record = Record(kind, self._written, tuple(row))
        self._written += 1
        if record.is_add or not self.rules.ignores_deletes:
            key.records.append(record)
        return record

    def _order(self, key: _Key, row: list[Json], *, retracts: bool) -> None:
        """Sets the columns that order the row: those of sequence.field and of every group."""
        rules, types = self.rules, list(self.rules.columns.values())
        if rules.sequence:
            number = self._number(key.rank, self._legal.late(key, self._current(key)))
            descending = rules.options.get("sequence.field.sort-order") == "descending"
            if number is not None:
                key.rank = max(key.rank, number)
            # A null that partial-update passes over leaves a mixture of two places in order.
            nulls = rules.engine != "partial-update" or self.style == "wild"
            values = _ordering(types, rules.sequence, number, descending=descending, nulls=nulls)
            for i, value in zip(rules.sequence, values, strict=True):
                row[i] = value
        for group in sorted(set(rules.groups.values())):
            last = key.groups.get(group, 0)
            number = self._number(last, self._legal.late_group(group, retracts=retracts))
            self._set_group(row, group, number)
            if number is not None:
                key.groups[group] = max(last, number)

    def _number(self, last: int, late: bool) -> int | None:
        """A number for ordering columns: a little above the last one, equal, or late; or null."""
        if not late:
            return last + self.rng.choice([0, 1, 2]) + (0 if self.style == "wild" else 1)
        return self.rng.choice([None, last - 2, last - 1, last, last + 1, last + 2, last + 3])

    def _set_group(self, row: list[Json], group: tuple[int, ...], number: int | None) -> None:
        types = list(self.rules.columns.values())
        for i, value in zip(group, _ordering(types, group, number), strict=True):
            row[i] = value
        if number is None and self.style != "wild":
            # What such a record protects is forgotten once it is merged with any other.
            for i in self._protected(group):
                row[i] = None

    def _protected(self, group: tuple[int, ...]) -> list[int]:
        return [i for i, mine in self.rules.groups.items() if mine == group and i not in group]

    # --- retracts -------------------------------------------------------------------------------

    def _retract(self, key: _Key, current: Record | None) -> Record | None:
        """A -U or -D that may come now; None where none may."""
        kinds = self._legal.kinds(exists=current is not None, fresh=not key.records)
        if not kinds:
            return None
        kind = self.rng.choice(kinds)
        adds = [r for r in key.records if r.is_add]
        base = self.rng.choice(adds) if adds and self.rng.random() < 0.7 else None
        if current is not None and (kind == "-U" or self.rng.random() < 0.5):
            base = current if self._legal.faithful else base
        row = list(base.values) if base else [self._value(i) for i in range(len(self.rules.names))]
        if self._legal.blank_deletes:
            row = [
                None if nullable else value
                for value, nullable in zip(row, self.rules.nullable, strict=True)
            ]
        self._order(key, row, retracts=True)
        if self._legal.retires(kind):
            key.retired = True
        return self._take(key, kind, row)


def _ordering(
    types: Sequence[str],
    columns: Sequence[int],
    number: int | None,
    *,
    descending: bool = False,
    nulls: bool = True,
) -> list[Json]:
    if number is None:
        return [None] * len(columns)
    named = [types[i] for i in columns]
    return order_values(named, number, descending=descending, nulls=nulls)


class _Legal:
    """What a table of these rules may get in a history of this style."""

    def __init__(self, rules: Rules, cell: Cell, style: Style) -> None:
        self.rules, self.cell, self.style = rules, cell, style
        self.folds = rules.engine in ("partial-update", "aggregation")
        self.removes = any(
            rules.on(key)
            for key in (
                "aggregation.remove-record-on-delete",
                "partial-update.remove-record-on-delete",
            )
        ) or bool(rules.whole_row_groups)
        self._accepted = [kind for kind in ("-U", "-D") if self._accepts(kind)]
        # Where deletes may be kept or forgotten, what they hold must not matter.
        kept = cell.looks_up and not cell.vectors
        self.blank_deletes = (
            self.folds
            and (style == "steady" or (style == "stepwise" and kept))
            and (self.removes or bool(rules.groups))
        )
        self.faithful = self.folds

    def _accepts(self, kind: str) -> bool:
        """Whether the library takes such a record wherever it may be merged."""
        if self.rules.ignores_deletes:
            return True
        whole_row = self.rules.on("aggregation.remove-record-on-delete") and kind == "-D"
        if self._fragile() and not whole_row:
            return False
        add = Record("+I", 0, self._sample(5))
        late, new = (Record(kind, 0, self._sample(number)) for number in (1, 9))
        try:
            for records in ([add, late], [add, new], [late, add], [new, add]):
                merge(self.rules, records)
        except IllegalMerge:
            return False
        return True

    def _fragile(self) -> bool:
        """Whether a function takes rows back by an equality that rows of files do not have."""
        named = enumerate(self.rules.columns.items()) if self.folds else ()
        return any(
            self.rules.function(i) == "collect"
            and "ROW" in text
            and not self.rules.on(f"fields.{name}.distinct")
            and not self.rules.on(f"fields.{name}.ignore-retract")
            for i, (name, text) in named
        )

    def _sample(self, number: int) -> tuple[Json, ...]:
        """A row of that place in every group."""
        rng = random.Random(0)
        row = [column_value(rng, self.rules, i, tame=True) for i in range(len(self.rules.names))]
        types = list(self.rules.columns.values())
        for group in set(self.rules.groups.values()):
            for i, value in zip(group, _ordering(types, group, number), strict=True):
                row[i] = value
        return tuple(row)

    def kinds(self, *, exists: bool, fresh: bool) -> list[str]:
        """Kinds of retracts that a key may get now; ``fresh`` has no record yet."""
        if not self.folds or self.rules.ignores_deletes or self.style == "wild":
            return self._accepted
        if self.style == "stepwise" and not self.cell.looks_up:
            return self._accepted
        if not exists:
            # A key that is never added is none for all readers.
            return [kind for kind in self._accepted if fresh and self._removes_rows(kind)]
        if self.style == "stepwise":
            return self._accepted
        return [kind for kind in self._accepted if self._steady(kind)]

    def _steady(self, kind: str) -> bool:
        if self._removes_rows(kind):
            return True  # the key's last change, see `retires`
        if self.rules.engine == "partial-update":
            return bool(self.rules.groups) and not self._group_functions()
        if self.rules.sequence or self.removes:
            return False
        return all(
            self.rules.function(i) in ("sum", "last_value", "primary-key")
            or self.rules.on(f"fields.{name}.ignore-retract")
            for i, name in enumerate(self.rules.names)
        )

    def _group_functions(self) -> set[str]:
        """Functions of columns in groups."""
        found = {self.rules.function(i) for i in self.rules.groups}
        return {name for name in found if name is not None}

    def _removes_rows(self, kind: str) -> bool:
        return self.removes and kind == "-D"

    def retires(self, kind: str) -> bool:
        """Whether a key may have no change after this one."""
        if not self.folds or self.rules.ignores_deletes or self.style == "wild":
            return False
        if self.style == "stepwise":
            return False
        return self._removes_rows(kind)

    def late(self, key: _Key, current: Record | None) -> bool:
        """Whether a record may be older than its key by sequence.field."""
        if not key.records:
            return True
        if not self.folds:
            return current is not None
        if self.style == "wild":
            return True
        if self.style == "steady":
            return False
        return current is not None or not self.cell.looks_up

    def late_group(self, group: tuple[int, ...], *, retracts: bool) -> bool:
        """The same by a group's sequence."""
        if self.style == "wild":
            return True
        if self.removes or retracts:
            return False
        protected = {self.rules.function(i) for i, g in self.rules.groups.items() if g == group}
        return self.style == "stepwise" or protected <= _ORDERLESS_GROUPS
