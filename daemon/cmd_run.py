"""`desilt run`: the daemon, until SIGTERM or Ctrl-C."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .config import load
from .console import finish
from .service import run_until_signalled


def run(
    config: Annotated[Path, typer.Option("-c", "--config", help="The YAML file.")],
) -> None:
    """Run the daemon: look, decide, compact, until told to stop."""
    finish(lambda: run_daemon(config))


def run_daemon(config: Path) -> int:
    """0 after a clean stop."""
    run_until_signalled(load(config))
    return 0
