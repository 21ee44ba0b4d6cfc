"""`desilt orphans`, `repair-files`, `expire-changelogs`, `expire-consumers`: what they print, what
they do, how they end."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from support import refs
from support.builders import kv, rows_of
from support.faulty import files_below
from typer.testing import CliRunner, Result

from desilt.daemon.cli import app
from desilt.table.catalog import Catalog
from desilt.table.changelogs import ChangelogStore
from desilt.table.consumers import ConsumerStore
from desilt.table.handle import TableHandle
from desilt.table.schema import TableSchema
from desilt.table.table import Table

DAY = 86_400


@pytest.fixture
def tables(tmp_path: Path) -> list[Table]:
    """db.a, db.b and db.c of two snapshots each; in every one an orphan of two days and one of two
    hours."""
    made: list[Table] = []
    for name in "abc":
        table = Catalog(str(tmp_path)).create_table(
            f"db.{name}", {"k": "INT NOT NULL", "v": "STRING"}, primary_key=["k"],
            options={"bucket": "1"},
        )  # fmt: skip
        for number in range(2):
            table.write(kv((number, "v")))
        leave(table, "bucket-0/data-old-0.parquet", 2 * DAY)
        leave(table, "manifest/manifest-hours-0", 2 * 3600)
        made.append(table)
    return made


def leave(table: Table, name: str, seconds: float) -> None:
    path = Path(table.path, name)
    path.write_bytes(b"left")
    then = time.time() - seconds
    os.utime(path, (then, then))


def call(command: str, table: Table, *flags: str) -> Result:
    warehouse = str(Path(table.path).parents[1])
    return CliRunner().invoke(app, [command, "--warehouse", warehouse, *flags])


def found(table: Table, name: str) -> bool:
    return Path(table.path, name).exists()


def test_all_tables_are_cleaned(tables: list[Table]) -> None:
    result = call("orphans", tables[0], "--json")
    rows: list[dict[str, Any]] = json.loads(result.stdout)

    assert result.exit_code == 0
    assert [row["table"] for row in rows] == ["db.a", "db.b", "db.c"]
    for table, row in zip(tables, rows, strict=True):
        assert (row["orphans"], row["size_bytes"], row["files"]["data"]) == (1, 4, 1)
        assert not found(table, "bucket-0/data-old-0.parquet")
        assert found(table, "manifest/manifest-hours-0")
        assert len(rows_of(table)) == 2


def test_one_table_is_cleaned_by_its_name_and_age(tables: list[Table]) -> None:
    result = call("orphans", tables[0], "--table", "db.a", "--older-than", "1h")
    columns, row = (line.split("\t") for line in result.stdout.splitlines())

    assert dict(zip(columns, row, strict=True)) == {
        "table": "db.a", "orphans": "2", "size_bytes": "8", "folders": "0", "kept": "0",
    }  # fmt: skip
    assert not found(tables[0], "manifest/manifest-hours-0")
    assert found(tables[1], "bucket-0/data-old-0.parquet")


@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_dry_run_changes_nothing_and_names_every_file(
    tables: list[Table], flags: list[str]
) -> None:
    before = files_below(tables[0].path)
    result = call("orphans", tables[0], "--table", "db.a", "--dry-run", *flags)

    assert result.exit_code == 0
    assert files_below(tables[0].path) == before
    if flags:
        plan = json.loads(result.stdout)
        assert plan["dry_run"]
        assert (plan["orphans"], plan["candidates"]) == (1, 1)
        assert plan["young"] > 4
        assert plan["paths"] == ["bucket-0/data-old-0.parquet"]
    else:
        assert "db.a\tbucket-0/data-old-0.parquet" in result.stdout


def test_a_broken_table_does_not_stop_the_others(tables: list[Table]) -> None:
    for manifest in Path(tables[1].path, "manifest").glob("manifest-list-*"):
        manifest.write_bytes(b"damaged")
    result = call("orphans", tables[0], "--json")
    rows: list[dict[str, Any]] = json.loads(result.stdout)

    assert result.exit_code == 1
    assert "not readable Avro" in result.stderr
    assert "table=db.b" in result.stderr
    assert "error" in rows[1]
    assert [found(t, "bucket-0/data-old-0.parquet") for t in tables] == [False, True, False]


def test_a_bug_that_one_table_meets_does_not_stop_the_others(
    tables: list[Table], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails_once(handle: TableHandle) -> TableSchema:
        if handle.name == tables[1].name:
            raise OverflowError("nobody thought of it")
        return latest_schema(handle)

    latest_schema = TableHandle.latest_schema
    monkeypatch.setattr(TableHandle, "latest_schema", fails_once)
    result = call("orphans", tables[0], "--json")
    rows: list[dict[str, Any]] = json.loads(result.stdout)

    assert result.exit_code == 1
    assert "OverflowError: nobody thought of it" in result.stderr
    assert "nobody thought of it" in rows[1]["error"]
    assert [found(t, "bucket-0/data-old-0.parquet") for t in tables] == [False, True, False]


@pytest.mark.parametrize(
    ("flags", "code", "complaint"),
    [
        (["--older-than", "59m"], 2, "older-than is too small"),
        (["--older-than", "1w"], 2, "--older-than: bad duration unit"),
        (["--table", "db.none"], 2, "no table here"),
        (["--table", "none"], 2, "db.table"),
    ],
)
def test_bad_flags_are_bad_usage(
    tables: list[Table], flags: list[str], code: int, complaint: str
) -> None:
    result = call("orphans", tables[0], *flags)

    assert (result.exit_code, result.stdout) == (code, "")
    assert complaint in result.stderr


# --- repair-files ---------------------------------------------------------------------------------


def test_lost_files_are_named_and_taken_out(tables: list[Table]) -> None:
    table = tables[0]
    lost = next(p for p in Path(table.path, "bucket-0").glob("data-*") if "old" not in p.name)
    lost.unlink()
    dry = call("repair-files", table, "--table", "db.a", "--dry-run")
    assert f"db.a\tbucket-0/{lost.name}" in dry.stdout
    assert table.handle.snapshots.latest_id() == 2
    result = call("repair-files", table, "--table", "db.a", "--json")
    row = json.loads(result.stdout)

    assert result.exit_code == 0
    assert (row["files"], row["rows"], row["committed"]) == (1, 1, 3)
    assert len(rows_of(table)) == 1
    again = json.loads(call("repair-files", table, "--table", "db.a", "--json").stdout)
    assert (again["files"], again["committed"]) == (0, None)


# --- expire-changelogs ----------------------------------------------------------------------------


@pytest.fixture
def told(tmp_path: Path) -> Table:
    """db.t with one snapshot, the eighth, and seven long-lived changelogs."""
    table = Catalog(str(tmp_path)).create_table(
        "db.t", {"k": "INT NOT NULL", "v": "STRING"}, primary_key=["k"],
        options={
            "bucket": "1", "changelog-producer": "input", "changelog.num-retained.min": "50",
            "changelog.num-retained.max": "60",
        },
    )  # fmt: skip
    for number in range(8):
        table.write(kv((number, "v")))
    table.expire(retain_max=1)
    assert ChangelogStore(table.handle).ids() == (1, 2, 3, 4, 5, 6, 7)
    return table


def changelogs(table: Table, *flags: str) -> dict[str, Any]:
    result = call("expire-changelogs", table, "--table", "db.t", "--json", *flags)
    assert result.exit_code == 0, result.stderr
    row: dict[str, Any] = json.loads(result.stdout)
    return row


def test_changelogs_go_by_number_and_no_snapshot_does(told: Table) -> None:
    assert changelogs(told, "--retain-max", "4", "--dry-run")["changelogs"] == 4
    assert changelogs(told)["changelogs"] == 0
    assert changelogs(told, "--retain-max", "4", "--max-deletes", "1")["changelogs"] == 1
    row = changelogs(told, "--retain-max", "4")

    assert (row["changelogs"], row["files"] > 3) == (3, True)
    assert ChangelogStore(told.handle).ids() == (5, 6, 7)
    assert told.handle.snapshots.ids() == (8,)
    assert [len(p.rows) for p in told.changes(from_snapshot=4, to_snapshot=8)] == [1, 1, 1, 1]
    assert len(rows_of(told)) == 8


def test_changelogs_go_by_age_and_number(told: Table) -> None:
    age = ("--retain-age", "0.001ms", "--retain-min", "3")
    assert changelogs(told, *age)["changelogs"] == 5
    assert ChangelogStore(told.handle).ids() == (6, 7)


def test_all_changelogs_go_but_what_a_consumer_has_still_to_read(told: Table) -> None:
    refs.consumer(told, "c", 6)
    assert changelogs(told, "--delete-all")["changelogs"] == 5
    assert ChangelogStore(told.handle).ids() == (6, 7)
    refs.consumer(told, "c", 8)
    assert changelogs(told, "--delete-all")["changelogs"] == 2

    assert list(Path(told.path, "changelog").iterdir()) == []
    assert len(rows_of(told)) == 8
    assert [len(p.rows) for p in told.changes(from_snapshot=7, to_snapshot=8)] == [1]
    left = {p.rpartition("/")[2] for p in files_below(f"{told.path}/bucket-0")}
    assert sum(name.startswith("changelog-") for name in left) == 1
    assert changelogs(told, "--delete-all")["changelogs"] == 0


def test_delete_all_takes_no_bounds(told: Table) -> None:
    result = call("expire-changelogs", told, "--table", "db.t", "--delete-all", "--retain-max", "3")

    assert result.exit_code == 2
    assert "takes no bounds" in result.stderr


# --- expire-consumers -----------------------------------------------------------------------------


@pytest.fixture
def followed(tables: list[Table]) -> Table:
    now = int(time.time() * 1000)
    for table in tables[:2]:
        for name, days in (("idle", 9), ("idle-too", 8), ("busy", 0)):
            refs.consumer(table, name, 1, modified=now - days * DAY * 1000)
    return tables[0]


def consumers(table: Table) -> list[str]:
    return [c.name for c in ConsumerStore(table.handle).all()]


def test_idle_consumers_are_forgotten_everywhere(followed: Table, tables: list[Table]) -> None:
    dry = call("expire-consumers", followed, "--older-than", "7d", "--dry-run", "--json")
    assert [row["consumers"] for row in json.loads(dry.stdout)] == [2, 2, 0]
    assert len(consumers(followed)) == 3
    result = call("expire-consumers", followed, "--older-than", "7d")

    assert result.exit_code == 0
    assert "db.a\t2\tidle idle-too" in result.stdout
    assert [consumers(table) for table in tables] == [["busy"], ["busy"], []]


@pytest.mark.parametrize(
    ("flags", "left"),
    [
        (["--include", "idle"], ["busy", "idle-too"]),
        (["--include", "idle.*", "--exclude", ".*too"], ["busy", "idle-too"]),
        (["--exclude", "idle"], ["busy", "idle"]),
        (["--include", "none"], ["busy", "idle", "idle-too"]),
    ],
)
def test_only_chosen_names_are_forgotten(
    followed: Table, flags: list[str], left: list[str]
) -> None:
    result = call("expire-consumers", followed, "--table", "db.a", "--older-than", "7d", *flags)

    assert result.exit_code == 0
    assert consumers(followed) == left


def test_a_table_that_keeps_consumers_for_ever_says_so(followed: Table) -> None:
    result = call("expire-consumers", followed, "--table", "db.a")
    assert result.exit_code == 2
    assert "say --older-than" in result.stderr
    assert call("expire-consumers", followed).exit_code == 0
    bad = call(
        "expire-consumers", followed, "--table", "db.a", "--older-than", "1d", "--include", "("
    )
    assert bad.exit_code == 2
    assert len(consumers(followed)) == 3
