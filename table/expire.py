"""Expiry of snapshots as an action on one table: plan, apply, or both.

The parts are in `expiry/`; this is what callers use.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from .errors import CommitConflict
from .expiry.apply import ExpiryResult, UseReader, apply_expiry
from .expiry.files import FileKind
from .expiry.names import NameReader
from .expiry.plan import ExpiryPlan
from .expiry.planner import plan_changelog_expiry, plan_expiry
from .expiry.range import NOTHING_IN_USE, InUse
from .handle import TableHandle
from .retention import Override

__all__ = [
    "ExpiryPlan",
    "ExpiryResult",
    "FileKind",
    "InUse",
    "NameReader",
    "Override",
    "UseReader",
    "apply_expiry",
    "expire",
    "expire_changelogs",
    "plan_changelog_expiry",
    "plan_expiry",
]

# Each time somebody came who holds snapshots, or another expiry was faster; five in a row is a
# table that changes faster than it can be looked at.
REPLANS_MAX = 5


def expire(
    handle: TableHandle,
    override: Override | None = None,
    *,
    in_use: UseReader = lambda: NOTHING_IN_USE,
    names: NameReader | None = None,
) -> ExpiryResult:
    """Plan and apply, one run; a plan that no longer holds is made anew, a few times.

    Raises:
        CommitConflict: the table changed too often.
        TableMissing, UnsupportedFeature, CorruptTable, StorageUnavailable: as named.
    """
    names = names or NameReader(handle)

    def once() -> ExpiryResult:
        plan = plan_expiry(handle, override, in_use=in_use(), names=names)
        return apply_expiry(plan, handle, in_use=in_use, names=names)

    return _again_and_again(once)


def expire_changelogs(
    handle: TableHandle,
    override: Override | None = None,
    *,
    limit: int | None = None,
    everything: bool = False,
    in_use: UseReader = lambda: NOTHING_IN_USE,
    names: NameReader | None = None,
) -> ExpiryResult:
    """Plan and apply an expiry of long-lived changelogs alone, one run (`plan_changelog_expiry`).

    Raises:
        As `expire`.
    """
    names = names or NameReader(handle)

    def once() -> ExpiryResult:
        plan = plan_changelog_expiry(
            handle, override, limit=limit, everything=everything, in_use=in_use(), names=names
        )
        return apply_expiry(plan, handle, in_use=in_use, names=names)

    return _again_and_again(once)


def _again_and_again(once: Callable[[], ExpiryResult]) -> ExpiryResult:
    for _ in range(REPLANS_MAX - 1):
        with suppress(CommitConflict):
            return once()
    return once()
