"""Looks at every table of every catalog; what goes wrong with one stays with that one.

A `Watched` table is opened once and its observer kept, so that a look at an unchanged table costs
two small reads. Its lock is held while the observer is used; its commit lock while something is
published, so that the daemon never races with itself.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import polars as pl

from .clock import Clock
from .config_catalog import CatalogConfig
from .engine import Engine, Observer
from .errors import JournalError
from .journal import Journal, Spend
from .listen import (
    CatalogFailed,
    CommitRepublished,
    JournalFailed,
    Listener,
    TableAwaited,
    TableForgotten,
    TableFound,
    TableScanned,
)
from .logs import describe
from .outcome import Next
from .settle import Settlement

# Counters that are older than this after a crash miss at most so much of what was written
# meanwhile.
SPEND_SAVE_SECONDS = 30.0
# Between "exists?" and its rename another engine takes far less than this.
RECHECK_SECONDS = 60.0


@dataclass(slots=True)
class Watched:
    """One table. ``name`` is unique in the daemon; ``table`` is ``db.t`` in its catalog."""

    name: str
    catalog: CatalogConfig
    table: str
    path: str
    observer: Observer
    lock: threading.RLock = field(default_factory=threading.RLock)
    commit_lock: threading.Lock = field(default_factory=threading.Lock)
    facts: pl.DataFrame | None = None
    waited_for: bool = False
    """Whether readers or followers waited for compactions at the last look."""
    spend_saved: float | None = None
    published: float | None = None
    """When something was published last, on the monotonic clock."""
    reading: dict[str, int] = field(default_factory=dict[str, int])
    """Running tasks by id, and the snapshot that each was planned from; behind ``lock``."""

    @property
    def awaited(self) -> bool:
        """Whether readers or followers of the table wait for its compactions, as far as known."""
        return self.facts is not None and self.waited_for


class Fleet:
    """All tables that are watched. `look` may run in several threads, `discover` in one."""

    def __init__(
        self,
        catalogs: Sequence[CatalogConfig],
        engine: Engine,
        settlement: Settlement,
        journal: Journal,
        clock: Clock,
        listener: Listener,
    ) -> None:
        self._catalogs = catalogs
        self._engine = engine
        self._settlement = settlement
        self._journal = journal
        self._clock = clock
        self._tell = listener
        self._tables: dict[str, Watched] = {}

    @property
    def tables(self) -> tuple[Watched, ...]:
        """Sorted by name."""
        return tuple(sorted(self._tables.copy().values(), key=lambda table: table.name))

    def get(self, name: str) -> Watched | None:
        """The table of that name, if it is watched."""
        return self._tables.get(name)

    def name(self, catalog: CatalogConfig, table: str) -> str:
        """``db.t``; with several catalogs ``catalog.db.t``: two may hold the same table name."""
        return table if len(self._catalogs) == 1 else f"{catalog.name}.{table}"

    def discover(self) -> None:
        """Open tables that are new, forget those that are gone."""
        for catalog in self._catalogs:
            try:
                listed = self._engine.tables(catalog)
            except Exception as error:  # noqa: BLE001  a bad warehouse must not stop the others
                self._tell(CatalogFailed(catalog.name, describe(error)))
                continue
            self._update(catalog, {self.name(catalog, table): table for table in listed})

    def _update(self, catalog: CatalogConfig, listed: dict[str, str]) -> None:
        for table in self.tables:
            if table.catalog is catalog and table.name not in listed:
                self.forget(table.name)
        for name in listed.keys() - self._tables.keys():
            if self._settlement.ledger.table_open(name, self._clock.now()):
                self._guarded(name, partial(self._open, catalog, name, listed[name]))

    def _open(self, catalog: CatalogConfig, name: str, table: str) -> None:
        opened = self._engine.open(catalog, table)
        self._restore_spend(opened.path, opened.observer)
        self._tables[name] = Watched(name, catalog, table, opened.path, opened.observer)
        self._tell(TableFound(name, opened.path))

    def forget(self, name: str) -> None:
        """The table is gone."""
        gone = self._tables.pop(name, None)
        if gone is None:
            return
        self._settlement.forget(name)
        self._journaled(lambda: self._journal.forget(gone.path))
        self._tell(TableForgotten(name))

    def look(self, table: Watched) -> bool:
        """Bring ``table.facts`` up to date; they are None when the table must be left alone.

        Returns whether there was a new snapshot.
        """
        if not self._settlement.ledger.table_open(table.name, self._clock.now()):
            table.facts = None
            return False
        return self._guarded(table.name, lambda: self._look(table)) or False

    def _look(self, table: Watched) -> bool:
        started = self._clock.monotonic()
        self._recheck(table, started)
        with table.lock:
            changed = table.observer.refresh()
            now_millis = int(self._clock.now().timestamp() * 1000)
            facts = table.observer.health(now_millis)
            table.facts = facts.with_columns(table=pl.lit(table.name))
            self._tell_awaited(table, table.facts)
            if changed:
                self._save_spend(table)
                self._tell(self._scanned(table, self._clock.monotonic() - started))
        self._settlement.succeeded(table.name)
        return changed

    def _tell_awaited(self, table: Watched, facts: pl.DataFrame) -> None:
        """How long somebody has waited; once more, for nothing, when nobody does any longer."""
        told = pl.col("up_level0") | pl.col("full_commits").is_not_null()
        before, table.waited_for = table.waited_for, bool(facts.select(told.any()).item())
        if before or table.waited_for:
            oldest = facts["oldest_level0_age_seconds"].max() if table.waited_for else 0.0
            self._tell(TableAwaited(table.name, float(oldest or 0.0)))  # type: ignore[arg-type]

    def _recheck(self, table: Watched, now: float) -> None:
        """A snapshot published lately may have been replaced by an engine that only renames."""
        if table.published is None:
            return
        if now - table.published > RECHECK_SECONDS:
            table.published = None
            return
        with table.commit_lock:
            again = self._engine.recheck(table.path)
        if again is not None:
            table.published = now
            self._tell(CommitRepublished(table.name, again.snapshot_id))

    def _scanned(self, table: Watched, seconds: float) -> TableScanned:
        facts = pl.DataFrame() if table.facts is None else table.facts
        runs = int(facts["sorted_runs"].max() or 0) if facts.height else 0  # type: ignore[arg-type]
        return TableScanned(
            table=table.name,
            snapshot_id=table.observer.snapshot_id,
            buckets=facts.height,
            sorted_runs_max=runs,
            write_amplification=amplification(table.observer.spend()),
            duration_seconds=seconds,
        )

    def _guarded(self, name: str, work: Callable[[], bool | None]) -> bool | None:
        """Run it; whatever it raises becomes an entry in the ledger of that table."""
        try:
            return work()
        except Exception as error:  # noqa: BLE001  decided by type in outcome.py
            table = self._tables.get(name)
            if table is not None:
                table.facts = None
            if self._settlement.table_failed(name, error) is Next.FORGET_TABLE:
                self.forget(name)
            return None

    def _restore_spend(self, path: str, observer: Observer) -> None:
        spend: list[Spend | None] = []
        self._journaled(lambda: spend.append(self._journal.spend(path)))
        if spend and spend[0] is not None:
            observer.restore_spend(spend[0].counters, spend[0].upto_snapshot_id)

    def _save_spend(self, table: Watched) -> None:
        now = self._clock.monotonic()
        if table.spend_saved is None or now - table.spend_saved >= SPEND_SAVE_SECONDS:
            table.spend_saved = now
            self._write_spend(table)

    def save_all_spend(self) -> None:
        """Before the end: keep every counter."""
        for table in self.tables:
            with table.lock:
                self._write_spend(table)

    def _write_spend(self, table: Watched) -> None:
        upto = table.observer.spend_upto_snapshot_id
        spend = Spend(upto, table.observer.spend())
        self._journaled(lambda: self._journal.save_spend(table.path, spend))

    def _journaled(self, work: Callable[[], object]) -> None:
        try:
            work()
        except JournalError as error:
            self._tell(JournalFailed(str(error)))


def amplification(spend: dict[str, list[int]]) -> float | None:
    """(Appended + compacted) ÷ appended bytes over all buckets; None without appends."""
    appended = sum(counters[0] for counters in spend.values())
    written = sum(sum(counters) for counters in spend.values())
    return written / appended if appended else None
