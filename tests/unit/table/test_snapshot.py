"""Snapshots: the record, and how the latest one is found when hints lie."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from support.builders import ManualClock, handle_on, keyed_table, kv
from support.faulty import FaultyStorage

from desilt.table.errors import CorruptTable, FileMissing, UnsupportedFeature
from desilt.table.snapshot import CommitKind, Snapshot, dump_snapshot, load_snapshot
from desilt.table.table import Table

PATH = "/lake/db.db/t/snapshot/snapshot-9"
RAW: dict[str, Any] = {
    "version": 3,
    "id": 9,
    "schemaId": 2,
    "baseManifestList": "manifest-list-a-0",
    "deltaManifestList": "manifest-list-a-1",
    "changelogManifestList": "manifest-list-a-2",
    "indexManifest": "index-manifest-a-0",
    "commitUser": "somebody",
    "commitIdentifier": 9223372036854775807,
    "commitKind": "COMPACT",
    "timeMillis": 1700000000000,
    "totalRecordCount": 12,
    "deltaRecordCount": -3,
    "watermark": -9223372036854775808,
    "statistics": "stat-a-0",
    "nextRowId": 7,
    "novelty": {"kept": True},
}


def load(**changes: object) -> Snapshot:
    raw = {k: v for k, v in {**RAW, **changes}.items() if v is not ...}
    return load_snapshot(json.dumps(raw).encode(), PATH)


# --- the record ---------------------------------------------------------------------------------


def test_load_snapshot_reads_every_key_and_keeps_the_rest() -> None:
    snapshot = load()

    assert (snapshot.id, snapshot.schema_id, snapshot.commit_kind) == (9, 2, CommitKind.COMPACT)
    assert snapshot.commit_identifier == 2**63 - 1
    assert snapshot.watermark == -(2**63)
    assert (snapshot.total_record_count, snapshot.delta_record_count) == (12, -3)
    assert (snapshot.statistics, snapshot.next_row_id) == ("stat-a-0", 7)
    assert snapshot.extra["novelty"] == {"kept": True}
    assert json.loads(snapshot.content) == RAW


def test_load_snapshot_does_without_what_old_writers_left_out() -> None:
    optional = ("version", "changelogManifestList", "indexManifest", "totalRecordCount",
                "deltaRecordCount", "watermark", "statistics", "nextRowId")  # fmt: skip
    snapshot = load(**dict.fromkeys(optional, ...))

    assert (snapshot.index_manifest, snapshot.watermark, snapshot.total_record_count) == (
        None, None, 0,
    )  # fmt: skip
    assert load(**dict.fromkeys(optional, None)).index_manifest is None


def test_dump_snapshot_leaves_nulls_out() -> None:
    assert json.loads(dump_snapshot({"id": 1, "watermark": None, "n": 0})) == {"id": 1, "n": 0}


@pytest.mark.parametrize(
    "key",
    ["id", "schemaId", "baseManifestList", "deltaManifestList", "commitUser", "commitIdentifier",
     "commitKind", "timeMillis"],
)  # fmt: skip
def test_load_snapshot_names_a_missing_key(key: str) -> None:
    with pytest.raises(CorruptTable, match=f"field={key}, file={PATH}"):
        load(**{key: ...})


@pytest.mark.parametrize(
    "changes",
    [{"id": "x"}, {"id": None}, {"schemaId": []}, {"timeMillis": "soon"}, {"version": "new"},
     {"commitIdentifier": None}, {"totalRecordCount": "many"}],
    ids=json.dumps,
)  # fmt: skip
def test_load_snapshot_of_wrong_types_is_corrupt(changes: dict[str, object]) -> None:
    with pytest.raises(CorruptTable, match=f"file={PATH}"):
        load(**changes)


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"[]", b"7", b"null", b"\xff\xfe", b"[" * 200_000],
    ids=["empty", "cut", "list", "number", "null", "no-text", "deep"],
)
def test_load_snapshot_of_other_bytes_is_corrupt(data: bytes) -> None:
    with pytest.raises(CorruptTable, match=f"file={PATH}"):
        load_snapshot(data, PATH)


def test_load_snapshot_of_an_infinite_number_is_corrupt() -> None:
    """One changed byte is enough to make an exponent of a time's digits."""
    data = json.dumps(RAW).replace("1700000000000", "17e9999999999").encode()

    with pytest.raises(CorruptTable, match=f"file={PATH}"):
        load_snapshot(data, PATH)


@pytest.mark.parametrize("keep", range(0, len(json.dumps(RAW)) - 1, 17))
def test_load_snapshot_of_a_cut_file_is_corrupt(keep: int) -> None:
    with pytest.raises(CorruptTable, match=f"file={PATH}"):
        load_snapshot(json.dumps(RAW).encode()[:keep], PATH)


def test_load_snapshot_refuses_what_it_does_not_know_by_name() -> None:
    with pytest.raises(UnsupportedFeature, match=f"version=4, file={PATH}"):
        load(version=4)
    with pytest.raises(UnsupportedFeature, match=f"kind=MERGE, file={PATH}"):
        load(commitKind="MERGE")


@pytest.mark.parametrize("key", ["baseManifestList", "deltaManifestList"])
@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "", "a/b"])
def test_load_snapshot_refuses_lists_outside_the_table(key: str, name: str) -> None:
    with pytest.raises(CorruptTable, match="escapes"):
        load(**{key: name})


# --- the store ----------------------------------------------------------------------------------


@pytest.fixture
def table(tmp_path: Path) -> Table:
    table = keyed_table(tmp_path)
    for number in range(3):
        table.write(kv((number, "x")))
    return table


def test_store_of_a_table_without_snapshots_is_empty(tmp_path: Path) -> None:
    store = keyed_table(tmp_path).handle.snapshots

    assert (store.latest_id(), store.latest(), store.earliest_id()) == (None, None, None)
    assert store.find(1) is None
    assert not store.exists(1)


def test_latest_trusts_a_hint_whose_next_id_is_absent(table: Table) -> None:
    storage = FaultyStorage()
    assert handle_on(table.path, storage).snapshots.latest_id() == 3

    assert [c.method for c in storage.calls] == ["read", "exists"]


@pytest.mark.parametrize("hint", ["", "x", "0", "-3", "1", "2", "99", "3.0", "0x3", "\u0663"])
def test_latest_is_right_whatever_the_hint_says(table: Table, hint: str) -> None:
    Path(f"{table.path}/snapshot/LATEST").write_text(hint)
    latest = table.handle.snapshots.latest()

    assert latest is not None
    assert latest.id == 3


def test_latest_is_found_without_hints(table: Table) -> None:
    os.unlink(f"{table.path}/snapshot/LATEST")
    os.unlink(f"{table.path}/snapshot/EARLIEST")

    assert table.handle.snapshots.latest_id() == 3
    assert table.handle.snapshots.earliest_id() == 1


def test_listing_ignores_foreign_files(table: Table) -> None:
    for name in ("snapshot-9.tmp", "snapshot-", "snapshot-x", ".snapshot-8.1.tmp", "other"):
        Path(f"{table.path}/snapshot/{name}").write_text("?")
    os.unlink(f"{table.path}/snapshot/LATEST")

    assert table.handle.snapshots.latest_id() == 3


@pytest.mark.parametrize("hint", ["1", "77", "x", None])
def test_earliest_is_the_first_that_is_there(table: Table, hint: str | None) -> None:
    os.unlink(f"{table.path}/snapshot/snapshot-1")
    path = Path(f"{table.path}/snapshot/EARLIEST")
    path.unlink() if hint is None else path.write_text(hint)

    assert table.handle.snapshots.earliest_id() == 2


def test_get_of_an_absent_snapshot_is_missing(table: Table) -> None:
    with pytest.raises(FileMissing, match="snapshot-8"):
        table.handle.snapshots.get(8)
    assert table.handle.snapshots.find(8) is None


def test_snapshot_under_another_id_is_corrupt(table: Table) -> None:
    os.rename(f"{table.path}/snapshot/snapshot-1", f"{table.path}/snapshot/snapshot-4")

    with pytest.raises(CorruptTable, match=r"id=1, file=.*snapshot-4"):
        table.handle.snapshots.latest()


def test_snapshot_times_never_fall(tmp_path: Path) -> None:
    """Expiry and time travel rely on it; the clock may jump back."""
    clock = ManualClock()
    table = keyed_table(tmp_path, clock=clock)
    table.write(kv((1, "a")))
    clock.advance(-3600)
    table.write(kv((2, "b")))

    store = table.handle.snapshots
    assert store.get(2).time_millis >= store.get(1).time_millis
