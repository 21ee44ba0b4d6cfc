"""Orphan cleaning as an action on one table: plan, apply, or both. This is what callers use."""

from __future__ import annotations

from contextlib import suppress

from ..errors import CommitConflict
from ..expiry.apply import UseReader
from ..expiry.names import NameReader
from ..expiry.range import NOTHING_IN_USE, InUse
from ..handle import TableHandle
from .apply import OrphanResult, apply_orphans
from .plan import OrphanPlan, OrphanSettings, Place
from .planner import DEFAULTS, plan_orphans

__all__ = [
    "InUse",
    "OrphanPlan",
    "OrphanResult",
    "OrphanSettings",
    "Place",
    "apply_orphans",
    "clean_orphans",
    "plan_orphans",
]

# Each time the table changed in a way that makes the look worthless; that is rare.
REPLANS_MAX = 3


def clean_orphans(
    handle: TableHandle,
    settings: OrphanSettings = DEFAULTS,
    *,
    in_use: UseReader = lambda: NOTHING_IN_USE,
    names: NameReader | None = None,
) -> OrphanResult:
    """Plan and apply; a plan that no longer holds is made anew, a few times.

    Raises:
        CommitConflict: the table changed too often.
        TableMissing, UnsupportedFeature, CorruptTable, StorageUnavailable: as named.
    """
    names = names or NameReader(handle)

    def once() -> OrphanResult:
        plan = plan_orphans(handle, settings, in_use(), names=names)
        return apply_orphans(plan, handle, in_use=in_use, names=names)

    for _ in range(REPLANS_MAX - 1):
        with suppress(CommitConflict):
            return once()
    return once()
