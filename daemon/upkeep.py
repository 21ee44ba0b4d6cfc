"""Chores of the tables at their times: tags, partitions, orphan files.

As expiry, in the same single thread: nothing of this hurries, and two of them on one table would
stand in each other's way. What was missed while others were at work is done once. An error costs
its own chore of its own table a growing pause, and nothing else.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Executor as Pool
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeAlias

from ..policies.match import best_rule
from ..table.expire import InUse
from .chores import Chore, ChoreDone
from .clock import Clock
from .engine import Engine
from .errors import JournalError
from .expiry import in_use
from .journal import Journal
from .listen import Listener, UpkeepFailed, UpkeepFinished, UpkeepSkipped
from .logs import describe
from .observe import Watched
from .outcome import Next, after_failure
from .plan import Rule
from .schedule import Every, next_after
from .turns import Turn, pause_seconds

# Running and waiting; more would only wait.
IN_FLIGHT_MAX = 4
# What is done every so often is first done this soon after the start, at the latest: a daemon that
# is started again and again would never come to it.
FIRST_SECONDS_MAX = 300.0

Key: TypeAlias = tuple[str, str]
"""Table and chore."""


@dataclass(frozen=True, slots=True)
class _Due:
    table: Watched
    chore: Chore

    @property
    def key(self) -> Key:
        return self.table.name, self.chore.name


class Upkeep:
    """Used by one thread; its work runs in ``pool``."""

    def __init__(
        self,
        engine: Engine,
        rules: Sequence[Rule],
        journal: Journal,
        pool: Pool,
        clock: Clock,
        listener: Listener,
    ) -> None:
        self._engine = engine
        self._rules = rules
        self._journal = journal
        self._pool = pool
        self._clock = clock
        self._tell = listener
        self._mutex = threading.Lock()
        self._in_flight: set[Key] = set()
        self._turns: dict[Key, Turn] = {}
        self._stopped = False

    def offer(self, tables: Sequence[Watched]) -> int:
        """Start the chores whose turn it is, the longest-waiting first; how many that was."""
        wanted = [
            _Due(table, chore)
            for table in tables
            if table.facts is not None
            for chore in self._chores(table)
        ]
        with self._mutex:
            keys = {one.key for one in wanted}
            self._turns = {key: turn for key, turn in self._turns.items() if key in keys}
            for one in wanted:
                if one.key not in self._turns:
                    self._turns[one.key] = Turn(self._first(one.chore))
            now = self._clock.monotonic()
            due = sorted(
                (w for w in wanted if w.key not in self._in_flight and self._at(w) <= now),
                key=self._at,
            )
            chosen = due[: 0 if self._stopped else max(0, IN_FLIGHT_MAX - len(self._in_flight))]
            self._in_flight |= {one.key for one in chosen}
        for one in chosen:
            self._pool.submit(self._run, one)
        return len(chosen)

    def stop(self) -> None:
        """Start nothing more; what waits in the pool ends without having done anything."""
        with self._mutex:
            self._stopped = True

    def _chores(self, table: Watched) -> Sequence[Chore]:
        rule = best_rule(self._rules, catalog=table.catalog.name, table=table.table)
        return () if rule is None else rule.chores

    def _at(self, one: _Due) -> float:
        return self._turns[one.key].due

    def _first(self, chore: Chore) -> float:
        seconds = self._seconds_to_next(chore)
        if isinstance(chore.when, Every):
            seconds = min(seconds, FIRST_SECONDS_MAX)
        return self._clock.monotonic() + seconds

    def _seconds_to_next(self, chore: Chore) -> float:
        now = self._clock.now()
        return (next_after(chore.when, now) - now) / timedelta(seconds=1)

    def _run(self, one: _Due) -> None:
        """One chore of one table, in a thread of the pool."""
        started = self._clock.monotonic()
        try:
            if not self._stopped:
                self._finished(one, self._carry_out(one), started)
        except Exception as error:  # noqa: BLE001  decided by type in outcome.py
            self._failed(one, error)
        finally:
            with self._mutex:
                self._in_flight.discard(one.key)

    def _carry_out(self, one: _Due) -> ChoreDone:
        table = one.table
        # Only this one publishes: the daemon must not race with itself.
        with table.commit_lock if one.chore.name == "partitions" else nullcontext():
            return self._engine.tidy(table.path, one.chore, self._use_of(table))

    def _use_of(self, table: Watched) -> Callable[[], InUse]:
        def read() -> InUse:
            """Also of tasks whose end nobody knows yet: their files may be committed."""
            now = in_use(table)
            open_tasks = frozenset(t.task_id for t in self._journal.open_tasks())
            return InUse(now.snapshots, now.files, now.tasks | open_tasks)

        return read

    def _finished(self, one: _Due, done: ChoreDone, started: float) -> None:
        now = self._clock.monotonic()
        later = 0.0 if done.more else self._seconds_to_next(one.chore)
        self._set_turn(one.key, Turn(now + later))
        self._tell(
            UpkeepFinished(
                table=one.table.name,
                action=one.chore.name,
                made=done.made,
                dropped=done.dropped,
                files=done.files,
                size_bytes=done.size_bytes,
                duration_seconds=now - started,
            )
        )

    def _failed(self, one: _Due, error: Exception) -> None:
        known = self._turns.get(one.key, Turn(0.0))
        attempts, reason = known.attempts + 1, describe(error)
        step = Next.RETRY if isinstance(error, JournalError) else after_failure(
            error, attempt=attempts
        )  # fmt: skip
        pause = pause_seconds(step, attempts)
        self._set_turn(one.key, Turn(self._clock.monotonic() + pause, attempts, reason))
        match step:
            case Next.FORGET_TABLE:
                pass  # the next look at the warehouse finds that out
            case Next.SKIP_TABLE:
                if known.reason != reason:
                    self._tell(UpkeepSkipped(one.table.name, one.chore.name, reason))
            case _:
                self._tell(UpkeepFailed(one.table.name, one.chore.name, step, reason))

    def _set_turn(self, key: Key, turn: Turn) -> None:
        with self._mutex:
            self._turns[key] = turn
