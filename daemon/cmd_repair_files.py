"""`desilt repair-files`: take data files out of a table that it counts on and that are gone.

Their rows are lost already; the table cannot be read until it knows. For a person who has looked:
the daemon never does this.
"""

from __future__ import annotations

from ..table.handle import TableHandle
from ..table.missing_files import plan_missing, remove_missing
from .catalogs import Where
from .console import finish
from .each_table import Row, each_table, print_paths, show
from .flags import AsJson, CatalogName, ConfigFile, DryRun, OneTable, Warehouse


def repair_files(
    table: OneTable,
    warehouse: Warehouse = None,
    config: ConfigFile = None,
    catalog: CatalogName = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Commit that data files which are gone are gone, with the rows that were in them."""

    def command() -> int:
        rows, code = each_table(
            Where(warehouse, config, catalog), table, _planned if dry_run else _repaired
        )
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
