"""Committers that race on one table of an object store, in processes that may be killed.

Each keeps a log: a line before a commit and one after it, written through, so that what was
acknowledged to a process that is dead by now is known.
"""

from __future__ import annotations

import multiprocessing
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import NamedTuple

import polars as pl

from desilt.table.catalog import open_table
from desilt.table.errors import CommitConflict, OutcomeUnknown, StorageUnavailable
from desilt.table.snapshot import Snapshot
from desilt.table.storage import StoreOptions
from desilt.table.storage.s3 import S3Storage
from desilt.table.table import Table

__all__ = ["Commit", "Crew", "Log", "order_of"]


class Commit(NamedTuple):
    """Who committed, and the how manyeth of theirs it is."""

    user: str
    number: int


@dataclass(frozen=True, slots=True)
class Log:
    """What all committers know: snapshot ids by commit, lost races, and how the rest ended."""

    acknowledged: dict[Commit, int]
    races: list[int]
    refused: int
    unknown: int
    begun: int

    @property
    def share(self) -> float:
        """Of the commits that ended: how many were acknowledged."""
        ended = len(self.acknowledged) + self.refused + self.unknown
        return len(self.acknowledged) / max(ended, 1)


@dataclass(slots=True)
class Crew:
    """``processes`` with so many committers each, on one table; logs in ``folder``."""

    root: str
    options: StoreOptions
    folder: Path
    processes: int = 4
    committers: int = 5

    def start(self) -> list[BaseProcess]:
        """All processes, begun; they wait for `begin`."""
        spawned = multiprocessing.get_context("spawn")
        users = [f"p{p}c{c}" for p in range(self.processes) for c in range(self.committers)]
        started: list[BaseProcess] = []
        for process in range(self.processes):
            mine = users[process * self.committers : (process + 1) * self.committers]
            args = (self.root, self.options, str(self.folder), mine)
            started.append(spawned.Process(target=commit_until_stopped, args=args))
            started[-1].start()
        while len(list(self.folder.glob("ready-*"))) < self.processes * self.committers:
            assert all(p.is_alive() for p in started), "a committer did not start"
            time.sleep(0.05)
        return started

    def begin(self) -> None:
        (self.folder / "begin").touch()

    def stop(self) -> None:
        (self.folder / "stop").touch()

    def log(self) -> Log:
        acknowledged: dict[Commit, int] = {}
        races: list[int] = []
        ended: Counter[str] = Counter()
        for path in self.folder.glob("log-*"):
            for line in path.read_text().splitlines():
                what, number, *rest = line.split()
                ended[what] += 1
                if what == "done":
                    commit = Commit(path.name.removeprefix("log-"), int(number))
                    acknowledged[commit] = int(rest[0])
                    races.append(int(rest[1]))
        return Log(acknowledged, races, ended["refused"], ended["unknown"], ended["begun"])


def commit_until_stopped(
    root: str, options: StoreOptions, folder: str, users: Sequence[str]
) -> None:
    """One thread for each user, each with a store of its own."""
    threads = [
        threading.Thread(target=_commit, args=(root, options, Path(folder), user)) for user in users
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _commit(root: str, options: StoreOptions, folder: Path, user: str) -> None:
    table = open_table(root, storage=S3Storage(root.split("/")[2], options))
    (folder / f"ready-{user}").touch()
    while not (folder / "begin").exists():
        time.sleep(0.02)
    number = 0
    with (folder / f"log-{user}").open("w", buffering=1) as log:
        while not (folder / "stop").exists():
            log.write(f"begun {number}\n")
            log.write(f"{_one(table, user, number)}\n")
            number += 1


def _one(table: Table, user: str, number: int) -> str:
    """A commit of one row; how it ended."""
    rows = pl.DataFrame({"n": [number], "v": [user]}, schema={"n": pl.Int32, "v": pl.String})
    try:
        outcome = table.write(rows, user=user, identifier=number)
    except (CommitConflict, StorageUnavailable):
        return f"refused {number}"
    except OutcomeUnknown:
        return f"unknown {number}"
    assert outcome is not None
    return f"done {number} {outcome.snapshot_id} {outcome.lost_races}"


def order_of(table: Table) -> list[tuple[Commit, Snapshot]]:
    """The commits as a reader finds them, in the order of their snapshots."""
    found = [table.handle.snapshots.get(number) for number in table.handle.snapshots.ids()]
    return [(Commit(s.commit_user, s.commit_identifier), s) for s in found]
