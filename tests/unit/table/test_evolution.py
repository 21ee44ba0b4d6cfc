"""Reading files of older schemas."""

from __future__ import annotations

from desilt.table.evolution import __doc__ as about


def test_evolution_has_a_docstring() -> None:
    assert about
