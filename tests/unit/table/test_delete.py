"""Rows of append tables deleted by a predicate: which go, what is written, what is refused."""

from __future__ import annotations

import random
from pathlib import Path

import polars as pl
import pytest
from support.builders import (
    append_table,
    catalog,
    handle_on,
    keyed_table,
    live_files,
    orphans,
    reopened,
    rows_of,
)
from support.faulty import FaultyStorage
from support.predicates import random_predicate, rows_text

from desilt.table import delete
from desilt.table.delete import Deletion, plan_deletion
from desilt.table.errors import InvalidRequest
from desilt.table.format import parquet
from desilt.table.metadata import MetadataReader
from desilt.table.schema import TableSchema
from desilt.table.snapshot import CommitKind
from desilt.table.table import Table

VECTORS = {"deletion-vectors.enabled": "true"}


def numbers(first: int, last: int) -> pl.DataFrame:
    """Rows first..last of ``APPEND_COLUMNS``."""
    return pl.DataFrame({"n": range(first, last), "v": [f"v{n}" for n in range(first, last)]})


def table_of(folder: Path, **options: str) -> Table:
    """Ten rows in each of three files."""
    named = {key.replace("_", "-"): value for key, value in options.items()}
    table = append_table(folder, options=VECTORS | named)
    for first in (0, 10, 20):
        table.write(numbers(first, first + 10))
    return table


def left(table: Table) -> list[int]:
    return sorted(table.scan(columns=["n"]).collect()["n"].to_list())


def vectors_of(table: Table) -> list[tuple[str, int]]:
    """(index file, cardinality) of every vector."""
    snapshot = table.handle.snapshots.latest()
    assert snapshot is not None
    return [
        (entry.file_name, found.cardinality or 0)
        for entry in MetadataReader(table.handle).index(snapshot)
        for found in entry.deletions or ()
    ]


@pytest.mark.parametrize("bucket", [{}, {"bucket": "2", "bucket-key": "n"}], ids=["none", "two"])
@pytest.mark.parametrize("wide", ["false", "true"])
def test_rows_that_are_chosen_go_and_no_others(
    tmp_path: Path, bucket: dict[str, str], wide: str
) -> None:
    table = table_of(tmp_path, **{"deletion-vectors.bitmap64": wide}, **bucket)
    files = live_files(table)

    done = table.delete(pl.col("n") % 3 == 0)

    assert isinstance(done, Deletion)
    assert done.rows == 10
    assert left(table) == [n for n in range(30) if n % 3]
    assert live_files(table) == files
    snapshot = table.handle.snapshots.get(done.snapshot_id)
    assert snapshot.commit_kind is CommitKind.OVERWRITE
    assert (snapshot.total_record_count, snapshot.delta_record_count) == (30, 0)
    assert orphans(table) == set()


def test_a_second_deletion_joins_the_first(tmp_path: Path) -> None:
    table = table_of(tmp_path)
    table.delete(pl.col("n") < 5)

    done = table.delete(pl.col("n") < 7)

    assert done == Deletion(snapshot_id=5, rows=2, files=1)
    assert left(table) == list(range(7, 30))
    assert [count for _, count in vectors_of(table)] == [7]


def test_index_files_of_other_data_files_stay(tmp_path: Path) -> None:
    table = table_of(tmp_path, **{"deletion-vector.index-file.target-size": "1 b"})
    table.delete(pl.col("n").is_in([1, 11]))
    before = dict(vectors_of(table))

    table.delete(pl.col("n") == 2)

    kept = before.keys() & dict(vectors_of(table)).keys()
    assert len(kept) == 1
    assert sorted(count for _, count in vectors_of(table)) == [1, 2]


def test_nothing_chosen_commits_nothing(tmp_path: Path) -> None:
    table = table_of(tmp_path)
    table.delete(pl.col("n") < 5)

    assert table.delete(pl.col("n") < 5) is None
    assert table.delete(pl.lit(value=False)) is None
    assert table.handle.snapshots.latest_id() == 4


def test_a_table_without_rows_has_nothing_to_delete(tmp_path: Path) -> None:
    assert append_table(tmp_path, options=VECTORS).delete(pl.lit(value=True)) is None


def test_a_null_is_not_true(tmp_path: Path) -> None:
    table = append_table(tmp_path, options=VECTORS)
    table.write(pl.DataFrame({"n": [1, None, 3], "v": ["a", "b", "c"]}))

    table.delete(pl.col("n") > 1)

    assert rows_of(table) == [(1, "a"), (None, "b")]


def test_all_rows_can_go(tmp_path: Path) -> None:
    table = table_of(tmp_path)

    done = table.delete(pl.lit(value=True))

    assert isinstance(done, Deletion)
    assert (done.rows, done.files) == (30, 3)
    assert left(table) == []
    table.compact("full")
    assert left(table) == []
    assert vectors_of(table) == []


def test_earlier_snapshots_keep_their_rows(tmp_path: Path) -> None:
    table = table_of(tmp_path)
    table.delete(pl.col("n") < 5)

    assert len(rows_of(table, 3)) == 30


def test_rows_of_older_schemas_are_chosen_by_the_newest(tmp_path: Path) -> None:
    table = table_of(tmp_path)
    text = Path(f"{table.path}/schema/schema-0").read_text()
    renamed = text.replace('"id": 0,', '"id": 1,', 1).replace('"name": "n"', '"name": "m"')
    Path(f"{table.path}/schema/schema-1").write_text(renamed)

    table.delete(pl.col("m") >= 10)

    assert sorted(table.scan(columns=["m"]).collect()["m"].to_list()) == list(range(10))


def test_a_compaction_meanwhile_has_the_deletion_planned_anew(tmp_path: Path) -> None:
    table = table_of(tmp_path)
    table.delete(pl.col("n") == 0)
    store = FaultyStorage()
    store.hook("before", "create", "/index/", lambda: reopened(table).compact("full"))

    done = reopened(table, store).delete(pl.col("n") < 5)

    assert isinstance(done, Deletion)
    assert done.rows == 4
    assert left(table) == list(range(5, 30))
    assert orphans(table) == set()


def test_another_deletion_meanwhile_loses_nothing(tmp_path: Path) -> None:
    table = table_of(tmp_path)
    store = FaultyStorage()
    store.hook("before", "create", "snapshot-4", lambda: reopened(table).delete(pl.col("n") == 7))

    reopened(table, store).delete(pl.col("n") < 5)

    assert left(table) == [5, 6, *range(8, 30)]
    assert orphans(table) == set()


def test_a_deletion_meanwhile_has_a_packing_planned_anew(tmp_path: Path) -> None:
    table = table_of(tmp_path)
    store = FaultyStorage()
    store.hook("before", "create", "snapshot-4", lambda: reopened(table).delete(pl.col("n") < 5))

    reopened(table, store).compact("full")

    assert left(table) == list(range(5, 30))
    assert len(live_files(table)) == 1
    assert vectors_of(table) == []
    assert orphans(table) == set()


def test_rows_written_meanwhile_stay(tmp_path: Path) -> None:
    table = table_of(tmp_path)
    store = FaultyStorage()
    store.hook("before", "create", "snapshot-4", lambda: reopened(table).write(numbers(0, 2)))

    reopened(table, store).delete(pl.col("n") < 5)

    assert left(table) == [0, 1, *range(5, 30)]


def test_a_plan_says_what_would_go_and_changes_nothing(tmp_path: Path) -> None:
    table = table_of(tmp_path)

    plan = plan_deletion(table.handle, pl.col("n").is_between(8, 12), "task")

    assert plan is not None
    assert (plan.rows, plan.files, plan.snapshot_id) == (5, 2, 3)
    assert table.handle.snapshots.latest_id() == 3
    assert len(left(table)) == 30


# --- what is refused ------------------------------------------------------------------------------


def test_a_keyed_table_is_deleted_from_by_key(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="by their keys"):
        keyed_table(tmp_path).delete(pl.col("k") == 1)


def test_an_append_table_without_vectors_says_which_option_it_needs(tmp_path: Path) -> None:
    table = append_table(tmp_path)
    table.write(numbers(0, 3))

    with pytest.raises(InvalidRequest, match=r"deletion-vectors\.enabled"):
        table.delete(pl.col("n") == 1)


def test_an_unknown_column_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="column=x"):
        table_of(tmp_path).delete(pl.col("x") == 1)


def test_a_predicate_that_does_not_fit_its_column_is_refused(tmp_path: Path) -> None:
    table = table_of(tmp_path)

    with pytest.raises(InvalidRequest, match="does not fit"):
        table.delete(pl.col("v").str.len_chars())
    assert len(left(table)) == 30


# --- what is not read -----------------------------------------------------------------------------


def opened(table: Table, predicate: pl.Expr) -> int:
    """Data files that are opened to find the rows to delete; nothing is deleted."""
    storage = FaultyStorage()
    plan_deletion(handle_on(table.path, storage), predicate, "task")
    return sum(c.method == "open_source" for c in storage.calls)


def test_files_that_hold_no_chosen_row_are_not_opened(tmp_path: Path) -> None:
    table = table_of(tmp_path)
    n, v = pl.col("n"), pl.col("v")

    assert opened(table, n == 15) == 1
    assert opened(table, n.is_between(5, 15)) == 2
    assert opened(table, (n > 5) & (v == "v7")) == 1
    assert opened(table, n > 99) == 0
    assert opened(table, v.is_null()) == 0
    assert opened(table, n % 2 == 0) == 3
    assert opened(table, pl.lit(value=True)) == 3


def test_partitions_and_buckets_without_chosen_rows_are_not_opened(tmp_path: Path) -> None:
    table = catalog(tmp_path).create_table(
        "db.t",
        {"p": "STRING", "n": "INT"},
        partition_by=["p"],
        options={**VECTORS, "bucket": "4", "bucket-key": "n", "metadata.stats-mode": "none"},
    )
    for name in ("a", "b", None):
        numbers = pl.Series("n", range(40), dtype=pl.Int32)
        table.write(pl.DataFrame([numbers]).with_columns(p=pl.lit(name, dtype=pl.String)))
    n, p = pl.col("n"), pl.col("p")

    assert opened(table, p == "a") == 4
    assert opened(table, p.is_null()) == 4
    assert opened(table, n == 3) == 3
    assert opened(table, (n == 3) & p.is_null()) == 1
    assert opened(table, (n == 3) | p.is_null()) == 12

    table.delete((n == 3) & p.is_null())
    assert table.scan(filter=n == 3).collect()["p"].sort().to_list() == ["a", "b"]


def nothing_pushed(predicate: pl.Expr, schema: TableSchema) -> None:
    """In the place of `as_pushed`: nothing of the predicate is known."""


@pytest.mark.parametrize("blind", [False, True], ids=["leaves files out", "reads all"])
def test_what_is_left_out_changes_nothing(
    tmp_path: Path, blind: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Random deletions, one after the other, with nothing and with all they can leave out."""
    if blind:
        monkeypatch.setattr(delete, "as_pushed", nothing_pushed)
    monkeypatch.setattr(parquet, "ROW_GROUP_BYTES", 1)
    monkeypatch.setattr(parquet, "ROW_GROUP_ROWS_MIN", 5)
    rng = random.Random(7)
    columns = {"n": "INT", "v": "STRING", "f": "DOUBLE", "p": "INT"}
    for round_ in range(6):
        table = catalog(tmp_path / str(round_)).create_table(
            "db.t", columns, partition_by=["p"], options=VECTORS
        )
        for _ in range(3):
            table.write(random_rows(rng))
        for _ in range(4):
            whole = table.scan().collect()
            if whole.height == 0:
                break
            predicate = random_predicate(rng, whole)
            chosen = whole.filter(predicate)

            done = table.delete(predicate)

            assert (done.rows if isinstance(done, Deletion) else 0) == chosen.height, predicate
            left = whole.filter(~predicate.fill_null(value=False))
            assert rows_text(table.scan().collect()) == rows_text(left), predicate


def random_rows(rng: random.Random) -> pl.DataFrame:
    start = rng.randrange(40)
    floats = [0.0, -0.0, 1.5, -3.0, float("nan"), None]
    return pl.DataFrame(
        {
            "n": pl.Series(range(start, start + 20), dtype=pl.Int32),
            "v": [rng.choice(["a", "ab", "", None, f"t{n}"]) for n in range(20)],
            "f": pl.Series([rng.choice(floats) for _ in range(20)], dtype=pl.Float64),
            "p": pl.Series([rng.choice([1, 2, None]) for _ in range(20)], dtype=pl.Int32),
        }
    )


def test_marked_rows_are_not_counted_again_where_row_groups_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet, "ROW_GROUP_BYTES", 1)
    monkeypatch.setattr(parquet, "ROW_GROUP_ROWS_MIN", 5)
    table = append_table(tmp_path, options=VECTORS)
    table.write(numbers(0, 50))
    table.delete(pl.col("n").is_in([31, 33]))

    done = table.delete(pl.col("n").is_between(30, 34))

    assert isinstance(done, Deletion)
    assert done.rows == 3
    assert left(table) == [*range(30), *range(35, 50)]


@pytest.mark.parametrize(
    "predicate",
    [
        pl.col("n") == pl.col("n").max(),
        pl.col("n").is_first_distinct(),
        pl.col("n") > pl.col("n").shift(1),
        pl.col("n").rank() < 3,
        pl.col("n").is_duplicated(),
        pl.len().over("v") > 1,
        pl.col("n") == pl.lit(pl.Series([1, 2, 3])),
    ],
    ids=str,
)
def test_rows_that_other_rows_decide_about_are_refused(tmp_path: Path, predicate: pl.Expr) -> None:
    """Of each file they would be other rows than of the table."""
    table = table_of(tmp_path)

    with pytest.raises(InvalidRequest, match="that row alone"):
        table.delete(predicate)
    assert len(left(table)) == 30


def test_rows_are_deleted_by_a_series_of_values(tmp_path: Path) -> None:
    table = table_of(tmp_path)

    table.delete(pl.col("n").is_in(pl.Series([3, 25], dtype=pl.Int32)))

    assert left(table) == [n for n in range(30) if n not in (3, 25)]


@pytest.mark.parametrize(
    "predicate",
    [pl.col("n").is_in([0, 1]), pl.when(pl.col("n") < 2).then(True).otherwise(False),
     (pl.col("n").cast(pl.String).str.len_chars() == 1) & pl.col("n").is_between(0, 1)],
    ids=str,
)  # fmt: skip
def test_a_predicate_of_many_parts_is_taken(predicate: pl.Expr, tmp_path: Path) -> None:
    table = table_of(tmp_path)

    done = table.delete(predicate)

    assert isinstance(done, Deletion)
    assert done.rows == 2
