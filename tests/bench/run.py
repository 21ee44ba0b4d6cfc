"""The benchmark: `make bench`, or ``ONLY=fifth make bench``. About half an hour at full scale.

Rivals take turns (A B A B …), each in a warm process of its own, each time on a fresh table of hard
links to the same files; what is reported is the median and the quartiles, and the ratio of medians.

| name | desilt | against |
|---|---|---|
| distinct, fifth, all | full compaction of five files, verified and published | Polars copying |
| java | full compaction of `fifth` | Paimon's own Java library |
| partial-update, aggregation | full compaction of `fifth` by these engines | copying, and Java |
| sparse | full compaction by partial-update, half of the columns of each file null, which a copy \
has little to do with | Polars copying, and Java |
| lookup, vectors | two runs merged below a top level that holds keys of theirs, too: what changes \
is told, or the old rows are marked | Polars copying all files, and Java |
| write, read | keyed write, merged read (scaled down) | pypaimon |
| scan, get | a hundredth of the keys by a predicate, ten keys looked up (scaled down) | a full \
merged read, and the same rows picked from it |
| fleet discover, first looks, tick | 10,000 small tables watched: finding them, looking for the \
first time, a tick in which nothing changed | listing the snapshots of each |
| store scan, store compact | 10,000 manifests looked at, 2,000 small files compacted, in a store \
that holds each request back for 0.25 s | downloading the same by boto3, as many at a time |
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow.parquet as pq
from bench import fleet, store
from bench.dataset import OPTIONS, ROOT, SCHEMA, SEED, SETS, TABLE, DataSet, frame, load
from bench.process import Worker
from rich.console import Console
from rich.table import Table
from support.peers import new_java_peer

import desilt
from desilt.table.decision import Mode

WORKER = (sys.executable, "-P", "-m", "bench.worker")
PEER_ROOT = ROOT.parent / "peers" / "pypaimon"
PEER = (str(PEER_ROOT / "bin" / "python"), "-I", str(Path(__file__).parent / "pypaimon_worker.py"))
WORK = ROOT / "work"
# pypaimon merges and writes row by row; these take it half a minute each.
READ_SCALE = 0.05
WRITE_ROWS = 300_000
# All rows of a full read are in memory at once.
SCAN_SCALE = 0.2
LOOKED_UP = 10
JAVA_HEAP = "-Xmx6g"
TO_REACH = {
    **{"distinct": 0.5, "fifth": 0.55, "all": 0.85, "java": 2.0, "write": 20.0},
    **{"partial-update": 0.4, "aggregation": 0.4},
    **{"partial-update java": 1.5, "aggregation java": 1.5, "sparse java": 1.5},
    **{"lookup java": 1.0, "vectors java": 1.0},
}
GROUPS = {"fleet": fleet.NAMES, "store": store.NAMES}

Answer = dict[str, float]


@dataclass(frozen=True, slots=True)
class Variant:
    """A data set in a table of other options, and how it is compacted."""

    data: str
    options: Mapping[str, str]
    mode: Mode = "full"


_MAXIMA = ("epoch_millis", "day", "happened_at")
_SUMS = ("quantity", "price", "discount", "amount", "shard")
VARIANTS = {
    "partial-update": Variant("fifth", {"merge-engine": "partial-update"}),
    "sparse": Variant("sparse", {"merge-engine": "partial-update"}),
    "aggregation": Variant(
        "fifth",
        {
            "merge-engine": "aggregation",
            "fields.default-aggregate-function": "last_non_null_value",
            **{f"fields.{name}.aggregate-function": "max" for name in _MAXIMA},
            **{f"fields.{name}.aggregate-function": "sum" for name in _SUMS},
        },
    ),
    "lookup": Variant("settled", {"changelog-producer": "lookup"}, "minor"),
    "vectors": Variant("settled", {"deletion-vectors.enabled": "true"}, "minor"),
}


@dataclass(frozen=True, slots=True)
class Sample:
    """Wall seconds of one rival: median and quartiles; CPU and memory where they are known.

    ``in_flight``: where requests are counted, the most at once and how many were kept.
    """

    median: float
    quartiles: tuple[float, float]
    cpu_seconds: float | None
    peak_rss_bytes: int | None
    runs: int
    in_flight: tuple[int, float] | None = None

    @staticmethod
    def of(answers: Sequence[Answer]) -> Sample:
        seconds = [a["seconds"] for a in answers]
        cpu = [a["cpu_seconds"] for a in answers if "cpu_seconds" in a]
        peak = [a["peak_rss_bytes"] for a in answers if "peak_rss_bytes" in a]
        low, high = np.quantile(seconds, [0.25, 0.75])
        return Sample(
            median=statistics.median(seconds),
            quartiles=(float(low), float(high)),
            cpu_seconds=statistics.median(cpu) if cpu else None,
            peak_rss_bytes=int(max(peak)) if peak else None,
            runs=len(answers),
            in_flight=_in_flight(answers),
        )


def _in_flight(answers: Sequence[Answer]) -> tuple[int, float] | None:
    """Of the runs with the fewest."""
    if not all("kept" in a for a in answers):
        return None
    return int(min(a["most"] for a in answers)), min(a["kept"] for a in answers)


@dataclass(frozen=True, slots=True)
class Result:
    """One comparison; ``ratio`` > 1 means that desilt is the faster one."""

    name: str
    rival: str
    rows: int
    input_bytes: int
    desilt: Sample
    against: Sample
    to_reach: float | None

    @property
    def ratio(self) -> float:
        return self.against.median / self.desilt.median

    @property
    def cpu_ratio(self) -> float | None:
        """The same by CPU time, which a busy machine blurs less."""
        ours, theirs = self.desilt.cpu_seconds, self.against.cpu_seconds
        return theirs / ours if ours and theirs else None


def interleaved(
    ours: Callable[[], Answer], theirs: Callable[[], Answer], repeats: int
) -> tuple[Sample, Sample]:
    """Both in turns; the first turn only warms up."""
    pairs = [(ours(), theirs()) for _ in range(repeats + 1)][1:]
    return Sample.of([a for a, _ in pairs]), Sample.of([b for _, b in pairs])


def compaction_against_copy(name: str, variant: Variant, scale: float, repeats: int) -> Result:
    """Both get all cores; the copy gets our output's row group size."""
    data = load(variant.data, scale)
    with Worker(WORKER) as desilt_worker, Worker(WORKER) as polars_worker:

        def ours() -> Answer:
            table = data.linked(WORK / "table", variant.options)
            return desilt_worker.call("compact", table=str(table), mode=variant.mode)

        def theirs() -> Answer:
            to = WORK / "copy.parquet"
            groups = _written_group_rows(WORK / "table")
            return polars_worker.call(
                "copy", files=[str(f) for f in data.files], to=str(to), group_rows=groups
            )

        mine, copy = interleaved(ours, theirs, repeats)
    return _result(name, "Polars copy", data, mine, copy)


def _written_group_rows(table: Path) -> int:
    """Rows of the first row group of what the compaction wrote: the file that is no hard link."""
    written = [f for f in table.glob("bucket-0/data-*.parquet") if f.stat().st_nlink == 1]
    return int(pq.read_metadata(written[0]).row_group(0).num_rows)


def compaction_against_java(name: str, variant: Variant, scale: float, repeats: int) -> Result:
    """Java rewrites the same files over and over in one process; its first run warms it up."""
    data = load(variant.data, scale)
    with Worker(WORKER) as worker:
        runs = [
            worker.call(
                "compact",
                table=str(data.linked(WORK / "table", variant.options)),
                mode=variant.mode,
            )
            for _ in range(repeats + 1)
        ]
    with new_java_peer(jvm_options=[JAVA_HEAP]) as java:
        table = data.linked(WORK / "java", variant.options)
        seconds = java.bench_compact(
            table, full=variant.mode == "full", repeats=repeats + 1, timeout=3600
        )
    theirs = Sample.of([{"seconds": s} for s in seconds[1:]])
    return _result(name, "Paimon Java", data, Sample.of(runs[1:]), theirs)


def read_against_pypaimon(scale: float, repeats: int) -> Result:
    """A merged read of all columns into memory."""
    data = load("fifth", scale * READ_SCALE)
    with Worker(WORKER) as worker, Worker(PEER) as peer:
        ours, theirs = interleaved(
            lambda: worker.call("read", table=str(data.path)),
            lambda: peer.call("read", table=str(data.path)),
            repeats,
        )
    return _result("read", "pypaimon", data, ours, theirs)


def part_against_all(call: str, scale: float, repeats: int) -> Result:
    """The same rows by ``call`` of the worker: what it needs alone is read, or everything."""
    data = load("fifth", scale * SCAN_SCALE)
    ids = desilt.open_table(str(data.path)).scan(columns=["id"]).collect().get_column("id").sort()
    low = len(ids) // 2
    asked: dict[str, dict[str, Any]] = {
        "scan": {"low": ids[low], "high": ids[low + len(ids) // 100]},
        "get": {"ids": ids.sample(LOOKED_UP, seed=SEED).to_list()},
    }
    with Worker(WORKER) as part, Worker(WORKER) as whole:

        def answer(worker: Worker, *, pushed: bool) -> Answer:
            return worker.call(call, table=str(data.path), pushed=pushed, **asked[call])

        ours, theirs = interleaved(
            lambda: answer(part, pushed=True), lambda: answer(whole, pushed=False), repeats
        )
    return _result(call, "full read", data, ours, theirs)


def write_against_pypaimon(scale: float, repeats: int) -> Result:
    """One commit into a new table, rows in memory and in no order."""
    rows = int(WRITE_ROWS * scale)
    source = WORK / "rows.parquet"
    keys = np.random.default_rng(SEED).permutation(rows * 5)[:rows].astype(np.int64)
    frame(keys, SEED).write_parquet(source)

    def fresh(name: str) -> str:
        shutil.rmtree(WORK / name, ignore_errors=True)
        made = desilt.Catalog(str(WORK / name)).create_table(
            TABLE, SCHEMA, primary_key=["id"], options=OPTIONS
        )
        return made.path

    with Worker(WORKER) as worker, Worker(PEER) as peer:
        ours, theirs = interleaved(
            lambda: worker.call("write", table=fresh("ours"), rows=str(source)),
            lambda: peer.call("write", table=fresh("theirs"), rows=str(source)),
            repeats,
        )
    data = DataSet("write", rows, WORK / "ours" / "bench.db" / "events")
    return _result("write", "pypaimon", data, ours, theirs)


def fleet_against_listing(name: str, scale: float, repeats: int) -> Result:
    """``rows``: tables. What the three parts need is measured in one run."""
    tables = max(2, int(fleet.TABLES * scale))
    ours, theirs = fleet.runs(WORK, tables, repeats)[name]
    return Result(name, "listing", tables, 0, Sample.of(ours), Sample.of(theirs), None)


def store_against_download(name: str, scale: float, repeats: int) -> Result:
    """``rows``: manifests or files."""
    count = max(2, int(store.COUNTS[name] * scale))
    size, ours, theirs = store.runs(WORK, name, count, repeats)
    return Result(name, "download", count, size, Sample.of(ours), Sample.of(theirs), None)


def _result(name: str, rival: str, data: DataSet, ours: Sample, theirs: Sample) -> Result:
    return Result(name, rival, data.rows, data.size_bytes, ours, theirs, TO_REACH.get(name))


def benchmarks(scale: float, repeats: int) -> Mapping[str, Callable[[], Result]]:
    """By the names that ``--only`` takes, in the order they run."""

    def against_copy(name: str, variant: Variant) -> Callable[[], Result]:
        return lambda: compaction_against_copy(name, variant, scale, repeats)

    def against_java(name: str, variant: Variant) -> Callable[[], Result]:
        return lambda: compaction_against_java(name, variant, scale, min(repeats, 2))

    def against_listing(name: str) -> Callable[[], Result]:
        return lambda: fleet_against_listing(name, scale, repeats)

    def against_download(name: str) -> Callable[[], Result]:
        return lambda: store_against_download(name, scale, few)

    few = min(repeats, 3)  # the slow rivals
    return {
        **{name: against_copy(name, Variant(name, {})) for name in SETS},
        "java": against_java("java", Variant("fifth", {})),
        **{name: against_copy(name, variant) for name, variant in VARIANTS.items()},
        **{
            f"{name} java": against_java(f"{name} java", variant)
            for name, variant in VARIANTS.items()
        },
        "write": lambda: write_against_pypaimon(scale, few),
        "read": lambda: read_against_pypaimon(scale, few),
        "scan": lambda: part_against_all("scan", scale, few),
        "get": lambda: part_against_all("get", scale, few),
        **{name: against_listing(name) for name in fleet.NAMES},
        **{name: against_download(name) for name in store.NAMES},
    }


def drawn(results: Sequence[Result]) -> Table:
    """The results for eyes."""
    table = Table(
        *("what", "rows", "input", "desilt s (quartiles)", "rival", "rival s (quartiles)"),
        *("ratio", "to reach", "CPU ratio", "peak RSS", "in flight (kept)"),
        title="desilt against others: ratio = rival's median ÷ desilt's",
    )
    for r in results:
        peak = r.desilt.peak_rss_bytes
        table.add_row(
            *(r.name, _counted(r.rows), f"{r.input_bytes / 1e6:.0f} MB", _times(r.desilt)),
            *(r.rival, _times(r.against), f"{r.ratio:.2f}"),
            *("-" if x is None else f"{x:.2f}" for x in (r.to_reach, r.cpu_ratio)),
            "-" if peak is None else f"{peak / 2**20:.0f} MiB",
            _waiting(r.desilt),
        )
    return table


def _counted(rows: int) -> str:
    return f"{rows / 1e6:.2f} M" if rows > 100_000 else f"{rows:,}"


def _times(sample: Sample) -> str:
    low, high = sample.quartiles
    return f"{sample.median:.2f} ({low:.2f}–{high:.2f})"


def _waiting(sample: Sample) -> str:
    if sample.in_flight is None:
        return "-"
    most, kept = sample.in_flight
    return f"{most} ({kept:.0f})"


def machine() -> dict[str, str]:
    """What the numbers were made on."""
    return {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "processors": f"{os.cpu_count()} × {platform.processor() or platform.machine()}",
        "system": platform.platform(),
        "python": platform.python_version(),
        "polars": pl.__version__,
    }


def main() -> None:
    """What ``make bench`` runs."""
    parser = argparse.ArgumentParser(description="desilt against others")
    parser.add_argument("--only", help="fleet, store, or one of: " + ", ".join(benchmarks(1, 1)))
    parser.add_argument("--scale", type=float, default=1.0, help="1 means 18 million rows")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path, default=ROOT / "result.json")
    given = parser.parse_args()
    chosen = benchmarks(given.scale, given.repeats)
    names = tuple(chosen)
    if given.only is not None:
        names = GROUPS.get(given.only, (given.only,))
    if not set(names) <= set(chosen):
        parser.error(f"--only takes fleet, store, or one of: {', '.join(chosen)}")
    WORK.mkdir(parents=True, exist_ok=True)
    results: list[Result] = []
    console = Console(width=None if sys.stdout.isatty() else 160)
    for name in names:
        results.append(chosen[name]())
        console.print(drawn(results[-1:]))
    shutil.rmtree(WORK)
    console.print(drawn(results))
    rows = [{**asdict(r), "ratio": r.ratio, "cpu_ratio": r.cpu_ratio} for r in results]
    given.json.write_text(json.dumps({"machine": machine(), "results": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
