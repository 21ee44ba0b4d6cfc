"""Two writers of one bucket's deletion vectors: what one of them marks must not be lost, nor come
to nothing because the other one rewrote the file.

Java's commit has no such check: of its own two compactors the last one wins, and deleted rows come
back (maintenance §6.2, safety rules a and b).
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.builders import Task, faulty, keyed_table, kv, orphans, reopened, rows_of, upserts
from support.shelves import Shelves

from desilt.table.commit import Committer, removed
from desilt.table.commit_files import CommitRequest, IndexChange
from desilt.table.decision import Mode
from desilt.table.errors import CommitConflict
from desilt.table.snapshot import CommitKind
from desilt.table.table import Table
from desilt.table.vector_files import VectorWriter

VECTORS = {
    "deletion-vectors.enabled": "true",
    "deletion-vectors.merge-on-read": "true",
    "num-sorted-run.compaction-trigger": "3",
}
ROWS = sorted(
    [(k, f"new{k}" if k == 3 else hashlib.sha256(str(k).encode()).hexdigest()) for k in range(400)
     if k != 7],
    key=repr,
)  # fmt: skip


@pytest.fixture
def table(shelves: Shelves, tmp_path: Path) -> Table:
    """A bottom run, and level 0 that updates one of its rows and deletes another."""
    table = keyed_table(tmp_path / "made", options=VECTORS)
    table.write(kv(*((k, hashlib.sha256(str(k).encode()).hexdigest()) for k in range(400))))
    table.compact("full")
    table.write(upserts(1, "new", start=3))
    table.delete(kv((7, None)).select("k"))
    return shelves(table).table


@pytest.mark.parametrize(("first", "second"), [("full", "minor"), ("minor", "full")])
def test_whoever_comes_second_is_refused(table: Table, first: Mode, second: Mode) -> None:
    early, late = Task.of(table.handle, first), Task.of(table.handle, second)
    early_plan, late_plan = early.plan(), late.plan()
    early_result, late_result = early.rewrite(early_plan), late.rewrite(late_plan)
    early.commit(early_plan, early_result)

    with pytest.raises(CommitConflict):
        late.commit(late_plan, late_result)

    assert rows_of(table) == ROWS
    assert orphans(table) == set()


def test_a_marked_file_that_was_rewritten_meanwhile_is_a_conflict(table: Table) -> None:
    """Level 0 is not touched by the other one, which only knows the bottom run."""
    task = Task.of(table.handle, "minor")
    plan = task.plan()
    result = task.rewrite(plan)
    assert [one.level for one in result.marked] == [plan.max_level]
    _rewrite_marked(table, result.marked[0].name)

    with pytest.raises(CommitConflict) as raised:
        task.commit(plan, result)

    assert raised.value.context["premise"] == "inputs live"
    table.compact("minor")
    assert rows_of(table) == ROWS


def _rewrite_marked(table: Table, name: str) -> None:
    """Somebody replaces the file by a copy of another name."""
    task = Task.of(table.handle, "full")
    plan = task.plan()
    entry = next(e for e in plan.inputs if e.file.name == name)
    storage, folder = table.handle.storage, f"{table.path}/bucket-0"
    assert storage.create(f"{folder}/data-copy-0.parquet", storage.read(f"{folder}/{name}"))
    copy = replace(entry, file=replace(entry.file, name="data-copy-0.parquet"))
    request = CommitRequest(CommitKind.COMPACT, "other", "other", (removed(entry), copy))
    Committer(table.handle).commit(request)


def test_vectors_that_changed_meanwhile_are_a_conflict(table: Table) -> None:
    task = Task.of(table.handle, "minor")
    plan = task.plan()
    result = task.rewrite(plan)
    _mark_by_hand(table, result.marked[0].name)

    with pytest.raises(CommitConflict) as raised:
        task.commit(plan, result)

    assert raised.value.context["premise"] == "deletion files"
    table.compact("minor")
    assert rows_of(table) == [row for row in ROWS if row[0] != 0]


def _mark_by_hand(table: Table, name: str) -> None:
    """Another engine marks the file's first row."""
    handle = table.handle
    writer = VectorWriter(handle, table.schema.options, "other", b"\0" * 12, 0, [])
    added = writer.write({name: np.zeros(1, dtype=np.int64)})
    request = CommitRequest(CommitKind.COMPACT, "other", "other", (), index=IndexChange((), added))
    Committer(handle).commit(request)


def test_compact_plans_again_and_succeeds(table: Table) -> None:
    store = faulty(table)
    store.hook("before", "create", "snapshot-5", lambda: reopened(table).compact("full"))

    reopened(table, store).compact("minor")

    assert rows_of(table) == ROWS
    assert orphans(table) == set()
