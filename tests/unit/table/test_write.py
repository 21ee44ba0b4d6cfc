"""Writing: rows that fit and rows that do not, kinds, deletes by key, one row a key, buckets."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from support.alter import set_options
from support.builders import (
    append_table,
    catalog,
    handle_on,
    keyed_table,
    kv,
    live_files,
    orphans,
    reopened,
    rows_of,
    upserts,
)
from support.faulty import Failure, FaultyStorage, files_below

from desilt.table.bucket import bucket_numbers
from desilt.table.commit import Committer
from desilt.table.conform import conform
from desilt.table.datatypes import parse_type
from desilt.table.errors import BadData, InvalidRequest, StorageUnavailable, TableError
from desilt.table.metadata import MetadataReader
from desilt.table.table import Table
from desilt.table.write import write_rows

TYPES = {
    "k": "INT NOT NULL",
    "n": "BIGINT",
    "d": "DECIMAL(6, 2)",
    "s": "VARCHAR(5)",
    "c": "CHAR(3)",
    "b": "BINARY(4)",
    "t": "TIMESTAMP(3)",
    "f": "DOUBLE",
    "o": "BOOLEAN",
}

NOON = datetime(2026, 10, 1, 12, 0, 0, 5000, tzinfo=UTC).replace(tzinfo=None)


@pytest.fixture
def wide(tmp_path: Path) -> Table:
    return keyed_table(tmp_path, columns=TYPES)


def one(**values: object) -> pl.DataFrame:
    """One row, its columns as Polars guesses them."""
    return pl.DataFrame({"k": [1], **{name: [value] for name, value in values.items()}})


# --- rows that fit ------------------------------------------------------------------------------


def test_columns_come_by_name_in_any_order_and_missing_ones_are_null(wide: Table) -> None:
    wide.write(pl.DataFrame({"n": [5], "k": [1]}))

    assert wide.scan(columns=["k", "n", "s", "o"]).collect().row(0) == (1, 5, None, None)


@pytest.mark.parametrize(
    ("column", "given", "stored"),
    [
        ("n", 7, 7),
        ("n", "7", 7),
        ("n", 7.0, 7),
        ("n", Decimal("7.00"), 7),
        ("d", 1, Decimal("1.00")),
        ("d", "1234.56", Decimal("1234.56")),
        ("s", "größe", "größe"),
        ("s", "漢字漢字漢", "漢字漢字漢"),
        ("c", "ab", "ab"),
        ("b", b"abcd", b"abcd"),
        ("f", 3, 3.0),
        ("t", NOON, NOON),
        ("s", None, None),
    ],
)
def test_value_is_stored_as_its_columns_type(
    wide: Table, column: str, given: object, stored: object
) -> None:
    wide.write(one(**{column: given}))

    assert wide.scan(columns=[column]).collect().item() == stored


def test_conform_passes_fitting_rows_on_untouched(wide: Table) -> None:
    frame = wide.scan().collect().clear()

    assert conform(frame, wide.schema).schema == wide.schema.polars
    assert conform(frame, wide.schema).columns == list(TYPES)


def test_write_of_no_rows_publishes_nothing(wide: Table) -> None:
    before = files_below(wide.path)

    assert wide.write(one(n=1).clear()) is None
    assert wide.delete(one().clear()) is None
    assert files_below(wide.path) == before


# --- rows that do not fit -----------------------------------------------------------------------

Misfit = tuple[dict[str, Any], type[TableError], str]
MISFITS: dict[str, Misfit] = {
    "unknown column": ({"zz": 1}, InvalidRequest, "column=zz"),
    "number too large": ({"k": 2**31}, BadData, "column=k, type=INT NOT NULL"),
    "text that is no number": ({"n": "x"}, BadData, "column=n, type=BIGINT"),
    "fraction in an integer": ({"n": 1.5}, BadData, "column=n, type=BIGINT"),
    "fraction of a decimal in an integer": ({"n": Decimal("1.5")}, BadData, "column=n"),
    "NaN in an integer": ({"n": float("nan")}, BadData, "column=n"),
    "decimal too large": ({"d": "12345.00"}, BadData, "column=d, type=DECIMAL(6, 2)"),
    "text too long": ({"s": "123456"}, BadData, "column=s, type=VARCHAR(5)"),
    "characters too many": ({"c": "漢字漢字"}, BadData, "column=c, type=CHAR(3)"),
    "bytes too many": ({"b": b"12345"}, BadData, "column=b, type=BINARY(4)"),
    "list for a number": ({"n": [1]}, BadData, "column=n"),
    "null key": ({"k": None}, BadData, "column=k"),
}


@pytest.mark.parametrize("name", MISFITS)
def test_misfit_is_refused_by_column_and_nothing_is_written(wide: Table, name: str) -> None:
    values, error, words = MISFITS[name]
    wide.write(one(n=1))
    before = files_below(wide.path)

    with pytest.raises(error) as caught:
        wide.write(one(**values))

    assert words in str(caught.value)
    assert caught.value.context["table"] == "db.t"
    assert files_below(wide.path) == before


def test_missing_not_null_column_is_refused(wide: Table) -> None:
    with pytest.raises(InvalidRequest, match="NOT NULL, column=k"):
        wide.write(pl.DataFrame({"n": [1]}))


@pytest.mark.parametrize(
    "kinds",
    [["+X"], [""], [None], ["+I", "+I"], [], [4], [-1], [1.5]],
    ids=str,
)
def test_wrong_kinds_are_refused(tmp_path: Path, kinds: list[Any]) -> None:
    table = keyed_table(tmp_path)
    before = files_below(table.path)

    with pytest.raises(InvalidRequest, match="kind"):
        table.write(kv((1, "a")), kinds=pl.Series(kinds))
    assert files_below(table.path) == before


def test_kinds_need_a_primary_key(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="row kinds need a primary key"):
        append_table(tmp_path).write(pl.DataFrame({"n": [1]}), kinds=pl.Series(["+I"]))


# --- kinds and deletes --------------------------------------------------------------------------


@pytest.mark.parametrize("numbers", [False, True], ids=["as-text", "as-numbers"])
def test_kinds_decide_whether_a_row_is_there(tmp_path: Path, *, numbers: bool) -> None:
    table = keyed_table(tmp_path)
    kinds = [0, 1, 2, 3] if numbers else ["+I", "-U", "+U", "-D"]

    table.write(kv((1, "a"), (2, "b"), (3, "c"), (4, "d")), kinds=pl.Series(kinds))

    assert rows_of(table) == [(1, "a"), (3, "c")]
    (entry,) = _entries(table)
    assert (entry["row_count"], entry["delete_row_count"]) == (4, 2)


def _entries(table: Table) -> list[dict[str, Any]]:
    snapshot = table.handle.snapshots.latest()
    assert snapshot is not None
    return MetadataReader(table.handle).live(snapshot).to_dicts()


def test_write_keeps_the_last_row_of_a_key(tmp_path: Path) -> None:
    table = keyed_table(tmp_path)

    table.write(kv((1, "a"), (2, "x"), (1, "b"), (1, "c")))

    assert rows_of(table) == [(1, "c"), (2, "x")]
    (entry,) = _entries(table)
    assert entry["row_count"] == 2
    # Numbers are given in the order rows came; those of rows that lost are not used.
    assert (entry["min_sequence"], entry["max_sequence"]) == (1, 3)


@pytest.mark.parametrize("last", ["+I", "-D"])
def test_write_keeps_the_last_kind_of_a_key(tmp_path: Path, last: str) -> None:
    table = keyed_table(tmp_path)
    first = "-D" if last == "+I" else "+I"

    table.write(kv((1, "a"), (1, "b")), kinds=pl.Series([first, last]))

    assert rows_of(table) == ([(1, "b")] if last == "+I" else [])


def test_write_keeps_the_row_with_the_largest_sequence_field(tmp_path: Path) -> None:
    table = keyed_table(tmp_path, columns={"k": "INT", "s": "INT"}, options={"sequence.field": "s"})

    table.write(pl.DataFrame({"k": [1, 1, 1, 2, 2], "s": [5, 9, 7, None, 1]}))

    assert rows_of(table) == [(1, 9), (2, 1)]


def test_delete_takes_rows_out_and_later_writes_bring_them_back(tmp_path: Path) -> None:
    table = keyed_table(tmp_path)
    table.write(upserts(4, "v"))
    table.delete(pl.DataFrame({"k": [1, 3, 99]}))
    assert rows_of(table) == [(0, "v0"), (2, "v2")]

    table.write(kv((3, "again")))
    assert rows_of(table) == [(0, "v0"), (2, "v2"), (3, "again")]


def test_delete_needs_key_partition_and_sequence_columns(tmp_path: Path) -> None:
    table = keyed_table(
        tmp_path,
        columns={"k": "INT", "p": "STRING", "s": "BIGINT", "v": "STRING NOT NULL"},
        primary_key=("p", "k"),
        partition_by=("p",),
        options={"sequence.field": "s"},
    )
    keys = pl.DataFrame({"k": [1], "p": ["x"], "s": [1]})
    for name in keys.columns:
        with pytest.raises(InvalidRequest, match=f"needs this column, column={name}"):
            table.delete(keys.drop(name))

    table.write(keys.with_columns(v=pl.lit("row")))
    table.delete(keys.with_columns(s=pl.lit(0)))
    assert len(rows_of(table)) == 1  # an older delete
    table.delete(keys.with_columns(s=pl.lit(2)))
    assert rows_of(table) == []


def test_delete_gives_not_null_columns_a_value(tmp_path: Path) -> None:
    types = ["BOOLEAN", "TINYINT", "BIGINT", "FLOAT", "DECIMAL(20, 3)", "CHAR(3)", "STRING",
             "BINARY(3)", "BYTES", "DATE", "TIME(3)", "TIMESTAMP(3)", "TIMESTAMP(9)",
             "TIMESTAMP_LTZ(6)"]  # fmt: skip
    columns = {"k": "INT", **{f"v{i}": f"{text} NOT NULL" for i, text in enumerate(types)}}
    table = keyed_table(tmp_path, columns=columns)

    table.delete(pl.DataFrame({"k": [1]}))

    assert rows_of(table) == []
    assert _entries(table)[0]["delete_row_count"] == 1


def test_delete_from_an_append_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="needs a primary key"):
        append_table(tmp_path).delete(pl.DataFrame({"n": [1]}))


# --- files --------------------------------------------------------------------------------------


def test_rows_lie_in_the_bucket_of_their_key(tmp_path: Path) -> None:
    table = keyed_table(tmp_path, options={"bucket": "4"})
    rows = upserts(200, "v")
    table.write(rows)
    wanted = rows.with_columns(
        bucket_numbers(rows, ["k"], [parse_type("INT NOT NULL")], 4).alias("bucket")
    )

    for bucket in range(4):
        (path,) = Path(f"{table.path}/bucket-{bucket}").iterdir()
        keys = pl.read_parquet(path)["k"].to_list()
        assert keys == wanted.filter(pl.col("bucket") == bucket)["k"].to_list()
        assert keys == sorted(keys)


def test_rows_lie_in_the_directory_of_their_partition(tmp_path: Path) -> None:
    table = keyed_table(
        tmp_path,
        columns={"k": "INT", "p": "STRING", "q": "INT"},
        primary_key=("k", "p", "q"),
        partition_by=("q", "p"),
    )
    table.write(pl.DataFrame({"k": [1, 2, 3], "p": ["a", "b/c", ""], "q": [7, 7, 8]}))

    folders = {
        str(p.parent.parent.relative_to(table.path)) for p in Path(table.path).rglob("data-*")
    }
    assert folders == {"q=7/p=a", "q=7/p=b%2Fc", "q=8/p=__DEFAULT_PARTITION__"}
    assert len(rows_of(table)) == 3


def test_append_buckets_follow_their_bucket_key(tmp_path: Path) -> None:
    table = append_table(tmp_path, options={"bucket": "3", "bucket-key": "v"})
    table.write(pl.DataFrame({"n": range(90), "v": [f"{i % 9}" for i in range(90)]}))

    buckets = [pl.read_parquet(p)["v"].unique() for p in Path(table.path).rglob("*.parquet")]
    assert sum(len(b) for b in buckets) == 9
    assert len(table.scan().collect()) == 90


def test_sequence_numbers_go_on_from_the_largest_of_the_bucket(tmp_path: Path) -> None:
    table = keyed_table(tmp_path)
    for number in range(3):
        table.write(upserts(4, f"{number}"))

    ranges = sorted((e["min_sequence"], e["max_sequence"]) for e in _entries(table))
    assert ranges == [(0, 3), (4, 7), (8, 11)]


def test_write_into_buckets_of_another_count_is_refused(tmp_path: Path) -> None:
    table = keyed_table(tmp_path)
    table.write(kv((1, "a")))
    path = Path(f"{table.path}/schema/schema-0")
    path.write_text(path.read_text().replace('"bucket": "1"', '"bucket": "2"'))
    before = files_below(table.path)

    with pytest.raises(InvalidRequest, match="bucket=2, found=1"):
        table.write(kv((2, "b")))
    assert files_below(table.path) == before


def test_write_keeps_user_and_identifier(tmp_path: Path) -> None:
    table = keyed_table(tmp_path)
    table.write(kv((1, "a")), user="me", identifier=7)

    snapshot = table.handle.snapshots.latest()
    assert snapshot is not None
    assert (snapshot.commit_user, snapshot.commit_identifier) == ("me", 7)
    assert (snapshot.total_record_count, snapshot.delta_record_count) == (1, 1)


@pytest.mark.parametrize("at", range(14))
def test_write_that_fails_leaves_no_file(tmp_path: Path, at: int) -> None:
    table = keyed_table(tmp_path, options={"bucket": "2"})
    table.write(upserts(9, "a"))
    storage = FaultyStorage(fault=Failure(at))
    try:
        Table(handle_on(table.path, storage)).write(upserts(9, "b"))
    except (StorageUnavailable, BadData):
        assert {v for _, v in rows_of(table)} == {f"a{i}" for i in range(9)}

    assert orphans(table) == set()


def test_writer_does_not_bring_its_rows_into_a_table_made_anew(tmp_path: Path) -> None:
    """Its last snapshot is not there, but was not replaced either: the table was dropped."""
    writer = keyed_table(tmp_path)
    writer.write(kv((1, "old")))
    shutil.rmtree(writer.path)
    other = keyed_table(tmp_path)
    other.write(kv((2, "new")))

    writer.write(kv((3, "later")))

    assert rows_of(other) == [(2, "new"), (3, "later")]


def test_written_rows_are_visible_to_the_next_reader_at_once(tmp_path: Path) -> None:
    table = keyed_table(tmp_path)
    for number in range(3):
        table.write(kv((number, "x")))
        assert len(rows_of(reopened(table))) == number + 1
    assert len(live_files(table)) == 3


def test_a_long_writer_remembers_no_more_than_the_latest_snapshot_uses(tmp_path: Path) -> None:
    table = append_table(tmp_path)
    committer = Committer(table.handle)
    for number in range(40):
        rows = pl.DataFrame({"n": [number], "v": ["a"]})
        write_rows(table.handle, rows, committer=committer)
    reader, latest = committer.reader, table.handle.snapshots.latest()
    assert latest is not None
    in_use = len(reader.manifests(latest))
    assert len(reader._lists) <= 4  # pyright: ignore[reportPrivateUsage]
    assert len(reader._slim) <= in_use + 2  # pyright: ignore[reportPrivateUsage]


def test_time_zones_are_converted_to_utc(tmp_path: Path) -> None:
    table = append_table(tmp_path, columns={"t": "TIMESTAMP(6) WITH LOCAL TIME ZONE"})
    table.write(
        pl.DataFrame({"t": [datetime(2026, 10, 1, 12, tzinfo=UTC)]}).with_columns(
            pl.col("t").dt.convert_time_zone("Asia/Tokyo")
        )
    )

    assert table.scan().collect().item() == datetime(2026, 10, 1, 12, tzinfo=UTC)


def test_a_partition_keeps_its_number_of_buckets_and_new_ones_take_the_new_number(
    tmp_path: Path,
) -> None:
    table = catalog(tmp_path).create_table(
        "db.t",
        {"p": "INT NOT NULL", "k": "INT NOT NULL"},
        primary_key=["p", "k"],
        partition_by=["p"],
        options={"bucket": "2"},
    )
    keys = {"p": pl.Int32, "k": pl.Int32}
    table.write(pl.DataFrame({"p": [0] * 9, "k": range(9)}, schema=keys))
    set_options(table, bucket="3")

    table.write(pl.DataFrame({"p": [1] * 9, "k": range(9)}, schema=keys))

    snapshot = table.handle.snapshots.latest()
    assert snapshot is not None
    live = MetadataReader(table.handle).live(snapshot)
    assert set(live["total_buckets"]) == {2, 3}
    with pytest.raises(InvalidRequest, match="bucket=3, found=2"):
        table.write(pl.DataFrame({"p": [1, 0], "k": [10, 10]}, schema=keys))
    assert table.scan().collect().height == 18
