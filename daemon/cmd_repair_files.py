"""`desilt repair-files`: take data files out of a table that it counts on and that are gone.

Their rows are lost already; the table cannot be read until it knows. For a person who has looked:
the daemon never does this.
"""

from __future__ import annotations

from typing import Annotated

import typer

from ..table.handle import TableHandle
from ..table.missing_files import plan_missing, remove_missing
from .console import finish
from .each_table import Row, each_table, print_paths, show


def repair_files(
    warehouse: Annotated[str, typer.Option("--warehouse", help="Path or file:// URI.")],
    table: Annotated[str, typer.Option("--table", help="DB.T")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan, do nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="JSON alone on stdout.")] = False,
) -> None:
    """Commit that data files which are gone are gone, with the rows that were in them."""

    def command() -> int:
        rows, code = each_table(warehouse, table, _planned if dry_run else _repaired)
        show(rows, one=True, as_json=as_json)
        if not as_json:
            print_paths(rows)
        return code

    finish(command)


def _planned(handle: TableHandle) -> Row:
    return {**plan_missing(handle).as_dict(), "dry_run": True}


def _repaired(handle: TableHandle) -> Row:
    plan, outcome = remove_missing(handle)
    return {**plan.as_dict(), "committed": None if outcome is None else outcome.snapshot_id}
