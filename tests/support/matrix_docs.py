"""The tables of docs/support-matrix.md, made from the code: `PYTHONPATH=tests python -m …`.

A table stands behind a line ``<!-- name -->``, up to the next blank line.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from desilt.table.errors import TableError
from desilt.table.merge.functions.catalog import FUNCTION_NAMES
from desilt.table.schema import load_schema
from desilt.table.supported import check_table

from .engines import RETRACTABLE, Cell
from .matrix import combinations, refusal
from .pypaimon_limits import can_ever_read, limits, takes_retracts
from .refused import FEATURES, Feature

__all__ = ["DOCUMENT", "TABLES", "filled", "refusal_of"]

DOCUMENT = Path(__file__).parents[2] / "docs" / "support-matrix.md"
_PLACE = re.compile(r"^<!-- (?P<name>[\w-]+) -->\n(?P<table>(?:\|.*\n)*)", re.MULTILINE)


def filled(text: str) -> str:
    """The document with all its tables as the code has them."""
    return _PLACE.sub(lambda found: f"<!-- {found['name']} -->\n{TABLES[found['name']]()}", text)


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


# --- primary keys -------------------------------------------------------------------------------


def _rows() -> str:
    head = ("Merge engine", "Changelog producer", "Vectors", "desilt", "pypaimon", "Proof, or why")
    return _table(head, [_row(cell) for cell in combinations()])


def _row(cell: Cell) -> tuple[str, ...]:
    named = (f"`{cell.engine}`", f"`{cell.producer}`", "on" if cell.vectors else "off")
    refused = refusal(cell)
    if refused is not None:
        return (*named, "✗", "✗", f"Java: “{refused.java}” desilt: “{refused.desilt}”")
    return (*named, "✓", _by_pypaimon(cell), f"`-k {cell}-`")


def _by_pypaimon(cell: Cell) -> str:
    if not can_ever_read(cell):
        return "misread"
    return "✓" if takes_retracts(cell) else "✓ without retracts"


def _functions() -> str:
    rows = [(f"`{name}`", "✓", "✓" if name in RETRACTABLE else "–") for name in FUNCTION_NAMES]
    return _table(("Function", "desilt", "Takes rows back"), rows)


def _limits() -> str:
    return _table(("What", "Why pypaimon 2.1.0 is not asked"), limits())


# --- refused ------------------------------------------------------------------------------------


def refusal_of(feature: Feature) -> str:
    """The words of the error, without the place."""
    columns = {"k": "INT NOT NULL", "v": feature.type, "p": "INT NOT NULL"}
    bucket = {"bucket": "1"} if feature.keyed else {}
    schema = {
        "version": 3,
        "id": 0,
        "fields": [{"id": i, "name": n, "type": t} for i, (n, t) in enumerate(columns.items())],
        "highestFieldId": 2,
        "partitionKeys": ["p"] if feature.keyed else [],
        "primaryKeys": list(feature.primary_keys) if feature.keyed else [],
        "options": bucket | dict(feature.options),
    }
    try:
        check_table(load_schema(json.dumps(schema).encode(), "schema-0"))
    except TableError as error:
        return str(error).replace(", file=schema-0", "")
    raise AssertionError(f"not refused: {feature.title}")


def _refused() -> str:
    rows = [(one.title, f"`{refusal_of(one)}`", "✓" if one.expires else "✗") for one in FEATURES]
    return _table(("What", "Error", "Expiry"), rows)


TABLES: Mapping[str, Callable[[], str]] = {
    "rows": _rows,
    "functions": _functions,
    "pypaimon": _limits,
    "refused": _refused,
}
"""Tables by the name in the document."""


if __name__ == "__main__":
    DOCUMENT.write_text(filled(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")
