"""The duel's writer: pypaimon alone, in its own environment; imports nothing of ours.

``stream`` makes a table with pypaimon's own options, one bucket, and commits to it once a second:
new keys and updates of old ones. Every batch is in its log, flushed to the device, before its
commit begins; so is every error, after which it goes on. ``dump`` reads the table back, merged by
pypaimon, into one JSON line a row.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import random
import time
from pathlib import Path
from typing import Any

import pyarrow as pa

SCHEMA = pa.schema(
    [
        pa.field("id", pa.int64(), nullable=False),
        pa.field("name", pa.string()),
        pa.field("amount", pa.float64()),
        pa.field("changed_at", pa.timestamp("ms")),
    ]
)
Row = tuple[int, str, float, int]


def _open(warehouse: str) -> Any:
    """``duel.events``, made when it is not there yet."""
    paimon = importlib.import_module("pypaimon")
    catalog = paimon.CatalogFactory.create({"warehouse": warehouse})
    if not Path(warehouse, "duel.db", "events").exists():
        catalog.create_database("duel", True)
        schema = paimon.Schema.from_pyarrow_schema(
            SCHEMA, primary_keys=["id"], options={"bucket": "1"}
        )
        catalog.create_table("duel.events", schema, False)
    return catalog.get_table("duel.events")


def _batch(chance: random.Random, number: int) -> list[Row]:
    """About 200 rows: half of them new keys, half old ones; no key twice."""
    new = range(number * 100, number * 100 + 100)
    old = chance.sample(range(number * 100), min(100, number * 100))
    now = time.time_ns() // 1_000_000
    return [(key, f"naïve-{chance.random():.9f}", chance.random(), now) for key in (*old, *new)]


def _commit(table: Any, rows: list[Row]) -> None:
    names = SCHEMA.names
    columns = {n: [row[i] for row in rows] for i, n in enumerate(names)}
    data = pa.table(
        {n: pa.array(columns[n], pa.int64() if n == "changed_at" else SCHEMA.field(n).type)
         for n in names}
    ).cast(SCHEMA)  # fmt: skip
    builder = table.new_batch_write_builder()
    writer, commit = builder.new_write(), builder.new_commit()
    try:
        writer.write_arrow(data)
        commit.commit(writer.prepare_commit())
    finally:
        writer.close()
        commit.close()


def stream(warehouse: str, log: Path, seconds: int) -> None:
    """One commit a second; a commit that takes longer delays the next one."""
    table, chance = _open(warehouse), random.Random(7)
    with log.open("x", encoding="utf-8") as file:

        def note(record: dict[str, object]) -> None:
            file.write(json.dumps(record) + "\n")
            file.flush()
            os.fsync(file.fileno())

        started = time.monotonic()
        for number in range(seconds):
            time.sleep(max(0.0, started + number - time.monotonic()))
            rows = _batch(chance, number)
            note({"batch": number, "rows": rows})
            try:
                _commit(table, rows)
                note({"acknowledged": number})
            except Exception as error:  # noqa: BLE001  every error of the writer is a finding
                note({"error": f"{type(error).__name__}: {error}", "batch_failed": number})


def dump(warehouse: str, to: Path) -> None:
    """The merged rows by key."""
    builder = _open(warehouse).new_read_builder()
    data = builder.new_read().to_arrow(builder.new_scan().plan().splits())
    times = data.column("changed_at").cast(pa.int64()).to_pylist()
    plain = [data.column(n).to_pylist() for n in ("id", "name", "amount")]
    rows = sorted(zip(*plain, times, strict=True))
    to.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def main() -> None:
    """``stream WAREHOUSE LOG SECONDS`` or ``dump WAREHOUSE FILE``."""
    parser = argparse.ArgumentParser()
    parser.add_argument("action", choices=["stream", "dump"])
    parser.add_argument("warehouse")
    parser.add_argument("file", type=Path)
    parser.add_argument("seconds", type=int, nargs="?", default=300)
    given = parser.parse_args()
    if given.action == "stream":
        stream(given.warehouse, given.file, given.seconds)
    else:
        dump(given.warehouse, given.file)


if __name__ == "__main__":
    main()
