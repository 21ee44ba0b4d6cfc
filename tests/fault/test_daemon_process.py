"""The real daemon as a process: killed, its workers killed, stopped; the table stays right."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl
import pytest
from support.daemon_fakes import a_task

from desilt.daemon.journal import Journal
from desilt.table.catalog import Catalog
from desilt.table.table import Table

WAIT_SECONDS = 60.0


class Daemon:
    """`desilt run` in a folder with a warehouse; the log goes to a file there."""

    def __init__(self, folder: Path) -> None:
        self.log = folder / "daemon.log"
        with self.log.open("a") as stream:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "desilt.daemon", "run", "-c", "desilt.yaml"],
                cwd=folder,
                stderr=stream,
            )

    def lines(self, event: str) -> list[dict[str, object]]:
        parsed = [json.loads(line) for line in self.log.read_text().splitlines() if line[:1] == "{"]
        return [line for line in parsed if line["event"] == event]

    def get(self, path: str) -> str:
        address = self.lines("daemon.started")[-1]["listen"]
        with urllib.request.urlopen(f"http://{address}{path}", timeout=5) as answer:
            return str(answer.read().decode())

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(WAIT_SECONDS)


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def children(pid: int) -> list[int]:
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in listed]


def gone(pids: list[int]) -> bool:
    return not any(Path(f"/proc/{pid}").exists() for pid in pids)


def write_runs(table: Table, runs: int) -> dict[int, int]:
    """Commit that often the same keys; what the table must hold then."""
    for version in range(runs):
        table.write(pl.DataFrame({"id": range(50), "v": [version] * 50}))
    return dict.fromkeys(range(50), runs - 1)


def rows(table: Table) -> dict[int, int]:
    return dict(table.scan().collect().select("id", "v").iter_rows())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "warehouse").mkdir()
    config = {
        "catalogs": [{"name": "lake", "warehouse": "warehouse"}],
        "policies": [{"name": "all", "match": "*", "compaction": {"kind": "universal"}}],
        "scheduler": {"scan-interval": "200ms"},
        "server": {"listen": "127.0.0.1:0"},
    }
    (tmp_path / "desilt.yaml").write_text(json.dumps(config))
    return tmp_path


@pytest.fixture
def table(folder: Path) -> Table:
    return Catalog(str(folder / "warehouse")).create_table(
        "db.t", {"id": pl.Int64, "v": pl.Int64}, primary_key=["id"], options={"bucket": "1"}
    )


@pytest.fixture
def daemon(folder: Path, table: Table) -> Iterator[Daemon]:
    made = Daemon(folder)
    yield made
    if made.process.poll() is None:
        made.process.kill()
        made.process.wait()


def test_daemon_compacts_serves_and_stops_cleanly(daemon: Daemon, table: Table) -> None:
    expected = write_runs(table, 6)
    wait_for(lambda: daemon.lines("task.finished"))
    workers = children(daemon.process.pid)

    metrics, tasks = daemon.get("/metrics"), json.loads(daemon.get("/tasks"))
    code = daemon.stop()

    labels = 'action="compact",outcome="committed",table="db.t"'
    assert f"desilt_tasks_total{{{labels}}}" in metrics
    assert "process_resident_memory_bytes" in metrics
    assert tasks["recent"][-1]["outcome"] == "committed"
    assert code == 0
    assert gone(workers)
    assert rows(table) == expected


def test_killed_workers_are_replaced_and_work_goes_on(daemon: Daemon, table: Table) -> None:
    wait_for(lambda: daemon.lines("table.found") and len(children(daemon.process.pid)) == 2)
    for pid in children(daemon.process.pid):
        os.kill(pid, signal.SIGKILL)

    expected = write_runs(table, 6)
    wait_for(lambda: [x for x in daemon.lines("task.finished") if x["outcome"] == "committed"])

    assert rows(table) == expected
    assert daemon.stop() == 0


def test_killed_daemon_takes_its_workers_along(daemon: Daemon) -> None:
    wait_for(lambda: daemon.lines("table.found") and len(children(daemon.process.pid)) == 2)
    workers = children(daemon.process.pid)

    daemon.stop(signal.SIGKILL)

    wait_for(lambda: gone(workers))


def test_restart_sweeps_leftovers_of_a_crash_and_only_those(folder: Path, table: Table) -> None:
    expected = write_runs(table, 2)
    bucket = folder / "warehouse" / "db.db" / "t" / "bucket-0"
    journal = Journal(folder / "desilt-state.db")
    dead = "4b0c1c36-7c0c-4d9e-9a44-0d6f3c1b7e55"
    journal.open_task(a_task(dead, path=str(bucket.parent)))
    journal.close()
    (bucket / f"data-{dead}-0.parquet").write_text("half a file")
    (bucket / "data-of-somebody-else-0.parquet").write_text("not ours")

    daemon = Daemon(folder)
    wait_for(lambda: daemon.lines("leftovers.swept"))
    code = daemon.stop()

    assert code == 0
    assert not (bucket / f"data-{dead}-0.parquet").exists()
    assert (bucket / "data-of-somebody-else-0.parquet").exists()
    assert rows(table) == expected


def test_port_in_use_is_exit_code_1_by_name(folder: Path) -> None:
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        config = json.loads((folder / "desilt.yaml").read_text())
        config["server"]["listen"] = f"127.0.0.1:{busy.getsockname()[1]}"
        (folder / "desilt.yaml").write_text(json.dumps(config))
        daemon = Daemon(folder)
        code = daemon.process.wait(WAIT_SECONDS)

    assert code == 1
    assert "key=server.listen" in daemon.log.read_text()


def test_second_daemon_on_the_same_state_is_refused(daemon: Daemon, folder: Path) -> None:
    wait_for(lambda: daemon.lines("daemon.started"))

    second = Daemon(folder)

    assert second.process.wait(WAIT_SECONDS) == 1
    assert "in use by another daemon" in second.log.read_text()
    assert daemon.process.poll() is None
