"""Tags and rollback at every storage call: dies, fails, gets no answer; and others act meanwhile.

Whatever happens, every snapshot, tag and branch that is there can be read whole, and the same
command again ends where an undisturbed one does.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest
from support import refs
from support.builders import (
    START_MILLIS,
    ManualClock,
    copied,
    handle_on,
    keyed_table,
    reopened,
    rows_of,
    upserts,
)
from support.faulty import ActsAt, Death, Died, Fault, FaultyStorage
from support.reachable import names_below, needed_by
from support.shelves import Shelves, cases, changing

from desilt.table.errors import CommitConflict, InvalidRequest, StorageUnavailable, TableError
from desilt.table.expire import Override, expire
from desilt.table.handle import TableHandle
from desilt.table.rollback import RollbackTarget, rollback
from desilt.table.table import Table
from desilt.table.tagging.auto import auto_tags
from desilt.table.tagging.delete import delete_tags
from desilt.table.tagging.edit import create_tag, rename_tag, replace_tag
from desilt.table.tagging.expire import expire_tags
from desilt.table.tags import tag_times

Act = Callable[[TableHandle], object]


def later() -> ManualClock:
    return ManualClock(START_MILLIS + 7_200_000)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Table:
    """Tags on expired snapshots, one of them over and one with a branch; three snapshots left."""
    clock = ManualClock()
    options = {
        "manifest.merge-min-count": "3", "tag.create-success-file": "true",
        "changelog.num-retained.min": "4", "changelog.num-retained.max": "4",
    }  # fmt: skip
    table = keyed_table(tmp_path_factory.mktemp("tags"), clock=clock, options=options)
    for number in range(6):
        table.write(upserts(4, f"v{number}-"))
        clock.advance(60)
        if number == 2:
            table.compact("full")
    for name, snapshot in (("a", 1), ("b", 2), ("same", 2), ("c", 3), ("new", 6)):
        table.create_tag(name, snapshot_id=snapshot)
    table.create_tag("over", snapshot_id=4, retained=timedelta(minutes=1))
    refs.create_branch(table, "br", "c")
    for _ in range(2):
        reopened(table, clock=later()).expire(retain_max=3, retain_min=3)
    assert table.handle.snapshots.ids() == (5, 6, 7)
    return table


HOURLY = {
    "tag.automatic-creation": "process-time",
    "tag.creation-period-duration": "1 min",
    "tag.num-retained-max": "1",
}


def delete_those_left(handle: TableHandle) -> None:
    """One that is gone is refused by name, so a person names those that are left."""
    there = tag_times(handle)
    delete_tags(handle, [name for name in ("b", "same", "c") if name in there])


ACTS: dict[str, Act] = {
    "create": lambda h: create_tag(h, "made", 6, timedelta(days=1)),
    "delete": lambda h: delete_tags(h, ["a"]),
    "delete with others": delete_those_left,
    "rename": lambda h: rename_tag(h, "a", "z"),
    "replace": lambda h: replace_tag(h, "a", 6),
    "expire": expire_tags,
    "auto": lambda h: auto_tags(h, HOURLY),
    "roll back": lambda h: rollback(h, RollbackTarget(snapshot_id=5)),
    "roll back to an expired one": lambda h: rollback(
        h, RollbackTarget(tag="b"), reset_consumers=True
    ),
}


def whole(root: str) -> None:
    """Everything that can be read is there, and the latest snapshot can be."""
    names = names_below(root)
    for label, file in refs.snapshot_files(reopened(root)).items():
        assert needed_by(root, file) <= names, label
    store = reopened(root).handle.snapshots
    latest = store.latest_id()
    assert latest is not None
    assert store.exists(latest)  # Java trusts the hint, too, and looks no further


def end_of(root: str) -> dict[str, bytes]:
    """What an act leaves, but for times and orphans."""
    found = {
        p.relative_to(root).as_posix(): p.read_bytes()
        for folder in ("snapshot", "tag", "changelog")
        for p in Path(root, folder).rglob("*")
        if p.is_file()
    }
    return {name: data for name, data in found.items() if "_SUCCESS" not in name}


def disturbed(act: Act, root: str, fault: Fault | None = None) -> FaultyStorage:
    storage = FaultyStorage(fault=fault)
    with suppress(Died, StorageUnavailable):
        act(handle_on(root, storage, later()))
    return storage


@cases(
    ACTS,
    s3=["create", "delete", "rename", "replace", "roll back", "roll back to an expired one"],
)
def test_whatever_happens_at_a_call_nothing_breaks_and_the_next_run_ends_alike(
    case: Act, shelves: Shelves, table: Table
) -> None:
    """And when looking goes wrong, nothing is changed."""
    shelf = shelves(table)
    shelf.clock = later()
    end, first = end_of(table.path), 0
    assert end == end_of(shelf.seen())
    for trial in shelf.trials(case):
        if trial.fault is None:
            assert trial.changed
            end, first = end_of(shelf.seen()), changing(trial.store.calls)
        elif trial.fault.at < first:
            assert not trial.changed, trial.what
        if trial.known or not trial.changed:
            continue
        whole(shelf.seen(trial.state))
        with suppress(InvalidRequest):  # it is done already: the tag is there, or it is gone
            case(shelf.handle)
        seen = shelf.seen()
        whole(seen)
        assert end_of(seen) == end, trial.what


# --- others act -----------------------------------------------------------------------------------


OTHERS: dict[str, Act] = {
    "writes": lambda h: Table(h).write(upserts(2, "meanwhile-")),
    "expires": lambda h: expire(h, Override(1, 1, 0)),
    "tags": lambda h: create_tag(h, "late", 1),
    "branches": lambda h: refs.create_branch(Table(h), "late", "b"),
    "deletes a tag": lambda h: delete_tags(h, ["b"]),
}
# A rollback asks that writers and expiry of the table rest; what they do then it tells.
PAIRS = [
    (name, other)
    for name in ("delete with others", "replace", "rename", "auto")
    for other in ("writes", "expires", "tags", "branches", "deletes a tag")
]


def moments(root: str, act: Act) -> list[int]:
    """Calls of the act, of every kind in a row the first, from a little before its first change."""
    calls = disturbed(act, root).calls
    found: list[int] = []
    last = ""
    for at, call in enumerate(calls):
        kind = f"{call.method} {call.path.rpartition('/')[0]}"
        if kind != last:
            found.append(at)
        last = kind
    return found


@pytest.mark.parametrize(("name", "other"), PAIRS)
def test_others_may_act_at_any_moment(table: Table, tmp_path: Path, name: str, other: str) -> None:
    act = ACTS[name]
    for at in moments(copied(table, tmp_path / "counted"), act):
        root = copied(table, tmp_path / f"{at}")

        def meanwhile(root: str = root) -> None:
            with suppress(TableError, FileNotFoundError):  # what it needs may be gone by now
                OTHERS[other](handle_on(root, FaultyStorage(), later()))

        with suppress(TableError):
            act(handle_on(root, ActsAt(at, meanwhile), later()))
        whole(root)


def test_a_tag_is_deleted_beside_snapshots_that_an_expiry_left_half_taken_apart(
    tmp_path: Path,
) -> None:
    def expire_one(handle: TableHandle) -> object:
        return expire(handle, Override(1, 1, 0))

    plain = keyed_table(tmp_path / "plain")
    for number in range(5):
        plain.write(upserts(4, f"v{number}-"))
        if number == 1:
            plain.create_tag("a")
            plain.compact("full")
            plain.expire(retain_max=1, retain_min=1, retain_age=timedelta())
    plain.create_tag("mine", snapshot_id=5)
    assert plain.handle.snapshots.ids() == (3, 4, 5, 6)
    calls = disturbed(expire_one, copied(plain, tmp_path / "undisturbed")).calls
    lists = [
        at for at, call in enumerate(calls)
        if call.method == "delete" and "/manifest-list-" in call.path
    ]  # fmt: skip
    for at in (lists[0] + 1, lists[-1] + 1):
        half = copied(plain, tmp_path / f"{at}")
        disturbed(expire_one, half, Death(at))
        assert reopened(half).handle.snapshots.ids() == (3, 4, 5, 6)
        assert delete_tags(handle_on(half, FaultyStorage(), later()), ["a"]).files["data"] == 2
        expire_one(handle_on(half, FaultyStorage(), later()))
        whole(half)
        files = refs.snapshot_files(reopened(half)).values()
        assert names_below(half) == set[str]().union(*(needed_by(half, f) for f in files))


def test_a_writer_at_any_moment_of_a_rollback_loses_no_commit(table: Table, tmp_path: Path) -> None:
    """Its commit stays, on the old history or the new; if on the old, the rollback says so."""
    to = RollbackTarget(snapshot_id=5)
    told: set[str] = set()
    for at in moments(copied(table, tmp_path / "counted"), ACTS["roll back"]):
        root = copied(table, tmp_path / f"{at}")

        def meanwhile(root: str = root) -> None:
            reopened(root, clock=later()).write(upserts(1, "meanwhile-"))

        storage = ActsAt(at, meanwhile)
        try:
            result = rollback(handle_on(root, storage, later()), to)
        except CommitConflict as error:
            said = error.message
        else:
            said = "nothing" if result.snapshot_id == 5 else "after"
        told.add(said)
        whole(root)
        ids = reopened(root).handle.snapshots.ids()
        match said:
            case "somebody commits or expires":
                assert ids == (5, 6, 7, 8)
            case "somebody published on a snapshot that went":
                assert ids[0] == 5
                assert ids[-1] in (7, 8)
            case "after":
                assert ids == (5, 6)
                assert (0, "meanwhile-0") in rows_of(reopened(root))
            case _:  # it was planned with: nobody had begun to delete
                assert ids == (5,)
        rollback(handle_on(root, FaultyStorage(), later()), to)
        assert reopened(root).handle.snapshots.ids() == (5,)
    assert told == {
        "nothing", "after", "somebody commits or expires",
        "somebody published on a snapshot that went",
    }  # fmt: skip
