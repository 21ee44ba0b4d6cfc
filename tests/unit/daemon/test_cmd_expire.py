"""`desilt expire`: what it prints, what it does, how it ends."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support import refs
from support.builders import kv
from support.faulty import files_below
from typer.testing import CliRunner, Result

from desilt.daemon import cmd_expire
from desilt.daemon.cli import app
from desilt.table.catalog import Catalog
from desilt.table.errors import CommitConflict, CorruptTable
from desilt.table.table import Table


@pytest.fixture
def table(tmp_path: Path) -> Table:
    """db.t with six snapshots, the third a compaction of the first two; a tag on the second."""
    made = Catalog(str(tmp_path)).create_table(
        "db.t", {"k": "INT NOT NULL", "v": "STRING"}, primary_key=["k"], options={"bucket": "1"}
    )
    for number in range(2):
        made.write(kv((1, f"v{number}")))
    made.compact("full")
    for number in range(3):
        made.write(kv((2, f"v{number}")))
    return made


def expire(table: Table, *flags: str) -> Result:
    warehouse = str(Path(table.path).parents[1])
    arguments = ["expire", "--warehouse", warehouse, "--table", "db.t", *flags]
    return CliRunner().invoke(app, arguments)


def ids(table: Table) -> tuple[int, ...]:
    return table.handle.snapshots.ids()


def test_json_says_what_went(table: Table) -> None:
    result = expire(table, "--retain-max", "2", "--json")
    found: dict[str, Any] = json.loads(result.stdout)

    assert result.exit_code == 0
    assert found.pop("seconds") >= 0
    assert found.pop("size_bytes") > 0
    assert found == {
        "table": "db.t", "snapshots": 4, "changelogs": 0, "consumers": 0, "left": 2,
        "files": {
            "data": 2, "changelog": 0, "index": 0, "manifest": 0, "index-manifest": 0,
            "manifest-list": 8, "statistics": 0,
        },
    }  # fmt: skip
    assert ids(table) == (5, 6)


def test_a_line_says_what_went(table: Table) -> None:
    result = expire(table, "--retain-max", "2")
    columns, row = (line.split("\t") for line in result.stdout.splitlines())

    assert dict(zip(columns, row, strict=True)) | {"size_bytes": "", "seconds": ""} == {
        "table": "db.t", "snapshots": "4", "changelogs": "0", "consumers": "0", "files": "10",
        "left": "2", "size_bytes": "", "seconds": "",
    }  # fmt: skip


def test_all_that_is_due_goes_whatever_the_limit_of_one_run(tmp_path: Path) -> None:
    table = Catalog(str(tmp_path)).create_table(
        "db.t", {"k": "INT NOT NULL", "v": "STRING"}, primary_key=["k"],
        options={"bucket": "1", "snapshot.expire.limit": "2"},
    )  # fmt: skip
    for number in range(6):
        table.write(kv((number, "v")))
    result = expire(table, "--retain-max", "1", "--json")

    assert json.loads(result.stdout)["snapshots"] == 5
    assert ids(table) == (6,)


@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_dry_run_changes_nothing_and_says_what_is_held(table: Table, flags: list[str]) -> None:
    refs.create_tag(table, "v", 2)
    refs.consumer(table, "c", 5)
    before = files_below(table.path)
    result = expire(table, "--retain-max", "1", "--dry-run", *flags)

    assert result.exit_code == 0
    assert files_below(table.path) == before
    if flags:
        plan = json.loads(result.stdout)
        assert plan["dry_run"]
        assert [s["id"] for s in plan["snapshots"]["expired"]] == [1, 2, 3, 4]
        assert plan["protected"][0]["by"] == "tag v"
        assert len(plan["snapshots"]["paths"]) == sum(plan["snapshots"]["files"].values())
    else:
        assert "consumer c has still to read 5" in result.stdout
        assert "tag v\t2\t" in result.stdout
        assert "snapshots\t4\t1\t4\t" in result.stdout


def test_nothing_to_expire_says_why(table: Table) -> None:
    result = expire(table, "--dry-run")

    assert (result.exit_code, result.stdout) == (
        0, "nothing to expire: the newest 10 snapshots stay\n",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("flags", "left"),
    [
        (["--older-than", "2020-01-01", "--retain-min", "1"], 6),
        (["--older-than", "2020-01-01T00:00:00+02:00", "--retain-min", "1"], 6),
        (["--retain-age", "1d", "--retain-min", "1"], 6),
        (["--retain-min", "2"], 6),
        (["--retain-age", "0.001ms", "--retain-min", "2"], 2),
    ],
)
def test_bounds_take_the_place_of_options(table: Table, flags: list[str], left: int) -> None:
    assert expire(table, *flags).exit_code == 0
    assert len(ids(table)) == left


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        (["--older-than", "2020-01-01", "--retain-age", "1d"], "give one"),
        (["--older-than", "yesterday"], "--older-than: "),
        (["--older-than", "2999-01-01"], "lies in the future"),
        (["--retain-age", "1w"], "--retain-age: bad duration unit"),
        (["--retain-min", "3", "--retain-max", "2"], "retain-min exceeds retain-max"),
        (["--retain-min", "0"], ""),
    ],
)
def test_bad_flags_are_bad_usage(table: Table, flags: list[str], complaint: str) -> None:
    result = expire(table, *flags)

    assert (result.exit_code, result.stdout) == (2, "")
    assert complaint in result.stderr
    assert len(ids(table)) == 6


def test_a_table_that_is_not_understood_is_refused_by_name(table: Table) -> None:
    schema = Path(table.path, "schema/schema-0")
    content = json.loads(schema.read_text())
    content["options"]["data-file.external-paths"] = "/elsewhere"
    schema.write_text(json.dumps(content))
    result = expire(table, "--retain-max", "1")

    assert result.exit_code == 3
    assert "option=data-file.external-paths" in result.stderr
    assert "table=db.t" in result.stderr


@pytest.mark.parametrize(("error", "code"), [(CommitConflict, 4), (CorruptTable, 1)])
def test_failures_have_their_codes(
    table: Table, monkeypatch: pytest.MonkeyPatch, error: Callable[[str], Exception], code: int
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error("it went wrong")

    monkeypatch.setattr(cmd_expire, "expire", fail)
    result = expire(table, "--retain-max", "1", "--json")

    assert (result.exit_code, result.stdout) == (code, "")
    assert "it went wrong" in result.stderr
