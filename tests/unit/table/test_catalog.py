"""Catalogs: places and names, and which tables may be made."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from support.builders import KEYED_OPTIONS, catalog, keyed_table, kv
from support.faulty import files_below

from desilt import Catalog, open_table
from desilt.table.datatypes import parse_type
from desilt.table.errors import InvalidRequest, TableError, TableMissing, UnsupportedFeature

# --- places -------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["{}", "file:{}", "file://{}", "file://localhost{}", "{}/"])
def test_catalog_finds_the_same_warehouse_by(tmp_path: Path, form: str) -> None:
    keyed_table(tmp_path / "w h")
    place = tmp_path / "w h"

    assert Catalog(form.format(place)).tables() == ("db.t",)


def test_catalog_decodes_file_uris(tmp_path: Path) -> None:
    keyed_table(tmp_path / "größe 1%")

    uri = (tmp_path / "größe 1%").as_uri()

    assert "%" in uri.removeprefix("file:")
    assert Catalog(uri).tables() == ("db.t",)


def test_catalog_takes_relative_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keyed_table(tmp_path / "lake")
    monkeypatch.chdir(tmp_path)

    assert Catalog("lake").warehouse == f"{tmp_path}/lake"
    assert Catalog("lake").tables() == ("db.t",)


@pytest.mark.parametrize("uri", ["", " ", "file:", "file://"])
def test_catalog_without_a_path_is_refused(uri: str) -> None:
    with pytest.raises(InvalidRequest, match="path is empty"):
        Catalog(uri)


def test_catalog_on_another_host_is_refused() -> None:
    """Two slashes make the first folder a host name, and another folder the warehouse."""
    with pytest.raises(InvalidRequest, match="three slashes, uri=file://lake/data"):
        Catalog("file://lake/data")


@pytest.mark.parametrize("uri", ["gs://bucket/x", "hdfs://n/x", "oss://b", "http://h/x"])
def test_catalog_of_another_scheme_is_refused_by_name(uri: str) -> None:
    with pytest.raises(UnsupportedFeature, match=f"scheme={uri.partition(':')[0]}"):
        Catalog(uri)


def test_open_table_takes_a_path_and_names_it_after_its_folders(tmp_path: Path) -> None:
    made = keyed_table(tmp_path)
    made.write(kv((1, "a")))

    for form in (made.path, f"{made.path}/", f"file://{made.path}"):
        table = open_table(form)
        assert table.name == "db.t"
        assert table.scan().collect().height == 1


def test_open_table_where_there_is_none_is_missing(tmp_path: Path) -> None:
    with pytest.raises(TableMissing, match=r"table=db\.nope, path=.*/db\.db/nope"):
        open_table(f"{tmp_path}/db.db/nope")


# --- listing ------------------------------------------------------------------------------------


def test_tables_are_listed_sorted(tmp_path: Path) -> None:
    place = catalog(tmp_path)
    for name in ("b.y", "a.z", "b.x"):
        place.create_table(name, {"n": "INT"})

    assert place.tables() == ("a.z", "b.x", "b.y")


def test_missing_warehouse_is_refused_with_its_path(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match=f"warehouse={tmp_path}/none"):
        Catalog(f"{tmp_path}/none").tables()


def test_empty_warehouse_has_no_tables(tmp_path: Path) -> None:
    assert Catalog(str(tmp_path)).tables() == ()


def test_a_table_with_a_file_for_a_schema_folder_is_no_table(tmp_path: Path) -> None:
    os.makedirs(tmp_path / "db.db" / "x")
    (tmp_path / "db.db" / "x" / "schema").write_text("")

    assert Catalog(str(tmp_path)).tables() == ()
    with pytest.raises(TableMissing):
        Catalog(str(tmp_path)).table("db.x")


# --- names --------------------------------------------------------------------------------------

BAD_NAMES = ["", "t", ".t", "db.", "..", "a.b.c", "../db.t", "db./t", "db.t/x", "db.t\\x", "db.\0t",
             "d\nb.t", "db. ", "db.$files", "db.t$files", "/db.t", "db.."]  # fmt: skip


@pytest.mark.parametrize("name", BAD_NAMES)
def test_name_that_is_no_name_is_refused_everywhere(tmp_path: Path, name: str) -> None:
    place = catalog(tmp_path)

    with pytest.raises(InvalidRequest, match=r"a table name is db\.table"):
        place.table(name)
    with pytest.raises(InvalidRequest, match=r"a table name is db\.table"):
        place.create_table(name, {"n": "INT"})
    assert files_below(str(tmp_path)) == frozenset()


@pytest.mark.parametrize("name", ["db.täble", "d_b.t-1", "漢.字", "db.a b"])
def test_name_of_any_letters_is_taken(tmp_path: Path, name: str) -> None:
    catalog(tmp_path).create_table(name, {"n": "INT"})

    assert catalog(tmp_path).tables() == (name,)
    assert catalog(tmp_path).table(name).name == name


# --- making tables ------------------------------------------------------------------------------


def test_create_table_writes_the_schema_and_nothing_else(tmp_path: Path) -> None:
    table = catalog(tmp_path).create_table(
        "db.t", {"k": "INT", "p": "STRING"}, primary_key=["k", "p"], partition_by=["p"],
        options=KEYED_OPTIONS, comment="events",
    )  # fmt: skip

    assert files_below(str(tmp_path)) == {f"{table.path}/schema/schema-0"}
    schema = table.schema
    assert (schema.primary_keys, schema.partition_keys) == (("k", "p"), ("p",))
    assert [str(f.type) for f in schema.fields] == ["INT NOT NULL", "STRING NOT NULL"]
    assert (schema.comment, dict(schema.raw_options)) == ("events", KEYED_OPTIONS)


@pytest.mark.parametrize(
    "schema",
    [
        {"k": "BIGINT", "v": "STRING"},
        {"k": pl.Int64, "v": pl.String()},
        {"k": pa.int64(), "v": pa.string()},
        {"k": parse_type("BIGINT"), "v": "STRING"},
        pl.Schema({"k": pl.Int64, "v": pl.String}),
        pa.schema([("k", pa.int64()), ("v", pa.large_string())]),
    ],
    ids=["texts", "polars-types", "arrow-types", "mixed", "polars-schema", "arrow-schema"],
)
def test_create_table_takes_columns_as(tmp_path: Path, schema: object) -> None:
    table = catalog(tmp_path).create_table("db.t", schema)

    assert [(f.name, str(f.type)) for f in table.schema.fields] == [
        ("k", "BIGINT"),
        ("v", "STRING"),
    ]


def test_create_table_keeps_arrows_not_null(tmp_path: Path) -> None:
    schema = pa.schema([pa.field("k", pa.int32(), nullable=False)])

    assert str(catalog(tmp_path).create_table("db.t", schema).schema.column("k").type) == (
        "INT NOT NULL"
    )


def test_create_table_twice_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    table = keyed_table(tmp_path)
    before = Path(f"{table.path}/schema/schema-0").read_bytes()

    with pytest.raises(InvalidRequest, match=r"exists already, table=db\.t"):
        catalog(tmp_path).create_table("db.t", {"other": "INT"})

    assert Path(f"{table.path}/schema/schema-0").read_bytes() == before


Wrong = tuple[dict[str, Any], type[TableError], str]
COLUMNS = {"k": "INT", "p": "STRING", "v": "DOUBLE"}
WRONG: dict[str, Wrong] = {
    "no columns": ({"schema": {}}, InvalidRequest, "needs a column"),
    "no schema at all": ({"schema": ["k"]}, InvalidRequest, "schema must be"),
    "a column of no type": ({"schema": {"k": 7}}, InvalidRequest, "no column type"),
    "an unknown type": ({"schema": {"k": "MONEY"}}, UnsupportedFeature, "type=MONEY"),
    "a special type": ({"schema": {"k": "ARRAY<BLOB>"}}, UnsupportedFeature, "BLOB"),
    "an Arrow list of fixed size": (
        {"schema": {"k": pa.list_(pa.int8(), 2)}}, InvalidRequest, "fixed_size_list",
    ),
    "a ROW without fields": ({"schema": {"k": pa.struct([])}}, UnsupportedFeature, "without"),
    "a ROW with a field twice": (
        {"schema": {"k": "ROW<a INT, a INT>"}}, InvalidRequest, "names repeat in column k",
    ),
    "floats as map keys": (
        {"schema": {"k": "ARRAY<MULTISET<ROW<a DOUBLE>>>"}}, UnsupportedFeature, "column=k",
    ),
    "a nested primary key": (
        {"schema": {"k": "ARRAY<INT>", "v": "INT"}, "primary_key": ["k"]},
        UnsupportedFeature, "use=primary key, column=k",
    ),
    "a nested partition key": (
        {"schema": {"k": "ROW<a INT>", "v": "INT"}, "partition_by": ["k"]},
        UnsupportedFeature, "use=partition key, column=k",
    ),
    "a nested bucket key": (
        {
            "schema": {"k": "MAP<INT, INT>", "v": "INT"},
            "options": {"bucket": "1", "bucket-key": "k"},
        },
        UnsupportedFeature, "use=bucket-key, column=k",
    ),
    "a nested sequence field": (
        {
            "schema": {"k": "INT", "v": "MULTISET<INT>"},
            "primary_key": ["k"],
            "options": {"bucket": "1", "sequence.field": "v"},
        },
        UnsupportedFeature, "use=sequence.field, column=v",
    ),
    "an unsigned type": ({"schema": {"k": pl.UInt32}}, InvalidRequest, "uint32"),
    "a system name": ({"schema": {"_SEQUENCE_NUMBER": "INT"}}, InvalidRequest, "reserved"),
    "a reserved prefix": ({"schema": {"_KEY_x": "INT"}}, InvalidRequest, "_KEY_x"),
    "a key that is no column": ({"primary_key": ["zz"]}, InvalidRequest, "zz"),
    "a partition that is no column": ({"partition_by": ["zz"]}, InvalidRequest, "zz"),
    "a key twice": ({"primary_key": ["k", "k"]}, InvalidRequest, "columns=k,k"),
    "a partition twice": ({"partition_by": ["p", "p"]}, InvalidRequest, "columns=p,p"),
    "a key of partition columns alone": (
        {"primary_key": ["p"], "partition_by": ["p"]}, InvalidRequest, "nothing but partition",
    ),
    "a key without the partition": (
        {"primary_key": ["k"], "partition_by": ["p"]}, InvalidRequest, "column=p",
    ),
    "dynamic buckets": (
        {"primary_key": ["k"], "options": {}}, UnsupportedFeature, "option=bucket, value=-1",
    ),
    "postponed buckets": (
        {"primary_key": ["k"], "options": {"bucket": "-2"}}, UnsupportedFeature, "postpone",
    ),
    "no buckets": ({"options": {"bucket": "0"}}, UnsupportedFeature, "option=bucket, value=0"),
    "a bucket key without buckets": (
        {"options": {"bucket-key": "k"}}, InvalidRequest, "option=bucket-key",
    ),
    "append buckets without a key": (
        {"options": {"bucket": "2"}}, InvalidRequest, "option=bucket-key",
    ),
    "a bucket key that is no column": (
        {"options": {"bucket": "2", "bucket-key": "zz"}}, InvalidRequest, "column=zz",
    ),
    "a bucket key that is a partition": (
        {"options": {"bucket": "2", "bucket-key": "p"}, "partition_by": ["p"]},
        InvalidRequest, "column=p",
    ),
    "a bucket key outside the primary key": (
        {"options": {"bucket": "2", "bucket-key": "v"}, "primary_key": ["k"]},
        InvalidRequest, "column=v",
    ),
    "a sequence field that is no column": (
        {"options": {"bucket": "1", "sequence.field": "zz"}, "primary_key": ["k"]},
        InvalidRequest, "column=zz",
    ),
    "a sequence field without a key": (
        {"options": {"sequence.field": "v"}}, InvalidRequest, "option=sequence.field",
    ),
    "another merge engine": (
        {"options": {"bucket": "1", "merge-engine": "median"}, "primary_key": ["k"]},
        UnsupportedFeature, "option=merge-engine, value=median",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_create_table_is_refused_by_name_with(tmp_path: Path, name: str) -> None:
    arguments, error, words = WRONG[name]
    options: Mapping[str, str] | None = {"bucket": "1"} if "primary_key" in arguments else None
    call: dict[str, Any] = {"schema": COLUMNS, "options": options, **arguments}

    with pytest.raises(error) as caught:
        catalog(tmp_path).create_table("db.t", **call)

    assert words in str(caught.value)
    assert caught.value.context["table"] == "db.t"
    assert files_below(str(tmp_path)) == frozenset()
