"""Dropping partitions and merging manifests die, fail or lose an answer at every storage call: each
is done whole or not at all, and what is left behind bears the task's id."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import polars as pl
import pytest
from support.builders import (
    catalog,
    copied,
    handle_on,
    live_files,
    orphans,
    reopened,
    rows_of,
)
from support.faulty import Death, Died, Failure, Fault, FaultyStorage, LostAnswer, files_below

from desilt.table.compact import sweep
from desilt.table.errors import OutcomeUnknown, StorageUnavailable, TableError
from desilt.table.metadata import MetadataReader
from desilt.table.table import Table

TASK = re.compile(r"manifest-(?:\w+-)?([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})-")
OLD, NEW = "2023-10-01", "2023-11-14"


@dataclass(frozen=True, slots=True)
class Story:
    """Something done to a table, and how to see whether it was."""

    act: Callable[[Table], object]
    state: Callable[[Table], object]


def _manifests(table: Table) -> object:
    snapshot = table.handle.snapshots.latest()
    assert snapshot is not None
    metas = MetadataReader(table.handle).manifests(snapshot)
    return len(metas) == 1, rows_of(table), live_files(table)


STORIES = {
    "expire": Story(lambda t: t.expire_partitions(), rows_of),
    "drop": Story(lambda t: t.drop_partitions([{"p": OLD}]), rows_of),
    "manifests": Story(lambda t: t.compact_manifests(), _manifests),
}


@pytest.fixture(params=STORIES)
def story(request: pytest.FixtureRequest) -> Story:
    return STORIES[str(request.param)]


def made(folder: Path) -> Table:
    """Two partitions of three files, one of them with deletion vectors."""
    table = catalog(folder).create_table(
        "db.t", {"p": "STRING", "n": "INT"}, partition_by=["p"],
        options={
            "bucket": "-1", "deletion-vectors.enabled": "true", "partition.expiration-time": "7 d",
        },
    )  # fmt: skip
    for turn in range(3):
        given = [(p, turn * 10 + n) for p in (OLD, NEW) for n in range(4)]
        table.write(pl.DataFrame(given, schema={"p": pl.String, "n": pl.Int32}, orient="row"))
    table.delete(pl.col("n") == 11)
    return table


def _sweep(table: Table, store: FaultyStorage) -> None:
    for task in {found[1] for path in store.made if (found := TASK.search(path))}:
        sweep(table.handle, task, "", 0)


def test_it_is_done_whole_or_not_at_all_wherever_it_dies(story: Story, tmp_path: Path) -> None:
    table = made(tmp_path / "made")
    old = story.state(table)
    done = reopened(copied(table, tmp_path / "done"))
    story.act(done)
    new = story.state(done)
    assert old != new

    at = 0
    while _dies(story, table, tmp_path / str(at), at, (old, new)):
        at += 1

    assert at > 12


def _dies(
    story: Story, table: Table, folder: Path, at: int, possible: tuple[object, object]
) -> bool:
    """Let it die at call ``at``; False when it has fewer calls, and then succeeded."""
    root = copied(table, folder)
    before = files_below(root)
    store = FaultyStorage(fault=Death(at))
    with suppress(Died, TableError):
        story.act(Table(handle_on(root, store)))
    after = reopened(root)

    assert not store.unaccounted(before, root)
    assert story.state(after) in (possible if store.fired else possible[1:])
    _sweep(after, store)
    assert orphans(after) == set()
    story.act(after)  # whoever wanted it tries again
    assert story.state(after) == possible[1]
    return store.fired


def test_it_answers_truly_whichever_storage_call_fails(story: Story, tmp_path: Path) -> None:
    table = made(tmp_path / "made")
    probe = FaultyStorage()
    root = copied(table, tmp_path / "probe")
    story.act(Table(handle_on(root, probe)))
    old, new = story.state(table), story.state(reopened(root))

    for at in range(len(probe.calls)):
        for kind in (
            Failure, partial(Failure, forever=True), LostAnswer, partial(LostAnswer, then_deaf=True)
        ):  # fmt: skip
            fault: Fault = kind(at)
            folder = tmp_path / f"{at}-{fault}"
            store = FaultyStorage(fault=fault)
            outcome = _outcome(story, copied(table, folder), store)
            after = reopened(f"{folder}/db.db/t")

            assert story.state(after) in _possible(outcome, old, new), fault
            if fault == Failure(at) and outcome is not OutcomeUnknown:
                assert orphans(after) == set(), "what failed once was not tidied up"
            _sweep(after, store)
            assert orphans(after) == set()


def _outcome(story: Story, root: str, store: FaultyStorage) -> type[TableError] | None:
    try:
        story.act(Table(handle_on(root, store)))
    except (StorageUnavailable, OutcomeUnknown) as error:
        return type(error)
    return None


def _possible(outcome: type[TableError] | None, old: object, new: object) -> tuple[object, ...]:
    if outcome is OutcomeUnknown:
        return (old, new)
    return (new,) if outcome is None else (old,)


def test_a_snapshot_that_was_replaced_is_published_again(story: Story, tmp_path: Path) -> None:
    """Another engine renamed its own snapshot over ours; the next call finds that out."""
    table = made(tmp_path)
    path = f"{table.path}/snapshot/snapshot-5"
    other = reopened(copied(table, tmp_path / "other"))
    other.write(pl.DataFrame({"p": [NEW], "n": pl.Series([99], dtype=pl.Int32)}))
    old = story.state(other)
    story.act(table)
    for name in files_below(other.path) - files_below(table.path):
        target = Path(name.replace(other.path, table.path))
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(Path(name).read_bytes())
    Path(path).write_bytes(Path(f"{other.path}/snapshot/snapshot-5").read_bytes())
    assert story.state(table) == old

    table.write(pl.DataFrame({"p": [NEW], "n": pl.Series([100], dtype=pl.Int32)}))

    assert {(NEW, 99), (NEW, 100)} <= set(rows_of(table))
    assert (OLD in {row[0] for row in rows_of(table)}) == (story is STORIES["manifests"])
