"""Names in metadata files, each file read once: none of them ever changes.

What a table holds on to is asked again and again as time goes by; between two questions only a few
files are new. So the reader remembers lists, index manifests and the names in delta manifests for
as long as they are asked for. Entries of whole manifests it does not remember.
"""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from .. import paths
from ..handle import TableHandle
from ..manifest.codec import ManifestMeta, read_manifest, read_manifest_list
from ..manifest.index import IndexEntry, read_index_manifest
from ..snapshot import Snapshot


class NameReader:
    """Metadata of one table's snapshots, tags and branches. For one thread at a time.

    Every method raises FileMissing when the file is gone, CorruptTable when it is damaged.
    """

    def __init__(self, handle: TableHandle) -> None:
        self._handle = handle
        self._lists: dict[str, tuple[ManifestMeta, ...]] = {}
        self._indexes: dict[str, tuple[IndexEntry, ...]] = {}
        self._changed: dict[str, pl.Series] = {}
        self._metas: dict[str, ManifestMeta] = {}
        self._asked: set[str] = set()

    def manifest_list(self, name: str) -> tuple[ManifestMeta, ...]:
        """Lines of a manifest list."""
        self._asked.add(name)
        found = self._lists.get(name)
        if found is None:
            path = paths.manifest_file(self._handle.root, name)
            lines = read_manifest_list(self._handle.storage.read(path), path)
            # A list repeats most lines of the one before it: each is held once.
            found = tuple(self._metas.setdefault(line.name, line) for line in lines)
            self._lists[name] = found
        return found

    def manifests(self, snapshot: Snapshot) -> tuple[ManifestMeta, ...]:
        """Manifests of base and delta, in order."""
        base = self.manifest_list(snapshot.base_manifest_list)
        return (*base, *self.manifest_list(snapshot.delta_manifest_list))

    def index_entries(self, name: str) -> tuple[IndexEntry, ...]:
        """Entries of an index manifest."""
        self._asked.add(name)
        if name not in self._indexes:
            path = paths.manifest_file(self._handle.root, name)
            self._indexes[name] = read_index_manifest(self._handle.storage.read(path), path)
        return self._indexes[name]

    def entries(self, manifest: str) -> pl.DataFrame:
        """Entries of a manifest, slim; not remembered."""
        path = paths.manifest_file(self._handle.root, manifest)
        return read_manifest(self._handle.storage.read(path), path, stats=False)

    def changed_names(self, manifest_list: str) -> pl.Series:
        """Names of all data files that the manifests of a delta or changelog list speak of."""
        self._asked.add(manifest_list)
        if manifest_list not in self._changed:
            lines = self.manifest_list(manifest_list)
            parts = [self.entries(line.name)["name"] for line in lines]
            empty = pl.Series("name", [], pl.String())
            self._changed[manifest_list] = pl.concat([empty, *parts]).unique()
        return self._changed[manifest_list]

    def metadata(self, snapshot: Snapshot, *, changelog: bool) -> Iterator[str]:
        """Names of every metadata and index file that the snapshot needs.

        Args:
            changelog: readers of changes need it too, not only readers of rows.
        """
        lists = [snapshot.base_manifest_list, snapshot.delta_manifest_list]
        if changelog and snapshot.changelog_manifest_list is not None:
            lists.append(snapshot.changelog_manifest_list)
        for name in lists:
            yield name
            yield from (line.name for line in self.manifest_list(name))
        if snapshot.index_manifest is not None:
            yield snapshot.index_manifest
            yield from (entry.file_name for entry in self.index_entries(snapshot.index_manifest))
        if snapshot.statistics is not None:
            yield snapshot.statistics

    def forget_unasked(self) -> None:
        """Forget what was not asked for since the last call."""
        asked, self._asked = self._asked, set()
        self._lists = {name: v for name, v in self._lists.items() if name in asked}
        self._indexes = {name: v for name, v in self._indexes.items() if name in asked}
        self._changed = {name: v for name, v in self._changed.items() if name in asked}
        self._metas = {line.name: line for lines in self._lists.values() for line in lines}
