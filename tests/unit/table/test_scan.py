"""A scan with a projection, a predicate or a limit gives what the whole table would have given."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from pathlib import Path

import polars as pl
import pytest
from support.builders import (
    append_table,
    catalog,
    handle_on,
    keyed_table,
    kv,
    live_files,
    rows_of,
    upserts,
)
from support.faulty import FaultyStorage

from desilt.table.errors import CorruptTable, InvalidRequest
from desilt.table.table import Table

COLUMNS = {
    "k": "INT",
    "t": "STRING",
    "p": "DATE",
    "q": "INT",
    "v": "DOUBLE",
    "w": "STRING",
}
DAYS = [date(2026, 10, 1), date(2026, 10, 2), date(2026, 10, 3)]


def rows(keys: Sequence[int], version: int) -> pl.DataFrame:
    """Two rows a key, in partitions that follow from the key; every fourth ``w`` is null."""
    pairs = [(k, t) for k in keys for t in ("a", "b")]
    return pl.DataFrame(
        {
            "k": pl.Series([k for k, _ in pairs], dtype=pl.Int32),
            "t": [t for _, t in pairs],
            "p": [DAYS[k % 3] for k, _ in pairs],
            "q": pl.Series([k % 2 for k, _ in pairs], dtype=pl.Int32),
            "v": [version * 100.0 + k for k, _ in pairs],
            "w": [None if k % 4 == 0 else f"{t}{version}" for k, t in pairs],
        }
    )


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Table:
    """Six partitions of two buckets: updates, deletes, a compacted level under newer files."""
    table = keyed_table(
        tmp_path_factory.mktemp("keyed"),
        columns=COLUMNS,
        primary_key=("p", "q", "k", "t"),
        partition_by=("p", "q"),
        options={"bucket": "2"},
    )
    table.write(rows(range(60), 1))
    table.delete(rows(range(0, 60, 7), 1).select("p", "q", "k", "t"))
    table.compact("full", partition={"p": "20727"})
    table.write(rows(range(20, 50), 2))
    table.delete(rows(range(25, 60, 5), 2).select("p", "q", "k", "t"))
    table.write(rows(range(30, 34), 3))
    return table


@pytest.fixture(scope="module")
def appended(tmp_path_factory: pytest.TempPathFactory) -> Table:
    table = catalog(tmp_path_factory.mktemp("appended")).create_table(
        "db.t", COLUMNS, partition_by=["p", "q"]
    )
    for version in (1, 2, 3):
        table.write(rows(range(20), version))
    return table


k, t, p, q, v, w = (pl.col(name) for name in COLUMNS)
PREDICATES: dict[str, pl.Expr] = {
    "a partition": p == date(2026, 10, 2),
    "a range of partitions": p >= date(2026, 10, 2),
    "both partition columns": (p == date(2026, 10, 1)) & (q == 1),
    "no partition": p == date(1999, 1, 1),
    "partitions in a list": p.is_in(DAYS[:2]),
    "one partition column or the other": (p == date(2026, 10, 1)) | (q == 0),
    "a key": k == 31,
    "a key that was deleted": k == 7,
    "a key that never was": k == 4711,
    "a range of keys": k.is_between(28, 41),
    "part of a key": t == "b",
    "a whole key": (k == 31) & (t == "a") & (p == DAYS[1]) & (q == 1),
    "a key or a partition": (k == 31) | (p == DAYS[0]),
    "arithmetic on keys": k % 4 == 1,
    "a value": v == 230.0,
    "an older version's value": v == 130.0,
    "a range of values": v > 210.0,
    "a null": w.is_null(),
    "no null": w.is_not_null(),
    "a value or null": (w == "a2") | w.is_null(),
    "value and key": (v > 200) & (k < 40),
    "value or key": (v > 300) | (k < 5),
    "value, key and partition": (w == "b1") & (k > 9) & (q == 1),
    "nothing": pl.lit(value=False),
    "everything": pl.lit(value=True),
}
PROJECTIONS: list[list[str]] = [list(COLUMNS), ["v"], ["w", "k"], ["p"], ["q", "w"], ["k", "t"]]


def ordered(frame: pl.DataFrame) -> list[tuple[object, ...]]:
    return sorted(frame.rows(), key=repr)


@pytest.fixture(scope="module")
def tables(keyed: Table, appended: Table) -> list[tuple[Table, pl.DataFrame]]:
    """Both tables with all their rows."""
    return [(table, table.scan().collect()) for table in (keyed, appended)]


@pytest.mark.parametrize("number", range(len(PREDICATES)), ids=list(PREDICATES))
def test_filtered_scan_equals_filtering_afterwards(
    tables: list[tuple[Table, pl.DataFrame]], number: int
) -> None:
    predicate = list(PREDICATES.values())[number]
    columns = PROJECTIONS[number % len(PROJECTIONS)]
    for table, whole in tables:
        wanted = whole.filter(predicate)

        pushed = table.scan(columns=columns, filter=predicate).collect()
        lazily = table.scan().filter(predicate).collect()

        assert ordered(pushed) == ordered(wanted.select(columns))
        assert ordered(lazily) == ordered(wanted)
        assert pushed.columns == columns


@pytest.mark.parametrize("columns", PROJECTIONS, ids=",".join)
def test_projected_scan_equals_selecting_afterwards(
    tables: list[tuple[Table, pl.DataFrame]], columns: list[str]
) -> None:
    for table, whole in tables:
        assert ordered(table.scan(columns=columns).collect()) == ordered(whole.select(columns))
        assert ordered(table.scan().select(columns).collect()) == ordered(whole.select(columns))


def test_predicates_are_no_trivial_cases(tables: list[tuple[Table, pl.DataFrame]]) -> None:
    """Of the predicates above, most keep some rows and not all."""
    whole = tables[0][1]
    kept = [whole.filter(e).height for e in PREDICATES.values()]

    assert sum(0 < n < whole.height for n in kept) >= 18


def test_scan_equals_a_plain_model(keyed: Table) -> None:
    model: dict[tuple[object, ...], tuple[object, ...]] = {}
    key = [list(COLUMNS).index(c) for c in ("p", "q", "k", "t")]

    def put(frame: pl.DataFrame) -> None:
        model.update({tuple(r[i] for i in key): r for r in frame.rows()})

    def drop(frame: pl.DataFrame) -> None:
        for row in frame.rows():
            model.pop(tuple(row[i] for i in key), None)

    put(rows(range(60), 1))
    drop(rows(range(0, 60, 7), 1))
    put(rows(range(20, 50), 2))
    drop(rows(range(25, 60, 5), 2))
    put(rows(range(30, 34), 3))

    assert ordered(keyed.scan().collect()) == sorted(model.values(), key=repr)


# --- what is not read ---------------------------------------------------------------------------


def opened(table: Table, predicate: pl.Expr) -> set[str]:
    """Directories of the data files that a filtered scan opens."""
    storage = FaultyStorage()
    Table(handle_on(table.path, storage)).scan().filter(predicate).collect()
    return {c.path.split("/")[-4] for c in storage.calls if c.method == "open_source"}


def test_predicate_on_partitions_opens_no_other_partition(keyed: Table, appended: Table) -> None:
    for table in (keyed, appended):
        assert len(opened(table, k >= 0)) == 3
        assert len(opened(table, p == DAYS[1])) == 1
        assert opened(table, p == date(1999, 1, 1)) == set()


def test_scan_reads_no_data_before_it_is_collected(keyed: Table) -> None:
    storage = FaultyStorage()
    lazy = Table(handle_on(keyed.path, storage)).scan()

    assert storage.count("open_source") == 0
    lazy.collect()
    assert storage.count("open_source") > 0


# --- limits and counts --------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [0, 1, 5, 41, 10_000])
def test_limit_gives_that_many_rows_of_the_table(
    tables: list[tuple[Table, pl.DataFrame]], limit: int
) -> None:
    for table, whole in tables:
        part = table.scan().head(limit).collect()

        assert part.height == min(limit, whole.height)
        assert set(part.rows()) <= set(whole.rows())


@pytest.mark.parametrize("name", ["a partition", "a key", "a range of values", "a null"])
def test_limit_after_a_filter_counts_filtered_rows(
    tables: list[tuple[Table, pl.DataFrame]], name: str
) -> None:
    for table, whole in tables:
        kept = whole.filter(PREDICATES[name])
        part = table.scan().filter(PREDICATES[name]).head(3).collect()

        assert part.height == min(3, kept.height)
        assert set(part.rows()) <= set(kept.rows())


def test_filter_after_a_limit_looks_at_that_many_rows(keyed: Table) -> None:
    assert keyed.scan().head(10).filter(pl.lit(value=True)).collect().height == 10


def test_count_needs_no_column(tables: list[tuple[Table, pl.DataFrame]]) -> None:
    for table, whole in tables:
        assert table.scan().select(pl.len()).collect().item() == whole.height
        filtered = table.scan().filter(v > 200).select(pl.len()).collect().item()
        assert filtered == whole.filter(v > 200).height


def test_scan_joins_and_groups_like_any_lazy_frame(keyed: Table) -> None:
    other = pl.LazyFrame({"q": [0, 1], "name": ["even", "odd"]}, schema_overrides={"q": pl.Int32})
    counted = keyed.scan().join(other, on="q").group_by("name").len().sort("name").collect()

    assert counted["name"].to_list() == ["even", "odd"]
    assert counted["len"].sum() == keyed.scan().collect().height


# --- columns ------------------------------------------------------------------------------------


def test_scan_returns_the_schemas_types(keyed: Table) -> None:
    assert keyed.scan().collect_schema() == keyed.schema.polars
    assert keyed.scan().collect().schema == keyed.schema.polars


def test_scan_of_an_unknown_column_is_refused_by_name(keyed: Table) -> None:
    with pytest.raises(InvalidRequest, match=r"column=nope, table=db\.t"):
        keyed.scan(columns=["k", "nope"])


def test_system_columns_cannot_be_scanned(keyed: Table) -> None:
    with pytest.raises(InvalidRequest, match="_SEQUENCE_NUMBER"):
        keyed.scan(columns=["_SEQUENCE_NUMBER"])


# --- time travel --------------------------------------------------------------------------------


def test_scan_of_each_snapshot_gives_what_it_held(tmp_path: Path) -> None:
    table = keyed_table(tmp_path)
    wanted: list[list[tuple[object, ...]]] = []
    for number in range(4):
        table.write(upserts(3, f"v{number}-", start=number))
        wanted.append(rows_of(table))
    table.delete(pl.DataFrame({"k": [1, 2]}))
    wanted.append(rows_of(table))
    table.compact("full")
    wanted.append(rows_of(table))

    assert [rows_of(table, n + 1) for n in range(6)] == wanted
    assert wanted[4] == wanted[5]


def test_scan_of_a_missing_snapshot_is_refused_by_number(keyed: Table) -> None:
    with pytest.raises(InvalidRequest, match="snapshot_id=99"):
        keyed.scan(snapshot_id=99)


def test_scan_keeps_to_the_snapshot_it_was_made_from(tmp_path: Path) -> None:
    table = keyed_table(tmp_path)
    table.write(kv((1, "a")))
    lazy = table.scan()
    table.write(kv((2, "b")))

    assert lazy.collect().height == 1
    assert lazy.collect().height == 1


# --- empty tables -------------------------------------------------------------------------------


def test_scan_of_an_empty_table_has_its_columns_and_no_rows(tmp_path: Path) -> None:
    for table in (keyed_table(tmp_path / "a"), append_table(tmp_path / "b")):
        frame = table.scan().collect()

        assert frame.schema == table.schema.polars
        assert frame.height == 0
        assert table.scan(columns=["v"], filter=pl.col("v") == "x").collect().height == 0
        assert table.scan().select(pl.len()).collect().item() == 0


def test_scan_of_a_table_whose_rows_are_all_deleted_is_empty(tmp_path: Path) -> None:
    table = keyed_table(tmp_path)
    table.write(upserts(3, "a"))
    table.delete(pl.DataFrame({"k": [0, 1, 2]}))
    assert rows_of(table) == []

    table.compact("full")
    assert rows_of(table) == []
    assert live_files(table) == []


# --- files that are not what they should be -----------------------------------------------------


def replaced(table: Table, rows_in_file: int, frame_of: str) -> None:
    """Rewrite the only data file with that many rows, changed."""
    for name, _ in live_files(table):
        path = f"{table.path}/bucket-0/{name}"
        frame = pl.read_parquet(path)
        if frame.height == rows_in_file:
            {"short": frame.head(1), "long": pl.concat([frame, frame.tail(1)]),
             "reversed": frame.reverse(), "twice": frame[[0, 0, *range(2, frame.height)]],
             }[frame_of].write_parquet(path)  # fmt: skip


@pytest.mark.parametrize("change", ["short", "long", "reversed", "twice"])
def test_scan_of_a_file_that_contradicts_its_manifest_is_refused(
    tmp_path: Path, change: str
) -> None:
    """Merging it would lose rows in silence."""
    table = keyed_table(tmp_path)
    table.write(upserts(5, "a"))
    table.write(upserts(2, "b"))
    replaced(table, 5, change)

    with pytest.raises(CorruptTable, match=r"file=.*\.parquet.*table=db\.t"):
        table.scan().collect()


def test_scan_of_a_single_run_that_does_not_ascend_is_refused(tmp_path: Path) -> None:
    table = keyed_table(tmp_path)
    table.write(upserts(5, "a"))
    replaced(table, 5, "reversed")

    with pytest.raises(CorruptTable, match="ascend"):
        table.scan(columns=["v"], filter=pl.col("v") == "a3").collect()


@pytest.mark.parametrize("change", ["short", "long"])
def test_scan_of_an_append_file_with_other_rows_is_refused(tmp_path: Path, change: str) -> None:
    table = append_table(tmp_path)
    table.write(pl.DataFrame({"n": range(5), "v": ["a"] * 5}))
    replaced(table, 5, change)

    with pytest.raises(CorruptTable, match="manifest=5"):
        table.scan().collect()
