"""The public door: a warehouse in a folder or a bucket, and a table by its path.

Catalogs in databases and behind servers are opened by `catalogs.open_catalog`.
"""

from __future__ import annotations

from .catalogs.base import opened
from .catalogs.filesystem import FilesystemCatalog
from .handle import TableHandle, World
from .storage import Storage, StoreOptions, normal_path, open_storage
from .table import Table

__all__ = ["Catalog", "open_table"]


class Catalog(FilesystemCatalog):
    """Tables below one warehouse folder.

    Args:
        uri: plain path, ``file:`` or ``s3:`` URI.
        store: how an object store is spoken to; what it leaves out the environment says.
    """


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
    return opened(handle)
