"""A rewrite's memory is bounded by its budget, not by its bucket; measured in a process of its own.

The bucket is ten times the budget: eight runs, each over the whole range of keys.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import support.memory_probe
from support.memory_probe import ROW_BYTES

MIB = 1024 * 1024
BUDGET_BYTES = 64 * MIB
RUNS = 8
ROWS = 10 * BUDGET_BYTES // ROW_BYTES // RUNS + 1

# What may be held at once:
#   64 MiB   the budget: a chunk and a half of each run, decoded and waiting;
#   64 MiB   the encoder: a row group of 32 MiB of rows, and the pages that it becomes;
#   64 MiB   slices of 16 MiB: one cut ahead, the joined rows of one, its winners, one merged ahead;
#   88 MiB   almost half as much again, for what the allocator keeps and decoders scribble on.
# Reading back holds less: two chunks of 64 MiB in a quarter of the columns.
# Measured 215 to 250 MiB on two cores; a bucket twice as large takes the same.
BOUND_BYTES = (64 + 64 + 64 + 88) * MIB


def probe(*arguments: object) -> str:
    script = str(support.memory_probe.__file__)
    command = [sys.executable, script, *(str(a) for a in arguments)]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
def test_rewrite_of_a_bucket_ten_times_the_budget_stays_within_its_bound() -> None:
    # Not pytest's folder: it would keep the files of three runs, 700 MB each.
    with tempfile.TemporaryDirectory() as folder:
        probe("make", folder, RUNS, ROWS)
        measured = json.loads(probe("rewrite", folder, BUDGET_BYTES))

    assert measured["decoded_bytes"] >= 10 * BUDGET_BYTES
    assert measured["rows_out"] == RUNS * ROWS
    assert measured["peak_bytes"] - measured["baseline_bytes"] < BOUND_BYTES, measured
