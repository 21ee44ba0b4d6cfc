"""A hundred real tables in a real object store: what a tick asks of it, table by table."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from support.daemon_fakes import START, World
from support.servers import Rgw

import desilt
from desilt.daemon.config_catalog import CatalogConfig, S3Config
from desilt.daemon.engine import Rewriter, TableEngine
from desilt.daemon.journal import Journal
from desilt.daemon.listen import FleetLooked, TableForgotten, TableFound, TableHalted, TickFailed
from desilt.daemon.observe import Pace
from desilt.table import observe
from desilt.table.observe import DOUBT_LOOKS

TABLES = 100
SELDOM = Pace(discover_seconds=1000.0)


class Lake:
    """A bucket full of copies of one small table."""

    def __init__(self, server: Rgw, bucket: str, seed: Path) -> None:
        self.bucket = bucket
        self.client: Any = server.client()
        made = desilt.Catalog(str(seed)).create_table(
            "db.t",
            {"k": "BIGINT NOT NULL", "v": "STRING"},
            primary_key=["k"],
            options={"bucket": "1"},
        )
        for number in range(2):
            made.write(pl.DataFrame({"k": [1, 2 + number], "v": ["a", "b"]}))
        root = Path(made.path)
        files = (path for path in root.rglob("*") if path.is_file())
        self.files = {path.relative_to(root).as_posix(): path.read_bytes() for path in files}

    def add(self, *names: str) -> None:
        with ThreadPoolExecutor(16) as pool:
            for name in names:
                for file, data in self.files.items():
                    pool.submit(self.put, f"{name}/{file}", data)

    def put(self, key: str, data: bytes) -> None:
        self.client.put_object(Bucket=self.bucket, Key=f"wh/rec.db/{key}", Body=data)

    def drop(self, name: str) -> None:
        for file in self.files:
            self.client.delete_object(Bucket=self.bucket, Key=f"wh/rec.db/{name}/{file}")


@pytest.fixture
def lake(s3_server: Rgw, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lake:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3_server.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3_server.secret_key)
    lake = Lake(s3_server, bucket, tmp_path / "seed")
    lake.add(*(f"t{number:03d}" for number in range(TABLES)))
    return lake


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    made = Journal(tmp_path / "state.db")
    yield made
    made.close()


def watching(lake: Lake, server: Rgw, journal: Journal, pace: Pace) -> World:
    """A daemon on the lake that has looked twice: from then on it knows what is quiet."""
    rewriter: Rewriter = None  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    s3 = S3Config(endpoint=server.endpoint, region=server.region)
    catalog = CatalogConfig(name="lake", warehouse=f"s3://{lake.bucket}/wh", s3=s3)
    world = World(
        journal, catalogs=(catalog,), engine=TableEngine(rewriter), tick_seconds=300.0, pace=pace
    )
    world.clock.advance((datetime.now(UTC) - START).total_seconds() + 60)
    for _ in range(2):
        world.app.tick()
    assert len(world.said.of(TableFound)) == TABLES
    return world


def asked(world: World, ticks: int = 1) -> Counter[str]:
    """What so many ticks ask of the store."""
    found: Counter[str] = Counter()
    for _ in range(ticks):
        world.clock.advance(5.0)
        world.app.tick()
        told = world.said.of(FleetLooked)[-1]
        assert isinstance(told, FleetLooked)
        assert (told.late, told.left) == (0, 0)
        found.update({operation: n for operation, n in told.requests.items() if n})
    assert world.said.of(TickFailed) == []
    return found


def test_requests_of_an_unchanged_tick_are_bounded(
    lake: Lake, s3_server: Rgw, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = watching(lake, s3_server, journal, SELDOM)
    # Real time does not pass here, or too slowly.
    monkeypatch.setattr(observe, "DOUBT_SECONDS", 0.0)
    asked(world, DOUBT_LOOKS)

    each = [asked(world) for _ in range(DOUBT_LOOKS)]

    assert sum(each, Counter[str]()) == {
        "HEAD": TABLES * (DOUBT_LOOKS + 1),
        "GET": TABLES * 2,
    }
    assert max(sum(one.values()) for one in each) <= 2 * TABLES
    world.clock.advance(SELDOM.discover_seconds)
    assert asked(world)["LIST"] == 2, "the warehouse, and one page of its database"


def test_what_breaks_goes_and_comes_costs_the_others_nothing(
    lake: Lake, s3_server: Rgw, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = watching(lake, s3_server, journal, SELDOM)
    first = asked(world)
    assert first == {"HEAD": TABLES}

    lake.put("t007/snapshot/snapshot-3", b"{broken")
    lake.drop("t011")
    monkeypatch.setattr(observe, "DOUBT_SECONDS", 0.0)
    asked(world, DOUBT_LOOKS)
    assert [e.table for e in world.said.of(TableHalted) if isinstance(e, TableHalted)] == [
        "rec.t007"
    ]
    gone = [e.table for e in world.said.of(TableForgotten) if isinstance(e, TableForgotten)]
    assert gone == ["rec.t011"], "noticed by its own look"
    monkeypatch.setattr(observe, "DOUBT_SECONDS", 1000.0)
    assert asked(world) == {"HEAD": TABLES - 2}

    lake.add("new")
    lake.put("no-table/readme.txt", b"hello")
    world.clock.advance(SELDOM.discover_seconds)
    found = asked(world)
    assert len(world.said.of(TableFound)) == TABLES + 1
    # The two listings; two folders looked into; the new table's schemas, opened and looked at.
    assert found["LIST"] == 2 + 2 + 2
    asked(world)  # right after something new the hint is read
    assert asked(world) == {"HEAD": TABLES - 2 + 1}


def test_first_looks_cost_a_few_requests_each(lake: Lake, s3_server: Rgw, journal: Journal) -> None:
    began = time.monotonic()
    world = watching(lake, s3_server, journal, SELDOM)
    print(f"seconds={time.monotonic() - began:.1f}")

    told = world.said.of(FleetLooked)[0]
    assert isinstance(told, FleetLooked)
    each = {
        operation: (n - 2 * (operation == "LIST")) / TABLES
        for operation, n in told.requests.items()
    }
    assert {o: n for o, n in each.items() if n} == {"LIST": 3.0, "GET": 12.0, "HEAD": 1.0}
