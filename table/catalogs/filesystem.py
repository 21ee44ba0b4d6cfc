"""A warehouse in a folder or a bucket: databases are folders ``<db>.db``, tables folders with a
schema.

Foreign files are ignored. Spec: format §1.1, §16.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context

from .. import paths
from ..errors import InvalidRequest
from ..handle import TableHandle, World
from ..schema import TableSchema, dump_schema
from ..storage import Storage, StoreOptions, is_remote, normal_path, open_storage
from .base import DATABASE_SUFFIX, BaseCatalog, has_schema, split_name, table_root


class FilesystemCatalog(BaseCatalog):
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
        super().__init__(storage or open_storage(uri, store), world or World())
        self.warehouse = normal_path(uri)

    def databases(self) -> tuple[str, ...]:
        if not is_remote(self.warehouse) and not self.storage.is_directory(self.warehouse):
            raise InvalidRequest("warehouse does not exist", warehouse=self.warehouse)
        found = self.storage.list(self.warehouse)
        suffixed = (d.name for d in found if d.is_dir and d.name.endswith(DATABASE_SUFFIX))
        return tuple(sorted(name.removesuffix(DATABASE_SUFFIX) for name in suffixed))

    def tables(self, known: Collection[str] = ()) -> tuple[str, ...]:
        watched = frozenset(known)
        names, unknown = list[str](), list[str]()
        for database in self.databases():
            for entry in self.storage.list(f"{self.warehouse}/{database}{DATABASE_SUFFIX}"):
                if entry.is_dir:
                    name = f"{database}.{entry.name}"
                    (names if name in watched else unknown).append(name)
        return tuple(sorted([*names, *self._with_schema(unknown)]))

    def _with_schema(self, names: Sequence[str]) -> list[str]:
        """Those whose folder is a table's; looked up as many at a time as hide the latency."""

        def found(name: str) -> bool:
            database, _, table = name.partition(".")
            return has_schema(self.storage, table_root(self.warehouse, database, table))

        with ThreadPoolExecutor(self.storage.in_flight, thread_name_prefix="tables") as pool:
            # Each in a copy of this context: what it asks is counted where ours is.
            asked = [pool.submit(copy_context().run, found, name) for name in names]
            return [name for name, answer in zip(names, asked, strict=True) if answer.result()]

    def handle(self, name: str) -> TableHandle:
        root = table_root(self.warehouse, *split_name(name))
        return TableHandle(name, root, self.storage, self._world)

    def create_database(self, name: str) -> None:
        """Nothing: a database is there with its first table."""
        split_name(f"{name}.t")

    def _register(self, name: str, schema: TableSchema) -> TableHandle:
        handle = self.handle(name)
        if has_schema(self.storage, handle.root) or not self.storage.create(
            paths.schema_file(handle.root, 0), dump_schema(schema)
        ):
            raise InvalidRequest("table exists already", table=name)
        return handle
