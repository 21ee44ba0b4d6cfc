"""The demo as a user runs it, only shorter: its proof holds, and it sees what it claims to see."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

import desilt
from desilt.daemon.demo.kinds import KINDS
from desilt.daemon.demo.run import run_demo
from desilt.table.consumers import ConsumerStore
from desilt.table.errors import InvalidRequest
from desilt.table.snapshot import CommitKind

SECONDS = 6
_RUN = "import sys; from desilt.daemon.demo.run import run_demo; sys.exit(run_demo({!r}, {}))"


def _start(warehouse: Path) -> subprocess.Popen[str]:
    code = _RUN.format(str(warehouse), SECONDS)
    return subprocess.Popen(
        (sys.executable, "-P", "-c", code),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_demo_proves_that_no_row_was_lost(tmp_path: Path) -> None:
    """Six commits are enough for a compaction of every table, at the trigger of five."""
    with _start(tmp_path / "lake") as demo:
        printed, complaints = demo.communicate(timeout=120)

    assert demo.returncode == 0, complaints
    assert "proof holds" in printed
    assert "metrics while it runs: http://127.0.0.1:" in printed
    assert printed.count("ok: ") == len(KINDS)
    assert printed.count("lost 0, duplicated 0, changed 0, unexpected 0") == len(KINDS)
    assert printed.count("changes replayed, untold 0, misfits 0") == sum(k.tells for k in KINDS)
    lake = desilt.Catalog(str(tmp_path / "lake"))
    assert lake.tables() == tuple(sorted(kind.name for kind in KINDS))
    for kind in KINDS:
        table = lake.table(kind.name)
        commits = [table.handle.snapshots.get(i) for i in table.handle.snapshots.ids()]
        assert CommitKind.COMPACT in {snapshot.commit_kind for snapshot in commits}, kind.name
        assert ConsumerStore(table.handle).all() == ()  # nobody holds snapshots any more


def test_demo_makes_no_table_beside_those_that_are_there(tmp_path: Path) -> None:
    desilt.Catalog(str(tmp_path)).create_table(
        "demo.sales", {"k": "INT NOT NULL"}, primary_key=["k"], options={"bucket": "1"}
    )

    with pytest.raises(InvalidRequest, match=r"table exists already, table=demo\.sales"):
        run_demo(str(tmp_path), SECONDS)

    assert desilt.Catalog(str(tmp_path)).tables() == ("demo.sales",)


def test_demo_fails_when_rows_vanish_from_the_table(tmp_path: Path) -> None:
    """Somebody else deletes what the writer sent; the demo ends with 1 and counts it as lost.

    Its followers are told of that, too: what they replay is still the table."""
    with _start(tmp_path / "lake") as demo:
        _delete_what_is_there(tmp_path / "lake")
        printed, _ = demo.communicate(timeout=120)

    assert demo.returncode == 1
    assert "proof FAILS" in printed
    assert printed.count("WRONG: ") == 1
    assert printed.count("lost 0,") == len(KINDS) - 1
    assert printed.count("untold 0, misfits 0") == sum(kind.tells for kind in KINDS)


def _delete_what_is_there(warehouse: Path) -> None:
    """All rows of the first commits; the writer touches only a few of them again."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if warehouse.exists() and desilt.Catalog(str(warehouse)).tables():
            table = desilt.Catalog(str(warehouse)).table("demo.events")
            keys = table.scan(columns=["event_id"]).collect()
            if keys.height:
                table.delete(keys)
                return
        time.sleep(0.1)
    pytest.fail("the demo's writer wrote nothing")
