"""The prices in docs/operations.md are those of the requests that looks really make."""

from __future__ import annotations

import re
from collections import Counter
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from support.builders import ManualClock, keyed_table, upserts, world
from support.faulty import FaultyStorage
from support.fleet_cost import PerLook, dollars_a_month, dollars_with_idle, lists_per_discovery

from desilt.daemon.config_catalog import CatalogConfig
from desilt.daemon.engine import Rewriter, TableEngine
from desilt.table.catalogs.filesystem import FilesystemCatalog
from desilt.table.handle import TableHandle
from desilt.table.observe import TableObserver

ROOT = Path(__file__).parents[3]
OPERATIONS = {"read": "GET", "exists": "HEAD", "list": "LIST"}
INTERVALS = {"5s": 5.0, "1m": 60.0, "5m": 300.0}


def section() -> str:
    text = (ROOT / "docs" / "operations.md").read_text()
    return text.partition("## What a fleet costs on S3")[2].partition("\n## ")[0]


@cache
def counted(scan_seconds: float, looks: int = 240) -> PerLook:
    """What the store is asked by that many looks at an unchanged table, a look on average."""
    storage, clock = FaultyStorage(), ManualClock()
    with TemporaryDirectory() as folder:
        table = keyed_table(folder)
        table.write(upserts(5, "a"))
        observer = TableObserver(TableHandle("db.t", table.path, storage, world(clock)))
        while observer.refresh() or len(storage.calls) < 100:
            clock.advance(scan_seconds)
        before = len(storage.calls)
        for _ in range(looks):
            clock.advance(scan_seconds)
            assert not observer.refresh()
        asked = Counter(OPERATIONS[call.method] for call in storage.calls[before:])
    return PerLook({operation: number / looks for operation, number in asked.items()})


@pytest.mark.parametrize(("interval", "between"), [("5s", 8), ("1m", 8), ("5m", 2)])
def test_a_look_asks_what_the_formula_says(interval: str, between: int) -> None:
    look = counted(INTERVALS[interval])

    assert look.requests == {"HEAD": 1 + 1 / between, "GET": 2 / between}
    assert look.total == 1 + 3 / between


def test_a_new_snapshot_costs_what_the_page_says(tmp_path: Path) -> None:
    storage = FaultyStorage()
    table = keyed_table(tmp_path)
    table.write(upserts(5, "a"))
    observer = TableObserver(TableHandle("db.t", table.path, storage, world()))
    for _ in range(3):
        observer.refresh()
    table.write(upserts(5, "b"))
    storage.calls.clear()

    assert observer.refresh()
    asked = [call for call in storage.calls if "/manifest/" not in call.path]
    # One HEAD is the look's own, as every tick.
    assert Counter(OPERATIONS[c.method] for c in asked) == {"GET": 4, "HEAD": 1, "LIST": 1}


@pytest.mark.parametrize("tables", [100, 1_000, 10_000])
def test_price_table_is_right(tables: int) -> None:
    (row,) = re.findall(rf"^\| {tables:,} \| (.+) \|$", section(), re.MULTILINE)

    expected = [f"{dollars_a_month(counted(s), tables, s):.2f}" for s in INTERVALS.values()]
    assert row.split(" | ") == expected


def test_price_with_idle_tables_is_right() -> None:
    dollars = dollars_with_idle(
        counted(5.0), counted(450.0), awake=1_000, idle=9_000, scan_seconds=5.0, idle_seconds=600.0
    )

    assert f"the same month costs {dollars:.2f} $" in " ".join(section().split())


@pytest.mark.parametrize(("tables", "databases"), [(0, 0), (3, 1), (7, 3)])
def test_discovery_lists_the_warehouse_and_its_databases_once_all_are_known(
    tmp_path: Path, tables: int, databases: int
) -> None:
    """A listing here is one call; a store answers it by pages of a thousand."""
    (tmp_path / "seed").mkdir()
    seed = keyed_table(tmp_path / "seed").path
    for number in range(tables):
        place = tmp_path / "wh" / f"d{number % databases}.db" / f"t{number}" / "schema"
        place.mkdir(parents=True)
        (place / "schema-0").write_bytes((Path(seed) / "schema" / "schema-0").read_bytes())
    (tmp_path / "wh").mkdir(exist_ok=True)
    storage = FaultyStorage()
    catalog = FilesystemCatalog(str(tmp_path / "wh"), storage=storage)
    names = catalog.tables()
    assert len(names) == tables
    first = Counter(call.method for call in storage.calls)["list"]

    storage.calls.clear()
    assert catalog.tables(names) == names

    lists = Counter(call.method for call in storage.calls)["list"]
    assert lists == lists_per_discovery(tables, databases)
    assert first == lists + tables
    assert catalog.tables([*names[1:], "d0.gone"]) == names, "what is not there is not believed"


def test_engine_hands_on_what_is_known(tmp_path: Path) -> None:
    keyed_table(tmp_path)
    rewriter: Rewriter = None  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    engine = TableEngine(rewriter)
    (tmp_path / "db.db" / "no-table").mkdir()
    catalog = CatalogConfig(name="lake", warehouse=str(tmp_path))

    assert engine.tables(catalog) == ("db.t",)
    assert engine.tables(catalog, {"db.no-table"}) == ("db.no-table", "db.t")
