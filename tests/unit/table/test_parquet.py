"""Data files read in chunks: each about as large, decoded, as it was asked to be."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from support.faulty import FaultyStorage

from desilt.table.errors import BadData
from desilt.table.format.parquet import ParquetSource

LIMIT_BYTES = 256 * 1024
ROWS = 100_000


def source_of(folder: Path, frame: pl.DataFrame, group_rows: int = ROWS) -> ParquetSource:
    frame.write_parquet(folder / "data.parquet", row_group_size=group_rows)
    return ParquetSource(FaultyStorage(), f"{folder}/data.parquet")


def numbers(distinct: int) -> pl.DataFrame:
    """Ten columns of eight bytes."""
    row = pl.int_range(ROWS, eager=True)
    return pl.DataFrame({f"c{i}": row % distinct + i for i in range(10)})


@pytest.mark.parametrize("group_rows", [ROWS, 7_000], ids=["one-group", "many-groups"])
def test_chunks_are_the_whole_file_in_order(tmp_path: Path, group_rows: int) -> None:
    frame = numbers(ROWS)
    source = source_of(tmp_path, frame, group_rows)
    chunks = source.chunks(LIMIT_BYTES)

    assert source.rows == ROWS
    assert [c.offset for c in chunks] == [
        sum(c.rows for c in chunks[:i]) for i in range(len(chunks))
    ]
    assert pl.concat([source.read(c, frame.columns) for c in chunks]).equals(frame)


def nested() -> pl.DataFrame:
    """Lists of a hundred numbers that encode in almost nothing, and maps of as many texts."""
    lists = pl.Series([[7] * 100]).new_from_index(0, 2_000)
    texts = pl.Series([{f"key {i}": "x" for i in range(100)}], dtype=pl.Map(pl.String, pl.String))
    empty = pl.Series([[]], dtype=pl.List(pl.Int8)).new_from_index(0, 2_000)
    return pl.DataFrame({"l": lists, "m": texts.new_from_index(0, 2_000), "e": empty})


def test_chunk_of_nested_columns_decodes_to_about_the_limit(tmp_path: Path) -> None:
    """A row may hold a hundred values in one column."""
    frame = nested()
    source = source_of(tmp_path, frame)
    chunks = source.chunks(LIMIT_BYTES)

    decoded = [source.read(c, frame.columns).estimated_size() for c in chunks[:3]]
    assert max(decoded) <= 1.5 * LIMIT_BYTES
    assert pl.concat([source.read(c, frame.columns) for c in chunks]).equals(frame)


@pytest.mark.parametrize(
    "series",
    [
        pl.Series([[2**63 - 1]], dtype=pl.List(pl.Int64)).cast(pl.List(pl.Datetime("ns"))),
        pl.Series([{"a": [2**63 - 1]}]).cast(pl.Struct({"a": pl.List(pl.Datetime("ns", "UTC"))})),
    ],
    ids=["list", "row"],
)
def test_saturated_nanoseconds_inside_are_refused_by_column(
    tmp_path: Path, series: pl.Series
) -> None:
    """What Polars makes of an INT96 out of range."""
    source = source_of(tmp_path, pl.DataFrame({"k": [1], "c": series}))

    assert source.read(None, ["k"]).height == 1
    with pytest.raises(BadData, match="column=c"):
        source.read(None, ["k", "c"])


@pytest.mark.parametrize(
    "distinct",
    [
        pytest.param(ROWS, id="all-distinct"),
        pytest.param(50, id="few-distinct"),
    ],
)
def test_chunk_decodes_to_about_the_limit(tmp_path: Path, distinct: int) -> None:
    """What is encoded in half a byte a value takes eight in memory all the same."""
    source = source_of(tmp_path, numbers(distinct))
    chunks = source.chunks(LIMIT_BYTES)

    decoded = [source.read(c, [f"c{i}" for i in range(10)]).estimated_size() for c in chunks[:3]]
    assert max(decoded) <= 1.5 * LIMIT_BYTES
