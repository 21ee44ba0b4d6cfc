"""`desilt explain`: for every bucket of a table, would it be compacted, why, and why not."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

from ..policies.admit import PickLimits
from ..policies.api import PICK_COLUMNS
from ..table.observe import TableObserver
from .catalogs import chosen
from .config_catalog import CatalogConfig
from .console import complain, finish, print_json, print_rows
from .engine import plan_options
from .flags import AsJson, CatalogName, ConfigFile, OneTable, Warehouse
from .survey import rules_for, survey

COLUMNS = ("partition", "bucket", "due", "score", "rule", "reason", "would_do")


def explain(
    table: OneTable,
    warehouse: Warehouse = None,
    config: ConfigFile = None,
    catalog: CatalogName = None,
    as_json: AsJson = False,
) -> None:
    """Say for every bucket whether it would be compacted, by which rule, with which numbers."""

    def command() -> int:
        return run_explain(chosen(warehouse, config, catalog), table, config, as_json=as_json)

    finish(command)


def run_explain(catalog: CatalogConfig, table: str, config: Path | None, *, as_json: bool) -> int:
    """Print one row per bucket, due or not; judged by the policies of ``config`` if given."""
    found = survey(catalog, table, rules_for(catalog, config))
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
