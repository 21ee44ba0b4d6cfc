"""`desilt scan`: the health of a warehouse, one row per bucket."""

from __future__ import annotations

from typing import Annotated

import typer

from .console import complain, finish, print_json, print_rows, progress
from .survey import rules_for, survey

COLUMNS = (
    "table", "partition", "bucket", "files", "small_files", "level0_files", "sorted_runs", "bytes",
    "rows", "delete_rows", "overlap_bytes", "write_amplification", "oldest_level0_age_seconds",
    "score", "reason",
)  # fmt: skip

Warehouse = Annotated[str, typer.Option("--warehouse", help="Path or file:// URI.")]
OneTable = Annotated[str | None, typer.Option("--table", help="DB.T; all without it.")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON alone on stdout.")]


def scan(warehouse: Warehouse, table: OneTable = None, as_json: AsJson = False) -> None:
    """Show the health of each bucket, and its score by the table's own options."""
    finish(lambda: run_scan(warehouse, table, as_json=as_json))


def run_scan(warehouse: str, table: str | None, *, as_json: bool) -> int:
    """Print the rows; 0, 1 or 3 as in `Survey.exit_code`."""
    with progress("scanning", total=0) as step:
        found = survey(warehouse, table, rules_for(warehouse, None), step)
    rows = found.verdicts.select(COLUMNS)
    if as_json:
        print_json(rows.to_dicts())
    else:
        print_rows(COLUMNS, rows.rows())
    for name, error in found.errors:
        complain(f"{name}: {error}")
    return found.exit_code
