"""Catalogs: names, places, and which tables may be made."""

from __future__ import annotations

from pathlib import Path

from support.builders import catalog, keyed_table


def test_tables_lists_made_tables(tmp_path: Path) -> None:
    keyed_table(tmp_path)

    assert catalog(tmp_path).tables() == ("db.t",)
