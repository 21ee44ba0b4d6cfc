"""A warehouse in a folder or a bucket: databases are folders ``<db>.db``, tables folders with a
schema.

Foreign files are ignored. Spec: format §1.1, §16.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from . import paths
from .datatypes import DataType
from .errors import InvalidRequest, TableMissing, naming
from .handle import TableHandle, World
from .schema import columns_of, dump_schema, new_schema
from .storage import Storage, StoreOptions, is_remote, normal_path, open_storage
from .supported import check_table
from .table import Table

_NAME = re.compile(r"[^\s./\\$\x00-\x1f][^/\\.$\x00-\x1f]*")
SCHEMA_PREFIX = "schema-"


class Catalog:
    """Tables below one warehouse folder.

    Args:
        uri: plain path, ``file:`` or ``s3:`` URI.
        store: how an object store is spoken to; what it leaves out the environment says.
    """

    def __init__(
        self,
        uri: str,
        *,
        storage: Storage | None = None,
        world: World | None = None,
        store: StoreOptions | None = None,
    ) -> None:
        self.warehouse = normal_path(uri)
        self.storage: Storage = storage or open_storage(self.warehouse, store)
        self._world = world or World()

    def tables(self) -> tuple[str, ...]:
        """Names ``db.table`` of all tables, sorted.

        Raises:
            InvalidRequest: the warehouse does not exist; one in a bucket may be empty.
        """
        if not is_remote(self.warehouse) and not self.storage.is_directory(self.warehouse):
            raise InvalidRequest("warehouse does not exist", warehouse=self.warehouse)
        names: list[str] = []
        for database in self.storage.list(self.warehouse):
            if not database.is_dir or not database.name.endswith(".db"):
                continue
            folder = f"{self.warehouse}/{database.name}"
            for entry in self.storage.list(folder):
                if entry.is_dir and self._is_table(f"{folder}/{entry.name}"):
                    names.append(f"{database.name.removesuffix('.db')}.{entry.name}")
        return tuple(sorted(names))

    def _is_table(self, root: str) -> bool:
        found = self.storage.list(paths.schema_dir(root))
        return any(s.name.startswith(SCHEMA_PREFIX) for s in found)

    def handle(self, name: str) -> TableHandle:
        """Where the table called ``db.table`` is; it may not exist."""
        return TableHandle(name, self._root(name), self.storage, self._world)

    def table(self, name: str) -> Table:
        """The table called ``db.table``.

        Raises:
            TableMissing, UnsupportedFeature, CorruptTable: as named.
        """
        return _opened(self.handle(name))

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
        handle = self.handle(name)
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
        if self._is_table(handle.root) or not self.storage.create(
            paths.schema_file(handle.root, 0), dump_schema(made)
        ):
            raise InvalidRequest("table exists already", table=name)
        return Table(handle)

    def _root(self, name: str) -> str:
        database, dot, table = name.partition(".")
        if not dot or not _NAME.fullmatch(database) or not _NAME.fullmatch(table):
            raise InvalidRequest("a table name is db.table", name=name)
        return f"{self.warehouse}/{database}.db/{table}"


def open_table(
    path: str,
    *,
    storage: Storage | None = None,
    world: World | None = None,
    store: StoreOptions | None = None,
) -> Table:
    """The table at this path, such as ``/lake/rec.db/events`` or ``s3://lake/rec.db/events``.

    Raises:
        TableMissing, UnsupportedFeature, CorruptTable: as named.
    """
    root = normal_path(path)
    parent, _, table = root.rpartition("/")
    database = parent.rpartition("/")[2].removesuffix(".db")
    storage = storage or open_storage(root, store)
    handle = TableHandle(f"{database}.{table}", root, storage, world or World())
    return _opened(handle)


def _opened(handle: TableHandle) -> Table:
    if not handle.storage.is_directory(handle.root):
        raise TableMissing("no table here", table=handle.name, path=handle.root)
    with naming(handle.name):
        check_table(handle.latest_schema())
    return Table(handle)
