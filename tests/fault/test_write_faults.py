"""A write's process dies at every single storage call in turn: all of its rows are there, or none.

A death may lose a write that was never acknowledged, and leaves files; they bear the write's id,
so that `sweep` finds them.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import polars as pl
import pytest
from support.builders import (
    append_table,
    copied,
    handle_on,
    keyed_table,
    kv,
    orphans,
    reopened,
    rows_of,
    upserts,
)
from support.faulty import Death, Died, FaultyStorage, files_below

from desilt.table.compact import sweep
from desilt.table.errors import TableError
from desilt.table.table import Table

TASK = re.compile(r"data-([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})-")
Rows = list[tuple[object, ...]]
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


def _sweep(table: Table, store: FaultyStorage) -> None:
    """Sweep every bucket that the dead write had begun to write into."""
    for path in store.made:
        task, folder = TASK.search(path), Path(path).parent
        if task is None:
            continue
        partition = str(folder.parent).removeprefix(table.path).strip("/")
        sweep(table.handle, task[1], partition, int(folder.name.removeprefix("bucket-")))


@pytest.mark.parametrize("build", [_keyed, _partitioned, _append, _first])
def test_all_rows_of_a_write_are_there_or_none_wherever_it_dies(
    build: Callable[[Path], Table], tmp_path: Path
) -> None:
    table = build(tmp_path / "made")
    old = rows_of(table)
    whole = reopened(copied(table, tmp_path / "whole"))
    whole.write(MORE)
    new = rows_of(whole)

    at = 0
    while _dies(table, tmp_path / str(at), at, (old, new)):
        at += 1

    assert at > 10


def _dies(table: Table, folder: Path, at: int, possible: tuple[Rows, Rows]) -> bool:
    """Let the write die at call ``at``; False when it has fewer calls, and then succeeded."""
    root = copied(table, folder)
    before = files_below(root)
    store = FaultyStorage(fault=Death(at))
    with suppress(Died, TableError):
        Table(handle_on(root, store)).write(MORE)
    after = reopened(root)

    assert not store.unaccounted(before, root)
    assert rows_of(after) in (possible if store.fired else possible[1:])
    _sweep(after, store)
    assert orphans(after) == set()
    after.write(MORE)  # the writer tries again
    assert len(rows_of(after)) >= len(possible[1])
    return store.fired


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
