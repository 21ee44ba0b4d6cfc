"""What every catalog offers: names of tables, handles of them, new ones.

A catalog adds where its names are kept, where a table lies, and how snapshots are published. What
is in the table's folder is the same for all.

Spec: format §1.1, §16.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence

from .. import paths
from ..datatypes import DataType
from ..errors import InvalidRequest, naming
from ..handle import TableHandle, World
from ..schema import TableSchema, columns_of, new_schema
from ..storage import Storage
from ..supported import check_table
from ..table import Table

DATABASE_SUFFIX = ".db"
SCHEMA_PREFIX = "schema-"
_NAME = re.compile(r"[^\s./\\$\x00-\x1f][^/\\.$\x00-\x1f]*")


class BaseCatalog(ABC):
    """Tables by name. ``warehouse``: their root, or what the server calls it; ``storage``: theirs,
    unless each has one of its own."""

    warehouse: str

    def __init__(self, storage: Storage, world: World) -> None:
        self.storage = storage
        self._world = world

    @abstractmethod
    def databases(self) -> tuple[str, ...]:
        """Names of all databases, sorted."""

    @abstractmethod
    def tables(self, known: Collection[str] = ()) -> tuple[str, ...]:
        """Names ``db.table`` of all tables, sorted; names that `handle` refuses are among them.

        Args:
            known: tables that the caller watches: a catalog that would have to look into each
                folder takes these as given while the folder is there.

        Raises:
            InvalidRequest: there is no such warehouse.
            StorageUnavailable: it cannot be listed.
        """

    @abstractmethod
    def handle(self, name: str) -> TableHandle:
        """Where the table called ``db.table`` is; it may not exist.

        Raises:
            InvalidRequest: no name of a table, or a place where none may be.
        """

    @abstractmethod
    def create_database(self, name: str) -> None:
        """Make a database; one that exists is fine."""

    @abstractmethod
    def _register(self, name: str, schema: TableSchema) -> TableHandle:
        """Make the table, or InvalidRequest: it exists already."""

    def close(self) -> None:
        """Give connections back; the catalog may be used again afterwards."""
        return

    def table(self, name: str) -> Table:
        """The table called ``db.table``.

        Raises:
            TableMissing, UnsupportedFeature, CorruptTable: as named.
        """
        return opened(self.handle(name))

    def create_table(
        self,
        name: str,
        schema: object,
        *,
        primary_key: Sequence[str] = (),
        partition_by: Sequence[str] = (),
        options: Mapping[str, str] | None = None,
        comment: str | None = None,
    ) -> Table:
        """Make a table; its columns from a pyarrow or Polars schema, or names to type text.

        Raises:
            InvalidRequest: the table exists, or keys and options contradict each other.
            UnsupportedFeature: a type or option this release does not have.
        """
        split_name(name)
        with naming(name):
            columns: dict[str, DataType] = columns_of(schema)
            made = new_schema(
                columns,
                primary_key=primary_key,
                partition_by=partition_by,
                options=options or {},
                comment=comment,
                time_millis=self._world.now_millis(),
            )
            check_table(made)
            return Table(self._register(name, made))


def split_name(name: str) -> tuple[str, str]:
    """Database and table of ``db.table``.

    Raises:
        InvalidRequest: anything else, above all what would leave the table's place.
    """
    database, _, table = name.partition(".")
    if not is_name(database) or not is_name(table):
        raise InvalidRequest("a table name is db.table", name=name)
    return database, table


def is_name(text: str) -> bool:
    """Whether this may be the name of a database or a table, and thus of a folder."""
    return _NAME.fullmatch(text) is not None


def table_root(warehouse: str, database: str, table: str) -> str:
    """Where Paimon puts a table."""
    return f"{warehouse.rstrip('/')}/{database}{DATABASE_SUFFIX}/{table}"


def has_schema(storage: Storage, root: str) -> bool:
    """Whether a table is here."""
    found = storage.list(paths.schema_dir(root))
    return any(s.name.startswith(SCHEMA_PREFIX) for s in found)


def opened(handle: TableHandle) -> Table:
    """The table behind a handle, checked."""
    with naming(handle.name):
        check_table(handle.latest_schema())
    return Table(handle)
