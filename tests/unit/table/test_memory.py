"""The memory bound of a rewrite, measured in a process of its own."""

from __future__ import annotations

from desilt.table.rewrite import peak_rss_bytes


def test_peak_rss_is_in_bytes() -> None:
    assert peak_rss_bytes() > 10_000_000
