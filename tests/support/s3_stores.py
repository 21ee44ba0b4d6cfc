"""Stores on the object gateway for tests: impatient, straight or through a proxy, and small tables.

A table is built on the local disk and copied up: a table is where its files are.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from desilt.table.storage import Storage, StoreOptions
from desilt.table.table import Table

from .builders import KEYED_OPTIONS, catalog
from .servers import Rgw, S3User

__all__ = [
    "impatient",
    "keyed_on",
    "uploaded",
]

ATTEMPTS = 4


def impatient(
    server: Rgw,
    *,
    endpoint: str | None = None,
    user: S3User | None = None,
    scratch: Path | None = None,
    attempts: int = ATTEMPTS,
) -> StoreOptions:
    """Few attempts and hardly a pause between them."""
    keys = user or S3User("", server.access_key, server.secret_key)
    return StoreOptions(
        endpoint=endpoint or server.endpoint,
        region=server.region,
        access_key=keys.access_key,
        secret_key=keys.secret_key,
        attempts=attempts,
        pause_seconds=0.001,
        connect_seconds=2.0,
        read_seconds=5.0,
        scratch=None if scratch is None else str(scratch),
    )


def keyed_on(
    storage: Storage, warehouse: str, options: Mapping[str, str] | None = None, name: str = "db.t"
) -> Table:
    """A table keyed by ``k`` with one bucket."""
    return catalog(warehouse, storage=storage).create_table(
        name,
        {"k": "INT NOT NULL", "v": "STRING"},
        primary_key=("k",),
        options={**KEYED_OPTIONS, **(options or {})},
    )


def uploaded(table: Table | str, storage: Storage, root: str) -> str:
    """A copy of a local table at ``root`` of another store; its root."""
    source = Path(table if isinstance(table, str) else table.path)
    files = [path for path in source.rglob("*") if path.is_file()]

    def put(path: Path) -> None:
        storage.overwrite(f"{root}/{path.relative_to(source)}", path.read_bytes())

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(put, files))
    return root
