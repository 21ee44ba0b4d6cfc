"""Snapshots and how the latest one is found."""

from __future__ import annotations

from pathlib import Path

from support.builders import keyed_table


def test_table_without_snapshots_has_no_latest(tmp_path: Path) -> None:
    assert keyed_table(tmp_path).handle.snapshots.latest() is None
