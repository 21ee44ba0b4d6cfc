"""Tags: names for snapshots that outlive them.

A tag is a copy of its snapshot's file (with two fields more where it has a retention), so it can
be read after the snapshot is gone, as long as the files it names are there.

Times in tags are local wall clock, as in Java: a table's engines must agree on one time zone.

Spec: format §14; reference classes ``utils/TagManager``, ``tag/Tag``.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import cast

from . import paths
from .errors import CorruptTable, FileMissing, InvalidRequest
from .handle import TableHandle
from .options_tags import retention
from .settled import read_settled
from .snapshot import Snapshot, dump_snapshot, load_snapshot

PREFIX = "tag-"
CREATED = "tagCreateTime"
RETAINED = "tagTimeRetained"

_STATE = (
    "baseManifestList", "deltaManifestList", "indexManifest", "statistics",
)  # fmt: skip
# The folder of success files begins as tags do: Java lists it among them, and passes over it.
_RESERVED = paths.SUCCESS_FOLDER.removeprefix(PREFIX)


@dataclass(frozen=True, slots=True)
class Tag:
    """``snapshot``: what it holds; its content is the tag file's.

    ``created``: local wall clock; both are None for a tag without a retention.
    """

    name: str
    snapshot: Snapshot
    created: datetime | None = None
    retained: timedelta | None = None


def read_tags(handle: TableHandle, root: str | None = None) -> tuple[Tag, ...]:
    """All tags, by snapshot id and name.

    Args:
        root: of a branch; None for the main branch.

    Raises:
        CorruptTable, UnsupportedFeature: a tag that cannot be read, by its file.
    """
    root = root or handle.root
    found = [tag for name in tag_times(handle, root) if (tag := find_tag(handle, name, root))]
    return tuple(sorted(found, key=lambda tag: (tag.snapshot.id, tag.name)))


def tag_times(handle: TableHandle, root: str | None = None) -> dict[str, int]:
    """Names of all tags, with the epoch milliseconds when their files were written."""
    listed = handle.storage.list(paths.tag_dir(root or handle.root))
    return {
        s.name.removeprefix(PREFIX): s.modified_millis
        for s in listed
        if s.name.startswith(PREFIX) and not s.is_dir
    }


def find_tag(handle: TableHandle, name: str, root: str | None = None) -> Tag | None:
    """None when there is no such tag (any more).

    Raises:
        CorruptTable, UnsupportedFeature: it cannot be read.
    """
    path = paths.tag_file(root or handle.root, name)
    try:
        snapshot = read_settled(handle, path, load_snapshot)
    except FileMissing:
        return None
    return Tag(name, snapshot, _created(snapshot, path), _retained(snapshot, path))


def get_tag(handle: TableHandle, name: str) -> Tag:
    """The tag.

    Raises:
        InvalidRequest: there is none.
    """
    check_tag_name(name)
    tag = find_tag(handle, name)
    if tag is None:
        raise InvalidRequest("no such tag", tag=name)
    return tag


def check_tag_name(name: str) -> None:
    """Names that stay in their folder; Java asks only that they are not blank.

    Raises:
        InvalidRequest: another name.
    """
    if not name.strip() or any(c in name for c in "/\\\0") or name == _RESERVED:
        raise InvalidRequest("not a tag's name", tag=repr(name))


# --- content --------------------------------------------------------------------------------------


def tag_content(
    snapshot: Snapshot, created: datetime | None = None, retained: timedelta | None = None
) -> bytes:
    """A tag's file: the snapshot's own bytes, and behind them the retention if there is one.

    ``created`` is left out without a retention: readers before 0.8 do not know the field.
    """
    content = snapshot_content(snapshot)
    if retained is None or created is None:
        return content
    time = [created.year, created.month, created.day, created.hour, created.minute]
    time += [created.second, created.microsecond * 1000]
    seconds = Decimal(retained // timedelta(microseconds=1)) / 10**6
    fields = f'"{CREATED}": {json.dumps(time)},\n  "{RETAINED}": {seconds:.9f}'
    body = content.rstrip().removesuffix(b"}").rstrip()
    return body + b",\n  " + fields.encode() + b"\n}"


def snapshot_content(snapshot: Snapshot) -> bytes:
    """The snapshot's file, of a snapshot or a tag."""
    if CREATED not in snapshot.extra and RETAINED not in snapshot.extra:
        return snapshot.content
    return dump_snapshot({k: v for k, v in snapshot.extra.items() if k not in (CREATED, RETAINED)})


def same_state(one: Snapshot, other: Snapshot) -> bool:
    """Whether both hold the same files; a tag's text need not be its snapshot's."""
    return one.id == other.id and all(one.extra.get(k) == other.extra.get(k) for k in _STATE)


def _created(snapshot: Snapshot, path: str) -> datetime | None:
    """Java leaves seconds and nanoseconds out where they are zero, and cuts nothing else."""
    raw = snapshot.extra.get(CREATED)
    if raw is None:
        return None
    try:
        parts = [int(part) for part in cast("list[int]", raw)]
        year, month, day, hour, minute, second, nanos = (*parts, 0, 0, 0, 0)[:7]
        return datetime(year, month, day, hour, minute, second, nanos // 1000)  # noqa: DTZ001 local
    except (TypeError, ValueError) as error:
        raise CorruptTable("a tag's time is not readable", file=path, field=CREATED) from error


def _retained(snapshot: Snapshot, path: str) -> timedelta | None:
    raw = snapshot.extra.get(RETAINED)
    if raw is None:
        return None
    try:
        micros = int(Decimal(str(raw)) * 10**6)
    except (InvalidOperation, OverflowError, ValueError) as error:
        raise CorruptTable("a tag's time is not readable", file=path, field=RETAINED) from error
    return retention(micros)
