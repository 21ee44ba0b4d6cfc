"""Packing of append tables: maintenance reference §7."""

from __future__ import annotations

from desilt.table.append import __doc__ as about


def test_append_has_a_docstring() -> None:
    assert about
