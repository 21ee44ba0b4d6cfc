"""A world for the daemon's tests: tables that are numbers, an engine that keeps its promises."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import polars as pl
from support.facts import facts_frame, keyed_facts

from desilt.daemon.app import App, AppOptions, AppParts
from desilt.daemon.chores import Chore, ChoreDone
from desilt.daemon.clock import ManualClock
from desilt.daemon.config_catalog import CatalogConfig
from desilt.daemon.engine import Engine, Opened
from desilt.daemon.expiry import EXPIRE_SECONDS
from desilt.daemon.journal import Journal, OpenTask
from desilt.daemon.listen import Event, Listener, Listeners
from desilt.daemon.observe import Pace
from desilt.daemon.plan import Rule
from desilt.daemon.task import Finished, Task
from desilt.policies import Policy
from desilt.policies.admit import BucketKey, PickLimits, Proposal
from desilt.policies.universal import UniversalPolicy
from desilt.table.commit import CommitOutcome
from desilt.table.compact import CompactionPlan, RewriteResult, SweepResult
from desilt.table.decision import PlanOptions
from desilt.table.errors import TableMissing
from desilt.table.expire import ExpiryResult, InUse, Override, UseReader
from desilt.table.health import Health
from desilt.table.premises import Premises

START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
MIB = 2**20
AT_ONCE = Pace(discover_seconds=0.0)
"""Every tick lists, so that a test need not wait for what it changed."""


@dataclass
class FakeTable:
    """Runs per bucket, all at level 0; ``facts``: what else its health frame says.

    ``fail_*``: raised once by that step, in turn.
    """

    name: str
    runs: dict[int, int]
    run_bytes: int = MIB
    facts: dict[str, Any] = field(default_factory=dict[str, Any])
    snapshot_id: int = 1
    fail_open: list[Exception] = field(default_factory=list[Exception])
    fail_refresh: list[Exception] = field(default_factory=list[Exception])
    fail_rewrite: list[Exception] = field(default_factory=list[Exception])
    fail_commit: list[Exception] = field(default_factory=list[Exception])
    fail_expire: list[Exception] = field(default_factory=list[Exception])
    chores_done: list[ChoreDone] = field(default_factory=list[ChoreDone])
    fruitless: bool = False
    old_snapshots: int = 0
    expire_limit: int = 50
    spend: dict[str, list[int]] = field(default_factory=dict[str, list[int]])
    spend_upto_snapshot_id: int = 0

    def write(self, bucket: int = 0, runs: int = 1) -> None:
        """A writer commits: that many new level-0 files in one bucket."""
        self.runs[bucket] = self.runs.get(bucket, 0) + runs
        self.snapshot_id += 1


class FakeObserver:
    """Looks at a `FakeTable`."""

    def __init__(self, table: FakeTable) -> None:
        self._table = table
        self.snapshot_id: int | None = None
        self.refreshes = 0
        self.measures = 0
        self._health: Health | None = None
        self._made_from: object = None

    @property
    def spend_upto_snapshot_id(self) -> int:
        return self._table.spend_upto_snapshot_id

    def refresh(self) -> bool:
        self.refreshes += 1
        _raise_next(self._table.fail_refresh)
        changed = self.snapshot_id != self._table.snapshot_id
        self.snapshot_id = self._table.snapshot_id
        return changed

    def measured(self, now_millis: int) -> Health:
        table = self._table
        made_from = (table.snapshot_id, dict(table.runs), table.run_bytes, dict(table.facts))
        if self._health is None or self._made_from != made_from:
            self.measures += 1
            self._made_from = made_from
            self._health = Health(self._frame(), now_millis)
        return self._health

    def _frame(self) -> pl.DataFrame:
        rows = [
            keyed_facts(
                [(0, self._table.run_bytes)] * runs,
                **{**self._table.facts, "table": self._table.name, "bucket": bucket},
            )
            for bucket, runs in sorted(self._table.runs.items())
        ]
        return facts_frame(*rows)

    def spend(self) -> dict[str, list[int]]:
        return self._table.spend

    def restore_spend(self, data: Mapping[str, Sequence[int]], upto_snapshot_id: int) -> None:
        self._table.spend = {key: list(value) for key, value in data.items()}
        self._table.spend_upto_snapshot_id = upto_snapshot_id

    def plan(
        self, partition: str, bucket: int, task_id: str, options: PlanOptions | None = None
    ) -> CompactionPlan | None:
        if self._table.fruitless:
            return None
        mode = PlanOptions().mode if options is None else options.mode
        plan = a_plan(self._table.name, bucket, task_id, self._table.snapshot_id)
        return replace(plan, mode=mode)


class FakeEngine:
    """Tables by name; every rewrite makes one run of a bucket's runs."""

    def __init__(self, *tables: FakeTable) -> None:
        self.tables_by_name = {table.name: table for table in tables}
        self.fail_tables: list[Exception] = []
        self.listed = 0
        self.observers: dict[str, FakeObserver] = {}
        self.look_width = 0
        self.rewritten: list[CompactionPlan] = []
        self.swept: list[OpenTask] = []
        self.fail_sweep: list[Exception] = []
        self.committed_anyway: set[str] = set()
        self.rechecked: list[str] = []
        self.replaced: dict[str, CommitOutcome] = {}
        self.expired: list[tuple[str, Override, InUse]] = []
        self.tidied: list[tuple[str, Chore, InUse]] = []

    def tables(self, catalog: CatalogConfig, known: Collection[str] = ()) -> Sequence[str]:
        self.listed += 1
        _raise_next(self.fail_tables)
        return sorted(self.tables_by_name)

    def width(self, catalog: CatalogConfig) -> int:
        return self.look_width

    def open(self, catalog: CatalogConfig, table: str) -> Opened:
        _raise_next(self.tables_by_name[table].fail_open)
        self.observers[table] = FakeObserver(self.tables_by_name[table])
        return Opened(f"/{catalog.warehouse}/{table}", self.observers[table])

    def rewrite(self, plan: CompactionPlan, memory_bytes: int) -> RewriteResult:
        self.rewritten.append(plan)
        _raise_next(self._table(plan).fail_rewrite)
        return RewriteResult(plan.task_id, (), 10, 6, 4, 2, 0, 0.5, 1000)

    def commit(self, plan: CompactionPlan, result: RewriteResult) -> CommitOutcome:
        table = self._table(plan)
        _raise_next(table.fail_commit)
        table.runs[plan.bucket] = 1
        table.snapshot_id += 1
        return CommitOutcome(table.snapshot_id, attempts=1, lost_races=0)

    def recheck(self, path: str) -> CommitOutcome | None:
        self.rechecked.append(path)
        return self.replaced.pop(path, None)

    def sweep(self, task: OpenTask) -> SweepResult:
        _raise_next(self.fail_sweep)
        self.swept.append(task)
        if task.task_id in self.committed_anyway:
            return SweepResult(committed=True, deleted=())
        return SweepResult(committed=False, deleted=(f"data-{task.task_id}-0.parquet",))

    def expire(self, path: str, override: Override, in_use: UseReader) -> ExpiryResult:
        self.expired.append((path, override, in_use()))
        table = self.tables_by_name[path.rpartition("/")[2]]
        _raise_next(table.fail_expire)
        gone = min(table.old_snapshots, table.expire_limit)
        table.old_snapshots -= gone
        more = table.old_snapshots > 0
        return ExpiryResult(gone, 0, 0, {"data": gone} if gone else {}, 10 * gone, 3, more=more)

    def tidy(self, path: str, chore: Chore, in_use: UseReader) -> ChoreDone:
        self.tidied.append((path, chore, in_use()))
        table = self.tables_by_name[path.rpartition("/")[2]]
        _raise_next(table.fail_expire)
        return table.chores_done.pop(0) if table.chores_done else ChoreDone()

    def _table(self, plan: CompactionPlan) -> FakeTable:
        if plan.table not in self.tables_by_name:
            raise TableMissing("no table here", table=plan.table)
        return self.tables_by_name[plan.table]


class QueuePool(Executor):
    """Keeps what is submitted until `run`; so tests say when tasks happen, in their own thread."""

    def __init__(self) -> None:
        self.waiting: list[Callable[[], Any]] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        self.waiting.append(lambda: fn(*args, **kwargs))
        return Future()

    def run(self, limit: int = 100) -> int:
        """Run what waits, and what that submits, up to ``limit``; how many there were."""
        done = 0
        while self.waiting and done < limit:
            self.waiting.pop(0)()
            done += 1
        return done


class Recorder:
    """A listener that remembers."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def __call__(self, event: Event, /) -> None:
        self.events.append(event)

    def of(self, *kinds: type[Event]) -> list[Event]:
        return [event for event in self.events if isinstance(event, kinds)]

    @property
    def names(self) -> list[str]:
        return [event.name for event in self.events]


class World:
    """An app with its engine, journal, clock, pool and what it said.

    ``engine``: another one in place of the fake.
    """

    def __init__(
        self,
        journal: Journal,
        *tables: FakeTable,
        concurrent: int = 2,
        memory_bytes: int = 1024 * MIB,
        listeners: Sequence[Listener] = (),
        catalogs: Sequence[CatalogConfig] = (CatalogConfig(name="lake", warehouse="wh"),),
        snapshots: Override | None = None,
        policy: Policy | None = None,
        expire_seconds: float = EXPIRE_SECONDS,
        engine: Engine | None = None,
        chores: tuple[Chore, ...] = (),
        tick_seconds: float = 1.0,
        pace: Pace = AT_ONCE,
    ) -> None:
        self.engine = FakeEngine(*tables)
        self.clock = ManualClock(START)
        self.said = Recorder()
        self.listeners = tuple(listeners)
        self.pool = QueuePool()
        self.expiry_pool = QueuePool()
        self.journal = journal
        parts = AppParts(
            engine=engine or self.engine,
            catalogs=catalogs,
            rules=(Rule("default", "*", policy or UniversalPolicy(), snapshots, chores),),
            journal=journal,
            clock=self.clock,
            listener=Listeners((self.said, *listeners)),
            pool=self.pool,
            expiry_pool=self.expiry_pool,
        )
        self.app = App(
            parts, AppOptions(concurrent, memory_bytes, tick_seconds, expire_seconds, pace)
        )

    def tick(self) -> None:
        """One tick and every task that follows from it, then every expiry."""
        self.app.tick()
        self.pool.run()
        self.expiry_pool.run()


def a_plan(table: str, bucket: int, task_id: str, snapshot_id: int = 1) -> CompactionPlan:
    """A plan without files."""
    return CompactionPlan(
        table=table,
        path=f"/wh/{table}",
        task_id=task_id,
        partition="",
        bucket=bucket,
        mode="minor",
        keyed=True,
        snapshot_id=snapshot_id,
        output_level=5,
        max_level=5,
        reason="all",
        premises=Premises(0, b"", bucket, 1, ()),
        inputs=(),
        upgrades=(),
        rewrites=(),
        bucket_files=5,
    )


def a_task(task_id: str = "t-1", **changes: Any) -> Task:
    """A task on db.t bucket 0."""
    proposal = Proposal(
        key=changes.pop("key", BucketKey("db.t", "", 0)),
        action="compact",
        score=1.0,
        reason="due: 5 runs",
        memory_bytes=MIB,
        oldest_level0_age_seconds=1.0,
        limits=PickLimits(5, 200, 1),
    )
    values: dict[str, Any] = {
        "proposal": proposal,
        "path": "/wh/db.t",
        "policy": "default",
        "attempt": 1,
        "started": START,
    }
    return Task(task_id, **{**values, **changes})


def a_finished(outcome: Any, **changes: Any) -> Finished:
    """How a task on db.t ended."""
    return Finished(a_task(), outcome, 1.5, **changes)


def _raise_next(errors: list[Exception]) -> None:
    if errors:
        raise errors.pop(0)
