"""Manifest merging keeps the merged set of entries."""

from __future__ import annotations

from desilt.table.manifest.merge import __doc__ as about


def test_manifest_merge_has_a_docstring() -> None:
    assert about
