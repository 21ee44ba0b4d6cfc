"""Snapshots: the record, its JSON, and how the latest one is found.

A snapshot is known by its id *and* its content: other engines publish on plain local disks by
"exists?, then rename" and can replace one that was just published. `Snapshot.content` is the exact
bytes read, so two reads can be compared.

Spec: format §3, §1.2 (hints).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from . import paths
from .errors import CorruptTable, FileMissing, UnsupportedFeature
from .storage import Storage

SNAPSHOT_VERSION = 3

STEPS_MAX = 16
"""Snapshots that are asked for one by one; a hint that is further behind is no help."""


class CommitKind(StrEnum):
    APPEND = "APPEND"
    COMPACT = "COMPACT"
    OVERWRITE = "OVERWRITE"
    ANALYZE = "ANALYZE"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One committed version of a table. Counts are physical rows; times epoch milliseconds.

    ``extra`` keeps every key of the JSON, so that what desilt does not use is not lost.
    """

    id: int
    schema_id: int
    base_manifest_list: str
    delta_manifest_list: str
    commit_user: str
    commit_identifier: int
    commit_kind: CommitKind
    time_millis: int
    total_record_count: int
    delta_record_count: int
    changelog_manifest_list: str | None = None
    index_manifest: str | None = None
    watermark: int | None = None
    statistics: str | None = None
    next_row_id: int | None = None
    extra: Mapping[str, Any] = field(default_factory=dict[str, Any], repr=False)
    content: bytes = field(default=b"", repr=False)


def load_snapshot(data: bytes, path: str) -> Snapshot:
    """The snapshot in a snapshot file.

    Raises:
        CorruptTable: truncated or contradictory; names the file and the field.
        UnsupportedFeature: a newer version or an unknown kind of commit.
    """
    try:
        raw = json.loads(data)
        version = int(raw.get("version") or 1)
        if version > SNAPSHOT_VERSION:
            raise UnsupportedFeature("unknown snapshot version", version=version, file=path)
        kind = str(raw["commitKind"])
        if kind not in CommitKind.__members__:
            raise UnsupportedFeature("unknown commit kind", kind=kind, file=path)
        return Snapshot(
            id=int(raw["id"]),
            schema_id=int(raw["schemaId"]),
            base_manifest_list=paths.checked_name(str(raw["baseManifestList"])),
            delta_manifest_list=paths.checked_name(str(raw["deltaManifestList"])),
            commit_user=str(raw["commitUser"]),
            commit_identifier=int(raw["commitIdentifier"]),
            commit_kind=CommitKind(kind),
            time_millis=int(raw["timeMillis"]),
            total_record_count=int(raw.get("totalRecordCount") or 0),
            delta_record_count=int(raw.get("deltaRecordCount") or 0),
            changelog_manifest_list=raw.get("changelogManifestList"),
            index_manifest=raw.get("indexManifest"),
            watermark=raw.get("watermark"),
            statistics=raw.get("statistics"),
            next_row_id=raw.get("nextRowId"),
            extra=raw,
            content=data,
        )
    except KeyError as error:
        raise CorruptTable("snapshot lacks a field", field=error.args[0], file=path) from error
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise CorruptTable("snapshot is not readable", reason=str(error), file=path) from error


def dump_snapshot(values: Mapping[str, object]) -> bytes:
    """The snapshot file's bytes; keys without a value are left out: null and absent are alike."""
    present = {key: value for key, value in values.items() if value is not None}
    return json.dumps(present, indent=2).encode()


def same_snapshot(found: bytes, ours: bytes) -> bool:
    """Whether what is in the file is the snapshot that we made.

    A catalog's server writes it in its own words; the names of the lists are made for one attempt
    and for no other.
    """
    if found == ours:
        return True
    try:
        theirs, mine = json.loads(found), json.loads(ours)
        keys = ("id", "commitUser", "baseManifestList", "deltaManifestList")
        return all(theirs[key] == mine[key] for key in keys)
    except (ValueError, TypeError, KeyError, RecursionError):
        return False


class SnapshotStore:
    """Reads a table's snapshots; writes none (that is `commit`)."""

    def __init__(self, storage: Storage, root: str) -> None:
        self._storage = storage
        self._root = root

    def get(self, snapshot_id: int) -> Snapshot:
        """The snapshot with this id.

        Raises:
            FileMissing: expired, or never there.
        """
        path = paths.snapshot_file(self._root, snapshot_id)
        snapshot = load_snapshot(self._storage.read(path), path)
        if snapshot.id != snapshot_id:
            raise CorruptTable("snapshot id differs from its file name", id=snapshot.id, file=path)
        return snapshot

    def find(self, snapshot_id: int) -> Snapshot | None:
        try:
            return self.get(snapshot_id)
        except FileMissing:
            return None

    def exists(self, snapshot_id: int) -> bool:
        return self._storage.exists(paths.snapshot_file(self._root, snapshot_id))

    def latest_id(self) -> int | None:
        """Id of the newest snapshot; None for a table without any.

        The LATEST hint is trusted only when the next id is absent; else the folder is listed.
        """
        hint = self._hint(paths.latest_hint(self._root))
        if hint is not None and hint > 0 and not self.exists(hint + 1):
            return hint
        return max(self._listed(), default=None)

    def latest(self, known: int | None = None) -> Snapshot | None:
        """The newest snapshot, read now.

        Snapshots behind a known one are asked for one by one: that is cheaper than a listing, and
        sees what a listing of the store may not show yet. It is done as long as they are few.

        Args:
            known: a snapshot that is there, or was; by default what the LATEST hint says.
        """
        begin = self._hint(paths.latest_hint(self._root)) if known is None else known
        if begin is not None and begin > 0 and (found := self._behind(begin)) is not None:
            return found
        for _ in range(3):
            listed = self._listed()
            if not listed:
                return None
            if (found := self._behind(max(listed))) is not None:
                return found
        raise CorruptTable("the latest snapshot keeps vanishing", table=self._root)

    def _behind(self, begin: int) -> Snapshot | None:
        """The last of those that follow; None where there is none, or no end in sight."""
        found: Snapshot | None = None
        for snapshot_id in range(begin + 1, begin + 1 + STEPS_MAX):
            following = self.find(snapshot_id)
            if following is None:
                return found or self.find(begin)
            found = following
        return None

    def earliest_id(self) -> int | None:
        hint = self._hint(paths.earliest_hint(self._root))
        if hint is not None and self.exists(hint):
            return hint
        return min(self._listed(), default=None)

    def earliest_hint(self) -> int | None:
        """What the EARLIEST hint says, true or not; None when there is none."""
        return self._hint(paths.earliest_hint(self._root))

    def ids(self) -> tuple[int, ...]:
        """Ids of all snapshots there are, rising, from a listing."""
        return tuple(sorted(self._listed()))

    def _hint(self, path: str) -> int | None:
        try:
            return int(self._storage.read(path))
        except (FileMissing, ValueError):
            return None

    def _listed(self) -> list[int]:
        listed = self._storage.list(paths.snapshot_dir(self._root))
        ids = (paths.numbered(status.name, "snapshot-") for status in listed)
        return [found for found in ids if found is not None]
