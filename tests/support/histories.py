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
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from .canonical import Json, float_text, parse_type

__all__ = [
    "Batch",
    "History",
    "Limits",
    "Row",
    "Shape",
    "alike",
    "random_shape",
    "random_value",
]

Row = list[Json]
Batch = list[Row]
"""Rows as writers take them: a kind in front of the values."""

KEY_POOL = 40
SEQUENCE = "seq"

_INTEGER_BITS = {"TINYINT": 8, "SMALLINT": 16, "INT": 32, "BIGINT": 64}
_TEXTS = ("", "a", "b", "ba", "z", "é", "漢字", "\uffae", "😀", "𝔘nicode", "ab\u0000c", "z" * 80)
_PARTITION_TEXTS = ("2026-10-01", "größe 1", "a=b/c", "漢😀", "x%y", "1:2")
_DAY_MS = 86_400_000
_FIRST_DAY, _LAST_DAY = -719_162, 2_932_896  # 0001-01-01 .. 9999-12-31
_NANO_LIMIT_MS = 9_223_286_400_000  # whole days that 64 bits of nanoseconds hold, about 1970

KEY_TYPES = (
    "INT", "BIGINT", "SMALLINT", "TINYINT", "STRING", "VARCHAR(90)", "CHAR(90)", "DECIMAL(9, 2)",
    "DECIMAL(18, 3)", "DECIMAL(19, 0)", "DECIMAL(38, 10)", "TIMESTAMP(3)", "TIMESTAMP(6)",
    "TIMESTAMP(3) WITH LOCAL TIME ZONE", "TIMESTAMP(6) WITH LOCAL TIME ZONE", "DATE", "TIME(3)",
    "BINARY(16)", "VARBINARY(40)", "BYTES", "BOOLEAN", "DOUBLE", "FLOAT",
)  # fmt: skip
VALUE_TYPES = (*KEY_TYPES, "TIMESTAMP(9)", "TIMESTAMP(9) WITH LOCAL TIME ZONE", "TIME(0)")
PARTITION_TYPES = ("STRING", "DATE", "INT", "BIGINT", "TIMESTAMP(3)", "BOOLEAN", "TINYINT")
SEQUENCE_TYPES = ("INT", "BIGINT", "TIMESTAMP(3)", "TIMESTAMP(6)", "DOUBLE", "DECIMAL(20, 2)")

_WIDER = {
    "TINYINT": "SMALLINT",
    "SMALLINT": "INT",
    "INT": "BIGINT",
    "FLOAT": "DOUBLE",
    "DECIMAL(9, 2)": "DECIMAL(20, 2)",
    "DECIMAL(18, 3)": "DECIMAL(38, 3)",
    "VARCHAR(90)": "STRING",
}


@dataclass(frozen=True)
class Limits:
    """What a history must leave out for the sake of the libraries that take part in it."""

    without_types: frozenset[str] = frozenset()
    without_key_types: frozenset[str] = frozenset()
    without_partition_types: frozenset[str] = frozenset()
    partition_texts: tuple[str, ...] = _PARTITION_TEXTS
    plain_floats: bool = False  # no NaN, no zero and no minus zero
    null_partitions: bool = True
    repeats: bool = True  # a key more than once in one batch
    retracts: bool = True  # kinds other than +I
    descending: bool = True  # sequence.field.sort-order
    options: Mapping[str, Sequence[str]] = field(default_factory=dict[str, Sequence[str]])
    """Further table options, each with the values to choose from ("" leaves it out)."""


@dataclass(frozen=True)
class Shape:
    """How a table is created. Column types carry NOT NULL where it applies."""

    columns: Mapping[str, str]
    primary_keys: tuple[str, ...]
    partition_keys: tuple[str, ...]
    options: Mapping[str, str]

    @property
    def keyed(self) -> bool:
        return bool(self.primary_keys)

    @property
    def names(self) -> list[str]:
        return list(self.columns)

    @property
    def types(self) -> list[str]:
        return list(self.columns.values())

    @property
    def trimmed_keys(self) -> tuple[str, ...]:
        return tuple(k for k in self.primary_keys if k not in self.partition_keys)

    @property
    def sequence(self) -> str | None:
        return self.options.get("sequence.field")

    @property
    def descending(self) -> bool:
        return self.options.get("sequence.field.sort-order") == "descending"

    def roots(self, names: Iterable[str] | None = None) -> set[str]:
        """Root names of the types of these columns, all by default."""
        return {parse_type(self.columns[n]).root for n in (names or self.columns)}


# --- values -------------------------------------------------------------------------------------


def _integer(rng: random.Random, bits: int) -> int:
    top = 1 << (bits - 1)
    return rng.choice([rng.randrange(-top, top), rng.randrange(-50, 50), -top, top - 1, 0, -1])


def _float(rng: random.Random, *, single: bool, plain: bool) -> str:
    number = rng.choice([rng.uniform(-1e6, 1e6), rng.uniform(-1, 1) * 10.0 ** rng.randrange(30)])
    if not plain and rng.random() < 0.4:
        number = rng.choice([0.0, -0.0, float("nan"), float("inf"), float("-inf")])
    if single:
        number = struct.unpack("f", struct.pack("f", number))[0]
    return float_text(number)


def _decimal(rng: random.Random, precision: int, scale: int) -> str:
    limit = 10**precision - 1
    unscaled = rng.choice(
        [rng.randint(-limit, limit), rng.randint(-999, 999), limit, -limit, 0, -128, 128, -32768]
    )
    sign, digits = "-" if unscaled < 0 else "", f"{abs(unscaled):0{scale + 1}d}"
    return f"{sign}{digits[:-scale]}.{digits[-scale:]}" if scale else f"{sign}{digits}"


def _text(rng: random.Random, limit: int) -> str:
    return "".join(rng.choice(_TEXTS) for _ in range(rng.randrange(3)))[:limit]


def _moment(rng: random.Random, precision: int) -> dict[str, Json]:
    low, high = _FIRST_DAY * _DAY_MS, (_LAST_DAY + 1) * _DAY_MS - 1
    if precision > 6:
        low, high = -_NANO_LIMIT_MS, _NANO_LIMIT_MS
    ms = rng.choice([rng.randint(low, high), rng.randint(-5000, 5000), rng.randrange(2**41), low])
    step = 10 ** (9 - min(9, precision)) if precision > 3 else 10**6
    return {"ms": ms, "ns": rng.randrange(10**6 // step) * step if step < 10**6 else 0}


def _date(rng: random.Random) -> str:
    days = rng.choice([rng.randint(_FIRST_DAY, _LAST_DAY), rng.randint(-400, 400), _FIRST_DAY])
    return _date_text(days)


def _date_text(days: int) -> str:
    import datetime

    return datetime.date.fromordinal(days + 719_163).isoformat()


def random_value(rng: random.Random, type_text: str, *, plain_floats: bool = False) -> Json:
    """A value of the type, never null; often an extreme one."""
    kind = parse_type(type_text)
    made: dict[str, Callable[[], Any]] = {
        "BOOLEAN": lambda: rng.random() < 0.5,
        "FLOAT": lambda: _float(rng, single=True, plain=plain_floats),
        "DOUBLE": lambda: _float(rng, single=False, plain=plain_floats),
        "DECIMAL": lambda: _decimal(rng, kind.precision, kind.scale),
        "DATE": lambda: _date(rng),
        "TIME": lambda: rng.choice([0, _DAY_MS - 1, rng.randrange(_DAY_MS)]),
        "TIMESTAMP": lambda: _moment(rng, kind.precision),
        "TIMESTAMP_LTZ": lambda: _moment(rng, kind.precision),
        "BINARY": lambda: rng.randbytes(kind.precision).hex(),
        "VARBINARY": lambda: rng.randbytes(rng.randrange(kind.precision)).hex(),
        "BYTES": lambda: rng.choice([b"", b"\x00", b"\xff" * 9, rng.randbytes(12)]).hex(),
        "CHAR": lambda: _text(rng, kind.precision),
        "VARCHAR": lambda: _text(rng, kind.precision),
        "STRING": lambda: _text(rng, 1000),
    }
    if kind.root in _INTEGER_BITS:
        return _integer(rng, _INTEGER_BITS[kind.root])
    value: Json = made[kind.root]()
    if kind.root == "TIME" and kind.precision == 0 and isinstance(value, int):
        return value // 1000 * 1000
    return value


def _sequence_value(type_text: str, number: int) -> Json:
    root = parse_type(type_text).root
    if root in _INTEGER_BITS:
        return number
    if root == "DOUBLE":
        return float_text(number / 4)
    if root == "DECIMAL":
        return f"{number}.50" if number >= 0 else f"{number}.25"
    return {"ms": number, "ns": 0}


def alike(rows: Iterable[Sequence[Json]]) -> list[str]:
    """The rows as comparable texts, sorted: equal lists are equal multisets of rows."""
    return sorted(json.dumps(row, ensure_ascii=False, sort_keys=True) for row in rows)


# --- shapes -------------------------------------------------------------------------------------


def random_shape(rng: random.Random, limits: Limits, *, keyed: bool) -> Shape:
    """A table to create: its columns, keys and options."""
    keys = _key_columns(rng, limits) if keyed else {}
    partitions = _partition_columns(rng, limits, keyed=keyed)
    values = _value_columns(rng, limits)
    options = _options(rng, limits, keyed=keyed)
    sequence: dict[str, str] = {}
    if keyed and rng.random() < 0.35:
        sequence = {SEQUENCE: rng.choice(SEQUENCE_TYPES)}
        options["sequence.field"] = SEQUENCE
        if limits.descending and rng.random() < 0.3:
            options["sequence.field.sort-order"] = "descending"
    named = [*keys.items(), *partitions.items(), *values.items(), *sequence.items()]
    rng.shuffle(named)
    if not keyed and options["bucket"] != "-1":
        options["bucket-key"] = ",".join(rng.sample(list(values), min(len(values), 2)))
    trimmed = list(keys)
    primary = [*partitions, *trimmed] if rng.random() < 0.5 else [*trimmed, *partitions]
    return Shape(dict(named), tuple(primary) if keyed else (), tuple(partitions), options)


def _allowed(types: Sequence[str], without: frozenset[str]) -> list[str]:
    return [t for t in types if t not in without and parse_type(t).root not in without]


def _key_columns(rng: random.Random, limits: Limits) -> dict[str, str]:
    types = _allowed(KEY_TYPES, limits.without_types | limits.without_key_types)
    count = rng.choice([1, 1, 1, 2, 2, 3])
    chosen = [rng.choice(types) for _ in range(count)]
    if chosen == ["BOOLEAN"]:
        chosen.append(rng.choice(["INT", "STRING"]))
    return {f"k{i}": f"{text} NOT NULL" for i, text in enumerate(chosen)}


def _partition_columns(rng: random.Random, limits: Limits, *, keyed: bool) -> dict[str, str]:
    types = _allowed(PARTITION_TYPES, limits.without_partition_types)
    count = rng.choice([0, 0, 1, 1, 2])
    suffix = " NOT NULL" if keyed or not limits.null_partitions else ""
    return {f"p{i}": rng.choice(types) + suffix for i in range(count)}


def _value_columns(rng: random.Random, limits: Limits) -> dict[str, str]:
    types = _allowed(VALUE_TYPES, limits.without_types)
    count = rng.choice([1, 4, 8, 12])
    not_null = [" NOT NULL" if rng.random() < 0.1 else "" for _ in range(count)]
    return {f"v{i}" + "ä" * (i % 3): rng.choice(types) + not_null[i] for i in range(count)}


def _options(rng: random.Random, limits: Limits, *, keyed: bool) -> dict[str, str]:
    choices: dict[str, Sequence[str]] = {
        "bucket": ["1", "1", "2", "4"] if keyed else ["-1", "-1", "1", "3"],
        "num-sorted-run.compaction-trigger": ["", "2", "3"],
        "target-file-size": ["", "", "2 kb"],
        "metadata.stats-mode": ["", "full", "none", "counts", "truncate(3)"],
        "metadata.stats-dense-store": ["", "false"],
        "manifest.merge-min-count": ["", "2"],
        "file.compression": ["", "snappy", "none", "gzip"],
        "compaction.min.file-num": ["", "2"],
        **limits.options,
    }
    chosen = {key: rng.choice(values) for key, values in choices.items()}
    return {key: value for key, value in chosen.items() if value}


# --- histories ----------------------------------------------------------------------------------


@dataclass
class _Held:
    """The newest change of one key: its rank by `sequence.field`, and the row unless retracted."""

    rank: int
    row: Row | None


class History:
    """One table's life: draw a `batch` (which changes the model), compare with `expected`."""

    def __init__(self, seed: int, limits: Limits | None = None, *, keyed: bool = True) -> None:
        self.seed = seed
        self.rng = random.Random(seed)
        self.limits = limits or Limits()
        self.shape = random_shape(self.rng, self.limits, keyed=keyed)
        self.log: list[str] = []
        self._partitions = self._partition_pool()
        self._keys = [self._key() for _ in range(KEY_POOL)]
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
            return _date_text(self.rng.randrange(20_000, 20_003))
        if kind.root == "TIMESTAMP":
            return {"ms": self.rng.randrange(3) * 1_800_000 + 1_700_000_000_000, "ns": 0}
        if kind.root in ("INT", "BIGINT", "TINYINT"):
            return self.rng.randrange(-2, 3)
        return random_value(self.rng, type_text)

    def _key(self) -> dict[str, Json]:
        """A whole primary key by column."""
        plain = self.limits.plain_floats
        partition = self.rng.choice(self._partitions)
        made = dict(zip(self.shape.partition_keys, partition, strict=True))
        for name in self.shape.trimmed_keys:
            made[name] = random_value(self.rng, self.shape.columns[name], plain_floats=plain)
        return made

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
        return random_value(self.rng, type_text, plain_floats=self.limits.plain_floats)

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
            fixed[sequence] = _sequence_value(self.shape.columns[sequence], number)
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
        bound = {*self.shape.primary_keys, *self.shape.partition_keys, options.get("sequence.field")}
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
        text = self.rng.choice(_allowed(VALUE_TYPES, self.limits.without_types))
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
