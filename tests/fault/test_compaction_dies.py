"""A compaction's process dies at every single storage call in turn.

Afterwards readers see the old or the new snapshot and nothing else, the next run heals the table,
and nothing stays behind that `sweep` does not know by the task's id.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from support.builders import Task, copied, handle_on, live_files, orphans, reopened, rows_of
from support.faulty import Death, Died, FaultyStorage, files_below
from support.stories import STORIES, Story

from desilt.table.compact import sweep
from desilt.table.table import Table


def _dies(story: Story, table: Table, folder: Path, at: int) -> bool:
    """Let the compaction die at call ``at``; False when it has fewer calls."""
    root = copied(table, folder)
    before = files_below(root)
    store = FaultyStorage(fault=Death(at))
    task = Task.of(handle_on(root, store), story.mode)
    try:
        task.run()
    except Died:
        pass
    except Exception:  # noqa: BLE001  # an encoder turned Died into an error of its own
        assert store.fired
    assert not store.unaccounted(before, root), "files appeared without a call"
    if files_below(root) != before or not store.fired:
        _check(story, reopened(root), task.task_id)
    return store.fired


def _check(story: Story, after: Table, task_id: str) -> None:
    latest = after.handle.snapshots.latest()
    assert latest is not None
    assert latest.id in (story.snapshots, story.snapshots + 1)
    assert rows_of(after) == story.rows
    assert rows_of(after, story.snapshots) == story.rows

    swept = sweep(after.handle, task_id, "", 0)

    assert swept.committed == (latest.id == story.snapshots + 1)
    assert orphans(after) == set()
    _check_heals(story, after)


def _check_heals(story: Story, after: Table) -> None:
    after.compact(story.mode)

    assert rows_of(after) == story.rows
    assert len(live_files(after)) == story.files_after
    assert after.compact(story.mode).snapshot_id is None
    assert orphans(after) == set()


@pytest.mark.parametrize("story", STORIES, ids=lambda s: s.name)
def test_readers_see_the_old_or_the_new_snapshot_wherever_a_compaction_dies(
    story: Story, tmp_path: Path
) -> None:
    table = story.build(tmp_path / "made")
    story.observe(table)

    at = 0
    while _dies(story, table, tmp_path / str(at), at):
        at += 1

    assert at > 15, "a compaction makes more calls than that"
