"""`desilt tag …` and `desilt rollback`: what they print, what they do, how they end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support import refs
from support.builders import kv
from support.faulty import files_below
from typer.testing import CliRunner, Result

from desilt.daemon.cli import app
from desilt.table.catalog import Catalog
from desilt.table.table import Table


@pytest.fixture
def table(tmp_path: Path) -> Table:
    """db.t with four snapshots, the third a compaction of the first two."""
    made = Catalog(str(tmp_path)).create_table(
        "db.t", {"k": "INT NOT NULL", "v": "STRING"}, primary_key=["k"],
        options={"bucket": "1", "tag.creation-period": "hourly"},
    )  # fmt: skip
    for number in range(2):
        made.write(kv((1, f"v{number}")))
    made.compact("full")
    made.write(kv((2, "v")))
    return made


def call(table: Table, *arguments: str) -> Result:
    warehouse = str(Path(table.path).parents[1])
    count = 2 if arguments[0] == "tag" else 1
    command = [*arguments[:count], "--warehouse", warehouse, "--table", "db.t", *arguments[count:]]
    return CliRunner().invoke(app, command)


def told(table: Table, *arguments: str) -> dict[str, Any]:
    result = call(table, *arguments, "--json")
    assert result.exit_code == 0, result.stderr
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def names(table: Table) -> list[str]:
    return [tag.name for tag in table.tags()]


def test_a_tag_from_its_making_to_its_end(table: Table) -> None:
    made = told(table, "tag", "create", "--name", "a", "--snapshot", "2", "--retain", "12h")
    assert made.pop("snapshot_millis") > 0
    assert made == {
        "table": "db.t", "tag": "a", "snapshot_id": 2, "retained_seconds": 43200.0,
        "dry_run": False,
    }  # fmt: skip
    assert told(table, "tag", "rename", "--name", "a", "--to", "b")["new_name"] == "b"
    table.expire(retain_max=1, retain_min=1)
    listed = told(table, "tag", "list")["tags"]
    assert [(t["tag"], t["snapshot_id"], t["retained"]) for t in listed] == [("b", 2, 43200.0)]
    plan = told(table, "tag", "delete", "--name", "b", "--dry-run")
    assert plan["counts"]["data"] == 2
    assert len(plan["files"]) == sum(plan["counts"].values())
    replaced = told(table, "tag", "replace", "--name", "b")
    assert (replaced["replaced_snapshot_id"], replaced["snapshot_id"]) == (2, 4)
    assert replaced["counts"]["data"] == 2
    assert told(table, "tag", "delete", "--name", "b")["tags"] == ["b"]
    assert names(table) == []


@pytest.mark.parametrize(
    "arguments",
    [
        ("create", "--name", "new"),
        ("delete", "--name", "t"),
        ("rename", "--name", "t", "--to", "new"),
        ("replace", "--name", "t", "--snapshot", "3"),
        ("expire", "--older-than", "2900-01-01"),
        ("auto", "--option", "tag.automatic-creation=process-time"),
    ],
)
def test_a_dry_run_changes_nothing(table: Table, arguments: tuple[str, ...]) -> None:
    table.create_tag("t", snapshot_id=2)
    before = {p: Path(p).read_bytes() for p in files_below(table.path)}
    plain = call(table, "tag", *arguments, "--dry-run")
    assert told(table, "tag", *arguments, "--dry-run")["dry_run"] is True

    assert plain.exit_code == 0
    assert len(plain.stdout.splitlines()) > 1
    assert {p: Path(p).read_bytes() for p in files_below(table.path)} == before


def test_lines_for_eyes(table: Table) -> None:
    assert (
        call(table, "tag", "create", "--name", "t", "--snapshot", "2")
        .stdout.splitlines()[1]
        .startswith("db.t\tt\t2\t")
    )
    assert call(table, "tag", "list").stdout.splitlines()[1].startswith("t\t2\t")
    table.expire(retain_max=1, retain_min=1)
    deleted = call(table, "tag", "delete", "--name", "t").stdout.splitlines()
    assert dict(zip(*(line.split("\t") for line in deleted), strict=True))["files"] == "4"


def test_expiry_by_retention_and_by_age(table: Table) -> None:
    table.create_tag("t", snapshot_id=2)
    assert call(table, "tag", "expire").stdout == "nothing to delete\n"
    assert call(table, "tag", "expire", "--dry-run").stdout == "nothing to delete\n"
    assert told(table, "tag", "expire", "--older-than", "2900-01-01")["tags"] == ["t"]
    assert names(table) == []


def test_times_may_lie_beyond_the_calendar(table: Table) -> None:
    told(table, "tag", "create", "--name", "ever", "--retain", "999999999999999d")
    told(table, "tag", "create", "--name", "plain")

    assert told(table, "tag", "expire", "--older-than", "0001-01-01T00:00+14:00")["tags"] == []
    late = told(table, "tag", "expire", "--older-than", "9999-12-31T23:59-14:00", "--dry-run")
    assert [t["tag"] for t in late["tags"]] == ["ever", "plain"]


def test_automatic_tags(table: Table) -> None:
    assert call(table, "tag", "auto").stdout == "nothing to tag\n"
    assert call(table, "tag", "auto", "--dry-run").stdout == "nothing to tag\n"
    option = ("--option", "tag.automatic-creation=process-time")
    made = told(table, "tag", "auto", *option)
    assert made == {"table": "db.t", "made": names(table), "trimmed": []}
    assert len(names(table)) == 1
    table.delete_tag(names(table)[0])
    assert call(table, "tag", "auto", *option).stdout.splitlines()[1].endswith("\tmade")


def test_rollback(table: Table) -> None:
    table.create_tag("t", snapshot_id=4)
    refs.consumer(table, "reader", 5)
    plan = call(table, "rollback", "--snapshot", "2", "--dry-run")
    assert plan.stdout.splitlines()[1] == "snapshots\t2\t3 to 4"
    assert "consumers have read beyond snapshot 2" in plan.stderr
    assert told(table, "rollback", "--snapshot", "2", "--dry-run")["snapshots"] == [3, 4]
    done = told(table, "rollback", "--snapshot", "2", "--reset-consumers")
    assert done.pop("seconds") >= 0
    assert done == {
        "table": "db.t", "snapshot_id": 2, "snapshots": 2, "changelogs": 0, "tags": ["t"],
        "consumers": ["reader"],
    }  # fmt: skip
    again = call(table, "rollback", "--snapshot", "2", "--dry-run")
    assert again.stdout == "the table is at snapshot 2 already\n"


def test_rollback_to_a_tag_and_to_a_time(table: Table) -> None:
    table.create_tag("t", snapshot_id=2)
    table.expire(retain_max=1, retain_min=1)
    assert "of tag t" in call(table, "rollback", "--tag", "t", "--dry-run").stdout
    assert told(table, "rollback", "--timestamp", "2900-01-01")["snapshot_id"] == 4
    line = call(table, "rollback", "--tag", "t").stdout.splitlines()[1]
    assert line.startswith("db.t\t2\t1\t0\t0\t0\t")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("tag", "create", "--name", "a/b"), 2, "not a tag's name"),
        (("tag", "create", "--name", "a", "--retain", "soon"), 2, "--retain: bad duration"),
        (("tag", "delete", "--name", "nobody"), 2, "no such tag"),
        (("tag", "expire", "--older-than", "noon"), 2, "--older-than: "),
        (("tag", "auto", "--option", "bucket=3"), 2, "is no KEY=VALUE of"),
        (("tag", "auto", "--option", "tag.automatic-creation=x"), 3, "option value is unknown"),
        (("rollback",), 2, "give one of --snapshot, --tag, --timestamp"),
        (("rollback", "--snapshot", "1", "--tag", "t"), 2, "give one of"),
        (("rollback", "--snapshot", "9"), 2, "no such snapshot"),
        (("rollback", "--timestamp", "2001-01-01"), 2, "no snapshot is so old"),
    ],
)
def test_what_is_refused(table: Table, arguments: tuple[str, ...], code: int, message: str) -> None:
    before = files_below(table.path)
    result = call(table, *arguments)

    assert result.exit_code == code, result.stderr
    assert message in result.stderr
    assert files_below(table.path) == before
