"""Twenty committers on one table of an object store: what was acknowledged is there, once.

Also with processes that are killed at some moment of their commits.
"""

from __future__ import annotations

import random
import time
from pathlib import Path

import polars as pl
import pytest
from support.committers import Commit, Crew, Log, order_of
from support.faulty import FaultyStorage
from support.s3_stores import impatient
from support.servers import Rgw

from desilt.table.catalog import Catalog, open_table
from desilt.table.compact import sweep
from desilt.table.metadata import MetadataReader
from desilt.table.snapshot import Snapshot
from desilt.table.storage import StoreOptions
from desilt.table.storage.s3 import S3Storage
from desilt.table.table import Table

SECONDS = 10.0
SEED = 1
COLUMNS = {"n": "INT", "v": "STRING"}


def patient(server: Rgw) -> StoreOptions:
    return impatient(server, attempts=8)


@pytest.fixture
def table(s3_server: Rgw, bucket: str) -> Table:
    catalog = Catalog(f"s3://{bucket}/wh", storage=S3Storage(bucket, patient(s3_server)))
    return catalog.create_table("db.t", COLUMNS)


def reader_of(table: Table, server: Rgw) -> Table:
    """The table through a store of its own, which remembers nothing."""
    return open_table(
        table.path, storage=S3Storage(table.path.split("/")[2], impatient(server, attempts=8))
    )


def check(table: Table, server: Rgw, log: Log) -> list[Commit]:
    """Two readers agree; each acknowledged commit is one snapshot, the one that was named."""
    one, two = (order_of(reader_of(table, server)) for _ in range(2))
    assert [s.content for _, s in one] == [s.content for _, s in two]
    order = [commit for commit, _ in one]
    assert len(set(order)) == len(order), "somebody's commit is there twice"
    assert [s.id for _, s in one] == list(range(1, len(one) + 1))
    where = {commit: snapshot.id for commit, snapshot in one}
    assert {c: where.get(c) for c in log.acknowledged} == log.acknowledged
    assert all(s.delta_record_count == 1 for _, s in one)
    _check_rows(reader_of(table, server), one)
    return order


def _check_rows(table: Table, order: list[tuple[Commit, Snapshot]]) -> None:
    """All rows of all snapshots, and what each of some snapshots added."""
    rows = table.scan().collect().select("v", "n").rows()
    assert sorted(rows) == sorted(commit for commit, _ in order)
    for at in random.Random(len(order)).sample(range(len(order)), 5):
        commit, snapshot = order[at]
        (change,) = table.changes(snapshot.id - 1, snapshot.id)
        assert change.rows.select(pl.col("v"), pl.col("n")).rows() == [commit]


def test_twenty_committers_are_all_served(
    table: Table, s3_server: Rgw, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    crew = Crew(table.path, patient(s3_server), tmp_path)
    processes = crew.start()
    crew.begin()
    time.sleep(SECONDS)
    crew.stop()
    acknowledged = len(crew.log().acknowledged)
    for process in processes:
        process.join(120)
    log = crew.log()
    with capsys.disabled():
        print(f"\n{acknowledged / SECONDS:.1f} commits/s, {log.share:.1%} acknowledged")

    assert [p.exitcode for p in processes] == [0] * len(processes)
    assert log.unknown == 0
    assert log.share >= 0.95
    assert acknowledged / SECONDS >= 2
    assert any(log.races), "nobody was in anybody's way"
    assert set(check(table, s3_server, log)) == set(log.acknowledged)


def test_what_dead_committers_were_told_is_there(
    table: Table, s3_server: Rgw, tmp_path: Path
) -> None:
    """Half of the processes are killed, each at a moment of its own; the others go on."""
    chance = random.Random(SEED)
    crew = Crew(table.path, patient(s3_server), tmp_path)
    processes = crew.start()
    crew.begin()
    begun = time.monotonic()
    for process in chance.sample(processes, 2):
        time.sleep(chance.uniform(1.0, 2.5))
        print(f"{SEED=}, killed after {time.monotonic() - begun:.3f} s")
        process.kill()
    time.sleep(2)
    crew.stop()
    for process in processes:
        process.join(120)
    log = crew.log()

    assert sorted(p.exitcode or 0 for p in processes) == [-9, -9, 0, 0]
    order = check(table, s3_server, log)
    lost = log.begun - len(log.acknowledged) - log.refused
    assert 0 <= len(order) - len(log.acknowledged) <= lost, "more than was begun"
    rows = pl.DataFrame({"n": [0], "v": ["after"]}, schema={"n": pl.Int32, "v": pl.String})
    assert table.write(rows) is not None, "the table takes commits as before"
    _sweep(table)
    reader_of(table, s3_server).compact("full")
    assert sorted(reader_of(table, s3_server).scan().collect().select("v", "n").rows()) == sorted(
        [*order, ("after", 0)]
    )


def _sweep(table: Table) -> None:
    """What the dead left: a sweep of each task that has files removes none that is live."""
    seen = FaultyStorage(inner=table.handle.storage)
    data = [below for below, _ in seen.walk(table.path) if "/data-" in f"/{below}"]
    live = {str(name) for name in _live(table)}
    dead = [below for below in data if below.rpartition("/")[2] not in live]
    for below in dead:
        task = below.rpartition("/")[2].removeprefix("data-")[:36]
        assert not sweep(table.handle, task, "", 0).committed
    left = [b for b, _ in table.handle.storage.walk(table.path) if "/data-" in f"/{b}"]
    assert {below.rpartition("/")[2] for below in left} == live


def _live(table: Table) -> list[str]:
    snapshot = table.handle.snapshots.latest()
    assert snapshot is not None
    return list(MetadataReader(table.handle).live(snapshot)["name"])
