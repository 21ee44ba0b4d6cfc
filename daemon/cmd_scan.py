"""`desilt scan`: the health of a warehouse, one row per bucket."""

from __future__ import annotations

from .catalogs import chosen
from .config_catalog import CatalogConfig
from .console import complain, finish, print_json, print_rows, progress
from .flags import AnyTable, AsJson, CatalogName, ConfigFile, Warehouse
from .survey import rules_for, survey

COLUMNS = (
    "table", "partition", "bucket", "files", "small_files", "level0_files", "sorted_runs", "bytes",
    "rows", "delete_rows", "overlap_bytes", "write_amplification", "oldest_level0_age_seconds",
    "score", "reason",
)  # fmt: skip


def scan(
    warehouse: Warehouse = None,
    table: AnyTable = None,
    config: ConfigFile = None,
    catalog: CatalogName = None,
    as_json: AsJson = False,
) -> None:
    """Show the health of each bucket, and its score by the table's own options."""
    finish(lambda: run_scan(chosen(warehouse, config, catalog), table, as_json=as_json))


def run_scan(catalog: CatalogConfig, table: str | None, *, as_json: bool) -> int:
    """Print the rows; 0, 1 or 3 as in `Survey.exit_code`."""
    with progress("scanning", total=0) as step:
        found = survey(catalog, table, rules_for(catalog, None), step)
    rows = found.verdicts.select(COLUMNS)
    if as_json:
        print_json(rows.to_dicts())
    else:
        print_rows(COLUMNS, rows.rows())
    for name, error in found.errors:
        complain(f"{name}: {error}")
    return found.exit_code
