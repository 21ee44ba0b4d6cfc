"""Many small files in an object store that takes its time: how well its latency is hidden.

The store is Ceph's gateway behind a proxy that holds every request back. The rival downloads the
same objects by boto3 alone, as many at a time, and makes nothing of them.
"""

from __future__ import annotations

import shutil
import sys
import uuid
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from pathlib import Path

import polars as pl
from bench.process import Worker
from bench.slow_proxy import SlowProxy, slowed
from support.rgw import Rgw, rgw
from support.s3_stores import impatient, uploaded

import desilt
from desilt.table import paths
from desilt.table.manifest.codec import (
    ManifestMeta,
    read_manifest,
    read_manifest_list,
    write_manifest,
    write_manifest_list,
)
from desilt.table.storage.s3 import S3Storage
from desilt.table.table import Table

CALLS = {"store scan": "observe", "store compact": "compact"}
NAMES = tuple(CALLS)
WORKER = (sys.executable, "-P", "-m", "bench.worker")
COUNTS = {"store scan": 10_000, "store compact": 2_000}
FILE_ROWS = 50
LATENCY_SECONDS = 0.25
"""Long enough that waiting is the bound, not the two processors that all of this shares."""
ASKED = {"store scan": "/manifest/manifest-(?!list)", "store compact": "/bucket-0/"}
"""Paths of what each asks for much of."""
BUCKET = "bench"

Answer = dict[str, float]


@dataclass(frozen=True, slots=True)
class Lake:
    """A gateway, the proxy before it, and copies of local tables in it."""

    server: Rgw
    proxy: SlowProxy

    @property
    def environment(self) -> dict[str, str]:
        """For a process that goes through the proxy."""
        return self.server.environment(self.proxy.endpoint)

    def put(self, table: Path) -> str:
        """The table's copy, at an address of its own; past the proxy."""
        storage = S3Storage(BUCKET, impatient(self.server))
        return uploaded(str(table), storage, f"s3://{BUCKET}/{uuid.uuid4().hex}/db.db/t")

    def seen(self, work: Callable[[], Answer], count: int, pattern: str) -> Answer:
        """What it answers, and what the proxy saw of it; see `SlowProxy.since_last`."""
        self.proxy.since_last()
        answer = work()
        return {**answer, **asdict(self.proxy.since_last(count, pattern))}


@contextmanager
def lake() -> Generator[Lake]:
    """As long as the block lasts."""
    with ExitStack() as stack:
        server = stack.enter_context(rgw())
        server.client().create_bucket(Bucket=BUCKET)
        yield Lake(server, stack.enter_context(slowed(server.endpoint, LATENCY_SECONDS)))


def many_files(folder: Path, files: int) -> Path:
    """So many commits of one small file each, which overlap their neighbours."""
    table = _table(folder)
    for number in range(files):
        keys = range(number * FILE_ROWS // 2, number * FILE_ROWS // 2 + FILE_ROWS)
        table.write(pl.DataFrame({"k": keys, "v": [str(number)] * FILE_ROWS}))
    return Path(table.path)


def many_manifests(folder: Path, manifests: int) -> Path:
    """A table of so many manifests, each of one file that is not there."""
    table = _table(folder)
    table.write(pl.DataFrame({"k": [1], "v": ["a"]}))
    latest = table.handle.snapshots.latest()
    assert latest is not None
    root = table.path
    delta = Path(paths.manifest_file(root, latest.delta_manifest_list)).read_bytes()
    (meta,) = read_manifest_list(delta, "delta")
    data = Path(paths.manifest_file(root, meta.name)).read_bytes()
    entry = read_manifest(data, meta.name, stats=True)

    def another() -> ManifestMeta:
        fresh = entry.with_columns(name=pl.lit(f"data-{uuid.uuid4()}-0.parquet"))
        name, content = f"manifest-{uuid.uuid4()}-0", write_manifest(fresh)
        Path(paths.manifest_file(root, name)).write_bytes(content)
        return replace(meta, name=name, size_bytes=len(content))

    base = write_manifest_list([another() for _ in range(manifests - 1)])
    Path(paths.manifest_file(root, latest.base_manifest_list)).write_bytes(base)
    return Path(root)


def _table(folder: Path) -> Table:
    return desilt.Catalog(str(folder)).create_table(
        "db.t",
        {"k": "BIGINT NOT NULL", "v": "STRING"},
        primary_key=["k"],
        options={"bucket": "1"},
    )


@cache
def runs(work: Path, name: str, count: int, repeats: int) -> tuple[int, list[Answer], list[Answer]]:
    """Bytes of the objects that both read; ours and the rival's answers, in turns."""
    shutil.rmtree(work / name, ignore_errors=True)
    scan = name == "store scan"
    made = (many_manifests if scan else many_files)(work / name, count)
    folder = made / ("manifest" if scan else "bucket-0")
    size = sum(path.stat().st_size for path in folder.iterdir())
    with lake() as place, Worker(WORKER, place.environment) as worker:
        ours, theirs = list[Answer](), list[Answer]()
        for _ in range(repeats + 1):
            table = place.put(made)
            download = partial(worker.call, "download", prefix=f"{table}/{folder.name}/")
            theirs.append(place.seen(download, count, ASKED[name]))
            call = partial(worker.call, CALLS[name], table=table)
            ours.append(place.seen(call, count, ASKED[name]))
    shutil.rmtree(work / name)
    return size, ours[1:], theirs[1:]
