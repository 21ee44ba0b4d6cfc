"""Orphan cleaning dies, fails and gets no answer at every storage call; others act at every call.

Whatever happens, everything that can be read is whole; and the next clean ends where an undisturbed
one ends. First a real table on the disk and in a bucket, whose files nobody can make older: there
all that a look finds may go. Then many histories in memory, where time passes as the test says.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cache, partial
from pathlib import Path
from typing import TypeVar

import pytest
from support import refs
from support.builders import ManualClock, Task, keyed_table, reopened, rows_of, upserts
from support.faulty import ActsAt, Call, Death, Died, Failure, Fault, FaultyStorage, LostAnswer
from support.graph_model import Reader
from support.graphs import MAIN, ROOT, Graph
from support.memory import MemoryStorage
from support.reachable import changes_of, names_below, needed_by
from support.shelves import Shelves, below

from desilt.table import paths
from desilt.table.commit import Committer
from desilt.table.compact import CompactionPlan, RewriteResult
from desilt.table.errors import CommitConflict, FileMissing, StorageUnavailable
from desilt.table.handle import TableHandle, World
from desilt.table.orphans.clean import (
    InUse,
    OrphanResult,
    OrphanSettings,
    apply_orphans,
    clean_orphans,
    plan_orphans,
)
from desilt.table.publish import Place
from desilt.table.table import Table

T = TypeVar("T")

# --- where tables are -----------------------------------------------------------------------------

AT_ONCE = OrphanSettings(0, forced=True)
"""As of a table at rest; what comes after the look is spared even so."""
ORPHANS = {
    "bucket-0/data-dead-0.parquet", "manifest/manifest-dead-0", "manifest/manifest-list-dead-0",
    "index/index-dead-0", "statistics/stats-dead-0", "snapshot/.snapshot-99.dead.tmp",
    "changelog/.changelog-9.dead.tmp", "branch/branch-b/snapshot/.snapshot-9.dead.tmp",
}  # fmt: skip
FOREIGN = {"notes", "bucket-0/x.managed.blob", "schema/.schema-9.dead.tmp", "tag/.tag-dead.tmp"}


@dataclass(frozen=True, slots=True)
class Late:
    """A table, and a task that has rewritten a bucket of it and did not commit yet."""

    table: Table
    task: Task
    plan: CompactionPlan
    result: RewriteResult

    @property
    def in_use(self) -> InUse:
        return InUse(tasks=frozenset({self.task.task_id}))

    @property
    def files(self) -> set[str]:
        return {file.name for file in self.result.outputs}


def lived_in(folder: Path) -> Late:
    """A tag and a branch on a snapshot that expired, changes that outlive theirs, a late task, and
    orphans of every kind beside what is nobody's business."""
    options = {
        "changelog-producer": "full-compaction",
        "changelog.num-retained.min": "9", "changelog.num-retained.max": "9",
    }  # fmt: skip
    table = keyed_table(folder, options=options)
    table.write(upserts(4, "a"))
    table.compact("full")
    refs.create_tag(table, "old", 1)
    refs.create_branch(table, "b", "old")
    table.write(upserts(2, "b"))
    table.expire(retain_max=1, retain_min=1, retain_age=timedelta())
    for name in ORPHANS | FOREIGN:
        path = Path(table.path, name)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"left")
    task = Task.of(table.handle)
    plan = task.plan()
    return Late(table, task, plan, task.rewrite(plan))


def ahead() -> ManualClock:
    """An hour before the store's, which has the last word on what is young."""
    return ManualClock(int(time.time() * 1000) + 3_600_000)


def readable(root: str) -> None:
    """Every snapshot, tag and branch has all its files, and so have changes."""
    there = names_below(root)
    for label, file in refs.snapshot_files(reopened(root)).items():
        assert needed_by(root, file) <= there, label
    for changes in Path(root).glob("changelog/changelog-*"):
        assert changes_of(root, changes) <= there, changes


def test_whatever_happens_at_a_call_the_next_clean_ends_alike(
    shelves: Shelves, tmp_path: Path
) -> None:
    late = lived_in(tmp_path / "made")
    shelf = shelves(late.table)
    shelf.clock = ahead()
    end = below(late.table.path) - {f"/{name}" for name in ORPHANS}
    results: list[OrphanResult] = []

    def clean(handle: TableHandle) -> None:
        results.append(clean_orphans(handle, AT_ONCE, in_use=lambda: late.in_use))

    for trial in shelf.trials(clean, ["dies", "fails"]):
        if trial.fault is None:
            assert results[0].files_total == len(ORPHANS)
            assert below(shelf.seen()) == end
        if trial.known or not trial.changed:
            continue
        root = shelf.seen(trial.state)
        assert below(root) >= end, trial.what
        readable(root)
        clean(shelf.handle)
        assert below(shelf.seen()) == end, trial.what


def commits(late: Late, table: Table) -> None:
    late.task.commit(late.plan, late.result, Committer(table.handle))


def commits_as_a_tag(late: Late, table: Table) -> None:
    """And is rolled back, so that only the tag holds it."""
    commits(late, table)
    last = refs.latest_of(table).id
    refs.create_tag(table, "late", last)
    storage = table.handle.storage
    storage.overwrite(paths.latest_hint(table.path), str(last - 1).encode())
    storage.delete([paths.snapshot_file(table.path, last)])


def branches(_: Late, table: Table) -> None:
    storage, root = table.handle.storage, paths.branch_root(table.path, "late")
    content = storage.read(paths.tag_file(table.path, "old"))
    schema = storage.read(paths.schema_file(table.path, 0))
    storage.overwrite(paths.schema_file(root, 0), schema)
    storage.overwrite(paths.tag_file(root, "old"), content)
    storage.overwrite(paths.snapshot_file(root, 1), content)


def expires(_: Late, table: Table) -> None:
    table.write(upserts(1, "more"))
    table.expire(retain_max=1, retain_min=1, retain_age=timedelta())


Other = Callable[[Late, Table], None]
LATES: tuple[Other, ...] = (commits, commits_as_a_tag)
OTHERS: tuple[Other, ...] = (branches, expires)


@pytest.mark.parametrize("shelves", ["s3"], indirect=True)
def test_others_may_act_in_a_bucket(shelves: Shelves, tmp_path: Path) -> None:
    """Each right before the last look, and one or another at one call of each kind."""
    late = lived_in(tmp_path / "made")
    shelf = shelves(late.table)
    shelf.clock = ahead()
    counted = FaultyStorage(shelf.storage)
    clean_orphans(shelf.faulty(counted), AT_ONCE)
    last_look = look_before_deletion(counted.calls, shelf.root)
    turns = [(last_look, other) for other in LATES + OTHERS]
    for number, at in enumerate(shelf.places(counted.calls)):
        others = LATES + OTHERS if at < last_look else OTHERS
        turns.append((at, others[number % len(others)]))

    kept = 0
    for at, other in turns:
        shelf.renew()
        store = ActsAt(at, partial(other, late, shelf.table), shelf.storage)
        with suppress(CommitConflict, FileMissing):  # expired meanwhile
            kept += clean_orphans(shelf.faulty(store), AT_ONCE).kept
        root = shelf.seen()
        readable(root)
        assert other not in LATES or late.files <= names_below(root), (at, other)
    assert kept >= 2


def look_before_deletion(calls: Sequence[Call], root: str) -> int:
    """The last listing of snapshots before the first file goes."""
    deletes = [c.method == "delete" and "clock" not in c.path for c in calls]
    first = deletes.index(True)
    snapshots = Call("list", f"{root}/snapshot")
    return max(at for at, call in enumerate(calls[:first]) if call == snapshots)


# --- in memory ------------------------------------------------------------------------------------

FAULTS: dict[str, Callable[[int], Fault]] = {
    "dies": Death,
    "fails": Failure,
    "gets no answer": LostAnswer,
}


def built() -> Graph:
    """A tag, a branch that lives on, an old state published again, and orphans of every kind."""
    graph = Graph(_seed())
    for act in ("append", "tag", "compact", "branch", "vectors", "rollback as latest", "append"):
        graph.act(act)
    for _ in range(4):
        graph.leave()
    graph.written.append(graph.file(0))
    graph.clock.advance(2 * 86_400)
    return graph


@cache
def _seed() -> int:
    return next(s for s in range(100) if not Graph(s).external and Graph(s).producer)


def names(graph: Graph) -> set[str]:
    return {path.rpartition("/")[2] for path in graph.storage.paths()}


def whole(graph: Graph) -> None:
    there = names(graph)
    for path, reached in Reader(graph).holders().items():
        assert reached.needed <= there, path


def run(graph: Graph, storage: FaultyStorage) -> OrphanResult:
    handle = replace(graph.handle, storage=storage)
    return clean_orphans(handle, in_use=lambda: graph.in_use)


@pytest.mark.parametrize("kind", FAULTS)
def test_every_call_may_go_wrong(kind: str) -> None:
    undisturbed = built()
    storage = FaultyStorage(undisturbed.storage)
    assert run(undisturbed, storage).files_total > 8
    end = undisturbed.storage.paths().keys()
    fired, known = 0, set[frozenset[str]]()
    for at in range(len(storage.calls)):
        graph = built()
        faulty = FaultyStorage(graph.storage, FAULTS[kind](at))
        with suppress(StorageUnavailable, Died):
            run(graph, faulty)
        fired += faulty.fired
        whole(graph)
        assert graph.storage.paths().keys() >= end, "nothing went that would have stayed"
        left = frozenset(p for p in graph.storage.paths() if "/.clock." not in p)
        assert left >= end
        if left in known:  # a clock is young, and goes tomorrow: what comes now is known, too
            continue
        known.add(left)
        run(graph, FaultyStorage(graph.storage))
        assert {p for p in graph.storage.paths() if "/.clock." not in p} == end, at
    assert fired == len(storage.calls)


def late(graph: Graph) -> None:
    graph.commit(MAIN, [graph.written[-1]])


def late_on_a_branch(graph: Graph) -> None:
    graph.commit(graph.branches()[0], [graph.written[-1]])


def late_as_a_tag(graph: Graph) -> None:
    late(graph)
    last = graph.ids(MAIN)[-1]
    content = graph.snapshot(MAIN, last).content
    graph.storage.put(paths.tag_file(ROOT, "late"), content)
    graph.storage.put(paths.latest_hint(ROOT), str(last - 1).encode())
    graph.storage.delete([paths.snapshot_file(ROOT, last)])


def branch(graph: Graph) -> None:
    graph.branch()


def expire(graph: Graph) -> None:
    graph.expire()


def rollback(graph: Graph) -> None:
    graph.rollback(MAIN)


@pytest.mark.parametrize(
    "act",
    [late, late_on_a_branch, late_as_a_tag, branch, expire, rollback],
    ids=lambda a: a.__name__,
)
def test_others_may_act_at_every_call(act: Callable[[Graph], None]) -> None:
    """What they use is whole, whenever they came, until the very batch that deletes.

    A writer that takes longer than the limit and commits while a batch is on its way has lost: that
    is what the limit is for, and a catalog's lock where there is one. So it acts before the last
    look here, and others at any time.
    """
    graph = built()
    storage = FaultyStorage(graph.storage)
    run(graph, storage)
    calls = storage.calls
    last_look = look_before_deletion(calls, ROOT)
    lates = (late, late_on_a_branch, late_as_a_tag)
    for at in range(last_look if act in lates else len(calls)):
        graph = built()
        _acting(graph, at, act)
        whole(graph)
        if act in lates:
            assert graph.written[-1].file.name in names(graph)


def _acting(graph: Graph, at: int, act: Callable[[Graph], None]) -> None:
    """Clean, with ``act`` just before call ``at``."""
    count = [0]

    class Hooked(FaultyStorage):
        def _counted(self, method: str, path: str, action: Callable[[], T]) -> T:
            if count[0] == at:
                act(graph)
            count[0] += 1
            return super()._counted(method, path, action)

    with suppress(CommitConflict, FileMissing):  # expired meanwhile
        run(graph, Hooked(graph.storage))


def test_under_a_lock_nobody_publishes_between_the_look_and_the_deletion() -> None:
    graph = built()
    held: list[str] = []

    class Lock:
        def publish(
            self, place: Place, snapshot_id: int, content: bytes, base: bytes | None
        ) -> bool:
            raise AssertionError(place, snapshot_id, content, base)

        @contextmanager
        def alone(self, place: Place) -> Generator[None]:
            held.append(place.table)
            yield
            held.append("released")

        def quiet(self, place: Place) -> AbstractContextManager[None]:
            return self.alone(place)

    handle = replace(graph.handle, publisher=Lock())
    seen: list[int] = []

    class Watching(MemoryStorage):
        def delete(self, paths: Sequence[str]) -> None:
            if not any("clock" in p for p in paths):
                seen.append(len(held) % 2)
            MemoryStorage.delete(self, paths)

    storage = Watching(graph.clock.now, files=graph.storage.files)
    clean_orphans(replace(handle, storage=storage))
    assert seen
    assert all(seen)
    assert len(held) % 2 == 0


def test_batches_look_anew() -> None:
    """A writer that commits during the first batch keeps what would go in the second."""
    graph = built()
    for number in range(1500):
        graph.storage.put(f"{ROOT}/bucket-0/a-{number:04}")
    folder = "bucket-0" if not graph.partitioned else "p=0/bucket-0"
    for number in range(1500 if graph.partitioned else 0):
        graph.storage.put(f"{ROOT}/{folder}/a-{number:04}")
    graph.clock.advance(2 * 86_400)
    plan = plan_orphans(graph.handle, in_use=graph.in_use)
    batches: list[int] = []

    class Batched(MemoryStorage):
        def delete(self, paths: Sequence[str]) -> None:
            if not any("clock" in p for p in paths):
                batches.append(len(paths))
                if len(batches) == 1:
                    late(graph)
            MemoryStorage.delete(self, paths)

    storage = Batched(graph.clock.now, files=graph.storage.files)
    result = apply_orphans(
        plan, replace(graph.handle, storage=storage), in_use=lambda: graph.in_use
    )
    assert len(batches) == 2
    assert batches[0] == 1000
    assert result.kept >= 1
    whole(graph)


def test_cleaning_beside_writers_and_expiry(tmp_path: Path) -> None:
    """Real threads on a real disk, at an age of nothing but what the writers need."""
    table = keyed_table(tmp_path, clock=ManualClock(int(time.time() * 1000)))
    table.write(upserts(3, "first"))
    failures: list[BaseException] = []
    ending = threading.Event()

    def cleaning() -> None:
        handle = replace(table.handle, world=World())
        while not ending.is_set():
            try:
                with suppress(CommitConflict, FileMissing):  # expired meanwhile
                    clean_orphans(handle, OrphanSettings(2000, forced=True))
            except BaseException as error:  # noqa: BLE001
                failures.append(error)
                return

    def expiring() -> None:
        while not ending.is_set():
            with suppress(CommitConflict):
                table.expire(retain_max=2)

    threads = [threading.Thread(target=act) for act in (cleaning, expiring)]
    for thread in threads:
        thread.start()
    for number in range(15):
        table.write(upserts(3, f"v{number}-", start=number))
        if number % 3 == 2:
            table.compact("full")
    ending.set()
    for thread in threads:
        thread.join()

    assert failures == []
    latest = refs.latest_of(table).id
    assert len(rows_of(table, latest)) == 17
