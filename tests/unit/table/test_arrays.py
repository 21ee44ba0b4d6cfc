"""NOT NULL fields of ROWs that are null: required in files, and no null let through."""

from __future__ import annotations

import io
from itertools import count
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from desilt.table.datatypes import Field, arrow_field, numbered, parse_type, to_polars
from desilt.table.errors import BadData
from desilt.table.format.arrays import encodable, hides_nulls

INNER = "ROW<i ROW<n INT NOT NULL, t STRING NOT NULL> NOT NULL, l ARRAY<INT> NOT NULL>"
FULL = {"i": {"n": 1, "t": "x"}, "l": [1, None]}


def field(text: str) -> Field:
    return Field(0, "c", numbered(parse_type(text), count(1)))


def arrow(text: str, values: list[Any]) -> pa.ChunkedArray:
    series = pl.Series("c", values, dtype=to_polars(parse_type(text)))
    return series.to_frame().to_arrow(compat_level=pl.CompatLevel.oldest()).column("c")


@pytest.mark.parametrize(
    ("text", "hides"),
    [
        ("INT NOT NULL", False),
        ("ARRAY<INT NOT NULL>", False),
        ("MULTISET<INT>", False),
        ("ROW<a INT>", False),
        ("ROW<a INT NOT NULL> NOT NULL", False),
        ("ROW<a INT NOT NULL>", True),
        ("ARRAY<ROW<a INT, b ROW<c DATE> NOT NULL>> NOT NULL", True),
        ("MAP<INT, ROW<a INT NOT NULL> NOT NULL>", False),
    ],
)
def test_only_rows_that_may_be_null_hide_nulls(text: str, hides: bool) -> None:
    assert hides_nulls(parse_type(text)) is hides


@pytest.mark.parametrize(
    "wrap", ["{}", "ARRAY<{}>", "MAP<STRING, {}>", "ROW<o {} NOT NULL, p INT>"]
)
@pytest.mark.parametrize("start", [0, 2])
def test_array_is_of_the_files_type_and_its_values_are_the_same(wrap: str, start: int) -> None:
    text = wrap.format(INNER)
    rows: list[Any] = [FULL, None, FULL, None, FULL]
    values = {
        "{}": rows,
        "ARRAY<{}>": [rows, None, [], [None], rows[1:]],
        "MAP<STRING, {}>": [{"a": FULL, "b": None}, None, {}, {"c": None}, {"d": FULL}],
        "ROW<o {} NOT NULL, p INT>": [{"o": FULL, "p": 1}, None, {"o": FULL, "p": None}, None],
    }[wrap]
    column = arrow(text, values)
    sliced = pa.chunked_array([*column.slice(start).chunks, *column.slice(0, start).chunks])
    made = encodable(sliced, field(text))
    buffer = io.BytesIO()
    pq.write_table(pa.table([made], schema=pa.schema([arrow_field(field(text))])), buffer)
    buffer.seek(0)

    assert made.type == arrow_field(field(text)).type
    found = pl.read_parquet(buffer).get_column("c")
    assert found.equals(pl.Series("c", values[start:] + values[:start], dtype=found.dtype))


@pytest.mark.parametrize(
    ("text", "values", "place"),
    [
        ("ROW<a INT NOT NULL>", [None, {"a": None}], "c.a"),
        ("ARRAY<ROW<a INT NOT NULL>>", [[], [{"a": 1}, {"a": None}]], "c.element.a"),
        ("MAP<INT, ROW<a ARRAY<INT> NOT NULL>>", [{1: {"a": None}}], "c.value.a"),
        ("ROW<i ROW<n INT NOT NULL> NOT NULL>", [None, {"i": None}], "c.i"),
        ("ROW<i ROW<n INT NOT NULL> NOT NULL>", [None, {"i": {"n": None}}], "c.i.n"),
    ],
)
def test_null_that_no_row_hides_is_refused_by_its_place(
    text: str, values: list[Any], place: str
) -> None:
    with pytest.raises(BadData, match=f"null in a NOT NULL column, column={place}$"):
        encodable(arrow(text, values), field(text))
