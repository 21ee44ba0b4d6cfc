"""A scan with a predicate, columns and a limit is the whole table filtered, cut and counted;
looking keys up is the same as filtering by them.

The whole table is read without a predicate, so nothing is left out of that. Row groups are a few
rows long, so that files have several.
"""

from __future__ import annotations

import os
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from support.alter import alter, set_options
from support.builders import append_table, catalog, reopened
from support.engine_histories import EngineHistory
from support.engines import Cell
from support.histories import History
from support.matrix import ROWS
from support.players import Desilt
from support.predicates import random_predicate, rows_text

from desilt.table.format import parquet
from desilt.table.table import Table

PREDICATES = 4
SEEDS = st.integers(0, 2**32)


def some(examples: int) -> settings:
    """DESILT_HISTORIES=10 takes ten times as many."""
    return settings(
        max_examples=examples * int(os.environ.get("DESILT_HISTORIES", "1")),
        derandomize=True,
        deadline=None,
        database=None,
        phases=[Phase.explicit, Phase.generate],  # a table takes too long to be shrunk
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )


@pytest.fixture(autouse=True, scope="module")
def short_row_groups() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parquet, "ROW_GROUP_BYTES", 1)
        patch.setattr(parquet, "ROW_GROUP_ROWS_MIN", 5)
        yield


# --- what must hold -------------------------------------------------------------------------------


def check(table: Table, rng: random.Random) -> None:
    """Random predicates, projections and limits, and random keys, on the table as it is."""
    table = reopened(table)
    whole = table.scan().collect()
    for _ in range(PREDICATES):
        check_scan(table, whole, rng)
    if table.schema.keyed:
        check_get(table, whole, rng)


def check_scan(table: Table, whole: pl.DataFrame, rng: random.Random) -> None:
    names = None
    if rng.random() < 0.3:  # on keys, or partitions, alone
        names = list(table.schema.primary_keys or table.schema.partition_keys) or None
    predicate = random_predicate(rng, whole, names)
    columns = rng.sample(whole.columns, rng.randint(1, whole.width))
    passing = whole.filter(predicate)

    if rng.random() < 0.5:
        found = table.scan(columns=columns, filter=predicate).collect()
    else:
        found = table.scan().filter(predicate).select(columns).collect()

    assert rows_text(found) == rows_text(passing.select(columns)), str(predicate)
    check_limit(table, passing, predicate, rng.choice([0, 1, 3, 30]))
    explained = table.explain(filter=predicate)
    assert explained.left.files + sum(c.files for c in explained.cuts) == explained.total_files


def check_limit(table: Table, passing: pl.DataFrame, predicate: pl.Expr, limit: int) -> None:
    found = table.scan(filter=predicate, limit=limit).collect()
    first = table.scan(limit=limit).filter(predicate).collect()

    assert found.height == min(limit, passing.height), str(predicate)
    assert first.height <= limit
    assert set(rows_text(found)) | set(rows_text(first)) <= set(rows_text(passing))


def check_get(table: Table, whole: pl.DataFrame, rng: random.Random) -> None:
    keys = list(table.schema.primary_keys)
    known = whole.select(keys)
    wanted = known.sample(min(known.height, 6), shuffle=True, seed=rng.randrange(1000))
    # Values of different keys, put together: mostly no key at all.
    mixed = pl.DataFrame([wanted.get_column(k).shuffle(seed=rng.randrange(99)) for k in keys])
    asked = pl.concat([wanted, mixed, wanted.head(2)])

    found = table.get(asked)
    exact = [pl.col(k).cast(pl.String) if whole.schema[k].is_float() else pl.col(k) for k in keys]
    by_scan = whole.join(asked, on=exact, how="semi")  # to Polars -0.0 is 0.0, to Paimon not

    assert found.select(keys).is_unique().all()
    assert rows_text(found) == rows_text(by_scan)
    assert rows_text(found.head(wanted.height).select(keys)) == rows_text(wanted)
    in_order = found.head(wanted.height).select(keys)
    assert in_order.rows() == wanted.rows() or in_order.equals(wanted)


# --- tables ---------------------------------------------------------------------------------------


@some(8)
@given(seed=SEEDS, keyed=st.sampled_from([True, True, False]))
def test_tables_of_any_type_through_schema_changes(seed: int, keyed: bool) -> None:
    history = History(seed, keyed=keyed)
    player = Desilt()
    with tempfile.TemporaryDirectory() as folder:
        path = player.create(history.shape, Path(folder))
        table = reopened(str(path))
        for _ in range(3):
            for _ in range(history.rng.choice([1, 2])):
                player.write(history.shape, path, history.batch())
            if history.rng.random() < 0.4:
                player.compact(path, full=history.rng.random() < 0.5)
            if keyed and history.rng.random() < 0.5:
                player.delete(history.shape, path, history.deletes())
            check(table, history.rng)
            alter(table, history.evolve())


@pytest.mark.parametrize("cell", ROWS, ids=str)
@some(2)
@given(seed=SEEDS)
def test_tables_of_every_merge_engine(cell: Cell, seed: int) -> None:
    history = EngineHistory(seed, cell, "wild")
    player = Desilt()
    with tempfile.TemporaryDirectory() as folder:
        path = player.create(history.shape, Path(folder))
        table = reopened(str(path))
        for step in range(3):
            player.write(history.shape, path, history.batch())
            if step == 1 or history.rng.random() < 0.4:
                player.compact(path, full=history.rng.random() < 0.5)
            check(table, history.rng)


@some(5)
@given(rng=st.randoms(use_true_random=False), bucket=st.sampled_from(["-1", "3"]))
def test_append_tables_with_deleted_rows(rng: random.Random, bucket: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        table = append_table(
            folder,
            columns={"n": "INT", "v": "STRING"},
            options={
                "bucket": bucket,
                "deletion-vectors.enabled": "true",
                **({} if bucket == "-1" else {"bucket-key": "n"}),
            },
        )
        for start in (0, 40, 80):
            numbers = pl.Series("n", range(start, start + 40), dtype=pl.Int32)
            table.write(pl.DataFrame([numbers, (numbers // 7).cast(pl.String).alias("v")]))
            table.delete(pl.col("n") % rng.choice([3, 5]) == rng.randrange(3))
            check(table, rng)


@some(5)
@given(rng=st.randoms(use_true_random=False))
def test_tables_whose_partitions_have_different_numbers_of_buckets(rng: random.Random) -> None:
    with tempfile.TemporaryDirectory() as folder:
        table = catalog(folder).create_table(
            "db.t",
            {"p": "INT", "k": "STRING", "v": "DOUBLE"},
            primary_key=["p", "k"],
            partition_by=["p"],
            options={"bucket": str(rng.choice([1, 2, 5]))},
        )
        for partition in range(3):
            for _ in range(2):
                keys = rng.sample(range(60), 20)
                table.write(
                    pl.DataFrame(
                        {
                            "p": pl.Series([partition] * 20, dtype=pl.Int32),
                            "k": [f"key{k}" for k in keys],
                            "v": [rng.choice([0.5, 1.0, None, float("nan")]) for _ in keys],
                        }
                    )
                )
            check(table, rng)
            set_options(table, bucket=str(rng.choice([1, 3, 4, 7])))
