"""Flags that several commands have: which catalog, which table, how it is printed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Warehouse = Annotated[
    str | None, typer.Option("--warehouse", help="Path, file:// or s3:// URI; or --config.")
]
ConfigFile = Annotated[
    Path | None, typer.Option("-c", "--config", help="Configuration that names the catalog.")
]
CatalogName = Annotated[
    str | None, typer.Option("--catalog", help="Catalog of --config; where there are several.")
]
OneTable = Annotated[str, typer.Option("--table", help="DB.T")]
AnyTable = Annotated[str | None, typer.Option("--table", help="DB.T; all without it.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the plan, do nothing.")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON alone on stdout.")]
