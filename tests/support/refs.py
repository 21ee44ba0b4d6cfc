"""Tags, branches and odd histories of a table, made by hand as Java makes their files.

A branch is the same table seen through another folder of snapshots, schemas and tags, so a store
that looks there (`RefStorage`) lets our own reader and writer act on it.
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from desilt.table import paths
from desilt.table.commit_files import BATCH_IDENTIFIER, manifest_meta
from desilt.table.manifest.codec import ManifestMeta, write_manifest, write_manifest_list
from desilt.table.manifest.entry import EntryKind, ManifestEntry, entries_frame
from desilt.table.metadata import MetadataReader
from desilt.table.snapshot import Snapshot, dump_snapshot, load_snapshot
from desilt.table.storage import FileStatus, LocalStorage, Ranges, Sink, Storage
from desilt.table.table import Table

from .builders import ManualClock, reopened

OWN = ("schema", "snapshot", "tag", "changelog", "consumer")
"""Folders that a branch has for itself."""


@dataclass(slots=True)
class RefStorage:
    """A store in which some folders or files of a table are others; ``moved``: prefix → prefix."""

    moved: Mapping[str, str]
    inner: Storage

    def _at(self, path: str) -> str:
        for prefix, target in self.moved.items():
            if path == prefix or path.startswith(f"{prefix}/"):
                return target + path.removeprefix(prefix)
        return path

    def read(self, path: str) -> bytes:
        return self.inner.read(self._at(path))

    def exists(self, path: str) -> bool:
        return self.inner.exists(self._at(path))

    def list(self, directory: str) -> tuple[FileStatus, ...]:
        return self.inner.list(self._at(directory))

    def create(self, path: str, data: bytes) -> bool:
        return self.inner.create(self._at(path), data)

    def overwrite(self, path: str, data: bytes) -> None:
        self.inner.overwrite(self._at(path), data)

    def delete(self, paths: Sequence[str]) -> None:
        self.inner.delete([self._at(path) for path in paths])

    @property
    def in_flight(self) -> int:
        return self.inner.in_flight

    def exclusive(self, path: str) -> bool:
        return self.inner.exclusive(self._at(path))

    def is_directory(self, path: str) -> bool:
        return self.inner.is_directory(self._at(path))

    def walk(self, directory: str) -> Iterator[tuple[str, FileStatus]]:
        return self.inner.walk(self._at(directory))

    def open_source(self, path: str) -> str | BinaryIO | Ranges:
        return self.inner.open_source(self._at(path))

    def soon(
        self, files: Sequence[tuple[str, int]], whole_bytes: int
    ) -> AbstractContextManager[None]:
        return self.inner.soon([(self._at(p), size) for p, size in files], whole_bytes)

    def open_sink(self, path: str) -> Sink:
        return self.inner.open_sink(self._at(path))


def create_tag(table: Table, name: str, snapshot_id: int | None = None) -> None:
    """A tag without a retention is a copy of the snapshot's file."""
    store = table.handle.snapshots
    snapshot_id = store.latest_id() if snapshot_id is None else snapshot_id
    assert snapshot_id is not None
    content = store.get(snapshot_id).content
    table.handle.storage.overwrite(paths.tag_file(table.path, name), content)


def delete_tag(table: Table, name: str) -> None:
    """The file alone, as Java does while the snapshot is there."""
    table.handle.storage.delete([paths.tag_file(table.path, name)])


def create_branch(table: Table, branch: str, tag: str) -> None:
    """Copies the tag, its snapshot and the schemas up to the snapshot's."""
    root = Path(paths.branch_root(table.path, branch))
    source = Path(paths.tag_file(table.path, tag))
    snapshot = load_snapshot(source.read_bytes(), str(source))
    for folder in ("tag", "snapshot", "schema"):
        (root / folder).mkdir(parents=True)
    shutil.copyfile(source, root / "tag" / source.name)
    (root / "snapshot" / f"snapshot-{snapshot.id}").write_bytes(source.read_bytes())
    for schema_id in range(snapshot.schema_id + 1):
        shutil.copyfile(
            paths.schema_file(table.path, schema_id), root / "schema" / f"schema-{schema_id}"
        )


def drop_branch(table: Table, branch: str) -> None:
    shutil.rmtree(paths.branch_root(table.path, branch))


def on_branch(table: Table, branch: str, clock: ManualClock | None = None) -> Table:
    """The table as the branch sees it; what is written there is written to the branch."""
    root = paths.branch_root(table.path, branch)
    moved = {f"{table.path}/{folder}": f"{root}/{folder}" for folder in OWN}
    return reopened(table, RefStorage(moved, LocalStorage(sync=False)), clock)


def on_snapshot_file(table: Table, path: str) -> Table:
    """The table as one snapshot file (of a tag, say) shows it: that snapshot and no other."""
    snapshot = load_snapshot(Path(path).read_bytes(), path)
    folder = f"{table.path}/snapshot"
    nowhere = f"{table.path}/nowhere"
    moved = {paths.snapshot_file(table.path, snapshot.id): path, folder: nowhere}
    storage = _OneSnapshot(moved, LocalStorage(sync=False), snapshot.id, folder)
    return reopened(table, storage)


@dataclass(slots=True)
class _OneSnapshot(RefStorage):
    snapshot_id: int
    folder: str

    def list(self, directory: str) -> tuple[FileStatus, ...]:
        if directory != self.folder:
            return self.inner.list(directory)
        return (FileStatus(f"snapshot-{self.snapshot_id}", False, 0, 0),)


def snapshot_files(table: Table) -> dict[str, str]:
    """Every snapshot that can be read, by a label: of main and branches, and tags; its file."""
    found: dict[str, str] = {}
    branches = sorted(Path(table.path).glob("branch/branch-*"))
    for root in (Path(table.path), *branches):
        prefix = "" if root == Path(table.path) else f"{root.name}/"
        for file in (*root.glob("snapshot/snapshot-*"), *root.glob("tag/tag-*")):
            if file.is_file():  # success files lie in a folder that begins as tags do
                found[prefix + file.name] = str(file)
    return found


def latest_of(table: Table) -> Snapshot:
    snapshot = table.handle.snapshots.latest()
    assert snapshot is not None
    return snapshot


def rollback_as_latest(table: Table, target: Snapshot) -> None:
    """An old state published as the newest snapshot, as Java's ``rollback_to_as_latest`` does.

    Files that were removed since come back; base and delta are written anew.
    """
    handle, latest = table.handle, latest_of(table)
    reader = MetadataReader(handle)

    def live(snapshot: Snapshot) -> dict[tuple[str, int], ManifestEntry]:
        found: dict[tuple[str, int], ManifestEntry] = {}
        for meta in reader.manifests(snapshot):
            for entry in _entries(reader, meta):
                key = (entry.file.name, entry.file.level)
                if entry.kind is EntryKind.ADD:
                    found[key] = entry
                else:
                    found.pop(key, None)
        return found

    now, then = live(latest), live(target)
    delta = [replace(e, kind=EntryKind.DELETE) for key, e in now.items() if key not in then]
    delta += [e for key, e in then.items() if key not in now]
    base_list, base_size = _write_list(table, list(now.values()))
    delta_list, delta_size = _write_list(table, delta)
    rows = sum(e.file.row_count * (1 if e.kind is EntryKind.ADD else -1) for e in delta)
    values: dict[str, object] = {
        **target.extra,
        "id": latest.id + 1,
        "uuid": str(uuid.uuid4()),
        "baseManifestList": base_list,
        "baseManifestListSize": base_size,
        "deltaManifestList": delta_list,
        "deltaManifestListSize": delta_size,
        "changelogManifestList": None,
        "changelogManifestListSize": None,
        "commitUser": str(uuid.uuid4()),
        "commitIdentifier": BATCH_IDENTIFIER,
        "commitKind": "OVERWRITE",
        "timeMillis": max(handle.world.now_millis(), latest.time_millis),
        "deltaRecordCount": rows,
    }
    path = paths.snapshot_file(table.path, latest.id + 1)
    assert handle.storage.create(path, dump_snapshot(values))
    handle.storage.overwrite(paths.latest_hint(table.path), str(latest.id + 1).encode())


def _entries(reader: MetadataReader, meta: ManifestMeta) -> Sequence[ManifestEntry]:
    from desilt.table.manifest.entry import frame_entries

    return frame_entries(reader.whole(meta.name))


def _write_list(table: Table, entries: Sequence[ManifestEntry]) -> tuple[str, int]:
    """A manifest with these entries, and a list with that manifest; the list's name and size."""
    storage, run = table.handle.storage, uuid.uuid4()
    metas: list[ManifestMeta] = []
    if entries:
        frame = entries_frame(entries)
        data = write_manifest(frame)
        assert storage.create(f"{table.path}/manifest/manifest-{run}-0", data)
        types = table.schema.types(table.schema.partition_keys)
        metas.append(manifest_meta(f"manifest-{run}-0", len(data), frame, types))
    content = write_manifest_list(metas)
    assert storage.create(f"{table.path}/manifest/manifest-list-{run}-0", content)
    return f"manifest-list-{run}-0", len(content)


def consumer(table: Table, name: str, next_snapshot: int, modified: int | None = None) -> None:
    """A streaming reader's note; ``modified``: epoch milliseconds of the file."""
    path = Path(table.path) / "consumer" / f"consumer-{name}"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"nextSnapshot": next_snapshot}))
    if modified is not None:
        os.utime(path, (modified / 1000, modified / 1000))
