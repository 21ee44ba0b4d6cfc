"""Real worker processes: whatever becomes of one costs its own task and nothing else."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from desilt.daemon.errors import WorkerBug, WorkerCrashed, WorkerTimedOut
from desilt.daemon.supervisor import Supervisor, SupervisorOptions
from desilt.table.errors import BadData

DOUBLE = Path(__file__).parents[2] / "support" / "worker_double.py"
RSS_BYTES_MAX = 350 * 2**20
TIMEOUT = 20.0


def options(*arguments: str, workers: int = 1) -> SupervisorOptions:
    return SupervisorOptions(
        workers=workers,
        threads=1,
        rss_bytes_max=RSS_BYTES_MAX,
        command=(sys.executable, "-P", str(DOUBLE), *arguments),
    )


@pytest.fixture(scope="module")
def shared() -> Iterator[tuple[Supervisor, list[str]]]:
    restarts: list[str] = []
    supervisor = Supervisor(options(), restarts.append)
    supervisor.start()
    yield supervisor, restarts
    supervisor.stop()


@pytest.fixture
def one(shared: tuple[Supervisor, list[str]]) -> Supervisor:
    """A supervisor with one worker; whatever the last test did to it, it works."""
    return shared[0]


@pytest.fixture
def restarts(shared: tuple[Supervisor, list[str]]) -> list[str]:
    shared[1].clear()
    return shared[1]


def test_call_returns_what_the_worker_answered_when_it_prints_too(one: Supervisor) -> None:
    answer = one.call("echo", {"x": [1, "ü"]}, TIMEOUT)

    assert (answer["x"], answer["threads"]) == ([1, "ü"], "1")


def test_call_keeps_its_worker_when_all_is_well(one: Supervisor, restarts: list[str]) -> None:
    first, second = (one.call("echo", {}, TIMEOUT)["pid"] for _ in range(2))

    assert first == second
    assert restarts == []


def test_call_carries_messages_larger_than_a_pipe(one: Supervisor) -> None:
    text = "x" * 3_000_000

    assert one.call("echo", {"text": text}, TIMEOUT)["text"] == text


def test_call_rebuilds_the_same_table_error(one: Supervisor, restarts: list[str]) -> None:
    with pytest.raises(BadData, match=r"^no such kind, table=db\.t, kind=7$") as caught:
        one.call("refuse", {}, TIMEOUT)

    assert caught.value.context == {"table": "db.t", "kind": "7"}
    assert restarts == []


def test_call_names_a_bug_with_its_traceback(one: Supervisor) -> None:
    with pytest.raises(WorkerBug, match=r"(?s)KeyError: 'missing'.*in bug"):
        one.call("bug", {}, TIMEOUT)


def test_call_refuses_unknown_calls_as_a_bug(one: Supervisor) -> None:
    with pytest.raises(WorkerBug, match="KeyError"):
        one.call("os.system", {}, TIMEOUT)


def test_panic_fails_its_task_and_nothing_else(one: Supervisor, restarts: list[str]) -> None:
    with pytest.raises(WorkerCrashed, match=r"panicked.*unwrap on a None"):
        one.call("panic", {}, TIMEOUT)

    assert one.call("echo", {"x": 1}, TIMEOUT)["x"] == 1
    assert restarts == ["panicked"]


def test_death_of_the_process_fails_its_task_and_nothing_else(
    one: Supervisor, restarts: list[str]
) -> None:
    with pytest.raises(WorkerCrashed, match=f"signal={int(signal.SIGSEGV)}"):
        one.call("die", {}, TIMEOUT)

    assert one.call("echo", {"x": 1}, TIMEOUT)["x"] == 1
    assert restarts == ["crashed"]


def test_call_kills_what_takes_too_long(one: Supervisor, restarts: list[str]) -> None:
    (pid,) = one.pids()

    with pytest.raises(WorkerTimedOut, match=r"seconds=0\.2"):
        one.call("sleep", {}, 0.2)

    assert not Path(f"/proc/{pid}").exists()
    assert restarts == ["timed-out"]


def test_worker_that_grew_is_replaced_after_its_answer(
    one: Supervisor, restarts: list[str]
) -> None:
    first = one.call("grow", {}, TIMEOUT)["pid"]
    while not restarts:
        first = one.call("grow", {}, TIMEOUT)["pid"]

    assert one.call("echo", {}, TIMEOUT)["pid"] != first
    assert restarts == ["grown"]


def test_worker_killed_while_idle_costs_no_task_and_leaves_the_other_alone() -> None:
    restarts: list[str] = []
    supervisor = Supervisor(options(workers=2), restarts.append)
    supervisor.start()
    try:
        victim = supervisor.call("echo", {}, TIMEOUT)["pid"]
        other = supervisor.call("echo", {}, TIMEOUT)["pid"]
        assert isinstance(victim, int)
        os.kill(victim, signal.SIGKILL)
        os.waitid(os.P_PID, victim, os.WEXITED | os.WNOWAIT)  # it is dead, and nobody's to reap

        # The victim is first in the queue again: a new worker takes its place and the task.
        assert supervisor.call("echo", {}, TIMEOUT)["pid"] not in (victim, other)
        assert supervisor.call("echo", {}, TIMEOUT)["pid"] == other
        assert restarts == ["crashed"]
    finally:
        supervisor.stop()


def test_stop_ends_running_calls_and_all_processes() -> None:
    supervisor = Supervisor(options())
    supervisor.start()
    supervisor.call("echo", {}, TIMEOUT)
    (pid,) = supervisor.pids()
    failures: list[Exception] = []

    def run() -> None:
        try:
            supervisor.call("sleep", {}, TIMEOUT)
        except WorkerCrashed as error:
            failures.append(error)

    caller = threading.Thread(target=run)
    caller.start()
    supervisor.stop()
    caller.join(TIMEOUT)

    assert len(failures) == 1
    assert not Path(f"/proc/{pid}").exists()
    with pytest.raises(WorkerCrashed):
        supervisor.call("echo", {}, TIMEOUT)


def test_worker_that_cannot_start_fails_calls_by_name() -> None:
    supervisor = Supervisor(options("--broken"))
    supervisor.start()
    try:
        with pytest.raises(WorkerCrashed, match="exit_code=3"):
            supervisor.call("echo", {}, TIMEOUT)
    finally:
        supervisor.stop()
