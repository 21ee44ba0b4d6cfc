"""Looks at every table of every catalog; what goes wrong with one stays with that one.

A `Watched` table is opened once and its observer kept, so that a look at an unchanged table costs
one small request. Its lock is held while the observer is used; its commit lock while something is
published, so that the daemon never races with itself.

Looks go as wide as hides the store's latency, those first whose last look is the longest ago, until
the tick's time is over; the next tick goes on there. A look that hangs is not waited for any longer
than that, and its table is left out until it ends.
"""

from __future__ import annotations

import threading
import zlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import polars as pl

from ..table.health import Health
from ..table.storage.requests import OPERATIONS, OwnCount, counted
from .clock import Clock
from .config_catalog import CatalogConfig
from .crew import Crew
from .engine import Engine, Observer
from .errors import JournalError
from .fleet_facts import FleetFacts
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
    TickFailed,
)
from .logs import describe
from .outcome import Next
from .settle import Settlement

# Counters that are older than this after a crash miss at most so much of what was written
# meanwhile.
SPEND_SAVE_SECONDS = 30.0
# Between "exists?" and its rename another engine takes far less than this.
RECHECK_SECONDS = 60.0
# A new table may wait so long, unless the YAML says otherwise: listing is what costs most.
DISCOVER_SECONDS = 60.0
# A table without a new snapshot for so long is idle.
IDLE_AFTER_SECONDS = 3600.0
# At the end, for the lock of a table whose look hangs.
PATIENCE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Pace:
    """How often warehouses are listed, and idle tables looked at (None: as often as others)."""

    discover_seconds: float = DISCOVER_SECONDS
    idle_seconds: float | None = None


@dataclass(slots=True)
class Watched:
    """One table. ``name`` is unique in the daemon; ``table`` is ``db.t`` in its catalog."""

    name: str
    catalog: CatalogConfig
    table: str
    path: str
    observer: Observer
    found: float
    """When it was found, on the monotonic clock, as all moments here."""
    looked: float | None = None
    """When the last look ended, well or not."""
    changed: float | None = None
    """When a look found something new last."""
    late: bool = False
    """Whether its look was still going on when the time of a tick was over, and has not ended."""
    looking: bool = False
    lock: threading.RLock = field(default_factory=threading.RLock)
    commit_lock: threading.Lock = field(default_factory=threading.Lock)
    health: Health | None = None
    """What the last look found; None when the table must be left alone."""
    awaits: bool = False
    """Whether readers or followers wait for compactions, by ``health``."""
    waited_for: bool = False
    """Whether they did at the last look."""
    spend_saved: float | None = None
    published: float | None = None
    """When something was published last, on the monotonic clock."""
    reading: dict[str, int] = field(default_factory=dict[str, int])
    """Running tasks by id, and the snapshot that each was planned from; behind ``lock``."""

    @property
    def awaited(self) -> bool:
        """Whether readers or followers of the table wait for its compactions, as far as known."""
        return self.health is not None and self.waited_for

    @property
    def facts(self) -> pl.DataFrame | None:
        """Its health frame, as old as it was when it was made."""
        return None if self.health is None else self.health.frame

    @property
    def since(self) -> float:
        """How old what is known is: the last look, or when it was found."""
        return self.found if self.looked is None else self.looked


@dataclass(slots=True)
class Listed:
    """A table that was listed and is not open yet."""

    name: str
    catalog: CatalogConfig
    table: str
    found: float
    looking: bool = False
    late: bool = False

    @property
    def since(self) -> float:
        """When it was found."""
        return self.found


Looking: TypeAlias = Watched | Listed


@dataclass(frozen=True, slots=True)
class Looks:
    """What came of a tick's looks.

    ``looked``: tables whose look ended; ``late``: those whose look goes on; ``left``: those whose
    turn it was and that the next tick begins with. ``lag_seconds``: age of the oldest look at a
    table that may be looked at. ``requests``: what discovery and looks asked of object stores since
    the last tick, by operation.
    """

    looked: int
    changed: int
    late: int
    left: int
    lag_seconds: float
    requests: Mapping[str, int]


class Fleet:
    """All tables that are watched. `look` may run in several threads, the rest in one."""

    def __init__(
        self,
        catalogs: Sequence[CatalogConfig],
        engine: Engine,
        settlement: Settlement,
        journal: Journal,
        clock: Clock,
        listener: Listener,
        *,
        pace: Pace | None = None,
    ) -> None:
        self._catalogs = catalogs
        self._engine = engine
        self._settlement = settlement
        self._journal = journal
        self._clock = clock
        self._tell = listener
        self._pace = pace or Pace()
        self._tables: dict[str, Watched] = {}
        self._listed: dict[str, Listed] = {}
        self._list_next: dict[str, float] = {}
        self._crews: dict[str, Crew] = {}
        self._asked = OwnCount()
        self._mutex = threading.Lock()
        self._ended: list[bool] = []
        """Looks that have ended in this tick: whether there was something new."""
        self.facts = FleetFacts()

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

    @property
    def complete(self) -> bool:
        """Whether every table was looked at once, or cannot be."""
        return not any(
            isinstance(t, Listed) or t.looked is None for t in self._open_ones() if not t.late
        )

    def discover(self) -> None:
        """List the warehouses whose turn it is: note tables that are new, forget those gone."""
        for catalog in self._catalogs:
            now = self._clock.monotonic()
            if now < self._list_next.get(catalog.name, now):
                continue
            try:
                with counted(self._asked):
                    listed = self._engine.tables(catalog, self._names(catalog))
            except Exception as error:  # noqa: BLE001  a bad warehouse must not stop the others
                self._tell(CatalogFailed(catalog.name, describe(error)))
                continue
            self._list_next[catalog.name] = now + self._pace.discover_seconds
            self._update(catalog, {self.name(catalog, table): table for table in listed})

    def _names(self, catalog: CatalogConfig) -> frozenset[str]:
        """What is known of the catalog, by its own names."""
        known: Iterable[Looking] = (*self._tables.copy().values(), *self._listed.copy().values())
        return frozenset(table.table for table in known if table.catalog is catalog)

    def _update(self, catalog: CatalogConfig, listed: dict[str, str]) -> None:
        for table in self.tables:
            if table.catalog is catalog and table.name not in listed:
                self.forget(table.name)
        for name, found in self._listed.copy().items():
            if found.catalog is catalog and name not in listed:
                self._listed.pop(name, None)
        now = self._clock.monotonic()
        for name in sorted(listed.keys() - self._tables.keys() - self._listed.keys()):
            self._listed[name] = Listed(name, catalog, listed[name], now)

    def _open(self, listed: Listed) -> None:
        name, catalog = listed.name, listed.catalog
        opened = self._engine.open(catalog, listed.table)
        self._restore_spend(opened.path, opened.observer)
        table = Watched(
            name, catalog, listed.table, opened.path, opened.observer, found=listed.found
        )
        table.looking = True  # until the look that follows has ended
        self._tables[name] = table
        self._listed.pop(name, None)
        self._tell(TableFound(name, opened.path))

    # --- the looks of a tick ----------------------------------------------------------------------

    def look_all(self, seconds: float) -> Looks:
        """Look at the tables whose turn it is, for so long."""
        due = self._due()
        with self._mutex:
            self._ended = []
        rounds = [
            self._crew(catalog).begin(self._take_turn, tables, seconds)
            for catalog, tables in by_catalog(self._catalogs, due)
        ]
        for begun in rounds:
            begun.wait()
        with self._mutex:
            ended = list(self._ended)
            late = [table for table in self._known() if table.looking]
            for table in late:
                table.late = True
        left = len(due) - len(ended) - sum(table in late for table in due)
        asked = self._asked.take()
        requests = {operation: asked.get(operation, 0) for operation in OPERATIONS}
        return Looks(len(ended), sum(ended), len(late), max(0, left), self.lag_seconds(), requests)

    def lag_seconds(self) -> float:
        """Age of the oldest look at a table that may be looked at; 0 without any."""
        now = self._clock.monotonic()
        return max((now - table.since for table in self._open_ones()), default=0.0)

    def _known(self) -> list[Looking]:
        return [*self._tables.copy().values(), *self._listed.copy().values()]

    def _open_ones(self) -> list[Looking]:
        """Tables that nothing forbids to look at; of the others nothing is known any longer."""
        ledger, now = self._settlement.ledger, self._clock.now()
        found: list[Looking] = []
        for table in self._known():
            if ledger.table_open(table.name, now):
                found.append(table)
            elif isinstance(table, Watched):
                self._leave(table)
        return found

    def _due(self) -> list[Looking]:
        """Those whose turn it is, the oldest look first."""
        now = self._clock.monotonic()
        due = [t for t in self._open_ones() if not t.looking and not self._rests(t, now)]
        return sorted(due, key=lambda table: (table.since, table.name))

    def _rests(self, table: Looking, now: float) -> bool:
        """Whether it is an idle table that was looked at lately.

        Each pauses for another part of the time, at least half: they are not due together.
        """
        idle = self._pace.idle_seconds
        if idle is None or isinstance(table, Listed) or table.looked is None:
            return False
        if table.health is None or now - (table.changed or table.found) < IDLE_AFTER_SECONDS:
            return False
        part = 0.5 + zlib.crc32(table.name.encode()) / 2**33
        return now - table.looked < idle * part

    def _crew(self, catalog: CatalogConfig) -> Crew:
        if catalog.name not in self._crews:
            self._crews[catalog.name] = Crew(self._engine.width(catalog), self._clock)
        return self._crews[catalog.name]

    def _take_turn(self, table: Looking) -> None:
        """One table's turn, in a thread of its crew."""
        table.looking = True
        watched = table if isinstance(table, Watched) else None
        changed = False
        try:
            with counted(self._asked):
                if isinstance(table, Listed):
                    self._guarded(table.name, lambda: self._open(table))
                    watched = self._tables.get(table.name)
                changed = watched is not None and self.look(watched)
        except Exception as error:  # noqa: BLE001  nobody waits for this thread
            self._tell(TickFailed(describe(error)))
        finally:
            with self._mutex:
                table.looking = table.late = False
                if watched is not None:
                    watched.looking = watched.late = False
                self._ended.append(changed)

    # --- one table --------------------------------------------------------------------------------

    def forget(self, name: str) -> None:
        """The table is gone."""
        gone = self._tables.pop(name, None)
        if gone is None:
            return
        self.facts.put(name, None)
        self._settlement.forget(name)
        self._journaled(lambda: self._journal.forget(gone.path))
        self._tell(TableForgotten(name))

    def look(self, table: Watched) -> bool:
        """Bring ``table.health`` up to date; it is None when the table must be left alone.

        Returns whether there was a new snapshot.
        """
        if not self._settlement.ledger.table_open(table.name, self._clock.now()):
            self._leave(table)
            return False
        try:
            return self._guarded(table.name, lambda: self._look(table)) or False
        finally:
            table.looked = self._clock.monotonic()

    def _look(self, table: Watched) -> bool:
        started = self._clock.monotonic()
        self._recheck(table, started)
        with table.lock:
            changed = table.observer.refresh()
            now_millis = int(self._clock.now().timestamp() * 1000)
            health = table.observer.measured(now_millis)
            if health is not table.health:
                self._know(table, health)
            self._tell_awaited(table, health, now_millis)
            if changed:
                table.changed = started
                self._save_spend(table)
                self._tell(self._scanned(table, self._clock.monotonic() - started))
        self._settlement.succeeded(table.name)
        return changed

    def _know(self, table: Watched, health: Health) -> None:
        told = pl.col("up_level0") | pl.col("full_commits").is_not_null()
        table.awaits = bool(health.frame.select(told.any()).item())
        table.health = health
        if self._tables.get(table.name) is table:  # else it was forgotten since
            self.facts.put(table.name, health)

    def _leave(self, table: Watched) -> None:
        """Nothing is known of the table until the next look that succeeds."""
        if table.health is not None:
            table.health = None
            self.facts.put(table.name, None)

    def _tell_awaited(self, table: Watched, health: Health, now_millis: int) -> None:
        """How long somebody has waited; once more, for nothing, when nobody does any longer."""
        before, table.waited_for = table.waited_for, table.awaits
        if before or table.waited_for:
            oldest = None
            if table.waited_for:
                oldest = health.aged(now_millis)["oldest_level0_age_seconds"].max()
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
                self._leave(table)
            if self._settlement.table_failed(name, error) is Next.FORGET_TABLE:
                self._listed.pop(name, None)
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
            if table.lock.acquire(timeout=PATIENCE_SECONDS if table.late else -1):
                try:
                    self._write_spend(table)
                finally:
                    table.lock.release()

    def _write_spend(self, table: Watched) -> None:
        upto = table.observer.spend_upto_snapshot_id
        spend = Spend(upto, table.observer.spend())
        self._journaled(lambda: self._journal.save_spend(table.path, spend))

    def _journaled(self, work: Callable[[], object]) -> None:
        try:
            work()
        except JournalError as error:
            self._tell(JournalFailed(str(error)))


def by_catalog(
    catalogs: Sequence[CatalogConfig], tables: Collection[Looking]
) -> list[tuple[CatalogConfig, list[Looking]]]:
    """The tables of each catalog that has any, in their order."""
    parts: dict[str, list[Looking]] = {catalog.name: [] for catalog in catalogs}
    for table in tables:
        parts[table.catalog.name].append(table)
    return [(catalog, parts[catalog.name]) for catalog in catalogs if parts[catalog.name]]


def amplification(spend: dict[str, list[int]]) -> float | None:
    """(Appended + compacted) ÷ appended bytes over all buckets; None without appends."""
    appended = sum(counters[0] for counters in spend.values())
    written = sum(sum(counters) for counters in spend.values())
    return written / appended if appended else None
