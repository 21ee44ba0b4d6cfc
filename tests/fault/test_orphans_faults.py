"""Orphan cleaning dies, fails and gets no answer at every storage call; others act at every call.

Whatever happens, everything that can be read is whole; and the next clean ends where an undisturbed
one ends.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pytest
from support import refs
from support.builders import ManualClock, keyed_table, rows_of, upserts
from support.faulty import Death, Died, Failure, Fault, FaultyStorage, LostAnswer
from support.graph_model import Reader
from support.graphs import MAIN, ROOT, Graph
from support.memory import MemoryStorage

from desilt.table import paths
from desilt.table.errors import CommitConflict, FileMissing, StorageUnavailable
from desilt.table.handle import World
from desilt.table.orphans.clean import (
    OrphanResult,
    OrphanSettings,
    apply_orphans,
    clean_orphans,
    plan_orphans,
)
from desilt.table.publish import Place

T = TypeVar("T")

FAULTS: dict[str, Callable[[int], Fault]] = {
    "dies": Death,
    "fails": Failure,
    "gets no answer": LostAnswer,
}


def built() -> Graph:
    """A tag, a branch that lives on, an old state published again, and orphans of every kind."""
    seed = next(s for s in range(100) if not Graph(s).external and Graph(s).producer)
    graph = Graph(seed)
    for act in ("append", "tag", "compact", "branch", "vectors", "rollback as latest", "append"):
        graph.act(act)
    for _ in range(4):
        graph.leave()
    graph.written.append(graph.file(0))
    graph.clock.advance(2 * 86_400)
    return graph


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
    fired = 0
    for at in range(len(storage.calls)):
        graph = built()
        faulty = FaultyStorage(graph.storage, FAULTS[kind](at))
        with suppress(StorageUnavailable, Died):
            run(graph, faulty)
        fired += faulty.fired
        whole(graph)
        assert graph.storage.paths().keys() >= end, "nothing went that would have stayed"
        left = {p for p in graph.storage.paths() if "/.clock." not in p}  # young; it goes tomorrow
        run(graph, FaultyStorage(graph.storage))
        assert {p for p in graph.storage.paths() if "/.clock." not in p} == end, at
        assert left >= end
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
    first_delete = next(
        at for at, c in enumerate(calls) if c.method == "delete" and "clock" not in c.path
    )
    last_look = max(
        at
        for at, c in enumerate(calls[:first_delete])
        if c.method == "list" and c.path == f"{ROOT}/snapshot"
    )
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
