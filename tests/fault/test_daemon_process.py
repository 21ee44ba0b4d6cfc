"""The real daemon as a process: killed, its workers killed, stopped; the table stays right."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import polars as pl
import pytest
from support.builders import orphans
from support.daemon_fakes import a_task
from support.daemon_process import Daemon, children, gone, wait_for

from desilt.daemon.journal import Journal
from desilt.table.catalog import Catalog
from desilt.table.table import Table


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
    made.kill()


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
        code = daemon.wait()

    assert code == 1
    assert "key=server.listen" in daemon.log.read_text()


def test_a_signal_that_another_thread_gets_ends_it_too(daemon: Daemon) -> None:
    """The kernel may give it to any; one that does not sleep in Python's own lock is not woken."""
    wait_for(lambda: daemon.lines("daemon.started"))
    pid = daemon.process.pid
    tasks = [path for path in Path(f"/proc/{pid}/task").iterdir() if path.name != f"{pid}"]
    other = min(int(path.name) for path in tasks if not blocked(path, signal.SIGTERM))

    assert ctypes.CDLL(None, use_errno=True).tgkill(pid, other, signal.SIGTERM) == 0

    assert daemon.wait() == 0


def blocked(task: Path, number: signal.Signals) -> bool:
    """Whether the thread is given no such signal."""
    lines = (task / "status").read_text().splitlines()
    mask = next(line.split()[1] for line in lines if line.startswith("SigBlk:"))
    return bool(int(mask, 16) >> (number - 1) & 1)


def test_second_daemon_on_the_same_state_is_refused(daemon: Daemon, folder: Path) -> None:
    wait_for(lambda: daemon.lines("daemon.started"))

    second = Daemon(folder)

    assert second.wait() == 1
    assert "in use by another daemon" in second.log.read_text()
    assert daemon.process.poll() is None


def test_workers_that_die_while_they_look_keys_up_leave_nothing_behind(folder: Path) -> None:
    """A changelog and deletion vectors are made; what dies with its worker is made again, whole."""
    config = json.loads((folder / "desilt.yaml").read_text()) | {"logs": {"level": "debug"}}
    (folder / "desilt.yaml").write_text(json.dumps(config))
    options = {"bucket": "1", "deletion-vectors.enabled": "true", "changelog-producer": "lookup"}
    table = Catalog(str(folder / "warehouse")).create_table(
        "db.t", {"id": pl.Int64, "v": pl.Int64}, primary_key=["id"], options=options
    )
    daemon = Daemon(folder)
    try:
        expected: dict[int, int] = {}
        for version in range(4):
            started = partial(_started_after, daemon, len(daemon.lines("task.started")))
            keys = range(version, 80_000, version + 1)
            table.write(pl.DataFrame({"id": keys, "v": [version] * len(keys)}))
            expected |= dict.fromkeys(keys, version)
            wait_for(started)
            for pid in children(daemon.process.pid):
                os.kill(pid, signal.SIGKILL)
            wait_for(lambda: rows(table) == expected)  # noqa: B023
        code = daemon.stop()
    finally:
        daemon.kill()

    outcomes = [line["outcome"] for line in daemon.lines("task.finished")]
    assert "crashed" in outcomes
    assert (code, rows(table)) == (0, expected)
    assert told(table) == expected
    assert orphans(table) == set()
    with closing(Journal(folder / "desilt-state.db")) as journal:
        assert journal.open_tasks() == ()


def _started_after(daemon: Daemon, count: int) -> bool:
    return len(daemon.lines("task.started")) > count


def told(table: Table) -> dict[int, int]:
    """What the changes make, one after the other; each of them fits."""
    made: dict[int, int] = {}
    for part in table.changes(0, table.handle.snapshots.latest_id() or 0):
        for kind, (key, value) in zip(part.kinds, part.rows.rows(), strict=True):
            if kind in ("-U", "-D"):
                assert made.pop(key) == value
            else:
                assert key not in made
                made[key] = value
    return made
