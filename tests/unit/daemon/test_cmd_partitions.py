"""`desilt partitions` and `desilt compact-manifests`: what they print, do, and how they end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from typer.testing import CliRunner, Result

from desilt.daemon import cmd_partitions
from desilt.daemon.cli import app
from desilt.table.catalog import Catalog
from desilt.table.errors import CommitConflict
from desilt.table.table import Table


@pytest.fixture
def table(tmp_path: Path) -> Table:
    made = Catalog(str(tmp_path)).create_table(
        "db.t", {"dt": "STRING", "h": "INT", "n": "INT"}, partition_by=["dt", "h"],
        options={"bucket": "-1", "partition.expiration-time": "30 d"},
    )  # fmt: skip
    rows = [("2020-01-01", 1, 1), ("2020-01-01", 2, 1), ("2999-01-01", 1, 1), ("x", 1, 1)]
    for row in rows:
        schema = {"dt": pl.String, "h": pl.Int32, "n": pl.Int32}
        made.write(pl.DataFrame([row], schema=schema, orient="row"))
    return made


def call(table: Table, *words: str) -> Result:
    warehouse = str(Path(table.path).parents[1])
    return CliRunner().invoke(app, [*words, "--warehouse", warehouse, "--table", "db.t"])


def told(result: Result) -> Any:
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def labels(table: Table) -> list[str]:
    return [p.label for p in table.partitions()]


def test_list_shows_every_partition(table: Table) -> None:
    found = told(call(table, "partitions", "list", "--json"))
    lines = call(table, "partitions", "list").stdout.splitlines()

    assert [p["partition"] for p in found] == labels(table)
    assert found[0]["values"] == {"dt": "2020-01-01", "h": "1"}
    assert lines[0].split("\t") == ["partition", "rows", "files", "bytes", "newest file"]
    assert len(lines) == 5


def test_a_dry_run_does_nothing(table: Table) -> None:
    plan = told(call(table, "partitions", "expire", "--dry-run", "--json"))
    drop = told(call(table, "partitions", "drop", "--partition", "h=1", "--dry-run", "--json"))
    merge = told(call(table, "compact-manifests", "--dry-run", "--json"))

    assert [p["partition"] for p in plan["partitions"]] == [
        "dt=2020-01-01/h=1", "dt=2020-01-01/h=2",
    ]  # fmt: skip
    assert (plan["dry_run"], plan["timeless"], plan["left"]) == (True, ["dt=x/h=1"], 0)
    assert len(drop["partitions"]) == 3
    assert "timeless" not in drop
    assert len(merge["merged"]) == 4
    text = call(table, "partitions", "expire", "--dry-run").stdout
    assert "values-time" in text
    assert "dt=x/h=1" in text
    assert table.handle.snapshots.latest_id() == 4


def test_expire_drops_and_says_so(table: Table) -> None:
    found = told(call(table, "partitions", "expire", "--max-num", "1", "--json"))
    assert (found["partitions"], found["left"], found["snapshots"]) == (
        ["dt=2020-01-01/h=1"], 1, [5],
    )  # fmt: skip
    result = call(table, "partitions", "expire", "--pattern", "$dt", "--age", "10d")
    columns, row = (line.split("\t") for line in result.stdout.splitlines())

    assert dict(zip(columns, row, strict=True))["partitions"] == "1"
    assert labels(table) == ["dt=2999-01-01/h=1", "dt=x/h=1"]
    assert told(call(table, "partitions", "expire", "--json"))["snapshots"] == []


def test_drop_takes_several_specs(table: Table) -> None:
    found = told(
        call(
            table, "partitions", "drop", "--partition", "dt=2020-01-01,h=2", "--partition", "dt=x",
            "--json",
        )
    )  # fmt: skip

    assert found["partitions"] == ["dt=2020-01-01/h=2", "dt=x/h=1"]
    assert len(labels(table)) == 2
    assert call(table, "partitions", "drop", "--partition", "dt=y", "--dry-run").stdout == (
        "nothing to drop\n"
    )


def test_manifests_are_merged(table: Table) -> None:
    found = told(call(table, "compact-manifests", "--json"))

    assert (found["snapshot_id"], found["manifests_before"], found["manifests_after"]) == (5, 4, 1)
    assert "manifests_after" in call(table, "compact-manifests").stdout
    assert table.handle.snapshots.latest_id() == 5


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ("drop --partition h", 2, "KEY=VALUE"),
        ("drop --partition h=1,h=2", 2, "KEY=VALUE"),
        ("expire --age soon", 2, "--age"),
        ("drop --partition n=1", 2, "no such partition column"),
        ("expire --strategy custom", 3, "value=custom"),
        ("expire --formatter hh", 3, "letter h"),
    ],
)
def test_refusals(table: Table, words: str, code: int, message: str) -> None:
    result = call(table, "partitions", *words.split())

    assert message in result.stderr
    assert result.exit_code == code
    assert len(labels(table)) == 4


def test_a_table_that_changes_too_often_ends_with_4(
    table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy(*_: object) -> None:
        raise CommitConflict("the partition changed")

    monkeypatch.setattr(cmd_partitions, "expire_partitions", busy)

    assert call(table, "partitions", "expire").exit_code == 4
