"""Processes that commit to one table of a catalog, each under keys of its own."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from desilt.table.catalogs import CatalogOptions, open_catalog
from desilt.table.errors import CommitConflict
from desilt.table.storage import LocalStorage

from .builders import kv

__all__ = ["KEYS_EACH", "write_until"]

KEYS_EACH = 1_000_000


def write_until(options: Mapping[str, Any], table: str, writer: int, stop: str, log: str) -> None:
    """Commits one key after the other until ``stop`` exists; ``log`` then tells what happened."""
    catalog = open_catalog(CatalogOptions(**options), LocalStorage(sync=False))
    opened = catalog.table(table)
    keys: list[int] = []
    conflicts = compactions = 0
    while not Path(stop).exists():
        key = writer * KEYS_EACH + len(keys)
        try:
            opened.write(kv((key, f"w{writer}")))
            keys.append(key)
            if len(keys) % 5 == 0:
                compactions += len(opened.compact("minor").buckets)
        except CommitConflict:
            conflicts += 1  # too many lost races, or another's compaction: nothing was written
        time.sleep(0.5)  # Java backs off up to 8 s: without gaps it would wait for minutes
    catalog.close()
    told = {"keys": keys, "conflicts": conflicts, "compactions": compactions}
    Path(log).write_text(json.dumps(told))
