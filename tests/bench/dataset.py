"""The tables that the benchmark compacts: seeded, made once, kept under ``build/bench``.

Five level-0 files in one bucket, written by `Table.write`, so that each is a sorted run of its own
with a sequence range of its own. Twenty columns; the keys of every run are spread evenly over the
whole range. `target-file-size` is 1 gb, so that a run is one file and a compaction writes one file,
just as the copy that it is held against does.

`sparse` is `fifth` with every other column null, in turns by run, as when several streams fill one
row. `settled` is `fifth` with three of its runs merged into the top level already: what a
compaction of the other two looks its keys up in.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

import desilt

ROWS = 18_000_000
RUNS = 5
SEED = 20_260
ROOT = Path(__file__).resolve().parents[2] / "build" / "bench"
SETS = ("distinct", "fifth", "all")
TABLE = "bench.events"

OPTIONS = {"bucket": "1", "target-file-size": "1 gb", "file.compression.zstd-level": "1"}

SCHEMA: dict[str, str] = {
    "id": "BIGINT NOT NULL",
    "user_id": "BIGINT",
    "session_id": "BIGINT",
    "item_id": "INT",
    "quantity": "INT",
    "shard": "SMALLINT",
    "flags": "TINYINT",
    "epoch_millis": "BIGINT",
    "price": "DOUBLE",
    "discount": "DOUBLE",
    "latitude": "DOUBLE",
    "longitude": "DOUBLE",
    "country": "STRING",
    "channel": "STRING",
    "campaign": "STRING",
    "page": "STRING",
    "request": "STRING",
    "amount": "DECIMAL(12, 2)",
    "day": "DATE",
    "happened_at": "TIMESTAMP(6)",
}

Keys = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class DataSet:
    """One table on disk, never changed: runs work on a copy made of hard links."""

    name: str
    rows: int
    path: Path

    @property
    def files(self) -> tuple[Path, ...]:
        """Its data files, in name order."""
        return tuple(sorted(self.path.glob("bucket-0/*.parquet")))

    @property
    def size_bytes(self) -> int:
        return sum(f.stat().st_size for f in self.files)

    def linked(self, to: Path, options: Mapping[str, str] | None = None) -> Path:
        """A fresh table of the same files at ``to``, which is emptied first; with these options
        besides, as if it had been created so."""
        shutil.rmtree(to, ignore_errors=True)
        shutil.copytree(self.path, to, copy_function=_linked)
        path = to / "schema" / "schema-0"
        schema = json.loads(path.read_text())
        schema["options"] |= options or {}
        path.write_text(json.dumps(schema))
        return to


def _linked(file: str, to: str) -> None:
    """Data files are never changed, but hints are, and by some in place."""
    act = os.link if file.endswith(".parquet") else shutil.copyfile
    act(file, to)


def load(name: str, scale: float) -> DataSet:
    """The data set, made now unless it is there; ``scale`` 1 means 18 million rows."""
    rows = int(ROWS * scale)
    warehouse = ROOT / f"{name}-{rows}"
    found = DataSet(name, rows, warehouse / "bench.db" / "events")
    if not (warehouse / "made").exists():
        shutil.rmtree(warehouse, ignore_errors=True)
        _make(name, rows, warehouse)
        (warehouse / "made").touch()
    return found


def _make(name: str, rows: int, warehouse: Path) -> None:
    warehouse.mkdir(parents=True)
    table = desilt.Catalog(str(warehouse)).create_table(
        TABLE, SCHEMA, primary_key=["id"], options=OPTIONS
    )
    for index, keys in enumerate(_run_keys(name, rows)):
        written = frame(keys, SEED + index)
        if name == "sparse":
            dropped = [c for i, c in enumerate(written.columns[1:]) if (i + index) % 2]
            written = written.with_columns(
                pl.lit(None, written.schema[c]).alias(c) for c in dropped
            )
        if name == "settled" and index == RUNS - 2:
            table.compact("full")
        table.write(written)
    table.expire(retain_max=1, retain_min=1)  # what was merged already is no input


def _run_keys(name: str, rows: int) -> Iterator[Keys]:
    """The keys of each run; gaps of one to nine between neighbours, so that they compress badly."""
    rng = np.random.default_rng(SEED)
    count = {"distinct": rows, "all": rows // RUNS}.get(name, rows * 5 // 6)
    keys = np.cumsum(rng.integers(1, 10, count, dtype=np.int64))
    if name == "all":
        yield from [keys] * RUNS
        return
    owner = rng.integers(0, RUNS, count, dtype=np.int8)
    second = np.full(count, -1, dtype=np.int8)
    if name != "distinct":
        twice = rng.random(count) < 0.2
        second[twice] = (owner[twice] + rng.integers(1, RUNS, int(twice.sum()))) % RUNS
    for run in range(RUNS):
        yield keys[(owner == run) | (second == run)]


def frame(keys: Keys, seed: int) -> pl.DataFrame:
    """One row a key, the other columns drawn by ``seed``."""
    rng = np.random.default_rng(seed)
    rows = len(keys)

    def whole(high: int) -> Keys:
        return rng.integers(0, high, rows)

    def words(prefix: str, count: int) -> pl.Series:
        choice = pl.Series([f"{prefix}{i:04d}" for i in range(count)])
        return choice.gather(rng.integers(0, count, rows))

    millis = 1_760_000_000_000 + rng.integers(0, 90 * 86_400_000, rows)
    return pl.DataFrame(
        {
            "id": keys,
            "user_id": whole(2_000_000),
            "session_id": whole(1 << 30),
            "item_id": whole(50_000),
            "quantity": whole(12),
            "shard": whole(64),
            "flags": whole(8),
            "epoch_millis": millis,
            "price": rng.integers(99, 99_999, rows) / 100,
            "discount": rng.integers(0, 20, rows) / 20,
            "latitude": rng.integers(-900_000, 900_000, rows) / 10_000,
            "longitude": rng.integers(-1_800_000, 1_800_000, rows) / 10_000,
            "country": words("c", 60),
            "channel": words("channel-", 6),
            "campaign": words("campaign-", 2_000),
            "page": words("/shop/section/page-", 5_000),
            "request": pl.Series(rng.integers(0, 1 << 40, rows)).cast(pl.String()),
            "amount": pl.Series(rng.integers(0, 10_000_000, rows)),
            "day": pl.Series(millis // 86_400_000).cast(pl.Int32()).cast(pl.Date()),
            "happened_at": pl.Series(millis * 1000).cast(pl.Datetime("us")),
        }
    ).with_columns(
        pl.col("item_id", "quantity").cast(pl.Int32()),
        pl.col("shard").cast(pl.Int16()),
        pl.col("flags").cast(pl.Int8()),
        (pl.col("amount").cast(pl.Decimal(12, 0)) / 100).cast(pl.Decimal(12, 2)),
    )
