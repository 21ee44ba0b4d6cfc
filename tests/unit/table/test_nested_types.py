"""Nested types as text, JSON, Polars, Arrow, and with the ids that a schema hands out."""

from __future__ import annotations

import json
from datetime import date
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.builders import append_table, catalog

from desilt.table.datatypes import (
    DataType,
    Field,
    array_of,
    arrow_field,
    dump_type,
    from_arrow,
    map_of,
    multiset_of,
    numbered,
    parse_type,
    row_of,
    to_polars,
    type_text,
)
from desilt.table.errors import CorruptTable, UnsupportedFeature
from desilt.table.schema import columns_of

INT, TEXT, DATE = parse_type("INT"), parse_type("STRING"), parse_type("DATE")


def ids(data_type: DataType, first: int = 0) -> DataType:
    return numbered(data_type, count(first))


# Text as Java prints it, and the Polars type.
TYPES: list[tuple[str, pl.DataType]] = [
    ("ARRAY<INT>", pl.List(pl.Int32())),
    ("ARRAY<INT NOT NULL> NOT NULL", pl.List(pl.Int32())),
    ("ARRAY<ARRAY<TIMESTAMP(9)>>", pl.List(pl.List(pl.Datetime("ns")))),
    ("MAP<STRING, DECIMAL(5, 2)>", pl.Map(pl.String(), pl.Decimal(5, 2))),
    ("MAP<INT NOT NULL, ARRAY<TIME(3)>>", pl.Map(pl.Int32(), pl.List(pl.Time()))),
    ("MULTISET<DATE>", pl.Map(pl.Date(), pl.Int32())),
    ("ROW<`a` INT, `b c` STRING NOT NULL>", pl.Struct({"a": pl.Int32(), "b c": pl.String()})),
    (
        "ROW<`r` ROW<`m` MULTISET<STRING> NOT NULL> NOT NULL, `x,<` CHAR(3)> NOT NULL",
        pl.Struct({"r": pl.Struct({"m": pl.Map(pl.String(), pl.Int32())}), "x,<": pl.String()}),
    ),
]


@pytest.mark.parametrize(("text", "polars"), TYPES, ids=[t for t, _ in TYPES])
def test_nested_type_has_its_text_its_json_and_its_polars_type(
    text: str, polars: pl.DataType
) -> None:
    parsed = parse_type(text)

    assert str(parsed) == text
    assert to_polars(parsed) == polars
    with_ids = ids(parsed)
    assert parse_type(json.loads(json.dumps(dump_type(with_ids)))) == with_ids


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("array < int >", "ARRAY<INT>"),
        ("Map<String,Int not null>not  null", "MAP<STRING, INT NOT NULL> NOT NULL"),
        ("ROW<a INT NULL,b ARRAY<DEC(5,2)>>", "ROW<`a` INT, `b` ARRAY<DECIMAL(5, 2)>>"),
        ("ROW<a INT 'it''s', `b``b` INT COMMENT 'x>, y'>",
         "ROW<`a` INT 'it''s', `b``b` INT 'x>, y'>"),
        ("ROW<\n  map MAP<INT, INT>,\n  größe TIMESTAMP_LTZ\n>",
         "ROW<`map` MAP<INT, INT>, `größe` TIMESTAMP(6) WITH LOCAL TIME ZONE>"),
    ],
)  # fmt: skip
def test_other_spellings_mean_the_same_type(text: str, canonical: str) -> None:
    assert type_text(parse_type(text)) == canonical
    assert type_text(parse_type(canonical)) == canonical


@pytest.mark.parametrize(
    "text",
    ["ARRAY", "ARRAY<>", "ARRAY<INT", "ARRAY<INT>>", "ARRAY<INT, INT>", "ARRAY<INT>, ARRAY<INT>",
     "MAP<INT>", "MAP<INT, INT, INT>", "MULTISET<INT, INT>", "ROW<>", "ROW<INT>", "ROW<a>",
     "ROW<a INT,>", "ROW<`` INT>", "ROW<a INT 'c>", "ARRAY<INT> NULLABLE", "MAP<(INT, INT>",
     "LIST<INT>", "MULTISET"],
)  # fmt: skip
def test_text_that_is_no_type_is_refused(text: str) -> None:
    with pytest.raises(UnsupportedFeature, match="unknown type"):
        parse_type(text)


@pytest.mark.parametrize("kind", ["ARRAY", "ROW NOT NULL", "MAP", "MULTISET"])
@pytest.mark.parametrize("rest", [{}, {"element": 7, "key": "INT", "fields": [7]}])
def test_json_that_lacks_a_part_is_corrupt(kind: str, rest: dict[str, Any]) -> None:
    with pytest.raises(CorruptTable):
        parse_type({"type": kind, **rest})


@pytest.mark.parametrize("kind", ["VECTOR", "ARRAYS", "ARRAY<INT>", "INT", 7, None, ["ARRAY"]])
def test_json_of_another_type_is_refused(kind: object) -> None:
    with pytest.raises(UnsupportedFeature, match="type is not supported"):
        parse_type({"type": kind, "element": "INT"})


def test_types_nested_beyond_reason_are_refused() -> None:
    raw: object = "INT"
    for _ in range(500):
        raw = {"type": "ARRAY", "element": raw}

    for hostile in (raw, "ARRAY<" * 500 + "INT" + ">" * 500):
        with pytest.raises(UnsupportedFeature, match="too deeply"):
            parse_type(hostile)


def test_json_is_written_as_java_writes_it() -> None:
    """Null parts are left out; NOT NULL stands behind the word."""
    row = row_of([Field(3, "a", INT.not_null(), "why", "7")], nullable=False)

    assert dump_type(map_of(TEXT.not_null(), array_of(multiset_of(row), nullable=False))) == {
        "type": "MAP",
        "key": "STRING NOT NULL",
        "value": {
            "type": "ARRAY NOT NULL",
            "element": {
                "type": "MULTISET",
                "element": {
                    "type": "ROW NOT NULL",
                    "fields": [
                        {
                            "id": 3,
                            "name": "a",
                            "type": "INT NOT NULL",
                            "description": "why",
                            "defaultValue": "7",
                        }
                    ],
                },
            },
        },
    }


# --- ids ----------------------------------------------------------------------------------------


def test_ids_are_handed_out_after_what_is_inside(tmp_path: Path) -> None:
    """Format §2.3: a column first, then its fields, each after its own type."""
    schema = (
        catalog(tmp_path)
        .create_table("db.t", {"id": "INT", "r": "ROW<x INT, y ARRAY<ROW<z INT>>>", "m": "INT"})
        .schema
    )
    (x, y) = schema.column("r").type.parts

    assert [f.id for f in schema.fields] == [0, 1, 5]
    assert (x.id, y.type.element.parts[0].id, y.id) == (2, 3, 4)
    assert schema.highest_field_id == 5


def test_highest_id_counts_the_last_columns_fields(tmp_path: Path) -> None:
    schema = catalog(tmp_path).create_table("db.t", {"r": "ROW<x INT, y INT>"}).schema

    assert schema.highest_field_id == 2


def field_ids(arrow: pa.Field) -> dict[str, int]:
    """Ids of a field and of everything inside, by path."""
    found = {arrow.name: int(arrow.metadata[b"PARQUET:field_id"])}
    t = arrow.type
    inner: list[pa.Field] = []
    if pa.types.is_struct(t):
        inner = [t.field(i) for i in range(t.num_fields)]
    elif pa.types.is_map(t):
        inner = [t.key_field, t.item_field]
    elif pa.types.is_large_list(t):
        inner = [t.value_field]
    for part in inner:
        found |= {f"{arrow.name}.{path}": number for path, number in field_ids(part).items()}
    return found


def test_parts_have_javas_ids_in_files() -> None:
    """Java's own example: ARRAY(MAP(INT, ARRAY(INT))) in field 10."""
    data_type = array_of(map_of(INT, array_of(INT)))

    assert field_ids(arrow_field(Field(10, "f", data_type))) == {
        "f": 10,
        "f.element": 536870911 + 1024 * 10 + 1,
        "f.element.key": 536870911 - 1024 * 10 - 2,
        "f.element.value": 536870911 + 1024 * 10 + 2,
        "f.element.value.element": 536870911 + 1024 * 10 + 3,
    }


def test_depth_begins_anew_in_a_row() -> None:
    data_type = array_of(row_of([Field(7, "m", multiset_of(INT))]))

    assert field_ids(arrow_field(Field(2, "f", data_type))) == {
        "f": 2,
        "f.element": 536870911 + 1024 * 2 + 1,
        "f.element.m": 7,
        "f.element.m.key": 536870911 - 1024 * 7 - 1,
        "f.element.m.value": 536870911 + 1024 * 7 + 1,
    }


def test_large_ids_wrap_around_as_javas_do() -> None:
    found = field_ids(arrow_field(Field(2**30, "f", array_of(INT))))["f.element"]

    assert found == 536870911 + 1  # 1024 · 2^30 is a multiple of 2^32


# --- files --------------------------------------------------------------------------------------


def written(tmp_path: Path, columns: dict[str, str], frame: pl.DataFrame) -> Any:
    """The Parquet schema of the one file these rows are written to."""
    table = append_table(tmp_path, columns=columns)
    table.write(frame)
    (path,) = Path(table.path).glob("bucket-0/*.parquet")
    assert table.scan().collect().equals(frame)
    return pq.read_metadata(path).schema


@pytest.mark.parametrize(
    ("other", "rows"),
    [
        ("INT", "MAP<STRING, ROW<x INT, y INT>>"),
        ("INT", "MAP<STRING, ROW<x INT, y INT NOT NULL>>"),
        ("TIME(3)", "MAP<STRING, ROW<x INT, y INT>>"),
    ],
    ids=["by-polars", "by-pyarrow", "by-pyarrow-for-times"],
)
def test_layout_of_files_is_javas(tmp_path: Path, other: str, rows: str) -> None:
    columns = {
        "a": "ARRAY<ARRAY<INT> NOT NULL>",
        "m": rows,
        "s": "MULTISET<STRING> NOT NULL",
        "r": "ROW<z INT NOT NULL> NOT NULL",
        "o": other,
    }
    frame = pl.DataFrame(
        {"a": [[[1]]], "m": [{"k": None}], "s": [{"k": 1}], "r": [{"z": 1}], "o": [None]},
        schema={n: to_polars(parse_type(t)) for n, t in columns.items()},
    )
    schema = written(tmp_path, columns, frame)
    leaves = [schema.column(i) for i in range(len(schema.names))]

    assert [(c.path, c.max_definition_level, c.max_repetition_level) for c in leaves] == [
        ("a.list.element.list.element", 4, 2),
        ("m.key_value.key", 2, 1),
        ("m.key_value.value.x", 4, 1),
        ("m.key_value.value.y", 3 if "NOT NULL" in rows else 4, 1),
        ("s.key_value.key", 1, 1),
        ("s.key_value.value", 1, 1),
        ("r.z", 0, 0),
        ("o", 1, 0),
    ]


_ROW = {
    "a": {
        "b": [1, None], "c": {1: None}, "d": {"e": date(2026, 10, 1)}, "f": "x", "g": True,
        "h": Decimal("1.25"),
    }
}  # fmt: skip
NULLS: dict[str, tuple[str, list[object]]] = {
    "lists": ("ARRAY<ARRAY<INT>>", [None, [], [None], [[]], [[None], [1, None, 2]]]),
    "maps": ("MAP<STRING, MAP<INT, INT>>", [None, {}, {"a": None, "": {}}, {"a": {1: None}}]),
    "multisets": ("MULTISET<STRING>", [None, {}, {"": 1, "a": 7}]),
    "rows": (
        "ROW<a ROW<b INT NOT NULL, c STRING>>",
        [None, {"a": None}, {"a": {"b": 1, "c": None}}],
    ),
    "rows in rows": (
        "ARRAY<ROW<a ROW<b ARRAY<INT> NOT NULL, c MAP<INT, INT> NOT NULL, d ROW<e DATE NOT NULL>"
        " NOT NULL, f STRING NOT NULL, g BOOLEAN NOT NULL, h DECIMAL(20, 2) NOT NULL> NOT NULL>>",
        [None, [], [None, _ROW, None, _ROW], [_ROW]],
    ),
    "rows in lists": ("ARRAY<ROW<a INT>>", [None, [], [None, {"a": None}], [{"a": 1}]]),
    "times": ("ARRAY<ROW<t TIME(3)>>", [None, [], [None, {"t": None}]]),
    "nanoseconds": ("MAP<INT, TIMESTAMP(9)>", [None, {}, {1: None}]),
}


@pytest.mark.parametrize("name", NULLS)
def test_nulls_and_empty_ones_come_back_at_every_level(tmp_path: Path, name: str) -> None:
    text, values = NULLS[name]
    frame = pl.DataFrame({"c": pl.Series(values, dtype=to_polars(parse_type(text)))})

    written(tmp_path, {"c": text}, frame)


# --- from Arrow ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arrow", "text"),
    [
        (pa.list_(pa.int32()), "ARRAY<INT>"),
        (pa.large_list(pa.field("item", pa.int8(), False)), "ARRAY<TINYINT NOT NULL>"),
        (pa.list_view(pa.string()), "ARRAY<STRING>"),
        (pa.map_(pa.string(), pa.date32()), "MAP<STRING NOT NULL, DATE>"),
        (pa.struct([pa.field("a", pa.list_(pa.bool_()), False)]),
         "ROW<`a` ARRAY<BOOLEAN> NOT NULL>"),
    ],
    ids=str,
)  # fmt: skip
def test_from_arrow_gives(arrow: pa.DataType, text: str) -> None:
    assert type_text(from_arrow(arrow)) == text
    assert type_text(from_arrow(arrow, nullable=False)) == f"{text} NOT NULL"


def test_columns_of_a_polars_schema_are_nested_too() -> None:
    dtypes = {"m": pl.Map(pl.String, pl.List(pl.Int64)), "r": pl.Struct({"a": pl.Date})}
    columns = columns_of(pl.Schema(dtypes))

    assert {n: to_polars(t) for n, t in columns.items()} == dtypes
    assert type_text(columns["r"]) == "ROW<`a` DATE>"
    assert columns_of(dtypes) == columns
