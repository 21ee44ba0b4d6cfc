"""Whether a plan still holds: looks only at what is new since it was made."""

from __future__ import annotations

import polars as pl

from ..consumers import ConsumerStore
from ..errors import CommitConflict
from ..handle import TableHandle
from .holders import Holders, digest, kept_chain, read_holders, since
from .names import NameReader
from .plan import ExpiryPlan
from .range import InUse
from .reach import ReachReader


def check_plan(plan: ExpiryPlan, handle: TableHandle, in_use: InUse, names: NameReader) -> None:
    """Everything the plan rests on, by name.

    Raises:
        CommitConflict: naming what changed.
    """
    _check_table(plan, handle)
    _check_readers(plan, handle, in_use)
    _check_holders(plan, handle, names)


def _check_table(plan: ExpiryPlan, handle: TableHandle) -> None:
    """The same table, under the same options."""
    part = plan.snapshots
    end = handle.snapshots.find(part.until)
    if end is None or digest(end) != part.until_digest:
        raise CommitConflict("a snapshot that stays changed", snapshot_id=part.until)
    schema_id = handle.latest_schema_id()
    if schema_id != plan.schema_id:
        raise CommitConflict("schema changed", planned=plan.schema_id, now=schema_id)


def _check_readers(plan: ExpiryPlan, handle: TableHandle, in_use: InUse) -> None:
    """No task and no consumer reads what goes."""
    until = plan.snapshots.until
    for snapshot_id in sorted(in_use.snapshots) if not plan.snapshots.empty else ():
        if snapshot_id < until:
            raise CommitConflict("a running task reads a snapshot", snapshot_id=snapshot_id)
    read = plan.names().filter(pl.col("name").is_in(list(in_use.files)))
    if read.height:
        raise CommitConflict("a running task reads a file", file=read["name"][0])
    for consumer in ConsumerStore(handle).all():
        if consumer.next_snapshot < plan.consumer_floor and consumer not in plan.consumers:
            raise CommitConflict(
                "a consumer has still to read", consumer=consumer.name,
                snapshot_id=consumer.next_snapshot,
            )  # fmt: skip


def _check_holders(plan: ExpiryPlan, handle: TableHandle, names: NameReader) -> None:
    """Nobody came who holds what goes."""
    fresh = _fresh(plan, handle)
    if not any(fresh.all()):
        return
    wanted = plan.names()
    rows = wanted.filter(pl.col("rows")).with_columns(snapshot_id=pl.lit(plan.snapshots.until))
    reach = ReachReader(handle, names, rows).reach(fresh)
    if reach.data.height:
        file, holder = reach.data.row(0)
        raise CommitConflict("a file is held by now", file=file, holder=holder)
    used = wanted.filter(pl.col("name").is_in(list(reach.metadata)))
    if used.height:
        raise CommitConflict("a file is in use by now", file=used["name"][0])


def _fresh(plan: ExpiryPlan, handle: TableHandle) -> Holders:
    """Holders that were not asked when the plan was made."""
    store = handle.snapshots
    later = (store.find(i) for i in store.ids() if i >= plan.latest)
    kept = kept_chain(handle.root, (s for s in later if s is not None))
    now = read_holders(handle, kept, changelogs=not plan.preserved)
    return since(now, plan.looked)
