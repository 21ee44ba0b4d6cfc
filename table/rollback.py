"""Rollback: the table is what it was at an older snapshot, and newer ones are gone.

    (snapshot file of an expired tag) → LATEST → newer snapshots, falling
    → newer long-lived changelogs → newer tags → (consumers) → (EARLIEST)

Whatever it dies at, the latest snapshot is one that is whole: the old latest, one between, or the
target; the same rollback again goes on. Data files and manifests of what went become orphans.

Writers must be stopped. A catalog's lock keeps out those that take it; without one, a writer may
publish on a snapshot that is about to go, and bring it all back. Only what was planned is deleted,
by its content, so nobody's commit is lost; a snapshot that has none before it is found at the end
and reported as a conflict.

Spec: maintenance §10.5; reference classes ``table/RollbackHelper``, ``AbstractFileStoreTable``.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from . import paths
from .changelogs import ChangelogStore
from .consumers import Consumer, ConsumerStore
from .errors import CommitConflict, FileMissing, InvalidRequest, StorageUnavailable
from .expiry.apply import UseReader
from .expiry.holders import digest
from .expiry.plan import Going
from .expiry.range import NOTHING_IN_USE, InUse
from .handle import TableHandle
from .retention import check_expirable
from .snapshot import Snapshot
from .tagging.deletion import GoingTag
from .tags import Tag, get_tag, read_tags, same_state, snapshot_content


@dataclass(frozen=True, slots=True)
class RollbackTarget:
    """Where to: one of them is given. ``millis``: the last snapshot not after that time."""

    snapshot_id: int | None = None
    tag: str | None = None
    millis: int | None = None

    def __post_init__(self) -> None:
        given = [x for x in (self.snapshot_id, self.tag, self.millis) if x is not None]
        if len(given) != 1:
            raise InvalidRequest("a rollback goes to one snapshot, one tag or one time")


@dataclass(frozen=True, slots=True)
class RollbackPlan:
    """What a rollback would do, and what it rests on.

    ``restored``: from which tag the target's snapshot file is made anew; None: it is there.
    ``source``: of the file that says what the target is, by ``source_digest``. ``snapshots`` and
    ``changelogs``: newer ones, which go, rising; ``consumers``: those that have read beyond.
    """

    table: str
    target: Snapshot = field(repr=False)
    source: str
    source_digest: str
    restored: str | None
    snapshots: tuple[Going, ...]
    changelogs: tuple[Going, ...]
    tags: tuple[GoingTag, ...]
    consumers: tuple[Consumer, ...]
    reset_consumers: bool
    success_files: bool

    @property
    def empty(self) -> bool:
        """The table is there already."""
        consumers = self.reset_consumers and self.consumers
        return not (self.restored or self.snapshots or self.changelogs or self.tags or consumers)

    def as_dict(self) -> dict[str, object]:
        """Plain data for JSON."""
        return {
            "table": self.table,
            "target": self.target.id,
            "target_millis": self.target.time_millis,
            "restored_from_tag": self.restored,
            "snapshots": [s.id for s in self.snapshots],
            "changelogs": [c.id for c in self.changelogs],
            "tags": [t.name for t in self.tags],
            "consumers": [{"consumer": c.name, "next": c.next_snapshot} for c in self.consumers],
            "reset_consumers": self.reset_consumers,
        }


@dataclass(frozen=True, slots=True)
class RollbackResult:
    """What went; ``snapshot_id``: the latest now. ``consumers``: names of those put back."""

    snapshot_id: int
    snapshots: int
    changelogs: int
    tags: tuple[str, ...]
    consumers: tuple[str, ...]


def plan_rollback(
    handle: TableHandle,
    to: RollbackTarget,
    *,
    reset_consumers: bool = False,
    in_use: InUse = NOTHING_IN_USE,
) -> RollbackPlan:
    """What a rollback would do now.

    Args:
        reset_consumers: let consumers that have read beyond the target go on right after it; else
            they miss what will be written under the ids that they have read.

    Raises:
        InvalidRequest: no such snapshot or tag, or none so old; or one ahead of the table.
        CommitConflict: a running task reads what would go.
        TableMissing, UnsupportedFeature, CorruptTable, StorageUnavailable: as named.
    """
    schema = handle.latest_schema()
    check_expirable(schema)
    ids = handle.snapshots.ids()
    if not ids:
        raise InvalidRequest("the table has no snapshot")
    target, tag = _target(handle, to, ids)
    _check_ahead(in_use, target.id)
    source = paths.snapshot_file(handle.root, target.id)
    if tag is not None:
        source = paths.tag_file(handle.root, tag.name)
    newer = (handle.snapshots.find(i) for i in ids if i > target.id)
    changelogs = ChangelogStore(handle)
    copies = (changelogs.find(i) for i in changelogs.ids() if i > target.id)
    ahead = (c for c in ConsumerStore(handle).all() if c.next_snapshot > target.id + 1)
    return RollbackPlan(
        table=handle.name,
        target=target,
        source=source,
        source_digest=digest(target),
        restored=None if tag is None else tag.name,
        snapshots=tuple(_going(s) for s in newer if s is not None),
        changelogs=tuple(_going(c) for c in copies if c is not None),
        tags=_newer_tags(handle, target.id),
        consumers=tuple(ahead),
        reset_consumers=reset_consumers,
        success_files=schema.options.tags.success_files,
    )


def _target(
    handle: TableHandle, to: RollbackTarget, ids: Sequence[int]
) -> tuple[Snapshot, Tag | None]:
    """The snapshot, and a tag of it where its own file is gone."""
    if to.millis is not None:
        for snapshot_id in reversed(ids):
            found = handle.snapshots.find(snapshot_id)
            if found is not None and found.time_millis <= to.millis:
                return found, None
        raise InvalidRequest("no snapshot is so old", millis=to.millis)
    if to.tag is not None:
        return _of_tag(handle, get_tag(handle, to.tag), ids)
    assert to.snapshot_id is not None
    found = handle.snapshots.find(to.snapshot_id)
    if found is not None:
        return found, None
    for tag in read_tags(handle):
        if tag.snapshot.id == to.snapshot_id:
            return _of_tag(handle, tag, ids)
    raise InvalidRequest("no such snapshot", snapshot_id=to.snapshot_id)


def _of_tag(handle: TableHandle, tag: Tag, ids: Sequence[int]) -> tuple[Snapshot, Tag | None]:
    """Java takes whatever snapshot has the tag's id now; here it must be the tag's own."""
    wanted = tag.snapshot.id
    found = handle.snapshots.find(wanted)
    if found is not None:
        if not same_state(found, tag.snapshot):
            raise InvalidRequest(
                "the tag's snapshot was replaced by another", tag=tag.name, snapshot_id=wanted
            )
        return found, None
    if wanted > ids[-1]:
        raise InvalidRequest("the tag is ahead of the table", tag=tag.name, snapshot_id=wanted)
    return tag.snapshot, tag


def _going(snapshot: Snapshot) -> Going:
    return Going(snapshot.id, snapshot.time_millis, digest(snapshot))


def _newer_tags(handle: TableHandle, target: int) -> tuple[GoingTag, ...]:
    return tuple(
        GoingTag(tag.name, tag.snapshot.id, digest(tag.snapshot))
        for tag in read_tags(handle)
        if tag.snapshot.id > target
    )


def _check_ahead(in_use: InUse, target: int) -> None:
    for snapshot_id in sorted(in_use.snapshots):
        if snapshot_id > target:
            raise CommitConflict("a running task reads a snapshot", snapshot_id=snapshot_id)


# --- doing it -------------------------------------------------------------------------------------


def apply_rollback(
    plan: RollbackPlan, handle: TableHandle, *, in_use: UseReader = lambda: NOTHING_IN_USE
) -> RollbackResult:
    """Do what the plan says, under the catalog's lock where there is one.

    Raises:
        CommitConflict: the plan no longer holds, and nothing was changed; or somebody published on
            a snapshot that went, which is still there: stop the writers and roll back again.
        StorageUnavailable: the store failed; the same rollback goes on where this ended.
    """
    with handle.publisher.alone(handle.place):
        applier = _Applier(plan, handle)
        applier.check(in_use())
        return applier.run()


def rollback(
    handle: TableHandle,
    to: RollbackTarget,
    *,
    reset_consumers: bool = False,
    in_use: UseReader = lambda: NOTHING_IN_USE,
) -> RollbackResult:
    """Plan and apply, once: a conflict says that somebody writes (see `apply_rollback`)."""
    plan = plan_rollback(handle, to, reset_consumers=reset_consumers, in_use=in_use())
    return apply_rollback(plan, handle, in_use=in_use)


class _Applier:
    """One plan being carried out."""

    def __init__(self, plan: RollbackPlan, handle: TableHandle) -> None:
        self._plan = plan
        self._handle = handle
        self._target = plan.target.id

    def check(self, in_use: InUse) -> None:
        plan, handle = self._plan, self._handle
        _check_ahead(in_use, self._target)
        self._check_source()
        newer = [i for i in handle.snapshots.ids() if i > self._target]
        if newer != [entry.id for entry in plan.snapshots]:
            raise CommitConflict(
                "somebody commits or expires", snapshot_id=max(newer, default=None)
            )
        for entry in plan.snapshots[-1:]:
            if not self._same(handle.snapshots.find(entry.id), entry):
                raise CommitConflict("a snapshot was replaced", snapshot_id=entry.id)
        tags = _newer_tags(handle, self._target)
        if tags != plan.tags:
            changed = {t.name for t in tags}.symmetric_difference(t.name for t in plan.tags)
            raise CommitConflict("a tag changed", tag=", ".join(sorted(changed)) or None)

    def run(self) -> RollbackResult:
        plan = self._plan
        if plan.restored is not None:
            self._restore()
        self._delete_snapshots()
        self._delete_changelogs()
        self._delete_tags()
        consumers = self._reset_consumers() if plan.reset_consumers else ()
        self._write_earliest()
        latest = self._check_end()
        names = tuple(tag.name for tag in plan.tags)
        counts = len(plan.snapshots), len(plan.changelogs)
        return RollbackResult(latest, *counts, names, consumers)

    # --- steps ----------------------------------------------------------------------------------

    def _check_source(self) -> None:
        try:
            content = self._handle.storage.read(self._plan.source)
        except FileMissing:
            content = b""
        if content != self._plan.target.content:
            raise CommitConflict("the target changed", snapshot_id=self._target)

    def _restore(self) -> None:
        """Make the snapshot's file of the tag; only then is anything deleted."""
        path = paths.snapshot_file(self._handle.root, self._target)
        content = snapshot_content(self._plan.target)
        made = self._handle.storage.create(path, content)
        found = self._handle.snapshots.find(self._target)
        if found is None or not same_state(found, self._plan.target):
            raise CommitConflict("a snapshot was replaced", snapshot_id=self._target)
        try:
            self._check_source()
        except CommitConflict:  # the tag went, and its files with it unless this was seen
            if made:
                self._handle.storage.delete([path])
            raise

    def _delete_snapshots(self) -> None:
        """The hint first, and always to a snapshot that is there: readers trust it unless the next
        id exists, too, and then they list."""
        store, going = self._handle.snapshots, self._plan.snapshots
        first = going[0].id if going else self._target + 1
        gap = first != self._target + 1
        self._hint(first if gap else self._target)
        for entry in reversed(going):
            if gap and entry.id == first:
                self._hint(self._target)
            if self._same(store.find(entry.id), entry):
                path = paths.snapshot_file(self._handle.root, entry.id)
                self._handle.storage.delete([path])

    def _hint(self, snapshot_id: int) -> None:
        """No mere hint here: a failure must end the rollback before anything is deleted."""
        path = paths.latest_hint(self._handle.root)
        self._handle.storage.overwrite(path, str(snapshot_id).encode())

    def _delete_changelogs(self) -> None:
        """As Java: with none left nobody knows what the latest was. No mere hint here, either."""
        going = self._plan.changelogs
        if not going:
            return
        store = ChangelogStore(self._handle)
        left = [i for i in store.ids() if i < going[0].id]
        hint = f"{paths.changelog_dir(self._handle.root)}/LATEST"
        self._handle.storage.overwrite(hint, str(left[-1] if left else -1).encode())
        for entry in reversed(going):
            if self._same(store.find(entry.id), entry):
                store.delete(entry.id)

    def _delete_tags(self) -> None:
        """Their files alone; newest first, so that what is left is of the history that is left."""
        root, names = self._handle.root, [tag.name for tag in reversed(self._plan.tags)]
        self._handle.storage.delete([paths.tag_file(root, name) for name in names])
        if self._plan.success_files:
            self._handle.storage.delete([paths.tag_success_file(root, name) for name in names])

    def _reset_consumers(self) -> tuple[str, ...]:
        store, names = ConsumerStore(self._handle), [c.name for c in self._plan.consumers]
        for name in names:
            store.reset(name, self._target + 1)
        return tuple(names)

    def _write_earliest(self) -> None:
        """Losing it is harmless; one that names an id which will be given again is not."""
        hint = self._handle.snapshots.earliest_hint()
        wrong = self._plan.restored is not None if hint is None else hint > self._target
        if wrong:
            first = min(self._handle.snapshots.ids(), default=self._target)
            with suppress(StorageUnavailable):
                self._handle.storage.overwrite(
                    paths.earliest_hint(self._handle.root), str(first).encode()
                )

    def _check_end(self) -> int:
        """The latest snapshot: the target, or one of those that were published on it since."""
        latest = self._target
        for snapshot_id in self._handle.snapshots.ids():
            if snapshot_id > latest + 1:
                raise CommitConflict(
                    "somebody published on a snapshot that went", snapshot_id=snapshot_id
                )
            latest = max(latest, snapshot_id)
        return latest

    @staticmethod
    def _same(found: Snapshot | None, entry: Going) -> bool:
        return found is not None and digest(found) == entry.digest
