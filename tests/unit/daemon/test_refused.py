"""A warehouse with a table of every kind that is refused: each is named, and the others go on."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from support.daemon_fakes import World
from support.faulty import files_below
from support.refused import FEATURES, ROWS, Feature, refused_table, whole_table
from typer.testing import CliRunner, Result

from desilt.daemon.cli import app
from desilt.daemon.config_catalog import CatalogConfig
from desilt.daemon.engine import Rewriter, TableEngine
from desilt.daemon.journal import Journal
from desilt.daemon.listen import CatalogFailed, TableFailed, TableFound, TableHalted, TableSkipped
from desilt.daemon.supervisor import Supervisor, SupervisorOptions
from desilt.table.catalog import Catalog
from desilt.table.compact import CompactionPlan, RewriteOptions, RewriteResult, rewrite
from desilt.table.retention import Override
from desilt.table.snapshot import CommitKind
from desilt.table.storage import Storage

REFUSED = {f"db.t{number:02}": feature for number, feature in enumerate(FEATURES)}
WHOLE = "db.whole"
RUNS = 6


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Refused tables before and behind one that is due; nobody changes it."""
    return _made(tmp_path_factory.mktemp("refused"))


def _made(folder: Path) -> Path:
    for name, feature in REFUSED.items():
        refused_table(folder, name, feature)
    table = whole_table(folder, WHOLE)
    for _ in range(RUNS - 2):
        table.write(ROWS)
    return folder


def contents(warehouse: Path, *names: str) -> dict[str, bytes]:
    """All files of these tables."""
    folders = [str(warehouse / "db.db" / name.removeprefix("db.")) for name in names]
    return {path: Path(path).read_bytes() for folder in folders for path in files_below(folder)}


def desilt(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


# --- the command line ---------------------------------------------------------------------------


def test_scan_shows_the_others_and_names_every_refused_one(warehouse: Path) -> None:
    result = desilt("scan", "--warehouse", str(warehouse), "--json")

    assert result.exit_code == 3
    assert {row["table"] for row in json.loads(result.stdout)} == {WHOLE}
    for name, feature in REFUSED.items():
        said = re.search(rf"\b{re.escape(name)}: .*", result.stderr)
        assert said, name
        assert re.search(feature.says, said[0]), said[0]


@pytest.mark.parametrize(("name", "feature"), REFUSED.items(), ids=map(str, FEATURES))
def test_commands_refuse_it_by_name(warehouse: Path, name: str, feature: Feature) -> None:
    before = contents(warehouse, name)
    place = ("--warehouse", str(warehouse), "--table", name)
    commands = [
        ("scan",), ("explain",), ("compact",), ("compact", "--mode", "full"),
        ("compact", "--dry-run"),
    ]  # fmt: skip
    if not feature.expires:
        commands += [("expire", "--retain-max", "1"), ("expire", "--retain-max", "1", "--dry-run")]

    for command, *flags in commands:
        result = desilt(command, *place, *flags)
        assert (result.exit_code, result.stdout) == (3, ""), command
        assert re.search(feature.says, result.stderr), f"{command}: {result.stderr}"
    assert contents(warehouse, name) == before != {}


# --- the daemon ---------------------------------------------------------------------------------


class _InProcess(Rewriter):
    """Rewrites at once, in this process."""

    def __call__(
        self, plan: CompactionPlan, memory_bytes: int, storage: Storage | None = None
    ) -> RewriteResult:
        return rewrite(plan, RewriteOptions(memory_bytes))


def engine() -> TableEngine:
    supervisor = Supervisor(SupervisorOptions(workers=1, threads=1, rss_bytes_max=2**30))
    return TableEngine(_InProcess(supervisor, "quarter"))


def test_the_daemon_names_each_once_and_keeps_the_others(tmp_path: Path, journal: Journal) -> None:
    warehouse = _made(tmp_path / "warehouse")
    before = contents(warehouse, *REFUSED)
    lake = CatalogConfig(name="lake", warehouse=str(warehouse))
    world = World(journal, catalogs=[lake], snapshots=Override(1, 1), engine=engine())
    for _ in range(3):
        world.tick()
        world.clock.advance(301)
    found = {event.table for event in world.said.of(TableFound) if isinstance(event, TableFound)}
    skipped = [event for event in world.said.of(TableSkipped) if isinstance(event, TableSkipped)]

    assert sorted(event.table for event in skipped) == sorted(REFUSED)
    said = {event.table: event.error for event in skipped}
    for name, feature in REFUSED.items():
        assert re.search(feature.says, said[name]), said[name]
    assert found == {WHOLE}
    assert world.said.of(TableFailed, TableHalted, CatalogFailed) == []
    assert contents(warehouse, *REFUSED) == before != {}

    table = Catalog(str(warehouse)).table(WHOLE)
    latest = table.handle.snapshots.latest()
    assert latest is not None
    assert latest.commit_kind is CommitKind.COMPACT
    assert latest.total_record_count == ROWS.height
    assert len(table.handle.snapshots.ids()) == 1
