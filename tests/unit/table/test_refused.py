"""What desilt does not know it refuses by name, at every entry, and touches nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import polars as pl
import pytest
from support.builders import catalog
from support.faulty import files_below
from support.refused import COLUMNS, FEATURES, ROWS, Feature, refused_table, whole_table

from desilt.table.catalog import open_table
from desilt.table.errors import InvalidRequest, UnsupportedFeature
from desilt.table.observe import TableObserver
from desilt.table.table import Table

KEYS = ROWS.select("k", "p")


def _observe(table: Table) -> object:
    observer = TableObserver(table.handle)
    observer.refresh()
    return observer.health(0)


ENTRIES: Mapping[str, Callable[[Table], object]] = {
    "open": lambda table: open_table(table.path),
    "scan": lambda table: table.scan().collect(),
    "scan of an older snapshot": lambda table: table.scan(snapshot_id=1).collect(),
    "get": lambda table: table.get(KEYS),
    "changes": lambda table: list(table.changes(0, 2)),
    "follow": lambda table: next(table.follow(idle_seconds=0)),
    "write": lambda table: table.write(ROWS),
    "delete by keys": lambda table: table.delete(KEYS),
    "delete by predicate": lambda table: table.delete(pl.col("k") == 1),
    "minor compaction": lambda table: table.compact("minor"),
    "full compaction": lambda table: table.compact("full"),
    "health": _observe,
}
OTHERS = {"get", "delete by keys"}, {"delete by predicate"}
"""Entries that append tables, and those that tables with keys, refuse for what they are."""


@pytest.fixture
def made(feature: Feature, tmp_path: Path) -> Table:
    return refused_table(tmp_path, "db.t", feature)


@pytest.mark.parametrize("feature", FEATURES, ids=str)
def test_a_table_that_is_not_understood_is_refused_by_name(feature: Feature, made: Table) -> None:
    before = {path: Path(path).read_bytes() for path in files_below(made.path)}

    for name, act in ENTRIES.items():
        if name in OTHERS[feature.keyed]:
            continue
        with pytest.raises(UnsupportedFeature) as raised:
            act(made)
        message = str(raised.value)
        assert re.search(feature.says, message), f"{name}: {message}"
        assert "db.t" in message or "schema-0" in message, f"{name}: {message}"
    assert {path: Path(path).read_bytes() for path in files_below(made.path)} == before


@pytest.mark.parametrize("feature", FEATURES, ids=str)
def test_its_snapshots_are_expired_only_if_its_files_are_known(
    feature: Feature, made: Table
) -> None:
    before = files_below(made.path)

    if feature.expires:
        assert made.expire(retain_max=1, retain_min=1).snapshots == 1
    else:
        with pytest.raises(UnsupportedFeature, match=feature.says):
            made.expire(retain_max=1, retain_min=1)
        assert files_below(made.path) == before


@pytest.mark.parametrize("feature", [f for f in FEATURES if isinstance(f.type, str)], ids=str)
def test_such_a_table_is_not_made(feature: Feature, tmp_path: Path) -> None:
    columns = COLUMNS | {"v": feature.type}
    options = {**({"bucket": "1"} if feature.keyed else {}), **feature.options}

    with pytest.raises((UnsupportedFeature, InvalidRequest)):
        catalog(tmp_path).create_table(
            "db.t",
            columns,
            primary_key=feature.primary_keys if feature.keyed else (),
            partition_by=["p"] if feature.keyed else (),
            options=options,
        )

    assert files_below(str(tmp_path)) == frozenset()


def test_the_table_that_is_changed_is_one_that_desilt_takes(tmp_path: Path) -> None:
    table = whole_table(tmp_path, "db.t")

    for name, act in ENTRIES.items():
        if "delete" not in name and name not in ("open", "changes"):
            act(table)


def test_other_tables_go_on(tmp_path: Path) -> None:
    warehouse = catalog(tmp_path)
    refused = warehouse.create_table("db.one", COLUMNS)
    whole = warehouse.create_table("db.two", COLUMNS)
    whole.write(ROWS)
    path = Path(f"{refused.path}/schema/schema-0")
    path.write_text(json.dumps(json.loads(path.read_bytes()) | {"options": {"type": "view"}}))

    assert warehouse.tables() == ("db.one", "db.two")
    assert warehouse.table("db.two").scan().collect().height == 2
    with pytest.raises(UnsupportedFeature, match="option=type, value=view"):
        warehouse.table("db.one")
