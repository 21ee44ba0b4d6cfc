"""`desilt expire-changelogs`: drop a table's long-lived changelogs now, and no snapshot."""

from __future__ import annotations

from typing import Annotated

import typer

from ..table.expire import ExpiryPlan, Override, expire_changelogs, plan_changelog_expiry
from ..table.handle import TableHandle
from .catalogs import Where
from .cmd_expire import age_millis
from .console import finish
from .each_table import Row, each_table, show
from .errors import UsageError
from .flags import AsJson, CatalogName, ConfigFile, DryRun, OneTable, Warehouse


def expire_changelogs_command(
    table: OneTable,
    warehouse: Warehouse = None,
    config: ConfigFile = None,
    catalog: CatalogName = None,
    retain_max: Annotated[
        int | None, typer.Option("--retain-max", min=1, help="Keep at most so many.")
    ] = None,
    retain_min: Annotated[
        int | None, typer.Option("--retain-min", min=1, help="Keep at least so many.")
    ] = None,
    older_than: Annotated[
        str | None,
        typer.Option("--older-than", help="Drop what is older, as 2026-11-22T10:00; UTC."),
    ] = None,
    retain_age: Annotated[
        str | None, typer.Option("--retain-age", help="Keep what is younger, as 90m, 12h or 7d.")
    ] = None,
    max_deletes: Annotated[
        int | None, typer.Option("--max-deletes", min=1, help="Drop at most so many.")
    ] = None,
    delete_all: Annotated[
        bool, typer.Option("--delete-all", help="All that no consumer has still to read.")
    ] = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Drop long-lived changelogs; bounds that are not given are the table's own. Snapshots count
    towards the numbers: they are the newest changelogs."""

    def command() -> int:
        bounds = (retain_max, retain_min, older_than, retain_age)
        if delete_all and any(bound is not None for bound in bounds):
            raise UsageError("--delete-all takes no bounds")
        override = Override(retain_min, retain_max, age_millis(older_than, retain_age))

        def planned(handle: TableHandle) -> Row:
            plan = plan_changelog_expiry(handle, override, limit=max_deletes, everything=delete_all)
            return _planned(plan)

        def expired(handle: TableHandle) -> Row:
            result = expire_changelogs(handle, override, limit=max_deletes, everything=delete_all)
            total = {"changelogs": result.changelogs, "files": result.files_total}
            return {"table": handle.name, **total, "size_bytes": result.size_bytes}

        rows, code = each_table(
            Where(warehouse, config, catalog), table, planned if dry_run else expired
        )
        show(rows, one=True, as_json=as_json)
        return code

    finish(command)


def _planned(plan: ExpiryPlan) -> Row:
    part = plan.changelogs
    return {
        "table": plan.table,
        "changelogs": 0 if part is None else len(part.going),
        "files": plan.files.height,
        "size_bytes": 0 if part is None else part.size_bytes,
        "reason": "no changelog" if part is None else "; ".join(b.reason for b in part.bounds),
        "dry_run": True,
    }
