"""`desilt rollback`: a table becomes what it was, and what came after is gone.

Writers of the table must be stopped. Where a catalog has a lock it is held meanwhile.
"""

from __future__ import annotations

import time
from typing import Annotated

import typer

from ..table.errors import naming
from ..table.handle import TableHandle
from ..table.rollback import RollbackPlan, RollbackTarget, apply_rollback, plan_rollback
from .catalogs import Where
from .console import complain, finish, print_json, print_rows
from .errors import UsageError
from .flags import AsJson, CatalogName, ConfigFile, DryRun, OneTable, Warehouse
from .times import parse_moment


def rollback_table(
    table: OneTable,
    warehouse: Warehouse = None,
    config: ConfigFile = None,
    catalog: CatalogName = None,
    snapshot: Annotated[
        int | None, typer.Option("--snapshot", min=1, help="Back to this snapshot.")
    ] = None,
    tag: Annotated[str | None, typer.Option("--tag", help="Back to this tag.")] = None,
    timestamp: Annotated[
        str | None,
        typer.Option(
            "--timestamp", help="Back to the last snapshot by then, as 2026-11-22T10:00; UTC."
        ),
    ] = None,
    reset_consumers: Annotated[
        bool,
        typer.Option("--reset-consumers", help="Consumers that read beyond go on right there."),
    ] = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Back to an older snapshot; newer snapshots, changelogs and tags are deleted."""

    def command() -> int:
        if sum(given is not None for given in (snapshot, tag, timestamp)) != 1:
            raise UsageError("give one of --snapshot, --tag, --timestamp")
        millis = None if timestamp is None else parse_moment("--timestamp", timestamp)
        handle = Where(warehouse, config, catalog).open().handle(table)
        with naming(handle.name):
            to = RollbackTarget(snapshot, tag, millis)
            plan = plan_rollback(handle, to, reset_consumers=reset_consumers)
            if dry_run:
                return _print_plan(plan, as_json=as_json)
            return run_rollback(handle, plan, as_json=as_json)

    finish(command)


def run_rollback(handle: TableHandle, plan: RollbackPlan, *, as_json: bool) -> int:
    """Do it, and print what was done; 0 also when the table was there already.

    Raises:
        CommitConflict: the table changed, or somebody published meanwhile.
        TableError: as named; the same command goes on where this ended.
    """
    started = time.monotonic()
    result = apply_rollback(plan, handle)
    row: dict[str, object] = {
        "table": handle.name,
        "snapshot_id": result.snapshot_id,
        "snapshots": result.snapshots,
        "changelogs": result.changelogs,
        "tags": list(result.tags),
        "consumers": list(result.consumers),
        "seconds": time.monotonic() - started,
    }
    if as_json:
        print_json(row)
    else:
        shown = {**row, "tags": len(result.tags), "consumers": len(result.consumers)}
        print_rows(list(shown), [list(shown.values())])
    _warn(plan)
    return 0


def _print_plan(plan: RollbackPlan, *, as_json: bool) -> int:
    if as_json:
        print_json({**plan.as_dict(), "dry_run": True})
        return 0
    if plan.empty:
        print(f"the table is at snapshot {plan.target.id} already")
        return 0
    rows: list[tuple[object, ...]] = [
        ("snapshots", len(plan.snapshots), _ids([s.id for s in plan.snapshots])),
        ("changelogs", len(plan.changelogs), _ids([c.id for c in plan.changelogs])),
        ("tags", len(plan.tags), ", ".join(t.name for t in plan.tags) or None),
    ]
    print_rows(("deleted", "count", "which"), rows)
    made = "is there" if plan.restored is None else f"is made anew of tag {plan.restored}"
    print_rows(("target", "its file"), [(plan.target.id, made)])
    _warn(plan)
    return 0


def _ids(found: list[int]) -> str | None:
    return f"{found[0]} to {found[-1]}" if found else None


def _warn(plan: RollbackPlan) -> None:
    if plan.consumers and not plan.reset_consumers:
        names = ", ".join(c.name for c in plan.consumers)
        complain(
            f"consumers have read beyond snapshot {plan.target.id} and will miss what is written "
            f"under the ids they have read; --reset-consumers puts them back: {names}"
        )
