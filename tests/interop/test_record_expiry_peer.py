"""Record-level expiry beside Java's: of twin tables the same rows stay."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from support.canonical import Json
from support.histories import alike
from support.peers import Peer

from desilt.table.catalog import open_table

HOUR = 3600
TYPES = [
    "INT", "BIGINT", "TIMESTAMP(0)", "TIMESTAMP(3)", "TIMESTAMP(6)", "TIMESTAMP(9)",
    "TIMESTAMP(3) WITH LOCAL TIME ZONE", "TIMESTAMP(6) WITH LOCAL TIME ZONE",
]  # fmt: skip


def values(time_type: str) -> list[Json]:
    """Times around now in the canonical encoding, far from the border of an hour ago."""
    now = int(time.time())
    seconds = [now, now - HOUR // 2, now - 2 * HOUR, now + 100 * HOUR, 1, -1, -10 * HOUR]
    if time_type == "INT":
        return [None, *seconds]
    if time_type == "BIGINT":
        return [None, *seconds, *(1000 * s for s in seconds[:4])]
    return [None, *({"ms": 1000 * s, "ns": 0} for s in seconds)]


@pytest.mark.parametrize("full", [True, False], ids=["full", "minor"])
@pytest.mark.parametrize("time_type", TYPES)
def test_the_same_records_expire(java: Peer, tmp_path: Path, time_type: str, full: bool) -> None:
    options = {
        "bucket": "1",
        "num-sorted-run.compaction-trigger": "2",
        "record-level.expire-time": "1 h",
        "record-level.time-field": "t",
    }
    columns = {"k": "INT NOT NULL", "t": time_type}
    ours, theirs = (
        java.create_table(tmp_path / name, "t", columns, primary_keys=["k"], options=options)
        for name in ("ours", "theirs")
    )
    rows = [[k, value] for k, value in enumerate(values(time_type))]
    for path in (ours, theirs):
        for part in (rows, rows[::2], rows[1::2]):
            java.insert(path, part)

    open_table(str(ours)).compact("full" if full else "minor", verify="full")
    java.compact(theirs, full=full)

    left = alike(java.read(theirs)["rows"])
    assert alike(java.read(ours)["rows"]) == left
    assert 0 < len(left) < len(rows)
