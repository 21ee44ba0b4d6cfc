"""Carries a plan out, after looking again; the order makes every crash harmless.

    consumers → data files → changelog files → empty folders → metadata
    → (long-lived changelogs) → snapshot files, rising → EARLIEST

Whatever it dies at, the snapshots that stay can be read, since nothing they need is in the plan;
those that were about to go may be broken. The next run finds the same range, passes over what is
gone, and goes on.

Before each of the steps that delete, everything is looked at once more: is the first snapshot that
stays the one that was planned with, has the schema changed, did somebody come who holds files
(a tag, a branch, a consumer, a task, a snapshot)? Snapshot files are deleted by their content, not
by their number alone: a table dropped and made anew counts from 1 again.

Spec: maintenance §10.2, §10.5; reference class ``ExpireSnapshotsImpl``.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import polars as pl

from .. import paths
from ..changelogs import ChangelogStore
from ..consumers import ConsumerStore
from ..errors import StorageUnavailable
from ..handle import TableHandle
from ..snapshot import Snapshot
from .check import check_plan
from .files import ROWS
from .holders import digest
from .names import NameReader
from .plan import ExpiryPlan, Going, Part
from .range import NOTHING_IN_USE, InUse
from .removal import delete_below, remove_folders

UseReader = Callable[[], InUse]
"""What running tasks read, now."""


@dataclass(frozen=True, slots=True)
class ExpiryResult:
    """What went. ``files``: by kind, those already gone included; ``size_bytes``: as far as known.

    ``left``: ids from the first snapshot that stays to the latest one seen; ``more``: another run
    would go on, as what ended this one was only the limit of one run.
    """

    snapshots: int
    changelogs: int
    consumers: int
    files: dict[str, int]
    size_bytes: int
    left: int
    more: bool = False

    @property
    def files_total(self) -> int:
        """All kinds together."""
        return sum(self.files.values())


def apply_expiry(
    plan: ExpiryPlan,
    handle: TableHandle,
    *,
    in_use: UseReader = lambda: NOTHING_IN_USE,
    names: NameReader | None = None,
) -> ExpiryResult:
    """Delete what the plan says.

    Raises:
        CommitConflict: the plan no longer holds; what was deleted until then nobody needs.
        StorageUnavailable: the store failed; the next run goes on.
    """
    return _Applier(plan, handle, in_use, names or NameReader(handle)).run()


class _Applier:
    """One plan being carried out."""

    def __init__(
        self, plan: ExpiryPlan, handle: TableHandle, in_use: UseReader, names: NameReader
    ) -> None:
        self._plan = plan
        self._handle = handle
        self._in_use = in_use
        self._names = names
        self._changelogs = ChangelogStore(handle)

    def run(self) -> ExpiryResult:
        plan = self._plan
        if plan.empty:
            self._missing_hint()
            return self._result(0)
        consumers = self._expire_consumers()
        self._check()
        self._delete_rows(plan.snapshots)
        self._check()
        self._delete_metadata(plan.snapshots)
        self._check()
        self._delete_snapshots()
        if plan.changelogs is not None and plan.more_changelogs:
            self._delete_rows(plan.changelogs)
            self._check()
            self._delete_metadata(plan.changelogs)
            self._delete_changelogs(plan.changelogs)
        return self._result(consumers)

    def _check(self) -> None:
        if self._plan.latest == 0:
            return  # a table without snapshots has nothing that anybody could hold
        check_plan(self._plan, self._handle, self._in_use(), self._names)

    def _result(self, consumers: int) -> ExpiryResult:
        plan, files = self._plan, self._plan.files
        changelogs = 0 if plan.changelogs is None else len(plan.changelogs.going)
        return ExpiryResult(
            snapshots=len(plan.snapshots.going),
            changelogs=changelogs,
            consumers=consumers,
            files={str(kind): int(n) for kind, n in files.group_by("kind").len().iter_rows()},
            size_bytes=int(files["size_bytes"].sum()),
            left=plan.left,
            more=plan.snapshots.more or (plan.changelogs is not None and plan.changelogs.more),
        )

    # --- steps ----------------------------------------------------------------------------------

    def _expire_consumers(self) -> int:
        """Forget those that did not move since the plan was made, either."""
        planned = set(self._plan.consumers)
        if not planned:
            return 0
        gone = [c.name for c in ConsumerStore(self._handle).all() if c in planned]
        ConsumerStore(self._handle).delete(gone)
        return len(gone)

    def _delete_rows(self, part: Part) -> None:
        rows = part.files.filter(pl.col("kind").is_in([kind.value for kind in ROWS]))
        delete_below(self._handle, rows["path"])
        if self._plan.clean_directories:
            remove_folders(self._handle, rows["path"])

    def _delete_metadata(self, part: Part) -> None:
        rows = pl.col("kind").is_in([kind.value for kind in ROWS])
        delete_below(self._handle, part.files.filter(~rows)["path"])

    def _delete_snapshots(self) -> None:
        """The snapshots' own files, oldest first: what is left is always a history without gaps."""
        going = self._plan.snapshots.going
        if not going:
            self._missing_hint()
            return
        if self._plan.preserved:
            for entry in going:
                if (snapshot := self._same_snapshot(entry)) is not None:
                    self._changelogs.keep(snapshot)
            self._changelogs.write_hint("LATEST", going[-1].id)
        for entry in going:
            if self._same_snapshot(entry) is not None:
                path = paths.snapshot_file(self._handle.root, entry.id)
                self._handle.storage.delete([path])
        self._write_hint()

    def _delete_changelogs(self, part: Part) -> None:
        for entry in part.going:
            copy = self._changelogs.find(entry.id)
            if copy is not None and digest(copy) == entry.digest:
                self._changelogs.delete(entry.id)
        end = self._changelogs.find(part.until)
        if end is not None and digest(end) == part.until_digest:
            self._changelogs.write_hint("EARLIEST", part.until)
        elif not self._changelogs.ids():
            self._changelogs.forget_hints()

    def _same_snapshot(self, entry: Going) -> Snapshot | None:
        """The snapshot if it is the one that was planned; another expiry may have been here."""
        found = self._handle.snapshots.find(entry.id)
        return found if found is not None and digest(found) == entry.digest else None

    def _missing_hint(self) -> None:
        if self._plan.writes_hint:
            self._write_hint()

    def _write_hint(self) -> None:
        """EARLIEST is a hint: losing it is harmless, so a failure is too."""
        first = self._plan.snapshots
        end = self._handle.snapshots.find(first.until)
        if end is not None and digest(end) == first.until_digest:
            with suppress(StorageUnavailable):
                self._handle.storage.overwrite(
                    paths.earliest_hint(self._handle.root), str(first.until).encode()
                )
