"""`desilt resume`: a person has looked; halted tables and quarantined buckets are worked on again.

The daemon may run meanwhile: it reads the holds from its journal at every tick.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .config import load
from .console import finish
from .errors import UsageError
from .journal import Journal


def resume(
    config: Annotated[Path, typer.Option("-c", "--config", help="The YAML file.")],
    table: Annotated[
        str | None, typer.Option("--table", help="As the log names it; all without it.")
    ] = None,
) -> None:
    """Lift the holds on a table and its buckets, or all."""
    finish(lambda: run_resume(config, table))


def run_resume(config: Path, table: str | None) -> int:
    """Print how many holds were lifted."""
    path = load(config).state_path
    if not path.exists():
        raise UsageError(f"no state there, so nothing is held, path={path}")
    journal = Journal(path, exclusive=False)
    try:
        print(f"{journal.lift(table)} lifted")
    finally:
        journal.close()
    return 0
