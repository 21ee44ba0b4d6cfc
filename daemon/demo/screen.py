"""What the demo shows: a row for every table, redrawn on a terminal, printed now and then where
there is none."""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.live import Live
from rich.table import Table as RichTable

from .watch import Look

# Without a terminal a look every so often is enough.
PRINT_SECONDS = 10.0


class Screen:
    """Use as a context manager: a terminal is given back as it was."""

    def __init__(self, console: Console, metrics_url: str) -> None:
        self._url = metrics_url
        self._live = Live(console=console, auto_refresh=False) if console.is_terminal else None
        self._printed = time.monotonic()

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, looks: Sequence[Look]) -> None:
        """Draw them, or print lines if the last ones are old enough."""
        if self._live is not None:
            self._live.update(drawn(looks, self._url), refresh=True)
        elif time.monotonic() - self._printed >= PRINT_SECONDS:
            self._printed = time.monotonic()
            print("\n".join(map(line, looks)), flush=True)


def drawn(looks: Sequence[Look], metrics_url: str) -> RichTable:
    """The looks as a table for eyes."""
    table = RichTable(
        title="desilt beside a writer that commits to every table every second",
        caption=f"metrics: {metrics_url}",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    table.add_column("table", min_width=22)
    for name in ("commits", "compac-\ntions", "files", "sorted\nruns", "snap-\nshots", "changes"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("score", justify="right", no_wrap=True)
    for look in looks:
        table.add_row(
            f"{look.kind.name}\n[dim]{look.kind.about}[/]",
            *(str(look.appends), str(look.compactions), str(look.files)),
            f"{look.sorted_runs} of {look.trigger}" if look.kind.keyed else "-",
            str(look.snapshots),
            "-" if look.changes is None else str(look.changes),
            f"[bold red]{look.score:.2f}[/]" if look.score >= 1 else f"[green]{look.score:.2f}[/]",
        )
    return table


def line(look: Look) -> str:
    """One look in words."""
    runs = f", sorted runs {look.sorted_runs}" if look.kind.keyed else ""
    told = "" if look.changes is None else f", changes {look.changes}"
    return (
        f"{look.kind.name}: {look.appends} commits, {look.compactions} compactions, "
        f"files {look.files}{runs}, snapshots {look.snapshots}{told}, score {look.score:.2f}"
    )
