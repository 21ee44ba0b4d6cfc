"""`desilt expire-changelogs`: drop a table's long-lived changelogs now, and no snapshot."""

from __future__ import annotations

from typing import Annotated

import typer

from ..table.expire import ExpiryPlan, Override, expire_changelogs, plan_changelog_expiry
from ..table.handle import TableHandle
from .cmd_expire import age_millis
from .console import finish
from .each_table import Row, each_table, show
from .errors import UsageError


def expire_changelogs_command(
    warehouse: Annotated[str, typer.Option("--warehouse", help="Path or file:// URI.")],
    table: Annotated[str, typer.Option("--table", help="DB.T")],
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
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan, do nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="JSON alone on stdout.")] = False,
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

        rows, code = each_table(warehouse, table, planned if dry_run else expired)
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
