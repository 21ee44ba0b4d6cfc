"""Nested types of any shape: as text and JSON, through files, and laid out anew by field ids."""

from __future__ import annotations

import random
import tempfile
from itertools import count
from pathlib import Path
from typing import Any

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st
from support.builders import keyed_table
from support.canonical import Json, ordered
from support.frames import column_of, wire_of
from support.histories import alike
from support.shapes import random_value

from desilt.table.datatypes import (
    DataType,
    Field,
    Root,
    array_of,
    dump_type,
    map_of,
    multiset_of,
    numbered,
    parse_type,
    row_of,
    to_polars,
    type_text,
)
from desilt.table.nested import reshaped

FLAT = (
    "INT", "BIGINT NOT NULL", "STRING", "VARCHAR(90) NOT NULL", "BYTES", "DECIMAL(9, 2)", "BOOLEAN",
    "DECIMAL(38, 10) NOT NULL", "DATE", "TIME(3)", "TIMESTAMP(3)", "TIMESTAMP(6) NOT NULL",
    "TIMESTAMP(9)", "DOUBLE", "FLOAT NOT NULL",
)  # fmt: skip
KEYS = ("INT", "STRING NOT NULL", "DECIMAL(9, 2)", "DATE", "TIMESTAMP(6)", "BIGINT NOT NULL")


def _extended(inner: st.SearchStrategy[DataType]) -> st.SearchStrategy[DataType]:
    keys = st.sampled_from(KEYS).map(parse_type)
    null = st.booleans()
    rows = st.lists(inner, min_size=1, max_size=4).map(
        lambda types: [Field(-1, f"f {i}`", t) for i, t in enumerate(types)]
    )
    return st.one_of(
        st.tuples(inner, null).map(lambda made: array_of(made[0], nullable=made[1])),
        st.tuples(keys, inner, null).map(lambda made: map_of(*made[:2], nullable=made[2])),
        st.tuples(keys, null).map(lambda made: multiset_of(made[0], nullable=made[1])),
        st.tuples(rows, null).map(lambda made: row_of(made[0], nullable=made[1])),
    )


TYPES = st.recursive(st.sampled_from(FLAT).map(parse_type), _extended, max_leaves=6)
NESTED = TYPES.filter(lambda t: t.nested)


def with_ids(data_type: DataType) -> DataType:
    return numbered(data_type, count())


@given(TYPES)
def test_text_and_json_mean_the_type(data_type: DataType) -> None:
    numbered_type = with_ids(data_type)

    assert parse_type(type_text(data_type)) == data_type
    assert parse_type(dump_type(numbered_type)) == numbered_type


def values_of(data_type: DataType, seed: int, height: int) -> list[Json]:
    rng = random.Random(seed)
    text = type_text(data_type)
    nulls = data_type.nullable
    return [
        None if nulls and rng.random() < 0.2 else ordered(random_value(rng, text))
        for _ in range(height)
    ]


@given(st.lists(NESTED, min_size=1, max_size=2), st.integers(0, 2**32))
@settings(max_examples=40, deadline=None)
def test_values_survive_files_and_compaction(types: list[DataType], seed: int) -> None:
    columns = {f"v{i}": type_text(t) for i, t in enumerate(types)}
    made = {
        n: values_of(t, seed + i, 20) for i, (n, t) in enumerate(zip(columns, types, strict=True))
    }
    frame = pl.DataFrame(
        [pl.Series("k", range(20), pl.Int32)]
        + [column_of(name, columns[name], values) for name, values in made.items()]
    )
    rows = alike(zip(range(20), *made.values(), strict=True))
    with tempfile.TemporaryDirectory() as folder:
        table = keyed_table(Path(folder), columns={"k": "INT NOT NULL", **columns})
        for part in (frame[12:], frame[:15]):
            table.write(part)
        for _ in range(2):
            found = table.scan().collect().sort("k")
            assert found.schema == table.schema.polars
            read = [wire_of(columns[name], found.get_column(name)) for name in columns]
            assert alike(zip(range(20), *read, strict=True)) == rows
            table.compact("full", verify="full")


# --- laid out anew ------------------------------------------------------------------------------


@st.composite
def evolved(draw: st.DrawFn, old: DataType) -> DataType:
    """The type after its ROWs were altered: fields dropped, added, renamed and moved."""
    parts = [Field(p.id, p.name, draw(evolved(p.type)), p.description) for p in old.parts]
    if old.root is Root.ROW:
        parts = [p for p in draw(st.permutations(parts)) if draw(st.integers(0, 3))]
        names = draw(st.permutations([f"g{i}" for i in range(len(parts) + 1)]))
        parts = [Field(p.id, n, p.type) for p, n in zip(parts, names, strict=False)]
        if not parts or draw(st.booleans()):
            new = Field(1000 + draw(st.integers(0, 99)), names[-1], parse_type("ARRAY<INT>"))
            parts.insert(draw(st.integers(0, len(parts))), new)
    return DataType(old.root, old.nullable, old.length, old.precision, old.scale, tuple(parts))


def moved(value: Any, old: DataType, new: DataType) -> Any:
    """The same, a value at a time."""
    if value is None or not old.nested:
        return value
    if old.root is Root.ARRAY:
        return [moved(item, old.element, new.element) for item in value]
    if old.root is Root.ROW:
        given = {f.id: (item, f) for f, item in zip(old.parts, value["row"], strict=True)}
        return {
            "row": [
                moved(given[f.id][0], given[f.id][1].type, f.type) if f.id in given else None
                for f in new.parts
            ]
        }
    return {"map": [[k, moved(v, old.value, new.value)] for k, v in value["map"]]}


@given(st.data(), NESTED.map(with_ids), st.integers(0, 2**32))
@settings(max_examples=150, deadline=None)
def test_columns_are_laid_out_by_ids(data: st.DataObject, old: DataType, seed: int) -> None:
    new = data.draw(evolved(old))
    values = values_of(old, seed, 12)
    column = column_of("c", type_text(old), values)
    made = reshaped(pl.col("c"), column.dtype, old, new).cast(to_polars(new))
    found = column.to_frame().select(made.alias("c")).to_series()

    assert wire_of(type_text(new), found) == [ordered(moved(v, old, new)) for v in values]
    part = column.slice(3, 5).to_frame().select(made.alias("c")).to_series()
    assert part.equals(found.slice(3, 5))
