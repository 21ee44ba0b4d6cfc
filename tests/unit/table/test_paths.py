"""Paths of a table, and the guard on file names that metadata gives."""

from __future__ import annotations

import pytest

from desilt.table import paths
from desilt.table.errors import CorruptTable

ROOT = "/lake/db.db/t"


def test_paths_are_paimons() -> None:
    assert {
        paths.schema_file(ROOT, 3): f"{ROOT}/schema/schema-3",
        paths.snapshot_file(ROOT, 7): f"{ROOT}/snapshot/snapshot-7",
        paths.latest_hint(ROOT): f"{ROOT}/snapshot/LATEST",
        paths.earliest_hint(ROOT): f"{ROOT}/snapshot/EARLIEST",
        paths.manifest_file(ROOT, "manifest-x-0"): f"{ROOT}/manifest/manifest-x-0",
        paths.bucket_dir(ROOT, "", 3): f"{ROOT}/bucket-3",
        paths.bucket_dir(ROOT, "dt=a/hr=1", 0): f"{ROOT}/dt=a/hr=1/bucket-0",
        paths.data_file(f"{ROOT}/bucket-0", "data-x.parquet"): f"{ROOT}/bucket-0/data-x.parquet",
    } == {p: p for p in _all()}


def _all() -> list[str]:
    return [
        f"{ROOT}/schema/schema-3", f"{ROOT}/snapshot/snapshot-7", f"{ROOT}/snapshot/LATEST",
        f"{ROOT}/snapshot/EARLIEST", f"{ROOT}/manifest/manifest-x-0", f"{ROOT}/bucket-3",
        f"{ROOT}/dt=a/hr=1/bucket-0", f"{ROOT}/bucket-0/data-x.parquet",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["data-1.parquet", "..x", "x..y", "a b", "größe", "-", "a:b"])
def test_name_that_stays_in_its_folder_is_passed_on(name: str) -> None:
    assert paths.checked_name(name) == name


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../x", "/etc/passwd", "a/b", "a\\b", "..\\x", "x\0", "a/../b"]
)
def test_name_that_could_leave_its_folder_is_refused(name: str) -> None:
    for build in (
        paths.checked_name,
        lambda n: paths.manifest_file(ROOT, n),
        lambda n: paths.data_file(f"{ROOT}/bucket-0", n),
    ):
        with pytest.raises(CorruptTable, match="escapes the table") as caught:
            build(name)
        assert caught.value.context["file"] == name
