"""Rollback: back to a snapshot, a tag, a time; what goes, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from support import refs
from support.builders import START_MILLIS, ManualClock, keyed_table, reopened, rows_of, upserts
from support.faulty import FaultyStorage
from support.reachable import names_below, needed_by

from desilt.table import paths
from desilt.table.errors import CommitConflict, InvalidRequest
from desilt.table.expire import InUse
from desilt.table.publish import ByCreation, Place, UnderLock
from desilt.table.rollback import (
    RollbackTarget,
    apply_rollback,
    plan_rollback,
    rollback,
)
from desilt.table.table import Table


@pytest.fixture
def table(tmp_path: Path) -> Table:
    """Six snapshots a minute apart, the third a compaction; a tag on the second and the fifth."""
    clock = ManualClock()
    made = keyed_table(tmp_path, clock=clock)
    for number in range(5):
        made.write(upserts(4 - number % 2, f"v{number}-"))
        clock.advance(60)
        if number == 1:
            made.compact("full")
            clock.advance(60)
    for name, snapshot in (("t2", 2), ("t5", 5)):
        made.create_tag(name, snapshot_id=snapshot)
    return made


def ids(table: Table) -> tuple[int, ...]:
    return table.handle.snapshots.ids()


def hint(table: Table, name: str) -> str:
    return Path(table.path, "snapshot", name).read_text()


def expired(table: Table, count: int) -> None:
    table.expire(retain_max=count, retain_min=count, retain_age=timedelta())


def test_back_to_a_snapshot(table: Table) -> None:
    rows = rows_of(table, 3)
    plan = table.rollback(snapshot_id=3, dry_run=True)
    assert plan.as_dict() == {
        "table": "db.t", "target": 3, "target_millis": START_MILLIS + 120_000,
        "restored_from_tag": None, "snapshots": [4, 5, 6], "changelogs": [], "tags": ["t5"],
        "consumers": [], "reset_consumers": False,
    }  # fmt: skip
    json.dumps(plan.as_dict())
    assert ids(table) == (1, 2, 3, 4, 5, 6)
    result = table.rollback(snapshot_id=3)

    assert (result.snapshot_id, result.snapshots, result.tags) == (3, 3, ("t5",))
    assert ids(table) == (1, 2, 3)
    assert hint(table, "LATEST") == "3"
    assert rows_of(table) == rows
    assert [t.name for t in table.tags()] == ["t2"]
    table.write(upserts(1, "after-"))
    assert ids(table) == (1, 2, 3, 4)
    assert (0, "after-0") in rows_of(table)


def test_files_of_what_went_are_left_for_the_orphan_cleaner(table: Table) -> None:
    before = names_below(table.path)
    table.rollback(snapshot_id=1)

    assert names_below(table.path) == before
    assert needed_by(table.path, paths.snapshot_file(table.path, 1)) < before


def test_back_to_a_tag_whose_snapshot_is_there(table: Table) -> None:
    rows = rows_of(table, 2)
    assert table.rollback(tag="t2").snapshot_id == 2
    assert rows_of(table) == rows
    assert [t.name for t in table.tags()] == ["t2"]


@pytest.mark.parametrize("kept", [1, 3, 4])
def test_back_to_a_tag_whose_snapshot_expired(table: Table, kept: int) -> None:
    rows = rows_of(table, 2)
    table.replace_tag("t2", snapshot_id=2, retained=timedelta(days=1))
    expired(table, kept)
    plan = table.rollback(tag="t2", dry_run=True)
    assert plan.restored == "t2"
    result = table.rollback(snapshot_id=2)

    assert result.snapshot_id == 2
    assert ids(table) == (2,)
    assert (hint(table, "LATEST"), hint(table, "EARLIEST")) == ("2", "2")
    assert "tagCreateTime" not in Path(paths.snapshot_file(table.path, 2)).read_text()
    assert rows_of(table) == rows
    table.write(upserts(1, "after-"))
    assert ids(table) == (2, 3)


def test_back_to_a_time(table: Table) -> None:
    def target(seconds: float) -> int:
        at = datetime.fromtimestamp(START_MILLIS / 1000 + seconds, UTC)
        return table.rollback(timestamp=at, dry_run=True).target.id

    assert [target(s) for s in (0, 59, 60, 119, 120, 5000)] == [1, 1, 2, 2, 3, 6]
    with pytest.raises(InvalidRequest, match="no snapshot is so old"):
        target(-1)
    table.rollback(timestamp=datetime.fromtimestamp(START_MILLIS / 1000 + 61, UTC))
    assert ids(table) == (1, 2)


def test_where_no_way_leads_to(table: Table) -> None:
    for to, message in (
        (RollbackTarget(snapshot_id=7), "no such snapshot, snapshot_id=7"),
        (RollbackTarget(tag="nobody"), "no such tag, tag=nobody"),
    ):
        with pytest.raises(InvalidRequest, match=message):
            plan_rollback(table.handle, to)
    with pytest.raises(InvalidRequest, match="one snapshot, one tag or one time"):
        table.rollback()
    with pytest.raises(InvalidRequest, match="one snapshot, one tag or one time"):
        table.rollback(snapshot_id=1, tag="t2")
    file = Path(paths.tag_file(table.path, "t5"))
    ahead = file.read_text().replace('"id": 5', '"id": 9')
    file.write_text(ahead)
    with pytest.raises(InvalidRequest, match="the tag is ahead of the table, tag=t5"):
        table.rollback(tag="t5")
    file.write_text(ahead.replace('"id": 9', '"id": 4'))
    with pytest.raises(InvalidRequest, match="the tag's snapshot was replaced by another"):
        table.rollback(tag="t5")
    assert ids(table) == (1, 2, 3, 4, 5, 6)


def test_nothing_to_do(table: Table) -> None:
    assert table.rollback(snapshot_id=6, dry_run=True).empty
    assert table.rollback(snapshot_id=6).snapshots == 0
    assert ids(table) == (1, 2, 3, 4, 5, 6)


def test_consumers_that_have_read_beyond_are_told_of_and_put_back(table: Table) -> None:
    for name, at in (("behind", 3), ("next", 4), ("beyond", 6)):
        refs.consumer(table, name, at)
    plan = table.rollback(snapshot_id=3, dry_run=True)
    assert [(c.name, c.next_snapshot) for c in plan.consumers] == [("beyond", 6)]
    assert table.rollback(snapshot_id=4).consumers == ()
    file = Path(table.path, "consumer", "consumer-beyond")
    assert json.loads(file.read_text()) == {"nextSnapshot": 6}
    assert table.rollback(snapshot_id=4, reset_consumers=True).consumers == ("beyond",)
    assert json.loads(file.read_text()) == {"nextSnapshot": 5}


@pytest.mark.parametrize(("target", "left", "hinted"), [(5, [2, 3], "3"), (2, [2], "2")])
def test_newer_long_lived_changelogs_go(
    tmp_path: Path, target: int, left: list[int], hinted: str
) -> None:
    table = keyed_table(tmp_path, options={"changelog.num-retained.min": "9"})
    for number in range(6):
        table.write(upserts(2, f"v{number}-"))
    table.create_tag("t2", snapshot_id=2)
    table.create_tag("t5", snapshot_id=5)
    expired(table, 3)
    Path(table.path, "changelog", "changelog-1").unlink()
    result = table.rollback(tag=f"t{target}")
    found = sorted(int(p.name[10:]) for p in Path(table.path, "changelog").glob("changelog-*"))

    assert found == left
    assert result.changelogs == (0 if target == 5 else 1)
    assert Path(table.path, "changelog", "LATEST").read_text() == hinted


def test_running_tasks_are_let_finish(table: Table) -> None:
    to = RollbackTarget(snapshot_id=3)
    with pytest.raises(CommitConflict, match="a running task reads a snapshot, snapshot_id=4"):
        rollback(table.handle, to, in_use=lambda: InUse(frozenset({4})))
    plan = plan_rollback(table.handle, to)
    with pytest.raises(CommitConflict, match="a running task reads a snapshot, snapshot_id=5"):
        apply_rollback(plan, table.handle, in_use=lambda: InUse(frozenset({2, 5})))
    assert ids(table) == (1, 2, 3, 4, 5, 6)


def test_a_plan_that_no_longer_holds_changes_nothing(table: Table) -> None:
    plan = plan_rollback(table.handle, RollbackTarget(snapshot_id=3))
    table.write(upserts(1, "meanwhile-"))
    with pytest.raises(CommitConflict, match="somebody commits or expires, snapshot_id=7"):
        apply_rollback(plan, table.handle)
    plan = plan_rollback(table.handle, RollbackTarget(snapshot_id=3))
    table.create_tag("t4", snapshot_id=4)
    with pytest.raises(CommitConflict, match="a tag changed, tag=t4"):
        apply_rollback(plan, table.handle)
    plan = plan_rollback(table.handle, RollbackTarget(snapshot_id=3))
    for snapshot, message in ((7, "a snapshot was replaced"), (3, "the target changed")):
        file = Path(paths.snapshot_file(table.path, snapshot))
        content = file.read_bytes()
        file.write_bytes(content + b"\n")
        with pytest.raises(CommitConflict, match=f"{message}, snapshot_id={snapshot}"):
            apply_rollback(plan, table.handle)
        file.write_bytes(content)
    assert ids(table) == (1, 2, 3, 4, 5, 6, 7)


def test_a_commit_on_what_went_is_told_of_and_rolled_back_the_next_time(table: Table) -> None:
    """A writer that read the latest snapshot just before, and publishes just after."""
    rows, storage = rows_of(table, 3), FaultyStorage()
    content = table.handle.snapshots.get(6).content.replace(b'"id": 6', b'"id": 7')
    stray = Path(paths.snapshot_file(table.path, 7))

    def publish() -> None:
        stray.write_bytes(content)
        Path(table.path, "snapshot", "LATEST").write_text("7")

    storage.hook("after", "delete", "/snapshot-5", publish)
    with pytest.raises(CommitConflict, match="published on a snapshot that went, snapshot_id=7"):
        reopened(table, storage).rollback(snapshot_id=3)
    assert ids(table) == (1, 2, 3, 7)
    assert rows_of(table) != rows
    table.rollback(snapshot_id=3)

    assert ids(table) == (1, 2, 3)
    assert rows_of(table) == rows


def test_commits_on_the_target_stay(table: Table) -> None:
    storage = FaultyStorage()
    storage.hook("after", "delete", "/tag-t5", lambda: table.write(upserts(1, "after-")))
    result = reopened(table, storage).rollback(snapshot_id=3)

    assert result.snapshot_id == 4
    assert (0, "after-0") in rows_of(table)


def test_a_tag_that_goes_while_it_is_restored_leaves_the_table_as_it_was(table: Table) -> None:
    rows, storage = rows_of(table), FaultyStorage()
    expired(table, 2)
    storage.hook("after", "create", "/snapshot-2", lambda: Path(
        paths.tag_file(table.path, "t2")).unlink())  # fmt: skip
    with pytest.raises(CommitConflict, match="the target changed"):
        reopened(table, storage).rollback(tag="t2")

    assert ids(table) == (5, 6)
    assert rows_of(table) == rows


class Locked:
    """A lock that says when it is held."""

    def __init__(self) -> None:
        self.inside = False
        self.tables: list[str] = []

    @contextmanager
    def _held(self, table: str) -> Generator[Locked]:
        self.tables.append(table)
        self.inside = True
        yield self
        self.inside = False

    def check(self) -> None:
        assert self.inside

    def keep(self) -> None:
        raise AssertionError("nothing here is in doubt")

    def held(self, table: str) -> AbstractContextManager[Locked]:
        return self._held(table)


def test_the_catalog_s_lock_is_held(table: Table) -> None:
    lock, storage, seen = Locked(), FaultyStorage(), list[bool]()
    for _ in range(3):
        storage.hook("before", "delete", "/snapshot-", lambda: seen.append(lock.inside))
    handle = replace(reopened(table, storage).handle, publisher=UnderLock(lock))
    rollback(handle, RollbackTarget(snapshot_id=3))

    assert lock.tables == ["db.t"]
    assert all(seen)
    assert len(seen) == 3


def test_nothing_is_published_under_a_lock_on_a_snapshot_that_went(table: Table) -> None:
    """Between its look at the latest and the lock, a rollback may have been there."""
    lock, handle = Locked(), table.handle
    base = handle.snapshots.get(6)
    place = Place("db.t", table.path, handle.storage)
    table.rollback(snapshot_id=3)

    assert not UnderLock(lock).publish(place, 7, base.content, base.content)
    assert ids(table) == (1, 2, 3)
    assert UnderLock(lock).publish(
        place, 4, base.content, handle.snapshots.get(3).content
    )  # fmt: skip
    assert ByCreation().publish(place, 7, base.content, base.content)
