"""Scans."""

from __future__ import annotations

from pathlib import Path

from support.builders import keyed_table, rows_of


def test_scan_of_an_empty_table_has_no_rows(tmp_path: Path) -> None:
    assert rows_of(keyed_table(tmp_path)) == []
