"""`desilt expire`: drop a table's old snapshots now, and the files that only they hold.

Beside writers, compactions and other expiries; it may be interrupted at any moment. What a table
must have to be expired is less than for compaction: its rows are not looked at.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Annotated

import typer

from ..table.errors import InvalidRequest, naming
from ..table.expire import (
    ExpiryPlan,
    ExpiryResult,
    FileKind,
    NameReader,
    Override,
    expire,
    plan_expiry,
)
from ..table.handle import TableHandle
from .catalogs import Where
from .console import finish, print_json, print_rows
from .errors import UsageError
from .flags import AsJson, CatalogName, ConfigFile, DryRun, OneTable, Warehouse
from .times import parse_moment, parsed
from .units import parse_duration


def expire_snapshots(
    table: OneTable,
    warehouse: Warehouse = None,
    config: ConfigFile = None,
    catalog: CatalogName = None,
    retain_max: Annotated[
        int | None, typer.Option("--retain-max", min=1, help="Keep at most so many snapshots.")
    ] = None,
    retain_min: Annotated[
        int | None, typer.Option("--retain-min", min=1, help="Keep at least so many.")
    ] = None,
    older_than: Annotated[
        str | None,
        typer.Option("--older-than", help="Drop what is older, as 2026-11-22T10:00; UTC."),
    ] = None,
    retain_age: Annotated[
        str | None, typer.Option("--retain-age", help="Keep what is younger, as 90m, 12h or 7d.")
    ] = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Drop old snapshots; bounds that are not given are the table's own."""

    def command() -> int:
        age = age_millis(older_than, retain_age)
        override = Override(retain_min, retain_max, age)
        handle = Where(warehouse, config, catalog).open().handle(table)
        with naming(handle.name):
            if dry_run:
                return run_dry(handle, override, as_json=as_json)
            return run_expire(handle, override, as_json=as_json)

    finish(command)


def run_dry(handle: TableHandle, override: Override, *, as_json: bool) -> int:
    """Print what would go, and what holds the rest."""
    plan = plan_expiry(handle, override)
    if as_json:
        print_json({**plan.as_dict(files=True), "dry_run": True})
    elif plan.empty:
        print(f"nothing to expire: {_reasons(plan)}")
    else:
        _print_plan(plan)
    return 0


def run_expire(handle: TableHandle, override: Override, *, as_json: bool) -> int:
    """Do it, run after run, and print what was done; 0 also when there was nothing to do.

    Raises:
        CommitConflict: the table changed under us too often.
        TableError: as named; what was deleted until then nobody needs.
    """
    started = time.monotonic()
    names = NameReader(handle)
    results = [expire(handle, override, names=names)]
    while results[-1].more:  # the table's limit is for one run, which a writer would do inline
        results.append(expire(handle, override, names=names))
    row = _total(handle.name, results, time.monotonic() - started)
    if as_json:
        print_json(row)
    else:
        shown = {**row, "files": sum(result.files_total for result in results)}
        print_rows(list(shown), [list(shown.values())])
    return 0


def age_millis(older_than: str | None, retain_age: str | None) -> int | None:
    """How old a snapshot may become, in milliseconds; None: the table's own.

    Raises:
        UsageError: both flags, or a text that is none of its kind.
        InvalidRequest: a time to come.
    """
    if older_than is not None and retain_age is not None:
        raise UsageError("--older-than and --retain-age say the same thing: give one")
    if retain_age is not None:
        return int(parsed("--retain-age", lambda: parse_duration(retain_age)) * 1000)
    if older_than is None:
        return None
    age = time.time_ns() // 1_000_000 - parse_moment("--older-than", older_than)
    if age < 0:
        raise InvalidRequest("--older-than lies in the future", value=older_than)
    return age


def _print_plan(plan: ExpiryPlan) -> None:
    rows: list[tuple[object, ...]] = []
    for what, part in (("snapshots", plan.snapshots), ("changelogs", plan.changelogs)):
        if part is not None:
            until = part.until - 1 if part.going else None
            reasons = "; ".join(b.reason for b in part.bounds)
            first = part.earliest if part.going else None
            rows.append((what, len(part.going), first, until, part.size_bytes, reasons))
    print_rows(("expired", "count", "from", "to", "bytes", "the rest stays because"), rows)
    counts = [(kind, count) for kind, count in _counts(plan).items() if count]
    print_rows(("files", "count"), counts)
    if plan.protections:
        held = [(p.holder, p.files, p.size_bytes) for p in plan.protections]
        print_rows(("kept for", "files", "bytes"), held)
    if plan.consumers:
        print_rows(("idle consumers forgotten",), [(c.name,) for c in plan.consumers])


def _counts(plan: ExpiryPlan) -> dict[str, int]:
    """Files of both parts by kind."""
    counts = plan.snapshots.counts()
    if plan.changelogs is not None:
        for kind, count in plan.changelogs.counts().items():
            counts[kind] += count
    return counts


def _reasons(plan: ExpiryPlan) -> str:
    return "; ".join(b.reason for b in plan.snapshots.bounds) or "no snapshot"


def _total(table: str, results: Sequence[ExpiryResult], seconds: float) -> dict[str, object]:
    """All runs together."""
    return {
        "table": table,
        "snapshots": sum(r.snapshots for r in results),
        "changelogs": sum(r.changelogs for r in results),
        "consumers": sum(r.consumers for r in results),
        "files": {k.value: sum(r.files.get(k.value, 0) for r in results) for k in FileKind},
        "size_bytes": sum(r.size_bytes for r in results),
        "left": results[-1].left,
        "seconds": seconds,
    }
