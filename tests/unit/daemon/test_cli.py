"""The commands on a small table of our own: output, flags and exit codes."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from typer.testing import CliRunner, Result

from desilt.daemon import cmd_compact
from desilt.daemon.cli import app
from desilt.daemon.cmd_scan import COLUMNS
from desilt.daemon.journal import Journal
from desilt.daemon.ledger import Hold
from desilt.table.catalog import Catalog
from desilt.table.errors import CommitConflict, StorageUnavailable, VerificationFailed
from desilt.table.storage import LocalStorage

ROOT = Path(__file__).parents[3]


@pytest.fixture
def warehouse(tmp_path: Path) -> str:
    """db.t: two partitions of one bucket each, three sorted runs; and a file that is no table."""
    path = tmp_path / "wh"
    path.mkdir()
    table = Catalog(str(path)).create_table(
        "db.t",
        {"id": pl.Int64, "dt": pl.String, "v": pl.Int64},
        primary_key=["id", "dt"],
        partition_by=["dt"],
        options={"bucket": "1"},
    )
    for version in range(3):
        rows = [{"id": i, "dt": dt, "v": version} for i in range(4) for dt in ("a", "b/c")]
        table.write(pl.DataFrame(rows))
    (path / "README").write_text("foreign")
    (path / "db.db" / "notes").mkdir()
    return str(path)


def desilt(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def rows_of(warehouse: str) -> pl.DataFrame:
    return Catalog(warehouse).table("db.t").scan().collect().sort("dt", "id")


def compact(warehouse: str, *flags: str) -> Result:
    return desilt("compact", "--warehouse", warehouse, "--table", "db.t", *flags)


def config_file(folder: Path, warehouse: str, *policies: dict[str, Any]) -> str:
    path = folder / "desilt.yaml"
    content = {
        "catalogs": [{"name": "lake", "warehouse": warehouse}],
        "policies": [{"name": f"p{number}", **policy} for number, policy in enumerate(policies)],
        "state": f"sqlite:///{folder}/state.db",
    }
    path.write_text(json.dumps(content))
    return str(path)


def test_scan_json_is_one_object_per_bucket_with_the_promised_columns(warehouse: str) -> None:
    result = desilt("scan", "--warehouse", warehouse, "--json")

    found = json.loads(result.stdout)
    assert result.exit_code == 0
    assert [tuple(row) for row in found] == [COLUMNS, COLUMNS]
    assert [(row["partition"], row["sorted_runs"]) for row in found] == [
        ("dt=a", 3),
        ("dt=b%2Fc", 3),
    ]


def test_scan_prints_lines_with_tabs_into_a_pipe(warehouse: str) -> None:
    result = desilt("scan", "--warehouse", f"file://{warehouse}", "--table", "db.t")

    assert [line.split("\t")[0] for line in result.stdout.splitlines()] == ["table", "db.t", "db.t"]


def test_scan_goes_on_when_one_table_is_corrupt(warehouse: str) -> None:
    broken = Path(warehouse, "db.db", "broken", "schema")
    broken.mkdir(parents=True)
    (broken / "schema-0").write_text("{")

    result = desilt("scan", "--warehouse", warehouse, "--json")

    assert len(json.loads(result.stdout)) == 2
    assert result.exit_code == 1
    assert "db.broken: " in result.stderr
    assert "schema-0" in result.stderr


def test_scan_of_an_empty_warehouse_is_empty(tmp_path: Path) -> None:
    result = desilt("scan", "--warehouse", str(tmp_path), "--json")

    assert (result.exit_code, json.loads(result.stdout)) == (0, [])


@pytest.mark.parametrize("command", ["scan", "explain", "compact", "expire"])
def test_missing_warehouse_is_bad_usage(command: str) -> None:
    result = desilt(command, "--warehouse", "/nowhere", "--table", "db.t")

    assert result.exit_code == 2
    assert result.stdout == ""
    assert "/nowhere" in result.stderr


@pytest.mark.parametrize("command", ["scan", "explain", "compact", "expire"])
def test_missing_table_is_bad_usage(command: str, warehouse: str) -> None:
    result = desilt(command, "--warehouse", warehouse, "--table", "db.nope")

    assert result.exit_code == 2
    assert "db.nope" in result.stderr


def test_refused_table_is_exit_code_3(warehouse: str) -> None:
    schema = Path(warehouse, "db.db", "t", "schema", "schema-0")
    data = json.loads(schema.read_text())
    data["options"]["pk-clustering-override"] = "true"
    schema.write_text(json.dumps(data))

    result = compact(warehouse)

    assert result.exit_code == 3
    assert "pk-clustering-override" in result.stderr


def test_explain_says_why_not(warehouse: str) -> None:
    result = desilt("explain", "--warehouse", warehouse, "--table", "db.t", "--json")

    found = json.loads(result.stdout)
    assert [(row["due"], row["rule"]) for row in found] == [(False, "default")] * 2
    assert "3 of the 5 runs" in found[0]["reason"]


def test_explain_judges_by_the_configuration(warehouse: str, tmp_path: Path) -> None:
    hot = {"match": "lake.db.t", "compaction": {"kind": "universal", "trigger": 3}}
    rest = {"match": "*", "compaction": {"kind": "universal"}}
    file = config_file(tmp_path, warehouse, rest, hot)

    result = desilt("explain", "--warehouse", warehouse, "--table", "db.t", "-c", file, "--json")

    found = json.loads(result.stdout)
    assert [(row["due"], row["rule"]) for row in found] == [(True, "p1")] * 2
    assert "rewrite 3 files" in found[0]["would_do"]


def test_explain_says_when_no_policy_matches(warehouse: str, tmp_path: Path) -> None:
    other = {"match": "other.*", "compaction": {"kind": "universal"}}
    file = config_file(tmp_path, warehouse, other)

    result = desilt("explain", "--warehouse", warehouse, "--table", "db.t", "-c", file, "--json")

    assert {row["reason"] for row in json.loads(result.stdout)} == {
        "not due: no policy matches this table"
    }


def test_compact_full_rewrites_every_bucket_and_no_row_changes(warehouse: str) -> None:
    before = rows_of(warehouse)

    result = compact(warehouse, "--mode", "full", "--verify", "full", "--json")

    found = json.loads(result.stdout)
    assert result.exit_code == 0
    totals = {
        name: found[name]
        for name in (
            "files_before",
            "files_after",
            "rows_in",
            "rows_out",
            "upgraded",
            "snapshot_id",
        )
    }
    assert totals == {
        "files_before": 6, "files_after": 2, "rows_in": 24, "rows_out": 8, "upgraded": 0,
        "snapshot_id": 5,
    }  # fmt: skip
    assert {"bytes_read", "bytes_written", "seconds", "peak_rss_bytes"} <= found.keys()
    assert found["peak_rss_bytes"] > 0
    assert [task["partition"] for task in found["tasks"]] == ["dt=a", "dt=b%2Fc"]
    assert rows_of(warehouse).equals(before)


@pytest.mark.parametrize("value", ["b/c", "b%2Fc"])
def test_compact_takes_partitions_as_values_or_as_directories(warehouse: str, value: str) -> None:
    result = compact(
        warehouse, "--mode", "full", "--partition", f"dt={value}", "--dry-run", "--json"
    )

    found = json.loads(result.stdout)
    assert [task["partition"] for task in found["tasks"]] == ["dt=b%2Fc"]
    assert (found["input_files"], found["input_rows"]) == (3, 12)


def test_dry_run_changes_nothing(warehouse: str) -> None:
    before = sorted(Path(warehouse).rglob("*"))

    result = compact(warehouse, "--mode", "full", "--dry-run")

    assert result.exit_code == 0
    assert "full: all 3 runs" in result.stdout
    assert sorted(Path(warehouse).rglob("*")) == before


@pytest.mark.parametrize("flags", [("--mode", "minor"), ("--bucket", "7", "--mode", "full")])
def test_compact_without_due_work_is_done(warehouse: str, flags: tuple[str, ...]) -> None:
    result = compact(warehouse, "--json", *flags)

    found = json.loads(result.stdout)
    assert result.exit_code == 0
    assert (found["snapshot_id"], found["tasks"]) == (None, [])
    assert compact(warehouse, *flags).stdout == "nothing due\n"


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (("--partition", "dt"), "a partition is key=value"),
        (("--partition", "dt=a", "--partition", "dt=b"), "comes twice"),
        (("--partition", "hr=1"), "no such partition key, key=hr, known=dt"),
        (("--mode", "huge"), "huge"),
        (("--memory", "5MB"), "bad size unit 'MB'"),
        (("--bucket", "-1"), "--bucket"),
        (("--bogus",), "--bogus"),
    ],
)
def test_bad_flags_are_bad_usage(warehouse: str, flags: tuple[str, ...], text: str) -> None:
    result = compact(warehouse, *flags)

    assert result.exit_code == 2
    assert text in result.stderr


class FailingRewriter:
    """Stands in for the warm worker."""

    failures: list[Exception]

    def __init__(self, *_: object, **__: object) -> None:
        self.calls = 0

    def warm_up(self) -> None: ...

    def __call__(self, *_: object) -> object:
        raise self.failures.pop(0)


@pytest.mark.parametrize(
    ("error", "times", "code"),
    [(CommitConflict("input gone"), 6, 4), (VerificationFailed("a row is lost"), 1, 1)],
)
def test_compact_fails_by_name(
    warehouse: str, monkeypatch: pytest.MonkeyPatch, error: Exception, times: int, code: int
) -> None:
    failures = [error] * times
    monkeypatch.setattr(FailingRewriter, "failures", failures, raising=False)
    monkeypatch.setattr(cmd_compact, "Rewriter", FailingRewriter)

    result = compact(warehouse, "--mode", "full")

    assert (result.exit_code, failures) == (code, [])
    assert str(error) in result.stderr


def test_compact_keeps_what_a_late_publish_needs(
    warehouse: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store carries the request out when the command has long given up."""
    before, create = rows_of(warehouse), LocalStorage.create
    late: list[tuple[str, bytes]] = []

    def silent(store: LocalStorage, path: str, data: bytes) -> bool:
        if "/snapshot/snapshot-" not in path:
            return create(store, path, data)
        late.append((path, data))
        raise StorageUnavailable("no answer", in_doubt=True)

    monkeypatch.setattr(LocalStorage, "create", silent)
    result = compact(warehouse, "--mode", "full", "--partition", "dt=a")
    monkeypatch.undo()

    assert (result.exit_code, len(late)) == (1, 1)
    assert "may still arrive" in result.stderr
    assert LocalStorage().create(*late[0])
    assert rows_of(warehouse).equals(before)
    assert Catalog(warehouse).table("db.t").handle.snapshots.latest_id() == 4


def test_check_config_prints_the_effective_config() -> None:
    result = desilt("check-config", str(ROOT / "examples" / "desilt.yaml"))

    assert result.exit_code == 0
    assert "scan-interval: 1s" in result.stdout


@pytest.mark.parametrize("command", [("check-config",), ("run", "-c"), ("resume", "-c")])
def test_bad_config_is_exit_code_2_with_the_key(command: tuple[str, ...], tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text("shedule: {}\ncatalogs: [{name: a, warehouse: a}]\npolicies: []\n")

    result = desilt(*command, str(file))

    assert result.exit_code == 2
    assert f"{file}: policies: needs at least one entry" in result.stderr


def test_resume_lifts_holds(warehouse: str, tmp_path: Path) -> None:
    file = config_file(tmp_path, warehouse, {"match": "*", "compaction": {"kind": "universal"}})
    assert desilt("resume", "-c", file).exit_code == 2  # no state yet
    journal = Journal(tmp_path / "state.db")
    journal.hold("db.t", None, Hold("cut off", datetime.now(UTC)))

    result = desilt("resume", "-c", file, "--table", "db.t")

    assert (result.exit_code, result.stdout) == (0, "1 lifted\n")
    assert journal.holds().halted == {}
    journal.close()


def test_version_is_the_package_s() -> None:
    assert desilt("--version").stdout.strip().count(".") == 2
