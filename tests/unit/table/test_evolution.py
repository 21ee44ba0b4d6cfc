"""Files of older schemas: columns by id, missing ones null, casts only where nothing is lost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from support.builders import append_table, keyed_table, kv, rows_of

from desilt.table import paths
from desilt.table.datatypes import array_of, map_of, parse_type, row_of
from desilt.table.errors import CorruptTable, UnsupportedFeature
from desilt.table.evolution import lossless, project
from desilt.table.schema import Field, dump_schema
from desilt.table.table import Table


def field(field_id: int, name: str, text: str = "INT") -> Field:
    return Field(field_id, name, parse_type(text))


def altered(table: Table, fields: Sequence[Field]) -> None:
    """ALTER TABLE: a new schema file with these columns."""
    old = table.schema
    new = replace(
        old, id=old.id + 1, fields=tuple(fields), highest_field_id=max(f.id for f in fields)
    )
    assert table.handle.storage.create(paths.schema_file(table.path, new.id), dump_schema(new))


# --- which casts lose nothing -------------------------------------------------------------------

INTEGERS = ["TINYINT", "SMALLINT", "INT", "BIGINT"]
ALLOWED = {
    *((a, b) for i, a in enumerate(INTEGERS) for b in INTEGERS[i:]),
    *((a, "DOUBLE") for a in INTEGERS[:3]),
    ("TINYINT", "DECIMAL(3, 0)"),
    ("SMALLINT", "DECIMAL(7, 2)"),
    ("INT", "DECIMAL(10, 0)"),
    ("BIGINT", "DECIMAL(19, 0)"),
    ("FLOAT", "DOUBLE"),
    ("DECIMAL(5, 2)", "DECIMAL(5, 2)"),
    ("DECIMAL(5, 2)", "DECIMAL(6, 3)"),
    ("DECIMAL(5, 2)", "DECIMAL(9, 2)"),
    ("CHAR(3)", "CHAR(3)"),
    ("CHAR(3)", "VARCHAR(3)"),
    ("CHAR(3)", "STRING"),
    ("VARCHAR(3)", "VARCHAR(4)"),
    ("VARCHAR(3)", "STRING"),
    ("BINARY(3)", "BINARY(3)"),
    ("VARBINARY(3)", "BYTES"),
    ("TIME(0)", "TIME(3)"),
    ("TIMESTAMP(3)", "TIMESTAMP(9)"),
    ("TIMESTAMP_LTZ(3)", "TIMESTAMP_LTZ(6)"),
    ("DATE", "DATE"),
    ("BOOLEAN", "BOOLEAN"),
}
REFUSED = [
    ("INT", "SMALLINT"),
    ("BIGINT", "INT"),
    ("BIGINT", "DOUBLE"),
    ("INT", "FLOAT"),
    ("INT", "STRING"),
    ("INT", "DECIMAL(9, 0)"),
    ("BIGINT", "DECIMAL(20, 2)"),
    ("DOUBLE", "FLOAT"),
    ("DOUBLE", "BIGINT"),
    ("DECIMAL(5, 2)", "DECIMAL(5, 1)"),
    ("DECIMAL(5, 2)", "DECIMAL(5, 3)"),
    ("DECIMAL(5, 2)", "DOUBLE"),
    ("STRING", "VARCHAR(5)"),
    ("VARCHAR(3)", "CHAR(3)"),
    ("CHAR(3)", "CHAR(4)"),
    ("CHAR(4)", "VARCHAR(3)"),
    ("BINARY(3)", "BINARY(4)"),
    ("STRING", "BYTES"),
    ("STRING", "INT"),
    ("TIMESTAMP(6)", "TIMESTAMP(3)"),
    ("TIMESTAMP(3)", "TIMESTAMP_LTZ(3)"),
    ("DATE", "TIMESTAMP(3)"),
    ("TIMESTAMP(3)", "DATE"),
    ("BOOLEAN", "INT"),
    ("TIME(3)", "TIME(0)"),
]


@pytest.mark.parametrize(("old", "new"), sorted(ALLOWED))
def test_cast_that_keeps_every_value_is_allowed(old: str, new: str) -> None:
    assert lossless(parse_type(old), parse_type(new))
    assert lossless(parse_type(f"{old} NOT NULL"), parse_type(new))


@pytest.mark.parametrize(("old", "new"), REFUSED)
def test_cast_that_could_lose_something_is_refused(old: str, new: str) -> None:
    assert not lossless(parse_type(old), parse_type(new))


NESTED_ALLOWED = [
    ("ARRAY<INT>", "ARRAY<BIGINT>"),
    ("ARRAY<INT NOT NULL> NOT NULL", "ARRAY<INT>"),
    ("MAP<INT, FLOAT>", "MAP<BIGINT, DOUBLE>"),
    ("MULTISET<VARCHAR(3)>", "MULTISET<STRING>"),
    ("ARRAY<ARRAY<CHAR(3)>>", "ARRAY<ARRAY<STRING>>"),
]
NESTED_REFUSED = [
    ("ARRAY<BIGINT>", "ARRAY<INT>"),
    ("MAP<STRING, BIGINT>", "MAP<STRING, INT>"),
    ("MAP<BIGINT, INT>", "MAP<INT, INT>"),
    ("MULTISET<INT>", "MAP<INT, INT>"),
    ("ARRAY<INT>", "INT"),
    ("INT", "ARRAY<INT>"),
    ("ARRAY<INT>", "STRING"),
]


@pytest.mark.parametrize(("old", "new"), NESTED_ALLOWED)
def test_nested_cast_that_keeps_every_value_is_allowed(old: str, new: str) -> None:
    assert lossless(parse_type(old), parse_type(new))


@pytest.mark.parametrize(("old", "new"), NESTED_REFUSED)
def test_nested_cast_that_could_lose_something_is_refused(old: str, new: str) -> None:
    assert not lossless(parse_type(old), parse_type(new))


# --- projections --------------------------------------------------------------------------------


def test_projection_goes_by_id_and_not_by_name() -> None:
    """Two columns have swapped their names since the file was written."""
    written = [field(0, "a"), field(1, "b")]
    frame = pl.DataFrame({"a": [1], "b": [2]}, schema_overrides={"a": pl.Int32, "b": pl.Int32})
    projection = project([field(1, "a"), field(0, "b")], written, frozenset(frame.columns), "f")

    assert projection.sources == ("b", "a")
    assert projection.apply(frame).to_dicts() == [{"a": 2, "b": 1}]


def test_projection_fills_new_columns_with_null() -> None:
    wanted = [field(0, "a"), field(7, "new", "STRING")]
    frame = pl.DataFrame({"a": [1, 2]}, schema_overrides={"a": pl.Int32})
    made = project(wanted, [field(0, "a")], frozenset({"a"}), "f").apply(frame)

    assert made.to_dict(as_series=False) == {"a": [1, 2], "new": [None, None]}
    assert made.schema["new"] == pl.String


def test_projection_of_new_columns_alone_keeps_the_rows() -> None:
    """Nothing that is wanted is in the file, and still it has three rows."""
    projection = project([field(7, "new")], [field(0, "a")], frozenset({"a"}), "f")
    frame = pl.DataFrame({"a": [1, 2, 3]})

    assert projection.sources == ("a",)
    assert projection.apply(frame).to_dict(as_series=False) == {"new": [None] * 3}


def test_projection_casts_to_the_wider_type() -> None:
    written, wanted = [field(0, "a", "INT")], [field(0, "a", "BIGINT")]
    frame = pl.DataFrame({"a": [1]}, schema_overrides={"a": pl.Int32})

    assert project(wanted, written, frozenset({"a"}), "f").apply(frame).schema == {"a": pl.Int64}


def test_projection_names_a_column_whose_type_changed() -> None:
    with pytest.raises(UnsupportedFeature, match="column=b, old=BIGINT, new=INT, file=f"):
        project([field(0, "b", "INT")], [field(0, "a", "BIGINT")], frozenset({"a"}), "f")


def test_projection_names_a_column_that_the_file_lacks() -> None:
    with pytest.raises(CorruptTable, match="column=a, file=f"):
        project([field(0, "b")], [field(0, "a")], frozenset({"z"}), "f")


# --- tables -------------------------------------------------------------------------------------


def test_scan_and_compaction_read_files_of_three_schemas(tmp_path: Path) -> None:
    table = keyed_table(tmp_path)
    table.write(kv((1, "a"), (2, "b")))
    k, v = table.schema.fields
    altered(table, [k, Field(5, "n", parse_type("INT")), replace(v, name="text")])
    table.write(pl.DataFrame({"k": [2, 3], "n": [20, 30], "text": ["c", "d"]}))
    altered(table, [k, Field(5, "n", parse_type("BIGINT")), replace(v, name="text")])
    table.write(pl.DataFrame({"k": [4], "n": [2**40], "text": ["e"]}))
    wanted = [(1, None, "a"), (2, 20, "c"), (3, 30, "d"), (4, 2**40, "e")]
    assert rows_of(table) == wanted

    table.compact("full", verify="full")

    assert rows_of(table) == wanted
    assert rows_of(table, 1) == [(1, "a"), (2, "b")]
    assert table.scan(columns=["n"]).collect().height == 4


def test_dropped_column_is_gone_and_its_name_may_return(tmp_path: Path) -> None:
    """A new column of an old name is another column: old values do not come back."""
    table = keyed_table(tmp_path)
    table.write(kv((1, "old")))
    k, _ = table.schema.fields
    altered(table, [k, Field(9, "v", parse_type("STRING"))])
    table.write(kv((2, "new")))

    assert rows_of(table) == [(1, None), (2, "new")]
    table.compact("full", verify="full")
    assert rows_of(table) == [(1, None), (2, "new")]


def test_table_whose_columns_were_all_replaced_keeps_its_rows(tmp_path: Path) -> None:
    table = append_table(tmp_path)
    for number in range(5):
        table.write(pl.DataFrame({"n": [number] * 3, "v": ["x"] * 3}))
    altered(table, [field(7, "other")])
    assert rows_of(table) == [(None,)] * 15

    table.compact("full", verify="full")
    assert rows_of(table) == [(None,)] * 15


def test_column_that_was_narrowed_is_refused_by_name_and_other_columns_are_read(
    tmp_path: Path,
) -> None:
    table = append_table(tmp_path)
    table.write(pl.DataFrame({"n": [1], "v": ["a"]}))
    n, v = table.schema.fields
    altered(table, [replace(n, type=parse_type("SMALLINT")), v])

    assert table.scan(columns=["v"]).collect()["v"].to_list() == ["a"]
    with pytest.raises(UnsupportedFeature, match=r"column=n, old=INT, new=SMALLINT.*table=db\.t"):
        table.scan().collect()


def test_predicate_on_a_renamed_column_finds_old_rows(tmp_path: Path) -> None:
    table = keyed_table(tmp_path)
    table.write(kv((1, "a"), (2, "b")))
    k, v = table.schema.fields
    altered(table, [k, replace(v, name="w")])

    assert table.scan(filter=pl.col("w") == "b").collect()["k"].to_list() == [2]


# --- inside ROWs --------------------------------------------------------------------------------


def inside(*fields: Field, wrap: str = "") -> Field:
    """Column 1 called ``r``: a ROW of these fields, or an array or map of it."""
    row = row_of(fields)
    made = {"": row, "ARRAY": array_of(row), "MAP": map_of(parse_type("STRING"), row)}[wrap]
    return Field(1, "r", made)


@pytest.mark.parametrize("wrap", ["", "ARRAY", "MAP"])
def test_scan_and_compaction_read_rows_of_three_schemas(tmp_path: Path, wrap: str) -> None:
    """A field is added, one dropped, two swap names, one is widened."""
    table = keyed_table(tmp_path, columns={"k": "INT NOT NULL", "r": "INT"})
    k, _ = table.schema.fields

    def kind(value: object) -> object:
        return {"": value, "ARRAY": [value, None], "MAP": {"x": value, "y": None}}[wrap]

    def write(key: int, value: object) -> None:
        dtype = table.schema.polars["r"]
        values = pl.Series([kind(value)], dtype=dtype)
        table.write(pl.DataFrame({"k": [key], "r": values}))

    altered(table, [k, inside(field(2, "a"), field(3, "b"), field(4, "gone"), wrap=wrap)])
    write(1, {"a": 1, "b": 2, "gone": 3})
    write(2, None)
    altered(table, [k, inside(field(5, "n"), field(3, "a"), field(2, "b"), wrap=wrap)])
    write(3, {"n": 7, "a": 8, "b": 9})
    altered(table, [k, inside(field(5, "n", "BIGINT"), field(2, "b"), field(3, "c"), wrap=wrap)])
    write(4, {"n": 2**40, "b": None, "c": 6})
    write(1, {"n": 5, "b": 5, "c": 5})
    wanted = [
        (1, {"n": 5, "b": 5, "c": 5}),
        (2, None),
        (3, {"n": 7, "b": 9, "c": 8}),
        (4, {"n": 2**40, "b": None, "c": 6}),
    ]
    assert rows_of(table) == [(key, kind(value)) for key, value in wanted]
    assert rows_of(table, 1) == [(1, kind({"a": 1, "b": 2, "gone": 3}))]

    table.compact("full", verify="full")
    assert rows_of(table) == [(key, kind(value)) for key, value in wanted]


def test_field_that_was_narrowed_is_refused_by_its_place(tmp_path: Path) -> None:
    table = append_table(tmp_path, columns={"n": "INT", "r": "INT"})
    n, _ = table.schema.fields
    deep = Field(2, "d", array_of(row_of([field(3, "x", "BIGINT")])))
    altered(table, [n, inside(deep)])
    table.write(pl.DataFrame({"n": [1], "r": [{"d": [{"x": 1}]}]}))
    altered(table, [n, inside(replace(deep, type=array_of(row_of([field(3, "x", "INT")]))))])

    assert table.scan(columns=["n"]).collect()["n"].to_list() == [1]
    with pytest.raises(UnsupportedFeature, match=r"column=r\.d\.element\.x, old=BIGINT, new=INT"):
        table.scan().collect()
