"""One command on one table or on all of a warehouse: a broken table does not stop the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

from ..table.errors import DesiltError, naming
from ..table.handle import TableHandle
from .catalogs import Where
from .console import complain, print_json, print_rows
from .logs import describe
from .outcome import exit_code

Row = dict[str, object]


def each_table(
    where: Where, table: str | None, act: Callable[[TableHandle], Row]
) -> tuple[list[Row], int]:
    """What ``act`` says of each table, and the exit code: of the first that failed, or 0.

    A failure is a line on stderr and a row with ``error``. Of one table alone it is raised.
    """
    catalog = where.open()
    if table is not None:
        handle = catalog.handle(table)
        with naming(handle.name):
            return [act(handle)], 0
    rows: list[Row] = []
    code = 0
    for name in catalog.tables():
        try:
            with naming(name):
                rows.append(act(catalog.handle(name)))
        except Exception as error:  # noqa: BLE001  also a bug of ours costs one table alone
            complain(describe(error) if not isinstance(error, DesiltError) else str(error))
            rows.append({"table": name, "error": str(error)})
            code = code or exit_code(error)
    return rows, code


def show(rows: Sequence[Row], *, one: bool, as_json: bool) -> None:
    """The rows as a table without what only JSON says, or as JSON: one object for one table."""
    if as_json:
        print_json(rows[0] if one else list(rows))
        return
    whole = [row for row in rows if "error" not in row]
    if not whole:
        return
    columns = [key for key, value in whole[0].items() if not isinstance(value, list | dict)]
    print_rows(columns, [[row[c] for c in columns] for row in whole])


def print_paths(rows: Sequence[Row]) -> None:
    """Every file among the rows' ``paths``, a line each."""
    found = [
        (row["table"], path) for row in rows for path in cast("list[str]", row.get("paths", []))
    ]
    if found:
        print_rows(("table", "file"), found)
