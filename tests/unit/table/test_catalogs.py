"""Catalogs: options and addresses, and names kept in a database."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from support.builders import KEYED_COLUMNS, KEYED_OPTIONS, keyed_table, kv, rows_of
from support.catalog_worlds import keyed, rows_of_database, sqlite_catalog, write_row

from desilt import Catalog
from desilt.table.catalogs import (
    CatalogOptions,
    FilesystemCatalog,
    JdbcCatalog,
    RestCatalog,
    open_catalog,
)
from desilt.table.catalogs.address import PostgresAddress, SqliteAddress, parse_address
from desilt.table.errors import (
    InvalidRequest,
    StorageUnavailable,
    TableMissing,
    UnsupportedFeature,
)
from desilt.table.publish import ByCreation, UnderLock

SECRET = "p4ss"


def jdbc(uri: str, **more: Any) -> CatalogOptions:
    return CatalogOptions("jdbc", warehouse="/lake", uri=uri, **more)


# --- options ------------------------------------------------------------------------------------


def test_hive_is_refused_by_name() -> None:
    with pytest.raises(UnsupportedFeature, match="kind=hive, reason=the metastore"):
        CatalogOptions("hive", warehouse="/lake")


def test_an_unknown_kind_is_refused_by_name() -> None:
    with pytest.raises(UnsupportedFeature, match="kind=glue"):
        CatalogOptions("glue")


def test_dlf_is_refused_by_name() -> None:
    with pytest.raises(UnsupportedFeature, match="token_provider=dlf"):
        CatalogOptions("rest", uri="http://h", token_provider="dlf")


@pytest.mark.parametrize("kind", ["jdbc", "rest"])
def test_a_uri_is_needed(kind: str) -> None:
    with pytest.raises(InvalidRequest, match=f"needs a uri, kind={kind}"):
        CatalogOptions(kind, warehouse="/lake")


def test_each_kind_opens_its_catalog(tmp_path: Path) -> None:
    file = CatalogOptions(warehouse=str(tmp_path))
    database = CatalogOptions("jdbc", warehouse=str(tmp_path), uri=f"jdbc:sqlite:{tmp_path}/c.db")
    server = CatalogOptions("rest", uri="http://localhost:1")

    assert type(open_catalog(file)) is FilesystemCatalog
    assert type(open_catalog(database)) is JdbcCatalog
    assert type(open_catalog(server)) is RestCatalog
    assert isinstance(Catalog(str(tmp_path)), FilesystemCatalog)
    assert not os.listdir(tmp_path), "opening connects to nothing"


def test_no_text_holds_a_secret() -> None:
    options = CatalogOptions(
        "jdbc",
        warehouse="/lake",
        uri=f"jdbc:postgresql://h/db?user=u&password={SECRET}",
        password=SECRET,
        token=SECRET,
        headers={"x": SECRET},
    )
    address = parse_address(options)

    for text in (repr(options), str(options), repr(address), str(address), address.place):
        assert SECRET not in text


# --- addresses ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "uri",
    [
        "jdbc:postgresql://h:5433/db?user=u&password=p4ss",
        "postgresql://u:p4ss@h:5433/db",
        "postgres://u@h:5433/db?password=p4ss",
    ],
)
def test_java_and_python_spell_the_same_server(uri: str) -> None:
    address = parse_address(jdbc(uri))

    assert isinstance(address, PostgresAddress)
    assert (address.hosts, address.database) == ("h:5433", "db")
    assert dict(address.parameters) == {"user": "u", "password": SECRET}


def test_given_credentials_replace_those_of_the_uri() -> None:
    options = jdbc("postgresql://u:old@h/db", user="me", password="new%40")
    address = parse_address(options)

    assert isinstance(address, PostgresAddress)
    assert dict(address.parameters) == {"user": "me", "password": "new%40"}


def test_encoded_credentials_are_decoded() -> None:
    address = parse_address(jdbc("postgresql://us%40er:p%2Fw@h/d%20b?sslmode=require&ssl=true"))

    assert isinstance(address, PostgresAddress)
    assert address.database == "d b"
    assert dict(address.parameters) == {
        "user": "us@er",
        "password": "p/w",
        "sslmode": "verify-full",
    }


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("jdbc:sqlite:/a/b.db", "/a/b.db"),
        ("jdbc:sqlite:b.db", "b.db"),
        ("sqlite:////a/b.db", "/a/b.db"),
        ("sqlite:///b%20c.db", "b c.db"),
    ],
)
def test_sqlite_paths(uri: str, path: str) -> None:
    assert parse_address(jdbc(uri)) == SqliteAddress(path)


@pytest.mark.parametrize(
    ("uri", "named"),
    [
        ("jdbc:mysql://h/db", "scheme=mysql"),
        ("jdbc:postgresql://h/db?prepareThreshold=0", "parameter=prepareThreshold"),
        ("jdbc:sqlite::memory:", "holds a path"),
        ("jdbc:sqlite:/a?mode=ro", "holds a path"),
    ],
)
def test_what_is_not_known_is_refused_by_name(uri: str, named: str) -> None:
    with pytest.raises(UnsupportedFeature, match=named):
        parse_address(jdbc(uri))


@pytest.mark.parametrize(
    "uri",
    ["postgresql:///db", "postgresql://h", "postgresql://h/", "sqlite:a", "jdbc:sqlite:", "x"],
)
def test_an_address_without_a_place_is_refused(uri: str) -> None:
    with pytest.raises(InvalidRequest):
        parse_address(jdbc(uri))


@pytest.mark.parametrize("uri", ["postgresql://u:p4/p4ss@h/db", "postgresql://u:p4ss@[h/db"])
def test_a_password_that_is_not_encoded_is_refused_and_not_shown(uri: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_address(jdbc(uri))
    assert SECRET not in repr(caught.value)


# --- names in a database ------------------------------------------------------------------------


def test_tables_are_those_of_the_database_not_of_the_folder(tmp_path: Path) -> None:
    catalog = sqlite_catalog(tmp_path)
    keyed(catalog, "b.y")
    keyed(catalog, "a.z")
    keyed_table(tmp_path / "lake")

    assert catalog.tables() == ("a.z", "b.y")
    assert catalog.databases() == ("a", "b")
    with pytest.raises(TableMissing, match=r"the catalog knows no such table, table=db\.t"):
        catalog.table("db.t")


def test_catalogs_with_other_keys_share_a_database(tmp_path: Path) -> None:
    keyed(sqlite_catalog(tmp_path))

    assert sqlite_catalog(tmp_path, key="other").tables() == ()


def test_a_new_table_is_written_and_read_under_the_lock(tmp_path: Path) -> None:
    catalog = sqlite_catalog(tmp_path)
    keyed(catalog)
    table = catalog.table("db.t")
    table.write(kv((1, "a")))

    assert rows_of(table) == [(1, "a")]
    assert isinstance(table.handle.publisher, UnderLock)
    assert rows_of_database(tmp_path, "SELECT * FROM paimon_distributed_locks") == []
    assert isinstance(Catalog(f"{tmp_path}/lake").table("db.t").handle.publisher, ByCreation)


def test_rows_are_those_that_java_writes(tmp_path: Path) -> None:
    """As in a database where Java's JdbcCatalog 2.0.0 made the same table."""
    keyed(sqlite_catalog(tmp_path))

    assert rows_of_database(tmp_path, "SELECT * FROM paimon_tables") == [("jdbc", "db", "t")]
    assert rows_of_database(tmp_path, "SELECT * FROM paimon_database_properties") == [
        ("jdbc", "db", "exists", "true"),
        ("jdbc", "db", "location", f"{tmp_path}/lake/db.db"),
    ]
    assert sorted(rows_of_database(tmp_path, "SELECT * FROM paimon_table_properties")) == [
        ("jdbc", "db", "t", "bucket", "1"),
        ("jdbc", "db", "t", "bucket-key", "k"),
        ("jdbc", "db", "t", "primary-key", "k"),
    ]


def test_a_table_needs_its_database(tmp_path: Path) -> None:
    catalog = sqlite_catalog(tmp_path)

    with pytest.raises(InvalidRequest, match=r"the database does not exist, table=db\.t"):
        catalog.create_table("db.t", KEYED_COLUMNS)


def test_a_database_may_be_made_twice(tmp_path: Path) -> None:
    catalog = sqlite_catalog(tmp_path)
    catalog.create_database("db")
    catalog.create_database("db")

    assert catalog.databases() == ("db",)
    with pytest.raises(InvalidRequest, match="no name of a database"):
        catalog.create_database("../db")


@pytest.mark.parametrize("taken_by", ["table", "view", "files"])
def test_a_name_is_given_once(tmp_path: Path, taken_by: str) -> None:
    catalog = sqlite_catalog(tmp_path)
    catalog.create_database("db")
    if taken_by == "table":
        keyed(catalog)
    elif taken_by == "view":
        catalog.tables()
        write_row(tmp_path, "INSERT INTO paimon_views VALUES ('jdbc', 'db', 't', '{}')")
    else:
        keyed_table(tmp_path / "lake")
    before = rows_of_database(tmp_path, "SELECT * FROM paimon_tables")

    with pytest.raises(InvalidRequest, match=r"exists already|does not know"):
        keyed(catalog)
    assert rows_of_database(tmp_path, "SELECT * FROM paimon_tables") == before


HOSTILE = [("db", "../../x"), ("..", "t"), ("/etc", "passwd"), ("db", "a/b"), ("s3://b", "t"),
           ("db", "t$files"), ("db", ""), ("d\nb", "t"), ("db", "a.b"), (b"\xff", "t")]  # fmt: skip


@pytest.mark.parametrize(("database", "table"), HOSTILE)
def test_a_hostile_row_is_an_error_of_its_own_table(
    tmp_path: Path, database: object, table: str
) -> None:
    catalog = sqlite_catalog(tmp_path)
    keyed(catalog)
    write_row(tmp_path, "INSERT INTO paimon_tables VALUES ('jdbc', ?, ?)", [database, table])
    before = sorted(path for path in tmp_path.rglob("*"))

    names = catalog.tables()

    assert "db.t" in names
    assert len(names) == 2
    assert rows_of(catalog.table("db.t")) == []
    (bad,) = set(names) - {"db.t"}
    for refuse in (catalog.handle, catalog.table):
        with pytest.raises((InvalidRequest, TableMissing)) as caught:
            refuse(bad)
        assert repr(bad)[1:-1] in repr(caught.value)
    assert sorted(path for path in tmp_path.rglob("*")) == before


def test_a_hostile_location_of_a_database_is_not_followed(tmp_path: Path) -> None:
    catalog = sqlite_catalog(tmp_path)
    keyed(catalog)
    write_row(
        tmp_path,
        "UPDATE paimon_database_properties SET property_value = ? WHERE property_key = 'location'",
        [f"{tmp_path}/elsewhere"],
    )

    assert catalog.table("db.t").path == f"{tmp_path}/lake/db.db/t"


def test_a_property_too_long_for_its_column_is_left_out(tmp_path: Path) -> None:
    catalog = sqlite_catalog(tmp_path)
    catalog.create_database("db")
    columns = {f"column_{i:04d}": "INT NOT NULL" for i in range(100)}
    catalog.create_table("db.t", columns, primary_key=list(columns), options=KEYED_OPTIONS)

    found = rows_of_database(tmp_path, "SELECT property_key FROM paimon_table_properties")
    assert found == [("bucket",)]
    assert catalog.tables() == ("db.t",)


# --- a database that fails ----------------------------------------------------------------------


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "catalog.db").write_bytes(b"no database" * 100)

    with pytest.raises(StorageUnavailable, match=r"catalog\.db, reason=file is not a database"):
        sqlite_catalog(tmp_path).tables()


def test_a_folder_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageUnavailable, match="unable to open database file"):
        sqlite_catalog(tmp_path / "none").tables()


def test_a_closed_catalog_opens_again(tmp_path: Path) -> None:
    catalog = sqlite_catalog(tmp_path)
    keyed(catalog)
    catalog.close()

    assert catalog.tables() == ("db.t",)
    catalog.close()
    catalog.close()
