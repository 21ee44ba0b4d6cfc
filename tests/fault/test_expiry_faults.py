"""Expiry dies, fails and gets no answer at every storage call; others act at every storage call.

Whatever happens, what stays can be read; and the next expiry ends where an undisturbed one ends.
"""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from os.path import dirname
from pathlib import Path

import pytest
from support import refs
from support.builders import (
    START_MILLIS,
    ManualClock,
    catalog,
    copied,
    handle_on,
    keyed_table,
    reopened,
    rows_of,
    upserts,
)
from support.faulty import ActsAt, Call, FaultyStorage
from support.reachable import names_below, needed_by
from support.shelves import ACTING, Shelves, cases, changing

from desilt.table import paths
from desilt.table.errors import CommitConflict, FileMissing, TableError
from desilt.table.expire import (
    ExpiryResult,
    InUse,
    Override,
    apply_expiry,
    expire,
    plan_expiry,
)
from desilt.table.snapshot import Snapshot
from desilt.table.table import Table

KEEP = Override(retain_min=2, retain_millis=0)
DECOUPLED = {"changelog.num-retained.min": "4", "changelog.num-retained.max": "4"}


def built(folder: Path, options: dict[str, str]) -> Table:
    """Five snapshots; a tag, a branch without its tag and a consumer that was forgotten."""
    clock = ManualClock()
    options = {"manifest.merge-min-count": "3", "consumer.expiration-time": "1 h", **options}
    table = keyed_table(folder, clock=clock, options=options)
    for number in range(3):
        table.write(upserts(4, f"v{number}-"))
        clock.advance(60)
        if number == 0:
            refs.create_tag(table, "branched", 1)
            refs.create_branch(table, "b", "branched")
            refs.delete_tag(table, "branched")
        if number == 1:
            table.compact("full")
            refs.create_tag(table, "compacted", 3)
    table.write(upserts(2, "last-"))
    refs.consumer(table, "gone", 1, modified=START_MILLIS)
    return table


LATER = int(time.time() * 1000) + 2 * 3_600_000


def later() -> ManualClock:
    """Two hours after: every snapshot is old enough, and so is the consumer, wherever it is."""
    return ManualClock(LATER)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Table:
    """Five snapshots, the third a compaction of the first two."""
    table = keyed_table(tmp_path_factory.mktemp("small"))
    for number in range(2):
        table.write(upserts(4, f"v{number}-"))
    table.compact("full")
    for number in range(2):
        table.write(upserts(1, f"last{number}-"))
    return table


def run(root: str, storage: FaultyStorage | None = None) -> ExpiryResult:
    handle = handle_on(root, storage or FaultyStorage(), later())
    return expire(handle, KEEP)


def readable(root: str, table: Table) -> None:
    """Everything but the range that goes has all its files and the rows that it had."""
    files = refs.snapshot_files(reopened(root))
    names = names_below(root)
    for label in stays(table):
        assert needed_by(root, files[label]) <= names, label


def stays(table: Table) -> list[str]:
    """Labels of what an expiry keeps."""
    newest = [f"snapshot-{i}" for i in table.handle.snapshots.ids()[-2:]]
    return [
        k for k in refs.snapshot_files(table) if "/" in k or k.startswith("tag-") or k in newest
    ]


def end_of(root: str) -> tuple[set[str], set[str], str]:
    """All that an expiry leaves: names, references, the hint. Hints of changelogs may be lost."""
    found = Path(root)
    hint = (found / "snapshot" / "EARLIEST").read_text()
    entries = {f"snapshot/{p.name}" for p in found.glob("snapshot/*")}
    for folder in ("tag", "changelog", "consumer"):
        entries |= {f"{folder}/{p.name}" for p in found.glob(f"{folder}/{folder}-*")}
    return names_below(root), entries, hint


@cases({"plain": {}, "decoupled": DECOUPLED}, s3=["plain", "decoupled"])
def test_whatever_happens_at_a_call_the_next_run_ends_alike(
    case: dict[str, str], shelves: Shelves, tmp_path: Path
) -> None:
    """And when looking goes wrong, nothing is changed."""
    table = built(tmp_path / "made", case)
    shelf = shelves(table)
    shelf.clock = later()
    results: list[ExpiryResult] = []
    end, first = end_of(table.path), 0

    for trial in shelf.trials(lambda handle: results.append(expire(handle, KEEP))):
        if trial.fault is None:
            _check_undisturbed(table, shelf.seen(), results[0])
            end, first = end_of(shelf.seen()), changing(trial.store.calls)
        elif trial.fault.at < first:
            assert trial.outcome != "done", trial.what
            assert not trial.changed, trial.what
        if trial.known or not trial.changed:
            continue
        readable(shelf.seen(trial.state), table)
        expire(shelf.handle, KEEP)
        assert end_of(shelf.seen()) == end, trial.what


def _check_undisturbed(table: Table, root: str, result: ExpiryResult) -> None:
    assert result.snapshots == len(table.handle.snapshots.ids()) - 2
    assert result.consumers == 1
    assert result.files.get("data", 0) > 0 or result.changelogs > 0
    latest = refs.latest_of(table).id
    assert rows_of(reopened(root), latest) == rows_of(table, latest)


# --- others act ---------------------------------------------------------------------------------


def interrupted(
    table: Table, tmp_path: Path, act: Callable[[Table], object]
) -> list[tuple[str, str]]:
    """Expire again and again, with ``act`` done at another moment each time; roots, and where."""
    counted = FaultyStorage()
    run(copied(table, tmp_path / "counted"), counted)
    found: list[tuple[str, str]] = []
    for at in moments(counted.calls):
        root = copied(table, tmp_path / f"{at}")
        storage = ActsAt(at, partial(_act_on, root, act))
        with suppress(TableError):
            expire(handle_on(root, storage, later()), KEEP)
        call = counted.calls[at]
        where = call.path.removeprefix(str(tmp_path / "counted"))
        found.append((root, f"{call.method} {where}"))
    return found


def moments(calls: list[Call]) -> list[int]:
    """Calls before which somebody else may act with another effect than before the call before:
    one of each kind in a row, and one look between two steps that change something."""
    found: list[int] = []
    last, changed, begun = "", False, False
    for at, call in enumerate(calls):
        kind = f"{call.method} {call.path if call.method == 'list' else dirname(call.path)}"
        changes = call.method in ACTING
        if kind != last and (changes or changed or not begun):
            found.append(at)
        last, changed, begun = kind, changes, begun or changes
    return found


def _act_on(root: str, act: Callable[[Table], object]) -> None:
    act(reopened(root, clock=later()))


def test_another_expiry_may_run_at_any_moment(small: Table, tmp_path: Path) -> None:
    for root, where in interrupted(small, tmp_path, lambda other: expire(other.handle, KEEP)):
        readable(root, small)
        run(root)
        assert Path(root, "snapshot", "EARLIEST").read_text() == str(stay_from(small)), where


def stay_from(table: Table) -> int:
    return table.handle.snapshots.ids()[-2]


def test_a_longer_expiry_may_run_at_any_moment(small: Table, tmp_path: Path) -> None:
    """It takes the snapshot away that was to be the first to stay."""
    one = Override(retain_min=1, retain_max=1, retain_millis=0)
    latest = refs.latest_of(small).id
    for root, where in interrupted(small, tmp_path, lambda other: expire(other.handle, one)):
        run(root)
        assert reopened(root).handle.snapshots.ids() == (latest,), where
        assert rows_of(reopened(root)) == rows_of(small)


def test_writers_and_compactions_may_commit_at_any_moment(small: Table, tmp_path: Path) -> None:
    def act(other: Table) -> None:
        other.write(upserts(3, "meanwhile-"))
        other.compact("full")

    for root, where in interrupted(small, tmp_path, act):
        now, names = reopened(root), names_below(root)
        for label, file in refs.snapshot_files(now).items():
            assert needed_by(root, file) <= names, f"{where}, {label}"
        assert refs.latest_of(now).id == refs.latest_of(small).id + 2, where
        assert ("meanwhile-0",) in [row[1:] for row in rows_of(now)]


def test_a_tag_that_comes_before_the_last_look_is_kept(small: Table, tmp_path: Path) -> None:
    """And one that comes later, while its snapshot is being taken apart, hurts nobody else."""
    rows = rows_of(small, 2)

    def act(other: Table) -> None:
        if Path(paths.snapshot_file(other.path, 2)).exists():
            refs.create_tag(other, "late", 2)

    disturbed = interrupted(small, tmp_path, act)
    calls = [where for _, where in disturbed]
    first = next(at for at, where in enumerate(calls) if where.startswith("delete /db.db/t/bucket"))
    last_look = max(at for at in range(first) if calls[at] == "list /db.db/t/tag")
    for at, (root, where) in enumerate(disturbed):
        readable(root, small)
        if at <= last_look:
            tagged = refs.on_snapshot_file(reopened(root), paths.tag_file(root, "late"))
            assert rows_of(tagged) == rows, where
    assert last_look > 10


def test_a_table_made_anew_in_the_same_place_is_left_alone(small: Table, tmp_path: Path) -> None:
    """Dropped and made anew while an expiry of the old one runs; ids start at 1 again."""

    def act(other: Table) -> None:
        shutil.rmtree(other.path)
        younger = ManualClock(later().millis + 1)
        fresh = catalog(Path(other.path).parents[1], clock=younger).create_table(
            "db.t", {"k": "INT NOT NULL", "v": "STRING"}, primary_key=["k"], options={"bucket": "1"}
        )
        for number in range(4):
            fresh.write(upserts(2, f"new{number}-"))

    for root, where in interrupted(small, tmp_path, act):
        # Between the look at a snapshot file and its deletion no store lets anybody stand guard.
        if where.startswith(("delete /db.db/t/snapshot", "delete /db.db/t/changelog")):
            continue
        now = reopened(root)
        assert now.handle.snapshots.ids() == (1, 2, 3, 4), where
        assert rows_of(now, 1) == [(0, "new0-0"), (1, "new0-1")]
        assert rows_of(now) == [(0, "new3-0"), (1, "new3-1")]
        shutil.rmtree(root)


def test_a_plan_whose_table_changed_says_what_changed(small: Table, tmp_path: Path) -> None:
    root = copied(small, tmp_path)
    handle = handle_on(root, FaultyStorage(), later())
    plan = plan_expiry(handle, KEEP)
    until = plan.snapshots.until
    with pytest.raises(
        CommitConflict, match=f"running task reads a snapshot, snapshot_id={until - 1}"
    ):
        apply_expiry(plan, handle, in_use=lambda: InUse(frozenset({until - 1})))
    refs.consumer(reopened(root), "new", 2)
    with pytest.raises(CommitConflict, match="consumer has still to read, consumer=new"):
        apply_expiry(plan, handle)
    Path(root, "consumer", "consumer-new").unlink()
    refs.create_tag(reopened(root), "new", until - 1)
    with pytest.raises(CommitConflict, match=r"holder=tag new|in use by now"):
        apply_expiry(plan, handle)
    refs.delete_tag(reopened(root), "new")
    Path(root, "schema", "schema-1").write_bytes(Path(root, "schema", "schema-0").read_bytes())
    with pytest.raises(CommitConflict, match="schema changed, planned=0, now=1"):
        apply_expiry(plan, handle)
    Path(root, "schema", "schema-1").unlink()
    Path(root, "snapshot", f"snapshot-{until}").write_bytes(_touched(handle.snapshots.get(until)))
    with pytest.raises(CommitConflict, match=f"snapshot that stays changed, snapshot_id={until}"):
        apply_expiry(plan, handle)
    assert names_below(root) == names_below(small.path)


def _touched(snapshot: Snapshot) -> bytes:
    return snapshot.content + b"\n"


def test_expiry_runs_beside_a_busy_writer_and_readers(tmp_path: Path) -> None:
    """Each has a thread; expiry keeps one snapshot alone, as no table should ask it to."""
    table = keyed_table(tmp_path, options={"manifest.merge-min-count": "4"})
    table.write(upserts(3, "first-"))
    ending = threading.Event()
    expired: list[int] = []
    failures: list[BaseException] = []

    def until_the_end(act: Callable[[Table], object]) -> None:
        try:
            while not ending.is_set():
                act(reopened(table, clock=later()))
        except BaseException as error:
            failures.append(error)
            raise

    def expire_one(other: Table) -> None:
        with suppress(CommitConflict):
            expired.append(other.expire(retain_max=1).snapshots)

    def read(other: Table) -> None:
        with suppress(FileMissing):  # what a reader of an expired snapshot gets
            assert other.scan().collect().height >= 3

    threads = [threading.Thread(target=until_the_end, args=(act,)) for act in (expire_one, read)]
    for thread in threads:
        thread.start()
    for number in range(20):
        table.write(upserts(3, f"v{number}-", start=number))
        if number % 3 == 2:
            table.compact("full")
    ending.set()
    for thread in threads:
        thread.join()

    assert failures == []
    assert sum(expired) > 5
    assert [row[0] for row in rows_of(table)] == sorted(range(22), key=lambda k: repr((k,)))
    table.expire(retain_max=1)
    latest = refs.latest_of(table).id
    assert names_below(table.path) == needed_by(table.path, paths.snapshot_file(table.path, latest))
