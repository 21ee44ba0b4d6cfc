"""What every command does the same way: errors and exit codes, tables, JSON, progress bars.

Results go to stdout, everything else to stderr. On a terminal results are tables for eyes; into a
pipe they are lines with tabs.
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from typer import Exit

from ..table.errors import DesiltError
from .outcome import exit_code

# What takes less needs no bar; it would only flicker.
PROGRESS_AFTER_SECONDS = 2.0


def finish(command: Callable[[], int]) -> None:
    """Run a command and end with its exit code; errors of ours are one line on stderr."""
    try:
        code = command()
    except DesiltError as error:
        complain(str(error))
        code = exit_code(error)
    raise Exit(code)


def complain(message: str) -> None:
    """One line on stderr."""
    print(f"desilt: {message}", file=sys.stderr)


def print_json(data: object) -> None:
    """``data`` alone on stdout."""
    json.dump(data, sys.stdout, indent=2, ensure_ascii=False, allow_nan=False)
    sys.stdout.write("\n")


def print_rows(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A table for eyes, or lines with tabs into a pipe."""
    if not sys.stdout.isatty():
        for row in (columns, *rows):
            print("\t".join(_text(value) for value in row))
        return
    table = Table(*columns)
    for row in rows:
        table.add_row(*(_text(value) for value in row))
    Console().print(table)


def _text(value: object) -> str:
    match value:
        case None:
            return "-"
        case float():
            return f"{value:.2f}"
        case _:
            return str(value).replace("\t", " ").replace("\n", " ")


@contextmanager
def progress(what: str, total: int) -> Generator[Callable[[str], None]]:
    """A bar on stderr for what takes longer than two seconds, if that is a terminal.

    Yields a function that counts one step and takes what comes next.
    """
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        disable=not sys.stderr.isatty(),
    )
    task = bar.add_task(what, total=total)
    timer = threading.Timer(PROGRESS_AFTER_SECONDS, bar.start)
    timer.daemon = True
    timer.start()
    try:
        yield lambda text: bar.update(task, advance=1, description=text)
    finally:
        timer.cancel()
        timer.join()
        bar.stop()
