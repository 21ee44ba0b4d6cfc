"""The command line: names and flags; each command is a file of its own.

Exit codes: 0 done or nothing due, 1 failed, 2 bad usage or config, 3 refused by name, 4 the input
changed under us too often.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import Annotated

import typer

from .cmd_check_config import check_config
from .cmd_compact import compact
from .cmd_compact_manifests import compact_table_manifests
from .cmd_demo import demo
from .cmd_expire import expire_snapshots
from .cmd_expire_changelogs import expire_changelogs_command
from .cmd_expire_consumers import expire_consumers
from .cmd_explain import explain
from .cmd_orphans import orphans
from .cmd_partitions import partitions
from .cmd_repair_files import repair_files
from .cmd_resume import resume
from .cmd_rollback import rollback_table
from .cmd_run import run
from .cmd_scan import scan
from .cmd_tables import tables
from .cmd_tag import tags

app = typer.Typer(
    name="desilt",
    help="Keeps Apache Paimon tables compacted, beside live writers.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for _name, _command in (
    ("tables", tables),
    ("scan", scan),
    ("explain", explain),
    ("compact", compact),
    ("compact-manifests", compact_table_manifests),
    ("expire", expire_snapshots),
    ("rollback", rollback_table),
    ("expire-changelogs", expire_changelogs_command),
    ("expire-consumers", expire_consumers),
    ("orphans", orphans),
    ("repair-files", repair_files),
    ("run", run),
    ("check-config", check_config),
    ("resume", resume),
    ("demo", demo),
):
    app.command(_name)(_command)
app.add_typer(tags, name="tag")
app.add_typer(partitions, name="partitions", help="List, drop or expire a table's partitions.")


def _print_version(wanted: bool) -> None:
    if wanted:
        print(version("desilt"))
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Keeps Apache Paimon tables compacted, beside live writers."""


def main() -> None:
    """What the command `desilt` calls."""
    app()
