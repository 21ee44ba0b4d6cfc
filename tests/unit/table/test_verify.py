"""Verification by sabotage: written files that were tampered with never get committed."""

from __future__ import annotations

from desilt.table.verify import quarter


def test_quarter_takes_every_fourth_column() -> None:
    assert quarter(["a", "b", "c", "d", "e"], 0, full=False) == ("a", "e")
