"""Seeded random histories of tables: a shape, batches of changes, and what a reader must see.

A history is made from its seed alone. It knows nothing of desilt: rows are in the canonical
encoding of `support.canonical`, and the model is a plain dict (keyed) or list (append tables) of
them. Whoever plays a history asks for a batch, has some library write it, and compares what some
library reads with `expected`.

Two rules keep the outcome defined: one writer at a time, and rows whose `sequence.field` values
never tie, always above that of a deleted row (a compaction may forget the delete).
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from .canonical import Json, ordered, parse_type
from .shapes import (
    VALUE_TYPES,
    Limits,
    Shape,
    allowed,
    date_text,
    random_shape,
    random_value,
    sequence_value,
)

__all__ = ["Batch", "History", "Row", "alike"]

Row = list[Json]
Batch = list[Row]
"""Rows as writers take them: a kind in front of the values."""

KEY_POOL, DEEP_KEY_POOL = 40, 600
DEEP_OPTIONS = {
    "bucket": ["1"],
    "num-sorted-run.compaction-trigger": ["2", "3"],
    "compaction.max-size-amplification-percent": ["10000"],
}

_WIDER = {
    "TINYINT": "SMALLINT",
    "SMALLINT": "INT",
    "INT": "BIGINT",
    "FLOAT": "DOUBLE",
    "DECIMAL(9, 2)": "DECIMAL(20, 2)",
    "DECIMAL(18, 3)": "DECIMAL(38, 3)",
    "VARCHAR(90)": "STRING",
}


def alike(rows: Iterable[Sequence[Json]]) -> list[str]:
    """The rows as comparable texts, sorted: equal lists are equal multisets of rows."""
    texts = (json.dumps(ordered(list(row)), ensure_ascii=False, sort_keys=True) for row in rows)
    return sorted(texts)


# --- histories ----------------------------------------------------------------------------------


def _is_round(decimal: str) -> bool:
    """Whether the unscaled number is -2^(8n-1), the least of n bytes."""
    unscaled = -int(decimal.replace(".", ""))
    return unscaled > 0 and unscaled.bit_count() == 1 and unscaled.bit_length() % 8 == 0


def _deepened(limits: Limits) -> Limits:
    options = {**limits.options, **DEEP_OPTIONS}
    return replace(limits, options=options, value_columns=(1, 4), fat=True)


@dataclass
class _Held:
    """The newest change of one key: its rank by `sequence.field`, and the row unless retracted."""

    rank: int
    row: Row | None


class History:
    """One table's life: draw a `batch` (which changes the model), compare with `expected`.

    A `deep` one begins with a large batch, to be compacted fully; the small ones that follow are
    then merged into levels between, and what they retract is below.
    """

    def __init__(
        self,
        seed: int,
        limits: Limits | None = None,
        *,
        keyed: bool = True,
        shape: Shape | None = None,
    ) -> None:
        self.seed = seed
        self.rng = random.Random(seed)
        self.limits = limits or Limits()
        self.deep = keyed and shape is None and self.rng.random() < 0.35
        if self.deep:
            self.limits = _deepened(self.limits)
        self.shape = shape or random_shape(self.rng, self.limits, keyed=keyed)
        self.log: list[str] = []
        self._partitions = self._partition_pool()
        pool = DEEP_KEY_POOL if self.deep else KEY_POOL
        self._keys = [self._key() for _ in range(pool)]
        self._begun = False
        self._held: dict[str, _Held] = {}
        self._appended: list[Row] = []
        self._used: set[int] = set()

    def __str__(self) -> str:
        return f"seed {self.seed}: {self.shape}\n" + "\n".join(self.log)

    def note(self, step: str) -> None:
        """Remembers a step for the text of a failure."""
        self.log.append(step)

    @property
    def expected(self) -> list[str]:
        """What a reader must find now (see `alike`)."""
        if not self.shape.keyed:
            return alike(self._appended)
        return alike(held.row for held in self._held.values() if held.row is not None)

    def batch(self, *, retracts: bool = True, repeats: bool = True) -> Batch:
        """New rows, each behind its kind; the model has taken them in."""
        count = self.rng.choice([1, 5, 20, 60])
        if self.deep:
            count = 9 if self._begun else len(self._keys)
            self._begun = True
        if not self.shape.keyed:
            rows = [self._row({}) for _ in range(count)]
            self._appended += rows
            return [["+I", *row] for row in rows]
        keys = [self.rng.choice(self._keys) for _ in range(count)]
        if not (repeats and self.limits.repeats):
            keys = list({json.dumps(key): key for key in keys}.values())
        retracts = retracts and self.limits.retracts
        return [self._change(key, retracts=retracts) for key in keys]

    def deletes(self) -> list[Row]:
        """Keys to delete (each with all values of a row); the model has forgotten them."""
        keys = self.rng.sample(self._keys, self.rng.randrange(1, 8))
        distinct = {json.dumps(key): key for key in keys}
        return [self._change(key, retracts=True, kind="-D")[1:] for key in distinct.values()]

    def evolve(self) -> list[dict[str, Any]]:
        """Changes of the schema for `Peer.alter`; shape and model have followed."""
        changes: list[dict[str, Any]] = []
        for step in self.rng.sample([self._add, self._rename, self._drop, self._widen], 3):
            change = step()
            if change is not None:
                changes.append(change)
        return changes

    # --- rows -----------------------------------------------------------------------------------

    def _partition_pool(self) -> list[Row]:
        types = [self.shape.columns[name] for name in self.shape.partition_keys]
        return [[self._partition_value(text) for text in types] for _ in range(3)]

    def _partition_value(self, type_text: str) -> Json:
        kind = parse_type(type_text)
        if kind.nullable and self.rng.random() < 0.3:
            return None
        if kind.root == "STRING":
            return self.rng.choice(self.limits.partition_texts)
        if kind.root == "DATE":
            return date_text(self.rng.randrange(20_000, 20_003))
        if kind.root == "TIMESTAMP":
            return {"ms": self.rng.randrange(3) * 1_800_000 + 1_700_000_000_000, "ns": 0}
        if kind.root in ("INT", "BIGINT", "TINYINT"):
            return self.rng.randrange(-2, 3)
        return random_value(self.rng, type_text)

    def _key(self) -> dict[str, Json]:
        """A whole primary key by column."""
        partition = self.rng.choice(self._partitions)
        made = dict(zip(self.shape.partition_keys, partition, strict=True))
        for name in self.shape.trimmed_keys:
            made[name] = self._key_value(self.shape.columns[name])
        return made

    def _key_value(self, type_text: str) -> Json:
        plain = self.limits.plain_float_keys
        value = random_value(self.rng, type_text, plain_floats=plain)
        if parse_type(type_text).root == "DECIMAL" and not self.limits.round_decimal_keys:
            while _is_round(str(value)):
                value = random_value(self.rng, type_text)
        return value

    def _row(self, fixed: Mapping[str, Json]) -> Row:
        if not self.shape.keyed:
            partition = self.rng.choice(self._partitions)
            fixed = dict(zip(self.shape.partition_keys, partition, strict=True))
        return [
            fixed[name] if name in fixed else self._value(text)
            for name, text in self.shape.columns.items()
        ]

    def _value(self, type_text: str) -> Json:
        if parse_type(type_text).nullable and self.rng.random() < 0.15:
            return None
        return random_value(self.rng, type_text)

    def _change(self, key: Mapping[str, Json], *, retracts: bool, kind: str | None = None) -> Row:
        text = json.dumps(key, sort_keys=True)
        if kind is None:
            kinds = ["+I"] * 8 + ["+U"] * 2 + ["-D"] * 3 + ["-U"] if retracts else ["+I"]
            kind = self.rng.choice(kinds)
        held = self._held.get(text)
        number = self._sequence_number(held)
        fixed = dict(key)
        sequence = self.shape.sequence
        if sequence is not None:
            fixed[sequence] = sequence_value(self.shape.columns[sequence], number)
        row = self._row(fixed)
        rank = -number if self.shape.descending else number
        if sequence is None or held is None or rank > held.rank:
            self._held[text] = _Held(rank, row if kind in ("+I", "+U") else None)
        return [kind, *row]

    def _sequence_number(self, held: _Held | None) -> int:
        """A number never used before, which outranks that of a retracted row."""
        while True:
            number = self.rng.randrange(-100_000, 100_000)
            if held is not None and held.row is None:
                step = self.rng.randrange(1, 1000)
                number = -(held.rank + step) if self.shape.descending else held.rank + step
            if number not in self._used:
                self._used.add(number)
                return number

    # --- schema ---------------------------------------------------------------------------------

    def _plain_columns(self) -> list[str]:
        """Columns that are no key of any kind."""
        options = self.shape.options
        bound = {
            *self.shape.primary_keys,
            *self.shape.partition_keys,
            options.get("sequence.field"),
        }
        bound |= set(options.get("bucket-key", "").split(","))
        return [name for name in self.shape.columns if name not in bound]

    def _rows(self) -> list[Row]:
        held = [h.row for h in self._held.values() if h.row is not None]
        return held if self.shape.keyed else self._appended

    def _reshape(self, columns: Mapping[str, str]) -> None:
        self.shape = replace(self.shape, columns=columns)

    def _fresh_name(self) -> str:
        return f"n{self.rng.randrange(10**6)}"

    def _add(self) -> dict[str, Any]:
        name = self._fresh_name()
        text = self.rng.choice(allowed(VALUE_TYPES, self.limits.without_types))
        for row in self._rows():
            row.append(None)
        self._reshape({**self.shape.columns, name: text})
        return {"op": "add", "name": name, "type": text}

    def _rename(self) -> dict[str, Any] | None:
        columns = self._plain_columns()
        if not columns:
            return None
        old, new = self.rng.choice(columns), self._fresh_name()
        self._reshape({new if k == old else k: v for k, v in self.shape.columns.items()})
        return {"op": "rename", "from": old, "to": new}

    def _drop(self) -> dict[str, Any] | None:
        columns = self._plain_columns()
        if len(columns) < 2:
            return None
        name = self.rng.choice(columns)
        at = self.shape.names.index(name)
        for row in self._rows():
            del row[at]
        self._reshape({k: v for k, v in self.shape.columns.items() if k != name})
        return {"op": "drop", "name": name}

    def _widen(self) -> dict[str, Any] | None:
        narrow = [n for n in self._plain_columns() if self.shape.columns[n] in _WIDER]
        if not narrow:
            return None
        name = self.rng.choice(narrow)
        wide = _WIDER[self.shape.columns[name]]
        self._reshape({**self.shape.columns, name: wide})
        return {"op": "type", "name": name, "type": wide}
