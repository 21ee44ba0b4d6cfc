"""Files that the table counts on and that are gone: found, and taken out with their vectors."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest
from support import refs
from support.builders import (
    append_table,
    handle_on,
    keyed_table,
    rows_of,
    upserts,
)
from support.faulty import Failure, FaultyStorage, files_below

from desilt.table.commit import Committer
from desilt.table.errors import (
    CommitConflict,
    FileMissing,
    StorageUnavailable,
    UnsupportedFeature,
)
from desilt.table.metadata import MetadataReader
from desilt.table.missing_files import apply_missing, plan_missing, remove_missing
from desilt.table.snapshot import CommitKind
from desilt.table.storage import FileStatus, LocalStorage
from desilt.table.table import Table


@pytest.fixture
def table(tmp_path: Path) -> Table:
    """Three files of level 0: keys 0 to 3, 4 and 5, 6."""
    table = keyed_table(tmp_path)
    table.write(upserts(4, "a"))
    table.write(upserts(2, "b", start=4))
    table.write(upserts(1, "c", start=6))
    return table


def lose(table: Table, at: int) -> Path:
    """Delete one of the live files, as they were committed."""
    name = table.handle.snapshots.get(at + 1).delta_manifest_list
    entries = MetadataReader(table.handle)
    file = entries.slim(entries.manifest_list(name)[0].name)["name"][0]
    path = next(Path(table.path).rglob(file))
    path.unlink()
    return path


def test_nothing_is_missing_in_a_whole_table(table: Table) -> None:
    plan, outcome = remove_missing(table.handle)

    assert plan.empty
    assert (plan.looked, plan.files, outcome) == (3, 0, None)
    assert table.handle.snapshots.latest_id() == 3
    assert plan_missing(keyed_table(Path(table.path) / "empty").handle).empty


def test_a_table_is_readable_again_without_what_is_lost(table: Table) -> None:
    path = lose(table, 1)
    with pytest.raises(FileMissing):
        rows_of(table)
    plan = plan_missing(table.handle)
    found = json.loads(json.dumps(plan.as_dict()))

    assert (found["files"], found["rows"], found["looked"]) == (1, 2, 3)
    assert found["paths"] == [str(path.relative_to(table.path))]
    outcome = apply_missing(plan, table.handle)
    assert outcome is not None
    latest = refs.latest_of(table)
    assert (latest.id, latest.commit_kind) == (4, CommitKind.OVERWRITE)
    assert (latest.total_record_count, latest.delta_record_count) == (5, -2)
    assert [row[0] for row in rows_of(table)] == [0, 1, 2, 3, 6]
    assert plan_missing(table.handle).empty


def test_files_of_all_partitions_go_in_one_snapshot(tmp_path: Path) -> None:
    table = keyed_table(
        tmp_path,
        columns={"p": "STRING NOT NULL", "k": "INT NOT NULL"},
        primary_key=("p", "k"),
        partition_by=("p",),
    )
    for p in ("a=b", "c", "d"):
        table.write(pl.DataFrame({"p": [p], "k": [1]}, schema={"p": pl.String, "k": pl.Int32}))
    for at in (0, 2):
        lose(table, at)
    plan, outcome = remove_missing(table.handle)

    assert (plan.files, outcome and outcome.snapshot_id) == (2, 4)
    assert rows_of(table) == [("c", 1)]


@pytest.mark.parametrize("keyed", [True, False])
def test_vectors_of_lost_files_go_and_others_stay(tmp_path: Path, keyed: bool) -> None:
    options = {"deletion-vectors.enabled": "true"}
    if keyed:
        table = keyed_table(tmp_path, options=options)
        for number in range(3):
            table.write(upserts(9, f"{number}-", start=number * 20))
            table.compact("full")
            table.write(upserts(3, f"new{number}-", start=number * 20))
            table.compact("minor")
    else:
        table = append_table(tmp_path, options=options)
        for number in range(3):
            rows = pl.Series("n", range(number * 9, number * 9 + 9), pl.Int32).to_frame()
            table.write(rows.with_columns(v=pl.lit("x")))
        table.delete(pl.col("n") % 9 < 3)
    reader = MetadataReader(table.handle)
    held = [
        r.data_file for e in reader.deletion_files(refs.latest_of(table)) for r in e.deletions or ()
    ]
    assert held
    before = rows_of(table)
    lost = next(Path(table.path).rglob(held[0]))
    lost.unlink()
    remove_missing(table.handle)
    left = rows_of(table)
    after = MetadataReader(table.handle).deletion_files(refs.latest_of(table))

    assert 0 < len(left) < len(before) or len(held) == 1
    assert set(left) <= set(before)
    assert {r.data_file for e in after for r in e.deletions or ()} == set(held[1:])


def test_what_a_listing_lacks_is_asked_for(table: Table) -> None:
    class Behind(LocalStorage):
        def list(self, directory: str) -> tuple[FileStatus, ...]:
            return () if "bucket-" in directory else super().list(directory)

    assert plan_missing(handle_on(table.path, Behind(sync=False))).empty


def test_a_file_that_is_back_is_not_taken_out(table: Table) -> None:
    path = lose(table, 0)
    plan = plan_missing(table.handle)
    path.write_bytes(b"restored")

    with pytest.raises(CommitConflict, match="a missing file is back"):
        apply_missing(plan, table.handle)
    assert table.handle.snapshots.latest_id() == 3


def test_a_file_that_is_not_live_any_more_is_a_conflict(table: Table) -> None:
    lose(table, 0)
    plan = plan_missing(table.handle)
    before = files_below(table.path)
    apply_missing(plan_missing(table.handle), table.handle)
    published = files_below(table.path) - before

    with pytest.raises(CommitConflict, match="no longer live"):
        apply_missing(plan, table.handle)
    assert files_below(table.path) - before == published, "what was written is removed"


def test_writers_may_go_on_meanwhile(table: Table) -> None:
    lose(table, 0)
    plan = plan_missing(table.handle)
    table.write(upserts(1, "d", start=9))
    apply_missing(plan, table.handle)

    assert [row[0] for row in rows_of(table)] == [4, 5, 6, 9]


def test_a_store_that_fails_is_no_absence(table: Table) -> None:
    storage = FaultyStorage()
    plan_missing(handle_on(table.path, storage))
    looks = [at for at, c in enumerate(storage.calls) if c.method in ("list", "exists")]
    assert looks
    for at in looks:
        faulty = FaultyStorage(fault=Failure(at))
        with pytest.raises(StorageUnavailable):
            plan_missing(handle_on(table.path, faulty))


def test_tables_that_are_not_understood_are_refused(table: Table) -> None:
    schema = Path(table.path, "schema/schema-0")
    raw = json.loads(schema.read_text())
    raw["options"]["file.format"] = "lance"
    schema.write_text(json.dumps(raw))

    with pytest.raises(UnsupportedFeature):
        plan_missing(table.handle)


def test_a_committer_may_be_shared(table: Table) -> None:
    lose(table, 0)
    committer = Committer(table.handle)
    outcome = apply_missing(plan_missing(table.handle, committer.reader), table.handle, committer)

    assert outcome is not None
    assert outcome.attempts == 1
