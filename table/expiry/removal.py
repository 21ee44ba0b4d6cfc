"""Removes files and the folders that they leave empty."""

from __future__ import annotations

import polars as pl

from ..handle import TableHandle
from ..storage import Directories

# Paths in memory as text at a time, of a frame that may hold a million.
BATCH = 1000


def delete_below(handle: TableHandle, below_root: pl.Series) -> None:
    """Delete files by their paths below the table's root; missing ones are fine."""
    for start in range(0, below_root.len(), BATCH):
        batch = below_root[start : start + BATCH].to_list()
        handle.storage.delete([f"{handle.root}/{path}" for path in batch])


def remove_folders(handle: TableHandle, files: pl.Series) -> None:
    """Bucket folders that became empty, then their partitions upwards, as far as they did."""
    storage = handle.storage
    if not isinstance(storage, Directories):
        return
    folders = set(files.str.replace(r"/[^/]*$", "").unique().to_list())
    while folders:
        emptied = {f for f in folders if storage.remove_empty(f"{handle.root}/{f}")}
        folders = {f.rpartition("/")[0] for f in emptied} - {""}
