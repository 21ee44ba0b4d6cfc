"""A write dies, fails or gets no answer at every storage call: all of its rows are there, or none.

A death may lose a write that was never acknowledged, and leaves files; they bear the write's id,
so that `sweep` finds them.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import polars as pl
from support.atomic import check_whole_or_not
from support.builders import append_table, keyed_table, kv, reopened, rows_of, upserts
from support.faulty import Died, FaultyStorage
from support.shelves import FAULTS, Shelves, cases

from desilt.table.table import Table

MORE = upserts(6, "new", start=2)


def _keyed(folder: Path) -> Table:
    table = keyed_table(folder, options={"bucket": "2"})
    table.write(upserts(6, "old"))
    return table


def _partitioned(folder: Path) -> Table:
    table = keyed_table(folder, primary_key=("k", "v"), partition_by=("v",))
    table.write(kv((1, "a"), (2, "b")))
    return table


def _append(folder: Path) -> Table:
    table = append_table(folder, columns={"k": "INT", "v": "STRING"})
    table.write(kv((1, "a")))
    return table


def _first(folder: Path) -> Table:
    """A table without any snapshot: hints and folders are made, too."""
    return keyed_table(folder)


BUILDS = {"keyed": _keyed, "partitioned": _partitioned, "append": _append, "first": _first}


@cases(BUILDS, s3=["keyed", "first"])
def test_all_rows_of_a_write_are_there_or_none_whatever_happens(
    case: Callable[[Path], Table], shelves: Shelves, tmp_path: Path
) -> None:
    """Written again, an append table has them twice."""
    shelf = shelves(case(tmp_path / "made"))

    looks = FAULTS if case is _keyed else ["dies"]
    tried = check_whole_or_not(shelf, lambda t: t.write(MORE), lambda t: set(rows_of(t)), looks)

    assert tried > (30 if shelf.exhaustive else 20)


def test_a_write_that_died_after_its_publish_is_found_by_its_user_and_identifier(
    tmp_path: Path,
) -> None:
    table = keyed_table(tmp_path)
    store = FaultyStorage()
    store.hook("after", "create", "snapshot-1", _die)

    with suppress(Died):
        reopened(table, store).write(kv((1, "a")), user="job", identifier=7)

    found = table.handle.snapshots.get(1)
    assert (found.commit_user, found.commit_identifier) == ("job", 7)
    assert table.scan().collect().equals(pl.DataFrame(kv((1, "a"))))


def _die() -> None:
    raise Died("right after publishing")
