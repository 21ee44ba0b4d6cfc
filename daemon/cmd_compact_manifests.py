"""`desilt compact-manifests`: merge a table's manifests now, where that helps."""

from __future__ import annotations

import time

from ..table.errors import naming
from ..table.manifest_compaction import compact_manifests, plan_manifest_compaction
from .catalogs import Where
from .console import finish, print_json, print_rows
from .flags import AsJson, CatalogName, ConfigFile, DryRun, OneTable, Warehouse


def compact_table_manifests(
    table: OneTable,
    warehouse: Warehouse = None,
    config: ConfigFile = None,
    catalog: CatalogName = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Merge the manifests into few of the table's target size; no data file is touched."""

    def command() -> int:
        handle = Where(warehouse, config, catalog).open().table(table).handle
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
