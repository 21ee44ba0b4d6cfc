"""Sabotage of the written file, between its writing and its verification."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from support.builders import Task, append_table, keyed_table, live_files, reopened, rows_of
from support.faulty import FaultyStorage, files_below

from desilt.table.compact import rewrite
from desilt.table.errors import VerificationFailed
from desilt.table.rewrite import RewriteOptions
from desilt.table.table import Table
from desilt.table.verify import row_hashes

COLUMNS = {"k": "INT NOT NULL", "a": "INT", "b": "STRING", "c": "DOUBLE", "d": "DATE"}
TURN_OF = {"k": 0, "a": 1, "b": 2, "c": 3, "d": 0}
Sabotage = Callable[[pl.DataFrame], pl.DataFrame]


def _rows(start: int, count: int, text: str) -> pl.DataFrame:
    keys = pl.int_range(start, start + count, eager=True).cast(pl.Int32).alias("k")
    return pl.DataFrame(keys).with_columns(
        a=pl.col("k") * 2, b=pl.lit(text) + pl.col("k").cast(pl.String),
        c=pl.col("k") / 4, d=pl.lit(19000).cast(pl.Int32).cast(pl.Date),
    )  # fmt: skip


@pytest.fixture
def keyed(tmp_path: Path) -> Table:
    table = keyed_table(tmp_path, columns=COLUMNS)
    table.write(_rows(0, 20, "old"))
    table.write(_rows(5, 5, "new"))
    table.delete(pl.DataFrame({"k": [15]}, schema={"k": pl.Int32}))
    return table


@pytest.fixture
def appended(tmp_path: Path) -> Table:
    table = append_table(tmp_path / "appended", columns={**COLUMNS, "k": "INT"})
    table.write(_rows(0, 10, "x"))
    table.write(_rows(10, 10, "y"))
    return table


def _compact(table: Table, sabotage: Sabotage, options: RewriteOptions) -> None:
    """A full compaction whose every written file is tampered with before it is read back."""
    store = FaultyStorage()

    def tamper() -> None:
        path = next(c.path for c in reversed(store.calls) if c.method == "close")
        pl_frame = pl.read_parquet(path)
        sabotage(pl_frame).write_parquet(path)

    store.hook("after", "close", ".parquet", tamper, times=100)
    task = Task.of(reopened(table, store).handle)
    rewrite(task.plan(), options, task.handle)


def _set(column: str, row: int, value: object) -> Sabotage:
    def change(frame: pl.DataFrame) -> pl.DataFrame:
        dtype = frame.schema[column]
        at_row = pl.int_range(pl.len()) == row
        changed = pl.when(at_row).then(pl.lit(value).cast(dtype)).otherwise(pl.col(column))
        return frame.with_columns(changed.alias(column))

    return change


def _swap(frame: pl.DataFrame, columns: tuple[str, ...]) -> pl.DataFrame:
    """Exchange rows 2 and 3 in these columns."""
    order = [0, 1, 3, 2, *range(4, frame.height)]
    return frame.with_columns(frame.select(columns)[order])


def _loser(frame: pl.DataFrame) -> pl.DataFrame:
    """Key 5 as the older run had it."""
    older = _set("_SEQUENCE_NUMBER", 5, 5)(frame)
    return _set("b", 5, "old5")(older)


ALWAYS: dict[str, Sabotage] = {
    "the first row is lost": lambda f: f.slice(1),
    "the last row is lost": lambda f: f.head(-1),
    "a row in the middle is lost": lambda f: pl.concat([f.head(7), f.slice(8)]),
    "all rows are lost": lambda f: f.clear(),
    "a row is doubled": lambda f: pl.concat([f.head(8), f.slice(7)]),
    "the last row is doubled": lambda f: pl.concat([f, f.tail(1)]),
    "a row is lost and another doubled": lambda f: pl.concat([f.slice(1), f.tail(1)]),
    "a wrong winner": _loser,
    "another sequence number": _set("_SEQUENCE_NUMBER", 3, 999),
    "an insert becomes an update": _set("_VALUE_KIND", 3, 2),
    "an insert becomes a delete": _set("_VALUE_KIND", 3, 3),
    "two rows change places": lambda f: _swap(f, tuple(f.columns)),
    "two keys change places": lambda f: _swap(f, ("_KEY_k",)),
    "all rows are reversed": lambda f: f.reverse(),
    "a key changes and order stays": _set("_KEY_k", 19 - 1, 77),
    "a deleted key is back": lambda f: pl.concat(
        [f.head(15), _set("_KEY_k", 0, 15)(f.slice(14, 1)), f.slice(15)]
    ),
}


@pytest.mark.parametrize("verify", ["quarter", "full"])
@pytest.mark.parametrize("name", ALWAYS)
def test_a_keyed_rewrite_that_lost_its_rows_is_always_caught(
    name: str, verify: str, keyed: Table
) -> None:
    before, rows = files_below(keyed.path), rows_of(keyed)

    for turn in range(4) if verify == "quarter" else (0,):
        options = RewriteOptions(verify="full" if verify == "full" else "quarter", turn=turn)
        with pytest.raises(VerificationFailed) as raised:
            _compact(keyed, ALWAYS[name], options)
        assert "table=db.t" in str(raised.value)
        assert "bucket=0" in str(raised.value)
        kept = str(raised.value.context["evidence"]).split()
        assert set(kept) == files_below(keyed.path) - before, "the evidence is named"
        for path in kept:
            os.unlink(path)

    assert files_below(keyed.path) == before
    assert rows_of(keyed) == rows


VALUES: dict[str, object] = {"k": 99, "a": -1, "b": "other", "c": 0.125, "d": 1}


@pytest.mark.parametrize("column", VALUES)
@pytest.mark.parametrize("value", ["changed", "null"])
def test_one_changed_value_is_caught_by_full_and_in_its_columns_turn_only(
    column: str, value: str, keyed: Table
) -> None:
    sabotage = _set(column, 9, VALUES[column] if value == "changed" else None)

    with pytest.raises(VerificationFailed, match="values differ"):
        _compact(keyed, sabotage, RewriteOptions(verify="full"))
    for turn in range(8):
        options = RewriteOptions(verify="quarter", turn=turn)
        if turn % 4 == TURN_OF[column]:
            with pytest.raises(VerificationFailed, match="values differ"):
                _compact(keyed, sabotage, options)
        else:
            _compact(keyed, sabotage, options)


@pytest.mark.parametrize("column", ["a", "b", "c"])
def test_two_values_that_change_places_are_caught(column: str, keyed: Table) -> None:
    with pytest.raises(VerificationFailed):
        _compact(keyed, lambda f: _swap(f, (column,)), RewriteOptions(verify="full"))


def test_an_empty_text_is_not_a_null(tmp_path: Path) -> None:
    table = keyed_table(tmp_path)
    for _ in range(2):
        table.write(pl.DataFrame({"k": [1, 2], "v": ["", None]}))

    for row, value in ((0, None), (1, "")):
        with pytest.raises(VerificationFailed):
            _compact(table, _set("v", row, value), RewriteOptions(verify="full"))


def test_every_file_of_a_rewrite_is_verified(tmp_path: Path) -> None:
    table = keyed_table(tmp_path, columns=COLUMNS, options={"target-file-size": "1 b"})
    table.write(_rows(0, 5, "a"))
    table.write(_rows(3, 5, "b"))
    files: list[str] = []

    def only_the_last_row(frame: pl.DataFrame) -> pl.DataFrame:
        files.append("seen")
        return frame.filter(pl.col("_KEY_k") != 7)

    with pytest.raises(VerificationFailed):
        _compact(table, only_the_last_row, RewriteOptions())

    assert files


def test_an_untouched_rewrite_passes(keyed: Table, appended: Table) -> None:
    for table in (keyed, appended):
        for turn in range(4):
            _compact(table, lambda f: f, RewriteOptions(turn=turn))


APPEND_ALWAYS: dict[str, Sabotage] = {
    "the first row is lost": lambda f: f.slice(1),
    "the last row is lost": lambda f: f.head(-1),
    "a row is doubled": lambda f: pl.concat([f.head(8), f.slice(7)]),
    "all rows are lost": lambda f: f.clear(),
}


@pytest.mark.parametrize("name", APPEND_ALWAYS)
def test_an_append_rewrite_that_lost_rows_is_always_caught(name: str, appended: Table) -> None:
    before = live_files(appended)

    for turn in range(4):
        with pytest.raises(VerificationFailed):
            _compact(appended, APPEND_ALWAYS[name], RewriteOptions(turn=turn))

    assert live_files(appended) == before


def test_append_rows_that_change_places_are_caught(appended: Table) -> None:
    with pytest.raises(VerificationFailed):
        _compact(appended, lambda f: _swap(f, tuple(f.columns)), RewriteOptions(verify="full"))


@pytest.mark.parametrize("column", VALUES)
def test_one_changed_append_value_is_caught_in_its_columns_turn_only(
    column: str, appended: Table
) -> None:
    sabotage = _set(column, 9, VALUES[column])

    for turn in range(4):
        options = RewriteOptions(verify="quarter", turn=turn)
        if turn == TURN_OF[column]:
            with pytest.raises(VerificationFailed):
                _compact(appended, sabotage, options)
        else:
            _compact(appended, sabotage, options)


# --- nested columns -----------------------------------------------------------------------------

LISTS = pl.List(pl.List(pl.Int64))
ALIKE: dict[str, pl.Series] = {
    "lists": pl.Series(
        [
            None,
            [],
            [None],
            [[]],
            [[None]],
            [[1], [2]],
            [[1, 2]],
            [[2, 1]],
            [[2], [1]],
            [[1, 2], []],
        ],
        dtype=LISTS,
    ),
    "rows": pl.Series(
        [None, {"a": None, "b": None}, {"a": 1, "b": None}, {"a": None, "b": 1}, {"a": 1, "b": 1}]
    ),
    "maps": pl.Series(
        [None, {}, {1: None}, {1: 2}, {2: 1}, {1: 1, 2: 2}, {2: 2, 1: 1}, {1: 2, 2: 1}],
        dtype=pl.Map(pl.Int64, pl.Int64),
    ),
    "rows in lists": pl.Series(
        [[], [None], [{"a": None}], [{"a": "x"}, None], [None, {"a": "x"}]],
        dtype=pl.List(pl.Struct({"a": pl.String})),
    ),
    "lists in rows": pl.Series(
        [{"a": [1], "b": [2]}, {"a": [1, 2], "b": []}, {"a": [], "b": [1, 2]}],
        dtype=pl.Struct({"a": pl.List(pl.Int64), "b": pl.List(pl.Int64)}),
    ),
}


@pytest.mark.parametrize("name", ALIKE)
def test_nested_values_that_look_alike_have_hashes_of_their_own(name: str) -> None:
    """Nulls and emptiness at every level, the order of elements and of entries."""
    frame = ALIKE[name].alias("c").to_frame()
    hashes = row_hashes(frame, ["c"])

    assert len(set(hashes.tolist())) == frame.height
    later = pl.concat([frame[3:], frame[:3]])
    assert row_hashes(later, ["c"]).tolist() == [*hashes[3:], *hashes[:3]]
