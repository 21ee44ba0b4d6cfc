"""`desilt partitions`: list a table's partitions, drop some, or those whose time has come.

What is dropped is gone from the next snapshot on; the files go when no snapshot needs them.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Annotated

import typer

from ..table.errors import naming
from ..table.handle import TableHandle
from ..table.partition_drop import DropPlan, DropResult, Spec, drop_partitions, plan_drop
from ..table.partition_expiry import expire_partitions, plan_partition_expiry
from ..table.partition_list import PartitionInfo, list_partitions
from ..table.partition_time import PartitionOverride
from .catalogs import Where
from .console import finish, print_json, print_rows
from .errors import UsageError
from .flags import AsJson, CatalogName, ConfigFile, DryRun, OneTable, Warehouse
from .units import parse_duration

partitions = typer.Typer(no_args_is_help=True, add_completion=False)

_COLUMNS = ("partition", "rows", "files", "bytes", "newest file")


def _opened(where: Where, table: str) -> TableHandle:
    """The table, if it is one that desilt writes."""
    return where.open().table(table).handle


@partitions.command("list")
def list_all(
    table: OneTable,
    warehouse: Warehouse = None,
    config: ConfigFile = None,
    catalog: CatalogName = None,
    as_json: AsJson = False,
) -> None:
    """Every partition, and what it holds."""

    def command() -> int:
        handle = _opened(Where(warehouse, config, catalog), table)
        with naming(handle.name):
            found = list_partitions(handle)
        if as_json:
            print_json([p.as_dict() for p in found])
        else:
            print_rows(_COLUMNS, _rows(found))
        return 0

    finish(command)


@partitions.command("drop")
def drop(
    table: OneTable,
    partition: Annotated[
        list[str],
        typer.Option("--partition", help="KEY=VALUE,KEY=VALUE; keys may be left out. Repeatable."),
    ],
    warehouse: Warehouse = None,
    config: ConfigFile = None,
    catalog: CatalogName = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Drop the partitions that are named, as one snapshot."""

    def command() -> int:
        specs = [parse_spec(text) for text in partition]
        handle = _opened(Where(warehouse, config, catalog), table)
        with naming(handle.name):
            if dry_run:
                return _print_plan(plan_drop(handle, specs), {}, (), as_json=as_json)
            started = time.monotonic()
            dropped = drop_partitions(handle, specs)
        return _print_result(dropped, {}, time.monotonic() - started, as_json=as_json)

    finish(command)


@partitions.command("expire")
def expire(
    table: OneTable,
    warehouse: Warehouse = None,
    config: ConfigFile = None,
    catalog: CatalogName = None,
    older_than: Annotated[
        str | None, typer.Option("--age", help="How old a partition may become, as 12h or 7d.")
    ] = None,
    strategy: Annotated[
        str | None, typer.Option("--strategy", help="values-time or update-time.")
    ] = None,
    pattern: Annotated[
        str | None, typer.Option("--pattern", help="What makes a time, as '$dt $hour'.")
    ] = None,
    formatter: Annotated[
        str | None, typer.Option("--formatter", help="How it is written, as 'yyyyMMdd HH'.")
    ] = None,
    max_num: Annotated[
        int | None, typer.Option("--max-num", min=1, help="At most so many partitions.")
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option("--batch-size", min=1, help="So many in one snapshot.")
    ] = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Drop the partitions whose time has come; rules not given are the table's own."""

    def command() -> int:
        override = PartitionOverride(
            _millis(older_than), strategy, pattern, formatter, max_num, batch_size
        )
        handle = _opened(Where(warehouse, config, catalog), table)
        with naming(handle.name):
            if dry_run:
                plan = plan_partition_expiry(handle, override)
                told = {
                    "strategy": plan.strategy, "cut": plan.cut, "left": plan.left,
                    "stay": plan.stay,
                }  # fmt: skip
                return _print_plan(plan.drop, told, plan.timeless, as_json=as_json)
            started = time.monotonic()
            result = expire_partitions(handle, override)
        more = {"left": result.left, "timeless": result.timeless}
        return _print_result(result.dropped, more, time.monotonic() - started, as_json=as_json)

    finish(command)


def parse_spec(text: str) -> Spec:
    """``dt=2026-01-01,hour=7``: values by column.

    Raises:
        UsageError: a part without ``=``, or a column that comes twice.
    """
    spec: dict[str, object] = {}
    for part in text.split(","):
        key, equals, value = part.partition("=")
        if not equals or not key.strip() or key.strip() in spec:
            raise UsageError(f"--partition: KEY=VALUE,KEY=VALUE is expected, not {text!r}")
        spec[key.strip()] = value
    return spec


def _millis(text: str | None) -> int | None:
    if text is None:
        return None
    try:
        return int(parse_duration(text) * 1000)
    except ValueError as error:
        raise UsageError(f"--age: {error}") from error


def _rows(found: Sequence[PartitionInfo]) -> list[tuple[object, ...]]:
    return [(p.label, p.rows, p.files, p.size_bytes, p.newest_text) for p in found]


def _print_plan(
    plan: DropPlan, told: Mapping[str, object], timeless: Sequence[str], *, as_json: bool
) -> int:
    if as_json:
        more = {"timeless": list(timeless)} if told else {}
        print_json({**plan.as_dict(), **told, **more, "dry_run": True})
        return 0
    if told:
        print_rows(list(told), [list(told.values())])
    if plan.empty:
        print("nothing to drop")
    else:
        print_rows(_COLUMNS, _rows([p.info for p in plan.partitions]))
    if timeless:
        print_rows(("without a time, so they stay",), [(label,) for label in timeless])
    return 0


def _print_result(
    result: DropResult, more: Mapping[str, object], seconds: float, *, as_json: bool
) -> int:
    row = {**result.as_dict(), **more, "seconds": seconds}
    if as_json:
        print_json(row)
        return 0
    shown = {**row, "partitions": len(result.partitions), "snapshots": len(result.snapshots)}
    print_rows(list(shown), [list(shown.values())])
    return 0
