"""`desilt orphans`: delete files that no snapshot, tag, branch or changelog speaks of.

Of one table, or of all of a warehouse. Beside writers, expiry and compactions: what is younger
than the limit stays, so it must be longer than anybody takes from writing a file to committing it.
"""

from __future__ import annotations

from typing import Annotated

import typer

from ..table.handle import TableHandle
from ..table.orphans.clean import OrphanSettings, clean_orphans, plan_orphans
from .catalogs import Where
from .console import finish
from .each_table import Row, each_table, print_paths, show
from .errors import UsageError
from .flags import AsJson, CatalogName, ConfigFile, DryRun, Warehouse
from .units import parse_duration


def orphans(
    warehouse: Warehouse = None,
    config: ConfigFile = None,
    catalog: CatalogName = None,
    table: Annotated[str | None, typer.Option("--table", help="DB.T; all by default.")] = None,
    older_than: Annotated[
        str, typer.Option("--older-than", help="Delete what is older, as 12h or 3d; at least 1h.")
    ] = "1d",
    external_paths: Annotated[
        bool,
        typer.Option(
            "--external-paths",
            help="Look below the tables' external data paths, too; no two tables may share one.",
        ),
    ] = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Delete files that nobody can reach and that are old enough."""

    def command() -> int:
        settings = OrphanSettings(_millis(older_than), external=external_paths)
        act = _Planned(settings) if dry_run else _Cleaned(settings)
        rows, code = each_table(Where(warehouse, config, catalog), table, act)
        show(rows, one=table is not None, as_json=as_json)
        if dry_run and not as_json:
            print_paths(rows)
        return code

    finish(command)


def _millis(text: str) -> int:
    try:
        return int(parse_duration(text) * 1000)
    except ValueError as error:
        raise UsageError(f"--older-than: {error}") from error


class _Planned:
    """What would go."""

    def __init__(self, settings: OrphanSettings) -> None:
        self._settings = settings

    def __call__(self, handle: TableHandle) -> Row:
        plan = plan_orphans(handle, self._settings)
        found = plan.as_dict(files=True)
        counts = found.pop("files")
        return {**found, "orphans": plan.files.height, "files": counts, "dry_run": True}


class _Cleaned:
    """What went."""

    def __init__(self, settings: OrphanSettings) -> None:
        self._settings = settings

    def __call__(self, handle: TableHandle) -> Row:
        result = clean_orphans(handle, self._settings)
        return {
            "table": handle.name,
            "orphans": result.files_total,
            "size_bytes": result.size_bytes,
            "folders": result.folders,
            "kept": result.kept,
            "files": result.files,
        }
