"""Run as a script: makes a bucket of a given decoded size, or measures what rewriting it takes.

memory_probe.py make FOLDER RUNS ROWS_OF_A_RUN
memory_probe.py rewrite FOLDER MEMORY_BYTES      prints one JSON object
"""

from __future__ import annotations

import json
import sys
import uuid
from pathlib import Path

import polars as pl

from desilt.table.catalog import Catalog
from desilt.table.compact import RewriteOptions, rewrite
from desilt.table.decision import PlanOptions
from desilt.table.observe import TableObserver
from desilt.table.storage import LocalStorage

VALUES = tuple(f"v{i}" for i in range(40))
ROW_BYTES = 8 * (len(VALUES) + 1) + 8 + 8 + 1
"""Decoded: 41 columns of eight bytes, the key once more, the sequence number, the kind."""


def make(folder: str, runs: int, rows: int) -> None:
    """Level-0 files over the whole key range, as cheap as can be: no compression."""
    table = Catalog(folder, storage=LocalStorage(sync=False)).create_table(
        "db.t",
        {"k": "BIGINT NOT NULL", **dict.fromkeys(VALUES, "BIGINT")},
        primary_key=["k"],
        options={"bucket": "1", "file.compression": "none"},
    )
    for run in range(runs):
        keys = pl.int_range(rows, eager=True).alias("k") * runs + run
        table.write(pl.select(keys).with_columns(pl.col("k").alias(v) for v in VALUES))


def measure(folder: str, memory_bytes: int) -> dict[str, int]:
    """Peak memory before and after a full rewrite that is not committed."""
    table = Catalog(folder, storage=LocalStorage(sync=False)).table("db.t")
    observer = TableObserver(table.handle)
    observer.refresh()
    plan = observer.plan("", 0, str(uuid.uuid4()), PlanOptions("full"))
    assert plan is not None
    before = peak_bytes()
    result = rewrite(plan, RewriteOptions(memory_bytes=memory_bytes), table.handle)
    return {
        "baseline_bytes": before,
        "peak_bytes": peak_bytes(),
        "decoded_bytes": plan.input_rows * ROW_BYTES,
        "rows_out": result.rows_out,
    }


def peak_bytes() -> int:
    """High water mark of this program; `getrusage` would also count what forked it."""
    status = Path("/proc/self/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    if sys.argv[1] == "make":
        make(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
    else:
        print(json.dumps(measure(sys.argv[2], int(sys.argv[3]))))
