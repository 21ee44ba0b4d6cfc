"""A warehouse of every kind under live writers, kept by the real daemon, followed all the while.

`play` does it once and returns what can be looked at afterwards; it asserts nothing but that it
comes to an end.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from desilt.table.catalog import Catalog, open_table
from desilt.table.consumers import ConsumerStore
from desilt.table.observe import TableObserver

from .daemon_process import Daemon, children, rss_bytes, wait_for
from .follower import Follower
from .lake import CHANGELOGS, PARKED, Kept, lake, made
from .peer_streams import SnapshotChanges
from .peers import Peer
from .players import OfPeer, Player

__all__ = ["BROKEN", "REFUSED", "RETAIN_MAX", "SPOILED", "Played", "play"]

ROUNDS, ROUND_SECONDS = 7, 2.0
RETAIN_MAX = 5
BROKEN, REFUSED, SPOILED = "default.broken", "default.refused", "default.spoiled"
CONFIG = {
    "catalogs": [{"name": "lake", "warehouse": "warehouse"}],
    "policies": [
        {
            "name": "all",
            "match": "*",
            "compaction": {"kind": "universal"},
            "snapshots": {"retain-min": 2, "retain-max": RETAIN_MAX, "retain-age": "1s"},
        }
    ],
    "scheduler": {
        "scan-interval": "300ms",
        "expire-interval": "1s",
        "budgets": {"concurrent": 2, "memory": "256MiB"},
    },
    "server": {"listen": "127.0.0.1:0"},
    "verify": "full",
}


@dataclass
class Played:
    """What is left: the tables, what followers were told, what the daemon said."""

    tables: Mapping[str, Kept]
    daemon: Daemon
    writer_errors: list[str]
    told: Mapping[str, Sequence[SnapshotChanges]] = field(default_factory=dict[str, Any])
    metrics: dict[str, Any] = field(default_factory=dict[str, Any])
    exit_code: int | None = None
    rss_bytes_max: dict[str, int] = field(default_factory=dict[str, int])
    seconds: dict[str, float] = field(default_factory=dict[str, float])


def play(home: Path, javas: tuple[Peer, Peer], players: Mapping[str, Player]) -> Played:
    """Everything, from an empty folder to a drained daemon.

    Args:
        javas: both write half of what Java writes.
        players: who writes, by the names that tables give their writers; Java is in ``javas``.
    """
    warehouse = home / "warehouse"
    tables = [made(table, javas[0], warehouse) for table in lake()]
    for table in tables:
        if table.name in PARKED:
            ConsumerStore(open_table(str(table.path)).handle).reset("parked", 1)
    _broken(warehouse)
    _spoiled(warehouse)
    _refused(warehouse, javas[0])
    (home / "desilt.yaml").write_text(json.dumps(CONFIG))
    daemon = Daemon(home)
    played = Played({table.name: table for table in tables}, daemon, [])
    try:
        with _watched(played):
            _live(played, javas, players)
        played.exit_code = daemon.stop()
    finally:
        daemon.kill()
    return played


def _live(played: Played, javas: tuple[Peer, Peer], players: Mapping[str, Player]) -> None:
    started = time.monotonic()
    tables = list(played.tables.values())
    followers = {
        t.name: Follower(t.shape, t.path, "follower") for t in tables if t.name in CHANGELOGS
    }
    try:
        _written(played, javas, players)
        played.seconds["writing"] = time.monotonic() - started
        if not played.writer_errors:
            wait_for(lambda: _kept(played), 120)
        played.seconds["draining"] = time.monotonic() - started - played.seconds["writing"]
    finally:
        for follower in followers.values():
            follower.stop()
    played.told = {name: follower.end() for name, follower in followers.items()}
    played.metrics = {"text": played.daemon.get("/metrics"), "tasks": played.daemon.get("/tasks")}


def _written(played: Played, javas: tuple[Peer, Peer], players: Mapping[str, Player]) -> None:
    """All that is written, by all writers side by side."""
    tables = list(played.tables.values())
    written = [t for t in tables if t.writer == "java"]
    streams = [
        (OfPeer(javas[0]), written[::2]),
        (OfPeer(javas[1]), written[1::2]),
        *((player, [t for t in tables if t.writer == name]) for name, player in players.items()),
    ]
    threads = [
        threading.Thread(target=_write, args=(*stream, played.writer_errors), daemon=True)
        for stream in streams
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _write(player: Player, tables: Sequence[Kept], errors: list[str]) -> None:
    """Commits to all tables in turn, again and again, and leaves time between."""
    started = time.monotonic()
    for done in range(ROUNDS):
        time.sleep(max(0.0, started + done * ROUND_SECONDS - time.monotonic()))
        for table in tables:
            try:
                table.step(player)
            except Exception as error:  # noqa: BLE001  told in the end
                errors.append(f"{table.name}: {error}")
                return


def _kept(played: Played) -> bool:
    """Nothing is due or runs, every change was told, and snapshots are as many as they may be."""
    status = json.loads(played.daemon.get("/tasks"))
    if status["running"] or status["waiting"]:
        return False
    for table in played.tables.values():
        if table.name not in PARKED and len(snapshot_ids(table)) > RETAIN_MAX:
            return False
        observer = TableObserver(open_table(str(table.path)).handle)
        observer.refresh()
        health = observer.health(time.time_ns() // 1_000_000)
        untold = pl.col("full_commits").is_not_null() & (pl.col("commits_since_full") > 0)
        hidden = pl.col("up_level0") & (pl.col("level0_files") > 0)
        packable = pl.col("packable_files") > 0
        if health.filter(untold | hidden | packable).height:
            return False
    return True


def snapshot_ids(table: Kept) -> list[int]:
    """Those that are kept, rising."""
    names = (path.name for path in (table.path / "snapshot").glob("snapshot-*"))
    return sorted(int(name.removeprefix("snapshot-")) for name in names)


@contextmanager
def _watched(played: Played) -> Generator[None]:
    """Notes the most memory that daemon and workers hold."""
    done = threading.Event()

    def look() -> None:
        pid, most = played.daemon.process.pid, played.rss_bytes_max
        while not done.wait(0.2):
            try:
                workers = [rss_bytes(child) for child in children(pid)]
                most["daemon"] = max(most.get("daemon", 0), rss_bytes(pid))
                most["worker"] = max(most.get("worker", 0), *workers, 0)
            except OSError:
                continue  # a worker that ends just now

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _broken(warehouse: Path) -> None:
    """A table that would be due, were its newest manifest not garbage."""
    table = Catalog(str(warehouse)).create_table(
        BROKEN, {"k": pl.Int64}, primary_key=["k"], options={"bucket": "1"}
    )
    for number in range(6):
        table.write(pl.DataFrame({"k": [number]}))
    manifests = Path(table.path, "manifest").glob("manifest-*")
    newest = max(
        (p for p in manifests if not p.name.startswith("manifest-list")),
        key=lambda p: p.stat().st_mtime_ns,
    )
    newest.write_bytes(b"no manifest")


def _spoiled(warehouse: Path) -> None:
    """Two buckets that are due; a row of p=1 has no key."""
    table = Catalog(str(warehouse)).create_table(
        SPOILED,
        {"p": pl.Int32, "k": pl.Int32},
        primary_key=["p", "k"],
        partition_by=["p"],
        options={"bucket": "1"},
    )
    schema = {"p": pl.Int32, "k": pl.Int32}
    for number in range(6):
        table.write(pl.DataFrame({"p": [0, 1], "k": [number] * 2}, schema=schema))
    file = min(Path(table.path, "p=1", "bucket-0").iterdir())
    good = pq.read_table(file)
    columns = [
        pa.nulls(good.num_rows, column.type) if name.startswith("_KEY_") else column
        for name, column in zip(good.column_names, good.columns, strict=True)
    ]
    pq.write_table(pa.table(columns, names=good.column_names), file)


def _refused(warehouse: Path, java: Peer) -> None:
    """A table of a kind that is not kept: dynamic buckets."""
    path = java.create_table(
        warehouse, "refused", {"k": "INT NOT NULL"}, primary_keys=["k"], options={"bucket": "-1"}
    )
    for number in range(6):
        java.write(path, [["+I", number]], bucket=0)
