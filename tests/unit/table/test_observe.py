"""Looking at a table reads nothing twice."""

from __future__ import annotations

from pathlib import Path

from support.builders import keyed_table

from desilt.table.observe import TableObserver


def test_refresh_of_an_empty_table_sees_no_snapshot(tmp_path: Path) -> None:
    assert not TableObserver(keyed_table(tmp_path).handle).refresh()
