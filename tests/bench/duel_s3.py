"""Writers and daemons on one table in an object store: `make duel-s3`.

    jdbc        one Java writer and two daemons, all under the lock of a JDBC catalog (PostgreSQL)
    filesystem  two desilt writers and two daemons, who have nothing but conditional puts
    pypaimon    one pypaimon writer, which renames, and one daemon, which puts back what it loses

Each writer commits about 200 rows a second. Afterwards the table's own metadata files say how it
went (`audit.py`), and the rows that Java reads (in the second one also desilt) are held against the
writers' logs. Exit code 0 when everything was reached.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

import polars as pl
import yaml
from bench.audit import History
from bench.dataset import ROOT
from bench.duel import DRAIN_SECONDS_MAX, shortfalls
from support.catalogs import jdbc_options
from support.peers import Peer, new_java_peer, pypaimon_peer
from support.postgres import postgres
from support.rgw import Rgw, rgw

from desilt.table.catalog import Catalog
from desilt.table.storage import Storage, StoreOptions

HOME = ROOT / "duel-s3"
READY_SECONDS_MAX = 60
TABLE = "duel.events"
COLUMNS = {"id": "BIGINT NOT NULL", "name": "STRING", "amount": "BIGINT"}
OPTIONS = {"bucket": "1", "write-only": "true"}
Kind = Literal["jdbc", "filesystem", "pypaimon"]
Row = list[Any]


@dataclass
class Log:
    """What one writer sent: the last row of each key that was acknowledged, or may have been."""

    rows: dict[int, Row] = field(default_factory=dict[int, Row])
    commits: int = 0
    errors: list[str] = field(default_factory=list[str])


@dataclass(frozen=True, slots=True)
class World:
    """The servers and the places of one duel. ``lake``: S3 options of the library."""

    server: Rgw
    bucket: str
    lake: Mapping[str, str]
    catalog: Mapping[str, Any]

    @property
    def store(self) -> StoreOptions:
        return StoreOptions(
            endpoint=self.server.endpoint,
            region=self.server.region,
            access_key=self.server.access_key,
            secret_key=self.server.secret_key,
        )

    @property
    def warehouse(self) -> str:
        return self.lake["warehouse"]

    @property
    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            **self.server.environment(),
            "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required",
        }


def duel(kind: Kind, seconds: int) -> dict[str, Any]:
    """Run it; what is returned is what was found."""
    shutil.rmtree(HOME, ignore_errors=True)
    HOME.mkdir(parents=True)
    with ExitStack() as stack:
        world = stack.enter_context(_world(kind))
        java = stack.enter_context(new_java_peer()).in_catalog(world.lake)
        _table(kind, world, java)
        daemons = [
            stack.enter_context(_daemon(world, number))
            for number in range(1 if kind == "pypaimon" else 2)
        ]
        logs = _write(kind, world, java, seconds)
        time.sleep(10)  # what was written last is compacted and, if need be, put back
        codes = [_ended(daemon) for daemon in daemons]
        read = {int(str(row[0])): list(row) for row in java.read(TABLE)["rows"]}
        sent = {key: row for log in logs for key, row in log.rows.items()}
        ours = Catalog(world.warehouse, store=world.store).table(TABLE).scan().collect().sort("id")
        audit = History(_copied(world)).audit()
    return {
        **asdict(audit),
        "kind": kind,
        "writer_commits": sum(log.commits for log in logs),
        "writer_errors": [error for log in logs for error in log.errors],
        "rows_sent": len(sent),
        "rows_read": len(read),
        "rows_equal": _equal(read, sent) and ours.rows() == [tuple(sent[k]) for k in sorted(sent)],
        "daemon_exit_code": max(codes),
    }


def _equal(read: Mapping[int, Row], sent: Mapping[int, Row]) -> bool:
    if read.keys() != sent.keys():
        return False
    return all([int(str(r[0])), r[1], int(str(r[2]))] == sent[key] for key, r in read.items())


@contextmanager
def _world(kind: Kind) -> Generator[World]:
    with ExitStack() as stack:
        server = stack.enter_context(rgw())
        bucket = server.fresh_bucket("duel")
        lake = server.paimon_options(bucket)
        catalog: dict[str, Any] = {"name": "lake", "warehouse": lake["warehouse"]}
        if kind == "jdbc":
            base = stack.enter_context(postgres())
            database = base.fresh_database("duel")
            lake = jdbc_options(lake, base.jdbc(database))
            catalog |= {"kind": "jdbc", "uri": base.jdbc(database)}
        yield World(server, bucket, lake, catalog)


def _table(kind: Kind, world: World, java: Peer) -> None:
    if kind == "jdbc":
        java.create_table(
            "", "events", COLUMNS, database="duel", primary_keys=["id"], options=OPTIONS
        )
        return
    catalog = Catalog(world.warehouse, store=world.store)
    catalog.create_table(TABLE, COLUMNS, primary_key=["id"], options={"bucket": "1"})


@contextmanager
def _daemon(world: World, number: int) -> Generator[subprocess.Popen[bytes]]:
    port = _free_port()
    config = {
        "catalogs": [dict(world.catalog)],
        "policies": [{"name": "all", "match": "*", "compaction": {"kind": "universal"}}],
        "scheduler": {"scan-interval": "1s"},
        "executor": {"workers": 1},
        "state": f"sqlite:///{HOME}/state-{number}.db",
        "server": {"listen": f"127.0.0.1:{port}"},
    }
    file = HOME / f"desilt-{number}.yaml"
    file.write_text(yaml.safe_dump(config), encoding="utf-8")
    with (HOME / f"daemon-{number}.log").open("wb") as log:
        process = subprocess.Popen(
            (sys.executable, "-P", "-m", "desilt.daemon", "run", "-c", str(file)),
            stdout=log,
            stderr=log,
            env=world.environment,
        )
    try:
        _wait_until_ready(f"http://127.0.0.1:{port}/readyz")
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_ready(url: str) -> None:
    """Until the daemon has looked at the table once."""
    deadline = time.monotonic() + READY_SECONDS_MAX
    while time.monotonic() < deadline:
        with suppress(OSError), urllib.request.urlopen(url, timeout=5) as answer:
            if answer.status == 200:
                return
        time.sleep(0.2)
    raise TimeoutError(url)


def _ended(daemon: subprocess.Popen[bytes]) -> int:
    daemon.send_signal(signal.SIGTERM)
    return daemon.wait(DRAIN_SECONDS_MAX)


# --- writers ------------------------------------------------------------------------------------


def _write(kind: Kind, world: World, java: Peer, seconds: int) -> list[Log]:
    match kind:
        case "jdbc":
            return [_stream(lambda rows: java.insert(TABLE, rows), 0, seconds)]
        case "pypaimon":
            with _pypaimon(world) as peer:
                return [_stream(lambda rows: peer.insert(TABLE, rows), 0, seconds)]
        case "filesystem":
            writers = [_desilt(world) for _ in range(2)]
            with ThreadPoolExecutor(len(writers)) as pool:
                coming = [
                    pool.submit(_stream, write, number, seconds)
                    for number, write in enumerate(writers)
                ]
                return [log.result() for log in coming]


@contextmanager
def _pypaimon(world: World) -> Generator[Peer]:
    os.environ["AWS_REQUEST_CHECKSUM_CALCULATION"] = "when_required"
    with pypaimon_peer() as peer:
        yield peer.in_catalog(world.lake)


def _desilt(world: World) -> Callable[[Sequence[Row]], object]:
    table = Catalog(world.warehouse, store=world.store).table(TABLE)

    def write(rows: Sequence[Row]) -> object:
        frame = pl.DataFrame(
            rows, schema={"id": pl.Int64, "name": pl.String, "amount": pl.Int64}, orient="row"
        )
        return table.write(frame)

    return write


def _stream(write: Callable[[list[Row]], object], writer: int, seconds: int) -> Log:
    """One commit a second: new keys and updates of old ones; keys of each writer are its own."""
    log, chance, started = Log(), random.Random(writer), time.monotonic()
    for number in range(seconds):
        time.sleep(max(0.0, started + number - time.monotonic()))
        if time.monotonic() - started > seconds:
            return log
        new = [2 * key + writer for key in range(number * 100, number * 100 + 100)]
        old = chance.sample(sorted(log.rows), min(100, len(log.rows)))
        rows: list[Row] = [
            [key, f"naïve-{chance.random():.9f}", chance.randrange(10**9)] for key in (*old, *new)
        ]
        try:
            write(rows)
            log.commits += 1
        except Exception as error:  # noqa: BLE001  every error of a writer is a finding
            log.errors.append(f"{type(error).__name__}: {error}")
        log.rows.update({row[0]: row for row in rows})
    return log


# --- afterwards ---------------------------------------------------------------------------------


def _copied(world: World) -> Path:
    """The table's metadata on the local disk."""
    storage: Storage = Catalog(world.warehouse, store=world.store).storage
    root, here = f"{world.warehouse}/duel.db/events", HOME / "copy"
    lock = threading.Lock()

    def copy(below: str) -> None:
        file = here / below
        with lock:
            file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(storage.read(f"{root}/{below}"))

    with ThreadPoolExecutor(32) as pool:
        for folder in ("snapshot", "manifest"):
            names = [f"{folder}/{below}" for below, _ in storage.walk(f"{root}/{folder}")]
            list(pool.map(copy, names))
    return here


def main() -> int:
    """What ``make duel-s3`` runs."""
    parser = argparse.ArgumentParser(description="writers and daemons on an object store")
    parser.add_argument("--kind", choices=("jdbc", "filesystem", "pypaimon"))
    parser.add_argument("--seconds", type=int, default=300)
    given = parser.parse_args()
    kinds = [given.kind] if given.kind else ["jdbc", "filesystem", "pypaimon"]
    code = 0
    for kind in kinds:
        found = duel(cast(Kind, kind), given.seconds)
        print(json.dumps(found, indent=2))
        missed = shortfalls(found, given.seconds)
        print("reached everything" if not missed else "NOT reached: " + "; ".join(missed))
        code = code or (1 if missed else 0)
    return code


if __name__ == "__main__":
    sys.exit(main())
