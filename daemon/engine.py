"""What the daemon asks of `table/`, as one small interface; the tests have another one.

Looking and planning happen in the daemon's threads, by a `TableObserver` per table. Rewriting
happens in a worker of the supervisor. Committing and sweeping are a few small reads and writes
again.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Literal, Protocol, TypeAlias

from ..policies.admit import PickLimits
from ..table.catalogs import BaseCatalog
from ..table.commit import CommitOutcome, Committer
from ..table.compact import (
    CompactionPlan,
    RewriteOptions,
    RewriteResult,
    SweepResult,
    commit,
    sweep,
)
from ..table.decision import PlanOptions
from ..table.expire import ExpiryResult, NameReader, Override, UseReader, expire
from ..table.handle import TableHandle
from ..table.health import Health
from ..table.observe import TableObserver
from ..table.storage import Storage, is_remote, open_storage
from ..table.storage.s3 import S3Storage
from .catalogs import open_catalog
from .chores import Chore, ChoreDone, carry_out
from .config_catalog import CatalogConfig
from .journal import OpenTask
from .supervisor import Supervisor

# A rewrite reads at 100 MB/s on a slow machine: this is 360 GB of one bucket, which no bucket has.
TASK_SECONDS_MAX = 3600.0
# A look at a local table is mostly Python's own work, of which one thread at a time does any; a
# second one goes on where the first waits for a slow disk.
LOCAL_WIDTH = 2


Verify: TypeAlias = Literal["quarter", "full"]


class Observer(Protocol):
    """One table, looked at again and again; see `table.observe.TableObserver`."""

    @property
    def snapshot_id(self) -> int | None: ...

    @property
    def spend_upto_snapshot_id(self) -> int: ...

    def refresh(self) -> bool: ...

    def measured(self, now_millis: int) -> Health: ...

    def spend(self) -> dict[str, list[int]]: ...

    def restore_spend(self, data: Mapping[str, Sequence[int]], upto_snapshot_id: int) -> None: ...

    def plan(
        self,
        partition: str,
        bucket: int,
        task_id: str,
        options: PlanOptions | None = None,
    ) -> CompactionPlan | None: ...


@dataclass(frozen=True, slots=True)
class Opened:
    """A table's place and its observer."""

    path: str
    observer: Observer


class Engine(Protocol):
    """Everything that touches tables. Raises table errors, `rewrite` also those of workers."""

    def tables(self, catalog: CatalogConfig, known: Collection[str] = ()) -> Sequence[str]:
        """Names ``db.t`` of the tables there, sorted; those known need not be looked into."""
        ...

    def width(self, catalog: CatalogConfig) -> int:
        """How many tables of the catalog are looked at at a time; 0: in the caller's thread."""
        ...

    def open(self, catalog: CatalogConfig, table: str) -> Opened:
        """A table that was listed."""
        ...

    def rewrite(self, plan: CompactionPlan, memory_bytes: int) -> RewriteResult:
        """Write and verify the new files; nobody sees them yet."""
        ...

    def commit(self, plan: CompactionPlan, result: RewriteResult) -> CommitOutcome:
        """Publish them."""
        ...

    def recheck(self, path: str) -> CommitOutcome | None:
        """Commit the table's last change again if it was replaced; None when it stands."""
        ...

    def sweep(self, task: OpenTask) -> SweepResult:
        """Find out whether a dead task was committed; remove what it left otherwise."""
        ...

    def expire(self, path: str, override: Override, in_use: UseReader) -> ExpiryResult:
        """Drop old snapshots of an opened table; one run."""
        ...

    def tidy(self, path: str, chore: Chore, in_use: UseReader) -> ChoreDone:
        """Carry out a chore on an opened table; one run."""
        ...


class Rewriter:
    """Rewrites in warm workers; ``turn``: which quarter of the columns is compared first."""

    def __init__(self, supervisor: Supervisor, verify: Verify, turn: int = 0) -> None:
        self._supervisor = supervisor
        self._verify: Verify = verify
        self._turn = turn

    def warm_up(self) -> None:
        """Return when a worker has started."""
        self._supervisor.call("ping", {}, TASK_SECONDS_MAX)

    def stop(self) -> None:
        """Kill the workers, whatever they do."""
        self._supervisor.stop()

    def __call__(
        self, plan: CompactionPlan, memory_bytes: int, storage: Storage | None = None
    ) -> RewriteResult:
        """Run `table.compact.rewrite` in a worker; errors come back as what they are.

        Args:
            storage: the table's; a worker opens an object store by its options.
        """
        options = RewriteOptions(memory_bytes, self._verify, self._turn % 4)
        self._turn += 1  # two threads may count the same turn: then a quarter comes a bit later
        args: dict[str, object] = {
            "plan": plan.to_json(),
            "options": {
                "memory_bytes": options.memory_bytes,
                "verify": options.verify,
                "turn": options.turn,
            },
            "store": asdict(storage.options) if isinstance(storage, S3Storage) else None,
        }
        answer = self._supervisor.call("rewrite", args, TASK_SECONDS_MAX)
        return RewriteResult.from_json(str(answer["result"]))


class TableEngine:
    """The real one."""

    def __init__(self, rewriter: Rewriter) -> None:
        self._rewriter = rewriter
        # One committer per table for as long as the daemon runs: it remembers what it published
        # last, and commits that again if another engine replaced it meanwhile.
        self._committers: dict[str, Committer] = {}
        self._catalogs: dict[str, BaseCatalog] = {}
        self._mutex = threading.Lock()
        self._names: dict[str, NameReader] = {}

    def tables(self, catalog: CatalogConfig, known: Collection[str] = ()) -> Sequence[str]:
        """Names ``db.t`` of the tables there, sorted; those known need not be looked into."""
        return self._catalog(catalog).tables(known)

    def width(self, catalog: CatalogConfig) -> int:
        """As hides the latency of an object store; of local tables few, since Python holds them."""
        store = catalog.s3.in_flight if is_remote(catalog.warehouse) else LOCAL_WIDTH
        return store if catalog.kind != "rest" else catalog.s3.in_flight

    def open(self, catalog: CatalogConfig, table: str) -> Opened:
        """A table that was listed."""
        opened = self._catalog(catalog).table(table)
        self._committers[opened.path] = Committer(opened.handle)
        return Opened(opened.path, TableObserver(opened.handle))

    def rewrite(self, plan: CompactionPlan, memory_bytes: int) -> RewriteResult:
        """Write and verify the new files in a worker."""
        return self._rewriter(plan, memory_bytes, self._handle(plan.table, plan.path).storage)

    def commit(self, plan: CompactionPlan, result: RewriteResult) -> CommitOutcome:
        """Publish them."""
        return commit(plan, result, self._committers.get(plan.path))

    def recheck(self, path: str) -> CommitOutcome | None:
        """Commit the table's last change again if it was replaced; None when it stands."""
        committer = self._committers.get(path)
        return None if committer is None else committer.check_last()

    def sweep(self, task: OpenTask) -> SweepResult:
        """Find out whether a dead task was committed; remove what it left otherwise."""
        handle = self._handle(task.table, task.path)
        return sweep(handle, task.task_id, task.partition, task.bucket)

    def expire(self, path: str, override: Override, in_use: UseReader) -> ExpiryResult:
        """Drop old snapshots of an opened table; metadata read once stays read."""
        handle = self._committers[path].handle
        names = self._names.setdefault(path, NameReader(handle))
        return expire(handle, override, in_use=in_use, names=names)

    def _catalog(self, config: CatalogConfig) -> BaseCatalog:
        """Opened once: it keeps its connections."""
        with self._mutex:
            if config.name not in self._catalogs:
                self._catalogs[config.name] = open_catalog(config)
            return self._catalogs[config.name]

    def _handle(self, table: str, path: str) -> TableHandle:
        """Of an opened table; of one that is not, by the store of the catalog that it lies in."""
        committer = self._committers.get(path)
        if committer is not None:
            return committer.handle
        with self._mutex:
            catalogs = tuple(self._catalogs.values())
        within = [c for c in catalogs if path.startswith(f"{c.warehouse}/")]
        storage = within[0].storage if within else open_storage(path)
        return TableHandle(table, path, storage)

    def tidy(self, path: str, chore: Chore, in_use: UseReader) -> ChoreDone:
        """Carry out a chore on an opened table; by its committer, should it publish."""
        committer = self._committers[path]
        names = self._names.setdefault(path, NameReader(committer.handle))
        return carry_out(chore, committer, names, in_use)


def plan_options(limits: PickLimits) -> PlanOptions:
    """Plan with the numbers that the policy judged by."""
    return PlanOptions(
        mode="full" if limits.full else "minor",
        trigger=limits.trigger,
        size_amplification_percent=limits.size_amplification_percent,
        size_ratio_percent=limits.size_ratio_percent,
    )
