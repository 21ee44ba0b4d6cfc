"""Merge engines as plain Python: what becomes of the records of one key, row by row.

Values are in the canonical encoding. `merge` is an engine's own function; around it lie the ways in
which the library calls it: `reduce` in plain rewrites and merged reads, `look_up` and
`look_up_changes` where compactions look keys up, `full_changes` in rewrites into the top level of
tables with the full-compaction producer, `first_row_changes` on the engine of that name.

Rules of Java 2.0; `tests/interop/test_merge_model.py` holds them against the library.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from .aggregate_model import Aggregator, IllegalMerge, aggregator, order_key
from .canonical import Json, ordered, parse_type
from .nested_model import is_unordered

__all__ = [
    "Changes",
    "IllegalMerge",
    "Record",
    "Rules",
    "feed_order",
    "first_row_changes",
    "full_changes",
    "look_up",
    "look_up_changes",
    "merge",
    "reduce",
]

ADDS = ("+I", "+U")
_IGNORE_DELETE = (
    "ignore-delete",
    "first-row.ignore-delete",
    "deduplicate.ignore-delete",
    "partial-update.ignore-delete",
)
_ON_GROUP = "partial-update.remove-record-on-sequence-group"
_GROUP_SUFFIX = ".sequence-group"
_NO_RECORD = "the library fails on a key of which nothing is left"


@dataclass(frozen=True, slots=True)
class Record:
    """One change of one key as files hold it; level 0 and below is what no compaction has seen."""

    kind: str
    sequence: int
    values: tuple[Json, ...]
    level: int = 0

    @property
    def is_add(self) -> bool:
        return self.kind in ADDS


@dataclass(frozen=True, slots=True)
class Changes:
    """What a compaction makes of one key: the record it keeps, if any, and the changelog."""

    kept: Record | None
    changelog: tuple[Record, ...] = ()


@dataclass(frozen=True)
class Rules:
    """A table's columns, keys and options, as far as they say how records are merged."""

    columns: Mapping[str, str]
    primary_keys: tuple[str, ...]
    options: Mapping[str, str]

    def on(self, key: str) -> bool:
        return self.options.get(key) == "true"

    @functools.cached_property
    def names(self) -> list[str]:
        return list(self.columns)

    @property
    def engine(self) -> str:
        return self.options.get("merge-engine", "deduplicate")

    @property
    def folds(self) -> bool:
        return self.engine in ("aggregation", "partial-update")

    @functools.cached_property
    def ignores_deletes(self) -> bool:
        return any(self.on(key) for key in _IGNORE_DELETE)

    @functools.cached_property
    def sequence(self) -> list[int]:
        """Positions of the sequence.field columns, in their order."""
        named = self.options.get("sequence.field", "")
        return [self.names.index(name) for name in named.split(",") if name]

    @functools.cached_property
    def groups(self) -> dict[int, tuple[int, ...]]:
        """By the position of a protected or sequence column: its group's sequence columns."""
        found: dict[int, tuple[int, ...]] = {}
        for key, value in self.options.items():
            if key.startswith("fields.") and key.endswith(_GROUP_SUFFIX):
                leaders = key.removeprefix("fields.").removesuffix(_GROUP_SUFFIX).split(",")
                group = tuple(self.names.index(name) for name in leaders)
                for name in [*leaders, *value.split(",")]:
                    found[self.names.index(name)] = group
        return found

    @functools.cached_property
    def whole_row_groups(self) -> set[int]:
        named = self.options.get(_ON_GROUP, "")
        return {self.names.index(name) for name in named.split(",") if name}

    def function(self, position: int) -> str | None:
        """The name of a column's aggregate function; None where partial-update has none."""
        name = self.names[position]
        aggregation = self.engine == "aggregation"
        if aggregation and position in self.sequence:
            return "last_value"
        if position in self.groups.get(position, ()):
            return None
        if name in self.primary_keys:
            return "primary-key"
        default = self.options.get("fields.default-aggregate-function")
        chosen = self.options.get(f"fields.{name}.aggregate-function", default)
        return chosen or ("last_non_null_value" if aggregation else None)

    @functools.cached_property
    def aggregators(self) -> dict[int, Aggregator]:
        named = {i: self.function(i) for i in range(len(self.names))}
        return {
            i: aggregator(self.names[i], self.columns[self.names[i]], name, self.options)
            for i, name in named.items()
            if name is not None
        }

    def rank(self, positions: Sequence[int], values: Sequence[Json], sign: int = 1) -> Any:
        """A sort key by these columns, nulls smallest; sign -1 turns the rest around."""
        return [
            _Rank(None if values[i] is None else order_key(self._kinds[i], values[i]), sign)
            for i in positions
        ]

    @functools.cached_property
    def _kinds(self) -> list[Any]:
        return [parse_type(text) for text in self.columns.values()]

    @functools.cached_property
    def nullable(self) -> list[bool]:
        """Per column; key columns never take nulls."""
        return [
            kind.nullable and name not in self.primary_keys
            for name, kind in zip(self.names, self._kinds, strict=True)
        ]

    @functools.cached_property
    def unordered(self) -> frozenset[int]:
        """Columns of arrays whose order means nothing."""
        named = {i: self.function(i) for i in range(len(self.names))} if self.folds else {}
        return frozenset(
            i
            for i, name in named.items()
            if name is not None and is_unordered(self.names[i], self._kinds[i], name, self.options)
        )

    def comparable(self, values: Sequence[Json]) -> tuple[Json, ...]:
        """A row in which nothing is left of orders that mean nothing."""
        return tuple(
            sorted(map(ordered, value), key=json.dumps)
            if i in self.unordered and isinstance(value, list)
            else ordered(value)
            for i, value in enumerate(values)
        )

    def plain(self, record: Record) -> Record:
        """A record as it is compared: `comparable`, and of no level."""
        return replace(record, level=0, values=self.comparable(record.values))

    @functools.cached_property
    def compared(self) -> list[int] | None:
        """The columns by which an update is told from no change; None where nobody asks."""
        if not self.on("changelog-producer.row-deduplicate"):
            return None
        ignored = self.options.get("changelog-producer.row-deduplicate-ignore-fields", "")
        left_out = ignored.split(",")
        return [i for i, name in enumerate(self.names) if name not in left_out]


@functools.total_ordering
@dataclass(frozen=True, slots=True)
class _Rank:
    key: tuple[object, ...] | None
    sign: int

    def __lt__(self, other: _Rank) -> bool:
        if self.key is None or other.key is None:
            return self.key is None and other.key is not None
        left, right = (self, other) if self.sign > 0 else (other, self)
        return bool(left.key < right.key)  # type: ignore[operator] # of one type


def feed_order(rules: Rules, records: Sequence[Record]) -> list[Record]:
    """The records of one key in the order in which readers hand them to the merge function."""
    descending = rules.options.get("sequence.field.sort-order") == "descending"
    sign = -1 if descending else 1
    return sorted(records, key=lambda r: (rules.rank(rules.sequence, r.values, sign), r.sequence))


# --- engines ------------------------------------------------------------------------------------


def merge(rules: Rules, records: Sequence[Record]) -> Record | None:
    """What the engine's function makes of one key's records, given in feed order.

    None is no record at all; a result of kind -D or -U is a deleted row. Raises IllegalMerge where
    the library raises.
    """
    for one in rules.aggregators.values() if rules.folds else ():
        one.reset()
    return _ENGINES[rules.engine](rules, records)


def _deduplicate(rules: Rules, records: Sequence[Record]) -> Record | None:
    seen = [r for r in records if r.is_add or not rules.ignores_deletes]
    return seen[-1] if seen else None


def _first_row(rules: Rules, records: Sequence[Record]) -> Record | None:
    if not rules.ignores_deletes and any(not r.is_add for r in records):
        raise IllegalMerge("first-row takes no deletes")
    adds = [r for r in records if r.is_add]
    return adds[0] if adds else None


def _aggregate(rules: Rules, records: Sequence[Record]) -> Record:
    row: list[Json] = [None] * len(rules.names)
    deleted = False
    for record in records:
        deleted = record.kind == "-D" and rules.on("aggregation.remove-record-on-delete")
        if deleted:
            row = _whole(rules, record)
            continue
        for i, one in rules.aggregators.items():
            fold = one.add if record.is_add else one.retract
            row[i] = fold(row[i], record.values[i])
    return Record("-D" if deleted else "+I", records[-1].sequence, tuple(row))


def _whole(rules: Rules, record: Record) -> list[Json]:
    """A row of a delete record's values."""
    for value, nullable in zip(record.values, rules.nullable, strict=True):
        if value is None and not nullable:
            raise IllegalMerge("null in a column that takes none")
    return list(record.values)


@dataclass
class _Partial:
    """The state of one key under partial-update."""

    rules: Rules
    row: list[Json]
    filled: bool = False
    added: bool = False
    deleted: bool = False
    sequence: int = 0

    def take(self, record: Record) -> None:
        self.deleted = False
        if record.is_add:
            self.sequence = record.sequence
            self._add_by_groups(record) if self.rules.groups else self._overlay(record)
            self.added = self.filled = True
            return
        if not self.filled:
            self.row, self.filled = _whole(self.rules, record), True
        if self.rules.ignores_deletes:
            return
        self.sequence = record.sequence
        if self.rules.groups:
            self._retract_by_groups(record)
        elif not self.rules.on("partial-update.remove-record-on-delete"):
            raise IllegalMerge("partial-update takes no deletes")
        elif record.kind == "-D":
            self.row, self.deleted = _whole(self.rules, record), True

    def _overlay(self, record: Record) -> None:
        for i, value in enumerate(record.values):
            if value is not None:
                self.row[i] = value
            elif not self.rules.nullable[i]:
                raise IllegalMerge("null in a column that takes none")

    def _compared(self, group: tuple[int, ...], record: Record) -> str:
        """Where the record stands to the row by a group's sequence: none, new or late."""
        if all(record.values[i] is None for i in group):
            return "none"
        new = self.rules.rank(group, record.values) >= self.rules.rank(group, self.row)
        return "new" if new else "late"

    def _standings(self, record: Record) -> dict[int, str]:
        """By column in a group, before anything of the record is taken in."""
        groups = self.rules.groups
        made = {group: self._compared(group, record) for group in set(groups.values())}
        return {i: made[group] for i, group in groups.items()}

    def _add_by_groups(self, record: Record) -> None:
        standings = self._standings(record)
        for i, value in enumerate(record.values):
            one = self.rules.aggregators.get(i)
            standing = standings.get(i)
            if standing is None and one is None:
                self.row[i] = self.row[i] if value is None else value
            elif standing in (None, "new"):
                self.row[i] = value if one is None else one.add(self.row[i], value)
            elif standing == "late" and one is not None:
                self.row[i] = one.late(self.row[i], value)

    def _retract_by_groups(self, record: Record) -> None:
        standings = self._standings(record)
        for i, group in sorted(self.rules.groups.items()):
            standing = standings[i]
            if i in group:
                if standing != "new":
                    continue
                if record.kind == "-D" and set(group) & self.rules.whole_row_groups:
                    self.row, self.deleted = _whole(self.rules, record), True
                    return
                self.row[i] = record.values[i]
            elif i in self.rules.aggregators and standing != "none":
                one = self.rules.aggregators[i]
                self.row[i] = one.retract(self.row[i], record.values[i])
            elif standing == "new":
                self.row[i] = None


def _partial_update(rules: Rules, records: Sequence[Record]) -> Record:
    state = _Partial(rules, [None] * len(rules.names))
    for record in records:
        state.take(record)
    kind = "-D" if state.deleted or not state.added else "+I"
    return Record(kind, state.sequence, tuple(state.row))


_ENGINES = {
    "deduplicate": _deduplicate,
    "first-row": _first_row,
    "aggregation": _aggregate,
    "partial-update": _partial_update,
}


# --- ways to call them --------------------------------------------------------------------------


def reduce(rules: Rules, records: Sequence[Record]) -> Record | None:
    """The same, but a lone record is passed on untouched, whatever its kind."""
    return records[0] if len(records) == 1 else merge(rules, records)


def _highest(records: Sequence[Record]) -> Record | None:
    """The record that stands for all compacted ones: that of the smallest level above 0."""
    above = [r for r in records if r.level > 0]
    return min(above, key=lambda r: r.level) if above else None


def look_up(rules: Rules, records: Sequence[Record]) -> Record | None:
    """`merge` of the records below level 1 and of one compacted record, lone ones too."""
    if rules.engine == "first-row":
        return merge(rules, records)  # it knows the levels itself
    high = _highest(records)
    return merge(rules, [r for r in records if r.level <= 0 or r is high])


def look_up_changes(rules: Rules, records: Sequence[Record], found: Record | None) -> Changes:
    """A key of a rewrite that moves level 0 up; ``found`` is what lies above the output level.

    The record kept may be a retract, which the caller drops where it may.
    """
    before = _highest(records)
    if before is None and found is not None:
        before = found
        records = feed_order(rules, [*records, found])
    after = look_up(rules, records)
    if all(r.level != 0 for r in records):
        return Changes(after)
    if after is None:
        raise IllegalMerge(_NO_RECORD)
    return Changes(after, _changelog(rules, before, after))


def _changelog(rules: Rules, before: Record | None, after: Record) -> tuple[Record, ...]:
    if before is None or not before.is_add:
        return (replace(after, kind="+I"),) if after.is_add else ()
    if not after.is_add:
        return (replace(before, kind="-D"),)
    compared = rules.compared
    if compared is not None and all(
        ordered(before.values[i]) == ordered(after.values[i]) for i in compared
    ):
        return ()
    return replace(before, kind="-U"), replace(after, kind="+U")


def full_changes(rules: Rules, records: Sequence[Record], top_level: int) -> Changes:
    """A key of a rewrite into the top level; what comes of retracts is dropped there."""
    top = next((r for r in records if r.level == top_level), None)
    merged = reduce(rules, records)
    if merged is None:
        raise IllegalMerge(_NO_RECORD)
    lone = len(records) == 1
    changelog = () if lone and top is not None else _top_changelog(rules, top, merged)
    return Changes(merged if merged.is_add else None, changelog)


def _top_changelog(rules: Rules, top: Record | None, merged: Record) -> tuple[Record, ...]:
    if top is None:
        return (replace(merged, kind="+I"),) if merged.is_add else ()
    return _changelog(rules, replace(top, kind="+I"), merged)


def first_row_changes(rules: Rules, records: Sequence[Record], *, exists: bool) -> Changes:
    """A key of a first-row rewrite; ``exists`` says whether it lies above the output level."""
    first = merge(rules, records)
    if any(r.is_add and r.level > 0 for r in records):
        return Changes(first)
    if first is None:
        raise IllegalMerge(_NO_RECORD)
    return Changes(None) if exists else Changes(first, (first,))
