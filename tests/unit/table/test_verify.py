"""Verification by sabotage: whatever is wrong in a written file, it is found before the commit.

The store lets each test rewrite the finished Parquet file before it is read back. What must be
found always is tried with every quarter of the columns and with all; a changed value is found with
all, and with exactly that quarter which holds its column.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import polars as pl
import pytest
from support.builders import (
    append_table,
    copied,
    handle_on,
    keyed_table,
    live_files,
    orphans,
    reopened,
    rows_of,
    upserts,
)
from support.faulty import files_below

from desilt.table.compact import CompactionPlan, RewriteOptions, commit, discard, rewrite
from desilt.table.errors import VerificationFailed
from desilt.table.observe import TableObserver
from desilt.table.plan import PlanOptions
from desilt.table.storage import LocalStorage
from desilt.table.storage.local import LocalSink
from desilt.table.table import Table
from desilt.table.verify import QUARTERS, quarter

Tamper = Callable[[pl.DataFrame], pl.DataFrame]
VALUES = tuple(f"v{i}" for i in range(7))
COLUMNS = {"k": "INT NOT NULL", **dict.fromkeys(VALUES, "STRING")}
NAMES = tuple(COLUMNS)
EVERY_CHECK: list[RewriteOptions] = [
    RewriteOptions(verify="full"),
    *(RewriteOptions(verify="quarter", turn=turn) for turn in range(QUARTERS)),
]


class TamperedSink(LocalSink):
    """Rewrites the file when it is finished; what the writer learned of it stays as it was."""

    def __init__(self, path: str, tamper: Tamper) -> None:
        super().__init__(path, sync=False)
        self._target = path
        self._tamper: Tamper | None = tamper

    def close(self) -> None:
        super().close()
        if self._tamper is not None:
            frame = pl.read_parquet(self._target)
            self._tamper(frame).cast(frame.schema).write_parquet(self._target)
            self._tamper = None


@dataclass
class TamperedStorage(LocalStorage):
    """A store that spoils every data file; ``tampered`` are their paths."""

    tamper: Tamper
    tampered: list[str] = field(default_factory=list[str])

    def __post_init__(self) -> None:
        super().__init__(sync=False)

    def open_sink(self, path: str) -> LocalSink:
        self.tampered.append(path)
        return TamperedSink(path, self.tamper)


# --- tables -------------------------------------------------------------------------------------


def rows(keys: range, version: str) -> pl.DataFrame:
    """Rows whose every value differs from every other."""
    data = {name: [f"{version}-{name}-{k}" for k in keys] for name in VALUES}
    return pl.DataFrame({"k": pl.Series(keys, dtype=pl.Int32), **data})


def one_key(key: int) -> pl.DataFrame:
    return pl.DataFrame({"k": pl.Series([key], dtype=pl.Int32)})


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Table:
    """Three runs: keys 0 to 29, of which 10 to 19 are newer and 5 is deleted.

    Shared by the tests of this module, which commit to copies only.
    """
    table = keyed_table(tmp_path_factory.mktemp("keyed"), columns=COLUMNS)
    table.write(rows(range(30), "old"))
    table.write(rows(range(10, 20), "new"))
    table.delete(one_key(5))
    return table


@pytest.fixture(
    scope="module",
    params=[{}, {"bucket": "1", "bucket-key": "k"}],
    ids=["no-buckets", "one-bucket"],
)
def appended(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Table:
    """Three files of ten rows, in each of the two shapes of append tables; shared as `keyed` is."""
    table = append_table(
        tmp_path_factory.mktemp("appended"), columns={**COLUMNS, "k": "INT"}, options=request.param
    )
    for version in ("a", "b", "c"):
        table.write(rows(range(10), version))
    return table


def plan_of(table: Table, options: PlanOptions | None = None) -> CompactionPlan:
    observer = TableObserver(table.handle)
    observer.refresh()
    plan = observer.plan("", 0, str(uuid.uuid4()), options or PlanOptions("full"))
    assert plan is not None
    return plan


def physical(table: Table) -> list[pl.DataFrame]:
    """Physical rows of each live file, the oldest file first."""
    files = [pl.read_parquet(f"{table.path}/bucket-0/{name}") for name, _ in live_files(table)]
    return sorted(files, key=lambda f: f["_SEQUENCE_NUMBER"].min())  # type: ignore[arg-type,return-value]


def caught_by(table: Table, tamper: Tamper) -> list[RewriteOptions]:
    """Rewrite through a spoiling store once with each check: which ones refuse?

    A refused rewrite must leave nothing behind and name its bucket.
    """
    before = files_below(table.path)
    refusing: list[RewriteOptions] = []
    places: list[tuple[object, object]] = []
    for options in EVERY_CHECK:
        storage = TamperedStorage(tamper)
        plan = plan_of(table)
        try:
            result = rewrite(plan, options, handle_on(table.path, storage))
        except VerificationFailed as error:
            refusing.append(options)
            places.append((error.context["table"], error.context["bucket"]))
        else:
            discard(table.handle, plan, result)
        assert storage.tampered, "nothing was written"
        assert files_below(table.path) == before
    assert set(places) <= {("db.t", 0)}
    return refusing


def honest(table: Table, folder: Path) -> None:
    """On a copy: the next run, which nobody spoils, gets through."""
    copy = reopened(copied(table, folder))
    wanted = rows_of(copy)
    plan = plan_of(copy)
    commit(plan, rewrite(plan, RewriteOptions(verify="full"), copy.handle))

    assert len(live_files(copy)) == 1
    assert rows_of(copy) == wanted
    assert not orphans(copy)


# --- what is always found -----------------------------------------------------------------------


def lost(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.slice(1)


def lost_in_the_middle(frame: pl.DataFrame) -> pl.DataFrame:
    return pl.concat([frame.head(7), frame.slice(8)])


def doubled(frame: pl.DataFrame) -> pl.DataFrame:
    return pl.concat([frame.head(4), frame.slice(3)])


def one_for_another(frame: pl.DataFrame) -> pl.DataFrame:
    """One row lost and its neighbour doubled: as many rows as before."""
    return pl.concat([frame.head(3), frame.slice(2, 1), frame.slice(4)])


def swapped(frame: pl.DataFrame) -> pl.DataFrame:
    """Two neighbours in the wrong order: the same rows."""
    return pl.concat([frame.head(3), frame.slice(4, 1), frame.slice(3, 1), frame.slice(5)])


def another_kind(kind: int) -> Tamper:
    def tamper(frame: pl.DataFrame) -> pl.DataFrame:
        changed = pl.when(pl.col("_KEY_k") == 12).then(kind).otherwise(pl.col("_VALUE_KIND"))
        return frame.with_columns(changed.alias("_VALUE_KIND"))

    return tamper


def another_sequence(frame: pl.DataFrame) -> pl.DataFrame:
    changed = pl.when(pl.col("_KEY_k") == 12).then(0).otherwise(pl.col("_SEQUENCE_NUMBER"))
    return frame.with_columns(changed.alias("_SEQUENCE_NUMBER"))


def another_key(frame: pl.DataFrame) -> pl.DataFrame:
    """The last key moves, and the order still holds."""
    return frame.with_columns(
        pl.when(pl.col("_KEY_k") == 29).then(99).otherwise(pl.col("_KEY_k")).alias("_KEY_k")
    )


ROWS: dict[str, Tamper] = {
    "a row was lost": lost,
    "a row in the middle was lost": lost_in_the_middle,
    "every row was lost": lambda frame: frame.clear(),
    "a row was doubled": doubled,
    "one row was lost and another doubled": one_for_another,
    "two rows were swapped": swapped,
    "all rows were reversed": lambda frame: frame.reverse(),
}
SYSTEM: dict[str, Tamper] = {
    "an insert became an update": another_kind(2),
    "an insert became a delete": another_kind(3),
    "a sequence number changed": another_sequence,
    "a key changed": another_key,
}


@pytest.mark.parametrize("what", [*ROWS, *SYSTEM])
def test_keyed_rewrite_is_always_refused_when(keyed: Table, tmp_path: Path, what: str) -> None:
    assert caught_by(keyed, {**ROWS, **SYSTEM}[what]) == EVERY_CHECK
    honest(keyed, tmp_path)


@pytest.mark.parametrize("what", ROWS)
def test_append_rewrite_is_always_refused_when(appended: Table, tmp_path: Path, what: str) -> None:
    assert caught_by(appended, ROWS[what]) == EVERY_CHECK
    honest(appended, tmp_path)


def put_in(row: pl.DataFrame) -> Tamper:
    """The row in the place of the one with its key."""
    key: int = row.item(0, "_KEY_k")
    return lambda f: pl.concat([f.filter(pl.col("_KEY_k") != key), row]).sort("_KEY_k")


def test_keyed_rewrite_is_always_refused_when_an_older_version_won(keyed: Table) -> None:
    older = physical(keyed)[0].filter(pl.col("_KEY_k") == 15)

    assert caught_by(keyed, put_in(older)) == EVERY_CHECK


def test_keyed_rewrite_is_always_refused_when_a_deleted_row_came_back(keyed: Table) -> None:
    dead = physical(keyed)[0].filter(pl.col("_KEY_k") == 5)

    assert caught_by(keyed, put_in(dead)) == EVERY_CHECK


@pytest.mark.parametrize("order", ["ascending", "descending"])
def test_keyed_rewrite_is_always_refused_when_the_sequence_field_was_ignored(
    tmp_path: Path, order: str
) -> None:
    """The row written last is not the winner here."""
    options = {"sequence.field": "s", "sequence.field.sort-order": order}
    table = keyed_table(tmp_path, columns={**COLUMNS, "s": "INT"}, options=options)
    first, second = (9, 1) if order == "ascending" else (1, 9)
    table.write(rows(range(30), "wins").with_columns(s=pl.lit(first, pl.Int32)))
    table.write(rows(range(10, 20), "late").with_columns(s=pl.lit(second, pl.Int32)))
    late = physical(table)[1].filter(pl.col("_KEY_k") == 15)

    assert caught_by(table, put_in(late)) == EVERY_CHECK


def test_keyed_rewrite_is_refused_when_a_second_file_repeats_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each file ascends by itself; together they do not."""
    monkeypatch.setattr("desilt.table.lsm.slices.SLICE_BYTES", 20_000)
    monkeypatch.setattr("desilt.table.format.parquet.ROW_GROUP_BYTES", 1)
    table = keyed_table(tmp_path, options={"target-file-size": "1 kb"})
    for version in ("a", "b"):
        table.write(upserts(4000, version))
    written: list[pl.DataFrame] = []

    def first_again(frame: pl.DataFrame) -> pl.DataFrame:
        written.append(frame)
        return written[0]

    with pytest.raises(VerificationFailed, match="ascend"):
        rewrite(
            plan_of(table), RewriteOptions(), handle_on(table.path, TamperedStorage(first_again))
        )
    assert len(written) > 1


def test_rewrite_that_keeps_deletes_is_refused_when_one_is_lost(tmp_path: Path) -> None:
    """A delete lost above an older level would bring its row back."""
    table = keyed_table(tmp_path, columns=COLUMNS)
    table.write(rows(range(3000), "old"))
    table.compact("full")
    table.write(rows(range(10, 12), "newer"))
    table.delete(one_key(7))
    plan = plan_of(table, PlanOptions("minor", trigger=2))

    storage = TamperedStorage(lambda frame: frame.filter(pl.col("_VALUE_KIND") == 0))

    assert not plan.rewrites[0].drop_deletes
    with pytest.raises(VerificationFailed, match="rows: expected 3, written 2"):
        rewrite(plan, RewriteOptions(), handle_on(table.path, storage))


# --- what is found when it is compared ----------------------------------------------------------


def changed_value(column: str) -> Tamper:
    def tamper(frame: pl.DataFrame) -> pl.DataFrame:
        row = pl.int_range(pl.len()) == 11
        new = pl.lit(-1) if column == "k" else pl.lit("x")
        return frame.with_columns(pl.when(row).then(new).otherwise(pl.col(column)).alias(column))

    return tamper


def nulled_value(frame: pl.DataFrame) -> pl.DataFrame:
    row = pl.int_range(pl.len()) == 3
    return frame.with_columns(pl.when(~row).then(pl.col("v2")).alias("v2"))


def comparing(column: str) -> list[RewriteOptions]:
    """The checks that look at this column's values."""
    return [o for o in EVERY_CHECK if column in quarter(NAMES, o.turn, full=o.verify == "full")]


@pytest.mark.parametrize("column", NAMES)
def test_changed_value_of_a_keyed_table_is_found_when_its_column_is_compared(
    keyed: Table, column: str
) -> None:
    assert caught_by(keyed, changed_value(column)) == comparing(column)


@pytest.mark.parametrize("column", NAMES)
def test_changed_value_of_an_append_table_is_found_when_its_column_is_compared(
    appended: Table, column: str
) -> None:
    assert caught_by(appended, changed_value(column)) == comparing(column)


def test_value_that_became_null_is_found_when_its_column_is_compared(
    keyed: Table, appended: Table
) -> None:
    assert caught_by(keyed, nulled_value) == comparing("v2")
    assert caught_by(appended, nulled_value) == comparing("v2")


def test_each_column_is_in_exactly_one_quarter() -> None:
    quarters = [quarter(NAMES, turn, full=False) for turn in range(QUARTERS)]

    assert sorted(name for q in quarters for name in q) == sorted(NAMES)
    assert quarter(NAMES, QUARTERS, full=False) == quarters[0]
    assert all(len(comparing(name)) == 2 for name in NAMES)


# --- through the table --------------------------------------------------------------------------


@pytest.mark.parametrize("verify", ["quarter", "full"])
def test_compact_publishes_nothing_when_a_row_is_lost(
    keyed: Table, verify: Literal["quarter", "full"]
) -> None:
    before = files_below(keyed.path)
    spoiled = Table(handle_on(keyed.path, TamperedStorage(lost)))

    with pytest.raises(VerificationFailed, match="rows: expected 29, written 28"):
        spoiled.compact("full", verify=verify)

    assert files_below(keyed.path) == before
