"""`desilt tables`: what the daemon would find in a catalog."""

from __future__ import annotations

from ..table.catalogs import BaseCatalog
from ..table.errors import DesiltError, UnsupportedFeature
from .catalogs import chosen, open_catalog
from .config_catalog import CatalogConfig
from .console import finish, print_json, print_rows, progress
from .flags import AsJson, CatalogName, ConfigFile, Warehouse

COLUMNS = ("table", "path", "state", "snapshot_id", "detail")


def tables(
    warehouse: Warehouse = None,
    config: ConfigFile = None,
    catalog: CatalogName = None,
    as_json: AsJson = False,
) -> None:
    """List the tables of a catalog, and which of them desilt can keep."""
    finish(lambda: run_tables(chosen(warehouse, config, catalog), as_json=as_json))


def run_tables(config: CatalogConfig, *, as_json: bool) -> int:
    """Print one row per table; 0, also when some cannot be kept: the rows say why."""
    opened = open_catalog(config)
    names = opened.tables()
    rows: list[dict[str, object]] = []
    with progress("listing", total=len(names)) as step:
        for name in names:
            rows.append(_row(opened, name))
            step(name)
    if as_json:
        print_json(rows)
    else:
        print_rows(COLUMNS, [[row[column] for column in COLUMNS] for row in rows])
    return 0


def _row(catalog: BaseCatalog, name: str) -> dict[str, object]:
    row: dict[str, object] = {column: None for column in COLUMNS}
    row["table"] = name
    try:
        table = catalog.table(name)
        row["path"] = table.path
        row["snapshot_id"] = table.handle.snapshots.latest_id()
    except UnsupportedFeature as error:
        return {**row, "state": "refused", "detail": str(error)}
    except DesiltError as error:
        return {**row, "state": "broken", "detail": str(error)}
    return {**row, "state": "kept"}
