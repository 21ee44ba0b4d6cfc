"""`desilt compact-manifests`: merge a table's manifests now, where that helps."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from ..table.catalog import Catalog
from ..table.errors import naming
from ..table.manifest_compaction import compact_manifests, plan_manifest_compaction
from .console import finish, print_json, print_rows


def compact_table_manifests(
    warehouse: Annotated[str, typer.Option("--warehouse", help="Path or file:// URI.")],
    table: Annotated[str, typer.Option("--table", help="DB.T")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan, do nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="JSON alone on stdout.")] = False,
) -> None:
    """Merge the manifests into few of the table's target size; no data file is touched."""

    def command() -> int:
        handle = Catalog(warehouse).table(table).handle
        with naming(handle.name):
            if dry_run:
                plan = plan_manifest_compaction(handle)
                told = {**plan.as_dict(), "dry_run": True}
                shown = {**plan.as_dict(), "merged": len(plan.merged)}
            else:
                started = time.monotonic()
                result = compact_manifests(handle)
                told = shown = {**result.as_dict(), "seconds": time.monotonic() - started}
        if as_json:
            print_json(told)
        else:
            print_rows(list(shown), [list(shown.values())])
        return 0

    finish(command)
