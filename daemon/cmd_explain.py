"""`desilt explain`: for every bucket of a table, would it be compacted, why, and why not."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Annotated, Any

import typer

from ..policies.admit import PickLimits
from ..policies.api import PICK_COLUMNS
from ..table.observe import TableObserver
from .console import complain, finish, print_json, print_rows
from .engine import plan_options
from .survey import rules_for, survey

Warehouse = Annotated[str, typer.Option("--warehouse", help="Path or file:// URI.")]
OneTable = Annotated[str, typer.Option("--table", help="DB.T")]
ConfigFile = Annotated[
    Path | None, typer.Option("-c", "--config", help="Judge by the policies of this file.")
]
AsJson = Annotated[bool, typer.Option("--json", help="JSON alone on stdout.")]

COLUMNS = ("partition", "bucket", "due", "score", "rule", "reason", "would_do")


def explain(
    warehouse: Warehouse, table: OneTable, config: ConfigFile = None, as_json: AsJson = False
) -> None:
    """Say for every bucket whether it would be compacted, by which rule, with which numbers."""
    finish(lambda: run_explain(warehouse, table, config, as_json=as_json))


def run_explain(warehouse: str, table: str, config: Path | None, *, as_json: bool) -> int:
    """Print one row per bucket, due or not."""
    found = survey(warehouse, table, rules_for(warehouse, config))
    observer = found.observers[table]
    rows: list[dict[str, object]] = []
    for verdict in found.verdicts.iter_rows(named=True):
        due = verdict["action"] is not None
        rows.append(
            {
                "partition": verdict["partition"],
                "bucket": verdict["bucket"],
                "due": due,
                "score": verdict["score"],
                "rule": verdict["rule"],
                "reason": verdict["reason"],
                "would_do": _would_do(observer, verdict) if due else None,
            }
        )
    if as_json:
        print_json(rows)
    else:
        print_rows(COLUMNS, [[row[name] for name in COLUMNS] for row in rows])
    for name, error in found.errors:
        complain(f"{name}: {error}")
    return found.exit_code


def _would_do(observer: TableObserver, verdict: dict[str, Any]) -> str:
    """The plan in a sentence, with its predictions; ``verdict``: a row of the survey."""
    limits = PickLimits(*(verdict[name] for name in PICK_COLUMNS))
    plan = observer.plan(
        verdict["partition"], verdict["bucket"], str(uuid.uuid4()), plan_options(limits)
    )
    if plan is None:
        return "nothing to pick"
    return (
        f"{plan.reason}: rewrite {plan.input_files} files of {plan.input_bytes} bytes and "
        f"{plan.input_rows} rows, move {len(plan.upgrades)}, to level {plan.output_level}"
    )
