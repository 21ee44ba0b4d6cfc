"""`desilt compact`: compact one table now, beside its writers and a running daemon.

Bucket by bucket: plan, rewrite in one warm worker, verify, commit. A premise that breaks
meanwhile (another compactor was there first) plans the bucket again, a few times.
"""

from __future__ import annotations

import os
import signal
import time
import uuid
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import FrameType
from typing import Annotated, Literal, NoReturn
from urllib.parse import unquote

import typer

from ..table.commit import CommitOutcome, Committer
from ..table.compact import CompactionPlan, RewriteResult, commit, sweep
from ..table.decision import PlanOptions
from ..table.errors import CommitConflict, InvalidRequest, OutcomeUnknown, TableError
from ..table.observe import TableObserver
from ..table.table import Table
from .catalogs import Where
from .console import finish, print_json, print_rows, progress
from .engine import Rewriter
from .flags import AsJson, CatalogName, ConfigFile, DryRun, OneTable, Warehouse
from .outcome import may_leave_files
from .service import WORKER_BASE_BYTES
from .supervisor import Supervisor, SupervisorOptions
from .survey import partition_of
from .units import Size, parse_size

# With each try another compactor has done work that need not be done again; five in a row is
# somebody who compacts the same bucket all the time.
REPLANS_MAX = 5

Mode = Literal["minor", "full"]
Verify = Literal["quarter", "full"]


def _size(text: str) -> Size:
    try:
        return parse_size(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


@dataclass(frozen=True, slots=True)
class CompactOptions:
    """What the flags say. ``partition``: key → value, all of which must fit; sizes in bytes."""

    mode: Mode
    partition: dict[str, str]
    bucket: int | None
    verify: Verify
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class Compacted:
    """One bucket's compaction as it went; ``seconds`` from the plan to the published snapshot."""

    plan: CompactionPlan
    result: RewriteResult
    outcome: CommitOutcome
    seconds: float


def compact(
    table: OneTable,
    warehouse: Warehouse = None,
    config: ConfigFile = None,
    catalog: CatalogName = None,
    partition: Annotated[
        list[str] | None, typer.Option("--partition", help="key=value; repeat for more keys.")
    ] = None,
    bucket: Annotated[int | None, typer.Option("--bucket", min=0, help="One bucket.")] = None,
    mode: Annotated[Mode, typer.Option(help="Picked by universal compaction, or everything.")] = (
        "minor"
    ),
    dry_run: DryRun = False,
    as_json: AsJson = False,
    verify: Annotated[
        Verify, typer.Option(help="Compare a quarter of the columns before the commit, or all.")
    ] = "quarter",
    memory: Annotated[
        str, typer.Option(help="Decoded rows to hold at a time, as 512MiB.")
    ] = "512MiB",
) -> None:
    """Compact the buckets of a table: rewrite, verify, commit."""
    size = _size(memory)

    def command() -> int:
        options = CompactOptions(mode, partition_of(partition or ()), bucket, verify, int(size))
        opened = Where(warehouse, config, catalog).open().table(table)
        if dry_run:
            return run_dry(opened, options, as_json=as_json)
        return run_compact(opened, options, as_json=as_json)

    finish(command)


def run_dry(table: Table, options: CompactOptions, *, as_json: bool) -> int:
    """Print what would be done, with predicted files and bytes."""
    observer = TableObserver(table.handle)
    observer.refresh()
    plans = [
        plan
        for partition, bucket in _chosen(observer, options)
        if (plan := _plan(observer, partition, bucket, options.mode)) is not None
    ]
    rows = [_planned(plan) for plan in plans]
    if as_json:
        totals = {
            name: sum(int(str(row[name])) for row in rows)
            for name in ("input_files", "input_bytes", "input_rows", "upgraded")
        }
        print_json({"table": table.name, "dry_run": True, **totals, "tasks": rows})
    elif rows:
        print_rows(list(rows[0]), [list(row.values()) for row in rows])
    else:
        print("nothing due")
    return 0


def run_compact(table: Table, options: CompactOptions, *, as_json: bool) -> int:
    """Do it and print what was done; 0 also when nothing was due.

    Raises:
        CommitConflict: a bucket changed under us too often.
        TableError, WorkerError: as named; buckets before it stay compacted.
    """
    observer = TableObserver(table.handle)
    observer.refresh()
    chosen = _chosen(observer, options)
    files_before = sum(_files(observer, chosen))
    done: list[Compacted] = []
    if not any(_plan(observer, *where, options.mode) for where in chosen):
        _report(table, files_before, done, 0.0, as_json=as_json)  # no worker for nothing
        return 0
    with _worker(options) as rewrite, progress("compacting", len(chosen)) as step:
        started = time.monotonic()
        compactor = _Compactor(table, observer, options, rewrite)
        for partition, bucket in chosen:
            compacted = compactor.compact(partition, bucket)
            if compacted is not None:
                done.append(compacted)
            step(f"{partition} bucket {bucket}".strip())
    _report(table, files_before, done, time.monotonic() - started, as_json=as_json)
    return 0


class _Compactor:
    """One table, one committer, one worker."""

    def __init__(
        self, table: Table, observer: TableObserver, options: CompactOptions, rewrite: Rewriter
    ) -> None:
        self._table = table
        self._observer = observer
        self._options = options
        self._rewrite = rewrite
        self._committer = Committer(table.handle)

    def compact(self, partition: str, bucket: int) -> Compacted | None:
        """One bucket; None when nothing is due there."""
        tries = 0
        while True:
            started = time.monotonic()
            plan = _plan(self._observer, partition, bucket, self._options.mode)
            if plan is None:
                return None
            try:
                result, outcome = self._act(plan)
            except CommitConflict:
                tries += 1
                if tries > REPLANS_MAX:
                    raise
                self._observer.refresh()
            else:
                return Compacted(plan, result, outcome, time.monotonic() - started)

    def _act(self, plan: CompactionPlan) -> tuple[RewriteResult, CommitOutcome]:
        storage = self._table.handle.storage
        try:
            result = self._rewrite(plan, self._options.memory_bytes, storage)
        except Exception as error:
            if may_leave_files(error):
                self._sweep(plan)
            raise
        except BaseException:  # interrupted: the worker still writes, so it goes first
            self._rewrite.stop()
            self._sweep(plan)
            raise
        # No sweeping after an answer that was lost, or not waited for: the publish may arrive late.
        try:
            return result, commit(plan, result, self._committer)
        except OutcomeUnknown:
            raise
        except Exception as error:
            if may_leave_files(error):
                self._sweep(plan)
            raise

    def _sweep(self, plan: CompactionPlan) -> None:
        """Remove what the task left, unless the table says that it was committed after all."""
        with suppress(TableError):
            sweep(self._table.handle, plan.task_id, plan.partition, plan.bucket)


@contextmanager
def _worker(options: CompactOptions) -> Generator[Rewriter]:
    """One warm worker with all cores; SIGTERM ends us like Ctrl-C, so that leftovers are
    removed."""
    supervisor = Supervisor(
        SupervisorOptions(
            workers=1,
            threads=os.cpu_count() or 1,
            rss_bytes_max=WORKER_BASE_BYTES + 2 * options.memory_bytes,
        )
    )
    previous = signal.signal(signal.SIGTERM, _on_sigterm)
    try:
        supervisor.start()
        rewriter = Rewriter(supervisor, options.verify, turn=int(time.time()))
        rewriter.warm_up()
        yield rewriter
    finally:
        supervisor.stop()
        signal.signal(signal.SIGTERM, previous)


def _on_sigterm(number: int, frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)


def _chosen(observer: TableObserver, options: CompactOptions) -> list[tuple[str, int]]:
    """(partition, bucket) of the buckets that the flags mean, sorted.

    Raises:
        InvalidRequest: the table has no such partition key.
    """
    keys = observer.schema.partition_keys
    for key in options.partition:
        if key not in keys:
            raise InvalidRequest("no such partition key", key=key, known=", ".join(keys) or "none")
    return [
        (partition, bucket)
        for partition, bucket in observer.buckets()
        if options.bucket in (None, bucket) and _within(partition, options.partition)
    ]


def _within(partition: str, wanted: dict[str, str]) -> bool:
    """Whether the partition has all the wanted values, as written in its directory or decoded."""
    values = dict(part.split("=", 1) for part in partition.split("/") if "=" in part)
    return all(
        value in (values.get(key), unquote(values.get(key, ""))) for key, value in wanted.items()
    )


def _files(observer: TableObserver, chosen: list[tuple[str, int]]) -> list[int]:
    frame = observer.health(int(time.time() * 1000)).select("partition", "bucket", "files")
    wanted = set(chosen)
    return [
        files for partition, bucket, files in frame.iter_rows() if (partition, bucket) in wanted
    ]


def _plan(
    observer: TableObserver, partition: str, bucket: int, mode: Mode
) -> CompactionPlan | None:
    return observer.plan(partition, bucket, str(uuid.uuid4()), PlanOptions(mode=mode))


def _planned(plan: CompactionPlan) -> dict[str, object]:
    return {
        "partition": plan.partition,
        "bucket": plan.bucket,
        "mode": plan.mode,
        "reason": plan.reason,
        "files": plan.bucket_files,
        "input_files": plan.input_files,
        "input_bytes": plan.input_bytes,
        "input_rows": plan.input_rows,
        "upgraded": len(plan.upgrades),
        "output_level": plan.output_level,
        "snapshot_id": plan.snapshot_id,
    }


def _task(done: Compacted) -> dict[str, object]:
    plan, result = done.plan, done.result
    return {
        "partition": plan.partition,
        "bucket": plan.bucket,
        "task_id": plan.task_id,
        "mode": plan.mode,
        "reason": plan.reason,
        "output_level": plan.output_level,
        "files_before": plan.bucket_files,
        "files_after": plan.bucket_files - plan.input_files + len(result.outputs),
        "bytes_read": result.bytes_read,
        "bytes_written": result.bytes_written,
        "rows_in": result.rows_in,
        "rows_out": result.rows_out,
        "upgraded": result.upgraded,
        "seconds": done.seconds,
        "peak_rss_bytes": result.peak_rss_bytes,
        "snapshot_id": done.outcome.snapshot_id,
        "lost_races": done.outcome.lost_races,
    }


def _report(
    table: Table, files_before: int, done: list[Compacted], seconds: float, *, as_json: bool
) -> None:
    tasks = [_task(compacted) for compacted in done]
    saved = sum(c.plan.input_files - len(c.result.outputs) for c in done)
    results = [c.result for c in done]
    totals: dict[str, object] = {
        "table": table.name,
        "files_before": files_before,
        "files_after": files_before - saved,
        "bytes_read": sum(r.bytes_read for r in results),
        "bytes_written": sum(r.bytes_written for r in results),
        "rows_in": sum(r.rows_in for r in results),
        "rows_out": sum(r.rows_out for r in results),
        "upgraded": sum(r.upgraded for r in results),
        "seconds": seconds,
        "peak_rss_bytes": max((r.peak_rss_bytes for r in results), default=0),
        "snapshot_id": max((c.outcome.snapshot_id for c in done), default=None),
    }
    if as_json:
        print_json({**totals, "tasks": tasks})
        return
    if not done:
        print("nothing due")
        return
    shown = ("partition", "bucket", "files_before", "files_after", "rows_in", "rows_out", "reason")
    print_rows(shown, [[task[name] for name in shown] for task in tasks])
    print_rows(list(totals), [list(totals.values())])
