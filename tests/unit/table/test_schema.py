"""Schema files."""

from __future__ import annotations

from pathlib import Path

from support.builders import keyed_table


def test_first_schema_has_id_zero(tmp_path: Path) -> None:
    assert keyed_table(tmp_path).handle.latest_schema().id == 0
