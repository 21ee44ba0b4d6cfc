"""Metadata survives being written and read: manifests, lists, snapshots, schemas, plans."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import fastavro
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from desilt.table.datatypes import DataType, parse_type, type_text
from desilt.table.errors import CorruptTable, TableError
from desilt.table.manifest.codec import (
    ManifestMeta,
    read_manifest,
    read_manifest_list,
    read_manifest_slowly,
    write_manifest,
    write_manifest_list,
)
from desilt.table.manifest.entry import (
    ENTRY_SCHEMA,
    SLIM_SCHEMA,
    DataFile,
    EntryKind,
    ManifestEntry,
    entries_frame,
    frame_entries,
)
from desilt.table.manifest.fold import cancel, fold
from desilt.table.manifest.index import read_index_manifest
from desilt.table.paths import checked_name
from desilt.table.schema import Field, TableSchema, dump_schema, load_schema
from desilt.table.snapshot import CommitKind, dump_snapshot, load_snapshot
from desilt.table.stats import SimpleStats

PURE = settings(
    max_examples=80,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)

LONG = st.integers(-(2**63), 2**63 - 1)
INT = st.integers(-(2**31), 2**31 - 1)
TEXT = st.text(max_size=12)
BYTES = st.binary(max_size=20)
MILLIS = st.integers(-(2**40), 2**42)


def maybe(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(st.none(), strategy)


STATS = st.builds(SimpleStats, BYTES, BYTES, maybe(st.lists(maybe(LONG), max_size=3).map(tuple)))
FILES = st.builds(
    DataFile,
    name=TEXT,
    size_bytes=LONG,
    row_count=LONG,
    min_key=BYTES,
    max_key=BYTES,
    min_sequence=LONG,
    max_sequence=LONG,
    schema_id=LONG,
    level=INT,
    key_stats=STATS,
    value_stats=STATS,
    extra_files=st.lists(TEXT, max_size=2).map(tuple),
    creation_millis=maybe(MILLIS),
    delete_row_count=maybe(LONG),
    embedded_index=maybe(BYTES),
    file_source=maybe(st.sampled_from((0, 1))),
    value_stats_cols=maybe(st.lists(TEXT, max_size=3).map(tuple)),
    external_path=maybe(TEXT),
    first_row_id=maybe(LONG),
    write_cols=maybe(st.lists(TEXT, max_size=2).map(tuple)),
    write_cols_sequences=maybe(st.lists(LONG, max_size=2).map(tuple)),
)
ENTRIES = st.lists(
    st.builds(ManifestEntry, st.sampled_from(EntryKind), BYTES, INT, INT, FILES), max_size=5
)
METAS = st.lists(
    st.builds(
        ManifestMeta,
        name=TEXT,
        size_bytes=LONG,
        added_files=LONG,
        deleted_files=LONG,
        partition_stats=STATS,
        schema_id=LONG,
        min_bucket=maybe(INT),
        max_bucket=maybe(INT),
        min_level=maybe(INT),
        max_level=maybe(INT),
        min_row_id=maybe(LONG),
        max_row_id=maybe(LONG),
    ),
    max_size=5,
)


@PURE
@given(entries=ENTRIES)
def test_a_manifest_is_read_as_it_was_written(entries: list[ManifestEntry]) -> None:
    data = write_manifest(entries_frame(entries))

    assert list(frame_entries(read_manifest(data, "m", stats=True))) == entries


@PURE
@given(entries=ENTRIES)
def test_the_fast_manifest_reader_equals_the_slow_one(entries: list[ManifestEntry]) -> None:
    data = write_manifest(entries_frame(entries))

    for stats, schema in ((True, ENTRY_SCHEMA), (False, SLIM_SCHEMA)):
        fast = read_manifest(data, "m", stats=stats)
        assert fast.equals(read_manifest_slowly(data, "m", stats=stats))
        assert dict(fast.schema) == schema


@PURE
@given(entries=ENTRIES, codec=st.sampled_from(("null", "deflate", "zstandard")))
def test_a_manifest_of_many_blocks_and_any_codec_is_read_alike(
    entries: list[ManifestEntry], codec: str
) -> None:
    reader = fastavro.reader(io.BytesIO(write_manifest(entries_frame(entries))))
    records: list[Any] = list(reader)
    out = io.BytesIO()
    fastavro.writer(out, reader.writer_schema, records, codec=codec, sync_interval=1)

    assert list(frame_entries(read_manifest(out.getvalue(), "m", stats=True))) == entries


@PURE
@given(metas=METAS)
def test_a_manifest_list_is_read_as_it_was_written(metas: list[ManifestMeta]) -> None:
    assert list(read_manifest_list(write_manifest_list(metas), "l")) == metas


@PURE
@given(entries=ENTRIES, data=st.data())
def test_a_damaged_manifest_is_an_error_of_the_table_or_nothing(
    entries: list[ManifestEntry], data: st.DataObject
) -> None:
    """Never a crash of another kind, whatever byte is flipped or cut."""
    whole = write_manifest(entries_frame(entries))
    at = data.draw(st.integers(0, len(whole) - 1))
    damaged = data.draw(
        st.sampled_from((whole[:at], whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :]))
    )

    for read in (
        lambda: read_manifest(damaged, "the-file", stats=True),
        lambda: read_manifest_list(damaged, "the-file"),
        lambda: read_index_manifest(damaged, "the-file"),
    ):
        assert "the-file" in _complaint(read)


def _complaint(read: Callable[[], object]) -> str:
    """What is said about the damage; what can still be read says where it is from."""
    try:
        read()
    except TableError as error:
        return str(error)
    return "nothing wrong with the-file"


@PURE
@given(junk=st.binary(max_size=60))
def test_junk_is_a_corrupt_file(junk: bytes) -> None:
    for read in (
        lambda: read_manifest(junk, "the-file", stats=False),
        lambda: read_manifest_list(junk, "the-file"),
        lambda: load_snapshot(junk, "the-file"),
        lambda: load_schema(junk, "the-file"),
    ):
        with pytest.raises(CorruptTable, match="the-file"):
            read()


# --- fold and cancel ------------------------------------------------------------------------------


@st.composite
def changes(draw: st.DrawFn) -> list[list[tuple[EntryKind, str, int]]]:
    """Manifests of a table's life: files come, move between levels, and go."""
    live: dict[str, int] = {}
    manifests: list[list[tuple[EntryKind, str, int]]] = []
    count = 0
    for _ in range(draw(st.integers(1, 6))):
        entries: list[tuple[EntryKind, str, int]] = []
        for _ in range(draw(st.integers(0, 4))):
            act = draw(st.sampled_from(("add", "move", "remove")))
            if act == "add" or not live:
                live[f"f{count}"] = draw(st.integers(0, 2))
                entries.append((EntryKind.ADD, f"f{count}", live[f"f{count}"]))
                count += 1
                continue
            name = draw(st.sampled_from(sorted(live)))
            level = live.pop(name)
            entries.append((EntryKind.DELETE, name, level))
            if act == "move" and level < 5:
                live[name] = level + 1
                entries.append((EntryKind.ADD, name, level + 1))
        manifests.append(entries)
    return manifests


def _frames(manifests: list[list[tuple[EntryKind, str, int]]]) -> list[pl.DataFrame]:
    def entry(kind: EntryKind, name: str, level: int) -> ManifestEntry:
        file = DataFile(name, 1, 1, b"", b"", 0, 0, 0, level)
        return ManifestEntry(kind, b"\0\0\0\0", 0, 1, file)

    return [
        entries_frame([entry(*e) for e in entries]).select(*SLIM_SCHEMA) for entries in manifests
    ]


def _live(frames: list[pl.DataFrame]) -> set[tuple[str, int]]:
    return set(fold(frames).select("name", "level").iter_rows())


@PURE
@given(manifests=changes())
def test_fold_gives_what_came_and_did_not_go(
    manifests: list[list[tuple[EntryKind, str, int]]],
) -> None:
    expected: set[tuple[str, int]] = set()
    for kind, name, level in (e for entries in manifests for e in entries):
        expected.add((name, level)) if kind is EntryKind.ADD else expected.discard((name, level))

    assert _live(_frames(manifests)) == expected


@PURE
@given(manifests=changes(), data=st.data())
def test_merging_neighbouring_manifests_changes_no_live_file(
    manifests: list[list[tuple[EntryKind, str, int]]], data: st.DataObject
) -> None:
    frames = _frames(manifests)
    start = data.draw(st.integers(0, len(frames) - 1))
    end = data.draw(st.integers(start + 1, len(frames)))

    merged = [*frames[:start], cancel(pl.concat(frames[start:end])), *frames[end:]]

    assert _live(merged) == _live(frames)


# --- snapshots and schemas ------------------------------------------------------------------------

FILE_NAMES = st.text(
    st.characters(codec="utf-8", exclude_characters="/\\\0"), min_size=1, max_size=12
).filter(lambda n: n not in (".", ".."))
SNAPSHOTS = st.fixed_dictionaries(
    {
        "version": st.sampled_from((1, 2, 3)),
        "id": st.integers(1, 2**62),
        "schemaId": st.integers(0, 9),
        "baseManifestList": FILE_NAMES,
        "deltaManifestList": FILE_NAMES,
        "commitUser": TEXT,
        "commitIdentifier": LONG,
        "commitKind": st.sampled_from(CommitKind).map(str),
        "timeMillis": MILLIS,
    },
    optional={
        "totalRecordCount": st.integers(0, 2**62),
        "deltaRecordCount": LONG,
        "indexManifest": FILE_NAMES,
        "watermark": LONG,
        "statistics": TEXT,
        "nextRowId": LONG,
        "somethingNew": TEXT,
    },
)


@PURE
@given(values=SNAPSHOTS)
def test_a_snapshot_is_read_as_it_was_written(values: dict[str, Any]) -> None:
    data = dump_snapshot(values)
    snapshot = load_snapshot(data, "s")

    assert snapshot.content == data
    assert snapshot.extra == values
    assert snapshot.id == values["id"]
    assert snapshot.commit_identifier == values["commitIdentifier"]
    assert snapshot.watermark == values.get("watermark")
    assert dump_snapshot(snapshot.extra) == data


@PURE
@given(name=st.text(max_size=8))
def test_a_checked_name_stays_in_its_directory(name: str) -> None:
    try:
        kept = checked_name(name)
    except CorruptTable:
        return

    assert kept == name
    assert name not in ("", ".", "..")
    assert not set(name) & set("/\\\0")


TYPES = st.one_of(
    st.sampled_from(("BOOLEAN", "TINYINT", "SMALLINT", "INT", "BIGINT", "FLOAT", "DOUBLE", "DATE")),
    st.integers(1, 38).flatmap(lambda p: st.integers(0, p).map(lambda s: f"DECIMAL({p}, {s})")),
    st.sampled_from(("STRING", "BYTES", "TIME(0)", "TIME(3)")),
    st.integers(1, 2**31 - 1).map(lambda n: f"VARCHAR({n})"),
    st.integers(1, 255).map(lambda n: f"CHAR({n})"),
    st.integers(1, 2**31 - 1).map(lambda n: f"VARBINARY({n})"),
    st.integers(0, 9).map(lambda p: f"TIMESTAMP({p})"),
    st.integers(0, 9).map(lambda p: f"TIMESTAMP({p}) WITH LOCAL TIME ZONE"),
)
DATA_TYPES = st.tuples(TYPES, st.sampled_from(("", " NOT NULL"))).map("".join).map(parse_type)


@PURE
@given(data_type=DATA_TYPES)
def test_a_type_is_read_as_it_was_written(data_type: DataType) -> None:
    assert parse_type(type_text(data_type)) == data_type


@st.composite
def schemas(draw: st.DrawFn) -> TableSchema:
    names = draw(
        st.lists(
            st.text("abcé_ 1", min_size=1, max_size=6).map(lambda n: f"c{n}"),
            min_size=2,
            max_size=6,
            unique=True,
        )
    )
    fields = tuple(
        Field(i * 3, n, draw(DATA_TYPES), draw(maybe(TEXT)), draw(maybe(TEXT)))
        for i, n in enumerate(names)
    )
    keyed = draw(st.booleans())
    return TableSchema(
        draw(st.integers(0, 99)),
        fields,
        tuple(names[:1]) if draw(st.booleans()) else (),
        tuple(names[:2]) if keyed else (),
        draw(st.dictionaries(TEXT, TEXT, max_size=3).map(_with_defaults)),
        draw(st.integers(0, 999)),
        draw(maybe(TEXT)),
        draw(st.integers(1, 2**42)),
    )


def _with_defaults(options: dict[str, str]) -> dict[str, str]:
    return {"bucket": "2", "file.format": "parquet", **options}


@PURE
@given(schema=schemas())
def test_a_schema_is_read_as_it_was_written(schema: TableSchema) -> None:
    assert load_schema(dump_schema(schema), "schema-0") == schema
