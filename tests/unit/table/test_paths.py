"""Paths of a table, and the guard on file names."""

from __future__ import annotations

from desilt.table import paths


def test_bucket_dir_without_partition_is_below_the_root() -> None:
    assert paths.bucket_dir("/w", "", 3) == "/w/bucket-3"
