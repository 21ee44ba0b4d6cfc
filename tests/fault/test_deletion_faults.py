"""A deletion by vectors dies, fails or loses an answer at every storage call: all its rows are
gone, or none, in every bucket alike; and what it leaves behind bears its id."""

from __future__ import annotations

import re
from contextlib import suppress
from functools import partial
from pathlib import Path

import polars as pl
import pytest
from support.builders import copied, handle_on, orphans, reopened, rows_of
from support.faulty import Death, Died, Failure, Fault, FaultyStorage, LostAnswer, files_below
from support.stories import vectors

from desilt.table.compact import sweep
from desilt.table.errors import OutcomeUnknown, StorageUnavailable, TableError
from desilt.table.table import Table

TASK = re.compile(r"(?:index|manifest)-(?:\w+-)?([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})-")
CHOSEN = pl.col("n") % 3 == 0
BUCKETS = pytest.mark.parametrize("bucket", [-1, 2])


def delete(root: str, store: FaultyStorage) -> None:
    Table(handle_on(root, store)).delete(CHOSEN)


def _sweep(table: Table, store: FaultyStorage) -> None:
    for task in {found[1] for path in store.made if (found := TASK.search(path))}:
        sweep(table.handle, task, "", 0)


@BUCKETS
def test_all_chosen_rows_are_gone_or_none_wherever_a_deletion_dies(
    bucket: int, tmp_path: Path
) -> None:
    table = vectors(tmp_path / "made", bucket=bucket)
    old = rows_of(table)
    new = [row for row in old if int(str(row[0])) % 3]

    at = 0
    while _dies(table, tmp_path / str(at), at, (old, new)):
        at += 1

    assert at > 15


def _dies(table: Table, folder: Path, at: int, possible: tuple[object, object]) -> bool:
    """Let the deletion die at call ``at``; False when it has fewer calls, and then succeeded."""
    root = copied(table, folder)
    before = files_below(root)
    store = FaultyStorage(fault=Death(at))
    with suppress(Died, TableError):
        delete(root, store)
    after = reopened(root)

    assert not store.unaccounted(before, root)
    assert rows_of(after) in (possible if store.fired else possible[1:])
    _sweep(after, store)
    assert orphans(after) == set()
    after.delete(CHOSEN)  # whoever deletes tries again
    assert rows_of(after) == possible[1]
    return store.fired


@BUCKETS
def test_a_deletion_answers_truly_whichever_storage_call_fails(bucket: int, tmp_path: Path) -> None:
    table = vectors(tmp_path / "made", bucket=bucket)
    old = rows_of(table)
    new = [row for row in old if int(str(row[0])) % 3]
    probe = FaultyStorage()
    delete(copied(table, tmp_path / "probe"), probe)

    for at in range(len(probe.calls)):
        for kind in (
            Failure, partial(Failure, forever=True), LostAnswer, partial(LostAnswer, then_deaf=True)
        ):  # fmt: skip
            fault: Fault = kind(at)
            folder = tmp_path / f"{at}-{fault}"
            store = FaultyStorage(fault=fault)
            outcome = _outcome(copied(table, folder), store)
            after = reopened(f"{folder}/db.db/t")

            assert rows_of(after) in _possible(outcome, old, new), fault
            if fault == Failure(at) and outcome is not OutcomeUnknown:
                assert orphans(after) == set(), "what failed once was not tidied up"
            _sweep(after, store)
            assert orphans(after) == set()


def _outcome(root: str, store: FaultyStorage) -> type[TableError] | None:
    try:
        delete(root, store)
    except (StorageUnavailable, OutcomeUnknown) as error:
        return type(error)
    return None


def _possible(outcome: type[TableError] | None, old: object, new: object) -> tuple[object, ...]:
    if outcome is OutcomeUnknown:
        return (old, new)
    return (new,) if outcome is None else (old,)
