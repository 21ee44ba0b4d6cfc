"""What a scan leaves out: for each rule which data files are opened, no more and no fewer, and that
the rows are those of the whole table.

A rule that leaves out too much loses rows, one that leaves out nothing opens too many files.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import polars as pl
import pytest
from support.alter import alter, set_options
from support.builders import append_table, catalog, handle_on, keyed_table, live_files, reopened
from support.faulty import FaultyStorage
from support.predicates import rows_text

from desilt.table.format import parquet
from desilt.table.manifest.entry import DataFile
from desilt.table.row import Instant, encode_row
from desilt.table.scan import as_pushed
from desilt.table.scan_filter import ScanFilter
from desilt.table.scan_plan import Step, plan_files
from desilt.table.scan_snapshot import file_tests
from desilt.table.stats import SimpleStats
from desilt.table.table import Table

k, v, w, p, f = (pl.col(name) for name in "kvwpf")
COLUMNS = {"k": "INT NOT NULL", "v": "INT", "w": "STRING"}


def ints(*values: int | None) -> pl.Series:
    return pl.Series(values, dtype=pl.Int32)


def rows(
    keys: Sequence[int], values: Sequence[int | None], text: str | None = None
) -> pl.DataFrame:
    return pl.DataFrame({"k": ints(*keys), "v": ints(*values)}).with_columns(
        w=pl.lit(text, dtype=pl.String)
    )


def opened(table: Table, predicate: pl.Expr | None, limit: int | None = None) -> int:
    """Data files that a scan opens; it must give the rows of the whole table that pass.

    What `explain` says is what is opened, but for limits, which may be reached sooner.
    """
    storage = FaultyStorage()
    found = Table(handle_on(table.path, storage)).scan(filter=predicate, limit=limit).collect()
    whole = reopened(table).scan().collect()
    passing = whole if predicate is None else whole.filter(predicate)
    if limit is None:
        assert rows_text(found) == rows_text(passing)
    else:
        assert found.height == min(limit, passing.height)
        assert set(rows_text(found)) <= set(rows_text(passing))
    files = sum(c.method == "open_source" for c in storage.calls)
    if limit is None:
        assert table.explain(filter=predicate).left.files == files
    return files


def cuts(table: Table, predicate: pl.Expr) -> Mapping[Step, int]:
    return {c.step: c.files for c in table.explain(filter=predicate).cuts}


# --- values under a merge -------------------------------------------------------------------------


def merging(folder: Path, engine: str = "deduplicate", **options: str) -> Table:
    return keyed_table(folder, columns=COLUMNS, options={"merge-engine": engine, **options})


def test_an_older_row_is_not_raised_from_the_dead(tmp_path: Path) -> None:
    """The newer file cannot pass, but it holds the newer rows."""
    table = merging(tmp_path)
    table.write(rows([1, 2, 3], [1, 2, 3]))
    table.write(rows([1, 2, 3], [11, 12, 13]))

    assert opened(table, v <= 3) == 2
    assert opened(table, v >= 11) == 2
    assert opened(table, v > 13) == 0
    assert opened(table, (v > 3) & (v < 11)) == 0


def test_a_deleted_row_is_not_raised_from_the_dead(tmp_path: Path) -> None:
    table = merging(tmp_path)
    table.write(rows([1, 2, 3], [1, 2, 3]))
    table.delete(pl.DataFrame({"k": ints(2)}))

    assert opened(table, v == 2) == 2
    assert opened(table, v == 4) == 0


def test_files_apart_are_left_out_one_by_one(tmp_path: Path) -> None:
    for engine in ("deduplicate", "partial-update", "aggregation"):
        table = merging(tmp_path / engine, engine)
        table.write(rows([1, 2], [1, 2]))
        table.write(rows([3, 4], [3, 4]))
        table.write(rows([4, 5], [14, 5]))

        assert opened(table, k < 3) == 1
        assert opened(table, (v < 3) & (k < 3)) == 1
        assert opened(table, v > 4) == 2
        assert opened(table, v < 3) == (3 if engine == "aggregation" else 1)


def test_a_sum_is_of_no_file(tmp_path: Path) -> None:
    table = merging(tmp_path, "aggregation", **{"fields.v.aggregate-function": "sum"})
    table.write(rows([1, 2], [1, 2]))
    table.write(rows([1, 3], [10, 3]))

    assert opened(table, v == 11) == 2
    assert opened(table, (v == 11) & (k == 3)) == 0  # of that key there is one record, and it is 3


def test_a_laid_together_row_is_of_several_files(tmp_path: Path) -> None:
    table = merging(tmp_path, "partial-update")
    table.write(rows([1, 2], [1, 2], None))
    table.write(rows([1, 3], [None, None], "x"))

    assert opened(table, (v == 1) & (w == "x")) == 2
    assert opened(table, v.is_null()) == 2
    assert opened(table, v > 2) == 0
    assert opened(table, w == "y") == 0


def test_the_first_row_wins_whatever_later_ones_hold(tmp_path: Path) -> None:
    table = merging(tmp_path, "first-row")
    table.write(rows([1, 2], [1, 2]))
    table.compact("full")
    table.write(rows([1, 2], [11, 12]))

    assert opened(table, v > 2) == 0  # level 0 is hidden
    table.compact("minor")
    assert opened(reopened(table), v > 2) == 0
    assert opened(reopened(table), v == 2) == 1


def test_sequence_fields_decide_before_values_are_asked(tmp_path: Path) -> None:
    table = merging(tmp_path, **{"sequence.field": "v"})
    table.write(rows([1, 2], [10, 20], "new"))
    table.write(rows([1, 2], [1, 2], "old"))

    assert opened(table, w == "old") == 2
    assert opened(table, w == "new") == 2
    assert opened(table, (w > "new") & (w < "old")) == 0
    assert opened(table, w == "zero") == 0


def test_statistics_of_keys_leave_single_files_out_of_an_overlap(tmp_path: Path) -> None:
    """Where the first key varies, key ranges say nothing of the second; its bounds do."""
    table = keyed_table(
        tmp_path, columns={"a": "INT NOT NULL", **COLUMNS}, primary_key=("a", "k")
    )  # fmt: skip
    for key, value in ((5, 1), (6, 2), (5, 3)):
        table.write(rows([key] * 9, [value] * 9).with_columns(a=ints(*range(9))))

    assert opened(table, k == 6) == 1
    assert opened(table, k == 5) == 2
    assert opened(table, k == 7) == 0
    assert opened(table, (k == 5) & (v == 1)) == 2
    assert opened(table, (k == 6) & (v == 1)) == 0


# --- vectors and hidden levels --------------------------------------------------------------------


VECTORS = {"deletion-vectors.enabled": "true"}


def test_vectors_let_single_files_go(tmp_path: Path) -> None:
    """The old rows of both keys are marked, so each file is asked alone."""
    table = merging(tmp_path, **VECTORS)
    table.write(rows(range(1, 9), range(1, 9)))
    table.compact("full")
    table.write(rows([2, 7], [12, 17]))
    table.compact("minor")
    assert sorted(level for _, level in live_files(table)) == [4, 5]

    assert opened(table, v == 2) == 1  # where it was, and no more is
    assert opened(table, v == 12) == 1
    assert opened(table, v == 9) == 0


def test_hidden_files_hide_nothing(tmp_path: Path) -> None:
    """A new row that is not seen yet leaves the old one as it is, whichever of them passes."""
    table = merging(tmp_path, **VECTORS)
    table.write(rows(range(1, 5), range(1, 5)))
    table.compact("full")
    table.write(rows([4], [99]))

    assert opened(table, v == 99) == 0
    assert opened(table, v == 4) == 1
    assert cuts(table, v == 4) == {Step.HIDDEN: 1}


def test_vectors_merged_on_read_are_merged(tmp_path: Path) -> None:
    table = merging(tmp_path, **VECTORS, **{"deletion-vectors.merge-on-read": "true"})
    table.write(rows(range(1, 5), range(1, 5)))
    table.compact("full")
    table.write(rows([4], [99]))

    assert opened(table, v == 4) == 2
    assert opened(table, v == 99) == 2
    assert opened(table, v == 100) == 0


def test_marked_rows_of_append_files_do_not_come_back(tmp_path: Path) -> None:
    table = append_table(tmp_path, columns=COLUMNS, options=VECTORS)
    table.write(rows([1, 2, 3], [1, 2, 3]))
    table.write(rows([4, 5, 6], [4, 5, 6]))
    table.delete(v == 2)

    assert opened(table, v == 2) == 1
    assert opened(table, v > 3) == 1
    assert table.scan(filter=v <= 2).collect().height == 1


# --- partitions, manifests, buckets ---------------------------------------------------------------


def partitioned(folder: Path, **options: str) -> Table:
    return catalog(folder).create_table(
        "db.t", {"p": "STRING", "v": "INT"}, partition_by=["p"], options=options
    )


def of_partition(name: str | None, *values: int) -> pl.DataFrame:
    return pl.DataFrame({"p": [name] * len(values), "v": ints(*values)}, schema_overrides={
        "p": pl.String,
    })  # fmt: skip


def test_partitions_are_left_out_and_null_is_one_of_them(tmp_path: Path) -> None:
    """Null, empty and white text share a directory's name; the manifest tells them apart."""
    table = partitioned(tmp_path)
    names = ["a", "b", None, "", "__DEFAULT_PARTITION__"]
    for name in names:
        table.write(of_partition(name, 1, 2))

    assert opened(table, p == "a") == 1
    assert opened(table, p.is_null()) == 1
    assert opened(table, p == "") == 1
    assert opened(table, p == "__DEFAULT_PARTITION__") == 1
    assert opened(table, p.is_not_null()) == 4
    assert opened(table, ~(p == "a")) == 3
    assert opened(table, (p == "a") | p.is_null()) == 2
    assert opened(table, p.eq_missing(pl.lit(None, dtype=pl.String))) == 1
    assert opened(table, p.is_in(["b", None], nulls_equal=True)) == 2
    assert opened(table, p.str.starts_with("_")) == 1
    assert opened(table, p == "c") == 0
    assert opened(table, (p == "a") | (v == 1)) == 5


def test_manifests_are_not_read_that_hold_other_partitions_alone(tmp_path: Path) -> None:
    table = partitioned(tmp_path)
    for name in ("a", "b", None, "d"):
        table.write(of_partition(name, 1))

    def read(predicate: pl.Expr) -> int:
        assert opened(table, predicate) >= 0
        return table.explain(filter=predicate).manifests

    assert table.explain().manifests == 4
    assert read(p == "b") == 1
    assert read(p.is_null()) == 1
    assert read(p.is_not_null()) == 3
    assert read(p > "a") == 2
    assert read(v == 1) == 4


def test_buckets_are_left_out_by_the_hash_of_their_key(tmp_path: Path) -> None:
    table = append_table(
        tmp_path, columns={"n": "INT", "v": "INT"}, options={"bucket": "8", "bucket-key": "n"}
    )
    n = pl.col("n")
    for values in (range(64), [None]):
        table.write(pl.DataFrame({"n": ints(*values), "v": ints(*[0] * len(values))}))
    buckets = table.explain().left.buckets
    assert buckets == 8

    assert cuts(table, n == 5)[Step.BUCKET] >= 7
    assert opened(table, n == 5) == 1
    assert opened(table, n.is_in([5, 6])) <= 2
    assert opened(table, n.is_in(pl.Series([5, 6], dtype=pl.Int32))) <= 2
    assert opened(table, (n == 5) | n.is_null()) > 1
    assert opened(table, n.eq_missing(pl.lit(None, dtype=pl.Int32))) == 1
    assert opened(table, n > 5) == 8
    assert opened(table, (n == 5) | (v == 0)) == 9


def test_each_file_has_the_number_of_buckets_that_it_was_written_with(tmp_path: Path) -> None:
    table = keyed_table(
        tmp_path, columns={"p": "INT NOT NULL", **COLUMNS}, primary_key=["p", "k"],
        partition_by=["p"], options={"bucket": "2"},
    )  # fmt: skip
    table.write(rows(range(20), range(20)).with_columns(p=ints(*[0] * 20)))
    set_options(table, bucket="5")
    table = reopened(table)
    table.write(rows(range(20), range(20)).with_columns(p=ints(*[1] * 20)))

    for key in range(20):
        assert opened(table, k == key) == 2
    assert opened(table, (k == 3) & (p == 1)) == 1


# --- what statistics can say ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "equal", "less", "nulls", "between"),
    [
        ("none", 3, 3, 3, 3),
        ("counts", 2, 2, 1, 2),
        ("truncate(2)", 1, 1, 1, 1),
        ("full", 1, 0, 1, 0),
    ],
)
@pytest.mark.parametrize("dense", ["true", "false"])
def test_less_is_left_out_where_less_is_known(
    tmp_path: Path, mode: str, equal: int, less: int, nulls: int, between: int, dense: str
) -> None:
    """Cut texts are bounds: ``abz`` is above ``abc``, but not above the ``ac`` that it is cut to.

    A file is all null, which its count alone can tell.
    """
    table = append_table(
        tmp_path,
        columns=COLUMNS,
        options={"metadata.stats-mode": mode, "metadata.stats-dense-store": dense},
    )
    table.write(rows([1, 2], [1, 2], "abc"))
    table.write(rows([3, 4], [3, 4], "mno"))
    table.write(rows([5, 6], [5, 6], None))

    assert opened(table, w == "mno") == equal
    assert opened(table, w < "abc") == less
    assert opened(table, w.is_null()) == nulls
    assert opened(table, w == "abz") == between


def test_nan_and_both_zeros_are_not_hidden_by_bounds(tmp_path: Path) -> None:
    """Bounds may leave NaN out, which is greater than all: no file is ruled out from above alone.

    The zeros are equal, whichever is noted.
    """
    table = append_table(tmp_path, columns={"f": "DOUBLE"})
    nan = float("nan")
    for values in ([1.0, 2.0], [1.0, nan], [0.0], [-0.0, None], [nan]):
        table.write(pl.DataFrame({"f": pl.Series(values, dtype=pl.Float64)}))

    assert opened(table, f > 5) == 5
    assert opened(table, f == nan) == 5
    assert opened(table, f < 1) == 4  # of files with NaN there is no bound
    assert opened(table, f == 0.0) == 4
    assert opened(table, f == -0.0) == 4
    assert opened(table, f >= 2) == 5
    assert opened(table, (f > 1.5) & (f < 3)) == 3
    assert opened(table, f.is_null()) == 1


@pytest.mark.parametrize("kind", ["TIMESTAMP", "TIMESTAMP_LTZ"])
@pytest.mark.parametrize("precision", [3, 6, 9])
def test_a_time_whose_bound_was_cut_to_microseconds_is_found(
    tmp_path: Path, kind: str, precision: int
) -> None:
    """So pypaimon writes them; finer times are above the bound by less than a microsecond."""
    table = append_table(tmp_path, columns={"t": f"{kind}({precision})"})
    schema = table.schema
    types = schema.types(["t"])

    def kept(nanos: int, high: Instant) -> int:
        stats = SimpleStats(encode_row([Instant(5)], types), encode_row([high], types), (0,))
        empty = encode_row([], [])
        file = DataFile("f", 1, 1, empty, empty, 0, 0, 0, 0, value_stats=stats)
        value = pl.lit(nanos).cast(pl.Datetime("ns", schema.polars["t"].time_zone))  # type: ignore[attr-defined]
        predicate = pl.col("t") == value.cast(schema.polars["t"])
        given = ScanFilter.of(as_pushed(predicate, schema), schema)
        return len(plan_files([file], schema, file_tests(table.handle, schema, given))[0])

    high = Instant(7, 0 if precision == 3 else 1000)
    top = 7_000_000 + high.nanos_of_milli
    assert kept(top, high) == 1
    assert kept(top + 999, high) == 1  # the same time where it is no finer
    assert kept(top + 1_000_000, high) == 0
    if precision == 9:
        assert kept(top + 1000, high) == 0
        assert kept(top + 1, Instant(7, 1500)) == 1
        assert kept(7_001_501, Instant(7, 1500)) == 0


def test_files_of_older_schemas_are_asked_by_what_their_columns_were(tmp_path: Path) -> None:
    table = append_table(tmp_path, columns={"k": "INT", "v": "INT", "w": "STRING"})
    table.write(rows([1, 2], [1, 2], "a"))
    alter(
        table,
        [
            {"op": "rename", "from": "v", "to": "x"},
            {"op": "rename", "from": "k", "to": "v"},
            {"op": "add", "name": "y", "type": "INT"},
            {"op": "drop", "name": "w"},
            {"op": "add", "name": "w", "type": "STRING"},
        ],
    )
    table = reopened(table)
    new = pl.DataFrame({"v": ints(7, 8), "x": ints(9, None), "y": ints(5, 6), "w": ["a", "b"]})
    table.write(new)
    x, y = pl.col("x"), pl.col("y")

    assert opened(table, x <= 2) == 1
    assert opened(table, v <= 2) == 1
    assert opened(table, y.is_null()) == 1
    assert opened(table, y > 0) == 1
    assert opened(table, y.is_null() | (y == 5)) == 2
    assert opened(table, w == "a") == 1  # it is another column than the one that was dropped
    assert opened(table, w.is_null()) == 1


def test_a_widened_column_is_known_in_files_of_its_new_type_alone(tmp_path: Path) -> None:
    table = append_table(tmp_path, columns={"k": "INT", "v": "INT", "w": "STRING"})
    table.write(rows([1, 2], [1, 2]))
    alter(table, [{"op": "type", "name": "v", "type": "BIGINT"}])
    table = reopened(table)
    table.write(rows([3, 4], [3, 4]).with_columns(v=pl.col("v").cast(pl.Int64) + 2**40))

    assert opened(table, v == 1) == 1
    assert opened(table, v > 2**40) == 2
    assert opened(table, v.is_null()) == 1


def test_an_added_column_under_a_merge_is_null_until_it_is_written(tmp_path: Path) -> None:
    table = keyed_table(tmp_path, columns=COLUMNS)
    table.write(rows([1, 2], [1, 2]))
    alter(table, [{"op": "add", "name": "y", "type": "INT"}])
    table = reopened(table)
    table.write(rows([2], [3]).with_columns(y=ints(7)))
    y = pl.col("y")

    assert opened(table, y.is_null()) == 2
    assert opened(table, y == 7) == 2
    assert opened(table, y == 8) == 0


def test_decimals_are_compared_in_full(tmp_path: Path) -> None:
    table = append_table(tmp_path, columns={"v": "DECIMAL(38, 10)"})
    texts = ["9999999999999999999999999999.0000000001", "9999999999999999999999999999.0000000002"]
    for text in texts:
        table.write(pl.DataFrame({"v": pl.Series([text]).cast(pl.Decimal(38, 10))}))
    value = pl.lit(texts[0]).cast(pl.Decimal(38, 10))

    assert opened(table, v == value) == 1
    assert opened(table, v > value) == 1
    assert opened(table, v >= value) == 2


# --- row groups -----------------------------------------------------------------------------------


@pytest.fixture
def short_row_groups() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parquet, "ROW_GROUP_BYTES", 1)
        patch.setattr(parquet, "ROW_GROUP_ROWS_MIN", 5)
        yield


def groups(table: Table, predicate: pl.Expr) -> int:
    """Row groups that are read; the rows are those of the whole table."""
    opened(table, predicate)
    return table.explain(filter=predicate).left.row_groups


def test_row_groups_are_left_out_where_rows_are_final(
    tmp_path: Path, short_row_groups: None
) -> None:
    table = append_table(tmp_path, columns=COLUMNS, options={"metadata.stats-mode": "none"})
    table.write(rows(range(50), [n if n % 10 else None for n in range(50)]))

    assert groups(table, k == 17) == 1
    assert groups(table, (v > 16) & (v < 24)) == 2
    assert groups(table, v.is_null()) == 5
    assert groups(table, v.is_null() & v.is_not_null()) == 5
    assert groups(table, v % 2 == 0) == 10
    assert groups(table, v > 49) == 0


def test_row_groups_of_merged_files_are_left_out_by_keys_alone(
    tmp_path: Path, short_row_groups: None
) -> None:
    table = merging(tmp_path)
    table.write(rows(range(50), range(50)))
    table.write(rows(range(0, 50, 2), range(100, 125)))

    assert groups(table, k == 16) == 2
    assert groups(table, v == 108) == 15
    assert groups(table, (v == 16) & (k == 16)) == 2
    assert groups(table, (v == 17) & (k > 14) & (k < 20)) == 2


def test_row_groups_with_marked_rows_count_positions_from_the_start(
    tmp_path: Path, short_row_groups: None
) -> None:
    table = append_table(tmp_path, columns=COLUMNS, options=VECTORS)
    table.write(rows(range(50), range(50)))
    table.delete(k.is_in([3, 22, 24, 49]))

    assert groups(table, k.is_between(20, 24)) == 1
    assert groups(table, k >= 45) == 1
    assert table.scan(filter=k.is_between(20, 24)).collect()["k"].to_list() == [20, 21, 23]


# --- limits ---------------------------------------------------------------------------------------


def test_a_limit_stops_at_files_whose_rows_are_sure(tmp_path: Path) -> None:
    table = append_table(tmp_path, columns=COLUMNS)
    for first in (0, 10, 20):
        table.write(rows(range(first, first + 10), range(10)))

    assert [opened(table, None, limit) for limit in (0, 1, 10, 11, 30, 99)] == [0, 1, 1, 2, 3, 3]
    assert opened(table, v == 5, 1) == 1
    assert opened(table, v == 5, 3) == 3
    assert opened(table, k == 25, 1) == 1
    assert opened(table, k == 99, 1) == 0


def test_a_limit_does_not_count_rows_that_may_not_be_there(tmp_path: Path) -> None:
    table = append_table(tmp_path, columns=COLUMNS, options=VECTORS)
    table.write(rows(range(10), range(10)))
    table.write(rows(range(10, 20), range(10)))
    table.delete(k % 10 < 9)

    assert opened(table, None, 1) == 1
    assert opened(table, None, 2) == 2
    assert table.scan(limit=2).collect().height == 2


def test_a_limit_does_not_count_deletes_and_older_records(tmp_path: Path) -> None:
    table = merging(tmp_path)
    table.write(rows(range(10), range(10)))
    table.delete(pl.DataFrame({"k": ints(*range(9))}))
    table.write(rows(range(20, 30), range(10)))

    for limit in (1, 2, 11, 12):
        assert opened(table, None, limit) <= 3
    assert opened(table, v < 3, 3) == 3
    assert table.scan(limit=2).filter(v >= 0).collect().height == 2
