"""Every Prometheus metric of the daemon, and the listener that feeds them.

Four questions are always answered: how much is due, how much was done, how old the oldest due work
is, how much was given up and why. Labels are ``table``, ``action``, ``outcome`` and a few closed
sets; never a bucket, partition, task or message. Counters with known labels start at 0.
"""

from __future__ import annotations

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
)

from ..table.storage.requests import OPERATIONS
from .chores import CHORES
from .listen import (
    BacklogMeasured,
    BucketQuarantined,
    CatalogFailed,
    CommitRepublished,
    Event,
    ExpiryFailed,
    ExpiryFinished,
    ExpirySkipped,
    FleetLooked,
    HoldsCounted,
    JournalFailed,
    LeftoversSwept,
    PolicyFailed,
    SweepFailed,
    TableAwaited,
    TableFailed,
    TableForgotten,
    TableFound,
    TableHalted,
    TableScanned,
    TableSkipped,
    TaskFinished,
    TickFailed,
    TickFinished,
    UpkeepFailed,
    UpkeepFinished,
    UpkeepSkipped,
    WorkerRestarted,
)
from .task import ACTIONS, Finished, Outcome

# "rebuilt": another snapshot came first, same data files on the new base; "replanned": the input
# changed, outputs removed; "readded": a replaced foreign snapshot was put back; "unknown": the
# answer was lost.
RESOLUTIONS = ("rebuilt", "replanned", "readded", "republished", "unknown")
DIRECTIONS = ("read", "written")
RESTARTS = ("crashed", "panicked", "timed-out", "grown")
FAILURES = ("table", "catalog", "policy", "journal", "sweep", "expiry", "upkeep", "tick")
EXPIRE = "expire"  # what the label ``action`` says of expiry, which is no task of a bucket
# A minor compaction of small files takes a tenth of a second, a full one of a large bucket an hour.
TASK_SECONDS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600)
TICK_SECONDS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


def add_process_metrics(registry: CollectorRegistry) -> None:
    """The usual ``process_*`` and ``python_*`` of the daemon's own process, without its workers."""
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)


class MetricsListener:
    """Makes the metrics in ``registry`` and keeps them by the events."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._known: set[str] = set()
        self._make_work_metrics(registry)
        self._make_table_metrics(registry)
        self._make_expiry_metrics(registry)
        self._make_health_metrics(registry)

    def _make_work_metrics(self, registry: CollectorRegistry) -> None:
        self._backlog_tasks = Gauge(
            "desilt_backlog_tasks", "Due buckets, running ones included", registry=registry
        )
        self._backlog_bytes = Gauge(
            "desilt_backlog_bytes", "Live bytes of due buckets", registry=registry
        )
        self._oldest_due = Gauge(
            "desilt_oldest_due_age_seconds",
            "How long the longest-waiting due bucket has been due; 0 when nothing is",
            registry=registry,
        )
        self._tasks = Counter(
            "desilt_tasks_total",
            "Tasks that ended, by table, action and outcome",
            ["table", "action", "outcome"],
            registry=registry,
        )
        self._task_duration = Histogram(
            "desilt_task_duration_seconds",
            "From planning to the published snapshot",
            buckets=TASK_SECONDS,
            registry=registry,
        )
        self._rewritten = Counter(
            "desilt_rewritten_bytes_total",
            "File bytes of rewrites, by table and direction (read, written)",
            ["table", "direction"],
            registry=registry,
        )
        self._conflicts = Counter(
            "desilt_commit_conflicts_total",
            f"Commits that met another writer, by resolution ({', '.join(RESOLUTIONS)})",
            ["resolution"],
            registry=registry,
        )
        self._verification_failures = Counter(
            "desilt_verification_failures_total",
            "Rewrites whose files did not hold what their inputs say; never committed",
            registry=registry,
        )
        self._last_success = Gauge(
            "desilt_last_success_timestamp_seconds",
            "When a task of the table last published a snapshot, or an expiry went through, by"
            " table and action",
            ["table", "action"],
            registry=registry,
        )

    def _make_table_metrics(self, registry: CollectorRegistry) -> None:
        self._amplification = Gauge(
            "desilt_write_amplification_ratio",
            "(Appended + compacted bytes) / appended bytes of the snapshots seen, by table",
            ["table"],
            registry=registry,
        )
        self._runs_max = Gauge(
            "desilt_sorted_runs_max",
            "Sorted runs of the table's bucket that has most, by table",
            ["table"],
            registry=registry,
        )
        self._hidden_age = Gauge(
            "desilt_hidden_age_seconds",
            "How long readers or followers have waited for what lies at level 0; 0 when nothing"
            " does, by table",
            ["table"],
            registry=registry,
        )
        self._tables = Gauge("desilt_tables", "Tables that are looked at", registry=registry)
        self._halted = Gauge(
            "desilt_halted_tables", "Tables that wait for a person", registry=registry
        )
        self._quarantined = Gauge(
            "desilt_quarantined_buckets", "Buckets that wait for a person", registry=registry
        )
        self._skipped = Counter(
            "desilt_skipped_tables_total",
            "Times a table was left alone because desilt does not understand it",
            registry=registry,
        )

    def _make_expiry_metrics(self, registry: CollectorRegistry) -> None:
        self._snapshots = Gauge(
            "desilt_snapshots",
            "Snapshots of the table after the last expiry, by table",
            ["table"],
            registry=registry,
        )
        self._expired_snapshots = Counter(
            "desilt_expired_snapshots_total",
            "Snapshots that were expired, by table",
            ["table"],
            registry=registry,
        )
        self._expired_files = Counter(
            "desilt_expired_files_total",
            "Files that went with expired snapshots, by table",
            ["table"],
            registry=registry,
        )

        self._upkeep = Counter(
            "desilt_upkeep_total",
            f"Tags made, tags and partitions dropped, files deleted, by table, action ("
            f"{', '.join(CHORES)}) and what",
            ["table", "action", "what"],
            registry=registry,
        )

    def _make_health_metrics(self, registry: CollectorRegistry) -> None:
        self._tick_duration = Histogram(
            "desilt_tick_duration_seconds",
            "One tick: discovery, looks, verdicts, and the start of what is due",
            buckets=TICK_SECONDS,
            registry=registry,
        )
        self._tick_tables = Gauge(
            "desilt_tick_tables", "Tables whose look ended in the last tick", registry=registry
        )
        self._tick_requests = Gauge(
            "desilt_tick_requests",
            "Requests to object stores of the last tick's discovery and looks, by operation",
            ["operation"],
            registry=registry,
        )
        self._scan_lag = Gauge(
            "desilt_scan_lag_seconds",
            "Age of the oldest look at a table that may be looked at; 0 without any",
            registry=registry,
        )
        for operation in OPERATIONS:
            self._tick_requests.labels(operation)
        self._restarts = Counter(
            "desilt_worker_restarts_total",
            f"Worker processes that were replaced, by reason ({', '.join(RESTARTS)})",
            ["reason"],
            registry=registry,
        )
        self._failures = Counter(
            "desilt_failures_total",
            f"Failures outside tasks, by subject ({', '.join(FAILURES)})",
            ["subject"],
            registry=registry,
        )
        self._swept = Counter(
            "desilt_leftover_files_total",
            "Files of dead tasks that were removed",
            registry=registry,
        )
        for resolution in RESOLUTIONS:
            self._conflicts.labels(resolution)
        for reason in RESTARTS:
            self._restarts.labels(reason)
        for subject in FAILURES:
            self._failures.labels(subject)

    def __call__(self, event: Event, /) -> None:
        """Take the event into account."""
        match event:
            case TaskFinished(finished):
                self._task(finished)
            case TickFinished():
                self._tick_duration.observe(event.duration_seconds)
                self._tables.set(event.tables)
            case FleetLooked():
                self._looked(event)
            case BacklogMeasured():
                self._backlog_tasks.set(event.tasks)
                self._backlog_bytes.set(event.size_bytes)
                self._oldest_due.set(event.oldest_due_age_seconds)
            case TableScanned():
                self._scanned(event)
            case TableAwaited():
                self._hidden_age.labels(event.table).set(event.hidden_age_seconds)
            case TableFound(table):
                self._start_table(table)
            case CommitRepublished():
                self._conflicts.labels("republished").inc()
            case TableForgotten(table):
                self._forget_table(table)
            case HoldsCounted():
                self._halted.set(event.halted_tables)
                self._quarantined.set(event.quarantined_buckets)
            case WorkerRestarted(reason):
                self._restarts.labels(reason).inc()
            case LeftoversSwept():
                self._swept.inc(event.deleted)
            case ExpiryFinished():
                self._expired(event)
            case _:
                self._failure(event)

    def _failure(self, event: Event) -> None:
        match event:
            case TableSkipped():
                self._skipped.inc()
            case UpkeepFinished():
                self._kept(event)
            case UpkeepFailed() | UpkeepSkipped():
                self._failures.labels("upkeep").inc()
            case ExpiryFailed() | ExpirySkipped():
                self._failures.labels("expiry").inc()
            case TableFailed() | TableHalted() | BucketQuarantined():
                self._failures.labels("table").inc()
            case CatalogFailed():
                self._failures.labels("catalog").inc()
            case PolicyFailed():
                self._failures.labels("policy").inc()
            case JournalFailed():
                self._failures.labels("journal").inc()
            case SweepFailed():
                self._failures.labels("sweep").inc()
            case TickFailed():
                self._failures.labels("tick").inc()
            case _:
                pass

    def _task(self, finished: Finished) -> None:
        table, action = finished.task.key.table, finished.task.proposal.action
        if finished.outcome is Outcome.NOTHING:
            return
        self._tasks.labels(table, action, finished.outcome.value).inc()
        self._task_duration.observe(finished.duration_seconds)
        self._rewritten.labels(table, "read").inc(finished.input_bytes)
        self._rewritten.labels(table, "written").inc(finished.output_bytes)
        self._conflicts.labels("rebuilt").inc(finished.lost_races)
        self._conflicts.labels("readded").inc(finished.readded)
        match finished.outcome:
            case Outcome.COMMITTED:
                self._last_success.labels(table, action).set_to_current_time()
            case Outcome.CONFLICTED:
                self._conflicts.labels("replanned").inc()
            case Outcome.UNKNOWN:
                self._conflicts.labels("unknown").inc()
            case Outcome.REJECTED:
                self._verification_failures.inc()
            case _:
                pass

    def _expired(self, event: ExpiryFinished) -> None:
        self._snapshots.labels(event.table).set(event.left)
        self._expired_snapshots.labels(event.table).inc(event.snapshots)
        self._expired_files.labels(event.table).inc(event.files)
        self._last_success.labels(event.table, EXPIRE).set_to_current_time()

    def _kept(self, event: UpkeepFinished) -> None:
        for what, number in (
            ("made", event.made),
            ("dropped", event.dropped),
            ("files", event.files),
            ("bytes", event.size_bytes),
        ):
            if number:
                self._upkeep.labels(event.table, event.action, what).inc(number)
        self._last_success.labels(event.table, event.action).set_to_current_time()

    def _looked(self, event: FleetLooked) -> None:
        self._tick_tables.set(event.looked)
        self._scan_lag.set(event.lag_seconds)
        for operation, number in event.requests.items():
            self._tick_requests.labels(operation).set(number)

    def _scanned(self, event: TableScanned) -> None:
        self._runs_max.labels(event.table).set(event.sorted_runs_max)
        if event.write_amplification is not None:
            self._amplification.labels(event.table).set(event.write_amplification)

    def _start_table(self, table: str) -> None:
        self._known.add(table)
        for action in ACTIONS:
            for outcome in Outcome:
                if outcome is not Outcome.NOTHING:
                    self._tasks.labels(table, action, outcome.value)
        for direction in DIRECTIONS:
            self._rewritten.labels(table, direction)
        self._expired_snapshots.labels(table)
        self._expired_files.labels(table)

    def _forget_table(self, table: str) -> None:
        """A gauge of a table that is gone would stand still for ever; its counters are history."""
        for gauge in (self._amplification, self._runs_max, self._hidden_age, self._snapshots):
            gauge.remove_by_labels({"table": table})
        self._last_success.remove_by_labels({"table": table})
