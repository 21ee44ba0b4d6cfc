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
from support.builders import append_table, handle_on, keyed_table, live_files, orphans, rows_of
from support.faulty import files_below

from desilt.table.compact import CompactionPlan, RewriteOptions, commit, rewrite
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


def check_id(options: RewriteOptions) -> str:
    return options.verify if options.verify == "full" else f"quarter-{options.turn}"


every_check = pytest.mark.parametrize("options", EVERY_CHECK, ids=check_id)


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
            self._tamper(frame).cast(frame.schema).write_parquet(self._target)  # type: ignore[arg-type]
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


def keyed(folder: Path, **options: str) -> Table:
    """Three runs: keys 0 to 29, of which 10 to 19 are newer and 5 is deleted."""
    table = keyed_table(folder, columns=COLUMNS, options=options)
    table.write(rows(range(30), "old"))
    table.write(rows(range(10, 20), "new"))
    table.delete(pl.DataFrame({"k": pl.Series([5], dtype=pl.Int32)}))
    return table


def appended(folder: Path, **options: str) -> Table:
    table = append_table(folder, columns={**COLUMNS, "k": "INT"}, options=options)
    for version in ("a", "b", "c"):
        table.write(rows(range(10), version))
    return table


def plan_of(table: Table) -> CompactionPlan:
    observer = TableObserver(table.handle)
    observer.refresh()
    plan = observer.plan("", 0, str(uuid.uuid4()), PlanOptions("full"))
    assert plan is not None
    return plan


def oldest(table: Table) -> pl.DataFrame:
    """Physical rows of the oldest file."""
    files = [pl.read_parquet(f"{table.path}/bucket-0/{name}") for name, _ in live_files(table)]
    return min(files, key=lambda f: f["_SEQUENCE_NUMBER"].min())  # type: ignore[arg-type,return-value]


def caught(table: Table, tamper: Tamper, options: RewriteOptions) -> bool:
    """Compact through a spoiling store: was it refused? If so, nothing may be left of it."""
    before, wanted = files_below(table.path), rows_of(table)
    storage = TamperedStorage(tamper)
    try:
        rewrite(plan_of(table), options, handle_on(table.path, storage))
    except VerificationFailed as error:
        assert storage.tampered, "nothing was written"
        assert error.context["table"] == "db.t"
        assert error.context["bucket"] == 0
        assert files_below(table.path) == before
        assert rows_of(table) == wanted
        honest(table, wanted)
        return True
    return False


def honest(table: Table, wanted: list[tuple[object, ...]]) -> None:
    """The next run, which nobody spoils, gets through."""
    plan = plan_of(table)
    commit(plan, rewrite(plan, RewriteOptions(verify="full"), table.handle))

    assert len(live_files(table)) == 1
    assert rows_of(table) == wanted
    assert len(orphans(table)) == 0


# --- keyed tables -------------------------------------------------------------------------------


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


def reversed_rows(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.reverse()


def emptied(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.clear()


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


ALWAYS: dict[str, Tamper] = {
    "a row lost": lost,
    "a row in the middle lost": lost_in_the_middle,
    "every row lost": emptied,
    "a row doubled": doubled,
    "one row lost, another doubled": one_for_another,
    "two rows swapped": swapped,
    "all rows reversed": reversed_rows,
    "an insert became an update": another_kind(2),
    "an insert became a delete": another_kind(3),
    "another sequence number": another_sequence,
    "another key": another_key,
}


@every_check
@pytest.mark.parametrize("name", ALWAYS)
def test_keyed_rewrite_is_refused_when(tmp_path: Path, name: str, options: RewriteOptions) -> None:
    assert caught(keyed(tmp_path), ALWAYS[name], options)


@every_check
def test_keyed_rewrite_is_refused_when_an_older_version_won(
    tmp_path: Path, options: RewriteOptions
) -> None:
    table = keyed(tmp_path)
    older = oldest(table).filter(pl.col("_KEY_k") == 15)

    def wrong_winner(frame: pl.DataFrame) -> pl.DataFrame:
        return pl.concat([frame.filter(pl.col("_KEY_k") != 15), older]).sort("_KEY_k")

    assert caught(table, wrong_winner, options)


@every_check
def test_keyed_rewrite_is_refused_when_a_deleted_row_came_back(
    tmp_path: Path, options: RewriteOptions
) -> None:
    table = keyed(tmp_path)
    dead = oldest(table).filter(pl.col("_KEY_k") == 5)

    assert caught(table, lambda frame: pl.concat([frame, dead]).sort("_KEY_k"), options)


@every_check
def test_keyed_rewrite_is_refused_when_the_user_sequence_was_ignored(
    tmp_path: Path, options: RewriteOptions
) -> None:
    """The row written last is not the winner here, and putting it in is found."""
    table = keyed_table(
        tmp_path, columns={**COLUMNS, "s": "INT"}, options={"sequence.field": "s"}
    )
    table.write(rows(range(30), "high").with_columns(s=pl.lit(9, pl.Int32)))
    table.write(rows(range(10, 20), "low").with_columns(s=pl.lit(1, pl.Int32)))
    files = [pl.read_parquet(f"{table.path}/bucket-0/{name}") for name, _ in live_files(table)]
    late = next(f for f in files if f.height == 10).filter(pl.col("_KEY_k") == 15)

    def wrong_winner(frame: pl.DataFrame) -> pl.DataFrame:
        return pl.concat([frame.filter(pl.col("_KEY_k") != 15), late]).sort("_KEY_k")

    assert caught(table, wrong_winner, options)


@every_check
def test_keyed_rewrite_is_refused_when_files_of_a_level_changed_places(
    tmp_path: Path, options: RewriteOptions
) -> None:
    """Each file ascends and holds the right rows, but the second one's key range is the first's."""
    table = keyed_table(tmp_path, options={"target-file-size": "1 kb"})
    for version in ("a", "b"):
        keys = pl.int_range(100_000, dtype=pl.Int32, eager=True)
        table.write(pl.DataFrame({"k": keys, "v": [version] * 100_000}))
    pairs: list[pl.DataFrame] = []

    def shifted(frame: pl.DataFrame) -> pl.DataFrame:
        pairs.append(frame)
        return frame if len(pairs) == 1 else pairs[0]

    assert caught_unless_single(table, shifted, options)
    assert len(pairs) > 1, "one output only: the case was not reached"


def caught_unless_single(table: Table, tamper: Tamper, options: RewriteOptions) -> bool:
    try:
        rewrite(plan_of(table), options, handle_on(table.path, TamperedStorage(tamper)))
    except VerificationFailed:
        return True
    return False


@every_check
@pytest.mark.parametrize("column", NAMES)
def test_one_changed_value_of_a_keyed_table_is_found_when_its_column_is_compared(
    tmp_path: Path, column: str, options: RewriteOptions
) -> None:
    compared = quarter(NAMES, options.turn, full=options.verify == "full")

    assert caught(keyed(tmp_path), changed_value(column), options) == (column in compared)


def changed_value(column: str) -> Tamper:
    def tamper(frame: pl.DataFrame) -> pl.DataFrame:
        row = pl.int_range(pl.len()) == 11
        new = pl.lit(-1) if column == "k" else pl.lit("x")
        return frame.with_columns(pl.when(row).then(new).otherwise(pl.col(column)).alias(column))

    return tamper


@every_check
def test_one_value_that_became_null_is_found_when_its_column_is_compared(
    tmp_path: Path, options: RewriteOptions
) -> None:
    def nulled(frame: pl.DataFrame) -> pl.DataFrame:
        row = pl.int_range(pl.len()) == 3
        return frame.with_columns(pl.when(~row).then(pl.col("v2")).alias("v2"))

    compared = quarter(NAMES, options.turn, full=options.verify == "full")

    assert caught(keyed(tmp_path), nulled, options) == ("v2" in compared)


def test_each_column_is_in_exactly_one_quarter() -> None:
    quarters = [quarter(NAMES, turn, full=False) for turn in range(QUARTERS)]

    assert sorted(name for q in quarters for name in q) == sorted(NAMES)
    assert quarter(NAMES, QUARTERS, full=False) == quarters[0]


def test_keyed_rewrite_that_keeps_deletes_is_refused_when_a_delete_is_lost(
    tmp_path: Path,
) -> None:
    """A delete that is lost above an older level brings the row back."""
    table = keyed(tmp_path, **{"num-levels": "6", "num-sorted-run.compaction-trigger": "2"})
    table.compact("full")
    table.write(rows(range(10, 12), "newer"))
    table.delete(pl.DataFrame({"k": pl.Series([7], dtype=pl.Int32)}))
    observer = TableObserver(table.handle)
    observer.refresh()
    options = PlanOptions("minor", size_amplification_percent=10_000)
    plan = observer.plan("", 0, str(uuid.uuid4()), options)
    assert plan is not None
    assert not plan.rewrites[0].drop_deletes

    storage = TamperedStorage(lambda frame: frame.filter(pl.col("_VALUE_KIND") == 0))
    with pytest.raises(VerificationFailed, match="rows"):
        rewrite(plan, RewriteOptions(), handle_on(table.path, storage))


# --- append tables ------------------------------------------------------------------------------

UNORDERED: dict[str, str] = {}
ORDERED = {"bucket": "1", "bucket-key": "k"}
shapes = pytest.mark.parametrize("shape", [UNORDERED, ORDERED], ids=["no-buckets", "one-bucket"])
APPEND_ALWAYS = ("a row lost", "a row in the middle lost", "every row lost", "a row doubled",
                 "one row lost, another doubled", "two rows swapped",
                 "all rows reversed")  # fmt: skip


@every_check
@shapes
@pytest.mark.parametrize("name", APPEND_ALWAYS)
def test_append_rewrite_is_refused_when(
    tmp_path: Path, name: str, shape: dict[str, str], options: RewriteOptions
) -> None:
    assert caught(appended(tmp_path, **shape), ALWAYS[name], options)


@every_check
@shapes
@pytest.mark.parametrize("column", NAMES)
def test_one_changed_value_of_an_append_table_is_found_when_its_column_is_compared(
    tmp_path: Path, column: str, shape: dict[str, str], options: RewriteOptions
) -> None:
    compared = quarter(NAMES, options.turn, full=options.verify == "full")

    assert caught(appended(tmp_path, **shape), changed_value(column), options) == (
        column in compared
    )


# --- through the table --------------------------------------------------------------------------


@pytest.mark.parametrize("verify", ["quarter", "full"])
def test_compact_publishes_nothing_when_a_row_is_lost(
    tmp_path: Path, verify: Literal["quarter", "full"]
) -> None:
    table = keyed(tmp_path)
    before = files_below(table.path)
    spoiled = Table(handle_on(table.path, TamperedStorage(lost)))

    with pytest.raises(VerificationFailed, match=r"rows: expected 29, written 28"):
        spoiled.compact("full", verify=verify)

    assert files_below(table.path) == before
