"""desilt's side of the benchmark, and the copy it is held against: each in a process that stays.

Answers one JSON line per JSON line. Every answer has ``seconds`` (wall), ``cpu_seconds`` (of all
threads) and ``peak_rss_bytes`` (of this call alone, where the system can tell).
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import boto3
import polars as pl
from botocore.config import Config

import desilt
from desilt.table.compact import commit, rewrite
from desilt.table.decision import Mode, PlanOptions
from desilt.table.observe import TableObserver
from desilt.table.rewrite import RewriteOptions
from desilt.table.storage.many import side_by_side
from desilt.table.storage.options import IN_FLIGHT

Answer = dict[str, float]


def compact(table: str, mode: Mode = "full") -> Answer:
    """A compaction, from planning to the published snapshot, verified as by default."""
    handle = desilt.open_table(table).handle
    observer = TableObserver(handle)
    observer.refresh()
    plan = observer.plan("", 0, str(uuid.uuid4()), PlanOptions(mode))
    if plan is None:
        raise RuntimeError("nothing was due")
    result = rewrite(plan, RewriteOptions())
    commit(plan, result)
    return {"rows": result.rows_out, "bytes": result.bytes_written}


def copy(files: list[str], to: str, group_rows: int) -> Answer:
    """Polars alone: all columns of the files into one file, encoded as ours is, but not flushed."""
    Path(to).unlink(missing_ok=True)
    pl.scan_parquet(files, glob=False, hive_partitioning=False).sink_parquet(
        to,
        compression="zstd",
        compression_level=1,
        statistics="full",
        row_group_size=group_rows,
    )
    return {"bytes": os.stat(to).st_size}


def write(table: str, rows: str) -> Answer:
    """One commit of all rows of a Parquet file; reading that file is not timed."""
    frame = pl.read_parquet(rows)
    opened = desilt.open_table(table)
    started = time.perf_counter()
    opened.write(frame)
    return {"seconds": time.perf_counter() - started, "rows": frame.height}


def read(table: str) -> Answer:
    """All merged rows in memory."""
    return {"rows": desilt.open_table(table).scan().collect().height}


def scan(table: str, low: int, high: int, *, pushed: bool) -> Answer:
    """The rows with such ids: by a scan that is told so, or of all rows in memory."""
    opened, wanted = desilt.open_table(table), pl.col("id").is_between(low, high)
    if pushed:
        return {"rows": opened.scan(filter=wanted).collect().height}
    return {"rows": opened.scan().collect().filter(wanted).height}


def get(table: str, ids: list[int], *, pushed: bool) -> Answer:
    """The rows of these ids: looked up, or picked from all rows in memory."""
    opened, keys = desilt.open_table(table), pl.DataFrame({"id": ids})
    if pushed:
        return {"rows": opened.get(keys).height}
    return {"rows": opened.scan().collect().join(keys, on="id", how="semi").height}


def observe(table: str) -> Answer:
    """The daemon's first look: every manifest of the latest snapshot, and the health of buckets."""
    observer = TableObserver(desilt.open_table(table).handle)
    observer.refresh()
    return {"rows": int(observer.health(int(time.time() * 1000))["files"].sum())}


def download(prefix: str) -> Answer:
    """boto3 alone: all objects below an ``s3://`` address, as many at a time as desilt asks for."""
    bucket, _, below = prefix.removeprefix("s3://").partition("/")
    config = Config(max_pool_connections=IN_FLIGHT)
    client = boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"], config=config)
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=below)
    keys = [one.get("Key", "") for page in pages for one in page.get("Contents", [])]

    def size(key: str) -> int:
        return len(client.get_object(Bucket=bucket, Key=key)["Body"].read())

    return {"bytes": sum(side_by_side(size, keys, IN_FLIGHT))}


CALLS: dict[str, Callable[..., Answer]] = {
    "compact": compact,
    "copy": copy,
    "download": download,
    "observe": observe,
    "write": write,
    "read": read,
    "scan": scan,
    "get": get,
}


def measured(call: Callable[..., Answer], args: dict[str, Any]) -> Answer:
    """What the call answers, with time and memory."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    wall, cpu = time.perf_counter(), time.process_time()
    answer = call(**args)
    taken = {"seconds": time.perf_counter() - wall, "cpu_seconds": time.process_time() - cpu}
    return {**taken, "peak_rss_bytes": _peak_rss_bytes(), **answer}


def _peak_rss_bytes() -> int:
    with suppress(OSError, StopIteration):
        lines = Path("/proc/self/status").read_text().splitlines()
        line = next(line for line in lines if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    """Serve until the input ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    for line in sys.stdin:
        request = json.loads(line)
        answer = measured(CALLS[request.pop("call")], request)
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
