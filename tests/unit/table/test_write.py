"""Writing rows."""

from __future__ import annotations

from pathlib import Path

from support.builders import keyed_table, kv, rows_of


def test_write_keeps_the_last_row_of_a_key(tmp_path: Path) -> None:
    table = keyed_table(tmp_path)

    table.write(kv((1, "a"), (1, "b")))

    assert rows_of(table) == [(1, "b")]
