"""Tables that are due for one kind of compaction each: what faults are injected into."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import polars as pl

from desilt.table.decision import Mode
from desilt.table.table import Table

from .builders import append_table, keyed_table, kv, rows_of, upserts

SMALL = {"num-sorted-run.compaction-trigger": "3"}
NO_SMALL_FILES = {"compaction.small-file-ratio": "0"}


@dataclass(slots=True)
class Story:
    """One table and the compaction that is due; `observe` fills in what it holds before."""

    name: str
    mode: Mode
    build: Callable[[Path], Table]
    files_after: int
    rows: list[tuple[object, ...]] = field(default_factory=list[tuple[object, ...]])
    snapshots: int = 0

    def observe(self, table: Table) -> None:
        latest = table.handle.snapshots.latest()
        self.snapshots = 0 if latest is None else latest.id
        self.rows = rows_of(table)


def _minor(folder: Path) -> Table:
    """A big bottom run, and three small runs above it that are due together."""
    table = keyed_table(folder, options=SMALL)
    table.write(kv(*((k, hashlib.sha256(str(k).encode()).hexdigest()) for k in range(400))))
    table.compact("full")
    for value in ("a", "b", "c"):
        table.write(upserts(3, value, step=7))
    table.delete(kv((7, None)).select("k"))
    return table


def _full(folder: Path) -> Table:
    table = keyed_table(folder)
    table.write(upserts(20, "a"))
    table.write(upserts(10, "b", step=2))
    table.delete(kv((3, None), (5, None)).select("k"))
    return table


def _upgrade(folder: Path) -> Table:
    """Files that do not overlap move to another level by metadata alone."""
    table = keyed_table(folder, options=NO_SMALL_FILES)
    table.write(upserts(5, "a"))
    table.write(upserts(5, "b", start=100))
    return table


def _packing(folder: Path) -> Table:
    table = append_table(folder)
    for value in range(5):
        table.write(upserts(4, "x", start=value).rename({"k": "n"}))
    return table


def _lookup(folder: Path) -> Table:
    """Level 0 moves up below a bottom run, whose rows are looked up, told and marked as deleted."""
    options = {
        **SMALL,
        "changelog-producer": "lookup",
        "deletion-vectors.enabled": "true",
        "deletion-vectors.merge-on-read": "true",
    }
    table = keyed_table(folder, options=options)
    table.write(kv(*((k, hashlib.sha256(str(k).encode()).hexdigest()) for k in range(400))))
    table.compact("full")
    table.write(upserts(3, "a", step=7))
    table.delete(kv((7, None)).select("k"))
    return table


def _told(folder: Path) -> Table:
    """A full compaction tells what changed."""
    table = keyed_table(folder, options={"changelog-producer": "full-compaction"})
    table.write(upserts(20, "a"))
    table.compact("full")
    table.write(upserts(10, "b", step=2))
    table.delete(kv((3, None), (5, None)).select("k"))
    return table


def vectors(folder: Path, *, bucket: int = -1) -> Table:
    """An append table that has lost some rows, and whose files are packed."""
    options = {"deletion-vectors.enabled": "true", "bucket": str(bucket)}
    keys = {} if bucket == -1 else {"bucket-key": "n"}
    table = append_table(folder, options=options | keys)
    for value in range(5):
        table.write(upserts(4, "x", start=4 * value).rename({"k": "n"}))
    table.delete(pl.col("n") % 5 == 0)
    return table


STORIES = (
    Story("minor", "minor", _minor, files_after=2),
    Story("full", "full", _full, files_after=1),
    Story("upgrade", "full", _upgrade, files_after=2),
    Story("append packing", "minor", _packing, files_after=1),
    Story("lookup", "minor", _lookup, files_after=2),
    Story("full with changelog", "full", _told, files_after=1),
    Story("append packing with vectors", "full", vectors, files_after=1),
    Story("bucket packing with vectors", "full", partial(vectors, bucket=1), files_after=1),
)
