"""The relational tables of Paimon's JDBC catalog, as its Java classes make and read them.

Reference classes ``jdbc/JdbcUtils``, ``jdbc/{Postgresql,SqlLite}DistributedLockDialect``; the
columns, types and keys are theirs, so that either side may be the first to make them.
"""

from __future__ import annotations

from ..errors import StorageUnavailable
from .database import Database, DuplicateRow

TABLES = "paimon_tables"
DATABASE_PROPERTIES = "paimon_database_properties"
TABLE_PROPERTIES = "paimon_table_properties"
VIEWS = "paimon_views"
LOCKS = "paimon_distributed_locks"

_KEY = "VARCHAR(255) NOT NULL"
CREATE = {
    TABLES: f"""CREATE TABLE {TABLES} (catalog_key {_KEY}, database_name {_KEY},
        table_name {_KEY}, PRIMARY KEY (catalog_key, database_name, table_name))""",
    DATABASE_PROPERTIES: f"""CREATE TABLE {DATABASE_PROPERTIES} (catalog_key {_KEY},
        database_name {_KEY}, property_key VARCHAR(255), property_value VARCHAR(1000),
        PRIMARY KEY (catalog_key, database_name, property_key))""",
    TABLE_PROPERTIES: f"""CREATE TABLE {TABLE_PROPERTIES} (catalog_key {_KEY},
        database_name {_KEY}, table_name {_KEY}, property_key {_KEY},
        property_value VARCHAR(1000),
        PRIMARY KEY (catalog_key, database_name, table_name, property_key))""",
    VIEWS: f"""CREATE TABLE {VIEWS} (catalog_key {_KEY}, database_name {_KEY},
        view_name {_KEY}, view_schema TEXT NOT NULL,
        PRIMARY KEY (catalog_key, database_name, view_name))""",
    LOCKS: f"""CREATE TABLE {LOCKS} (lock_id {_KEY},
        acquired_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP NOT NULL,
        expire_time_seconds BIGINT DEFAULT 0 NOT NULL, PRIMARY KEY (lock_id))""",
}
_LISTED = {
    "sqlite": "SELECT name FROM sqlite_master WHERE type IN ('table', 'view')",
    "postgresql": "SELECT c.relname FROM pg_catalog.pg_class c WHERE c.relkind IN ('r', 'v', 'p') "
    "AND pg_catalog.pg_table_is_visible(c.oid)",
}


def ensure_tables(database: Database) -> None:
    """Make the tables that are missing; only then the right to make tables is needed.

    Raises:
        StorageUnavailable: the database fails or refuses.
    """
    for name in CREATE.keys() - _present(database):
        try:
            database.once(CREATE[name])
        except (DuplicateRow, StorageUnavailable):
            # Somebody else may have made it in the same moment.
            if name not in _present(database):
                raise


def _present(database: Database) -> set[str]:
    return {str(row[0]) for row in database.query(_LISTED[database.kind])}
