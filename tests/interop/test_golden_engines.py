"""Golden tables of merge engines, changelogs and deletion vectors, by Java 0.9.0 and 2.0.0.

tests/fixtures/make_engine_tables.py made them, and wrote down what Java read, told and marked. All
but the last tests need no peer.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from support.engines import ENGINES, PRODUCERS
from support.golden import (
    ARCHIVES,
    Golden,
    by_key,
    file_kinds,
    index_entries,
    plans_of,
    told_by,
    unpacked,
)
from support.peer_streams import changes, index_files, snapshot_files
from support.peers import OLDEST, Peer
from support.players import Desilt

from desilt.table.data_file import read_columns
from desilt.table.deletes import read_vectors
from desilt.table.manifest.entry import frame_entries
from desilt.table.metadata import MetadataReader
from desilt.table.paths import bucket_dir
from desilt.table.plan import partition_text

ARCHIVE_BYTES_MAX = 100_000
NAMES = [(version, name) for version in ARCHIVES for name in plans_of(version)]
DESILT = Desilt()
COMMON = {"data PAR1", "manifest 2", "manifest-list 2", "manifest-list empty", "schema 3",
          "snapshot 3"}  # fmt: skip
SILENT = {"append_vectors", "append_vectors_wide", "vectors_wide"}
"""Tables without changelog files."""
NARROW, WIDE = "index 1: 32 bit", "index 1: 64 bit"
"""Version and layout of an index file."""


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Mapping[str, Golden]]:
    """All tables, unpacked; nobody changes them."""
    return {version: unpacked(version, tmp_path_factory.mktemp("golden")) for version in ARCHIVES}


@pytest.fixture(params=NAMES, ids="-".join)
def golden(request: pytest.FixtureRequest, archives: Mapping[str, Mapping[str, Golden]]) -> Golden:
    version, name = request.param
    return archives[version][name]


@pytest.fixture
def copied(golden: Golden, tmp_path: Path) -> Golden:
    """The table for a test to change."""
    path = tmp_path / "default.db" / golden.path.name
    shutil.copytree(golden.path, path)
    return replace(golden, path=path)


# --- what is there ------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ARCHIVES)
def test_an_archive_holds_its_tables_and_is_small(
    archives: Mapping[str, Mapping[str, Golden]], version: str
) -> None:
    assert list(archives[version]) == list(plans_of(version))
    assert ARCHIVES[version].stat().st_size < ARCHIVE_BYTES_MAX


def test_every_engine_and_producer_is_there(archives: Mapping[str, Mapping[str, Golden]]) -> None:
    for tables in archives.values():
        options = [one.table.schema.options for one in tables.values() if one.shape.keyed]
        assert {o.merge_engine for o in options} == set(ENGINES)
        assert {o.changelog_producer for o in options} >= set(PRODUCERS) - {"none"}


def test_every_kind_of_change_is_told(archives: Mapping[str, Mapping[str, Golden]]) -> None:
    for tables in archives.values():
        for name in ("lookup", "full_compaction", "vectors", "partial_update"):
            kinds = {row[0] for rows in tables[name].told["changes"].values() for row in rows}
            assert kinds >= {"+I", "-U", "+U"}, name
            assert "-D" in kinds or name == "partial_update", name


def kinds_of(name: str) -> set[str]:
    """Kinds and versions of the files that a table must have."""
    made = set(COMMON)
    if "vectors" in name:
        made |= {"index-manifest 1", WIDE if "wide" in name else NARROW}
    if name not in SILENT:
        made.add("changelog PAR1")
    return made


def test_the_files_are_of_these_kinds_and_versions(golden: Golden) -> None:
    assert file_kinds(golden.path) == kinds_of(golden.path.name)


# --- without a peer -----------------------------------------------------------------------------


def test_every_snapshot_is_read(golden: Golden) -> None:
    wanted = golden.rows

    assert tuple(wanted) == golden.table.handle.snapshots.ids()
    for snapshot, rows in wanted.items():
        found = DESILT.read(golden.shape, golden.path, snapshot)
        assert golden.alike(found) == rows, snapshot


def test_changes_are_told(golden: Golden) -> None:
    found = told_by(golden.shape, DESILT.changes(golden.shape, golden.path))

    assert found == golden.changes
    assert found


def test_every_changelog_file_is_decoded(golden: Golden) -> None:
    """Each by itself: it has as many rows as its manifest says, and none is left out."""
    table = golden.table
    metadata, schema = MetadataReader(table.handle), table.schema
    seen: set[str] = set()
    for snapshot_id in table.handle.snapshots.ids():
        snapshot = table.handle.snapshots.get(snapshot_id)
        if snapshot.changelog_manifest_list is None:
            continue
        metas = metadata.manifest_list(snapshot.changelog_manifest_list)
        for entry in frame_entries(pl.concat(metadata.whole(meta.name) for meta in metas)):
            text = partition_text(schema, entry.partition)
            folder = bucket_dir(table.path, text, entry.bucket)
            frames = read_columns(
                table.handle, schema, schema.physical, (folder, entry.file), 1 << 20, unique=False
            )
            assert sum(frame.height for frame in frames) == entry.file.row_count
            seen.add(entry.file.name)

    assert seen == {file.name for file in golden.path.rglob("changelog-*.parquet")}


def test_deleted_positions_are_read(golden: Golden) -> None:
    assert {i: golden.vectors(i) for i in golden.deleted} == golden.deleted
    assert any(golden.deleted.values()) == ("vectors" in golden.path.name)


def test_every_index_file_is_decoded(golden: Golden) -> None:
    """Each by what its index manifest says of it; no file lies there that none names."""
    seen: set[str] = set()
    for path, entry in index_entries(golden.path):
        assert entry.deletions
        found = read_vectors(DESILT.storage, str(path), entry.deletions)
        assert path.stat().st_size == entry.file_size
        assert len(found) == entry.row_count == len(entry.deletions)
        assert all(len(positions) for positions in found.values())
        seen.add(entry.file_name)

    assert seen == {file.name for file in golden.path.glob("index/*")}


@pytest.mark.parametrize("version", ARCHIVES)
def test_the_newer_index_manifests_count_deleted_rows(
    archives: Mapping[str, Mapping[str, Golden]], version: str
) -> None:
    for name in ("vectors", "append_vectors"):
        entries = [entry for _, entry in index_entries(archives[version][name].path)]
        counts = [found.cardinality for entry in entries for found in entry.deletions or ()]
        assert counts
        assert all((count is None) == (version == OLDEST) for count in counts)


def test_a_full_compaction_makes_what_that_of_java_made(copied: Golden) -> None:
    latest = copied.table.handle.snapshots.latest_id()
    assert latest is not None
    DESILT.compact(copied.path, full=True)
    after = DESILT.changes(copied.shape, copied.path, first=latest + 1)

    assert copied.alike(DESILT.read(copied.shape, copied.path)) == copied.compacted
    assert by_key(copied.shape, [r for one in after for r in one["rows"]]) == (
        copied.told_of_compaction
    )
    assert copied.vectors(copied.table.handle.snapshots.ids()[-1]) == {}


def test_what_went_before_stays_after_a_compaction(copied: Golden) -> None:
    DESILT.compact(copied.path, full=True)

    for snapshot, rows in copied.rows.items():
        assert copied.alike(DESILT.read(copied.shape, copied.path, snapshot)) == rows
        assert copied.vectors(snapshot) == copied.deleted[snapshot]


# --- with the peers -----------------------------------------------------------------------------


def changed(golden: Golden, how: str) -> None:
    """Rows are marked, by a small compaction or a predicate; or all are rewritten."""
    if how == "marks" and not golden.shape.keyed:
        golden.table.delete(pl.col("k") % 3 == 0)
    else:
        DESILT.compact(golden.path, full=how == "rewrites")


def readers_of(version: str, name: str) -> tuple[str, ...]:
    """Java reads what desilt added to tables of an older release, as that release does itself.

    But of several records above level 0 it takes the one fed last, not the one of the least level,
    which is an older one where a retract was merged into it.
    """
    old = version == OLDEST and name != "partial_update"
    return ("java", "java09") if old else ("java",)


CROSSINGS = [(v, name, reader) for v, name in NAMES for reader in readers_of(v, name)]


@pytest.mark.parametrize("how", ["marks", "rewrites"])
@pytest.mark.parametrize(("version", "name", "reader"), CROSSINGS, ids=lambda part: str(part))
def test_java_decodes_what_desilt_added(
    request: pytest.FixtureRequest,
    archives: Mapping[str, Mapping[str, Golden]],
    tmp_path: Path,
    version: str,
    name: str,
    reader: str,
    how: str,
) -> None:
    java = request.getfixturevalue(reader)
    assert isinstance(java, Peer)
    whole = archives[version][name]
    golden = replace(whole, path=tmp_path / "default.db" / name)
    shutil.copytree(whole.path, golden.path)
    before = {file.name for file in golden.path.rglob("*")}
    changed(golden, how)
    latest = golden.table.handle.snapshots.ids()[-1]
    added = {file.name: file for file in golden.path.rglob("*") if file.name not in before}

    # Rows, and every data file by itself.
    assert golden.alike(java.read(golden.path)["rows"]) == golden.alike(
        DESILT.read(golden.shape, golden.path)
    )
    live = snapshot_files(java, golden.path, "live", snapshot=latest, records=True)
    assert all(len(file["records"]) == file["rowCount"] for file in live)
    # Changes, with the changelog files that are new.
    told = changes(java, golden.path)
    assert told_by(golden.shape, told) == told_by(
        golden.shape, DESILT.changes(golden.shape, golden.path)
    )
    _check_changelog(java, golden, added)
    # Vectors, and the index files that are new.
    marked = _marked(java, golden, latest)
    assert marked == golden.vectors(latest)
    assert bool(marked) == (how == "marks" and "vectors" in name)
    new = {n for n in added if n.startswith("index-") and "manifest" not in n}
    assert bool(new) == bool(marked) or how == "rewrites"
    if marked:
        assert file_kinds(golden.path) == kinds_of(name)


def _marked(java: Peer, golden: Golden, snapshot: int) -> dict[str, list[int]]:
    return {
        name: at
        for entry in index_files(java, golden.path, snapshot=snapshot)
        for name, at in entry["deleted"].items()
        if at
    }


def _check_changelog(java: Peer, golden: Golden, added: Mapping[str, Path]) -> None:
    """Java finds each new changelog file, and in it as many records as it says."""
    new = {name for name in added if name.startswith("changelog-")}
    seen: dict[str, Any] = {}
    for snapshot in golden.table.handle.snapshots.ids():
        for file in snapshot_files(java, golden.path, "changelog", snapshot=snapshot, records=True):
            seen[file["name"]] = file
    assert new <= set(seen)
    assert all(len(seen[name]["records"]) == seen[name]["rowCount"] for name in new)
