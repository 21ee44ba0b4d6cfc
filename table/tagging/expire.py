"""Which tags are over: those whose retention has passed, and those older than somebody asks.

Spec: maintenance §11.5; reference class ``tag/TagTimeExpire``.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from ..expiry.apply import UseReader
from ..expiry.names import NameReader
from ..expiry.range import NOTHING_IN_USE, InUse
from ..handle import TableHandle
from ..tags import Tag, read_tags, tag_times
from .delete import TagsDeleted, apply_deletion, tried_again
from .deletion import TagDeletion, check_taggable, plan_release
from .settings import tag_options

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def plan_tag_expiry(
    handle: TableHandle,
    *,
    older_than_millis: int | None = None,
    overrides: Mapping[str, str] | None = None,
    in_use: InUse = NOTHING_IN_USE,
    reader: NameReader | None = None,
) -> TagDeletion:
    """Which tags are over now, and what goes with them.

    Args:
        older_than_millis: tags made before that time go, too, whatever their retention; one that
            does not say when it was made is as old as its file.
        overrides: options in place of the table's own.

    Raises:
        CommitConflict: the table changed while it was looked at, or a running task reads a tag.
        TableMissing, UnsupportedFeature, CorruptTable, StorageUnavailable: as named.
    """
    schema = check_taggable(handle)
    going: list[Tag] = []
    if older_than_millis is not None or tag_options(schema, overrides).expires:
        world, written = handle.world, tag_times(handle)
        now = _local(world.local_millis(world.now_millis()))
        limit = None if older_than_millis is None else _local(world.local_millis(older_than_millis))
        for tag in read_tags(handle):
            file_time = written.get(tag.name)
            local = None if file_time is None else _local(world.local_millis(file_time))
            if over(tag, local, now=now, older_than=limit):
                going.append(tag)
    return plan_release(handle, schema, going, in_use=in_use, reader=reader)


def over(tag: Tag, written: datetime | None, *, now: datetime, older_than: datetime | None) -> bool:
    """Whether the tag is over; all times are local wall clock.

    Args:
        written: when its file was written; None when that is not known.
    """
    if tag.created is None or tag.retained is None:
        return older_than is not None and written is not None and written < older_than
    # Not "created + retained", which may lie behind the end of Python's calendar.
    return tag.retained < now - tag.created or (older_than is not None and tag.created < older_than)


def expire_tags(
    handle: TableHandle,
    *,
    older_than_millis: int | None = None,
    overrides: Mapping[str, str] | None = None,
    in_use: UseReader = lambda: NOTHING_IN_USE,
    reader: NameReader | None = None,
) -> TagsDeleted:
    """Plan and apply; a plan that no longer holds is made anew, a few times.

    Raises:
        CommitConflict: the table changed too often.
        TableMissing, UnsupportedFeature, CorruptTable, StorageUnavailable: as named.
    """
    known = reader or NameReader(handle)

    def once() -> TagsDeleted:
        plan = plan_tag_expiry(
            handle, older_than_millis=older_than_millis, overrides=overrides, in_use=in_use(),
            reader=known,
        )  # fmt: skip
        return apply_deletion(plan, handle, in_use=in_use, reader=known)

    return tried_again(once)


def _local(millis: int) -> datetime:
    """As far as the calendar goes: no tag was made before it, or is made behind it."""
    try:
        return (_EPOCH + timedelta(milliseconds=millis)).replace(tzinfo=None)
    except OverflowError:
        return datetime.min if millis < 0 else datetime.max  # noqa: DTZ901  local
