"""`desilt demo`: a minute of desilt beside a live writer, proven at the end."""

from __future__ import annotations

from typing import Annotated

import typer

from .console import finish


def demo(
    warehouse: Annotated[
        str | None, typer.Option("--warehouse", help="Where to; a temporary place without it.")
    ] = None,
) -> None:
    """Stream into tables of several kinds, keep them compacted, prove that no row was lost."""
    from .demo.run import run_demo

    finish(lambda: run_demo(warehouse))
