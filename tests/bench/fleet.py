"""Ten thousand small tables on a local disk: what the daemon needs to watch them.

The rival is a plain listing of every table's snapshots in the same run, without anything made of
it. Nothing is compacted: the tables are not due.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import polars as pl

import desilt
from desilt.daemon.app import App, AppOptions, AppParts
from desilt.daemon.clock import SystemClock
from desilt.daemon.config_catalog import CatalogConfig
from desilt.daemon.engine import Rewriter, TableEngine
from desilt.daemon.journal import Journal
from desilt.daemon.listen import Event
from desilt.daemon.observe import Pace
from desilt.daemon.plan import Rule
from desilt.policies import UniversalPolicy

TABLES = 10_000
NAMES = ("fleet discover", "fleet first looks", "fleet tick")
# A first look at each takes minutes; no tick may end before.
TICK_SECONDS = 3600.0

Answer = dict[str, float]


def warehouse(folder: Path, tables: int) -> Path:
    """One table made and filled by two commits; all others are hard links to its files."""
    made = desilt.Catalog(str(folder)).create_table(
        "db.t0",
        {"k": "BIGINT NOT NULL", "v": "STRING"},
        primary_key=["k"],
        options={"bucket": "1"},
    )
    for number in range(2):
        made.write(pl.DataFrame({"k": [1, 2 + number], "v": ["a", "b"]}))
    for number in range(1, tables):
        shutil.copytree(made.path, folder / "db.db" / f"t{number}", copy_function=os.link)
    return folder


def listing(folder: Path) -> int:
    """The names of all snapshots."""
    return sum(len(os.listdir(f"{table.path}/snapshot")) for table in os.scandir(folder / "db.db"))


def timed(work: Callable[[], object]) -> Answer:
    """Its seconds, and what the process holds afterwards."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    answer = {"seconds": time.perf_counter() - wall, "cpu_seconds": time.process_time() - cpu}
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return {**answer, "peak_rss_bytes": float(pages * os.sysconf("SC_PAGE_SIZE"))}


@contextmanager
def watching(folder: Path) -> Generator[App]:
    """The daemon without workers and server."""
    journal = Journal(folder.parent / "state.db")
    rewriter: Rewriter = None  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    with ThreadPoolExecutor(1) as pool, ThreadPoolExecutor(1) as expiry_pool:
        parts = AppParts(
            TableEngine(rewriter),
            (CatalogConfig(name="lake", warehouse=str(folder)),),
            (Rule("all", "*", UniversalPolicy()),),
            journal,
            SystemClock(),
            _nobody,
            pool,
            expiry_pool,
        )
        pace = Pace(discover_seconds=TICK_SECONDS)
        yield App(parts, AppOptions(1, 2**30, TICK_SECONDS, pace=pace))
    journal.close()


def _nobody(event: Event, /) -> None:
    return


@cache
def runs(work: Path, tables: int, repeats: int) -> dict[str, tuple[list[Answer], list[Answer]]]:
    """Ours and the rival's answers by name: a start happens once, ticks in turns with listings."""
    place = work / "fleet"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    folder = warehouse(place / "wh", tables)
    with watching(folder) as app:
        fleet = app._fleet  # pyright: ignore[reportPrivateUsage]
        discover = [timed(fleet.discover)]
        first = [timed(app.tick)]
        app.tick()  # right after something new each table is looked at twice as closely
        ticks, lists = list[Answer](), list[Answer]()
        for _ in range(repeats):
            ticks.append(timed(app.tick))
            lists.append(timed(lambda: listing(folder)))
    return dict(zip(NAMES, ((discover, lists), (first, lists), (ticks, lists)), strict=True))
