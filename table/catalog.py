"""The public door: a warehouse on a file system, and a table by its path.

Catalogs in databases and behind servers are opened by `catalogs.open_catalog`.
"""

from __future__ import annotations

from .catalogs.base import local_path, opened, warehouse_path
from .catalogs.filesystem import FilesystemCatalog
from .handle import TableHandle, World
from .storage import LocalStorage, Storage
from .table import Table

__all__ = ["Catalog", "local_path", "open_table"]


class Catalog(FilesystemCatalog):
    """Tables below one warehouse folder.

    Args:
        uri: plain path or ``file:`` URI.
    """


def open_table(path: str, *, storage: Storage | None = None, world: World | None = None) -> Table:
    """The table at this path, such as ``/lake/rec.db/events``.

    Raises:
        TableMissing, UnsupportedFeature, CorruptTable: as named.
    """
    root = warehouse_path(path, storage)
    parent, _, table = root.rpartition("/")
    database = parent.rpartition("/")[2].removesuffix(".db")
    handle = TableHandle(f"{database}.{table}", root, storage or LocalStorage(), world or World())
    return opened(handle)
