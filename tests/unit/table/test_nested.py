"""Nested columns taken apart and laid out anew, against plain Python values."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from desilt.table.datatypes import DataType, Field, array_of, map_of, parse_type, row_of, to_polars
from desilt.table.nested import leaves, parts, reshaped

INT, TEXT = parse_type("INT"), parse_type("STRING")


def column(values: list[Any], data_type: DataType) -> pl.Series:
    return pl.Series("c", values, dtype=to_polars(data_type))


def laid_out(series: pl.Series, written: DataType, wanted: DataType) -> pl.Series:
    made = reshaped(pl.col("c"), series.dtype, written, wanted).cast(to_polars(wanted))
    return series.to_frame().select(made.alias("c")).to_series()


# --- taking apart -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "values", "found"),
    [
        ("ARRAY<INT>", [[1, None], None, [], [2]], {"element": [1, None, 2]}),
        ("ARRAY<ARRAY<INT>>", [[[1], None, []], None], {"element": [[1], None, []]}),
        (
            "MAP<STRING, INT>",
            [{"a": 1, "b": None}, None, {}, {"a": 2}],
            {"key": ["a", "b", "a"], "value": [1, None, 2]},
        ),
        (
            "ROW<a INT, b STRING>",
            [{"a": 1, "b": None}, None, {"a": None, "b": "x"}],
            {"a": [1, None], "b": [None, "x"]},
        ),
    ],
)
def test_parts_hold_what_is_really_there(
    text: str, values: list[Any], found: dict[str, list[Any]]
) -> None:
    series = column(values, parse_type(text))

    assert {name: part.to_list() for name, part in parts(series).items()} == found
    assert {n: p.to_list() for n, p in parts(series.clear()).items()} == {n: [] for n in found}


def test_parts_of_arrays_of_fixed_size_are_elements() -> None:
    series = pl.Series([[1, 2], None, [3, None]], dtype=pl.Array(pl.Int8, 2))

    assert parts(series)["element"].to_list() == [1, 2, 3, None]


def test_leaves_are_found_at_any_depth() -> None:
    data_type = parse_type("MAP<STRING, ARRAY<ROW<a INT, b ROW<c INT, d STRING>>>>")
    values: list[Any] = [
        {"x": [{"a": 1, "b": {"c": 2, "d": "u"}}, None]},
        None,
        {"y": []},
        {"z": None},
    ]
    series = column(values, data_type)

    assert [s.to_list() for s in leaves(series, pl.Int32)] == [[1], [2]]
    assert [s.to_list() for s in leaves(series, pl.String)] == [["x", "y", "z"], ["u"]]
    assert not list(leaves(series, pl.Datetime))
    assert [s.to_list() for s in leaves(pl.Series([1, None]), pl.Int64)] == [[1, None]]


# --- laying out ---------------------------------------------------------------------------------

OLD = row_of([Field(3, "a", INT), Field(4, "b", TEXT), Field(5, "gone", INT)])
NEW = row_of([Field(9, "n", TEXT), Field(4, "a", TEXT), Field(3, "b", parse_type("BIGINT"))])
"""Fields 3 and 4 swapped names and places, 5 was dropped, 9 added."""

ROWS = [{"a": 1, "b": "x", "gone": 7}, None, {"a": None, "b": None, "gone": None}]
LAID_OUT = [{"n": None, "a": "x", "b": 1}, None, {"n": None, "a": None, "b": None}]


def test_rows_are_laid_out_by_id() -> None:
    made = laid_out(column(ROWS, OLD), OLD, NEW)

    assert made.to_list() == LAID_OUT
    assert made.is_null().to_list() == [False, True, False]
    assert made.dtype == to_polars(NEW)


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_rows_in_lists_and_maps_are_laid_out(depth: int) -> None:
    old, new = OLD, NEW
    values: list[Any] = ROWS
    wanted: list[Any] = LAID_OUT
    for _ in range(depth):
        old, new = array_of(map_of(TEXT, old)), array_of(map_of(TEXT, new))
        values = [[{"k": v, "l": None}, None, {}] for v in values] + [None, []]
        wanted = [[{"k": v, "l": None}, None, {}] for v in wanted] + [None, []]
    series = column(values, old)

    assert laid_out(series, old, new).to_list() == wanted
    assert laid_out(series.slice(1, 2), old, new).to_list() == wanted[1:3]
    assert laid_out(series.clear(), old, new).to_list() == []


def test_rows_in_map_keys_are_laid_out() -> None:
    old, new = map_of(OLD, INT), map_of(NEW, INT)
    entries = pl.Series("c", [[{"key": ROWS[0], "value": 5}], None, []])
    series = entries.cast(to_polars(old))

    made = laid_out(series, old, new)
    assert made.map.entries().to_list() == [[{"key": LAID_OUT[0], "value": 5}], None, []]


def test_row_of_new_fields_alone_keeps_its_nulls() -> None:
    new = row_of([Field(9, "n", TEXT)])

    made = laid_out(column(ROWS, OLD), OLD, new)
    assert made.to_list() == [{"n": None}, None, {"n": None}]
    assert made.is_null().to_list() == [False, True, False]


def test_field_that_the_column_lacks_is_null() -> None:
    """The type says it is there; a foreign writer left it out."""
    series = pl.Series("c", [{"a": 1}, None], dtype=pl.Struct({"a": pl.Int32}))

    assert laid_out(series, OLD, OLD).to_list() == [{"a": 1, "b": None, "gone": None}, None]


def test_field_beyond_the_type_is_left_out() -> None:
    series = pl.Series("c", [{"z": 1, "a": 2}])

    wanted = row_of([Field(3, "a", INT)])
    assert laid_out(series, wanted, wanted).to_list() == [{"a": 2}]


def test_column_that_lies_as_wanted_is_not_touched() -> None:
    data_type = parse_type("MAP<INT, ARRAY<INT>>")
    given = pl.col("c")
    wrapped = array_of(map_of(TEXT, OLD))

    assert reshaped(given, to_polars(data_type), data_type, data_type) is given
    assert reshaped(given, to_polars(wrapped), wrapped, wrapped) is given
    assert reshaped(given, pl.Null(), wrapped, wrapped) is given
