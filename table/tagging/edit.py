"""Makes, replaces and renames tags.

A tag's file is made exclusively, so two who make the same one do not overwrite each other. After
that the snapshot is looked at again: one that an expiry took away meanwhile is not tagged.

Spec: maintenance §11.5, format §14; reference class ``utils/TagManager``.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from .. import paths
from ..errors import CommitConflict, FileMissing, InvalidRequest
from ..expiry.apply import UseReader
from ..expiry.holders import digest
from ..expiry.names import NameReader
from ..expiry.range import NOTHING_IN_USE
from ..handle import TableHandle
from ..snapshot import Snapshot
from ..tags import (
    Tag,
    check_tag_name,
    find_tag,
    get_tag,
    read_tags,
    same_state,
    tag_content,
)
from .delete import TagsDeleted, release
from .deletion import TagDeletion, check_taggable, plan_release

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class NewTag:
    """A tag to be made of ``snapshot``, which was found in the file ``source`` with that content.

    ``retained``: None for a tag that never expires by itself.
    """

    table: str
    name: str
    snapshot: Snapshot = field(repr=False)
    source: str
    retained: timedelta | None
    success_file: bool

    @property
    def snapshot_id(self) -> int:
        return self.snapshot.id

    def as_dict(self) -> dict[str, object]:
        """Plain data for JSON."""
        return {
            "table": self.table,
            "tag": self.name,
            "snapshot_id": self.snapshot.id,
            "snapshot_millis": self.snapshot.time_millis,
            "retained_seconds": None if self.retained is None else self.retained.total_seconds(),
        }


@dataclass(frozen=True, slots=True)
class Replacement:
    """A tag that is to show another snapshot, or have another retention. ``release``: what goes
    with what it held until then."""

    new: NewTag
    old: Tag
    release: TagDeletion

    def as_dict(self, *, files: bool = False) -> dict[str, object]:
        """Plain data for JSON."""
        released = self.release.as_dict(files=files)
        return {
            **self.new.as_dict(),
            "replaced_snapshot_id": self.old.snapshot.id,
            **{key: released[key] for key in released if key not in ("table", "tags")},
        }


@dataclass(frozen=True, slots=True)
class Renaming:
    """A tag that is to have another name; ``half_done``: only the old name has still to go."""

    table: str
    tag: Tag
    new_name: str
    half_done: bool

    def as_dict(self) -> dict[str, object]:
        """Plain data for JSON."""
        return {
            "table": self.table, "tag": self.tag.name, "new_name": self.new_name,
            "snapshot_id": self.tag.snapshot.id,
        }  # fmt: skip


# --- making ---------------------------------------------------------------------------------------


def plan_tag(
    handle: TableHandle,
    name: str,
    snapshot_id: int | None = None,
    retained: timedelta | None = None,
) -> NewTag:
    """The tag to be made.

    Args:
        snapshot_id: the latest by default; one that expired is taken from another tag of it.
        retained: by default what the table's option says.

    Raises:
        InvalidRequest: no name for a tag, one that is taken, or no such snapshot.
        TableMissing, UnsupportedFeature, CorruptTable, StorageUnavailable: as named.
    """
    check_tag_name(name)
    new = _new_tag(handle, name, snapshot_id, retained)
    if find_tag(handle, name) is not None:
        raise InvalidRequest("the tag exists", tag=name)
    return new


def _new_tag(
    handle: TableHandle, name: str, snapshot_id: int | None, retained: timedelta | None
) -> NewTag:
    if retained is not None and retained <= timedelta():
        raise InvalidRequest("a retention is more than nothing", retained=retained)
    options = check_taggable(handle).options.tags
    snapshot, source = _snapshot(handle, snapshot_id)
    kept = options.default_retained if retained is None else retained
    return NewTag(handle.name, name, snapshot, source, kept, options.success_files)


def _snapshot(handle: TableHandle, snapshot_id: int | None) -> tuple[Snapshot, str]:
    if snapshot_id is None:
        latest = handle.snapshots.latest()
        if latest is None:
            raise InvalidRequest("the table has no snapshot")
        return latest, paths.snapshot_file(handle.root, latest.id)
    found = handle.snapshots.find(snapshot_id)
    if found is not None:
        return found, paths.snapshot_file(handle.root, snapshot_id)
    for tag in read_tags(handle):
        if tag.snapshot.id == snapshot_id:
            return tag.snapshot, paths.tag_file(handle.root, tag.name)
    raise InvalidRequest("no such snapshot", snapshot_id=snapshot_id)


def apply_tag(plan: NewTag, handle: TableHandle, *, exists_ok: bool = False) -> bool:
    """Make the tag; False when there is one of that name, which is left as it is.

    Raises:
        InvalidRequest: there is one of that name, and that is not ``exists_ok``.
        CommitConflict: the snapshot went away meanwhile; there is no tag of it.
        StorageUnavailable: the store failed; the tag may have been made.
    """
    content = tag_content(plan.snapshot, _now(handle), plan.retained)
    path = paths.tag_file(handle.root, plan.name)
    if not handle.storage.create(path, content):
        if exists_ok:
            return False
        raise InvalidRequest("the tag exists", tag=plan.name)
    if not _still_there(plan, handle):
        _remove(handle, path, content)
        raise CommitConflict("a snapshot went away", snapshot_id=plan.snapshot.id)
    if plan.success_file:
        write_success(handle, plan.name)
    return True


def create_tag(
    handle: TableHandle,
    name: str,
    snapshot_id: int | None = None,
    retained: timedelta | None = None,
) -> NewTag:
    """Plan and apply (see `plan_tag`, `apply_tag`)."""
    plan = plan_tag(handle, name, snapshot_id, retained)
    apply_tag(plan, handle)
    return plan


def _still_there(plan: NewTag, handle: TableHandle) -> bool:
    return _content(handle, plan.source) == plan.snapshot.content


def _content(handle: TableHandle, path: str) -> bytes | None:
    try:
        return handle.storage.read(path)
    except FileMissing:
        return None


def _now(handle: TableHandle) -> datetime:
    """Local wall clock, as Java writes it."""
    millis = handle.world.local_millis(handle.world.now_millis())
    return (_EPOCH + timedelta(milliseconds=millis)).replace(tzinfo=None)


def write_success(handle: TableHandle, name: str) -> None:
    """Tell others that the tag was made, or made anew."""
    path, now = paths.tag_success_file(handle.root, name), handle.world.now_millis()
    created = now
    known = _content(handle, path)
    if known is not None:
        try:
            created = int(json.loads(known)["creationTime"])
        except (ValueError, KeyError, TypeError):
            created = now  # half written by somebody; it says no more than that it is there
    text = json.dumps({"creationTime": created, "modificationTime": now}, indent=2)
    handle.storage.overwrite(path, text.encode())


# --- replacing ------------------------------------------------------------------------------------


def plan_replacement(
    handle: TableHandle,
    name: str,
    snapshot_id: int | None = None,
    retained: timedelta | None = None,
    *,
    in_use: UseReader = lambda: NOTHING_IN_USE,
) -> Replacement:
    """The tag as it is to be: of another snapshot, or with another retention.

    Args:
        snapshot_id: the latest by default.
        retained: None for none, as Java has it; the table's default counts for new tags alone.

    Raises:
        InvalidRequest: no such tag or snapshot.
        CommitConflict: the table changed while it was looked at, or a running task reads the tag.
    """
    old = get_tag(handle, name)
    new = replace(_new_tag(handle, name, snapshot_id, retained), retained=retained)
    same = same_state(old.snapshot, new.snapshot)
    going = [] if same else [old]
    freed = plan_release(handle, check_taggable(handle), going, in_use=in_use())
    return Replacement(new, old, freed)


def apply_replacement(plan: Replacement, handle: TableHandle) -> TagsDeleted:
    """Replace the tag, then delete what it alone held before.

    Raises:
        CommitConflict: the tag or the snapshot changed, and nothing was done; or the snapshot
            went away while the tag was written, which then is as it was.
    """
    path = paths.tag_file(handle.root, plan.new.name)
    if _content(handle, path) != plan.old.snapshot.content:
        raise CommitConflict("a tag changed", tag=plan.new.name)
    # A tag may be replaced by its own snapshot: then it is its own source until it is written.
    itself = plan.new.source == path
    if not _still_there(plan.new, handle):
        raise CommitConflict("a snapshot went away", snapshot_id=plan.new.snapshot.id)
    handle.storage.overwrite(path, tag_content(plan.new.snapshot, _now(handle), plan.new.retained))
    if not itself and not _still_there(plan.new, handle):
        handle.storage.overwrite(path, plan.old.snapshot.content)
        raise CommitConflict("a snapshot went away", snapshot_id=plan.new.snapshot.id)
    return release(plan.release, handle, NameReader(handle))


def replace_tag(
    handle: TableHandle,
    name: str,
    snapshot_id: int | None = None,
    retained: timedelta | None = None,
    *,
    in_use: UseReader = lambda: NOTHING_IN_USE,
) -> Replacement:
    """Plan and apply (see `plan_replacement`, `apply_replacement`)."""
    plan = plan_replacement(handle, name, snapshot_id, retained, in_use=in_use)
    apply_replacement(plan, handle)
    return plan


# --- renaming -------------------------------------------------------------------------------------


def plan_renaming(handle: TableHandle, name: str, new_name: str) -> Renaming:
    """The tag under its new name.

    Raises:
        InvalidRequest: no such tag, no name for a tag, or one that is taken.
    """
    check_tag_name(new_name)
    check_taggable(handle)
    tag, taken = get_tag(handle, name), find_tag(handle, new_name)
    half_done = taken is not None and digest(taken.snapshot) == digest(tag.snapshot)
    if name == new_name or (taken is not None and not half_done):
        raise InvalidRequest("the tag exists", tag=new_name)
    return Renaming(handle.name, tag, new_name, half_done)


def apply_renaming(plan: Renaming, handle: TableHandle) -> None:
    """Make the new name, then remove the old: whatever this dies at, one of them is there.

    Raises:
        InvalidRequest: the new name is taken by now.
        CommitConflict: the tag changed meanwhile; both names are there.
        StorageUnavailable: the store failed; the same renaming goes on where this ended.
    """
    old, content = paths.tag_file(handle.root, plan.tag.name), plan.tag.snapshot.content
    new = paths.tag_file(handle.root, plan.new_name)
    if not handle.storage.create(new, content) and _content(handle, new) != content:
        raise InvalidRequest("the tag exists", tag=plan.new_name)
    now = _content(handle, old)
    if now != content:
        if now is None:  # deleted, and its files with it if they were not seen to be held
            _remove(handle, new, content)
        raise CommitConflict("a tag changed", tag=plan.tag.name)
    handle.storage.delete([old])


def _remove(handle: TableHandle, path: str, content: bytes) -> None:
    """Take back what was made, unless somebody made something else of it."""
    if _content(handle, path) == content:
        handle.storage.delete([path])


def rename_tag(handle: TableHandle, name: str, new_name: str) -> Renaming:
    """Plan and apply (see `plan_renaming`, `apply_renaming`)."""
    plan = plan_renaming(handle, name, new_name)
    apply_renaming(plan, handle)
    return plan
