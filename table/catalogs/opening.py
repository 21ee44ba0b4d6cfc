"""Opens the catalog that options describe."""

from __future__ import annotations

from ..errors import InvalidRequest
from ..handle import World
from ..storage import Storage
from .base import BaseCatalog
from .filesystem import FilesystemCatalog
from .jdbc import JdbcCatalog
from .options import CatalogOptions
from .rest import RestCatalog, StoreMaker


def open_catalog(
    options: CatalogOptions,
    storage: Storage | StoreMaker | None = None,
    world: World | None = None,
) -> BaseCatalog:
    """The catalog; nothing is connected to before it is asked for something.

    Args:
        storage: the store of the tables; by default what their places and ``options.store`` say.
            For a REST catalog also a function that makes the store of a table from its path and
            credentials.

    Raises:
        UnsupportedFeature: a database, scheme or parameter that is not known.
        InvalidRequest: the options contradict each other.
    """
    if options.kind == "rest":
        return RestCatalog(options, storage=storage, world=world)
    if callable(storage):
        raise InvalidRequest("this catalog has one store for all tables", kind=options.kind)
    if options.kind == "jdbc":
        return JdbcCatalog(options, storage=storage, world=world)
    return FilesystemCatalog(options.warehouse, storage=storage, world=world, store=options.store)
