"""Catalogs: names of tables on a file system, in a database, behind a server."""

from __future__ import annotations

from ..storage.credentials import DataToken, TokenSource
from .base import BaseCatalog
from .filesystem import FilesystemCatalog
from .jdbc import JdbcCatalog
from .jdbc_lock import JdbcLock
from .opening import open_catalog
from .options import CatalogOptions
from .rest import RestCatalog, StoreMaker, ThroughServer

__all__ = [
    "BaseCatalog",
    "CatalogOptions",
    "DataToken",
    "FilesystemCatalog",
    "JdbcCatalog",
    "JdbcLock",
    "RestCatalog",
    "StoreMaker",
    "ThroughServer",
    "TokenSource",
    "open_catalog",
]
