"""The codec of index manifests: what comes in goes out again; what is damaged is named."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import fastavro
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from desilt.table.errors import CorruptTable, TableError, UnsupportedFeature
from desilt.table.manifest.entry import EntryKind
from desilt.table.manifest.index import (
    DELETION_VECTORS,
    HASH,
    DeletionRange,
    IndexEntry,
    read_index_manifest,
    write_index_manifest,
)

GLOBAL = {
    "_ROW_RANGE_START": 0, "_ROW_RANGE_END": 9, "_INDEX_FIELD_ID": 3, "_EXTRA_FIELD_IDS": [4, 5],
    "_INDEX_META": b"\x01\x02", "_SOURCE_META": None,
}  # fmt: skip
LONG = st.integers(-(2**63), 2**63 - 1)
INT = st.integers(-(2**31), 2**31 - 1)
NAMES = st.text(
    st.characters(codec="utf-8", exclude_characters="/\\\0"), min_size=1, max_size=9
).filter(lambda name: name not in (".", ".."))
ENTRIES = st.lists(
    st.builds(
        IndexEntry,
        kind=st.sampled_from(EntryKind),
        partition=st.binary(max_size=9),
        bucket=INT,
        index_type=st.sampled_from((HASH, DELETION_VECTORS, "btree")),
        file_name=NAMES,
        file_size=LONG,
        row_count=LONG,
        deletions=st.none()
        | st.lists(st.builds(DeletionRange, NAMES, INT, INT, st.none() | LONG), max_size=3).map(
            tuple
        ),
        external_path=st.none() | NAMES,
        global_index=st.none() | st.just(GLOBAL),
    ),
    max_size=4,
)
PURE = settings(max_examples=60, deadline=None, derandomize=True, database=None)


def entry(**changes: Any) -> IndexEntry:
    values: dict[str, Any] = {
        "kind": EntryKind.ADD, "partition": bytes(12), "bucket": 0, "index_type": DELETION_VECTORS,
        "file_name": "index-a-0", "file_size": 35, "row_count": 1,
        "deletions": (DeletionRange("data-a-0.parquet", 1, 26, 3),),
    }  # fmt: skip
    return IndexEntry(**{**values, **changes})


def avro(*rows: Mapping[str, object], without: str = "") -> bytes:
    """An index manifest that holds these changes of a sound row, one of its fields left out."""
    reader = fastavro.reader(io.BytesIO(write_index_manifest([entry()])))
    (sound,) = reader
    schema: Any = reader.writer_schema
    fields = [
        {"name": f["name"], "type": f["type"] if f["name"] in sound else "int"}
        for f in schema["fields"]
        if f["name"] != without
    ]
    for row in rows:
        for name, value in row.items():
            if isinstance(value, str) and name == "_BUCKET":
                next(f for f in fields if f["name"] == name)["type"] = "string"
    out = io.BytesIO()
    made = fastavro.parse_schema({"type": "record", "name": "record", "fields": fields})
    records: list[Any] = [{**sound, **row} for row in rows]
    fastavro.writer(out, made, records)
    return out.getvalue()


@PURE
@given(entries=ENTRIES)
def test_an_index_manifest_is_read_as_it_was_written(entries: list[IndexEntry]) -> None:
    assert list(read_index_manifest(write_index_manifest(entries), "i")) == entries


def test_an_index_manifest_without_entries_is_a_file_without_records() -> None:
    data = write_index_manifest([])

    assert data.startswith(b"Obj\x01")
    assert read_index_manifest(data, "i") == ()


def test_a_deletion_file_that_lost_its_vectors_is_not_one_without_any() -> None:
    """Java keeps a file of one byte, with an empty list of ranges."""
    emptied, hashed = entry(row_count=0, deletions=()), entry(index_type=HASH, deletions=None)
    read = read_index_manifest(write_index_manifest([emptied, hashed]), "i")

    assert [e.deletions for e in read] == [(), None]


@pytest.mark.parametrize("field", ["_DELETIONS_VECTORS_RANGES", "_EXTERNAL_PATH", "_GLOBAL_INDEX"])
def test_fields_that_older_writers_leave_out_are_none(field: str) -> None:
    (read,) = read_index_manifest(avro({}, without=field), "i")
    names = {
        "_DELETIONS_VECTORS_RANGES": read.deletions,
        "_EXTERNAL_PATH": read.external_path,
        "_GLOBAL_INDEX": read.global_index,
    }

    assert names[field] is None


@pytest.mark.parametrize(
    "field",
    ["_KIND", "_PARTITION", "_BUCKET", "_INDEX_TYPE", "_FILE_NAME", "_FILE_SIZE", "_ROW_COUNT"],
)
def test_a_missing_field_is_named(field: str) -> None:
    with pytest.raises(CorruptTable, match=rf"field {field} is NoneType.*file=the-file"):
        read_index_manifest(avro({}, without=field), "the-file")


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"_KIND": 2}, "2 is not a valid EntryKind"),
        ({"_BUCKET": "0"}, "field _BUCKET is str, not int"),
        ({"_FILE_NAME": "../../etc"}, "file name escapes the table.*manifest=the-file"),
        ({"_FILE_NAME": ""}, "file name escapes the table.*manifest=the-file"),
    ],
)
def test_a_contradiction_is_named(change: dict[str, object], complaint: str) -> None:
    with pytest.raises(CorruptTable, match=complaint):
        read_index_manifest(avro(change), "the-file")


def test_another_version_is_refused() -> None:
    with pytest.raises(UnsupportedFeature, match="version=2, file=the-file"):
        read_index_manifest(avro({"_VERSION": 2}), "the-file")


def test_a_global_index_that_says_more_than_we_can_write_is_refused() -> None:
    stranger = entry(file_name="index-b-1", global_index={**GLOBAL, "_NEW": 1})

    with pytest.raises(UnsupportedFeature, match="field=_NEW, file=index-b-1"):
        write_index_manifest([stranger])


@PURE
@given(entries=ENTRIES, data=st.data())
def test_damage_is_an_error_of_the_table_or_nothing(
    entries: list[IndexEntry], data: st.DataObject
) -> None:
    whole = write_index_manifest(entries)
    at = data.draw(st.integers(0, len(whole) - 1))
    flipped = whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :]
    for damaged in (whole[:at], flipped):
        assert "the-file" in complaint(damaged)


def complaint(damaged: bytes) -> str:
    """What is said about the damage; what can still be read says where it is from."""
    try:
        read_index_manifest(damaged, "the-file")
    except TableError as error:
        return str(error)
    return "nothing wrong with the-file"
