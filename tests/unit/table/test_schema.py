"""Schema files: what is read, what is written, what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.builders import keyed_table

from desilt.table.datatypes import parse_type
from desilt.table.errors import CorruptTable, InvalidRequest, UnsupportedFeature
from desilt.table.schema import (
    KEY_ID_BASE,
    KIND_ID,
    SEQUENCE_ID,
    Field,
    TableSchema,
    check_supported,
    dump_schema,
    load_schema,
)

PATH = "/lake/db.db/t/schema/schema-4"
RAW: dict[str, Any] = {
    "version": 3,
    "id": 4,
    "fields": [
        {"id": 0, "name": "k", "type": "INT NOT NULL"},
        {"id": 1, "name": "p", "type": "STRING NOT NULL", "description": "where"},
        {"id": 5, "name": "v", "type": "DECIMAL(5, 2)", "defaultValue": "1.00"},
    ],
    "highestFieldId": 6,
    "partitionKeys": ["p"],
    "primaryKeys": ["p", "k"],
    "options": {"bucket": "2", "my.own": "x"},
    "comment": "größe",
    "timeMillis": 1700000000000,
}


def load(**changes: object) -> TableSchema:
    """The schema of RAW with changed keys; ``...`` takes a key out."""
    raw = {k: v for k, v in {**RAW, **changes}.items() if v is not ...}
    return load_schema(json.dumps(raw).encode(), PATH)


# --- reading ------------------------------------------------------------------------------------


def test_load_schema_reads_every_key() -> None:
    schema = load()

    assert schema == TableSchema(
        id=4,
        fields=(
            Field(0, "k", parse_type("INT NOT NULL")),
            Field(1, "p", parse_type("STRING NOT NULL"), "where"),
            Field(5, "v", parse_type("DECIMAL(5, 2)"), None, "1.00"),
        ),
        partition_keys=("p",),
        primary_keys=("p", "k"),
        raw_options={"bucket": "2", "my.own": "x"},
        highest_field_id=6,
        comment="größe",
        time_millis=1700000000000,
    )
    assert (schema.keyed, schema.trimmed_keys, schema.bucket_keys) == (True, ("k",), ("k",))
    assert schema.names == ("k", "p", "v")


def test_dump_schema_round_trips() -> None:
    assert load_schema(dump_schema(load()), PATH) == load()
    assert json.loads(dump_schema(load())) == RAW


def test_dump_schema_leaves_a_missing_comment_out() -> None:
    """Java would read null as the text "null"."""
    assert "comment" not in json.loads(dump_schema(load(comment=...)))


def test_load_schema_does_without_what_old_writers_left_out() -> None:
    schema = load(comment=..., timeMillis=..., partitionKeys=..., primaryKeys=..., options=...)

    assert (schema.comment, schema.time_millis, schema.keyed) == (None, 0, False)


@pytest.mark.parametrize(
    ("version", "options"),
    [
        (..., {"bucket": "1", "file.format": "orc"}),
        (1, {"bucket": "1", "file.format": "orc"}),
        (2, {"file.format": "orc"}),
        (3, {}),
    ],
)
def test_load_schema_gives_old_versions_their_defaults(
    version: object, options: dict[str, str]
) -> None:
    assert load(version=version, options={}).raw_options == options


def test_load_schema_keeps_what_old_versions_say_themselves() -> None:
    given = {"bucket": "7", "file.format": "parquet"}

    assert load(version=1, options=given).raw_options == given


def test_load_schema_ignores_unknown_keys() -> None:
    assert load(novelty={"a": 1}) == load()


# --- bad files ----------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["id", "fields", "highestFieldId"])
def test_load_schema_names_a_missing_key(key: str) -> None:
    with pytest.raises(CorruptTable, match=f"field={key}, file={PATH}"):
        load(**{key: ...})


@pytest.mark.parametrize(
    "changes",
    [
        {"id": "x"}, {"id": None}, {"fields": None}, {"fields": 7}, {"fields": [7]},
        {"fields": [{"id": "x", "name": "k", "type": "INT"}]}, {"options": [1]},
        {"highestFieldId": []}, {"version": "new"}, {"partitionKeys": 5},
        {"primaryKeys": ["nope"]}, {"partitionKeys": ["nope"]},
        {"fields": [{"id": 0, "name": "k", "type": "INT"}, {"id": 1, "name": "k", "type": "INT"}]},
        {"fields": [{"id": 0, "name": "_VALUE_KIND", "type": "INT"}]},
        {"partitionKeys": ["p"], "primaryKeys": ["p"]},
    ],
    ids=json.dumps,
)  # fmt: skip
def test_load_schema_of_contradictions_is_corrupt(changes: dict[str, object]) -> None:
    with pytest.raises(CorruptTable, match=f"file={PATH}"):
        load(**changes)


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"[]", b"7", b"null", b"\xff\xfe", b'{"id": 1e999}', b"[" * 200_000],
    ids=["empty", "cut", "list", "number", "null", "no-text", "infinite", "deep"],
)
def test_load_schema_of_other_bytes_is_corrupt(data: bytes) -> None:
    with pytest.raises(CorruptTable, match=f"file={PATH}"):
        load_schema(data, PATH)


@pytest.mark.parametrize("keep", range(0, len(json.dumps(RAW)) - 1, 13))
def test_load_schema_of_a_cut_file_is_corrupt(keep: int) -> None:
    with pytest.raises(CorruptTable, match=f"file={PATH}"):
        load_schema(json.dumps(RAW).encode()[:keep], PATH)


def test_load_schema_refuses_a_newer_version_by_number() -> None:
    with pytest.raises(UnsupportedFeature, match=f"version=4, file={PATH}"):
        load(version=4)


@pytest.mark.parametrize(
    "bad", ["ARRAY<INT>", {"type": "ROW"}, {"type": "BLOB"}, "MONEY", "DECIMAL(99, 1)"]
)
def test_load_schema_names_the_column_of_a_bad_type(bad: object) -> None:
    fields = [{"id": 0, "name": "k", "type": bad}]

    with pytest.raises((UnsupportedFeature, CorruptTable), match=f"column=k, file={PATH}"):
        load(fields=fields)


def test_schema_file_with_another_id_is_corrupt(tmp_path: Path) -> None:
    table = keyed_table(tmp_path)
    path = Path(f"{table.path}/schema/schema-0")
    (path.parent / "schema-1").write_bytes(path.read_bytes())

    with pytest.raises(CorruptTable, match=r"id=0, file=.*schema-1"):
        table.handle.latest_schema()


# --- keys and physical columns ------------------------------------------------------------------


def test_physical_columns_are_keys_then_system_then_all() -> None:
    assert [(f.id, f.name, str(f.type)) for f in load().physical] == [
        (KEY_ID_BASE + 0, "_KEY_k", "INT NOT NULL"),
        (SEQUENCE_ID, "_SEQUENCE_NUMBER", "BIGINT NOT NULL"),
        (KIND_ID, "_VALUE_KIND", "TINYINT NOT NULL"),
        (0, "k", "INT NOT NULL"),
        (1, "p", "STRING NOT NULL"),
        (5, "v", "DECIMAL(5, 2)"),
    ]


def test_physical_columns_of_an_append_table_are_its_own() -> None:
    schema = load(primaryKeys=[])

    assert schema.physical == schema.fields


@pytest.mark.parametrize(
    ("options", "keys"),
    [
        ({"bucket": "2"}, ("k", "t")),
        ({"bucket": "2", "bucket-key": "t"}, ("t",)),
        ({"bucket": "2", "bucket-key": " t , k "}, ("t", "k")),
        ({"bucket": "2", "bucket-key": ""}, ("k", "t")),
    ],
    ids=str,
)
def test_bucket_keys_are_the_options_or_the_trimmed_key(
    options: dict[str, str], keys: tuple[str, ...]
) -> None:
    fields = [*RAW["fields"], {"id": 6, "name": "t", "type": "INT"}]
    schema = load(fields=fields, primaryKeys=["p", "k", "t"], options=options)

    check_supported(schema)
    assert schema.bucket_keys == keys


def test_check_supported_names_a_bad_bucket_key() -> None:
    with pytest.raises(InvalidRequest, match="column=v"):
        check_supported(load(options={"bucket": "2", "bucket-key": "v"}))
