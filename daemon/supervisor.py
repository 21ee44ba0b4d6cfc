"""Keeps worker processes: starts them, gives each one task at a time, replaces those that fail.

Workers are spawned, never forked, and stay: a started one has Polars imported with its own share of
the cores. Each has its own pipes and can be killed alone. Whatever becomes of one (killed, crashed,
panicked, too slow, grown too large) costs at most the task that it was given; a new one takes its
place.
"""

from __future__ import annotations

import contextlib
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from ..table import errors as table_errors
from ..table.errors import TableError
from ..table.storage.requests import REQUESTS, Counts, Rows
from .errors import WorkerBug, WorkerCrashed, WorkerError, WorkerTimedOut
from .frames import FrameError, Message, read_frame, write_frame

WORKER_COMMAND = (sys.executable, "-P", "-m", "desilt.daemon.worker")
# Imports take two seconds on a slow machine that is busy otherwise; a minute is a sick one.
START_SECONDS_MAX = 60.0


@dataclass(frozen=True, slots=True)
class SupervisorOptions:
    """``threads``: of Polars per worker; ``rss_bytes_max``: a larger worker is replaced."""

    workers: int
    threads: int
    rss_bytes_max: int
    command: tuple[str, ...] = WORKER_COMMAND

    def __post_init__(self) -> None:
        if self.workers < 1 or self.threads < 1:
            raise ValueError(f"workers and threads must be at least 1: {self}")


class Supervisor:
    """A fixed number of workers, from `start` to `stop`; `call` may be used by several threads.

    Args:
        on_restart: told why a worker was replaced: ``crashed``, ``panicked``, ``timed-out``,
            ``grown``.
    """

    def __init__(
        self, options: SupervisorOptions, on_restart: Callable[[str], None] = lambda why: None
    ) -> None:
        self._options = options
        self._on_restart = on_restart
        self._idle: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
        self._alive: set[_Worker] = set()
        self._mutex = threading.Lock()
        self._stopped = False

    def start(self) -> None:
        """Spawn all workers; they become warm in the background."""
        for _ in range(self._options.workers):
            self._idle.put(self._spawned())

    def stop(self) -> None:
        """Kill all workers; calls that run fail with `WorkerCrashed`."""
        with self._mutex:
            self._stopped = True
            workers = tuple(self._alive)
        for worker in workers:
            worker.kill()
        for _ in workers:
            with contextlib.suppress(queue.Empty):
                idle = self._idle.get_nowait()
                idle.close()
                self._idle.put(idle)  # dead, and whoever gets it is told so

    def call(self, name: str, args: Message, timeout_seconds: float) -> Message:
        """Have a free worker do it; waits until one is free.

        Args:
            timeout_seconds: for the work itself, not for the waiting.

        Raises:
            TableError: the worker raised it; same class, message and context.
            WorkerCrashed, WorkerTimedOut, WorkerBug: as the names say.
        """
        worker = self._idle.get()
        why: str | None = "crashed"
        if worker.dead:  # it died while it was idle: no task's fault
            worker = self._replaced(worker, "crashed")
        try:
            answer = worker.call({"call": name, "args": args}, timeout_seconds)
            why = self._reason_to_replace(answer)
            REQUESTS.add(Counts.of_rows(cast("Rows", answer.get("requests", ()))))
        except WorkerTimedOut:
            why = "timed-out"
            raise
        finally:
            self._idle.put(worker if why is None else self._replaced(worker, why))
        return _opened(answer)

    def pids(self) -> tuple[int, ...]:
        """Process ids of the workers, in no order."""
        with self._mutex:
            return tuple(worker.pid for worker in self._alive)

    def _reason_to_replace(self, answer: Message) -> str | None:
        if "panic" in answer:
            return "panicked"
        rss = answer.get("rss_bytes")
        return "grown" if isinstance(rss, int) and rss > self._options.rss_bytes_max else None

    def _replaced(self, worker: _Worker, why: str) -> _Worker:
        worker.kill()
        worker.close()
        with self._mutex:
            self._alive.discard(worker)
            stopped = self._stopped
        if stopped:
            return worker  # dead, and whoever gets it is told so
        self._on_restart(why)
        return self._spawned()

    def _spawned(self) -> _Worker:
        with self._mutex:
            worker = _Worker(self._options)
            self._alive.add(worker)
            if self._stopped:
                worker.kill()
            return worker


class _Worker:
    """One process and its two pipes; used by one thread at a time, killed by any."""

    def __init__(self, options: SupervisorOptions) -> None:
        environment = {**os.environ, "POLARS_MAX_THREADS": str(options.threads)}
        self._process = subprocess.Popen(
            options.command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            env=environment,
            start_new_session=True,  # Ctrl-C in a terminal is for the parent alone
        )
        self._greeted = False

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def dead(self) -> bool:
        return self._process.poll() is not None

    def kill(self) -> None:
        """End it now, whatever it does; returns when it is gone."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """Give the pipes back; only by the thread that uses the worker, after `kill`."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def call(self, message: Message, timeout_seconds: float) -> Message:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            sink, source = self._process.stdin.fileno(), self._process.stdout.fileno()
            if not self._greeted:
                read_frame(source, time.monotonic() + START_SECONDS_MAX)
                self._greeted = True
            write_frame(sink, message)
            return read_frame(source, time.monotonic() + timeout_seconds)
        except TimeoutError as error:
            if not self._greeted:
                raise WorkerCrashed(f"worker did not start, pid={self.pid}") from error
            raise WorkerTimedOut(
                f"worker took too long, pid={self.pid}, seconds={timeout_seconds:g}"
            ) from error
        except (EOFError, OSError, ValueError) as error:
            raise WorkerCrashed(self._obituary()) from error
        except FrameError as error:
            raise WorkerCrashed(
                f"worker answered nonsense, pid={self.pid}, error={error}"
            ) from error

    def _obituary(self) -> str:
        """How it ended, when it is known to have."""
        try:
            code = self._process.wait(timeout=1.0)
        except subprocess.TimeoutExpired:
            return f"worker closed its pipe, pid={self.pid}"
        how = f"signal={-code}" if code < 0 else f"exit_code={code}"
        return f"worker died, pid={self.pid}, {how}"


def _opened(answer: Message) -> Message:
    """The result in an answer, or the error that it carries."""
    if "panic" in answer:
        raise WorkerCrashed(f"worker panicked, error={answer['panic']}")
    if "error" in answer:
        raise _rebuilt(cast("Message", answer["error"]))
    return cast("Message", answer["ok"])


def _rebuilt(described: Message) -> TableError | WorkerError:
    """The table error that the worker described; anything else is a bug, with its traceback."""
    kind, message = str(described.get("kind")), str(described.get("message"))
    found = getattr(table_errors, kind, None)
    if isinstance(found, type) and issubclass(found, TableError):
        context = described.get("context")
        return found(message, **(cast("dict[str, object]", context) if context else {}))
    if kind == "MemoryError":
        return WorkerCrashed("worker ran out of memory")
    return WorkerBug(f"{kind}: {message}\n{described.get('traceback', '')}".rstrip())
