"""One table of every kind that desilt keeps, each with its history and what it must hold then.

Histories are `steady` ones: what a reader must find does not depend on when anything was compacted.
"""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import polars as pl

from desilt.table.catalog import open_table
from desilt.table.delete import Deletion

from .canonical import Json
from .engine_histories import Allowance, EngineHistory
from .engine_model import Rules
from .engines import Cell
from .histories import Batch, History, Row, alike
from .matrix import ROWS
from .peers import Peer
from .players import Player
from .pypaimon_limits import takes_retracts, why_pypaimon_cannot_read
from .shapes import Shape

__all__ = ["CHANGELOGS", "NAMES", "PARKED", "TELLING", "Kept", "lake", "made"]

Writer = Literal["java", "pypaimon", "desilt"]

# Who writes the tables of the matrix; Java all others.
WRITERS: dict[Cell, Writer] = {
    Cell("deduplicate", "none", vectors=False): "pypaimon",
    Cell("partial-update", "lookup", vectors=False): "pypaimon",
    Cell("deduplicate", "input", vectors=True): "desilt",
    Cell("deduplicate", "lookup", vectors=True): "desilt",
    Cell("aggregation", "full-compaction", vectors=False): "desilt",
    Cell("first-row", "none", vectors=False): "desilt",
}
NESTED = Shape(
    {
        "k": "INT NOT NULL",
        "r": "ROW<a INT, b ROW<c STRING, d TIMESTAMP(6)>>",
        "l": "ARRAY<ROW<x DOUBLE, y BYTES NOT NULL>>",
        "m": "MAP<INT, ROW<t TIME(3), l ARRAY<BOOLEAN>>>",
        "s": "MULTISET<STRING>",
    },
    ("k",),
    (),
    {"bucket": "1", "num-sorted-run.compaction-trigger": "2"},
)
LONG_AGO, LONG_FROM_NOW = 1_000_000_000, 4_000_000_000
EXPIRING = Shape(
    {"k": "INT NOT NULL", "v": "STRING", "t": "BIGINT"},
    ("k",),
    (),
    {
        "bucket": "1",
        "num-sorted-run.compaction-trigger": "2",
        "record-level.expire-time": "1 d",
        "record-level.time-field": "t",
        "compaction.optimization-interval": "1 s",
    },
)


@dataclass
class Kept(ABC):
    """A table, what is written to it and what it must hold; ``rules`` of keyed tables say how rows
    are compared."""

    name: str
    shape: Shape
    writer: Writer = "java"
    cell: Cell | None = None
    rules: Rules | None = None
    path: Path = Path()

    def step(self, player: Player) -> None:
        """One commit by its writer."""
        batch = self.batch()
        if batch:
            player.write(self.shape, self.path, batch)

    @abstractmethod
    def batch(self) -> Batch:
        """What is written next; `expected` has followed."""

    @property
    @abstractmethod
    def expected(self) -> list[str]:
        """What a reader must find now (see `alike`)."""

    def alike(self, rows: Sequence[Row]) -> list[str]:
        """Rows that a reader found, to be compared with `expected`."""
        return alike(rows if self.rules is None else map(self.rules.comparable, rows))


class MatrixTable(Kept):
    """A row of the support matrix."""

    def __init__(self, cell: Cell, seed: int) -> None:
        writer = WRITERS.get(cell, "java")
        self.history = EngineHistory(seed, cell, "steady", _allowance(cell, writer))
        name = str(cell).replace("-", "_")
        super().__init__(name, self.history.shape, writer, cell, self.history.rules)

    def batch(self) -> Batch:
        return self.history.batch()

    @property
    def expected(self) -> list[str]:
        return self.history.expected


def _allowance(cell: Cell, writer: Writer) -> Allowance | None:
    if writer != "pypaimon":
        return None
    return Allowance(
        accept=lambda shape: why_pypaimon_cannot_read(cell, shape) is None,
        inserts=True,
        retracts=takes_retracts(cell),
        tame=True,
    )


class PlainTable(Kept):
    """A table with a history of plain changes."""

    def __init__(self, name: str, shape: Shape, seed: int) -> None:
        super().__init__(name, shape)
        self.history = History(seed, shape=shape)

    def batch(self) -> Batch:
        return self.history.batch()

    @property
    def expected(self) -> list[str]:
        return self.history.expected


@dataclass
class AppendTable(Kept):
    """Rows with a number each; where the table has vectors, desilt deletes some after each."""

    rows: dict[int, Row] = field(default_factory=dict[int, Row])
    written: int = 0

    def step(self, player: Player) -> None:
        super().step(player)
        if self.shape.options.get("deletion-vectors.enabled") == "true":
            self._delete()

    def _delete(self) -> None:
        by, rest = 3, self.written % 3
        gone = [n for n in self.rows if n % by == rest]
        done = open_table(str(self.path)).delete(pl.col("n") % by == rest)
        assert (done.rows if isinstance(done, Deletion) else 0) == len(gone)
        for n in gone:
            del self.rows[n]

    def batch(self) -> Batch:
        made: Batch = [["+I", self.written + i, f"v{i}"] for i in range(20)]
        self.rows |= {self.written + i: row[1:] for i, row in enumerate(made)}
        self.written += len(made)
        return made

    @property
    def expected(self) -> list[str]:
        return alike(self.rows.values())


@dataclass
class ExpiringTable(Kept):
    """Half of the rows have expired long before they are written; nobody sees those at the end."""

    rng: random.Random = field(default_factory=lambda: random.Random(5))
    rows: dict[int, Row] = field(default_factory=dict[int, Row])

    def batch(self) -> Batch:
        keys = self.rng.sample(range(100), 20)
        made: list[Row] = [[k, f"v{self.rng.random()}", self._time(k)] for k in keys]
        self.rows |= {k: row for k, row in zip(keys, made, strict=True) if k % 2}
        return [["+I", *row] for row in made]

    def _time(self, key: int) -> Json:
        return LONG_FROM_NOW if key % 2 else LONG_AGO

    @property
    def expected(self) -> list[str]:
        return alike(self.rows.values())


def lake() -> list[Kept]:
    """All of them, anew."""
    seeds = {cell: 100 + i for i, cell in enumerate(ROWS)}
    return [
        *(MatrixTable(cell, seed) for cell, seed in seeds.items()),
        *(
            AppendTable(f"append_{kind}{'_vectors' if vectors else ''}", _append(kind, vectors))
            for kind in ("plain", "buckets")
            for vectors in (False, True)
        ),
        PlainTable("nested", NESTED, 7),
        ExpiringTable("expiring", EXPIRING),
    ]


def _append(kind: str, vectors: bool) -> Shape:
    options = {"bucket": "-1", "compaction.min.file-num": "2"}
    if kind == "buckets":
        options |= {"bucket": "2", "bucket-key": "n"}
    if vectors:
        options["deletion-vectors.enabled"] = "true"
    return Shape({"n": "INT", "v": "STRING"}, (), (), options)


NAMES = [table.name for table in lake()]
CHANGELOGS = [t.name for t in lake() if t.cell and t.cell.producer in ("lookup", "full-compaction")]
"""Tables that compactions tell the changes of."""
TELLING = [*CHANGELOGS, *(t.name for t in lake() if t.cell and t.cell.producer == "input")]
"""Tables with a changelog, be it only what was written."""
PARKED = ("deduplicate_lookup_vectors", "aggregation_full_compaction", "first_row_lookup")
"""Tables with a consumer that never moves, so that their whole history is kept."""


def made(table: Kept, java: Peer, warehouse: Path) -> Kept:
    """The table, created by Java."""
    table.path = java.create_table(
        warehouse,
        table.name,
        table.shape.columns,
        primary_keys=table.shape.primary_keys,
        partition_keys=table.shape.partition_keys,
        options=table.shape.options,
    )
    return table
