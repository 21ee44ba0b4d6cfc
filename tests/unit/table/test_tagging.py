"""Tags by hand: made, replaced, renamed, deleted, expired, and what goes with them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from support import refs
from support.builders import ManualClock, keyed_table, reopened, rows_of, upserts
from support.faulty import FaultyStorage, files_below
from support.reachable import names_below, needed_by, needed_by_all

from desilt.table import paths
from desilt.table.errors import CommitConflict, InvalidRequest, UnsupportedFeature
from desilt.table.expire import InUse
from desilt.table.table import Table
from desilt.table.tagging.delete import apply_deletion, delete_tags
from desilt.table.tagging.deletion import plan_deletion
from desilt.table.tagging.edit import apply_renaming, apply_tag, plan_renaming, plan_tag
from desilt.table.tagging.expire import expire_tags, plan_tag_expiry
from desilt.table.tags import find_tag, get_tag, read_tags

MERGING = {"manifest.merge-min-count": "3"}


@pytest.fixture
def table(tmp_path: Path) -> Table:
    """Five snapshots, the third a compaction of the first two."""
    made = keyed_table(tmp_path, options=MERGING)
    for number in range(2):
        made.write(upserts(4, f"v{number}-"))
    made.compact("full")
    for number in range(2):
        made.write(upserts(1, f"last{number}-"))
    return made


def expired(table: Table, count: int = 1) -> None:
    """All but the newest snapshots go."""
    table.expire(retain_max=count, retain_min=count, retain_age=timedelta())


def names(table: Table) -> list[str]:
    return [tag.name for tag in read_tags(table.handle)]


def tag_rows(table: Table, name: str) -> list[tuple[object, ...]]:
    return rows_of(refs.on_snapshot_file(table, paths.tag_file(table.path, name)))


def exact(table: Table) -> bool:
    """Whether what is there is what somebody can read, no more and no less."""
    return names_below(table.path) == needed_by_all(
        table.path, refs.snapshot_files(table).values()
    )  # fmt: skip


# --- making ---------------------------------------------------------------------------------------


def test_a_tag_is_a_copy_of_its_snapshot(table: Table) -> None:
    table.create_tag("latest")
    table.create_tag("second", snapshot_id=2)

    assert [(t.name, t.snapshot.id) for t in table.tags()] == [("second", 2), ("latest", 5)]
    for name, snapshot in (("latest", 5), ("second", 2)):
        tag, copied = (
            Path(paths.tag_file(table.path, name)),
            Path(paths.snapshot_file(table.path, snapshot)),
        )
        assert tag.read_bytes() == copied.read_bytes()


def test_a_retention_is_written_behind_the_snapshot(table: Table) -> None:
    clock = ManualClock()
    reopened(table, clock=clock).create_tag("t", retained=timedelta(days=1, milliseconds=5))
    content = json.loads(Path(paths.tag_file(table.path, "t")).read_text())
    local = table.handle.world.local_millis(clock.millis)
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=local)
    tag = get_tag(table.handle, "t")

    assert content.pop("tagCreateTime")[:3] == [moment.year, moment.month, moment.day]
    assert content.pop("tagTimeRetained") == 86400.005
    assert content == table.handle.snapshots.get(5).extra
    assert tag.created == moment.replace(tzinfo=None)
    assert tag.retained == timedelta(days=1, milliseconds=5)


def test_the_retention_of_new_tags_is_an_option(tmp_path: Path) -> None:
    table = keyed_table(tmp_path, options={"tag.default-time-retained": "2 d"})
    table.write(upserts(1, "v"))
    table.create_tag("by option")
    table.create_tag("by hand", retained=timedelta(hours=1))

    assert get_tag(table.handle, "by option").retained == timedelta(days=2)
    assert get_tag(table.handle, "by hand").retained == timedelta(hours=1)


def test_an_expired_snapshot_is_tagged_by_its_other_tag(table: Table) -> None:
    table.create_tag("first", snapshot_id=2, retained=timedelta(days=1))
    expired(table)
    table.create_tag("other", snapshot_id=2)

    assert get_tag(table.handle, "other").retained is None
    assert "tagCreateTime" not in Path(paths.tag_file(table.path, "other")).read_text()
    assert tag_rows(table, "other") == tag_rows(table, "first")


@pytest.mark.parametrize("name", ["", "  ", "a/b", "..\\x", "success-file", "nul\0"])
def test_a_tag_s_name_stays_in_its_folder(table: Table, name: str) -> None:
    with pytest.raises(InvalidRequest, match="not a tag's name"):
        table.create_tag(name)


def test_what_cannot_be_tagged(table: Table) -> None:
    table.create_tag("t")
    with pytest.raises(InvalidRequest, match="the tag exists, tag=t"):
        table.create_tag("t")
    with pytest.raises(InvalidRequest, match="no such snapshot, snapshot_id=9"):
        table.create_tag("u", snapshot_id=9)
    with pytest.raises(InvalidRequest, match="more than nothing"):
        table.create_tag("u", retained=timedelta())
    assert names(table) == ["t"]


def test_tables_whose_tags_others_must_be_told_of_are_refused(tmp_path: Path) -> None:
    table = keyed_table(tmp_path, options={"metastore.tag-to-partition": "ds"})
    table.write(upserts(1, "v"))
    with pytest.raises(UnsupportedFeature, match="option=metastore"):
        table.create_tag("t")


def test_a_snapshot_that_expires_meanwhile_is_not_tagged(table: Table) -> None:
    storage = FaultyStorage()
    snapshot = Path(paths.snapshot_file(table.path, 2))
    storage.hook("after", "create", "/tag/", snapshot.unlink)
    plan = plan_tag(reopened(table, storage).handle, "late", 2)
    with pytest.raises(CommitConflict, match="a snapshot went away, snapshot_id=2"):
        apply_tag(plan, reopened(table, storage).handle)

    assert names(table) == []


def test_success_files_are_no_tags(tmp_path: Path) -> None:
    table = keyed_table(tmp_path, options={"tag.create-success-file": "true"})
    table.write(upserts(1, "v"))
    table.create_tag("t")
    file = Path(table.path, "tag", "tag-success-file", "t_SUCCESS")

    assert json.loads(file.read_text()).keys() == {"creationTime", "modificationTime"}
    assert names(table) == ["t"]
    table.delete_tag("t")
    assert not file.exists()


# --- deleting -------------------------------------------------------------------------------------


def test_a_tag_whose_snapshot_is_there_is_deleted_alone(table: Table) -> None:
    table.create_tag("t", snapshot_id=2)
    before = files_below(table.path)
    result = table.delete_tag("t")

    assert result.files_total == 0
    assert before - files_below(table.path) == {paths.tag_file(table.path, "t")}


def test_what_only_the_tag_held_goes_with_it(table: Table) -> None:
    table.create_tag("t", snapshot_id=2)
    expired(table)
    plan = table.delete_tag("t", dry_run=True)
    assert plan.counts()["data"] == 2
    assert plan.counts()["manifest-list"] == 2
    assert exact(table)
    result = table.delete_tag("t")

    assert result.files == {k: n for k, n in plan.counts().items() if n}
    assert exact(table)
    assert names(table) == []


def test_two_tags_of_one_snapshot_hold_its_files_together(table: Table) -> None:
    for name in ("a", "b"):
        table.create_tag(name, snapshot_id=2)
    expired(table)
    rows = tag_rows(table, "a")
    assert table.delete_tag("a").files_total == 0
    assert tag_rows(table, "b") == rows
    assert table.delete_tag("b").files["data"] == 2
    assert exact(table)


def test_several_tags_go_at_once(table: Table) -> None:
    for snapshot in (1, 2, 3):
        table.create_tag(f"t{snapshot}", snapshot_id=snapshot)
    table.create_tag("copy", snapshot_id=2)
    expired(table)
    rows = tag_rows(table, "t1")
    delete_tags(table.handle, ["t2", "copy", "t3"])

    assert names(table) == ["t1"]
    assert tag_rows(table, "t1") == rows
    assert exact(table)


def test_a_branch_keeps_the_files_of_its_tag(table: Table) -> None:
    table.create_tag("t", snapshot_id=2)
    refs.create_branch(table, "b", "t")
    Path(paths.branch_root(table.path, "b"), "tag", "tag-t").unlink()
    rows = tag_rows(table, "t")
    expired(table)
    assert table.delete_tag("t").files_total == 0
    assert rows_of(refs.on_branch(table, "b")) == rows


def test_a_branch_that_went_on_keeps_what_it_still_reads(table: Table) -> None:
    table.create_tag("t", snapshot_id=2)
    refs.create_branch(table, "b", "t")
    branch = refs.on_branch(table, "b")
    branch.write(upserts(1, "branch-"))
    root = Path(paths.branch_root(table.path, "b"))
    (root / "tag" / "tag-t").unlink()
    (root / "snapshot" / "snapshot-2").unlink()
    rows = rows_of(branch)
    expired(table)
    plan = table.delete_tag("t", dry_run=True)
    assert [(p.holder, p.files) for p in plan.protections] == [("branch b", 2)]
    table.delete_tag("t")
    assert rows_of(branch) == rows
    assert exact(table)


def test_a_tag_that_misses_files_is_deleted_alone(table: Table) -> None:
    table.create_tag("t", snapshot_id=2)
    expired(table)
    base = get_tag(table.handle, "t").snapshot.base_manifest_list
    Path(table.path, "manifest", base).unlink()
    plan = table.delete_tag("t", dry_run=True)

    assert plan.going[0].alone is not None
    assert "a file is missing" in plan.going[0].alone
    assert table.delete_tag("t").files_total == 0
    assert names(table) == []


def test_what_running_tasks_read_stays(table: Table) -> None:
    table.create_tag("t", snapshot_id=2)
    with pytest.raises(InvalidRequest, match="no such tag, tag=nobody"):
        table.delete_tag("nobody")
    expired(table)
    with pytest.raises(CommitConflict, match="a running task reads a snapshot, snapshot_id=2"):
        plan_deletion(table.handle, ["t"], in_use=InUse(frozenset({2})))
    plan = plan_deletion(table.handle, ["t"])
    file = next(p for p in plan.files["path"] if "/data-" in p).rpartition("/")[2]
    with pytest.raises(CommitConflict, match="a running task reads a file"):
        plan_deletion(table.handle, ["t"], in_use=InUse(files=frozenset({file})))
    with pytest.raises(CommitConflict, match="a file is held by now"):
        apply_deletion(plan, table.handle, in_use=lambda: InUse(files=frozenset({file})))
    assert exact(table)


def test_who_comes_after_the_plan_keeps_what_he_holds(table: Table) -> None:
    table.create_tag("t", snapshot_id=2)
    expired(table)
    rows = tag_rows(table, "t")
    plan = plan_deletion(table.handle, ["t"])
    table.create_tag("late", snapshot_id=2)
    with pytest.raises(CommitConflict, match="a file is held by now"):
        apply_deletion(plan, table.handle)
    Path(paths.tag_file(table.path, "late")).unlink()
    storage = FaultyStorage()  # somebody comes in the moment the tag's own file goes
    content = Path(paths.tag_file(table.path, "t")).read_bytes()
    storage.hook(
        "after", "delete", "/tag/tag-t",
        lambda: Path(paths.tag_file(table.path, "late")).write_bytes(content),
    )  # fmt: skip
    result = apply_deletion(plan, reopened(table, storage).handle)

    assert result.files_total == 0
    assert result.kept == plan.files.height
    assert tag_rows(table, "late") == rows


def test_a_changed_tag_is_not_deleted(table: Table) -> None:
    table.create_tag("t", snapshot_id=2)
    plan = plan_deletion(table.handle, ["t"])
    table.replace_tag("t", snapshot_id=3)
    with pytest.raises(CommitConflict, match="a tag changed, tag=t"):
        apply_deletion(plan, table.handle)
    Path(table.path, "schema", "schema-1").write_bytes(
        Path(table.path, "schema", "schema-0").read_bytes().replace(b'"id": 0', b'"id": 1', 1)
    )
    with pytest.raises(CommitConflict, match="schema changed"):
        apply_deletion(plan, table.handle)


# --- replacing and renaming -----------------------------------------------------------------------


def test_a_replaced_tag_leaves_nothing_behind(table: Table) -> None:
    table.create_tag("t", snapshot_id=2, retained=timedelta(days=1))
    expired(table)
    plan = table.replace_tag("t", dry_run=True)
    assert plan.release.counts()["data"] == 2
    assert exact(table)
    table.replace_tag("t")

    assert get_tag(table.handle, "t").snapshot.id == 5
    assert get_tag(table.handle, "t").retained is None
    assert exact(table)


def test_a_tag_replaced_by_its_own_snapshot_changes_its_retention(table: Table) -> None:
    table.create_tag("t", snapshot_id=2)
    expired(table)
    rows = tag_rows(table, "t")
    table.replace_tag("t", snapshot_id=2, retained=timedelta(hours=3))

    assert get_tag(table.handle, "t").retained == timedelta(hours=3)
    assert tag_rows(table, "t") == rows
    assert exact(table)


def test_only_a_tag_that_is_there_is_replaced(table: Table) -> None:
    with pytest.raises(InvalidRequest, match="no such tag"):
        table.replace_tag("t")


def test_a_renamed_tag_is_the_same(table: Table) -> None:
    table.create_tag("t", snapshot_id=2, retained=timedelta(days=1))
    expired(table)
    content, rows = Path(paths.tag_file(table.path, "t")).read_bytes(), tag_rows(table, "t")
    table.rename_tag("t", "u")

    assert names(table) == ["u"]
    assert Path(paths.tag_file(table.path, "u")).read_bytes() == content
    assert tag_rows(table, "u") == rows


def test_a_taken_name_is_not_given_again(table: Table) -> None:
    table.create_tag("t", snapshot_id=2)
    table.create_tag("u", snapshot_id=3)
    for to in ("u", "t"):
        with pytest.raises(InvalidRequest, match="the tag exists"):
            table.rename_tag("t", to)
    assert names(table) == ["t", "u"]


def test_half_a_renaming_goes_on(table: Table) -> None:
    table.create_tag("t", snapshot_id=2)
    content = Path(paths.tag_file(table.path, "t")).read_bytes()
    Path(paths.tag_file(table.path, "u")).write_bytes(content)
    table.rename_tag("t", "u")
    assert names(table) == ["u"]


def test_a_tag_deleted_while_it_is_renamed_does_not_come_back(table: Table) -> None:
    table.create_tag("t", snapshot_id=2)
    plan = plan_renaming(table.handle, "t", "u")
    table.delete_tag("t")
    with pytest.raises(CommitConflict, match="a tag changed"):
        apply_renaming(plan, table.handle)
    assert names(table) == []


# --- expiring -------------------------------------------------------------------------------------


def later(table: Table, seconds: float) -> Table:
    clock = ManualClock()
    clock.advance(seconds)
    return reopened(table, clock=clock)


def test_a_tag_is_over_when_its_retention_has_passed(table: Table) -> None:
    table.create_tag("short", snapshot_id=2, retained=timedelta(hours=1))
    table.create_tag("long", snapshot_id=1, retained=timedelta(hours=5))
    table.create_tag("ever", snapshot_id=3)
    expired(table)
    assert plan_tag_expiry(later(table, 3600).handle).names == ()
    assert plan_tag_expiry(later(table, 3601).handle).names == ("short",)
    assert expire_tags(later(table, 4000).handle).names == ("short",)
    assert names(table) == ["long", "ever"]
    assert exact(table)


@pytest.mark.parametrize("kept", ["3650000 d", "9223372036854775807 ms"])
def test_a_retention_may_be_longer_than_the_calendar(tmp_path: Path, kept: str) -> None:
    table = keyed_table(tmp_path, options={"tag.default-time-retained": kept})
    table.write(upserts(1, "v"))
    table.create_tag("for ever")

    assert expire_tags(table.handle).names == ()
    assert (get_tag(table.handle, "for ever").retained or timedelta()) >= timedelta(days=3650000)


def test_a_tag_of_java_may_stay_longer_than_python_counts(table: Table) -> None:
    table.create_tag("t", retained=timedelta(days=1))
    path = Path(paths.tag_file(table.path, "t"))
    path.write_text(path.read_text().replace("86400.000000000", "9223372036854775.807000000"))

    assert get_tag(table.handle, "t").retained == timedelta.max
    assert expire_tags(table.handle).names == ()


def test_older_tags_go_by_their_time_or_their_file_s(table: Table) -> None:
    table.create_tag("long", snapshot_id=1, retained=timedelta(days=5))
    table.create_tag("ever", snapshot_id=3)
    now = reopened(table).handle.world.now_millis()
    written = Path(paths.tag_file(table.path, "ever")).stat().st_mtime_ns // 1_000_000

    def due(millis: int) -> tuple[str, ...]:
        return plan_tag_expiry(table.handle, older_than_millis=millis).names

    assert due(now) == ()
    assert due(now + 1) == ("long",)
    assert due(written) == ("long",)
    assert due(written + 1) == ("long", "ever")


def test_retentions_may_be_switched_off(tmp_path: Path) -> None:
    table = keyed_table(tmp_path, options={"tag.time-expire-enabled": "false"})
    table.write(upserts(1, "v"))
    table.create_tag("t", retained=timedelta(hours=1))
    at = later(table, 7200).handle

    assert plan_tag_expiry(at).names == ()
    assert plan_tag_expiry(at, overrides={"tag.time-expire-enabled": "true"}).names == ("t",)
    with pytest.raises(InvalidRequest, match="not an option of tags, option=bucket"):
        plan_tag_expiry(at, overrides={"bucket": "3"})


def test_a_plan_is_data(table: Table) -> None:
    table.create_tag("t", snapshot_id=2)
    expired(table)
    plan = plan_deletion(table.handle, ["t"])
    told = json.loads(json.dumps(plan.as_dict(files=True)))

    assert told["tags"] == [{"tag": "t", "snapshot_id": 2, "file_alone_because": None}]
    assert len(told["files"]) == sum(told["counts"].values())
    gone = {f["path"].rpartition("/")[2] for f in told["files"]}
    assert gone == needed_by(table.path, paths.tag_file(table.path, "t")) - needed_by(
        table.path, paths.snapshot_file(table.path, 5)
    )
    assert find_tag(table.handle, "t") is not None
