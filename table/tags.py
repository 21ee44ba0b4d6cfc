"""Tags: names for snapshots that outlive them.

A tag is a copy of its snapshot's file (with two fields more where it has a retention), so it can
be read after the snapshot is gone, as long as the files it names are there.

Spec: format §14; reference class ``utils/TagManager``.
"""

from __future__ import annotations

from dataclasses import dataclass

from . import paths
from .errors import FileMissing
from .handle import TableHandle
from .settled import read_settled
from .snapshot import Snapshot, load_snapshot

PREFIX = "tag-"


@dataclass(frozen=True, slots=True)
class Tag:
    """``snapshot``: what it holds; its content is the tag file's."""

    name: str
    snapshot: Snapshot


def read_tags(handle: TableHandle, root: str | None = None) -> tuple[Tag, ...]:
    """All tags, by snapshot id and name.

    Args:
        root: of a branch; None for the main branch.

    Raises:
        CorruptTable, UnsupportedFeature: a tag that cannot be read, by its file.
    """
    root = root or handle.root
    listed = handle.storage.list(paths.tag_dir(root))
    names = [s.name.removeprefix(PREFIX) for s in listed if s.name.startswith(PREFIX)]
    found = [tag for name in names if (tag := _read(handle, root, name)) is not None]
    return tuple(sorted(found, key=lambda tag: (tag.snapshot.id, tag.name)))


def _read(handle: TableHandle, root: str, name: str) -> Tag | None:
    """None for one that was deleted since it was listed."""
    try:
        return Tag(name, read_settled(handle, paths.tag_file(root, name), load_snapshot))
    except FileMissing:
        return None
