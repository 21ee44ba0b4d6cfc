"""Expires old snapshots out of band: beside ticks and tasks, one table after the other.

A table is expired when its most specific rule has a section `snapshots`. What it may cost is
bounded: one thread, a few tables waiting for it, a pause between two runs of one table; a run
that ended only at the table's limit is followed by the next at once. An error costs its own table
a growing pause from expiry and nothing else: the table goes on being compacted.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import Executor as Pool

from ..policies.match import best_rule
from ..table.expire import ExpiryResult, InUse
from .clock import Clock
from .engine import Engine
from .listen import ExpiryFailed, ExpiryFinished, ExpirySkipped, Listener
from .logs import describe
from .observe import Watched
from .outcome import Next, after_failure
from .plan import Rule
from .turns import Turn, pause_seconds

# Between two runs of a table, unless the YAML says otherwise. A run with nothing to do is a dozen
# small reads, and snapshots age by minutes at the least.
EXPIRE_SECONDS = 60.0
# Running and waiting. More would only wait, and be judged by what is known now.
IN_FLIGHT_MAX = 4


class Expirer:
    """Used by one thread; its work runs in ``pool``."""

    def __init__(
        self,
        engine: Engine,
        rules: Sequence[Rule],
        pool: Pool,
        clock: Clock,
        listener: Listener,
        seconds: float = EXPIRE_SECONDS,
    ) -> None:
        self._engine = engine
        self._rules = rules
        self._pool = pool
        self._seconds = seconds
        self._clock = clock
        self._tell = listener
        self._mutex = threading.Lock()
        self._in_flight: set[str] = set()
        self._turns: dict[str, Turn] = {}
        self._stopped = False

    def offer(self, tables: Sequence[Watched]) -> int:
        """Start expiry of those whose turn it is, the longest-waiting first; how many that was."""
        due = sorted((t for t in tables if self._due(t)), key=lambda t: self._turn(t.name).due)
        with self._mutex:
            free = 0 if self._stopped else IN_FLIGHT_MAX - len(self._in_flight)
            chosen = due[: max(0, free)]
            self._in_flight |= {table.name for table in chosen}
            names = {table.name for table in tables}
            self._turns = {name: turn for name, turn in self._turns.items() if name in names}
        for table in chosen:
            self._pool.submit(self._run, table)
        return len(chosen)

    def stop(self) -> None:
        """Start nothing more; what waits in the pool ends without having done anything."""
        with self._mutex:
            self._stopped = True

    def _due(self, table: Watched) -> bool:
        """Whether the table is to be expired, and now. One that cannot be read is left alone."""
        rule = best_rule(self._rules, catalog=table.catalog.name, table=table.table)
        if rule is None or rule.snapshots is None or table.facts is None:
            return False
        with self._mutex:
            waiting = table.name in self._in_flight
        return not waiting and self._clock.monotonic() >= self._turn(table.name).due

    def _turn(self, name: str) -> Turn:
        return self._turns.get(name, Turn(0.0))

    def _run(self, table: Watched) -> None:
        """One run, in a thread of the pool."""
        started = self._clock.monotonic()
        try:
            if not self._stopped:
                self._finished(table, self._expire(table), started)
        except Exception as error:  # noqa: BLE001  decided by type in outcome.py
            self._failed(table, error)
        finally:
            with self._mutex:
                self._in_flight.discard(table.name)

    def _expire(self, table: Watched) -> ExpiryResult:
        rule = best_rule(self._rules, catalog=table.catalog.name, table=table.table)
        assert rule is not None
        assert rule.snapshots is not None
        return self._engine.expire(table.path, rule.snapshots, lambda: in_use(table))

    def _finished(self, table: Watched, result: ExpiryResult, started: float) -> None:
        now = self._clock.monotonic()
        self._set_turn(table.name, Turn(now if result.more else now + self._seconds))
        self._tell(
            ExpiryFinished(
                table=table.name,
                snapshots=result.snapshots,
                changelogs=result.changelogs,
                consumers=result.consumers,
                files=result.files_total,
                size_bytes=result.size_bytes,
                left=result.left,
                duration_seconds=now - started,
            )
        )

    def _failed(self, table: Watched, error: Exception) -> None:
        known = self._turn(table.name)
        attempts, reason = known.attempts + 1, describe(error)
        step = after_failure(error, attempt=attempts)
        pause = pause_seconds(step, attempts)
        self._set_turn(table.name, Turn(self._clock.monotonic() + pause, attempts, reason))
        match step:
            case Next.FORGET_TABLE:
                pass  # the next look at the warehouse finds that out
            case Next.SKIP_TABLE:
                if known.reason != reason:
                    self._tell(ExpirySkipped(table.name, reason))
            case _:
                self._tell(ExpiryFailed(table.name, step, reason))

    def _set_turn(self, name: str, turn: Turn) -> None:
        with self._mutex:
            self._turns[name] = turn


def in_use(table: Watched) -> InUse:
    """Tasks running on the table, and the snapshots that they were planned from."""
    with table.lock:
        return InUse(frozenset(table.reading.values()), tasks=frozenset(table.reading))
