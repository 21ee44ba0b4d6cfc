"""Puts the daemon together from its configuration, runs it, takes it apart again.

The only place that knows every part. What was started is stopped in reverse order, also when a
later part cannot start.
"""

from __future__ import annotations

import os
import queue
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from types import FrameType

from prometheus_client import CollectorRegistry

from ..policies.registry import load_registry
from ..table.expire import Override
from .app import App, AppOptions, AppParts
from .clock import SystemClock
from .config import Config, SchedulerConfig
from .config_upkeep import SnapshotsConfig, chores_of
from .engine import Rewriter, TableEngine
from .journal import Journal
from .listen import DaemonStarted, Listeners, WorkerRestarted
from .logs import LogListener, make_logger
from .metrics import MetricsListener, add_process_metrics
from .observe import Pace
from .plan import Rule
from .schedule import Every, Schedule
from .server import Server
from .store_metrics import add_store_metrics
from .supervisor import Supervisor, SupervisorOptions

# Long enough for the usual task; the chart's grace period is longer. What is killed costs nothing
# but its time: the journal knows it.
DRAIN_SECONDS_MAX = 60.0
# A signal may be given to any thread, and only wakes that one; the main thread, which alone can act
# on it, wakes by itself. Spec: signal(7), "process-directed signals".
WAKE_SECONDS = 0.5
# Interpreter, Polars, pyarrow and what the allocator keeps; a task's own memory comes on top,
# twice, since the encoder holds a copy of what it writes.
WORKER_BASE_BYTES = 512 * 2**20


class Service:
    """Runs in the calling thread; `request_stop` may be called from any, or a signal handler."""

    def __init__(self, config: Config) -> None:
        self._config = config
        # Not an event: its lock, were it just held by the thread that a signal interrupts, would
        # never be free again.
        self._requests: queue.SimpleQueue[None] = queue.SimpleQueue()

    def request_stop(self) -> None:
        """Drain and end; asked twice: end now."""
        self._requests.put(None)

    def run(self) -> None:
        """Until `request_stop`.

        Raises:
            JournalError, ServerError: it cannot start; nothing of it is left running.
        """
        config, registry = self._config, CollectorRegistry()
        add_process_metrics(registry)
        add_store_metrics(registry)
        listeners = Listeners((LogListener(make_logger(config.logs)), MetricsListener(registry)))
        with ExitStack() as stack:
            journal = Journal(config.state_path)
            stack.callback(journal.close)
            supervisor = Supervisor(
                supervisor_options(config), lambda why: listeners(WorkerRestarted(why))
            )
            engine = TableEngine(Rewriter(supervisor, config.verify, journal.task_count()))
            options = app_options(config)
            parts = AppParts(
                engine,
                config.catalogs,
                rules_of(config),
                journal,
                SystemClock(),
                listeners,
                pool=ThreadPoolExecutor(options.concurrent, thread_name_prefix="task"),
                expiry_pool=ThreadPoolExecutor(1, thread_name_prefix="expiry"),
            )
            app = App(parts, options)
            server = Server(config.server.listen, app, registry)
            stack.callback(server.stop)
            supervisor.start()
            stack.callback(app.close)  # after the workers were stopped: no thread waits for one
            stack.callback(supervisor.stop)
            server.start()
            schedule = Schedule(config.scheduler.scan_interval.when, app.tick)
            listeners(DaemonStarted(server.address, config.executor.workers))
            schedule.start()
            while not self._asked_within(WAKE_SECONDS):
                pass
            self._drain(app, schedule.stop)

    def _drain(self, app: App, stop_ticks: Callable[[], None]) -> None:
        """Wait for running tasks; a second request, watched for beside it, ends it at once."""
        stop_ticks()
        threading.Thread(target=self._watch, daemon=True).start()
        app.drain(DRAIN_SECONDS_MAX)

    def _watch(self) -> None:
        if self._asked_within(DRAIN_SECONDS_MAX):
            os._exit(1)  # the journal knows what ran; workers end with us

    def _asked_within(self, seconds: float) -> bool:
        try:
            self._requests.get(timeout=seconds)
        except queue.Empty:
            return False
        return True


def run_until_signalled(config: Config) -> None:
    """`Service.run`, with SIGTERM and SIGINT as requests to stop. Only in the main thread."""
    service = Service(config)

    def on_signal(number: int, frame: FrameType | None) -> None:
        service.request_stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)
    service.run()


def supervisor_options(config: Config) -> SupervisorOptions:
    """The cores divided among the workers; the memory limit that makes one be replaced."""
    share = config.scheduler.budgets.memory // config.scheduler.budgets.concurrent
    return SupervisorOptions(
        workers=config.executor.workers,
        threads=max(1, (os.cpu_count() or 1) // config.executor.workers),
        rss_bytes_max=WORKER_BASE_BYTES + 2 * share,
    )


def app_options(config: Config) -> AppOptions:
    """Budgets; more tasks than workers would only wait inside."""
    budgets, when = config.scheduler.budgets, config.scheduler.scan_interval.when
    return AppOptions(
        concurrent=min(budgets.concurrent, config.executor.workers),
        memory_bytes=int(budgets.memory),
        tick_seconds=float(when.seconds) if isinstance(when, Every) else None,
        expire_seconds=float(config.scheduler.expire_interval),
        pace=pace_of(config.scheduler),
    )


def pace_of(scheduler: SchedulerConfig) -> Pace:
    """How often warehouses are listed, and idle tables looked at."""
    idle = scheduler.idle_interval
    return Pace(float(scheduler.discover_interval), None if idle is None else float(idle))


def rules_of(config: Config) -> tuple[Rule, ...]:
    """The policies of the YAML, each made once."""
    registry = load_registry()
    return tuple(
        Rule(
            policy.name,
            policy.match,
            registry.policy_from(policy.compaction),
            None if policy.snapshots is None else override_of(policy.snapshots),
            chores_of(policy.tags, policy.partitions, policy.orphans),
        )
        for policy in config.policies
    )


def override_of(snapshots: SnapshotsConfig) -> Override:
    """The section's bounds; what it leaves out is the table's own."""
    age = snapshots.retain_age
    millis = None if age is None else int(age * 1000)
    return Override(snapshots.retain_min, snapshots.retain_max, millis)
