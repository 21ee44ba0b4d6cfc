"""Small tables in temporary folders, and the questions tests ask of them.

No sleeping and no device flushes: a manual clock, and a store that only survives processes.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from desilt.table.catalog import Catalog, open_table
from desilt.table.commit import CommitOutcome, Committer
from desilt.table.compact import CompactionPlan, RewriteOptions, RewriteResult, commit, rewrite
from desilt.table.decision import Mode, PlanOptions
from desilt.table.handle import TableHandle, World
from desilt.table.metadata import MetadataReader
from desilt.table.observe import TableObserver
from desilt.table.storage import LocalStorage, Storage, is_remote
from desilt.table.table import Table

from .faulty import Fault, FaultyStorage, files_below

START_MILLIS = 1_700_000_000_000
NAME = "db.t"
KEYED_COLUMNS = {"k": "INT NOT NULL", "v": "STRING"}
APPEND_COLUMNS = {"n": "INT", "v": "STRING"}
KEYED_OPTIONS = {"bucket": "1"}


@dataclass(slots=True)
class ManualClock:
    """Epoch milliseconds that move only when told to."""

    millis: int = START_MILLIS

    def now(self) -> int:
        return self.millis

    def advance(self, seconds: float) -> None:
        self.millis += int(seconds * 1000)


def world(clock: ManualClock | None = None) -> World:
    """A world without waiting and without chance."""
    return World(
        now_millis=(clock or ManualClock()).now, sleep=lambda _seconds: None, chance=lambda: 0.0
    )


def catalog(
    folder: Path | str, *, storage: Storage | None = None, clock: ManualClock | None = None
) -> Catalog:
    return Catalog(str(folder), storage=storage or LocalStorage(sync=False), world=world(clock))


def keyed_table(
    folder: Path | str,
    *,
    columns: Mapping[str, str] | None = None,
    primary_key: Sequence[str] = ("k",),
    partition_by: Sequence[str] = (),
    options: Mapping[str, str] | None = None,
    clock: ManualClock | None = None,
) -> Table:
    """A table ``db.t`` keyed by ``k`` with one bucket."""
    return catalog(folder, clock=clock).create_table(
        NAME,
        columns or KEYED_COLUMNS,
        primary_key=primary_key,
        partition_by=partition_by,
        options={**KEYED_OPTIONS, **(options or {})},
    )


def append_table(
    folder: Path | str,
    *,
    columns: Mapping[str, str] | None = None,
    options: Mapping[str, str] | None = None,
    clock: ManualClock | None = None,
) -> Table:
    """An append table ``db.t`` without buckets."""
    return catalog(folder, clock=clock).create_table(
        NAME, columns or APPEND_COLUMNS, options=options or {}
    )


def reopened(
    table: Table | str, storage: Storage | None = None, clock: ManualClock | None = None
) -> Table:
    """The same table through another store; without one, where it is."""
    if storage is None and isinstance(table, Table) and is_remote(table.path):
        storage = table.handle.storage
    path = table if isinstance(table, str) else table.path
    return open_table(path, storage=storage or LocalStorage(sync=False), world=world(clock))


def faulty(table: Table, fault: Fault | None = None) -> FaultyStorage:
    """The table's own store, with a fault maybe."""
    return FaultyStorage(inner=table.handle.storage, fault=fault)


def files_of(table: Table) -> frozenset[str]:
    """Every file of the table, wherever it is."""
    return files_below(table.path, table.handle.storage)


def handle_on(root: str, storage: Storage, clock: ManualClock | None = None) -> TableHandle:
    """The table at ``root`` through ``storage``, without a first look at it."""
    return TableHandle(NAME, root, storage, world(clock))


def copied(table: Table, folder: Path) -> str:
    """A copy of the table's files under another warehouse; its root."""
    root = f"{folder}/db.db/t"
    shutil.copytree(table.path, root, dirs_exist_ok=True)
    return root


def kv(*pairs: tuple[int, str | None]) -> pl.DataFrame:
    """Rows of ``KEYED_COLUMNS``."""
    return pl.DataFrame(pairs, schema={"k": pl.Int32, "v": pl.String}, orient="row")


def upserts(count: int, value: str, *, step: int = 1, start: int = 0) -> pl.DataFrame:
    """``count`` rows with keys ``start``, ``start + step`` …, all with this value."""
    keys = range(start, start + count * step, step)
    return kv(*((k, f"{value}{k}") for k in keys))


def rows_of(table: Table, snapshot_id: int | None = None) -> list[tuple[object, ...]]:
    """All rows, sorted as text, so that rows with nulls and mixed types have an order."""
    return sorted(table.scan(snapshot_id=snapshot_id).collect().rows(), key=repr)


def live_files(table: Table, snapshot_id: int | None = None) -> list[tuple[str, int]]:
    """(name, level) of the live files of a snapshot (the latest by default), sorted."""
    store = table.handle.snapshots
    snapshot = store.latest() if snapshot_id is None else store.get(snapshot_id)
    if snapshot is None:
        return []
    live = MetadataReader(table.handle).live(snapshot)
    return sorted(zip(live["name"].to_list(), live["level"].to_list(), strict=True))


def orphans(table: Table) -> set[str]:
    """Paths of files that no snapshot of the table uses (schemas and hints are used)."""
    reader = MetadataReader(table.handle)
    used: set[str] = set()
    for status in table.handle.storage.list(f"{table.path}/snapshot"):
        if not status.name.removeprefix("snapshot-").isdigit():
            continue
        snapshot = table.handle.snapshots.get(int(status.name.removeprefix("snapshot-")))
        metas = reader.manifests(snapshot)
        used |= {snapshot.base_manifest_list, snapshot.delta_manifest_list, status.name}
        if snapshot.changelog_manifest_list is not None:
            used.add(snapshot.changelog_manifest_list)
            metas = (*metas, *reader.manifest_list(snapshot.changelog_manifest_list))
        if snapshot.index_manifest is not None:
            used.add(snapshot.index_manifest)
            used |= {entry.file_name for entry in reader.index(snapshot)}
        for meta in metas:
            used |= {meta.name, *reader.slim(meta.name)["name"].to_list()}
    used |= {"LATEST", "EARLIEST"}
    return {
        path
        for path in files_of(table)
        if os.path.basename(path) not in used and "/schema/" not in path
    }


@dataclass(frozen=True, slots=True)
class Task:
    """One compaction of bucket 0 of an unpartitioned table, step by step."""

    handle: TableHandle
    mode: Mode = "full"
    task_id: str = ""

    @staticmethod
    def of(handle: TableHandle, mode: Mode = "full") -> Task:
        return Task(handle, mode, str(uuid.uuid4()))

    def plan(self) -> CompactionPlan:
        """The plan, made from the newest snapshot; something must be due."""
        observer = TableObserver(self.handle)
        observer.refresh()
        plan = observer.plan("", 0, self.task_id, PlanOptions(self.mode))
        assert plan is not None, "nothing is due"
        return plan

    def rewrite(self, plan: CompactionPlan) -> RewriteResult:
        return rewrite(plan, RewriteOptions(verify="full"), self.handle)

    def commit(
        self, plan: CompactionPlan, result: RewriteResult, committer: Committer | None = None
    ) -> CommitOutcome:
        return commit(plan, result, committer or Committer(self.handle))

    def run(self) -> CommitOutcome:
        plan = self.plan()
        return self.commit(plan, self.rewrite(plan))
