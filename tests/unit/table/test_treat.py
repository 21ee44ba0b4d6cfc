"""How sections are treated: upgraded or rewritten (maintenance reference §3.2)."""

from __future__ import annotations

from desilt.table.plan import __doc__ as about


def test_plan_has_a_docstring() -> None:
    assert about
