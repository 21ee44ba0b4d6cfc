"""A compaction dies, fails or gets no answer at every single storage call in turn.

Whatever it then answers is true: a success is there, a StorageUnavailable changed nothing, and only
an OutcomeUnknown may be either. Readers see the old or the new snapshot and nothing else, the next
run heals the table, and nothing stays behind that `sweep` does not know by the task's id.
"""

from __future__ import annotations

import uuid
from pathlib import Path

from support.builders import Task, live_files, orphans, rows_of
from support.shelves import FAULTS, Shelf, Shelves, Trial, cases, possible
from support.stories import STORIES, Story

from desilt.table.compact import sweep
from desilt.table.handle import TableHandle
from desilt.table.table import Table

TASK = str(uuid.uuid4())


@cases({s.name: s for s in STORIES}, s3=["lookup", "bucket packing with vectors"])
def test_readers_see_the_old_or_the_new_snapshot_whatever_happens_to_a_compaction(
    case: Story, shelves: Shelves, tmp_path: Path
) -> None:
    table = case.build(tmp_path / "made")
    case.observe(table)
    shelf = shelves(table)

    def compacts(handle: TableHandle) -> object:
        return Task(handle, case.mode, TASK).run()

    tried = 0
    for trial in shelf.trials(compacts, FAULTS if case.name == "full" else ["dies"]):
        tried += 1
        latest = shelf.told(trial, _latest)
        assert latest in possible(trial, case.snapshots, case.snapshots + 1), trial.what
        if trial.tidy:
            assert shelf.told(trial, orphans) == set(), f"{trial.what}: it was not tidied up"
        assert not trial.changed or shelf.told(trial, rows_of) == case.rows, trial.what
        if trial.known or not trial.changed:
            continue
        _check_left(case, shelf, trial, latest)
        _check_healed(case, shelf, trial)

    assert tried > (50 if shelf.exhaustive else 40), "a compaction makes more calls than that"


def _latest(table: Table) -> int:
    latest = table.handle.snapshots.latest()
    assert latest is not None
    return latest.id


def _check_left(case: Story, shelf: Shelf, trial: Trial, latest: int) -> None:
    after = shelf.look(trial.state)
    assert rows_of(after, case.snapshots) == case.rows, trial.what

    swept = sweep(shelf.handle, TASK, "", 0)

    assert swept.committed == (latest == case.snapshots + 1), trial.what
    assert orphans(shelf.look()) == set(), trial.what


def _check_healed(case: Story, shelf: Shelf, trial: Trial) -> None:
    shelf.table.compact(case.mode)

    after = shelf.look()
    assert rows_of(after) == case.rows, trial.what
    assert len(live_files(after)) == case.files_after, trial.what
    assert shelf.table.compact(case.mode).snapshot_id is None, trial.what
    assert orphans(shelf.look()) == set(), trial.what
