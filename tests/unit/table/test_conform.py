"""Nested values as callers hand them over: what fits, what is refused, and by which place."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from support.builders import keyed_table

from desilt.table.datatypes import parse_type, to_polars
from desilt.table.errors import BadData, InvalidRequest, TableError
from desilt.table.table import Table

COLUMNS = {
    "k": "INT NOT NULL",
    "a": "ARRAY<INT NOT NULL>",
    "t": "ARRAY<ARRAY<VARCHAR(3)>>",
    "m": "MAP<STRING, ARRAY<DECIMAL(5, 2)>>",
    "s": "MULTISET<STRING>",
    "r": "ROW<x INT NOT NULL, y ROW<z DATE, l ARRAY<BINARY(2)>>>",
}
MAP = pl.Map(pl.String, pl.List(pl.Float64))


@pytest.fixture
def table(tmp_path: Path) -> Table:
    return keyed_table(tmp_path, columns=COLUMNS)


def write(table: Table, **columns: Any) -> None:
    made = {n: v if isinstance(v, pl.Series) else pl.Series([v]) for n, v in columns.items()}
    height = len(next(iter(made.values())))
    table.write(pl.DataFrame({"k": range(height), **made}))


def stored(table: Table, name: str) -> list[Any]:
    return table.scan(columns=[name]).collect()[name].to_list()


GIVEN: dict[str, tuple[str, Any, Any]] = {
    "a list": ("a", [1, 2], [1, 2]),
    "an empty list": ("a", [], []),
    "nothing": ("a", None, None),
    "whole floats": ("a", [1.0, 2.0], [1, 2]),
    "digits as text": ("a", ["1"], [1]),
    "a list of fixed size": ("a", pl.Series([[1, 2]], dtype=pl.Array(pl.Int8, 2)), [1, 2]),
    "short text": ("t", [["abc", None], None, []], [["abc", None], None, []]),
    "a map": ("m", pl.Series([{"b": [1.5], "a": None}], dtype=MAP), {"b": [1.5], "a": None}),
    "entries of a map": (
        "m", [{"key": "b", "value": [1.5, None]}], {"b": [Decimal("1.50"), None]},
    ),
    "entries the other way round": ("m", [{"value": None, "key": "b"}], {"b": None}),
    "an empty map": ("m", pl.Series([{}], dtype=MAP), {}),
    "a multiset": ("s", [{"key": "b", "value": 2}], {"b": 2}),
    "a whole row": (
        "r",
        {"x": 1, "y": {"z": date(2026, 10, 1), "l": [b"ab"]}},
        {"x": 1, "y": {"z": date(2026, 10, 1), "l": [b"ab"]}},
    ),
    "fields in another order": (
        "r", {"y": {"l": None, "z": None}, "x": 1}, {"x": 1, "y": {"z": None, "l": None}},
    ),
    "fields left out": ("r", {"x": 1}, {"x": 1, "y": None}),
    "fields left out inside": ("r", {"x": 1, "y": {"l": []}}, {"x": 1, "y": {"z": None, "l": []}}),
}  # fmt: skip


@pytest.mark.parametrize("name", GIVEN)
def test_value_is_stored_as_its_columns_type(table: Table, name: str) -> None:
    column, given, wanted = GIVEN[name]
    write(table, **{column: given})

    assert stored(table, column) == [wanted]
    assert table.scan().collect().schema == table.schema.polars


def test_arrow_tables_are_written_through_polars(table: Table) -> None:
    prices = pa.map_(pa.string(), pa.list_(pa.decimal128(5, 2)))
    arrow = pa.table(
        {
            "k": pa.array([1], pa.int32()),
            "m": pa.array([[("a", [Decimal("1.25")])]], prices),
            "r": pa.array([{"x": 3}], pa.struct([("x", pa.int16())])),
        }
    )
    frame = pl.from_arrow(arrow)
    assert isinstance(frame, pl.DataFrame)
    table.write(frame)

    assert stored(table, "m") == [{"a": [Decimal("1.25")]}]
    assert stored(table, "r") == [{"x": 3, "y": None}]


MISFITS: dict[str, tuple[str, Any, type[TableError], str]] = {
    "a number for a list": ("a", 7, BadData, "column=a, type=ARRAY<INT NOT NULL>"),
    "a list for a row": ("r", [1], BadData, "column=r"),
    "a number for a row": ("r", 1, BadData, "column=r"),
    "a row for a map": ("m", {"a": [1.0]}, BadData, "column=m"),
    "a row for a list": ("a", {"x": 1}, BadData, "column=a"),
    "a list too deep": ("a", [[1]], BadData, "column=a.element"),
    "a list not deep enough": ("t", ["a"], BadData, "column=t.element"),
    "a row for a number": ("r", {"x": {"q": 1}}, BadData, "column=r.x"),
    "an unknown field": ("r", {"x": 1, "q": 2}, InvalidRequest, "no such column, column=r.q"),
    "an unknown field inside": ("r", {"x": 1, "y": {"q": 2}}, InvalidRequest, "column=r.y.q"),
    "null elements": ("a", [1, None], BadData, "null in a NOT NULL column, column=a.element"),
    "a null field": ("r", {"x": None}, BadData, "null in a NOT NULL column, column=r.x"),
    "a missing field": ("r", {"y": None}, BadData, "null in a NOT NULL column, column=r.x"),
    "a null count": ("s", [{"key": "a", "value": None}], BadData, "column=s.value"),
    "a null key": ("m", [{"key": None, "value": []}], BadData, "column=m"),
    "a key twice": (
        "s", [{"key": "a", "value": 1}, {"key": "a", "value": 2}], BadData, "a map key repeats",
    ),
    "fractions inside": ("a", [1.5], BadData, "column=a.element, type=INT NOT NULL"),
    "text too long inside": ("t", [[], ["a", "abcd"]], BadData, "column=t.element.element"),
    "bytes too long inside": ("r", {"x": 1, "y": {"l": [b"abc"]}}, BadData, "column=r.y.l.element"),
    "a number too large inside": ("a", [2**31], BadData, "column=a"),
    "too many digits inside": ("m", [{"key": "a", "value": [1e9]}], BadData, "column=m"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISFITS)
def test_misfit_is_refused_by_its_place(table: Table, name: str) -> None:
    column, given, error, words = MISFITS[name]

    with pytest.raises(error) as caught:
        write(table, **{column: given})
    assert words in str(caught.value)
    assert table.handle.snapshots.latest_id() is None


def test_nulls_of_a_null_row_are_no_nulls_of_its_fields(table: Table) -> None:
    write(table, r=pl.Series([None, {"x": 1}, {"x": 2, "y": None}]))

    assert stored(table, "r") == [None, {"x": 1, "y": None}, {"x": 2, "y": None}]


def test_delete_by_key_needs_no_nested_values(tmp_path: Path) -> None:
    not_null = {n: t if "NOT NULL" in t[-8:] else f"{t} NOT NULL" for n, t in COLUMNS.items()}
    table = keyed_table(
        tmp_path, columns={**not_null, "f": "ROW<a TIME(3) NOT NULL, b INT> NOT NULL"}
    )
    dtypes = {n: to_polars(parse_type(t)) for n, t in not_null.items()}
    empty: dict[str, Any] = {"a": [], "t": [], "m": {}, "s": {}, "r": {"x": 1, "y": None}}
    rows = [{"k": k, **empty} for k in (1, 2)]
    given = pl.DataFrame(rows, schema=dtypes)
    times = pl.Series("f", [0, 0]).cast(pl.Time).to_frame().select(pl.struct(a="f")).to_series()
    table.write(given.with_columns(f=times))
    table.delete(pl.DataFrame({"k": [1]}))

    assert stored(table, "k") == [2]
    table.compact("full", verify="full")
    assert stored(table, "k") == [2]
