"""Deaths, failures and lost answers at each kind of call, on tables of an object store.

What the local tests do at every single call is done here at one of each kind, chosen by a seed:
what is asked of a store is the same, what it leaves behind is not.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from support.builders import Task, handle_on, orphans, reopened, rows_of, upserts
from support.faulty import Call, Death, Died, Failure, Fault, FaultyStorage, LostAnswer
from support.s3_stores import impatient, uploaded
from support.servers import Rgw
from support.stories import STORIES, Story

from desilt.table.compact import sweep
from desilt.table.errors import OutcomeUnknown, StorageUnavailable, TableError
from desilt.table.expire import Override, expire
from desilt.table.storage.s3 import S3Storage
from desilt.table.table import Table

SEED = 11
FAULTS: dict[str, Callable[[int], Fault]] = {
    "dies": Death,
    "fails": Failure,
    "fails for good": lambda at: Failure(at, forever=True),
    "gets no answer": LostAnswer,
    "gets no answer any more": lambda at: LostAnswer(at, then_deaf=True),
}
MORE = upserts(6, "new", start=2)


def kind_of(call: Call) -> str:
    """The method, and what kind of file it is about."""
    name = call.path.rpartition("/")[2]
    kinds = ("manifest-list", "index-manifest", "manifest", "snapshot-", "schema", "data", "index")
    return f"{call.method} {next((k for k in kinds if name.startswith(k)), name)}"


def sampled(calls: Sequence[Call], seed: int) -> list[int]:
    """One call of each kind."""
    by_kind: dict[str, list[int]] = {}
    for at, call in enumerate(calls):
        by_kind.setdefault(kind_of(call), []).append(at)
    chance = random.Random(seed)
    print(f"{seed=}, {len(by_kind)} kinds of {len(calls)} calls")
    return sorted(chance.choice(places) for places in by_kind.values())


class Shelf:
    """Copies of one local table in a bucket."""

    def __init__(self, server: Rgw, bucket: str, table: Table) -> None:
        self.storage = S3Storage(bucket, impatient(server))
        self._bucket = bucket
        self._table = table

    def copy(self) -> str:
        return uploaded(self._table, self.storage, f"s3://{self._bucket}/{uuid.uuid4()}/db.db/t")

    def trials(self, act: Callable[[str, FaultyStorage], object]) -> Iterator[tuple[str, Fault]]:
        """(Kind of fault, fault) of what happens at one call of each kind."""
        counted = FaultyStorage(inner=self.storage)
        act(self.copy(), counted)
        places = sampled(counted.calls, SEED)
        for number, at in enumerate(places):
            name = list(FAULTS)[number % len(FAULTS)]
            yield name, FAULTS[name](at)


def outcome_of(act: Callable[[], object]) -> str:
    try:
        act()
    except Died:
        return "died"
    except StorageUnavailable:
        return "unavailable"
    except OutcomeUnknown:
        return "unknown"
    except TableError:
        raise
    except Exception as error:  # noqa: BLE001  # an encoder turned it into an error of its own
        return f"died: {error}"
    return "done"


CHOSEN = [s for s in STORIES if s.name in ("full", "lookup")]


@pytest.mark.parametrize("story", CHOSEN, ids=lambda s: s.name)
def test_a_compaction_leaves_the_old_or_the_new_snapshot(
    story: Story, s3_server: Rgw, bucket: str, tmp_path: Path
) -> None:
    table = story.build(tmp_path)
    story.observe(table)
    shelf = Shelf(s3_server, bucket, table)

    def run(root: str, store: FaultyStorage) -> object:
        return Task.of(handle_on(root, store), story.mode).run()

    for name, fault in shelf.trials(run):
        root = shelf.copy()
        task = Task.of(handle_on(root, FaultyStorage(inner=shelf.storage, fault=fault)), story.mode)
        outcome = outcome_of(task.run)
        after = reopened(root, shelf.storage)
        latest = after.handle.snapshots.latest()
        assert latest is not None
        what = f"{name} {fault}, {outcome}"
        assert latest.id in {
            "done": [story.snapshots + 1],
            "unavailable": [story.snapshots],
        }.get(outcome, [story.snapshots, story.snapshots + 1]), what
        assert rows_of(after) == story.rows, what
        swept = sweep(after.handle, task.task_id, "", 0)
        assert swept.committed == (latest.id > story.snapshots), what
        assert orphans(after) == set(), what
        after.compact(story.mode)
        assert rows_of(after) == story.rows, what


def test_a_write_is_there_or_not(s3_server: Rgw, bucket: str, tmp_path: Path) -> None:
    story = CHOSEN[0]
    table = story.build(tmp_path / "made")
    old = rows_of(table)
    shelf = Shelf(s3_server, bucket, table)
    whole = reopened(shelf.copy(), shelf.storage)
    whole.write(MORE)
    new = rows_of(whole)

    for name, fault in shelf.trials(lambda root, store: Table(handle_on(root, store)).write(MORE)):
        root = shelf.copy()
        store = FaultyStorage(inner=shelf.storage, fault=fault)
        outcome = outcome_of(lambda r=root, s=store: Table(handle_on(r, s)).write(MORE))  # type: ignore[misc]
        after = reopened(root, shelf.storage)
        possible = {"done": [new], "unavailable": [old]}.get(outcome, [old, new])
        assert rows_of(after) in possible, f"{name} {fault}, {outcome}"
        after.write(MORE)
        assert rows_of(after) == new


def test_an_expiry_is_ended_by_the_next_one(s3_server: Rgw, bucket: str, tmp_path: Path) -> None:
    story = CHOSEN[0]
    table = story.build(tmp_path)
    table.compact("full")
    rows = rows_of(table)
    shelf = Shelf(s3_server, bucket, table)
    keep = Override(1, 1, None)

    def run(root: str, store: FaultyStorage) -> object:
        return expire(handle_on(root, store), keep)

    for name, fault in shelf.trials(run):
        root = shelf.copy()
        store = FaultyStorage(inner=shelf.storage, fault=fault)
        outcome_of(lambda r=root, s=store: run(r, s))  # type: ignore[misc]
        after = reopened(root, shelf.storage)
        assert rows_of(after) == rows, f"{name} {fault}"
        run(root, FaultyStorage(inner=shelf.storage))
        assert rows_of(after) == rows
        assert len(after.handle.snapshots.ids()) == 1
        assert orphans(after) == set(), f"{name} {fault}"
