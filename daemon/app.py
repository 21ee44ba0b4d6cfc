"""The running daemon: looks, decides, acts, again and again.

A *tick* looks at the tables whose turn it is, for as long as an interval at the most, judges all
buckets, and starts what the budgets allow; then it offers the tables to expiry, which goes on
beside all that (`expiry.py`). A task that
ends makes its table looked at and judged at once, and starts what waits next, so that between two
ticks work goes on as fast as it can.

Who runs where: ticks in the scheduler's thread, tasks in a pool of as many threads as may run at
once (each waits for its worker process, then commits), HTTP in threads of its own. ``_mutex``
guards the backlog and what runs; it is never held while a table is read or written, nor while
waiting.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Sequence
from concurrent.futures import Executor as Pool
from dataclasses import dataclass, field
from datetime import datetime

from ..policies.admit import Admission, BucketKey, Budget, Proposal, Standing, plan_admission
from .backlog import Backlog
from .clock import Clock
from .config_catalog import CatalogConfig
from .engine import Engine
from .executor import Executor
from .expiry import EXPIRE_SECONDS, Expirer
from .journal import Journal
from .listen import (
    BacklogMeasured,
    DaemonDrained,
    FleetLooked,
    Listener,
    PolicyFailed,
    TaskDeferred,
    TaskFinished,
    TickFailed,
    TickFinished,
)
from .logs import describe
from .observe import Fleet, Pace, Watched
from .plan import Rule, RuleBook, judge_frame
from .settle import Settlement
from .sweep import Sweeper
from .task import Finished, Outcome, Task
from .upkeep import Upkeep

# /healthz: a tick that runs for longer than this hangs; a storage call has shorter time-outs.
TICK_SECONDS_MAX = 600.0
# So much of that the looks may take, however rare ticks are.
LOOK_SECONDS_MAX = TICK_SECONDS_MAX / 2
# How many ended tasks /tasks shows.
RECENT_TASKS = 100


@dataclass(frozen=True, slots=True)
class AppOptions:
    """``tick_seconds``: None when ticks follow a cron expression; sizes in bytes."""

    concurrent: int
    memory_bytes: int
    tick_seconds: float | None
    expire_seconds: float = EXPIRE_SECONDS
    pace: Pace = field(default_factory=Pace)

    @property
    def look_seconds(self) -> float:
        """How long the looks of a tick may take."""
        return min(self.tick_seconds or LOOK_SECONDS_MAX, LOOK_SECONDS_MAX)

    @property
    def task_memory_bytes(self) -> int:
        """Each task's share of the memory budget."""
        return self.memory_bytes // self.concurrent


@dataclass(frozen=True, slots=True)
class AppParts:
    """Everything that the app is put together from."""

    engine: Engine
    catalogs: Sequence[CatalogConfig]
    rules: Sequence[Rule]
    journal: Journal
    clock: Clock
    listener: Listener
    pool: Pool
    """Where tasks run; with as many threads as may run at once."""
    expiry_pool: Pool
    """Where snapshots are expired and chores are done; one thread, so that they come in turn."""


class App:
    """The daemon without its clockwork and its server; `tick` is called from outside."""

    def __init__(self, parts: AppParts, options: AppOptions) -> None:
        self._parts = parts
        self._options = options
        self._clock = parts.clock
        self._tell = parts.listener
        journal, clock, listener = parts.journal, parts.clock, parts.listener
        self._settlement = Settlement(journal, clock, listener)
        self._fleet = Fleet(
            parts.catalogs,
            parts.engine,
            self._settlement,
            journal,
            clock,
            listener,
            pace=options.pace,
        )
        self._book = RuleBook(parts.rules)
        self._sweeper = Sweeper(parts.engine, journal, clock, listener)
        self._executor = Executor(parts.engine, journal, clock, listener)
        self._expirer = Expirer(
            parts.engine, parts.rules, parts.expiry_pool, clock, listener, options.expire_seconds
        )
        self._upkeep = Upkeep(
            parts.engine, parts.rules, journal, parts.expiry_pool, clock, listener
        )
        self._mutex = threading.Condition(threading.Lock())  # notified when a task is over
        self._backlog = Backlog()
        self._running: dict[BucketKey, Task] = {}
        self._draining = False
        self._tick_started: float | None = None
        self._tick_finished: float | None = None
        self._seen = False

    def tick(self) -> None:
        """Look at everything once and start what is due. Never raises."""
        self._tick_started = started = self._clock.monotonic()
        try:
            tables, changed = self._look()
            began = self._fill()
            self._expirer.offer(self._fleet.tables)
            self._upkeep.offer(self._fleet.tables)
        except Exception as error:  # noqa: BLE001  the scheduler's thread must live on
            self._tell(TickFailed(describe(error)))
        else:
            due = self._measure()
            seconds = self._clock.monotonic() - started
            self._tell(TickFinished(tables, changed, due, began, seconds))
        finally:
            self._tick_started, self._tick_finished = None, self._clock.monotonic()
            self._seen = self._seen or self._fleet.complete

    def drain(self, limit_seconds: float) -> bool:
        """Start nothing more and wait for what runs; whether all of it ended in time."""
        started = self._clock.monotonic()
        self._expirer.stop()
        self._upkeep.stop()
        with self._mutex:
            self._draining = True
            self._mutex.wait_for(lambda: not self._running, limit_seconds)
            left = len(self._running)
        self._tell(DaemonDrained(left, self._clock.monotonic() - started))
        return not left

    def close(self) -> None:
        """After `drain`, when the workers are stopped: wait for the threads, save counters."""
        self._parts.pool.shutdown(wait=True)
        self._parts.expiry_pool.shutdown(wait=True)
        self._fleet.save_all_spend()

    @property
    def alive(self) -> bool:
        """The scheduler ticks: the last tick is not too long ago, the present one not too slow."""
        now = self._clock.monotonic()
        running, finished = self._tick_started, self._tick_finished
        if running is not None:
            return now - running < TICK_SECONDS_MAX
        if finished is None or self._options.tick_seconds is None:
            return True
        return now - finished < max(60.0, 3 * self._options.tick_seconds)

    @property
    def ready(self) -> bool:
        """Every table was looked at once, or hangs, and nothing ends."""
        return self._seen and not self._draining

    def status(self) -> dict[str, object]:
        """What runs, waits, is held and was done lately; plain data for /tasks."""
        with self._mutex:
            running = list(self._running.values())
            waiting = [p for p in self._backlog.proposals() if p.key not in self._running]
        ledger = self._settlement.ledger
        recent = self._parts.journal.closed_tasks(RECENT_TASKS)
        return {
            "running": [
                {
                    **_key(t.key),
                    "task_id": t.task_id,
                    "started": _iso(t.started),
                    **_why(t.proposal),
                }
                for t in running
            ],
            "waiting": [
                {**_key(p.key), **_why(p)} for p in sorted(waiting, key=lambda p: -p.score)
            ],
            "halted": [
                {"table": table, "reason": hold.reason, "since": _iso(hold.since)}
                for table, hold in ledger.halted.items()
            ],
            "quarantined": [
                {**_key(key), "reason": hold.reason, "since": _iso(hold.since)}
                for key, hold in ledger.quarantined.items()
            ],
            "recent": [
                {
                    **_key(task.key),
                    "task_id": task.task_id,
                    "started": task.started,
                    "finished": task.finished,
                    "outcome": task.outcome,
                    **task.detail,
                }
                for task in recent
            ],
        }

    def _look(self) -> tuple[int, int]:
        """Discover, sweep, look, judge; (tables, those that changed)."""
        self._settlement.reload_holds()
        known = {table.name for table in self._fleet.tables}
        self._fleet.discover()
        self._sweeper.sweep(self._running_ids)  # by now the catalogs are open that know the stores
        looks = self._fleet.look_all(self._options.look_seconds)
        self._tell(
            FleetLooked(looks.looked, looks.late, looks.left, looks.lag_seconds, looks.requests)
        )
        tables = self._fleet.tables
        self._judge(tables)
        with self._mutex:
            for gone in known - {table.name for table in tables}:
                self._backlog.replace(gone, None, None, self._clock.now())
        return len(tables), looks.changed

    def _running_ids(self) -> frozenset[str]:
        with self._mutex:
            return frozenset(task.task_id for task in self._running.values())

    def _judge(self, tables: Sequence[Watched]) -> None:
        """Replace the backlog of these tables by what their facts say now."""
        now = self._clock.now()
        facts = self._fleet.facts.frame(int(now.timestamp() * 1000))
        rule_of = {t.name: self._book.of(t.catalog.name, t.table) for t in tables}
        judged = judge_frame(facts, rule_of, self._parts.rules, now=now)
        for rule, error in judged.failures:
            self._tell(PolicyFailed(rule.name, str(error)))
        due = judged.due(
            (table.name for table in tables),
            self._options.task_memory_bytes,
            without=self._settlement.ledger.quarantined.keys(),
        )
        with self._mutex:
            for table in tables:
                snapshot_id = table.observer.snapshot_id
                self._backlog.replace(table.name, due.get(table.name), snapshot_id, now)

    def _fill(self) -> int:
        """Start as much of the backlog as the budgets allow; how much that was."""
        with self._mutex:
            if self._draining:
                return 0
            admission = self._admission()
            tasks = [self._task(proposal) for proposal in admission.admitted]
            self._running.update({task.key: task for task in tasks})
        for task in tasks:
            self._parts.pool.submit(self._run, task)
        for deferral in admission.deferred:
            key = deferral.proposal.key
            if key not in self._running:
                score, reason = deferral.proposal.score, deferral.reason
                self._tell(TaskDeferred(key.table, key.partition, key.bucket, score, reason))
        return len(tasks)

    def _admission(self) -> Admission:
        ledger, now = self._settlement.ledger, self._clock.now()
        proposals = [
            p
            for p in self._backlog.waiting(now)
            if ledger.bucket_open(p.key, now) and self._workable(p.key.table)
        ]
        running = [task.proposal for task in self._running.values()]
        budget = Budget(
            slots=self._options.concurrent - len(running),
            memory_bytes=self._options.memory_bytes - sum(p.memory_bytes for p in running),
            memory_bytes_total=self._options.memory_bytes,
            long_slots=self._long_slots(running),
        )
        return plan_admission(proposals, budget, Standing(running=frozenset(self._running)))

    def _workable(self, name: str) -> bool:
        """Whether the table is there; one whose look hangs would hold a task up, too."""
        table = self._fleet.get(name)
        return table is not None and not table.late

    def _long_slots(self, running: Sequence[Proposal]) -> int | None:
        """One less than there are where somebody waits for what compactions make visible."""
        if self._options.concurrent == 1 or not any(t.awaited for t in self._fleet.tables):
            return None
        return self._options.concurrent - 1 - sum(not p.quick for p in running)

    def _task(self, proposal: Proposal) -> Task:
        table = self._fleet.get(proposal.key.table)
        return Task(
            task_id=str(uuid.uuid4()),
            proposal=proposal,
            path="" if table is None else table.path,
            policy=self._backlog.rules().get(proposal.key.table, ""),
            attempt=self._settlement.ledger.attempts(proposal.key) + 1,
            started=self._clock.now(),
        )

    def _run(self, task: Task) -> None:
        """One task from start to what it leads to, in a thread of the pool."""
        try:
            table = self._fleet.get(task.key.table)
            if table is not None:  # else it was dropped since
                self._settle(self._executor.run(task, table), table)
        except Exception as error:  # noqa: BLE001  nobody waits for this thread: say it, go on
            self._tell(TickFailed(describe(error)))
        finally:
            with self._mutex:
                self._running.pop(task.key, None)
                self._mutex.notify_all()
            self._fill()
            self._measure()

    def _settle(self, finished: Finished, table: Watched) -> None:
        key = finished.task.key
        if finished.outcome is Outcome.NOTHING:
            with self._mutex:
                self._backlog.fruitless(key, table.observer.snapshot_id)
        elif finished.error is None:
            self._settlement.succeeded(key)
            table.published = self._clock.monotonic()
            with self._mutex:
                self._backlog.worked_on(key, self._clock.now())
        else:
            if finished.outcome is Outcome.UNKNOWN:
                self._sweeper.doubt(finished.task.task_id)
            self._settlement.bucket_failed(key, finished.error)
        self._tell(TaskFinished(finished))
        self._fleet.look(table)
        self._judge([table])

    def _measure(self) -> int:
        with self._mutex:
            measured = self._backlog.measure(self._clock.now())
        self._tell(
            BacklogMeasured(measured.tasks, measured.size_bytes, measured.oldest_due_age_seconds)
        )
        return measured.tasks


def _key(key: BucketKey) -> dict[str, object]:
    return {"table": key.table, "partition": key.partition, "bucket": key.bucket}


def _why(proposal: Proposal) -> dict[str, object]:
    return {"action": proposal.action, "score": proposal.score, "reason": proposal.reason}


def _iso(moment: datetime) -> str:
    return moment.isoformat()
