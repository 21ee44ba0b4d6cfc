"""Paths of a table, and the guard on file names that metadata gives."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest

from desilt.table import paths
from desilt.table.errors import CorruptTable

ROOT = "/lake/db.db/t"


PATHS = {
    "schema/schema-3": paths.schema_file(ROOT, 3),
    "snapshot/snapshot-7": paths.snapshot_file(ROOT, 7),
    "snapshot/LATEST": paths.latest_hint(ROOT),
    "snapshot/EARLIEST": paths.earliest_hint(ROOT),
    "manifest/manifest-x-0": paths.manifest_file(ROOT, "manifest-x-0"),
    "bucket-3": paths.bucket_dir(ROOT, "", 3),
    "dt=a/hr=1/bucket-0": paths.bucket_dir(ROOT, "dt=a/hr=1", 0),
    "bucket-0/data-x.parquet": paths.data_file(f"{ROOT}/bucket-0", "data-x.parquet"),
}


@pytest.mark.parametrize("wanted", PATHS)
def test_path_is_paimons(wanted: str) -> None:
    assert PATHS[wanted] == f"{ROOT}/{wanted}"


@pytest.mark.parametrize("name", ["data-1.parquet", "..x", "x..y", "a b", "größe", "-", "a:b"])
def test_name_that_stays_in_its_folder_is_passed_on(name: str) -> None:
    assert paths.checked_name(name) == name


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../x", "/etc/passwd", "a/b", "a\\b", "..\\x", "x\0", "a/../b"]
)
def test_name_that_could_leave_its_folder_is_refused(name: str) -> None:
    builders: list[Callable[[str], str]] = [
        paths.checked_name,
        partial(paths.manifest_file, ROOT),
        partial(paths.data_file, f"{ROOT}/bucket-0"),
    ]
    for build in builders:
        with pytest.raises(CorruptTable, match="escapes the table") as caught:
            build(name)
        assert caught.value.context["file"] == name
