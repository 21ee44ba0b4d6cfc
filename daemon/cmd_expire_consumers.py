"""`desilt expire-consumers`: forget streaming readers that left their note long ago.

A note holds snapshots and changelogs until its reader moves on; one that never comes back holds
them for ever. A reader whose note was forgotten starts anew.
"""

from __future__ import annotations

from typing import Annotated

import typer

from ..table.consumers import Consumer, ConsumerStore, chosen, expired, forget
from ..table.errors import InvalidRequest
from ..table.handle import TableHandle
from .catalogs import Where
from .console import finish
from .each_table import Row, each_table, show
from .errors import UsageError
from .flags import AsJson, CatalogName, ConfigFile, DryRun, Warehouse
from .units import parse_duration


def expire_consumers(
    warehouse: Warehouse = None,
    config: ConfigFile = None,
    catalog: CatalogName = None,
    table: Annotated[str | None, typer.Option("--table", help="DB.T; all by default.")] = None,
    older_than: Annotated[
        str | None,
        typer.Option("--older-than", help="Not moved for so long, as 12h or 7d."),
    ] = None,
    include: Annotated[
        str | None, typer.Option("--include", help="Only names that fit this expression.")
    ] = None,
    exclude: Annotated[
        str | None, typer.Option("--exclude", help="No names that fit this expression.")
    ] = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Forget idle consumers; the age is each table's `consumer.expiration-time` by default."""

    def command() -> int:
        age = None if older_than is None else _millis(older_than)

        def act(handle: TableHandle) -> Row:
            idle = chosen(_idle(handle, age, alone=table is not None), include, exclude)
            gone = idle if dry_run else forget(handle, idle)
            names = [c.name for c in gone]
            row: Row = {"table": handle.name, "consumers": len(gone), "names": " ".join(names)}
            return {**row, "dry_run": True} if dry_run else row

        rows, code = each_table(Where(warehouse, config, catalog), table, act)
        show(rows, one=table is not None, as_json=as_json)
        return code

    finish(command)


def _idle(handle: TableHandle, age_millis: int | None, *, alone: bool) -> tuple[Consumer, ...]:
    """The table's idle consumers.

    Raises:
        InvalidRequest: nobody says how old they may become, and the table was asked for by name.
    """
    own = handle.latest_schema().options.expiry.consumer_millis
    age = own if age_millis is None else age_millis
    if age is None and alone:
        raise InvalidRequest(
            "the table keeps consumers for ever: say --older-than",
            option="consumer.expiration-time",
        )
    return expired(ConsumerStore(handle).all(), age, handle.world.now_millis())


def _millis(text: str) -> int:
    try:
        return int(parse_duration(text) * 1000)
    except ValueError as error:
        raise UsageError(f"--older-than: {error}") from error
