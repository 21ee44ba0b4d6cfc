"""Asks the tables what became of tasks that ended without an answer, and removes their leftovers.

Which they are is in the journal: opened, not closed, not running. After a crash these are the
tasks of the daemon before this one; later, those whose worker died or whose commit got no answer.
"""

from __future__ import annotations

from collections.abc import Callable, Set
from datetime import datetime, timedelta

from ..table.errors import TableMissing
from ..table.storage import is_remote
from .clock import Clock
from .engine import Engine
from .errors import JournalError
from .journal import Journal, OpenTask
from .ledger import backoff_seconds
from .listen import JournalFailed, LeftoversSwept, Listener, SweepFailed
from .logs import describe

# A store that has not carried out a request by then has lost it: its connection is long gone.
IN_DOUBT_SECONDS = 300.0


class Sweeper:
    """Used by one thread."""

    def __init__(self, engine: Engine, journal: Journal, clock: Clock, listener: Listener) -> None:
        self._engine = engine
        self._journal = journal
        self._clock = clock
        self._tell = listener
        self._failed: dict[str, tuple[int, datetime]] = {}
        self._begun = clock.now()

    def doubt(self, task_id: str) -> None:
        """Its commit got no answer: the request may still be under way, so leave its files alone
        for a while. Called by any thread."""
        self._failed[task_id] = (0, self._clock.now() + timedelta(seconds=IN_DOUBT_SECONDS))

    def sweep(self, running: Callable[[], Set[str]]) -> None:
        """Look up every open task but the ``running`` ones; one that fails is tried again later."""
        try:
            for task in self._dead(running):
                if self._clock.now() >= self._due(task):
                    self._sweep(task)
        except JournalError as error:
            self._tell(JournalFailed(str(error)))

    def _dead(self, running: Callable[[], Set[str]]) -> list[OpenTask]:
        """Open tasks that nobody works on. A task runs before it is opened and until it is closed:
        who asks what runs in between takes neither one that begins nor one that ends for dead."""
        opened = self._journal.open_tasks()
        alive = running() if opened else frozenset[str]()
        suspects = [task for task in opened if task.task_id not in alive]
        still = {task.task_id for task in self._journal.open_tasks()} if suspects else set[str]()
        return [task for task in suspects if task.task_id in still]

    def _due(self, task: OpenTask) -> datetime:
        """When to look it up. A daemon that died may have been publishing, as in `doubt`; of the
        disk's requests none is under way without its process."""
        late = task.started < self._begun and is_remote(task.path)
        first = self._begun + timedelta(seconds=IN_DOUBT_SECONDS) if late else task.started
        return self._failed.get(task.task_id, (0, first))[1]

    def _sweep(self, task: OpenTask) -> None:
        try:
            result = self._engine.sweep(task)
        except JournalError:
            raise
        except TableMissing:
            self._close(task, "table-gone", 0)
        except Exception as error:  # noqa: BLE001  one bad table must not stop the others
            attempts = self._failed.get(task.task_id, (0, task.started))[0] + 1
            pause = timedelta(seconds=backoff_seconds(attempts))
            self._failed[task.task_id] = (attempts, self._clock.now() + pause)
            self._tell(SweepFailed(task.table, task.task_id, describe(error)))
        else:
            outcome = "committed" if result.committed else "swept"
            self._close(task, outcome, len(result.deleted))
            self._tell(
                LeftoversSwept(task.table, task.task_id, result.committed, len(result.deleted))
            )

    def _close(self, task: OpenTask, outcome: str, deleted: int) -> None:
        self._journal.close_task(
            task.task_id, outcome, self._clock.now(), {"deleted_files": deleted}
        )
        self._failed.pop(task.task_id, None)
