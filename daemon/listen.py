"""What happens in the daemon, as records; who wants to know implements `Listener`.

The core reports here and knows nothing of logs or metrics; `logs.py` and `metrics.py` are two
listeners that know nothing of each other. Each record names itself (``noun.past_participle``) and
says how important it is: ``info`` is what an operator reads on a good day, ``warning`` means
somebody may have to act, ``error`` that somebody must.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol

from .outcome import Next
from .task import Finished, Task

Level = Literal["debug", "info", "warning", "error"]


@dataclass(frozen=True, slots=True)
class Event:
    """Base of all records; fields are what is worth knowing, units last in their names."""

    name: ClassVar[str]
    level: ClassVar[Level] = "info"


@dataclass(frozen=True, slots=True)
class DaemonStarted(Event):
    """Everything is up. ``listen``: where the HTTP server answers, ``host:port``."""

    name = "daemon.started"
    listen: str
    workers: int


@dataclass(frozen=True, slots=True)
class DaemonDrained(Event):
    """No more tasks; ``killed``: those that were ended because they took too long."""

    name = "daemon.drained"
    killed: int
    duration_seconds: float


@dataclass(frozen=True, slots=True)
class TickFinished(Event):
    """One look at everything. ``changed``: tables with a new snapshot."""

    name = "tick.finished"
    tables: int
    changed: int
    due: int
    started: int
    duration_seconds: float


@dataclass(frozen=True, slots=True)
class FleetLooked(Event):
    """How a tick's looks went. ``late``: they still go on; ``left``: it was their turn, and the
    time was over; ``lag_seconds``: age of the oldest look; ``requests``: what discovery and looks
    asked of object stores, by operation."""

    name = "fleet.looked"
    level = "debug"
    looked: int
    late: int
    left: int
    lag_seconds: float
    requests: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class TickFailed(Event):
    """A tick ended with an error that no single table is to blame for."""

    name = "tick.failed"
    level = "error"
    error: str


@dataclass(frozen=True, slots=True)
class BacklogMeasured(Event):
    """What waits or runs: due buckets, their live bytes, and how long the oldest has been due."""

    name = "backlog.measured"
    level = "debug"
    tasks: int
    size_bytes: int
    oldest_due_age_seconds: float


@dataclass(frozen=True, slots=True)
class TableFound(Event):
    """A table is seen for the first time."""

    name = "table.found"
    table: str
    path: str


@dataclass(frozen=True, slots=True)
class TableScanned(Event):
    """A table has a new snapshot. ``write_amplification``: None without appends seen."""

    name = "table.scanned"
    level = "debug"
    table: str
    snapshot_id: int | None
    buckets: int
    sorted_runs_max: int
    write_amplification: float | None
    duration_seconds: float


@dataclass(frozen=True, slots=True)
class TableAwaited(Event):
    """Readers or followers of the table wait for compactions: for so long, 0 when for nothing."""

    name = "table.awaited"
    level = "debug"
    table: str
    hidden_age_seconds: float


@dataclass(frozen=True, slots=True)
class CommitRepublished(Event):
    """Another engine replaced a snapshot of ours after it was published; it was committed again."""

    name = "commit.republished"
    level = "warning"
    table: str
    snapshot_id: int


@dataclass(frozen=True, slots=True)
class TableForgotten(Event):
    """A table is gone from its warehouse."""

    name = "table.forgotten"
    table: str


@dataclass(frozen=True, slots=True)
class TableFailed(Event):
    """Looking at a table failed and is tried again later."""

    name = "table.failed"
    level = "warning"
    table: str
    next: Next
    error: str


@dataclass(frozen=True, slots=True)
class TableSkipped(Event):
    """A table uses what desilt does not understand; it is left alone."""

    name = "table.skipped"
    level = "warning"
    table: str
    error: str


@dataclass(frozen=True, slots=True)
class TableHalted(Event):
    """A table is not touched again until a person says so."""

    name = "table.halted"
    level = "error"
    table: str
    error: str


@dataclass(frozen=True, slots=True)
class BucketQuarantined(Event):
    """A bucket is not touched again until a person says so."""

    name = "bucket.quarantined"
    level = "error"
    table: str
    partition: str
    bucket: int
    error: str


@dataclass(frozen=True, slots=True)
class HoldsCounted(Event):
    """How much waits for a person."""

    name = "holds.counted"
    level = "debug"
    halted_tables: int
    quarantined_buckets: int


@dataclass(frozen=True, slots=True)
class CatalogFailed(Event):
    """A warehouse cannot be listed; its known tables go on."""

    name = "catalog.failed"
    level = "warning"
    catalog: str
    error: str


@dataclass(frozen=True, slots=True)
class PolicyFailed(Event):
    """A policy raised or answered nonsense; its verdicts are ignored this time."""

    name = "policy.failed"
    level = "warning"
    policy: str
    error: str


@dataclass(frozen=True, slots=True)
class TaskStarted(Event):
    """A bucket was planned and goes to a worker."""

    name = "task.started"
    level = "debug"
    task: Task
    snapshot_id: int
    input_bytes: int


@dataclass(frozen=True, slots=True)
class TaskFinished(Event):
    """The canonical line of a task."""

    name = "task.finished"
    finished: Finished


@dataclass(frozen=True, slots=True)
class TaskDeferred(Event):
    """A due bucket has to wait."""

    name = "task.deferred"
    level = "debug"
    table: str
    partition: str
    bucket: int
    score: float
    reason: str


@dataclass(frozen=True, slots=True)
class LeftoversSwept(Event):
    """What a task left behind was looked up. ``committed``: it had been published after all."""

    name = "leftovers.swept"
    table: str
    task_id: str
    committed: bool
    deleted: int


@dataclass(frozen=True, slots=True)
class SweepFailed(Event):
    """Leftovers cannot be looked up now; tried again at every tick."""

    name = "sweep.failed"
    level = "warning"
    table: str
    task_id: str
    error: str


@dataclass(frozen=True, slots=True)
class ExpiryFinished(Event):
    """Old snapshots of a table went, or none were due. ``files``: that went with them; ``left``:
    snapshots that stay."""

    name = "expiry.finished"
    table: str
    snapshots: int
    changelogs: int
    consumers: int
    files: int
    size_bytes: int
    left: int
    duration_seconds: float


@dataclass(frozen=True, slots=True)
class ExpiryFailed(Event):
    """Expiry of a table failed and is tried again later; the table goes on being compacted."""

    name = "expiry.failed"
    level = "warning"
    table: str
    next: Next
    error: str


@dataclass(frozen=True, slots=True)
class ExpirySkipped(Event):
    """A table's snapshots are left alone: desilt does not understand what they hold."""

    name = "expiry.skipped"
    level = "warning"
    table: str
    error: str


@dataclass(frozen=True, slots=True)
class UpkeepFinished(Event):
    """A chore of a table is done, whether or not there was anything to do. ``made``: tags;
    ``dropped``: tags or partitions; ``files``: deleted."""

    name = "upkeep.finished"
    table: str
    action: str
    made: int
    dropped: int
    files: int
    size_bytes: int
    duration_seconds: float


@dataclass(frozen=True, slots=True)
class UpkeepFailed(Event):
    """A chore of a table failed and is tried again later; everything else goes on."""

    name = "upkeep.failed"
    level = "warning"
    table: str
    action: str
    next: Next
    error: str


@dataclass(frozen=True, slots=True)
class UpkeepSkipped(Event):
    """A chore of a table is left alone: desilt does not understand what it would touch."""

    name = "upkeep.skipped"
    level = "warning"
    table: str
    action: str
    error: str


@dataclass(frozen=True, slots=True)
class WorkerRestarted(Event):
    """A worker process was replaced: ``crashed``, ``panicked``, ``timed-out`` or ``grown``."""

    name = "worker.restarted"
    level = "warning"
    reason: str


@dataclass(frozen=True, slots=True)
class JournalFailed(Event):
    """The state cannot be written, so nothing is started."""

    name = "journal.failed"
    level = "error"
    error: str


class Listener(Protocol):
    """Wants to know; must be quick, must not raise, is called from several threads."""

    def __call__(self, event: Event, /) -> None: ...


@dataclass(frozen=True, slots=True)
class Listeners:
    """Tells all of them, in order."""

    all: Sequence[Listener]

    def __call__(self, event: Event, /) -> None:
        """Pass the event on."""
        for listener in self.all:
            listener(event)
