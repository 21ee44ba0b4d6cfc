"""Tables whose names are kept in a database; what is in their folders is as ever.

The rows are those of Paimon's own JDBC catalog, so that its engines see our tables and we see
theirs. A table lies at ``<warehouse>/<db>.db/<table>``, whatever a database's ``location`` says:
Paimon does not look at it either.

Spec: format §16; reference class ``jdbc/JdbcCatalog``.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping

from .. import paths
from ..errors import InvalidRequest, StorageUnavailable, TableError, TableMissing
from ..handle import TableHandle, World
from ..publish import Publisher, UnderLock
from ..schema import TableSchema, dump_schema
from ..storage import Storage, normal_path, open_storage
from ..table import Table
from .address import parse_address
from .base import (
    DATABASE_SUFFIX,
    BaseCatalog,
    has_schema,
    is_name,
    split_name,
    table_root,
)
from .database import Database, DuplicateRow
from .jdbc_lock import JdbcLock
from .jdbc_tables import DATABASE_PROPERTIES, TABLE_PROPERTIES, TABLES, VIEWS, ensure_tables
from .options import CatalogOptions

_PROPERTY_CHARACTERS = {"key": 255, "value": 1000}


class JdbcCatalog(BaseCatalog):
    """Tables of one ``catalog-key`` in a database.

    ``lock`` is held around every publish, always: Paimon does so where it has no other way to be
    alone, and a lock that only some take is none.
    """

    def __init__(
        self,
        options: CatalogOptions,
        *,
        storage: Storage | None = None,
        world: World | None = None,
    ) -> None:
        storage = storage or open_storage(options.warehouse, options.store)
        super().__init__(storage, world or World())
        self.warehouse = normal_path(options.warehouse)
        self._key = options.key
        self._rows = Database(parse_address(options), self._world.now_millis)
        self.lock = JdbcLock(
            # Its own connection: a listing that takes long must not keep a lock from being freed.
            Database(parse_address(options), self._world.now_millis),
            options.key,
            self._world,
            check_max_sleep=options.lock_check_max_sleep,
            acquire_timeout=options.lock_acquire_timeout,
        )
        self._publisher: Publisher = UnderLock(self.lock)
        self._ready = False
        self._guard = threading.Lock()

    def databases(self) -> tuple[str, ...]:
        """As Paimon: those of tables, views and properties."""
        database = self._database()
        sources = (TABLES, DATABASE_PROPERTIES, VIEWS)
        sql = "SELECT DISTINCT database_name FROM {} WHERE catalog_key = ?"
        found = {str(r[0]) for t in sources for r in database.query(sql.format(t), self._key)}
        return tuple(sorted(found))

    def tables(self, known: Collection[str] = ()) -> tuple[str, ...]:
        rows = self._database().query(
            f"SELECT database_name, table_name FROM {TABLES} WHERE catalog_key = ?", self._key
        )
        return tuple(sorted(f"{database}.{table}" for database, table in rows))

    def handle(self, name: str) -> TableHandle:
        """Where the table lies; whether the database knows it is asked by `table`."""
        root = table_root(self.warehouse, *split_name(name))
        return TableHandle(name, root, self.storage, self._world, self._publisher)

    def table(self, name: str) -> Table:
        if not self._has_row(TABLES, "table_name", name):
            raise TableMissing("the catalog knows no such table", table=name)
        return super().table(name)

    def create_database(self, name: str) -> None:
        if not is_name(name):
            raise InvalidRequest("no name of a database", name=name)
        if self._has_database(name):
            return
        location = f"{self.warehouse.rstrip('/')}/{name}{DATABASE_SUFFIX}"
        try:
            self._database().once(
                f"INSERT INTO {DATABASE_PROPERTIES} "
                "(catalog_key, database_name, property_key, property_value) "
                "VALUES (?, ?, 'exists', 'true'), (?, ?, 'location', ?)",
                *(self._key, name, self._key, name, location),
            )
        except DuplicateRow:
            return  # somebody else made it just now

    def close(self) -> None:
        self._rows.close()
        self.lock.close()

    def _database(self) -> Database:
        """The database, with Paimon's tables in it."""
        with self._guard:
            if not self._ready:
                ensure_tables(self._rows)
                self._ready = True
        return self._rows

    def _has_database(self, name: str) -> bool:
        return name in self.databases()

    def _has_row(self, table: str, column: str, name: str) -> bool:
        sql = f"SELECT 1 FROM {table} WHERE catalog_key = ? AND database_name = ? AND {column} = ?"
        return bool(self._database().query(sql, self._key, *split_name(name)))

    def _is_taken(self, name: str) -> bool:
        """Tables and views share their names."""
        return self._has_row(TABLES, "table_name", name) or self._has_row(VIEWS, "view_name", name)

    # --- new tables -----------------------------------------------------------------------------

    def _register(self, name: str, schema: TableSchema) -> TableHandle:
        """In Paimon's order: the schema's file, then the row, under the table's lock."""
        handle = self.handle(name)
        if not self._has_database(split_name(name)[0]):
            raise InvalidRequest("the database does not exist", table=name)
        with self.lock.held(name):
            if self._is_taken(name):
                raise InvalidRequest("table exists already", table=name)
            path = paths.schema_file(handle.root, 0)
            if has_schema(self.storage, handle.root) or not self.storage.create(
                path, dump_schema(schema)
            ):
                raise InvalidRequest(
                    "files of a table are here that the catalog does not know",
                    table=name,
                    path=handle.root,
                )
            self._insert(name, path)
        self._tell_properties(name, schema)
        return handle

    def _insert(self, name: str, path: str) -> None:
        """The row; when it is known not to be there, the schema's file goes, too."""
        sql = f"INSERT INTO {TABLES} (catalog_key, database_name, table_name) VALUES (?, ?, ?)"
        try:
            self._database().once(sql, self._key, *split_name(name))
        except DuplicateRow:
            return  # by one who takes no lock: it is there, with our schema
        except StorageUnavailable:
            if self._has_row(TABLES, "table_name", name):
                return
            self.storage.delete([path])
            raise

    def _tell_properties(self, name: str, schema: TableSchema) -> None:
        """Paimon keeps a copy of a table's options in the database; nobody reads it."""
        try:
            for key, value in _properties(schema).items():
                self._database().once(
                    f"INSERT INTO {TABLE_PROPERTIES} (catalog_key, database_name, table_name, "
                    "property_key, property_value) VALUES (?, ?, ?, ?, ?)",
                    *(self._key, *split_name(name), key, value),
                )
        except (DuplicateRow, TableError):
            return


def _properties(schema: TableSchema) -> Mapping[str, str]:
    """Options and keys, as far as they fit in their columns."""
    keys = {
        "primary-key": schema.primary_keys,
        "partition": schema.partition_keys,
        "bucket-key": schema.bucket_keys,
    }
    found = {**schema.raw_options, **{k: ",".join(names) for k, names in keys.items() if names}}
    return {
        key: value
        for key, value in found.items()
        if len(key) <= _PROPERTY_CHARACTERS["key"] and len(value) <= _PROPERTY_CHARACTERS["value"]
    }
