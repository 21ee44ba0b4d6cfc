"""Rows looked up by key: which are found, in what order, what is read for them or refused."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path

import polars as pl
import pytest
from support.alter import alter, set_options
from support.builders import (
    ManualClock,
    append_table,
    handle_on,
    keyed_table,
    kv,
    reopened,
    upserts,
)
from support.faulty import FaultyStorage

from desilt.table.errors import BadData, InvalidRequest
from desilt.table.format import parquet
from desilt.table.table import Table


def keys(*values: int) -> pl.DataFrame:
    return pl.DataFrame({"k": pl.Series(values, dtype=pl.Int32)})


def found(table: Table, *values: int) -> list[tuple[object, ...]]:
    return table.get(keys(*values)).rows()


def opened(table: Table, asked: pl.DataFrame) -> int:
    """Data files that are opened to look keys up."""
    storage = FaultyStorage()
    Table(handle_on(table.path, storage)).get(asked)
    return sum(c.method == "open_source" for c in storage.calls)


# --- which rows -----------------------------------------------------------------------------------


def test_rows_come_in_the_order_of_their_keys_and_once(tmp_path: Path) -> None:
    table = keyed_table(tmp_path, options={"bucket": "3"})
    table.write(upserts(10, "a"))

    assert found(table, 7, 1, 99, 7, 4, 1) == [(7, "a7"), (1, "a1"), (4, "a4")]
    assert found(table, 99, -1) == []
    assert found(table) == []


def test_the_newest_record_is_found_and_deleted_ones_are_not(tmp_path: Path) -> None:
    table = keyed_table(tmp_path)
    table.write(upserts(5, "a"))
    table.compact("full")
    table.write(kv((1, "b")))
    table.delete(keys(2))

    assert found(table, 1, 2, 3) == [(1, "b"), (3, "a3")]


def test_other_types_of_keys_are_made_the_tables(tmp_path: Path) -> None:
    table = keyed_table(tmp_path)
    table.write(upserts(5, "a"))

    for dtype in (pl.Int8, pl.Int64, pl.UInt32, pl.Float64):
        assert table.get(pl.DataFrame({"k": pl.Series([3], dtype=dtype)})).rows() == [(3, "a3")]


def test_columns_are_chosen_and_ordered(tmp_path: Path) -> None:
    table = keyed_table(tmp_path)
    table.write(upserts(5, "a"))

    assert table.get(keys(3), columns=["v"]).to_dict(as_series=False) == {"v": ["a3"]}
    assert table.get(keys(3), columns=["v", "k"]).columns == ["v", "k"]
    assert table.get(keys(9)).schema == table.schema.polars


def test_an_earlier_snapshot_can_be_asked(tmp_path: Path) -> None:
    table = keyed_table(tmp_path)
    table.write(kv((1, "a")))
    table.write(kv((1, "b")))

    assert table.get(keys(1), snapshot_id=1).rows() == [(1, "a")]
    assert found(table, 1) == [(1, "b")]


def test_an_empty_table_has_no_keys(tmp_path: Path) -> None:
    assert found(keyed_table(tmp_path), 1, 2) == []


@pytest.mark.parametrize(
    ("engine", "more", "wanted"),
    [
        ("deduplicate", {}, (1, None, 5)),
        ("partial-update", {}, (1, "a", 5)),
        ("aggregation", {"fields.w.aggregate-function": "sum"}, (1, "a", 7)),
        ("first-row", {}, (1, "a", 2)),
    ],
)
def test_records_are_merged_by_the_tables_engine(
    tmp_path: Path, engine: str, more: dict[str, str], wanted: tuple[object, ...]
) -> None:
    table = keyed_table(
        tmp_path,
        columns={"k": "INT NOT NULL", "v": "STRING", "w": "INT"},
        options={"merge-engine": engine, **more},
    )
    frame = pl.DataFrame({"k": [1], "v": ["a"], "w": [2]})
    table.write(frame)
    table.write(frame.with_columns(v=pl.lit(None, dtype=pl.String), w=pl.lit(5)))
    table.compact("minor")
    table.compact("full")

    assert found(table, 1, 2) == [wanted]


def test_what_no_scan_sees_is_not_found(tmp_path: Path) -> None:
    """Level 0 under deletion vectors waits for a compaction; rows that are marked are gone."""
    table = keyed_table(tmp_path, options={"deletion-vectors.enabled": "true"})
    table.write(upserts(5, "a"))
    assert found(table, 1) == []
    table.compact("full")
    table.write(kv((1, "b"), (9, "b")))

    assert found(table, 1, 9) == [(1, "a1")]
    table.compact("minor")
    assert found(table, 1, 9) == [(1, "b"), (9, "b")]


def test_expired_records_stay_until_a_compaction_passes(tmp_path: Path) -> None:
    clock = ManualClock()
    table = keyed_table(
        tmp_path,
        columns={"k": "INT NOT NULL", "t": "INT"},
        options={
            "record-level.expire-time": "1 h",
            "record-level.time-field": "t",
        },
        clock=clock,
    )
    table.write(pl.DataFrame({"k": [1, 2], "t": [0, clock.now() // 1000]}))

    assert found(table, 1, 2) == table.scan().collect().sort("k").rows()
    table.compact("full")
    assert [k for k, _ in found(table, 1, 2)] == [2]


def test_added_columns_are_null_and_renamed_ones_are_followed(tmp_path: Path) -> None:
    table = keyed_table(tmp_path)
    table.write(upserts(3, "a"))
    alter(table, [{"op": "rename", "from": "v", "to": "w"}, {"op": "add", "name": "v",
                                                             "type": "INT"}])  # fmt: skip

    assert found(reopened(table), 2) == [(2, "a2", None)]


def test_zeros_are_two_keys_and_nan_is_one(tmp_path: Path) -> None:
    table = keyed_table(tmp_path, columns={"k": "DOUBLE NOT NULL", "v": "STRING"})
    nan = float("nan")
    table.write(pl.DataFrame({"k": [0.0, -0.0, nan, 1.0], "v": ["plus", "minus", "nan", "one"]}))

    def values(*asked: float) -> list[str]:
        return table.get(pl.DataFrame({"k": list(asked)}))["v"].to_list()

    assert values(-0.0) == ["minus"]
    assert values(0.0, nan, -0.0) == ["plus", "nan", "minus"]


# --- partitions and buckets -----------------------------------------------------------------------


@pytest.fixture
def partitioned(tmp_path: Path) -> Table:
    table = keyed_table(
        tmp_path,
        columns={"p": "STRING NOT NULL", "d": "TIMESTAMP(3) NOT NULL", "k": "INT NOT NULL",
                 "v": "INT"},
        primary_key=("p", "d", "k"), partition_by=("p", "d"), options={"bucket": "2"},
    )  # fmt: skip
    for number, name in enumerate(["a", "b", "", " "]):
        table.write(asked([(name, number, k) for k in range(20)]).with_columns(v=pl.lit(number)))
    return table


def asked(rows: Sequence[tuple[str, int, int]]) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "p": [p for p, _, _ in rows],
            "d": pl.Series([date(2026, 1, 1 + d) for _, d, _ in rows]).cast(pl.Datetime("ms")),
            "k": pl.Series([k for _, _, k in rows], dtype=pl.Int32),
        }
    )


def test_a_key_is_looked_for_in_its_partition_alone(partitioned: Table) -> None:
    wanted = asked([("b", 1, 3), ("a", 1, 3), ("", 2, 4), (" ", 3, 4), ("c", 0, 1)])

    rows = partitioned.get(wanted)

    assert rows["v"].to_list() == [1, 2, 3]
    assert rows.select("p", "d", "k").rows() == wanted[[0, 2, 3]].rows()
    assert opened(partitioned, wanted.head(1)) == 1
    assert opened(partitioned, wanted[[1, 4]]) == 0


def test_partitions_of_another_number_of_buckets_are_asked_by_theirs(
    partitioned: Table,
) -> None:
    set_options(partitioned, bucket="7")
    table = reopened(partitioned)
    table.write(asked([("z", 0, k) for k in range(20)]).with_columns(v=pl.lit(9)))
    every = asked([(p, d, k) for k in range(20) for p, d in (("z", 0), ("a", 0))])

    assert table.get(every)["v"].to_list() == [9, 0] * 20


# --- what is read ---------------------------------------------------------------------------------


def test_files_are_opened_whose_ranges_hold_a_key(tmp_path: Path) -> None:
    table = keyed_table(tmp_path, options={"metadata.stats-mode": "none"})
    for first in (0, 10, 20):
        table.write(upserts(10, "a", start=first))
    table.write(upserts(2, "b", start=5, step=10))  # 5 and 15

    assert opened(table, keys(3)) == 1
    assert opened(table, keys(7)) == 2  # 7 lies between 5 and 15
    assert opened(table, keys(15)) == 2
    assert opened(table, keys(25)) == 1
    assert opened(table, keys(3, 25)) == 2
    assert opened(table, keys(-1, 30)) == 0
    assert found(table, 15, 7, 25) == [(15, "b15"), (7, "a7"), (25, "a25")]


@pytest.fixture
def short_row_groups() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parquet, "ROW_GROUP_BYTES", 1)
        patch.setattr(parquet, "ROW_GROUP_ROWS_MIN", 5)
        yield


def test_row_groups_are_read_that_may_hold_a_key(
    tmp_path: Path, short_row_groups: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = keyed_table(tmp_path)
    table.write(upserts(50, "a", step=2))
    reads: list[tuple[int, int]] = []
    read = parquet.ParquetSource.read

    def noted(
        self: parquet.ParquetSource, chunk: parquet.Chunk | None, columns: Sequence[str]
    ) -> pl.DataFrame:
        assert chunk is not None
        reads.append((chunk.offset, chunk.rows))
        return read(self, chunk, columns)

    monkeypatch.setattr(parquet.ParquetSource, "read", noted)

    assert found(table, 24) == [(24, "a24")]
    assert reads == [(10, 5), (12, 1)]  # the keys of the group, then the values of the row
    reads.clear()
    assert found(table, 23) == []
    assert reads == [(10, 5)]
    reads.clear()
    assert found(table, 0, 98) == [(0, "a0"), (98, "a98")]
    assert reads == [(0, 5), (0, 1), (45, 5), (49, 1)]


# --- what is refused ------------------------------------------------------------------------------


def test_keys_that_are_none_are_refused_by_name(tmp_path: Path) -> None:
    table = keyed_table(tmp_path)
    table.write(upserts(3, "a"))

    with pytest.raises(InvalidRequest, match=r"a column of the primary key is missing.*column=k"):
        table.get(pl.DataFrame())
    with pytest.raises(InvalidRequest, match=r"no column of the primary key.*column=v"):
        table.get(kv((1, "a")))
    with pytest.raises(InvalidRequest, match=r"a key is null.*column=k"):
        table.get(pl.DataFrame({"k": [1, None]}))
    with pytest.raises(InvalidRequest, match=r"no such column.*column=x"):
        table.get(keys(1), columns=["x"])
    with pytest.raises(InvalidRequest, match=r"named twice.*column=v"):
        table.get(keys(1), columns=["v", "k", "v"])
    with pytest.raises(InvalidRequest, match="snapshot_id=9"):
        table.get(keys(1), snapshot_id=9)


@pytest.mark.parametrize("value", [1.5, "one", 2**40, [1]])
def test_keys_that_do_not_fit_are_refused(tmp_path: Path, value: object) -> None:
    table = keyed_table(tmp_path)
    table.write(upserts(3, "a"))

    with pytest.raises(BadData, match="column=k"):
        table.get(pl.DataFrame({"k": [value]}))


def test_append_tables_have_no_keys(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="needs a primary key"):
        append_table(tmp_path).get(pl.DataFrame({"n": [1]}))
