"""`desilt check-config`: is the file usable, and what does it mean with all defaults?"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
import yaml

from .config import effective, load
from .console import finish


def check_config(file: Annotated[Path, typer.Argument(help="The YAML file.")]) -> None:
    """Check a configuration and print it with every default filled in; exit 0 or 2."""
    finish(lambda: run_check_config(file))


def run_check_config(file: Path) -> int:
    """0, or the `ConfigError` that names the key."""
    yaml.safe_dump(effective(load(file)), sys.stdout, sort_keys=False, allow_unicode=True)
    return 0
