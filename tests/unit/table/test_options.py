"""Table options as values."""

from __future__ import annotations

from desilt.table.options import parse_size


def test_parse_size_reads_units() -> None:
    assert parse_size("128 mb", "k") == 128 * 1024 * 1024
