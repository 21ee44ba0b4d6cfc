"""What refers to snapshots beside the history itself: tags, branches, consumers, changelogs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from support import refs
from support.builders import handle_on, keyed_table, kv
from support.faulty import FaultyStorage

from desilt.table import paths
from desilt.table.branches import list_branches
from desilt.table.changelogs import ChangelogStore
from desilt.table.consumers import Consumer, ConsumerStore
from desilt.table.errors import CorruptTable, InvalidRequest, UnsupportedFeature
from desilt.table.settled import TRIES
from desilt.table.table import Table
from desilt.table.tags import read_tags


@pytest.fixture
def table(tmp_path: Path) -> Table:
    table = keyed_table(tmp_path)
    for k in range(3):
        table.write(kv((k, "v")))
    return table


def write(table: Table, path: str, content: str) -> Path:
    file = Path(table.path, path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content)
    return file


# --- tags ---------------------------------------------------------------------------------------


def test_a_table_without_references_has_none(table: Table) -> None:
    assert read_tags(table.handle) == ()
    assert list_branches(table.handle) == ()
    assert ConsumerStore(table.handle).all() == ()
    assert ChangelogStore(table.handle).ids() == ()


def test_tags_come_by_snapshot_and_name(table: Table) -> None:
    for name, snapshot_id in (("b", 2), ("z", 1), ("a", 2)):
        refs.create_tag(table, name, snapshot_id)
    write(table, "tag/.tag-x.tmp", "half")
    write(table, "tag/notes", "not a tag")

    assert [(t.name, t.snapshot.id) for t in read_tags(table.handle)] == [
        ("z", 1), ("a", 2), ("b", 2),
    ]  # fmt: skip


def test_a_tag_with_a_retention_is_read(table: Table) -> None:
    content = json.loads(table.handle.snapshots.get(2).content)
    content |= {"tagCreateTime": [2026, 11, 22, 20, 58, 8, 897143502], "tagTimeRetained": 86400.0}
    write(table, "tag/tag-kept", json.dumps(content))

    (tag,) = read_tags(table.handle)
    assert tag.snapshot.id == 2


def test_a_tag_of_an_unknown_kind_of_commit_is_refused_by_name(table: Table) -> None:
    content = json.loads(table.handle.snapshots.get(2).content)
    write(table, "tag/tag-new", json.dumps({**content, "commitKind": "MAGIC"}))

    with pytest.raises(UnsupportedFeature, match=r"kind=MAGIC, file=.*tag-new"):
        read_tags(table.handle)


def test_a_tag_that_goes_while_it_is_listed_is_none(table: Table) -> None:
    refs.create_tag(table, "going", 1)
    refs.create_tag(table, "staying", 1)
    storage = FaultyStorage()
    gone = Path(table.path, "tag/tag-going")
    storage.hook("before", "read", "tag-going", gone.unlink)

    assert [t.name for t in read_tags(handle_on(table.path, storage))] == ["staying"]


# --- files that others overwrite in place ---------------------------------------------------------


def half_written(table: Table, path: str, writes: int) -> FaultyStorage:
    """The file is whole only when it is read the ``writes``-th time."""
    file = Path(table.path, path)
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    storage = FaultyStorage()
    left = [writes]

    def on_read() -> None:
        left[0] -= 1
        if left[0] == 0:
            file.write_bytes(whole)

    storage.hook("before", "read", path, on_read, times=writes)
    return storage


READERS: dict[str, tuple[str, Callable[[Table], object]]] = {
    "tag": ("tag/tag-v", lambda table: [t.name for t in read_tags(table.handle)]),
    "consumer": (
        "consumer/consumer-v",
        lambda table: [c.name for c in ConsumerStore(table.handle).all()],
    ),
}


@pytest.mark.parametrize("kind", READERS)
def test_a_file_met_half_written_is_read_again(table: Table, kind: str) -> None:
    refs.create_tag(table, "v", 1)
    refs.consumer(table, "v", 1)
    path, read = READERS[kind]
    storage = half_written(table, path, TRIES)

    assert read(Table(handle_on(table.path, storage))) == ["v"]
    assert storage.count("read", path) == TRIES


@pytest.mark.parametrize("kind", READERS)
def test_a_file_that_stays_damaged_is_corrupt_and_named(table: Table, kind: str) -> None:
    path, read = READERS[kind]
    write(table, path, '{"nextSnapshot": ')

    with pytest.raises(CorruptTable, match=f"{kind}-v"):
        read(Table(handle_on(table.path, FaultyStorage())))


# --- branches -----------------------------------------------------------------------------------


def test_branches_have_histories_of_their_own(table: Table) -> None:
    refs.create_tag(table, "t", 2)
    refs.create_branch(table, "b", "t")
    refs.on_branch(table, "b").write(kv((9, "branch")))
    write(table, "branch/branch-not-a-folder", "")
    write(table, "branch/notes/x", "")
    (branch,) = list_branches(table.handle)

    assert (branch.name, branch.root) == ("b", f"{table.path}/branch/branch-b")
    assert branch.snapshots(table.handle).ids() == (2, 3)
    assert table.handle.snapshots.get(3).content != branch.snapshots(table.handle).get(3).content
    assert [t.name for t in read_tags(table.handle, branch.root)] == ["t"]


# --- consumers ----------------------------------------------------------------------------------


def test_consumers_are_written_as_java_reads_them(table: Table) -> None:
    store = ConsumerStore(table.handle)
    store.reset("c", 3)

    assert json.loads(Path(table.path, "consumer/consumer-c").read_text()) == {"nextSnapshot": 3}
    (found,) = store.all()
    assert (found.name, found.next_snapshot) == ("c", 3)
    assert isinstance(found, Consumer)


def test_a_consumer_advances_and_is_reset(table: Table) -> None:
    store = ConsumerStore(table.handle)
    store.advance("c", 2)
    store.advance("c", 2)
    store.advance("c", 5)
    with pytest.raises(InvalidRequest, match="consumer=c, next=4, known=5"):
        store.advance("c", 4)
    store.reset("c", 1)

    assert store.next_snapshot("c") == 1
    store.delete(["c", "missing"])
    assert store.next_snapshot("c") is None


@pytest.mark.parametrize("name", ["", "a/b", "..\\x", "a\0"])
def test_a_consumer_name_cannot_leave_its_folder(table: Table, name: str) -> None:
    with pytest.raises(InvalidRequest, match="not a consumer's name"):
        ConsumerStore(table.handle).reset(name, 1)


def test_snapshot_ids_start_at_one(table: Table) -> None:
    with pytest.raises(InvalidRequest, match="consumer=c, next=0"):
        ConsumerStore(table.handle).reset("c", 0)


# --- long-lived changelogs ------------------------------------------------------------------------


def test_changelogs_are_copies_of_snapshots(table: Table) -> None:
    store = ChangelogStore(table.handle)
    for snapshot_id in (2, 1):
        store.keep(table.handle.snapshots.get(snapshot_id))
        store.keep(table.handle.snapshots.get(snapshot_id))
    write(table, "changelog/changelog-x", "no number")
    store.write_hint("LATEST", 2)

    assert store.ids() == (1, 2)
    kept = store.find(2)
    assert kept is not None
    assert kept.content == table.handle.snapshots.get(2).content
    assert Path(table.path, "changelog/LATEST").read_text() == "2"
    store.delete(1)
    assert store.find(1) is None


def test_folders_of_references_are_where_java_looks() -> None:
    assert paths.tag_file("/t", "v") == "/t/tag/tag-v"
    assert paths.branch_root("/t", "b") == "/t/branch/branch-b"
    assert paths.consumer_file("/t", "c") == "/t/consumer/consumer-c"
    assert paths.changelog_file("/t", 7) == "/t/changelog/changelog-7"
    assert paths.index_file("/t", "i") == "/t/index/i"
    assert paths.statistics_file("/t", "s") == "/t/statistics/s"
    assert paths.bucket_dir("/t", "p=1", paths.POSTPONE_BUCKET) == "/t/p=1/bucket-postpone"
