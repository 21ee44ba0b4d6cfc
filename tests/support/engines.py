"""Random tables of every merge engine: columns, keys and the options that say how rows are merged.

A table is described by `Rules` (what merging needs) or by `Shape` (what creating one needs); both
come from the caller's generator alone, so a seed says everything. What is drawn is always accepted
by the library; which changes such a table may get is the matter of `support.engine_histories`.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .canonical import ColumnType, parse_type
from .engine_model import Rules
from .engine_values import column_value
from .shapes import INTEGER_BITS, NESTED_TYPES, VALUE_TYPES, Shape

__all__ = [
    "ENGINES",
    "FUNCTION_TYPES",
    "PRODUCERS",
    "Cell",
    "column_value",
    "engine_shape",
    "random_rules",
    "rules_of",
]

ENGINES = ("deduplicate", "partial-update", "aggregation", "first-row")
PRODUCERS = ("none", "input", "lookup", "full-compaction")


@dataclass(frozen=True, slots=True, order=True)
class Cell:
    """A row of the support matrix."""

    engine: str
    producer: str
    vectors: bool

    def __str__(self) -> str:
        return f"{self.engine}-{self.producer}{'-vectors' if self.vectors else ''}"

    @property
    def looks_up(self) -> bool:
        """Whether every compaction moves all of level 0 up, and looks for what lies above it."""
        return self.vectors or self.producer == "lookup" or self.engine == "first-row"

    @property
    def options(self) -> dict[str, str]:
        made = {"merge-engine": self.engine, "changelog-producer": self.producer}
        return made | ({"deletion-vectors.enabled": "true"} if self.vectors else {})


_NUMBERS = (
    *INTEGER_BITS,
    "FLOAT",
    "DOUBLE",
    "DECIMAL(9, 2)",
    "DECIMAL(5, 0)",
    "DECIMAL(18, 3)",
    "DECIMAL(38, 10)",
)
_ROW = "ROW<a INT, b STRING, s INT>"
_COMPARABLE = tuple(text for text in VALUE_TYPES if text not in ("BOOLEAN", *NESTED_TYPES))

FUNCTION_TYPES: Mapping[str, Sequence[str]] = {
    "sum": _NUMBERS,
    "product": _NUMBERS,
    "max": _COMPARABLE,
    "min": _COMPARABLE,
    "last_value": VALUE_TYPES,
    "last_non_null_value": VALUE_TYPES,
    "first_value": VALUE_TYPES,
    "first_non_null_value": VALUE_TYPES,
    "first_not_null_value": VALUE_TYPES,
    "listagg": ("STRING",),
    "bool_and": ("BOOLEAN",),
    "bool_or": ("BOOLEAN",),
    "collect": ("ARRAY<INT>", "ARRAY<STRING>", "ARRAY<DECIMAL(9, 2)>", f"ARRAY<{_ROW}>"),
    "merge_map": ("MAP<STRING, INT>", "MAP<INT, STRING>"),
    "merge_map_with_keytime": ("MAP<STRING, ROW<v INT, t STRING>>",),
    "nested_update": (f"ARRAY<{_ROW}>",),
    "nested_partial_update": (f"ARRAY<{_ROW}>",),
    "rbm32": ("BYTES",),
}
"""By aggregate function: the column types it takes."""

RETRACTABLE = (
    *("sum", "product", "last_value", "last_non_null_value"),
    *("collect", "merge_map", "nested_update"),
)

_NULL_KEYS = ("", "merge", "ignore")
SEQUENCE_TYPES = ("INT", "BIGINT", "TIMESTAMP(3)", "DOUBLE", "DECIMAL(20, 2)", "STRING")


_KEY_TYPES = ("INT", "BIGINT", "STRING", "DATE", "TIMESTAMP(3)", "DECIMAL(9, 2)", "VARBINARY(40)")
_TABLE_OPTIONS: Mapping[str, Sequence[str]] = {
    "bucket": ("1", "1", "2"),
    "num-sorted-run.compaction-trigger": ("2", "2", "3"),
    # Else whatever is above a small bottom run is always merged into it.
    "compaction.max-size-amplification-percent": ("", "100000", "100000"),
    "target-file-size": ("", "", "2 kb"),
    "file.compression": ("", "", "snappy"),
}
_VECTOR_OPTIONS: Mapping[str, Sequence[str]] = {
    "deletion-vectors.bitmap64": ("", "", "true"),
    "deletion-vectors.merge-on-read": ("", "", "true"),
}


def random_rules(rng: random.Random, engine: str) -> Rules:
    """A table of the engine, with a key of one INT column."""
    options = {"merge-engine": engine}
    drawn = _drawn(rng, options)
    named = [("k", "INT NOT NULL"), *drawn.items()]
    rng.shuffle(named)
    _row_deduplicate(rng, options, drawn)
    return Rules(dict(named), ("k",), options)


def engine_shape(rng: random.Random, cell: Cell) -> Shape:
    """A table of a matrix row, with one or two key columns, sometimes partitioned."""
    options = cell.options
    values = _drawn(rng, options)
    keys = {f"k{i}": f"{rng.choice(_KEY_TYPES)} NOT NULL" for i in range(rng.choice([1, 1, 2]))}
    partitions = {"p": "INT NOT NULL"} if rng.random() < 0.3 else {}
    named = [*keys.items(), *partitions.items(), *values.items()]
    rng.shuffle(named)
    if cell.producer in ("lookup", "full-compaction"):
        _row_deduplicate(rng, options, values)
    for key, choices in [
        *_TABLE_OPTIONS.items(),
        *(_VECTOR_OPTIONS.items() if cell.vectors else ()),
    ]:
        chosen = rng.choice(choices)
        if chosen:
            options[key] = chosen
    return Shape(dict(named), (*partitions, *keys), tuple(partitions), options)


def rules_of(shape: Shape) -> Rules:
    return Rules(shape.columns, shape.primary_keys, shape.options)


def _drawn(rng: random.Random, options: dict[str, str]) -> dict[str, str]:
    """Columns that are no keys; the options that they need are added."""
    draw = {
        "deduplicate": _plain,
        "first-row": _plain,
        "aggregation": _aggregation,
        "partial-update": _partial_update,
    }
    return draw[options["merge-engine"]](rng, options)


def _row_deduplicate(
    rng: random.Random, options: dict[str, str], columns: Mapping[str, str]
) -> None:
    """Sometimes; never where the library's idea of equal rows depends on how it holds them."""
    unclear = Rules(columns, (), options).unordered or any(
        _is_unclear(parse_type(text)) for text in columns.values()
    )
    if unclear or rng.random() < 0.5:
        return
    options["changelog-producer.row-deduplicate"] = "true"
    if rng.random() < 0.3:
        ignored = rng.sample(list(columns), min(2, len(columns)))
        options["changelog-producer.row-deduplicate-ignore-fields"] = ",".join(ignored)


def _is_unclear(kind: ColumnType) -> bool:
    """Whether equal values may count as changed.

    Nulls in arrays are equal only as bytes, and numbers in maps only as objects.
    """
    nulls = kind.root == "ARRAY" and kind.inner[0].nullable
    return nulls or kind.root in ("MAP", "MULTISET") or any(map(_is_unclear, kind.inner))


# --- columns ------------------------------------------------------------------------------------


def _some(
    rng: random.Random, prefix: str, *, low: int = 1, not_null: float = 0.0
) -> dict[str, str]:
    count = rng.randint(low, 4)
    return {
        f"{prefix}{i}": rng.choice(VALUE_TYPES) + (" NOT NULL" if rng.random() < not_null else "")
        for i in range(count)
    }


def _sequence(rng: random.Random, options: dict[str, str], chance: float) -> dict[str, str]:
    """Columns of sequence.field, one or two or none."""
    if rng.random() >= chance:
        return {}
    columns = {f"s{i}": rng.choice(SEQUENCE_TYPES) for i in range(rng.choice([1, 1, 2]))}
    options["sequence.field"] = ",".join(columns)
    if rng.random() < 0.3:
        options["sequence.field.sort-order"] = "descending"
    return columns


def _plain(rng: random.Random, options: dict[str, str]) -> dict[str, str]:
    if rng.random() < 0.3:
        options["ignore-delete"] = "true"
    chance = 0.5 if options["merge-engine"] == "deduplicate" else 0.0
    return {**_some(rng, "v", not_null=0.1), **_sequence(rng, options, chance)}


def _aggregation(rng: random.Random, options: dict[str, str]) -> dict[str, str]:
    removes = rng.random() < 0.3
    if removes:
        options["aggregation.remove-record-on-delete"] = "true"
    columns: dict[str, str] = {}
    for i in range(rng.randint(2, 6)):
        columns[f"a{i}"] = _aggregated(rng, options, f"a{i}", may_ignore=not removes)
    if rng.random() < 0.3:
        options["fields.default-aggregate-function"] = rng.choice(
            ["last_value", "last_non_null_value", "first_value", "first_non_null_value"]
        )
    if rng.random() < 0.5:
        columns |= _some(rng, "v")
    return {**columns, **_sequence(rng, options, 0.4)}


def _aggregated(rng: random.Random, options: dict[str, str], name: str, *, may_ignore: bool) -> str:
    """Gives the column a function; its type."""
    function = rng.choice([*FUNCTION_TYPES, *RETRACTABLE])
    options[f"fields.{name}.aggregate-function"] = function
    if function not in RETRACTABLE and may_ignore and rng.random() < 0.6:
        options[f"fields.{name}.ignore-retract"] = "true"
    for suffix, value in _function_options(rng, function).items():
        options[f"fields.{name}.{suffix}"] = value
    return rng.choice(FUNCTION_TYPES[function])


def _function_options(rng: random.Random, function: str) -> dict[str, str]:
    """What a column says besides the name of its function, by the part after its own name."""
    choices: dict[str, Sequence[str]] = {}
    if function == "listagg":
        choices = {"list-agg-delimiter": ("", "", ";", "--", " "), "distinct": ("", "true")}
    elif function == "collect":
        choices = {"distinct": ("", "true")}
    elif function == "merge_map_with_keytime":
        choices = {"ts-field": ("", "t")}
    elif function == "nested_partial_update":
        choices = {"nested-key": ("a", "a,b"), "nested-key-null-strategy": _NULL_KEYS}
    elif function == "nested_update" and rng.random() < 0.6:
        choices = {
            "nested-key": ("a", "a,b"),
            "nested-key-null-strategy": _NULL_KEYS,
            "nested-sequence-field": ("", "s", "s,b"),
        }
    elif function == "nested_update":
        choices = {"count-limit": ("", "3", "4")}
    drawn = {suffix: rng.choice(values) for suffix, values in choices.items()}
    return {suffix: value for suffix, value in drawn.items() if value}


def _partial_update(rng: random.Random, options: dict[str, str]) -> dict[str, str]:
    columns = _some(rng, "v", not_null=0.1)
    if rng.random() < 0.4:
        choice = rng.choice(["", "ignore-delete", "partial-update.remove-record-on-delete"])
        if choice:
            options[choice] = "true"
    else:
        columns |= _groups(rng, options)
    return {**columns, **_sequence(rng, options, 0.3)}


def _groups(rng: random.Random, options: dict[str, str]) -> dict[str, str]:
    columns: dict[str, str] = {}
    leaders: list[list[str]] = []
    for number in range(rng.choice([1, 2])):
        led = [f"g{number}{i}" for i in range(rng.choice([1, 1, 2]))]
        columns |= {name: rng.choice(SEQUENCE_TYPES) for name in led}
        protected = _some(rng, f"p{number}")
        for name in protected:
            if rng.random() < 0.5:
                protected[name] = _aggregated(rng, options, name, may_ignore=True)
        options[f"fields.{','.join(led)}.sequence-group"] = ",".join(protected)
        columns |= protected
        leaders.append(led)
    choice = rng.choice(["", "", "ignore-delete", "partial-update.remove-record-on-sequence-group"])
    if choice:
        options[choice] = "true" if choice == "ignore-delete" else rng.choice(leaders[-1])
    return columns
