"""Random table shapes and random values: which columns, keys and options a test's table has.

Values are in the canonical encoding of `support.canonical`; what is random comes from the caller's
generator alone, so a seed says everything.
"""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from .canonical import ColumnType, Json, float_text, parse_type

__all__ = [
    "INTEGER_BITS",
    "KEY_TYPES",
    "NESTED_TYPES",
    "VALUE_TYPES",
    "Limits",
    "Shape",
    "allowed",
    "date_text",
    "random_shape",
    "random_value",
    "sequence_value",
]

SEQUENCE = "seq"

INTEGER_BITS = {"TINYINT": 8, "SMALLINT": 16, "INT": 32, "BIGINT": 64}
_TEXTS = ("", "a", "b", "ba", "z", "é", "漢字", "\uffae", "😀", "𝔘nicode", "ab\u0000c", "z" * 80)
_PARTITION_TEXTS = ("2026-10-01", "größe 1", "a=b/c", "漢😀", "x%y", "1:2")
_DAY_MS = 86_400_000
_EPOCH_DAY = date(1970, 1, 1).toordinal()
_FIRST_DAY, _LAST_DAY = 1 - _EPOCH_DAY, date.max.toordinal() - _EPOCH_DAY
_NANO_LIMIT_MS = 9_223_286_400_000  # whole days that 64 bits of nanoseconds hold, about 1970

KEY_TYPES = (
    "INT", "BIGINT", "SMALLINT", "TINYINT", "STRING", "VARCHAR(90)", "CHAR(90)", "DECIMAL(9, 2)",
    "DECIMAL(18, 3)", "DECIMAL(19, 0)", "DECIMAL(38, 10)", "TIMESTAMP(3)", "TIMESTAMP(6)",
    "TIMESTAMP(3) WITH LOCAL TIME ZONE", "TIMESTAMP(6) WITH LOCAL TIME ZONE", "DATE", "TIME(3)",
    "BINARY(16)", "VARBINARY(40)", "BYTES", "BOOLEAN", "DOUBLE", "FLOAT",
)  # fmt: skip
NESTED_TYPES = (
    "ARRAY<INT>", "ARRAY<STRING NOT NULL>", "ARRAY<ARRAY<DECIMAL(9, 2)>>", "MAP<STRING, INT>",
    "MAP<DATE, ARRAY<DECIMAL(20, 3)>>", "MAP<INT, ROW<t TIME(3), l ARRAY<BOOLEAN>>>",
    "MULTISET<STRING>", "ROW<a INT, b ROW<c STRING, d TIMESTAMP(6)>>",
    "ARRAY<ROW<x DOUBLE, y BYTES NOT NULL>>", "ROW<n ARRAY<TIMESTAMP(9)>>",
    "ROW<m MAP<BIGINT, STRING>, `größe 1` FLOAT NOT NULL>",
)  # fmt: skip
VALUE_TYPES = (
    *KEY_TYPES, "TIMESTAMP(9)", "TIMESTAMP(9) WITH LOCAL TIME ZONE", "TIME(0)", *NESTED_TYPES,
)  # fmt: skip
PARTITION_TYPES = ("STRING", "DATE", "INT", "BIGINT", "TIMESTAMP(3)", "BOOLEAN", "TINYINT")
SEQUENCE_TYPES = ("INT", "BIGINT", "TIMESTAMP(3)", "TIMESTAMP(6)", "DOUBLE", "DECIMAL(20, 2)")


@dataclass(frozen=True)
class Limits:
    """What a history must leave out for the sake of the libraries that take part in it."""

    without_types: frozenset[str] = frozenset()
    without_key_types: frozenset[str] = frozenset()
    without_partition_types: frozenset[str] = frozenset()
    partition_texts: tuple[str, ...] = _PARTITION_TEXTS
    plain_float_keys: bool = False  # no NaN, no infinity and no zero in keys
    round_decimal_keys: bool = True  # -2^(8n-1), where a byte more or less is a matter of care
    null_partitions: bool = True
    repeats: bool = True  # a key more than once in one batch
    retracts: bool = True  # kinds other than +I
    descending: bool = True  # sequence.field.sort-order
    value_columns: tuple[int, ...] = (1, 4, 8, 12)  # how many
    fat: bool = False  # a column besides that makes files as large as their row counts
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
    return date_text(days)


def date_text(days: int) -> str:
    return date.fromordinal(days + _EPOCH_DAY).isoformat()


def random_value(rng: random.Random, type_text: str, *, plain_floats: bool = False) -> Json:
    """A value of the type, never null; often an extreme one."""
    return _value(rng, parse_type(type_text), plain_floats=plain_floats)


def _value(rng: random.Random, kind: ColumnType, *, plain_floats: bool = False) -> Json:
    if kind.parts:
        return _nested(rng, kind)
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
    if kind.root in INTEGER_BITS:
        return _integer(rng, INTEGER_BITS[kind.root])
    value: Json = made[kind.root]()
    if kind.root == "TIME" and kind.precision == 0 and isinstance(value, int):
        return value // 1000 * 1000
    return value


def _nested(rng: random.Random, kind: ColumnType) -> Json:
    if kind.root == "ROW":
        return {"row": [_maybe(rng, part) for part in kind.inner]}
    count = rng.choice([0, 1, 1, 2, 3, 40])
    if kind.root == "ARRAY":
        return [_maybe(rng, kind.inner[0]) for _ in range(count)]
    keys = [_value(rng, kind.inner[0]) for _ in range(count)]
    distinct = {json.dumps(key): key for key in keys}
    return {"map": [[key, _maybe(rng, kind.inner[1])] for key in distinct.values()]}


def _maybe(rng: random.Random, kind: ColumnType) -> Json:
    return None if kind.nullable and rng.random() < 0.2 else _value(rng, kind)


def sequence_value(type_text: str, number: int) -> Json:
    root = parse_type(type_text).root
    if root in INTEGER_BITS:
        return number
    if root == "DOUBLE":
        return float_text(number / 4)
    if root == "DECIMAL":
        return f"{number}.50" if number >= 0 else f"{number}.25"
    return {"ms": number, "ns": 0}


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
        flat = [name for name, text in values.items() if not parse_type(text).parts]
        if not flat:
            flat = ["v"]
            named.append(("v", "INT"))
        options["bucket-key"] = ",".join(rng.sample(flat, min(len(flat), 2)))
    trimmed = list(keys)
    primary = [*partitions, *trimmed] if rng.random() < 0.5 else [*trimmed, *partitions]
    return Shape(dict(named), tuple(primary) if keyed else (), tuple(partitions), options)


def allowed(types: Sequence[str], without: frozenset[str]) -> list[str]:
    return [t for t in types if t not in without and parse_type(t).root not in without]


def _key_columns(rng: random.Random, limits: Limits) -> dict[str, str]:
    types = allowed(KEY_TYPES, limits.without_types | limits.without_key_types)
    count = rng.choice([1, 1, 1, 2, 2, 3])
    chosen = [rng.choice(types) for _ in range(count)]
    if chosen == ["BOOLEAN"]:
        chosen.append(rng.choice(["INT", "STRING"]))
    return {f"k{i}": f"{text} NOT NULL" for i, text in enumerate(chosen)}


def _partition_columns(rng: random.Random, limits: Limits, *, keyed: bool) -> dict[str, str]:
    types = allowed(PARTITION_TYPES, limits.without_partition_types)
    count = rng.choice([0, 0, 1, 1, 2])
    suffix = " NOT NULL" if keyed or not limits.null_partitions else ""
    return {f"p{i}": rng.choice(types) + suffix for i in range(count)}


def _value_columns(rng: random.Random, limits: Limits) -> dict[str, str]:
    types = allowed(VALUE_TYPES, limits.without_types)
    count = rng.choice(limits.value_columns)
    not_null = [" NOT NULL" if rng.random() < 0.1 else "" for _ in range(count)]
    fat = {"fat": "VARBINARY(300)"} if limits.fat else {}
    return {f"v{i}" + "ä" * (i % 3): rng.choice(types) + not_null[i] for i in range(count)} | fat


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
