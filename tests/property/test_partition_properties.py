"""Which partitions expire, against the definition: random tables, patterns, ages and limits."""

from __future__ import annotations

import tempfile
from datetime import datetime, timedelta
from pathlib import Path
from random import Random

import polars as pl
import pytest
from support.builders import START_MILLIS, ManualClock, catalog, live_files, orphans, rows_of
from support.partition_model import FORMATS, draw
from support.seeds import seeds

from desilt.table.table import Table

DTYPES = {"STRING": pl.String(), "INT": pl.Int32()}


@pytest.mark.parametrize("seed", seeds(0, 12))
@pytest.mark.parametrize("name", FORMATS)
def test_those_go_whose_time_has_come(name: str, seed: int) -> None:
    print(f"seed {seed}")
    rng = Random(f"{name} {seed}")
    clock = ManualClock()
    with tempfile.TemporaryDirectory() as folder:
        now = _wall(Path(folder), clock)
        drawn = draw(rng, name, now, count=rng.randrange(1, 14))
        age = timedelta(seconds=rng.choice([0, 1, 3600, 86_400, 10 * 86_400, 30 * 86_400]))
        most, batch = rng.randrange(1, 7), rng.choice([None, 1, 2, 50])
        options = {
            "bucket": "-1", **drawn.writing.options,
            "partition.expiration-time": f"{int(age.total_seconds())} s",
            "partition.expiration-max-num": str(most),
        }  # fmt: skip
        if batch is not None:
            options["partition.expiration-batch-size"] = str(batch)
        columns = drawn.writing.columns
        table = catalog(folder, clock=clock).create_table(
            "db.t", {**columns, "n": "INT"}, partition_by=list(columns), options=options
        )
        schema = {key: DTYPES[kind] for key, kind in columns.items()} | {"n": pl.Int32()}
        counts = {values: rng.randrange(1, 4) for values in drawn.partitions}
        rows = [(*values, n) for values, count in counts.items() for n in range(count)]
        for part in (rows[::2], rows[1::2]):
            if part:
                table.write(pl.DataFrame(part, schema=schema, orient="row"))
        gone = _expire_all(table, most, batch or most)
        expected = drawn.expired(now, age)

        assert set(gone) == expected
        assert gone == sorted(gone, key=lambda v: ",".join(map(str, v)).encode("utf-16-be"))
        left = sorted([r for r in rows if r[:-1] not in expected], key=repr)
        assert rows_of(table) == left
        snapshot = table.handle.snapshots.latest()
        assert snapshot is not None
        assert snapshot.total_record_count == len(left)
        assert len(live_files(table)) == sum(p.files for p in table.partitions())
        assert orphans(table) == set()


def _wall(folder: Path, clock: ManualClock) -> datetime:
    """The local wall clock of a table in this folder."""
    probe = catalog(folder, clock=clock).handle("db.t").world
    millis = probe.creation_millis()
    assert abs(millis - START_MILLIS) < 86_400_000
    return datetime(1970, 1, 1) + timedelta(milliseconds=millis)  # noqa: DTZ001


def _expire_all(table: Table, most: int, batch: int) -> list[tuple[object, ...]]:
    """Run after run; what went, in order."""
    gone: list[tuple[object, ...]] = []
    while True:
        result = table.expire_partitions()
        dropped = result.dropped
        assert len(dropped.partitions) <= most
        assert len(dropped.snapshots) == -(-len(dropped.partitions) // batch)
        gone += [p.row for p in dropped.partitions]
        if not result.more:
            assert table.plan_partition_expiry().empty
            return gone
